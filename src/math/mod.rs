//! Leaf maths: the exponential and the softcap, generic over the vector, and the exact fused multiply-add of the reference.

pub mod exp;
#[cfg(feature = "half")]
pub mod half;
pub mod log;
pub mod tanh;

/// `a · b + c` with one rounding, on every CPU: the instruction of architectures that always have one and that `libm` does
/// not know (its own is wrong on s390x), else that of `libm`. Not `f64::mul_add` elsewhere, which is that of the
/// platform's C library: some round twice (wasi-libc without rounding modes, MinGW).
#[inline(always)]
pub(crate) fn fma(a: f64, b: f64, c: f64) -> f64 {
    #[cfg(fma_instruction)]
    return a.mul_add(b, c);
    #[cfg(not(fma_instruction))]
    return libm::fma(a, b, c);
}

/// As [`fma`].
#[inline(always)]
pub(crate) fn fmaf(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(fma_instruction)]
    return a.mul_add(b, c);
    #[cfg(not(fma_instruction))]
    return libm::fmaf(a, b, c);
}
