//! Operators that take more than a row, as functions of one row: their golden lines and their forms.

use super::element::{TestElement, bits};
use super::forms::{Form, Subject};
use softmax::{BackwardRows, CrossEntropy, Element, Isa, Reduction, Rows};

/// The bits of a result on an ISA, and what to call the form.
type Named<T> = (&'static str, fn(Isa, &[T]) -> Vec<u64>);

/// A new operator of more than a row is an entry here.
pub fn derived<T: TestElement>() -> Vec<Subject<T>> {
    let subject = |name, forms: Vec<Named<T>>| {
        let form = |(name, run): Named<T>| Form::<T> {
            name: name.into(),
            run: Box::new(move |isa, x| Some(run(isa, x))),
        };
        Subject {
            name,
            forms: forms.into_iter().map(form).collect(),
        }
    };
    vec![
        subject(
            "row_exp_sub_max_sum",
            vec![("plain", exp_sub_max::<T>), ("in place", exp_sub_max_in_place)],
        ),
        subject(
            "softmax_backward",
            vec![
                ("plain", |isa, x| backward::<T>(isa, x, false)),
                ("in place", |isa, x| backward_in_place::<T>(isa, x, false)),
                ("rows", |isa, x| backward_rows::<T>(isa, x, false)),
            ],
        ),
        subject(
            "log_softmax_backward",
            vec![
                ("plain", |isa, x| backward::<T>(isa, x, true)),
                ("in place", |isa, x| backward_in_place::<T>(isa, x, true)),
                ("rows", |isa, x| backward_rows::<T>(isa, x, true)),
            ],
        ),
        subject(
            "cross_entropy",
            vec![("plain", cross_entropy::<T>), ("rows", cross_entropy_rows)],
        ),
    ]
}

pub fn largest<T: TestElement>(isa: Isa, x: &[T]) -> T::Compute {
    // The maximum in the type of the arithmetic: every element is one of its numbers.
    <T as Element>::Compute::from_f64(isa.row_max(x).expect("available").to_f64())
}

fn exp_sub_max<T: TestElement>(isa: Isa, x: &[T]) -> Vec<u64> {
    let mut y = vec![T::canary(); x.len()];
    let sum = isa
        .row_exp_sub_max_sum(x, Some(&mut y), largest(isa, x))
        .expect("equal lengths");
    bits(&y).into_iter().chain([sum.to_bits()]).collect()
}

fn exp_sub_max_in_place<T: TestElement>(isa: Isa, x: &[T]) -> Vec<u64> {
    let mut y = x.to_vec();
    let sum = isa
        .row_exp_sub_max_sum_in_place(&mut y, largest(isa, x))
        .expect("available");
    bits(&y).into_iter().chain([sum.to_bits()]).collect()
}

/// What the forward pass gives, and a gradient that is exact in every format.
fn inputs<T: TestElement>(isa: Isa, x: &[T], log: bool) -> (Vec<T>, Vec<T>) {
    let mut y = vec![T::canary(); x.len()];
    let outcome = if log {
        isa.log_softmax(x, &mut y[..])
    } else {
        isa.softmax(x, &mut y[..])
    };
    outcome.expect("equal lengths");
    let dy = (0..x.len())
        .map(|i| T::from_f64((i * 37 % 64) as f64 / 16.0 - 2.0))
        .collect();
    (y, dy)
}

fn backward<T: TestElement>(isa: Isa, x: &[T], log: bool) -> Vec<u64> {
    let (y, dy) = inputs(isa, x, log);
    let mut dx = vec![T::canary(); x.len()];
    let outcome = if log {
        isa.log_softmax_backward(&y, &dy, &mut dx[..])
    } else {
        isa.softmax_backward(&y, &dy, &mut dx[..])
    };
    outcome.expect("equal lengths");
    bits(&dx)
}

fn backward_in_place<T: TestElement>(isa: Isa, x: &[T], log: bool) -> Vec<u64> {
    let (y, mut dy) = inputs(isa, x, log);
    let outcome = if log {
        isa.log_softmax_backward_in_place(&y, &mut dy)
    } else {
        isa.softmax_backward_in_place(&y, &mut dy)
    };
    outcome.expect("equal lengths");
    bits(&dy)
}

/// The second of three rows.
fn backward_rows<T: TestElement>(isa: Isa, x: &[T], log: bool) -> Vec<u64> {
    let (n, (y, dy)) = (x.len(), inputs(isa, x, log));
    let spread = |row: &[T], stride: usize| {
        let mut all = vec![T::canary(); 2 * stride + n];
        all[stride..][..n].copy_from_slice(row);
        all
    };
    let (y, dy, mut dx) = (spread(&y, n + 1), spread(&dy, n + 3), vec![T::canary(); 3 * n]);
    let rows = BackwardRows::new(3, n).with_y_stride(n + 1).with_dy_stride(n + 3);
    let outcome = if log {
        isa.log_softmax_backward_rows(&y, &dy, &mut dx[..], rows)
    } else {
        isa.softmax_backward_rows(&y, &dy, &mut dx[..], rows)
    };
    outcome.expect("the slices hold the rows");
    bits(&dx[n..][..n])
}

fn params(weights: &[f32]) -> CrossEntropy<'_> {
    CrossEntropy {
        label_smoothing: 0.125,
        class_weights: Some(weights),
        reduction: Reduction::None,
        ..CrossEntropy::default()
    }
}

fn weights(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i % 7 + 1) as f32 / 4.0).collect()
}

fn cross_entropy<T: TestElement>(isa: Isa, x: &[T]) -> Vec<u64> {
    let (mut loss, mut dx, weights) = ([T::Probability::canary()], vec![T::canary(); x.len()], weights(x.len()));
    let (labels, rows) = ([x.len() as i64 / 3], Rows::new(1, x.len()));
    isa.cross_entropy(x, &labels, &mut loss, Some(&mut dx), rows, &params(&weights))
        .expect("one row");
    bits(&dx).into_iter().chain(bits(&loss)).collect()
}

/// The second of two rows.
fn cross_entropy_rows<T: TestElement>(isa: Isa, x: &[T]) -> Vec<u64> {
    let n = x.len();
    let mut all = vec![T::canary(); 2 * n + 5];
    all[n + 5..].copy_from_slice(x);
    let (mut loss, mut dx, weights) = ([T::Probability::canary(); 2], vec![T::canary(); 2 * n], weights(n));
    let (labels, rows) = ([-100, n as i64 / 3], Rows::new(2, n).with_x_stride(n + 5));
    isa.cross_entropy(&all, &labels, &mut loss, Some(&mut dx), rows, &params(&weights))
        .expect("two rows");
    bits(&dx[n..]).into_iter().chain(bits(&loss[1..])).collect()
}
