//! Layouts beside rows at a stride: ragged rows, and one axis of a tensor.

use crate::error::Error;
use crate::rows::Rows;
use core::mem::MaybeUninit;

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
            Self::Strided(rows) => rows.rows(),
            Self::Ragged(offsets) => offsets.len().saturating_sub(1),
        }
    }

    /// Elements of row `r`.
    #[inline(always)]
    pub(crate) fn len(&self, r: usize) -> usize {
        match self {
            Self::Strided(rows) => rows.cols(),
            Self::Ragged(offsets) => offsets[r + 1] - offsets[r],
        }
    }

    /// Where row `r` starts in input and output; in place the second says nothing.
    #[inline(always)]
    pub(crate) fn starts(&self, r: usize) -> (usize, usize) {
        match self {
            Self::Strided(rows) => (r * rows.x_stride(), r.wrapping_mul(rows.y_stride())),
            Self::Ragged(offsets) => (offsets[r], offsets[r]),
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
    ///
    /// ```
    /// # use softmax::*;
    /// let axis = Axis::new(32, 81, 8732);
    /// assert_eq!((axis.outer(), axis.len(), axis.inner()), (32, 81, 8732));
    /// ```
    pub const fn new(outer: usize, len: usize, inner: usize) -> Self {
        Self { outer, len, inner }
    }

    /// The product of the extents before the axis.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Axis::new(2, 3, 4).outer(), 2);
    /// ```
    pub const fn outer(&self) -> usize {
        self.outer
    }

    /// The extent of the axis: elements of a row.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Axis::new(2, 3, 4).len(), 3);
    /// ```
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The product of the extents after the axis: the distance between the elements of a row.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Axis::new(2, 3, 4).inner(), 4);
    /// ```
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
