//! One short row, in registers.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use super::pass::Pass;
use crate::element::{Element, Float, Sum};
use crate::kernel::passes::{Quotient, fold_block, load, store};
use crate::kernel::row::LONGEST_BLOCK;
use crate::kernel::softmax::{TotalOf, fill, guess, quotients, sum_storing, sum_under_maximum};
use crate::kernel::{Kernel, Place};
use crate::lanes::Memory;
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
