//! masked_softmax and masked_log_softmax: softmax of the masked logits z, which exist in registers only.
//!
//! Only the visible range [a, b) of a row is read; the rest of the result is filled. Element i of the row adds into lane
//! i mod 32 wherever the range starts: computation starts with the whole block that holds a, and the guess of the shift
//! looks at the ends and the middle of the range. So neither stride nor neighbours nor the kind of pass show in the bits.
//!
//! softmax keeps the exps where they fit, in the output or in stack scratch, and multiplies them by the reciprocal of
//! the sum; log_softmax and rows in place that fit nowhere compute z twice. Where the guessed shift fails, z is computed
//! once more for its maximum. A sink is one more term of the sum.

use super::log_softmax::log_of;
use super::logits::{Call, Logits, Steps};
use super::passes::{Exps, Quotient, exp_sum_of, map_at, max_of};
use super::row::{InPlace, Pair, Read, Row};
use super::softmax::{SumOf, fill, quotients, quotients_in_place, shift_at};
use super::{Buffers, Kernel, Place, short_rows};
use crate::arch::memory::Scratch;
use crate::element::{Element, Float, Sum};
use crate::lanes::Memory;
use crate::mask::{FullyMasked, Mask};
use crate::math::exp::{Shift, exp};
use core::mem::MaybeUninit;

/// Rows to a batch, where the exps of several fit the scratch: their sums and divisions overlap.
const BATCH: usize = 8;

/// softmax, or log_softmax, of the masked logits of each row.
pub struct Masked<'a, T: Element> {
    pub buffers: Buffers<'a, T>,
    pub mask: Mask<'a, T>,
    pub log: bool,
}

impl<T: Element> Kernel<T> for Masked<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { mut buffers, mask, log } = self;
        let call = Call::new(mask);
        let (rows, cols) = (buffers.rows.rows(), buffers.rows.len(0));
        let through_output = T::IS_COMPUTE && matches!(buffers.place, Place::Apart(..));
        let capacity = Scratch::capacity::<T::Compute>();
        let batch = if cols <= short_rows::longest::<T>() {
            Some((BATCH, false))
        } else if through_output || cols <= capacity {
            Some((1, through_output))
        } else {
            None
        };
        let mut r = 0;
        while r < rows {
            match batch {
                Some((batch, through_output)) if !log => {
                    let count = (rows - r).min(batch);
                    stored(lanes, &mut buffers, &call, r, count, through_output);
                    r += count;
                }
                _ => {
                    twice(lanes, &mut buffers, &call, r, log);
                    r += 1;
                }
            }
        }
    }
}

/// Why a row has no sum.
#[derive(Clone, Copy)]
enum Special {
    Nan,
    FullyMasked,
}

impl Special {
    /// What stands in the visible places of such a row, `masked` being the result of a masked place.
    #[inline(always)]
    fn value<T: Element>(self, mask: &Mask<'_, T>, masked: T) -> T {
        match (self, mask.fully_masked) {
            (Self::FullyMasked, FullyMasked::Zero) => masked,
            _ => T::NAN,
        }
    }
}

/// What became of a row.
type Outcome<T> = Result<(Shift<<T as Element>::Compute>, SumOf<T>), Special>;

/// Exps of a row and its sink.
struct Sums<F: Float> {
    exps: Exps<F>,
    total: F::Sum,
}

/// Adds the sink to the exps of a row.
#[inline(always)]
fn with_sink<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    exps: Exps<T::Compute>,
    shift: &Shift<T::Compute>,
    sink: T::Compute,
) -> Sums<T::Compute> {
    let mut sums = Sums { total: exps.sum, exps };
    // Not equal, so that NaN joins.
    if sink != -T::Compute::INFINITY {
        let core = T::Compute::core(L::FUSED);
        let x = lanes.splat(sink);
        let ([e], [t]) = exp::<_, L, 1, true>(lanes, core, &shift.splat(lanes), [x]);
        sums.total = sums.total.add(SumOf::<T>::of(lanes.reduce_max(e)));
        sums.exps.fits &= lanes.seen_none_of(lanes.seen(lanes.seen_none(), t), core.forbidden);
    }
    sums
}

/// The pass over a row under the guessed shift.
#[inline(always)]
fn first<T, U, L>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    row: impl Row<T, U>,
    shift: &Shift<T::Compute>,
) -> Sums<T::Compute>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U> + Memory<T::Compute>,
{
    let exps = match logits.steps {
        Steps::Scale => exp_sum_of::<T, U, L, false, false>(
            lanes,
            row,
            logits.start,
            shift,
            #[inline(always)]
            |x, _| logits.scaled(lanes, x),
        ),
        Steps::Add(mask) => exp_sum_of::<T, U, L, false, false>(
            lanes,
            row,
            logits.start,
            shift,
            #[inline(always)]
            |x, at| logits.added(lanes, x, mask, at),
        ),
        Steps::All => exp_sum_of::<T, U, L, false, true>(
            lanes,
            row,
            logits.start,
            shift,
            #[inline(always)]
            |x, at| logits.all(lanes, x, at),
        ),
    };
    with_sink::<T, L>(lanes, exps, shift, logits.sink)
}

/// Whether the pass under a guessed shift may be used. Beside a sink, a fully masked row must be told from others only
/// where it matters.
#[inline(always)]
fn accepts<T: Element>(sums: &Sums<T::Compute>, mask: &Mask<'_, T>) -> bool {
    let seen = matches!(mask.fully_masked, FullyMasked::Zero) || sums.exps.sum.in_range();
    sums.exps.fits && sums.total.in_range() && seen
}

/// The three-pass form of a row whose first pass `failed`.
#[inline(always)]
fn again<T, U, L>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    x: &[T],
    failed: &Sums<T::Compute>,
    row: impl Row<T, U>,
) -> Outcome<T>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    L: Memory<T> + Memory<U> + Memory<T::Compute>,
{
    let mut m = max_of(
        lanes,
        x,
        #[inline(always)]
        |x, at| logits.all(lanes, x, at),
    );
    if m == -T::Compute::INFINITY {
        // The maximum may hide a NaN, the sum does not.
        let nan = failed.exps.sum.is_nan();
        return Err(if nan { Special::Nan } else { Special::FullyMasked });
    }
    if logits.sink > m {
        m = logits.sink;
    }
    let Some(shift) = shift_at(m, L::FUSED) else {
        return Err(Special::Nan);
    };
    let exps = exp_sum_of::<T, U, L, true, true>(
        lanes,
        row,
        logits.start,
        &shift,
        #[inline(always)]
        |x, at| logits.all(lanes, x, at),
    );
    let sums = with_sink::<T, L>(lanes, exps, &shift, logits.sink);
    if sums.total.is_nan() {
        Err(Special::Nan)
    } else {
        Ok((shift, sums.total))
    }
}

/// Input and, if it is another, output of row `r`.
#[inline(always)]
fn split<'b, T: Element>(buffers: &'b mut Buffers<'_, T>, r: usize) -> (&'b [T], Option<&'b mut [MaybeUninit<T>]>) {
    match &mut buffers.place {
        Place::Apart(x, y) => (buffers.rows.input(x, r), Some(buffers.rows.output(y, r))),
        Place::InPlace(x) => (buffers.rows.input(x, r), None),
    }
}

/// softmax of the rows `start..start + count`, their exps kept in the output or in scratch.
#[inline(always)]
fn stored<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    call: &Call<'_, T>,
    start: usize,
    count: usize,
    through_output: bool,
) {
    let cols = buffers.rows.len(start);
    let pitch = cols.next_multiple_of(T::Compute::LANES);
    let mut scratch = Scratch::new();
    let scratch = scratch.as_elements::<T::Compute>();
    let mut outcomes: [Outcome<T>; BATCH] = [Err(Special::FullyMasked); BATCH];
    let mut ranges = [(0, 0); BATCH];
    for i in 0..count {
        let visible = call.mask.visible(start + i, cols);
        if visible.is_empty() {
            continue;
        }
        let logits = call.logits(start + i, &visible);
        let (a, b) = (logits.start, logits.end);
        ranges[i] = (a, b);
        let (x, y) = split(buffers, start + i);
        let e = match y {
            Some(y) if through_output => T::as_compute(&mut y[a..b]),
            _ => None,
        };
        let e = match e {
            Some(e) => e,
            None => &mut scratch[i * pitch..][..b - a],
        };
        outcomes[i] = sum_storing(lanes, &logits, &x[a..b], e);
    }
    for i in 0..count {
        let ((a, b), y) = (ranges[i], buffers.output(start + i));
        match outcomes[i] {
            Ok((_, sum)) => {
                match T::as_compute(&mut y[a..b]) {
                    Some(e) if through_output => quotients_in_place(lanes, e, sum),
                    _ => quotients(lanes, &mut scratch[i * pitch..][..b - a], &mut y[a..b], sum),
                }
                fill(&mut y[..a], T::narrow(T::Compute::ZERO));
                fill(&mut y[b..], T::narrow(T::Compute::ZERO));
            }
            Err(special) => fill(y, special.value(&call.mask, T::narrow(T::Compute::ZERO))),
        }
    }
}

/// The sum of a row, its exps stored in `e`.
#[inline(always)]
fn sum_storing<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    x: &[T],
    e: &mut [MaybeUninit<T::Compute>],
) -> Outcome<T> {
    let shift = logits.guess(x, L::FUSED);
    let sums = first::<T, T::Compute, L>(lanes, logits, Pair(x, &mut *e), &shift);
    if accepts(&sums, &logits.call.mask) {
        Ok((shift, sums.total))
    } else {
        again::<T, T::Compute, L>(lanes, logits, x, &sums, Pair(x, e))
    }
}

/// softmax or log_softmax of row `r`, its logits computed once for the sum and once for the results.
#[inline(always)]
fn twice<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    call: &Call<'_, T>,
    r: usize,
    log: bool,
) {
    let cols = buffers.rows.len(r);
    let masked = if log {
        T::NEG_INFINITY
    } else {
        T::narrow(T::Compute::ZERO)
    };
    let visible = call.mask.visible(r, cols);
    if visible.is_empty() {
        return fill(buffers.output(r), Special::FullyMasked.value(&call.mask, masked));
    }
    let logits = call.logits(r, &visible);
    let (a, b) = (logits.start, logits.end);
    match sum(lanes, &logits, &buffers.input(r)[a..b]) {
        Ok(sum) => {
            match &mut buffers.place {
                Place::Apart(x, y) => {
                    let (x, y) = (buffers.rows.input(x, r), buffers.rows.output(y, r));
                    results(lanes, &logits, Pair(&x[a..b], &mut y[a..b]), sum, log);
                }
                Place::InPlace(x) => {
                    let x = buffers.rows.input_mut(x, r);
                    results(lanes, &logits, InPlace(&mut x[a..b]), sum, log);
                }
            }
            let y = buffers.output(r);
            fill(&mut y[..a], masked);
            fill(&mut y[b..], masked);
        }
        Err(special) => fill(buffers.output(r), special.value(&call.mask, masked)),
    }
}

/// The sum of a row, nothing stored.
#[inline(always)]
fn sum<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, logits: &Logits<'_, '_, T>, x: &[T]) -> Outcome<T> {
    let shift = logits.guess(x, L::FUSED);
    let sums = first::<T, T, L>(lanes, logits, Read(x), &shift);
    if accepts(&sums, &logits.call.mask) {
        Ok((shift, sums.total))
    } else {
        again::<T, T, L>(lanes, logits, x, &sums, Read(x))
    }
}

/// The results of a row whose sum is known.
#[inline(always)]
fn results<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    row: impl Row<T, T>,
    (shift, sum): (Shift<T::Compute>, SumOf<T>),
    log: bool,
) {
    let (high, low) = if log {
        sum.log(shift.n)
    } else {
        (T::Compute::ZERO, T::Compute::ZERO)
    };
    let terms = [lanes.splat(shift.offset), lanes.splat(high), lanes.splat(low)];
    let quotient = Quotient::new(lanes, sum);
    let (core, splat) = (T::Compute::core(L::FUSED), shift.splat(lanes));
    map_at::<T, T, L>(
        lanes,
        row,
        #[inline(always)]
        |x, at| {
            let z = logits.all(lanes, x, at);
            if log {
                log_of(lanes, z, terms)
            } else {
                quotient.of(lanes, exp::<_, L, 1, true>(lanes, core, &splat, [z]).0[0])
            }
        },
    );
}
