//! masked_softmax and masked_log_softmax: softmax of the masked logits z.
//!
//! Only the visible range [a, b) of a row is read; the rest of the result is filled. Element i of the row adds into lane
//! i mod 32 wherever the range starts: computation starts with the whole block that holds a, and the guess of the shift
//! looks at the ends and the middle of the range. So neither stride nor neighbours nor the kind of pass show in the bits.
//!
//! softmax of rows of few visible places, the first ones, runs side by side ([`Short`]). Of others it keeps the exps
//! where they fit, in the output or in stack scratch, and multiplies them by the reciprocal of the sum, one row later or
//! [`Beside`] the exps of the next row. Rows that see their first columns by the commonest steps have a loop of their own for
//! that ([`masked_prefix`]), without what others need: of a window, of many steps, of sinks where a fully masked row is NaN,
//! or too long for either.
//! log_softmax keeps z there ([`MaskedLog`]). Rows that fit nowhere keep some exps, or z in the place of the scores
//! ([`masked_long`](super::masked_long)). Where the guessed shift fails, z is computed once more for its maximum. A sink is
//! one more term of the sum.
//!
//! Threads share a long row by the kernels of [`super::segments`], which are the passes of this file; what is decided
//! between them ([`decide`]) is the same code.

#[cfg(feature = "half")]
use super::addend::Narrow;
use super::addend::{Added, Addend, Nothing, Scaled, Single, Sloped, Taken, with_addend};
use super::kept::Places;
use super::logits::{CHUNK, Call, Logits, Room, Steps};
use super::masked_log::MaskedLog;
use super::masked_long::{MaskedLong, MaskedOver};
use super::masked_prefix::{self, is_prefix};
use super::passes::{ExpPass, Exps, Total, exp_sum_from};
use super::row::{Beside, Pair};
use super::short_masked::Short;
use super::softmax::{
    OVERLAPPED, SumOf, TotalOf, Undivided, are_beside, blocks_beside, fill, fit_aside, guess, guess_for_quotients,
    half_scratch, is_followed, quotients, quotients_before, quotients_in_place, shift_at, written,
};
use super::{Buffers, Kernel, Place};
use crate::arch::memory::{Cells, Scratch};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory};
#[cfg(feature = "half")]
use crate::mask::MaskValues;
use crate::mask::{FullyMasked, Mask};
use crate::math::exp::{Shift, exp};
use core::mem::MaybeUninit;
use core::ops::Range;

/// softmax, or log_softmax, of the masked logits of each row. Its argument goes through the call in a register, as that of
/// [`Softmax`](super::softmax::Softmax).
pub struct Masked<'p, 'a, T: Element>(pub &'p mut MaskedRows<'a, T>);

/// Rows, their mask, and whether the logarithms are wanted.
pub struct MaskedRows<'a, T: Element> {
    pub buffers: Buffers<'a, T>,
    pub mask: &'a Mask<'a, T>,
    pub log: bool,
}

impl<T: Element> Kernel<T> for Masked<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let &mut MaskedRows {
            ref mut buffers,
            mask,
            log,
        } = self.0;
        let call = Call::new(mask);
        let (rows, cols) = (buffers.rows.rows(), buffers.rows.len(0));
        let apart = matches!(buffers.place, Place::Apart(..));
        let keeps = buffers.output_holds_exps() || cols <= Scratch::capacity::<T::Compute>();
        if log && keeps {
            return lanes.call(MaskedLog { buffers, call: &call });
        }
        let short = Short {
            call: &call,
            rows: buffers.rows,
            apart,
        };
        let mut r = 0;
        // Types and constants stand in the conditions themselves, so that what others do not run is not compiled.
        while r < rows {
            if !log && short.spot(r).is_some() {
                short.run(lanes, &mut buffers.place, &mut r);
            } else if !keeps {
                let (buffers, call) = (&mut *buffers, &call);
                if T::IS_COMPUTE && !in_registers::<T>(call.steps) {
                    lanes.call(MaskedOver { buffers, call, r, log });
                } else {
                    lanes.call(MaskedLong { buffers, call, r, log });
                }
                r += 1;
            } else {
                let prefix = is_prefix::<T, L>(&call);
                let (buffers, short, start) = (&mut *buffers, &short, &mut r);
                let through_output = buffers.output_holds_exps();
                let beside = are_beside::<T, L>(cols) && in_registers::<T>(call.steps);
                if T::IS_COMPUTE && L::WIDE && beside && through_output && is_followed(buffers.input(*start)) {
                    if prefix {
                        lanes.call(Stored::<_, true, false, true> { buffers, short, start });
                    } else {
                        lanes.call(Stored::<_, false, false, true> { buffers, short, start });
                    }
                } else if T::IS_COMPUTE && L::WIDE && beside && !through_output && fit_aside::<T>(cols) {
                    if prefix {
                        lanes.call(Stored::<_, true, true, true> { buffers, short, start });
                    } else {
                        lanes.call(Stored::<_, false, true, true> { buffers, short, start });
                    }
                } else if through_output {
                    if !L::COMPACT && T::IS_COMPUTE && prefix && cols <= OVERLAPPED {
                        lanes.call(Stored::<_, true, false, false> { buffers, short, start });
                    } else {
                        lanes.call(Stored::<_, false, false, false> { buffers, short, start });
                    }
                } else if !L::COMPACT && prefix && cols <= OVERLAPPED.min(half_scratch::<T>()) {
                    lanes.call(Stored::<_, true, true, false> { buffers, short, start });
                } else {
                    lanes.call(Stored::<_, false, true, false> { buffers, short, start });
                }
            }
        }
    }
}

/// Scores, and the places of their exps.
pub type ScoresAndPlaces<'a, T> = (&'a [T], Places<'a, <T as Element>::Compute>);

/// Where the division of a row stands.
pub enum Division<'a, F: Float> {
    /// Behind its own sum, or that of the next row.
    Alone,
    /// [`Beside`] the exps of the next row; and so, beside those of this one, that of the row before, if that waits.
    Beside(Option<Undivided<'a, F>>),
}

/// Whether the exps of a row may go through registers alone, and a division stand beside them.
#[inline(always)]
fn in_registers<T: Element>(steps: Steps<'_>) -> bool {
    match steps {
        Steps::Scale | Steps::Add(_) => true,
        Steps::AddSloped | Steps::Keep => T::IS_SINGLE,
        Steps::Exclude | Steps::All => false,
    }
}

/// Why a row has no sum.
#[derive(Clone, Copy)]
pub enum Special {
    Nan,
    FullyMasked,
}

impl Special {
    /// What stands in the visible places of such a row, `masked` being the result of a masked place.
    #[inline(always)]
    pub fn value<T: Element>(self, mask: &Mask<'_, T>, masked: T) -> T {
        match (self, mask.fully_masked) {
            (Self::FullyMasked, FullyMasked::Zero) => masked,
            _ => T::NAN,
        }
    }
}

/// The sum of a row that sees nothing.
pub const NOTHING: Result<(), Special> = Err(Special::FullyMasked);

/// What became of a row.
#[derive(Clone, Copy)]
pub struct Outcome<T: Element> {
    /// The shift under which its sum is.
    pub shift: Shift<T::Compute>,
    pub sum: Result<SumOf<T>, Special>,
    /// Whether its exps are all large.
    pub large: bool,
    /// Of [`SumRow`]: whether its logits are those of all steps alone, for fewer make NaN of what stands in a masked place.
    pub by_all_steps: bool,
}

impl<T: Element> Outcome<T> {
    /// Of a row that has no sum, whatever the shift.
    #[inline(always)]
    pub fn none(special: Special, fused: bool) -> Self {
        Self {
            shift: guess::<T>(&[], fused),
            sum: Err(special),
            large: false,
            by_all_steps: false,
        }
    }
}

/// Fills what is not computed of the results `y` of a row: what is beside its columns from `a` to `b`, or, where it has no
/// `sum`, all.
#[inline(always)]
pub fn fill_others<T: Element, S>(
    y: &mut [MaybeUninit<T>],
    (a, b): (usize, usize),
    sum: Result<S, Special>,
    (mask, masked): (&Mask<'_, T>, T),
) {
    match sum {
        Ok(_) => {
            fill(&mut y[..a], masked);
            fill(&mut y[b..], masked);
        }
        Err(special) => fill(y, special.value(mask, masked)),
    }
}

/// The result of a masked place.
#[inline(always)]
pub fn masked_value<T: Element>(log: bool) -> T {
    if log {
        T::NEG_INFINITY
    } else {
        T::narrow(T::Compute::ZERO)
    }
}

/// Exps of a row and its sink.
pub struct WithSink<F: Float> {
    exps: Exps<F>,
    total: F::Sum,
}

impl<F: Float> WithSink<F> {
    /// No sink yet.
    #[inline(always)]
    pub fn none(exps: Exps<F>) -> Self {
        Self { total: exps.sum, exps }
    }

    /// Adds the sink.
    #[inline(always)]
    pub fn join<L: Lanes<F>>(&mut self, lanes: L, shift: &Shift<F>, sink: F) {
        if let Some((e, fits)) = sink_exp(lanes, shift, sink) {
            self.total = self.total.add(e);
            self.exps.fits &= fits;
        }
    }
}

/// The exp of a sink, if there is one, and whether its exponent fits its field.
#[inline(always)]
pub fn sink_exp<F: Float, L: Lanes<F>>(lanes: L, shift: &Shift<F>, sink: F) -> Option<(F::Sum, bool)> {
    // Not equal, so that NaN joins.
    if sink == -F::INFINITY {
        return None;
    }
    let core = F::core(L::FUSED);
    let ([e], [t]) = exp::<_, L, 1, true>(lanes, core, &shift.splat(lanes), [lanes.splat(sink)]);
    let fits = lanes.seen_none_of(lanes.seen(lanes.seen_none(), t), core.forbidden);
    Some((F::Sum::of(lanes.reduce_max(e)), fits))
}

/// The exps of a row and its sink.
#[inline(always)]
pub fn with_sink<F: Float, L: Lanes<F>>(lanes: L, exps: Exps<F>, shift: &Shift<F>, sink: F) -> WithSink<F> {
    let mut sums = WithSink::none(exps);
    sums.join(lanes, shift, sink);
    sums
}

/// The pass over a row under a shift, its exps stored in `e`: the commonest kinds of rows in
/// registers, others with their mask a chunk at a time, and the rest with their logits so.
#[inline(always)]
fn exps<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    x: &[T],
    e: Places<'_, T::Compute>,
    division: Division<'_, T::Compute>,
    shift: &Shift<T::Compute>,
) -> Exps<T::Compute> {
    let division = under_shift(lanes, division, shift, !matches!(logits.steps, Steps::Scale));
    let from = (logits.call.scale, logits.start);
    match logits.steps {
        Steps::Scale => exps_of(lanes, from, (x, e), division, Nothing, shift),
        Steps::Add(mask) => exps_of(lanes, from, (x, e), division, Added(Single(mask)), shift),
        // For the commonest type, where exp is no call anyway. Constants in the guard itself keep the compiler from compiling
        // what others do not run.
        Steps::AddSloped | Steps::Keep if T::IS_SINGLE && !L::COMPACT => with_addend!(
            T,
            (logits.additive, logits.call.slope, logits.keep),
            added => exps_apart(lanes, logits, (x, e), division, added, shift),
            exps_of_sloped(lanes, logits, (x, e), division, shift)
        ),
        steps => {
            finish_alone(lanes, division);
            match steps {
                Steps::AddSloped | Steps::Keep | Steps::Exclude => exps_by_mask(lanes, logits, (x, e), shift),
                _ => exps_by_block(lanes, logits, x, e, shift),
            }
        }
    }
}

/// The division of a row under a shift, if what is added `masks` some places.
#[inline(always)]
pub fn under_shift<'a, F: Float, L: Memory<F>>(
    lanes: L,
    division: Division<'a, F>,
    shift: &Shift<F>,
    masks: bool,
) -> Division<'a, F> {
    if shift.is_neutral() || !masks {
        division
    } else {
        // Beside others a masked place would be seen as one that does not fit: see `exp_or_zero`.
        finish_alone(lanes, division);
        Division::Alone
    }
}

/// What waits for the pass over a row, before one beside whose exps nothing is done.
#[inline(always)]
fn finish_alone<F: Float, L: Memory<F>>(lanes: L, division: Division<'_, F>) {
    if let Division::Beside(Some(before)) = division
        && L::WIDE
    {
        before.finish_alone(lanes);
    }
}

/// The pass of a row whose logits are in registers, as a function of its own: with one kind of mask to a function, each has
/// the registers that it needs.
struct ExpsApart<'a, 'c, 'm, T: Element, A> {
    logits: &'a Logits<'c, 'm, T>,
    row: ScoresAndPlaces<'a, T>,
    division: Division<'a, T::Compute>,
    added: A,
    shift: &'a Shift<T::Compute>,
    exps: &'a mut Exps<T::Compute>,
}

impl<T: Element, A: Addend<T>> Kernel<T> for ExpsApart<'_, '_, '_, T, A> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            logits,
            row,
            division,
            added,
            shift,
            exps,
        } = self;
        *exps = exps_of(lanes, (logits.call.scale, logits.start), row, division, added, shift);
    }
}

/// The exps of a row by that pass.
#[inline(always)]
fn exps_apart<T: Element, L: Memory<T> + Memory<T::Compute>, A: Addend<T>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    row: ScoresAndPlaces<'_, T>,
    division: Division<'_, T::Compute>,
    added: A,
    shift: &Shift<T::Compute>,
) -> Exps<T::Compute> {
    let mut found = Exps::none();
    lanes.call(ExpsApart {
        logits,
        row,
        division,
        added,
        shift,
        exps: &mut found,
    });
    found
}

/// The pass of a row under a mask of halves, with a slope.
#[inline(always)]
fn exps_of_sloped<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    row: ScoresAndPlaces<'_, T>,
    division: Division<'_, T::Compute>,
    shift: &Shift<T::Compute>,
) -> Exps<T::Compute> {
    #[cfg(feature = "half")]
    let slope = logits.call.slope;
    match logits.additive {
        #[cfg(feature = "half")]
        Some(MaskValues::F16(mask)) => exps_apart(lanes, logits, row, division, Sloped(slope, Narrow(mask)), shift),
        #[cfg(feature = "half")]
        Some(MaskValues::Bf16(mask)) => exps_apart(lanes, logits, row, division, Sloped(slope, Narrow(mask)), shift),
        _ => {
            finish_alone(lanes, division);
            exps_by_mask(lanes, logits, row, shift)
        }
    }
}

/// The pass of a row whose mask is taken a chunk at a time, and its logits in registers: a function of its own.
struct ExpsByMask<'a, 'c, 'm, T: Element> {
    logits: &'a Logits<'c, 'm, T>,
    row: ScoresAndPlaces<'a, T>,
    shift: &'a Shift<T::Compute>,
    exps: &'a mut Exps<T::Compute>,
}

impl<T: Element> Kernel<T> for ExpsByMask<'_, '_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            logits,
            row: (x, e),
            shift,
            exps,
        } = self;
        let (scale, slope) = (logits.call.scale, logits.call.slope);
        let splat = (shift, &shift.splat(lanes));
        let mut pass = ExpPass::new(lanes, logits.start);
        let mut room = Room::new();
        e.each_part(
            x,
            CHUNK,
            #[inline(always)]
            |at, x, e| {
                let mask = room.mask(lanes, logits, at..at + x.len());
                let row = Scaled::<_, _, false>(Pair(x, e), scale, Sloped(slope, Taken(mask)));
                pass.add::<T, T::Compute, _, false, false>(splat, row);
            },
        );
        *exps = Exps {
            large: false,
            ..pass.exps()
        };
    }
}

/// The exps of a row by that pass.
#[inline(always)]
fn exps_by_mask<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    row: ScoresAndPlaces<'_, T>,
    shift: &Shift<T::Compute>,
) -> Exps<T::Compute> {
    let mut found = Exps::none();
    lanes.call(ExpsByMask {
        logits,
        row,
        shift,
        exps: &mut found,
    });
    found
}

/// The pass of a row whose logits are in registers: by a scale, from column `start` on.
#[inline(always)]
pub fn exps_of<T: Element, L: Memory<T> + Memory<T::Compute>, A: Addend<T>>(
    lanes: L,
    (scale, start): (T::Compute, usize),
    (x, e): ScoresAndPlaces<'_, T>,
    division: Division<'_, T::Compute>,
    added: A,
    shift: &Shift<T::Compute>,
) -> Exps<T::Compute> {
    let mut zeros = false;
    let exps = match division {
        Division::Beside(Some(before)) if T::IS_COMPUTE && L::WIDE => {
            zeros = true;
            let row = Scaled::<_, _, true>(Pair(x, e.all()), scale, added);
            exp_sum_from::<T, T::Compute, L, false, false>(lanes, Beside { row, before }, start, shift)
        }
        Division::Beside(None) if T::IS_COMPUTE && L::WIDE && A::MASKS => {
            zeros = true;
            let row = Scaled::<_, _, true>(Pair(x, e.all()), scale, added);
            exp_sum_from::<T, T::Compute, L, false, false>(lanes, row, start, shift)
        }
        _ => {
            let (splat, mut pass) = (shift.splat(lanes), ExpPass::new(lanes, start));
            e.each_part(
                x,
                usize::MAX,
                #[inline(always)]
                |at, x, e| {
                    let row = Scaled::<_, _, false>(Pair(x, e), scale, added.part(at, at + x.len()));
                    pass.add::<T, T::Compute, _, false, false>((shift, &splat), row);
                },
            );
            pass.exps()
        }
    };
    Exps {
        // Most masks have −∞: unless its exps are 0, it is not worth an instruction and a register to find one that has not.
        large: exps.large && (zeros || !A::MASKS),
        ..exps
    }
}

/// The pass over the logits of any row under any shift: a function of its own, see [`Lanes::call`].
pub struct ExpsByBlock<'a, 'c, 'm, T: Element> {
    pub logits: &'a Logits<'c, 'm, T>,
    pub x: &'a [T],
    pub e: Places<'a, T::Compute>,
    pub shift: &'a Shift<T::Compute>,
    pub exps: &'a mut Exps<T::Compute>,
}

impl<T: Element> Kernel<T> for ExpsByBlock<'_, '_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            logits,
            x,
            e,
            shift,
            exps,
        } = self;
        let splat = (shift, &shift.splat(lanes));
        let mut pass = ExpPass::new(lanes, logits.start);
        let mut room = Room::new();
        e.each_part(
            x,
            CHUNK,
            #[inline(always)]
            |at, x, e| {
                let z = &room.logits(lanes, logits, (at, x))[..x.len()];
                pass.add::<T::Compute, T::Compute, _, true, false>(splat, Pair(z, e));
            },
        );
        *exps = pass.exps();
    }
}

/// The exps of a row by that pass.
#[inline(always)]
fn exps_by_block<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    x: &[T],
    e: Places<'_, T::Compute>,
    shift: &Shift<T::Compute>,
) -> Exps<T::Compute> {
    let mut found = Exps::none();
    lanes.call(ExpsByBlock {
        logits,
        x,
        e,
        shift,
        exps: &mut found,
    });
    found
}

/// The largest logit of a row.
#[inline(always)]
pub fn max<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, logits: &Logits<'_, '_, T>, x: &[T]) -> T::Compute {
    let mut room = Room::new();
    let mut m = lanes.splat(-T::Compute::INFINITY);
    for (i, x) in x.chunks(CHUNK).enumerate() {
        // −∞ stands behind the end.
        for z in room
            .logits(lanes, logits, (i * CHUNK, x))
            .chunks_exact(T::Compute::LANES)
        {
            m = lanes.max(m, Memory::<T::Compute>::load(lanes, z));
        }
    }
    lanes.reduce_max(m)
}

/// Whether the pass under a guessed shift may be used. Beside a sink, a fully masked row must be told from others only
/// where it matters.
#[inline(always)]
fn accepts<T: Element>(sums: &WithSink<T::Compute>, mask: &Mask<'_, T>) -> bool {
    let seen = matches!(mask.fully_masked, FullyMasked::Zero) || sums.exps.sum.in_range();
    sums.exps.fits && sums.total.in_range() && seen
}

/// What becomes of a row after the pass under the guessed `shift`; the others, `max` and `exps` under any shift, run only
/// where that one may not be used.
#[inline(always)]
pub fn decide<T: Element>(
    logits: &Logits<'_, '_, T>,
    fused: bool,
    (shift, sums): (Shift<T::Compute>, WithSink<T::Compute>),
    max: impl FnOnce() -> T::Compute,
    exps: impl FnOnce(&Shift<T::Compute>) -> WithSink<T::Compute>,
) -> Outcome<T> {
    if accepts(&sums, logits.call.mask) {
        Outcome {
            shift,
            sum: Ok(sums.total),
            large: sums.exps.large,
            by_all_steps: false,
        }
    } else {
        under_maximum(logits, fused, &sums, max, exps)
    }
}

/// The three-pass form of a row whose first pass `failed`.
#[inline(always)]
fn under_maximum<T: Element>(
    logits: &Logits<'_, '_, T>,
    fused: bool,
    failed: &WithSink<T::Compute>,
    max: impl FnOnce() -> T::Compute,
    exps: impl FnOnce(&Shift<T::Compute>) -> WithSink<T::Compute>,
) -> Outcome<T> {
    let mut m = max();
    if m == -T::Compute::INFINITY {
        // The maximum may hide a NaN, the sum does not.
        let nan = failed.exps.sum.is_nan();
        return Outcome::none(if nan { Special::Nan } else { Special::FullyMasked }, fused);
    }
    if logits.sink > m {
        m = logits.sink;
    }
    let Some(shift) = shift_at(m, fused) else {
        return Outcome::none(Special::Nan, fused);
    };
    let sum = exps(&shift).total;
    Outcome {
        shift,
        sum: if sum.is_nan() { Err(Special::Nan) } else { Ok(sum) },
        large: false,
        by_all_steps: false,
    }
}

/// [`decide`] for a row that nobody shares.
#[inline(always)]
pub fn decide_row<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    x: &[T],
    e: Places<'_, T::Compute>,
    guessed: (Shift<T::Compute>, WithSink<T::Compute>),
) -> Outcome<T> {
    decide(
        logits,
        L::FUSED,
        guessed,
        #[inline(always)]
        || max(lanes, logits, x),
        #[inline(always)]
        |shift| by_block(lanes, logits, x, e, shift),
    )
}

/// The pass over a row under any shift, and its sink.
#[inline(always)]
pub fn by_block<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    x: &[T],
    e: Places<'_, T::Compute>,
    shift: &Shift<T::Compute>,
) -> WithSink<T::Compute> {
    let exps = exps_by_block(lanes, logits, x, e, shift);
    with_sink(lanes, exps, shift, logits.sink)
}

/// softmax of the rows from `start` on, until one is short: which that is. Their exps are kept in the output or, `ASIDE`, in
/// scratch, and divided `BESIDE` those of the next row, or not. If `PREFIX`, by the [loops](super::masked_prefix) of rows that see
/// their first columns. A function of its own: so is its stack.
struct Stored<'s, 'c, 'a, 'm, T: Element, const PREFIX: bool, const ASIDE: bool, const BESIDE: bool> {
    buffers: &'s mut Buffers<'a, T>,
    short: &'s Short<'c, 'm, T>,
    start: &'s mut usize,
}

impl<T: Element, const PREFIX: bool, const ASIDE: bool, const BESIDE: bool> Kernel<T>
    for Stored<'_, '_, '_, '_, T, PREFIX, ASIDE, BESIDE>
{
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, short, start } = self;
        let mut scratch;
        let aside = if ASIDE {
            scratch = Scratch::new();
            scratch.as_elements()
        } else {
            &mut []
        };
        match (PREFIX, BESIDE) {
            (true, true) => masked_prefix::followed(lanes, buffers, short, start, aside),
            (true, false) => masked_prefix::overlapped(lanes, buffers, short, start, aside),
            (false, true) => followed(lanes, buffers, short, start, aside),
            (false, false) => stored(lanes, buffers, short, start, aside),
        }
    }
}

/// The scores of a row, the place of their exps, and the division of the row before, if that goes beside them.
type RowAfter<'s, T> = (
    &'s [T],
    &'s mut [MaybeUninit<<T as Element>::Compute>],
    Option<Undivided<'s, <T as Element>::Compute>>,
);

/// What waits of rows that are divided [`Beside`] the exps of the next.
pub struct Waiting<'a, T: Element> {
    /// Room for the exps of a row and of the one before; none where they are kept in the output.
    now: &'a mut [MaybeUninit<T::Compute>],
    kept: &'a mut [MaybeUninit<T::Compute>],
    /// Where the exps of the row before belong, and what they are divided by.
    before: Option<(Range<usize>, TotalOf<T>)>,
}

impl<'a, T: Element> Waiting<'a, T> {
    #[inline(always)]
    pub fn new(aside: &'a mut [MaybeUninit<T::Compute>]) -> Self {
        let (now, kept) = aside.split_at_mut(aside.len() / 2);
        Self {
            now,
            kept,
            before: None,
        }
    }

    /// Some columns of row `r`, of which `len` may have the division of the row before beside them.
    #[inline(always)]
    pub fn row<'s, L: Memory<T> + Memory<T::Compute>>(
        &'s mut self,
        lanes: L,
        buffers: &'s mut Buffers<'_, T>,
        r: usize,
        columns: Range<usize>,
        len: usize,
    ) -> RowAfter<'s, T> {
        let Self { now, kept, before } = self;
        let through_output = now.is_empty();
        let (x, e, y_before) = if through_output {
            let (x, y, before) = buffers.split_after(r);
            (x, T::as_compute(&mut y[columns.clone()]), before)
        } else if before.is_some() {
            let (x, place) = buffers.with_before(r);
            (x, Some(&mut now[..columns.len()]), place.into_output())
        } else {
            (buffers.input(r), Some(&mut now[..columns.len()]), &mut [][..])
        };
        let x = &x[columns];
        let next = (x.as_ptr().cast(), len);
        let before = match before.take() {
            Some((places, total)) => T::as_compute(&mut y_before[places]).and_then(
                #[inline(always)]
                |y| {
                    let e = if through_output {
                        Cells::in_place(written(y))
                    } else {
                        Cells::apart(written(&mut kept[..y.len()]), y)
                    };
                    blocks_beside(lanes, e, &total, next)
                },
            ),
            None => None,
        };
        (x, e.unwrap_or_default(), before)
    }

    /// The row of which was asked waits from now on, if it has a sum.
    #[inline(always)]
    pub fn keep(&mut self, row: Option<(Range<usize>, TotalOf<T>)>) {
        self.before = row;
        core::mem::swap(&mut self.now, &mut self.kept);
    }

    /// Divides the row before `end`, the last, if it waits.
    #[inline(always)]
    pub fn finish<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, buffers: &mut Buffers<'_, T>, end: usize) {
        let Some((places, total)) = self.before else { return };
        let y = &mut buffers.output(end - 1)[places];
        match T::as_compute(y) {
            Some(e) if self.kept.is_empty() => quotients_in_place(lanes, e, &total),
            _ => quotients(lanes, &mut self.kept[..y.len()], y, &total),
        }
    }
}

/// [`Stored`] with room `aside`, or none. Where two rows fit the L1 cache, or that room, a row is divided after the next is
/// summed, so that no division waits for the end of a sum.
#[inline(always)]
fn stored<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    short: &Short<'_, '_, T>,
    start: &mut usize,
    aside: &mut [MaybeUninit<T::Compute>],
) {
    let (call, cols) = (short.call, buffers.rows.len(*start));
    let (through_output, half) = (aside.is_empty(), aside.len() / 2);
    let fits = if through_output { OVERLAPPED } else { half };
    let lag = usize::from(cols <= fits);
    // Of two rows in turn: where the visible places lie, and what became of the row.
    let mut places = [(0, 0); 2];
    let mut outcomes = [Outcome::none(Special::FullyMasked, L::FUSED); 2];
    let (mut summed, mut divided) = (*start, *start);
    loop {
        let more = short.leaves(summed);
        if more {
            let (r, turn) = (summed, summed % 2);
            let visible = call.mask.visible(r, cols);
            let logits = call.logits(r, &visible);
            let (a, b) = (logits.start, logits.end);
            places[turn] = (a, b);
            if visible.is_empty() {
                outcomes[turn] = Outcome::none(Special::FullyMasked, L::FUSED);
            } else {
                let (x, y) = buffers.split(r);
                let e = match y {
                    Some(y) if through_output => T::as_compute(&mut y[a..b]),
                    _ => None,
                };
                let e = match e {
                    Some(e) => e,
                    None => &mut aside[turn * lag * half..][..b - a],
                };
                sum(
                    lanes,
                    &logits,
                    &x[a..b],
                    Places::each(e),
                    Division::Alone,
                    Found::Row(&mut outcomes[turn]),
                );
            }
            summed += 1;
        }
        let ready = if more { summed - lag } else { summed };
        while divided < ready {
            let turn = divided % 2;
            let (a, b) = places[turn];
            let next = (through_output && lag == 0 && short.leaves(summed)).then(
                #[inline(always)]
                || buffers.input(summed).as_ptr().wrapping_add(a).cast(),
            );
            let y = buffers.output(divided);
            match &outcomes[turn].sum {
                Ok(sum) => {
                    let total = Total::new(*sum, outcomes[turn].large);
                    match T::as_compute(&mut y[a..b]) {
                        Some(e) if through_output => quotients_before(lanes, Cells::in_place(written(e)), &total, next),
                        _ => quotients(lanes, &mut aside[turn * lag * half..][..b - a], &mut y[a..b], &total),
                    }
                    fill(&mut y[..a], T::narrow(T::Compute::ZERO));
                    fill(&mut y[b..], T::narrow(T::Compute::ZERO));
                }
                Err(special) => fill(y, special.value(call.mask, T::narrow(T::Compute::ZERO))),
            }
            divided += 1;
        }
        if !more {
            *start = summed;
            return;
        }
    }
}

/// [`Stored`] with room for two rows `aside`, or none: each is divided [`Beside`] the exps of the next.
#[inline(always)]
fn followed<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    short: &Short<'_, '_, T>,
    start: &mut usize,
    aside: &mut [MaybeUninit<T::Compute>],
) {
    let (call, zero, cols) = (short.call, T::narrow(T::Compute::ZERO), buffers.rows.len(*start));
    let mut waiting = Waiting::new(aside);
    while short.leaves(*start) {
        let r = *start;
        let visible = call.mask.visible(r, cols);
        let logits = call.logits(r, &visible);
        let (a, b) = logits.columns();
        let len = if in_registers::<T>(logits.steps) { b - a } else { 0 };
        let (x, e, before) = waiting.row(lanes, buffers, r, a..b, len);
        let mut outcome = Outcome::none(Special::FullyMasked, L::FUSED);
        if b > a {
            let (e, division) = (Places::each(e), Division::Beside(before));
            sum(lanes, &logits, x, e, division, Found::Row(&mut outcome));
        }
        let y = buffers.output(r);
        waiting.keep(match outcome.sum {
            Ok(sum) => {
                fill(&mut y[..a], zero);
                fill(&mut y[b..], zero);
                Some((a..b, Total::new(sum, outcome.large)))
            }
            Err(special) => {
                fill(y, special.value(call.mask, zero));
                None
            }
        });
        *start += 1;
    }
    waiting.finish(lanes, buffers, *start);
}

/// The pass over a row under the guessed shift, its exps stored in `e`, and what that is for: a function
/// of its own, see [`Lanes::call`].
pub struct SumRow<'a, 'm, T: Element> {
    pub logits: &'a Logits<'a, 'm, T>,
    pub x: &'a [T],
    pub e: Places<'a, T::Compute>,
    pub division: Division<'a, T::Compute>,
    pub found: Found<'a, T>,
}

/// What the guess for the quotients of a row takes for its maximum `near`. Where multiply-add is fused they are the same under
/// every shift that is accepted: for rows that are divided beside others one that [is neutral](Shift::is_neutral), which
/// suffices for maxima of up to 64.
#[inline(always)]
pub fn neutral<F: Float>(near: F, division: &Division<'_, F>) -> F {
    let neutral = F::from_i32(20);
    if matches!(division, Division::Beside(_)) && near > neutral && near < F::from_i32(64) {
        neutral
    } else {
        near
    }
}

/// What [`SumRow`] is to find.
pub enum Found<'a, T: Element> {
    /// The sum of a row whose quotients are wanted.
    Row(&'a mut Outcome<T>),
    /// That of a row whose logarithms are.
    Log(&'a mut Outcome<T>),
    /// Σe of a part of a row, under the shift that the whole one guesses.
    #[cfg(feature = "rayon")]
    Part(&'a Shift<T::Compute>, &'a mut Exps<T::Compute>),
}

impl<T: Element> Kernel<T> for SumRow<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            logits,
            x,
            mut e,
            division,
            found,
        } = self;
        let shift = match &found {
            Found::Row(_) => guess_for_quotients(neutral(logits.nearest(x), &division), L::FUSED),
            Found::Log(_) => logits.guess(x, L::FUSED),
            #[cfg(feature = "rayon")]
            Found::Part(shift, _) => **shift,
        };
        let adds = !matches!(logits.steps, Steps::All);
        let mut exps = exps(lanes, logits, x, e.reborrow(), division, &shift);
        let by_all_steps = adds && exps.sum.is_nan();
        if by_all_steps {
            // It may stand in a masked place: see `addend`.
            exps = exps_by_block(lanes, logits, x, e.reborrow(), &shift);
        }
        match found {
            Found::Row(outcome) | Found::Log(outcome) => {
                let sums = with_sink(lanes, exps, &shift, logits.sink);
                *outcome = decide_row(lanes, logits, x, e, (shift, sums));
                outcome.by_all_steps = by_all_steps;
            }
            #[cfg(feature = "rayon")]
            Found::Part(_, part) => *part = exps,
        }
    }
}

/// The sum of a row.
#[inline(always)]
pub fn sum<'a, 'm, T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &'a Logits<'a, 'm, T>,
    x: &'a [T],
    e: Places<'a, T::Compute>,
    division: Division<'a, T::Compute>,
    found: Found<'a, T>,
) {
    lanes.call(SumRow {
        logits,
        x,
        e,
        division,
        found,
    });
}
