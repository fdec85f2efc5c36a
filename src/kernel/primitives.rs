//! The primitives that an engine with its own loops puts a softmax together from.
//!
//! ```text
//! m = max x_i      y_i = e^(x_i − m), S = Σ y_i      y_i·s
//! ```
//!
//! Here `x − m` is rounded, unlike in the operators: the caller's m need not be near a multiple of ln 2.

use super::argmax::max_unless_nan;
use super::exp::of_difference;
use super::passes::{map, map_sum};
use super::row::{Read, Row};
use super::{Kernel, Place};
use crate::arch::memory::Cells;
use crate::element::{Element, Float, Sum};
use crate::lanes::Memory;

/// A row, and where the results of a pass over it go.
pub enum Pass<'a, T> {
    Read(&'a [T]),
    Write(Place<'a, T>),
}

/// The largest element of `x`, −∞ of nothing; `None` if one is NaN.
pub struct RowMax<'a, T: Element> {
    pub x: &'a [T],
    pub max: &'a mut Option<T::Compute>,
}

impl<T: Element> Kernel<T> for RowMax<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        *self.max = max_unless_nan(lanes, self.x).map(
            #[inline(always)]
            |m| if m.is_tiny() { largest_tiny(self.x) } else { m },
        );
    }
}

/// The maximum of a row where it is 0 or subnormal, by integers: the host may compare subnormals as zeros. Of two zeros
/// it is +0.
#[inline(always)]
fn largest_tiny<T: Element>(x: &[T]) -> T::Compute {
    let mut largest = -T::Compute::INFINITY;
    for &v in x {
        if v.widen().order() > largest.order() {
            largest = v.widen();
        }
    }
    if largest.order() == 0 {
        T::Compute::ZERO
    } else {
        largest
    }
}

/// y = e^(x − max), and its sum.
pub struct ExpSubMax<'a, T: Element> {
    pub row: Pass<'a, T>,
    pub max: T::Compute,
    pub sum: &'a mut <T::Compute as Float>::Sum,
}

impl<T: Element> Kernel<T> for ExpSubMax<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        *self.sum = match self.row {
            Pass::Read(x) => exp_sub_max(lanes, Read(x), self.max),
            Pass::Write(place) => exp_sub_max(lanes, place.cells(), self.max),
        };
        if self.sum.is_nan() {
            *self.sum = <T::Compute as Float>::Sum::of(T::Compute::NAN);
        }
    }
}

#[inline(always)]
fn exp_sub_max<T: Element, L: Memory<T>>(lanes: L, row: impl Row<T, T>, max: T::Compute) -> <T::Compute as Float>::Sum {
    let max = lanes.splat(max);
    map_sum::<T, T, L>(
        lanes,
        row,
        #[inline(always)]
        |_, x| {
            let y = of_difference(lanes, lanes.sub(x, max));
            (y, y)
        },
    )
}

/// y·factor in place.
pub struct Scale<'a, T: Element> {
    pub y: &'a mut [T],
    pub factor: T::Compute,
}

impl<T: Element> Kernel<T> for Scale<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let factor = lanes.splat(self.factor);
        map::<T, T, L>(
            lanes,
            Cells::in_place(self.y),
            #[inline(always)]
            |y| lanes.mul(y, factor),
        );
    }
}
