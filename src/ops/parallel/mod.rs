//! The operators on the rayon pool of the caller, with the same bits for any number of threads.
//!
//! [`share`] halves the work of a call between two rows until a task is small; each part is then what one thread runs.
//! The shapes of the whole call are checked before, so that an error leaves every output as it was. A single row longer
//! than two segments of the sum is shared by segments ([`long`], and [`long_masked`] where that much of it is visible) and
//! its choices by parts ([`choice`]), a tensor of few outer slices by columns ([`axis`]).

mod axis;
mod choice;
mod long;
mod long_masked;
mod masked;
mod ragged;
mod rows;
mod sampling;
mod training;

pub use axis::*;
pub use masked::*;
pub use ragged::*;
pub use rows::*;
pub use sampling::par_sample_gumbel_rows;
pub use training::*;

use super::cross_entropy::LEAF;
use super::cut::Cut;
use crate::error::Error;
use crate::rows::Rows;
use rayon::join;

/// Elements to a task, at least: a few microseconds of work. No less than what one task must add up alone.
const GRAIN: usize = if crate::tuning::TASK_ELEMENTS > LEAF {
    crate::tuning::TASK_ELEMENTS
} else {
    LEAF
};

/// What a call has to do, or a part of that.
trait Work: Sized + Send {
    /// How many rows.
    fn rows(&self) -> usize;
    /// How many elements they have.
    fn elements(&self) -> usize;
    /// The first rows and the rest, of two rows at least.
    fn halves(self) -> (Self, Self);
}

/// Runs `f` on parts of the work, halved until they are small, and joins what it gives, in order, by `and`.
fn share<W: Work, R: Send>(work: W, f: &(impl Fn(W) -> R + Sync), and: &(impl Fn(R, R) -> R + Sync)) -> R {
    if work.rows() < 2 || is_small(work.elements()) {
        return f(work);
    }
    let (a, b) = work.halves();
    let (a, b) = join(|| share(a, f, and), || share(b, f, and));
    and(a, b)
}

/// Whether so many elements are one task.
fn is_small(elements: usize) -> bool {
    elements < 2 * GRAIN
}

/// Rows at strides, and their memory.
struct Strided<M>(M, Rows);

impl<M: Cut + Send> Work for Strided<M> {
    fn rows(&self) -> usize {
        self.1.rows()
    }

    fn elements(&self) -> usize {
        self.1.rows().saturating_mul(self.1.cols())
    }

    fn halves(self) -> (Self, Self) {
        let middle = self.1.rows() / 2;
        let ((a, b), (rows_a, rows_b)) = (self.0.cut(middle), self.1.split_at(middle));
        (Self(a, rows_a), Self(b, rows_b))
    }
}

/// [`share`] of rows at strides whose memory is checked, so that `f` does not fail halfway.
fn share_rows<M: Cut + Send>(
    memory: M,
    rows: Rows,
    f: &(impl Fn(M, Rows) -> Result<(), Error> + Sync),
) -> Result<(), Error> {
    share(Strided(memory, rows), &|part| f(part.0, part.1), &Result::and)
}

/// Which row of the call is the first one of a part.
#[derive(Clone, Copy)]
struct First(usize);

impl Cut for First {
    fn cut(self, row: usize) -> (Self, Self) {
        (self, Self(self.0 + row))
    }
}
