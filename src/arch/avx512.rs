//! AVX-512 (F, BW, CD, DQ, VL): 2 zmm of f32, or 2 of f64, to a virtual vector.

use super::avx2::put8;
use super::{UNKNOWN, ZMM, each, is_there};
use crate::element::{DoubleDouble, Element, RAISE, THRESHOLD};
use crate::kernel::Kernel;
use crate::lanes::{Lanes, Memory, STREAM_ALIGN};
use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU8;
use pulp::core_arch::x86::F16c;
use pulp::x86::V4;

/// Proof of AVX-512.
#[derive(Clone, Copy)]
pub struct Avx512(V4, F16c);

impl Avx512 {
    /// The proof, where the CPU and the operating system have all of it.
    #[inline(always)]
    fn try_new() -> Option<Self> {
        static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
        // SAFETY: both are there.
        is_there(&ANSWER, V4::is_available, ZMM).then(|| unsafe { Self(V4::new_unchecked(), F16c::new_unchecked()) })
    }
}

/// [`Kernel::run_apart`] with the features enabled.
trait Enter<T: Element>: Kernel<T> {
    /// # Safety
    /// The CPU has the features.
    unsafe fn enter(self, token: Avx512);
}

impl<T: Element, K: Kernel<T>> Enter<T> for K
where
    Avx512: Memory<T> + Memory<T::Compute>,
{
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
    #[inline(never)]
    unsafe fn enter(self, token: Avx512) {
        self.run(token)
    }
}

/// Runs `kernel`, or gives it back where the CPU has no AVX-512.
#[inline(always)]
pub fn run<T: Element, K: Kernel<T>>(kernel: K) -> Result<(), K>
where
    Avx512: Memory<T> + Memory<T::Compute>,
{
    let Some(token) = Avx512::try_new() else {
        return Err(kernel);
    };
    // SAFETY: the token exists, so the CPU has every feature of `enter`.
    unsafe { kernel.enter(token) };
    Ok(())
}

/// Whether the CPU has it.
#[inline]
pub fn is_available() -> bool {
    Avx512::try_new().is_some()
}

#[inline(always)]
fn mask16(count: usize) -> __mmask16 {
    ((1u32 << count.min(16)) - 1) as __mmask16
}

#[inline(always)]
fn mask8(count: usize) -> __mmask8 {
    ((1u32 << count.min(8)) - 1) as __mmask8
}

impl Avx512 {
    /// Writes the first min(16, dst.len()) lanes, like [`put8`].
    #[inline(always)]
    fn put16(self, dst: &mut [MaybeUninit<f32>], v: __m512) {
        let (f, n) = (self.0.avx512f, dst.len());
        let p: *mut f32 = dst.as_mut_ptr().cast();
        if n >= 16 {
            // SAFETY: 16 ≤ n.
            unsafe { _mm512_storeu_ps(p, v) };
        } else if n >= 8 {
            let iota = f._mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let index = f._mm512_add_epi32(iota, f._mm512_set1_epi32(n as i32 - 8));
            let last = f._mm512_permutexvar_ps(index, v);
            // SAFETY: 8 ≤ n, so that both eights end at or before n.
            unsafe {
                _mm256_storeu_ps(p, f._mm512_castps512_ps256(v));
                _mm256_storeu_ps(p.add(n - 8), f._mm512_castps512_ps256(last));
            }
        } else {
            put8(*self.0, dst, f._mm512_castps512_ps256(v));
        }
    }

    /// The lanes in f64.
    #[inline(always)]
    fn widened(self, v: __m512) -> [__m512d; 2] {
        let f = self.0.avx512f;
        let low = f._mm512_cvtps_pd(f._mm512_castps512_ps256(v));
        [low, f._mm512_cvtps_pd(self.0.avx512dq._mm512_extractf32x8_ps::<1>(v))]
    }

    /// `i + (i + 4)`, `i + (i + 2)`, `i + (i + 1)`.
    #[inline(always)]
    fn sum8(self, v: __m512d) -> f64 {
        let (f, avx, sse2) = (self.0.avx512f, self.0.avx, self.0.sse2);
        let v = avx._mm256_add_pd(f._mm512_castpd512_pd256(v), f._mm512_extractf64x4_pd::<1>(v));
        let v = sse2._mm_add_pd(avx._mm256_castpd256_pd128(v), avx._mm256_extractf128_pd::<1>(v));
        sse2._mm_cvtsd_f64(sse2._mm_add_sd(v, sse2._mm_unpackhi_pd(v, v)))
    }

    /// a + b of eight numbers each, and what rounding took from it.
    #[inline(always)]
    fn two_sum(self, a: __m512d, b: __m512d) -> [__m512d; 2] {
        let f = self.0.avx512f;
        let high = f._mm512_add_pd(a, b);
        let t = f._mm512_sub_pd(high, a);
        let rest = f._mm512_sub_pd(a, f._mm512_sub_pd(high, t));
        [high, f._mm512_add_pd(rest, f._mm512_sub_pd(b, t))]
    }

    /// The operations of `DoubleDouble::add` on eight pairs of finite sums (high, low).
    #[inline(always)]
    fn add_pairs(self, a: [__m512d; 2], b: [__m512d; 2]) -> [__m512d; 2] {
        let f = self.0.avx512f;
        let [high, low] = self.two_sum(a[0], b[0]);
        self.two_sum(high, f._mm512_add_pd(low, f._mm512_add_pd(a[1], b[1])))
    }

    /// [`sum8`](Self::sum8) of each of eight.
    #[inline(always)]
    fn sum8_of_each(self, eight: [__m512d; 8]) -> [f64; 8] {
        let f = self.0.avx512f;
        // Two rows to a vector, four sums of each; then four rows, then eight.
        let four = each!(0 1 4 5; I => {
            let low = f._mm512_shuffle_f64x2::<0x44>(eight[I], eight[I + 2]);
            f._mm512_add_pd(low, f._mm512_shuffle_f64x2::<0xee>(eight[I], eight[I + 2]))
        });
        let [even, odd] = each!(0 1; I => {
            let low = f._mm512_shuffle_f64x2::<0x88>(four[I], four[I + 2]);
            f._mm512_add_pd(low, f._mm512_shuffle_f64x2::<0xdd>(four[I], four[I + 2]))
        });
        pulp::bytemuck::cast(f._mm512_add_pd(f._mm512_unpacklo_pd(even, odd), f._mm512_unpackhi_pd(even, odd)))
    }
}

impl Lanes<f32> for Avx512 {
    #[inline(always)]
    fn hint<const LATER: bool>(self, place: *const u8) {
        super::hint::<LATER>(place.cast());
    }
    const FUSED: bool = true;
    const COMPACT: bool = false;
    const WIDE: bool = true;
    #[inline(always)]
    fn call<T: Element<Compute = f32>, K: Kernel<T>>(self, kernel: K)
    where
        Self: Memory<T>,
    {
        // SAFETY: the token exists, so the CPU has every feature of `enter`.
        unsafe { Enter::<T>::enter(kernel, self) }
    }
    type V = [__m512; 2];
    type Half = __m512;
    type Acc = [__m512d; 2];
    type Seen = [__m512i; 2];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [self.0.avx512f._mm512_set1_ps(x); 2]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_add_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_sub_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_mul_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_div_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_fmadd_ps(a[I], b[I], c[I]))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_fnmadd_ps(a[I], b[I], c[I]))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // vmaxps returns its second operand where either is NaN.
        each!(0 1; I => self.0.avx512f._mm512_max_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // vminps returns its second operand where either is NaN.
        each!(0 1; I => self.0.avx512f._mm512_min_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn zero_below(self, v: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        let f = self.0.avx512f;
        // not less than, or unordered
        each!(0 1; I => f._mm512_maskz_mov_ps(f._mm512_cmp_ps_mask::<_CMP_NLT_UQ>(key[I], limit[I]), v[I]))
    }
    #[inline(always)]
    fn product_from(self, v: Self::V, [high, low]: [Self::V; 2], limit: Self::V) -> Self::V {
        let f = self.0.avx512f;
        each!(0 1; I => {
            let k = f._mm512_cmp_ps_mask::<_CMP_NLT_UQ>(v[I], limit[I]);
            let product = f._mm512_maskz_mul_ps(k, v[I], low[I]);
            f._mm512_maskz_fmadd_ps(k, v[I], high[I], product)
        })
    }
    #[inline(always)]
    fn select_below(self, v: Self::V, below: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        let f = self.0.avx512f;
        // The comparison of `zero_below`, so that there is one where both are done.
        each!(0 1; I => f._mm512_mask_mov_ps(below[I], f._mm512_cmp_ps_mask::<_CMP_NLT_UQ>(key[I], limit[I]), v[I]))
    }
    #[inline(always)]
    fn bits_of(self, bytes: &[u8]) -> u32 {
        super::avx2::bits_of(*self.0, bytes)
    }
    #[inline(always)]
    fn keep_first(self, v: Self::V, count: usize) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_maskz_mov_ps(mask16(count.saturating_sub(16 * I)), v[I]))
    }
    #[inline(always)]
    fn splat_groups<const P: usize>(self, parts: [f32; P]) -> Self::V {
        let f = self.0.avx512f;
        match *parts.as_slice() {
            [a, b] => [f._mm512_set1_ps(a), f._mm512_set1_ps(b)],
            [a, b, c, d] => {
                let pair = |a, b| f._mm512_mask_mov_ps(f._mm512_set1_ps(a), 0xff00, f._mm512_set1_ps(b));
                [pair(a, b), pair(c, d)]
            }
            _ => unreachable!("2 or 4 parts"),
        }
    }
    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        let f = self.0.avx512f;
        each!(0 1; I => f._mm512_castsi512_ps(
            f._mm512_add_epi32(f._mm512_castps_si512(a[I]), f._mm512_castps_si512(b[I]))))
    }
    #[inline(always)]
    fn shl_exponent(self, v: Self::V) -> Self::V {
        let f = self.0.avx512f;
        each!(0 1; I => f._mm512_castsi512_ps(f._mm512_slli_epi32::<23>(f._mm512_castps_si512(v[I]))))
    }
    #[inline(always)]
    fn shl_exponent_of_eighths(self, v: Self::V) -> Self::V {
        let f = self.0.avx512f;
        each!(0 1; I => f._mm512_castsi512_ps(f._mm512_slli_epi32::<20>(f._mm512_castps_si512(v[I]))))
    }
    #[inline(always)]
    fn lookup(self, table: &'static [f32; 8], index: Self::V) -> Self::V {
        let f = self.0.avx512f;
        // vpermps takes four bits of the index: the table stands twice.
        let t = f._mm512_setr_ps(
            table[0], table[1], table[2], table[3], table[4], table[5], table[6], table[7], table[0], table[1],
            table[2], table[3], table[4], table[5], table[6], table[7],
        );
        each!(0 1; I => f._mm512_permutexvar_ps(f._mm512_castps_si512(index[I]), t))
    }
    #[inline(always)]
    fn seen_none(self) -> Self::Seen {
        let f = self.0.avx512f;
        [f._mm512_setzero_si512(), f._mm512_set1_epi32(!0)]
    }
    #[inline(always)]
    fn seen(self, seen: Self::Seen, v: Self::V) -> Self::Seen {
        let f = self.0.avx512f;
        let [a, b] = [f._mm512_castps_si512(v[0]), f._mm512_castps_si512(v[1])];
        [
            f._mm512_ternarylogic_epi32::<0xfe>(seen[0], a, b),
            f._mm512_ternarylogic_epi32::<0x80>(seen[1], a, b),
        ]
    }
    #[inline(always)]
    fn seen_none_of(self, seen: Self::Seen, forbidden: u32) -> bool {
        let f = self.0.avx512f;
        f._mm512_test_epi32_mask(seen[0], f._mm512_set1_epi32(forbidden as i32)) == 0
    }
    #[inline(always)]
    fn seen_all_with(self, seen: Self::Seen, bit: u32) -> bool {
        let f = self.0.avx512f;
        f._mm512_testn_epi32_mask(seen[1], f._mm512_set1_epi32(bit as i32)) == 0
    }
    #[inline(always)]
    fn reduce_max(self, v: Self::V) -> f32 {
        self.0
            .avx512f
            ._mm512_reduce_max_ps(self.0.avx512f._mm512_max_ps(v[0], v[1]))
    }
    #[inline(always)]
    fn fold(self, v: Self::V) -> Self::Half {
        self.0.avx512f._mm512_add_ps(v[0], v[1])
    }
    #[inline(always)]
    fn add_half(self, a: Self::Half, b: Self::Half) -> Self::Half {
        self.0.avx512f._mm512_add_ps(a, b)
    }
    #[inline(always)]
    fn acc_zero(self) -> Self::Acc {
        [self.0.avx512f._mm512_setzero_pd(); 2]
    }
    #[inline(always)]
    fn acc_add(self, acc: Self::Acc, v: Self::Half) -> Self::Acc {
        let f = self.0.avx512f;
        let [low, high] = self.widened(v);
        [f._mm512_add_pd(acc[0], low), f._mm512_add_pd(acc[1], high)]
    }
    #[inline(always)]
    fn acc_of(self, v: Self::Half) -> Self::Acc {
        self.widened(v)
    }
    #[inline(always)]
    fn acc_sum(self, acc: Self::Acc) -> f64 {
        self.sum8(self.0.avx512f._mm512_add_pd(acc[0], acc[1]))
    }
    #[inline(always)]
    fn acc_sums(self, acc: &[Self::Acc; 8]) -> [f64; 8] {
        self.sum8_of_each(each!(0 1 2 3 4 5 6 7; I => self.0.avx512f._mm512_add_pd(acc[I][0], acc[I][1])))
    }
    #[inline(always)]
    fn divisors(self, sums: [f64; 8]) -> [[f32; 8]; 3] {
        let f = self.0.avx512f;
        let sums = pulp::bytemuck::cast(sums);
        let quotient = f._mm512_div_pd(f._mm512_set1_pd(RAISE), sums);
        let high = f._mm512_cvtpd_ps(quotient);
        let low = f._mm512_cvtpd_ps(f._mm512_sub_pd(quotient, f._mm512_cvtps_pd(high)));
        let threshold = f._mm512_cvtpd_ps(f._mm512_mul_pd(sums, f._mm512_set1_pd(THRESHOLD)));
        pulp::bytemuck::cast([high, low, threshold])
    }
    #[inline(always)]
    fn sum_groups<const P: usize>(self, v: &[Self::V]) -> [f64; 8] {
        let v = &v[..8 / P];
        self.sum8_of_each(each!(0 1 2 3 4 5 6 7; I => {
            let [low, high] = self.widened(v[I / P][I % P * 2 / P]);
            match (P, I % 2) {
                (4, 0) => low,
                (4, _) => high,
                _ => self.0.avx512f._mm512_add_pd(low, high),
            }
        }))
    }
}

impl Memory<f32> for Avx512 {
    #[inline(always)]
    fn keep_bits(self, v: Self::V, bits: u32) -> Self::V {
        let f = self.0.avx512f;
        let least = f._mm512_set1_ps(f32::NEG_INFINITY);
        each!(0 1; I => f._mm512_mask_mov_ps(least, (bits >> (16 * I)) as __mmask16, v[I]))
    }
    #[cfg(feature = "half")]
    super::half::load_halves!();
    const STREAMS: bool = true;
    #[inline(always)]
    fn load(self, src: &[f32]) -> Self::V {
        let src = &src[..32];
        // SAFETY: the slice has 32 elements, checked above; the loads may be unaligned.
        each!(0 1; I => unsafe { _mm512_loadu_ps(src.as_ptr().add(16 * I)) })
    }
    #[inline(always)]
    fn load_or(self, src: &[f32], fill: f32) -> Self::V {
        let fill = self.0.avx512f._mm512_set1_ps(fill);
        // SAFETY: masked-out elements are not accessed, and the mask has as many bits as elements follow.
        each!(0 1; I => unsafe {
            _mm512_mask_loadu_ps(fill, mask16(src.len().saturating_sub(16 * I)), src.as_ptr().wrapping_add(16 * I))
        })
    }
    #[inline(always)]
    fn store(self, dst: &mut [MaybeUninit<f32>], v: Self::V) {
        let dst = &mut dst[..32];
        // SAFETY: the slice has 32 elements, checked above; the stores may be unaligned.
        let _ = each!(0 1; I => unsafe { _mm512_storeu_ps(dst.as_mut_ptr().add(16 * I).cast(), v[I]) });
    }
    #[inline(always)]
    fn load_groups<const P: usize>(self, rows: [&[f32]; P], fill: f32) -> Self::V {
        let f = self.0.avx512f;
        let fill = f._mm512_set1_ps(fill);
        // Masked-out elements are not accessed; the mask has one bit to an element, shifted with the pointer.
        let part =
            |row: &[f32], shift: usize| (mask16(row.len().min(32 / P)) << shift, row.as_ptr().wrapping_sub(shift));
        let one = |row: &[f32]| {
            let (mask, p) = part(row, 0);
            // SAFETY: the mask covers elements of the row alone.
            unsafe { _mm512_mask_loadu_ps(fill, mask, p) }
        };
        let two = |a: &[f32], b: &[f32]| {
            let (mask, p) = part(b, 8);
            // SAFETY: the mask covers elements of the row alone.
            unsafe { _mm512_mask_loadu_ps(one(a), mask, p) }
        };
        match *rows.as_slice() {
            [a, b] => [one(a), one(b)],
            [a, b, c, d] => [two(a, b), two(c, d)],
            _ => unreachable!("2 or 4 parts"),
        }
    }
    #[inline(always)]
    fn store_group<const P: usize>(self, dst: &mut [MaybeUninit<f32>], v: Self::V, g: usize) {
        let f = self.0.avx512f;
        let v = v[g * 2 / P];
        match (P, g % 2) {
            (4, 0) => put8(*self.0, dst, f._mm512_castps512_ps256(v)),
            (4, _) => put8(*self.0, dst, self.0.avx512dq._mm512_extractf32x8_ps::<1>(v)),
            _ => self.put16(dst, v),
        }
    }
    #[inline(always)]
    fn store_partial(self, dst: &mut [MaybeUninit<f32>], v: Self::V) {
        if dst.len() <= 16 {
            return self.put16(dst, v[0]);
        }
        let (whole, rest) = dst.split_at_mut(16);
        self.put16(whole, v[0]);
        self.put16(rest, v[1]);
    }
    #[inline(always)]
    fn stream(self, dst: &mut [MaybeUninit<f32>], v: Self::V) {
        let dst = &mut dst[..32];
        if !dst.as_ptr().addr().is_multiple_of(STREAM_ALIGN) {
            return self.store(dst, v);
        }
        // SAFETY: the slice has 32 elements and is aligned to 64 bytes, checked above.
        let _ = each!(0 1; I => unsafe { _mm512_stream_ps(dst.as_mut_ptr().add(16 * I).cast(), v[I]) });
    }
    #[inline(always)]
    fn stream_end(self) {
        self.0.sse._mm_sfence();
    }
}

impl Lanes<f64> for Avx512 {
    #[inline(always)]
    fn hint<const LATER: bool>(self, place: *const u8) {
        super::hint::<LATER>(place.cast());
    }
    const FUSED: bool = true;
    const COMPACT: bool = false;
    const WIDE: bool = true;
    #[inline(always)]
    fn call<T: Element<Compute = f64>, K: Kernel<T>>(self, kernel: K)
    where
        Self: Memory<T>,
    {
        // SAFETY: the token exists, so the CPU has every feature of `enter`.
        unsafe { Enter::<T>::enter(kernel, self) }
    }
    type V = [__m512d; 2];
    type Half = [__m512d; 2];
    type Acc = [[__m512d; 2]; 2];
    type Seen = [__m512i; 2];

    #[inline(always)]
    fn splat(self, x: f64) -> Self::V {
        [self.0.avx512f._mm512_set1_pd(x); 2]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_add_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_sub_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_mul_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_div_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_fmadd_pd(a[I], b[I], c[I]))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_fnmadd_pd(a[I], b[I], c[I]))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_max_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_min_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn zero_below(self, v: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        let f = self.0.avx512f;
        each!(0 1; I => f._mm512_maskz_mov_pd(f._mm512_cmp_pd_mask::<_CMP_NLT_UQ>(key[I], limit[I]), v[I]))
    }
    #[inline(always)]
    fn product_from(self, v: Self::V, [high, low]: [Self::V; 2], limit: Self::V) -> Self::V {
        let f = self.0.avx512f;
        each!(0 1; I => {
            let k = f._mm512_cmp_pd_mask::<_CMP_NLT_UQ>(v[I], limit[I]);
            let product = f._mm512_maskz_mul_pd(k, v[I], low[I]);
            f._mm512_maskz_fmadd_pd(k, v[I], high[I], product)
        })
    }
    #[inline(always)]
    fn select_below(self, v: Self::V, below: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        let f = self.0.avx512f;
        each!(0 1; I => f._mm512_mask_mov_pd(below[I], f._mm512_cmp_pd_mask::<_CMP_NLT_UQ>(key[I], limit[I]), v[I]))
    }
    #[inline(always)]
    fn bits_of(self, bytes: &[u8]) -> u32 {
        super::avx2::bits_of(*self.0, bytes)
    }
    #[inline(always)]
    fn keep_first(self, v: Self::V, count: usize) -> Self::V {
        each!(0 1; I => self.0.avx512f._mm512_maskz_mov_pd(mask8(count.saturating_sub(8 * I)), v[I]))
    }
    #[inline(always)]
    fn splat_groups<const P: usize>(self, parts: [f64; P]) -> Self::V {
        let f = self.0.avx512f;
        match *parts.as_slice() {
            [a, b] => [f._mm512_set1_pd(a), f._mm512_set1_pd(b)],
            [a, b, c, d] => {
                let pair = |a, b| f._mm512_mask_mov_pd(f._mm512_set1_pd(a), 0xf0, f._mm512_set1_pd(b));
                [pair(a, b), pair(c, d)]
            }
            _ => unreachable!("2 or 4 parts"),
        }
    }
    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        let f = self.0.avx512f;
        each!(0 1; I => f._mm512_castsi512_pd(
            f._mm512_add_epi64(f._mm512_castpd_si512(a[I]), f._mm512_castpd_si512(b[I]))))
    }
    #[inline(always)]
    fn shl_exponent(self, v: Self::V) -> Self::V {
        let f = self.0.avx512f;
        each!(0 1; I => f._mm512_castsi512_pd(f._mm512_slli_epi64::<52>(f._mm512_castpd_si512(v[I]))))
    }
    #[inline(always)]
    fn seen_none(self) -> Self::Seen {
        let f = self.0.avx512f;
        [f._mm512_setzero_si512(), f._mm512_set1_epi32(!0)]
    }
    #[inline(always)]
    fn seen(self, seen: Self::Seen, v: Self::V) -> Self::Seen {
        let f = self.0.avx512f;
        let [a, b] = [f._mm512_castpd_si512(v[0]), f._mm512_castpd_si512(v[1])];
        [
            f._mm512_ternarylogic_epi32::<0xfe>(seen[0], a, b),
            f._mm512_ternarylogic_epi32::<0x80>(seen[1], a, b),
        ]
    }
    #[inline(always)]
    fn seen_none_of(self, seen: Self::Seen, forbidden: u64) -> bool {
        let f = self.0.avx512f;
        f._mm512_test_epi64_mask(seen[0], f._mm512_set1_epi64(forbidden as i64)) == 0
    }
    #[inline(always)]
    fn seen_all_with(self, seen: Self::Seen, bit: u64) -> bool {
        let f = self.0.avx512f;
        f._mm512_testn_epi64_mask(seen[1], f._mm512_set1_epi64(bit as i64)) == 0
    }
    #[inline(always)]
    fn reduce_max(self, v: Self::V) -> f64 {
        self.0
            .avx512f
            ._mm512_reduce_max_pd(self.0.avx512f._mm512_max_pd(v[0], v[1]))
    }
    #[inline(always)]
    fn fold(self, v: Self::V) -> Self::Half {
        v
    }
    #[inline(always)]
    fn add_half(self, a: Self::Half, b: Self::Half) -> Self::Half {
        Lanes::<f64>::add(self, a, b)
    }
    #[inline(always)]
    fn acc_zero(self) -> Self::Acc {
        [[self.0.avx512f._mm512_setzero_pd(); 2]; 2]
    }
    #[inline(always)]
    fn acc_add(self, acc: Self::Acc, v: Self::Half) -> Self::Acc {
        super::two_sum(self, acc, v)
    }
    #[inline(always)]
    fn acc_sum(self, acc: Self::Acc) -> DoubleDouble {
        super::sum_pairs(pulp::bytemuck::cast(acc[0]), pulp::bytemuck::cast(acc[1]))
    }
    #[inline(always)]
    fn acc_sums(self, acc: &[Self::Acc; 8]) -> [DoubleDouble; 8] {
        let f = self.0.avx512f;
        // As in f32, but of pairs.
        let eight = each!(0 1 2 3 4 5 6 7; I => {
            let [high, low] = acc[I];
            self.add_pairs([high[0], low[0]], [high[1], low[1]])
        });
        let four = each!(0 1 4 5; I => self.add_pairs(
            each!(0 1; K => f._mm512_shuffle_f64x2::<0x44>(eight[I][K], eight[I + 2][K])),
            each!(0 1; K => f._mm512_shuffle_f64x2::<0xee>(eight[I][K], eight[I + 2][K]))));
        let [even, odd] = each!(0 1; I => self.add_pairs(
            each!(0 1; K => f._mm512_shuffle_f64x2::<0x88>(four[I][K], four[I + 2][K])),
            each!(0 1; K => f._mm512_shuffle_f64x2::<0xdd>(four[I][K], four[I + 2][K]))));
        let sums = self.add_pairs(
            each!(0 1; K => f._mm512_unpacklo_pd(even[K], odd[K])),
            each!(0 1; K => f._mm512_unpackhi_pd(even[K], odd[K])),
        );
        let [high, low]: [[f64; 8]; 2] = pulp::bytemuck::cast(sums);
        each!(0 1 2 3 4 5 6 7; I => DoubleDouble { high: high[I], low: low[I] })
    }
    #[inline(always)]
    fn sum_groups<const P: usize>(self, v: &[Self::V]) -> [DoubleDouble; 8] {
        super::sum_parts::<f64, P>(pulp::bytemuck::cast_slice(v))
    }
}

impl Memory<f64> for Avx512 {
    const STREAMS: bool = true;
    #[inline(always)]
    fn load(self, src: &[f64]) -> Self::V {
        let src = &src[..16];
        // SAFETY: the slice has 16 elements, checked above; the loads may be unaligned.
        each!(0 1; I => unsafe { _mm512_loadu_pd(src.as_ptr().add(8 * I)) })
    }
    #[inline(always)]
    fn load_or(self, src: &[f64], fill: f64) -> Self::V {
        let fill = self.0.avx512f._mm512_set1_pd(fill);
        // SAFETY: masked-out elements are not accessed, and the mask has as many bits as elements follow.
        each!(0 1; I => unsafe {
            _mm512_mask_loadu_pd(fill, mask8(src.len().saturating_sub(8 * I)), src.as_ptr().wrapping_add(8 * I))
        })
    }
    #[inline(always)]
    fn store(self, dst: &mut [MaybeUninit<f64>], v: Self::V) {
        let dst = &mut dst[..16];
        // SAFETY: the slice has 16 elements, checked above; the stores may be unaligned.
        let _ = each!(0 1; I => unsafe { _mm512_storeu_pd(dst.as_mut_ptr().add(8 * I).cast(), v[I]) });
    }
    #[inline(always)]
    fn store_partial(self, dst: &mut [MaybeUninit<f64>], v: Self::V) {
        let _ = each!(0 1; I => super::put::<f64, 8>(dst, 8 * I, pulp::bytemuck::cast(v[I])));
    }
    #[inline(always)]
    fn stream(self, dst: &mut [MaybeUninit<f64>], v: Self::V) {
        let dst = &mut dst[..16];
        if !dst.as_ptr().addr().is_multiple_of(STREAM_ALIGN) {
            return self.store(dst, v);
        }
        // SAFETY: the slice has 16 elements and is aligned to 64 bytes, checked above.
        let _ = each!(0 1; I => unsafe { _mm512_stream_pd(dst.as_mut_ptr().add(8 * I).cast(), v[I]) });
    }
    #[inline(always)]
    fn stream_end(self) {
        self.0.sse._mm_sfence();
    }
}
