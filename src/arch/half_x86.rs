//! Loads and stores of f16 and bf16 on AVX2 and AVX-512.
//!
//! f16 by F16C (`vcvtph2ps` ignores DAZ, `vcvtps2ph` rounds as its operand says and ignores FTZ), bf16 by shifts and an
//! integer rounding. Parts of a vector go through general registers: there is no masked access to 16-bit elements on
//! AVX2, and a masked store takes tens of cycles on some CPUs.

use super::avx2::{Avx2, among8};
use super::avx512::Avx512;
use super::each;
use super::half::Half;
use crate::lanes::Memory;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;

/// Conversions of a register.
///
/// # Safety
/// The functions with `256` need AVX2 and F16C, those with `512` AVX-512 F and BW.
trait Convert: Half {
    unsafe fn widen256(v: __m128i) -> __m256;
    unsafe fn narrow256(v: __m256) -> __m128i;
    unsafe fn widen512(v: __m256i) -> __m512;
    unsafe fn narrow512(v: __m512) -> __m256i;
}

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

impl Convert for half::f16 {
    #[inline(always)]
    unsafe fn widen256(v: __m128i) -> __m256 {
        // SAFETY: F16C by the caller's contract.
        unsafe { _mm256_cvtph_ps(v) }
    }
    #[inline(always)]
    unsafe fn narrow256(v: __m256) -> __m128i {
        // SAFETY: F16C by the caller's contract.
        unsafe { _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v) }
    }
    #[inline(always)]
    unsafe fn widen512(v: __m256i) -> __m512 {
        // SAFETY: AVX-512F by the caller's contract.
        unsafe { _mm512_cvtph_ps(v) }
    }
    #[inline(always)]
    unsafe fn narrow512(v: __m512) -> __m256i {
        // SAFETY: AVX-512F by the caller's contract.
        unsafe { _mm512_cvtps_ph::<NEAREST>(v) }
    }
}

impl Convert for half::bf16 {
    #[inline(always)]
    unsafe fn widen256(v: __m128i) -> __m256 {
        // SAFETY: AVX2 by the caller's contract.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(v))) }
    }
    #[inline(always)]
    unsafe fn narrow256(v: __m256) -> __m128i {
        // SAFETY: AVX2 by the caller's contract.
        unsafe {
            let bits = _mm256_castps_si256(v);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let number = _mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7fff));
            let nan = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
            let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
            let high = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(number, nan, is_nan));
            _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256::<1>(high))
        }
    }
    #[inline(always)]
    unsafe fn widen512(v: __m256i) -> __m512 {
        // SAFETY: AVX-512F by the caller's contract.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(v))) }
    }
    #[inline(always)]
    unsafe fn narrow512(v: __m512) -> __m256i {
        // SAFETY: AVX-512F by the caller's contract.
        unsafe {
            let bits = _mm512_castps_si512(v);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let number = _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff));
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            let rounded = _mm512_mask_or_epi32(number, is_nan, bits, _mm512_set1_epi32(0x0040_0000));
            _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded))
        }
    }
}

/// The first min(8, src.len()) elements, 0 in the other lanes; two loads that overlap.
#[inline(always)]
fn take8<T: Half>(src: &[T]) -> __m128i {
    let (p, n) = (src.as_ptr(), src.len());
    // SAFETY: each read of s elements stands at 0 or n − s, under a branch that knows s ≤ n.
    unsafe {
        if n >= 8 {
            return _mm_loadu_si128(p.cast());
        }
        let (low, high) = if n >= 4 {
            let last: u64 = p.add(n - 4).cast::<u64>().read_unaligned();
            (p.cast::<u64>().read_unaligned(), last >> 8 >> (120 - 16 * n))
        } else if n >= 2 {
            let last = u64::from(p.add(n - 2).cast::<u32>().read_unaligned());
            let first = u64::from(p.cast::<u32>().read_unaligned());
            (first | last >> (64 - 16 * n) << 32, 0)
        } else if n == 1 {
            (u64::from(p.cast::<u16>().read_unaligned()), 0)
        } else {
            (0, 0)
        };
        _mm_set_epi64x(high as i64, low as i64)
    }
}

/// Writes the first min(8, dst.len()) lanes; two stores that overlap.
#[inline(always)]
fn put8<T: Half>(dst: &mut [MaybeUninit<T>], v: __m128i) {
    let (p, n) = (dst.as_mut_ptr(), dst.len());
    // SAFETY: each write of s elements stands at 0 or n − s, under a branch that knows s ≤ n; SSE2 is always there.
    unsafe {
        if n >= 8 {
            return _mm_storeu_si128(p.cast(), v);
        }
        let (low, high) = (
            _mm_cvtsi128_si64(v) as u64,
            _mm_cvtsi128_si64(_mm_unpackhi_epi64(v, v)) as u64,
        );
        let all = u128::from(high) << 64 | u128::from(low);
        if n >= 4 {
            p.cast::<u64>().write_unaligned(low);
            p.add(n - 4)
                .cast::<u64>()
                .write_unaligned((all >> (16 * (n - 4))) as u64);
        } else if n >= 2 {
            p.cast::<u32>().write_unaligned(low as u32);
            p.add(n - 2)
                .cast::<u32>()
                .write_unaligned((low >> (16 * (n - 2))) as u32);
        } else if n == 1 {
            p.cast::<u16>().write_unaligned(low as u16);
        }
    }
}

/// The elements of `src` from `at` on.
#[inline(always)]
fn from<T>(src: &[T], at: usize) -> &[T] {
    src.get(at..).unwrap_or_default()
}

#[inline(always)]
fn from_mut<T>(dst: &mut [T], at: usize) -> &mut [T] {
    dst.get_mut(at..).unwrap_or_default()
}

/// Up to eight elements, and `fill`.
#[inline(always)]
fn part256<T: Convert>(proof: Avx2, src: &[T], fill: f32) -> __m256 {
    // SAFETY: the proof.
    unsafe {
        let mask = _mm256_castsi256_ps(among8(proof.0, src.len(), 0));
        _mm256_blendv_ps(_mm256_set1_ps(fill), T::widen256(take8(src)), mask)
    }
}

impl<T: Convert> Memory<T> for Avx2 {
    #[inline(always)]
    fn load(self, src: &[T]) -> Self::V {
        let src = &src[..32];
        // SAFETY: the slice has 32 elements, checked above; the loads may be unaligned; `self` is the proof.
        each!(0 1 2 3; I => unsafe { T::widen256(_mm_loadu_si128(src.as_ptr().add(8 * I).cast())) })
    }
    #[inline(always)]
    fn load_or(self, src: &[T], fill: f32) -> Self::V {
        each!(0 1 2 3; I => part256(self, from(src, 8 * I), fill))
    }
    #[inline(always)]
    fn store(self, dst: &mut [MaybeUninit<T>], v: Self::V) {
        let dst = &mut dst[..32];
        // SAFETY: the slice has 32 elements, checked above; the stores may be unaligned; `self` is the proof.
        let _ = each!(0 1 2 3; I => unsafe {
            _mm_storeu_si128(dst.as_mut_ptr().add(8 * I).cast(), T::narrow256(v[I]))
        });
    }
    #[inline(always)]
    fn load_groups<const P: usize>(self, rows: [&[T]; P], fill: f32) -> Self::V {
        each!(0 1 2 3; I => part256(self, from(rows[I * P / 4], I * 8 % (32 / P)), fill))
    }
    #[inline(always)]
    fn store_group<const P: usize>(self, dst: &mut [MaybeUninit<T>], v: Self::V, g: usize) {
        for at in (0..32 / P).step_by(8) {
            // SAFETY: `self` is the proof.
            put8(from_mut(dst, at), unsafe { T::narrow256(v[(g * (32 / P) + at) / 8]) });
        }
    }
    #[inline(always)]
    fn store_partial(self, dst: &mut [MaybeUninit<T>], v: Self::V) {
        // SAFETY: `self` is the proof.
        let _ = each!(0 1 2 3; I => put8(from_mut(dst, 8 * I), unsafe { T::narrow256(v[I]) }));
    }
}

/// The first `count` of 16.
#[inline(always)]
fn mask16(count: usize) -> __mmask16 {
    ((1u32 << count.min(16)) - 1) as __mmask16
}

/// The first min(8, src.len()) elements, and their mask.
#[inline(always)]
fn masked8<T>(_proof: Avx512, src: &[T]) -> (__m128i, __mmask8) {
    let mask = mask16(src.len().min(8)) as __mmask8;
    // SAFETY: masked-out elements are not accessed; the proof.
    (unsafe { _mm_maskz_loadu_epi16(mask, src.as_ptr().cast()) }, mask)
}

/// Up to sixteen elements of `src` from `at` on, and `fill`.
///
/// Where there are none the address is near the others all the same: a masked load from a page that is not there takes a
/// hundred nanoseconds, though nothing is accessed.
#[inline(always)]
fn part512<T: Convert>(_proof: Avx512, src: &[T], at: usize, fill: f32) -> __m512 {
    let mask = mask16(src.len().saturating_sub(at));
    // SAFETY: masked-out elements are not accessed; the proof.
    unsafe {
        let v = T::widen512(_mm256_maskz_loadu_epi16(mask, src.as_ptr().wrapping_add(at).cast()));
        _mm512_mask_mov_ps(_mm512_set1_ps(fill), mask, v)
    }
}

/// Up to eight elements of each of two rows, and `fill`.
#[inline(always)]
fn two512<T: Convert>(proof: Avx512, a: &[T], b: &[T], fill: f32) -> __m512 {
    let ((a, a_mask), (b, b_mask)) = (masked8(proof, a), masked8(proof, b));
    let mask = __mmask16::from(a_mask) | __mmask16::from(b_mask) << 8;
    // SAFETY: the proof.
    unsafe { _mm512_mask_mov_ps(_mm512_set1_ps(fill), mask, T::widen512(_mm256_set_m128i(b, a))) }
}

/// Writes the first min(16, dst.len()) lanes, like [`put8`].
#[inline(always)]
fn put16<T: Convert>(_proof: Avx512, dst: &mut [MaybeUninit<T>], v: __m512) {
    let (p, n) = (dst.as_mut_ptr(), dst.len());
    // SAFETY: each store of s lanes stands at 0 or n − s, under a branch that knows s ≤ n; the proof.
    unsafe {
        let v = T::narrow512(v);
        if n >= 16 {
            _mm256_storeu_si256(p.cast(), v);
        } else if n >= 8 {
            let iota = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let last = _mm256_permutexvar_epi16(_mm256_add_epi16(iota, _mm256_set1_epi16(n as i16 - 8)), v);
            _mm_storeu_si128(p.cast(), _mm256_castsi256_si128(v));
            _mm_storeu_si128(p.add(n - 8).cast(), _mm256_castsi256_si128(last));
        } else {
            put8(dst, _mm256_castsi256_si128(v));
        }
    }
}

impl<T: Convert> Memory<T> for Avx512 {
    #[inline(always)]
    fn load(self, src: &[T]) -> Self::V {
        let src = &src[..32];
        // SAFETY: the slice has 32 elements, checked above; the loads may be unaligned; `self` is the proof.
        each!(0 1; I => unsafe { T::widen512(_mm256_loadu_si256(src.as_ptr().add(16 * I).cast())) })
    }
    #[inline(always)]
    fn load_or(self, src: &[T], fill: f32) -> Self::V {
        each!(0 1; I => part512(self, src, 16 * I, fill))
    }
    #[inline(always)]
    fn store(self, dst: &mut [MaybeUninit<T>], v: Self::V) {
        let dst = &mut dst[..32];
        // SAFETY: the slice has 32 elements, checked above; the stores may be unaligned; `self` is the proof.
        let _ = each!(0 1; I => unsafe {
            _mm256_storeu_si256(dst.as_mut_ptr().add(16 * I).cast(), T::narrow512(v[I]))
        });
    }
    #[inline(always)]
    fn load_groups<const P: usize>(self, rows: [&[T]; P], fill: f32) -> Self::V {
        match *rows.as_slice() {
            [a, b] => [part512(self, a, 0, fill), part512(self, b, 0, fill)],
            [a, b, c, d] => [two512(self, a, b, fill), two512(self, c, d, fill)],
            _ => unreachable!("2 or 4 parts"),
        }
    }
    #[inline(always)]
    fn store_group<const P: usize>(self, dst: &mut [MaybeUninit<T>], v: Self::V, g: usize) {
        let v = v[g * 2 / P];
        if P == 2 {
            return put16(self, dst, v);
        }
        // SAFETY: `self` is the proof.
        let half = unsafe {
            let v = T::narrow512(v);
            match g & 1 {
                0 => _mm256_castsi256_si128(v),
                _ => _mm256_extracti128_si256::<1>(v),
            }
        };
        put8(dst, half);
    }
    #[inline(always)]
    fn store_partial(self, dst: &mut [MaybeUninit<T>], v: Self::V) {
        let _ = each!(0 1; I => put16(self, from_mut(dst, 16 * I), v[I]));
    }
}
