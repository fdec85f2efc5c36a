//! One short row, in registers.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use super::pass::Pass;
use crate::element::{Element, Float, Sum};
use crate::kernel::log_softmax::{RowsInto, joined, log, log_of_difference, special, subtract};
use crate::kernel::passes::{Quotient, V, fold_block, load, store};
use crate::kernel::row::LONGEST_BLOCK;
use crate::kernel::softmax::{
    SumOf, TotalOf, fill, guess, quotients, sum, sum_after_guess, sum_storing, sum_under_maximum,
};
use crate::kernel::{Kernel, Place};
use crate::lanes::Memory;
use crate::math::exp::Shift;
use core::mem::MaybeUninit;

/// Softmax of one row of at most a block, in registers: a call on so short a row is mostly overhead and waiting, so that
/// it has an entry of its own, and no frame. Its argument goes through the call in a register: a copy in memory is read
/// in wider words than it was written in, which waits for everything before it to end.
pub struct Single<'p, 'a, T>(pub &'p mut Place<'a, T>);

impl<T: Element> Kernel<T> for Single<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let place = self.0;
        if L::COMPACT {
            return through_stack(
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
    let sum = lanes.acc_sum(lanes.acc_of(fold_block::<T, L, N>(lanes, halves)));
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

/// log_softmax of one row of at most a block, in registers: see [`Single`].
pub struct SingleLog<'p, 'a, T>(pub &'p mut Place<'a, T>);

impl<T: Element> Kernel<T> for SingleLog<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let place = self.0;
        match place.input().len().div_ceil(T::Compute::LANES) {
            1 if !L::COMPACT => log_softmax_of::<T, L, 1>(lanes, place),
            2 if !L::COMPACT => log_softmax_of::<T, L, 2>(lanes, place),
            3 if !L::COMPACT => log_softmax_of::<T, L, 3>(lanes, place),
            4 if !L::COMPACT => log_softmax_of::<T, L, 4>(lanes, place),
            _ => lanes.call(OtherLogSoftmax(place)),
        }
    }
}

/// logsumexp of the first row, of at most a block, in registers.
pub struct SingleLogSumExp<'p, 'a, T>(pub &'p mut RowsInto<'a, T>);

impl<T: Element> Kernel<T> for SingleLogSumExp<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let one = self.0;
        let (x, zero) = (one.rows.input(one.x, 0), lanes.splat(T::Compute::ZERO));
        let log = match x.len().div_ceil(T::Compute::LANES) {
            1 if !L::COMPACT => log_of_vectors::<T, L, 1>(lanes, x, &mut [zero; 1]),
            2 if !L::COMPACT => log_of_vectors::<T, L, 2>(lanes, x, &mut [zero; 2]),
            3 if !L::COMPACT => log_of_vectors::<T, L, 3>(lanes, x, &mut [zero; 3]),
            4 if !L::COMPACT => log_of_vectors::<T, L, 4>(lanes, x, &mut [zero; 4]),
            _ => None,
        };
        match log {
            Some((high, low)) => _ = one.out[0].write(joined([T::Compute::ZERO, high, low])),
            None => lanes.call(OtherLogSumExp(one)),
        }
    }
}

/// N·ln 2 + ln S of a row of `N` vectors `v`, the last of which may lack lanes, high and low, if the guess is accepted: there
/// is no offset then.
#[inline(always)]
fn log_of_vectors<T: Element, L: Memory<T> + Memory<T::Compute>, const N: usize>(
    lanes: L,
    x: &[T],
    v: &mut [V<T, L>; N],
) -> Option<(T::Compute, T::Compute)> {
    // The guess from the row itself: it shows in the last bits of the logarithm.
    let shift = guess(x, L::FUSED);
    let (splat, mut pass) = (shift.splat(lanes), Pass::new(lanes));
    let zero = lanes.splat(T::Compute::ZERO);
    let mut halves = [lanes.fold(zero); N];
    for j in 0..N {
        let at = j * T::Compute::LANES;
        v[j] = if j + 1 < N {
            Memory::<T>::load(lanes, &x[at..])
        } else {
            load::<T, L>(lanes, &x[at..], -T::Compute::INFINITY)
        };
        let mut e = pass.exp(&splat, v[j]);
        if j + 1 == N {
            e = lanes.keep_first(e, x.len() - at);
        }
        halves[j] = lanes.fold(e);
    }
    let sum = lanes.acc_sum(lanes.acc_of(fold_block::<T, L, N>(lanes, halves)));
    let accepted = pass.fits() & sum.in_range();
    accepted.then_some(sum.log(shift.n))
}

/// log_softmax of one row of `N` vectors.
#[inline(always)]
fn log_softmax_of<T: Element, L: Memory<T> + Memory<T::Compute>, const N: usize>(lanes: L, place: &mut Place<'_, T>) {
    let mut v = [lanes.splat(T::Compute::ZERO); N];
    let Some(log) = log_of_vectors(lanes, place.input(), &mut v) else {
        return lanes.call(OtherLogSoftmax(place));
    };
    let log = [lanes.splat(log.0), lanes.splat(log.1)];
    let y = place.output();
    for j in 0..N {
        let (y, v) = (&mut y[j * T::Compute::LANES..], log_of_difference(lanes, v[j], log));
        if j + 1 < N {
            lanes.store(y, v);
        } else {
            store(lanes, y, v);
        }
    }
}

/// The shift and the sum of a row that is not in registers, or whose guess failed there.
#[inline(always)]
fn sum_of<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, x: &[T]) -> Option<(Shift<T::Compute>, SumOf<T>)> {
    if L::COMPACT {
        sum(lanes, x)
    } else {
        sum_after_guess(lanes, x)
    }
}

/// log_softmax of one row by its [`sum_of`].
struct OtherLogSoftmax<'p, 'a, T>(&'p mut Place<'a, T>);

impl<T: Element> Kernel<T> for OtherLogSoftmax<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let mut place = self.0.reborrow();
        match sum_of(lanes, place.input()) {
            Some((shift, sum)) => subtract(lanes, place, log(&shift, sum)),
            None => fill(place.output(), T::NAN),
        }
    }
}

/// The same of logsumexp.
struct OtherLogSumExp<'p, 'a, T>(&'p mut RowsInto<'a, T>);

impl<T: Element> Kernel<T> for OtherLogSumExp<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let RowsInto { x, out, rows } = self.0;
        let x = rows.input(x, 0);
        out[0].write(match sum_of(lanes, x) {
            Some((shift, sum)) => joined(log(&shift, sum)),
            None => special(x),
        });
    }
}

/// The three-pass form of one row of at most a block.
struct UnderMaximum<'p, 'a, T>(&'p mut Place<'a, T>);

impl<T: Element> Kernel<T> for UnderMaximum<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        through_stack(
            lanes,
            self.0,
            #[inline(always)]
            |x, e| sum_under_maximum(lanes, x, e),
        );
    }
}

/// Softmax of one row of at most a block whose exps `total` stores.
#[inline(always)]
fn through_stack<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    place: &mut Place<'_, T>,
    total: impl FnOnce(&[T], &mut [MaybeUninit<T::Compute>]) -> Option<TotalOf<T>>,
) {
    let mut e = [MaybeUninit::uninit(); LONGEST_BLOCK];
    let x = place.input();
    let e = &mut e[..x.len()];
    match total(x, e) {
        Some(total) => quotients(lanes, e, place.output(), &total),
        None => fill(place.output(), T::NAN),
    }
}
