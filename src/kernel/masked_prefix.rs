//! Masked rows that see their first columns, or all, by steps that stay in registers: the commonest ones of attention, without
//! what others need. Each is divided after the next is summed, or [`Beside`](super::row::Beside) its exps.

use super::addend::{Addend, Scaled};
use super::kept::Places;
use super::logits::{Call, with_added};
use super::masked::{Division, Waiting, exps_of, neutral, sink_exp, under_shift};
use super::passes::{Exps, exp_sum};
use super::row::Pair;
use super::short_masked::{Redo, Short, nearest_with_sink};
use super::softmax::{TotalOf, Undivided, accepts, fill, guess_for_quotients, quotients, quotients_in_place};
use super::{Buffers, Kernel};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory};
use crate::mask::FullyMasked;
use core::mem::MaybeUninit;

/// Whether the rows of a call are such ones, if their exps fit. Beside a sink a fully masked row is told from others by the sum
/// without it, which is not kept here.
#[inline(always)]
pub fn is_prefix<T: Element, L: Lanes<T::Compute>>(call: &Call<'_, T>) -> bool {
    let mask = call.mask;
    let sinks = !mask.has_sinks() || matches!(mask.fully_masked, FullyMasked::Zero);
    mask.sees_first() && sinks && with_added!(T, call, _added => true, false)
}

/// Which rows are left, and how far they see.
struct Ends<'c, 'm, T: Element> {
    short: Short<'c, 'm, T>,
    /// Of all rows, if that is so.
    all: Option<usize>,
}

impl<'c, 'm, T: Element> Ends<'c, 'm, T> {
    #[inline(always)]
    fn new(short: Short<'c, 'm, T>) -> Self {
        let all = short.call.mask.sees_all().then(
            #[inline(always)]
            || short.rows.len(0),
        );
        Self { short, all }
    }

    /// How many columns row `r` sees, if it exists and is not short.
    #[inline(always)]
    fn of(&self, r: usize) -> Option<usize> {
        match self.all {
            Some(end) => (r < self.short.rows.rows()).then_some(end),
            None => self.short.end_of_other(r),
        }
    }
}

/// softmax of the rows from `start` on until one is short, which that is: each is divided after the next is summed. Exps are kept
/// `aside`, where there is room for two rows, or in the output.
#[inline(always)]
pub fn overlapped<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    short: &Short<'_, '_, T>,
    start: &mut usize,
    aside: &mut [MaybeUninit<T::Compute>],
) {
    let (ends, zero, through_output) = (Ends::new(*short), T::narrow(T::Compute::ZERO), aside.is_empty());
    let (mut now, mut before) = aside.split_at_mut(aside.len() / 2);
    let mut found = [RowSum::none(), RowSum::none()];
    let mut end_before = None;
    loop {
        let (r, end) = (*start, ends.of(*start));
        if let Some(end) = end {
            let (x, y) = buffers.split(r);
            let e = match y.and_then(T::as_compute) {
                Some(e) if through_output => e,
                _ => &mut now[..],
            };
            store::<T, L, false>(
                lanes,
                short.call,
                r,
                (&x[..end], &mut e[..end]),
                None,
                &mut found[r % 2],
            );
        }
        if let Some(end) = end_before {
            let y = buffers.output(r - 1);
            match (found[(r - 1) % 2].total(), T::as_compute(&mut y[..end])) {
                (Ok(total), Some(e)) if through_output => quotients_in_place(lanes, e, &total),
                (Ok(total), _) => quotients(lanes, &mut before[..end], &mut y[..end], &total),
                (Err(value), _) => fill(&mut y[..end], value),
            }
            fill(&mut y[end..], found[(r - 1) % 2].filled.unwrap_or(zero));
        }
        if end.is_none() {
            return;
        }
        end_before = end;
        *start += 1;
        (now, before) = (before, now);
    }
}

/// The same, each divided [`Beside`](super::row::Beside) the exps of the next.
#[inline(always)]
pub fn followed<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    short: &Short<'_, '_, T>,
    start: &mut usize,
    aside: &mut [MaybeUninit<T::Compute>],
) {
    let (ends, zero) = (Ends::new(*short), T::narrow(T::Compute::ZERO));
    let (mut waiting, mut found) = (Waiting::new(aside), RowSum::none());
    while let Some(end) = ends.of(*start) {
        let r = *start;
        let (x, e, before) = waiting.row(lanes, buffers, r, 0..end, end);
        store::<T, L, true>(lanes, short.call, r, (x, e), before, &mut found);
        let y = buffers.output(r);
        waiting.keep(match found.total() {
            Ok(total) => {
                fill(&mut y[end..], zero);
                Some((0..end, total))
            }
            Err(value) => {
                fill(y, value);
                None
            }
        });
        *start += 1;
    }
    waiting.finish(lanes, buffers, *start);
}

/// What is found of a row. It is not copied from one row to the next: a copy reads more at once than was written, and waits for
/// that.
struct RowSum<T: Element> {
    exps: Exps<T::Compute>,
    /// What a row without a sum is filled with.
    filled: Option<T>,
}

impl<T: Element> RowSum<T> {
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
    found: &mut RowSum<T>,
) {
    let (mask, len) = (call.mask, x.len());
    let (start, sink) = (mask.shared().start(mask.first + r), mask.sink_of(r));
    found.filled = None;
    macro_rules! store {
        ($added:expr) => {{
            let added = Addend::<T>::row($added, start, len);
            lanes.call(StoreExps::<_, _, BESIDE> {
                x,
                e: &mut *e,
                scale: call.scale,
                sink,
                added,
                before,
                exps: &mut found.exps,
            })
        }};
    }
    with_added!(T, call, added => store!(added), unreachable!("see `is_prefix`"));
    if !accepts(&found.exps) {
        otherwise(lanes, call, r, (x, e), found);
    }
}

/// [`store`] for one kind of mask: a function of its own, which has the registers that it needs.
struct StoreExps<'a, T: Element, A, const BESIDE: bool> {
    x: &'a [T],
    e: &'a mut [MaybeUninit<T::Compute>],
    scale: T::Compute,
    sink: T::Compute,
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
            sink,
            added,
            before,
            exps,
        } = self;
        let near = nearest_with_sink(added.nearest(scale, x), sink, x.len());
        let shift;
        if BESIDE {
            let division = Division::Beside(before);
            shift = guess_for_quotients(neutral(near, &division), L::FUSED);
            let division = under_shift(lanes, division, &shift, A::MASKS);
            *exps = exps_of(lanes, (scale, 0), (x, Places::each(e)), division, added, &shift);
        } else {
            let row = Scaled::<_, _, false>(Pair(x, e), scale, added);
            shift = guess_for_quotients(near, L::FUSED);
            *exps = exp_sum::<T, T::Compute, L, false, false>(lanes, row, &shift);
            exps.large &= !A::MASKS;
        }
        if let Some((e, fits)) = sink_exp(lanes, &shift, sink) {
            exps.sum = exps.sum.add(e);
            exps.fits &= fits;
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
    found: &mut RowSum<T>,
) {
    // The sum of a row that has a sink is not that of its exps.
    let failed = (found.exps.fits && !call.mask.has_sinks()).then_some(found.exps.sum);
    let mut sum = Err(T::NAN);
    lanes.call(Redo {
        call,
        r,
        x,
        e,
        failed,
        found: &mut sum,
    });
    found.exps.large = false;
    match sum {
        Ok(sum) => found.exps.sum = sum,
        Err(value) => found.filled = Some(value),
    }
}
