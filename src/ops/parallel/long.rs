//! One long row, shared by segments of the sum: the sums are added in order, as one thread does.

use crate::element::{Element, Float, Sum};
use crate::isa::Isa;
use crate::kernel::Place;
use crate::kernel::log_softmax::log;
use crate::kernel::passes::{Exps, SEGMENT};
use crate::kernel::segments::Segment;
use crate::kernel::softmax::{accepts, fill, guess, shift_at};
use crate::math::exp::Shift;
use crate::rows::Rows;
use rayon::join;

/// Whether a single row is worth sharing.
pub fn is_long(rows: Rows) -> bool {
    rows.rows() == 1 && rows.cols() > 2 * SEGMENT
}

/// The sum of a row of `T`.
type SumOf<T> = <<T as Element>::Compute as Float>::Sum;

/// Segments whose sums stand on the stack at a time.
const GROUP: usize = 64;

/// The shift and the sum of a row, as `kernel::softmax::sum` finds them.
pub fn long_sum<T: Element>(isa: Isa, x: &[T]) -> Option<(Shift<T::Compute>, SumOf<T>)> {
    let shift = guess(x, isa.is_fused());
    let exps = sums(isa, x, shift);
    if accepts(&exps) {
        return Some((shift, exps.sum));
    }
    let shift = shift_at(maximum(isa, x), isa.is_fused())?;
    let exps = sums(isa, x, shift);
    (!exps.sum.is_nan()).then_some((shift, exps.sum))
}

/// Σe of the segments, in order.
fn sums<T: Element>(isa: Isa, x: &[T], shift: Shift<T::Compute>) -> Exps<T::Compute> {
    let mut all: Exps<T::Compute> = Exps {
        sum: SumOf::<T>::ZERO,
        fits: true,
    };
    for group in x.chunks(GROUP * SEGMENT) {
        let mut parts = [const { None }; GROUP];
        let count = group.len().div_ceil(SEGMENT);
        each_sum(isa, group, shift, &mut parts[..count]);
        for part in parts.into_iter().flatten() {
            let Exps { sum, fits } = part;
            all = Exps {
                sum: all.sum.add(sum),
                fits: all.fits && fits,
            };
        }
    }
    all
}

fn each_sum<T: Element>(isa: Isa, x: &[T], shift: Shift<T::Compute>, parts: &mut [Option<Exps<T::Compute>>]) {
    if let [part] = parts {
        return T::segment(isa, Segment::Sum(x, shift, part));
    }
    let middle = parts.len() / 2;
    let (a, b) = parts.split_at_mut(middle);
    let (x_a, x_b) = x.split_at(middle * SEGMENT);
    join(|| each_sum(isa, x_a, shift, a), || each_sum(isa, x_b, shift, b));
}

/// The largest element; if one is NaN, any.
fn maximum<T: Element>(isa: Isa, x: &[T]) -> T::Compute {
    if x.len() <= SEGMENT {
        let mut m = -T::Compute::INFINITY;
        T::segment(isa, Segment::Max(x, &mut m));
        return m;
    }
    let (a, b) = x.split_at(x.len() / 2);
    let (a, b) = join(|| maximum(isa, a), || maximum(isa, b));
    if b > a { b } else { a }
}

pub fn long_softmax<T: Element>(isa: Isa, mut part: Place<'_, T>) {
    match long_sum(isa, part.input()) {
        Some((shift, sum)) => each_part(part, &|part| T::segment(isa, Segment::Quotient(part, shift, sum))),
        None => fill(part.output(), T::NAN),
    }
}

pub fn long_log_softmax<T: Element>(isa: Isa, mut part: Place<'_, T>) {
    match long_sum(isa, part.input()) {
        Some((shift, sum)) => {
            let log = log::<T::Compute>(&shift, sum);
            each_part(part, &|part| T::segment(isa, Segment::Subtract(part, log)))
        }
        None => fill(part.output(), T::NAN),
    }
}

/// Runs `f`, which works on each element alone, on parts of the row.
fn each_part<T: Element>(part: Place<'_, T>, f: &(impl Fn(Place<'_, T>) + Sync)) {
    let n = part.input().len();
    if n <= SEGMENT {
        return f(part);
    }
    let (a, b) = part.split_at(n / 2);
    join(|| each_part(a, f), || each_part(b, f));
}

impl<T: Element> Place<'_, T> {
    /// The first `i` elements and the rest, of input and output; of an output that has fewer, what it has.
    pub fn split_at(self, i: usize) -> (Self, Self) {
        match self {
            Self::Apart(x, y) => {
                let y_at = i.min(y.len());
                let ((x0, x1), (y0, y1)) = (x.split_at(i), y.split_at_mut(y_at));
                (Self::Apart(x0, y0), Self::Apart(x1, y1))
            }
            Self::InPlace(x) => {
                let (a, b) = x.split_at_mut(i);
                (Self::InPlace(a), Self::InPlace(b))
            }
        }
    }
}
