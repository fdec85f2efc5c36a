//! Gradients and cross-entropy of many rows.

use super::super::backward::Shape;
use super::super::cross_entropy::{on_rows, total};
use super::super::cut::{Input, Results};
use super::long::{is_long, long_backward, long_loss};
use super::{Strided, share, share_rows};
use crate::element::{Element, Inside, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::Place;
use crate::rows::Rows;
use crate::{BackwardRows, CrossEntropy};

/// [`softmax_backward_rows`](crate::softmax_backward_rows) on the current rayon pool: the same bits.
///
/// A single row of more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`softmax_backward_rows`](crate::softmax_backward_rows).
///
/// ```
/// use softmax::{BackwardRows, par_softmax_backward_rows};
/// let mut dx = [0.0; 4];
/// par_softmax_backward_rows(&[0.5_f32; 4], &[1.0, 0.0, 0.0, 1.0], &mut dx, BackwardRows::new(2, 2))?;
/// assert_eq!(dx, [0.25, -0.25, -0.25, 0.25]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_softmax_backward_rows<T: Element, D: Output<T> + ?Sized>(
    y: &[T],
    dy: &[T],
    dx: &mut D,
    rows: BackwardRows,
) -> Result<(), Error> {
    backward(y, dy, dx, rows, false)
}

/// [`softmax_backward_rows_in_place`](crate::softmax_backward_rows_in_place) on the current rayon pool: the same bits.
///
/// A single row of more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`softmax_backward_rows`](crate::softmax_backward_rows).
///
/// ```
/// use softmax::{BackwardRows, par_softmax_backward_rows_in_place};
/// let mut d = [1.0_f32, 0.0, 0.0, 1.0];
/// par_softmax_backward_rows_in_place(&[0.5; 4], &mut d, BackwardRows::new(2, 2))?;
/// assert_eq!(d, [0.25, -0.25, -0.25, 0.25]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_softmax_backward_rows_in_place<T: Element>(y: &[T], dy: &mut [T], rows: BackwardRows) -> Result<(), Error> {
    backward_in_place(y, dy, rows, false)
}

/// [`log_softmax_backward_rows`](crate::log_softmax_backward_rows) on the current rayon pool: the same bits.
///
/// A single row of more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`softmax_backward_rows`](crate::softmax_backward_rows).
///
/// ```
/// use softmax::{BackwardRows, par_log_softmax_backward_rows};
/// let mut dx = [0.0; 2];
/// par_log_softmax_backward_rows(&[0.0_f32; 2], &[1.0, 2.0], &mut dx, BackwardRows::new(2, 1))?;
/// assert_eq!(dx, [0.0, 0.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_log_softmax_backward_rows<T: Element, D: Output<T> + ?Sized>(
    y: &[T],
    dy: &[T],
    dx: &mut D,
    rows: BackwardRows,
) -> Result<(), Error> {
    backward(y, dy, dx, rows, true)
}

/// [`log_softmax_backward_rows_in_place`](crate::log_softmax_backward_rows_in_place) on the current rayon pool: the same
/// bits.
///
/// A single row of more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`softmax_backward_rows`](crate::softmax_backward_rows).
///
/// ```
/// use softmax::{BackwardRows, par_log_softmax_backward_rows_in_place};
/// let mut d = [1.0_f32, 2.0];
/// par_log_softmax_backward_rows_in_place(&[0.0; 2], &mut d, BackwardRows::new(2, 1))?;
/// assert_eq!(d, [0.0, 0.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_log_softmax_backward_rows_in_place<T: Element>(
    y: &[T],
    dy: &mut [T],
    rows: BackwardRows,
) -> Result<(), Error> {
    backward_in_place(y, dy, rows, true)
}

fn backward<T: Element, D: Output<T> + ?Sized>(
    y: &[T],
    dy: &[T],
    dx: &mut D,
    rows: BackwardRows,
    log: bool,
) -> Result<(), Error> {
    let (isa, dx) = (Isa::detect(), dx.as_uninit(Inside));
    let all = rows.check_apart(y.len(), dy.len(), dx.len())?;
    if is_long(all) {
        let n = all.cols();
        long_backward(isa, &y[..n], Place::Apart(&dy[..n], &mut dx[..n]), log);
        return Ok(());
    }
    let memory = (Input(y, rows.y_stride()), Input(dy, all.x_stride()));
    share_rows((memory, Results(dx, all.y_stride())), all, &|((y, dy), dx), part| {
        isa.backward(y.0, dy.0, dx.0, Shape::Rows(rows.with_rows(part.rows())), log)
    })
}

fn backward_in_place<T: Element>(y: &[T], dy: &mut [T], rows: BackwardRows, log: bool) -> Result<(), Error> {
    let isa = Isa::detect();
    let all = rows.check(y.len(), dy.len())?;
    if is_long(all) {
        let n = all.cols();
        long_backward(isa, &y[..n], Place::InPlace(&mut dy[..n]), log);
        return Ok(());
    }
    let memory = (Input(y, rows.y_stride()), Results(dy, all.x_stride()));
    share_rows(memory, all, &|(y, dy), part| {
        isa.backward_in_place(y.0, dy.0, Shape::Rows(rows.with_rows(part.rows())), log)
    })
}

/// [`cross_entropy`](crate::cross_entropy()) on the current rayon pool: the same bits, those of a sum or mean too, since
/// losses are always added by the same halves.
///
/// A single row of more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`cross_entropy`](crate::cross_entropy()).
///
/// ```
/// use softmax::{CrossEntropy, Rows, par_cross_entropy};
/// let (x, mut loss) = ([0.0_f32; 4], [0.0]);
/// par_cross_entropy(&x, &[0, 1], &mut loss, None, Rows::new(2, 2), &CrossEntropy::default())?;
/// assert!((loss[0] - core::f32::consts::LN_2).abs() < 1e-6);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_cross_entropy<T: Element, Y: Output<T::Compute> + ?Sized>(
    x: &[T],
    labels: &[i64],
    loss: &mut Y,
    dx: Option<&mut [T]>,
    rows: Rows,
    params: &CrossEntropy<'_>,
) -> Result<(), Error> {
    let isa = Isa::detect();
    on_rows(x, labels, loss.as_uninit(Inside), dx, rows, params, |memory, terms| {
        if is_long(rows) {
            return long_loss(isa, memory, rows, terms);
        }
        share(
            Strided(memory, rows),
            &|Strided(memory, rows)| total(isa, memory, rows, terms),
            &|a, b| a + b,
        )
    })
}
