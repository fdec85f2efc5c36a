//! Leaf maths: the exponential and the softcap, generic over the vector, and the exact fused multiply-add of the reference.

pub mod exp;
#[cfg(feature = "half")]
pub mod half;
pub mod tanh;

/// `a · b + c` with one rounding, on every CPU. Not `f64::mul_add`, which is that of the platform's C library: some round
/// twice (wasi-libc without rounding modes, MinGW).
#[inline(always)]
pub(crate) fn fma(a: f64, b: f64, c: f64) -> f64 {
    libm::fma(a, b, c)
}

/// As [`fma`].
#[inline(always)]
pub(crate) fn fmaf(a: f32, b: f32, c: f32) -> f32 {
    libm::fmaf(a, b, c)
}
