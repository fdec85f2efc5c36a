//! Loads and stores of f16 and bf16 on NEON.
//!
//! f16 by `fcvtl` and `fcvtn`, which every AArch64 CPU has, written as assembly because the intrinsics have a type that is
//! not stable; bf16 by zips and an integer rounding. Both instructions keep the subnormals of f16 whatever FPCR.FZ says;
//! the rounding mode, AHP and DN must be what Rust assumes anyway: 0.

use super::half::Half;
use super::neon::Neon;
use super::{put, take};
use crate::lanes::{Lanes, Memory};
use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::MaybeUninit;

/// Conversions of eight elements.
trait Convert: Half {
    fn widen8(proof: Neon, v: uint16x8_t) -> [float32x4_t; 2];
    fn narrow8(proof: Neon, v: [float32x4_t; 2]) -> uint16x8_t;
}

impl Convert for half::f16 {
    #[inline(always)]
    fn widen8(_proof: Neon, v: uint16x8_t) -> [float32x4_t; 2] {
        let (low, high): (float32x4_t, float32x4_t);
        // SAFETY: registers alone, and the proof; nothing is said of the flags, since FPSR collects exceptions.
        unsafe {
            asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) low, in(vreg) v, options(pure, nomem, nostack));
            asm!("fcvtl2 {0:v}.4s, {1:v}.8h", out(vreg) high, in(vreg) v, options(pure, nomem, nostack));
        }
        [low, high]
    }
    #[inline(always)]
    fn narrow8(_proof: Neon, [low, high]: [float32x4_t; 2]) -> uint16x8_t {
        let mut v: uint16x8_t;
        // SAFETY: as in `widen8`.
        unsafe {
            asm!("fcvtn {0:v}.4h, {1:v}.4s", out(vreg) v, in(vreg) low, options(pure, nomem, nostack));
            asm!("fcvtn2 {0:v}.8h, {1:v}.4s", inout(vreg) v, in(vreg) high, options(pure, nomem, nostack));
        }
        v
    }
}

impl Convert for half::bf16 {
    #[inline(always)]
    fn widen8(_proof: Neon, v: uint16x8_t) -> [float32x4_t; 2] {
        // SAFETY: the proof. The elements become the upper halves of the lanes.
        unsafe {
            let zero = vdupq_n_u16(0);
            [
                vreinterpretq_f32_u16(vzip1q_u16(zero, v)),
                vreinterpretq_f32_u16(vzip2q_u16(zero, v)),
            ]
        }
    }
    #[inline(always)]
    fn narrow8(_proof: Neon, v: [float32x4_t; 2]) -> uint16x8_t {
        // SAFETY: the proof.
        unsafe {
            let rounded = v.map(
                #[inline(always)]
                |v| {
                    let bits = vreinterpretq_u32_f32(v);
                    let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
                    let number = vaddq_u32(vaddq_u32(bits, odd), vdupq_n_u32(0x7fff));
                    let nan = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
                    vreinterpretq_u16_u32(vbslq_u32(vceqq_f32(v, v), number, nan))
                },
            );
            vuzp2q_u16(rounded[0], rounded[1])
        }
    }
}

#[inline(always)]
fn widen<T: Convert>(neon: Neon, x: [T; 32]) -> [float32x4_t; 8] {
    let mut v = [Lanes::<f32>::splat(neon, 0.0)[0]; 8];
    for i in 0..4 {
        // SAFETY: 8 of the 32 elements from 8·i on; the proof.
        let part = unsafe { vld1q_u16(x.as_ptr().add(8 * i).cast()) };
        [v[2 * i], v[2 * i + 1]] = T::widen8(neon, part);
    }
    v
}

#[inline(always)]
fn narrow<T: Convert>(neon: Neon, v: [float32x4_t; 8]) -> [T; 32] {
    let mut x = [T::NAN; 32];
    for i in 0..4 {
        let part = T::narrow8(neon, [v[2 * i], v[2 * i + 1]]);
        // SAFETY: 8 of the 32 elements from 8·i on; the proof.
        unsafe { vst1q_u16(x.as_mut_ptr().add(8 * i).cast(), part) };
    }
    x
}

impl<T: Convert> Memory<T> for Neon {
    #[inline(always)]
    fn load(self, src: &[T]) -> Self::V {
        widen(self, take::<T, 32>(&src[..32], 0, T::NAN))
    }
    #[inline(always)]
    fn load_or(self, src: &[T], fill: f32) -> Self::V {
        widen(self, take::<T, 32>(src, 0, T::narrow(fill)))
    }
    #[inline(always)]
    fn store(self, dst: &mut [MaybeUninit<T>], v: Self::V) {
        put::<T, 32>(&mut dst[..32], 0, narrow(self, v));
    }
    #[inline(always)]
    fn store_partial(self, dst: &mut [MaybeUninit<T>], v: Self::V) {
        put::<T, 32>(dst, 0, narrow(self, v));
    }
}
