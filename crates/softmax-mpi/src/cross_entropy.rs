//! Cross-entropy over a vocabulary that is cut between ranks.
//!
//! ```text
//! l_c = ln Σ e^x − x_c = (ln Σ e^x − M) + (M − x_c)        both at least 0: nothing cancels
//! Σ_c w_c·l_c = W·(ln Σ e^x − M) + Σ_c w_c·(M − x_c)
//! ```
//!
//! The second terms need the maximum M only, so that they travel with the sums, in the second allreduce.

use crate::vocabulary::{Call, check, excess, id, row, row_mut};
use crate::{Error, Group, Vocabulary};
use softmax::{CrossEntropy, Reduction, Rows};

/// Which numbers of a row, in this order, follow its sum.
struct Places {
    /// Σ_c w_c·(M − x_c), with smoothing.
    spread: Option<usize>,
    /// The weight of the label, with weights.
    weight: Option<usize>,
    /// How many there are; M − x of the label is the first.
    count: usize,
}

impl Places {
    fn new(params: &CrossEntropy<'_>) -> Self {
        let has_spread = params.label_smoothing != 0.0;
        let has_weight = params.class_weights.is_some();
        Self {
            spread: has_spread.then_some(1),
            weight: has_weight.then_some(1 + usize::from(has_spread)),
            count: 1 + usize::from(has_spread) + usize::from(has_weight),
        }
    }
}

impl<G: Group + ?Sized> Vocabulary<'_, G> {
    /// The cross-entropy of each row and its label, and where `dx` is given this rank's part of the gradient.
    ///
    /// The formulas are those of [`softmax::cross_entropy()`] with C all classes. Every rank gives all `labels`, as classes
    /// of the whole vocabulary, and the same parameters, of which `class_weights` are those of its own classes; every
    /// rank gets all losses. Row r of the gradient stands at r·`y_stride` of `rows`.
    ///
    /// # Numerical contract
    /// Losses are within the bound of [`softmax::cross_entropy()`] and never negative where the weights are not. With u =
    /// 2^−24, dx_c is within s·u·16·((1 − ε)·w_t + (ε/C)·Σ_j w_j)·softmax(x)_c + u·|dx_c| (32 for the 16 on the
    /// `Portable` backend), and what underflows. Special rows as there, whichever rank holds what is special.
    ///
    /// # Errors
    /// As [`softmax`](Self::softmax), and on the rank of which it is true what [`softmax::cross_entropy()`] refuses;
    /// [`Error::Differ`] if labels or parameters differ. Nothing is written then, on any rank.
    ///
    /// ```
    /// use softmax::{CrossEntropy, Rows};
    /// use softmax_mpi::{Alone, Vocabulary};
    /// let mut vocabulary = Vocabulary::new(&Alone, 1, 2)?;
    /// let (mut loss, mut dx) = ([0.0], [0.0; 2]);
    /// let params = CrossEntropy::default();
    /// vocabulary.cross_entropy(&[0.0, 0.0], &[1], &mut loss, Some(&mut dx), Rows::new(1, 2), &params)?;
    /// assert!((loss[0] - core::f32::consts::LN_2).abs() < 1e-7);
    /// assert_eq!(dx, [0.5, -0.5]);
    /// # Ok::<(), softmax_mpi::Error>(())
    /// ```
    pub fn cross_entropy(
        &mut self,
        x: &[f32],
        labels: &[i64],
        loss: &mut [f32],
        dx: Option<&mut [f32]>,
        rows: Rows,
        params: &CrossEntropy<'_>,
    ) -> Result<(), Error> {
        let (first, cols, n) = (self.first_class(), self.cols(), self.rows());
        let is_reduced = params.reduction != Reduction::None;
        let valid = self
            .check(x, rows)
            .and_then(|()| check("labels", labels.len(), n, 1, 1))
            .and_then(|()| check("loss", loss.len(), if is_reduced { 1 } else { n }, 1, 1))
            .and_then(|()| match &dx {
                Some(dx) => check("dx", dx.len(), n, cols, rows.y_stride()),
                None => Ok(()),
            })
            .and_then(|()| check_params(params, &labels[..n], cols, self.classes()));
        let places = Places::new(params);
        let weights = params.class_weights;
        let weight = |c: usize| weights.map_or(1.0, |w| f64::from(w[c]));
        let total_weight = weights.map(|w| [w.iter().map(|&w| f64::from(w)).sum::<f64>()]);
        // The column of a label, where this rank has it.
        let column = |r: usize| -> Option<usize> {
            let class = usize::try_from(labels[r])
                .ok()
                .filter(|_| labels[r] != params.ignore_index)?;
            class.checked_sub(first).filter(|&c| c < cols)
        };
        let call = Call {
            id: call_id(params, &labels[..n.min(labels.len())]),
            valid,
            x,
            rows,
            extras: places.count,
            tail: total_weight.as_ref().map_or(&[], |w| &w[..]),
        };
        self.states(call, |r, max, place| {
            let (x, max) = (row(x, r, rows.x_stride(), cols), f64::from(max));
            if labels[r] == params.ignore_index {
                return;
            }
            let column = column(r);
            // A mean counts the labels of special rows, too.
            if let (Some(c), Some(at)) = (column, places.weight) {
                place[at] = weight(c);
            }
            if !max.is_finite() {
                return;
            }
            if let Some(c) = column {
                place[0] = max - f64::from(x[c]);
            }
            if let Some(at) = places.spread {
                let terms = x.iter().enumerate().map(|(c, &x)| weight(c) * (max - f64::from(x)));
                place[at] = terms.sum();
            }
        })?;

        let (added, each) = (self.added(), 1 + places.count);
        let label_weight = |r: usize| places.weight.map_or(1.0, |at| added[r * each + 1 + at]);
        let counts = |r: &usize| labels[*r] != params.ignore_index;
        let counted: f64 = (0..n).filter(counts).map(label_weight).sum();
        let scale = if params.reduction == Reduction::Mean {
            1.0 / counted
        } else {
            1.0
        };
        let spread = params.label_smoothing / self.classes() as f64;
        // Without classes every label is an ignored one.
        let spread = if spread.is_finite() { spread } else { 0.0 };
        let all_weights = weights.map_or(self.classes() as f64, |_| added[n * each]);
        let (mut total, mut dx) = (0.0, dx);
        for (r, state) in self.whole().iter().enumerate() {
            let at_label = (1.0 - params.label_smoothing) * label_weight(r);
            let mut value = 0.0;
            if counts(&r) {
                let place = &added[r * each + 1..];
                value = if state.max().is_finite() {
                    let excess = excess(state);
                    let value = at_label * (excess + place[0]);
                    match places.spread {
                        Some(at) => value + spread * (all_weights * excess + place[at]),
                        None => value,
                    }
                } else {
                    f64::NAN
                };
            }
            total += value;
            if !is_reduced {
                loss[r] = value as f32;
            }
            let Some(dx) = &mut dx else { continue };
            let dx = row_mut(dx, r, rows.y_stride(), cols);
            if !counts(&r) {
                dx.fill(0.0);
                continue;
            }
            state.finish(row(x, r, rows.x_stride(), cols), dx)?;
            let at_all = at_label + spread * all_weights;
            // s·(a·p_c − (ε/C)·w_c − b), where b is the label's
            let gradient = |c: usize, p: f32, b: f64| {
                (scale * (at_all * f64::from(p) - if spread == 0.0 { 0.0 } else { spread * weight(c) } - b)) as f32
            };
            let label = column(r).map(|c| (c, gradient(c, dx[c], at_label)));
            for (c, dx) in dx.iter_mut().enumerate() {
                *dx = gradient(c, *dx, 0.0);
            }
            if let Some((c, gradient)) = label {
                dx[c] = gradient;
            }
        }
        match params.reduction {
            Reduction::None => {}
            Reduction::Sum => loss[0] = total as f32,
            Reduction::Mean => loss[0] = (total / counted) as f32,
        }
        Ok(())
    }
}

/// What must be the same on all ranks, and decides how much is sent.
fn call_id(params: &CrossEntropy<'_>, labels: &[i64]) -> u64 {
    let header = [
        4,
        params.label_smoothing.to_bits(),
        params.ignore_index as u64,
        params.reduction as u64,
        u64::from(params.class_weights.is_some()),
    ];
    id(header.into_iter().chain(labels.iter().map(|&label| label as u64)))
}

/// Checks parameters and labels against the columns of this rank and the classes of all.
fn check_params(params: &CrossEntropy<'_>, labels: &[i64], cols: usize, classes: usize) -> Result<(), softmax::Error> {
    if !(0.0..1.0).contains(&params.label_smoothing) {
        return Err(softmax::Error::Parameter {
            name: "label_smoothing",
            value: params.label_smoothing.into(),
            range: "in [0, 1)",
        });
    }
    if let Some(weights) = params.class_weights.filter(|w| w.len() != cols) {
        let len = weights.len();
        return Err(softmax::Error::ClassWeights { len, classes: cols });
    }
    for (row, &label) in labels.iter().enumerate() {
        let is_class = usize::try_from(label).is_ok_and(|class| class < classes);
        if !is_class && label != params.ignore_index {
            return Err(softmax::Error::Label { row, label, classes });
        }
    }
    Ok(())
}
