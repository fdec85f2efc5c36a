//! The exact reference: one lane at a time, the same bits as the SIMD backends with a fused multiply-add.

use crate::element::{DoubleDouble, Element};
use crate::kernel::Kernel;
use crate::lanes::{Lanes, Memory};
use core::array::from_fn;
use core::mem::MaybeUninit;

/// Needs no proof.
#[derive(Clone, Copy)]
pub struct Scalar;

/// Runs `kernel`.
#[inline(always)]
pub fn run<T: Element, K: Kernel<T>>(kernel: K)
where
    Scalar: Memory<T> + Memory<T::Compute>,
{
    kernel.run_apart(Scalar);
}

impl Lanes<f32> for Scalar {
    const FUSED: bool = true;
    const COMPACT: bool = true;
    #[inline(always)]
    fn call<T: Element<Compute = f32>, K: Kernel<T>>(self, kernel: K)
    where
        Self: Memory<T>,
    {
        run::<T, K>(kernel)
    }
    type V = [f32; 32];
    type Half = [f32; 16];
    type Acc = [f64; 16];
    type Seen = [u32; 2];

    #[inline(never)]
    fn splat(self, x: f32) -> Self::V {
        [x; 32]
    }
    #[inline(never)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(never)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] - b[i])
    }
    #[inline(never)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] * b[i])
    }
    #[inline(never)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] / b[i])
    }
    #[inline(never)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        from_fn(|i| crate::math::fmaf(a[i], b[i], c[i]))
    }
    #[inline(never)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        from_fn(|i| crate::math::fmaf(-a[i], b[i], c[i]))
    }
    #[inline(never)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(never)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(never)]
    fn zero_below(self, v: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        from_fn(|i| if key[i] < limit[i] { 0.0 } else { v[i] })
    }
    #[inline(never)]
    fn select_below(self, v: Self::V, below: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        from_fn(|i| if key[i] < limit[i] { below[i] } else { v[i] })
    }
    #[inline(never)]
    fn keep_first(self, v: Self::V, count: usize) -> Self::V {
        from_fn(|i| if i < count { v[i] } else { 0.0 })
    }
    #[inline(always)]
    fn splat_groups<const P: usize>(self, parts: [f32; P]) -> Self::V {
        from_fn(|i| parts[i * P / 32])
    }
    #[inline(never)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| f32::from_bits(a[i].to_bits().wrapping_add(b[i].to_bits())))
    }
    #[inline(never)]
    fn shl_exponent(self, v: Self::V) -> Self::V {
        v.map(|v| f32::from_bits(v.to_bits() << 23))
    }
    #[inline(never)]
    fn shl_exponent_of_eighths(self, v: Self::V) -> Self::V {
        v.map(|v| f32::from_bits(v.to_bits() << 20))
    }
    #[inline(never)]
    fn lookup(self, table: &'static [f32; 8], index: Self::V) -> Self::V {
        index.map(|i| table[(i.to_bits() & 7) as usize])
    }
    #[inline(never)]
    fn seen_none(self) -> Self::Seen {
        [0, !0]
    }
    #[inline(never)]
    fn seen(self, seen: Self::Seen, v: Self::V) -> Self::Seen {
        v.into_iter()
            .fold(seen, |[or, and], v| [or | v.to_bits(), and & v.to_bits()])
    }
    #[inline(never)]
    fn seen_none_of(self, seen: Self::Seen, forbidden: u32) -> bool {
        seen[0] & forbidden == 0
    }
    #[inline(never)]
    fn seen_all_with(self, seen: Self::Seen, bit: u32) -> bool {
        seen[1] & bit == bit
    }
    #[inline(never)]
    fn reduce_max(self, v: Self::V) -> f32 {
        v.into_iter().fold(v[0], |a, b| if b > a { b } else { a })
    }
    #[inline(never)]
    fn add_half(self, a: Self::Half, b: Self::Half) -> Self::Half {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(never)]
    fn fold(self, v: Self::V) -> Self::Half {
        from_fn(|i| v[i] + v[i + 16])
    }
    #[inline(never)]
    fn acc_zero(self) -> Self::Acc {
        [0.0; 16]
    }
    #[inline(never)]
    fn acc_add(self, acc: Self::Acc, v: Self::Half) -> Self::Acc {
        from_fn(|i| acc[i] + f64::from(v[i]))
    }
    #[inline(never)]
    fn acc_sum(self, acc: Self::Acc) -> f64 {
        crate::element::tree(acc)
    }
    #[inline(always)]
    fn sum_groups<const P: usize>(self, v: &[Self::V]) -> [f64; 8] {
        super::sum_parts::<_, P>(v.as_flattened())
    }
}

impl Memory<f32> for Scalar {
    #[cfg(feature = "half")]
    super::half::load_halves!();
    #[inline(never)]
    fn load(self, src: &[f32]) -> Self::V {
        from_fn(|i| src[i])
    }
    #[inline(never)]
    fn load_or(self, src: &[f32], fill: f32) -> Self::V {
        super::take(src, 0, fill)
    }
    #[inline(never)]
    fn store(self, dst: &mut [MaybeUninit<f32>], v: Self::V) {
        super::put(&mut dst[..32], 0, v);
    }
    #[inline(never)]
    fn store_partial(self, dst: &mut [MaybeUninit<f32>], v: Self::V) {
        super::put(dst, 0, v);
    }
}

impl Lanes<f64> for Scalar {
    const FUSED: bool = true;
    const COMPACT: bool = true;
    #[inline(always)]
    fn call<T: Element<Compute = f64>, K: Kernel<T>>(self, kernel: K)
    where
        Self: Memory<T>,
    {
        run::<T, K>(kernel)
    }
    type V = [f64; 16];
    type Half = [f64; 16];
    type Acc = [[f64; 16]; 2];
    type Seen = [u64; 2];

    #[inline(never)]
    fn splat(self, x: f64) -> Self::V {
        [x; 16]
    }
    #[inline(never)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(never)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] - b[i])
    }
    #[inline(never)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] * b[i])
    }
    #[inline(never)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] / b[i])
    }
    #[inline(never)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        from_fn(|i| crate::math::fma(a[i], b[i], c[i]))
    }
    #[inline(never)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        from_fn(|i| crate::math::fma(-a[i], b[i], c[i]))
    }
    #[inline(never)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(never)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(never)]
    fn zero_below(self, v: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        from_fn(|i| if key[i] < limit[i] { 0.0 } else { v[i] })
    }
    #[inline(never)]
    fn select_below(self, v: Self::V, below: Self::V, key: Self::V, limit: Self::V) -> Self::V {
        from_fn(|i| if key[i] < limit[i] { below[i] } else { v[i] })
    }
    #[inline(never)]
    fn keep_first(self, v: Self::V, count: usize) -> Self::V {
        from_fn(|i| if i < count { v[i] } else { 0.0 })
    }
    #[inline(always)]
    fn splat_groups<const P: usize>(self, parts: [f64; P]) -> Self::V {
        from_fn(|i| parts[i * P / 16])
    }
    #[inline(never)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| f64::from_bits(a[i].to_bits().wrapping_add(b[i].to_bits())))
    }
    #[inline(never)]
    fn shl_exponent(self, v: Self::V) -> Self::V {
        v.map(|v| f64::from_bits(v.to_bits() << 52))
    }
    #[inline(never)]
    fn seen_none(self) -> Self::Seen {
        [0, !0]
    }
    #[inline(never)]
    fn seen(self, seen: Self::Seen, v: Self::V) -> Self::Seen {
        v.into_iter()
            .fold(seen, |[or, and], v| [or | v.to_bits(), and & v.to_bits()])
    }
    #[inline(never)]
    fn seen_none_of(self, seen: Self::Seen, forbidden: u64) -> bool {
        seen[0] & forbidden == 0
    }
    #[inline(never)]
    fn seen_all_with(self, seen: Self::Seen, bit: u64) -> bool {
        seen[1] & bit == bit
    }
    #[inline(never)]
    fn reduce_max(self, v: Self::V) -> f64 {
        v.into_iter().fold(v[0], |a, b| if b > a { b } else { a })
    }
    #[inline(never)]
    fn add_half(self, a: Self::Half, b: Self::Half) -> Self::Half {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(never)]
    fn fold(self, v: Self::V) -> Self::Half {
        v
    }
    #[inline(never)]
    fn acc_zero(self) -> Self::Acc {
        [[0.0; 16]; 2]
    }
    #[inline(never)]
    fn acc_add(self, acc: Self::Acc, v: Self::Half) -> Self::Acc {
        super::two_sum(self, acc, v)
    }
    #[inline(never)]
    fn acc_sum(self, acc: Self::Acc) -> DoubleDouble {
        super::sum_pairs(acc[0], acc[1])
    }
    #[inline(always)]
    fn sum_groups<const P: usize>(self, v: &[Self::V]) -> [DoubleDouble; 8] {
        super::sum_parts::<_, P>(v.as_flattened())
    }
}

impl Memory<f64> for Scalar {
    #[inline(never)]
    fn load(self, src: &[f64]) -> Self::V {
        from_fn(|i| src[i])
    }
    #[inline(never)]
    fn load_or(self, src: &[f64], fill: f64) -> Self::V {
        super::take(src, 0, fill)
    }
    #[inline(never)]
    fn store(self, dst: &mut [MaybeUninit<f64>], v: Self::V) {
        super::put(&mut dst[..16], 0, v);
    }
    #[inline(never)]
    fn store_partial(self, dst: &mut [MaybeUninit<f64>], v: Self::V) {
        super::put(dst, 0, v);
    }
}
