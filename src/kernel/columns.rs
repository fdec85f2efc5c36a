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

use super::log_softmax::log_of;
use super::passes::{Quotient, V, load, pairwise, store};
use super::row::block;
use super::softmax::SumOf;
use super::tile::{Along, Columns, SUMS, Tile, even_width, for_each_tile};
use super::{Kernel, Place};
use crate::arch::memory::{Stack, as_output, assume_written};
use crate::element::{Element, Float, Sum, tree};
use crate::lanes::{Memory, WIDEST};
use crate::layout::Axis;
use crate::math::exp::{Splat, exp};
use core::mem::MaybeUninit;

/// Elements of the longest columns: a block of f32, two of f64.
const LONGEST: usize = 128;

/// Strips side by side that make a panel: a kilobyte of each row (of halves, half of one).
const PANEL: usize = 8;

/// Rows that the prefetchers of CPUs follow side by side, input and output each.
const FOLLOWED: usize = 20;

/// How many strips ahead the CPU is told of such rows.
const AHEAD: usize = 2;

/// Bytes of a tensor that an L2 cache holds.
const NEAR: usize = 1 << 20;

/// The exps of a strip: 128 vectors of 128 bytes.
type Room = Stack<16_384>;

/// Whether a tensor is one for [`ColumnsKernel`].
#[inline(always)]
pub fn suits<T: Element>(axis: Axis) -> bool {
    axis.len() <= LONGEST && axis.inner() >= T::Compute::LANES
}

/// What the CPU is told of while it computes a strip.
///
/// It cannot foresee more than a few rows that are a page each. While the strips of a panel are computed one after the
/// other, it is told of the next panel row by row: a kilobyte of one row and then of the next comes from memory in two
/// thirds of the time that the same lines take strip by strip.
#[derive(Clone, Copy)]
struct Ahead {
    /// The next vector, counted from the beginning of the tensor.
    at: usize,
    /// Vectors of its row from there on; 0 where each row has one.
    left: usize,
    /// Elements of a row of the panel.
    width: usize,
}

impl Ahead {
    /// `width` elements of each row from `at` on.
    #[inline(always)]
    fn panel<F: Float>(at: usize, width: usize) -> Self {
        let left = width / F::LANES;
        Self { at, left, width }
    }

    /// One vector of each row from `at` on.
    #[inline(always)]
    fn strip(at: usize) -> Self {
        Self { at, left: 0, width: 0 }
    }

    /// Tells the CPU of the next vector of the tensor at `place`.
    #[inline(always)]
    fn hint<T: Element, L: Memory<T>>(&mut self, lanes: L, place: *const T, tile: &Tile) {
        lanes.prefetch_later(place, self.at);
        if self.left == 0 {
            self.at += tile.inner;
            return;
        }
        self.at += T::Compute::LANES;
        self.left -= 1;
        if self.left == 0 {
            self.wrap::<T::Compute>(tile.inner);
        }
    }

    /// From the end of a row to the next.
    #[inline(always)]
    fn wrap<F: Float>(&mut self, inner: usize) {
        self.at = self.at + inner - self.width;
        self.left = self.width / F::LANES;
    }

    /// Leaves out as many vectors of a panel.
    #[inline(always)]
    fn skip<F: Float>(&mut self, mut vectors: usize, inner: usize) {
        while vectors >= self.left {
            vectors -= self.left;
            self.at += self.left * F::LANES;
            self.wrap::<F>(inner);
        }
        self.at += vectors * F::LANES;
        self.left -= vectors;
    }
}

/// What is known of the columns of a strip, a vector of columns.
struct Known<T: Element> {
    columns: Columns<T, WIDEST>,
    /// Running sums.
    sums: Sums<T>,
    /// Whether every exponent fitted its field.
    fits: bool,
}

impl<T: Element> Known<T> {
    #[inline(always)]
    fn none(fused: bool) -> Self {
        Self {
            columns: Columns::none(fused),
            sums: Sums::none(),
            fits: true,
        }
    }

    /// Whether the pass under the guessed shifts may be used. The sums of columns that the strip lacks become good ones.
    #[inline(always)]
    fn accept(&mut self, strip: &Tile) -> bool {
        for sum in &mut self.columns.sum[strip.columns..] {
            *sum = SumOf::<T>::of(T::Compute::from_i32(128));
        }
        self.fits && self.columns.in_range(T::Compute::LANES)
    }
}

/// The largest element of each column, unspecified if one is NaN.
#[inline(always)]
fn maxima<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, x: &[T], strip: &Tile) -> [T::Compute; WIDEST] {
    let least = -T::Compute::INFINITY;
    let mut maxima = [least; WIDEST];
    let mut m = lanes.splat(least);
    for i in 0..strip.len {
        m = lanes.max(m, load(lanes, strip.row(x, i), least));
    }
    Memory::<T::Compute>::store(lanes, as_output(&mut maxima), m);
    maxima
}

/// The sums of the columns of a strip.
#[repr(align(64))]
struct Sums<T: Element> {
    /// Those of the rows j, j + 16, ….
    parts: [[SumOf<T>; WIDEST]; SUMS],
    /// How many there are: the others are sums of nothing.
    count: usize,
}

impl<T: Element> Sums<T> {
    #[inline(always)]
    fn none() -> Self {
        Self {
            parts: [[SumOf::<T>::ZERO; WIDEST]; SUMS],
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
            let mut pairs = [lanes.splat(T::Compute::ZERO); P];
            for p in 0..P {
                let (even, odd) = (&e[(2 * p * SUMS + j) * n..], &e[((2 * p + 1) * SUMS + j) * n..]);
                pairs[p] = lanes.add(lanes.load(even), lanes.load(odd));
            }
            let sum = match P {
                0 => lanes.load(&e[j * n..]),
                _ => pairwise(
                    pairs,
                    #[inline(always)]
                    |a, b| lanes.add(a, b),
                ),
            };
            self.add(lanes, j, sum);
        }
        self.count = self.count.max(count);
    }

    #[inline(always)]
    fn add<L: Memory<T::Compute>>(&mut self, lanes: L, j: usize, v: L::V) {
        let mut sums = [T::Compute::ZERO; WIDEST];
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
    fn take(&mut self) -> [SumOf<T>; WIDEST] {
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
    fn total<const N: usize>(&mut self, count: usize) -> [SumOf<T>; WIDEST] {
        for part in &mut self.parts[count..N] {
            *part = [SumOf::<T>::ZERO; WIDEST];
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
/// [`Lanes::call`](crate::lanes::Lanes::call).
struct ExpSums<'a, T: Element, const OFFSET: bool> {
    x: &'a [T],
    e: &'a mut [MaybeUninit<T::Compute>],
    strip: &'a Tile,
    ahead: Ahead,
    known: &'a mut Known<T>,
}

impl<T: Element, const OFFSET: bool> Kernel<T> for ExpSums<'_, T, OFFSET> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            x,
            e,
            strip,
            mut ahead,
            known,
        } = self;
        let (core, n) = (T::Compute::core(L::FUSED), T::Compute::LANES);
        let splat = Splat::by_lane(known.columns.shifts.at(lanes, 0));
        let (mut seen, mut i) = (lanes.seen_none(), 0);
        if L::WIDE {
            while i + 1 < strip.len {
                let x = [
                    hinted(lanes, x, strip, i, &mut ahead),
                    hinted(lanes, x, strip, i + 1, &mut ahead),
                ];
                let ([a, b], [t, u]) = exp::<_, L, 2, OFFSET>(lanes, core, &splat, x);
                seen = lanes.seen(lanes.seen(seen, t), u);
                Memory::<T::Compute>::store(lanes, &mut e[i * n..], a);
                Memory::<T::Compute>::store(lanes, &mut e[(i + 1) * n..], b);
                i += 2;
            }
        }
        while i < strip.len {
            let ([a], [t]) = exp::<_, L, 1, OFFSET>(lanes, core, &splat, [hinted(lanes, x, strip, i, &mut ahead)]);
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
        known.columns.sum = known.sums.take();
        known.fits = lanes.seen_none_of(seen, core.forbidden);
    }
}

/// The elements of row `i`, −∞ in lanes that the strip lacks; the CPU is told of later ones.
#[inline(always)]
fn hinted<T: Element, L: Memory<T>>(lanes: L, x: &[T], strip: &Tile, i: usize, ahead: &mut Ahead) -> V<T, L> {
    ahead.hint(lanes, x.as_ptr(), strip);
    load(lanes, strip.row(x, i), -T::Compute::INFINITY)
}

/// The shifts, of which there is one for all columns if it is `shared`, and the sums; the exps go to `e`.
#[inline(always)]
fn find<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
    e: &mut [MaybeUninit<T::Compute>],
    (strip, ahead): (&Tile, Ahead),
    known: &mut Known<T>,
    shared: bool,
) {
    if shared {
        known.columns.guess_shared(strip.nearest(x), L::FUSED);
    } else {
        known.columns.guess(x, strip, L::FUSED);
    }
    lanes.call(ExpSums::<T, false> {
        x,
        e: &mut *e,
        strip,
        ahead,
        known: &mut *known,
    });
    if !known.accept(strip) {
        if shared {
            known.columns.shift = [known.columns.shift[0]; WIDEST];
        }
        let maxima = maxima(lanes, x, strip);
        known.columns.correct(lanes, &maxima, known.fits, strip);
        lanes.call(ExpSums::<T, true> {
            x,
            e,
            strip,
            ahead,
            known: &mut *known,
        });
        known.columns.judge(strip);
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
        let mut scratch = Room::new();
        // Quotients are the same under any accepted shift where multiply-add is fused; the bits of a logarithm depend on it.
        let shared = L::FUSED && matches!(along, Along::Softmax);
        // The next panel has about as many vectors as the one that is computed.
        let width = even_width::<T>(inner, PANEL);
        let by_panel = len >= FOLLOWED && size_of_val(place.input()) > NEAR;
        for_each_tile(
            axis,
            width,
            #[inline(always)]
            |panel| {
                let mut next = Ahead::panel::<T::Compute>(panel.start + panel.to_next, width);
                for column in (0..panel.columns).step_by(n) {
                    let strip = &panel.part(column, n);
                    let ahead = if by_panel {
                        next
                    } else {
                        Ahead::strip(strip.start + AHEAD * n)
                    };
                    let e = scratch.as_elements();
                    find(lanes, place.input(), &mut *e, (strip, ahead), &mut known, shared);
                    match along {
                        Along::Softmax => quotients(lanes, e, place.output(), (strip, ahead), &mut known.columns),
                        Along::LogSoftmax => logarithms(lanes, place, (strip, ahead), &mut known.columns),
                        Along::LogSumExp => known.columns.logsumexp(lanes, place, strip),
                    }
                    if by_panel {
                        next.skip::<T::Compute>(len, inner);
                    }
                }
            },
        );
    }
}

/// y = e/S.
#[inline(always)]
fn quotients<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    e: &mut [MaybeUninit<T::Compute>],
    y: &mut [MaybeUninit<T>],
    (strip, mut ahead): (&Tile, Ahead),
    columns: &mut Columns<T, WIDEST>,
) {
    let n = T::Compute::LANES;
    columns.set_divisors(lanes, n);
    let quotient = Quotient::by_lane(lanes, columns.numbers.at(lanes, 0));
    #[allow(unsafe_code)]
    // SAFETY: the pass before stored a vector for each row.
    let e = unsafe { assume_written(&mut e[..strip.len * n]) };
    for i in 0..strip.len {
        ahead.hint::<T, L>(lanes, y.as_ptr().cast(), strip);
        let e = Memory::<T::Compute>::load(lanes, &e[i * n..]);
        store(lanes, strip.row_mut(y, i), quotient.of(lanes, e));
    }
    columns.fill_unsound(y, strip);
}

/// y = x − ln Σ e^x.
#[inline(always)]
fn logarithms<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    place: &mut Place<'_, T>,
    (strip, mut ahead): (&Tile, Ahead),
    columns: &mut Columns<T, WIDEST>,
) {
    columns.set_logs(lanes, strip.columns);
    let logs = columns.numbers.at(lanes, 0);
    for i in 0..strip.len {
        let x = load(lanes, strip.row(place.input(), i), T::Compute::ZERO);
        let y = place.output();
        ahead.hint::<T, L>(lanes, y.as_ptr().cast(), strip);
        store(lanes, strip.row_mut(y, i), log_of(lanes, x, logs));
    }
    columns.fill_unsound(place.output(), strip);
}
