//! What can be wrong with a call.

use crate::isa::Isa;
use core::fmt;

/// A call that cannot be carried out. Nothing was written.
///
/// The message names the values:
///
/// ```
/// use softmax::{Rows, softmax_rows};
/// let error = softmax_rows(&[0.0_f32; 1000], &mut [0.0; 1000], Rows::new(10, 12).with_x_stride(10)).unwrap_err();
/// assert_eq!(error.to_string(), "input: row stride 10 is smaller than 12 columns");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Input and output of a single row differ in length.
    Length {
        /// Elements of the input.
        input: usize,
        /// Elements of the output.
        output: usize,
    },
    /// Two arguments that belong together differ in length.
    Unequal {
        /// Which arguments.
        what: [&'static str; 2],
        /// Their elements.
        len: [usize; 2],
    },
    /// Rows would overlap.
    Stride {
        /// Which argument.
        what: &'static str,
        /// Elements between row starts.
        stride: usize,
        /// Elements of a row.
        cols: usize,
    },
    /// A slice ends before the last row does: `(rows − 1)·stride + cols` elements are needed.
    TooShort {
        /// Which argument.
        what: &'static str,
        /// Its elements.
        len: usize,
        /// The elements it needs.
        needed: usize,
        /// Rows.
        rows: usize,
        /// Elements of a row.
        cols: usize,
        /// Elements between row starts.
        stride: usize,
    },
    /// The extent of the rows does not fit `usize`.
    Overflow {
        /// Rows.
        rows: usize,
        /// Elements of a row.
        cols: usize,
        /// Elements between row starts.
        stride: usize,
    },
    /// The offsets of ragged rows decrease.
    OffsetDecreases {
        /// Which entry.
        index: usize,
        /// That entry.
        offset: usize,
        /// The one before it.
        previous: usize,
    },
    /// A slice ends before the last ragged row does.
    OffsetsEnd {
        /// Which argument.
        what: &'static str,
        /// Its elements.
        len: usize,
        /// The last offset.
        end: usize,
    },
    /// A slice does not hold a tensor of these extents, or its results.
    AxisTooShort {
        /// Which argument.
        what: &'static str,
        /// Its elements.
        slice: usize,
        /// The elements it needs.
        needed: usize,
        /// Product of the extents before the axis.
        outer: usize,
        /// Extent of the axis, 1 where each row has one result.
        len: usize,
        /// Product of the extents after the axis.
        inner: usize,
    },
    /// The extent of a tensor does not fit `usize`.
    AxisOverflow {
        /// Product of the extents before the axis.
        outer: usize,
        /// Extent of the axis.
        len: usize,
        /// Product of the extents after the axis.
        inner: usize,
    },
    /// More classes are asked for than a row has.
    TopK {
        /// Classes asked for.
        k: usize,
        /// Elements of a row.
        cols: usize,
    },
    /// A row is said to have more valid columns than there are.
    RowLength {
        /// Which row.
        row: usize,
        /// Its valid columns.
        length: usize,
        /// Elements of a row.
        cols: usize,
    },
    /// A parameter is outside its range.
    Parameter {
        /// Which parameter.
        name: &'static str,
        /// What it is.
        value: Value,
        /// What it may be.
        range: &'static str,
    },
    /// A label is no class.
    Label {
        /// The row of the label.
        row: usize,
        /// The label.
        label: i64,
        /// Classes, from 0 on.
        classes: usize,
    },
    /// There are not as many class weights as classes.
    ClassWeights {
        /// Class weights.
        len: usize,
        /// Classes.
        classes: usize,
    },
    /// A row to draw from has NaN or +∞.
    Logit {
        /// The first such place.
        index: usize,
        /// What stands there.
        value: Value,
    },
    /// A row to draw from has no logit above −∞.
    NoChoice {
        /// Elements of the row.
        len: usize,
    },
    /// The workspace is too small.
    Workspace {
        /// Entries of the workspace.
        len: usize,
        /// The entries it needs.
        needed: usize,
    },
    /// The CPU lacks the instruction set.
    IsaUnavailable(Isa),
}

/// A number that an [`Error`] names. Equal if the bits are, so that NaN is equal to itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value(u64);

impl Value {
    /// The number.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Value::from(0.5).get(), 0.5);
    /// ```
    pub const fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self(value.to_bits())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length { input, output } => {
                write!(f, "input has {input} elements, output has {output}")
            }
            Self::Unequal { what, len } => {
                write!(f, "{} has {} elements, {} has {}", what[0], len[0], what[1], len[1])
            }
            Self::Stride { what, stride, cols } => {
                write!(f, "{what}: row stride {stride} is smaller than {cols} columns")
            }
            Self::TooShort {
                what,
                len,
                needed,
                rows,
                cols,
                stride,
            } => write!(
                f,
                "{what} has {len} elements, {rows} rows of {cols} columns at stride {stride} need {needed}"
            ),
            Self::Overflow { rows, cols, stride } => {
                write!(
                    f,
                    "{rows} rows of {cols} columns at stride {stride} exceed the address space"
                )
            }
            Self::OffsetDecreases {
                index,
                offset,
                previous,
            } => write!(f, "offsets decrease: entry {index} is {offset} after {previous}"),
            Self::OffsetsEnd { what, len, end } => write!(f, "{what} has {len} elements, the offsets end at {end}"),
            Self::AxisTooShort {
                what,
                slice,
                needed,
                outer,
                len,
                inner,
            } => write!(
                f,
                "{what} has {slice} elements, {outer} × {len} × {inner} need {needed}"
            ),
            Self::AxisOverflow { outer, len, inner } => {
                write!(f, "{outer} × {len} × {inner} elements exceed the address space")
            }
            Self::TopK { k, cols } => write!(f, "the {k} best of {cols} columns are asked for"),
            Self::RowLength { row, length, cols } => write!(f, "row {row} has {length} valid columns of {cols}"),
            Self::Parameter { name, value, range } => write!(f, "{name} is {value}, not {range}"),
            Self::Label { row, label, classes } => {
                write!(f, "the label of row {row} is {label}, but there are {classes} classes")
            }
            Self::ClassWeights { len, classes } => write!(f, "{len} class weights for {classes} classes"),
            Self::Logit { index, value } => write!(f, "logit {index} is {value}: nothing can be drawn from the row"),
            Self::NoChoice { len } => write!(f, "none of the {len} logits is above -inf"),
            Self::Workspace { len, needed } => write!(f, "the workspace has {len} entries and needs {needed}"),
            Self::IsaUnavailable(isa) => write!(f, "this CPU lacks {isa}"),
        }
    }
}

impl core::error::Error for Error {}
