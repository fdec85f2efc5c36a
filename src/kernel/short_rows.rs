//! Rows of at most [`longest`] elements, [`BATCH`] at a time.
//!
//! The exps of a batch stay in stack scratch in whole vectors, so that no partial store is ever reloaded, and the sums,
//! divisions and thresholds of its rows are computed side by side. Each of these is a chain of operations that wait for
//! one another; so a batch is looked at one batch before its exps, and divided one batch after them. Rows of up to 16 (8)
//! elements share a vector, two (four) to each.
//!
//! The bits are those of the row path: the same exp, the same order of additions. Where multiply-add is fused, any
//! accepted shift gives them, so that a batch has one, the guess of its first row.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use super::passes::{Quotient, V, load, store};
use super::row::{BLOCK, block};
use super::softmax::{
    SumOf, TotalOf, fill, guess, guess_at, largest_looked_at, quotients, sum_storing, sum_under_maximum,
};
use super::{Buffers, Kernel, Place};
use crate::arch::memory::{Stack, assume_written};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory};
use crate::layout::Layout;
use crate::math::exp::{Core, Shift, Splat, exp};
use crate::rows::Rows;
use crate::tuning;
use core::mem::MaybeUninit;

/// Rows to a batch.
const BATCH: usize = tuning::BATCH_ROWS;

/// Vectors to a row, at most.
const VECTORS: usize = tuning::SHORT_ROW_VECTORS;

/// Rows that are worth a batch: fewer are done sooner one by one.
const FEWEST: usize = 3;

/// Rows of more than a block that are worth a batch, if they end inside a block.
const FEWEST_LONGER: usize = 8;

/// Whether `count` rows of `cols` elements are done here.
#[inline(always)]
pub fn suits<T: Element>(count: usize, cols: usize) -> bool {
    let few = cols <= block::<T>() || !cols.is_multiple_of(block::<T>()) && count >= FEWEST_LONGER;
    few && cols <= longest::<T>()
}

/// Elements to a row, at most.
pub const fn longest<T: Element>() -> usize {
    VECTORS * T::Compute::LANES
}

/// Rows whose sums are reduced side by side.
const EIGHT: usize = 8;

/// Room for a batch.
pub const ROOM: usize = BATCH.next_multiple_of(EIGHT);

/// The exps of a batch, and of the one before it. A vector has 128 bytes.
type BothBatches = Stack<{ 2 * BATCH * VECTORS * 128 }>;

/// Softmax of every row, each of 1 to `longest` elements.
#[inline(always)]
pub fn softmax<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, place: &mut Place<'_, T>, rows: Rows) {
    let (count, width) = (rows.rows(), T::Compute::LANES);
    let rows = match place {
        Place::Apart(..) => rows,
        Place::InPlace(_) => rows.with_y_stride(rows.x_stride()),
    };
    let mut start = 0;
    while start < count {
        let mut end = count;
        if count >= FEWEST && rows.cols() <= width / 2 {
            start = if rows.cols() <= width / 4 {
                packed::<T, L, 4>(lanes, place, rows, start)
            } else {
                packed::<T, L, 2>(lanes, place, rows, start)
            };
            // Those whose guess failed, and some more.
            end = count.min(start + BATCH);
        }
        let mut buffers = Buffers {
            place: place.reborrow(),
            rows: Layout::Strided(rows),
        };
        start = side_by_side(lanes, &mut buffers, start, end);
    }
}

/// Softmax of the short rows that follow one another from `start` on, up to `end`; the row behind the last.
#[inline(always)]
pub fn side_by_side<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    mut start: usize,
    end: usize,
) -> usize {
    while end - start < FEWEST && start < end && buffers.rows.len(start) <= block::<T>() {
        lanes.call(Single(&mut buffers.row(start)));
        start += 1;
    }
    if start < end && buffers.rows.len(start) <= longest::<T>() {
        let in_place = matches!(buffers.place, Place::InPlace(_));
        lanes.call(Batches {
            place: &mut buffers.place,
            source: Plain {
                rows: buffers.rows,
                end,
                in_place,
            },
            start: &mut start,
        });
    }
    start
}

/// Softmax of one row of at most [`BLOCK`] vectors, in registers: a call on so short a row is mostly overhead and waiting, so
/// that it has an entry of its own, and no frame. Its argument goes through the call in a register: a copy in memory is
/// read in wider words than it was written in, which waits for everything before it to end.
pub struct Single<'p, 'a, T>(pub &'p mut Place<'a, T>);

impl<T: Element> Kernel<T> for Single<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let place = self.0;
        if L::COMPACT {
            return through_scratch(
                lanes,
                place,
                #[inline(always)]
                |x, e| sum_storing(lanes, x, e),
            );
        }
        match place.input().len().div_ceil(T::Compute::LANES) {
            0 => {}
            1 => in_registers::<T, L, 1>(lanes, place),
            2 => in_registers::<T, L, 2>(lanes, place),
            3 => in_registers::<T, L, 3>(lanes, place),
            _ => in_registers::<T, L, 4>(lanes, place),
        }
    }
}

/// Softmax of one row of `N` vectors, the last of which may lack lanes.
#[inline(always)]
fn in_registers<T: Element, L: Memory<T> + Memory<T::Compute>, const N: usize>(lanes: L, place: &mut Place<'_, T>) {
    let x = place.input();
    // Not the guess from the row itself, which takes as long as the exps: where multiply-add is fused, any accepted
    // shift gives the same bits.
    let shift = guess(if L::FUSED { &[] } else { x }, L::FUSED);
    let splat = shift.splat(lanes);
    let mut pass = Pass::new(lanes);
    let zero = lanes.splat(T::Compute::ZERO);
    let (mut e, mut halves) = ([zero; N], [lanes.fold(zero); N]);
    for j in 0..N {
        let at = j * T::Compute::LANES;
        e[j] = if j + 1 < N {
            pass.exp(&splat, Memory::<T>::load(lanes, &x[at..]))
        } else {
            let v = pass.exp(&splat, load::<T, L>(lanes, &x[at..], -T::Compute::INFINITY));
            lanes.keep_first(v, x.len() - at)
        };
        halves[j] = lanes.fold(e[j]);
    }
    let sum = lanes.acc_sum(lanes.acc_of(pairwise::<T, L, N>(lanes, halves)));
    if !(pass.fits() & sum.in_range()) {
        return lanes.call(UnderMaximum(place));
    }
    let quotient = Quotient::new(lanes, sum);
    let y = place.output();
    for j in 0..N {
        let (y, v) = (&mut y[j * T::Compute::LANES..], quotient.of(lanes, e[j]));
        if j + 1 < N {
            lanes.store(y, v);
        } else {
            store(lanes, y, v);
        }
    }
}

/// The three-pass form of one row of at most [`BLOCK`] vectors.
struct UnderMaximum<'p, 'a, T>(&'p mut Place<'a, T>);

impl<T: Element> Kernel<T> for UnderMaximum<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        through_scratch(
            lanes,
            self.0,
            #[inline(always)]
            |x, e| sum_under_maximum(lanes, x, e),
        );
    }
}

/// Softmax of one row of at most [`BLOCK`] vectors whose exps `total` stores.
#[inline(always)]
fn through_scratch<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    place: &mut Place<'_, T>,
    total: impl FnOnce(&[T], &mut [MaybeUninit<T::Compute>]) -> Option<TotalOf<T>>,
) {
    let mut e = [MaybeUninit::uninit(); 128];
    let x = place.input();
    let e = &mut e[..x.len()];
    match total(x, e) {
        Some(total) => quotients(lanes, e, place.output(), &total),
        None => fill(place.output(), T::NAN),
    }
}

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

/// Some rows that follow one another.
#[derive(Clone, Copy)]
pub struct Extent {
    pub count: usize,
    /// Elements of the longest and the shortest.
    longest: usize,
    shortest: usize,
    /// Whether one has places behind its elements.
    rest: bool,
}

/// Rows, and what stands between their elements and exp.
pub trait Source<T: Element> {
    /// Where row `r` lies, if there is one and it is short.
    fn spot(&self, r: usize) -> Option<Spot>;

    /// Where the rows from `first` on lie, until one is not short, a batch of them at most.
    #[inline(always)]
    fn spots(&self, first: usize, spots: &mut [Spot; ROOM]) -> Extent {
        one_by_one(
            spots,
            #[inline(always)]
            |i| self.spot(first + i),
        )
    }

    /// About the largest logit of the elements `x`.
    fn near(&self, spot: &Spot, x: &[T]) -> T::Compute;

    /// The logits of the vector `x` at `at`; −∞ of −∞.
    fn logits<L: Memory<T> + Memory<T::Compute>>(&self, lanes: L, spot: &Spot, at: usize, x: V<T, L>) -> V<T, L>;

    /// The sum of row `r`, every e stored in `e`, or what the row is filled with. The guessed `shift` failed with the sum
    /// `failed`; without one, the exponent that did not fit may be that of another row.
    fn redo<L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        r: usize,
        x: &[T],
        e: &mut [MaybeUninit<T::Compute>],
        shift: Shift<T::Compute>,
        failed: Option<SumOf<T>>,
    ) -> Result<SumOf<T>, T>;
}

/// [`Source::spots`] where each row is asked for.
#[inline(always)]
pub fn one_by_one(spots: &mut [Spot; ROOM], spot: impl Fn(usize) -> Option<Spot>) -> Extent {
    let mut extent = Extent {
        count: 0,
        longest: 0,
        shortest: usize::MAX,
        rest: false,
    };
    while extent.count < BATCH
        && let Some(spot) = spot(extent.count)
    {
        spots[extent.count] = spot;
        extent.count += 1;
        extent.longest = extent.longest.max(spot.len);
        extent.shortest = extent.shortest.min(spot.len);
        extent.rest |= spot.rest > 0;
    }
    extent
}

/// [`Source::spots`] of short rows of one length, `end` of them in all, without a branch to a row.
#[inline(always)]
pub fn alike(spots: &mut [Spot; ROOM], rows: Rows, in_place: bool, first: usize, end: usize) -> Extent {
    let len = rows.cols();
    let y_stride = if in_place { rows.x_stride() } else { rows.y_stride() };
    for i in 0..BATCH {
        // Behind the last row nobody looks, wherever that is.
        spots[i].x = (first + i).wrapping_mul(rows.x_stride());
        spots[i].y = (first + i).wrapping_mul(y_stride);
        spots[i].len = len;
        spots[i].rest = 0;
    }
    Extent {
        count: end.saturating_sub(first).min(BATCH),
        longest: len,
        shortest: len,
        rest: false,
    }
}

/// Rows whose elements are the logits.
struct Plain<'a> {
    rows: Layout<'a>,
    end: usize,
    in_place: bool,
}

impl<T: Element> Source<T> for Plain<'_> {
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
    fn spots(&self, first: usize, spots: &mut [Spot; ROOM]) -> Extent {
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
    fn near(&self, _: &Spot, x: &[T]) -> T::Compute {
        largest_looked_at(x)
    }
    #[inline(always)]
    fn logits<L: Memory<T>>(&self, _: L, _: &Spot, _: usize, x: V<T, L>) -> V<T, L> {
        x
    }
    #[inline(always)]
    fn redo<L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        _: usize,
        x: &[T],
        e: &mut [MaybeUninit<T::Compute>],
        _: Shift<T::Compute>,
        failed: Option<SumOf<T>>,
    ) -> Result<SumOf<T>, T> {
        let total = match failed {
            Some(_) => sum_under_maximum(lanes, x, e),
            None => sum_storing(lanes, x, e),
        };
        total.map(|total| total.sum).ok_or(T::NAN)
    }
}

/// Calls a method of a batch with its number of vectors as a constant; but where exp is a call anyway, and for types other
/// than f32, the commonest one: each number is compiled on its own.
macro_rules! by_vectors {
    ($batch:expr, $method:ident($($argument:expr),*)) => {
        match if L::COMPACT || !T::IS_COMPUTE || T::Compute::LANES < 32 { 0 } else { $batch.vectors } {
            1 => $batch.$method::<L, 1>($($argument),*),
            2 => $batch.$method::<L, 2>($($argument),*),
            3 => $batch.$method::<L, 3>($($argument),*),
            4 => $batch.$method::<L, 4>($($argument),*),
            _ => $batch.$method::<L, 0>($($argument),*),
        }
    };
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
        let mut scratch = BothBatches::new();
        let (mut e_before, mut e_now) = scratch
            .as_elements::<T::Compute>()
            .split_at_mut(BothBatches::capacity::<T::Compute>() / 2);
        let mut batches = [Batch::none(); 3];
        let [mut before, mut now, mut next] = batches.each_mut();
        let mut accs = [lanes.acc_zero(); ROOM];
        now.look::<L>(&source, place.input(), *start);
        loop {
            let mut pass = Pass::new(lanes);
            by_vectors!(now, exps(&mut pass, &source, place.input(), e_now, &mut accs));
            next.look::<L>(&source, place.input(), now.first + now.count);
            now.settle(lanes, &source, place.input(), e_now, &accs, pass.fits());
            by_vectors!(before, divide(lanes, place.output(), e_before));
            if now.count == 0 {
                *start = now.first;
                return;
            }
            (before, now, next) = (now, next, before);
            (e_before, e_now) = (e_now, e_before);
        }
    }
}

/// Some rows, and each kind of number about them side by side.
#[derive(Clone, Copy)]
struct Batch<T: Element> {
    /// The number of the first.
    first: usize,
    count: usize,
    /// Vectors to each row, if all have as many and at most a block, else 0.
    vectors: usize,
    /// From one row to the next in scratch.
    pitch: usize,
    spots: [Spot; ROOM],
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
            spots: [Spot {
                x: 0,
                y: 0,
                len: 0,
                rest: 0,
                aside: 0,
            }; ROOM],
            near: zero,
            quotients: [Quotients::none(); ROOM / EIGHT],
            fills: false,
            filled: [None; ROOM],
        }
    }

    #[inline(always)]
    fn input<'x>(&self, x: &'x [T], i: usize) -> &'x [T] {
        &x[self.spots[i].x..][..self.spots[i].len]
    }

    /// Becomes the rows from `first` on.
    #[inline(always)]
    fn look<L: Lanes<T::Compute>>(&mut self, source: &impl Source<T>, x: &[T], first: usize) {
        let extent = source.spots(first, &mut self.spots);
        (self.first, self.count) = (first, extent.count);
        for i in 0..if L::FUSED { extent.count.min(1) } else { extent.count } {
            self.near[i] = source.near(&self.spots[i], self.input(x, i));
        }
        let vectors = extent.longest.div_ceil(T::Compute::LANES);
        self.pitch = vectors * T::Compute::LANES;
        let alike = vectors <= BLOCK && extent.shortest > self.pitch - T::Compute::LANES.min(self.pitch);
        self.vectors = if alike { vectors } else { 0 };
        self.fills = extent.rest;
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

    /// Stores the exps of every row in `e`, and their sums.
    #[inline(always)]
    fn exps<L: Memory<T> + Memory<T::Compute>, const N: usize>(
        &self,
        pass: &mut Pass<T::Compute, L>,
        source: &impl Source<T>,
        x: &[T],
        e: &mut [MaybeUninit<T::Compute>],
        accs: &mut [<L as Lanes<T::Compute>>::Acc; ROOM],
    ) {
        let (lanes, count, pitch) = (pass.lanes, self.count.min(ROOM), self.pitch::<N>());
        let e = &mut e[..count * pitch];
        let mut splat = self.shift::<L>(0).splat(lanes);
        let mut i = 0;
        if L::WIDE && N == 1 {
            // Rows of one vector two by two: the chain of one does not keep the CPU busy.
            while i + 1 < count {
                let rows = [self.input(x, i), self.input(x, i + 1)];
                let v = pass.side_by_side::<T, 2>(
                    &splat,
                    rows,
                    #[inline(always)]
                    |j, x| source.logits(lanes, &self.spots[i + j], 0, x),
                );
                for j in 0..2 {
                    Memory::<T::Compute>::store(lanes, &mut e[(i + j) * pitch..], v[j]);
                    accs[i + j] = lanes.acc_of(lanes.fold(v[j]));
                }
                i += 2;
            }
        }
        while i < count {
            if !L::FUSED {
                splat = self.shift::<L>(i).splat(lanes);
            }
            let spot = &self.spots[i];
            accs[i] = pass.row::<T, N>(
                &splat,
                self.input(x, i),
                &mut e[i * pitch..][..pitch],
                #[inline(always)]
                |at, x| source.logits(lanes, spot, at, x),
            );
            i += 1;
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
        accs: &[<L as Lanes<T::Compute>>::Acc; ROOM],
        fits: bool,
    ) {
        let mut sums = [SumOf::<T>::ZERO; ROOM];
        let (groups, _) = accs.as_chunks();
        for (sums, accs) in sums.chunks_exact_mut(EIGHT).zip(groups) {
            sums.copy_from_slice(&lanes.acc_sums(accs));
        }
        let mut accepted = fits;
        for i in 0..ROOM {
            accepted &= sums[i].in_range() | (i >= self.count);
        }
        if !accepted {
            self.fills = true;
            for i in 0..self.count {
                if fits && sums[i].in_range() {
                    continue;
                }
                let e = &mut e[i * self.pitch..][..self.spots[i].len];
                let (shift, failed) = (self.shift::<L>(i), fits.then_some(sums[i]));
                match source.redo(lanes, self.first + i, self.input(x, i), e, shift, failed) {
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

    /// y = e/S of every row.
    #[inline(always)]
    fn divide<L: Memory<T> + Memory<T::Compute>, const N: usize>(
        &self,
        lanes: L,
        y: &mut [MaybeUninit<T>],
        e: &mut [MaybeUninit<T::Compute>],
    ) {
        let (count, pitch) = (self.count.min(ROOM), self.pitch::<N>());
        let e = &mut e[..count * pitch];
        for i in 0..count {
            let spot = &self.spots[i];
            let e = &mut e[i * pitch..][..pitch];
            let e = if N > 0 {
                e
            } else {
                &mut e[..spot.len.next_multiple_of(T::Compute::LANES).min(pitch)]
            };
            #[allow(unsafe_code)]
            // SAFETY: `Pass::row` stored every vector of the row.
            let e = unsafe { assume_written(e) };
            // Behind the row e is 0, and so is its quotient.
            let y = &mut y[spot.y..][..e.len().min(spot.len + spot.rest)];
            divide::<T, L, N>(lanes, e, y, &self.quotients[i / EIGHT].of_row(lanes, i % EIGHT));
        }
        if self.fills {
            self.fill(lanes, y);
        }
    }

    /// Stores what is not a quotient.
    #[inline(always)]
    fn fill<L: Memory<T>>(&self, lanes: L, y: &mut [MaybeUninit<T>]) {
        for i in 0..self.count.min(ROOM) {
            let Spot {
                y: start, len, rest, ..
            } = self.spots[i];
            let y = &mut y[start..][..len + rest];
            if let Some(value) = self.filled[i] {
                fill(y, value);
            } else if let Some(rest) = y.get_mut(len.next_multiple_of(T::Compute::LANES)..) {
                zero(lanes, rest);
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
        lanes.prefetch_output(y);
        let v = quotient.of(lanes, Memory::<T::Compute>::load(lanes, &e[j * width..]));
        lanes.store(y, v);
    }
    if N > 0 || !tail.is_empty() {
        lanes.prefetch_output(tail);
        let v = quotient.of(lanes, Memory::<T::Compute>::load(lanes, &e[last * width..]));
        store(lanes, tail, v);
    }
}

/// What eight rows are divided by ([`Lanes::divisors`]).
#[derive(Clone, Copy)]
struct Quotients<F>([[F; EIGHT]; 3]);

impl<F: Float> Quotients<F> {
    #[inline(always)]
    fn none() -> Self {
        Self([[F::ZERO; EIGHT]; 3])
    }

    #[inline(always)]
    fn of_row<L: Lanes<F>>(&self, lanes: L, i: usize) -> Quotient<L::V> {
        let [high, low, threshold] = &self.0;
        Quotient::by_lane(
            lanes,
            [lanes.splat(high[i]), lanes.splat(low[i]), lanes.splat(threshold[i])],
        )
    }

    /// Those of the rows `first..first + P` in each of the parts of a vector.
    #[inline(always)]
    fn of_group<L: Lanes<F>, const P: usize>(&self, lanes: L, first: usize) -> Quotient<L::V> {
        let mut parts = [[F::ZERO; P]; 3];
        for (part, all) in parts.iter_mut().zip(&self.0) {
            part.copy_from_slice(&all[first..][..P]);
        }
        let [high, low, threshold] = parts;
        Quotient::by_lane(
            lanes,
            [
                lanes.splat_groups(high),
                lanes.splat_groups(low),
                lanes.splat_groups(threshold),
            ],
        )
    }
}

/// The exp pass over rows.
struct Pass<F: Float, L: Lanes<F>> {
    lanes: L,
    core: &'static Core<F>,
    seen: L::Seen,
}

impl<F: Float, L: Lanes<F>> Pass<F, L> {
    #[inline(always)]
    fn new(lanes: L) -> Self {
        Self {
            lanes,
            core: F::core(L::FUSED),
            seen: lanes.seen_none(),
        }
    }

    /// Whether every exponent fitted its field.
    #[inline(always)]
    fn fits(&self) -> bool {
        self.lanes.seen_none_of(self.seen, self.core.forbidden)
    }

    /// The exps of a row, whole vectors of them with 0 behind the last, and their sums. Rows of 1 to 4 vectors have `N`,
    /// others 0.
    #[inline(always)]
    fn row<T, const N: usize>(
        &mut self,
        splat: &Splat<V<T, L>>,
        x: &[T],
        e: &mut [MaybeUninit<F>],
        z: impl Fn(usize, V<T, L>) -> V<T, L>,
    ) -> <L as Lanes<F>>::Acc
    where
        T: Element<Compute = F>,
        L: Memory<T> + Memory<F>,
    {
        let lanes = self.lanes;
        if N > 0 {
            return lanes.acc_of(self.vectors::<T, N>(splat, x, e, 0, &z));
        }
        let (mut acc, mut at) = (lanes.acc_zero(), 0);
        let blocks = x.chunks_exact(block::<T>());
        let tail = blocks.remainder();
        for x in blocks {
            let sum = self.vectors::<T, BLOCK>(splat, x, &mut e[at..], at, &z);
            acc = lanes.acc_add(acc, sum);
            at += block::<T>();
        }
        let e = &mut e[at..];
        let sum = match tail.len().div_ceil(F::LANES) {
            0 => return acc,
            1 => self.vectors::<T, 1>(splat, tail, e, at, &z),
            2 => self.vectors::<T, 2>(splat, tail, e, at, &z),
            3 => self.vectors::<T, 3>(splat, tail, e, at, &z),
            _ => self.vectors::<T, BLOCK>(splat, tail, e, at, &z),
        };
        lanes.acc_add(acc, sum)
    }

    /// The sums of `N` vectors from column `start` on, the last of which may lack lanes: those of a block whose other
    /// vectors are 0.
    #[inline(always)]
    fn vectors<T, const N: usize>(
        &mut self,
        splat: &Splat<V<T, L>>,
        x: &[T],
        e: &mut [MaybeUninit<F>],
        start: usize,
        z: &impl Fn(usize, V<T, L>) -> V<T, L>,
    ) -> <L as Lanes<F>>::Half
    where
        T: Element<Compute = F>,
        L: Memory<T> + Memory<F>,
    {
        let lanes = self.lanes;
        let (whole, last) = x.split_at((N - 1) * F::LANES);
        let e = &mut e[..N * F::LANES];
        if L::WIDE {
            let mut parts = [last; N];
            for j in 0..N - 1 {
                parts[j] = &whole[j * F::LANES..][..F::LANES];
            }
            let v = self.side_by_side(
                splat,
                parts,
                #[inline(always)]
                |j, x| z(start + j * F::LANES, x),
            );
            let mut halves = [lanes.fold(lanes.splat(F::ZERO)); N];
            for j in 0..N {
                Memory::<F>::store(lanes, &mut e[j * F::LANES..], v[j]);
                halves[j] = lanes.fold(v[j]);
            }
            return pairwise::<T, L, N>(lanes, halves);
        }
        let mut halves = [lanes.fold(lanes.splat(F::ZERO)); N];
        for j in 0..N {
            lanes.prefetch(&x[j * F::LANES..]);
        }
        for j in 0..N - 1 {
            let at = j * F::LANES;
            let v = self.exp(splat, z(start + at, Memory::<T>::load(lanes, &whole[at..])));
            Memory::<F>::store(lanes, &mut e[at..], v);
            halves[j] = lanes.fold(v);
        }
        let (at, present) = ((N - 1) * F::LANES, last.len());
        let v = if present == F::LANES {
            self.exp(splat, z(start + at, Memory::<T>::load(lanes, last)))
        } else {
            let v = self.exp(splat, z(start + at, Memory::<T>::load_or(lanes, last, -F::INFINITY)));
            lanes.keep_first(v, present)
        };
        Memory::<F>::store(lanes, &mut e[at..], v);
        halves[N - 1] = lanes.fold(v);
        pairwise::<T, L, N>(lanes, halves)
    }

    /// The exps of `N` vectors, or of what there is of one and 0, each step across all of them.
    #[inline(always)]
    fn side_by_side<T, const N: usize>(
        &mut self,
        splat: &Splat<V<T, L>>,
        x: [&[T]; N],
        z: impl Fn(usize, V<T, L>) -> V<T, L>,
    ) -> [V<T, L>; N]
    where
        T: Element<Compute = F>,
        L: Memory<T> + Memory<F>,
    {
        let lanes = self.lanes;
        let mut whole = true;
        for j in 0..N {
            lanes.prefetch(x[j]);
            whole &= x[j].len() == F::LANES;
        }
        let mut v = [lanes.splat(F::ZERO); N];
        // No branch between the vectors, or they would not be side by side.
        if whole {
            for j in 0..N {
                v[j] = z(j, Memory::<T>::load(lanes, x[j]));
            }
        } else {
            for j in 0..N {
                v[j] = z(j, Memory::<T>::load_or(lanes, x[j], -F::INFINITY));
            }
        }
        let (mut e, t) = exp::<_, L, N, false>(lanes, self.core, splat, v);
        for j in 0..N {
            self.seen = lanes.seen(self.seen, t[j]);
        }
        if !whole {
            for j in 0..N {
                e[j] = lanes.keep_first(e[j], x[j].len());
            }
        }
        e
    }

    /// The exps of the vectors of a round, in their place.
    #[inline(always)]
    fn round(&mut self, splat: &Splat<L::V>, x: &mut [L::V; ROUND]) {
        if L::WIDE {
            let (e, t) = exp::<_, L, ROUND, false>(self.lanes, self.core, splat, *x);
            for t in t {
                self.seen = self.lanes.seen(self.seen, t);
            }
            *x = e;
        } else {
            for x in x {
                *x = self.exp(splat, *x);
            }
        }
    }

    #[inline(always)]
    fn exp(&mut self, splat: &Splat<L::V>, x: L::V) -> L::V {
        let ([e], [t]) = exp::<_, L, 1, false>(self.lanes, self.core, splat, [x]);
        self.seen = self.lanes.seen(self.seen, t);
        e
    }
}

/// The sums of a block of which only the first `N` vectors are not 0.
#[inline(always)]
fn pairwise<T: Element, L: Lanes<T::Compute>, const N: usize>(lanes: L, halves: [L::Half; N]) -> L::Half {
    match N {
        1 => halves[0],
        2 => lanes.add_half(halves[0], halves[1]),
        3 => lanes.add_half(lanes.add_half(halves[0], halves[1]), halves[2]),
        _ => {
            let low = lanes.add_half(halves[0], halves[1]);
            lanes.add_half(low, lanes.add_half(halves[2], halves[N - 1]))
        }
    }
}

/// Vectors to a round of [`packed`].
const ROUND: usize = 4;

/// The rows from `start` on, `P` of them to a vector, until a round's guess fails: its first row, or all of them. Absent
/// rows are copies of the last one.
#[inline(always)]
fn packed<T: Element, L: Memory<T> + Memory<T::Compute>, const P: usize>(
    lanes: L,
    place: &mut Place<'_, T>,
    rows: Rows,
    mut start: usize,
) -> usize {
    // The guess of so short a row is a constant.
    let splat: Splat<V<T, L>> = guess::<T>(&[], L::FUSED).splat(lanes);
    let last = lanes.splat(T::Compute::from_f64(0.5 - rows.cols() as f64));
    let mut inside = [T::Compute::ZERO; 32];
    for (i, inside) in inside.iter_mut().enumerate() {
        *inside = -T::Compute::from_i32((i % (T::Compute::LANES / P)) as i32);
    }
    let inside = Memory::<T::Compute>::load(lanes, &inside);
    let mut e = [lanes.splat(T::Compute::ZERO); ROUND];
    while start < rows.rows() {
        let mut pass = Pass::new(lanes);
        load_round::<T, L, P>(lanes, place, rows, start, &mut e);
        pass.round(&splat, &mut e);
        for e in &mut e {
            // Padding adds exactly 0: it stands where −i < ½ − cols, i being the place in a part.
            *e = lanes.zero_below(*e, inside, last);
        }
        let (mut accepted, mut quotients) = (pass.fits(), [Quotients::none(); 2]);
        for half in 0..ROUND * P / EIGHT {
            let sums = lanes.sum_groups::<P>(&e[half * EIGHT / P..]);
            for i in 0..EIGHT {
                accepted &= sums[i].in_range();
            }
            quotients[half] = Quotients(lanes.divisors(sums));
        }
        if !accepted {
            return start;
        }
        for i in 0..ROUND {
            let quotient = quotients[i * P / EIGHT].of_group::<L, P>(lanes, i * P % EIGHT);
            e[i] = quotient.of(lanes, e[i]);
        }
        store_round::<T, L, P>(lanes, place, rows, start, &e);
        start += ROUND * P;
    }
    rows.rows()
}

/// Whether a round of rows from `start` on fills its parts and lies without a gap at this stride: it is loaded and stored
/// as it lies.
#[inline(always)]
fn gapless<T: Element, const P: usize>(rows: Rows, start: usize, stride: usize) -> bool {
    stride == rows.cols() && stride * P == T::Compute::LANES && rows.rows() - start >= ROUND * P
}

/// The vectors of a round.
#[inline(always)]
fn load_round<T: Element, L: Memory<T> + Memory<T::Compute>, const P: usize>(
    lanes: L,
    place: &Place<'_, T>,
    rows: Rows,
    start: usize,
    v: &mut [V<T, L>; ROUND],
) {
    let (x, n) = (place.input(), T::Compute::LANES);
    if gapless::<T, P>(rows, start, rows.x_stride()) {
        let x = &x[start * rows.cols()..][..ROUND * n];
        for i in 0..ROUND {
            lanes.prefetch(&x[i * n..]);
            v[i] = Memory::<T>::load(lanes, &x[i * n..]);
        }
    } else {
        for i in 0..ROUND {
            let mut group: [&[T]; P] = [&[]; P];
            for g in 0..P {
                group[g] = rows.input(x, (start + i * P + g).min(rows.rows() - 1));
            }
            v[i] = Memory::<T>::load_groups(lanes, group, -T::Compute::INFINITY);
        }
    }
}

/// Stores the results of a round.
#[inline(always)]
fn store_round<T: Element, L: Memory<T> + Memory<T::Compute>, const P: usize>(
    lanes: L,
    place: &mut Place<'_, T>,
    rows: Rows,
    start: usize,
    v: &[V<T, L>; ROUND],
) {
    let (y, n) = (place.output(), T::Compute::LANES);
    if gapless::<T, P>(rows, start, rows.y_stride()) {
        let y = &mut y[start * rows.cols()..][..ROUND * n];
        for i in 0..ROUND {
            lanes.prefetch_output(&mut y[i * n..]);
            Memory::<T>::store(lanes, &mut y[i * n..], v[i]);
        }
        return;
    }
    for i in 0..ROUND {
        for g in 0..P {
            let r = start + i * P + g;
            if r < rows.rows() {
                Memory::<T>::store_group::<P>(lanes, rows.output(y, r), v[i], g);
            }
        }
    }
}
