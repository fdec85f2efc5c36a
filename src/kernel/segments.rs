//! One row in segments of [`SEGMENT`](super::passes::SEGMENT) elements, each a call of its own: what threads share.
//!
//! The sum of a row is that of its segments in order, so that the bits do not depend on who computed which. Operators whose
//! own kernel has its passes apart (the gradients, cross-entropy, top-k) are no variant here: threads run that.

use super::kept::Places;
use super::log_softmax::subtract;
use super::logits::{CHUNK, Logits};
use super::masked::{self, Division, ExpsByBlock, Found, SumRow, WithSink};
use super::masked_long::Results;
use super::passes::{Exps, exp_sum, max};
use super::row::{Pair, Read};
use super::softmax::{Again, SumOf, TotalOf, quotients_in_place};
use super::{Kernel, Place};
use crate::arch::memory::Stack;
use crate::element::Element;
use crate::lanes::Memory;
use crate::math::exp::Shift;
use core::mem::MaybeUninit;

/// What is done to a segment.
pub enum Segment<'a, T: Element> {
    /// Its largest element.
    Max(&'a [T], &'a mut T::Compute),
    /// Σe under a shift, every e stored where there is a place for it.
    Sum(
        &'a [T],
        Option<&'a mut [MaybeUninit<T::Compute>]>,
        Shift<T::Compute>,
        &'a mut Exps<T::Compute>,
    ),
    /// e/S from every e that was stored.
    Scale(&'a mut [MaybeUninit<T::Compute>], TotalOf<T>),
    /// e/S.
    Quotient(Place<'a, T>, Shift<T::Compute>, SumOf<T>),
    /// x minus offset, high and low.
    Subtract(Place<'a, T>, [T::Compute; 3]),
}

impl<T: Element> Kernel<T> for Segment<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        match self {
            Segment::Max(x, m) => *m = max(lanes, x),
            Segment::Sum(x, Some(e), shift, exps) => {
                *exps = exp_sum::<T, T::Compute, L, true, false>(lanes, Pair(x, e), &shift);
            }
            Segment::Sum(x, None, shift, exps) => *exps = exp_sum::<T, T, L, true, false>(lanes, Read(x), &shift),
            Segment::Scale(e, total) => quotients_in_place(lanes, e, &total),
            Segment::Quotient(place, shift, sum) => lanes.call(Again { place, shift, sum }),
            Segment::Subtract(place, log) => subtract(lanes, place, log),
        }
    }
}

/// What is done to a part of a masked row, or to what its parts gave.
pub enum MaskedPart<'a, 'm, T: Element> {
    /// Σe under a shift, every e stored where there is a place for it.
    Sum(MaskedSum<'a, 'm, T>),
    /// The largest logit of the scores.
    Max(&'a Logits<'a, 'm, T>, &'a [T], &'a mut T::Compute),
    /// A sink joins the Σe of its row.
    Sink(&'a mut WithSink<T::Compute>, &'a Shift<T::Compute>, T::Compute),
    /// The results of a row whose sum is known.
    Results(Results<'a, 'm, T>),
}

/// The pass over a part of a masked row.
pub struct MaskedSum<'a, 'm, T: Element> {
    pub logits: &'a Logits<'a, 'm, T>,
    pub x: &'a [T],
    pub e: Option<&'a mut [MaybeUninit<T::Compute>]>,
    pub shift: &'a Shift<T::Compute>,
    /// Whether that is the shift that is guessed for the row.
    pub is_guessed: bool,
    pub exps: &'a mut Exps<T::Compute>,
}

impl<T: Element> Kernel<T> for MaskedSum<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            logits,
            x,
            e,
            shift,
            is_guessed,
            exps,
        } = self;
        let mut dropped = Stack::<{ CHUNK * size_of::<f64>() }>::new();
        let e = match e {
            Some(e) => Places::each(e),
            None => Places::dropped(&mut dropped.as_elements()[..CHUNK], x.len()),
        };
        if is_guessed {
            let (division, found) = (Division::Alone, Found::Part(shift, exps));
            lanes.call(SumRow {
                logits,
                x,
                e,
                division,
                found,
            });
        } else {
            lanes.call(ExpsByBlock {
                logits,
                x,
                e,
                shift,
                exps,
            });
        }
    }
}

impl<T: Element> Kernel<T> for MaskedPart<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        match self {
            Self::Sum(sum) => lanes.call(sum),
            Self::Max(logits, x, m) => *m = masked::max(lanes, logits, x),
            Self::Sink(sums, shift, sink) => sums.join(lanes, shift, sink),
            Self::Results(results) => lanes.call(results),
        }
    }
}
