//! Leaf maths: the exponential, generic over the vector, and the exact fused multiply-add of the reference.

pub mod exp;
#[cfg(feature = "half")]
pub mod half;

/// `a · b + c` with one rounding, on every CPU.
#[inline(always)]
pub(crate) fn fma(a: f64, b: f64, c: f64) -> f64 {
    #[cfg(feature = "std")]
    return a.mul_add(b, c);
    #[cfg(not(feature = "std"))]
    return libm::fma(a, b, c);
}

/// `a · b + c` with one rounding, on every CPU.
#[inline(always)]
pub(crate) fn fmaf(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(feature = "std")]
    return a.mul_add(b, c);
    #[cfg(not(feature = "std"))]
    return libm::fmaf(a, b, c);
}
