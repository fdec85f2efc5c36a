//! Along any axis of `ndarray` arrays and views (feature `ndarray`), of any layout: standard, Fortran, permuted, sliced,
//! with negative or zero strides.
//!
//! ```
//! use ndarray::{Axis, array};
//! let x = array![[0.0_f32, 1.0], [0.0, 1.0]];
//! let y = softmax::ndarray::softmax(&x, Axis(0))?;
//! assert_eq!(y, array![[0.5, 0.5], [0.5, 0.5]]);
//! # Ok::<(), softmax::ndarray::Error>(())
//! ```
//!
//! | | new array | to an array or view | in place |
//! |---|---|---|---|
//! | e^x / Σ e^x | [`softmax()`] | [`softmax_into`] | [`softmax_in_place`] |
//! | x − ln Σ e^x | [`log_softmax`] | [`log_softmax_into`] | [`log_softmax_in_place`] |
//! | ln Σ e^x | [`logsumexp`] | [`logsumexp_into`] | |
//!
//! Every argument takes arrays and views alike. Each row along the axis has the bounds, the special cases and, in whatever
//! layout it is found, the bits that it has alone.
//!
//! | the layout of | is worked on |
//! |---|---|
//! | arrays that fill their memory, the axes in any order, backwards or not | where it is, by [`softmax_axis`](crate::softmax_axis) |
//! | rows side by side | where it is, row by row |
//! | an output that fills its memory, whatever the input | there, after a copy |
//! | anything else | in a copy that the call allocates |
//!
//! Nothing panics but an allocation of more than the address space, which a view of stride 0 or of no elements can ask for.

mod along;

use crate::element::Element;
use ::ndarray::{Array, ArrayRef, Axis, Dimension, RemoveAxis};
use along::Operator;
use std::fmt;

/// A call that cannot be carried out. Nothing was written.
///
/// ```
/// use ndarray::{Axis, array};
/// let error = softmax::ndarray::softmax(&array![0.0_f32], Axis(3)).unwrap_err();
/// assert_eq!(error.to_string(), "axis 3 of an array of 1 dimension");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The array has no such axis.
    Axis {
        /// The axis asked for.
        axis: usize,
        /// Dimensions of the array.
        ndim: usize,
    },
    /// The output does not have the shape of the result.
    Shape {
        /// The shape of the result.
        expected: Vec<usize>,
        /// The shape of the output.
        output: Vec<usize>,
    },
    /// [`softmax_axis`](crate::softmax_axis) and its like refuse the call.
    Softmax(crate::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Axis { axis, ndim: 1 } => write!(f, "axis {axis} of an array of 1 dimension"),
            Self::Axis { axis, ndim } => write!(f, "axis {axis} of an array of {ndim} dimensions"),
            Self::Shape { expected, output } => write!(f, "output has shape {output:?}, the result {expected:?}"),
            Self::Softmax(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Softmax(error) => Some(error),
            _ => None,
        }
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Self {
        Self::Softmax(error)
    }
}

/// y_i = e^{x_i} / Σ_j e^{x_j} along `axis`, as a new array of the shape of `x`.
///
/// # Errors
/// [`Error::Axis`] if `x` has no such axis.
///
/// ```
/// use ndarray::{Axis, array};
/// let y = softmax::ndarray::softmax(&array![[2.0_f64, f64::NEG_INFINITY, 2.0]], Axis(1))?;
/// assert_eq!(y, array![[0.5, 0.0, 0.5]]);
/// # Ok::<(), softmax::ndarray::Error>(())
/// ```
pub fn softmax<T: Element, D: Dimension>(x: &ArrayRef<T, D>, axis: Axis) -> Result<Array<T, D>, Error> {
    let mut y = x.to_owned();
    softmax_in_place(&mut y, axis)?;
    Ok(y)
}

/// [`softmax()`] to an array or view of the shape of `x`, of any layout.
///
/// # Errors
/// [`Error::Axis`] if `x` has no such axis, [`Error::Shape`] if the shapes differ.
///
/// ```
/// use ndarray::{Array2, Axis, array, s};
/// let x = array![[0.0_f32, 0.0], [0.0, 0.0]];
/// let mut wide = Array2::zeros((2, 4));
/// softmax::ndarray::softmax_into(&x, &mut wide.slice_mut(s![.., ..;2]), Axis(1))?;
/// assert_eq!(wide, array![[0.5, 0.0, 0.5, 0.0], [0.5, 0.0, 0.5, 0.0]]);
/// # Ok::<(), softmax::ndarray::Error>(())
/// ```
pub fn softmax_into<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    y: &mut ArrayRef<T, D>,
    axis: Axis,
) -> Result<(), Error> {
    along::into(Operator::Softmax, x, y, axis)
}

/// [`softmax()`] in place: the same bits.
///
/// # Errors
/// As [`softmax()`].
///
/// ```
/// use ndarray::{Axis, array};
/// let mut x = array![[1.0_f32, 8.0], [1.0, 8.0]];
/// softmax::ndarray::softmax_in_place(&mut x.view_mut().reversed_axes(), Axis(1))?;
/// assert_eq!(x, array![[0.5, 0.5], [0.5, 0.5]]);
/// # Ok::<(), softmax::ndarray::Error>(())
/// ```
pub fn softmax_in_place<T: Element, D: Dimension>(x: &mut ArrayRef<T, D>, axis: Axis) -> Result<(), Error> {
    along::in_place(Operator::Softmax, x, axis)
}

/// y_i = x_i − ln Σ_j e^{x_j} along `axis`, as a new array of the shape of `x`.
///
/// # Errors
/// As [`softmax()`].
///
/// ```
/// use ndarray::{Axis, array};
/// let y = softmax::ndarray::log_softmax(&array![1e6_f64, 1e6], Axis(0))?;
/// assert!((y[0] + std::f64::consts::LN_2).abs() < 1e-15);
/// # Ok::<(), softmax::ndarray::Error>(())
/// ```
pub fn log_softmax<T: Element, D: Dimension>(x: &ArrayRef<T, D>, axis: Axis) -> Result<Array<T, D>, Error> {
    let mut y = x.to_owned();
    log_softmax_in_place(&mut y, axis)?;
    Ok(y)
}

/// [`log_softmax`] to an array or view of the shape of `x`, of any layout.
///
/// # Errors
/// As [`softmax_into`].
///
/// ```
/// use ndarray::{Axis, aview1, array};
/// let mut y = [0.0_f32; 2];
/// softmax::ndarray::log_softmax_into(&aview1(&[0.0, -1e9]), &mut ndarray::aview_mut1(&mut y), Axis(0))?;
/// assert!(y[0].abs() < 1e-6 && y[1] == -1e9);
/// # Ok::<(), softmax::ndarray::Error>(())
/// ```
pub fn log_softmax_into<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    y: &mut ArrayRef<T, D>,
    axis: Axis,
) -> Result<(), Error> {
    along::into(Operator::LogSoftmax, x, y, axis)
}

/// [`log_softmax`] in place: the same bits.
///
/// # Errors
/// As [`softmax()`].
///
/// ```
/// use ndarray::{Axis, array};
/// let mut x = array![[3.0_f32], [3.0]];
/// softmax::ndarray::log_softmax_in_place(&mut x, Axis(0))?;
/// assert!((x[[1, 0]] + std::f32::consts::LN_2).abs() < 1e-6);
/// # Ok::<(), softmax::ndarray::Error>(())
/// ```
pub fn log_softmax_in_place<T: Element, D: Dimension>(x: &mut ArrayRef<T, D>, axis: Axis) -> Result<(), Error> {
    along::in_place(Operator::LogSoftmax, x, axis)
}

/// ln Σ_j e^{x_j} along `axis`, as a new array without that axis; −∞ for rows without an element.
///
/// # Errors
/// As [`softmax()`].
///
/// ```
/// use ndarray::{Axis, array};
/// let y = softmax::ndarray::logsumexp(&array![[5.0_f32], [-7.0]], Axis(1))?;
/// assert_eq!(y, array![5.0, -7.0]);
/// # Ok::<(), softmax::ndarray::Error>(())
/// ```
pub fn logsumexp<T: Element, D: RemoveAxis>(x: &ArrayRef<T, D>, axis: Axis) -> Result<Array<T, D::Smaller>, Error> {
    along::check_axis(x, axis)?;
    let shape = x.raw_dim().remove_axis(axis);
    let mut out = Array::from_elem(shape, crate::logsumexp::<T>(&[]));
    logsumexp_into(x, &mut out, axis)?;
    Ok(out)
}

/// [`logsumexp`] to an array or view of the shape of `x` without `axis`, of any layout.
///
/// # Errors
/// [`Error::Axis`] if `x` has no such axis, [`Error::Shape`] if `out` does not have its shape without it.
///
/// ```
/// use ndarray::{Array1, Axis, array};
/// let mut out = Array1::zeros(3);
/// softmax::ndarray::logsumexp_into(&array![[1.0_f64, 2.0, 3.0]], &mut out, Axis(0))?;
/// assert_eq!(out, array![1.0, 2.0, 3.0]);
/// # Ok::<(), softmax::ndarray::Error>(())
/// ```
pub fn logsumexp_into<T: Element, D: RemoveAxis>(
    x: &ArrayRef<T, D>,
    out: &mut ArrayRef<T, D::Smaller>,
    axis: Axis,
) -> Result<(), Error> {
    along::logsumexp_into(x, out, axis)
}
