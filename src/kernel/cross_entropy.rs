//! The cross-entropy of logits and labels, and its gradient, in two sweeps of a row.
//!
//! ```text
//! l_c = ln Σ e^x − x_c ≥ 0       with C classes, weights w (1 without), W = Σ w_c, label t, smoothing ε
//! loss = (1 − ε)·w_t·l_t + (ε/C)·Σ_c w_c·l_c
//! dx_c = scale·(((1 − ε)·w_t + (ε/C)·W)·p_c − (ε/C)·w_c − (1 − ε)·w_t·[c = t])
//! ```
//!
//! The first sweep gives Σ e^x, the second p and Σ w·l, whose terms are not negative: nothing cancels.
//!
//! # The error bounds
//! Of f32, to first order in u = 2^−24; figures in parentheses are those of `Portable`. What is f64 here (the parameters, l_t,
//! the sums of blocks, rows and weights) adds less than 0.05. For the loss, relative to w_c·max(1, l_c):
//!
//! | source | u |
//! |---|---|
//! | ln Σ e^x: e^x of a term, three additions | 1.93 + 3 (2.1 + 3) |
//! | `(high − (x − offset)) + low` | 2 |
//! | times w, three additions of Σ w·l | 1 + 3 |
//! | the loss, rounded | 1 |
//!
//! 11.93 (12.1) of the 12 (24) stated; l_t, in f64, has the first and the last line alone. Where x − offset is rounded, too,
//! l_c is at least 8192 (128), beside which the first line counts for nothing. For the gradient, with
//! P = (1 − ε)·w_t + (ε/C)·W and relative to scale times each of
//!
//! | source | P·p_c | (ε/C)·w_c | (1 − ε)·w_t |
//! |---|---|---|---|
//! | p: e^x, Σ e^x, the quotient (`Portable`: its sum rounded) | 1.93 + 4.93 + 1 (2.1 + 5.1 + 1 + 1) | | |
//! | the factor, and its product | 2 | 1 (2) | 1 |
//! | the difference, and at the label another | 2 | 2 | 1 |
//!
//! 11.86 (13.2) of the 16 (24) stated, and 3 (4) of 8.

use super::Kernel;
use super::passes::{Quotient, V, map_sum};
use super::row::{Pair, Read, Row};
use super::short_rows::{AT_ONCE, LogSum, LogSums, with_log};
use super::softmax::{SumOf, fill, sum};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory};
use crate::math::exp::{Shift, Splat, exp};
use crate::rows::Rows;
use core::mem::MaybeUninit;

/// The parameters as the kernel wants them; every label is checked.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// ε
    pub smoothing: f64,
    /// Rows with this label count for nothing.
    pub ignored: i64,
    /// w, one to a column.
    pub weights: Option<&'a [f32]>,
    /// W
    pub weight_sum: f64,
    /// What the gradients are multiplied by.
    pub scale: f64,
}

impl Terms<'_> {
    /// w_t
    #[inline(always)]
    pub fn weight(&self, t: usize) -> f64 {
        self.weights.map_or(1.0, |w| f64::from(w[t]))
    }
}

/// The losses, each and summed, and where there is a place for them the gradients.
pub struct CrossEntropy<'a, T: Element> {
    pub x: &'a [T],
    pub labels: &'a [i64],
    pub loss: Option<&'a mut [MaybeUninit<T::Compute>]>,
    pub total: &'a mut f64,
    pub dx: Option<&'a mut [MaybeUninit<T>]>,
    pub rows: Rows,
    pub terms: Terms<'a>,
    /// For the second sweep alone, over a segment of one row: what threads share.
    pub part: Option<Part<'a, T::Compute>>,
}

/// A segment of a row.
pub struct Part<'a, F: Float> {
    /// Where it starts in the row.
    pub start: usize,
    pub known: Known<F>,
    /// Σ w·l
    pub smoothed: &'a mut F::Sum,
}

impl<T: Element> Kernel<T> for CrossEntropy<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            x,
            labels,
            rows,
            terms,
            mut part,
            ..
        } = self;
        let (mut losses, mut gradients) = (self.loss, self.dx);
        let (layout, mut short, mut r) = (rows.into(), LogSums::none(), 0);
        while r < rows.rows() {
            let several =
                part.is_none() && LogSums::<T>::are_worth(&layout, r) && half_count(&labels[r..], terms.ignored);
            if several {
                short.find(lanes, x, &layout, r);
            }
            for i in 0..if several { short.count } else { 1 } {
                let (x, label) = (rows.input(x, r), labels[r]);
                let dx = match &mut gradients {
                    Some(dx) => Some(rows.output(dx, r)),
                    None => None,
                };
                let found = if several {
                    short.of(i)
                } else if part.is_some() || label == terms.ignored {
                    None
                } else {
                    sum(lanes, x).map(with_log::<T>)
                };
                let loss = row(lanes, x, label, dx, &terms, found, part.as_mut());
                *self.total += loss;
                if let Some(losses) = &mut losses {
                    losses[r].write(rounded(loss));
                }
                r += 1;
            }
        }
    }
}

/// Whether at least half of the next labels count: the sums of rows that are ignored are computed for nothing.
#[inline(always)]
fn half_count(labels: &[i64], ignored: i64) -> bool {
    let next = labels.len().min(AT_ONCE);
    let mut counted = 0;
    for &label in &labels[..next] {
        counted += usize::from(label != ignored);
    }
    2 * counted >= next
}

/// A loss as it is written: the same NaN on every CPU.
#[inline(always)]
pub fn rounded<F: Float>(loss: f64) -> F {
    if loss.is_nan() { F::NAN } else { F::from_f64(loss) }
}

/// The loss of one row whose sum was `found`, its gradient to `dx`; of a part the gradient, and Σ w·l to the part.
#[inline(always)]
fn row<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
    label: i64,
    dx: Option<&mut [MaybeUninit<T>]>,
    terms: &Terms<'_>,
    found: Option<LogSum<T>>,
    part: Option<&mut Part<'_, T::Compute>>,
) -> f64 {
    let (known, start) = match &part {
        Some(part) => (part.known, part.start),
        None => {
            if label == terms.ignored {
                if let Some(dx) = dx {
                    fill(dx, T::narrow(T::Compute::ZERO));
                }
                return 0.0;
            }
            let Some(found) = found else {
                if let Some(dx) = dx {
                    fill(dx, T::NAN);
                }
                return f64::NAN;
            };
            (Known::new(found, label as usize, x.len(), terms), 0)
        }
    };
    let Known {
        shift, at_label, each, ..
    } = known;
    let t = (label as usize).wrapping_sub(start);
    let sweep = Sweep {
        shift: shift.splat(lanes),
        quotient: Quotient::new(lanes, known.sum),
        offset: lanes.splat(shift.offset),
        log: [lanes.splat(known.log.0), lanes.splat(known.log.1)],
        p: splat(lanes, terms.scale * (at_label + each * terms.weight_sum)),
        w: splat(lanes, terms.scale * each),
        weights: match terms.weights {
            Some(weights) if each != 0.0 => Some(&weights[start..][..x.len()]),
            _ => None,
        },
    };
    let smoothed = match dx {
        Some(dx) => {
            let smoothed = sweep.run(lanes, Pair(x, &mut *dx));
            // The label may stand in another segment.
            if t < x.len() {
                let label = splat(lanes, terms.scale * at_label);
                let (v, _) = sweep.of(lanes, t, lanes.load_or(&x[t..=t], T::Compute::ZERO));
                Memory::<T>::store_partial(lanes, &mut dx[t..=t], Lanes::<T::Compute>::sub(lanes, v, label));
            }
            smoothed
        }
        None if known.is_smoothed() => sweep.run(lanes, Read(x)),
        None => SumOf::<T>::ZERO,
    };
    match part {
        Some(part) => {
            *part.smoothed = smoothed;
            0.0
        }
        None => known.loss(x[t].widen(), smoothed),
    }
}

/// What is known of a row between its two sweeps.
#[derive(Clone, Copy)]
pub struct Known<F: Float> {
    shift: Shift<F>,
    sum: F::Sum,
    /// ln Σ e^(x − offset), high and low.
    log: (F, F),
    /// (1 − ε)·w_t
    at_label: f64,
    /// ε/C
    each: f64,
}

impl<F: Float> Known<F> {
    /// Of a row of `len` elements with this shift, sum and its logarithm, label `t`.
    #[inline(always)]
    pub fn new((shift, sum, log): (Shift<F>, F::Sum, (F, F)), t: usize, len: usize, terms: &Terms<'_>) -> Self {
        Self {
            shift,
            sum,
            log,
            at_label: (1.0 - terms.smoothing) * terms.weight(t),
            each: terms.smoothing / len as f64,
        }
    }

    /// Whether the loss needs Σ w·l.
    #[inline(always)]
    pub fn is_smoothed(&self) -> bool {
        self.each != 0.0
    }

    /// The loss of the row, whose logit at the label is `x` and whose Σ w·l is `smoothed`.
    #[inline(always)]
    pub fn loss(&self, x: F, smoothed: F::Sum) -> f64 {
        let (high, low) = self.log;
        let l = (high.to_f64() - (x.to_f64() - self.shift.offset.to_f64())) + low.to_f64();
        let loss = self.at_label * if l < 0.0 { 0.0 } else { l };
        // Without smoothing its sum is not looked at: −∞ in the row would make it 0·∞.
        if self.is_smoothed() {
            loss + self.each * smoothed.to_f64()
        } else {
            loss
        }
    }
}

#[inline(always)]
fn splat<F: Float, L: Lanes<F>>(lanes: L, x: f64) -> L::V {
    lanes.splat(F::from_f64(x))
}

/// The second sweep over a row.
struct Sweep<'a, V> {
    shift: Splat<V>,
    quotient: Quotient<V>,
    offset: V,
    log: [V; 2],
    /// What p is multiplied by.
    p: V,
    /// What the weights are multiplied by.
    w: V,
    weights: Option<&'a [f32]>,
}

impl<V: Copy> Sweep<'_, V> {
    /// Stores the gradients but for the label's term, and gives Σ w·l.
    #[inline(always)]
    fn run<T, L>(&self, lanes: L, row: impl Row<T, T>) -> SumOf<T>
    where
        T: Element,
        L: Memory<T> + Memory<T::Compute> + Lanes<T::Compute, V = V>,
    {
        map_sum::<T, T, L>(
            lanes,
            row,
            #[inline(always)]
            |at, x| self.of(lanes, at, x),
        )
    }

    /// The gradients at `at` but for the label's term, and w·l.
    #[inline(always)]
    fn of<F: Float, L: Memory<F> + Lanes<F, V = V>>(&self, lanes: L, at: usize, x: V) -> (V, V) {
        let core = F::core(L::FUSED);
        let ([e], _) = exp::<_, L, 1, true>(lanes, core, &self.shift, [x]);
        let p = self.quotient.of(lanes, e);
        let w = weights_at(lanes, self.weights, at);
        let [high, low] = self.log;
        let l = lanes.add(lanes.sub(high, lanes.sub(x, self.offset)), low);
        let l = lanes.max(lanes.splat(F::ZERO), l);
        (lanes.neg_mul_add(self.w, w, lanes.mul(self.p, p)), lanes.mul(w, l))
    }
}

/// The weights of the vector at `at`, 1 without.
#[inline(always)]
fn weights_at<F: Float, L: Memory<F>>(lanes: L, weights: Option<&[f32]>, at: usize) -> V<F, L> {
    match weights {
        Some(weights) => F::load_single(lanes, &weights[at..], 0.0),
        None => lanes.splat(F::from_i32(1)),
    }
}
