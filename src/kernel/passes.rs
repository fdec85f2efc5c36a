//! The passes over a row that the operators are made of.
//!
//! Summation, the same for every operator, ISA and size class: element `i` of a row belongs to lane `i mod 32`. In a
//! block of 128 elements lane `i + 16` is added to lane `i` and the four vectors are added pairwise, so that no element
//! goes through more than three f32 additions; the sixteen sums of the block then join sixteen f64 sums. A segment of
//! 65,536 elements is closed by a fixed tree; segments are added in order.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop)]

use super::row::{BLOCK, Chunk, Finish, Row, block};
use crate::element::{Element, Float, RAISE, Sum};
use crate::lanes::{Lanes, Memory, WIDEST};
use crate::math::exp::{Core, Shift, Splat, exp, exp_or_zero};
use core::convert::identity;
use core::mem::MaybeUninit;

/// Elements to a segment: a fixed part of the contract, not a tuning knob.
pub const SEGMENT: usize = 65_536;

/// The vector that a backend computes `T` in.
pub type V<T, L> = <L as Lanes<<T as Element>::Compute>>::V;
type Half<T, L> = <L as Lanes<<T as Element>::Compute>>::Half;
type Seen<T, L> = <L as Lanes<<T as Element>::Compute>>::Seen;

/// e and t of some vectors, see [`exp`].
type ExpsAndSteps<T, L, const N: usize> = ([V<T, L>; N], [V<T, L>; N]);

/// What one exp pass learnt.
pub struct Exps<F: Float> {
    pub sum: F::Sum,
    /// Every exponent fitted its field: an e that is garbage all the same is ∞ or NaN, and so is the sum.
    pub fits: bool,
    /// If they did, every e is at least √2, or exactly 0.
    pub large: bool,
}

impl<F: Float> Exps<F> {
    /// Of an empty row.
    #[inline(always)]
    pub fn none() -> Self {
        Self {
            sum: F::Sum::ZERO,
            fits: true,
            large: true,
        }
    }

    /// The sum, as what the row is divided by.
    #[inline(always)]
    pub fn total(&self) -> Total<F> {
        Total::new(self.sum, self.large)
    }

    /// Adds those of the segment that follows.
    #[cfg(feature = "rayon")]
    pub fn join(&mut self, next: Self) {
        self.sum = self.sum.add(next.sum);
        self.fits &= next.fits;
        self.large &= next.large;
    }
}

/// What a row is divided by.
#[derive(Clone, Copy)]
pub struct Total<F: Float> {
    pub sum: F::Sum,
    /// Whether a quotient may be subnormal, which is then 0.
    pub flushes: bool,
}

impl<F: Float> Total<F> {
    /// The sum of terms that are all `large`, or may not be.
    #[inline(always)]
    pub fn new(sum: F::Sum, large: bool) -> Self {
        let flushes = !(large && sum.is_moderate());
        Self { sum, flushes }
    }

    /// The terms of the reciprocal for quotients none of which is flushed, the factor 2^−64 of [`Quotient::of`] among them.
    #[inline(always)]
    pub fn terms<L: Lanes<F>>(&self) -> Divide<F> {
        let (high, low) = L::terms(self.sum);
        Divide([high * lower(), low * lower()])
    }
}

/// The sums of a row, joined in the order of the module's head.
pub struct Sums<F: Float, L: Lanes<F>> {
    total: F::Sum,
    acc: L::Acc,
    /// Blocks until the segment ends.
    left: usize,
}

impl<F: Float, L: Lanes<F>> Sums<F, L> {
    /// `start` elements (whole blocks) behind the beginning of the row.
    #[inline(always)]
    pub fn new(lanes: L, start: usize) -> Self {
        Self {
            total: F::Sum::ZERO,
            acc: lanes.acc_zero(),
            left: (SEGMENT - start % SEGMENT) / (BLOCK * F::LANES),
        }
    }

    /// Adds the sums of the next block.
    #[inline(always)]
    pub fn add(&mut self, lanes: L, block: L::Half) {
        self.acc = lanes.acc_add(self.acc, block);
        self.left -= 1;
        if self.left == 0 {
            self.total = self.total.add(lanes.acc_sum(self.acc));
            self.acc = lanes.acc_zero();
            self.left = SEGMENT / (BLOCK * F::LANES);
        }
    }

    #[inline(always)]
    pub fn total(self, lanes: L) -> F::Sum {
        self.total.add(lanes.acc_sum(self.acc))
    }
}

/// Σ e over the row, with e = 2^−N·e^(x − offset) stored where the row has a place for it. `ROLLED` makes a block a loop
/// instead of four copies: for passes that seldom run.
#[inline(always)]
pub fn exp_sum<T, U, L, const OFFSET: bool, const ROLLED: bool>(
    lanes: L,
    row: impl Row<T, U>,
    shift: &Shift<T::Compute>,
) -> Exps<T::Compute>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
{
    exp_sum_from::<T, U, L, OFFSET, ROLLED>(lanes, row, 0, shift)
}

/// [`exp_sum`] of a `row` that begins `start` elements (whole blocks) behind the beginning of the one it is part of.
#[inline(always)]
pub fn exp_sum_from<T, U, L, const OFFSET: bool, const ROLLED: bool>(
    lanes: L,
    row: impl Row<T, U>,
    start: usize,
    shift: &Shift<T::Compute>,
) -> Exps<T::Compute>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
{
    let mut pass = ExpPass::new(lanes, start);
    pass.add::<T, U, _, OFFSET, ROLLED>((shift, &shift.splat(lanes)), row);
    pass.exps()
}

/// The exp pass over a row that comes in parts: whole blocks but for the last.
pub struct ExpPass<F: Float, L: Lanes<F>> {
    lanes: L,
    sums: Sums<F, L>,
    seen: L::Seen,
}

impl<F: Float, L: Lanes<F>> ExpPass<F, L> {
    /// Nothing yet of a row that begins `start` elements (whole blocks) behind the beginning of the one it is part of.
    #[inline(always)]
    pub fn new(lanes: L, start: usize) -> Self {
        Self {
            lanes,
            sums: Sums::new(lanes, start),
            seen: lanes.seen_none(),
        }
    }

    /// Adds a part.
    #[inline(always)]
    pub fn add<T, U, R, const OFFSET: bool, const ROLLED: bool>(&mut self, splat: (&Shift<F>, &Splat<V<T, L>>), part: R)
    where
        T: Element<Compute = F>,
        U: Element<Compute = F>,
        L: Memory<T> + Memory<U>,
        R: Row<T, U>,
    {
        let Self { lanes, sums, seen } = self;
        let (lanes, core) = (*lanes, F::core(L::FUSED));
        let (blocks, mut tail) = part.blocks();
        for mut chunk in blocks {
            // Where exp is a call anyway, four copies of what is around it are only longer.
            let sum = if ROLLED || L::COMPACT {
                exp_part::<T, U, L, _, OFFSET>(lanes, core, splat, &mut chunk, seen)
            } else {
                exp_block::<T, U, L, _, OFFSET>(lanes, core, splat, &mut chunk, seen)
            };
            sums.add(lanes, sum);
        }
        if tail.len() > 0 {
            let sum = if L::WIDE && !ROLLED && R::Chunk::COMMON {
                match tail.len().div_ceil(F::LANES) {
                    1 => exp_abreast::<T, U, L, _, 1, OFFSET, false>(lanes, core, splat, &mut tail, seen),
                    2 => exp_abreast::<T, U, L, _, 2, OFFSET, false>(lanes, core, splat, &mut tail, seen),
                    3 => exp_abreast::<T, U, L, _, 3, OFFSET, false>(lanes, core, splat, &mut tail, seen),
                    _ => exp_abreast::<T, U, L, _, BLOCK, OFFSET, false>(lanes, core, splat, &mut tail, seen),
                }
            } else {
                exp_part::<T, U, L, _, OFFSET>(lanes, core, splat, &mut tail, seen)
            };
            sums.add(lanes, sum);
        }
    }

    /// What it learnt.
    #[inline(always)]
    pub fn exps(self) -> Exps<F> {
        let Self { lanes, sums, seen } = self;
        let core = F::core(L::FUSED);
        Exps {
            sum: sums.total(lanes),
            fits: lanes.seen_none_of(seen, core.forbidden),
            large: lanes.seen_all_with(seen, core.large),
        }
    }
}

/// One whole block: its sixteen sums.
#[inline(always)]
pub fn exp_block<T, U, L, C, const OFFSET: bool>(
    lanes: L,
    core: &Core<T::Compute>,
    (shift, splat): (&Shift<T::Compute>, &Splat<V<T, L>>),
    chunk: &mut C,
    seen: &mut Seen<T, L>,
) -> Half<T, L>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
    C: Chunk<T, U>,
{
    if L::WIDE {
        return exp_abreast::<T, U, L, C, BLOCK, OFFSET, true>(lanes, core, (shift, splat), chunk, seen);
    }
    let n = T::Compute::LANES;
    let mut one = |j| exp_one::<T, U, L, C, OFFSET>(lanes, core, splat, chunk, seen, j * n);
    if C::STORES && !L::COMPACT {
        // A loop that the compiler must leave one: with so few registers, four copies are scheduled into each other until
        // each vector goes through memory.
        let mut halves = [lanes.fold(lanes.splat(T::Compute::ZERO)); BLOCK];
        let (count, mut j) = (core::hint::black_box(BLOCK), 0);
        while j < count {
            halves[j % BLOCK] = one(j % BLOCK);
            j += 1;
        }
        return fold_block::<T, L, _>(lanes, halves);
    }
    let (h0, h1) = (one(0), one(1));
    let low = lanes.add_half(h0, h1);
    let (h2, h3) = (one(2), one(3));
    lanes.add_half(low, lanes.add_half(h2, h3))
}

/// The same of the first `N` vectors of a block, each step across all of them. The last may lack lanes if not `WHOLE`.
#[inline(always)]
fn exp_abreast<T, U, L, C, const N: usize, const OFFSET: bool, const WHOLE: bool>(
    lanes: L,
    core: &Core<T::Compute>,
    (shift, splat): (&Shift<T::Compute>, &Splat<V<T, L>>),
    chunk: &mut C,
    seen: &mut Seen<T, L>,
) -> Half<T, L>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
    C: Chunk<T, U>,
{
    let (n, len) = (T::Compute::LANES, chunk.len());
    let absent = chunk.absent(shift.near);
    let zero = lanes.splat(T::Compute::ZERO);
    let (mut x, mut halves) = ([zero; N], [lanes.fold(zero); BLOCK]);
    // All loads first: where rows are whole pages, they would wait for what is stored beside them. The longer polynomial of f64
    // leaves no registers for that.
    let loads_first = T::Compute::LANES == WIDEST;
    for j in 0..N {
        if WHOLE && !loads_first {
            chunk.beside(lanes, j * n);
        }
        x[j] = if WHOLE || j + 1 < N {
            chunk.load(lanes, j * n)
        } else {
            chunk.load_or(lanes, j * n, absent)
        };
    }
    for j in 0..N {
        if WHOLE && loads_first {
            chunk.beside(lanes, j * n);
        }
    }
    let (e, t) = exps::<T, U, L, C, N, OFFSET>(lanes, core, splat, x);
    for j in 0..N {
        *seen = lanes.seen(*seen, t[j]);
        if WHOLE || j + 1 < N {
            chunk.store(lanes, j * n, e[j]);
            halves[j] = lanes.fold(e[j]);
        } else {
            chunk.store_partial(lanes, j * n, e[j]);
            halves[j] = lanes.fold(lanes.keep_first(e[j], len - j * n));
        }
    }
    fold_block::<T, L, _>(lanes, halves)
}

/// [`exp`] of some vectors of a row.
#[inline(always)]
fn exps<T, U, L, C, const N: usize, const OFFSET: bool>(
    lanes: L,
    core: &Core<T::Compute>,
    splat: &Splat<V<T, L>>,
    x: [V<T, L>; N],
) -> ExpsAndSteps<T, L, N>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
    C: Chunk<T, U>,
{
    if L::WIDE && C::ZEROS && !OFFSET {
        exp_or_zero(lanes, core, splat, x)
    } else {
        exp::<_, L, N, OFFSET>(lanes, core, splat, x)
    }
}

/// One whole vector: its folded sums.
#[inline(always)]
fn exp_one<T, U, L, C, const OFFSET: bool>(
    lanes: L,
    core: &Core<T::Compute>,
    shift: &Splat<V<T, L>>,
    chunk: &mut C,
    seen: &mut Seen<T, L>,
    at: usize,
) -> Half<T, L>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
    C: Chunk<T, U>,
{
    chunk.beside(lanes, at);
    let ([e], [t]) = exp::<_, L, 1, OFFSET>(lanes, core, shift, [chunk.load(lanes, at)]);
    *seen = lanes.seen(*seen, t);
    chunk.store(lanes, at, e);
    lanes.fold(e)
}

/// A block or less of one: absent lanes and vectors add 0. One copy of exp for every length.
#[inline(always)]
pub fn exp_part<T, U, L, C, const OFFSET: bool>(
    lanes: L,
    core: &Core<T::Compute>,
    (shift, splat): (&Shift<T::Compute>, &Splat<V<T, L>>),
    chunk: &mut C,
    seen: &mut Seen<T, L>,
) -> Half<T, L>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
    C: Chunk<T, U>,
{
    let n = T::Compute::LANES;
    let mut halves = [lanes.fold(lanes.splat(T::Compute::ZERO)); BLOCK];
    let (len, mut at) = (chunk.len(), 0);
    let absent = chunk.absent(shift.near);
    while at < len {
        let whole = at + n <= len;
        let x = if whole {
            chunk.load(lanes, at)
        } else {
            chunk.load_or(lanes, at, absent)
        };
        let ([e], [t]) = exps::<T, U, L, C, 1, OFFSET>(lanes, core, splat, [x]);
        *seen = lanes.seen(*seen, t);
        halves[at / n] = if whole {
            chunk.store(lanes, at, e);
            lanes.fold(e)
        } else {
            chunk.store_partial(lanes, at, e);
            lanes.fold(lanes.keep_first(e, len - at))
        };
        at += n;
    }
    fold_block::<T, L, _>(lanes, halves)
}

/// The sum of the first `N` vectors of a block, the others being 0.
#[inline(always)]
pub fn fold_block<T: Element, L: Memory<T>, const N: usize>(lanes: L, halves: [Half<T, L>; N]) -> Half<T, L> {
    pairwise(
        halves,
        #[inline(always)]
        |a, b| lanes.add_half(a, b),
    )
}

/// (v0 + v1) + (v2 + v3), of the first `N` terms if the others are 0.
#[inline(always)]
pub fn pairwise<V: Copy, const N: usize>(v: [V; N], add: impl Fn(V, V) -> V) -> V {
    match N {
        1 => v[0],
        2 => add(v[0], v[1]),
        3 => add(add(v[0], v[1]), v[2]),
        _ => {
            let low = add(v[0], v[1]);
            add(low, add(v[2], v[N - 1]))
        }
    }
}

/// Applies `f`, lane by lane, to every vector of the row and stores the result; absent lanes hold 0.
#[inline(always)]
pub fn map<T, U, L>(lanes: L, row: impl Row<T, U>, f: impl Fn(V<T, L>) -> V<T, L>)
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
{
    let n = T::Compute::LANES;
    let (blocks, mut tail) = row.blocks();
    for mut chunk in blocks {
        for j in 0..BLOCK {
            let v = f(chunk.load(lanes, j * n));
            chunk.store(lanes, j * n, v);
        }
    }
    let (len, mut at) = (tail.len(), 0);
    if len < n {
        if len > 0 {
            let v = f(tail.load_or(lanes, 0, T::Compute::ZERO));
            tail.store_partial(lanes, 0, v);
        }
        return;
    }
    // The last vector overlaps the one before: its elements are loaded before any is stored over.
    let last = f(tail.load(lanes, len - n));
    while at + n < len {
        let v = f(tail.load(lanes, at));
        tail.store(lanes, at, v);
        at += n;
    }
    tail.store(lanes, len - n, last);
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
    let mut sums = Sums::new(lanes, 0);
    let mut base = 0;
    for mut chunk in blocks {
        let mut halves = [zero; BLOCK];
        for (j, half) in halves.iter_mut().enumerate() {
            let (v, term) = f(base + j * n, chunk.load(lanes, j * n));
            chunk.store(lanes, j * n, v);
            *half = lanes.fold(term);
        }
        sums.add(lanes, fold_block::<T, L, _>(lanes, halves));
        base += block::<T>();
    }
    let (len, mut at) = (tail.len(), 0);
    let mut halves = [zero; BLOCK];
    while at < len {
        let whole = at + n <= len;
        let x = if whole {
            tail.load(lanes, at)
        } else {
            tail.load_or(lanes, at, T::Compute::ZERO)
        };
        let (v, term) = f(base + at, x);
        halves[at / n] = if whole {
            tail.store(lanes, at, v);
            lanes.fold(term)
        } else {
            tail.store_partial(lanes, at, v);
            lanes.fold(lanes.keep_first(term, len - at))
        };
        at += n;
    }
    if len > 0 {
        sums.add(lanes, fold_block::<T, L, _>(lanes, halves));
    }
    sums.total(lanes)
}

/// The first vector of `src`, `fill` behind its end.
#[inline(always)]
pub fn load<T: Element, L: Memory<T>>(lanes: L, src: &[T], fill: T::Compute) -> V<T, L> {
    if src.len() >= T::Compute::LANES {
        lanes.load(src)
    } else {
        lanes.load_or(src, fill)
    }
}

/// Stores `v`, or as many of its lanes as `dst` has elements.
#[inline(always)]
pub fn store<T: Element, L: Memory<T>>(lanes: L, dst: &mut [MaybeUninit<T>], v: V<T, L>) {
    if dst.len() >= T::Compute::LANES {
        lanes.store(dst, v);
    } else {
        lanes.store_partial(dst, v);
    }
}

/// The largest element; unspecified (but an element, or NaN) if one is NaN; −∞ of nothing.
#[inline(always)]
pub fn max<T: Element, L: Memory<T>>(lanes: L, row: &[T]) -> T::Compute {
    let n = T::Compute::LANES;
    let least = -T::Compute::INFINITY;
    let (blocks, tail) = super::row::Read(row).blocks();
    let mut m = [lanes.splat(least); BLOCK];
    for chunk in blocks {
        for (j, m) in m.iter_mut().enumerate() {
            *m = lanes.max(*m, Chunk::load(&chunk, lanes, j * n));
        }
    }
    let mut at = 0;
    while at < tail.len() {
        m[0] = lanes.max(m[0], Chunk::load_or(&tail, lanes, at, least));
        at += n;
    }
    lanes.reduce_max(lanes.max(lanes.max(m[0], m[1]), lanes.max(m[2], m[3])))
}

/// The quotients of a row of e.
#[inline(always)]
pub fn divide<T, U, L>(lanes: L, row: impl Row<T, U>, total: &Total<T::Compute>)
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
{
    divide_each(lanes, row, total, identity);
}

/// The quotients of what `e` makes of each vector of a row.
#[inline(always)]
pub fn divide_each<T, U, L>(lanes: L, row: impl Row<T, U>, total: &Total<T::Compute>, e: impl Fn(V<T, L>) -> V<T, L>)
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
{
    if L::FUSED && !total.flushes {
        let terms = total.terms::<L>();
        map(
            lanes,
            row,
            #[inline(always)]
            |v| terms.of(lanes, e(v)),
        );
    } else {
        let quotient = Quotient::new(lanes, total.sum);
        map(
            lanes,
            row,
            #[inline(always)]
            |v| quotient.of(lanes, e(v)),
        );
    }
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

/// The quotients of e that are [`large`](Exps::large) and have a [moderate](Sum::is_moderate) sum, by the terms of its
/// reciprocal: nothing is flushed, and the factor 2^−64 is part of the reciprocal, with the same bits: in f32 both terms of that
/// are multiples of the last place of 1/S in f64, and so are 0 or at least 2^−118, so that neither they nor their products with
/// e are subnormal. In f64 the smaller may be subnormal where a sum is a power of two but for a sink that vanishes beside it,
/// and adds nothing.
#[derive(Clone, Copy)]
pub struct Divide<F>([F; 2]);

impl<F: Float> Finish<F> for Divide<F> {
    const APART: bool = false;
    #[inline(always)]
    fn of<L: Lanes<F>>(self, lanes: L, e: L::V) -> L::V {
        let [high, low] = [lanes.splat(self.0[0]), lanes.splat(self.0[1])];
        lanes.mul_add(e, high, lanes.mul(e, low))
    }
}

/// 2^−64, the last factor of [`Quotient::of`].
fn lower<F: Float>() -> F {
    F::from_f64(1.0 / RAISE)
}

impl<V: Copy> Quotient<V> {
    /// One sum for each lane: its two [`terms`](Lanes::terms) and its threshold.
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
        let (high, low) = L::terms(sum);
        Self {
            high: lanes.splat(high),
            low: lanes.splat(low),
            lower: lanes.splat(lower()),
            threshold: lanes.splat(sum.threshold()),
        }
    }

    #[inline(always)]
    pub fn of<F: Float, L: Lanes<F, V = V>>(&self, lanes: L, e: V) -> V {
        if L::FUSED {
            let raised = lanes.product_from(e, [self.high, self.low], self.threshold);
            lanes.mul(raised, self.lower)
        } else {
            lanes.div(lanes.zero_below(e, e, self.threshold), self.high)
        }
    }
}
