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
    ///
    /// ```
    /// # use softmax::*;
    /// let rows = Rows::new(2, 3);
    /// assert_eq!((rows.rows(), rows.cols(), rows.x_stride(), rows.y_stride()), (2, 3, 3, 3));
    /// ```
    pub const fn new(rows: usize, cols: usize) -> Self {
        Self {
            rows,
            cols,
            x_stride: cols,
            y_stride: cols,
        }
    }

    /// The same with `x_stride` elements between the row starts of the input (and of a row in place).
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [0.0_f32; 2];
    /// softmax_rows(&[3.0, 7.0, 3.0], &mut y, Rows::new(2, 1).with_x_stride(2))?;
    /// assert_eq!(y, [1.0; 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn with_x_stride(self, x_stride: usize) -> Self {
        Self { x_stride, ..self }
    }

    /// The same with `y_stride` elements between the row starts of the output.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [7.0_f32; 3];
    /// softmax_rows(&[3.0; 2], &mut y, Rows::new(2, 1).with_y_stride(2))?;
    /// assert_eq!(y, [1.0, 7.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn with_y_stride(self, y_stride: usize) -> Self {
        Self { y_stride, ..self }
    }

    /// How many rows.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Rows::new(2, 3).rows(), 2);
    /// ```
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Rows::new(2, 3).cols(), 3);
    /// ```
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// Elements between row starts of the input.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Rows::new(2, 3).with_x_stride(5).x_stride(), 5);
    /// ```
    pub const fn x_stride(&self) -> usize {
        self.x_stride
    }

    /// Elements between row starts of the output.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Rows::new(2, 3).with_y_stride(5).y_stride(), 5);
    /// ```
    pub const fn y_stride(&self) -> usize {
        self.y_stride
    }

    /// The first `row` rows and the rest, of the layout alone; [`split_rows`](crate::split_rows) splits the memory.
    ///
    /// ```
    /// use softmax::Rows;
    /// let (first, rest) = Rows::new(5, 10).split_at(2);
    /// assert_eq!((first.rows(), rest.rows()), (2, 3));
    /// ```
    #[must_use]
    pub const fn split_at(self, row: usize) -> (Self, Self) {
        let row = if row < self.rows { row } else { self.rows };
        let rest = self.rows - row;
        (Self { rows: row, ..self }, Self { rows: rest, ..self })
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
        let cols = self.cols;
        if stride < cols {
            return Err(Error::Stride { what, stride, cols });
        }
        if self.is_empty() {
            return Ok(());
        }
        self.check_extent(what, len, stride)
    }

    /// [`check`](Self::check) of rows that are there and may overlap.
    #[inline]
    pub(crate) fn check_extent(&self, what: &'static str, len: usize, stride: usize) -> Result<(), Error> {
        let Self { rows, cols, .. } = *self;
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

/// Cuts checked rows after `row`, so that two threads of the caller's own pool can work on them: each half is what the
/// operators take, and every row gets the bits that it gets alone.
///
/// # Errors
/// As [`softmax_rows`](crate::softmax_rows): the slices must hold all rows.
///
/// ```
/// use softmax::{Rows, softmax_rows, split_rows};
/// let x = [1.0_f32; 40];
/// let mut y = [0.0_f32; 40];
/// let [(x0, y0, rows0), (x1, y1, rows1)] = split_rows(&x, &mut y, Rows::new(4, 10), 2)?;
/// std::thread::scope(|threads| {
///     threads.spawn(move || softmax_rows(x0, y0, rows0));
///     softmax_rows(x1, y1, rows1)
/// })?;
/// assert!(y.iter().all(|&p| p == 0.1));
/// # Ok::<(), softmax::Error>(())
/// ```
#[allow(clippy::type_complexity)] // two of the same, and named by the example
pub fn split_rows<'a, X, Y>(
    x: &'a [X],
    y: &'a mut [Y],
    rows: Rows,
    row: usize,
) -> Result<[(&'a [X], &'a mut [Y], Rows); 2], Error> {
    rows.check_input(x.len())?;
    rows.check_output(y.len())?;
    let (first, rest) = rows.split_at(row);
    let (x0, x1) = x.split_at(x.len().min(first.rows.saturating_mul(rows.x_stride)));
    let (y0, y1) = y.split_at_mut(y.len().min(first.rows.saturating_mul(rows.y_stride)));
    Ok([(x0, y0, first), (x1, y1, rest)])
}
