//! log_softmax(x)_i = x_i − ln Σ_j e^{x_j}, and that logarithm itself.
//!
//! ln Σ = offset + (N·ln 2 + ln S), the parenthesis in two terms: x − offset is exact where it matters (math/exp.rs), and
//! `((x − offset) − high) − low` rounds twice at the size of the result.

use super::argmax::is_nan;
use super::passes::map;
use super::row::last_first;
use super::softmax::{fill, sum};
use super::{Buffers, Kernel, Place};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory};
use crate::layout::Layout;
use crate::math::exp::Shift;
use core::mem::MaybeUninit;

/// ln Σ e^x as offset, high and low; `None` where the row has NaN, +∞, or nothing but −∞.
#[inline(always)]
fn log_sum<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, x: &[T]) -> Option<[T::Compute; 3]> {
    sum(lanes, x).map(
        #[inline(always)]
        |(shift, sum)| log::<T::Compute>(&shift, sum),
    )
}

/// ln of a sum under a shift, as offset, high and low.
#[inline(always)]
pub fn log<F: Float>(shift: &Shift<F>, sum: F::Sum) -> [F; 3] {
    let (high, low) = sum.log(shift.n);
    [shift.offset, high, low]
}

/// x − ln Σ as −max(0, (high − (x − offset)) + low): never positive, NaN kept, and 0 instead of a subnormal.
#[inline(always)]
pub fn log_of<F: Float, L: Lanes<F>>(lanes: L, x: L::V, [offset, high, low]: [L::V; 3]) -> L::V {
    let zero = lanes.splat(F::ZERO);
    let y = lanes.max(zero, lanes.add(lanes.sub(high, lanes.sub(x, offset)), low));
    lanes.sub(zero, lanes.zero_below(y, y, lanes.splat(F::SMALLEST)))
}

/// The logarithms of a row.
#[inline(always)]
pub fn subtract<T: Element, L: Memory<T>>(lanes: L, place: Place<'_, T>, log: [T::Compute; 3]) {
    let log = [lanes.splat(log[0]), lanes.splat(log[1]), lanes.splat(log[2])];
    last_first(
        place.cells(),
        #[inline(always)]
        |_, row| {
            map::<T, T, L>(
                lanes,
                row,
                #[inline(always)]
                |x| log_of(lanes, x, log),
            )
        },
    );
}

/// log_softmax of each row.
pub struct LogSoftmax<'a, T>(pub Buffers<'a, T>);

impl<T: Element> Kernel<T> for LogSoftmax<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let mut buffers = self.0;
        for r in 0..buffers.rows.rows() {
            match log_sum(lanes, buffers.input(r)) {
                Some(log) => subtract(lanes, buffers.row(r), log),
                None => fill(buffers.output(r), T::NAN),
            }
        }
    }
}

/// ln Σ e^x of each row of `x` into `out`.
pub struct LogSumExp<'a, T> {
    pub x: &'a [T],
    pub out: &'a mut [MaybeUninit<T>],
    pub rows: Layout<'a>,
}

impl<T: Element> Kernel<T> for LogSumExp<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        for (r, out) in self.out.iter_mut().enumerate() {
            let x = self.rows.input(self.x, r);
            out.write(match log_sum(lanes, x) {
                Some(log) => joined(log),
                None => special(x),
            });
        }
    }
}

/// The result of logsumexp from offset, high and low.
#[inline(always)]
pub fn joined<T: Element>([offset, high, low]: [T::Compute; 3]) -> T {
    T::narrow((high + low) + offset)
}

/// logsumexp of a row without a finite maximum: NaN over +∞ over −∞.
#[inline(always)]
pub fn special<T: Element>(x: &[T]) -> T {
    special_of(x.iter().copied())
}

/// [`special`] of elements that need not lie side by side.
#[inline(always)]
pub fn special_of<T: Element>(x: impl Iterator<Item = T>) -> T {
    let mut largest = T::NEG_INFINITY;
    for v in x {
        if is_nan(v) {
            return T::NAN;
        }
        if v.widen() > largest.widen() {
            largest = v;
        }
    }
    largest
}
