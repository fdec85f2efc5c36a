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
        what: &'static str,
        /// Its value.
        value: Number,
    },
    /// The CPU lacks the instruction set.
    IsaUnavailable(Isa),
}

/// The value of a parameter in an [`Error`]: an f64 that equals itself, NaN included.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Number(u64);

impl Number {
    /// As a number that errors compare by its bits.
    pub const fn new(value: f64) -> Self {
        Self(value.to_bits())
    }

    /// The value.
    pub const fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

impl fmt::Display for Number {
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
            Self::TopK { k, cols } => write!(f, "the {k} best of {cols} columns are asked for"),
            Self::RowLength { row, length, cols } => write!(f, "row {row} has {length} valid columns of {cols}"),
            Self::Parameter { what, value } => write!(f, "{what} is {value}, which is out of range"),
            Self::IsaUnavailable(isa) => write!(f, "this CPU lacks {isa}"),
        }
    }
}

impl core::error::Error for Error {}
