//! AVX2 + FMA + F16C: 4 ymm of f32, or 4 of f64, to a virtual vector.

use super::{UNKNOWN, YMM, each, is_there, take};
use crate::element::{DoubleDouble, Element, RAISE, THRESHOLD};
use crate::kernel::Kernel;
use crate::lanes::{Lanes, Memory};
use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU8;
use pulp::core_arch::x86::F16c;
use pulp::x86::V3;

/// Proof of AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub struct Avx2(pub(super) V3, F16c);

impl Avx2 {
    /// The proof, where the CPU and the operating system have all of it.
    #[inline(always)]
    fn try_new() -> Option<Self> {
        static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
        // SAFETY: both are there.
        is_there(&ANSWER, V3::is_available, YMM).then(|| unsafe { Self(V3::new_unchecked(), F16c::new_unchecked()) })
    }
}

/// [`Kernel::run_apart`] with the features enabled.
trait Enter<T: Element>: Kernel<T> {
    /// # Safety
    /// The CPU has the features.
    unsafe fn enter(self, token: Avx2);
}

impl<T: Element, K: Kernel<T>> Enter<T> for K
where
    Avx2: Memory<T> + Memory<T::Compute>,
{
    #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
    #[inline(never)]
    unsafe fn enter(self, token: Avx2) {
        self.run(token)
    }
}

/// Runs `kernel`, or gives it back where the CPU lacks the features.
#[inline(always)]
pub fn run<T: Element, K: Kernel<T>>(kernel: K) -> Result<(), K>
where
    Avx2: Memory<T> + Memory<T::Compute>,
{
    let Some(token) = Avx2::try_new() else {
        return Err(kernel);
    };
    // SAFETY: the token exists, so the CPU has every feature of `enter`.
    unsafe { kernel.enter(token) };
    Ok(())
}

/// Whether the CPU has it.
#[inline]
pub fn is_available() -> bool {
    Avx2::try_new().is_some()
}

/// The lanes of eight, of which the first is lane `from` of a vector of 32, that are among the vector's first `count`.
#[inline(always)]
pub(super) fn among8(cpu: V3, count: usize, from: usize) -> __m256i {
    let lane = cpu.avx._mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let lane = cpu.avx2._mm256_add_epi32(lane, cpu.avx._mm256_set1_epi32(from as i32));
    cpu.avx2
        ._mm256_cmpgt_epi32(cpu.avx._mm256_set1_epi32(count.min(32) as i32), lane)
}

/// A bit for each of up to 32 bytes: whether it is not 0.
#[inline(always)]
pub(super) fn bits_of(cpu: V3, bytes: &[u8]) -> u32 {
    let bytes = pulp::bytemuck::cast(take::<u8, 32>(bytes, 0, 0));
    let zero = cpu.avx2._mm256_cmpeq_epi8(bytes, cpu.avx._mm256_setzero_si256());
    !cpu.avx2._mm256_movemask_epi8(zero) as u32
}

/// The lanes from `by` on, moved to the front.
#[inline(always)]
fn shifted(cpu: V3, v: __m256, by: usize) -> __m256 {
    let iota = cpu.avx._mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let index = cpu.avx2._mm256_add_epi32(iota, cpu.avx._mm256_set1_epi32(by as i32));
    cpu.avx2._mm256_permutevar8x32_ps(v, index)
}

/// Writes the first min(8, dst.len()) lanes.
///
/// Fewer than 8 by two stores of the same size that overlap: a masked store takes tens of cycles on some CPUs, and so
/// does a detour over the stack.
#[inline(always)]
pub(super) fn put8(cpu: V3, dst: &mut [MaybeUninit<f32>], v: __m256) {
    let (avx, n) = (cpu.avx, dst.len());
    let p: *mut f32 = dst.as_mut_ptr().cast();
    // SAFETY: each store of s lanes stands at 0 or n − s, under a branch that knows s ≤ n.
    unsafe {
        if n >= 8 {
            _mm256_storeu_ps(p, v);
        } else if n >= 4 {
            _mm_storeu_ps(p, avx._mm256_castps256_ps128(v));
            _mm_storeu_ps(p.add(n - 4), avx._mm256_castps256_ps128(shifted(cpu, v, n - 4)));
        } else if n >= 2 {
            _mm_storel_epi64(p.cast(), _mm_castps_si128(avx._mm256_castps256_ps128(v)));
            _mm_storel_epi64(
                p.add(n - 2).cast(),
                _mm_castps_si128(avx._mm256_castps256_ps128(shifted(cpu, v, n - 2))),
            );
        } else if n == 1 {
            _mm_store_ss(p, avx._mm256_castps256_ps128(v));
        }
    }
}

/// [`among8`] of four lanes of f64.
#[inline(always)]
fn among4(cpu: V3, count: usize, from: usize) -> __m256i {
    let lane = cpu.avx._mm256_setr_epi64x(0, 1, 2, 3);
    let lane = cpu.avx2._mm256_add_epi64(lane, cpu.avx._mm256_set1_epi64x(from as i64));
    cpu.avx2
        ._mm256_cmpgt_epi64(cpu.avx._mm256_set1_epi64x(count.min(16) as i64), lane)
}

impl Avx2 {
    /// The lanes in f64.
    #[inline(always)]
    fn widened(self, v: __m256) -> [__m256d; 2] {
        let f = self.0.avx;
        let low = f._mm256_cvtps_pd(f._mm256_castps256_ps128(v));
        [low, f._mm256_cvtps_pd(f._mm256_extractf128_ps::<1>(v))]
    }

    /// `i + (i + 4)`, `i + (i + 2)`, `i + (i + 1)`.
    #[inline(always)]
    fn sum8(self, low: __m256d, high: __m256d) -> f64 {
        let (avx, sse2) = (self.0.avx, self.0.sse2);
        let v = avx._mm256_add_pd(low, high);
        let v = sse2._mm_add_pd(avx._mm256_castpd256_pd128(v), avx._mm256_extractf128_pd::<1>(v));
        sse2._mm_cvtsd_f64(sse2._mm_add_sd(v, sse2._mm_unpackhi_pd(v, v)))
    }
}

impl Lanes<f32> for Avx2 {
    #[inline(always)]
    fn hint<const LATER: bool>(self, place: *const u8) {
        super::hint::<LATER>(place.cast());
    }
    const FUSED: bool = true;
    const COMPACT: bool = false;
    #[inline(always)]
    fn call<T: Element<Compute = f32>, K: Kernel<T>>(self, kernel: K)
    where
        Self: Memory<T>,
    {
        // SAFETY: the token exists, so the CPU has every feature of `enter`.
        unsafe { Enter::<T>::enter(kernel, self) }
    }
    type V = [__m256; 4];
    type Half = [__m256; 2];
    type Acc = [__m256d; 4];
    type Seen = [__m256i; 2];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [self.0.avx._mm256_set1_ps(x); 4]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3; I => self.0.avx._mm256_add_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3; I => self.0.avx._mm256_sub_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3; I => self.0.avx._mm256_mul_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3; I => self.0.avx._mm256_div_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1 2 3; I => self.0.fma._mm256_fmadd_ps(a[I], b[I], c[I]))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1 2 3; I => self.0.fma._mm256_fnmadd_ps(a[I], b[I], c[I]))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // vmax returns its second operand where either is NaN.
        each!(0 1 2 3; I => self.0.avx._mm256_max_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // vmin returns its second operand where either is NaN.
        each!(0 1 2 3; I => self.0.avx._mm256_min_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn zero_below(self, v: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        let f = self.0.avx;
        // not less than, or unordered
        each!(0 1 2 3; I => f._mm256_and_ps(v[I], f._mm256_cmp_ps::<_CMP_NLT_UQ>(key[I], limit[I])))
    }
    #[inline(always)]
    fn select_below(self, v: Self::V, below: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        let f = self.0.avx;
        each!(0 1 2 3; I => f._mm256_blendv_ps(v[I], below[I], f._mm256_cmp_ps::<_CMP_LT_OQ>(key[I], limit[I])))
    }
    #[inline(always)]
    fn bits_of(self, bytes: &[u8]) -> u32 {
        bits_of(self.0, bytes)
    }
    #[inline(always)]
    fn keep_first(self, v: Self::V, count: usize) -> Self::V {
        let f = self.0.avx;
        each!(0 1 2 3; I => f._mm256_and_ps(v[I], f._mm256_castsi256_ps(among8(self.0, count, 8 * I))))
    }
    #[inline(always)]
    fn splat_groups<const P: usize>(self, parts: [f32; P]) -> Self::V {
        each!(0 1 2 3; I => self.0.avx._mm256_set1_ps(parts[I * P / 4]))
    }
    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        let f = self.0.avx;
        each!(0 1 2 3; I => f._mm256_castsi256_ps(
            self.0.avx2._mm256_add_epi32(f._mm256_castps_si256(a[I]), f._mm256_castps_si256(b[I]))))
    }
    #[inline(always)]
    fn shl_exponent(self, v: Self::V) -> Self::V {
        let f = self.0.avx;
        each!(0 1 2 3; I => f._mm256_castsi256_ps(self.0.avx2._mm256_slli_epi32::<23>(f._mm256_castps_si256(v[I]))))
    }
    #[inline(always)]
    fn shl_exponent_of_eighths(self, v: Self::V) -> Self::V {
        let f = self.0.avx;
        each!(0 1 2 3; I => f._mm256_castsi256_ps(self.0.avx2._mm256_slli_epi32::<20>(f._mm256_castps_si256(v[I]))))
    }
    #[inline(always)]
    fn seen_none(self) -> Self::Seen {
        let f = self.0.avx;
        [f._mm256_setzero_si256(), f._mm256_set1_epi32(!0)]
    }
    #[inline(always)]
    fn seen(self, seen: Self::Seen, v: Self::V) -> Self::Seen {
        // The largest, not the or: the compiler puts off what it may reorder, and every pattern goes through memory.
        let (f, max) = (self.0.avx, |a, b| self.0.avx2._mm256_max_epu32(a, b));
        let and = f._mm256_and_ps(f._mm256_and_ps(v[0], v[1]), f._mm256_and_ps(v[2], v[3]));
        let v = each!(0 1 2 3; I => f._mm256_castps_si256(v[I]));
        [
            max(max(max(max(seen[0], v[0]), v[1]), v[2]), v[3]),
            self.0.avx2._mm256_and_si256(seen[1], f._mm256_castps_si256(and)),
        ]
    }
    #[inline(always)]
    fn seen_none_of(self, seen: Self::Seen, forbidden: u32) -> bool {
        let f = self.0.avx;
        f._mm256_testz_si256(seen[0], f._mm256_set1_epi32(forbidden as i32)) == 1
    }
    #[inline(always)]
    fn has_room(self, v: Self::V, room: f32, forbidden: u32) -> bool {
        let (f, max) = (self.0.avx, |a, b| self.0.avx2._mm256_max_epu32(a, b));
        let v = each!(0 1 2 3; I => f._mm256_castps_si256(v[I]));
        let most = f._mm256_castsi256_ps(max(max(v[0], v[1]), max(v[2], v[3])));
        let raised = f._mm256_castps_si256(f._mm256_add_ps(most, f._mm256_set1_ps(room)));
        f._mm256_testz_si256(raised, f._mm256_set1_epi32(forbidden as i32)) == 1
    }
    #[inline(always)]
    fn seen_all_with(self, seen: Self::Seen, bit: u32) -> bool {
        let f = self.0.avx;
        f._mm256_testc_si256(seen[1], f._mm256_set1_epi32(bit as i32)) == 1
    }
    #[inline(always)]
    fn reduce_max(self, v: Self::V) -> f32 {
        let f = self.0.avx;
        let m = f._mm256_max_ps(f._mm256_max_ps(v[0], v[1]), f._mm256_max_ps(v[2], v[3]));
        let m: [f32; 8] = pulp::bytemuck::cast(m);
        m.into_iter().fold(m[0], |a, b| if b > a { b } else { a })
    }
    #[inline(always)]
    fn add_half(self, a: Self::Half, b: Self::Half) -> Self::Half {
        each!(0 1; I => self.0.avx._mm256_add_ps(a[I], b[I]))
    }
    #[inline(always)]
    fn lookup(self, table: &'static [f32; 8], index: Self::V) -> Self::V {
        let f = self.0.avx;
        let t: __m256 = pulp::bytemuck::cast(*table);
        // vpermps takes the low three bits of the index.
        each!(0 1 2 3; I => self.0.avx2._mm256_permutevar8x32_ps(t, f._mm256_castps_si256(index[I])))
    }
    #[inline(always)]
    fn fold(self, v: Self::V) -> Self::Half {
        each!(0 1; I => self.0.avx._mm256_add_ps(v[I], v[I + 2]))
    }
    #[inline(always)]
    fn acc_zero(self) -> Self::Acc {
        [self.0.avx._mm256_setzero_pd(); 4]
    }
    #[inline(always)]
    fn acc_add(self, acc: Self::Acc, v: Self::Half) -> Self::Acc {
        let v = Lanes::<f32>::acc_of(self, v);
        each!(0 1 2 3; I => self.0.avx._mm256_add_pd(acc[I], v[I]))
    }
    #[inline(always)]
    fn acc_of(self, v: Self::Half) -> Self::Acc {
        let f = self.0.avx;
        let quarter = [
            f._mm256_castps256_ps128(v[0]),
            f._mm256_extractf128_ps::<1>(v[0]),
            f._mm256_castps256_ps128(v[1]),
            f._mm256_extractf128_ps::<1>(v[1]),
        ];
        each!(0 1 2 3; I => f._mm256_cvtps_pd(quarter[I]))
    }
    #[inline(always)]
    fn acc_sum(self, acc: Self::Acc) -> f64 {
        let f = self.0.avx;
        self.sum8(f._mm256_add_pd(acc[0], acc[2]), f._mm256_add_pd(acc[1], acc[3]))
    }
    #[inline(always)]
    fn acc_sums(self, acc: &[Self::Acc; 8]) -> [f64; 8] {
        let f = self.0.avx;
        let four = each!(0 1 2 3 4 5 6 7; I => {
            let [a, b, c, d] = acc[I];
            f._mm256_add_pd(f._mm256_add_pd(a, c), f._mm256_add_pd(b, d))
        });
        // Two rows to a vector, two sums of each; then four rows.
        let two = each!(0 1 4 5; I => {
            let low = f._mm256_permute2f128_pd::<0x20>(four[I], four[I + 2]);
            f._mm256_add_pd(low, f._mm256_permute2f128_pd::<0x31>(four[I], four[I + 2]))
        });
        pulp::bytemuck::cast(each!(0 2; I => f._mm256_add_pd(
            f._mm256_unpacklo_pd(two[I], two[I + 1]), f._mm256_unpackhi_pd(two[I], two[I + 1]))))
    }
    #[inline(always)]
    fn divisors(self, sums: [f64; 8]) -> [[f32; 8]; 3] {
        let f = self.0.avx;
        let sums: [__m256d; 2] = pulp::bytemuck::cast(sums);
        let quotient = each!(0 1; I => f._mm256_div_pd(f._mm256_set1_pd(RAISE), sums[I]));
        let high = each!(0 1; I => f._mm256_cvtpd_ps(quotient[I]));
        let low = each!(0 1; I => f._mm256_cvtpd_ps(f._mm256_sub_pd(quotient[I], f._mm256_cvtps_pd(high[I]))));
        let threshold = each!(0 1; I => f._mm256_cvtpd_ps(f._mm256_mul_pd(sums[I], f._mm256_set1_pd(THRESHOLD))));
        pulp::bytemuck::cast([high, low, threshold])
    }
    #[inline(always)]
    fn sum_groups<const P: usize>(self, v: &[Self::V]) -> [f64; 8] {
        let (f, v) = (self.0.avx, &v[..8 / P]);
        let acc = each!(0 1 2 3 4 5 6 7; I => {
            let first = I % P * 4 / P;
            let [a, b] = self.widened(v[I / P][first]);
            let [c, d] = match P {
                4 => [f._mm256_setzero_pd(); 2],
                _ => self.widened(v[I / P][first + 1]),
            };
            [a, b, c, d]
        });
        Lanes::<f32>::acc_sums(self, &acc)
    }
}

impl Memory<f32> for Avx2 {
    #[inline(always)]
    fn keep_bits(self, v: Self::V, bits: u32) -> Self::V {
        let (avx, avx2) = (self.0.avx, self.0.avx2);
        let least = avx._mm256_set1_ps(f32::NEG_INFINITY);
        let places = avx._mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        each!(0 1 2 3; I => {
            let eight = avx2._mm256_and_si256(avx._mm256_set1_epi32((bits >> (8 * I)) as i32), places);
            let kept = avx._mm256_castsi256_ps(avx2._mm256_cmpeq_epi32(eight, places));
            avx._mm256_blendv_ps(least, v[I], kept)
        })
    }
    #[cfg(feature = "half")]
    super::half::load_halves!();
    #[inline(always)]
    fn load(self, src: &[f32]) -> Self::V {
        let src = &src[..32];
        // SAFETY: the slice has 32 elements, checked above; the loads may be unaligned.
        each!(0 1 2 3; I => unsafe { _mm256_loadu_ps(src.as_ptr().add(8 * I)) })
    }
    #[inline(always)]
    fn load_or(self, src: &[f32], fill: f32) -> Self::V {
        let f = self.0.avx;
        let fill = f._mm256_set1_ps(fill);
        each!(0 1 2 3; I => {
            let mask = among8(self.0, src.len(), 8 * I);
            // SAFETY: masked-out elements are not accessed, and the mask has as many lanes as elements follow.
            let v = unsafe { _mm256_maskload_ps(src.as_ptr().wrapping_add(8 * I), mask) };
            f._mm256_or_ps(v, f._mm256_andnot_ps(f._mm256_castsi256_ps(mask), fill))
        })
    }
    #[inline(always)]
    fn store(self, dst: &mut [MaybeUninit<f32>], v: Self::V) {
        let dst = &mut dst[..32];
        // SAFETY: the slice has 32 elements, checked above; the stores may be unaligned.
        let _ = each!(0 1 2 3; I => unsafe { _mm256_storeu_ps(dst.as_mut_ptr().add(8 * I).cast(), v[I]) });
    }
    #[inline(always)]
    fn load_groups<const P: usize>(self, rows: [&[f32]; P], fill: f32) -> Self::V {
        let f = self.0.avx;
        let fill = f._mm256_set1_ps(fill);
        each!(0 1 2 3; I => {
            let (row, at) = (rows[I * P / 4], I * 8 % (32 / P));
            let mask = among8(self.0, row.len(), at);
            // SAFETY: masked-out elements are not accessed, and the mask has as many lanes as elements follow.
            let v = unsafe { _mm256_maskload_ps(row.as_ptr().wrapping_add(at), mask) };
            f._mm256_or_ps(v, f._mm256_andnot_ps(f._mm256_castsi256_ps(mask), fill))
        })
    }
    #[inline(always)]
    fn store_group<const P: usize>(self, dst: &mut [MaybeUninit<f32>], v: Self::V, g: usize) {
        for at in (0..32 / P).step_by(8) {
            put8(
                self.0,
                dst.get_mut(at..).unwrap_or_default(),
                v[(g * (32 / P) + at) / 8],
            );
        }
    }
    #[inline(always)]
    fn store_partial(self, dst: &mut [MaybeUninit<f32>], v: Self::V) {
        // All before the last are whole.
        let mut rest = dst;
        for v in v {
            if rest.len() < 8 {
                return put8(self.0, rest, v);
            }
            let (whole, others) = rest.split_at_mut(8);
            put8(self.0, whole, v);
            rest = others;
        }
    }
}

impl Lanes<f64> for Avx2 {
    #[inline(always)]
    fn hint<const LATER: bool>(self, place: *const u8) {
        super::hint::<LATER>(place.cast());
    }
    const FUSED: bool = true;
    const COMPACT: bool = false;
    #[inline(always)]
    fn call<T: Element<Compute = f64>, K: Kernel<T>>(self, kernel: K)
    where
        Self: Memory<T>,
    {
        // SAFETY: the token exists, so the CPU has every feature of `enter`.
        unsafe { Enter::<T>::enter(kernel, self) }
    }
    type V = [__m256d; 4];
    type Half = [__m256d; 4];
    type Acc = [[__m256d; 4]; 2];
    type Seen = [__m256i; 2];

    #[inline(always)]
    fn splat(self, x: f64) -> Self::V {
        [self.0.avx._mm256_set1_pd(x); 4]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3; I => self.0.avx._mm256_add_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3; I => self.0.avx._mm256_sub_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3; I => self.0.avx._mm256_mul_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3; I => self.0.avx._mm256_div_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1 2 3; I => self.0.fma._mm256_fmadd_pd(a[I], b[I], c[I]))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1 2 3; I => self.0.fma._mm256_fnmadd_pd(a[I], b[I], c[I]))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // vmax returns its second operand where either is NaN.
        each!(0 1 2 3; I => self.0.avx._mm256_max_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // vmin returns its second operand where either is NaN.
        each!(0 1 2 3; I => self.0.avx._mm256_min_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn zero_below(self, v: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        let f = self.0.avx;
        // not less than, or unordered
        each!(0 1 2 3; I => f._mm256_and_pd(v[I], f._mm256_cmp_pd::<_CMP_NLT_UQ>(key[I], limit[I])))
    }
    #[inline(always)]
    fn select_below(self, v: Self::V, below: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        let f = self.0.avx;
        each!(0 1 2 3; I => f._mm256_blendv_pd(v[I], below[I], f._mm256_cmp_pd::<_CMP_LT_OQ>(key[I], limit[I])))
    }
    #[inline(always)]
    fn bits_of(self, bytes: &[u8]) -> u32 {
        bits_of(self.0, bytes)
    }
    #[inline(always)]
    fn keep_first(self, v: Self::V, count: usize) -> Self::V {
        let f = self.0.avx;
        each!(0 1 2 3; I => f._mm256_and_pd(v[I], f._mm256_castsi256_pd(among4(self.0, count, 4 * I))))
    }
    #[inline(always)]
    fn splat_groups<const P: usize>(self, parts: [f64; P]) -> Self::V {
        each!(0 1 2 3; I => self.0.avx._mm256_set1_pd(parts[I * P / 4]))
    }
    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        let f = self.0.avx;
        each!(0 1 2 3; I => f._mm256_castsi256_pd(
            self.0.avx2._mm256_add_epi64(f._mm256_castpd_si256(a[I]), f._mm256_castpd_si256(b[I]))))
    }
    #[inline(always)]
    fn shl_exponent(self, v: Self::V) -> Self::V {
        let f = self.0.avx;
        each!(0 1 2 3; I => f._mm256_castsi256_pd(self.0.avx2._mm256_slli_epi64::<52>(f._mm256_castpd_si256(v[I]))))
    }
    #[inline(always)]
    fn seen_none(self) -> Self::Seen {
        let f = self.0.avx;
        [f._mm256_setzero_si256(), f._mm256_set1_epi32(!0)]
    }
    #[inline(always)]
    fn seen(self, seen: Self::Seen, v: Self::V) -> Self::Seen {
        let f = self.0.avx;
        let or = f._mm256_or_pd(f._mm256_or_pd(v[0], v[1]), f._mm256_or_pd(v[2], v[3]));
        let and = f._mm256_and_pd(f._mm256_and_pd(v[0], v[1]), f._mm256_and_pd(v[2], v[3]));
        [
            self.0.avx2._mm256_or_si256(seen[0], f._mm256_castpd_si256(or)),
            self.0.avx2._mm256_and_si256(seen[1], f._mm256_castpd_si256(and)),
        ]
    }
    #[inline(always)]
    fn seen_none_of(self, seen: Self::Seen, forbidden: u64) -> bool {
        let f = self.0.avx;
        f._mm256_testz_si256(seen[0], f._mm256_set1_epi64x(forbidden as i64)) == 1
    }
    #[inline(always)]
    fn seen_all_with(self, seen: Self::Seen, bit: u64) -> bool {
        let f = self.0.avx;
        f._mm256_testc_si256(seen[1], f._mm256_set1_epi64x(bit as i64)) == 1
    }
    #[inline(always)]
    fn reduce_max(self, v: Self::V) -> f64 {
        let f = self.0.avx;
        let m = f._mm256_max_pd(f._mm256_max_pd(v[0], v[1]), f._mm256_max_pd(v[2], v[3]));
        let m: [f64; 4] = pulp::bytemuck::cast(m);
        m.into_iter().fold(m[0], |a, b| if b > a { b } else { a })
    }
    #[inline(always)]
    fn add_half(self, a: Self::Half, b: Self::Half) -> Self::Half {
        each!(0 1 2 3; I => self.0.avx._mm256_add_pd(a[I], b[I]))
    }
    #[inline(always)]
    fn fold(self, v: Self::V) -> Self::Half {
        v
    }
    #[inline(always)]
    fn acc_zero(self) -> Self::Acc {
        [[self.0.avx._mm256_setzero_pd(); 4]; 2]
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
    fn sum_groups<const P: usize>(self, v: &[Self::V]) -> [DoubleDouble; 8] {
        super::sum_parts::<f64, P>(pulp::bytemuck::cast_slice(v))
    }
}

impl Memory<f64> for Avx2 {
    #[inline(always)]
    fn load(self, src: &[f64]) -> Self::V {
        let src = &src[..16];
        // SAFETY: the slice has 16 elements, checked above; the loads may be unaligned.
        each!(0 1 2 3; I => unsafe { _mm256_loadu_pd(src.as_ptr().add(4 * I)) })
    }
    #[inline(always)]
    fn load_or(self, src: &[f64], fill: f64) -> Self::V {
        let f = self.0.avx;
        let fill = f._mm256_set1_pd(fill);
        each!(0 1 2 3; I => {
            let mask = among4(self.0, src.len(), 4 * I);
            // SAFETY: masked-out elements are not accessed, and the mask has as many lanes as elements follow.
            let v = unsafe { _mm256_maskload_pd(src.as_ptr().wrapping_add(4 * I), mask) };
            f._mm256_or_pd(v, f._mm256_andnot_pd(f._mm256_castsi256_pd(mask), fill))
        })
    }
    #[inline(always)]
    fn store(self, dst: &mut [MaybeUninit<f64>], v: Self::V) {
        let dst = &mut dst[..16];
        // SAFETY: the slice has 16 elements, checked above; the stores may be unaligned.
        let _ = each!(0 1 2 3; I => unsafe { _mm256_storeu_pd(dst.as_mut_ptr().add(4 * I).cast(), v[I]) });
    }
    #[inline(always)]
    fn store_partial(self, dst: &mut [MaybeUninit<f64>], v: Self::V) {
        let _ = each!(0 1 2 3; I => super::put::<f64, 4>(dst, 4 * I, pulp::bytemuck::cast(v[I])));
    }
}
