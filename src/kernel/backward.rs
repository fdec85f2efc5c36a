//! The gradients of softmax and log_softmax, from what the forward pass gave.
//!
//! ```text
//! y = softmax(x):      dx_i = y_i·(dy_i − s),     s = Σ_j y_j·dy_j
//! y = log_softmax(x):  dx_i = dy_i − e^(y_i)·s,   s = Σ_j dy_j
//! ```
//!
//! s is used in two terms, so that only the roundings of its own terms are left in it.
//!
//! # The error bounds
//! To first order in u = 2^−24 (f64: 2^−53), the rounding of a half type apart. Every term of s goes through three additions of
//! a block (f64: two); the f64 sums (f64: pairs) behind them and what is left of s beside its two terms are below 10^−5 u.
//!
//! | softmax | relative to | u |
//! |---|---|---|
//! | product y_j·dy_j, three additions | y_i·Σ_j \|y_j·dy_j\| | 1 + 3 = 4 |
//! | dy_i − high, − low, times y_i | \|dx_i\| | 3 |
//!
//! | log_softmax | relative to | u |
//! |---|---|---|
//! | three additions; e^(y_i), within 1 ULP | e^(y_i)·Σ_j \|dy_j\| | 3 + 2 = 5 |
//! | on `Portable`: within 3 ULP, and the product is rounded | e^(y_i)·Σ_j \|dy_j\| | 3 + 6 + 1 = 10 of the 11 stated |
//! | dy_i − e^(y_i)·high, − e^(y_i)·low | \|dx_i\| | 2 |

use super::exp::of_difference;
use super::passes::{load, map_sum};
use super::row::{Read, last_first};
use super::softmax::SumOf;
use super::{Buffers, Kernel};
use crate::arch::memory::Cells;
use crate::element::{Element, Float, Sum};
use crate::lanes::Memory;

/// The gradient of each row: `dy` holds dy and the place for dx, `y` what the forward pass gave.
pub struct Backward<'a, T: Element> {
    pub y: &'a [T],
    pub y_stride: usize,
    pub dy: Buffers<'a, T>,
    /// Whether the forward pass was log_softmax.
    pub log: bool,
    pub passes: Passes<'a, SumOf<T>>,
}

/// What is done to a row: everything, or one of the two passes, each of which threads share.
pub enum Passes<'a, S> {
    Both,
    /// s; there need be no place for dx.
    Sum(&'a mut S),
    /// dx from s.
    Gradient(S),
}

impl<T: Element> Kernel<T> for Backward<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        if self.log {
            all_rows::<T, L, true>(lanes, self);
        } else {
            all_rows::<T, L, false>(lanes, self);
        }
    }
}

#[inline(always)]
fn all_rows<T: Element, L: Memory<T>, const LOG: bool>(lanes: L, backward: Backward<'_, T>) {
    let Backward {
        y,
        y_stride,
        mut dy,
        mut passes,
        ..
    } = backward;
    for r in 0..dy.rows.rows() {
        let y = &y[r * y_stride..][..dy.rows.len(r)];
        let s = match passes {
            Passes::Gradient(s) => s,
            _ => sum::<T, L, LOG>(lanes, y, dy.input(r)),
        };
        if let Passes::Sum(place) = &mut passes {
            **place = s;
        } else {
            gradient::<T, L, LOG>(lanes, y, dy.row(r).cells(), s.split());
        }
    }
}

#[inline(always)]
fn sum<T: Element, L: Memory<T>, const LOG: bool>(lanes: L, y: &[T], dy: &[T]) -> SumOf<T> {
    map_sum::<T, T, L>(
        lanes,
        Read(dy),
        #[inline(always)]
        |at, dy| {
            let term = if LOG {
                dy
            } else {
                lanes.mul(load(lanes, &y[at..], T::Compute::ZERO), dy)
            };
            (term, term)
        },
    )
}

/// dx from dy, y and s in two terms.
#[inline(always)]
fn gradient<T: Element, L: Memory<T>, const LOG: bool>(
    lanes: L,
    y: &[T],
    row: Cells<'_, T>,
    (high, low): (T::Compute, T::Compute),
) {
    let (high, low) = (lanes.splat(high), lanes.splat(low));
    last_first(
        row,
        #[inline(always)]
        |start, row| {
            let y = &y[start..];
            map_sum::<T, T, L>(
                lanes,
                row,
                #[inline(always)]
                |at, dy| {
                    let y = load(lanes, &y[at..], T::Compute::ZERO);
                    let dx = if LOG {
                        let p = of_difference(lanes, y);
                        lanes.neg_mul_add(p, low, lanes.neg_mul_add(p, high, dy))
                    } else {
                        lanes.mul(y, lanes.sub(lanes.sub(dy, high), low))
                    };
                    (dx, dx)
                },
            );
        },
    );
}
