//! What a function of the C interface returns.

use core::ffi::{CStr, c_int};
use softmax::Error;

/// `enum smx_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// A pointer is null, or not aligned to its type.
    Null = 1,
    /// The sizes do not fit each other or the address space.
    Shape = 2,
    /// An output overlaps another argument.
    Overlap = 3,
    /// A parameter is outside its range.
    Param = 4,
    /// No such instruction set, or not on this CPU.
    Isa = 5,
}

impl Status {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 6] = [Self::Ok, Self::Null, Self::Shape, Self::Overlap, Self::Param, Self::Isa];

    const fn message(self) -> &'static CStr {
        match self {
            Self::Ok => c"success",
            Self::Null => c"a pointer is null or not aligned to its type",
            Self::Shape => c"sizes, strides, offsets or lengths do not fit each other or the address space",
            Self::Overlap => c"an output overlaps another argument other than in place",
            Self::Param => c"a parameter, label or struct size is unknown or outside its range",
            Self::Isa => c"unknown instruction set, or one that this CPU lacks",
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Length { .. }
            | Error::Unequal { .. }
            | Error::Stride { .. }
            | Error::TooShort { .. }
            | Error::Overflow { .. }
            | Error::OffsetDecreases { .. }
            | Error::OffsetsEnd { .. }
            | Error::AxisTooShort { .. }
            | Error::AxisOverflow { .. }
            | Error::TopK { .. }
            | Error::RowLength { .. } => Self::Shape,
            Error::IsaUnavailable(_) => Self::Isa,
            _ => Self::Param,
        }
    }
}

/// The number of a result.
pub(crate) fn code(result: Result<(), Status>) -> c_int {
    result.err().unwrap_or(Status::Ok) as c_int
}

/// The message of a number, whatever it is.
pub(crate) fn message(code: c_int) -> &'static CStr {
    let status = usize::try_from(code).ok().and_then(|code| Status::ALL.get(code));
    status.map_or(c"unknown status", |status| status.message())
}
