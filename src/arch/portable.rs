//! The portable backend: 8 × `wide::f32x4`, or 8 × `wide::f64x2`, to a virtual vector.
//!
//! SSE2 on x86-64, simd128 on wasm, arrays elsewhere, chosen at compile time. It multiplies, then adds, always, so that
//! its bits depend neither on the build's target features nor on the architecture.

use super::{each, put, take};
use crate::element::{DoubleDouble, Element};
use crate::kernel::Kernel;
use crate::lanes::{Lanes, Memory};
use core::mem::MaybeUninit;
use wide::{
    bytemuck::{cast, cast_slice},
    f32x4, f64x2, u32x4, u64x2,
};

/// Needs no proof.
#[derive(Clone, Copy)]
pub struct Portable;

/// Runs `kernel`.
#[inline(always)]
pub fn run<T: Element, K: Kernel<T>>(kernel: K)
where
    Portable: Memory<T> + Memory<T::Compute>,
{
    kernel.run_apart(Portable);
}

impl Lanes<f32> for Portable {
    const FUSED: bool = false;
    const COMPACT: bool = true;
    #[inline(always)]
    fn call<T: Element<Compute = f32>, K: Kernel<T>>(self, kernel: K)
    where
        Self: Memory<T>,
    {
        run::<T, K>(kernel)
    }
    type V = [f32x4; 8];
    type Half = [f32x4; 4];
    type Acc = [f64x2; 8];
    type Seen = u32x4;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [f32x4::splat(x); 8]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => a[I] + b[I])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => a[I] - b[I])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => a[I] * b[I])
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => a[I] / b[I])
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => a[I] * b[I] + c[I])
    }
    #[inline(always)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => c[I] - a[I] * b[I])
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // `wide`'s own max drops NaN.
        each!(0 1 2 3 4 5 6 7; I => b[I].simd_lt(a[I]).select(a[I], b[I]))
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // `wide`'s own min drops NaN.
        each!(0 1 2 3 4 5 6 7; I => a[I].simd_lt(b[I]).select(a[I], b[I]))
    }
    #[inline(always)]
    fn zero_below(self, v: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => key[I].simd_lt(limit[I]).select(f32x4::splat(0.0), v[I]))
    }
    #[inline(always)]
    fn select_below(self, v: Self::V, below: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => key[I].simd_lt(limit[I]).select(below[I], v[I]))
    }
    #[inline(never)]
    fn keep_first(self, v: Self::V, count: usize) -> Self::V {
        cast(take::<f32, 32>(&cast::<_, [f32; 32]>(v)[..count.min(32)], 0, 0.0))
    }
    #[inline(always)]
    fn splat_groups<const P: usize>(self, parts: [f32; P]) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => f32x4::splat(parts[I * P / 8]))
    }
    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => cast(cast::<_, u32x4>(a[I]) + cast::<_, u32x4>(b[I])))
    }
    #[inline(always)]
    fn shl_exponent(self, v: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => cast(cast::<_, u32x4>(v[I]) << 23_u32))
    }
    #[inline(always)]
    fn shl_exponent_of_eighths(self, v: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => cast(cast::<_, u32x4>(v[I]) << 20_u32))
    }
    #[inline(never)]
    fn lookup(self, table: &'static [f32; 8], index: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => cast(cast::<_, [u32; 4]>(index[I]).map(|i| table[(i & 7) as usize])))
    }
    #[inline(always)]
    fn seen_none(self) -> Self::Seen {
        u32x4::splat(0)
    }
    #[inline(always)]
    fn seen(self, seen: Self::Seen, v: Self::V) -> Self::Seen {
        v.into_iter().fold(seen, |seen, v| seen | cast::<_, u32x4>(v))
    }
    #[inline(always)]
    fn seen_none_of(self, seen: Self::Seen, forbidden: u32) -> bool {
        cast::<_, [u32; 4]>(seen & u32x4::splat(forbidden)) == [0; 4]
    }
    #[inline(never)]
    fn reduce_max(self, v: Self::V) -> f32 {
        let v: [f32; 32] = cast(v);
        v.into_iter().fold(v[0], |a, b| if b > a { b } else { a })
    }
    #[inline(always)]
    fn add_half(self, a: Self::Half, b: Self::Half) -> Self::Half {
        each!(0 1 2 3; I => a[I] + b[I])
    }
    #[inline(always)]
    fn fold(self, v: Self::V) -> Self::Half {
        each!(0 1 2 3; I => v[I] + v[I + 4])
    }
    #[inline(always)]
    fn acc_zero(self) -> Self::Acc {
        [f64x2::splat(0.0); 8]
    }
    #[inline(never)]
    fn acc_add(self, acc: Self::Acc, v: Self::Half) -> Self::Acc {
        let v: [f32; 16] = cast(v);
        each!(0 1 2 3 4 5 6 7; I => acc[I] + f64x2::new([f64::from(v[2 * I]), f64::from(v[2 * I + 1])]))
    }
    #[inline(never)]
    fn acc_sum(self, acc: Self::Acc) -> f64 {
        crate::element::tree(cast::<_, [f64; 16]>(acc))
    }
    #[inline(always)]
    fn sum_groups<const P: usize>(self, v: &[Self::V]) -> [f64; 8] {
        super::sum_parts::<f32, P>(cast_slice(v))
    }
}

impl Memory<f32> for Portable {
    #[cfg(feature = "half")]
    super::half::load_halves!();
    #[inline(always)]
    fn load(self, src: &[f32]) -> Self::V {
        let src = &src[..32];
        each!(0 1 2 3 4 5 6 7; I => cast(take::<f32, 4>(&src[4 * I..4 * I + 4], 0, 0.0)))
    }
    #[inline(never)]
    fn load_or(self, src: &[f32], fill: f32) -> Self::V {
        cast(take::<f32, 32>(src, 0, fill))
    }
    #[inline(always)]
    fn store(self, dst: &mut [MaybeUninit<f32>], v: Self::V) {
        let dst = &mut dst[..32];
        let _ = each!(0 1 2 3 4 5 6 7; I => put::<f32, 4>(&mut dst[4 * I..4 * I + 4], 0, cast(v[I])));
    }
    #[inline(never)]
    fn store_partial(self, dst: &mut [MaybeUninit<f32>], v: Self::V) {
        put::<f32, 32>(dst, 0, cast(v));
    }
}

impl Lanes<f64> for Portable {
    const FUSED: bool = false;
    const COMPACT: bool = true;
    #[inline(always)]
    fn call<T: Element<Compute = f64>, K: Kernel<T>>(self, kernel: K)
    where
        Self: Memory<T>,
    {
        run::<T, K>(kernel)
    }
    type V = [f64x2; 8];
    type Half = [f64x2; 8];
    type Acc = [[f64x2; 8]; 2];
    type Seen = u64x2;

    #[inline(always)]
    fn splat(self, x: f64) -> Self::V {
        [f64x2::splat(x); 8]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => a[I] + b[I])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => a[I] - b[I])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => a[I] * b[I])
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => a[I] / b[I])
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => a[I] * b[I] + c[I])
    }
    #[inline(always)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => c[I] - a[I] * b[I])
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // `wide`'s own max drops NaN.
        each!(0 1 2 3 4 5 6 7; I => b[I].simd_lt(a[I]).select(a[I], b[I]))
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // `wide`'s own min drops NaN.
        each!(0 1 2 3 4 5 6 7; I => a[I].simd_lt(b[I]).select(a[I], b[I]))
    }
    #[inline(always)]
    fn zero_below(self, v: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => key[I].simd_lt(limit[I]).select(f64x2::splat(0.0), v[I]))
    }
    #[inline(always)]
    fn select_below(self, v: Self::V, below: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => key[I].simd_lt(limit[I]).select(below[I], v[I]))
    }
    #[inline(never)]
    fn keep_first(self, v: Self::V, count: usize) -> Self::V {
        cast(take::<f64, 16>(&cast::<_, [f64; 16]>(v)[..count.min(16)], 0, 0.0))
    }
    #[inline(always)]
    fn splat_groups<const P: usize>(self, parts: [f64; P]) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => f64x2::splat(parts[I * P / 8]))
    }
    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => cast(cast::<_, u64x2>(a[I]) + cast::<_, u64x2>(b[I])))
    }
    #[inline(always)]
    fn shl_exponent(self, v: Self::V) -> Self::V {
        each!(0 1 2 3 4 5 6 7; I => cast(cast::<_, u64x2>(v[I]) << 52_u32))
    }
    #[inline(always)]
    fn seen_none(self) -> Self::Seen {
        u64x2::splat(0)
    }
    #[inline(always)]
    fn seen(self, seen: Self::Seen, v: Self::V) -> Self::Seen {
        v.into_iter().fold(seen, |seen, v| seen | cast::<_, u64x2>(v))
    }
    #[inline(always)]
    fn seen_none_of(self, seen: Self::Seen, forbidden: u64) -> bool {
        cast::<_, [u64; 2]>(seen & u64x2::splat(forbidden)) == [0; 2]
    }
    #[inline(never)]
    fn reduce_max(self, v: Self::V) -> f64 {
        let v: [f64; 16] = cast(v);
        v.into_iter().fold(v[0], |a, b| if b > a { b } else { a })
    }
    #[inline(always)]
    fn add_half(self, a: Self::Half, b: Self::Half) -> Self::Half {
        each!(0 1 2 3 4 5 6 7; I => a[I] + b[I])
    }
    #[inline(always)]
    fn fold(self, v: Self::V) -> Self::Half {
        v
    }
    #[inline(always)]
    fn acc_zero(self) -> Self::Acc {
        [[f64x2::splat(0.0); 8]; 2]
    }
    #[inline(never)]
    fn acc_add(self, acc: Self::Acc, v: Self::Half) -> Self::Acc {
        super::two_sum(self, acc, v)
    }
    #[inline(never)]
    fn acc_sum(self, acc: Self::Acc) -> DoubleDouble {
        super::sum_pairs(cast(acc[0]), cast(acc[1]))
    }
    #[inline(always)]
    fn sum_groups<const P: usize>(self, v: &[Self::V]) -> [DoubleDouble; 8] {
        super::sum_parts::<f64, P>(cast_slice(v))
    }
}

impl Memory<f64> for Portable {
    #[inline(always)]
    fn load(self, src: &[f64]) -> Self::V {
        let src = &src[..16];
        each!(0 1 2 3 4 5 6 7; I => cast(take::<f64, 2>(&src[2 * I..2 * I + 2], 0, 0.0)))
    }
    #[inline(never)]
    fn load_or(self, src: &[f64], fill: f64) -> Self::V {
        cast(take::<f64, 16>(src, 0, fill))
    }
    #[inline(always)]
    fn store(self, dst: &mut [MaybeUninit<f64>], v: Self::V) {
        let dst = &mut dst[..16];
        let _ = each!(0 1 2 3 4 5 6 7; I => put::<f64, 2>(&mut dst[2 * I..2 * I + 2], 0, cast(v[I])));
    }
    #[inline(never)]
    fn store_partial(self, dst: &mut [MaybeUninit<f64>], v: Self::V) {
        put::<f64, 16>(dst, 0, cast(v));
    }
}
