//! Masked rows that see all columns, by steps that stay in registers: the commonest ones of attention, without what others
//! need. Each is divided after the next is summed, or [`Beside`](super::row::Beside) its exps.

use super::addend::{Added, Addend, Nothing, Scaled, Single, with_addend};
use super::kept::Places;
use super::logits::{Call, Steps};
use super::masked::{Division, exps_of, neutral, under_shift};
use super::passes::{Exps, exp_sum};
use super::row::Pair;
use super::short_masked::Redo;
use super::softmax::{
    OVERLAPPED, TotalOf, Undivided, accepts, are_beside, blocks_beside, fill, fit_aside, guess_for_quotients,
    half_scratch, is_followed, quotients, quotients_in_place, written,
};
use super::{Buffers, Kernel};
use crate::arch::memory::{Cells, Scratch};
use crate::element::Element;
use crate::lanes::{Lanes, Memory};
use core::mem::MaybeUninit;

/// Softmax of all rows of a call, which [is one of these](is_alike). Exps are kept `ASIDE`, or in the output, which is apart
/// and has their type; they are divided `BESIDE` those of the next row, or behind them. A function of its own: so is its stack.
pub struct Alike<'p, 'a, 'm, T: Element, const ASIDE: bool, const BESIDE: bool> {
    pub buffers: &'p mut Buffers<'a, T>,
    pub call: &'p Call<'m, T>,
}

/// Whether the rows of a call are such ones.
#[inline(always)]
pub fn is_alike<T: Element, L: Lanes<T::Compute>>(buffers: &Buffers<'_, T>, call: &Call<'_, T>) -> bool {
    let (cols, mask) = (buffers.rows.len(0), call.mask);
    let fits = match (buffers.output_holds_exps(), are_beside::<T, L>(cols)) {
        (true, true) => T::IS_COMPUTE && is_followed(buffers.input(0)),
        (false, true) => T::IS_COMPUTE && fit_aside::<T>(cols),
        (true, false) => cols <= OVERLAPPED,
        (false, false) => cols <= OVERLAPPED.min(half_scratch::<T>()),
    };
    fits && mask.sees_all()
        && !mask.has_sinks()
        && match call.steps {
            Steps::Scale | Steps::Add(_) => true,
            Steps::AddSloped | Steps::Keep if T::IS_SINGLE => {
                with_addend!(T, (mask.values(), call.slope, mask.kept()), _added => true, false)
            }
            _ => false,
        }
}

impl<T: Element, const ASIDE: bool, const BESIDE: bool> Kernel<T> for Alike<'_, '_, '_, T, ASIDE, BESIDE> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, call } = self;
        let mut scratch;
        let aside = if ASIDE {
            scratch = Scratch::new();
            scratch.as_elements()
        } else {
            &mut []
        };
        if BESIDE {
            followed(lanes, buffers, call, aside);
        } else {
            overlapped(lanes, buffers, call, aside);
        }
    }
}

/// [`Alike`] with room for two rows `aside`, or none, not `BESIDE`.
#[inline(always)]
fn overlapped<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    call: &Call<'_, T>,
    aside: &mut [MaybeUninit<T::Compute>],
) {
    let (rows, through_output) = (buffers.rows.rows(), aside.is_empty());
    let (mut now, mut before) = aside.split_at_mut(aside.len() / 2);
    let mut found = [Found::none(), Found::none()];
    for r in 0..=rows {
        if r < rows {
            let (x, y) = buffers.split(r);
            let e = match y.and_then(T::as_compute) {
                Some(e) if through_output => e,
                _ => &mut now[..x.len()],
            };
            store::<T, L, false>(lanes, call, r, (x, e), None, &mut found[r % 2]);
        }
        if r > 0 {
            let y = buffers.output(r - 1);
            match (found[(r - 1) % 2].total(), T::as_compute(y)) {
                (Ok(total), Some(e)) if through_output => quotients_in_place(lanes, e, &total),
                (Ok(total), _) => quotients(lanes, &mut before[..y.len()], y, &total),
                (Err(value), _) => fill(y, value),
            }
        }
        (now, before) = (before, now);
    }
}

/// [`Alike`] with room for two rows `aside`, or none, `BESIDE`.
#[inline(always)]
fn followed<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    call: &Call<'_, T>,
    aside: &mut [MaybeUninit<T::Compute>],
) {
    let (rows, through_output) = (buffers.rows.rows(), aside.is_empty());
    let (mut now, mut kept) = aside.split_at_mut(aside.len() / 2);
    // What the row before is divided by, if its exps wait for that.
    let mut waiting: Option<TotalOf<T>> = None;
    let mut found = Found::none();
    for r in 0..rows {
        let mut place;
        let (x, e, y_before) = if through_output {
            let (x, y, before) = buffers.split_after(r);
            (x, T::as_compute(y), before)
        } else if waiting.is_some() {
            let x;
            (x, place) = buffers.with_before(r);
            (x, Some(&mut now[..x.len()]), place.output())
        } else {
            let x = buffers.input(r);
            (x, Some(&mut now[..x.len()]), &mut [][..])
        };
        let next = (x.as_ptr().cast(), x.len());
        let before = match (waiting.take(), T::as_compute(y_before)) {
            (Some(total), Some(y)) => {
                let e = if through_output {
                    Cells::in_place(written(y))
                } else {
                    Cells::apart(written(&mut kept[..y.len()]), y)
                };
                blocks_beside(lanes, e, &total, next)
            }
            _ => None,
        };
        store::<T, L, true>(lanes, call, r, (x, e.unwrap_or_default()), before, &mut found);
        match found.total() {
            Ok(total) => waiting = Some(total),
            Err(value) => fill(buffers.output(r), value),
        }
        (now, kept) = (kept, now);
    }
    if let Some(total) = waiting {
        let y = buffers.output(rows - 1);
        match T::as_compute(y) {
            Some(e) if through_output => quotients_in_place(lanes, e, &total),
            _ => quotients(lanes, &mut kept[..y.len()], y, &total),
        }
    }
}

/// What is found of a row. It is not copied from one row to the next: a copy reads more at once than was written, and waits for
/// that.
struct Found<T: Element> {
    exps: Exps<T::Compute>,
    /// What a row without a sum is filled with.
    filled: Option<T>,
}

impl<T: Element> Found<T> {
    #[inline(always)]
    fn none() -> Self {
        Self {
            exps: Exps::none(),
            filled: None,
        }
    }

    /// What the row is divided by, or filled with.
    #[inline(always)]
    fn total(&self) -> Result<TotalOf<T>, T> {
        match self.filled {
            None => Ok(self.exps.total()),
            Some(value) => Err(value),
        }
    }
}

/// Stores the exps of row `r`, and finds their sum. If `BESIDE`, the division of the row before is done beside
/// them.
#[inline(always)]
fn store<T: Element, L: Memory<T> + Memory<T::Compute>, const BESIDE: bool>(
    lanes: L,
    call: &Call<'_, T>,
    r: usize,
    (x, e): (&[T], &mut [MaybeUninit<T::Compute>]),
    before: Option<Undivided<'_, T::Compute>>,
    found: &mut Found<T>,
) {
    let (mask, cols) = (call.mask, x.len());
    let start = mask.shared().start(mask.first + r);
    found.filled = None;
    macro_rules! store {
        ($added:expr) => {{
            let added = Addend::<T>::row($added, start, cols);
            lanes.call(StoreExps::<_, _, BESIDE> {
                x,
                e: &mut *e,
                scale: call.scale,
                added,
                before,
                exps: &mut found.exps,
            })
        }};
    }
    match call.steps {
        Steps::Scale => store!(Nothing),
        Steps::Add(values) => store!(Added(Single(values))),
        Steps::AddSloped | Steps::Keep if T::IS_SINGLE => {
            with_addend!(T, (mask.values(), call.slope, mask.kept()), added => store!(added), {});
        }
        _ => {}
    }
    if !accepts(&found.exps) {
        otherwise(lanes, call, r, (x, e), found);
    }
}

/// [`store`] for one kind of mask: a function of its own, which has the registers that it needs.
struct StoreExps<'a, T: Element, A, const BESIDE: bool> {
    x: &'a [T],
    e: &'a mut [MaybeUninit<T::Compute>],
    scale: T::Compute,
    added: A,
    before: Option<Undivided<'a, T::Compute>>,
    exps: &'a mut Exps<T::Compute>,
}

impl<T: Element, A: Addend<T>, const BESIDE: bool> Kernel<T> for StoreExps<'_, T, A, BESIDE> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            x,
            e,
            scale,
            added,
            before,
            exps,
        } = self;
        let near = added.nearest(scale, x);
        if BESIDE {
            let division = Division::Beside(before);
            let shift = guess_for_quotients(neutral(near, &division), L::FUSED);
            let division = under_shift(lanes, division, &shift, A::MASKS);
            *exps = exps_of(lanes, (scale, 0), (x, Places::each(e)), division, added, &shift);
        } else {
            let row = Scaled::<_, _, false>(Pair(x, e), scale, added);
            let shift = guess_for_quotients(near, L::FUSED);
            *exps = exp_sum::<T, T::Compute, L, false, false>(lanes, row, &shift);
            exps.large &= !A::MASKS;
        }
    }
}

/// [`store`] of a row whose guess failed.
#[cold]
#[inline(never)]
fn otherwise<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    call: &Call<'_, T>,
    r: usize,
    (x, e): (&[T], &mut [MaybeUninit<T::Compute>]),
    found: &mut Found<T>,
) {
    let failed = found.exps.fits.then_some(found.exps.sum);
    let shift = call.logits(r, &(0..x.len())).guess(x, L::FUSED);
    let mut sum = Err(T::NAN);
    lanes.call(Redo {
        call,
        r,
        x,
        e,
        shift,
        failed,
        found: &mut sum,
    });
    found.exps.large = false;
    match sum {
        Ok(sum) => found.exps.sum = sum,
        Err(value) => found.filled = Some(value),
    }
}
