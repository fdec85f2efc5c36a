//! Rows at strides, one row, and elements.

use super::super::cut::{Input, Results};
use super::super::{check_top_k, checked, same_length};
use super::choice::{long_argmax, long_top_k};
use super::long::{is_long, long_log_softmax, long_softmax, long_sum};
use super::share_rows;
use crate::arch::memory::filled;
use crate::element::{Element, Float, Inside, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::Place;
use crate::kernel::log_softmax::{joined, log, special};
use crate::rows::Rows;

/// [`softmax`](crate::softmax()) of one row on the current rayon pool: the same bits.
///
/// The parts of a row of more than 131,072 elements are shared.
///
/// # Errors
/// As [`softmax`](crate::softmax()).
///
/// ```
/// let x = vec![0.0_f32; 1 << 18];
/// let mut y = vec![0.0; 1 << 18];
/// softmax::par_softmax(&x, &mut y)?;
/// assert_eq!(y, vec![1.0 / 262_144.0; 1 << 18]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_softmax<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y) -> Result<(), Error> {
    let y = y.as_uninit(Inside);
    let rows = same_length(x.len(), y.len())?;
    par_softmax_rows(x, y, rows)
}

/// [`softmax_in_place`](crate::softmax_in_place) of one row on the current rayon pool: the same bits.
///
/// The parts of a row of more than 131,072 elements are shared.
///
/// ```
/// let mut x = [0.0_f32, f32::NEG_INFINITY, 0.0];
/// softmax::par_softmax_in_place(&mut x);
/// assert_eq!(x, [0.5, 0.0, 0.5]);
/// ```
pub fn par_softmax_in_place<T: Element>(x: &mut [T]) {
    let rows = Rows::new(1, x.len());
    if is_long(rows) {
        long_softmax(Isa::detect(), Place::InPlace(x));
    } else {
        crate::softmax_in_place(x);
    }
}

/// [`softmax_rows`](crate::softmax_rows) on the current rayon pool: the same bits.
///
/// A single row of more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`softmax_rows`](crate::softmax_rows).
///
/// ```
/// use softmax::{Rows, par_softmax_rows};
/// let mut y = [0.0_f32; 4];
/// par_softmax_rows(&[1.0_f32; 4], &mut y, Rows::new(2, 2))?;
/// assert_eq!(y, [0.5; 4]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_softmax_rows<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y, rows: Rows) -> Result<(), Error> {
    let (isa, y) = (Isa::detect(), checked(x, y, rows)?);
    if is_long(rows) {
        long_softmax(isa, Place::Apart(&x[..rows.cols()], &mut y[..rows.cols()]));
        return Ok(());
    }
    share_rows(
        (Input(x, rows.x_stride()), Results(y, rows.y_stride())),
        rows,
        &|(x, y), rows| isa.softmax_rows(x.0, y.0, rows),
    )
}

/// [`softmax_rows_in_place`](crate::softmax_rows_in_place) on the current rayon pool: the same bits.
///
/// A single row of more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`softmax_rows`](crate::softmax_rows).
///
/// ```
/// use softmax::{Rows, par_softmax_rows_in_place};
/// let mut x = [3.0_f32, 3.0, 7.0, 7.0];
/// par_softmax_rows_in_place(&mut x, Rows::new(2, 2))?;
/// assert_eq!(x, [0.5; 4]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_softmax_rows_in_place<T: Element>(x: &mut [T], rows: Rows) -> Result<(), Error> {
    rows.check_input(x.len())?;
    let isa = Isa::detect();
    if is_long(rows) {
        long_softmax(isa, Place::InPlace(&mut x[..rows.cols()]));
        return Ok(());
    }
    share_rows(Results(x, rows.x_stride()), rows, &|x, rows| {
        isa.softmax_rows_in_place(x.0, rows)
    })
}

/// [`log_softmax`](crate::log_softmax) of one row on the current rayon pool: the same bits.
///
/// The parts of a row of more than 131,072 elements are shared.
///
/// # Errors
/// As [`log_softmax`](crate::log_softmax).
///
/// ```
/// let mut y = [0.0; 2];
/// softmax::par_log_softmax(&[5.0_f32, 5.0], &mut y)?;
/// assert!((y[0] + core::f32::consts::LN_2).abs() < 1e-7);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_log_softmax<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y) -> Result<(), Error> {
    let y = y.as_uninit(Inside);
    let rows = same_length(x.len(), y.len())?;
    par_log_softmax_rows(x, y, rows)
}

/// [`log_softmax_in_place`](crate::log_softmax_in_place) of one row on the current rayon pool: the same bits.
///
/// The parts of a row of more than 131,072 elements are shared.
///
/// ```
/// let mut x = [100.0_f32, f32::NEG_INFINITY];
/// softmax::par_log_softmax_in_place(&mut x);
/// assert!(x[0].abs() < 1e-7 && x[1] == f32::NEG_INFINITY);
/// ```
pub fn par_log_softmax_in_place<T: Element>(x: &mut [T]) {
    let rows = Rows::new(1, x.len());
    if is_long(rows) {
        long_log_softmax(Isa::detect(), Place::InPlace(x));
    } else {
        crate::log_softmax_in_place(x);
    }
}

/// [`log_softmax_rows`](crate::log_softmax_rows) on the current rayon pool: the same bits.
///
/// A single row of more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`softmax_rows`](crate::softmax_rows).
///
/// ```
/// use softmax::{Rows, par_log_softmax_rows};
/// let mut y = [0.0_f32; 2];
/// par_log_softmax_rows(&[1.0_f32, 2.0], &mut y, Rows::new(2, 1))?;
/// assert!(y.iter().all(|y| y.abs() < 1e-7));
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_log_softmax_rows<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y, rows: Rows) -> Result<(), Error> {
    let (isa, y) = (Isa::detect(), checked(x, y, rows)?);
    if is_long(rows) {
        long_log_softmax(isa, Place::Apart(&x[..rows.cols()], &mut y[..rows.cols()]));
        return Ok(());
    }
    share_rows(
        (Input(x, rows.x_stride()), Results(y, rows.y_stride())),
        rows,
        &|(x, y), rows| isa.log_softmax_rows(x.0, y.0, rows),
    )
}

/// [`log_softmax_rows_in_place`](crate::log_softmax_rows_in_place) on the current rayon pool: the same bits.
///
/// A single row of more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`softmax_rows`](crate::softmax_rows).
///
/// ```
/// use softmax::{Rows, par_log_softmax_rows_in_place};
/// let mut x = [1.0_f32, 2.0];
/// par_log_softmax_rows_in_place(&mut x, Rows::new(2, 1))?;
/// assert!(x.iter().all(|y| y.abs() < 1e-7));
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_log_softmax_rows_in_place<T: Element>(x: &mut [T], rows: Rows) -> Result<(), Error> {
    rows.check_input(x.len())?;
    let isa = Isa::detect();
    if is_long(rows) {
        long_log_softmax(isa, Place::InPlace(&mut x[..rows.cols()]));
        return Ok(());
    }
    share_rows(Results(x, rows.x_stride()), rows, &|x, rows| {
        isa.log_softmax_rows_in_place(x.0, rows)
    })
}

/// [`logsumexp`](crate::logsumexp) of one row on the current rayon pool: the same bits.
///
/// The parts of a row of more than 131,072 elements are shared.
///
/// ```
/// assert_eq!(softmax::par_logsumexp(&[3.0_f32]), 3.0);
/// ```
pub fn par_logsumexp<T: Element>(x: &[T]) -> T {
    if !is_long(Rows::new(1, x.len())) {
        return crate::logsumexp(x);
    }
    match long_sum(Isa::detect(), x) {
        Some((shift, sum)) => joined(log::<T::Compute>(&shift, sum)),
        None => special(x),
    }
}

/// [`logsumexp_rows`](crate::logsumexp_rows) on the current rayon pool: the same bits.
///
/// A single row of more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`logsumexp_rows`](crate::logsumexp_rows).
///
/// ```
/// use softmax::{Rows, par_logsumexp_rows};
/// let mut out = [0.0_f32; 2];
/// par_logsumexp_rows(&[3.0_f32, 4.0], &mut out, Rows::new(2, 1))?;
/// assert_eq!(out, [3.0, 4.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_logsumexp_rows<T: Element, Y: Output<T> + ?Sized>(x: &[T], out: &mut Y, rows: Rows) -> Result<(), Error> {
    rows.check_input(x.len())?;
    let (isa, out) = (Isa::detect(), out.as_uninit(Inside));
    rows.check_results("output", out.len(), 1)?;
    if is_long(rows) {
        out[0].write(par_logsumexp(&x[..rows.cols()]));
        return Ok(());
    }
    share_rows((Input(x, rows.x_stride()), Results(out, 1)), rows, &|(x, out), rows| {
        isa.logsumexp_rows(x.0, out.0, rows)
    })
}

/// [`argmax_rows`](crate::argmax_rows) on the current rayon pool.
///
/// A single row of more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`argmax_rows`](crate::argmax_rows).
///
/// ```
/// use softmax::{Rows, par_argmax_rows};
/// let mut index = [0; 2];
/// par_argmax_rows(&[0.0_f32, 1.0, 5.0, 4.0], &mut index, Rows::new(2, 2))?;
/// assert_eq!(index, [1, 0]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_argmax_rows<T: Element, I: Output<usize> + ?Sized>(x: &[T], index: &mut I, rows: Rows) -> Result<(), Error> {
    let index = index.as_uninit(Inside);
    rows.check_input(x.len())?;
    rows.check_results("index", index.len(), 1)?;
    let isa = Isa::detect();
    if is_long(rows) {
        index[0].write(long_argmax(isa, &x[..rows.cols()]));
        return Ok(());
    }
    share_rows(
        (Input(x, rows.x_stride()), Results(index, 1)),
        rows,
        &|(x, index), rows| isa.argmax_rows(x.0, index.0, rows),
    )
}

/// [`top_k_rows`](crate::top_k_rows) on the current rayon pool: the same bits.
///
/// A single row of more than 131,072 elements is shared, too, by a part to a thread, each with memory of its own for up to k
/// indices.
///
/// # Errors
/// As [`top_k_rows`](crate::top_k_rows).
///
/// ```
/// use softmax::{Rows, par_top_k_rows};
/// let (mut index, mut prob) = ([0; 2], [0.0; 2]);
/// par_top_k_rows(&[0.0_f32, 9.0, 9.0, 0.0], 1, &mut index, &mut prob, Rows::new(2, 2))?;
/// assert_eq!(index, [1, 0]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_top_k_rows<T, I, P>(x: &[T], k: usize, index: &mut I, prob: &mut P, rows: Rows) -> Result<(), Error>
where
    T: Element,
    I: Output<usize> + ?Sized,
    P: Output<T::Compute> + ?Sized,
{
    let (index, prob) = (index.as_uninit(Inside), prob.as_uninit(Inside));
    check_top_k(x.len(), k, index.len(), prob.len(), rows)?;
    let isa = Isa::detect();
    if is_long(rows) && k > 0 {
        let index = filled(&mut index[..k], usize::MAX);
        long_top_k(isa, &x[..rows.cols()], index, filled(&mut prob[..k], T::Compute::NAN));
        return Ok(());
    }
    let places = (Results(index, k), Results(prob, k));
    share_rows(
        (Input(x, rows.x_stride()), places),
        rows,
        &|(x, (index, prob)), rows| isa.top_k_rows(x.0, k, index.0, prob.0, rows),
    )
}

/// [`exp`](crate::exp) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`exp`](crate::exp).
///
/// ```
/// let mut y = [7.0_f32; 2];
/// softmax::par_exp(&[0.0, f32::NEG_INFINITY], &mut y)?;
/// assert_eq!(y, [1.0, 0.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_exp<T: Float, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y) -> Result<(), Error> {
    let (isa, y) = (Isa::detect(), y.as_uninit(Inside));
    let elements = same_length(x.len(), y.len())?.cols();
    share_rows((Input(x, 1), Results(y, 1)), Rows::new(elements, 1), &|(x, y), _| {
        isa.exp(x.0, y.0)
    })
}

/// [`exp_in_place`](crate::exp_in_place) on the current rayon pool: the same bits.
///
/// ```
/// let mut x = [0.0_f32, f32::NEG_INFINITY];
/// softmax::par_exp_in_place(&mut x);
/// assert_eq!(x, [1.0, 0.0]);
/// ```
pub fn par_exp_in_place<T: Float>(x: &mut [T]) {
    let (isa, elements) = (Isa::detect(), Rows::new(x.len(), 1));
    // The detected ISA is one that the CPU has.
    let _ = share_rows(Results(x, 1), elements, &|x, _| isa.exp_in_place(x.0));
}
