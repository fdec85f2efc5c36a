//! Masked rows that have no room for their exps, or logits. For softmax some exps are [kept](KeptExps), and the logits of the
//! others computed twice; for log_softmax all are. But logits that take many steps replace the scores, where these lie in
//! place and have their type.

use super::kept::{KeptExps, Places, Spare};
use super::log_softmax::{self, log_of, subtract};
use super::logits::{CHUNK, Call, Logits, Room};
use super::masked::{Division, Found, NOTHING, Outcome, Special, fill_others, masked_value, sum};
use super::masked_log::outcome_of;
use super::passes::{ExpPass, Exps, Total, divide_each, map};
use super::row::{Pair, Read, last_first};
use super::softmax::{Again, TotalOf, written};
use super::{Buffers, Kernel, Place};
use crate::arch::memory::{Scratch, as_output};
use crate::element::{Element, Float, Sum};
use crate::lanes::Memory;
use crate::math::exp::{Shift, exp};
use core::convert::identity;

/// softmax, or log_softmax, of the masked logits of row `r`: a function of its own, and so is its stack.
pub struct MaskedLong<'b, 'c, 'a, 'm, T: Element> {
    pub buffers: &'b mut Buffers<'a, T>,
    pub call: &'c Call<'m, T>,
    pub r: usize,
    pub log: bool,
}

impl<T: Element> Kernel<T> for MaskedLong<'_, '_, '_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, call, r, log } = self;
        let value = (call.mask, masked_value(log));
        let visible = call.mask.visible(r, buffers.rows.len(r));
        if visible.is_empty() {
            return fill_others(buffers.output(r), (0, 0), NOTHING, value);
        }
        let logits = &call.logits(r, &visible);
        let (a, b) = (logits.start, logits.end);
        let mut scratch = Scratch::new();
        let mut spare = Spare::new(scratch.as_elements());
        let mut place = buffers.row(r).part(a..b);
        let kept = KeptExps::of(&mut place, &spare);
        let mut outcome = Outcome::none(Special::Nan, L::FUSED);
        let ((x, e), found) = if log {
            let dropped = Places::dropped(spare.few, b - a);
            ((place.input(), dropped), Found::Log(&mut outcome))
        } else {
            (kept.places(&mut place, &mut spare), Found::Row(&mut outcome))
        };
        sum(lanes, logits, x, e, Division::Alone, found);
        if let Ok(sum) = outcome.sum {
            let total = Total::new(sum, outcome.large);
            let others = if log {
                0..b - a
            } else {
                kept.quotients(lanes, &mut place, spare, &total)
            };
            if !others.is_empty() {
                lanes.call(Results {
                    logits,
                    first: others.start,
                    place: place.part(others),
                    shift: outcome.shift,
                    total,
                    log,
                    by_all_steps: outcome.by_all_steps,
                });
            }
        }
        fill_others(buffers.output(r), (a, b), outcome.sum, value);
    }
}

/// softmax, or log_softmax, of row `r`, whose scores are in place and of a type that logits have: these are stored over them. A
/// function of its own, and so is its stack.
pub struct MaskedOver<'b, 'c, 'a, 'm, T: Element> {
    pub buffers: &'b mut Buffers<'a, T>,
    pub call: &'c Call<'m, T>,
    pub r: usize,
    pub log: bool,
}

impl<T: Element> Kernel<T> for MaskedOver<'_, '_, '_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, call, r, log } = self;
        let value = (call.mask, masked_value(log));
        let Place::InPlace(row) = buffers.row(r) else { return };
        let visible = call.mask.visible(r, row.len());
        if visible.is_empty() {
            return fill_others(as_output(row), (0, 0), NOTHING, value);
        }
        let logits = &call.logits(r, &visible);
        let (a, b) = (logits.start, logits.end);
        let guessed = exps_over(lanes, logits, &mut row[a..b]);
        let y = as_output(row);
        let Some(z) = T::as_compute(&mut y[a..b]) else { return };
        let z = written(z);
        let Outcome { shift, sum, .. } = outcome_of(lanes, logits, z, guessed);
        if let Ok(sum) = sum {
            let place = Place::InPlace(z);
            if log {
                subtract(lanes, place, log_softmax::log(&shift, sum));
            } else {
                lanes.call::<T::Compute, _>(Again { place, shift, sum });
            }
        }
        fill_others(y, (a, b), sum, value);
    }
}

/// The logits of the scores `x` over them, and Σe under the shift that is guessed.
#[inline(always)]
fn exps_over<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    x: &mut [T],
) -> (Shift<T::Compute>, Exps<T::Compute>) {
    let shift = logits.guess(x, L::FUSED);
    let (splat, mut pass) = (shift.splat(lanes), ExpPass::new(lanes, logits.start));
    let mut room = Room::new();
    for (i, x) in x.chunks_mut(CHUNK).enumerate() {
        let z = &room.logits(lanes, logits, (i * CHUNK, x))[..x.len()];
        pass.add::<T::Compute, T::Compute, _, true, false>((&shift, &splat), Read(z));
        map(lanes, Pair(z, as_output(x)), identity);
    }
    (shift, pass.exps())
}

/// The results of a row whose sum is known, or of a part of one.
pub struct Results<'a, 'm, T: Element> {
    pub logits: &'a Logits<'a, 'm, T>,
    /// Where in `logits` the part begins.
    pub first: usize,
    pub place: Place<'a, T>,
    pub shift: Shift<T::Compute>,
    pub total: TotalOf<T>,
    pub log: bool,
    /// Whether its logits are those of all steps alone: see [`Outcome`].
    pub by_all_steps: bool,
}

impl<T: Element> Kernel<T> for Results<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            logits,
            first,
            place,
            shift,
            total,
            log,
            by_all_steps,
        } = self;
        let (core, splat, (high, low)) = (T::Compute::core(L::FUSED), shift.splat(lanes), total.sum.log(shift.n));
        let terms = [lanes.splat(shift.offset), lanes.splat(high), lanes.splat(low)];
        let mut room = Room::new();
        last_first(
            place.cells(),
            #[inline(always)]
            |start, mut cells| {
                let mut at = 0;
                while at < cells.len() {
                    let z = room.some(lanes, logits, (first + start + at, &cells.input()[at..]), by_all_steps);
                    let y = Pair(z, &mut cells.output()[at..at + z.len()]);
                    at += z.len();
                    if log {
                        map(
                            lanes,
                            y,
                            #[inline(always)]
                            |z| log_of(lanes, z, terms),
                        );
                    } else {
                        divide_each(
                            lanes,
                            y,
                            &total,
                            #[inline(always)]
                            |z| exp::<_, L, 1, true>(lanes, core, &splat, [z]).0[0],
                        );
                    }
                }
            },
        );
    }
}
