//! The operators along any axis of a contiguous tensor.

use crate::element::{Element, Inside, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::Place;
use crate::kernel::axis::AxisKernel;
use crate::kernel::columns::{self, ColumnsKernel};
use crate::kernel::slices::{self, SlicesKernel};
use crate::kernel::tile::Along;
use crate::layout::Axis;
use core::mem::MaybeUninit;

/// [`softmax`](crate::softmax()) along one axis of a contiguous tensor: of each row that runs along it.
///
/// With `axis` = `outer` × `len` × `inner`, element (o, i, k) stands at `(o·len + i)·inner + k` of `x` and of `y`, and
/// row (o, k) is all i. The tensor is not transposed (slices of a few elements are, some at a time, on the stack). Each row
/// gives the bits that it gives alone, side by side in memory.
///
/// # Errors
/// [`Error::AxisTooShort`] or [`Error::AxisOverflow`] if a slice does not hold the tensor; nothing is written then.
///
/// ```
/// use softmax::{Axis, softmax_axis};
/// // Three channels of two pixels: each pixel's channels sum to 1.
/// let mut y = [0.0_f32; 6];
/// softmax_axis(&[0.0_f32, 1.0, 0.0, 1.0, 0.0, 1.0], &mut y, Axis::new(1, 3, 2))?;
/// assert!(y.iter().all(|&p| (p - 1.0 / 3.0).abs() < 1e-7));
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn softmax_axis<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y, axis: Axis) -> Result<(), Error> {
    Isa::detect().softmax_axis(x, y, axis)
}

/// [`softmax_axis`] in place: the same bits.
///
/// # Errors
/// As [`softmax_axis`].
///
/// ```
/// use softmax::{Axis, softmax_axis_in_place};
/// let mut x = [3.0_f32, 4.0, 3.0, 4.0];
/// softmax_axis_in_place(&mut x, Axis::new(1, 2, 2))?;
/// assert_eq!(x, [0.5; 4]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn softmax_axis_in_place<T: Element>(x: &mut [T], axis: Axis) -> Result<(), Error> {
    Isa::detect().softmax_axis_in_place(x, axis)
}

/// [`log_softmax`](crate::log_softmax) along one axis of a contiguous tensor, laid out as in [`softmax_axis`].
///
/// # Errors
/// As [`softmax_axis`].
///
/// ```
/// use softmax::{Axis, log_softmax_axis};
/// let mut y = [0.0_f32; 4];
/// log_softmax_axis(&[3.0_f32, 4.0, 3.0, 4.0], &mut y, Axis::new(1, 2, 2))?;
/// assert!(y.iter().all(|y| (y + core::f32::consts::LN_2).abs() < 4e-7));
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn log_softmax_axis<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y, axis: Axis) -> Result<(), Error> {
    Isa::detect().log_softmax_axis(x, y, axis)
}

/// [`log_softmax_axis`] in place: the same bits.
///
/// # Errors
/// As [`softmax_axis`].
///
/// ```
/// use softmax::{Axis, log_softmax_axis_in_place};
/// let mut x = [3.0_f32, 4.0, 3.0, 4.0];
/// log_softmax_axis_in_place(&mut x, Axis::new(1, 2, 2))?;
/// assert!(x.iter().all(|y| (y + core::f32::consts::LN_2).abs() < 4e-7));
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn log_softmax_axis_in_place<T: Element>(x: &mut [T], axis: Axis) -> Result<(), Error> {
    Isa::detect().log_softmax_axis_in_place(x, axis)
}

/// [`logsumexp`](crate::logsumexp) along one axis of a contiguous tensor, laid out as in [`softmax_axis`]: of row (o, k)
/// to `out[o·inner + k]`, −∞ for each where `len` is 0.
///
/// # Errors
/// As [`softmax_axis`]; `out` needs outer·inner elements.
///
/// ```
/// use softmax::{Axis, logsumexp_axis};
/// let mut out = [0.0_f32; 2];
/// logsumexp_axis(&[3.0_f32, 4.0], &mut out, Axis::new(1, 1, 2))?;
/// assert_eq!(out, [3.0, 4.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn logsumexp_axis<T: Element, Y: Output<T> + ?Sized>(x: &[T], out: &mut Y, axis: Axis) -> Result<(), Error> {
    Isa::detect().logsumexp_axis(x, out, axis)
}

/// The operators along an axis on a chosen ISA: the free functions of the same names, and
/// [`Error::IsaUnavailable`] where the CPU lacks it.
impl Isa {
    /// [`softmax_axis`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [0.0_f32; 4];
    /// Isa::Scalar.softmax_axis(&[3.0; 4], &mut y, Axis::new(1, 2, 2))?;
    /// assert_eq!(y, [0.5; 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn softmax_axis<T: Element, Y: Output<T> + ?Sized>(self, x: &[T], y: &mut Y, axis: Axis) -> Result<(), Error> {
        let y = checked(x, y, axis)?;
        if let Some(rows) = axis.as_rows() {
            return self.softmax_rows(x, y, rows);
        }
        self.require()?;
        if !axis.is_nothing() {
            run(self, Along::Softmax, Place::Apart(x, y), axis);
        }
        Ok(())
    }

    /// [`softmax_axis_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [3.0_f32; 4];
    /// Isa::Scalar.softmax_axis_in_place(&mut x, Axis::new(1, 2, 2))?;
    /// assert_eq!(x, [0.5; 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn softmax_axis_in_place<T: Element>(self, x: &mut [T], axis: Axis) -> Result<(), Error> {
        axis.check("input", x.len())?;
        if let Some(rows) = axis.as_rows() {
            return self.softmax_rows_in_place(x, rows);
        }
        self.require()?;
        if !axis.is_nothing() {
            run(self, Along::Softmax, Place::InPlace(x), axis);
        }
        Ok(())
    }

    /// [`log_softmax_axis`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [1.0_f32; 2];
    /// Isa::Scalar.log_softmax_axis(&[3.0; 2], &mut y, Axis::new(1, 1, 2))?;
    /// assert!(y[0].abs() < 1e-6 && y[1].abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn log_softmax_axis<T: Element, Y: Output<T> + ?Sized>(
        self,
        x: &[T],
        y: &mut Y,
        axis: Axis,
    ) -> Result<(), Error> {
        let y = checked(x, y, axis)?;
        if let Some(rows) = axis.as_rows() {
            return self.log_softmax_rows(x, y, rows);
        }
        self.require()?;
        if !axis.is_nothing() {
            run(self, Along::LogSoftmax, Place::Apart(x, y), axis);
        }
        Ok(())
    }

    /// [`log_softmax_axis_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [3.0_f32; 2];
    /// Isa::Scalar.log_softmax_axis_in_place(&mut x, Axis::new(1, 1, 2))?;
    /// assert!(x[0].abs() < 1e-6 && x[1].abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn log_softmax_axis_in_place<T: Element>(self, x: &mut [T], axis: Axis) -> Result<(), Error> {
        axis.check("input", x.len())?;
        if let Some(rows) = axis.as_rows() {
            return self.log_softmax_rows_in_place(x, rows);
        }
        self.require()?;
        if !axis.is_nothing() {
            run(self, Along::LogSoftmax, Place::InPlace(x), axis);
        }
        Ok(())
    }

    /// [`logsumexp_axis`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut out = [0.0_f32; 2];
    /// Isa::Scalar.logsumexp_axis(&[3.0, 4.0], &mut out, Axis::new(1, 1, 2))?;
    /// assert_eq!(out, [3.0, 4.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn logsumexp_axis<T: Element, Y: Output<T> + ?Sized>(
        self,
        x: &[T],
        out: &mut Y,
        axis: Axis,
    ) -> Result<(), Error> {
        axis.check("input", x.len())?;
        let out = out.as_uninit(Inside);
        let results = axis.check_results("output", out.len())?;
        if let Some(rows) = axis.as_rows() {
            return self.logsumexp_rows(x, out, rows);
        }
        self.require()?;
        let out = &mut out[..results];
        if axis.len() == 0 {
            crate::kernel::softmax::fill(out, T::NEG_INFINITY);
        } else if !axis.is_nothing() {
            run(self, Along::LogSumExp, Place::Apart(x, out), axis);
        }
        Ok(())
    }
}

#[inline(always)]
fn run<T: Element>(isa: Isa, along: Along, place: Place<'_, T>, axis: Axis) {
    if columns::suits::<T>(axis) {
        T::columns(isa, ColumnsKernel { along, place, axis });
    } else if slices::suits::<T>(axis) {
        T::slices(isa, SlicesKernel { along, place, axis });
    } else {
        T::axis(isa, AxisKernel { along, place, axis });
    }
}

/// The output, once input and output hold the tensor.
#[inline(always)]
pub(super) fn checked<'y, T: Element, Y: Output<T> + ?Sized>(
    x: &[T],
    y: &'y mut Y,
    axis: Axis,
) -> Result<&'y mut [MaybeUninit<T>], Error> {
    axis.check("input", x.len())?;
    let y = y.as_uninit(Inside);
    axis.check("output", y.len())?;
    Ok(y)
}
