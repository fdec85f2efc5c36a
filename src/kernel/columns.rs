//! Rows that run along a short axis of a wide tensor: as many side by side as a vector has lanes, one row to a lane.
//!
//! The exps of a strip of columns stand in stack scratch, so that quotients are written without a second look at the
//! elements. Row 16q + j of a block goes to sum j, and the rows of one j are added pairwise:
//!
//! ```text
//! sums[j][k] += ((e[j][k] + e[16+j][k]) + (e[32+j][k] + e[48+j][k])) + (…)
//! ```
//!
//! which is the order of [`passes`](super::passes), so the bits are those of a contiguous row.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop)]

use super::axis::Along;
use super::log_softmax::{joined, log, log_of, special_of};
use super::passes::{Quotient, V, load, store};
use super::row::block;
use super::softmax::{SumOf, guess_at, largest_of, shift_at};
use super::{Kernel, Place};
use crate::arch::memory::{Stack, as_output, assume_written};
use crate::element::{Element, Float, Sum, tree};
use crate::lanes::{Lanes, Memory};
use crate::layout::Axis;
use crate::math::exp::{Shift, Splat, exp};
use core::mem::MaybeUninit;

/// Running sums of a row.
const SUMS: usize = 16;

/// Lanes of the widest virtual vector.
const LANES: usize = 32;

/// Elements of the longest columns: a block of f32, two of f64.
const LONGEST: usize = 128;

/// How many strips ahead the CPU is told of what it cannot foresee: every row may be a page of its own.
const AHEAD: usize = 2;

/// The exps of a strip: 128 vectors of 128 bytes.
type Exps = Stack<16_384>;

/// Whether a tensor is one for [`ColumnsKernel`].
#[inline(always)]
pub fn suits<T: Element>(axis: Axis) -> bool {
    axis.len() <= LONGEST && axis.inner() >= T::Compute::LANES
}

/// A vector of columns.
#[derive(Clone, Copy)]
struct Strip {
    /// The first element.
    start: usize,
    /// As many as a vector has lanes, or those that the tensor has left.
    columns: usize,
    /// Elements of a column.
    len: usize,
    /// From one element of a column to the next.
    pitch: usize,
}

impl Strip {
    /// The elements of row `i`.
    #[inline(always)]
    fn row<'a, T>(&self, x: &'a [T], i: usize) -> &'a [T] {
        &x[self.start + i * self.pitch..][..self.columns]
    }

    #[inline(always)]
    fn row_mut<'a, T>(&self, y: &'a mut [T], i: usize) -> &'a mut [T] {
        &mut y[self.start + i * self.pitch..][..self.columns]
    }

    /// Those of column `k`.
    #[inline(always)]
    fn column<T: Copy>(&self, x: &[T], k: usize) -> impl Iterator<Item = T> {
        x[self.start + k..].iter().step_by(self.pitch).take(self.len).copied()
    }
}

/// A number of each column.
type Numbers<F> = [F; LANES];

/// What is known of the columns of a strip.
struct Known<T: Element> {
    shift: [Shift<T::Compute>; LANES],
    /// Base, low and offset of the shifts.
    shifts: [Numbers<T::Compute>; 3],
    /// What the results need of each column.
    numbers: [Numbers<T::Compute>; 3],
    sum: [SumOf<T>; LANES],
    /// Running sums.
    sums: Sums<T>,
    /// Whether every exponent fitted its field.
    fits: bool,
    /// Whether no column has NaN or +∞, or nothing but −∞.
    all_sound: bool,
    /// If one has, which have not.
    sound: [bool; LANES],
}

impl<T: Element> Known<T> {
    #[inline(always)]
    fn none(fused: bool) -> Self {
        Self {
            shift: [guess_at(T::Compute::ZERO, fused).1; LANES],
            shifts: [[T::Compute::ZERO; LANES]; 3],
            numbers: [[T::Compute::ZERO; LANES]; 3],
            sum: [SumOf::<T>::ZERO; LANES],
            sums: Sums::none(),
            fits: true,
            sound: [true; LANES],
            all_sound: true,
        }
    }

    /// What [`Splat::by_lane`] takes.
    #[inline(always)]
    fn set_shifts(&mut self) {
        let shift = &self.shift;
        set_three(
            &mut self.shifts,
            #[inline(always)]
            |k| [shift[k].base, shift[k].low, shift[k].offset],
        );
    }

    /// What the columns are divided by.
    #[inline(always)]
    fn set_divisors<L: Lanes<T::Compute>>(&mut self, lanes: L) {
        for k in (0..T::Compute::LANES).step_by(8) {
            let mut eight = [SumOf::<T>::ZERO; 8];
            eight.copy_from_slice(&self.sum[k..][..8]);
            let divisors = lanes.divisors(eight);
            for i in 0..3 {
                self.numbers[i][k..][..8].copy_from_slice(&divisors[i]);
            }
        }
    }

    /// ln Σ e^x of the columns as offset, high and low.
    #[inline(always)]
    fn set_logs(&mut self) {
        let (shift, sum) = (&self.shift, &self.sum);
        set_three(
            &mut self.numbers,
            #[inline(always)]
            |k| log(&shift[k], sum[k]),
        );
    }

    /// Guesses the shifts, or one that serves them all: that stands first, and not in the places of the others.
    #[inline(always)]
    fn guess(&mut self, x: &[T], strip: &Strip, fused: bool, shared: bool) {
        for k in 0..if shared { 1 } else { strip.columns } {
            let near = largest_of(
                strip.len,
                #[inline(always)]
                |i| strip.row(x, i)[k].widen(),
            );
            self.shift[k] = guess_at(near, fused).1;
        }
        if shared {
            let Shift { base, low, offset, .. } = self.shift[0];
            self.shifts = [[base; LANES], [low; LANES], [offset; LANES]];
        } else {
            self.set_shifts();
        }
    }

    /// Whether the pass under the guessed shifts may be used. The sums of columns that the strip lacks become good ones.
    #[inline(always)]
    fn accept(&mut self, strip: &Strip) -> bool {
        for sum in &mut self.sum[strip.columns..] {
            *sum = SumOf::<T>::of(T::Compute::from_i32(128));
        }
        let mut accepted = self.fits;
        for k in 0..T::Compute::LANES {
            accepted &= self.sum[k].in_range();
        }
        accepted
    }

    /// Replaces the shifts under which the pass failed by those of the maxima.
    #[inline(always)]
    fn correct<L: Memory<T> + Memory<T::Compute>>(&mut self, lanes: L, x: &[T], strip: &Strip, shared: bool) {
        if shared {
            self.shift = [self.shift[0]; LANES];
        }
        self.sound = [true; LANES];
        let mut maxima: Numbers<T::Compute> = [T::Compute::ZERO; LANES];
        let mut m = lanes.splat(-T::Compute::INFINITY);
        for i in 0..strip.len {
            m = lanes.max(m, load(lanes, strip.row(x, i), -T::Compute::INFINITY));
        }
        Memory::<T::Compute>::store(lanes, as_output(&mut maxima), m);
        for k in 0..strip.columns {
            if !(self.sum[k].in_range() && (self.fits || self.shift[k].fits(lanes, maxima[k]))) {
                match shift_at(maxima[k], L::FUSED) {
                    Some(shift) => self.shift[k] = shift,
                    None => self.sound[k] = false,
                }
            }
        }
        self.set_shifts();
    }

    /// Looks at the sums under the corrected shifts: a column that is not sound gets sum 1.
    #[inline(always)]
    fn judge(&mut self, strip: &Strip) {
        for k in 0..strip.columns {
            self.sound[k] &= !self.sum[k].is_nan();
            if !self.sound[k] {
                self.sum[k] = SumOf::<T>::of(T::Compute::from_i32(1));
                self.all_sound = false;
            }
        }
    }

    /// Writes NaN to the columns that are not sound.
    #[inline(always)]
    fn fill_unsound(&self, y: &mut [MaybeUninit<T>], strip: &Strip) {
        if self.all_sound {
            return;
        }
        for i in 0..strip.len {
            let y = strip.row_mut(y, i);
            for k in 0..strip.columns {
                if !self.sound[k] {
                    y[k].write(T::NAN);
                }
            }
        }
    }
}

/// Sets three numbers of each column.
#[inline(always)]
fn set_three<F: Float>(all: &mut [Numbers<F>; 3], numbers: impl Fn(usize) -> [F; 3]) {
    for k in 0..F::LANES {
        let three = numbers(k);
        for i in 0..3 {
            all[i][k] = three[i];
        }
    }
}

#[inline(always)]
fn load_three<F: Float, L: Memory<F>>(lanes: L, [a, b, c]: &[Numbers<F>; 3]) -> [L::V; 3] {
    [lanes.load(a), lanes.load(b), lanes.load(c)]
}

/// The sums of the columns of a strip.
struct Sums<T: Element> {
    /// Those of the rows j, j + 16, ….
    parts: [[SumOf<T>; LANES]; SUMS],
    /// How many there are: the others are sums of nothing.
    count: usize,
}

impl<T: Element> Sums<T> {
    #[inline(always)]
    fn none() -> Self {
        Self {
            parts: [[SumOf::<T>::ZERO; LANES]; SUMS],
            count: 0,
        }
    }

    /// Adds a block of `rows` rows or less of one; behind more than [`SUMS`] of them, `e` is filled up with 0.
    #[inline(always)]
    fn add_block<L: Memory<T::Compute>>(&mut self, lanes: L, e: &[T::Compute], rows: usize) {
        match e.len().div_ceil(2 * SUMS * T::Compute::LANES) {
            _ if rows <= SUMS => self.add_rows::<L, 0>(lanes, e, rows),
            1 => self.add_rows::<L, 1>(lanes, e, SUMS),
            2 => self.add_rows::<L, 2>(lanes, e, SUMS),
            3 => self.add_rows::<L, 3>(lanes, e, SUMS),
            _ => self.add_rows::<L, 4>(lanes, e, SUMS),
        }
    }

    /// Adds `count` rows, or `P` pairs of sixteens of them.
    #[inline(always)]
    fn add_rows<L: Memory<T::Compute>, const P: usize>(&mut self, lanes: L, e: &[T::Compute], count: usize) {
        let n = T::Compute::LANES;
        for j in 0..count {
            let mut pairs = [lanes.splat(T::Compute::ZERO); 4];
            for p in 0..P {
                let (even, odd) = (&e[(2 * p * SUMS + j) * n..], &e[((2 * p + 1) * SUMS + j) * n..]);
                pairs[p] = lanes.add(lanes.load(even), lanes.load(odd));
            }
            let [a, b, c, d] = pairs;
            let sum = match P {
                0 => lanes.load(&e[j * n..]),
                1 => a,
                2 => lanes.add(a, b),
                3 => lanes.add(lanes.add(a, b), c),
                _ => lanes.add(lanes.add(a, b), lanes.add(c, d)),
            };
            self.add(lanes, j, sum);
        }
        self.count = self.count.max(count);
    }

    #[inline(always)]
    fn add<L: Memory<T::Compute>>(&mut self, lanes: L, j: usize, v: L::V) {
        let mut sums: Numbers<T::Compute> = [T::Compute::ZERO; LANES];
        lanes.store(as_output(&mut sums), v);
        let part = &mut self.parts[j];
        if j < self.count {
            for k in 0..T::Compute::LANES {
                part[k] = part[k].accumulate(sums[k]);
            }
        } else {
            for k in 0..T::Compute::LANES {
                part[k] = SumOf::<T>::of(sums[k]);
            }
        }
    }

    /// The sum of the sixteen, `j + (j + 8)`, then 4, 2, 1; nothing is left.
    #[inline(always)]
    fn take(&mut self) -> [SumOf<T>; LANES] {
        let count = self.count;
        self.count = 0;
        match count {
            0..=1 => self.parts[0],
            2 => self.total::<2>(2),
            3..=4 => self.total::<4>(count),
            5..=8 => self.total::<8>(count),
            _ => self.total::<SUMS>(count),
        }
    }

    /// The same, where sums from the `N`-th on are 0 and so are those from `count` on.
    #[inline(always)]
    fn total<const N: usize>(&mut self, count: usize) -> [SumOf<T>; LANES] {
        for part in &mut self.parts[count..N] {
            *part = [SumOf::<T>::ZERO; LANES];
        }
        let mut totals = self.parts[0];
        for (k, total) in totals.iter_mut().enumerate().take(T::Compute::LANES) {
            let mut s = [SumOf::<T>::ZERO; N];
            for j in 0..N {
                s[j] = self.parts[j][k];
            }
            *total = tree(s);
        }
        totals
    }
}

/// Stores the exps of a strip in `e`, vector after vector, and finds the sums of its columns: a function of its own, see
/// [`Lanes::call`].
struct ExpSums<'a, T: Element, const OFFSET: bool> {
    x: &'a [T],
    e: &'a mut [MaybeUninit<T::Compute>],
    strip: &'a Strip,
    known: &'a mut Known<T>,
}

impl<T: Element, const OFFSET: bool> Kernel<T> for ExpSums<'_, T, OFFSET> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { x, e, strip, known } = self;
        let (core, n) = (T::Compute::core(L::FUSED), T::Compute::LANES);
        let splat = Splat::by_lane(load_three(lanes, &known.shifts));
        let (mut seen, mut i) = (lanes.seen_none(), 0);
        if L::WIDE {
            while i + 1 < strip.len {
                let x = [hinted(lanes, x, strip, i), hinted(lanes, x, strip, i + 1)];
                let ([a, b], [t, u]) = exp::<_, L, 2, OFFSET>(lanes, core, &splat, x);
                seen = lanes.seen(lanes.seen(seen, t), u);
                Memory::<T::Compute>::store(lanes, &mut e[i * n..], a);
                Memory::<T::Compute>::store(lanes, &mut e[(i + 1) * n..], b);
                i += 2;
            }
        }
        while i < strip.len {
            let ([a], [t]) = exp::<_, L, 1, OFFSET>(lanes, core, &splat, [hinted(lanes, x, strip, i)]);
            seen = lanes.seen(seen, t);
            Memory::<T::Compute>::store(lanes, &mut e[i * n..], a);
            i += 1;
        }
        let mut padded = strip.len;
        if padded % block::<T>() > SUMS {
            padded = padded.next_multiple_of(2 * SUMS);
        }
        let e = &mut e[..padded * n];
        for absent in &mut e[strip.len * n..] {
            absent.write(T::Compute::ZERO);
        }
        #[allow(unsafe_code)]
        // SAFETY: a vector was stored for each row, and 0 behind them.
        let e = unsafe { assume_written(e) };
        let mut row = 0;
        while row < strip.len {
            let end = padded.min(row + block::<T>());
            known
                .sums
                .add_block(lanes, &e[row * n..end * n], strip.len.min(end) - row);
            row = end;
        }
        known.sum = known.sums.take();
        known.fits = lanes.seen_none_of(seen, core.forbidden);
    }
}

/// The elements of row `i`, −∞ in lanes that the strip lacks; the CPU is told of later ones.
#[inline(always)]
fn hinted<T: Element, L: Memory<T>>(lanes: L, x: &[T], strip: &Strip, i: usize) -> V<T, L> {
    let x = strip.row(x, i);
    lanes.prefetch_later(x.as_ptr(), AHEAD * T::Compute::LANES);
    load(lanes, x, -T::Compute::INFINITY)
}

/// The shifts, of which there is one for all columns if it is `shared`, and the sums; the exps go to `e`.
#[inline(always)]
fn find<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
    e: &mut [MaybeUninit<T::Compute>],
    strip: &Strip,
    known: &mut Known<T>,
    shared: bool,
) {
    known.guess(x, strip, L::FUSED, shared);
    known.all_sound = true;
    lanes.call(ExpSums::<T, false> {
        x,
        e: &mut *e,
        strip,
        known: &mut *known,
    });
    if !known.accept(strip) {
        known.correct(lanes, x, strip, shared);
        lanes.call(ExpSums::<T, true> {
            x,
            e,
            strip,
            known: &mut *known,
        });
        known.judge(strip);
    }
}

/// `along` of each row of a tensor that [`suits`].
pub struct ColumnsKernel<'a, T> {
    pub along: Along,
    pub place: Place<'a, T>,
    pub axis: Axis,
}

impl<T: Element> Kernel<T> for ColumnsKernel<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { along, mut place, axis } = self;
        let place = &mut place;
        let (n, len, inner) = (T::Compute::LANES, axis.len(), axis.inner());
        let mut known = Known::none(L::FUSED);
        let mut scratch = Exps::new();
        // Quotients are the same under any accepted shift where multiply-add is fused; the bits of a logarithm depend on it.
        let shared = L::FUSED && matches!(along, Along::Softmax);
        for outer in 0..axis.outer() {
            for column in (0..inner).step_by(n) {
                let strip = Strip {
                    start: outer * len * inner + column,
                    columns: n.min(inner - column),
                    len,
                    pitch: inner,
                };
                let e = scratch.as_elements();
                find(lanes, place.input(), &mut *e, &strip, &mut known, shared);
                match along {
                    Along::Softmax => quotients(lanes, e, place.output(), &strip, &mut known),
                    Along::LogSoftmax => logarithms(lanes, place, &strip, &mut known),
                    Along::LogSumExp => logsumexp(place, outer * inner + column, &strip, &known),
                }
            }
        }
    }
}

/// y = e/S.
#[inline(always)]
fn quotients<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    e: &mut [MaybeUninit<T::Compute>],
    y: &mut [MaybeUninit<T>],
    strip: &Strip,
    known: &mut Known<T>,
) {
    let n = T::Compute::LANES;
    known.set_divisors(lanes);
    let quotient = Quotient::by_lane(lanes, load_three(lanes, &known.numbers));
    #[allow(unsafe_code)]
    // SAFETY: the pass before stored a vector for each row.
    let e = unsafe { assume_written(&mut e[..strip.len * n]) };
    for i in 0..strip.len {
        let y = strip.row_mut(y, i);
        Memory::<T>::prefetch_later(lanes, y.as_ptr().cast(), AHEAD * n);
        store(
            lanes,
            y,
            quotient.of(lanes, Memory::<T::Compute>::load(lanes, &e[i * n..])),
        );
    }
    known.fill_unsound(y, strip);
}

/// y = x − ln Σ e^x.
#[inline(always)]
fn logarithms<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    place: &mut Place<'_, T>,
    strip: &Strip,
    known: &mut Known<T>,
) {
    let n = T::Compute::LANES;
    known.set_logs();
    let logs = load_three(lanes, &known.numbers);
    for i in 0..strip.len {
        let x = load(lanes, strip.row(place.input(), i), T::Compute::ZERO);
        let y = strip.row_mut(place.output(), i);
        Memory::<T>::prefetch_later(lanes, y.as_ptr().cast(), AHEAD * n);
        store(lanes, y, log_of(lanes, x, logs));
    }
    known.fill_unsound(place.output(), strip);
}

/// ln Σ e^x of the columns, side by side from `first` on.
#[inline(always)]
fn logsumexp<T: Element>(place: &mut Place<'_, T>, first: usize, strip: &Strip, known: &Known<T>) {
    let Place::Apart(x, out) = place else { return };
    for (k, out) in out[first..][..strip.columns].iter_mut().enumerate() {
        out.write(if known.all_sound || known.sound[k] {
            joined(log::<T::Compute>(&known.shift[k], known.sum[k]))
        } else {
            special_of(strip.column(x, k))
        });
    }
}
