//! Gradients of softmax and log_softmax: closed forms in double-double, finite differences, strides, special rows.

use crate::common::dd::{self, Dd};
use crate::common::element::{TestElement, bits};
use crate::common::inputs::{self, DISTRIBUTIONS, lengths, rows_of};
use crate::common::ops::Outcome;
use crate::common::{for_each_isa, isas, longest, thinned};
use crate::errors::{WRAPPING, check_message, untouched, zeros};
use softmax::{BackwardRows, Error, Isa};

type Call<T> = fn(Isa, &[T], &[T], &mut [T]) -> Outcome;
type RowsCall<T> = fn(Isa, &[T], &[T], &mut [T], BackwardRows) -> Outcome;
type InPlace<T> = fn(Isa, &[T], &mut [T]) -> Outcome;

/// One of the two gradients.
pub struct Gradient<T> {
    pub name: &'static str,
    /// What the forward pass gives.
    pub forward: fn(Isa, &[T], &mut [T]) -> Outcome,
    row: Call<T>,
    in_place: InPlace<T>,
    pub rows: RowsCall<T>,
    pub rows_in_place: fn(Isa, &[T], &mut [T], BackwardRows) -> Outcome,
    log: bool,
}

pub fn gradients<T: TestElement>() -> [Gradient<T>; 2] {
    [
        Gradient {
            name: "softmax_backward",
            forward: |isa, x, y| isa.softmax(x, y),
            row: |isa, y, dy, dx| isa.softmax_backward(y, dy, dx),
            in_place: |isa, y, dy| isa.softmax_backward_in_place(y, dy),
            rows: |isa, y, dy, dx, rows| isa.softmax_backward_rows(y, dy, dx, rows),
            rows_in_place: |isa, y, dy, rows| isa.softmax_backward_rows_in_place(y, dy, rows),
            log: false,
        },
        Gradient {
            name: "log_softmax_backward",
            forward: |isa, x, y| isa.log_softmax(x, y),
            row: |isa, y, dy, dx| isa.log_softmax_backward(y, dy, dx),
            in_place: |isa, y, dy| isa.log_softmax_backward_in_place(y, dy),
            rows: |isa, y, dy, dx, rows| isa.log_softmax_backward_rows(y, dy, dx, rows),
            rows_in_place: |isa, y, dy, rows| isa.log_softmax_backward_rows_in_place(y, dy, rows),
            log: true,
        },
    ]
}

impl<T: TestElement> Gradient<T> {
    fn run(&self, isa: Isa, y: &[T], dy: &[T]) -> Vec<T> {
        let mut dx = vec![T::canary(); y.len()];
        (self.row)(isa, y, dy, &mut dx).expect("equal lengths");
        dx
    }

    /// The worst error as a part of the stated bound, and panics if it is more than all of it.
    fn check(&self, isa: Isa, y: &[T], dy: &[T], dx: &[T], what: &str) -> f64 {
        let u = 2f64.powi(-T::FORMAT.digits);
        let weight = |y: f64| {
            if self.log {
                dd::exp(Dd::from(y)).to_dd()
            } else {
                Dd::from(y)
            }
        };
        let term = |y: f64, dy: f64| {
            if self.log {
                Dd::from(dy)
            } else {
                Dd::from(y) * Dd::from(dy)
            }
        };
        let (mut sum, mut magnitude) = (Dd::from(0.0), 0.0);
        for (y, dy) in y.iter().zip(dy) {
            let term = term(y.to_f64(), dy.to_f64());
            (sum, magnitude) = (sum + term, magnitude + term.hi.abs());
        }
        let (own, shared) = match (self.log, isa) {
            (false, _) => (3.0, 4.0),
            (true, Isa::Portable) => (2.0, 11.0),
            (true, _) => (2.0, 5.0),
        };
        let mut worst = 0.0_f64;
        for ((y, dy), dx) in y.iter().zip(dy).zip(dx) {
            let w = weight(y.to_f64());
            let want = if self.log {
                Dd::from(dy.to_f64()) - w * sum
            } else {
                w * (Dd::from(dy.to_f64()) - sum)
            };
            let error = (Dd::from(dx.to_f64()) - want).hi.abs();
            // What underflow may take: a smallest normal number to each term.
            let tiny = y_len_tiny::<T>(y.to_f64(), magnitude);
            let bound = u * (own * want.hi.abs() + shared * w.hi * magnitude) + tiny;
            assert!(
                error <= bound,
                "{} {} on {isa}, {what}: {dx:?} of y {y:?}, dy {dy:?} should be {}: {error:e}, bound {bound:e}",
                self.name,
                T::NAME,
                want.hi
            );
            worst = worst.max(error / bound);
        }
        worst
    }
}

/// A bound on what underflow may take from a result.
fn y_len_tiny<T: TestElement>(y: f64, magnitude: f64) -> f64 {
    let smallest = dd::scale(1.0, T::FORMAT.min_exp);
    smallest * (2.0 + if y.is_finite() { magnitude } else { 0.0 }) * 4.0
}

/// dy of a row: N(0, 1), now and then all equal or one single place.
fn upstream<T: TestElement>(n: usize, seed: u64) -> Vec<T> {
    let mut rng = inputs::rng(seed);
    (0..n)
        .map(|i| match seed % 4 {
            0 => 1.0,
            1 if i != n / 2 => 0.0,
            _ => inputs::normal(&mut rng),
        })
        .map(T::from_f64)
        .collect()
}

#[test]
fn closed_forms() {
    check_closed_forms::<f32>();
    check_closed_forms::<f64>();
}

fn check_closed_forms<T: TestElement>() {
    for gradient in gradients::<T>() {
        let mut worst = vec![0.0_f64; isas().len()];
        let long = thinned(lengths(70_001).filter(|&n| n > 600)).map(|n| (&DISTRIBUTIONS[1], n));
        for (d, n) in rows_of(lengths(600).skip(1)).chain(long) {
            let (x, dy) = (d.row::<T>(n, 81), upstream::<T>(n, 82 + n as u64));
            // The same y for all, so that the bits can be compared.
            let mut y = vec![T::canary(); n];
            (gradient.forward)(isas()[0], &x, &mut y).expect("equal lengths");
            let want = (n <= longest(Isa::Scalar, 9999)).then(|| bits(&gradient.run(Isa::Scalar, &y, &dy)));
            for (&isa, worst) in isas().iter().zip(&mut worst) {
                let dx = gradient.run(isa, &y, &dy);
                *worst = worst.max(gradient.check(isa, &y, &dy, &dx, d.name));
                if isa != Isa::Portable
                    && let Some(want) = &want
                {
                    assert_eq!(&bits(&dx), want, "{} on {isa}, {}, n = {n}", gradient.name, d.name);
                }
                let mut same = dy.clone();
                (gradient.in_place)(isa, &y, &mut same).expect("equal lengths");
                assert_eq!(bits(&same), bits(&dx), "{} on {isa}, n = {n}: in place", gradient.name);
            }
        }
        for (isa, worst) in isas().iter().zip(worst) {
            println!("{} {} {isa}: {worst:.3} of the bound", gradient.name, T::NAME);
        }
    }
}

/// ∂/∂x of Σ c_i·y_i(x) by central differences.
#[test]
fn finite_differences() {
    const H: f64 = 1e-5;
    for_each_isa(|isa| {
        for gradient in gradients::<f64>() {
            for n in [1, 2, 5, 40] {
                let (x, c) = (DISTRIBUTIONS[0].row::<f64>(n, 83), upstream::<f64>(n, 87));
                let value = |x: &[f64]| {
                    let mut y = vec![0.0; n];
                    (gradient.forward)(isa, x, &mut y).expect("equal lengths");
                    y.iter().zip(&c).map(|(y, c)| y * c).sum::<f64>()
                };
                let mut y = vec![0.0; n];
                (gradient.forward)(isa, &x, &mut y).expect("equal lengths");
                let dx = gradient.run(isa, &y, &c);
                for i in 0..n {
                    let at = |h: f64| {
                        let mut x = x.clone();
                        x[i] += h;
                        value(&x)
                    };
                    let slope = (at(H) - at(-H)) / (2.0 * H);
                    assert!(
                        (slope - dx[i]).abs() < 1e-8,
                        "{} on {isa}: {} at {i}, {slope}",
                        gradient.name,
                        dx[i]
                    );
                }
            }
        }
    });
}

#[test]
fn strides() {
    check_strides::<f32>();
    check_strides::<f64>();
}

fn check_strides<T: TestElement>() {
    for_each_isa(|isa| {
        for gradient in gradients::<T>() {
            for (rows, cols, gaps) in [
                (1, 5, [0, 0, 0]),
                (7, 13, [3, 4, 6]),
                (3, 40, [0, 17, 1]),
                (5, 257, [2, 0, 31]),
                (4, 0, [1, 2, 3]),
            ] {
                let stride = gaps.map(|gap| cols + gap);
                let extent = |stride: usize| if cols == 0 { 0 } else { (rows - 1) * stride + cols };
                let mut y = vec![T::canary(); extent(stride[0])];
                let mut dy = vec![T::canary(); extent(stride[1])];
                let mut want = vec![T::canary(); extent(stride[2])];
                let mut want_in_place = dy.clone();
                for r in 0..if cols > 0 { rows } else { 0 } {
                    let row = |stride: usize| r * stride..r * stride + cols;
                    let x = DISTRIBUTIONS[1].row::<T>(cols, r as u64);
                    (gradient.forward)(isa, &x, &mut y[row(stride[0])]).expect("equal lengths");
                    dy[row(stride[1])].copy_from_slice(&upstream::<T>(cols, 91 + r as u64));
                    let dx = gradient.run(isa, &y[row(stride[0])], &dy[row(stride[1])]);
                    want[row(stride[2])].copy_from_slice(&dx);
                    want_in_place[row(stride[1])].copy_from_slice(&dx);
                }
                let shape = BackwardRows::new(rows, cols)
                    .with_y_stride(stride[0])
                    .with_dy_stride(stride[1])
                    .with_dx_stride(stride[2]);
                let mut dx = vec![T::canary(); want.len()];
                (gradient.rows)(isa, &y, &dy, &mut dx, shape).expect("the slices hold the rows");
                assert_eq!(bits(&dx), bits(&want), "{} on {isa}, {shape:?}", gradient.name);
                (gradient.rows_in_place)(isa, &y, &mut dy, shape).expect("the slices hold the rows");
                assert_eq!(
                    bits(&dy),
                    bits(&want_in_place),
                    "{} on {isa}, {shape:?}, in place",
                    gradient.name
                );
            }
        }
    });
}

#[test]
fn special_rows() {
    for_each_isa(|isa| {
        let [softmax, log_softmax] = gradients::<f32>();
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for n in [3, 40, 300] {
            let with = |at: usize, value: f32, rest: f32| {
                let mut row = vec![rest; n];
                row[at] = value;
                row
            };
            let p = 1.0 / n as f32;
            for at in [0, n / 2, n - 1] {
                for bad in [nan, inf, -inf] {
                    for (y, dy) in [
                        (with(at, p, p), with(at, bad, 1.0)),
                        (with(at, bad, p), with(at, 1.0, 2.0)),
                    ] {
                        let dx = softmax.run(isa, &y, &dy);
                        assert!(dx.iter().all(|v| v.is_nan()), "{isa}: y {y:?}, dy {dy:?}: {dx:?}");
                    }
                    let dx = log_softmax.run(isa, &with(at, -1.0, -1.0), &with(at, bad, 1.0));
                    assert!(dx.iter().all(|v| v.is_nan()), "{isa}: {dx:?}");
                }
                // Masked places.
                let dx = softmax.run(isa, &with(at, 0.0, p), &with(at, 5.0, 1.0));
                assert_eq!(dx[at], 0.0, "{isa}");
                let dx = log_softmax.run(isa, &with(at, -inf, -1.0), &with(at, 5.0, 1.0));
                assert_eq!(dx[at], 5.0, "{isa}");
                let dx = log_softmax.run(isa, &with(at, nan, -1.0), &with(at, 5.0, 1.0));
                for (i, dx) in dx.iter().enumerate() {
                    assert_eq!(dx.is_nan(), i == at, "{isa}: {dx} at {i}");
                }
            }
        }
        for gradient in [softmax, log_softmax] {
            assert_eq!(gradient.run(isa, &[], &[]), []);
        }
    });
}

type BadCall<'n> = (BackwardRows, usize, usize, usize, &'n str, &'n [usize]);

#[test]
fn bad_calls() {
    for_each_isa(|isa| {
        for gradient in gradients::<f32>() {
            let what = format!("{} on {isa}", gradient.name);
            let (y, dy) = (zeros::<f32>(200), zeros::<f32>(200));
            for (a, b, c, numbers) in [(5, 6, 6, [5, 6]), (6, 5, 5, [6, 5]), (6, 6, 7, [6, 7])] {
                let outcome = untouched(c, &what, |dx: &mut [f32]| (gradient.row)(isa, &y[..a], &dy[..b], dx));
                check_message(outcome, &numbers, &what);
            }
            let outcome = untouched(6, &what, |dy: &mut [f32]| (gradient.in_place)(isa, &y[..5], dy));
            check_message(outcome, &[5, 6], &what);
            let shape = BackwardRows::new(7, 13)
                .with_y_stride(14)
                .with_dy_stride(15)
                .with_dx_stride(16);
            // The shape, the lengths of y, dy and dx, how the message begins and what it names.
            let cases: [BadCall; 7] = [
                (shape, 96, 103, 109, "y ", &[96, 97, 7, 13, 14]),
                (shape, 97, 102, 109, "dy ", &[102, 103, 7, 13, 15]),
                (shape, 97, 103, 108, "dx ", &[108, 109, 7, 13, 16]),
                (shape.with_y_stride(12), 200, 200, 200, "y:", &[12, 13]),
                (shape.with_dy_stride(11), 200, 200, 200, "dy:", &[11, 13]),
                (shape.with_dx_stride(10), 200, 200, 200, "dx:", &[10, 13]),
                (BackwardRows::new(WRAPPING, 16), 16, 16, 16, "", &[WRAPPING, 16]),
            ];
            for (shape, a, b, c, name, numbers) in cases {
                let call = |dx: &mut [f32]| (gradient.rows)(isa, &y[..a], &dy[..b], dx, shape);
                let outcome: Result<(), Error> = untouched(c, &what, call);
                let message = outcome.err().map(|e| e.to_string()).unwrap_or_default();
                assert!(
                    message.starts_with(name),
                    "{what}: {message:?} does not start with {name:?}"
                );
                check_message(outcome, numbers, &what);
                if c >= 109 && !name.starts_with("dx") {
                    let call = |dy: &mut [f32]| (gradient.rows_in_place)(isa, &y[..a], dy, shape);
                    check_message(untouched(b, &what, call), numbers, &what);
                }
            }
        }
    });
}
