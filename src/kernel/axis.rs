//! Rows that run along any axis of a tensor, without a transpose: one row to a lane.
//!
//! Sixteen rows of the tensor (elements i … i + 15 of each softmax row) by the columns of a tile are sixteen sums to a
//! column, as for a contiguous row; row 16q + j of a block goes to sum j, and the rows of one j are added pairwise:
//!
//! ```text
//! sums[j][k] += ((e[j][k] + e[16+j][k]) + (e[32+j][k] + e[48+j][k])) + (…)
//! ```
//!
//! which is the order of [`passes`](super::passes), so the bits are those of a contiguous row. A tile as wide as the
//! tensor has its sixteen rows side by side in memory, and a vector may cover several: (j, k) is one index there, and no
//! lane is wasted on a narrow tensor. The shifts and quotients of a tile stand in arrays that repeat their beginning
//! behind their end, so that a vector at any column finds its own.

use super::log_softmax::{log_of, special};
use super::passes::{Quotient, SEGMENT, V, terms};
use super::row::{Chunk, InPlace, Pair, Read, block};
use super::softmax::{guess_near, shift_of};
use super::{Kernel, Place};
use crate::arch::memory::{Scratch, as_output, assume_written};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory};
use crate::math::exp::{Shift, Splat, exp};
use crate::rows::Axis;
use core::mem::MaybeUninit;

/// Running sums of a row.
const SUMS: usize = 16;

/// Columns of a tile and those that the arrays repeat, at most.
const PLACES: usize = 128;

/// Columns of a tensor that is one tile: the arrays and the scratch hold a vector more.
const fn widest<T: Element>() -> usize {
    let sums = (Scratch::capacity::<SumOf<T>>() - T::Compute::LANES) / SUMS;
    let places = PLACES - T::Compute::LANES;
    if sums < places { sums } else { places }
}

/// Columns of a tile of a wider tensor: whole vectors.
const fn width<T: Element>() -> usize {
    widest::<T>() / T::Compute::LANES * T::Compute::LANES
}

type SumOf<T> = <<T as Element>::Compute as Float>::Sum;

/// Columns that are computed side by side.
#[derive(Clone, Copy)]
struct Tile {
    /// The first element.
    start: usize,
    columns: usize,
    /// Elements of a column.
    len: usize,
    /// From one element of a column to the next.
    inner: usize,
    /// Where the result of the first column stands, where each column has one.
    result: usize,
}

/// Every tile of a tensor.
#[inline(always)]
fn for_each_tile<T: Element>(axis: Axis, mut run: impl FnMut(&Tile)) {
    let (len, inner) = (axis.len(), axis.inner());
    let width = if inner <= widest::<T>() { inner } else { width::<T>() };
    for outer in 0..axis.outer() {
        let mut column = 0;
        while column < inner {
            let columns = width.min(inner - column);
            run(&Tile {
                start: outer * len * inner + column,
                columns,
                len,
                inner,
                result: outer * inner + column,
            });
            column += columns;
        }
    }
}

/// The vectors at one place of each group of sixteen rows of a block.
struct Cells {
    /// The first element of the vector in the first group.
    at: usize,
    /// From one group to the next.
    pitch: usize,
    /// Elements from the vector on that belong to it and its neighbours, if all rows are there.
    run: usize,
    /// Elements from the vector on until the rows end.
    left: usize,
}

impl Cells {
    /// Lanes of vector `q` that are there.
    #[inline(always)]
    fn present(&self, q: usize, lanes: usize) -> usize {
        self.left.saturating_sub(q * self.pitch).min(self.run).min(lanes)
    }
}

impl Tile {
    /// Calls `visit` with each vector of the block at `row`: its place among the sums, its column, its cells.
    #[inline(always)]
    fn for_each_vector(&self, row: usize, lanes: usize, mut visit: impl FnMut(usize, usize, Cells)) {
        // A tile as wide as the tensor is one run of sixteen rows.
        let rows = if self.columns == self.inner { SUMS } else { 1 };
        let run = rows * self.columns;
        let step = lanes % self.columns;
        let mut j = 0;
        while j < SUMS.min(self.len - row) {
            let (mut at, mut column) = (0, 0);
            while at < run {
                let cells = Cells {
                    at: self.start + (row + j) * self.inner + at,
                    pitch: SUMS * self.inner,
                    run: run - at,
                    left: ((self.len - row - j) * self.inner).saturating_sub(at),
                };
                visit(j * self.columns + at, column, cells);
                at += lanes;
                column += step;
                if column >= self.columns {
                    column -= self.columns;
                }
            }
            j += rows;
        }
    }
}

/// Input, output, or both, of which a part at a time is looked at.
trait Memories<T: Element, U: Element> {
    type Part<'a>: Chunk<T, U>
    where
        Self: 'a;
    fn part(&mut self, at: usize, len: usize) -> Self::Part<'_>;
}

impl<T: Element> Memories<T, T> for Read<'_, T> {
    type Part<'a>
        = &'a [T]
    where
        Self: 'a;
    #[inline(always)]
    fn part(&mut self, at: usize, len: usize) -> &[T] {
        &self.0[at..][..len]
    }
}

impl<T: Element, U: Element<Compute = T::Compute>> Memories<T, U> for Pair<'_, T, U> {
    type Part<'a>
        = Pair<'a, T, U>
    where
        Self: 'a;
    #[inline(always)]
    fn part(&mut self, at: usize, len: usize) -> Pair<'_, T, U> {
        Pair(&self.0[at..][..len], &mut self.1[at..][..len])
    }
}

impl<T: Element> Memories<T, T> for InPlace<'_, T> {
    type Part<'a>
        = InPlace<'a, T>
    where
        Self: 'a;
    #[inline(always)]
    fn part(&mut self, at: usize, len: usize) -> InPlace<'_, T> {
        InPlace(&mut self.0[at..][..len])
    }
}

/// An output that holds what an earlier pass over the same tile stored.
struct Stored<'a, T>(&'a mut [MaybeUninit<T>]);

impl<T: Element> Memories<T, T> for Stored<'_, T> {
    type Part<'a>
        = InPlace<'a, T>
    where
        Self: 'a;
    #[inline(always)]
    fn part(&mut self, at: usize, len: usize) -> InPlace<'_, T> {
        #[allow(unsafe_code)]
        // SAFETY: a `Stored` is made after a pass over the tile, and read at the same places: all of them were stored.
        InPlace(unsafe { assume_written(&mut self.0[at..][..len]) })
    }
}

/// Three numbers for each column, the first columns repeated behind the last.
struct Triples<F>([[F; PLACES]; 3]);

impl<F: Float> Triples<F> {
    #[inline(always)]
    fn set(&mut self, columns: usize, numbers: impl Fn(usize) -> [F; 3]) {
        for k in 0..columns {
            let [a, b, c] = numbers(k);
            self.0[0][k] = a;
            self.0[1][k] = b;
            self.0[2][k] = c;
        }
        for row in &mut self.0 {
            for k in 0..F::LANES {
                row[columns + k] = row[k];
            }
        }
    }

    /// Those of a vector of columns.
    #[inline(always)]
    fn at<L: Memory<F>>(&self, lanes: L, column: usize) -> [L::V; 3] {
        [
            lanes.load(&self.0[0][column..]),
            lanes.load(&self.0[1][column..]),
            lanes.load(&self.0[2][column..]),
        ]
    }
}

/// What is known of the columns of a tile, and room to find it out.
struct Work<T: Element> {
    shift: [Shift<T::Compute>; PLACES],
    sum: [SumOf<T>; PLACES],
    /// Whether a column has neither NaN nor +∞, and not nothing but −∞.
    sound: [bool; PLACES],
    /// Base, low and offset of the shifts.
    shifts: Triples<T::Compute>,
    /// What the last pass needs of each column.
    numbers: Triples<T::Compute>,
    scratch: Scratch,
}

impl<T: Element> Work<T> {
    #[inline(always)]
    fn new(fused: bool) -> Self {
        let zero = T::Compute::ZERO;
        Self {
            shift: [guess_near([zero; 3], fused).1; PLACES],
            sum: [SumOf::<T>::ZERO; PLACES],
            sound: [true; PLACES],
            shifts: Triples([[zero; PLACES]; 3]),
            numbers: Triples([[zero; PLACES]; 3]),
            scratch: Scratch::new(),
        }
    }

    #[inline(always)]
    fn set_shifts(&mut self, columns: usize) {
        let shift = &self.shift;
        self.shifts.set(
            columns,
            #[inline(always)]
            |k| [shift[k].base, shift[k].low, shift[k].offset],
        );
    }

    /// What the columns are divided by.
    #[inline(always)]
    fn set_quotients<L: Lanes<T::Compute>>(&mut self, columns: usize) {
        let sum = &self.sum;
        self.numbers.set(
            columns,
            #[inline(always)]
            |k| {
                let (high, low) = terms::<T::Compute, L>(sum[k]);
                [high, low, sum[k].threshold()]
            },
        );
    }

    /// ln Σ e^x of column `k` as offset, high and low.
    #[inline(always)]
    fn log(&self, k: usize) -> [T::Compute; 3] {
        log::<T>(&self.shift[k], self.sum[k])
    }

    #[inline(always)]
    fn set_logs(&mut self, columns: usize) {
        let (shift, sum) = (&self.shift, &self.sum);
        self.numbers.set(
            columns,
            #[inline(always)]
            |k| log::<T>(&shift[k], sum[k]),
        );
    }

    /// The shift and the sum of each column, e stored in `e` if there is one. A column that is not sound has sum 1.
    #[inline(always)]
    fn find<L: Memory<T> + Memory<T::Compute>>(
        &mut self,
        lanes: L,
        x: &[T],
        mut e: Option<&mut [MaybeUninit<T::Compute>]>,
        tile: &Tile,
    ) {
        let places = [0, tile.len / 2, tile.len - 1];
        for k in 0..tile.columns {
            let mut near = [T::Compute::ZERO; 3];
            if tile.len > 16 {
                for i in 0..3 {
                    near[i] = x[tile.start + places[i] * tile.inner + k].widen();
                }
            }
            self.shift[k] = guess_near(near, L::FUSED).1;
            self.sound[k] = true;
        }
        self.set_shifts(tile.columns);
        let fits = self.exp_sums::<L, false>(lanes, x, e.as_deref_mut(), tile);
        let mut accepted = fits;
        for k in 0..tile.columns {
            accepted &= self.sum[k].in_range();
        }
        if !accepted {
            self.redo(lanes, x, e, tile, fits);
        }
    }

    /// The three-pass form of the columns whose guess failed. The others are computed again under their guess.
    #[inline(always)]
    fn redo<L: Memory<T> + Memory<T::Compute>>(
        &mut self,
        lanes: L,
        x: &[T],
        e: Option<&mut [MaybeUninit<T::Compute>]>,
        tile: &Tile,
        fits: bool,
    ) {
        let core = T::Compute::core(L::FUSED);
        let maxima = maxima(lanes, x, tile, &mut self.scratch);
        for k in 0..tile.columns {
            // An exponent rises with x: those of a column fit if that of the maximum does.
            let m = lanes.splat(maxima[k]);
            let (_, [t]) = exp::<_, L, 1, false>(lanes, core, &self.shift[k].splat(lanes), [m]);
            let fits = fits || lanes.seen_none_of(lanes.seen(lanes.seen_none(), t), core.forbidden);
            if !(fits && self.sum[k].in_range()) {
                match shift_of(maxima[k], L::FUSED) {
                    Some(shift) => self.shift[k] = shift,
                    None => self.sound[k] = false,
                }
            }
        }
        self.set_shifts(tile.columns);
        self.exp_sums::<L, true>(lanes, x, e, tile);
        for k in 0..tile.columns {
            self.sound[k] &= !self.sum[k].is_nan();
            if !self.sound[k] {
                self.sum[k] = SumOf::<T>::of(T::Compute::from_i32(1));
            }
        }
    }

    /// The sums under the shifts that are set; whether every exponent fitted its field.
    #[inline(always)]
    fn exp_sums<L: Memory<T> + Memory<T::Compute>, const OFFSET: bool>(
        &mut self,
        lanes: L,
        x: &[T],
        e: Option<&mut [MaybeUninit<T::Compute>]>,
        tile: &Tile,
    ) -> bool {
        let (shifts, scratch, sum) = (&self.shifts, &mut self.scratch, &mut self.sum);
        match e {
            Some(e) => exp_sums::<T, T::Compute, L, _, OFFSET>(lanes, Pair(x, e), tile, shifts, scratch, sum),
            None => exp_sums::<T, T, L, _, OFFSET>(lanes, Read(x), tile, shifts, scratch, sum),
        }
    }

    /// Writes NaN to the columns that are not sound.
    #[inline(always)]
    fn fill_unsound(&self, y: &mut [MaybeUninit<T>], tile: &Tile) {
        for k in 0..tile.columns {
            if !self.sound[k] {
                for i in 0..tile.len {
                    y[tile.start + i * tile.inner + k].write(T::NAN);
                }
            }
        }
    }
}

/// ln Σ e^x as offset, high and low.
#[inline(always)]
fn log<T: Element>(shift: &Shift<T::Compute>, sum: SumOf<T>) -> [T::Compute; 3] {
    let (high, low) = sum.log(shift.n);
    [shift.offset, high, low]
}

/// Σ e of each column into `sums`, e stored where there is a place for it; whether every exponent fitted its field.
#[inline(always)]
fn exp_sums<T, U, L, M, const OFFSET: bool>(
    lanes: L,
    mut memories: M,
    tile: &Tile,
    shifts: &Triples<T::Compute>,
    scratch: &mut Scratch,
    sums: &mut [SumOf<T>; PLACES],
) -> bool
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U> + Memory<T::Compute>,
    M: Memories<T, U>,
{
    let core = T::Compute::core(L::FUSED);
    let n = T::Compute::LANES;
    let acc = scratch.filled(SUMS * tile.columns + n, SumOf::<T>::ZERO);
    for sum in &mut sums[..tile.columns] {
        *sum = SumOf::<T>::ZERO;
    }
    let mut seen = lanes.seen_none();
    let mut row = 0;
    while row < tile.len {
        tile.for_each_vector(
            row,
            n,
            #[inline(always)]
            |place, column, cells| {
                let splat = Splat::by_lane(shifts.at(lanes, column));
                let mut e = [lanes.splat(T::Compute::ZERO); 8];
                for q in 0..block::<T>() / SUMS {
                    let present = cells.present(q, n);
                    if present == 0 {
                        break;
                    }
                    let mut part = memories.part(cells.at + q * cells.pitch, present);
                    let x = load::<T, U, L, _>(lanes, &part, present, -T::Compute::INFINITY);
                    let ([v], [t]) = exp::<_, L, 1, OFFSET>(lanes, core, &splat, [x]);
                    seen = lanes.seen(seen, t);
                    store::<T, U, L, _>(lanes, &mut part, present, v);
                    e[q] = if present == n { v } else { lanes.keep_first(v, present) };
                }
                let mut block = [T::Compute::ZERO; 32];
                Memory::<T::Compute>::store(lanes, as_output(&mut block), pairwise::<T, L>(lanes, e));
                let acc = &mut acc[place..][..n];
                for i in 0..n {
                    acc[i] = acc[i].accumulate(block[i]);
                }
            },
        );
        row += block::<T>();
        if row % SEGMENT == 0 {
            close::<T>(acc, tile.columns, sums);
            acc.fill(SumOf::<T>::ZERO);
        }
    }
    close::<T>(acc, tile.columns, sums);
    lanes.seen_none_of(seen, core.forbidden)
}

/// A part of `present` elements, whole or not.
#[inline(always)]
fn load<T, U, L, C>(lanes: L, part: &C, present: usize, fill: T::Compute) -> V<T, L>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T>,
    C: Chunk<T, U>,
{
    if present == T::Compute::LANES {
        part.load(lanes, 0)
    } else {
        part.load_or(lanes, 0, fill)
    }
}

#[inline(always)]
fn store<T, U, L, C>(lanes: L, part: &mut C, present: usize, v: V<T, L>)
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U>,
    C: Chunk<T, U>,
{
    if present == T::Compute::LANES {
        part.store(lanes, 0, v);
    } else {
        part.store_partial(lanes, 0, v);
    }
}

/// The sum of the vectors of a block in the order of a contiguous row; absent ones are 0.
#[inline(always)]
fn pairwise<T: Element, L: Lanes<T::Compute>>(lanes: L, e: [L::V; 8]) -> L::V {
    let low = lanes.add(lanes.add(e[0], e[1]), lanes.add(e[2], e[3]));
    if block::<T>() / SUMS == 4 {
        return low;
    }
    lanes.add(low, lanes.add(lanes.add(e[4], e[5]), lanes.add(e[6], e[7])))
}

/// Adds the sixteen sums of each column, `i + (i + 8)`, then 4, 2, 1, to its total.
#[inline(always)]
fn close<T: Element>(acc: &mut [SumOf<T>], columns: usize, totals: &mut [SumOf<T>; PLACES]) {
    let mut half = SUMS / 2 * columns;
    while half >= columns {
        let (low, high) = acc.split_at_mut(half);
        let high = &high[..half];
        for i in 0..half {
            low[i] = low[i].add(high[i]);
        }
        half /= 2;
    }
    for k in 0..columns {
        totals[k] = totals[k].add(acc[k]);
    }
}

/// The largest element of each column, unspecified if one is NaN.
#[inline(always)]
fn maxima<'a, T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
    tile: &Tile,
    scratch: &'a mut Scratch,
) -> &'a [T::Compute] {
    let (n, least) = (T::Compute::LANES, -T::Compute::INFINITY);
    let all = scratch.filled(SUMS * tile.columns + n, least);
    let mut row = 0;
    while row < tile.len {
        tile.for_each_vector(
            row,
            n,
            #[inline(always)]
            |place, _, cells| {
                let place = &mut all[place..][..n];
                let mut m = Memory::<T::Compute>::load(lanes, place);
                for q in 0..block::<T>() / SUMS {
                    let present = cells.present(q, n);
                    if present > 0 {
                        let part = &x[cells.at + q * cells.pitch..][..present];
                        m = lanes.max(m, load::<T, T, L, _>(lanes, &part, present, least));
                    }
                }
                Memory::<T::Compute>::store(lanes, as_output(place), m);
            },
        );
        row += block::<T>();
    }
    let mut half = SUMS / 2 * tile.columns;
    while half >= tile.columns {
        for i in 0..half {
            all[i] = if all[i + half] > all[i] { all[i + half] } else { all[i] };
        }
        half /= 2;
    }
    &all[..tile.columns]
}

/// Applies `f` to every vector of the tile and stores the result; `prepare` finds what it needs at a column.
#[inline(always)]
fn map<T, L, M, P>(
    lanes: L,
    mut memories: M,
    tile: &Tile,
    prepare: impl Fn(usize) -> P,
    f: impl Fn(&P, V<T, L>) -> V<T, L>,
) where
    T: Element,
    L: Memory<T>,
    M: Memories<T, T>,
{
    let n = T::Compute::LANES;
    let mut row = 0;
    while row < tile.len {
        tile.for_each_vector(
            row,
            n,
            #[inline(always)]
            |_, column, cells| {
                let prepared = prepare(column);
                for q in 0..block::<T>() / SUMS {
                    let present = cells.present(q, n);
                    if present == 0 {
                        break;
                    }
                    let mut part = memories.part(cells.at + q * cells.pitch, present);
                    let v = f(&prepared, load::<T, T, L, _>(lanes, &part, present, T::Compute::ZERO));
                    store::<T, T, L, _>(lanes, &mut part, present, v);
                }
            },
        );
        row += block::<T>();
    }
}

/// y = e/S, e computed once more from x.
#[inline(always)]
fn recompute<T, L, M>(lanes: L, memories: M, tile: &Tile, work: &Work<T>)
where
    T: Element,
    L: Memory<T> + Memory<T::Compute>,
    M: Memories<T, T>,
{
    let core = T::Compute::core(L::FUSED);
    map(
        lanes,
        memories,
        tile,
        #[inline(always)]
        |column| {
            let shift = Splat::by_lane(work.shifts.at(lanes, column));
            (shift, Quotient::by_lane(lanes, work.numbers.at(lanes, column)))
        },
        #[inline(always)]
        |(shift, quotient), x| quotient.of(lanes, exp::<_, L, 1, true>(lanes, core, shift, [x]).0[0]),
    );
}

/// Softmax along an axis.
pub struct SoftmaxAxis<'a, T> {
    pub place: Place<'a, T>,
    pub axis: Axis,
}

impl<T: Element> Kernel<T> for SoftmaxAxis<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(mut self, lanes: L) {
        let mut work = Work::new(L::FUSED);
        for_each_tile::<T>(
            self.axis,
            #[inline(always)]
            |tile| match &mut self.place {
                Place::Apart(x, y) => {
                    work.find(lanes, x, T::as_compute(y), tile);
                    work.set_quotients::<L>(tile.columns);
                    match T::as_compute(y) {
                        Some(e) => map::<T::Compute, L, _, _>(
                            lanes,
                            Stored(e),
                            tile,
                            #[inline(always)]
                            |column| Quotient::by_lane(lanes, work.numbers.at(lanes, column)),
                            #[inline(always)]
                            |quotient, e| quotient.of(lanes, e),
                        ),
                        None => recompute(lanes, Pair(x, y), tile, &work),
                    }
                    work.fill_unsound(y, tile);
                }
                Place::InPlace(x) => {
                    work.find(lanes, x, None, tile);
                    work.set_quotients::<L>(tile.columns);
                    recompute(lanes, InPlace(x), tile, &work);
                    work.fill_unsound(as_output(x), tile);
                }
            },
        );
    }
}

/// log_softmax along an axis.
pub struct LogSoftmaxAxis<'a, T> {
    pub place: Place<'a, T>,
    pub axis: Axis,
}

/// x − ln Σ of each column.
#[inline(always)]
fn subtract<T, L, M>(lanes: L, memories: M, tile: &Tile, work: &mut Work<T>)
where
    T: Element,
    L: Memory<T> + Memory<T::Compute>,
    M: Memories<T, T>,
{
    work.set_logs(tile.columns);
    map(
        lanes,
        memories,
        tile,
        #[inline(always)]
        |column| work.numbers.at(lanes, column),
        #[inline(always)]
        |&log, x| log_of(lanes, x, log),
    );
}

impl<T: Element> Kernel<T> for LogSoftmaxAxis<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(mut self, lanes: L) {
        let mut work = Work::new(L::FUSED);
        for_each_tile::<T>(
            self.axis,
            #[inline(always)]
            |tile| {
                let x: &[T] = match &self.place {
                    Place::Apart(x, _) => x,
                    Place::InPlace(x) => x,
                };
                work.find(lanes, x, None, tile);
                match &mut self.place {
                    Place::Apart(x, y) => {
                        subtract(lanes, Pair(x, y), tile, &mut work);
                        work.fill_unsound(y, tile);
                    }
                    Place::InPlace(x) => {
                        subtract(lanes, InPlace(x), tile, &mut work);
                        work.fill_unsound(as_output(x), tile);
                    }
                }
            },
        );
    }
}

/// ln Σ e^x along an axis, one result to each row.
pub struct LogSumExpAxis<'a, T> {
    pub x: &'a [T],
    pub out: &'a mut [MaybeUninit<T>],
    pub axis: Axis,
}

impl<T: Element> Kernel<T> for LogSumExpAxis<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let mut work = Work::new(L::FUSED);
        for_each_tile::<T>(
            self.axis,
            #[inline(always)]
            |tile| {
                work.find(lanes, self.x, None, tile);
                for k in 0..tile.columns {
                    let column = (0..tile.len).map(|i| self.x[tile.start + i * tile.inner + k]);
                    self.out[tile.result + k].write(if work.sound[k] {
                        let [offset, high, low] = work.log(k);
                        T::narrow((high + low) + offset)
                    } else {
                        special(column)
                    });
                }
            },
        );
    }
}
