//! The index of the largest element.

use super::Kernel;
use super::row::{BLOCK, Chunk, Read, Row, block};
use crate::element::{Element, Float};
use crate::lanes::{Lanes, Memory};
use crate::rows::Rows;

/// The first NaN if there is one, else the lowest index of the maximum; `None` of nothing.
///
/// One pass finds the maximum and whether there is a NaN, a second the first place that holds it.
#[inline(always)]
pub fn row<T: Element, L: Memory<T>>(lanes: L, x: &[T]) -> Option<usize> {
    match max_unless_nan(lanes, x) {
        // The host may compare subnormals as zeros: integers decide.
        Some(m) if m.is_tiny() => {
            let m = x.iter().map(|v| v.widen().order()).max()?;
            position(
                x,
                #[inline(always)]
                |v| v.widen().order() == m,
            )
        }
        Some(m) => position(
            x,
            #[inline(always)]
            |v| v.widen() == m,
        ),
        None => position(
            x,
            #[inline(always)]
            |v| is_nan(v),
        ),
    }
}

/// NaN compares with nothing.
#[inline(always)]
pub fn is_nan<T: Element>(v: T) -> bool {
    // Of the widened value: comparing halves is a function of their crate.
    let v = v.widen();
    v.partial_cmp(&v).is_none()
}

/// The largest element, −∞ of nothing, `None` if one is NaN.
#[inline(always)]
pub fn max_unless_nan<T: Element, L: Memory<T>>(lanes: L, x: &[T]) -> Option<T::Compute> {
    let n = T::Compute::LANES;
    let least = -T::Compute::INFINITY;
    let zero = lanes.splat(T::Compute::ZERO);
    let (mut m, mut nan) = (lanes.splat(least), zero);
    let (blocks, tail) = Read(x).blocks();
    for chunk in blocks {
        for j in 0..BLOCK {
            (m, nan) = see(lanes, m, nan, Chunk::load(&chunk, lanes, j * n));
        }
    }
    let mut at = 0;
    while at < tail.len() {
        (m, nan) = see(lanes, m, nan, Chunk::load_or(&tail, lanes, at, least));
        at += n;
    }
    (!saw_nan(lanes, nan)).then(|| lanes.reduce_max(m))
}

/// Whether a NaN came into the sum of [`see`].
#[inline(always)]
pub fn saw_nan<F: Float, L: Lanes<F>>(lanes: L, nan: L::V) -> bool {
    // NaN − NaN, and 0 of everything else.
    let nan = lanes.sub(nan, nan);
    let sum = lanes.acc_sum(lanes.acc_of(lanes.fold(nan)));
    crate::element::Sum::is_nan(sum)
}

/// The maximum so far, and a sum that is NaN once a NaN came: a later number hides a NaN from max, but not from a sum;
/// the clamp to [0, 1] keeps ∞ − ∞ out of it.
#[inline(always)]
pub fn see<F: Float, L: Lanes<F>>(lanes: L, m: L::V, nan: L::V, v: L::V) -> (L::V, L::V) {
    let (zero, one) = (lanes.splat(F::ZERO), lanes.splat(F::from_i32(1)));
    (lanes.max(m, v), lanes.add(nan, lanes.min(one, lanes.max(zero, v))))
}

/// The first index whose element `is` holds, a block at a time.
#[inline(always)]
fn position<T: Element>(x: &[T], is: impl Fn(T) -> bool) -> Option<usize> {
    for (i, chunk) in x.chunks(block::<T>()).enumerate() {
        if chunk.iter().fold(false, |any, &v| any | is(v)) {
            return chunk.iter().position(|&v| is(v)).map(|j| i * block::<T>() + j);
        }
    }
    None
}

/// argmax of each row of `x`; `usize::MAX` for an empty row.
pub struct ArgMax<'a, T> {
    pub x: &'a [T],
    pub index: &'a mut [usize],
    pub rows: Rows,
}

impl<T: Element> Kernel<T> for ArgMax<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        for (r, index) in self.index.iter_mut().enumerate() {
            *index = row(lanes, self.rows.input(self.x, r)).unwrap_or(usize::MAX);
        }
    }
}
