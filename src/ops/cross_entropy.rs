//! Cross-entropy of logits and labels, with its gradient. Label smoothing is from Szegedy et al. (2015, arXiv:1512.00567).

use super::cut::{Cut, Input, Results};
use crate::element::{Element, Float, Inside, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::cross_entropy::{CrossEntropy as Kernel, Terms, rounded};
use crate::kernel::softmax::fill;
use crate::rows::Rows;
use core::mem::MaybeUninit;

/// The parameters of [`cross_entropy`], with PyTorch's names, meanings and defaults.
///
/// ```
/// use softmax::{CrossEntropy, Reduction};
/// let params = CrossEntropy { label_smoothing: 0.1, reduction: Reduction::Sum, ..CrossEntropy::default() };
/// assert_eq!(params.ignore_index, -100);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy<'w> {
    /// ε: how much of the target is spread over all classes, in [0, 1).
    pub label_smoothing: f64,
    /// Rows with this label give loss 0 and gradient 0, whatever they hold, and do not count in a mean.
    pub ignore_index: i64,
    /// A weight for each class.
    pub class_weights: Option<&'w [f32]>,
    /// What becomes of the losses of the rows.
    pub reduction: Reduction,
}

/// What becomes of the losses of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// A loss for each row.
    None,
    /// Their sum over the sum of the weights of the labels (without weights: over the number of rows that count). NaN
    /// of nothing.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

impl Default for CrossEntropy<'_> {
    fn default() -> Self {
        Self {
            label_smoothing: 0.0,
            ignore_index: -100,
            class_weights: None,
            reduction: Reduction::Mean,
        }
    }
}

/// The cross-entropy of each row of logits and its label, and where `dx` is given the gradient of the loss.
///
/// With C classes, label t, weights w (1 without), l_c = ln Σ_j e^{x_j} − x_c and ε = `label_smoothing`:
///
/// ```text
/// loss = (1 − ε)·w_t·l_t + (ε/C)·Σ_c w_c·l_c
/// dx_c = s·(((1 − ε)·w_t + (ε/C)·Σ_j w_j)·softmax(x)_c − (ε/C)·w_c − (1 − ε)·w_t·[c = t])
/// ```
///
/// s is 1, or under [`Reduction::Mean`] 1 over the sum of the w_t. `loss` has a place for each row under
/// [`Reduction::None`], else for one value. Row r of the gradient stands at r·`y_stride` of `rows`.
///
/// # Numerical contract
/// With u = 2^−24 (f64: 2^−53) and weights that are not negative, the loss of a row is never negative and within
/// 12u·((1 − ε)·w_t·max(1, l_t) + (ε/C)·Σ_c w_c·max(1, l_c)), and dx_c within s·u·(16·(w_t + (ε/C)·Σ_j w_j)·softmax(x)_c +
/// 8·(w_t·[c = t] + (ε/C)·w_c)) (`Portable`: 24 for the 12 and the 16; f64: 15 for the 12 of the second term, and the sum of
/// the weights, in f64, adds up to C·u of itself); in a half type its rounding comes on top, and what
/// underflows. Losses are added in f64, by halves of the rows from 8192 elements on; a Σ_c w_c·l_c beyond the largest number of
/// the arithmetic is +∞. The same bits on every ISA but `Portable`. Subnormals are not flushed: what a logit, a weight, a
/// product or a result that is one gives depends on the host's FTZ and DAZ flags.
///
/// | the row has | loss | gradient |
/// |---|---|---|
/// | −∞ at the label | +∞, where its weight is 0 NaN | as softmax has it |
/// | −∞ elsewhere | as if absent; with smoothing +∞, where its weight is 0 NaN | as softmax has it |
/// | NaN, +∞, or nothing but −∞ | NaN | NaN |
/// | no column | 0 | nothing written |
///
/// Without columns there is no class, and a label that is not ignored is an error. Of no rows, and of rows without columns, the
/// sum is 0 and the mean NaN.
///
/// # Errors
/// [`Error::Label`] for a label that is neither a class nor `ignore_index`, [`Error::Parameter`] for an ε outside [0, 1),
/// [`Error::ClassWeights`] if there are not as many as classes; [`Error::Stride`], [`Error::TooShort`] or
/// [`Error::Overflow`] if a slice does not hold the rows. Nothing is written then.
///
/// ```
/// use softmax::{CrossEntropy, Rows, cross_entropy};
/// let (x, labels) = ([0.0_f32, 0.0, 0.0, 50.0], [0, 1]);
/// let (mut loss, mut dx) = ([0.0], [0.0; 4]);
/// cross_entropy(&x, &labels, &mut loss, Some(&mut dx), Rows::new(2, 2), &CrossEntropy::default())?;
/// assert!((loss[0] - 0.5 * core::f32::consts::LN_2).abs() < 1e-6);
/// assert_eq!(dx[..2], [-0.25, 0.25]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn cross_entropy<T: Element, Y: Output<T::Compute> + ?Sized>(
    x: &[T],
    labels: &[i64],
    loss: &mut Y,
    dx: Option<&mut [T]>,
    rows: Rows,
    params: &CrossEntropy<'_>,
) -> Result<(), Error> {
    Isa::detect().cross_entropy(x, labels, loss, dx, rows, params)
}

impl CrossEntropy<'_> {
    /// The parameters as the kernel wants them, and the sum of the weights of the labels, once they are valid.
    #[inline]
    fn check(&self, labels: &[i64], classes: usize) -> Result<(Terms<'_>, f64), Error> {
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(Error::Parameter {
                name: "label_smoothing",
                value: self.label_smoothing.into(),
                range: "in [0, 1)",
            });
        }
        if let Some(weights) = self.class_weights.filter(|w| w.len() != classes) {
            let len = weights.len();
            return Err(Error::ClassWeights { len, classes });
        }
        let mut terms = Terms {
            smoothing: self.label_smoothing,
            ignored: self.ignore_index,
            weights: self.class_weights,
            weight_sum: classes as f64,
            scale: 1.0,
        };
        if let Some(weights) = self.class_weights {
            terms.weight_sum = weights.iter().map(|&w| f64::from(w)).sum();
        }
        let mut counted = 0.0;
        for (row, &label) in labels.iter().enumerate() {
            if label == self.ignore_index {
                continue;
            }
            match usize::try_from(label) {
                Ok(t) if t < classes => counted += terms.weight(t),
                _ => return Err(Error::Label { row, label, classes }),
            }
        }
        if self.reduction == Reduction::Mean {
            terms.scale = 1.0 / counted;
        }
        Ok((terms, counted))
    }
}

/// Rows of at least so many elements are added by halves: the sum of the first half of the rows (rounded down) and that
/// of the rest, each found in the same way. Fewer are added one after the other. So a sum does not depend on threads.
pub const LEAF: usize = 8192;

/// Logits and labels; places for losses, where each is wanted, and gradients.
pub type Memory<'a, T> = (
    (Input<'a, T>, Input<'a, i64>),
    (Option<Places<'a, <T as Element>::Compute>>, Option<Places<'a, T>>),
);
type Places<'a, T> = Results<'a, MaybeUninit<T>>;

/// The losses and gradients of rows whose memory and terms are checked, and the sum of the losses.
pub fn total<T: Element>(isa: Isa, memory: Memory<'_, T>, rows: Rows, terms: &Terms<'_>) -> f64 {
    if rows.rows() >= 2 && rows.rows().saturating_mul(rows.cols()) >= LEAF {
        let middle = rows.rows() / 2;
        let ((a, b), (rows_a, rows_b)) = (memory.cut(middle), rows.split_at(middle));
        return total(isa, a, rows_a, terms) + total(isa, b, rows_b, terms);
    }
    let ((x, labels), (loss, dx)) = memory;
    let mut total = 0.0;
    T::cross_entropy(
        isa,
        Kernel {
            x: x.0,
            labels: labels.0,
            loss: loss.map(|loss| loss.0),
            total: &mut total,
            dx: dx.map(|dx| dx.0),
            rows,
            terms: *terms,
            part: None,
        },
    );
    total
}

/// Checks the call, finds the losses and gradients by `each`, which gives their sum, and stores what becomes of that.
pub fn on_rows<T: Element>(
    x: &[T],
    labels: &[i64],
    loss: &mut [MaybeUninit<T::Compute>],
    dx: Option<&mut [T]>,
    rows: Rows,
    params: &CrossEntropy<'_>,
    each: impl FnOnce(Memory<'_, T>, &Terms<'_>) -> f64,
) -> Result<(), Error> {
    rows.check_input(x.len())?;
    rows.check_results("labels", labels.len(), 1)?;
    let is_reduced = params.reduction != Reduction::None;
    let losses = Rows::new(if is_reduced { 1 } else { rows.rows() }, rows.cols());
    losses.check_results("loss", loss.len(), 1)?;
    if let Some(dx) = &dx {
        rows.check("dx", dx.len(), rows.y_stride())?;
    }
    let (loss, labels) = (&mut loss[..losses.rows()], &labels[..rows.rows()]);
    let (terms, counted) = params.check(labels, rows.cols())?;
    if rows.is_empty() && !is_reduced {
        // Without columns every label is an ignored one.
        fill(loss, Float::from_f64(0.0));
        return Ok(());
    }
    let mut sum = 0.0;
    if !rows.is_empty() {
        let each_loss = (!is_reduced).then_some(Results(&mut *loss, 1));
        let dx = dx.map(|dx| Results(crate::arch::memory::as_output(dx), rows.y_stride()));
        let inputs = (Input(x, rows.x_stride()), Input(labels, 1));
        sum = each((inputs, (each_loss, dx)), &terms);
    }
    match params.reduction {
        Reduction::None => {}
        Reduction::Sum => fill(loss, rounded(sum)),
        Reduction::Mean => fill(loss, rounded(sum / counted)),
    }
    Ok(())
}

/// Cross-entropy on a chosen ISA: the free function of the same name, and [`Error::IsaUnavailable`] where the CPU lacks it.
impl Isa {
    /// [`cross_entropy`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut loss = [0.0_f32];
    /// let params = CrossEntropy::default();
    /// Isa::Scalar.cross_entropy(&[3.0_f32], &[0], &mut loss, None, Rows::new(1, 1), &params)?;
    /// assert!(loss[0] < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cross_entropy<T: Element, Y: Output<T::Compute> + ?Sized>(
        self,
        x: &[T],
        labels: &[i64],
        loss: &mut Y,
        dx: Option<&mut [T]>,
        rows: Rows,
        params: &CrossEntropy<'_>,
    ) -> Result<(), Error> {
        self.require()?;
        let each = |memory: Memory<'_, T>, terms: &Terms<'_>| total(self, memory, rows, terms);
        on_rows(x, labels, loss.as_uninit(Inside), dx, rows, params, each)
    }
}
