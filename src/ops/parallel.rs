//! The operators on the rayon pool of the caller, with the same bits for any number of threads.
//!
//! Rows are halved until a task has about [`GRAIN`] elements. A single row longer than two segments of the sum is
//! shared by segments: their sums are added in order, as one thread does.

use super::checked;
use crate::element::{Element, Float, Output, Sum};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::Place;
use crate::kernel::log_softmax::{log, special};
use crate::kernel::passes::{Exps, SEGMENT};
use crate::kernel::segments::Segment;
use crate::kernel::softmax::{accepts, fill, guess, shift_at};
use crate::math::exp::Shift;
use crate::rows::Rows;
use rayon::join;

/// Elements to a task, at least: a few microseconds of work.
const GRAIN: usize = crate::tuning::TASK_ELEMENTS;

/// Memory of rows that can be cut between two rows.
trait Cut: Sized + Send {
    fn cut(self, row: usize) -> (Self, Self);
}

/// `stride` elements from a row to the next.
struct Input<'a, T>(&'a [T], usize);
struct Results<'a, T>(&'a mut [T], usize);

impl<T: Sync> Cut for Input<'_, T> {
    fn cut(self, row: usize) -> (Self, Self) {
        let (a, b) = self.0.split_at(self.0.len().min(row * self.1));
        (Self(a, self.1), Self(b, self.1))
    }
}

impl<T: Send> Cut for Results<'_, T> {
    fn cut(self, row: usize) -> (Self, Self) {
        let (a, b) = self.0.split_at_mut(self.0.len().min(row * self.1));
        (Self(a, self.1), Self(b, self.1))
    }
}

impl<A: Cut, B: Cut> Cut for (A, B) {
    fn cut(self, row: usize) -> (Self, Self) {
        let ((a0, a1), (b0, b1)) = (self.0.cut(row), self.1.cut(row));
        ((a0, b0), (a1, b1))
    }
}

/// Runs `f` on parts of the rows, halved until they are small.
fn share<M: Cut>(memory: M, rows: Rows, f: &(impl Fn(M, Rows) -> Result<(), Error> + Sync)) -> Result<(), Error> {
    if rows.rows() < 2 || rows.rows().saturating_mul(rows.cols()) < 2 * GRAIN {
        return f(memory, rows);
    }
    let middle = rows.rows() / 2;
    let (a, b) = memory.cut(middle);
    let (rows_a, rows_b) = rows.split_at(middle);
    let (a, b) = join(|| share(a, rows_a, f), || share(b, rows_b, f));
    a.and(b)
}

/// Whether a single row is worth sharing.
fn is_long(rows: Rows) -> bool {
    rows.rows() == 1 && rows.cols() > 2 * SEGMENT
}

/// [`softmax`](crate::softmax()) of one row on the current rayon pool: the same bits.
///
/// # Errors
/// As [`softmax`](crate::softmax()).
///
/// ```
/// let x = vec![0.0_f32; 1 << 18];
/// let mut y = vec![0.0; 1 << 18];
/// softmax::par_softmax(&x, &mut y)?;
/// assert_eq!(y, vec![1.0 / 262_144.0; 1 << 18]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_softmax<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y) -> Result<(), Error> {
    let y = y.as_uninit();
    let rows = super::same_length(x.len(), y.len())?;
    par_softmax_rows(x, y, rows)
}

/// [`softmax_in_place`](crate::softmax_in_place) of one row on the current rayon pool: the same bits.
pub fn par_softmax_in_place<T: Element>(x: &mut [T]) {
    let rows = Rows::new(1, x.len());
    if is_long(rows) {
        long_softmax(Isa::detect(), Place::InPlace(x));
    } else {
        crate::softmax_in_place(x);
    }
}

/// [`softmax_rows`](crate::softmax_rows) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`softmax_rows`](crate::softmax_rows).
///
/// ```
/// use softmax::{Rows, par_softmax_rows};
/// let mut y = [0.0_f32; 4];
/// par_softmax_rows(&[1.0_f32; 4], &mut y, Rows::new(2, 2))?;
/// assert_eq!(y, [0.5; 4]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_softmax_rows<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y, rows: Rows) -> Result<(), Error> {
    let (isa, y) = (Isa::detect(), checked(x, y, rows)?);
    if is_long(rows) {
        long_softmax(isa, Place::Apart(&x[..rows.cols()], &mut y[..rows.cols()]));
        return Ok(());
    }
    share(
        (Input(x, rows.x_stride()), Results(y, rows.y_stride())),
        rows,
        &|(x, y), rows| isa.softmax_rows(x.0, y.0, rows),
    )
}

/// [`softmax_rows_in_place`](crate::softmax_rows_in_place) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`softmax_rows`](crate::softmax_rows).
pub fn par_softmax_rows_in_place<T: Element>(x: &mut [T], rows: Rows) -> Result<(), Error> {
    rows.check_input(x.len())?;
    let isa = Isa::detect();
    if is_long(rows) {
        long_softmax(isa, Place::InPlace(&mut x[..rows.cols()]));
        return Ok(());
    }
    share(Results(x, rows.x_stride()), rows, &|x, rows| {
        isa.softmax_rows_in_place(x.0, rows)
    })
}

/// [`log_softmax`](crate::log_softmax) of one row on the current rayon pool: the same bits.
///
/// # Errors
/// As [`log_softmax`](crate::log_softmax).
pub fn par_log_softmax<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y) -> Result<(), Error> {
    let y = y.as_uninit();
    let rows = super::same_length(x.len(), y.len())?;
    par_log_softmax_rows(x, y, rows)
}

/// [`log_softmax_in_place`](crate::log_softmax_in_place) of one row on the current rayon pool: the same bits.
pub fn par_log_softmax_in_place<T: Element>(x: &mut [T]) {
    let rows = Rows::new(1, x.len());
    if is_long(rows) {
        long_log_softmax(Isa::detect(), Place::InPlace(x));
    } else {
        crate::log_softmax_in_place(x);
    }
}

/// [`log_softmax_rows`](crate::log_softmax_rows) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`softmax_rows`](crate::softmax_rows).
pub fn par_log_softmax_rows<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y, rows: Rows) -> Result<(), Error> {
    let (isa, y) = (Isa::detect(), checked(x, y, rows)?);
    if is_long(rows) {
        long_log_softmax(isa, Place::Apart(&x[..rows.cols()], &mut y[..rows.cols()]));
        return Ok(());
    }
    share(
        (Input(x, rows.x_stride()), Results(y, rows.y_stride())),
        rows,
        &|(x, y), rows| isa.log_softmax_rows(x.0, y.0, rows),
    )
}

/// [`log_softmax_rows_in_place`](crate::log_softmax_rows_in_place) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`softmax_rows`](crate::softmax_rows).
pub fn par_log_softmax_rows_in_place<T: Element>(x: &mut [T], rows: Rows) -> Result<(), Error> {
    rows.check_input(x.len())?;
    let isa = Isa::detect();
    if is_long(rows) {
        long_log_softmax(isa, Place::InPlace(&mut x[..rows.cols()]));
        return Ok(());
    }
    share(Results(x, rows.x_stride()), rows, &|x, rows| {
        isa.log_softmax_rows_in_place(x.0, rows)
    })
}

/// [`logsumexp`](crate::logsumexp) of one row on the current rayon pool: the same bits.
pub fn par_logsumexp<T: Element>(x: &[T]) -> T {
    if !is_long(Rows::new(1, x.len())) {
        return crate::logsumexp(x);
    }
    match long_sum(Isa::detect(), x) {
        Some((shift, sum)) => {
            let [offset, high, low] = log::<T::Compute>(&shift, sum);
            T::narrow((high + low) + offset)
        }
        None => special(x),
    }
}

/// [`logsumexp_rows`](crate::logsumexp_rows) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`logsumexp_rows`](crate::logsumexp_rows).
pub fn par_logsumexp_rows<T: Element, Y: Output<T> + ?Sized>(x: &[T], out: &mut Y, rows: Rows) -> Result<(), Error> {
    rows.check_input(x.len())?;
    let (isa, out) = (Isa::detect(), out.as_uninit());
    rows.check_results("output", out.len(), 1)?;
    if is_long(rows) {
        out[0].write(par_logsumexp(&x[..rows.cols()]));
        return Ok(());
    }
    share((Input(x, rows.x_stride()), Results(out, 1)), rows, &|(x, out), rows| {
        isa.logsumexp_rows(x.0, out.0, rows)
    })
}

/// [`argmax_rows`](crate::argmax_rows) on the current rayon pool.
///
/// # Errors
/// As [`argmax_rows`](crate::argmax_rows).
pub fn par_argmax_rows<T: Element>(x: &[T], index: &mut [usize], rows: Rows) -> Result<(), Error> {
    rows.check_input(x.len())?;
    rows.check_results("index", index.len(), 1)?;
    let isa = Isa::detect();
    share(
        (Input(x, rows.x_stride()), Results(index, 1)),
        rows,
        &|(x, index), rows| isa.argmax_rows(x.0, index.0, rows),
    )
}

/// [`top_k_rows`](crate::top_k_rows) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`top_k_rows`](crate::top_k_rows).
pub fn par_top_k_rows<T: Element>(
    x: &[T],
    k: usize,
    index: &mut [usize],
    prob: &mut [T::Compute],
    rows: Rows,
) -> Result<(), Error> {
    super::check_top_k(x.len(), k, index.len(), prob.len(), rows)?;
    let isa = Isa::detect();
    let places = (Results(index, k), Results(prob, k));
    share(
        (Input(x, rows.x_stride()), places),
        rows,
        &|(x, (index, prob)), rows| isa.top_k_rows(x.0, k, index.0, prob.0, rows),
    )
}

/// The sum of a row of `T`.
type SumOf<T> = <<T as Element>::Compute as Float>::Sum;

/// Segments whose sums stand on the stack at a time.
const GROUP: usize = 64;

/// The shift and the sum of a row, as `kernel::softmax::sum` finds them.
fn long_sum<T: Element>(isa: Isa, x: &[T]) -> Option<(Shift<T::Compute>, SumOf<T>)> {
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

fn long_softmax<T: Element>(isa: Isa, mut part: Place<'_, T>) {
    match long_sum(isa, part.input()) {
        Some((shift, sum)) => each_part(part, &|part| T::segment(isa, Segment::Quotient(part, shift, sum))),
        None => fill(part.output(), T::NAN),
    }
}

fn long_log_softmax<T: Element>(isa: Isa, mut part: Place<'_, T>) {
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
    if part.input().len() <= SEGMENT {
        return f(part);
    }
    let (a, b) = part.halves();
    join(|| each_part(a, f), || each_part(b, f));
}

impl<T: Element> Place<'_, T> {
    fn halves(self) -> (Self, Self) {
        match self {
            Self::Apart(x, y) => {
                let ((x0, x1), (y0, y1)) = (x.split_at(x.len() / 2), y.split_at_mut(x.len() / 2));
                (Self::Apart(x0, y0), Self::Apart(x1, y1))
            }
            Self::InPlace(x) => {
                let (a, b) = x.split_at_mut(x.len() / 2);
                (Self::InPlace(a), Self::InPlace(b))
            }
        }
    }
}
