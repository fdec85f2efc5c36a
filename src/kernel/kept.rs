//! Exps of a row that has no room for all of them.
//!
//! They are all summed before the first is divided, and those that are not kept until then are computed twice. The last are
//! kept in scratch. Where results are apart, the first half of a row of halves is kept in their place, for two halves are as
//! large as an exp; not of a row so long that memory takes more time than exps. The quotients overwrite them from the first to
//! the last: bytes 2i and 2i + 1 get quotient i when exp i, from byte 4i on (4i + 2 where the row is not aligned for exps),
//! has been read.

use super::Place;
use super::passes::map;
use super::row::{LONGEST_BLOCK, Pair, block, whole};
use super::softmax::{TotalOf, quotients, written};
use crate::arch::memory::{Scratch, room};
use crate::element::{Element, Float};
use crate::lanes::Memory;
use crate::sizes::Sizes;
use core::convert::identity;
use core::mem::MaybeUninit;
use core::ops::Range;

/// Exps that are copied from the place of the results at a time.
const COPIED: usize = 512;
const _: () = assert!(COPIED.is_multiple_of(LONGEST_BLOCK));
const _: () = assert!(Scratch::capacity::<f64>() >= COPIED + LONGEST_BLOCK);

/// So many L2 caches hold the longest row whose exps are kept in the place of its results: what is longer waits for memory.
const BEYOND: usize = 4;

/// Scratch of a row some of whose exps are kept.
pub struct Spare<'a, F> {
    /// For those that stay.
    kept: &'a mut [MaybeUninit<F>],
    /// For a few at a time.
    pub few: &'a mut [MaybeUninit<F>],
}

impl<'a, F: Float> Spare<'a, F> {
    /// Both whole blocks.
    #[inline(always)]
    pub fn new(scratch: &'a mut [MaybeUninit<F>]) -> Self {
        let (kept, few) = scratch.split_at_mut(whole::<F>(scratch.len() - COPIED));
        Self {
            kept,
            few: &mut few[..COPIED],
        }
    }
}

/// Which exps of a row are kept: whole blocks.
pub struct KeptExps {
    /// As many, the first, in the place of the results.
    first: usize,
    /// From this one on, in scratch.
    last: usize,
}

impl KeptExps {
    /// Of the row at `place`.
    #[inline(always)]
    pub fn of<T: Element>(place: &mut Place<'_, T>, spare: &Spare<'_, T::Compute>) -> Self {
        let others = place.input().len().saturating_sub(spare.kept.len());
        let last = others.next_multiple_of(block::<T>());
        let first = match place {
            Place::Apart(x, y) if size_of_val(*x) / BEYOND <= Sizes::get().l2 => whole::<T>(room(y).len()).min(last),
            _ => 0,
        };
        Self { first, last }
    }

    /// The elements of the row at `place`, and the places of their exps.
    #[inline(always)]
    pub fn places<'a, T: Element>(
        &self,
        place: &'a mut Place<'_, T>,
        spare: &'a mut Spare<'_, T::Compute>,
    ) -> (&'a [T], Places<'a, T::Compute>) {
        let (x, first): (&[T], &mut [_]) = match place {
            Place::Apart(x, y) => (x, &mut room(y)[..self.first]),
            Place::InPlace(x) => (x, &mut []),
        };
        let places = Places {
            first,
            spare: spare.kept,
            last: self.last,
            len: x.len(),
        };
        (x, places)
    }

    /// The quotients of the exps that were kept, after a pass over the row stored all exps in their [`places`](Self::places); of
    /// which elements those of the others are wanting.
    #[inline(always)]
    pub fn quotients<T: Element, L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        place: &mut Place<'_, T>,
        spare: Spare<'_, T::Compute>,
        total: &TotalOf<T>,
    ) -> Range<usize> {
        let y = place.output();
        for start in (0..self.first).step_by(COPIED) {
            let end = self.first.min(start + COPIED);
            let e = &mut spare.few[..end - start];
            map(lanes, Pair(written(&mut room(y)[start..end]), &mut *e), identity);
            quotients(lanes, e, &mut y[start..end], total);
        }
        let y = &mut y[self.last..];
        quotients(lanes, &mut spare.kept[..y.len()], y, total);
        self.first..self.last
    }
}

/// Where a pass over a row stores its exps.
pub struct Places<'a, F> {
    /// Those of the first elements.
    first: &'a mut [MaybeUninit<F>],
    /// Those of the last. Others are stored here, too, until those that come later take their place.
    spare: &'a mut [MaybeUninit<F>],
    /// From which element on exps stay there.
    last: usize,
    len: usize,
}

impl<'a, F> Places<'a, F> {
    /// One for each.
    #[inline(always)]
    pub fn each(e: &'a mut [MaybeUninit<F>]) -> Self {
        let len = e.len();
        Self {
            first: e,
            spare: &mut [],
            last: len,
            len,
        }
    }

    /// For `len` exps that are dropped; `spare` is whole blocks.
    #[inline(always)]
    pub fn dropped(spare: &'a mut [MaybeUninit<F>], len: usize) -> Self {
        Self {
            first: &mut [],
            spare,
            last: len,
            len,
        }
    }

    #[inline(always)]
    pub fn reborrow(&mut self) -> Places<'_, F> {
        Places {
            first: self.first,
            spare: self.spare,
            last: self.last,
            len: self.len,
        }
    }

    /// All of them, where each element has one.
    #[inline(always)]
    pub fn all(self) -> &'a mut [MaybeUninit<F>] {
        self.first
    }

    /// Calls `pass` with each part of the row `x`, up to `most` elements whose places lie together, and with these and where it
    /// begins: all whole blocks, but for the end of the row.
    #[inline(always)]
    pub fn each_part<T>(mut self, x: &[T], most: usize, mut pass: impl FnMut(usize, &[T], &mut [MaybeUninit<F>])) {
        assert!(x.len() == self.len);
        let mut start = 0;
        while start < x.len() {
            let e = self.part(start, most);
            let end = start + e.len();
            pass(start, &x[start..end], e);
            start = end;
        }
    }

    /// Of the elements from `start` on.
    #[inline(always)]
    fn part(&mut self, start: usize, most: usize) -> &mut [MaybeUninit<F>] {
        if start < self.first.len() {
            let end = self.first.len().min(start.saturating_add(most));
            return &mut self.first[start..end];
        }
        // Those that do not stay begin anew with each part.
        let (from, end) = if start < self.last {
            (0, self.last)
        } else {
            (start - self.last, self.len)
        };
        let spare = &mut self.spare[from..];
        let len = spare.len().min(most).min(end - start);
        &mut spare[..len]
    }
}
