//! softcap: c·tanh(s·x/c), rounded as one function.
//!
//! With y = 2·s·x/c (the quotient s/c in two terms, so that y is within 0.6 ULP) and w = y²,
//!
//! ```text
//! |y| < 1.6:   s·x + s·x·w·P(w)/Q(w)           tanh(y/2) = y/2·(1 + w·P/Q)
//! else:        ±c ∓ 2c/(e^|y| + 1)             tanh(y/2) = 1 − 2/(e^y + 1)
//! ```
//!
//! Both are a product, rounded with the sum, and a quotient of at most half of it: one division serves both, and its
//! error counts half. At most 2 ULP with a fused multiply-add (1.4 met in samples of every branch), 3 without (2.2 met).
//! P and Q are minimax on the interval (`tools/tanh_coefficients.py`): 0.09·2^−24 and 0.21·2^−53 relative to tanh, as
//! rounded.

// Constants keep the digits that name them, also where the type rounds them.
#![allow(clippy::excessive_precision)]

use super::exp::{Shift, Splat, exp};
use crate::element::Float;
use crate::lanes::Lanes;

/// P and Q, highest power first.
pub const TERMS_F32: (&[f32], &[f32]) = (
    &[-0.000_920_769_118, -0.083_333_335_8],
    &[0.000_985_890_51, 0.111_049_22, 1.0],
);

/// P and Q, highest power first.
pub const TERMS_F64: (&[f64], &[f64]) = (
    &[
        -3.103_756_625_961_08e-6,
        -0.001_280_415_282_730_410_7,
        -0.083_333_333_333_332_88,
    ],
    &[
        3.218_094_451_863_016e-6,
        0.001_454_695_799_850_964_7,
        0.115_364_983_392_722_05,
        1.0,
    ],
);

/// From this |y| on, tanh comes from e^|y|.
const LARGE: f64 = 1.6;

/// The constants of one softcap.
#[derive(Clone, Copy)]
pub struct Softcap<F> {
    cap: F,
    scale: F,
    /// 2·scale/cap in two terms.
    high: F,
    low: F,
    /// Larger |x| are lowered to this: their tanh is 1.
    limit: F,
}

impl<F: Float> Softcap<F> {
    /// Four times the cap and twice scale/cap are finite, cap > 0.
    #[inline(always)]
    pub fn new(scale: F, cap: F) -> Self {
        let (high, low) = F::quotient(scale, cap);
        let (high, low) = (high + high, low + low);
        let magnitude = if high < F::ZERO { -high } else { high };
        let (limit, _) = F::quotient(F::TANH_ONE, magnitude);
        // Finite, so that the product of ±∞ and a low term of 0 does not arise.
        let limit = if limit < -F::LEAST { limit } else { -F::LEAST };
        Self {
            cap,
            scale,
            high,
            low,
            limit,
        }
    }

    /// The softcap of each lane: NaN of NaN, ±cap of ±∞.
    #[inline(always)]
    pub fn of<L: Lanes<F>>(&self, lanes: L, x: L::V) -> L::V {
        if L::COMPACT {
            self.compact(lanes, x)
        } else {
            self.inlined(lanes, x)
        }
    }

    /// A call, for the reasons of `math::exp`.
    #[inline(never)]
    fn compact<L: Lanes<F>>(&self, lanes: L, x: L::V) -> L::V {
        self.inlined(lanes, x)
    }

    #[inline(always)]
    fn inlined<L: Lanes<F>>(&self, lanes: L, x: L::V) -> L::V {
        let (zero, one) = (lanes.splat(F::ZERO), lanes.splat(F::from_i32(1)));
        let (limit, large) = (lanes.splat(self.limit), lanes.splat(F::from_f64(LARGE)));
        let x = lanes.min(limit, lanes.max(lanes.sub(zero, limit), x));
        let y = lanes.mul_add(x, lanes.splat(self.high), lanes.mul(x, lanes.splat(self.low)));
        let magnitude = lanes.max(lanes.sub(zero, y), y);

        let s = lanes.mul(lanes.splat(self.scale), x);
        let w = lanes.mul(y, y);
        let (p, q) = (horner(lanes, F::TANH.0, w), horner(lanes, F::TANH.1, w));
        let small = lanes.mul(lanes.mul(s, w), p);

        // Where |y| is large, the sign is y between −1 and 1.
        let sign = lanes.min(one, lanes.max(lanes.splat(-F::from_i32(1)), y));
        let cap = lanes.mul(lanes.splat(self.cap), sign);
        let core = F::fine_core(L::FUSED);
        let shift: Splat<L::V> = Shift::new(F::ZERO, 0, F::ZERO, core).splat(lanes);
        let ([e], _) = exp::<F, L, 1, false>(lanes, core, &shift, [magnitude]);
        let minus_two = lanes.splat(-F::from_i32(2));

        let a = lanes.select_below(lanes.splat(self.cap), lanes.splat(self.scale), magnitude, large);
        let b = lanes.select_below(sign, x, magnitude, large);
        let above = lanes.select_below(lanes.mul(minus_two, cap), small, magnitude, large);
        let below = lanes.select_below(lanes.add(e, one), q, magnitude, large);
        lanes.mul_add(a, b, lanes.div(above, below))
    }
}

/// `c[0]·w^n + … + c[n]`.
#[inline(always)]
fn horner<F: Float, L: Lanes<F>>(lanes: L, c: &[F], w: L::V) -> L::V {
    let mut p = lanes.splat(c[0]);
    for &c in &c[1..] {
        p = lanes.mul_add(p, w, lanes.splat(c));
    }
    p
}

#[cfg(test)]
mod tests {
    use super::Softcap;
    use crate::element::{Element, Float};
    use crate::isa::{Isa, run};
    use crate::kernel::Kernel;
    use crate::kernel::passes::map;
    use crate::kernel::row::Pair;
    use crate::lanes::Memory;
    use core::mem::MaybeUninit;

    /// Softcap of each element.
    struct Apply<'a, F> {
        softcap: Softcap<F>,
        x: &'a [F],
        y: &'a mut [MaybeUninit<F>],
    }

    impl<F: Float> Kernel<F> for Apply<'_, F> {
        #[inline(always)]
        fn run<L: Memory<F> + Memory<<F as Element>::Compute>>(self, lanes: L) {
            map::<F, F, L>(
                lanes,
                Pair(self.x, self.y),
                #[inline(always)]
                |x| self.softcap.of(lanes, x),
            );
        }
    }

    #[inline(never)]
    fn single(isa: Isa, softcap: Softcap<f32>, x: &[f32], y: &mut [f32]) {
        let y = crate::arch::memory::as_output(y);
        run!(isa, Apply { softcap, x, y })
    }

    #[inline(never)]
    fn double(isa: Isa, softcap: Softcap<f64>, x: &[f64], y: &mut [f64]) {
        let y = crate::arch::memory::as_output(y);
        run!(isa, Apply { softcap, x, y })
    }

    /// What the documentation of the module and of `Mask` promises.
    fn bound(isa: Isa) -> f64 {
        if isa == Isa::Portable { 3.0 } else { 2.0 }
    }

    /// The worst error over the f32 of every `step`-th pattern, in ULP, and where. f64 is the oracle.
    fn worst(isa: Isa, (scale, cap): (f32, f32), step: usize) -> (f64, f32) {
        const CHUNK: usize = 4096;
        let softcap = Softcap::new(scale, cap);
        let (mut x, mut y) = (vec![0.0; CHUNK], vec![0.0; CHUNK]);
        let mut worst = (0.0, 0.0);
        let mut bits = (0..0x7f80_0000_u32).step_by(step);
        loop {
            let n = x
                .iter_mut()
                .zip(&mut bits)
                .map(|(x, bits)| *x = f32::from_bits(bits))
                .count();
            if n == 0 {
                return worst;
            }
            single(isa, softcap, &x[..n], &mut y[..n]);
            for (&x, &y) in x[..n].iter().zip(&y) {
                let want = f64::from(cap) * (f64::from(scale) * f64::from(x) / f64::from(cap)).tanh();
                let exponent = (want.abs().to_bits() >> 52) as i32 - 1023;
                let ulp = 2f64.powi(exponent.max(-126) - 23);
                let error = (f64::from(y) - want).abs() / ulp;
                if error > worst.0 {
                    worst = (error, x);
                }
            }
        }
    }

    const PARAMETERS: [(f32, f32); 5] = [(1.0, 1.0), (1.0, 30.0), (0.088_388_35, 50.0), (-3.0, 7.3), (1.0, 0.1)];

    #[test]
    fn softcap_is_within_its_bound() {
        for isa in Isa::available() {
            for parameters in PARAMETERS {
                let step = if isa == Isa::Scalar { 40_009 } else { 4001 };
                let (error, x) = worst(isa, parameters, step * crate::thinning());
                assert!(error <= bound(isa), "{isa}: {parameters:?} of {x:e}: {error} ULP");
            }
        }
    }

    #[test]
    #[ignore = "every f32: minutes"]
    fn softcap_of_every_f32() {
        for isa in Isa::available().filter(|&isa| isa != Isa::Scalar) {
            for parameters in PARAMETERS {
                let (error, x) = worst(isa, parameters, 1);
                println!("{isa}: {parameters:?}: {error} ULP at {x:e}");
                assert!(error <= bound(isa), "{isa}: {parameters:?} of {x:e}: {error} ULP");
            }
        }
    }

    /// x and tanh x in two terms, by mpmath at 60 digits.
    const TANH: &[(f64, f64, f64)] = &[
        (1e-300, 1e-300, 0.0),
        (1e-08, 1e-08, -3.3333333333333335e-25),
        (0.001, 0.0009999996666668, 1.7800613799166557e-20),
        (0.1, 0.09966799462495582, 3.542433877641546e-18),
        (0.25, 0.24491866240370913, -1.6036228849882693e-18),
        (0.5, 0.46211715726000974, 2.1916603238260928e-17),
        (0.7, 0.6043677771171635, -2.7916180015425346e-17),
        (0.79, 0.658409035955251, 5.009601282434977e-17),
        (0.7999999, 0.6640367143623285, -2.6017732179518515e-18),
        (0.8, 0.664036770267849, -3.064402210734779e-17),
        (0.800001, 0.6640373293226455, -3.3756994390846636e-17),
        (0.85, 0.6910694698329306, -2.542565630406135e-17),
        (0.9, 0.7162978701990245, -3.514093391268979e-17),
        (1.0, 0.7615941559557649, 3.7090214482164924e-17),
        (1.25, 0.8482836399575129, 1.7099441972242e-17),
        (1.5, 0.9051482536448664, 4.1992024501810215e-17),
        (1.75, 0.9413755384972874, -2.736933596553663e-17),
        (2.0, 0.9640275800758169, -1.9413550547557176e-17),
        (2.5, 0.9866142981514303, -2.4529238788172874e-17),
        (3.0, 0.9950547536867305, -1.2991892863562624e-17),
        (4.0, 0.999329299739067, 9.767046099568572e-18),
        (5.5, 0.9999665971563038, 4.933089545428797e-17),
        (7.0, 0.9999983369439447, -1.612443653741189e-17),
        (9.0, 0.999999969540041, -2.5991562562660026e-17),
        (12.0, 0.9999999999244973, 2.4308346468945755e-17),
        (18.0, 0.9999999999999996, -1.9815356198651153e-17),
        (19.9, 1.0, -1.0377903210109311e-17),
        (25.0, 1.0, -3.8574996959278356e-22),
    ];

    #[test]
    fn softcap_of_f64_is_within_its_bound() {
        for isa in Isa::available() {
            for cap in [1.0, 32.0] {
                let x: Vec<f64> = TANH.iter().flat_map(|&(x, ..)| [cap * x, -cap * x]).collect();
                let mut y = vec![0.0; x.len()];
                double(isa, Softcap::new(1.0, cap), &x, &mut y);
                for (y, &(x, high, low)) in y.chunks(2).zip(TANH) {
                    let ulp = f64::from_bits(high.to_bits() + 1) - high;
                    let error = ((y[0] / cap - high) - low).abs() / ulp;
                    assert!(error <= bound(isa), "{isa}: {cap}·tanh({x}): {error} ULP");
                    assert_eq!(y[0], -y[1], "{isa}: odd at {x}");
                }
            }
        }
    }

    #[test]
    fn softcap_keeps_nan_and_saturates() {
        let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.0];
        let mut y = [0.0; 5];
        for isa in Isa::available() {
            single(isa, Softcap::new(1e-30, 30.0), &x, &mut y);
            assert!(y[0].is_nan(), "{isa}");
            assert_eq!(y[1..], [30.0, -30.0, 30.0, 0.0], "{isa}");
            single(isa, Softcap::new(f32::MIN_POSITIVE, 30.0), &x, &mut y);
            assert!(y[0].is_nan() && y[1..].iter().all(|y| y.abs() <= 30.0), "{isa}: {y:?}");
            // tanh of 6; a cap to which most is added.
            single(isa, Softcap::new(2e-38, 1.0), &[3e38, -3e38], &mut y[..2]);
            assert!(y[0] > 0.9999 && y[0] < 1.0 && y[1] == -y[0], "{isa}: {y:?}");
            single(isa, Softcap::new(10.0, 8e37), &[6.396e36, f32::MAX], &mut y[..2]);
            assert!((y[0] / 8e37 - 0.663_757).abs() < 1e-6 && y[1] == 8e37, "{isa}: {y:?}");
            single(isa, Softcap::new(1.7e38, 1.0), &[f32::MAX, 0.0], &mut y[..2]);
            assert_eq!(y[..2], [1.0, 0.0], "{isa}");
        }
    }
}
