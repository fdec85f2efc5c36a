//! softmax(x)_i = e^{x_i} / Σ_j e^{x_j}.
//!
//! The ordinary path needs no maximum: the shift N is guessed from three elements (near 0 it is 0, where quotients alone
//! are wanted and multiply-add is fused), one pass stores e = 2^−N·e^x and
//! sums it, and one pass multiplies by the reciprocal. The guess is accepted iff every exponent fitted its field and
//! 128 ≤ S ≤ 2^126, so that every output that is not flushed comes from an exact e and 1/S is normal. Otherwise the
//! three-pass form runs: the maximum, N from it, exp and sum, scale. N is a function of the row alone, and so are the
//! bits of the result. Where multiply-add is fused both forms even give the same quotients, since N moves exponents
//! only (from a maximum of 2^14 on, which no guess is near, it is subtracted first); where it is not, N decides ties of
//! the rounding to n. Which loop the rows of a call go through is in `rows`: short ones run side by side
//! ([`short_rows`](super::short_rows)), long ones are divided beside the exps of the next ([`Beside`]) or after their own, and
//! those in place that are longer still store their exps over the logits ([`overwrite`]) or, of halves, keep what fits
//! (`long`).

use super::passes::{Divide, Exps, Quotient, Total, V, divide, exp_sum, map, max};
use super::row::{Aside, Before, Beside, Finish, Pair, Read, Telling, Waiting, last_first, whole};
use super::{Kernel, Place, overwrite};
use crate::arch::memory::{Cells, as_output, assume_written};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory, STREAM_ALIGN};
use crate::math::exp::{Shift, exp};
use crate::sizes::Sizes;
use crate::tuning;
use core::mem::MaybeUninit;

mod long;
mod rows;
use long::LongRow;
pub use rows::{Softmax, fit_aside, half_scratch};

/// log2 of e at the guessed maximum: rows whose maximum lies up to 60 above or 17 below the guess are accepted.
pub const GUESS_BIAS: i32 = 32;
/// log2 of e at the true maximum.
const MAX_BIAS: i32 = 64;
/// The longest rows that are divided after the next is summed: two of them, in and out, stay in an L1 cache.
pub const OVERLAPPED: usize = tuning::OVERLAPPED_COLUMNS;

/// Whether rows of `cols` elements are rather divided [`Beside`] the next, if that is worth it at all.
#[inline(always)]
pub const fn are_beside<T: Element, L: Lanes<T::Compute>>(cols: usize) -> bool {
    L::WIDE && cols > if T::IS_COMPUTE { OVERLAPPED / 2 } else { OVERLAPPED }
}

/// Elements that small are masks, not logits, and guess nothing.
const MASKED: f64 = -5000.0;

/// The shift of the ordinary path, from the first, the middle and the last element: whichever side of a row is padded
/// or masked, one of them is a logit. Rows of up to 16 elements take 0.
#[inline(always)]
pub fn guess<T: Element>(row: &[T], fused: bool) -> Shift<T::Compute> {
    guess_near(row, fused).1
}

/// The element (or 0) that [`guess`] takes for the maximum, and the shift.
#[inline(always)]
fn guess_near<T: Element>(row: &[T], fused: bool) -> (T::Compute, Shift<T::Compute>) {
    guess_at(largest_looked_at(row), fused)
}

/// The largest of the first, the middle and the last element; 0 for rows of up to 16.
#[inline(always)]
pub fn largest_looked_at<T: Element>(row: &[T]) -> T::Compute {
    largest_of(
        row.len(),
        #[inline(always)]
        |at| row[at].widen(),
    )
}

/// The same of the elements `x(at)` of a row of `len`.
#[inline(always)]
pub fn largest_of<F: Float>(len: usize, x: impl Fn(usize) -> F) -> F {
    if len > 16 {
        largest([x(0), x(len / 2), x(len - 1)])
    } else {
        F::ZERO
    }
}

#[inline(always)]
fn largest<F: Float>(three: [F; 3]) -> F {
    let mut m = -F::INFINITY;
    for x in three {
        // A NaN is passed over: it may stand in a masked place.
        m = if x > m { x } else { m };
    }
    m
}

/// [`guess`] from the largest of the three elements.
///
/// A row that is accepted under a guess has its maximum below `offset_from`, by a margin that no accepted exponent spans:
/// the three-pass form would subtract nothing from it either. So it does not show whose guess it was, its own or that of a
/// neighbour. Where multiply-add is not fused every row has its own.
#[inline(always)]
pub fn guess_at<F: Float>(m: F, fused: bool) -> (F, Shift<F>) {
    let core = F::core(fused);
    let margin = if fused { F::from_i32(F::BIAS) } else { F::ZERO };
    // Not `&&`: no branch, so that many rows are guessed side by side.
    let logit = (m > F::from_f64(MASKED)) & (m < core.offset_from - margin);
    let g = if logit { m } else { F::ZERO };
    (g, Shift::new(g, GUESS_BIAS, F::ZERO, core))
}

/// The shift of a row whose quotients alone are wanted, where multiply-add is fused: they are the same under any that is
/// accepted. Most logits are near 0. Where the largest that is looked at is, the shift of 0 serves, which is a constant: the
/// CPU foresees the branch, and begins with the exps while it still looks.
#[inline(always)]
pub fn guess_for_quotients<F: Float>(m: F, fused: bool) -> Shift<F> {
    if fused && m > F::from_i32(-8) && m < F::from_i32(20) {
        return guess_at(F::ZERO, fused).1;
    }
    guess_at(m, fused).1
}

/// The shift of the three-pass form, or `None` where the maximum is infinite (or NaN).
#[inline(always)]
pub fn shift_of_max<T: Element, L: Memory<T>>(lanes: L, row: &[T]) -> Option<Shift<T::Compute>> {
    shift_at(max(lanes, row), L::FUSED)
}

/// The shift of the three-pass form under a maximum.
#[inline(always)]
pub fn shift_at<F: Float>(m: F, fused: bool) -> Option<Shift<F>> {
    let core = F::core(fused);
    if !(m > -F::INFINITY && m < F::INFINITY) {
        return None;
    }
    let large = m >= core.offset_from || m <= -core.offset_from;
    let offset = if large { m } else { F::ZERO };
    Some(Shift::new(m - offset, MAX_BIAS, offset, core))
}

/// The sum of a row of `T`.
pub type SumOf<T> = <<T as Element>::Compute as Float>::Sum;
/// Exps that wait to be divided, none of whose quotients is flushed.
pub type Undivided<'a, T> = Before<'a, T, Divide<<T as Element>::Compute>>;
/// The same, kept aside.
pub type UndividedAside<'a, T> = Aside<'a, T, <T as Element>::Compute, Divide<<T as Element>::Compute>>;
/// What a row of `T` is divided by.
pub type TotalOf<T> = Total<<T as Element>::Compute>;

/// Whether a pass under a guessed shift may be used.
#[inline(always)]
pub fn accepts<F: Float>(exps: &Exps<F>) -> bool {
    exps.fits && exps.sum.in_range()
}

/// The shift of a row and Σe under it, nothing stored; `None` where the row has NaN, +∞, or nothing but −∞.
#[inline(always)]
pub fn sum<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, x: &[T]) -> Option<(Shift<T::Compute>, SumOf<T>)> {
    let mut found = None;
    lanes.call(FindSum { x, found: &mut found });
    found
}

struct FindSum<'a, T: Element> {
    x: &'a [T],
    found: &'a mut Option<(Shift<T::Compute>, SumOf<T>)>,
}

impl<T: Element> Kernel<T> for FindSum<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let shift = guess(self.x, L::FUSED);
        let exps = exp_sum::<T, T, L, false, false>(lanes, Read(self.x), &shift);
        *self.found = sum_of(lanes, shift, &exps, self.x);
    }
}

/// [`sum`] of a row [`Beside`] whose exps the row `before` is finished.
#[inline(always)]
pub fn sum_beside<T: Element, L: Memory<T> + Memory<T::Compute>, Q: Finish<T::Compute>>(
    lanes: L,
    x: &[T],
    before: Before<'_, T, Q>,
) -> Option<(Shift<T::Compute>, SumOf<T>)> {
    let mut found = None;
    lanes.call(FindBeside {
        x,
        before,
        found: &mut found,
    });
    found
}

struct FindBeside<'a, T: Element, Q> {
    x: &'a [T],
    before: Before<'a, T, Q>,
    found: &'a mut Option<(Shift<T::Compute>, SumOf<T>)>,
}

impl<T: Element, Q: Finish<T::Compute>> Kernel<T> for FindBeside<'_, T, Q> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { x, before, found } = self;
        let (shift, row) = (guess(x, L::FUSED), Read(x));
        let exps = exp_sum::<T, T, L, false, false>(lanes, Beside { row, before }, &shift);
        *found = sum_of(lanes, shift, &exps, x);
    }
}

/// The sum of the row `x` whose exps were summed under the guess `shift`.
#[inline(always)]
fn sum_of<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    shift: Shift<T::Compute>,
    exps: &Exps<T::Compute>,
    x: &[T],
) -> Option<(Shift<T::Compute>, SumOf<T>)> {
    if accepts(exps) {
        Some((shift, exps.sum))
    } else {
        sum_after_guess(lanes, x)
    }
}

/// The three-pass form: [`sum`] of a row whose guess failed. A function of its own, for rows that are seldom.
#[inline(always)]
pub fn sum_after_guess<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
) -> Option<(Shift<T::Compute>, SumOf<T>)> {
    let mut found = None;
    lanes.call(FindByMaximum { x, found: &mut found });
    found
}

struct FindByMaximum<'a, T: Element> {
    x: &'a [T],
    found: &'a mut Option<(Shift<T::Compute>, SumOf<T>)>,
}

impl<T: Element> Kernel<T> for FindByMaximum<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { x, found } = self;
        *found = match shift_of_max(lanes, x) {
            Some(shift) => {
                let exps = exp_sum::<T, T, L, true, true>(lanes, Read(x), &shift);
                (!exps.sum.is_nan()).then_some((shift, exps.sum))
            }
            None => None,
        };
    }
}

/// Stores e of the row `x` in `e` and returns what it is divided by, or `None` like [`sum`].
#[inline(always)]
pub fn sum_storing<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
    e: &mut [MaybeUninit<T::Compute>],
) -> Option<TotalOf<T>> {
    let (shift, mut found) = (guess_for_quotients(largest_looked_at(x), L::FUSED), None);
    lanes.call(StoreExps {
        shift: &shift,
        x,
        e,
        found: &mut found,
    });
    found
}

struct StoreExps<'a, T: Element> {
    shift: &'a Shift<T::Compute>,
    x: &'a [T],
    e: &'a mut [MaybeUninit<T::Compute>],
    found: &'a mut Option<TotalOf<T>>,
}

impl<T: Element> Kernel<T> for StoreExps<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { shift, x, e, found } = self;
        let exps = exp_sum::<T, T::Compute, L, false, false>(lanes, Pair(x, &mut *e), shift);
        *found = total_of(lanes, &exps, x, e);
    }
}

/// [`sum_storing`] of a row [`Beside`] whose exps those of the row `before` are divided, if these wait for that.
#[inline(always)]
fn sum_storing_beside<T: Element, L: Memory<T> + Memory<T::Compute>, W: Waiting<T, T::Compute>>(
    lanes: L,
    x: &[T],
    e: &mut [MaybeUninit<T::Compute>],
    before: Option<W>,
) -> Option<TotalOf<T>> {
    let Some(before) = before else {
        return sum_storing(lanes, x, e);
    };
    let mut found = None;
    lanes.call(StoreBeside {
        x,
        e,
        before,
        found: &mut found,
    });
    found
}

struct StoreBeside<'a, T: Element, W> {
    x: &'a [T],
    e: &'a mut [MaybeUninit<T::Compute>],
    before: W,
    found: &'a mut Option<TotalOf<T>>,
}

impl<T: Element, W: Waiting<T, T::Compute>> Kernel<T> for StoreBeside<'_, T, W> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { x, e, before, found } = self;
        let shift = guess_for_quotients(largest_looked_at(x), L::FUSED);
        let row = Pair(x, &mut *e);
        let exps = exp_sum::<T, T::Compute, L, false, false>(lanes, Beside { row, before }, &shift);
        *found = total_of(lanes, &exps, x, e);
    }
}

/// What the row `x` is divided by whose exps `e` were summed under a guess.
#[inline(always)]
fn total_of<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    exps: &Exps<T::Compute>,
    x: &[T],
    e: &mut [MaybeUninit<T::Compute>],
) -> Option<TotalOf<T>> {
    if accepts(exps) {
        Some(exps.total())
    } else {
        sum_under_maximum(lanes, x, e)
    }
}

/// The three-pass form: [`sum_storing`] of a row `x` whose guess failed. A function of its own, for rows that are seldom.
#[inline(always)]
pub fn sum_under_maximum<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
    e: &mut [MaybeUninit<T::Compute>],
) -> Option<TotalOf<T>> {
    let mut found = None;
    lanes.call(StoreByMaximum {
        x,
        e,
        found: &mut found,
    });
    found
}

struct StoreByMaximum<'a, T: Element> {
    x: &'a [T],
    e: &'a mut [MaybeUninit<T::Compute>],
    found: &'a mut Option<TotalOf<T>>,
}

impl<T: Element> Kernel<T> for StoreByMaximum<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { x, e, found } = self;
        *found = match shift_of_max(lanes, x) {
            Some(shift) => {
                let exps = exp_sum::<T, T::Compute, L, true, true>(lanes, Pair(x, e), &shift);
                (!exps.sum.is_nan()).then_some(exps.total())
            }
            None => None,
        };
    }
}

/// The quotients of a row whose sum is known, every exp computed once more.
pub struct Again<'a, T: Element> {
    pub place: Place<'a, T>,
    pub shift: Shift<T::Compute>,
    pub sum: SumOf<T>,
}

impl<T: Element> Kernel<T> for Again<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        last_first(
            self.place.cells(),
            #[inline(always)]
            |_, row| map::<T, T, L>(lanes, row, again::<T, L>(lanes, &self.shift, self.sum)),
        );
    }
}

/// e^(x − offset)·2^−N/S of an element x, computed once more.
#[inline(always)]
fn again<T: Element, L: Memory<T>>(lanes: L, shift: &Shift<T::Compute>, sum: SumOf<T>) -> impl Fn(V<T, L>) -> V<T, L> {
    let core = T::Compute::core(L::FUSED);
    let splat = shift.splat(lanes);
    let quotient = Quotient::new(lanes, sum);
    #[inline(always)]
    move |x| quotient.of(lanes, exp::<_, L, 1, true>(lanes, core, &splat, [x]).0[0])
}

/// [`Again`] from `x` to `y` with stores past the caches.
#[inline(always)]
fn stream<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
    y: &mut [MaybeUninit<T>],
    (shift, sum): (Shift<T::Compute>, SumOf<T>),
) {
    let n = T::Compute::LANES;
    // Where y reaches the alignment; the results are elementwise, so that a row may be cut anywhere.
    let head = y.as_ptr().align_offset(STREAM_ALIGN).min(x.len());
    let whole = (x.len() - head) / n * n;
    let (x_head, x) = x.split_at(head);
    let (y_head, y) = y.split_at_mut(head);
    let (x, x_tail) = x.split_at(whole);
    let (y, y_tail) = y.split_at_mut(whole);
    let f = again::<T, L>(lanes, &shift, sum);
    for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
        Memory::<T>::prefetch(lanes, x);
        lanes.stream(y, f(Memory::<T>::load(lanes, x)));
    }
    Memory::<T>::stream_end(lanes);
    for (x, y) in [(x_head, y_head), (x_tail, y_tail)] {
        let place = Place::Apart(x, y);
        lanes.call(Again { place, shift, sum });
    }
}

/// Every element of `y` the `value`.
#[inline(always)]
pub fn fill<T: Element>(y: &mut [MaybeUninit<T>], value: T) {
    for y in y {
        y.write(value);
    }
}

/// One row, `x` and `y` of the same length, apart. The exps are kept in the output, or computed twice where the tuning profile
/// takes the row for one beyond the caches: two reads and a streamed write are less traffic than a read, a write, and both
/// again. The generic profile has no such rows: kept exps of which the CPU is told in advance take less time than two.
#[inline(always)]
fn through_output<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, x: &[T], y: &mut [MaybeUninit<T>]) {
    if <L as Memory<T>>::STREAMS && Sizes::get().is_beyond(x) {
        return match sum(lanes, x) {
            Some(terms) => stream(lanes, x, y, terms),
            None => fill(y, T::NAN),
        };
    }
    let Some(e) = T::as_compute(y) else { return };
    let total = sum_storing(lanes, x, e);
    finish::<T, L>(lanes, e, total);
}

/// The quotients of a row whose exps are stored; NaN where it has no sum.
#[inline(always)]
fn finish<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    e: &mut [MaybeUninit<T::Compute>],
    total: Option<TotalOf<T>>,
) {
    match &total {
        Some(total) => quotients_in_place(lanes, e, total),
        None => fill(e, T::Compute::NAN),
    }
}

/// Memory, every element of which the caller stored.
#[inline(always)]
pub fn written<F: Float>(e: &mut [MaybeUninit<F>]) -> &mut [F] {
    #[allow(unsafe_code)]
    // SAFETY: the caller stored every element.
    unsafe {
        assume_written(e)
    }
}

/// e/S in the place of e, every element of which was stored.
#[inline(always)]
pub fn quotients_in_place<F: Float, L: Memory<F>>(lanes: L, e: &mut [MaybeUninit<F>], total: &Total<F>) {
    quotients_before(lanes, Cells::in_place(written(e)), total, None);
}

/// e/S of the exps `e` of a row that is followed by the one at `next`, if by any.
///
/// While a row in the L2 cache is divided, memory rests: if that cache has room, the CPU is told of the next row. Worth it
/// where exps are computed sooner than logits are read, and only for what is not soon written. Where nothing is flushed, what
/// is divided [`Beside`] the next row takes less time still.
#[inline(always)]
pub fn quotients_before<T: Element, L: Memory<T>>(
    lanes: L,
    e: Cells<'_, T>,
    total: &TotalOf<T>,
    next: Option<*const T>,
) {
    if let Some(next) = next
        && L::WIDE
        && is_followed(e.input())
    {
        return divide(lanes, Telling { e, next }, total);
    }
    last_first(
        e,
        #[inline(always)]
        |_, e| divide(lanes, e, total),
    );
}

/// Whether the L2 cache has room for a row like this and for the next, in and out.
#[inline(always)]
pub fn is_followed<T>(row: &[T]) -> bool {
    let sizes = Sizes::get();
    size_of_val(row) <= sizes.l2 / 4 && !sizes.is_beyond(row)
}

/// How many of the exps of a row are divided [`Beside`] the `next` elements of a row: the whole blocks, if there are as many and
/// no quotient is flushed.
#[inline(always)]
fn beside_len<T: Element>(total: &TotalOf<T>, len: usize, next: usize) -> usize {
    if !total.flushes && whole::<T>(len) == whole::<T>(next) {
        whole::<T>(len)
    } else {
        0
    }
}

/// Of a row of exps `e` the blocks that are divided [`Beside`] the `len` elements of the next, which are at `next`. The other
/// quotients are stored here.
#[inline(always)]
pub fn blocks_beside<'e, T: Element, L: Memory<T>>(
    lanes: L,
    e: Cells<'e, T>,
    total: &TotalOf<T>,
    (next, len): (*const T, usize),
) -> Option<Undivided<'e, T>> {
    let blocks = beside_len::<T>(total, e.len(), len);
    let (cells, rest) = e.split_at(blocks);
    quotients_before(lanes, rest, total, Some(next));
    (cells.len() > 0).then(
        #[inline(always)]
        || Before {
            cells,
            finish: total.terms::<L>(),
        },
    )
}

/// [`blocks_beside`] for exps `e` that are kept aside, and the place `y` of their quotients.
#[inline(always)]
pub fn blocks_aside<'e, T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    Pair(e, y): Pair<'e, T::Compute, T>,
    total: &TotalOf<T>,
    len: usize,
) -> Option<UndividedAside<'e, T>> {
    let blocks = beside_len::<T>(total, e.len(), len);
    let ((e, e_rest), (y, y_rest)) = (e.split_at(blocks), y.split_at_mut(blocks));
    divide(lanes, Pair(e_rest, y_rest), total);
    (blocks > 0).then(
        #[inline(always)]
        || Aside {
            row: Pair(e, y),
            finish: total.terms::<L>(),
        },
    )
}

/// One row whose exps are kept `aside` if they fit there.
#[inline(always)]
fn through_scratch<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
    y: &mut [MaybeUninit<T>],
    aside: &mut [MaybeUninit<T::Compute>],
) {
    let Some(e) = aside.get_mut(..x.len()) else {
        return beyond_scratch(lanes, Place::Apart(x, y), aside);
    };
    match sum_storing(lanes, x, e) {
        Some(total) => quotients(lanes, e, y, &total),
        None => fill(y, T::NAN),
    }
}

/// y = e/S from e, every element of which was stored.
#[inline(always)]
pub fn quotients<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    e: &mut [MaybeUninit<T::Compute>],
    y: &mut [MaybeUninit<T>],
    total: &TotalOf<T>,
) {
    divide(lanes, Pair(written(e), y), total);
}

/// One row in place; exps may be kept `aside`.
#[inline(always)]
fn row_in_place<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &mut [T],
    aside: &mut [MaybeUninit<T::Compute>],
) {
    if Sizes::get().is_beyond_l1(x)
        && let Some(shift) = overwrite::shift(lanes, x)
    {
        let total = overwrite::sum(lanes, x, shift, None);
        if let Some(e) = T::as_compute(as_output(x)) {
            finish::<T, L>(lanes, e, total);
        }
        return;
    }
    if let Some(e) = aside.get_mut(..x.len()) {
        return match sum_storing(lanes, x, e) {
            Some(total) => quotients(lanes, e, as_output(x), &total),
            None => fill(as_output(x), T::NAN),
        };
    }
    if T::IS_COMPUTE
        && size_of_val(x) <= Sizes::get().l2
        && let Some(shift) = certain_shift(lanes, x)
    {
        return lanes.call(StoreOver { x, shift });
    }
    beyond_scratch(lanes, Place::InPlace(x), aside);
}

/// One row whose exps do not fit `aside`.
#[inline(always)]
fn beyond_scratch<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    mut place: Place<'_, T>,
    aside: &mut [MaybeUninit<T::Compute>],
) {
    // The type stands here, so that what others do not run is not compiled.
    if !T::IS_COMPUTE {
        return lanes.call(LongRow { place, aside });
    }
    match sum(lanes, place.input()) {
        Some((shift, sum)) => lanes.call(Again { place, shift, sum }),
        None => fill(place.output(), T::NAN),
    }
}

/// The shift that [`sum`] would end with, where the maximum alone decides it: the exps can then replace the logits.
///
/// With d = max − guess, the largest e under the guess is 2^(32 + d/ln 2), about. From d = −16 on it is at least 128; up
/// to d = 36 the sum of 2^40 of them stays below 2^126; and beyond `BIAS`·ln 2 its exponent does not fit.
#[inline(always)]
fn certain_shift<T: Element, L: Memory<T>>(lanes: L, x: &[T]) -> Option<Shift<T::Compute>> {
    let (near, shift) = guess_near(x, L::FUSED);
    let d = max(lanes, x) - near;
    if d >= T::Compute::from_i32(-16) && d <= T::Compute::from_i32(36) {
        Some(shift)
    } else if d > T::Compute::from_i32(T::Compute::BIAS) * T::Compute::LN_2 {
        shift_of_max(lanes, x)
    } else {
        None
    }
}

/// One row in place under a shift that needs no check: a function of its own, see [`Lanes::call`].
struct StoreOver<'a, T: Element> {
    x: &'a mut [T],
    shift: Shift<T::Compute>,
}

impl<T: Element> Kernel<T> for StoreOver<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { x, shift } = self;
        let exps = exp_sum::<T, T, L, true, false>(lanes, Cells::in_place(x), &shift);
        let x = as_output(x);
        match T::as_compute(x) {
            Some(e) if !exps.sum.is_nan() => quotients_in_place(lanes, e, &exps.total()),
            _ => fill(x, T::NAN),
        }
    }
}

/// Softmax of one row of more than a block into another, of a type that exps have: it needs neither the frame nor the loop of
/// [`Softmax`]. Its argument goes through the call in a register, too.
pub struct OneRow<'p, 'a, T>(pub &'p mut Place<'a, T>);

impl<T: Element> Kernel<T> for OneRow<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        if let Place::Apart(x, y) = self.0 {
            through_output(lanes, x, y);
        }
    }
}

#[cfg(test)]
mod tests;
