//! One row in segments of [`SEGMENT`](super::passes::SEGMENT) elements, each a call of its own: what threads share.
//!
//! The sum of a row is that of its segments in order, so that the bits do not depend on who computed which.

use super::Kernel;
use super::log_softmax::subtract;
use super::passes::{Exps, exp_sum, map, max};
use super::row::{InPlace, Pair, Read};
use super::softmax::again;
use crate::element::{Element, Float};
use crate::lanes::Memory;
use crate::math::exp::Shift;
use core::mem::MaybeUninit;

/// The sum of a row of `T`.
type SumOf<T> = <<T as Element>::Compute as Float>::Sum;

/// Part of a row, with the place for its results.
pub enum Part<'a, T> {
    Apart(&'a [T], &'a mut [MaybeUninit<T>]),
    InPlace(&'a mut [T]),
}

/// What is done to a segment.
pub enum Segment<'a, T: Element> {
    /// Its largest element.
    Max(&'a [T], &'a mut T::Compute),
    /// Σe under a shift.
    Sum(&'a [T], Shift<T::Compute>, &'a mut Option<Exps<T::Compute>>),
    /// e/S.
    Quotient(Part<'a, T>, Shift<T::Compute>, SumOf<T>),
    /// x minus offset, high and low.
    Subtract(Part<'a, T>, [T::Compute; 3]),
}

impl<T: Element> Kernel<T> for Segment<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        match self {
            Segment::Max(x, m) => *m = max(lanes, x),
            Segment::Sum(x, shift, exps) => *exps = Some(exp_sum::<T, T, L, true>(lanes, Read(x), &shift)),
            Segment::Quotient(part, shift, sum) => {
                let f = again::<T, L>(lanes, &shift, sum);
                match part {
                    Part::Apart(x, y) => map::<T, T, L>(lanes, Pair(x, y), f),
                    Part::InPlace(x) => map::<T, T, L>(lanes, InPlace(x), f),
                }
            }
            Segment::Subtract(part, log) => match part {
                Part::Apart(x, y) => subtract(lanes, Pair(x, y), log),
                Part::InPlace(x) => subtract(lanes, InPlace(x), log),
            },
        }
    }
}
