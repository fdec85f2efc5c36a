//! softmax of the rows of a call: which loop they go through, and when each is divided.

use super::{
    OVERLAPPED, StoreExps, TotalOf, are_beside, blocks_aside, blocks_beside, fill, guess, is_followed, quotients,
    quotients_before, quotients_in_place, row_in_place, sum_storing, sum_storing_beside, through_output,
    through_scratch, written,
};
use crate::arch::memory::{Cells, Scratch, as_output};
use crate::element::Element;
use crate::kernel::row::Pair;
use crate::kernel::{Buffers, Kernel, Place, overwrite, short_rows};
use crate::lanes::Memory;
use crate::layout::Layout;
use crate::sizes::Sizes;
use core::mem::MaybeUninit;

/// Softmax of each row.
///
/// Its argument goes through the call in a register: what is copied there is read at once, wider than it was written, and
/// so waits for everything before it.
pub struct Softmax<'p, 'a, T>(pub &'p mut Buffers<'a, T>);

impl<T: Element> Kernel<T> for Softmax<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let buffers = self.0;
        let (rows, mut r, end) = (buffers.rows, 0, buffers.rows.rows());
        if let Layout::Strided(rows) = rows {
            if short_rows::suits::<T>(end, rows.cols()) {
                let place = &mut buffers.place;
                return lanes.call(short_rows::ShortRows { place, rows });
            }
            if !are_beside::<T, L>(rows.cols()) {
                if rows.cols() <= OVERLAPPED && buffers.output_holds_exps() {
                    return lanes.call(Overlapped::<T, false>(buffers));
                }
                if rows.cols() <= OVERLAPPED.min(half_scratch::<T>()) {
                    return lanes.call(Overlapped::<T, true>(buffers));
                }
            }
        }
        while r < end {
            r = short_rows::side_by_side(lanes, buffers, r, end);
            if r == end {
                return;
            }
            let start = &mut r;
            // The type stands here, so that what others do not run is not compiled.
            if T::IS_COMPUTE && buffers.output_holds_exps() {
                lanes.call(RowsApart { buffers, start });
            } else if L::WIDE && FollowedAside::has(buffers, *start) {
                lanes.call(FollowedAside { buffers, start });
            } else if T::IS_COMPUTE && L::WIDE && RowsOverwritten::has(buffers, *start) {
                lanes.call(RowsOverwritten { buffers, start });
            } else {
                lanes.call(RowsAside { buffers, start });
            }
        }
    }
}

/// Rows that are divided each after the next is summed and the one after that is guessed, so that no division waits for
/// the end of its own sum, and no exp for its guess. Exps are kept `ASIDE`, or in the output, which is apart and has their
/// type. A function of its own: so is its stack.
struct Overlapped<'p, 'a, T, const ASIDE: bool>(&'p mut Buffers<'a, T>);

impl<T: Element, const ASIDE: bool> Kernel<T> for Overlapped<'_, '_, T, ASIDE> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        if ASIDE {
            overlapped(lanes, self.0, Scratch::new().as_elements());
        } else {
            overlapped(lanes, self.0, &mut []);
        }
    }
}

/// [`Overlapped`] with room for two rows `aside`, or none.
#[inline(always)]
fn overlapped<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    aside: &mut [MaybeUninit<T::Compute>],
) {
    let (rows, through_output) = (buffers.rows.rows(), aside.is_empty());
    let (mut now, mut before) = aside.split_at_mut(aside.len() / 2);
    let mut shift = guess(buffers.input(0), L::FUSED);
    // Not copied from one row to the next: a copy reads more at once than was written, and waits for it.
    let mut totals = [None; 2];
    for r in 0..=rows {
        if r < rows {
            let (x, y) = buffers.split(r);
            let e = match y.and_then(T::as_compute) {
                Some(e) => e,
                None => &mut now[..x.len()],
            };
            lanes.call(StoreExps {
                shift: &shift,
                x,
                e,
                found: &mut totals[r % 2],
            });
            if r + 1 < rows {
                shift = guess(buffers.input(r + 1), L::FUSED);
            }
        }
        if r > 0 {
            let y = buffers.output(r - 1);
            match (&totals[(r - 1) % 2], T::as_compute(y)) {
                (Some(total), Some(e)) if through_output => quotients_in_place(lanes, e, total),
                (Some(total), _) => quotients(lanes, &mut before[..y.len()], y, total),
                (None, _) => fill(y, T::NAN),
            }
        }
        (now, before) = (before, now);
    }
}

/// Elements of which scratch holds two rows.
pub const fn half_scratch<T: Element>() -> usize {
    Scratch::capacity::<T::Compute>() / 2
}

/// Softmax of the rows from `start` on, which are apart and of a type that exps have, until one is short: which that is. With
/// the registers of AVX-512, a row that [is followed](is_followed) is divided beside the next.
struct RowsApart<'p, 'a, T> {
    buffers: &'p mut Buffers<'a, T>,
    start: &'p mut usize,
}

impl<T: Element> Kernel<T> for RowsApart<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, start } = self;
        let rows = buffers.rows;
        // What the row before is divided by, if its exps wait for that.
        let mut waiting: Option<TotalOf<T>> = None;
        while *start < rows.rows() && rows.len(*start) > short_rows::longest::<T>() {
            let (x, y, before) = buffers.split_after(*start);
            let before = match (waiting.take(), T::as_compute(before)) {
                (Some(total), Some(e)) => {
                    blocks_beside(lanes, Cells::in_place(written(e)), &total, (x.as_ptr().cast(), x.len()))
                }
                _ => None,
            };
            match T::as_compute(y) {
                Some(e) if L::WIDE && (before.is_some() || is_followed(x)) => {
                    waiting = sum_storing_beside(lanes, x, &mut *e, before);
                    if waiting.is_none() {
                        fill(e, T::Compute::NAN);
                    }
                }
                _ => through_output(lanes, x, y),
            }
            *start += 1;
        }
        if let Some(total) = waiting
            && let Some(e) = T::as_compute(buffers.output(*start - 1))
        {
            quotients_in_place(lanes, e, &total);
        }
    }
}

/// Softmax of the rows from `start` on, in place or of a type that exps do not have, until one is short, or too long: which
/// that is. Their exps are kept in scratch and divided beside those of the next row. A function of its own, for its stack.
struct FollowedAside<'p, 'a, T> {
    buffers: &'p mut Buffers<'a, T>,
    start: &'p mut usize,
}

impl<T: Element> FollowedAside<'_, '_, T> {
    /// Whether row `r` is one of them.
    #[inline(always)]
    fn has(buffers: &Buffers<'_, T>, r: usize) -> bool {
        r < buffers.rows.rows()
            && buffers.rows.len(r) > short_rows::longest::<T>()
            && fit_aside::<T>(buffers.rows.len(r))
            && !buffers.output_holds_exps()
    }
}

/// Whether scratch holds the exps of two rows of `cols` elements, and the L1 cache these and a row and the results of another.
#[inline(always)]
pub fn fit_aside<T: Element>(cols: usize) -> bool {
    let bytes = 2 * (size_of::<T>() + size_of::<T::Compute>());
    cols <= half_scratch::<T>().min(Sizes::get().l1 / bytes)
}

impl<T: Element> Kernel<T> for FollowedAside<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, start } = self;
        let mut scratch = Scratch::new();
        let (mut now, mut before) = scratch.as_elements().split_at_mut(half_scratch::<T>());
        // What the row before is divided by, if its exps wait for that.
        let mut waiting: Option<TotalOf<T>> = None;
        while Self::has(buffers, *start) {
            let e = &mut now[..buffers.rows.len(*start)];
            waiting = match waiting {
                Some(total) => {
                    let (x, mut place) = buffers.with_before(*start);
                    let y = place.output();
                    let e_before = written(&mut before[..y.len()]);
                    let before = blocks_aside(lanes, Pair(e_before, y), &total, x.len());
                    sum_storing_beside(lanes, x, e, before)
                }
                None => sum_storing(lanes, buffers.input(*start), e),
            };
            if waiting.is_none() {
                fill(buffers.output(*start), T::NAN);
            }
            (now, before) = (before, now);
            *start += 1;
        }
        if let Some(total) = waiting {
            let y = buffers.output(*start - 1);
            quotients(lanes, &mut before[..y.len()], y, &total);
        }
    }
}

/// Softmax of the rows from `start` on, in place or of a type that exps do not have, until one is short or divided beside
/// another: which that is. A function of its own, for its stack.
struct RowsAside<'p, 'a, T> {
    buffers: &'p mut Buffers<'a, T>,
    start: &'p mut usize,
}

impl<T: Element> RowsAside<'_, '_, T> {
    /// Whether row `r` is one of them.
    #[inline(always)]
    fn has<L: Memory<T>>(buffers: &Buffers<'_, T>, r: usize) -> bool {
        r < buffers.rows.rows()
            && buffers.rows.len(r) > short_rows::longest::<T>()
            && !(L::WIDE && FollowedAside::has(buffers, r))
            && !(T::IS_COMPUTE && L::WIDE && RowsOverwritten::has(buffers, r))
    }
}

impl<T: Element> Kernel<T> for RowsAside<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, start } = self;
        let rows = buffers.rows;
        let mut scratch = Scratch::new();
        while Self::has::<L>(buffers, *start) {
            let aside = scratch.as_elements();
            match &mut buffers.place {
                Place::Apart(x, y) => through_scratch(lanes, rows.input(x, *start), rows.output(y, *start), aside),
                Place::InPlace(x) => row_in_place(lanes, rows.input_mut(x, *start), aside),
            }
            *start += 1;
        }
    }
}

/// Softmax of the rows from `start` on, in place, until one is short, one of [`FollowedAside`], [not followed](is_followed),
/// or of f64 and at home in the L1 cache: which that is. Exps are stored over the logits and divided beside those of the next
/// row. A function of its own.
struct RowsOverwritten<'p, 'a, T> {
    buffers: &'p mut Buffers<'a, T>,
    start: &'p mut usize,
}

impl<T: Element> RowsOverwritten<'_, '_, T> {
    /// Whether row `r` is one of them.
    #[inline(always)]
    fn has(buffers: &Buffers<'_, T>, r: usize) -> bool {
        if r >= buffers.rows.rows() || matches!(buffers.place, Place::Apart(..)) || FollowedAside::has(buffers, r) {
            return false;
        }
        let x = buffers.input(r);
        // In f64 exps, which take longer, are sooner kept in scratch.
        let suits = T::IS_SINGLE || Sizes::get().is_beyond_l1(x);
        x.len() > short_rows::longest::<T>() && suits && is_followed(x)
    }
}

impl<T: Element> Kernel<T> for RowsOverwritten<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, start } = self;
        // What the row before is divided by, if its exps wait for that.
        let mut waiting: Option<TotalOf<T>> = None;
        while Self::has(buffers, *start) {
            let (x, before) = buffers.in_place_after(*start);
            let next = (x.as_ptr(), x.len());
            let before = waiting.take().and_then(
                #[inline(always)]
                |total| blocks_beside(lanes, Cells::in_place(before), &total, next),
            );
            match overwrite::shift(lanes, x) {
                Some(shift) => {
                    waiting = overwrite::sum(lanes, x, shift, before);
                    if waiting.is_none() {
                        fill(as_output(x), T::NAN);
                    }
                }
                None => {
                    if let Some(before) = before {
                        before.finish_alone(lanes);
                    }
                    row_in_place(lanes, x, &mut []);
                }
            }
            *start += 1;
        }
        if let Some(total) = waiting {
            quotients_before(lanes, buffers.row(*start - 1).cells(), &total, None);
        }
    }
}
