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
//! behind their end, so that a vector at any column finds its own. Short rows of a wide tensor need neither
//! ([`columns`](super::columns)), small slices are no tiles ([`slices`](super::slices)).

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop)]

use super::log_softmax::log_of;
use super::passes::{Quotient, SEGMENT, V, load, pairwise, store};
use super::row::block;
use super::softmax::SumOf;
use super::tile::{Along, Columns, SUMS, Tile, Triples, even_width, for_each_tile};
use super::{Kernel, Place};
use crate::arch::memory::{Stack, as_output, assume_written};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory, WIDEST};
use crate::layout::Axis;
use crate::math::exp::{Splat, exp};
use crate::tuning;
use core::mem::MaybeUninit;

/// Room for the sums of a tile.
type Room = Stack<20_992>;

/// Columns of a tensor that is one tile: the scratch and arrays of `N` hold a vector more.
const fn widest<T: Element, const N: usize>() -> usize {
    let sums = (Room::capacity::<SumOf<T>>() - T::Compute::LANES) / SUMS;
    let places = N - T::Compute::LANES;
    if sums < places { sums } else { places }
}

/// The vectors at one place of each group of sixteen rows of a block.
struct Group {
    /// The first element of the vector in the first group.
    at: usize,
    /// From one group to the next.
    pitch: usize,
    /// Elements from the vector on that belong to it and its neighbours, if all rows are there.
    run: usize,
    /// Elements from the vector on until the rows end.
    left: usize,
    /// How far from each vector lies what the CPU is told of.
    ahead: usize,
}

impl Group {
    /// Whether none of `count` vectors lacks a lane.
    #[inline(always)]
    fn whole(&self, count: usize, lanes: usize) -> bool {
        self.run >= lanes && self.left >= (count - 1) * self.pitch + lanes
    }

    /// Where vector `q` stands, and how many of its lanes are there.
    #[inline(always)]
    fn vector(&self, q: usize, lanes: usize) -> (usize, usize) {
        let away = q * self.pitch;
        (self.at + away, self.left.saturating_sub(away).min(self.run).min(lanes))
    }
}

impl Tile {
    /// How far ahead the CPU is told of what it does not foresee, beside row `j` of the block at `row`: the same place in the
    /// rows that are computed next, of this block, of the next one or of the next tile. Where a tile is as wide as the tensor,
    /// in the next block, or as far as usual if blocks are small.
    #[inline(always)]
    fn ahead<T: Element>(&self, row: usize, j: usize) -> usize {
        let block = block::<T>();
        if self.columns == self.inner {
            let usual = tuning::PREFETCH_BYTES / size_of::<T>();
            if self.inner * block > 2 * usual {
                block * self.inner
            } else {
                usual
            }
        } else if j + 1 < SUMS.min(self.len - row) {
            self.inner
        } else if row + block < self.len {
            (block - j) * self.inner
        } else {
            self.to_next.wrapping_sub((row + j) * self.inner)
        }
    }

    /// Calls `visit` with each vector of the block at `row`: its place among the sums, its column, its group.
    #[inline(always)]
    fn for_each_vector<T: Element>(&self, row: usize, mut visit: impl FnMut(usize, usize, Group)) {
        let lanes = T::Compute::LANES;
        // A tile as wide as the tensor is one run of sixteen rows.
        let rows = if self.columns == self.inner { SUMS } else { 1 };
        let run = rows * self.columns;
        let step = lanes % self.columns;
        let mut j = 0;
        while j < SUMS.min(self.len - row) {
            let ahead = self.ahead::<T>(row, j);
            let (mut at, mut column) = (0, 0);
            while at < run {
                let group = Group {
                    at: self.start + (row + j) * self.inner + at,
                    pitch: SUMS * self.inner,
                    run: run - at,
                    left: ((self.len - row - j) * self.inner).saturating_sub(at),
                    ahead,
                };
                visit(j * self.columns + at, column, group);
                at += lanes;
                column += step;
                if column >= self.columns {
                    column -= self.columns;
                }
            }
            j += rows;
        }
    }

    /// Calls `visit` with each vector of a tensor of `T`, its first element and how many of its lanes are there, and with
    /// what `prepare` finds at its column.
    #[inline(always)]
    fn for_each_cell<T: Element, P>(&self, prepare: impl Fn(usize) -> P, mut visit: impl FnMut(&P, usize, usize)) {
        let (n, count) = (T::Compute::LANES, block::<T>() / SUMS);
        let mut row = 0;
        while row < self.len {
            self.for_each_vector::<T>(
                row,
                #[inline(always)]
                |_, column, group| {
                    let prepared = prepare(column);
                    let whole = group.whole(count, n);
                    for q in 0..count {
                        let (at, present) = if whole {
                            (group.at + q * group.pitch, n)
                        } else {
                            group.vector(q, n)
                        };
                        if present == 0 {
                            break;
                        }
                        visit(&prepared, at, present);
                    }
                },
            );
            row += block::<T>();
        }
    }
}

/// What is known of the columns of a tile, in arrays of `N`, and room to find it out.
struct Work<T: Element, const N: usize> {
    columns: Columns<T, N>,
    scratch: Room,
}

impl<T: Element, const N: usize> Work<T, N> {
    /// The shift and the sum of each column, e stored in `e` if there is one. A column that is not sound has sum 1.
    #[inline(always)]
    fn find<L: Memory<T> + Memory<T::Compute>>(
        &mut self,
        lanes: L,
        x: &[T],
        mut e: Option<&mut [MaybeUninit<T::Compute>]>,
        tile: &Tile,
    ) {
        self.columns.guess(x, tile, L::FUSED);
        let fits = self.exp_sums(lanes, x, e.as_deref_mut(), tile);
        if !(fits && self.columns.in_range(tile.columns)) {
            let maxima = maxima(lanes, x, tile, &mut self.scratch);
            self.columns.correct(lanes, maxima, fits, tile);
            self.exp_sums(lanes, x, e, tile);
            self.columns.judge(tile);
        }
    }

    /// The sums under the shifts that are set, e stored in `e` if there is one; whether every exponent fitted its field.
    #[inline(always)]
    fn exp_sums<L: Memory<T> + Memory<T::Compute>>(
        &mut self,
        lanes: L,
        x: &[T],
        e: Option<&mut [MaybeUninit<T::Compute>]>,
        tile: &Tile,
    ) -> bool {
        let mut fits = true;
        let fit = &mut fits;
        let work = self;
        lanes.call(ExpSums { work, x, e, tile, fit });
        fits
    }
}

/// [`Work::exp_sums`], a function of its own, see [`Lanes::call`].
struct ExpSums<'a, T: Element, const N: usize> {
    work: &'a mut Work<T, N>,
    x: &'a [T],
    e: Option<&'a mut [MaybeUninit<T::Compute>]>,
    tile: &'a Tile,
    fit: &'a mut bool,
}

impl<T: Element, const N: usize> Kernel<T> for ExpSums<'_, T, N> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            work,
            x,
            mut e,
            tile,
            fit,
        } = self;
        let core = T::Compute::core(L::FUSED);
        let n = T::Compute::LANES;
        let acc = work.scratch.filled(SUMS * tile.columns + n, SumOf::<T>::ZERO);
        let columns = &mut work.columns;
        for k in 0..tile.columns {
            columns.sum[k] = SumOf::<T>::ZERO;
        }
        let mut seen = lanes.seen_none();
        let mut row = 0;
        while row < tile.len {
            tile.for_each_vector::<T>(
                row,
                #[inline(always)]
                |place, column, group| {
                    let splat = Splat::by_lane(columns.shifts.at(lanes, column));
                    let sum = group_sum::<T, L>(lanes, &splat, x, e.as_deref_mut(), &group, &mut seen);
                    let mut sums = [T::Compute::ZERO; WIDEST];
                    Memory::<T::Compute>::store(lanes, as_output(&mut sums), sum);
                    let acc = &mut acc[place..][..n];
                    for i in 0..n {
                        acc[i] = acc[i].accumulate(sums[i]);
                    }
                },
            );
            row += block::<T>();
            if row % SEGMENT == 0 {
                close::<T>(acc, tile.columns, &mut columns.sum);
                acc.fill(SumOf::<T>::ZERO);
            }
        }
        close::<T>(acc, tile.columns, &mut columns.sum);
        *fit = lanes.seen_none_of(seen, core.forbidden);
    }
}

/// Σ e of a group of vectors, e stored in `e` if there is one.
#[inline(always)]
fn group_sum<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    splat: &Splat<V<T, L>>,
    x: &[T],
    mut e: Option<&mut [MaybeUninit<T::Compute>]>,
    group: &Group,
    seen: &mut <L as Lanes<T::Compute>>::Seen,
) -> V<T, L> {
    let (core, n) = (T::Compute::core(L::FUSED), T::Compute::LANES);
    let ahead = group.ahead;
    let mut pairs = [lanes.splat(T::Compute::ZERO); 4];
    let count = block::<T>() / SUMS;
    let mut q = 0;
    while q < count && group.whole(q + 2, n) {
        let at = group.at + q * group.pitch;
        let next = at + group.pitch;
        lanes.prefetch_later(x[at..].as_ptr(), ahead);
        lanes.prefetch_later(x[next..].as_ptr(), ahead);
        let v = [lanes.load(&x[at..]), lanes.load(&x[next..])];
        let ([v, w], [t, u]) = exp::<_, L, 2, true>(lanes, core, splat, v);
        *seen = lanes.seen(lanes.seen(*seen, t), u);
        if let Some(e) = &mut e {
            lanes.prefetch_later(e[at..].as_ptr().cast::<T::Compute>(), ahead);
            lanes.prefetch_later(e[next..].as_ptr().cast::<T::Compute>(), ahead);
            Memory::<T::Compute>::store(lanes, &mut e[at..], v);
            Memory::<T::Compute>::store(lanes, &mut e[next..], w);
        }
        pairs[q / 2] = lanes.add(v, w);
        q += 2;
    }
    while q < count {
        let (at, present) = group.vector(q, n);
        if present == 0 {
            break;
        }
        lanes.prefetch_later(x[at..].as_ptr(), ahead);
        let v = load(lanes, &x[at..][..present], -T::Compute::INFINITY);
        let ([v], [t]) = exp::<_, L, 1, true>(lanes, core, splat, [v]);
        *seen = lanes.seen(*seen, t);
        if let Some(e) = &mut e {
            lanes.prefetch_later(e[at..].as_ptr().cast::<T::Compute>(), ahead);
            store::<T::Compute, L>(lanes, &mut e[at..][..present], v);
        }
        // Absent vectors are 0, and the first of a pair is added to that.
        pairs[q / 2] = lanes.add(pairs[q / 2], lanes.keep_first(v, present));
        q += 1;
    }
    sum_of_pairs::<T, L>(lanes, pairs)
}

/// The sum of the pairs of vectors of a block: four of f32, two of f64.
#[inline(always)]
fn sum_of_pairs<T: Element, L: Lanes<T::Compute>>(lanes: L, pairs: [L::V; 4]) -> L::V {
    let [a, b, ..] = pairs;
    match block::<T>() / SUMS {
        4 => lanes.add(a, b),
        _ => pairwise(
            pairs,
            #[inline(always)]
            |a, b| lanes.add(a, b),
        ),
    }
}

/// Adds the sixteen sums of each column, `i + (i + 8)`, then 4, 2, 1, to its total.
#[inline(always)]
fn close<T: Element>(acc: &mut [SumOf<T>], columns: usize, totals: &mut [SumOf<T>]) {
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
    scratch: &'a mut Room,
) -> &'a [T::Compute] {
    let (n, least) = (T::Compute::LANES, -T::Compute::INFINITY);
    let all = scratch.filled(SUMS * tile.columns + n, least);
    let mut row = 0;
    while row < tile.len {
        tile.for_each_vector::<T>(
            row,
            #[inline(always)]
            |place, _, group| {
                let place = &mut all[place..][..n];
                let mut m = Memory::<T::Compute>::load(lanes, place);
                for q in 0..block::<T>() / SUMS {
                    let (at, present) = group.vector(q, n);
                    if present > 0 {
                        m = lanes.max(m, load(lanes, &x[at..][..present], least));
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
fn map<T: Element, L: Memory<T>, P>(
    lanes: L,
    place: &mut Place<'_, T>,
    tile: &Tile,
    prepare: impl Fn(usize) -> P,
    f: impl Fn(&P, V<T, L>) -> V<T, L>,
) {
    tile.for_each_cell::<T, P>(
        prepare,
        #[inline(always)]
        |prepared, at, present| {
            let v = load(lanes, &place.input()[at..][..present], T::Compute::ZERO);
            store(lanes, &mut place.output()[at..][..present], f(prepared, v));
        },
    );
}

/// y = e/S where `e` holds e.
#[inline(always)]
fn divide<F: Float, L: Memory<F>, const N: usize>(
    lanes: L,
    e: &mut [MaybeUninit<F>],
    tile: &Tile,
    numbers: &Triples<F, N>,
) {
    tile.for_each_cell::<F, _>(
        #[inline(always)]
        |column| Quotient::by_lane(lanes, numbers.at(lanes, column)),
        #[inline(always)]
        |quotient, at, present| {
            let e = &mut e[at..][..present];
            #[allow(unsafe_code)]
            // SAFETY: the pass over the same tile before this one stored a value in each of these places.
            let v = load::<F, L>(lanes, unsafe { assume_written(e) }, F::ZERO);
            store::<F, L>(lanes, e, quotient.of(lanes, v));
        },
    );
}

/// `along` of each row of a tensor.
pub struct AxisKernel<'a, T> {
    pub along: Along,
    pub place: Place<'a, T>,
    pub axis: Axis,
}

impl<T: Element> Kernel<T> for AxisKernel<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        // In bytes, as many columns of f32 as of f64. More would take more of the stack than is promised.
        if T::Compute::LANES == WIDEST {
            along_axis::<T, L, { 6 * WIDEST }>(lanes, self);
        } else {
            along_axis::<T, L, { 3 * WIDEST }>(lanes, self);
        }
    }
}

/// The kernel, with arrays of `N`.
#[inline(always)]
fn along_axis<T: Element, L: Memory<T> + Memory<T::Compute>, const N: usize>(lanes: L, kernel: AxisKernel<'_, T>) {
    let AxisKernel { along, mut place, axis } = kernel;
    let place = &mut place;
    let mut work = Work::<T, N> {
        columns: Columns::none(L::FUSED),
        scratch: Room::new(),
    };
    let (inner, widest) = (axis.inner(), widest::<T, N>());
    let width = if inner <= widest {
        inner
    } else {
        even_width::<T>(inner, widest / T::Compute::LANES)
    };
    for_each_tile(
        axis,
        width,
        #[inline(always)]
        |tile| {
            let (x, e) = match (along, &mut *place) {
                // The output can hold e where it has its type.
                (Along::Softmax, Place::Apart(x, y)) => (&**x, T::as_compute(y)),
                (_, place) => (place.input(), None),
            };
            work.find(lanes, x, e, tile);
            let columns = &mut work.columns;
            match along {
                Along::Softmax => softmax(lanes, place, tile, columns),
                Along::LogSoftmax => log_softmax(lanes, place, tile, columns),
                Along::LogSumExp => columns.logsumexp(lanes, place, tile),
            }
        },
    );
}

#[inline(always)]
fn softmax<T: Element, L: Memory<T> + Memory<T::Compute>, const N: usize>(
    lanes: L,
    place: &mut Place<'_, T>,
    tile: &Tile,
    columns: &mut Columns<T, N>,
) {
    columns.set_divisors(lanes, tile.columns);
    if let Place::Apart(_, y) = place
        && let Some(e) = T::as_compute(y)
    {
        divide(lanes, e, tile, &columns.numbers);
    } else {
        let core = T::Compute::core(L::FUSED);
        map(
            lanes,
            place,
            tile,
            #[inline(always)]
            |column| {
                let shift = Splat::by_lane(columns.shifts.at(lanes, column));
                (shift, Quotient::by_lane(lanes, columns.numbers.at(lanes, column)))
            },
            #[inline(always)]
            |(shift, quotient), x| quotient.of(lanes, exp::<_, L, 1, true>(lanes, core, shift, [x]).0[0]),
        );
    }
    columns.fill_unsound(place.output(), tile);
}

#[inline(always)]
fn log_softmax<T: Element, L: Memory<T> + Memory<T::Compute>, const N: usize>(
    lanes: L,
    place: &mut Place<'_, T>,
    tile: &Tile,
    columns: &mut Columns<T, N>,
) {
    columns.set_logs(lanes, tile.columns);
    map(
        lanes,
        place,
        tile,
        #[inline(always)]
        |column| columns.numbers.at(lanes, column),
        #[inline(always)]
        |&log, x| log_of(lanes, x, log),
    );
    columns.fill_unsound(place.output(), tile);
}
