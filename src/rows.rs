//! The layout of many rows, and of one axis of a tensor.

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
    let (x0, x1) = x.split_at(x.len().min(first.rows * rows.x_stride));
    let (y0, y1) = y.split_at_mut(y.len().min(first.rows * rows.y_stride));
    Ok([(x0, y0, first), (x1, y1, rest)])
}

/// Where the rows of a call lie, once it is checked.
#[derive(Clone, Copy)]
#[doc(hidden)]
pub enum Layout<'a> {
    /// Rows of one length.
    Strided(Rows),
    /// Row `r` from entry `r` to entry `r + 1`, in input and output alike.
    Ragged(&'a [usize]),
}

impl From<Rows> for Layout<'_> {
    #[inline(always)]
    fn from(rows: Rows) -> Self {
        Self::Strided(rows)
    }
}

impl Layout<'_> {
    /// How many rows.
    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Strided(rows) => rows.rows,
            Self::Ragged(offsets) => offsets.len().saturating_sub(1),
        }
    }

    /// Elements of row `r`.
    #[inline(always)]
    pub(crate) fn len(&self, r: usize) -> usize {
        match self {
            Self::Strided(rows) => rows.cols,
            Self::Ragged(offsets) => offsets[r + 1] - offsets[r],
        }
    }

    /// Row `r` of the input.
    #[inline(always)]
    pub(crate) fn input<'a, T>(&self, x: &'a [T], r: usize) -> &'a [T] {
        match self {
            Self::Strided(rows) => rows.input(x, r),
            Self::Ragged(offsets) => &x[offsets[r]..offsets[r + 1]],
        }
    }

    /// Row `r` of a buffer in place.
    #[inline(always)]
    pub(crate) fn input_mut<'a, T>(&self, x: &'a mut [T], r: usize) -> &'a mut [T] {
        match self {
            Self::Strided(rows) => rows.input_mut(x, r),
            Self::Ragged(offsets) => &mut x[offsets[r]..offsets[r + 1]],
        }
    }

    /// Row `r` of the output.
    #[inline(always)]
    pub(crate) fn output<'a, T>(&self, y: &'a mut [MaybeUninit<T>], r: usize) -> &'a mut [MaybeUninit<T>] {
        match self {
            Self::Strided(rows) => rows.output(y, r),
            Self::Ragged(offsets) => &mut y[offsets[r]..offsets[r + 1]],
        }
    }
}

/// Checks that offsets do not decrease and returns how many rows they bound, and where the last ends.
#[inline]
pub(crate) fn check_offsets(offsets: &[usize]) -> Result<(usize, usize), Error> {
    for (i, pair) in offsets.windows(2).enumerate() {
        if pair[1] < pair[0] {
            return Err(Error::OffsetDecreases {
                index: i + 1,
                offset: pair[1],
                previous: pair[0],
            });
        }
    }
    Ok((offsets.len().saturating_sub(1), offsets.last().copied().unwrap_or(0)))
}

/// One axis of a contiguous row-major tensor: `outer` × `len` × `inner`.
///
/// Element (o, i, k) stands at `(o·len + i)·inner + k`; a row runs along i, one for each of the `outer·inner` pairs
/// (o, k). For axis a of a tensor, `outer` is the product of the extents before a, `inner` of those after it.
///
/// ```
/// use softmax::{Axis, softmax_axis};
/// // Two rows of two, side by side: 0 over 0, and 7 over 7.
/// let mut y = [0.0_f32; 4];
/// softmax_axis(&[0.0_f32, 7.0, 0.0, 7.0], &mut y, Axis::new(1, 2, 2))?;
/// assert_eq!(y, [0.5; 4]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axis {
    outer: usize,
    len: usize,
    inner: usize,
}

impl Axis {
    /// The axis of `len` elements between `outer` and `inner` others.
    pub const fn new(outer: usize, len: usize, inner: usize) -> Self {
        Self { outer, len, inner }
    }

    /// The product of the extents before the axis.
    pub const fn outer(&self) -> usize {
        self.outer
    }

    /// The extent of the axis: elements of a row.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The product of the extents after the axis: the distance between the elements of a row.
    pub const fn inner(&self) -> usize {
        self.inner
    }

    /// Whether there is nothing to compute.
    pub(crate) const fn is_nothing(&self) -> bool {
        self.outer == 0 || self.len == 0 || self.inner == 0
    }

    /// The axis as rows, where its elements lie side by side.
    pub(crate) const fn as_rows(&self) -> Option<Rows> {
        if self.inner == 1 {
            Some(Rows::new(self.outer, self.len))
        } else {
            None
        }
    }

    /// Checks that a slice holds the tensor.
    #[inline]
    pub(crate) fn check(&self, what: &'static str, slice: usize) -> Result<(), Error> {
        self.check_extent(what, slice, self.len)
    }

    /// Checks that a slice holds one result of each row, and returns how many there are.
    #[inline]
    pub(crate) fn check_results(&self, what: &'static str, slice: usize) -> Result<usize, Error> {
        self.check_extent(what, slice, 1)?;
        Ok(self.outer * self.inner)
    }

    #[inline]
    fn check_extent(&self, what: &'static str, slice: usize, len: usize) -> Result<(), Error> {
        let Self { outer, inner, .. } = *self;
        if outer == 0 || inner == 0 || len == 0 {
            return Ok(());
        }
        match outer.checked_mul(len).and_then(|rows| rows.checked_mul(inner)) {
            None => Err(Error::AxisOverflow { outer, len, inner }),
            Some(needed) if needed > slice => Err(Error::AxisTooShort {
                what,
                slice,
                needed,
                outer,
                len,
                inner,
            }),
            Some(_) => Ok(()),
        }
    }
}
