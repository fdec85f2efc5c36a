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
use softmax::{CrossEntropy, OnlineSoftmax, Reduction, Rows};

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
        let valid = self.check_call(x, labels, loss, dx.as_deref(), rows, params);
        let task = Task {
            params,
            labels,
            first: self.first_class(),
            cols: self.cols(),
            places: Places::new(params),
        };
        let total_weight = params
            .class_weights
            .map(|w| [w.iter().map(|&w| f64::from(w)).sum::<f64>()]);
        let call = Call {
            id: call_id(params, &labels[..self.rows().min(labels.len())]),
            valid,
            x,
            rows,
            extras: task.places.count,
            tail: total_weight.as_ref().map_or(&[], |w| &w[..]),
        };
        self.states(call, |r, max, place| {
            task.numbers(r, row(x, r, rows.x_stride(), task.cols), max, place);
        })?;
        Whole::new(&task, self.added(), self.rows(), self.classes()).results(self.whole(), x, loss, dx, rows)
    }

    /// Whether this rank's part of the call is right.
    fn check_call(
        &self,
        x: &[f32],
        labels: &[i64],
        loss: &[f32],
        dx: Option<&[f32]>,
        rows: Rows,
        params: &CrossEntropy<'_>,
    ) -> Result<(), softmax::Error> {
        let (cols, n) = (self.cols(), self.rows());
        let losses = if params.reduction == Reduction::None { n } else { 1 };
        self.check(x, rows)?;
        check("labels", labels.len(), n, 1, 1)?;
        check("loss", loss.len(), losses, 1, 1)?;
        if let Some(dx) = dx {
            check("dx", dx.len(), n, cols, rows.y_stride())?;
        }
        check_params(params, &labels[..n], cols, self.classes())
    }
}

/// What a call says of the rows, and of the classes of this rank.
struct Task<'a> {
    params: &'a CrossEntropy<'a>,
    labels: &'a [i64],
    /// The first class of this rank.
    first: usize,
    cols: usize,
    places: Places,
}

impl Task<'_> {
    /// The weight of the class in column `c`.
    fn weight(&self, c: usize) -> f64 {
        self.params.class_weights.map_or(1.0, |w| f64::from(w[c]))
    }

    /// Whether the label of row `r` is not ignored.
    fn counts(&self, r: usize) -> bool {
        self.labels[r] != self.params.ignore_index
    }

    /// The column of a label, where this rank has it.
    fn column(&self, r: usize) -> Option<usize> {
        let class = usize::try_from(self.labels[r]).ok().filter(|_| self.counts(r))?;
        class.checked_sub(self.first).filter(|&c| c < self.cols)
    }

    /// What this rank adds to the [numbers](Places) of row `r`, of which it has the logits `x`.
    fn numbers(&self, r: usize, x: &[f32], max: f32, place: &mut [f64]) {
        if !self.counts(r) {
            return;
        }
        let (column, max) = (self.column(r), f64::from(max));
        // A mean counts the labels of special rows, too.
        if let (Some(c), Some(at)) = (column, self.places.weight) {
            place[at] = self.weight(c);
        }
        if !max.is_finite() {
            return;
        }
        if let Some(c) = column {
            place[0] = max - f64::from(x[c]);
        }
        if let Some(at) = self.places.spread {
            let terms = x
                .iter()
                .enumerate()
                .map(|(c, &x)| self.weight(c) * (max - f64::from(x)));
            place[at] = terms.sum();
        }
    }
}

/// What all ranks know after the second allreduce.
struct Whole<'a> {
    task: &'a Task<'a>,
    added: &'a [f64],
    /// Σ_r w of the labels that count.
    counted: f64,
    /// s: what the reduction multiplies the gradient by.
    scale: f64,
    /// ε/C.
    spread: f64,
    /// W = Σ_c w_c.
    all_weights: f64,
}

impl<'a> Whole<'a> {
    fn new(task: &'a Task<'a>, added: &'a [f64], rows: usize, classes: usize) -> Self {
        let spread = task.params.label_smoothing / classes as f64;
        let mut whole = Self {
            task,
            added,
            counted: 0.0,
            scale: 1.0,
            // Without classes every label is an ignored one.
            spread: if spread.is_finite() { spread } else { 0.0 },
            all_weights: classes as f64,
        };
        if task.params.class_weights.is_some() {
            whole.all_weights = added[rows * (1 + task.places.count)];
        }
        whole.counted = (0..rows)
            .filter(|&r| task.counts(r))
            .map(|r| whole.label_weight(r))
            .sum();
        if task.params.reduction == Reduction::Mean {
            whole.scale = 1.0 / whole.counted;
        }
        whole
    }

    /// The [numbers](Places) of row `r`.
    fn numbers(&self, r: usize) -> &[f64] {
        let count = self.task.places.count;
        &self.added[r * (1 + count) + 1..][..count]
    }

    /// The weight of the label of row `r`.
    fn label_weight(&self, r: usize) -> f64 {
        self.task.places.weight.map_or(1.0, |at| self.numbers(r)[at])
    }

    /// What multiplies the terms of the label of row `r`: (1 − ε)·w.
    fn at_label(&self, r: usize) -> f64 {
        (1.0 - self.task.params.label_smoothing) * self.label_weight(r)
    }

    /// The loss of row `r`; 0 where its label does not count.
    fn loss(&self, r: usize, state: &OnlineSoftmax) -> f64 {
        if !self.task.counts(r) {
            return 0.0;
        }
        if !state.max().is_finite() {
            return f64::NAN;
        }
        let (excess, numbers) = (excess(state), self.numbers(r));
        let loss = self.at_label(r) * (excess + numbers[0]);
        match self.task.places.spread {
            Some(at) => loss + self.spread * (self.all_weights * excess + numbers[at]),
            None => loss,
        }
    }

    /// The gradient of row `r` from its probabilities: s·(a·p_c − (ε/C)·w_c − b), where b is the label's and a the sum of
    /// what is subtracted.
    fn gradient(&self, r: usize, dx: &mut [f32]) {
        let at_label = self.at_label(r);
        let at_all = at_label + self.spread * self.all_weights;
        let gradient = |c: usize, p: f32, b: f64| {
            let smoothed = if self.spread == 0.0 {
                0.0
            } else {
                self.spread * self.task.weight(c)
            };
            (self.scale * (at_all * f64::from(p) - smoothed - b)) as f32
        };
        let label = self.task.column(r).map(|c| (c, gradient(c, dx[c], at_label)));
        for (c, dx) in dx.iter_mut().enumerate() {
            *dx = gradient(c, *dx, 0.0);
        }
        if let Some((c, gradient)) = label {
            dx[c] = gradient;
        }
    }

    /// The losses, and this rank's part of the gradient.
    fn results(
        &self,
        states: &[OnlineSoftmax],
        x: &[f32],
        loss: &mut [f32],
        mut dx: Option<&mut [f32]>,
        rows: Rows,
    ) -> Result<(), Error> {
        let (reduction, cols) = (self.task.params.reduction, self.task.cols);
        let mut total = 0.0;
        for (r, state) in states.iter().enumerate() {
            let value = self.loss(r, state);
            total += value;
            if reduction == Reduction::None {
                loss[r] = value as f32;
            }
            let Some(dx) = &mut dx else { continue };
            let dx = row_mut(dx, r, rows.y_stride(), cols);
            if self.task.counts(r) {
                state.finish(row(x, r, rows.x_stride(), cols), dx)?;
                self.gradient(r, dx);
            } else {
                dx.fill(0.0);
            }
        }
        match reduction {
            Reduction::None => {}
            Reduction::Sum => loss[0] = total as f32,
            Reduction::Mean => loss[0] = (total / self.counted) as f32,
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
