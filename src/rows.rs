//! The layout of many rows.

use crate::error::Error;
use core::mem::MaybeUninit;

/// Rows × columns, with the distance between row starts of input and output.
///
/// Element (r, c) of the input stands at `r·x_stride + c`, of the output at `r·y_stride + c`. What lies between the end
/// of a row and the start of the next is neither read nor written.
///
/// ```
/// use softmax::{Rows, softmax_rows};
/// // Two rows of three in a buffer with four to a row.
/// let x = [0.0_f32, 0.0, 0.0, 99.0, 1.0, 1.0, 1.0, 99.0];
/// let mut y = [0.0_f32; 6];
/// softmax_rows(&x, &mut y, Rows::new(2, 3).with_x_stride(4))?;
/// assert!(y.iter().all(|&p| (p - 1.0 / 3.0).abs() < 1e-7));
/// # Ok::<(), softmax::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rows {
    rows: usize,
    cols: usize,
    x_stride: usize,
    y_stride: usize,
}

impl Rows {
    /// `rows` rows of `cols` elements, one after the other.
    pub const fn new(rows: usize, cols: usize) -> Self {
        Self {
            rows,
            cols,
            x_stride: cols,
            y_stride: cols,
        }
    }

    /// The same with `x_stride` elements between the row starts of the input (and of a row in place).
    #[must_use]
    pub const fn with_x_stride(self, x_stride: usize) -> Self {
        Self { x_stride, ..self }
    }

    /// The same with `y_stride` elements between the row starts of the output.
    #[must_use]
    pub const fn with_y_stride(self, y_stride: usize) -> Self {
        Self { y_stride, ..self }
    }

    /// How many rows.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// Elements between row starts of the input.
    pub const fn x_stride(&self) -> usize {
        self.x_stride
    }

    /// Elements between row starts of the output.
    pub const fn y_stride(&self) -> usize {
        self.y_stride
    }

    /// Whether there is nothing to compute.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0
    }

    /// Checks that an input of `len` elements holds the rows.
    #[inline]
    pub(crate) fn check_input(&self, len: usize) -> Result<(), Error> {
        self.check("input", len, self.x_stride)
    }

    /// Checks that an output of `len` elements holds the rows.
    #[inline]
    pub(crate) fn check_output(&self, len: usize) -> Result<(), Error> {
        self.check("output", len, self.y_stride)
    }

    /// Checks that there is a place for `per_row` results of each row.
    #[inline]
    pub(crate) fn check_results(&self, what: &'static str, len: usize, per_row: usize) -> Result<(), Error> {
        let exact = Self::new(self.rows, per_row);
        exact.check(what, len, per_row)
    }

    /// Checks that `len` elements at this stride hold the rows.
    #[inline]
    pub(crate) fn check(&self, what: &'static str, len: usize, stride: usize) -> Result<(), Error> {
        let Self { rows, cols, .. } = *self;
        if stride < cols {
            return Err(Error::Stride { what, stride, cols });
        }
        if self.is_empty() {
            return Ok(());
        }
        match (rows - 1).checked_mul(stride).and_then(|start| start.checked_add(cols)) {
            None => Err(Error::Overflow { rows, cols, stride }),
            Some(needed) if needed > len => Err(Error::TooShort {
                what,
                len,
                needed,
                rows,
                cols,
                stride,
            }),
            Some(_) => Ok(()),
        }
    }

    /// Row `r` of a checked input.
    #[inline(always)]
    pub(crate) fn input<'a, T>(&self, x: &'a [T], r: usize) -> &'a [T] {
        &x[r * self.x_stride..][..self.cols]
    }

    /// Row `r` of a checked buffer in place.
    #[inline(always)]
    pub(crate) fn input_mut<'a, T>(&self, x: &'a mut [T], r: usize) -> &'a mut [T] {
        &mut x[r * self.x_stride..][..self.cols]
    }

    /// Row `r` of a checked output.
    #[inline(always)]
    pub(crate) fn output<'a, T>(&self, y: &'a mut [MaybeUninit<T>], r: usize) -> &'a mut [MaybeUninit<T>] {
        &mut y[r * self.y_stride..][..self.cols]
    }
}
