//! NEON: 8 q registers of f32, or 8 of f64, to a virtual vector.

use super::each;
use crate::element::{DoubleDouble, Element};
use crate::kernel::Kernel;
use crate::lanes::{Lanes, Memory};
use core::arch::aarch64::*;
use core::mem::MaybeUninit;
use pulp::aarch64::Neon as Token;

/// Proof of NEON.
#[derive(Clone, Copy)]
pub struct Neon(Token);

/// Runs `kernel`, or gives it back where the CPU has no NEON.
#[inline(always)]
pub fn run<T: Element, K: Kernel<T>>(kernel: K) -> Result<(), K>
where
    Neon: Memory<T> + Memory<T::Compute>,
{
    let Some(token) = Token::try_new() else {
        return Err(kernel);
    };
    // Every CPU of these targets has NEON: nothing is to be enabled.
    kernel.run_apart(Neon(token));
    Ok(())
}

/// Whether the CPU has it.
pub fn is_available() -> bool {
    Token::is_available()
}

/// The registers of a vector, joined two by two by `join`.
#[inline(always)]
fn pairs<R: Copy>(v: [R; 8], join: impl Fn(R, R) -> R) -> R {
    let [a, b, c, d] = each!(0 1 2 3; I => join(v[2 * I], v[2 * I + 1]));
    join(join(a, b), join(c, d))
}

/// A window at `4 − count` has its first `count` lanes set.
static FIRST: [u32; 8] = [!0, !0, !0, !0, 0, 0, 0, 0];

#[inline(always)]
fn first4(count: usize) -> uint32x4_t {
    // SAFETY: 4 − min(count, 4) is at most 4, and four more elements follow.
    unsafe { vld1q_u32(FIRST.as_ptr().add(4 - count.min(4))) }
}

#[inline(always)]
fn first2(count: usize) -> uint64x2_t {
    // SAFETY: 4 − 2·min(count, 2) is at most 4, and four more elements follow.
    unsafe { vld1q_u64(FIRST.as_ptr().add(4 - 2 * count.min(2)).cast()) }
}

impl Lanes<f32> for Neon {
    const FUSED: bool = true;
    const COMPACT: bool = false;
    #[inline(always)]
    fn call<T: Element<Compute = f32>, K: Kernel<T>>(self, kernel: K)
    where
        Self: Memory<T>,
    {
        Kernel::<T>::run_apart(kernel, self)
    }
    type V = [float32x4_t; 8];
    type Half = [float32x4_t; 4];
    type Acc = [float64x2_t; 8];
    type Seen = [uint32x4_t; 2];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [self.0.neon.vdupq_n_f32(x); 8]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vaddq_f32(a[I], b[I]))
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vsubq_f32(a[I], b[I]))
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vmulq_f32(a[I], b[I]))
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vdivq_f32(a[I], b[I]))
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vfmaq_f32(c[I], a[I], b[I]))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vfmsq_f32(c[I], a[I], b[I]))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // fmax returns NaN where either is NaN.
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vmaxq_f32(a[I], b[I]))
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // fmin returns NaN where either is NaN.
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vminq_f32(a[I], b[I]))
    }
    #[inline(always)]
    fn zero_below(self, v: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        let f = self.0.neon;
        // bit clear where less than; false on NaN
        each!(0 1 2 3 4 5 6 7; I => f.vreinterpretq_f32_u32(f.vbicq_u32(f.vreinterpretq_u32_f32(v[I]), f.vcltq_f32(key[I], limit[I]))))
    }
    #[inline(always)]
    fn select_below(self, v: Self::V, below: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        let f = self.0.neon;
        each!(0 1 2 3 4 5 6 7; I => f.vbslq_f32(f.vcltq_f32(key[I], limit[I]), below[I], v[I]))
    }
    #[inline(always)]
    fn keep_first(self, v: Self::V, count: usize) -> Self::V {
        let f = self.0.neon;
        each!(0 1 2 3 4 5 6 7; I => f.vreinterpretq_f32_u32(
            f.vandq_u32(f.vreinterpretq_u32_f32(v[I]), first4(count.saturating_sub(4 * I)))))
    }
    #[inline(always)]
    fn splat_groups<const P: usize>(self, parts: [f32; P]) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vdupq_n_f32(parts[I * P / 8]))
    }
    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        let f = self.0.neon;
        each!(0 1 2 3 4 5 6 7; I => f.vreinterpretq_f32_u32(
            f.vaddq_u32(f.vreinterpretq_u32_f32(a[I]), f.vreinterpretq_u32_f32(b[I]))))
    }
    #[inline(always)]
    fn shl_exponent(self, v: Self::V) -> Self::V {
        let f = self.0.neon;
        each!(0 1 2 3 4 5 6 7; I => f.vreinterpretq_f32_u32(f.vshlq_n_u32::<23>(f.vreinterpretq_u32_f32(v[I]))))
    }
    #[inline(always)]
    fn shl_exponent_of_eighths(self, v: Self::V) -> Self::V {
        let f = self.0.neon;
        each!(0 1 2 3 4 5 6 7; I => f.vreinterpretq_f32_u32(f.vshlq_n_u32::<20>(f.vreinterpretq_u32_f32(v[I]))))
    }
    #[inline(always)]
    fn seen_none(self) -> Self::Seen {
        [self.0.neon.vdupq_n_u32(0), self.0.neon.vdupq_n_u32(!0)]
    }
    #[inline(always)]
    fn seen(self, seen: Self::Seen, v: Self::V) -> Self::Seen {
        let f = self.0.neon;
        let v: [uint32x4_t; 8] = each!(0 1 2 3 4 5 6 7; I => f.vreinterpretq_u32_f32(v[I]));
        [
            f.vorrq_u32(
                seen[0],
                pairs(
                    v,
                    #[inline(always)]
                    |a, b| f.vorrq_u32(a, b),
                ),
            ),
            f.vandq_u32(
                seen[1],
                pairs(
                    v,
                    #[inline(always)]
                    |a, b| f.vandq_u32(a, b),
                ),
            ),
        ]
    }
    #[inline(always)]
    fn seen_none_of(self, seen: Self::Seen, forbidden: u32) -> bool {
        let f = self.0.neon;
        f.vmaxvq_u32(f.vandq_u32(seen[0], f.vdupq_n_u32(forbidden))) == 0
    }
    #[inline(always)]
    fn seen_all_with(self, seen: Self::Seen, bit: u32) -> bool {
        let f = self.0.neon;
        f.vmaxvq_u32(f.vbicq_u32(f.vdupq_n_u32(bit), seen[1])) == 0
    }
    #[inline(always)]
    fn reduce_max(self, v: Self::V) -> f32 {
        let f = self.0.neon;
        f.vmaxvq_f32(pairs(
            v,
            #[inline(always)]
            |a, b| f.vmaxq_f32(a, b),
        ))
    }
    #[inline(always)]
    fn add_half(self, a: Self::Half, b: Self::Half) -> Self::Half {
        each!(0 1 2 3; I => self.0.neon.vaddq_f32(a[I], b[I]))
    }
    #[inline(always)]
    fn lookup(self, table: &'static [f32; 8], index: Self::V) -> Self::V {
        let f = self.0.neon;
        // SAFETY: the table has eight elements.
        let t = unsafe { [vld1q_f32(table.as_ptr()), vld1q_f32(table.as_ptr().add(4))] };
        let t = uint8x16x2_t(f.vreinterpretq_u8_f32(t[0]), f.vreinterpretq_u8_f32(t[1]));
        // j becomes the byte positions 4j, 4j + 1, 4j + 2, 4j + 3 of a lane.
        let (spread, first) = (f.vdupq_n_u32(0x0404_0404), f.vdupq_n_u32(0x0302_0100));
        each!(0 1 2 3 4 5 6 7; I => {
            let j = f.vandq_u32(f.vreinterpretq_u32_f32(index[I]), f.vdupq_n_u32(7));
            f.vreinterpretq_f32_u8(f.vqtbl2q_u8(t, f.vreinterpretq_u8_u32(f.vmlaq_u32(first, j, spread))))
        })
    }
    #[inline(always)]
    fn fold(self, v: Self::V) -> Self::Half {
        each!(0 1 2 3; I => self.0.neon.vaddq_f32(v[I], v[I + 4]))
    }
    #[inline(always)]
    fn acc_zero(self) -> Self::Acc {
        [self.0.neon.vdupq_n_f64(0.0); 8]
    }
    #[inline(always)]
    fn acc_add(self, acc: Self::Acc, v: Self::Half) -> Self::Acc {
        let f = self.0.neon;
        each!(0 1 2 3 4 5 6 7; I => f.vaddq_f64(
            acc[I],
            if I % 2 == 0 { f.vcvt_f64_f32(f.vget_low_f32(v[I / 2])) } else { f.vcvt_high_f64_f32(v[I / 2]) },
        ))
    }
    #[inline(always)]
    fn acc_sum(self, acc: Self::Acc) -> f64 {
        crate::element::tree(pulp::bytemuck::cast::<_, [f64; 16]>(acc))
    }
    #[inline(always)]
    fn sum_groups<const P: usize>(self, v: &[Self::V]) -> [f64; 8] {
        super::sum_parts::<f32, P>(pulp::bytemuck::cast_slice(v))
    }
}

impl Memory<f32> for Neon {
    #[cfg(feature = "half")]
    super::half::load_halves!();
    #[inline(always)]
    fn load(self, src: &[f32]) -> Self::V {
        let src = &src[..32];
        // SAFETY: the slice has 32 elements, checked above.
        each!(0 1 2 3 4 5 6 7; I => unsafe { vld1q_f32(src.as_ptr().add(4 * I)) })
    }
    #[inline(always)]
    fn load_or(self, src: &[f32], fill: f32) -> Self::V {
        pulp::bytemuck::cast(super::take::<f32, 32>(src, 0, fill))
    }
    #[inline(always)]
    fn store(self, dst: &mut [MaybeUninit<f32>], v: Self::V) {
        let dst = &mut dst[..32];
        // SAFETY: the slice has 32 elements, checked above.
        let _ = each!(0 1 2 3 4 5 6 7; I => unsafe { vst1q_f32(dst.as_mut_ptr().add(4 * I).cast(), v[I]) });
    }
    #[inline(always)]
    fn store_partial(self, dst: &mut [MaybeUninit<f32>], v: Self::V) {
        super::put::<f32, 32>(dst, 0, pulp::bytemuck::cast(v));
    }
}

impl Lanes<f64> for Neon {
    const FUSED: bool = true;
    const COMPACT: bool = false;
    #[inline(always)]
    fn call<T: Element<Compute = f64>, K: Kernel<T>>(self, kernel: K)
    where
        Self: Memory<T>,
    {
        Kernel::<T>::run_apart(kernel, self)
    }
    type V = [float64x2_t; 8];
    type Half = [float64x2_t; 8];
    type Acc = [[float64x2_t; 8]; 2];
    type Seen = [uint64x2_t; 2];

    #[inline(always)]
    fn splat(self, x: f64) -> Self::V {
        [self.0.neon.vdupq_n_f64(x); 8]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vaddq_f64(a[I], b[I]))
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vsubq_f64(a[I], b[I]))
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vmulq_f64(a[I], b[I]))
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vdivq_f64(a[I], b[I]))
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vfmaq_f64(c[I], a[I], b[I]))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vfmsq_f64(c[I], a[I], b[I]))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // fmax returns NaN where either is NaN.
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vmaxq_f64(a[I], b[I]))
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // fmin returns NaN where either is NaN.
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vminq_f64(a[I], b[I]))
    }
    #[inline(always)]
    fn zero_below(self, v: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        let f = self.0.neon;
        // bit clear where less than; false on NaN
        each!(0 1 2 3 4 5 6 7; I => f.vreinterpretq_f64_u64(f.vbicq_u64(f.vreinterpretq_u64_f64(v[I]), f.vcltq_f64(key[I], limit[I]))))
    }
    #[inline(always)]
    fn select_below(self, v: Self::V, below: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        let f = self.0.neon;
        each!(0 1 2 3 4 5 6 7; I => f.vbslq_f64(f.vcltq_f64(key[I], limit[I]), below[I], v[I]))
    }
    #[inline(always)]
    fn keep_first(self, v: Self::V, count: usize) -> Self::V {
        let f = self.0.neon;
        each!(0 1 2 3 4 5 6 7; I => f.vreinterpretq_f64_u64(
            f.vandq_u64(f.vreinterpretq_u64_f64(v[I]), first2(count.saturating_sub(2 * I)))))
    }
    #[inline(always)]
    fn splat_groups<const P: usize>(self, parts: [f64; P]) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vdupq_n_f64(parts[I * P / 8]))
    }
    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        let f = self.0.neon;
        each!(0 1 2 3 4 5 6 7; I => f.vreinterpretq_f64_u64(
            f.vaddq_u64(f.vreinterpretq_u64_f64(a[I]), f.vreinterpretq_u64_f64(b[I]))))
    }
    #[inline(always)]
    fn shl_exponent(self, v: Self::V) -> Self::V {
        let f = self.0.neon;
        each!(0 1 2 3 4 5 6 7; I => f.vreinterpretq_f64_u64(f.vshlq_n_u64::<52>(f.vreinterpretq_u64_f64(v[I]))))
    }
    #[inline(always)]
    fn seen_none(self) -> Self::Seen {
        [self.0.neon.vdupq_n_u64(0), self.0.neon.vdupq_n_u64(!0)]
    }
    #[inline(always)]
    fn seen(self, seen: Self::Seen, v: Self::V) -> Self::Seen {
        let f = self.0.neon;
        let v: [uint64x2_t; 8] = each!(0 1 2 3 4 5 6 7; I => f.vreinterpretq_u64_f64(v[I]));
        [
            f.vorrq_u64(
                seen[0],
                pairs(
                    v,
                    #[inline(always)]
                    |a, b| f.vorrq_u64(a, b),
                ),
            ),
            f.vandq_u64(
                seen[1],
                pairs(
                    v,
                    #[inline(always)]
                    |a, b| f.vandq_u64(a, b),
                ),
            ),
        ]
    }
    #[inline(always)]
    fn seen_none_of(self, seen: Self::Seen, forbidden: u64) -> bool {
        let f = self.0.neon;
        f.vmaxvq_u32(f.vreinterpretq_u32_u64(f.vandq_u64(seen[0], f.vdupq_n_u64(forbidden)))) == 0
    }
    #[inline(always)]
    fn seen_all_with(self, seen: Self::Seen, bit: u64) -> bool {
        let f = self.0.neon;
        f.vmaxvq_u32(f.vreinterpretq_u32_u64(f.vbicq_u64(f.vdupq_n_u64(bit), seen[1]))) == 0
    }
    #[inline(always)]
    fn reduce_max(self, v: Self::V) -> f64 {
        let f = self.0.neon;
        f.vmaxvq_f64(pairs(
            v,
            #[inline(always)]
            |a, b| f.vmaxq_f64(a, b),
        ))
    }
    #[inline(always)]
    fn add_half(self, a: Self::Half, b: Self::Half) -> Self::Half {
        each!(0 1 2 3 4 5 6 7; I => self.0.neon.vaddq_f64(a[I], b[I]))
    }
    #[inline(always)]
    fn fold(self, v: Self::V) -> Self::Half {
        v
    }
    #[inline(always)]
    fn acc_zero(self) -> Self::Acc {
        [[self.0.neon.vdupq_n_f64(0.0); 8]; 2]
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

impl Memory<f64> for Neon {
    #[inline(always)]
    fn load(self, src: &[f64]) -> Self::V {
        let src = &src[..16];
        // SAFETY: the slice has 16 elements, checked above.
        each!(0 1 2 3 4 5 6 7; I => unsafe { vld1q_f64(src.as_ptr().add(2 * I)) })
    }
    #[inline(always)]
    fn load_or(self, src: &[f64], fill: f64) -> Self::V {
        pulp::bytemuck::cast(super::take::<f64, 16>(src, 0, fill))
    }
    #[inline(always)]
    fn store(self, dst: &mut [MaybeUninit<f64>], v: Self::V) {
        let dst = &mut dst[..16];
        // SAFETY: the slice has 16 elements, checked above.
        let _ = each!(0 1 2 3 4 5 6 7; I => unsafe { vst1q_f64(dst.as_mut_ptr().add(2 * I).cast(), v[I]) });
    }
    #[inline(always)]
    fn store_partial(self, dst: &mut [MaybeUninit<f64>], v: Self::V) {
        super::put::<f64, 16>(dst, 0, pulp::bytemuck::cast(v));
    }
}
