//! masked_log_softmax of rows whose masked logits z have room: they are computed once, and log_softmax of them.
//!
//! z goes to stack scratch, where several short rows are side by side ([`LogSums`]), or, of long rows, to the output where
//! that can hold it. What is added to most scores is an [`Addend`], which makes NaN of a NaN in a masked place: a row without
//! a sum gets its logits once more, by all steps. The shift of a row is guessed from its scores, as in
//! [`masked`](super::masked), so that its bits are those of the passes there, which threads share.

use super::log_softmax::{log, log_of, subtract};
use super::logits::{CHUNK, Call, Logits, LogitsInto};
use super::masked::{NOTHING, Outcome, decide, fill_others, masked_value, with_sink};
use super::passes::{ExpPass, Exps, exp_sum_from, map, max};
use super::row::{Pair, Read};
use super::short_rows::{AT_ONCE, LogSums, longest};
use super::softmax::guess;
use super::{Buffers, Kernel, Place};
use crate::arch::memory::{Scratch, as_output, assume_written};
use crate::element::{Element, Float, Sum};
use crate::lanes::Memory;
use crate::layout::Layout;
use crate::math::exp::Shift;
use crate::rows::Rows;
use core::mem::MaybeUninit;
use core::ops::Range;

/// log_softmax of the masked logits of each row: a function of its own, and so is its stack.
pub struct MaskedLog<'b, 'c, 'a, 'm, T: Element> {
    pub buffers: &'b mut Buffers<'a, T>,
    pub call: &'c Call<'m, T>,
}

impl<T: Element> Kernel<T> for MaskedLog<'_, '_, '_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, call } = self;
        let (rows, cols) = (buffers.rows.rows(), buffers.rows.len(0));
        let (mut scratch, zero) = (Scratch::new(), T::Compute::ZERO);
        if rows == 1 || cols > longest::<T>() || call.mask.has_sinks() {
            let room = if buffers.output_holds_exps() { 0 } else { cols };
            let z = scratch.filled(room, zero);
            for r in 0..rows {
                one(lanes, buffers, call, r, z);
            }
            return;
        }
        let pitch = cols.next_multiple_of(T::Compute::LANES).max(1);
        let at_once = rows.min(AT_ONCE).min(Scratch::capacity::<T::Compute>() / pitch);
        let z = scratch.filled(at_once * pitch, zero);
        let mut known = LogSums::none();
        let mut r = 0;
        while r < rows {
            let end = rows.min(r + at_once);
            side_by_side(lanes, buffers, call, r..end, (&mut *z, pitch), &mut known);
            r = end;
        }
    }
}

/// Some short rows without sinks, with room for their logits, `pitch` places to each.
#[inline(always)]
fn side_by_side<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    call: &Call<'_, T>,
    rows: Range<usize>,
    (z, pitch): (&mut [T::Compute], usize),
    known: &mut LogSums<T::Compute>,
) {
    let cols = buffers.rows.len(rows.start);
    let mut guesses = [guess::<T>(&[], L::FUSED); AT_ONCE];
    for (r, (z, guess)) in rows.clone().zip(z.chunks_exact_mut(pitch).zip(&mut guesses)) {
        let visible = call.mask.visible(r, cols);
        let logits = call.logits(r, &visible);
        let (a, b) = logits.columns();
        if b > a {
            let x = &buffers.input(r)[a..b];
            *guess = logits.guess(x, L::FUSED);
            let (logits, z, by_all_steps) = (&logits, as_output(&mut z[a..b]), false);
            lanes.call(LogitsInto {
                logits,
                x,
                at: 0,
                z,
                by_all_steps,
            });
        }
        z[..a].fill(-T::Compute::INFINITY);
        z[b..cols].fill(-T::Compute::INFINITY);
    }
    let in_scratch = Layout::Strided(Rows::new(rows.len(), cols).with_x_stride(pitch));
    let mut first = 0;
    while first < rows.len() {
        known.find_under(lanes, z, &in_scratch, first, &guesses);
        for i in 0..known.count {
            let (r, z) = (rows.start + first + i, &mut z[(first + i) * pitch..][..pitch]);
            match known.log(i) {
                Some(log) => log_softmax_of(lanes, &z[..cols], buffers.output(r), log),
                None => one(lanes, buffers, call, r, z),
            }
        }
        first += known.count;
    }
}

/// One row, with room for its logits; in the output, if that is none.
#[inline(always)]
fn one<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    call: &Call<'_, T>,
    r: usize,
    z: &mut [T::Compute],
) {
    lanes.call(OneRow { buffers, call, r, z });
}

/// [`one`] as a function of its own.
struct OneRow<'b, 'c, 'a, 'm, T: Element> {
    buffers: &'b mut Buffers<'a, T>,
    call: &'c Call<'m, T>,
    r: usize,
    z: &'b mut [T::Compute],
}

impl<T: Element> Kernel<T> for OneRow<'_, '_, '_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, call, r, z } = self;
        let value = (call.mask, masked_value::<T>(true));
        let visible = call.mask.visible(r, buffers.rows.len(r));
        if visible.is_empty() {
            return fill_others(buffers.output(r), (0, 0), NOTHING, value);
        }
        let logits = call.logits(r, &visible);
        let (a, b) = (logits.start, logits.end);
        let (x, y) = buffers.split(r);
        let through_output = z.is_empty();
        let place = match y {
            Some(y) if through_output => T::as_compute(&mut y[a..b]),
            _ => Some(as_output(&mut z[..b - a])),
        };
        let (found, outcome) = sum(lanes, &logits, &x[a..b], place.unwrap_or_default());
        if let Ok(sum) = outcome.sum {
            let log = log(&outcome.shift, sum);
            if through_output {
                subtract(lanes, Place::InPlace(found), log);
            } else {
                log_softmax_of(lanes, &z[..b - a], &mut buffers.output(r)[a..b], log);
            }
        }
        fill_others(buffers.output(r), (a, b), outcome.sum, value);
    }
}

/// The logits of a row into `z`, and its sum.
#[inline(always)]
fn sum<'z, T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    x: &[T],
    z: &'z mut [MaybeUninit<T::Compute>],
) -> (&'z mut [T::Compute], Outcome<T>) {
    let shift = logits.guess(x, L::FUSED);
    let mut by_all_steps = false;
    let exps = loop {
        let exps = exps_and_logits(lanes, logits, x, z, &shift, by_all_steps);
        if by_all_steps || !exps.sum.is_nan() {
            break exps;
        }
        by_all_steps = true;
    };
    #[allow(unsafe_code)]
    // SAFETY: `exps_and_logits` stored every logit.
    let z = unsafe { assume_written(z) };
    let outcome = outcome_of(lanes, logits, z, (shift, exps));
    (z, outcome)
}

/// What became of a row whose logits are stored, and their exps summed under the guessed shift.
#[inline(always)]
pub fn outcome_of<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    z: &[T::Compute],
    (shift, exps): (Shift<T::Compute>, Exps<T::Compute>),
) -> Outcome<T> {
    decide(
        logits,
        L::FUSED,
        (shift, with_sink(lanes, exps, &shift, logits.sink)),
        #[inline(always)]
        || max(lanes, z),
        #[inline(always)]
        |shift| {
            let (start, mut exps) = (logits.start, Exps::none());
            lanes.call::<T::Compute, _>(ExpsOf {
                z,
                start,
                shift,
                exps: &mut exps,
            });
            with_sink(lanes, exps, shift, logits.sink)
        },
    )
}

/// Σe of logits that lie `start` behind the beginning of their row: a function of its own, the same for rows of all types.
struct ExpsOf<'a, F: Float> {
    z: &'a [F],
    start: usize,
    shift: &'a Shift<F>,
    exps: &'a mut Exps<F>,
}

impl<F: Float> Kernel<F> for ExpsOf<'_, F> {
    #[inline(always)]
    fn run<L: Memory<F> + Memory<F::Compute>>(self, lanes: L) {
        *self.exps = exp_sum_from::<F, F, L, true, true>(lanes, Read(self.z), self.start, self.shift);
    }
}

/// The logits of a row into `z`, and Σe under a shift: a chunk at a time.
#[inline(always)]
fn exps_and_logits<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    x: &[T],
    z: &mut [MaybeUninit<T::Compute>],
    shift: &Shift<T::Compute>,
    by_all_steps: bool,
) -> Exps<T::Compute> {
    let splat = (shift, &shift.splat(lanes));
    let mut pass = ExpPass::new(lanes, logits.start);
    for (i, (x, z)) in x.chunks(CHUNK).zip(z.chunks_mut(CHUNK)).enumerate() {
        let at = i * CHUNK;
        lanes.call(LogitsInto {
            logits,
            x,
            at,
            z: &mut *z,
            by_all_steps,
        });
        #[allow(unsafe_code)]
        // SAFETY: `LogitsInto` stored all of them.
        let z = unsafe { assume_written(z) };
        pass.add::<T::Compute, T::Compute, _, true, false>(splat, Read(z));
    }
    pass.exps()
}

/// log_softmax of the logits `z`, from what [`log`] says of their sum.
#[inline(always)]
fn log_softmax_of<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    z: &[T::Compute],
    y: &mut [MaybeUninit<T>],
    [offset, high, low]: [T::Compute; 3],
) {
    let terms = [lanes.splat(offset), lanes.splat(high), lanes.splat(low)];
    map::<T::Compute, T, L>(
        lanes,
        Pair(z, y),
        #[inline(always)]
        |z| log_of(lanes, z, terms),
    );
}
