//! The operators on ragged rows, bounded by offsets: row r is `x[offsets[r]..offsets[r + 1]]`, in the output too.

use crate::element::{Element, Inside, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::Buffers;
use crate::kernel::log_softmax::{LogSoftmax, LogSumExp, RowsInto};
use crate::kernel::softmax::Softmax;
use crate::layout::{Layout, check_offsets};
use crate::rows::Rows;
use core::mem::MaybeUninit;

/// [`softmax`](crate::softmax()) of each row r = `x[offsets[r]..offsets[r + 1]]`, to the same places of `y`.
///
/// `offsets` has one entry more than there are rows and does not decrease; the first need not be 0. What lies outside
/// is neither read nor written. Each row gives the bits that it gives alone; an empty row writes nothing.
///
/// # Errors
/// [`Error::OffsetDecreases`], or [`Error::OffsetsEnd`] if a slice is shorter than the last offset; nothing is written
/// then.
///
/// ```
/// let mut y = [0.0_f32; 5];
/// softmax::softmax_ragged(&[1.0_f32, 1.0, 7.0, 2.0, 2.0], &mut y, &[0, 2, 3, 3, 5])?;
/// assert_eq!(y, [0.5, 0.5, 1.0, 0.5, 0.5]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn softmax_ragged<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y, offsets: &[usize]) -> Result<(), Error> {
    Isa::detect().softmax_ragged(x, y, offsets)
}

/// [`softmax_ragged`] in place: the same bits.
///
/// # Errors
/// As [`softmax_ragged`].
///
/// ```
/// let mut x = [1.0_f32, 1.0, 7.0];
/// softmax::softmax_ragged_in_place(&mut x, &[0, 2, 3])?;
/// assert_eq!(x, [0.5, 0.5, 1.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn softmax_ragged_in_place<T: Element>(x: &mut [T], offsets: &[usize]) -> Result<(), Error> {
    Isa::detect().softmax_ragged_in_place(x, offsets)
}

/// [`log_softmax`](crate::log_softmax) of each row r = `x[offsets[r]..offsets[r + 1]]`, to the same places of `y`.
///
/// # Errors
/// As [`softmax_ragged`].
///
/// ```
/// let mut y = [0.0_f32; 3];
/// softmax::log_softmax_ragged(&[1.0_f32, 1.0, 7.0], &mut y, &[0, 2, 3])?;
/// assert!((y[0] + core::f32::consts::LN_2).abs() < 1e-7 && y[2].abs() < 1e-7);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn log_softmax_ragged<T: Element, Y: Output<T> + ?Sized>(
    x: &[T],
    y: &mut Y,
    offsets: &[usize],
) -> Result<(), Error> {
    Isa::detect().log_softmax_ragged(x, y, offsets)
}

/// [`log_softmax_ragged`] in place: the same bits.
///
/// # Errors
/// As [`softmax_ragged`].
///
/// ```
/// let mut x = [1.0_f32, 1.0, 7.0];
/// softmax::log_softmax_ragged_in_place(&mut x, &[0, 2, 3])?;
/// assert!((x[0] + core::f32::consts::LN_2).abs() < 1e-7 && x[2].abs() < 1e-7);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn log_softmax_ragged_in_place<T: Element>(x: &mut [T], offsets: &[usize]) -> Result<(), Error> {
    Isa::detect().log_softmax_ragged_in_place(x, offsets)
}

/// [`logsumexp`](crate::logsumexp) of each row r = `x[offsets[r]..offsets[r + 1]]`, to `out[r]`; −∞ of an empty row.
///
/// # Errors
/// As [`softmax_ragged`]; `out` needs as many elements as there are rows.
///
/// ```
/// let mut out = [0.0_f32; 3];
/// softmax::logsumexp_ragged(&[3.0_f32, 5.0], &mut out, &[0, 1, 1, 2])?;
/// assert_eq!(out, [3.0, f32::NEG_INFINITY, 5.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn logsumexp_ragged<T: Element, Y: Output<T> + ?Sized>(
    x: &[T],
    out: &mut Y,
    offsets: &[usize],
) -> Result<(), Error> {
    Isa::detect().logsumexp_ragged(x, out, offsets)
}

/// The operators on ragged rows on a chosen ISA: the free functions of the same names, and
/// [`Error::IsaUnavailable`] where the CPU lacks it.
impl Isa {
    /// [`softmax_ragged`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [0.0_f32; 3];
    /// Isa::Scalar.softmax_ragged(&[3.0; 3], &mut y, &[0, 1, 3])?;
    /// assert_eq!(y, [1.0, 0.5, 0.5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn softmax_ragged<T: Element, Y: Output<T> + ?Sized>(
        self,
        x: &[T],
        y: &mut Y,
        offsets: &[usize],
    ) -> Result<(), Error> {
        let y = checked(x, y, offsets)?;
        self.require()?;
        T::softmax(self, Softmax(&mut Buffers::apart(x, y, Layout::Ragged(offsets))));
        Ok(())
    }

    /// [`softmax_ragged_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [3.0_f32; 3];
    /// Isa::Scalar.softmax_ragged_in_place(&mut x, &[0, 1, 3])?;
    /// assert_eq!(x, [1.0, 0.5, 0.5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn softmax_ragged_in_place<T: Element>(self, x: &mut [T], offsets: &[usize]) -> Result<(), Error> {
        check_input(x, offsets)?;
        self.require()?;
        T::softmax(self, Softmax(&mut Buffers::in_place(x, Layout::Ragged(offsets))));
        Ok(())
    }

    /// [`log_softmax_ragged`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [1.0_f32; 2];
    /// Isa::Scalar.log_softmax_ragged(&[3.0; 2], &mut y, &[0, 1, 2])?;
    /// assert!(y[0].abs() < 1e-6 && y[1].abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn log_softmax_ragged<T: Element, Y: Output<T> + ?Sized>(
        self,
        x: &[T],
        y: &mut Y,
        offsets: &[usize],
    ) -> Result<(), Error> {
        let y = checked(x, y, offsets)?;
        self.require()?;
        let rows = Layout::Ragged(offsets);
        T::log_softmax(self, LogSoftmax(&mut Buffers::apart(x, y, rows)));
        Ok(())
    }

    /// [`log_softmax_ragged_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [3.0_f32; 2];
    /// Isa::Scalar.log_softmax_ragged_in_place(&mut x, &[0, 1, 2])?;
    /// assert!(x[0].abs() < 1e-6 && x[1].abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn log_softmax_ragged_in_place<T: Element>(self, x: &mut [T], offsets: &[usize]) -> Result<(), Error> {
        check_input(x, offsets)?;
        self.require()?;
        let rows = Layout::Ragged(offsets);
        T::log_softmax(self, LogSoftmax(&mut Buffers::in_place(x, rows)));
        Ok(())
    }

    /// [`logsumexp_ragged`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut out = [0.0_f32; 2];
    /// Isa::Scalar.logsumexp_ragged(&[3.0, 4.0], &mut out, &[0, 1, 2])?;
    /// assert_eq!(out, [3.0, 4.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn logsumexp_ragged<T: Element, Y: Output<T> + ?Sized>(
        self,
        x: &[T],
        out: &mut Y,
        offsets: &[usize],
    ) -> Result<(), Error> {
        let rows = check_input(x, offsets)?;
        let out = out.as_uninit(Inside);
        check_results(rows, out.len())?;
        self.require()?;
        let (out, rows) = (&mut out[..rows], Layout::Ragged(offsets));
        T::logsumexp(self, LogSumExp(&mut RowsInto { x, out, rows }));
        Ok(())
    }
}

/// How many rows there are, once the input holds them.
#[inline(always)]
pub(super) fn check_input<T>(x: &[T], offsets: &[usize]) -> Result<usize, Error> {
    let (rows, end) = check_offsets(offsets)?;
    ends_within("input", x.len(), end)?;
    Ok(rows)
}

/// Checks that there is a place for one result of each row.
#[inline(always)]
pub(super) fn check_results(rows: usize, len: usize) -> Result<(), Error> {
    Rows::new(rows, 1).check_output(len)
}

#[inline(always)]
fn ends_within(what: &'static str, len: usize, end: usize) -> Result<(), Error> {
    if end > len {
        return Err(Error::OffsetsEnd { what, len, end });
    }
    Ok(())
}

/// The output, once input and output hold the rows.
#[inline(always)]
pub(super) fn checked<'y, T: Element, Y: Output<T> + ?Sized>(
    x: &[T],
    y: &'y mut Y,
    offsets: &[usize],
) -> Result<&'y mut [MaybeUninit<T>], Error> {
    let (_, end) = check_offsets(offsets)?;
    ends_within("input", x.len(), end)?;
    let y = y.as_uninit(Inside);
    ends_within("output", y.len(), end)?;
    Ok(y)
}
