//! The vector that every kernel is written against.
//!
//! A *virtual vector* has [`Float::LANES`] lanes on every ISA (32 × f32, 16 × f64), however many registers that
//! takes. Because each backend presents the same vector and each operation is exactly rounded, every backend with a
//! fused multiply-add computes the same bits. All rules of rounding, ties and NaN are stated here and nowhere else.

use crate::arch::memory::{as_output, copy_first};
use crate::element::{Element, Float, Sum};
use crate::kernel::Kernel;
use crate::tuning;
use core::mem::MaybeUninit;

/// Lanes of the widest virtual vector.
pub const WIDEST: usize = 32;
const _: () = assert!(<f32 as Float>::LANES <= WIDEST && <f64 as Float>::LANES <= WIDEST);

/// Arithmetic on virtual vectors of `F`. Implemented on a token that proves the CPU features.
///
/// Where not `COMPACT`, every method is `#[inline(always)]`: one that is not becomes a call that passes vectors through
/// memory.
pub trait Lanes<F: Float>: Copy {
    /// Whether [`mul_add`](Self::mul_add) rounds once. All backends with `FUSED` give the same bits.
    const FUSED: bool;

    /// Whether the exp core is a function of its own: the portable backends, whose virtual vector is many instructions.
    const COMPACT: bool;

    /// Whether the exps of several virtual vectors are computed side by side: where a vector is so few registers that the
    /// chain of its operations alone does not keep the CPU busy, and there are registers for more. So fast are they that they
    /// wait for what they read from beyond the L2 cache.
    const WIDE: bool = false;

    /// Runs a kernel as a machine function of its own: a pass over a long row that many operators share is compiled once.
    fn call<T: Element<Compute = F>, K: Kernel<T>>(self, kernel: K)
    where
        Self: Memory<T> + Memory<F>;

    /// Asks for the cache line at `place`, which need not exist: to the first cache, or to the second if it is wanted
    /// `LATER`.
    #[inline(always)]
    fn hint<const LATER: bool>(self, _place: *const u8) {}

    /// One virtual vector.
    type V: Copy;
    /// Sixteen lanes: partial sums of a block of a row.
    type Half: Copy;
    /// Sixteen running sums of a row, in at least twice the precision of a lane.
    type Acc: Copy;
    /// The bitwise or of every pattern seen, or the largest in each lane as unsigned integers; and the bitwise and, where
    /// that is asked for.
    type Seen: Copy;

    /// All lanes `x`.
    fn splat(self, x: F) -> Self::V;
    /// `a + b`, round to nearest even.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a − b`, round to nearest even.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b`, round to nearest even.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`, round to nearest even.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`: one rounding if `FUSED`, else the product is rounded before the addition.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c − a · b`, rounded like [`mul_add`](Self::mul_add).
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; `b` where `b` is NaN. `a` is never NaN where the result matters, and of two zeros either may come.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller, with the rules of [`max`](Self::max).
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `+0` where `key < limit`, else `v`; false on NaN, so that with `v` as key a NaN stays.
    fn zero_below(self, v: Self::V, key: Self::V, limit: Self::V) -> Self::V;
    /// `fma(v, high, v·low)`, and `+0` where `v < limit`: there nothing is multiplied, so that no product is subnormal.
    #[inline(always)]
    fn product_from(self, v: Self::V, [high, low]: [Self::V; 2], limit: Self::V) -> Self::V {
        let v = self.zero_below(v, v, limit);
        self.mul_add(v, high, self.mul(v, low))
    }
    /// `below` where `key < limit`, else `v`; false on NaN.
    fn select_below(self, v: Self::V, below: Self::V, key: Self::V, limit: Self::V) -> Self::V;
    /// A bit for each of the `bytes` (at most `LANES`): whether it is not 0.
    #[inline(always)]
    fn bits_of(self, bytes: &[u8]) -> u32 {
        let mut bits = 0;
        for (i, &byte) in bytes.iter().enumerate() {
            bits |= u32::from(byte != 0) << i;
        }
        bits
    }
    /// The first `count` lanes of `v`, `+0` in the others.
    fn keep_first(self, v: Self::V, count: usize) -> Self::V;

    /// `parts[g]` in each lane of the `g`-th of `P` equal parts of the vector.
    fn splat_groups<const P: usize>(self, parts: [F; P]) -> Self::V;

    /// Integer sum of the bit patterns, wrapping.
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V;
    /// The bit pattern shifted left so that bit 0 becomes the lowest exponent bit (23 or 52 places).
    fn shl_exponent(self, v: Self::V) -> Self::V;
    /// The bit pattern shifted left so that bit 3 becomes the lowest exponent bit (20 places); of f32, whose core alone has
    /// steps of an eighth.
    fn shl_exponent_of_eighths(self, _v: Self::V) -> Self::V {
        unreachable!("f64 has no eighths")
    }
    /// `table[low three bits of the pattern of index]`; of f32.
    fn lookup(self, _table: &'static [F; 8], _index: Self::V) -> Self::V {
        unreachable!("f64 has no table")
    }

    /// Has seen nothing.
    fn seen_none(self) -> Self::Seen;
    /// Adds the bit patterns of `v`. These are never below that of 1.5·2^23 (f64: 1.5·2^52), so that the largest has a
    /// forbidden bit if any has one.
    fn seen(self, seen: Self::Seen, v: Self::V) -> Self::Seen;
    /// Whether no bit of `forbidden` was set in any pattern.
    fn seen_none_of(self, seen: Self::Seen, forbidden: F::Bits) -> bool;
    /// Whether no pattern of `v`, which are like those of [`seen`](Self::seen), has a `forbidden` bit after `room` is added.
    #[inline(always)]
    fn has_room(self, v: Self::V, room: F, forbidden: F::Bits) -> bool {
        let seen = self.seen(self.seen_none(), self.add(v, self.splat(room)));
        self.seen_none_of(seen, forbidden)
    }
    /// Whether `bit` was set in every pattern; not asked for where multiply-add is not fused.
    #[inline(always)]
    fn seen_all_with(self, _seen: Self::Seen, _bit: F::Bits) -> bool {
        false
    }

    /// The largest lane, unspecified if a lane is NaN.
    fn reduce_max(self, v: Self::V) -> F;

    /// Lane `i + 16` added to lane `i` (f32: one rounding; f64 has sixteen lanes, nothing happens).
    fn fold(self, v: Self::V) -> Self::Half;
    /// `a + b`, round to nearest even.
    fn add_half(self, a: Self::Half, b: Self::Half) -> Self::Half;
    /// Sums of nothing.
    fn acc_zero(self) -> Self::Acc;
    /// Adds a block sum: f32 lanes in f64, f64 lanes without error into a pair (high, low).
    fn acc_add(self, acc: Self::Acc, v: Self::Half) -> Self::Acc;
    /// A block sum alone: [`acc_add`](Self::acc_add) to nothing.
    #[inline(always)]
    fn acc_of(self, v: Self::Half) -> Self::Acc {
        self.acc_add(self.acc_zero(), v)
    }
    /// The sum of the sixteen: `i + (i + 8)`, then 4, 2, 1.
    fn acc_sum(self, acc: Self::Acc) -> F::Sum;
    /// [`acc_sum`](Self::acc_sum) of each of eight; side by side where that takes fewer steps.
    #[inline(always)]
    fn acc_sums(self, acc: &[Self::Acc; 8]) -> [F::Sum; 8] {
        let mut sums = [F::Sum::ZERO; 8];
        for i in 0..8 {
            sums[i] = self.acc_sum(acc[i]);
        }
        sums
    }
    /// What a row with this sum is divided by: the two terms of the reciprocal ([`Sum::reciprocal`]), which is multiplied by
    /// where `FUSED`, or the sum itself.
    #[inline(always)]
    fn terms(sum: F::Sum) -> (F, F) {
        if Self::FUSED {
            sum.reciprocal()
        } else {
            (sum.rounded(), F::ZERO)
        }
    }
    /// The [`terms`](Self::terms) and the [`threshold`](Sum::threshold) of each of eight sums; side by side where that takes
    /// fewer steps.
    #[inline(always)]
    fn divisors(self, sums: [F::Sum; 8]) -> [[F; 8]; 3] {
        let mut divisors = [[F::ZERO; 8]; 3];
        for i in 0..8 {
            (divisors[0][i], divisors[1][i]) = Self::terms(sums[i]);
            divisors[2][i] = sums[i].threshold();
        }
        divisors
    }
    /// [`Sum::log`] of each of eight sums under the shifts `n`, high and low.
    #[inline(always)]
    fn logs(self, sums: &[F::Sum; 8], n: &[i32; 8]) -> [[F; 8]; 2] {
        let mut logs = [[F::ZERO; 8]; 2];
        for i in 0..8 {
            (logs[0][i], logs[1][i]) = sums[i].log(n[i]);
        }
        logs
    }
    /// The tree of [`acc_sum`](Self::acc_sum) over each of the first eight of `P` equal parts of each of `v`, as if lanes that
    /// a part lacks were 0.
    fn sum_groups<const P: usize>(self, v: &[Self::V]) -> [F::Sum; 8];
}

/// Bytes to which [`Memory::stream`] wants its destination aligned.
pub const STREAM_ALIGN: usize = 64;

/// Loads and stores of the element type `T`, which is what kernels are generic over.
///
/// A load is exact, subnormals included, whatever the host's flags. A store rounds to nearest even, keeps the subnormals
/// of f16, and keeps NaN: quiet, with its sign and what fits of its payload.
pub trait Memory<T: Element>: Lanes<T::Compute> {
    /// Whether [`stream`](Self::stream) passes the caches, so that beyond them two exps and that may be faster than one exp
    /// and a stored row.
    const STREAMS: bool = false;
    /// The first `LANES` elements of `src`, which has at least as many.
    fn load(self, src: &[T]) -> Self::V;
    /// The elements of `src` (at most `LANES`), and `fill` in the remaining lanes. Reads nothing behind `src`.
    fn load_or(self, src: &[T], fill: T::Compute) -> Self::V;
    /// Stores all lanes to the first `LANES` elements of `dst`, rounding once to `T`.
    fn store(self, dst: &mut [MaybeUninit<T>], v: Self::V);
    /// The elements of `src` (at most `LANES`), and 0 in the remaining lanes; of f32.
    #[cfg(feature = "half")]
    #[inline(always)]
    fn load_f16(self, _src: &[half::f16]) -> Self::V {
        unreachable!("a conversion to f32")
    }
    /// The same.
    #[cfg(feature = "half")]
    #[inline(always)]
    fn load_bf16(self, _src: &[half::bf16]) -> Self::V {
        unreachable!("a conversion to f32")
    }
    /// `v`, and −∞ in the lanes whose bit is not set.
    #[inline(always)]
    fn keep_bits(self, v: Self::V, bits: u32) -> Self::V {
        let mut kept = [T::narrow(T::Compute::ZERO); WIDEST];
        for (i, kept) in kept.iter_mut().enumerate() {
            *kept = T::narrow(T::Compute::from_i32((bits >> i & 1) as i32));
        }
        let (least, half) = (-T::Compute::INFINITY, T::Compute::from_f64(0.5));
        self.select_below(v, self.splat(least), self.load(&kept), self.splat(half))
    }
    /// `rows[g]` (at most `LANES/P` elements) in the `g`-th of `P` equal parts, `fill` in the remaining lanes.
    #[inline(always)]
    fn load_groups<const P: usize>(self, rows: [&[T]; P], fill: T::Compute) -> Self::V {
        let mut flat = [T::narrow(fill); WIDEST];
        for g in 0..P {
            let part = &mut flat[g * (T::Compute::LANES / P)..][..T::Compute::LANES / P];
            copy_first::<T, WIDEST>(rows[g], as_output(part));
        }
        self.load(&flat)
    }
    /// Stores as many lanes of the `g`-th of `P` equal parts as `dst` has elements.
    #[inline(always)]
    fn store_group<const P: usize>(self, dst: &mut [MaybeUninit<T>], v: Self::V, g: usize) {
        let mut flat = [T::NAN; WIDEST];
        self.store(as_output(&mut flat), v);
        copy_first::<T, WIDEST>(&flat[g * (T::Compute::LANES / P)..][..T::Compute::LANES / P], dst);
    }
    /// Stores as many lanes as `dst` has elements (at most `LANES`). Writes nothing behind `dst`.
    fn store_partial(self, dst: &mut [MaybeUninit<T>], v: Self::V);
    /// Hints that what stands [`prefetch_bytes`](crate::tuning) behind the beginning of `src` is soon read; it need not
    /// exist. The prefetchers of CPUs stop at the end of a page.
    #[inline(always)]
    fn prefetch(self, src: &[T]) {
        prefetch::<T, Self, false>(self, src.as_ptr().cast(), tuning::PREFETCH_BYTES);
    }
    /// Hints that what stands as far behind the beginning of `dst` is soon written; it need not exist.
    #[inline(always)]
    fn prefetch_output(self, dst: &mut [MaybeUninit<T>]) {
        prefetch::<T, Self, false>(self, dst.as_ptr().cast(), tuning::PREFETCH_BYTES);
    }
    /// Hints that what stands `bytes` behind `place` is soon read or written, or as far as [`prefetch`](Self::prefetch) looks
    /// if that is less; it need not exist.
    #[inline(always)]
    fn prefetch_near(self, place: *const T, bytes: usize) {
        prefetch::<T, Self, false>(self, place.cast(), bytes.min(tuning::PREFETCH_BYTES));
    }
    /// Hints that the vector `ahead` elements behind `place` (before it, modulo 2^w) is read or written before long; it need
    /// not exist.
    #[inline(always)]
    fn prefetch_later(self, place: *const T, ahead: usize) {
        prefetch::<T, Self, true>(self, place.cast(), ahead.wrapping_mul(size_of::<T>()));
    }
    /// [`store`](Self::store) past the caches where `STREAMS` and `dst` is aligned to [`STREAM_ALIGN`] bytes.
    #[inline(always)]
    fn stream(self, dst: &mut [MaybeUninit<T>], v: Self::V) {
        self.store(dst, v)
    }
    /// Makes streamed stores visible in order before what follows.
    #[inline(always)]
    fn stream_end(self) {}
}

/// Asks for the cache lines of a vector of `T` so many bytes behind `place`, unless the tuning profile says not at all.
#[inline(always)]
fn prefetch<T: Element, L: Memory<T>, const LATER: bool>(lanes: L, place: *const u8, ahead: usize) {
    if tuning::PREFETCH_BYTES > 0 {
        for line in (0..T::Compute::LANES * size_of::<T>()).step_by(64) {
            lanes.hint::<LATER>(place.wrapping_add(ahead.wrapping_add(line)));
        }
    }
}
