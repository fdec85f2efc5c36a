//! One long row, shared by segments of the sum: the sums are added in order, as one thread does. What follows a sum works
//! on each element alone, and is shared by any parts.

use super::super::cross_entropy::{Memory, total};
use super::super::cut::{Cut, Input, Results};
use super::{First, Strided, share};
use crate::element::{Element, Float, Sum};
use crate::isa::Isa;
use crate::kernel::backward::{Backward, Passes};
use crate::kernel::cross_entropy::{CrossEntropy, Known, Part, Terms, rounded};
use crate::kernel::log_softmax::log;
use crate::kernel::passes::{Exps, SEGMENT};
use crate::kernel::segments::Segment;
use crate::kernel::short_rows::with_log;
use crate::kernel::softmax::{SumOf, TotalOf, accepts, fill, guess, shift_at};
use crate::kernel::{Buffers, Place};
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
pub type Kept<'a, T> = Option<&'a mut [MaybeUninit<<T as Element>::Compute>]>;

/// The shift and the sum of a row, as `kernel::softmax::sum` finds them.
pub fn long_sum<T: Element>(isa: Isa, x: &[T]) -> Option<(Shift<T::Compute>, SumOf<T>)> {
    long_total(isa, x, None).map(|(shift, total)| (shift, total.sum))
}

fn long_total<T: Element>(isa: Isa, x: &[T], mut e: Kept<'_, T>) -> Option<(Shift<T::Compute>, TotalOf<T>)> {
    let shift = guess(x, isa.is_fused());
    let exps = sums(isa, x, e.as_deref_mut(), shift);
    if accepts(&exps) {
        return Some((shift, exps.total()));
    }
    let shift = shift_at(maximum(isa, x), isa.is_fused())?;
    let exps = sums(isa, x, e, shift);
    (!exps.sum.is_nan()).then_some((shift, exps.total()))
}

/// Σe of the segments.
fn sums<T: Element>(isa: Isa, x: &[T], e: Kept<'_, T>, shift: Shift<T::Compute>) -> Exps<T::Compute> {
    let mut all: Exps<T::Compute> = Exps::none();
    let memory = (Input(x, 1), e.map(|e| Results(e, 1)));
    let segment = |(x, e): (Input<'_, T>, Option<Results<'_, _>>)| {
        let mut exps = Exps::none();
        T::segment(isa, Segment::Sum(x.0, e.map(|e| e.0), shift, &mut exps));
        exps
    };
    in_order(memory, x.len(), &segment, |segment| all.join(segment));
    all
}

/// Runs `f` on each segment of a row, and `and` on what it gives, in order.
pub fn in_order<M: Cut + Send, R: Send>(mut row: M, len: usize, f: &(impl Fn(M) -> R + Sync), mut and: impl FnMut(R)) {
    let mut left = len.div_ceil(SEGMENT);
    while left > 0 {
        let mut parts = [const { None }; GROUP];
        let count = left.min(GROUP);
        let (group, rest) = row.cut(count * SEGMENT);
        each_segment(group, &mut parts[..count], f);
        parts.into_iter().flatten().for_each(&mut and);
        (row, left) = (rest, left - count);
    }
}

fn each_segment<M: Cut + Send, R: Send>(row: M, parts: &mut [Option<R>], f: &(impl Fn(M) -> R + Sync)) {
    if let [part] = parts {
        *part = Some(f(row));
        return;
    }
    let middle = parts.len() / 2;
    let ((row_a, row_b), (a, b)) = (row.cut(middle * SEGMENT), parts.split_at_mut(middle));
    join(|| each_segment(row_a, a, f), || each_segment(row_b, b, f));
}

/// Runs `f`, which works on each element alone, on parts of a row.
fn each_part<M: Cut + Send>(row: M, len: usize, f: &(impl Fn(M) + Sync)) {
    share(Strided(row, Rows::new(len, 1)), &|part| f(part.0), &|(), ()| ());
}

/// The largest element; if one is NaN, any.
fn maximum<T: Element>(isa: Isa, x: &[T]) -> T::Compute {
    let part = |Strided(x, _): Strided<Input<'_, T>>| {
        let mut m = -T::Compute::INFINITY;
        T::segment(isa, Segment::Max(x.0, &mut m));
        m
    };
    share(Strided(Input(x, 1), Rows::new(x.len(), 1)), &part, &|a, b| {
        if b > a { b } else { a }
    })
}

/// The exps are kept in the output, or computed twice where the row is in place or of halves, or the tuning profile takes it for
/// one beyond the caches.
pub fn long_softmax<T: Element>(isa: Isa, mut row: Place<'_, T>) {
    if let Place::Apart(x, y) = &mut row
        && !Sizes::get().is_beyond(x)
        && let Some(e) = T::as_compute(y)
    {
        return match long_total(isa, x, Some(&mut *e)) {
            Some((_, total)) => each_part(Results(e, 1), x.len(), &|e| T::segment(isa, Segment::Scale(e.0, total))),
            None => fill(y, T::NAN),
        };
    }
    let n = row.input().len();
    match long_sum(isa, row.input()) {
        Some((shift, sum)) => each_part(row, n, &|part| T::segment(isa, Segment::Quotient(part, shift, sum))),
        None => fill(row.output(), T::NAN),
    }
}

pub fn long_log_softmax<T: Element>(isa: Isa, mut row: Place<'_, T>) {
    let n = row.input().len();
    match long_sum(isa, row.input()) {
        Some((shift, sum)) => {
            let log = log::<T::Compute>(&shift, sum);
            each_part(row, n, &|part| T::segment(isa, Segment::Subtract(part, log)))
        }
        None => fill(row.output(), T::NAN),
    }
}

/// The gradient of one row, from dy to dx.
pub fn long_backward<T: Element>(isa: Isa, y: &[T], row: Place<'_, T>, log: bool) {
    let run = |y: &[T], place: Place<'_, T>, passes: Passes<'_, SumOf<T>>| {
        let rows = Rows::new(1, y.len()).into();
        let kernel = Backward {
            y,
            y_stride: y.len(),
            dy: Buffers { place, rows },
            log,
            passes,
        };
        T::backward(isa, kernel);
    };
    let sum = |(y, dy): (Input<'_, T>, Input<'_, T>)| {
        let mut s = SumOf::<T>::ZERO;
        run(y.0, Place::Apart(dy.0, &mut []), Passes::Sum(&mut s));
        s
    };
    let mut s = SumOf::<T>::ZERO;
    in_order((Input(y, 1), Input(row.input(), 1)), y.len(), &sum, |part| {
        s = s.add(part)
    });
    each_part((Input(y, 1), row), y.len(), &|(y, part)| {
        run(y.0, part, Passes::Gradient(s))
    });
}

/// The loss of one row, and its gradient where there is a place for it.
pub fn long_loss<T: Element>(isa: Isa, memory: Memory<'_, T>, rows: Rows, terms: &Terms<'_>) -> f64 {
    let ((x, labels), _) = &memory;
    let (x, label) = (&x.0[..rows.cols()], labels.0[0]);
    let found = if label == terms.ignored { None } else { long_sum(isa, x) };
    let Some(found) = found else {
        // An ignored label, or a row without a sum: what is written there is the business of one thread.
        return total(isa, memory, rows, terms);
    };
    let (_, (loss, dx)) = memory;
    let t = label as usize;
    let known = Known::new(with_log::<T>(found), t, x.len(), terms);
    let mut smoothed = SumOf::<T>::ZERO;
    if dx.is_some() || known.is_smoothed() {
        let row = (Input(x, 1), (First(0), dx.map(|dx| Results(&mut dx.0[..x.len()], 1))));
        let sweep = |(x, (start, dx)): (Input<'_, T>, (First, Option<Results<'_, _>>))| {
            let (mut smoothed, mut total) = (SumOf::<T>::ZERO, 0.0);
            let kernel = CrossEntropy {
                x: x.0,
                labels: &[label],
                loss: None,
                total: &mut total,
                dx: dx.map(|dx| dx.0),
                rows: Rows::new(1, x.0.len()),
                terms: *terms,
                part: Some(Part {
                    start: start.0,
                    known,
                    smoothed: &mut smoothed,
                }),
            };
            T::cross_entropy(isa, kernel);
            smoothed
        };
        in_order(row, x.len(), &sweep, |part| smoothed = smoothed.add(part));
    }
    let value = known.loss(x[t].widen(), smoothed);
    if let Some(loss) = loss {
        loss.0[0].write(rounded(value));
    }
    // What one thread adds the losses to: there is no −0.
    0.0 + value
}

impl<T: Element> Cut for Place<'_, T> {
    fn cut(self, element: usize) -> (Self, Self) {
        let n = self.input().len();
        self.split_at(element.min(n))
    }
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
