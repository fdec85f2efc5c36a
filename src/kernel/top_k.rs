//! The k most probable classes of a row and their probabilities: softmax fused with the selection, the row not written.
//!
//! One exp pass gives S. The selection keeps the best k in order and passes over a block whose maximum does not beat
//! the worst of them, so that almost every block costs one comparison. The probabilities are those of softmax, bit for
//! bit: the k logits go through the same exp and the same quotient.

use super::Kernel;
use super::argmax::is_nan;
use super::passes::{Quotient, max};
use super::row::block;
use super::softmax::{SumOf, sum};
use crate::element::{Element, Float};
use crate::lanes::Memory;
use crate::math::exp::{Shift, exp};
use crate::rows::Rows;

/// Top-k of each row of `x`; `index` and `prob` have `k` places to a row.
pub struct TopK<'a, T: Element> {
    pub x: &'a [T],
    pub k: usize,
    pub index: &'a mut [usize],
    pub prob: &'a mut [T::Compute],
    pub rows: Rows,
    pub steps: Steps<T>,
}

/// What is done to a row: everything, or one of the two steps, between which threads join what they have found.
#[derive(Clone, Copy)]
pub enum Steps<T: Element> {
    Both,
    /// The indices; there need be no place for probabilities.
    Select,
    /// The probabilities of the indices, under the shift and the sum of the row if it has one.
    Probabilities(Option<(Shift<T::Compute>, SumOf<T>)>),
}

impl<T: Element> Kernel<T> for TopK<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { k, steps, .. } = self;
        if k == 0 {
            return;
        }
        for (r, index) in self.index.chunks_exact_mut(k).enumerate() {
            let x = self.rows.input(self.x, r);
            if !matches!(steps, Steps::Probabilities(_)) {
                select(lanes, x, index);
            }
            let found = match steps {
                Steps::Both => sum(lanes, x),
                Steps::Select => continue,
                Steps::Probabilities(found) => found,
            };
            probabilities(lanes, x, index, &mut self.prob[r * k..][..k], found);
        }
    }
}

/// The probabilities of some classes of a row, under its shift and its sum.
#[inline(always)]
fn probabilities<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
    index: &[usize],
    prob: &mut [T::Compute],
    found: Option<(Shift<T::Compute>, SumOf<T>)>,
) {
    let Some((shift, sum)) = found else {
        prob.fill(T::Compute::NAN);
        return;
    };
    let (core, splat) = (T::Compute::core(L::FUSED), shift.splat(lanes));
    let quotient = Quotient::new(lanes, sum);
    let n = T::Compute::LANES;
    for (index, prob) in index.chunks(n).zip(prob.chunks_mut(n)) {
        // The logits stand in `prob` until their probabilities do.
        for (p, &i) in prob.iter_mut().zip(index) {
            *p = x[i].widen();
        }
        let v = Memory::<T::Compute>::load_or(lanes, prob, T::Compute::ZERO);
        let ([e], _) = exp::<_, L, 1, true>(lanes, core, &splat, [v]);
        lanes.store_partial(crate::arch::memory::as_output(prob), quotient.of(lanes, e));
    }
}

/// Whether `a` stands before `b`: NaN first, then the larger, then the lower index (checked by the caller's order).
#[inline(always)]
pub fn before<T: Element>(a: T, b: T) -> bool {
    match (is_nan(a), is_nan(b)) {
        (false, false) => a.widen().order() > b.widen().order(),
        (a, b) => a && !b,
    }
}

/// The indices of the `index.len()` foremost elements, in order.
#[inline(always)]
fn select<T: Element, L: Memory<T>>(lanes: L, x: &[T], index: &mut [usize]) {
    let k = index.len();
    let mut kept = 0;
    for (b, chunk) in x.chunks(block::<T>()).enumerate() {
        if kept == k && chunk.len() == block::<T>() {
            let worst = x[index[k - 1]].widen();
            let m = max(lanes, chunk);
            // The host may compare subnormals as zeros, and a NaN is hidden by max.
            let tiny = m.is_tiny() && worst.is_tiny();
            if m <= worst && !tiny && !chunk.iter().fold(false, |any, &v| any | is_nan(v)) {
                continue;
            }
        }
        for (j, &v) in chunk.iter().enumerate() {
            if kept == k && !before(v, x[index[k - 1]]) {
                continue;
            }
            kept = (kept + 1).min(k);
            let mut at = kept - 1;
            while at > 0 && before(v, x[index[at - 1]]) {
                index[at] = index[at - 1];
                at -= 1;
            }
            index[at] = b * block::<T>() + j;
        }
    }
}
