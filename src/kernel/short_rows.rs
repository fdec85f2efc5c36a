//! Rows of at most [`longest`] elements, [`BATCH`] at a time.
//!
//! The exps of a batch stay in stack scratch in whole vectors, so that no partial store is ever reloaded, and the
//! shifts, sums, divisions and thresholds of its rows are computed side by side. Each of these is a chain of operations
//! that wait for one another; so a batch is looked at one batch before its exps, and divided one batch after them. Rows
//! of up to 16 (8) elements share a vector, two (four) to each. The bits are those of the row path: the same exp, the
//! same order of additions.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use super::passes::{Quotient, V, load, store, terms};
use super::row::{BLOCK, block};
use super::softmax::{SumOf, fill, guess, guess_at, largest_looked_at, quotients, sum_storing, sum_under_maximum};
use super::{Buffers, Kernel, Place};
use crate::arch::memory::{Scratch, assume_written};
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

/// Elements to a row, at most.
pub const fn longest<T: Element>() -> usize {
    VECTORS * T::Compute::LANES
}

/// Room for a batch: sums are reduced eight at a time.
const ROOM: usize = BATCH.next_multiple_of(8);

/// Softmax of every row, each of 1 to `longest` elements.
#[inline(always)]
pub fn softmax<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, place: Place<'_, T>, rows: Rows) {
    let mut buffers = Buffers {
        place,
        rows: Layout::Strided(rows),
    };
    let (rows, cols) = (rows.rows(), rows.cols());
    let width = T::Compute::LANES;
    let mut start = 0;
    while start < rows {
        let (next, end) = if rows < FEWEST {
            (start, rows)
        } else if cols <= width / 4 {
            let next = packed::<T, L, 4>(lanes, &mut buffers, start, rows);
            (next, rows.min(next + BATCH))
        } else if cols <= width / 2 {
            let next = packed::<T, L, 2>(lanes, &mut buffers, start, rows);
            (next, rows.min(next + BATCH))
        } else {
            (start, rows)
        };
        start = side_by_side(lanes, &mut buffers, next, end);
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

/// Softmax of one row of 1 to [`BLOCK`] vectors, in registers: a call on so short a row is mostly overhead and waiting, so
/// that it has an entry of its own, and no frame. Its argument goes through the call in a register: a copy in memory is
/// read in wider words than it was written in, which waits for everything before it to end.
pub struct Single<'p, 'a, T>(pub &'p mut Place<'a, T>);

impl<T: Element> Kernel<T> for Single<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let place = self.0;
        match place.input().len().div_ceil(T::Compute::LANES) {
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
        let mut e = [MaybeUninit::uninit(); 128];
        let x = self.0.input();
        let e = &mut e[..x.len()];
        match sum_under_maximum(lanes, x, e) {
            Some(sum) => quotients(lanes, e, self.0.output(), sum),
            None => fill(self.0.output(), T::NAN),
        }
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

/// Rows, and what stands between their elements and exp.
pub trait Source<T: Element> {
    /// Where row `r` lies, if there is one and it is short.
    fn spot(&self, r: usize) -> Option<Spot>;

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
        let sum = match failed {
            Some(_) => sum_under_maximum(lanes, x, e),
            None => sum_storing(lanes, x, e),
        };
        sum.ok_or(T::NAN)
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
        let mut scratch = Scratch::new();
        let (mut e_before, mut e_now) = scratch
            .as_elements::<T::Compute>()
            .split_at_mut(Scratch::capacity::<T::Compute>() / 2);
        let mut batches = [Batch::none(); 3];
        let [mut before, mut now, mut next] = batches.each_mut();
        let mut accs = [lanes.acc_zero(); ROOM];
        now.look(&source, place.input(), *start);
        now.guess::<L>();
        loop {
            let mut pass = Pass::new(lanes);
            by_vectors!(now, exps(&mut pass, &source, place.input(), e_now, &mut accs));
            next.look(&source, place.input(), now.first + now.count);
            now.settle(lanes, &source, place.input(), e_now, &accs, pass.fits());
            next.guess::<L>();
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
    near: [T::Compute; ROOM],
    /// Of the guessed shifts.
    base: [T::Compute; ROOM],
    low: [T::Compute; ROOM],
    quotients: Quotients<T::Compute, ROOM>,
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
            base: zero,
            low: zero,
            quotients: Quotients {
                high: zero,
                low: zero,
                threshold: zero,
            },
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
    fn look(&mut self, source: &impl Source<T>, x: &[T], first: usize) {
        let (mut count, mut longest, mut shortest, mut rest) = (0, 0, usize::MAX, 0);
        while count < BATCH
            && let Some(spot) = source.spot(first + count)
        {
            self.spots[count] = spot;
            self.near[count] = source.near(&spot, self.input(x, count));
            longest = longest.max(spot.len);
            shortest = shortest.min(spot.len);
            rest |= spot.rest;
            count += 1;
        }
        (self.first, self.count) = (first, count);
        let vectors = longest.div_ceil(T::Compute::LANES);
        self.pitch = vectors * T::Compute::LANES;
        let alike = vectors <= BLOCK && shortest > self.pitch - T::Compute::LANES.min(self.pitch);
        self.vectors = if alike { vectors } else { 0 };
        self.fills = rest > 0;
        self.filled = [None; ROOM];
    }

    /// The shift of every row.
    #[inline(always)]
    fn guess<L: Lanes<T::Compute>>(&mut self) {
        for i in 0..ROOM {
            let shift = guess_at(self.near[i], L::FUSED).1;
            (self.base[i], self.low[i]) = (shift.base, shift.low);
        }
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
        for i in 0..count {
            let spot = &self.spots[i];
            let splat = Splat::by_lane([
                lanes.splat(self.base[i]),
                lanes.splat(self.low[i]),
                lanes.splat(T::Compute::ZERO),
            ]);
            accs[i] = pass.row::<T, N>(
                &splat,
                self.input(x, i),
                &mut e[i * pitch..][..pitch],
                #[inline(always)]
                |at, x| source.logits(lanes, spot, at, x),
            );
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
        for (sums, accs) in sums.chunks_exact_mut(8).zip(groups) {
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
                let (shift, failed) = (guess_at(self.near[i], L::FUSED).1, fits.then_some(sums[i]));
                match source.redo(lanes, self.first + i, self.input(x, i), e, shift, failed) {
                    Ok(sum) => sums[i] = sum,
                    Err(value) => self.filled[i] = Some(value),
                }
            }
        }
        self.quotients = Quotients::new::<L>(&sums);
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
            let e = &mut e[i * pitch..][..spot.len.next_multiple_of(T::Compute::LANES).min(pitch)];
            #[allow(unsafe_code)]
            // SAFETY: `Pass::row` stored every vector of the row.
            let e = unsafe { assume_written(e) };
            // Behind the row e is 0, and so is its quotient.
            let y = &mut y[spot.y..][..e.len().min(spot.len + spot.rest)];
            divide::<T, L, N>(lanes, e, y, &self.quotients.of_row(lanes, i));
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

/// What rows are divided by.
#[derive(Clone, Copy)]
struct Quotients<F, const N: usize> {
    high: [F; N],
    low: [F; N],
    threshold: [F; N],
}

impl<F: Float, const N: usize> Quotients<F, N> {
    #[inline(always)]
    fn new<L: Lanes<F>>(sums: &[F::Sum; N]) -> Self {
        let (mut high, mut low, mut threshold) = ([F::ZERO; N], [F::ZERO; N], [F::ZERO; N]);
        for i in 0..N {
            (high[i], low[i]) = terms::<F, L>(sums[i]);
            threshold[i] = sums[i].threshold();
        }
        Self { high, low, threshold }
    }

    #[inline(always)]
    fn of_row<L: Lanes<F>>(&self, lanes: L, i: usize) -> Quotient<L::V> {
        let terms = [self.high[i], self.low[i], self.threshold[i]];
        Quotient::by_lane(
            lanes,
            [lanes.splat(terms[0]), lanes.splat(terms[1]), lanes.splat(terms[2])],
        )
    }

    /// Those of the rows `first..first + P` in each of the parts of a vector.
    #[inline(always)]
    fn of_group<L: Lanes<F>, const P: usize>(&self, lanes: L, first: usize) -> Quotient<L::V> {
        let (mut high, mut low, mut threshold) = ([F::ZERO; P], [F::ZERO; P], [F::ZERO; P]);
        for g in 0..P {
            high[g] = self.high[first + g];
            low[g] = self.low[first + g];
            threshold[g] = self.threshold[first + g];
        }
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
        let mut acc = lanes.acc_zero();
        let mut at = 0;
        while at < x.len() {
            let (x, e) = (&x[at..], &mut e[at..]);
            let sum = match x.len().div_ceil(F::LANES) {
                1 => self.vectors::<T, 1>(splat, x, e, at, &z),
                2 => self.vectors::<T, 2>(splat, x, e, at, &z),
                3 => self.vectors::<T, 3>(splat, x, e, at, &z),
                _ => self.vectors::<T, 4>(splat, &x[..x.len().min(block::<T>())], e, at, &z),
            };
            acc = lanes.acc_add(acc, sum);
            at += block::<T>();
        }
        acc
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

/// Rows to a round of [`packed`].
const ROUND: usize = 8;

/// The rows from `start` on, `P` of them to a vector, until a round's guess fails: its first row, or `end`. Absent rows
/// are copies of the last one.
#[inline(always)]
fn packed<T: Element, L: Memory<T> + Memory<T::Compute>, const P: usize>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    mut start: usize,
    end: usize,
) -> usize {
    let core = T::Compute::core(L::FUSED);
    // The guess of so short a row is a constant.
    let splat: Splat<V<T, L>> = guess::<T>(&[], L::FUSED).splat(lanes);
    let last = lanes.splat(T::Compute::from_f64(0.5 - buffers.rows.len(start) as f64));
    let mut place = [T::Compute::ZERO; 32];
    for (i, place) in place.iter_mut().enumerate() {
        *place = -T::Compute::from_i32((i % (T::Compute::LANES / P)) as i32);
    }
    let place = Memory::<T::Compute>::load(lanes, &place);
    let width = T::Compute::LANES;
    // Rows that follow one another without a gap and fill their parts are loaded and stored as they lie.
    let gapless = buffers.rows.len(start) * P == width && buffers.is_gapless();
    while start < end {
        let gapless = gapless && end - start >= ROUND;
        let mut seen = lanes.seen_none();
        let mut e = [lanes.splat(T::Compute::ZERO); 4];
        for i in 0..ROUND / P {
            let first = start + i * P;
            let x = if gapless {
                Memory::<T>::load(lanes, &buffers.place.input()[first * (width / P)..])
            } else {
                let mut group: [&[T]; P] = [&[]; P];
                for g in 0..P {
                    group[g] = buffers.input((first + g).min(end - 1));
                }
                Memory::<T>::load_groups(lanes, group, -T::Compute::INFINITY)
            };
            let ([v], [t]) = exp::<_, L, 1, false>(lanes, core, &splat, [x]);
            seen = lanes.seen(seen, t);
            // Padding adds exactly 0: it stands where −i < ½ − cols, i being the place in a group.
            e[i] = lanes.zero_below(v, place, last);
        }
        let sums = lanes.sum_groups::<P>(e);
        let mut accepted = lanes.seen_none_of(seen, core.forbidden);
        for i in 0..ROUND {
            accepted &= sums[i].in_range();
        }
        if !accepted {
            return start;
        }
        let quotients = Quotients::new::<L>(&sums);
        for i in 0..ROUND / P {
            let y = quotients.of_group::<L, P>(lanes, i * P).of(lanes, e[i]);
            let first = start + i * P;
            if gapless {
                Memory::<T>::store(lanes, &mut buffers.place.output()[first * (width / P)..], y);
                continue;
            }
            for g in 0..P {
                let r = first + g;
                if r < end {
                    Memory::<T>::store_group::<P>(lanes, buffers.output(r), y, g);
                }
            }
        }
        start += ROUND;
    }
    end
}
