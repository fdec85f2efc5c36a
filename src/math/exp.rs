//! e^x up to a power of two that the caller chooses.
//!
//! With `s` steps to the octave (1 or 8) and an integer shift N,
//!
//! ```text
//! n = rint(x·s/ln 2)                the nearest multiple of ln 2 / s
//! r = x − n·(ln 2/s)                in two steps, |r| ≤ ln 2/(2s)
//! e = 2^(n/s − N) · e^r             so e = e^x · 2^−N
//! ```
//!
//! n comes from adding 1.5·2^23: t = x·(s/ln 2) + B with B = 1.5·2^23 + s·(127 − N) leaves n + s·(127 − N) in the low
//! bits of t, the biased exponent of the scale, times s. N is an integer, so it moves exponents only: the significand
//! of e, and of every quotient e/Σe, does not depend on it. x is never subtracted from anything but n·(ln 2/s), so the
//! rounding of `x − max` does not exist.
//!
//! * x is clamped from below at (N − 120 + 1/32)·ln 2, with the operand order that keeps NaN: −∞ and all that vanishes
//!   give e ≈ 2^−120, and the caller writes 0 there because the sum is at least 128. With r = ln 2/32 no step on the way
//!   is subnormal, not even 2^−120·r: one such product costs hundreds of cycles on many CPUs.
//! * A biased exponent above 255 does not fit: bits of t outside the field show it ([`Core::forbidden`]). 255 makes e, and
//!   the sum, ∞ or NaN.
//!
//! `EIGHTHS` is the core of softmax on backends with a fused multiply-add: 2^(j/8) from a table (one permute), and
//! e = S + S·r·(1 + c₂r + c₃r²), with |r| ≤ 0.0434. Its worst errors over every |x| from 1 to 16384, under
//! N = rint(x·log2 e), are 1.16 ULP (x = −6693.4341) and 1.93·2^−24 relative (x = −15232.473).
//! `OCTAVE` is the finer core of the public `exp`: degree 6 on |r| ≤ ln 2/2, at most 0.892 ULP over
//! every f32, at x = −5.848642 (exhaustively, on AVX-512, AVX2 and the scalar reference).

// Constants keep the digits that name them, also where the type rounds them.
#![allow(clippy::excessive_precision)]

use crate::element::Float;
use crate::lanes::Lanes;

/// The constants of one exp core.
#[doc(hidden)]
pub struct Core<F: Float> {
    /// Steps to the octave: 8 (table) or 1.
    pub steps: i32,
    /// steps / ln 2
    pub per_ln2: F,
    /// ln 2 / steps in two terms.
    pub ln2_high: F,
    pub ln2_low: F,
    /// Bits of t that are 0 while the exponent fits.
    pub forbidden: F::Bits,
    /// The bit of t that is 1 from a scale of 2 on, while the exponent fits: e is at least √2.
    pub large: F::Bits,
    /// From this magnitude of the maximum on, it is subtracted first: the difference is exact there for every x whose
    /// e does not vanish (Sterbenz), and n stays small enough for the reduction.
    pub offset_from: F,
}

pub static EIGHTHS: Core<f32> = Core {
    steps: 8,
    per_ln2: 11.541_560_327_111_707,
    ln2_high: 0.086_643_4,
    ln2_low: -2.380_817_9e-10,
    forbidden: !(0x4b40_0000 | 0x7ff),
    large: 0x400,
    offset_from: 16384.0,
};

pub static OCTAVE: Core<f32> = Core {
    steps: 1,
    per_ln2: core::f32::consts::LOG2_E,
    ln2_high: core::f32::consts::LN_2,
    ln2_low: -1.904_654_3e-9,
    forbidden: !(0x4b40_0000 | 0xff),
    large: 0x80,
    offset_from: 16384.0,
};

/// ln 2 = 0.693359375 − 2.1219444e−4, the first term with 9 bits: its product with n is exact below 2^15.
pub static OCTAVE_UNFUSED: Core<f32> = Core {
    ln2_high: 0.693_359_375,
    ln2_low: -2.121_944_4e-4,
    offset_from: 256.0,
    ..OCTAVE
};

pub static OCTAVE_F64: Core<f64> = Core {
    steps: 1,
    per_ln2: core::f64::consts::LOG2_E,
    ln2_high: core::f64::consts::LN_2,
    ln2_low: 2.319_046_813_846_299_6e-17,
    forbidden: !(0x4338_0000_0000_0000 | 0x7ff),
    large: 0x400,
    offset_from: 16384.0,
};

/// The first term of ln 2 has 33 bits: its product with |n| < 2^20 is exact.
pub static OCTAVE_F64_UNFUSED: Core<f64> = Core {
    ln2_high: 0.693_147_180_369_123_8,
    ln2_low: 1.908_214_929_270_587_7e-10,
    ..OCTAVE_F64
};

/// e^r on |r| ≤ ln 2/2, highest power first. Minimax of relative error under 1, 1 fixed (Sollya `fpminimax`).
pub const COEFFICIENTS_F32: [f32; 7] = [
    0.001_378_250_4,
    0.008_368_674_7,
    0.041_668_963,
    0.166_665_21,
    0.499_999_9,
    1.0,
    1.0,
];

/// e^r on |r| ≤ ln 2/2, highest power first, 0.033·2^−53 relative (`tools/exp_coefficients.py`).
pub const COEFFICIENTS_F64: [f64; 12] = [
    2.500_007_221_360_339_4e-8,
    2.763_023_405_919_275_6e-7,
    2.755_758_626_737_624e-6,
    2.480_149_313_582_193e-5,
    0.000_198_412_695_067_777_85,
    0.001_388_888_894_359_802_2,
    0.008_333_333_333_494_335,
    0.041_666_666_666_530_267,
    0.166_666_666_666_664_13,
    0.500_000_000_000_001_1,
    1.0,
    1.0,
];

/// c₂, c₃ of the table core, minimax on |r| ≤ ln 2/16 under 1, 1 fixed: 0.43·2^−24 relative.
const C2: f32 = 0.500_064_73;
const C3: f32 = 0.166_668_65;

/// bits(2^(j/8)) − (j << 20) − (127 << 23): adding t << 20 completes the exponent and takes j out again.
static EIGHTHS_TABLE: [f32; 8] = {
    let power: [f32; 8] = [
        1.0,
        1.090_507_7,
        1.189_207_1,
        1.296_839_6,
        core::f32::consts::SQRT_2,
        1.542_210_8,
        1.681_792_9,
        1.834_008_1,
    ];
    let mut table = [0.0; 8];
    let mut j = 0;
    while j < 8 {
        table[j] = f32::from_bits(
            power[j]
                .to_bits()
                .wrapping_sub((j as u32) << 20)
                .wrapping_sub(127 << 23),
        );
        j += 1;
    }
    table
};

/// The shift of one row.
#[derive(Clone, Copy)]
#[doc(hidden)]
pub struct Shift<F> {
    /// N: e = e^(x − offset) · 2^−N.
    pub n: i32,
    /// x where e is far from both ends of its range.
    pub near: F,
    /// B = 1.5·2^23 + steps·(127 − N).
    pub base: F,
    /// (N − 120 + 1/32)·ln 2 (f64: N − 1016): smaller x are raised to this.
    pub low: F,
    /// Subtracted first; 0 on the ordinary path.
    pub offset: F,
}

impl<F: Float> Shift<F> {
    /// The shift that makes e = 2^bias at `x = near`, about.
    #[inline(always)]
    pub fn new(near: F, bias: i32, offset: F, core: &Core<F>) -> Self {
        // rint in the current type: |near·log2 e| < 2^15, so that t has the bits of `ROUND` plus rint. Every number up to
        // `low` is exact; nor is there a conversion to an integer, which takes longer.
        let t = near * F::LOG2_E + F::ROUND;
        let n = (t - F::ROUND) - F::from_i32(bias);
        Self {
            n: t.low_bits().wrapping_sub(F::ROUND.low_bits()).wrapping_sub(bias),
            near: near + offset,
            base: F::ROUND + F::from_i32(core.steps) * (F::from_i32(F::BIAS) - n),
            low: ((n - F::from_i32(F::BIAS - 7)) + F::from_f64(0.031_25)) * F::LN_2,
            offset,
        }
    }
}

/// A [`Shift`] in registers.
pub struct Splat<V> {
    base: V,
    low: V,
    offset: V,
}

impl<V> Splat<V> {
    /// A shift of its own in each lane: base, low and offset.
    #[inline(always)]
    pub fn by_lane([base, low, offset]: [V; 3]) -> Self {
        Self { base, low, offset }
    }
}

impl<F: Float> Shift<F> {
    #[inline(always)]
    pub fn splat<L: Lanes<F>>(&self, lanes: L) -> Splat<L::V> {
        Splat {
            base: lanes.splat(self.base),
            low: lanes.splat(self.low),
            offset: lanes.splat(self.offset),
        }
    }

    /// Whether e^0 is large under this shift, which has no offset, and its exponent fits.
    #[inline(always)]
    pub fn is_neutral(&self) -> bool {
        self.n < 0 && self.n >= -(F::BIAS + 1)
    }

    /// Whether the exponent of e^x fits its field under this shift, which has no offset.
    #[inline(always)]
    pub fn fits<L: Lanes<F>>(&self, lanes: L, x: F) -> bool {
        let core = F::core(L::FUSED);
        let (_, [t]) = exp::<_, L, 1, false>(lanes, core, &self.splat(lanes), [lanes.splat(x)]);
        lanes.seen_none_of(lanes.seen(lanes.seen_none(), t), core.forbidden)
    }
}

/// e and t of `U` vectors, each step across all of them. `OFFSET` subtracts the shift's offset first.
#[inline(always)]
pub fn exp<F: Float, L: Lanes<F>, const U: usize, const OFFSET: bool>(
    lanes: L,
    core: &Core<F>,
    shift: &Splat<L::V>,
    x: [L::V; U],
) -> ([L::V; U], [L::V; U]) {
    if L::COMPACT {
        compact::<F, L, U, OFFSET>(lanes, core, shift, x)
    } else {
        inlined::<F, L, U, OFFSET>(lanes, core, shift, x)
    }
}

/// A call, for backends whose virtual vector is many instructions and which need no target feature to be inherited.
#[inline(never)]
fn compact<F: Float, L: Lanes<F>, const U: usize, const OFFSET: bool>(
    lanes: L,
    core: &Core<F>,
    shift: &Splat<L::V>,
    x: [L::V; U],
) -> ([L::V; U], [L::V; U]) {
    inlined::<F, L, U, OFFSET>(lanes, core, shift, x)
}

#[inline(always)]
fn inlined<F: Float, L: Lanes<F>, const U: usize, const OFFSET: bool>(
    lanes: L,
    core: &Core<F>,
    shift: &Splat<L::V>,
    mut x: [L::V; U],
) -> ([L::V; U], [L::V; U]) {
    if OFFSET {
        for x in &mut x {
            *x = lanes.sub(*x, shift.offset);
        }
    }
    for x in &mut x {
        *x = lanes.max(shift.low, *x);
    }
    let mut t = x;
    for u in 0..U {
        t[u] = lanes.mul_add(x[u], lanes.splat(core.per_ln2), shift.base);
    }
    (from_steps(lanes, core, shift, t, x), t)
}

/// [`exp`], but that what is clamped there gives exactly 0 here, and the t of x = 0, which a [`Shift::is_neutral`] hides from
/// what is seen: where masked operations are free, that takes as many as the clamp, and what is 0 is not flushed later.
#[inline(always)]
pub fn exp_or_zero<F: Float, L: Lanes<F>, const U: usize>(
    lanes: L,
    core: &Core<F>,
    shift: &Splat<L::V>,
    x: [L::V; U],
) -> ([L::V; U], [L::V; U]) {
    let mut t = x;
    for u in 0..U {
        let all = lanes.mul_add(x[u], lanes.splat(core.per_ln2), shift.base);
        t[u] = lanes.select_below(all, shift.base, x[u], shift.low);
    }
    let mut e = from_steps(lanes, core, shift, t, x);
    for u in 0..U {
        e[u] = lanes.zero_below(e[u], x[u], shift.low);
    }
    (e, t)
}

/// e of x and its t.
#[inline(always)]
fn from_steps<F: Float, L: Lanes<F>, const U: usize>(
    lanes: L,
    core: &Core<F>,
    shift: &Splat<L::V>,
    t: [L::V; U],
    mut x: [L::V; U],
) -> [L::V; U] {
    let (high, low) = (lanes.splat(core.ln2_high), lanes.splat(core.ln2_low));
    let mut n = t;
    for n in &mut n {
        *n = lanes.sub(*n, shift.base);
    }
    for u in 0..U {
        x[u] = lanes.neg_mul_add(n[u], high, x[u]);
    }
    for u in 0..U {
        x[u] = lanes.neg_mul_add(n[u], low, x[u]);
    }
    F::combine(lanes, core, t, x)
}

/// S = 2^(n/8 − N) from the table, e = S + S·r·q(r).
#[inline(always)]
pub fn table<L: Lanes<f32>, const U: usize>(lanes: L, t: [L::V; U], r: [L::V; U]) -> [L::V; U] {
    let (c2, c3, one) = (lanes.splat(C2), lanes.splat(C3), lanes.splat(1.0));
    let (mut s, mut q) = (t, r);
    for s in &mut s {
        *s = lanes.add_bits(lanes.lookup(&EIGHTHS_TABLE, *s), lanes.shl_exponent_of_eighths(*s));
    }
    for u in 0..U {
        q[u] = lanes.mul_add(c3, r[u], c2);
    }
    for u in 0..U {
        q[u] = lanes.mul_add(q[u], r[u], one);
    }
    for u in 0..U {
        q[u] = lanes.mul_add(lanes.mul(s[u], r[u]), q[u], s[u]);
    }
    q
}

/// e = p(r) · 2^(n − N).
#[inline(always)]
pub fn polynomial<F: Float, L: Lanes<F>, const U: usize, const D: usize>(
    lanes: L,
    coefficients: &[F; D],
    t: [L::V; U],
    r: [L::V; U],
) -> [L::V; U] {
    let mut p = [lanes.splat(coefficients[0]); U];
    for &c in &coefficients[1..] {
        for u in 0..U {
            p[u] = lanes.mul_add(p[u], r[u], lanes.splat(c));
        }
    }
    for u in 0..U {
        p[u] = lanes.mul(p[u], lanes.shl_exponent(t[u]));
    }
    p
}
