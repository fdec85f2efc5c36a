//! One long row, shared by segments of the sum: the sums are added in order, as one thread does.

use crate::element::{Element, Float, Sum};
use crate::isa::Isa;
use crate::kernel::Place;
use crate::kernel::log_softmax::log;
use crate::kernel::passes::{Exps, SEGMENT};
use crate::kernel::segments::Segment;
use crate::kernel::softmax::{SumOf, accepts, fill, guess, shift_at};
use crate::math::exp::Shift;
use crate::rows::Rows;
use crate::sizes::Sizes;
use core::mem::MaybeUninit;
use rayon::join;

/// Whether a single row is worth sharing.
pub fn is_long(rows: Rows) -> bool {
    rows.rows() == 1 && rows.cols() > 2 * SEGMENT
}

/// Segments whose sums stand on the stack at a time.
const GROUP: usize = 64;

/// Where the exps of a row are kept, if anywhere.
type Kept<'a, T> = Option<&'a mut [MaybeUninit<<T as Element>::Compute>]>;

/// The shift and the sum of a row, as `kernel::softmax::sum` finds them.
pub fn long_sum<T: Element>(isa: Isa, x: &[T], mut e: Kept<'_, T>) -> Option<(Shift<T::Compute>, SumOf<T>)> {
    let shift = guess(x, isa.is_fused());
    let exps = sums(isa, x, e.as_deref_mut(), shift);
    if accepts(&exps) {
        return Some((shift, exps.sum));
    }
    let shift = shift_at(maximum(isa, x), isa.is_fused())?;
    let exps = sums(isa, x, e, shift);
    (!exps.sum.is_nan()).then_some((shift, exps.sum))
}

/// Σe of the segments, in order.
fn sums<T: Element>(isa: Isa, x: &[T], mut e: Kept<'_, T>, shift: Shift<T::Compute>) -> Exps<T::Compute> {
    let mut all: Exps<T::Compute> = Exps {
        sum: SumOf::<T>::ZERO,
        fits: true,
    };
    for (g, group) in x.chunks(GROUP * SEGMENT).enumerate() {
        let mut parts = [const { None }; GROUP];
        let count = group.len().div_ceil(SEGMENT);
        let e = e.as_deref_mut().map(|e| &mut e[g * GROUP * SEGMENT..][..group.len()]);
        each_sum(isa, group, e, shift, &mut parts[..count]);
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

fn each_sum<T: Element>(
    isa: Isa,
    x: &[T],
    e: Kept<'_, T>,
    shift: Shift<T::Compute>,
    parts: &mut [Option<Exps<T::Compute>>],
) {
    if let [part] = parts {
        return T::segment(isa, Segment::Sum(x, e, shift, part));
    }
    let middle = parts.len() / 2;
    let (a, b) = parts.split_at_mut(middle);
    let (x_a, x_b) = x.split_at(middle * SEGMENT);
    let (e_a, e_b) = e.map(|e| e.split_at_mut(middle * SEGMENT)).unzip();
    join(
        || each_sum(isa, x_a, e_a, shift, a),
        || each_sum(isa, x_b, e_b, shift, b),
    );
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

/// The exps are kept in the output, or computed twice, as one thread does: there if the row is beyond the caches.
pub fn long_softmax<T: Element>(isa: Isa, mut part: Place<'_, T>) {
    if let Place::Apart(x, y) = &mut part
        && !Sizes::get().is_beyond(x)
        && let Some(e) = T::as_compute(y)
    {
        return match long_sum(isa, x, Some(&mut *e)) {
            Some((_, sum)) => each_scaled::<T>(isa, e, sum),
            None => fill(y, T::NAN),
        };
    }
    match long_sum(isa, part.input(), None) {
        Some((shift, sum)) => each_part(part, &|part| T::segment(isa, Segment::Quotient(part, shift, sum))),
        None => fill(part.output(), T::NAN),
    }
}

fn each_scaled<T: Element>(isa: Isa, e: &mut [MaybeUninit<T::Compute>], sum: SumOf<T>) {
    let n = e.len();
    if n <= SEGMENT {
        return T::segment(isa, Segment::Scale(e, sum));
    }
    let (a, b) = e.split_at_mut(n / 2);
    join(|| each_scaled::<T>(isa, a, sum), || each_scaled::<T>(isa, b, sum));
}

pub fn long_log_softmax<T: Element>(isa: Isa, mut part: Place<'_, T>) {
    match long_sum(isa, part.input(), None) {
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
