//! Softmax of a row of a type that exps do not have (f16 and bf16, computed in f32), which is too long for scratch: some of its
//! exps are [kept](KeptExps), and the others computed twice.

use super::{Again, TotalOf, accepts, fill, guess_for_quotients, largest_looked_at, sum_after_guess};
use crate::arch::memory::Cells;
use crate::element::{Element, Float};
use crate::kernel::kept::{KeptExps, Spare};
use crate::kernel::passes::{ExpPass, divide_each};
use crate::kernel::row::{Pair, last_first};
use crate::kernel::{Kernel, Place};
use crate::lanes::Memory;
use crate::math::exp::{Shift, exp};
use core::mem::MaybeUninit;

/// One row, with room `aside` for some of its exps, but not for all.
pub struct LongRow<'a, T: Element> {
    pub place: Place<'a, T>,
    pub aside: &'a mut [MaybeUninit<T::Compute>],
}

impl<T: Element> Kernel<T> for LongRow<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { mut place, aside } = self;
        let mut spare = Spare::new(aside);
        let kept = KeptExps::of(&mut place, &spare);
        let (x, places) = kept.places(&mut place, &mut spare);
        let shift = guess_for_quotients(largest_looked_at(x), L::FUSED);
        let (splat, mut pass) = (shift.splat(lanes), ExpPass::new(lanes, 0));
        places.each_part(
            x,
            usize::MAX,
            #[inline(always)]
            |_, x, e| pass.add::<T, T::Compute, _, false, false>((&shift, &splat), Pair(x, e)),
        );
        let exps = pass.exps();
        if !accepts(&exps) {
            return match sum_after_guess(lanes, place.input()) {
                Some((shift, sum)) => lanes.call(Again { place, shift, sum }),
                None => fill(place.output(), T::NAN),
            };
        }
        let total = exps.total();
        let others = kept.quotients(lanes, &mut place, spare, &total);
        if !others.is_empty() {
            quotients_again(lanes, place.part(others).cells(), &shift, &total);
        }
    }
}

/// The quotients of a part of a row whose sum under a guess was accepted, every exp computed once more.
#[inline(always)]
fn quotients_again<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    cells: Cells<'_, T>,
    shift: &Shift<T::Compute>,
    total: &TotalOf<T>,
) {
    let (core, splat) = (T::Compute::core(L::FUSED), shift.splat(lanes));
    last_first(
        cells,
        #[inline(always)]
        |_, row| {
            divide_each::<T, T, L>(
                lanes,
                row,
                total,
                #[inline(always)]
                |x| exp::<_, L, 1, false>(lanes, core, &splat, [x]).0[0],
            );
        },
    );
}
