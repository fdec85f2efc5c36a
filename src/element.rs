//! Element types, the arithmetic types they are computed in, and outputs.

use crate::kernel::Kernels;
use crate::lanes::{Lanes, Memory};
use crate::math::exp::Core;
use crate::math::log::ln;
use core::mem::MaybeUninit;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    #[cfg(feature = "half")]
    impl Sealed for half::f16 {}
    #[cfg(feature = "half")]
    impl Sealed for half::bf16 {}
}
use sealed::Sealed;

/// A type that logits can have: `f32`, `f64` and, with feature `half`, `half::f16` and `half::bf16`. Sealed.
///
/// Rows of the halves are computed in f32, exactly as if they had been converted first, and each result is rounded once
/// at the end: softmax is at most 0.51 ULP of the half type off. f16 keeps subnormal results; bf16, like f32, has 0 below
/// 2^−126.
///
/// ```
/// # #[cfg(feature = "half")] {
/// use half::f16;
/// let mut x = [f16::ONE, f16::ONE, f16::NEG_INFINITY];
/// softmax::softmax_in_place(&mut x);
/// assert_eq!(x.map(f16::to_f32), [0.5, 0.5, 0.0]);
/// # }
/// ```
pub trait Element: Kernels + Sealed + Copy + PartialOrd + Send + Sync + 'static {
    /// The type in which rows of this element are computed, and in which probabilities and losses are returned.
    type Compute: Float;
    #[doc(hidden)]
    const NAN: Self;
    #[doc(hidden)]
    const NEG_INFINITY: Self;
    #[doc(hidden)]
    fn widen(self) -> Self::Compute;
    #[doc(hidden)]
    fn narrow(x: Self::Compute) -> Self;
    /// Whether `Compute` is the type itself.
    #[doc(hidden)]
    const IS_COMPUTE: bool;
    /// Whether it is f32.
    #[doc(hidden)]
    const IS_SINGLE: bool = Self::IS_COMPUTE && <Self::Compute as Float>::LANES == f32::LANES;
    /// `row` itself as a row of `Compute`, where that is the same type.
    #[doc(hidden)]
    fn as_compute(row: &mut [MaybeUninit<Self>]) -> Option<&mut [MaybeUninit<Self::Compute>]>;
}

/// A type in which rows are computed: f32 or f64.
#[doc(hidden)]
pub trait Float:
    Element<Compute = Self>
    + core::ops::Add<Output = Self>
    + core::ops::Sub<Output = Self>
    + core::ops::Mul<Output = Self>
    + core::ops::Div<Output = Self>
    + core::ops::Neg<Output = Self>
{
    /// Lanes of a virtual vector.
    const LANES: usize;
    type Bits: Copy;
    /// A sum of a row, in twice the precision.
    type Sum: Sum<Self>;
    const ZERO: Self;
    const INFINITY: Self;
    const LOG2_E: Self;
    const LN_2: Self;
    /// 1.5 · 2^(significand bits − 1): adding it rounds to an integer that stands in the low bits.
    const ROUND: Self;
    /// The smallest normal number.
    const SMALLEST: Self;
    /// The finite number farthest below 0.
    const LEAST: Self;
    /// Exponent bias.
    const BIAS: i32;
    /// The smallest x with e^x ≥ 2^−126 (f64: 2^−1022).
    const EXP_SMALLEST: Self;
    /// An x whose e^x overflows.
    const EXP_OVERFLOW: Self;
    fn from_i32(x: i32) -> Self;
    /// The lowest 32 bits of its encoding.
    fn low_bits(self) -> i32;
    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    /// a/b as an unevaluated sum of two.
    fn quotient(a: Self, b: Self) -> (Self, Self);
    /// A vector of f32 (at most `LANES`, `fill` in the remaining lanes), in this type.
    fn load_single<L: Memory<Self>>(lanes: L, src: &[f32], fill: f32) -> L::V;
    /// P and Q of tanh, see `math::tanh`.
    const TANH: (&'static [Self], &'static [Self]);
    /// A y whose tanh(y/2) rounds to 1.
    const TANH_ONE: Self;
    /// An integer in the order of the numbers, both zeros 0: compares subnormals whatever the host's DAZ flag.
    fn order(self) -> i64;
    /// Whether the magnitude is below the smallest normal number, whatever the host's DAZ flag.
    fn is_tiny(self) -> bool;

    /// The exp core of softmax on a backend with (or without) a fused multiply-add.
    fn core(fused: bool) -> &'static Core<Self>;
    /// The finer exp core of the public `exp`.
    fn fine_core(fused: bool) -> &'static Core<Self>;
    /// 2^(n/steps − N) · e^r from t and r, see `math::exp`.
    fn combine<L: Lanes<Self>, const U: usize>(lanes: L, core: &Core<Self>, t: [L::V; U], r: [L::V; U]) -> [L::V; U];
}

/// A sum of a row of `F`, in twice its precision.
#[doc(hidden)]
pub trait Sum<F>: Copy + Send + Sync {
    const ZERO: Self;
    fn of(x: F) -> Self;
    fn add(self, other: Self) -> Self;
    /// Adds a block sum as [`Lanes::acc_add`] does.
    fn accumulate(self, x: F) -> Self;
    /// Whether 128 ≤ S ≤ 2^126 (f64: 2^1022).
    fn in_range(self) -> bool;
    /// Whether S ≤ 2^64: what follows from that is told at `passes::Divide`.
    #[inline(always)]
    fn is_moderate(self) -> bool {
        self.to_f64() <= RAISE
    }
    fn is_nan(self) -> bool;
    /// S itself, rounded.
    fn rounded(self) -> F;
    /// S in two terms, the first of them S rounded; the second NaN where S is not finite.
    fn split(self) -> (F, F);
    /// S rounded to f64.
    fn to_f64(self) -> f64;
    /// 2^64/S as an unevaluated sum of two `F`.
    fn reciprocal(self) -> (F, F);
    /// The smallest e for which e/S is certainly normal: S · 2^−126 (f64: 2^−1022), rounded up.
    fn threshold(self) -> F;
    /// `n·ln 2 + ln S` as an unevaluated sum of two `F`.
    fn log(self, n: i32) -> (F, F);
}

impl Element for f32 {
    type Compute = f32;
    const IS_COMPUTE: bool = true;
    const NAN: f32 = f32::NAN;
    const NEG_INFINITY: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn as_compute(row: &mut [MaybeUninit<f32>]) -> Option<&mut [MaybeUninit<f32>]> {
        Some(row)
    }
}

impl Element for f64 {
    type Compute = f64;
    const IS_COMPUTE: bool = true;
    const NAN: f64 = f64::NAN;
    const NEG_INFINITY: f64 = f64::NEG_INFINITY;
    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }
    #[inline(always)]
    fn narrow(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn as_compute(row: &mut [MaybeUninit<f64>]) -> Option<&mut [MaybeUninit<f64>]> {
        Some(row)
    }
}

#[cfg(feature = "half")]
macro_rules! half_element {
    ($t:ident, $to_f32:ident, $from_f32:ident) => {
        impl Element for half::$t {
            type Compute = f32;
            const IS_COMPUTE: bool = false;
            const NAN: Self = half::$t::NAN;
            const NEG_INFINITY: Self = half::$t::NEG_INFINITY;
            #[inline(always)]
            fn widen(self) -> f32 {
                crate::math::half::$to_f32(self.to_bits())
            }
            #[inline(always)]
            fn narrow(x: f32) -> Self {
                Self::from_bits(crate::math::half::$from_f32(x))
            }
            #[inline(always)]
            fn as_compute(_: &mut [MaybeUninit<Self>]) -> Option<&mut [MaybeUninit<f32>]> {
                None
            }
        }
    };
}
#[cfg(feature = "half")]
half_element!(f16, f16_to_f32, f32_to_f16);
#[cfg(feature = "half")]
half_element!(bf16, bf16_to_f32, f32_to_bf16);

impl Float for f32 {
    const LANES: usize = 32;
    type Bits = u32;
    type Sum = f64;
    const ZERO: f32 = 0.0;
    const INFINITY: f32 = f32::INFINITY;
    const LOG2_E: f32 = core::f32::consts::LOG2_E;
    const LN_2: f32 = core::f32::consts::LN_2;
    const ROUND: f32 = 12_582_912.0;
    const SMALLEST: f32 = f32::MIN_POSITIVE;
    const LEAST: f32 = f32::MIN;
    const BIAS: i32 = 127;
    const EXP_SMALLEST: f32 = -87.336_54;
    const EXP_OVERFLOW: f32 = 89.0;
    #[inline(always)]
    fn from_i32(x: i32) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn low_bits(self) -> i32 {
        self.to_bits() as i32
    }
    #[inline(always)]
    fn order(self) -> i64 {
        let bits = self.to_bits() as i32;
        i64::from(if bits < 0 { -(bits & i32::MAX) } else { bits })
    }
    #[inline(always)]
    fn is_tiny(self) -> bool {
        self.to_bits() & 0x7f80_0000 == 0
    }
    #[inline(always)]
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn quotient(a: f32, b: f32) -> (f32, f32) {
        let q = f64::from(a) / f64::from(b);
        let high = q as f32;
        (high, (q - f64::from(high)) as f32)
    }
    #[inline(always)]
    fn load_single<L: Memory<f32>>(lanes: L, src: &[f32], fill: f32) -> L::V {
        if src.len() >= Self::LANES {
            lanes.prefetch(src);
            lanes.load(src)
        } else {
            lanes.load_or(src, fill)
        }
    }
    const TANH: (&'static [f32], &'static [f32]) = crate::math::tanh::TERMS_F32;
    const TANH_ONE: f32 = 20.0;
    #[inline(always)]
    fn core(fused: bool) -> &'static Core<f32> {
        if fused {
            &crate::math::exp::EIGHTHS
        } else {
            &crate::math::exp::OCTAVE_UNFUSED
        }
    }
    #[inline(always)]
    fn fine_core(fused: bool) -> &'static Core<f32> {
        if fused {
            &crate::math::exp::OCTAVE
        } else {
            &crate::math::exp::OCTAVE_UNFUSED
        }
    }
    #[inline(always)]
    fn combine<L: Lanes<f32>, const U: usize>(lanes: L, core: &Core<f32>, t: [L::V; U], r: [L::V; U]) -> [L::V; U] {
        if core.steps == 8 {
            crate::math::exp::table(lanes, t, r)
        } else {
            crate::math::exp::polynomial(lanes, &crate::math::exp::COEFFICIENTS_F32, t, r)
        }
    }
}

impl Float for f64 {
    const LANES: usize = 16;
    type Bits = u64;
    type Sum = DoubleDouble;
    const ZERO: f64 = 0.0;
    const INFINITY: f64 = f64::INFINITY;
    const LOG2_E: f64 = core::f64::consts::LOG2_E;
    const LN_2: f64 = core::f64::consts::LN_2;
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const SMALLEST: f64 = f64::MIN_POSITIVE;
    const LEAST: f64 = f64::MIN;
    const BIAS: i32 = 1023;
    const EXP_SMALLEST: f64 = -708.396_418_532_264_1;
    const EXP_OVERFLOW: f64 = 710.0;
    #[inline(always)]
    fn from_i32(x: i32) -> f64 {
        f64::from(x)
    }
    #[inline(always)]
    fn low_bits(self) -> i32 {
        self.to_bits() as i32
    }
    #[inline(always)]
    fn order(self) -> i64 {
        let bits = self.to_bits() as i64;
        if bits < 0 { -(bits & i64::MAX) } else { bits }
    }
    #[inline(always)]
    fn is_tiny(self) -> bool {
        self.to_bits() & 0x7ff0_0000_0000_0000 == 0
    }
    #[inline(always)]
    fn from_f64(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn quotient(a: f64, b: f64) -> (f64, f64) {
        let high = a / b;
        (high, crate::math::fma(-high, b, a) / b)
    }
    #[inline(always)]
    fn load_single<L: Memory<f64>>(lanes: L, src: &[f32], fill: f32) -> L::V {
        let mut wide = [f64::from(fill); Self::LANES];
        for i in 0..src.len().min(Self::LANES) {
            wide[i] = f64::from(src[i]);
        }
        lanes.load(&wide)
    }
    const TANH: (&'static [f64], &'static [f64]) = crate::math::tanh::TERMS_F64;
    const TANH_ONE: f64 = 40.0;
    #[inline(always)]
    fn core(fused: bool) -> &'static Core<f64> {
        if fused {
            &crate::math::exp::OCTAVE_F64
        } else {
            &crate::math::exp::OCTAVE_F64_UNFUSED
        }
    }
    #[inline(always)]
    fn fine_core(fused: bool) -> &'static Core<f64> {
        Self::core(fused)
    }
    #[inline(always)]
    fn combine<L: Lanes<f64>, const U: usize>(lanes: L, _core: &Core<f64>, t: [L::V; U], r: [L::V; U]) -> [L::V; U] {
        crate::math::exp::polynomial(lanes, &crate::math::exp::COEFFICIENTS_F64, t, r)
    }
}

/// `i + (i + N/2)`, then `+ N/4` and so on; N is a power of two.
#[inline(always)]
pub(crate) fn tree<F, S: Sum<F>, const N: usize>(mut s: [S; N]) -> S {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            s[i] = s[i].add(s[i + width]);
        }
        width /= 2;
    }
    s[0]
}

/// 2^64: the last multiplication of softmax takes it out again, so that no product before it is subnormal.
pub(crate) const RAISE: f64 = 18_446_744_073_709_551_616.0;

/// 2^-126 · (1 + 2^-22): the quotient of what is not below so much of the sum rounds to a normal number.
pub(crate) const THRESHOLD: f64 = f32::MIN_POSITIVE as f64 * (1.0 + 2.384_185_791_015_625e-7);

impl Sum<f32> for f64 {
    const ZERO: f64 = 0.0;
    #[inline(always)]
    fn of(x: f32) -> f64 {
        f64::from(x)
    }
    #[inline(always)]
    fn add(self, other: f64) -> f64 {
        self + other
    }
    #[inline(always)]
    fn accumulate(self, x: f32) -> f64 {
        self + f64::from(x)
    }
    #[inline(always)]
    fn in_range(self) -> bool {
        (128.0..=8.507_059_173_023_462e37).contains(&self)
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
    #[inline(always)]
    fn rounded(self) -> f32 {
        self as f32
    }
    #[inline(always)]
    fn split(self) -> (f32, f32) {
        let high = self as f32;
        (high, (self - f64::from(high)) as f32)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn reciprocal(self) -> (f32, f32) {
        let q = RAISE / self;
        let high = q as f32;
        (high, (q - f64::from(high)) as f32)
    }
    #[inline(always)]
    fn threshold(self) -> f32 {
        (self * THRESHOLD) as f32
    }
    #[inline(always)]
    fn log(self, n: i32) -> (f32, f32) {
        let log = f64::from(n) * core::f64::consts::LN_2 + ln(self);
        let high = log as f32;
        (high, (log - f64::from(high)) as f32)
    }
}

/// An unevaluated sum of two f64, |low| ≤ ulp(high)/2.
#[derive(Clone, Copy)]
#[doc(hidden)]
pub struct DoubleDouble {
    pub high: f64,
    pub low: f64,
}

/// a + b without error (Knuth).
#[inline(always)]
fn two_sum(a: f64, b: f64) -> DoubleDouble {
    let high = a + b;
    let t = high - a;
    DoubleDouble {
        high,
        low: (a - (high - t)) + (b - t),
    }
}

impl Sum<f64> for DoubleDouble {
    const ZERO: DoubleDouble = DoubleDouble { high: 0.0, low: 0.0 };
    #[inline(always)]
    fn of(x: f64) -> DoubleDouble {
        DoubleDouble { high: x, low: 0.0 }
    }
    #[inline(always)]
    fn add(self, other: DoubleDouble) -> DoubleDouble {
        let s = two_sum(self.high, other.high);
        if s.high.is_finite() {
            two_sum(s.high, s.low + (self.low + other.low))
        } else {
            // Its rest is NaN, as it is from the addition on that was not finite.
            DoubleDouble { high: s.high, low: 0.0 }
        }
    }
    #[inline(always)]
    fn accumulate(self, x: f64) -> DoubleDouble {
        let s = two_sum(self.high, x);
        DoubleDouble {
            high: s.high,
            low: self.low + s.low,
        }
    }
    #[inline(always)]
    fn in_range(self) -> bool {
        (128.0..=4.494_232_837_155_79e307).contains(&self.high)
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        self.high.is_nan()
    }
    #[inline(always)]
    fn rounded(self) -> f64 {
        self.high
    }
    #[inline(always)]
    fn split(self) -> (f64, f64) {
        // As in f32, an infinite sum has no rest that is a number.
        let low = if self.high.is_finite() { self.low } else { f64::NAN };
        (self.high, low)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.high
    }
    #[inline(always)]
    fn reciprocal(self) -> (f64, f64) {
        let high = RAISE / self.high;
        let rest = crate::math::fma(-high, self.high, RAISE) - high * self.low;
        (high, rest / self.high)
    }
    #[inline(always)]
    fn threshold(self) -> f64 {
        self.high * f64::MIN_POSITIVE * (1.0 + 8.881_784_197_001_252e-16)
    }
    #[inline(always)]
    fn log(self, n: i32) -> (f64, f64) {
        // S = 2^k·s with s in [1, 2), so that only ln s, below 0.7, is rounded.
        let bits = self.high.to_bits();
        let k = ((bits >> 52) & 0x7ff) as i32 - 1023;
        let s = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
        // The product of the first term of ln 2 with |n + k| < 2^20 is exact.
        let ln2 = &crate::math::exp::OCTAVE_F64_UNFUSED;
        let m = f64::from(n + k);
        // Where the sum is a power of two, this term is the logarithm: one so small that a subnormal would show beside it,
        // or is one itself, depends on the host's FTZ and DAZ flags.
        let low = self.low / self.high;
        let low = if low.abs() < 1e-270 { 0.0 } else { low };
        let rest = m * ln2.ln2_low + (ln(s) + low);
        let c = two_sum(m * ln2.ln2_high, rest);
        (c.high, c.low)
    }
}

/// A place for results of type `T`: a slice or array of `T` or of `MaybeUninit<T>`, or a `Vec<T>`.
///
/// Every place of a result is written before a call returns `Ok`; what is longer, or lies between rows, stays as it was.
/// Nothing is written before a call returns an error. Sealed.
pub trait Output<T>: sealed_output::Sealed {
    #[doc(hidden)]
    fn as_uninit(&mut self, inside: Inside) -> &mut [MaybeUninit<T>];
}

pub(crate) use sealed_output::Inside;

mod sealed_output {
    pub trait Sealed {}

    /// What results are: elements, and indices.
    pub trait Item: Copy {}
    impl<T: super::Element> Item for T {}
    impl Item for usize {}

    /// Only this crate can name it, and so call what takes it: a caller could leave elements uninitialised.
    pub struct Inside;
}

macro_rules! output {
    ($([$($generics:tt)*] $t:ty, $row:ident => $e:expr;)*) => {$(
        impl<T: sealed_output::Item, $($generics)*> sealed_output::Sealed for $t {}
        impl<T: sealed_output::Item, $($generics)*> Output<T> for $t {
            #[inline(always)]
            fn as_uninit(&mut self, _: Inside) -> &mut [MaybeUninit<T>] {
                let $row = self;
                $e
            }
        }
    )*};
}
output! {
    [] [T], row => crate::arch::memory::as_output(row);
    [] [MaybeUninit<T>], row => row;
    [const N: usize] [T; N], row => crate::arch::memory::as_output(row);
    [const N: usize] [MaybeUninit<T>; N], row => row;
}
#[cfg(feature = "std")]
output! {
    [] Vec<T>, row => crate::arch::memory::as_output(row);
}
