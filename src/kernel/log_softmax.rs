//! log_softmax(x)_i = x_i − ln Σ_j e^{x_j}, and that logarithm itself.
//!
//! ln Σ = offset + (N·ln 2 + ln S), the parenthesis in two terms: x − offset is exact where it matters (math/exp.rs), and
//! `((x − offset) − high) − low` rounds twice at the size of the result.
//!
//! # The error bound
//! In ULP of max(1, |result|), one of which is at least 2u; u = 2^−24, f64: 2^−53.
//!
//! | source | f32 | `Portable` | f64 | `Portable` |
//! |---|---|---|---|---|
//! | S: e^x of a term | 1.93u | 2.1u | 1.83u | 1.8u |
//! | S: additions in a block | 3u | 3u | 2u | 2u |
//! | S = 2^k·s, ln s < 0.7 within 1 ULP, two sums (f32: all of it in f64) | | | 2u | 2u |
//! | these, in ULP | 2.47 | 2.55 | 2.92 | 2.9 |
//! | two roundings, half an ULP of what is rounded | 1 | 1 | 1 | 1 |
//!
//! (1.8u: reduction 0.25, since its first product is exact, polynomial and its steps 1.5.) At most 3.92 of the 4 stated,
//! where no rounding carries over a power of two. Where x − offset is rounded, too, |result| is at least 8192 (f32 on
//! `Portable`: 128), beside which the error of S counts for nothing. logsumexp rounds high, and high + offset where there
//! is an offset: no more.

use super::argmax::is_nan;
use super::passes::{V, map};
use super::row::{Before, Finish, block, last_first, whole};
use super::short_rows::{LogSums, SingleLog, WaitingLogs};
use super::softmax::{OVERLAPPED, fill, is_followed, sum, sum_beside};
use super::{Buffers, Kernel, Place};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory};
use crate::layout::Layout;
use crate::math::exp::Shift;
use core::mem::MaybeUninit;

/// ln Σ e^x as offset, high and low; `None` where the row has NaN, +∞, or nothing but −∞.
#[inline(always)]
fn log_sum<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, x: &[T]) -> Option<[T::Compute; 3]> {
    sum(lanes, x).map(
        #[inline(always)]
        |(shift, sum)| log::<T::Compute>(&shift, sum),
    )
}

/// ln of a sum under a shift, as offset, high and low.
#[inline(always)]
pub fn log<F: Float>(shift: &Shift<F>, sum: F::Sum) -> [F; 3] {
    let (high, low) = sum.log(shift.n);
    [shift.offset, high, low]
}

/// x − ln Σ of an element x: see [`log_of_difference`].
#[inline(always)]
pub fn log_of<F: Float, L: Lanes<F>>(lanes: L, x: L::V, [offset, high, low]: [L::V; 3]) -> L::V {
    log_of_difference(lanes, lanes.sub(x, offset), [high, low])
}

/// The same from d = x − offset, as −max(0, (high − d) + low): never positive, NaN kept, and 0 instead of a subnormal.
#[inline(always)]
pub fn log_of_difference<F: Float, L: Lanes<F>>(lanes: L, d: L::V, [high, low]: [L::V; 2]) -> L::V {
    let y = lanes.add(lanes.sub(high, d), low);
    // What is negative is below, too.
    lanes.sub(lanes.splat(F::ZERO), lanes.zero_below(y, y, lanes.splat(F::SMALLEST)))
}

/// The logarithms of a row.
#[inline(always)]
pub fn subtract<T: Element, L: Memory<T>>(lanes: L, place: Place<'_, T>, log: [T::Compute; 3]) {
    let [offset, high, low] = [lanes.splat(log[0]), lanes.splat(log[1]), lanes.splat(log[2])];
    // Few rows have an offset.
    if log[0] == T::Compute::ZERO {
        backwards(
            lanes,
            place,
            #[inline(always)]
            |x| log_of_difference(lanes, x, [high, low]),
        );
    } else {
        backwards(
            lanes,
            place,
            #[inline(always)]
            |x| log_of(lanes, x, [offset, high, low]),
        );
    }
}

/// `f` of each vector of a row, the last piece of it first.
#[inline(always)]
fn backwards<T: Element, L: Memory<T>>(lanes: L, place: Place<'_, T>, f: impl Fn(V<T, L>) -> V<T, L> + Copy) {
    last_first(
        place.cells(),
        #[inline(always)]
        |_, row| map::<T, T, L>(lanes, row, f),
    );
}

/// log_softmax of each row. Its argument goes through the call in a register, as that of [`Softmax`](super::softmax::Softmax).
pub struct LogSoftmax<'p, 'a, T>(pub &'p mut Buffers<'a, T>);

impl<T: Element> Kernel<T> for LogSoftmax<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let (buffers, mut r) = (self.0, 0);
        while r < buffers.rows.rows() {
            if LogSums::<T>::are_worth(&buffers.rows, r) {
                lanes.call(ShortLogSoftmax {
                    buffers: &mut *buffers,
                    start: &mut r,
                });
                continue;
            }
            let len = buffers.rows.len(r);
            if len <= block::<T>() {
                if len > 0 {
                    lanes.call(SingleLog(&mut buffers.row(r)));
                }
                r += 1;
                continue;
            }
            lanes.call(LongLogSoftmax {
                buffers: &mut *buffers,
                start: &mut r,
            });
        }
    }
}

/// log_softmax of rows of more than a block from `start` on, which becomes the first row that is none or one of several short
/// ones. With the registers of AVX-512, a row of more than two blocks (f64: [`OVERLAPPED`]) that [is followed](is_followed) is
/// finished [`Beside`](super::row::Beside) the exps of the next; for a shorter one that is not worth it. A function of its own.
struct LongLogSoftmax<'b, 'a, T> {
    buffers: &'b mut Buffers<'a, T>,
    start: &'b mut usize,
}

impl<T: Element> Kernel<T> for LongLogSoftmax<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, start } = self;
        let rows = buffers.rows;
        // ln Σ of the row before, if that waits for the next.
        let mut waiting = None;
        while *start < rows.rows() && rows.len(*start) > block::<T>() && !LogSums::<T>::are_worth(&rows, *start) {
            let r = *start;
            let log = match waiting.take() {
                Some(log) if T::IS_COMPUTE && L::WIDE => log_sum_beside(lanes, buffers, r, log),
                _ => log_sum(lanes, buffers.input(r)),
            };
            let longer = if T::IS_SINGLE { 2 * block::<T>() } else { OVERLAPPED };
            let follows = L::WIDE && T::IS_COMPUTE && rows.len(r) > longer;
            match log {
                Some(log) if follows && is_followed(buffers.input(r)) => waiting = Some(log),
                Some(log) => subtract(lanes, buffers.row(r), log),
                None => fill(buffers.output(r), T::NAN),
            }
            *start += 1;
        }
        if let Some(log) = waiting {
            subtract(lanes, buffers.row(*start - 1), log);
        }
    }
}

/// [`log_sum`] of row `r`, after or beside log_softmax of the row before, whose logarithm is known.
#[inline(always)]
fn log_sum_beside<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    r: usize,
    before: [T::Compute; 3],
) -> Option<[T::Compute; 3]> {
    let (x, place) = buffers.with_before(r);
    let blocks = whole::<T>(x.len());
    if before[0] != T::Compute::ZERO || whole::<T>(place.input().len()) != blocks {
        subtract(lanes, place, before);
        return log_sum(lanes, x);
    }
    let (cells, rest) = place.cells().split_at(blocks);
    let finish = Subtract([before[1], before[2]]);
    map::<T, T, L>(
        lanes,
        rest,
        #[inline(always)]
        |x| finish.of(lanes, x),
    );
    sum_beside(lanes, x, Before { cells, finish }).map(
        #[inline(always)]
        |(shift, sum)| log::<T::Compute>(&shift, sum),
    )
}

/// [`log_of_difference`] from the two terms of the logarithm.
#[derive(Clone, Copy)]
struct Subtract<F>([F; 2]);

impl<F: Float> Finish<F> for Subtract<F> {
    const APART: bool = true;
    #[inline(always)]
    fn of<L: Lanes<F>>(self, lanes: L, x: L::V) -> L::V {
        log_of_difference(lanes, x, [lanes.splat(self.0[0]), lanes.splat(self.0[1])])
    }
}

/// logsumexp of each row. Its argument goes through the call in a register, as that of [`Softmax`](super::softmax::Softmax).
pub struct LogSumExp<'p, 'a, T>(pub &'p mut RowsInto<'a, T>);

/// The rows of `x`, one result of each to `out`.
pub struct RowsInto<'a, T> {
    pub x: &'a [T],
    pub out: &'a mut [MaybeUninit<T>],
    pub rows: Layout<'a>,
}

impl<T: Element> Kernel<T> for LogSumExp<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let (all, mut r) = (self.0, 0);
        while r < all.out.len() {
            if LogSums::<T>::are_worth(&all.rows, r) {
                lanes.call(ShortLogSumExp {
                    all: &mut *all,
                    start: &mut r,
                });
                continue;
            }
            all.out[r].write(sum_of_row(lanes, all.rows.input(all.x, r)));
            r += 1;
        }
    }
}

/// logsumexp of one row.
#[inline(always)]
pub fn sum_of_row<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, x: &[T]) -> T {
    match log_sum(lanes, x) {
        Some(log) => joined(log),
        None => special(x),
    }
}

/// log_softmax of short rows from `start` on, as far as [some of them](LogSums::are_worth) follow one another; `start` becomes
/// the row behind them. A function of its own.
struct ShortLogSoftmax<'b, 'a, T> {
    buffers: &'b mut Buffers<'a, T>,
    start: &'b mut usize,
}

impl<T: Element> Kernel<T> for ShortLogSoftmax<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, start } = self;
        let (mut known, mut before) = (LogSums::none(), WaitingLogs::none());
        let mut more = LogSums::<T>::are_worth(&buffers.rows, *start);
        while more {
            known.find_beside(lanes, buffers, *start, &before);
            *start += known.count;
            before = known.waiting();
            more = LogSums::<T>::are_worth(&buffers.rows, *start);
            if !more || before.is_empty() {
                known.subtract(lanes, buffers);
            }
        }
    }
}

/// The same of logsumexp.
struct ShortLogSumExp<'b, 'a, T> {
    all: &'b mut RowsInto<'a, T>,
    start: &'b mut usize,
}

impl<T: Element> Kernel<T> for ShortLogSumExp<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { all, start } = self;
        let RowsInto { x, out, rows } = all;
        let mut known = LogSums::none();
        while LogSums::<T>::are_worth(rows, *start) {
            known.find(lanes, x, rows, *start);
            let out = &mut out[*start..][..known.count];
            for (i, out) in out.iter_mut().enumerate() {
                out.write(match known.log(i) {
                    Some(log) => joined(log),
                    None => special(rows.input(x, *start + i)),
                });
            }
            *start += known.count;
        }
    }
}

/// The result of logsumexp from offset, high and low.
#[inline(always)]
pub fn joined<T: Element>([offset, high, low]: [T::Compute; 3]) -> T {
    T::narrow((high + low) + offset)
}

/// logsumexp of a row without a finite maximum: NaN over +∞ over −∞.
#[inline(always)]
pub fn special<T: Element>(x: &[T]) -> T {
    special_of(x.iter().copied())
}

/// [`special`] of elements that need not lie side by side.
#[inline(always)]
pub fn special_of<T: Element>(x: impl Iterator<Item = T>) -> T {
    let mut largest = T::NEG_INFINITY;
    for v in x {
        if is_nan(v) {
            return T::NAN;
        }
        if v.widen() > largest.widen() {
            largest = v;
        }
    }
    largest
}
