//! What can be wrong with a call on one rank or another.

use std::fmt;

/// A call that cannot be carried out on any rank. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The call of this rank is wrong.
    Call(softmax::Error),
    /// The call of another rank is wrong: of the lowest one, if there are several.
    OtherRank {
        /// Which rank.
        rank: usize,
    },
    /// The ranks do not make the same call. Operators, labels and parameters are compared by a hash of 28 bits, so that
    /// one difference in 2^28 goes unnoticed.
    Differ {
        /// What differs.
        what: &'static str,
    },
}

impl From<softmax::Error> for Error {
    fn from(error: softmax::Error) -> Self {
        Self::Call(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::OtherRank { rank } => write!(f, "the call of rank {rank} cannot be carried out"),
            Self::Differ { what } => write!(f, "{what} differ between the ranks"),
        }
    }
}

impl std::error::Error for Error {}
