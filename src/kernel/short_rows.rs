//! Rows of at most [`longest`] elements, [`BATCH`] at a time.
//!
//! The exps of a batch stay in stack scratch in whole vectors, so that no partial store is ever reloaded, and the
//! sums, divisions and thresholds of its rows are computed side by side. Rows of up to 16 (8) elements share a vector,
//! two (four) to each. The bits are those of the row path: the same exp, the same order of additions.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use super::passes::{Quotient, V, exp_sum, store, terms};
use super::row::{Pair, block};
use super::softmax::{SumOf, fill, guess, guess_at, largest_looked_at, shift_of_max};
use super::{Buffers, Kernel, Place};
use crate::arch::memory::{Scratch, assume_written};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory};
use crate::layout::Layout;
use crate::math::exp::{Core, Splat, exp};
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

type Acc<T, L> = <L as Lanes<<T as Element>::Compute>>::Acc;

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
        let next = if rows < FEWEST {
            start
        } else if cols <= width / 4 {
            packed::<T, L, 4>(lanes, &mut buffers, start, rows)
        } else if cols <= width / 2 {
            packed::<T, L, 2>(lanes, &mut buffers, start, rows)
        } else {
            start
        };
        let count = (rows - next).min(BATCH);
        if count > 0 {
            batch(lanes, &mut buffers, next, count);
        }
        start = next + count;
    }
}

/// Softmax of the short rows, at most a batch of them, that follow one another from `start` on; how many.
#[inline(always)]
pub fn ragged<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    start: usize,
) -> usize {
    let most = (buffers.rows.rows() - start).min(BATCH);
    let mut count = 0;
    while count < most && buffers.rows.len(start + count) <= longest::<T>() {
        count += 1;
    }
    if count > 0 {
        batch(lanes, buffers, start, count);
    }
    count
}

/// One row of at most a block, and whether its guess was accepted; nothing is written otherwise. A function of its own,
/// whose frame is small: a call on so short a row is mostly overhead and waiting.
struct Single<'b, T> {
    place: Place<'b, T>,
    accepted: &'b mut bool,
}

impl<T: Element> Kernel<T> for Single<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let mut cells = self.place.cells();
        let x = cells.input();
        let mut e = [MaybeUninit::uninit(); 128];
        // Not the guess from the row itself, which takes as long as the exps: any accepted shift gives the same bits.
        let shift = guess::<T>(&[], L::FUSED);
        let mut pass = Pass::new(lanes, shift.splat(lanes));
        let sum = lanes.acc_sum(lanes.acc_add(lanes.acc_zero(), pass.part(x, &mut e)));
        *self.accepted = pass.fits() && sum.in_range();
        if *self.accepted {
            let e = &mut e[..x.len().next_multiple_of(T::Compute::LANES)];
            #[allow(unsafe_code)]
            // SAFETY: `exp_row` stored every vector of the row.
            let e = unsafe { assume_written(e) };
            divide(lanes, e, cells.output(), &Quotient::new(lanes, sum));
        }
    }
}

/// Rows `start..start + count`, each in vectors of its own.
#[inline(always)]
fn batch<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    start: usize,
    count: usize,
) {
    let mut done = 0;
    while count < FEWEST && done < count && buffers.rows.len(start + done) <= block::<T>() {
        let (place, mut accepted) = (buffers.row(start + done), false);
        lanes.call(Single {
            place,
            accepted: &mut accepted,
        });
        if !accepted {
            break;
        }
        done += 1;
    }
    if done < count {
        let (start, count) = (start + done, count - done);
        lanes.call(Batch { buffers, start, count });
    }
}

/// [`batch`], a function of its own.
struct Batch<'b, 'a, T> {
    buffers: &'b mut Buffers<'a, T>,
    start: usize,
    count: usize,
}

impl<T: Element> Kernel<T> for Batch<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, start, count } = self;
        let width = T::Compute::LANES;
        let mut places = Places::new(&buffers.rows, start, count);
        if let Place::InPlace(_) = buffers.place {
            places.y = places.x;
        }
        let pitch = places.longest().next_multiple_of(width);
        let mut scratch = Scratch::new();
        let scratch = scratch.as_elements::<T::Compute>();

        let x = buffers.place.input();
        let mut near = [T::Compute::ZERO; ROOM];
        for i in 0..count {
            near[i] = largest_looked_at(places.input(x, i));
        }
        let shifts = Shifts::new(&near, L::FUSED);
        let mut fits = [true; ROOM];
        let mut sums = [SumOf::<T>::ZERO; ROOM];
        let mut first = 0;
        while first < count {
            let mut accs = [lanes.acc_zero(); 8];
            for i in first..count.min(first + 8) {
                let e = &mut scratch[i * pitch..][..pitch];
                (accs[i - first], fits[i]) = exp_row(lanes, places.input(x, i), shifts.of_row(lanes, i), e);
            }
            sums[first..first + 8].copy_from_slice(&lanes.acc_sums(&accs));
            first += 8;
        }
        let mut accepted = true;
        for i in 0..count {
            accepted &= fits[i] & sums[i].in_range();
        }
        if !accepted {
            for i in 0..count {
                if !(fits[i] && sums[i].in_range()) {
                    sums[i] = redo(lanes, places.input(x, i), &mut scratch[i * pitch..][..pitch]);
                }
            }
        }

        let quotients = Quotients::new::<L>(&sums);
        let y = buffers.place.output();
        for i in 0..count {
            let y = places.output(y, i);
            if !accepted && sums[i].is_nan() {
                fill(y, T::NAN);
                continue;
            }
            let e = &mut scratch[i * pitch..][..y.len().next_multiple_of(width)];
            #[allow(unsafe_code)]
            // SAFETY: `exp_row` stored every vector of the row.
            let e = unsafe { assume_written(e) };
            divide(lanes, e, y, &quotients.of_row(lanes, i));
        }
    }
}

/// Where the rows of a batch lie.
struct Places {
    x: [usize; ROOM],
    y: [usize; ROOM],
    len: [usize; ROOM],
}

impl Places {
    #[inline(always)]
    fn new(rows: &Layout<'_>, start: usize, count: usize) -> Self {
        let (mut x, mut y, mut len) = ([0; ROOM], [0; ROOM], [0; ROOM]);
        for i in 0..count {
            (x[i], y[i]) = rows.starts(start + i);
            len[i] = rows.len(start + i);
        }
        Self { x, y, len }
    }

    #[inline(always)]
    fn longest(&self) -> usize {
        let mut longest = 0;
        for len in self.len {
            longest = longest.max(len);
        }
        longest
    }

    #[inline(always)]
    fn input<'a, T>(&self, x: &'a [T], i: usize) -> &'a [T] {
        &x[self.x[i]..][..self.len[i]]
    }

    #[inline(always)]
    fn output<'a, T>(&self, y: &'a mut [MaybeUninit<T>], i: usize) -> &'a mut [MaybeUninit<T>] {
        &mut y[self.y[i]..][..self.len[i]]
    }
}

/// The guessed shifts of a batch, each kind of number side by side.
struct Shifts<F> {
    base: [F; ROOM],
    low: [F; ROOM],
}

impl<F: Float> Shifts<F> {
    #[inline(always)]
    fn new(near: &[F; ROOM], fused: bool) -> Self {
        let (mut base, mut low) = ([F::ZERO; ROOM], [F::ZERO; ROOM]);
        for i in 0..ROOM {
            let shift = guess_at(near[i], fused).1;
            (base[i], low[i]) = (shift.base, shift.low);
        }
        Self { base, low }
    }

    #[inline(always)]
    fn of_row<L: Lanes<F>>(&self, lanes: L, i: usize) -> Splat<L::V> {
        Splat::by_lane([
            lanes.splat(self.base[i]),
            lanes.splat(self.low[i]),
            lanes.splat(F::ZERO),
        ])
    }
}

/// y = e/S of one row.
#[inline(always)]
fn divide<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    e: &[T::Compute],
    y: &mut [MaybeUninit<T>],
    quotient: &Quotient<V<T, L>>,
) {
    let width = T::Compute::LANES;
    let mut at = 0;
    while at < y.len() {
        let v = quotient.of(lanes, Memory::<T::Compute>::load(lanes, &e[at..]));
        let y = &mut y[at..];
        lanes.prefetch_output(y);
        store(lanes, y, v);
        at += width;
    }
}

/// What rows are divided by, each kind of number side by side.
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

/// The exps of one row, whole vectors of them with 0 behind the last, their sums, and whether every exponent fitted.
#[inline(always)]
fn exp_row<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
    splat: Splat<V<T, L>>,
    e: &mut [MaybeUninit<T::Compute>],
) -> (Acc<T, L>, bool) {
    let mut pass = Pass::new(lanes, splat);
    let mut acc = lanes.acc_zero();
    let (mut x, mut e) = (x, e);
    while x.len() > block::<T>() {
        let (first, rest) = x.split_at(block::<T>());
        let (first_e, rest_e) = e.split_at_mut(block::<T>());
        acc = lanes.acc_add(acc, pass.vectors::<T, 4>(first, first_e));
        (x, e) = (rest, rest_e);
    }
    acc = lanes.acc_add(acc, pass.part(x, e));
    (acc, pass.fits())
}

/// The exp pass over a row.
struct Pass<F: Float, L: Lanes<F>> {
    lanes: L,
    core: &'static Core<F>,
    splat: Splat<L::V>,
    seen: L::Seen,
}

impl<F: Float, L: Lanes<F>> Pass<F, L> {
    #[inline(always)]
    fn new(lanes: L, splat: Splat<L::V>) -> Self {
        Self {
            lanes,
            core: F::core(L::FUSED),
            splat,
            seen: lanes.seen_none(),
        }
    }

    /// Whether every exponent fitted its field.
    #[inline(always)]
    fn fits(&self) -> bool {
        self.lanes.seen_none_of(self.seen, self.core.forbidden)
    }

    /// The sums of a block, or of less.
    #[inline(always)]
    fn part<T>(&mut self, x: &[T], e: &mut [MaybeUninit<F>]) -> <L as Lanes<F>>::Half
    where
        T: Element<Compute = F>,
        L: Memory<T> + Memory<F>,
    {
        match x.len().div_ceil(F::LANES) {
            0 => self.lanes.fold(self.lanes.splat(F::ZERO)),
            1 => self.vectors::<T, 1>(x, e),
            2 => self.vectors::<T, 2>(x, e),
            3 => self.vectors::<T, 3>(x, e),
            _ => self.vectors::<T, 4>(x, e),
        }
    }

    /// The sums of `N` vectors, the last of which may lack lanes: those of a block whose other vectors are 0.
    #[inline(always)]
    fn vectors<T, const N: usize>(&mut self, x: &[T], e: &mut [MaybeUninit<F>]) -> <L as Lanes<F>>::Half
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
            let v = self.exp(Memory::<T>::load(lanes, &whole[j * F::LANES..]));
            Memory::<F>::store(lanes, &mut e[j * F::LANES..], v);
            halves[j] = lanes.fold(v);
        }
        let present = last.len();
        let v = if present == F::LANES {
            self.exp(Memory::<T>::load(lanes, last))
        } else {
            let v = self.exp(Memory::<T>::load_or(lanes, last, -F::INFINITY));
            lanes.keep_first(v, present)
        };
        Memory::<F>::store(lanes, &mut e[(N - 1) * F::LANES..], v);
        halves[N - 1] = lanes.fold(v);
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

    #[inline(always)]
    fn exp(&mut self, x: L::V) -> L::V {
        let ([e], [t]) = exp::<_, L, 1, false>(self.lanes, self.core, &self.splat, [x]);
        self.seen = self.lanes.seen(self.seen, t);
        e
    }
}

/// The three-pass form of one row whose guess failed: its sum, NaN where it has none.
#[inline(always)]
fn redo<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
    e: &mut [MaybeUninit<T::Compute>],
) -> SumOf<T> {
    let Some(shift) = shift_of_max(lanes, x) else {
        return SumOf::<T>::of(T::Compute::NAN);
    };
    exp_sum::<T, T::Compute, L, true, true>(lanes, Pair(x, &mut e[..x.len()]), &shift).sum
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
    while start < end {
        let mut seen = lanes.seen_none();
        let mut e = [lanes.splat(T::Compute::ZERO); 4];
        for i in 0..ROUND / P {
            let mut group: [&[T]; P] = [&[]; P];
            for g in 0..P {
                group[g] = buffers.input((start + i * P + g).min(end - 1));
            }
            let x = Memory::<T>::load_groups(lanes, group, -T::Compute::INFINITY);
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
            for g in 0..P {
                let r = start + i * P + g;
                if r < end {
                    Memory::<T>::store_group::<P>(lanes, buffers.output(r), y, g);
                }
            }
        }
        start += ROUND;
    }
    end
}
