//! Short rows a batch at a time: rows of any kind that a [`Source`] finds.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use super::pass::{Pass, Quotients};
use super::{BATCH, BothBatches, EIGHT, ROOM, TakenRows, WRITTEN_AHEAD, longest, read_ahead};
use crate::arch::memory::{as_output, assume_written};
use crate::element::{Element, Float, Sum};
use crate::kernel::passes::{Quotient, V, store};
use crate::kernel::row::BLOCK;
use crate::kernel::softmax::{SumOf, fill, guess_at, largest_looked_at, sum_storing, sum_under_maximum};
use crate::kernel::{Kernel, Place};
use crate::lanes::{Lanes, Memory, WIDEST};
use crate::layout::Layout;
use crate::math::exp::{Shift, Splat, exp};
use crate::rows::Rows;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::slice::ChunksExactMut;

/// Where a short row lies.
#[derive(Clone, Copy)]
pub struct Spot {
    /// Its first element in the input.
    pub x: usize,
    /// And in the output.
    pub y: usize,
    /// Elements.
    pub len: usize,
    /// Places behind them whose result is 0, but for a row without a sum.
    pub rest: usize,
    /// What belongs to its first element in another array.
    pub aside: usize,
}

/// The spots of a batch. An array to each number, so that those of rows alike are stored a vector at a time.
#[derive(Clone, Copy)]
pub struct Spots {
    x: [usize; ROOM],
    y: [usize; ROOM],
    len: [usize; ROOM],
    rest: [usize; ROOM],
    aside: [usize; ROOM],
}

impl Spots {
    #[inline(always)]
    fn none() -> Self {
        Self {
            x: [0; ROOM],
            y: [0; ROOM],
            len: [0; ROOM],
            rest: [0; ROOM],
            aside: [0; ROOM],
        }
    }

    #[inline(always)]
    pub fn at(&self, i: usize) -> Spot {
        Spot {
            x: self.x[i],
            y: self.y[i],
            len: self.len[i],
            rest: self.rest[i],
            aside: self.aside[i],
        }
    }

    #[inline(always)]
    fn set(&mut self, i: usize, spot: Spot) {
        (self.x[i], self.y[i], self.len[i]) = (spot.x, spot.y, spot.len);
        (self.rest[i], self.aside[i]) = (spot.rest, spot.aside);
    }

    /// Sets [`Spot::aside`] of the first `count` rows: `start(i)` of row `i`.
    #[inline(always)]
    pub fn set_aside(&mut self, count: usize, start: impl Fn(usize) -> usize) {
        for (i, aside) in self.aside.iter_mut().enumerate().take(count) {
            *aside = start(i);
        }
    }
}

/// Some rows that follow one another.
#[derive(Clone, Copy)]
pub struct Extent {
    pub count: usize,
    /// Elements of the longest and the shortest.
    longest: usize,
    shortest: usize,
}

/// Rows, and what stands between their elements and exp.
pub trait Source<T: Element> {
    /// Whether something is taken for each row before its exps.
    const TAKES: bool = false;

    /// Whether rows may have places behind their elements: a constant.
    fn has_rests(&self) -> bool;

    /// Whether rows may have sinks.
    #[inline(always)]
    fn has_sinks(&self) -> bool {
        false
    }

    /// One more logit of row `r`; −∞ for none.
    #[inline(always)]
    fn sink(&self, _r: usize) -> T::Compute {
        -T::Compute::INFINITY
    }

    /// Whether a row beside whose sink its elements vanish is like any other.
    #[inline(always)]
    fn sink_suffices(&self) -> bool {
        true
    }

    /// Where row `r` lies, if there is one and it is short.
    fn spot(&self, r: usize) -> Option<Spot>;

    /// Where the rows from `first` on lie, until one is not short, a batch of them at most.
    #[inline(always)]
    fn spots(&self, first: usize, spots: &mut Spots) -> Extent {
        one_by_one(
            spots,
            #[inline(always)]
            |i| self.spot(first + i),
        )
    }

    /// About the largest logit of the elements `x` of row `r`.
    fn near(&self, r: usize, spot: &Spot, x: &[T]) -> T::Compute;

    /// What belongs to the elements of the rows `x` at some of the `spots`, the first of which is row `first`: for each row as
    /// many elements, whole vectors, as there are `taken` for it.
    #[inline(always)]
    fn take<L: Memory<T> + Memory<T::Compute>>(
        &self,
        _: L,
        _first: usize,
        _spots: (&Spots, Range<usize>),
        _x: &[T],
        _taken: ChunksExactMut<'_, T::Compute>,
    ) {
    }

    /// The logits of the vector `x` at `at`, of a row for which this was `taken`; −∞ of −∞.
    fn logits<L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        spot: &Spot,
        at: usize,
        x: V<T, L>,
        taken: &[T::Compute],
    ) -> V<T, L>;

    /// The sum of row `r`, every e stored in `e`, or what the row is filled with. The guessed shift failed with the sum
    /// `failed`; without one, the exponent that did not fit may be that of another row, or of its sink.
    fn redo<L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        r: usize,
        x: &[T],
        e: &mut [MaybeUninit<T::Compute>],
        failed: Option<SumOf<T>>,
    ) -> Result<SumOf<T>, T>;
}

/// [`Source::spots`] where each row is asked for.
#[inline(always)]
pub fn one_by_one(spots: &mut Spots, spot: impl Fn(usize) -> Option<Spot>) -> Extent {
    let mut extent = Extent {
        count: 0,
        longest: 0,
        shortest: usize::MAX,
    };
    while extent.count < BATCH
        && let Some(spot) = spot(extent.count)
    {
        spots.set(extent.count, spot);
        extent.count += 1;
        extent.longest = extent.longest.max(spot.len);
        extent.shortest = extent.shortest.min(spot.len);
    }
    extent
}

/// [`Source::spots`] of short rows of one length, `end` of them in all, without a branch to a row.
#[inline(always)]
pub fn alike(spots: &mut Spots, rows: Rows, in_place: bool, first: usize, end: usize) -> Extent {
    let len = rows.cols();
    let y_stride = if in_place { rows.x_stride() } else { rows.y_stride() };
    for i in 0..BATCH {
        // Behind the last row nobody looks, wherever that is.
        spots.x[i] = (first + i).wrapping_mul(rows.x_stride());
        spots.y[i] = (first + i).wrapping_mul(y_stride);
        (spots.len[i], spots.rest[i]) = (len, 0);
    }
    Extent {
        count: end.saturating_sub(first).min(BATCH),
        longest: len,
        shortest: len,
    }
}

/// [`alike`] of rows whose results are 0 from `next_end()` on, until one is not short.
#[inline(always)]
pub fn ending<T: Element>(
    spots: &mut Spots,
    rows: Rows,
    in_place: bool,
    first: usize,
    mut next_end: impl FnMut() -> usize,
) -> Extent {
    let all = alike(spots, rows, in_place, first, rows.rows());
    let mut extent = Extent {
        count: 0,
        longest: 0,
        shortest: usize::MAX,
    };
    while extent.count < all.count {
        let len = next_end();
        if len > longest::<T>() {
            break;
        }
        (spots.len[extent.count], spots.rest[extent.count]) = (len, rows.cols() - len);
        extent.count += 1;
        extent.longest = extent.longest.max(len);
        extent.shortest = extent.shortest.min(len);
    }
    extent
}

/// Rows whose elements are the logits.
pub struct Plain<'a> {
    pub rows: Layout<'a>,
    pub end: usize,
    pub in_place: bool,
}

impl<T: Element> Source<T> for Plain<'_> {
    #[inline(always)]
    fn has_rests(&self) -> bool {
        false
    }
    #[inline(always)]
    fn spot(&self, r: usize) -> Option<Spot> {
        if r >= self.end || self.rows.len(r) > longest::<T>() {
            return None;
        }
        let (x, y) = self.rows.starts(r);
        Some(Spot {
            x,
            y: if self.in_place { x } else { y },
            len: self.rows.len(r),
            rest: 0,
            aside: 0,
        })
    }
    #[inline(always)]
    fn spots(&self, first: usize, spots: &mut Spots) -> Extent {
        let Layout::Strided(rows) = self.rows else {
            return one_by_one(
                spots,
                #[inline(always)]
                |i| Source::<T>::spot(self, first + i),
            );
        };
        alike(spots, rows, self.in_place, first, self.end)
    }
    #[inline(always)]
    fn near(&self, _: usize, _: &Spot, x: &[T]) -> T::Compute {
        largest_looked_at(x)
    }
    #[inline(always)]
    fn logits<L: Memory<T>>(&self, _: L, _: &Spot, _: usize, x: V<T, L>, _: &[T::Compute]) -> V<T, L> {
        x
    }
    #[inline(always)]
    fn redo<L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        _: usize,
        x: &[T],
        e: &mut [MaybeUninit<T::Compute>],
        failed: Option<SumOf<T>>,
    ) -> Result<SumOf<T>, T> {
        let total = match failed {
            Some(_) => sum_under_maximum(lanes, x, e),
            None => sum_storing(lanes, x, e),
        };
        total.map(|total| total.sum).ok_or(T::NAN)
    }
}

/// Runs a step with the number of vectors of its batch as a constant; but where exp is a call anyway, and for types other
/// than f32, the general one: each number is compiled on its own. Of rows for which something is taken, 1 is.
macro_rules! by_vectors {
    ($lanes:ident, $vectors:expr, $fields:tt) => {
        // The constants stand in the guards, so that what they exclude is not compiled.
        match $vectors {
            1 if T::IS_SINGLE && !L::COMPACT => step::<T, L, S>($lanes, BatchStep::<T, S, 1> $fields),
            2 if T::IS_SINGLE && !L::COMPACT && !S::TAKES => step::<T, L, S>($lanes, BatchStep::<T, S, 2> $fields),
            3 if T::IS_SINGLE && !L::COMPACT && !S::TAKES => step::<T, L, S>($lanes, BatchStep::<T, S, 3> $fields),
            4 if T::IS_SINGLE && !L::COMPACT && !S::TAKES => step::<T, L, S>($lanes, BatchStep::<T, S, 4> $fields),
            _ => step::<T, L, S>($lanes, BatchStep::<T, S, 0> $fields),
        }
    };
}

/// Runs a step of a batch: where something is taken as a function of its own, as that is many instructions. Of few vectors
/// a call shows.
#[inline(always)]
fn step<T: Element, L: Memory<T> + Memory<T::Compute>, S: Source<T>>(lanes: L, kernel: impl Kernel<T>) {
    if S::TAKES {
        lanes.call(kernel)
    } else {
        kernel.run(lanes)
    }
}

/// Softmax of short rows from `start` on, which becomes the first row that is not: a function of its own.
pub struct Batches<'b, 'a, T, S> {
    pub place: &'b mut Place<'a, T>,
    pub source: S,
    pub start: &'b mut usize,
}

impl<T: Element, S: Source<T>> Kernel<T> for Batches<'_, '_, T, S> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { place, source, start } = self;
        let source = &source;
        let mut scratch = BothBatches::new();
        let (mut e_before, mut e_now) = scratch
            .as_elements::<T::Compute>()
            .split_at_mut(BothBatches::capacity::<T::Compute>() / 2);
        let mut batches = [Batch::none(); 3];
        let [mut before, mut now, mut next] = batches.each_mut();
        let mut found = Found {
            sums: [SumOf::<T>::ZERO; ROOM],
            fits: true,
        };
        now.look::<L>(source, place.input(), *start);
        loop {
            by_vectors!(lanes, now.vectors, {
                batch: now,
                source,
                place: &mut *place,
                e: &mut *e_now,
                found: &mut found,
                before,
                e_before: &mut *e_before
            });
            if now.count == 0 {
                *start = now.first;
                return;
            }
            next.look::<L>(source, place.input(), now.first + now.count);
            now.settle(lanes, source, place.input(), e_now, &mut found);
            if next.count == 0 {
                // So that the last rows are divided by the steps of their width.
                next.vectors = now.vectors;
            }
            (before, now, next) = (now, next, before);
            (e_before, e_now) = (e_now, e_before);
        }
    }
}

/// What is found of the rows of a batch.
struct Found<S> {
    sums: [S; ROOM],
    /// Whether every exponent fitted its field.
    fits: bool,
}

/// Stores the exps of every row of a `batch`, `N` vectors each or any number if that is 0, in `e`, and finds their sums.
/// And y = e/S of every row of the batch `before`, whose exps are in `e_before`: a row beside the exps of each, as neither
/// waits for the other and they keep other parts of the CPU busy.
struct BatchStep<'b, 'a, T: Element, S, const N: usize> {
    batch: &'b Batch<T>,
    source: &'b S,
    place: &'b mut Place<'a, T>,
    e: &'b mut [MaybeUninit<T::Compute>],
    found: &'b mut Found<SumOf<T>>,
    before: &'b Batch<T>,
    e_before: &'b mut [MaybeUninit<T::Compute>],
}

impl<T: Element, S: Source<T>, const N: usize> Kernel<T> for BatchStep<'_, '_, T, S, N> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            batch,
            source,
            place,
            e,
            found,
            before,
            e_before,
        } = self;
        // One that stays in registers: where the rows lie is not loaded again after each store.
        let mut own = place.reborrow();
        let (count, divided) = (batch.count.min(ROOM), before.count.min(ROOM));
        // Rows of another number of vectors are divided afterwards.
        let beside = if N == 0 || before.vectors == N { divided } else { 0 };
        batch.sums::<L, S, N>(
            lanes,
            source,
            &mut own,
            e,
            found,
            #[inline(always)]
            |place, i| {
                if i < beside {
                    before.divide::<L, N>(lanes, place.output(), e_before, i);
                }
            },
        );
        let y = place.output();
        for i in count.min(beside)..beside {
            before.divide::<L, N>(lanes, y, e_before, i);
        }
        for i in beside..divided {
            before.divide::<L, 0>(lanes, y, e_before, i);
        }
        if before.fills {
            before.fill(y);
        }
    }
}

/// Some rows, and each kind of number about them side by side.
#[derive(Clone, Copy)]
struct Batch<T: Element> {
    /// The number of the first.
    first: usize,
    count: usize,
    /// Vectors to each row, if all have as many and at most a block, else 0. Without rows, those of the batch before.
    vectors: usize,
    /// From one row to the next in scratch.
    pitch: usize,
    spots: Spots,
    /// About the largest logit of the first row, or of each where multiply-add is not fused.
    near: [T::Compute; ROOM],
    quotients: [Quotients<T::Compute>; ROOM / EIGHT],
    /// Whether some places are filled with what is not a quotient.
    fills: bool,
    /// What the rows without a sum are filled with.
    filled: [Option<T>; ROOM],
}

impl<T: Element> Batch<T> {
    #[inline(always)]
    fn none() -> Self {
        let zero = [T::Compute::ZERO; ROOM];
        Self {
            first: 0,
            count: 0,
            vectors: 0,
            pitch: 0,
            spots: Spots::none(),
            near: zero,
            quotients: [Quotients::none(); ROOM / EIGHT],
            fills: false,
            filled: [None; ROOM],
        }
    }

    #[inline(always)]
    fn input<'x>(&self, x: &'x [T], i: usize) -> &'x [T] {
        &x[self.spots.x[i]..][..self.spots.len[i]]
    }

    /// Becomes the rows from `first` on.
    #[inline(always)]
    fn look<L: Lanes<T::Compute>>(&mut self, source: &impl Source<T>, x: &[T], first: usize) {
        let extent = source.spots(first, &mut self.spots);
        (self.first, self.count) = (first, extent.count);
        for i in 0..if L::FUSED { extent.count.min(1) } else { extent.count } {
            self.near[i] = source.near(first + i, &self.spots.at(i), self.input(x, i));
        }
        let vectors = extent.longest.div_ceil(T::Compute::LANES);
        self.pitch = vectors * T::Compute::LANES;
        let alike = vectors <= BLOCK && extent.shortest > self.pitch - T::Compute::LANES.min(self.pitch);
        self.vectors = if alike { vectors } else { 0 };
        self.fills = false;
        self.filled = [None; ROOM];
    }

    /// The shift of row `i`.
    #[inline(always)]
    fn shift<L: Lanes<T::Compute>>(&self, i: usize) -> Shift<T::Compute> {
        guess_at(self.near[if L::FUSED { 0 } else { i }], L::FUSED).1
    }

    /// From one row to the next in scratch: a constant where `N`, the number of vectors, is one.
    #[inline(always)]
    fn pitch<const N: usize>(&self) -> usize {
        if N > 0 { N * T::Compute::LANES } else { self.pitch }
    }

    /// Stores the exps of every row in `e`, and what is found of the rows; something `beside` those of row `i`.
    #[inline(always)]
    fn sums<L: Memory<T> + Memory<T::Compute>, S: Source<T>, const N: usize>(
        &self,
        lanes: L,
        source: &S,
        place: &mut Place<'_, T>,
        e: &mut [MaybeUninit<T::Compute>],
        found: &mut Found<SumOf<T>>,
        mut beside: impl FnMut(&mut Place<'_, T>, usize),
    ) {
        let mut pass = Pass::telling(lanes, read_ahead(self.vectors));
        let (count, mut first) = (self.count.min(ROOM), 0);
        while first < count {
            let rows = first..count.min(first + EIGHT);
            let accs = self.exps::<L, S, N>(&mut pass, source, place, e, rows, &mut beside);
            found.sums[first..][..EIGHT].copy_from_slice(&lanes.acc_sums(&accs));
            first += EIGHT;
        }
        found.fits = pass.fits();
    }

    /// Stores the exps of some rows, eight at most, in `e`; the sums of row `i` are the `i % EIGHT`-th.
    #[inline(always)]
    fn exps<L: Memory<T> + Memory<T::Compute>, S: Source<T>, const N: usize>(
        &self,
        pass: &mut Pass<T::Compute, L>,
        source: &S,
        place: &mut Place<'_, T>,
        e: &mut [MaybeUninit<T::Compute>],
        rows: Range<usize>,
        beside: &mut impl FnMut(&mut Place<'_, T>, usize),
    ) -> [<L as Lanes<T::Compute>>::Acc; EIGHT] {
        let (lanes, pitch) = (pass.lanes, self.pitch::<N>());
        // What the sums behind the last row are does not matter.
        let mut accs = [lanes.acc_zero(); EIGHT];
        let e = &mut e[..rows.end * pitch];
        let mut splat = self.shift::<L>(0).splat(lanes);
        let mut i = rows.start;
        if L::WIDE && N == 1 && !S::TAKES {
            // Rows of one vector two by two: the chain of one does not keep the CPU busy.
            while i + 1 < rows.end {
                let x = place.input();
                let both = [self.input(x, i), self.input(x, i + 1)];
                let v = pass.side_by_side::<T, 2, false>(
                    &splat,
                    both,
                    #[inline(always)]
                    |j, x| source.logits(lanes, &self.spots.at(i + j), 0, x, &[]),
                );
                for j in 0..2 {
                    Memory::<T::Compute>::store(lanes, &mut e[(i + j) * pitch..], v[j]);
                    accs[(i + j) % EIGHT] = lanes.acc_of(lanes.fold(v[j]));
                }
                if source.has_rests() {
                    self.zero_rest(lanes, place, i);
                    self.zero_rest(lanes, place, i + 1);
                }
                beside(place, i);
                beside(place, i + 1);
                i += 2;
            }
        }
        let mut stack = TakenRows::new();
        // Rows of nothing take nothing.
        let room = pitch.max(1);
        let at_once = TakenRows::capacity::<T::Compute>() / room;
        while i < rows.end {
            let first = i;
            let end = if S::TAKES { rows.end.min(i + at_once) } else { rows.end };
            let taken: &[T::Compute] = if S::TAKES {
                let taken = stack.filled((end - first) * pitch, T::Compute::ZERO);
                let each = taken.chunks_exact_mut(room);
                source.take(lanes, self.first + i, (&self.spots, first..end), place.input(), each);
                taken
            } else {
                &[]
            };
            while i < end {
                if !L::FUSED {
                    splat = self.shift::<L>(i).splat(lanes);
                }
                let spot = &self.spots.at(i);
                let taken = if S::TAKES { &taken[(i - first) * pitch..] } else { taken };
                accs[i % EIGHT] = pass.row::<T, N, true>(
                    &splat,
                    self.input(place.input(), i),
                    &mut e[i * pitch..][..pitch],
                    #[inline(always)]
                    |at, x| source.logits(lanes, spot, at, x, taken),
                );
                if source.has_rests() {
                    self.zero_rest(lanes, place, i);
                }
                beside(place, i);
                i += 1;
            }
        }
        accs
    }

    /// Zeros behind row `i`, but for those in the vector that its end is in. Stored between the exps of rows, beside which there
    /// is room for it.
    #[inline(always)]
    fn zero_rest<L: Memory<T>>(&self, lanes: L, place: &mut Place<'_, T>, i: usize) {
        let Spot { y, len, rest, .. } = self.spots.at(i);
        if rest > 0
            && let Some(y) = place.output()[y..][..len + rest].get_mut(len.next_multiple_of(T::Compute::LANES)..)
        {
            zero(lanes, y);
        }
    }

    /// Finds what the rows are divided by, after the three-pass form of those whose guess failed.
    #[inline(always)]
    fn settle<L: Memory<T> + Memory<T::Compute>>(
        &mut self,
        lanes: L,
        source: &impl Source<T>,
        x: &[T],
        e: &mut [MaybeUninit<T::Compute>],
        found: &mut Found<SumOf<T>>,
    ) {
        let (sums, mut fits) = (&mut found.sums, found.fits);
        let mut in_range = [true; ROOM];
        if source.has_sinks() {
            if !source.sink_suffices() {
                for i in 0..ROOM {
                    in_range[i] = sums[i].in_range() | (i >= self.count);
                }
            }
            fits &= self.join_sinks(lanes, source, sums);
        }
        for i in 0..ROOM {
            in_range[i] &= sums[i].in_range() | (i >= self.count);
        }
        if !(fits & in_range.iter().all(|in_range| *in_range)) {
            self.fills = true;
            for i in 0..self.count {
                if fits && in_range[i] {
                    continue;
                }
                let e = &mut e[i * self.pitch..][..self.spots.len[i]];
                let failed = (fits && !source.has_sinks()).then_some(sums[i]);
                match source.redo(lanes, self.first + i, self.input(x, i), e, failed) {
                    Ok(sum) => sums[i] = sum,
                    Err(value) => self.filled[i] = Some(value),
                }
            }
        }
        let (groups, _) = sums.as_chunks();
        for (quotients, &sums) in self.quotients.iter_mut().zip(groups) {
            *quotients = Quotients(lanes.divisors(sums));
        }
    }

    /// Adds the sinks to the sums of their rows. Whether the exponents fitted their fields.
    #[inline(always)]
    fn join_sinks<L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        source: &impl Source<T>,
        sums: &mut [SumOf<T>; ROOM],
    ) -> bool {
        let core = T::Compute::core(L::FUSED);
        let shift = self.shift::<L>(0);
        let Shift { base, low, offset, .. } = shift;
        let (mut start, mut seen) = (0, lanes.seen_none());
        while start < self.count.min(ROOM) {
            // A lane to each row.
            let rows = start..self.count.min(ROOM).min(start + T::Compute::LANES);
            let (mut bases, mut lows, mut sinks) = ([base; WIDEST], [low; WIDEST], [-T::Compute::INFINITY; WIDEST]);
            let (first_sink, mut one) = (source.sink(self.first + start), true);
            for i in rows.clone() {
                sinks[i - start] = source.sink(self.first + i);
                one &= sinks[i - start] == first_sink;
                if !L::FUSED {
                    let shift = self.shift::<L>(i);
                    (bases[i - start], lows[i - start]) = (shift.base, shift.low);
                }
            }
            let (mut splat, mut x) = (shift.splat(lanes), lanes.splat(first_sink));
            if !L::FUSED {
                let bases = Memory::<T::Compute>::load(lanes, &bases);
                let lows = Memory::<T::Compute>::load(lanes, &lows);
                splat = Splat::by_lane([bases, lows, lanes.splat(offset)]);
            }
            // One sink for all, mostly: a vector that is loaded waits for each of its elements to be stored.
            if !one || !L::FUSED {
                x = Memory::<T::Compute>::load(lanes, &sinks);
            }
            let ([e], [t]) = exp::<_, L, 1, false>(lanes, core, &splat, [x]);
            seen = lanes.seen(seen, t);
            let mut exps = [T::Compute::ZERO; WIDEST];
            Memory::<T::Compute>::store(lanes, as_output(&mut exps), e);
            for i in rows.clone() {
                // Not equal, so that NaN joins.
                if sinks[i - start] != -T::Compute::INFINITY {
                    sums[i] = sums[i].add(SumOf::<T>::of(exps[i - start]));
                }
            }
            start = rows.end;
        }
        lanes.seen_none_of(seen, core.forbidden)
    }

    /// y = e/S of row `i`.
    #[inline(always)]
    fn divide<L: Memory<T> + Memory<T::Compute>, const N: usize>(
        &self,
        lanes: L,
        y: &mut [MaybeUninit<T>],
        e: &mut [MaybeUninit<T::Compute>],
        i: usize,
    ) {
        let (pitch, spot) = (self.pitch::<N>(), &self.spots.at(i));
        let e = &mut e[i * pitch..][..pitch];
        let e = if N > 0 {
            e
        } else {
            &mut e[..spot.len.next_multiple_of(T::Compute::LANES).min(pitch)]
        };
        #[allow(unsafe_code)]
        // SAFETY: `exps` stored every vector of each row of this batch in `e`, and `N` is their number or 0.
        let e = unsafe { assume_written(e) };
        // Behind the row e is 0, and so is its quotient.
        let y = &mut y[spot.y..][..e.len().min(spot.len + spot.rest)];
        divide::<T, L, N>(lanes, e, y, &self.quotients[i / EIGHT].of_row(lanes, i % EIGHT));
    }

    /// Stores what rows without a sum are filled with.
    #[inline(always)]
    fn fill(&self, y: &mut [MaybeUninit<T>]) {
        for i in 0..self.count.min(ROOM) {
            let Spot {
                y: start, len, rest, ..
            } = self.spots.at(i);
            let y = &mut y[start..][..len + rest];
            if let Some(value) = self.filled[i] {
                fill(y, value);
            }
        }
    }
}

/// Zeros. The compiler must not know that they are: it would call memset, which takes longer for so few.
#[inline(always)]
fn zero<T: Element, L: Memory<T>>(lanes: L, y: &mut [MaybeUninit<T>]) {
    let zero = lanes.splat(core::hint::black_box(T::Compute::ZERO));
    let mut chunks = y.chunks_exact_mut(T::Compute::LANES);
    for y in chunks.by_ref() {
        lanes.prefetch_output(y);
        lanes.store(y, zero);
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        lanes.store_partial(tail, zero);
    }
}

/// y = e/S of one row; `e` are whole vectors, `N` of them, or any number if that is 0.
#[inline(always)]
fn divide<T: Element, L: Memory<T> + Memory<T::Compute>, const N: usize>(
    lanes: L,
    e: &[T::Compute],
    y: &mut [MaybeUninit<T>],
    quotient: &Quotient<V<T, L>>,
) {
    let width = T::Compute::LANES;
    let last = if N > 0 { N - 1 } else { y.len() / width };
    let (whole, tail) = y.split_at_mut(last * width);
    for j in 0..last {
        let y = &mut whole[j * width..][..width];
        lanes.prefetch_near(y.as_ptr().cast::<T>(), WRITTEN_AHEAD);
        let v = quotient.of(lanes, Memory::<T::Compute>::load(lanes, &e[j * width..]));
        lanes.store(y, v);
    }
    if N > 0 || !tail.is_empty() {
        lanes.prefetch_near(tail.as_ptr().cast::<T>(), WRITTEN_AHEAD);
        let v = quotient.of(lanes, Memory::<T::Compute>::load(lanes, &e[last * width..]));
        store(lanes, tail, v);
    }
}
