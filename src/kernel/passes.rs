//! The passes over a row that the operators are made of.
//!
//! Summation, the same for every operator, ISA and size class: element `i` of a row belongs to lane `i mod 32`. In a
//! block of 128 elements lane `i + 16` is added to lane `i` and the four vectors are added pairwise, so that no element
//! goes through more than three f32 additions; the sixteen sums of the block then join sixteen f64 sums. A segment of
//! 65,536 elements is closed by a fixed tree; segments are added in order.

use super::row::{BLOCK, Chunk, Pair, Row, block};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory, STREAM_ALIGN};
use crate::math::exp::{Core, Shift, Splat, exp};
use core::mem::MaybeUninit;

/// Elements to a segment: a fixed part of the contract, not a tuning knob.
pub const SEGMENT: usize = 65_536;

/// The vector that a backend computes `T` in.
pub type V<T, L> = <L as Lanes<<T as Element>::Compute>>::V;
type Half<T, L> = <L as Lanes<<T as Element>::Compute>>::Half;
type Seen<T, L> = <L as Lanes<<T as Element>::Compute>>::Seen;

/// What one exp pass learnt.
pub struct Exps<F: Float> {
    pub sum: F::Sum,
    /// Every exponent fitted its field, so that no e is garbage.
    pub fits: bool,
}

/// Σ e over the row, with e = 2^−N·e^(x − offset) stored where the row has a place for it.
#[inline(always)]
pub fn exp_sum<T, U, L, const OFFSET: bool>(
    lanes: L,
    row: impl Row<T, U>,
    shift: &Shift<T::Compute>,
) -> Exps<T::Compute>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
{
    exp_sum_of::<T, U, L, OFFSET, false>(
        lanes,
        row,
        0,
        shift,
        #[inline(always)]
        |x, _| x,
    )
}

/// [`exp_sum`] of the logits `z(x, at)`, `at` counting from the start of `row`, which stands `start` elements (whole
/// blocks) after that of the row it is part of. Lanes behind the end hold −∞, of which z must be −∞ too. `HEAVY` is for a
/// z of so many instructions that a block is a loop rather than four copies.
#[inline(always)]
pub fn exp_sum_of<T, U, L, const OFFSET: bool, const HEAVY: bool>(
    lanes: L,
    row: impl Row<T, U>,
    start: usize,
    shift: &Shift<T::Compute>,
    z: impl Fn(V<T, L>, usize) -> V<T, L>,
) -> Exps<T::Compute>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
{
    let core = T::Compute::core(L::FUSED);
    let splat = shift.splat(lanes);
    let (blocks, tail) = row.blocks();
    let mut total = <T::Compute as Float>::Sum::ZERO;
    let mut acc = lanes.acc_zero();
    let mut seen = lanes.seen_none();
    let mut left = (SEGMENT - start % SEGMENT) / block::<T>();
    let mut base = 0;
    for mut chunk in blocks {
        let sum = if HEAVY {
            exp_loop::<T, U, L, _, OFFSET>(lanes, core, &splat, &mut chunk, &mut seen, (&z, base))
        } else {
            exp_block::<T, U, L, _, OFFSET>(lanes, core, &splat, &mut chunk, &mut seen, (&z, base))
        };
        base += block::<T>();
        acc = lanes.acc_add(acc, sum);
        left -= 1;
        if left == 0 {
            total = total.add(lanes.acc_sum(acc));
            acc = lanes.acc_zero();
            left = SEGMENT / block::<T>();
        }
    }
    if tail.len() > 0 {
        let sum = exp_tail::<T, U, L, _, OFFSET>(lanes, core, &splat, tail, &mut seen, (&z, base));
        acc = lanes.acc_add(acc, sum);
    }
    Exps {
        sum: total.add(lanes.acc_sum(acc)),
        fits: lanes.seen_none_of(seen, core.forbidden),
    }
}

/// One whole block: its sixteen sums.
#[inline(always)]
fn exp_block<T, U, L, C, const OFFSET: bool>(
    lanes: L,
    core: &Core<T::Compute>,
    shift: &Splat<V<T, L>>,
    chunk: &mut C,
    seen: &mut Seen<T, L>,
    (z, base): (&impl Fn(V<T, L>, usize) -> V<T, L>, usize),
) -> Half<T, L>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
    C: Chunk<T, U>,
{
    let n = T::Compute::LANES;
    let mut one = |j| exp_one::<T, U, L, C, OFFSET>(lanes, core, shift, chunk, seen, (z, base), j * n);
    let (h0, h1) = (one(0), one(1));
    let low = lanes.add_half(h0, h1);
    let (h2, h3) = (one(2), one(3));
    lanes.add_half(low, lanes.add_half(h2, h3))
}

/// [`exp_block`] as a loop over its vectors.
#[inline(always)]
fn exp_loop<T, U, L, C, const OFFSET: bool>(
    lanes: L,
    core: &Core<T::Compute>,
    shift: &Splat<V<T, L>>,
    chunk: &mut C,
    seen: &mut Seen<T, L>,
    z: (&impl Fn(V<T, L>, usize) -> V<T, L>, usize),
) -> Half<T, L>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
    C: Chunk<T, U>,
{
    let mut halves = [lanes.fold(lanes.splat(T::Compute::ZERO)); BLOCK];
    for (j, half) in halves.iter_mut().enumerate() {
        *half = exp_one::<T, U, L, C, OFFSET>(lanes, core, shift, chunk, seen, z, j * T::Compute::LANES);
    }
    fold_block::<T, L>(lanes, halves)
}

/// One whole vector: its folded sums.
#[inline(always)]
fn exp_one<T, U, L, C, const OFFSET: bool>(
    lanes: L,
    core: &Core<T::Compute>,
    shift: &Splat<V<T, L>>,
    chunk: &mut C,
    seen: &mut Seen<T, L>,
    (z, base): (&impl Fn(V<T, L>, usize) -> V<T, L>, usize),
    at: usize,
) -> Half<T, L>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
    C: Chunk<T, U>,
{
    let ([e], [t]) = exp::<_, L, 1, OFFSET>(lanes, core, shift, [z(chunk.load(lanes, at), base + at)]);
    *seen = lanes.seen(*seen, t);
    chunk.store(lanes, at, e);
    lanes.fold(e)
}

/// The vector at `at`, whole or not.
#[inline(always)]
fn exp_last<T, U, L, C, const OFFSET: bool>(
    lanes: L,
    core: &Core<T::Compute>,
    shift: &Splat<V<T, L>>,
    chunk: &mut C,
    seen: &mut Seen<T, L>,
    (z, base): (&impl Fn(V<T, L>, usize) -> V<T, L>, usize),
    at: usize,
) -> Half<T, L>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
    C: Chunk<T, U>,
{
    let present = chunk.len() - at;
    if present >= T::Compute::LANES {
        return exp_one::<T, U, L, C, OFFSET>(lanes, core, shift, chunk, seen, (z, base), at);
    }
    let x = z(chunk.load_or(lanes, at, -T::Compute::INFINITY), base + at);
    let ([e], [t]) = exp::<_, L, 1, OFFSET>(lanes, core, shift, [x]);
    *seen = lanes.seen(*seen, t);
    chunk.store_partial(lanes, at, e);
    lanes.fold(lanes.keep_first(e, present))
}

/// The pairwise sum of the vectors of a block.
#[inline(always)]
pub fn fold_block<T: Element, L: Memory<T>>(lanes: L, halves: [Half<T, L>; BLOCK]) -> Half<T, L> {
    lanes.add_half(
        lanes.add_half(halves[0], halves[1]),
        lanes.add_half(halves[2], halves[3]),
    )
}

/// Less than a block, but something: absent vectors add nothing, absent lanes 0.
#[inline(always)]
fn exp_tail<T, U, L, C, const OFFSET: bool>(
    lanes: L,
    core: &Core<T::Compute>,
    shift: &Splat<V<T, L>>,
    mut chunk: C,
    seen: &mut Seen<T, L>,
    (z, base): (&impl Fn(V<T, L>, usize) -> V<T, L>, usize),
) -> Half<T, L>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
    C: Chunk<T, U>,
{
    let n = T::Compute::LANES;
    let len = chunk.len();
    // A loop, not four copies: a tail is short. Absent vectors add 0.
    let mut halves = [lanes.fold(lanes.splat(T::Compute::ZERO)); BLOCK];
    for (j, half) in halves.iter_mut().enumerate() {
        if j * n < len {
            *half = exp_last::<T, U, L, C, OFFSET>(lanes, core, shift, &mut chunk, seen, (z, base), j * n);
        }
    }
    fold_block::<T, L>(lanes, halves)
}

/// Applies `f` to every vector of the row and stores the result; absent lanes hold 0.
#[inline(always)]
pub fn map<T, U, L>(lanes: L, row: impl Row<T, U>, f: impl Fn(V<T, L>) -> V<T, L>)
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
{
    map_at::<T, U, L>(
        lanes,
        row,
        #[inline(always)]
        |x, _| f(x),
    );
}

/// [`map`] with the place of the vector in the row.
#[inline(always)]
pub fn map_at<T, U, L>(lanes: L, row: impl Row<T, U>, f: impl Fn(V<T, L>, usize) -> V<T, L>)
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
{
    let n = T::Compute::LANES;
    let (blocks, mut tail) = row.blocks();
    let mut base = 0;
    for mut chunk in blocks {
        for j in 0..BLOCK {
            let v = f(chunk.load(lanes, j * n), base + j * n);
            chunk.store(lanes, j * n, v);
        }
        base += block::<T>();
    }
    let len = tail.len();
    let mut at = 0;
    while at + n <= len {
        let v = f(tail.load(lanes, at), base + at);
        tail.store(lanes, at, v);
        at += n;
    }
    if at < len {
        let v = f(tail.load_or(lanes, at, T::Compute::ZERO), base + at);
        tail.store_partial(lanes, at, v);
    }
}

/// [`map`] from `x` to `y` with stores past the caches.
#[inline(always)]
pub fn map_streaming<T, L>(lanes: L, x: &[T], y: &mut [MaybeUninit<T>], f: impl Fn(V<T, L>) -> V<T, L>)
where
    T: Element,
    L: Memory<T>,
{
    let n = T::Compute::LANES;
    // Where y reaches the alignment; the results are elementwise, so that a row may be cut anywhere.
    let head = y.as_ptr().align_offset(STREAM_ALIGN).min(x.len());
    let (x_head, x) = x.split_at(head);
    let (y_head, y) = y.split_at_mut(head);
    let whole = x.len() - x.len() % n;
    let (x, x_tail) = x.split_at(whole);
    let (y, y_tail) = y.split_at_mut(whole);
    // Not `&f`: a call through a reference is not always inlined.
    #[allow(clippy::redundant_closure)]
    map::<T, T, L>(
        lanes,
        Pair(x_head, y_head),
        #[inline(always)]
        |x| f(x),
    );
    for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
        lanes.stream(y, f(Memory::<T>::load(lanes, x)));
    }
    #[allow(clippy::redundant_closure)]
    map::<T, T, L>(
        lanes,
        Pair(x_tail, y_tail),
        #[inline(always)]
        |x| f(x),
    );
    lanes.stream_end();
}

/// Applies `f(at, x)` to the vector at element `at` of the row, stores the first of its results and gives the sum of the
/// second. To `f` absent lanes are 0, and so they are to the sum.
#[inline(always)]
pub fn map_sum<T, U, L>(
    lanes: L,
    row: impl Row<T, U>,
    f: impl Fn(usize, V<T, L>) -> (V<T, L>, V<T, L>),
) -> <T::Compute as Float>::Sum
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
{
    let n = T::Compute::LANES;
    let zero = lanes.fold(lanes.splat(T::Compute::ZERO));
    let (blocks, mut tail) = row.blocks();
    let mut total = <T::Compute as Float>::Sum::ZERO;
    let mut acc = lanes.acc_zero();
    let (mut start, mut left) = (0, SEGMENT / block::<T>());
    for mut chunk in blocks {
        let mut halves = [zero; BLOCK];
        for (j, half) in halves.iter_mut().enumerate() {
            let (v, term) = f(start + j * n, chunk.load(lanes, j * n));
            chunk.store(lanes, j * n, v);
            *half = lanes.fold(term);
        }
        acc = lanes.acc_add(acc, fold_block::<T, L>(lanes, halves));
        start += block::<T>();
        left -= 1;
        if left == 0 {
            total = total.add(lanes.acc_sum(acc));
            acc = lanes.acc_zero();
            left = SEGMENT / block::<T>();
        }
    }
    let len = tail.len();
    if len > 0 {
        let mut halves = [zero; BLOCK];
        let whole = len / n;
        for (j, half) in halves[..whole].iter_mut().enumerate() {
            let (v, term) = f(start + j * n, tail.load(lanes, j * n));
            tail.store(lanes, j * n, v);
            *half = lanes.fold(term);
        }
        let at = whole * n;
        if at < len {
            let (v, term) = f(start + at, tail.load_or(lanes, at, T::Compute::ZERO));
            tail.store_partial(lanes, at, v);
            halves[whole] = lanes.fold(lanes.keep_first(term, len - at));
        }
        acc = lanes.acc_add(acc, fold_block::<T, L>(lanes, halves));
    }
    total.add(lanes.acc_sum(acc))
}

/// The vector at element `at` of `row`, 0 behind its end.
#[inline(always)]
pub fn load_at<T: Element, L: Memory<T>>(lanes: L, row: &[T], at: usize) -> V<T, L> {
    let rest = &row[at..];
    if rest.len() >= T::Compute::LANES {
        lanes.load(rest)
    } else {
        lanes.load_or(rest, T::Compute::ZERO)
    }
}

/// The largest element; unspecified (but an element, or NaN) if one is NaN; −∞ of nothing.
#[inline(always)]
pub fn max<T: Element, L: Memory<T>>(lanes: L, row: &[T]) -> T::Compute {
    max_of(
        lanes,
        row,
        #[inline(always)]
        |x, _| x,
    )
}

/// [`max`] of the logits `z(x, at)`, with the rules of [`exp_sum_of`].
#[inline(always)]
pub fn max_of<T: Element, L: Memory<T>>(lanes: L, row: &[T], z: impl Fn(V<T, L>, usize) -> V<T, L>) -> T::Compute {
    let n = T::Compute::LANES;
    let least = -T::Compute::INFINITY;
    let (blocks, tail) = super::row::Read(row).blocks();
    let mut m = [lanes.splat(least); BLOCK];
    let mut base = 0;
    for chunk in blocks {
        for (j, m) in m.iter_mut().enumerate() {
            *m = lanes.max(*m, z(Chunk::load(&chunk, lanes, j * n), base + j * n));
        }
        base += block::<T>();
    }
    let mut at = 0;
    while at < tail.len() {
        m[0] = lanes.max(m[0], z(Chunk::load_or(&tail, lanes, at, least), base + at));
        at += n;
    }
    lanes.reduce_max(lanes.max(lanes.max(m[0], m[1]), lanes.max(m[2], m[3])))
}

/// e/S from e: `fma(e, high, e·low)·2^−64`, and 0 where it would be subnormal.
///
/// The reciprocal has two terms, so that a row whose sum is one of its terms gives exactly 1. Without a fused
/// multiply-add two terms do not give it, and e is divided by S.
pub struct Quotient<V> {
    high: V,
    low: V,
    lower: V,
    threshold: V,
}

/// What [`Quotient::of`] multiplies by, or divides by.
#[inline(always)]
pub fn terms<F: Float, L: Lanes<F>>(sum: F::Sum) -> (F, F) {
    if L::FUSED {
        sum.reciprocal()
    } else {
        (sum.rounded(), F::ZERO)
    }
}

/// 2^−64, the last factor of [`Quotient::of`].
fn lower<F: Float>() -> F {
    F::from_f64(1.0 / 18_446_744_073_709_551_616.0)
}

impl<V: Copy> Quotient<V> {
    /// One sum for each of `P` equal parts of the vector.
    #[inline(always)]
    pub fn grouped<F: Float, L: Lanes<F, V = V>, const P: usize>(lanes: L, sums: &[F::Sum; P]) -> Self {
        let (mut high, mut low, mut threshold) = ([F::ZERO; P], [F::ZERO; P], [F::ZERO; P]);
        for g in 0..P {
            (high[g], low[g]) = terms::<F, L>(sums[g]);
            threshold[g] = sums[g].threshold();
        }
        Self {
            high: lanes.splat_groups(high),
            low: lanes.splat_groups(low),
            lower: lanes.splat(lower()),
            threshold: lanes.splat_groups(threshold),
        }
    }

    /// One sum for each lane: its two [`terms`] and its threshold.
    #[inline(always)]
    pub fn by_lane<F: Float, L: Lanes<F, V = V>>(lanes: L, [high, low, threshold]: [V; 3]) -> Self {
        Self {
            high,
            low,
            lower: lanes.splat(lower()),
            threshold,
        }
    }

    #[inline(always)]
    pub fn new<F: Float, L: Lanes<F, V = V>>(lanes: L, sum: F::Sum) -> Self {
        let (high, low) = terms::<F, L>(sum);
        Self {
            high: lanes.splat(high),
            low: lanes.splat(low),
            lower: lanes.splat(lower()),
            threshold: lanes.splat(sum.threshold()),
        }
    }

    #[inline(always)]
    pub fn of<F: Float, L: Lanes<F, V = V>>(&self, lanes: L, e: V) -> V {
        // Before the products, so that none of them is subnormal either.
        let e = lanes.zero_below(e, e, self.threshold);
        if L::FUSED {
            lanes.mul(lanes.mul_add(e, self.high, lanes.mul(e, self.low)), self.lower)
        } else {
            lanes.div(e, self.high)
        }
    }
}
