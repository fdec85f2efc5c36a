//! Softmax of a row of a type that exps do not have (f16 and bf16, computed in f32), which is too long for scratch.
//!
//! The exps of a row are all summed before the first is divided, and where they are not kept they are computed twice. Kept are
//! those of the last elements, in scratch, and, where the results are apart and the row is not so long that memory takes more
//! time than exps, those of the first half, in the place of the results: two halves are as large as an exp. The quotients
//! overwrite them from the first to the last: bytes 2i and 2i + 1 get quotient i when exp i, from byte 4i on (4i + 2 where the
//! row is not aligned for exps), has been read.

use super::{
    Again, TotalOf, accepts, fill, guess_for_quotients, largest_looked_at, quotients, sum_after_guess, written,
};
use crate::arch::memory::{Cells, Scratch, room};
use crate::element::{Element, Float};
use crate::kernel::passes::{ExpPass, Exps, divide_each, map};
use crate::kernel::row::{LONGEST_BLOCK, Pair, block, last_first, whole};
use crate::kernel::{Kernel, Place};
use crate::lanes::Memory;
use crate::math::exp::{Shift, exp};
use crate::sizes::Sizes;
use core::convert::identity;
use core::mem::MaybeUninit;

/// Exps that are copied from the place of the results at a time.
const COPIED: usize = 512;
const _: () = assert!(COPIED.is_multiple_of(LONGEST_BLOCK));
const _: () = assert!(Scratch::capacity::<f32>() >= COPIED + LONGEST_BLOCK);

/// So many L2 caches hold the longest row whose exps are kept in the place of its results: what is longer waits for memory.
const BEYOND: usize = 4;

/// One row, with room `aside` for some of its exps, but not for all.
pub struct LongRow<'a, T: Element> {
    pub place: Place<'a, T>,
    pub aside: &'a mut [MaybeUninit<T::Compute>],
}

impl<T: Element> Kernel<T> for LongRow<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { mut place, aside } = self;
        let (aside, copied) = aside.split_at_mut(whole::<T>(aside.len() - COPIED));
        let kept = Kept::of(&mut place, aside.len());
        let x = place.input();
        let shift = guess_for_quotients(largest_looked_at(x), L::FUSED);
        let exps = sum_keeping(lanes, &mut place, &kept, aside, &shift);
        if !accepts(&exps) {
            return match sum_after_guess(lanes, place.input()) {
                Some((shift, sum)) => lanes.call(Again { place, shift, sum }),
                None => fill(place.output(), T::NAN),
            };
        }
        let total = exps.total();
        for start in (0..kept.first).step_by(COPIED) {
            let y = place.output();
            let end = kept.first.min(start + COPIED);
            let e = &mut copied[..end - start];
            map(lanes, Pair(written(&mut room(y)[start..end]), &mut *e), identity);
            quotients(lanes, e, &mut y[start..end], &total);
        }
        if kept.first < kept.last {
            let cells = place.reborrow().part(kept.first..kept.last).cells();
            quotients_again(lanes, cells, &shift, &total);
        }
        let y = &mut place.output()[kept.last..];
        quotients(lanes, &mut aside[..y.len()], y, &total);
    }
}

/// Which exps of a row are kept: whole blocks.
struct Kept {
    /// Those before, in the place of the results.
    first: usize,
    /// Those from there on, aside.
    last: usize,
}

impl Kept {
    /// With room for `aside` exps: whole blocks, and fewer than the row has.
    #[inline(always)]
    fn of<T: Element>(place: &mut Place<'_, T>, aside: usize) -> Self {
        let last = (place.input().len() - aside).next_multiple_of(block::<T>());
        let first = match place {
            Place::Apart(x, y) if size_of_val(*x) / BEYOND <= Sizes::get().l2 => whole::<T>(room(y).len()).min(last),
            _ => 0,
        };
        Self { first, last }
    }
}

/// Σe of the row at `place`, with the exps that are kept stored.
#[inline(always)]
fn sum_keeping<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    place: &mut Place<'_, T>,
    kept: &Kept,
    aside: &mut [MaybeUninit<T::Compute>],
    shift: &Shift<T::Compute>,
) -> Exps<T::Compute> {
    let (x, first): (&[T], &mut [_]) = match place {
        Place::Apart(x, y) => (x, &mut room(y)[..kept.first]),
        Place::InPlace(x) => (x, &mut []),
    };
    let splat = shift.splat(lanes);
    let mut pass = ExpPass::new(lanes, 0);
    let mut start = 0;
    while start < x.len() {
        // What is not kept is stored aside all the same, until what comes later takes its place.
        let e = if start < kept.first {
            &mut *first
        } else {
            let end = if start < kept.last { kept.last } else { x.len() };
            let len = aside.len().min(end - start);
            &mut aside[..len]
        };
        let x = &x[start..start + e.len()];
        start += e.len();
        pass.add::<T, T::Compute, _, false, false>((shift, &splat), Pair(x, e));
    }
    pass.exps()
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
