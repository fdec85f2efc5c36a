//! The gradients of softmax and log_softmax.

use super::equal;
use crate::element::{Element, Inside, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::backward::{Backward, Passes};
use crate::kernel::{Buffers, Place};
use crate::rows::Rows;

/// Rows × columns of the three arrays of a gradient: y (what the forward pass gave), dy and dx.
///
/// ```
/// use softmax::{BackwardRows, softmax_backward_rows};
/// // dy has a gap of one element after each row.
/// let (y, dy) = ([0.5_f32; 4], [1.0_f32, 3.0, 99.0, 2.0, 2.0]);
/// let mut dx = [0.0; 4];
/// softmax_backward_rows(&y, &dy, &mut dx, BackwardRows::new(2, 2).with_dy_stride(3))?;
/// assert_eq!(dx, [-0.5, 0.5, 0.0, 0.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackwardRows {
    rows: usize,
    cols: usize,
    y_stride: usize,
    dy_stride: usize,
    dx_stride: usize,
}

impl BackwardRows {
    /// `rows` rows of `cols` elements, one after the other.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(BackwardRows::new(2, 3), BackwardRows::new(2, 3).with_y_stride(3));
    /// ```
    pub const fn new(rows: usize, cols: usize) -> Self {
        Self {
            rows,
            cols,
            y_stride: cols,
            dy_stride: cols,
            dx_stride: cols,
        }
    }

    /// The same with `y_stride` elements between the row starts of y.
    ///
    /// ```
    /// # use softmax::*;
    /// let (y, mut d) = ([1.0_f32, 7.0, 1.0], [5.0; 2]);
    /// softmax_backward_rows_in_place(&y, &mut d, BackwardRows::new(2, 1).with_y_stride(2))?;
    /// assert_eq!(d, [0.0; 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn with_y_stride(self, y_stride: usize) -> Self {
        Self { y_stride, ..self }
    }

    /// The same with `dy_stride` elements between the row starts of dy (and of dx in its place).
    ///
    /// ```
    /// # use softmax::*;
    /// let mut d = [5.0_f32, 7.0, 5.0];
    /// softmax_backward_rows_in_place(&[1.0; 2], &mut d, BackwardRows::new(2, 1).with_dy_stride(2))?;
    /// assert_eq!(d, [0.0, 7.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn with_dy_stride(self, dy_stride: usize) -> Self {
        Self { dy_stride, ..self }
    }

    /// The same with `dx_stride` elements between the row starts of dx.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut dx = [7.0_f32; 3];
    /// softmax_backward_rows(&[1.0; 2], &[5.0; 2], &mut dx, BackwardRows::new(2, 1).with_dx_stride(2))?;
    /// assert_eq!(dx, [0.0, 7.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn with_dx_stride(self, dx_stride: usize) -> Self {
        Self { dx_stride, ..self }
    }

    /// The same of `rows` rows.
    #[cfg(feature = "rayon")]
    pub(super) const fn with_rows(self, rows: usize) -> Self {
        Self { rows, ..self }
    }

    #[cfg(feature = "rayon")]
    pub(super) const fn y_stride(&self) -> usize {
        self.y_stride
    }

    /// [`check`](Self::check), and that dx holds the rows.
    #[inline]
    pub(super) fn check_apart(&self, y: usize, dy: usize, dx: usize) -> Result<Rows, Error> {
        let rows = self.check(y, dy)?;
        rows.check("dx", dx, self.dx_stride)?;
        Ok(rows)
    }

    /// dy and dx as input and output, once y and dy hold the rows.
    #[inline]
    pub(super) fn check(&self, y: usize, dy: usize) -> Result<Rows, Error> {
        let rows = Rows::new(self.rows, self.cols);
        rows.check("y", y, self.y_stride)?;
        rows.check("dy", dy, self.dy_stride)?;
        Ok(rows.with_x_stride(self.dy_stride).with_y_stride(self.dx_stride))
    }
}

/// The gradient of [`softmax`](crate::softmax()) of one row: dx_i = y_i·(dy_i − Σ_j y_j·dy_j), from y = softmax(x) and
/// the gradient dy of what comes after.
///
/// # Numerical contract
/// With u = 2^−24 (f64: 2^−53), exact y, and nothing that leaves the range of the arithmetic on the way (it gives 0,
/// ±∞ or NaN there): |error| ≤ 3u·|dx_i| + 4u·y_i·Σ_j |y_j·dy_j| and, in a half type, its rounding. Where y_i is 0 (a
/// masked entry), dx_i is 0. NaN or an infinity anywhere in y or dy makes the whole row NaN. The same bits on every ISA but
/// `Portable`. Subnormals are not flushed: what y, dy, a product or dx_i that is one gives depends on the host's FTZ and DAZ
/// flags. An empty row is `Ok`, and nothing is written.
///
/// # Errors
/// [`Error::Unequal`] if the lengths differ; nothing is written then.
///
/// ```
/// let mut dx = [0.0; 2];
/// softmax::softmax_backward(&[0.25_f32, 0.75], &[1.0, 0.0], &mut dx)?;
/// assert_eq!(dx, [0.1875, -0.1875]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn softmax_backward<T: Element, D: Output<T> + ?Sized>(y: &[T], dy: &[T], dx: &mut D) -> Result<(), Error> {
    Isa::detect().softmax_backward(y, dy, dx)
}

/// [`softmax_backward`] with dx in the place of dy: the same bits.
///
/// # Errors
/// As [`softmax_backward`].
///
/// ```
/// let mut d = [1.0_f32, 0.0];
/// softmax::softmax_backward_in_place(&[0.25, 0.75], &mut d)?;
/// assert_eq!(d, [0.1875, -0.1875]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn softmax_backward_in_place<T: Element>(y: &[T], dy: &mut [T]) -> Result<(), Error> {
    Isa::detect().softmax_backward_in_place(y, dy)
}

/// [`softmax_backward`] of each of many rows.
///
/// # Errors
/// [`Error::Stride`], [`Error::TooShort`] or [`Error::Overflow`] if a slice does not hold the rows; nothing is written
/// then.
///
/// ```
/// use softmax::{BackwardRows, softmax_backward_rows};
/// let mut dx = [0.0; 4];
/// softmax_backward_rows(&[0.5_f32; 4], &[1.0, 0.0, 0.0, 1.0], &mut dx, BackwardRows::new(2, 2))?;
/// assert_eq!(dx, [0.25, -0.25, -0.25, 0.25]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn softmax_backward_rows<T: Element, D: Output<T> + ?Sized>(
    y: &[T],
    dy: &[T],
    dx: &mut D,
    rows: BackwardRows,
) -> Result<(), Error> {
    Isa::detect().softmax_backward_rows(y, dy, dx, rows)
}

/// [`softmax_backward`] of each of many rows with dx in the place of dy.
///
/// # Errors
/// As [`softmax_backward_rows`].
///
/// ```
/// use softmax::{BackwardRows, softmax_backward_rows_in_place};
/// let mut d = [1.0_f32, 0.0, 0.0, 1.0];
/// softmax_backward_rows_in_place(&[0.5; 4], &mut d, BackwardRows::new(2, 2))?;
/// assert_eq!(d, [0.25, -0.25, -0.25, 0.25]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn softmax_backward_rows_in_place<T: Element>(y: &[T], dy: &mut [T], rows: BackwardRows) -> Result<(), Error> {
    Isa::detect().softmax_backward_rows_in_place(y, dy, rows)
}

/// The gradient of [`log_softmax`](crate::log_softmax) of one row: dx_i = dy_i − e^{y_i}·Σ_j dy_j, from y =
/// log_softmax(x) and the gradient dy of what comes after.
///
/// # Numerical contract
/// With u = 2^−24 (f64: 2^−53), exact y, and nothing that leaves the range of the arithmetic on the way (it gives 0,
/// ±∞ or NaN there): |error| ≤ 2u·|dx_i| + 5u·e^{y_i}·Σ_j |dy_j| (`Portable`: 11u) and, in a half type, its rounding. Where
/// y_i is −∞ (a masked entry), dx_i is dy_i. NaN or an infinity in dy makes the whole row NaN, NaN in y its own place. The
/// same bits on every ISA but `Portable`. Subnormals are not flushed, but for e^{y_i}, which is then 0: what dy, a product or
/// dx_i that is one gives depends on the host's FTZ and DAZ flags. An empty row is `Ok`, and nothing is written.
///
/// # Errors
/// [`Error::Unequal`] if the lengths differ; nothing is written then.
///
/// ```
/// let mut dx = [0.0; 2];
/// softmax::log_softmax_backward(&[0.0_f32, f32::NEG_INFINITY], &[1.0, 0.5], &mut dx)?;
/// assert_eq!(dx, [-0.5, 0.5]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn log_softmax_backward<T: Element, D: Output<T> + ?Sized>(y: &[T], dy: &[T], dx: &mut D) -> Result<(), Error> {
    Isa::detect().log_softmax_backward(y, dy, dx)
}

/// [`log_softmax_backward`] with dx in the place of dy: the same bits.
///
/// # Errors
/// As [`log_softmax_backward`].
///
/// ```
/// let mut d = [1.0_f32, 0.5];
/// softmax::log_softmax_backward_in_place(&[0.0, f32::NEG_INFINITY], &mut d)?;
/// assert_eq!(d, [-0.5, 0.5]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn log_softmax_backward_in_place<T: Element>(y: &[T], dy: &mut [T]) -> Result<(), Error> {
    Isa::detect().log_softmax_backward_in_place(y, dy)
}

/// [`log_softmax_backward`] of each of many rows.
///
/// # Errors
/// As [`softmax_backward_rows`].
///
/// ```
/// use softmax::{BackwardRows, log_softmax_backward_rows};
/// let mut dx = [0.0; 2];
/// log_softmax_backward_rows(&[0.0_f32; 2], &[1.0, 2.0], &mut dx, BackwardRows::new(2, 1))?;
/// assert_eq!(dx, [0.0, 0.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn log_softmax_backward_rows<T: Element, D: Output<T> + ?Sized>(
    y: &[T],
    dy: &[T],
    dx: &mut D,
    rows: BackwardRows,
) -> Result<(), Error> {
    Isa::detect().log_softmax_backward_rows(y, dy, dx, rows)
}

/// [`log_softmax_backward`] of each of many rows with dx in the place of dy.
///
/// # Errors
/// As [`softmax_backward_rows`].
///
/// ```
/// use softmax::{BackwardRows, log_softmax_backward_rows_in_place};
/// let mut d = [1.0_f32, 2.0];
/// log_softmax_backward_rows_in_place(&[0.0; 2], &mut d, BackwardRows::new(2, 1))?;
/// assert_eq!(d, [0.0, 0.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn log_softmax_backward_rows_in_place<T: Element>(y: &[T], dy: &mut [T], rows: BackwardRows) -> Result<(), Error> {
    Isa::detect().log_softmax_backward_rows_in_place(y, dy, rows)
}

/// The gradients on a chosen ISA: the free functions of the same names, and [`Error::IsaUnavailable`] where the CPU lacks
/// it.
impl Isa {
    /// [`softmax_backward`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut dx = [0.0_f32; 2];
    /// Isa::Scalar.softmax_backward(&[0.5, 0.5], &[1.0, 0.0], &mut dx)?;
    /// assert_eq!(dx, [0.25, -0.25]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn softmax_backward<T: Element, D: Output<T> + ?Sized>(
        self,
        y: &[T],
        dy: &[T],
        dx: &mut D,
    ) -> Result<(), Error> {
        self.backward(y, dy, dx, one_row(y.len(), dy.len())?, false)
    }

    /// [`softmax_backward_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut d = [1.0_f32, 0.0];
    /// Isa::Scalar.softmax_backward_in_place(&[0.5, 0.5], &mut d)?;
    /// assert_eq!(d, [0.25, -0.25]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn softmax_backward_in_place<T: Element>(self, y: &[T], dy: &mut [T]) -> Result<(), Error> {
        self.backward_in_place(y, dy, one_row(y.len(), dy.len())?, false)
    }

    /// [`softmax_backward_rows`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut dx = [0.0_f32; 2];
    /// Isa::Scalar.softmax_backward_rows(&[1.0; 2], &[5.0; 2], &mut dx, BackwardRows::new(2, 1))?;
    /// assert_eq!(dx, [0.0; 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn softmax_backward_rows<T: Element, D: Output<T> + ?Sized>(
        self,
        y: &[T],
        dy: &[T],
        dx: &mut D,
        rows: BackwardRows,
    ) -> Result<(), Error> {
        self.backward(y, dy, dx, Shape::Rows(rows), false)
    }

    /// [`softmax_backward_rows_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut d = [5.0_f32; 2];
    /// Isa::Scalar.softmax_backward_rows_in_place(&[1.0; 2], &mut d, BackwardRows::new(2, 1))?;
    /// assert_eq!(d, [0.0; 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn softmax_backward_rows_in_place<T: Element>(
        self,
        y: &[T],
        dy: &mut [T],
        rows: BackwardRows,
    ) -> Result<(), Error> {
        self.backward_in_place(y, dy, Shape::Rows(rows), false)
    }

    /// [`log_softmax_backward`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut dx = [1.0_f32; 1];
    /// Isa::Scalar.log_softmax_backward(&[0.0], &[5.0], &mut dx)?;
    /// assert_eq!(dx, [0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn log_softmax_backward<T: Element, D: Output<T> + ?Sized>(
        self,
        y: &[T],
        dy: &[T],
        dx: &mut D,
    ) -> Result<(), Error> {
        self.backward(y, dy, dx, one_row(y.len(), dy.len())?, true)
    }

    /// [`log_softmax_backward_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut d = [5.0_f32];
    /// Isa::Scalar.log_softmax_backward_in_place(&[0.0], &mut d)?;
    /// assert_eq!(d, [0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn log_softmax_backward_in_place<T: Element>(self, y: &[T], dy: &mut [T]) -> Result<(), Error> {
        self.backward_in_place(y, dy, one_row(y.len(), dy.len())?, true)
    }

    /// [`log_softmax_backward_rows`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut dx = [1.0_f32; 2];
    /// Isa::Scalar.log_softmax_backward_rows(&[0.0; 2], &[5.0; 2], &mut dx, BackwardRows::new(2, 1))?;
    /// assert_eq!(dx, [0.0; 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn log_softmax_backward_rows<T: Element, D: Output<T> + ?Sized>(
        self,
        y: &[T],
        dy: &[T],
        dx: &mut D,
        rows: BackwardRows,
    ) -> Result<(), Error> {
        self.backward(y, dy, dx, Shape::Rows(rows), true)
    }

    /// [`log_softmax_backward_rows_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut d = [5.0_f32; 2];
    /// Isa::Scalar.log_softmax_backward_rows_in_place(&[0.0; 2], &mut d, BackwardRows::new(2, 1))?;
    /// assert_eq!(d, [0.0; 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn log_softmax_backward_rows_in_place<T: Element>(
        self,
        y: &[T],
        dy: &mut [T],
        rows: BackwardRows,
    ) -> Result<(), Error> {
        self.backward_in_place(y, dy, Shape::Rows(rows), true)
    }

    #[inline]
    pub(super) fn backward<T: Element, D: Output<T> + ?Sized>(
        self,
        y: &[T],
        dy: &[T],
        dx: &mut D,
        shape: Shape,
        log: bool,
    ) -> Result<(), Error> {
        let dx = dx.as_uninit(Inside);
        let shape = match shape {
            Shape::Row(n) => equal(["y", "dx"], [n, dx.len()]).map(|n| BackwardRows::new(1, n))?,
            Shape::Rows(rows) => rows,
        };
        let rows = shape.check_apart(y.len(), dy.len(), dx.len())?;
        let place = Place::Apart(dy, dx);
        self.run_backward(y, shape.y_stride, place, rows, log)
    }

    #[inline]
    pub(super) fn backward_in_place<T: Element>(
        self,
        y: &[T],
        dy: &mut [T],
        shape: Shape,
        log: bool,
    ) -> Result<(), Error> {
        let shape = match shape {
            Shape::Row(n) => BackwardRows::new(1, n),
            Shape::Rows(rows) => rows,
        };
        let rows = shape.check(y.len(), dy.len())?;
        let place = Place::InPlace(dy);
        self.run_backward(y, shape.y_stride, place, rows, log)
    }

    #[inline]
    fn run_backward<T: Element>(
        self,
        y: &[T],
        y_stride: usize,
        place: Place<'_, T>,
        rows: Rows,
        log: bool,
    ) -> Result<(), Error> {
        self.require()?;
        if !rows.is_empty() {
            let dy = Buffers {
                place,
                rows: rows.into(),
            };
            let passes = Passes::Both;
            let kernel = Backward {
                y,
                y_stride,
                dy,
                log,
                passes,
            };
            T::backward(self, kernel);
        }
        Ok(())
    }
}

/// One row, whose slices must have its length, or many.
pub(super) enum Shape {
    Row(usize),
    Rows(BackwardRows),
}

#[inline]
fn one_row(y: usize, dy: usize) -> Result<Shape, Error> {
    equal(["y", "dy"], [y, dy]).map(Shape::Row)
}
