//! Bad calls: an error that names the values, and nothing written.

use crate::common::element::{TestElement, bits, for_each_element};
use crate::common::ops::{ManyRows, Outcome, RowsInPlace, Width, operators};
use crate::common::shape::{Shape, extent};
use crate::common::{for_each_isa, is_emulated};
use softmax::{Error, Isa, Rows};

/// The error must be one, and its message must have each of the numbers.
pub fn check_message(outcome: Outcome, numbers: &[usize], what: &str) {
    let message = match outcome {
        Ok(()) => panic!("{what}: no error"),
        Err(error) => error.to_string(),
    };
    let words: Vec<&str> = message.split(|c: char| !c.is_ascii_digit()).collect();
    for number in numbers {
        assert!(
            words.contains(&number.to_string().as_str()),
            "{what}: no {number} in {message:?}"
        );
    }
}

/// Lends the call an output of canaries and panics if one was written.
pub fn untouched<T: TestElement>(len: usize, what: &str, call: impl FnOnce(&mut [T]) -> Outcome) -> Outcome {
    let mut y = vec![T::canary(); len];
    let outcome = call(&mut y);
    assert!(
        bits(&y) == bits(&vec![T::canary(); len]),
        "{what}: written before the error"
    );
    outcome
}

pub fn zeros<T: TestElement>(n: usize) -> Vec<T> {
    vec![T::from_f64(0.0); n]
}

#[test]
fn rows_of_unequal_length() {
    for_each_element!(check_lengths);
}

fn check_lengths<T: TestElement>() {
    for_each_isa(|isa| {
        for op in operators::<T>().into_iter().filter(|op| op.width == Width::Row) {
            for (n, m) in [(37, 36), (37, 38), (0, 1), (1, 0), (1000, 5)] {
                let what = format!("{} on {isa}, {n} into {m}", op.name);
                let x = zeros::<T>(n);
                check_message(untouched(m, &what, |y: &mut [T]| (op.row)(isa, &x, y)), &[n, m], &what);
                check_message(untouched(m, &what, |y: &mut [T]| (op.detected)(&x, y)), &[n, m], &what);
                if let Some(uninit) = op.uninit {
                    let mut y = vec![std::mem::MaybeUninit::new(T::canary()); m];
                    check_message(uninit(isa, &x, &mut y), &[n, m], &what);
                }
            }
        }
    });
}

pub const SHAPE: Shape = Shape {
    rows: 7,
    cols: 13,
    x_stride: 17,
    y_stride: 19,
};
/// 2^(bits − 4) + 1 rows at stride 16: the extent wraps around to 16.
pub const WRAPPING: usize = (1 << (usize::BITS - 4)) + 1;

/// Shapes, lengths of input and output, and what the message must name. The output of a row may be one value.
fn bad_shapes(width: Width) -> Vec<(Shape, usize, usize, Vec<usize>)> {
    let (x, y) = (SHAPE.x_extent(), SHAPE.y_extent(width));
    let wrapping = Shape {
        rows: WRAPPING,
        cols: 16,
        x_stride: 16,
        y_stride: 16,
    };
    let mut all = vec![
        (SHAPE, x - 1, y, vec![x - 1, x, 7, 13, 17]),
        (SHAPE, 0, y, vec![0, x, 7, 13, 17]),
        (Shape { x_stride: 11, ..SHAPE }, 500, 500, vec![11, 13]),
        (Shape { x_stride: 0, ..SHAPE }, 500, 500, vec![0, 13]),
        (
            SHAPE,
            x,
            y - 1,
            if width == Width::Row {
                vec![y - 1, y, 7, 13, 19]
            } else {
                vec![y - 1, y]
            },
        ),
        (wrapping, 16, 16, vec![WRAPPING, 16]),
        (
            Shape {
                rows: 2,
                cols: usize::MAX,
                x_stride: usize::MAX,
                y_stride: usize::MAX,
            },
            16,
            16,
            vec![usize::MAX],
        ),
        (
            Shape {
                rows: usize::MAX,
                cols: 1,
                x_stride: usize::MAX,
                y_stride: 1,
            },
            16,
            16,
            vec![usize::MAX],
        ),
        (
            Shape {
                rows: 3,
                cols: usize::MAX / 2,
                x_stride: usize::MAX / 2 + 2,
                y_stride: usize::MAX / 2,
            },
            16,
            16,
            vec![3],
        ),
    ];
    if width == Width::Row {
        all.push((Shape { y_stride: 12, ..SHAPE }, 500, 500, vec![12, 13]));
        all.push((
            Shape {
                x_stride: 1 << 20,
                rows: 2,
                ..SHAPE
            },
            (1 << 20) + 13,
            31,
            vec![31, 32, 13, 19],
        ));
    }
    all
}

#[test]
fn bad_layouts() {
    for_each_element!(check_layouts);
}

fn check_layouts<T: TestElement>() {
    for_each_isa(|isa| {
        for op in operators::<T>() {
            if let Some(ManyRows { rows, uninit, detected }) = op.rows {
                for (shape, x_len, y_len, numbers) in bad_shapes(op.width) {
                    let (what, x) = (
                        format!("{} on {isa}, {shape:?}, {x_len} to {y_len}", op.name),
                        zeros::<T>(x_len),
                    );
                    let outcome = untouched(y_len, &what, |y: &mut [T]| rows(isa, &x, y, shape.rows()));
                    check_message(outcome, &numbers, &what);
                    let outcome = untouched(y_len, &what, |y: &mut [T]| detected(&x, y, shape.rows()));
                    check_message(outcome, &numbers, &what);
                    let mut y = vec![std::mem::MaybeUninit::new(T::canary()); y_len];
                    check_message(uninit(isa, &x, &mut y, shape.rows()), &numbers, &what);
                }
            }
            if let Some(RowsInPlace { rows, detected }) = op.rows_in_place() {
                // The cases in which the input is to blame.
                for (shape, len, _, numbers) in bad_shapes(Width::One).into_iter().filter(|c| c.1 != SHAPE.x_extent()) {
                    let what = format!("{} on {isa}, {shape:?}, {len} in place", op.name);
                    let outcome = untouched(len, &what, |x: &mut [T]| rows(isa, x, shape.rows_in_place()));
                    check_message(outcome, &numbers, &what);
                    let outcome = untouched(len, &what, |x: &mut [T]| detected(x, shape.rows_in_place()));
                    check_message(outcome, &numbers, &what);
                }
            }
        }
    });
}

/// Every small layout: an error exactly where ours says so, and never a panic.
#[test]
fn every_small_layout() {
    for_each_element!(check_small_layouts);
}

fn check_small_layouts<T: TestElement>() {
    let isa = Isa::detect();
    let numbers = |shape: usize| [shape % 4, shape / 4 % 4, shape / 16 % 5, shape / 80 % 5];
    // Which ISA it is does not matter: an emulator has nothing to add.
    let thinning = if is_emulated() { 13 } else { 1 };
    for [rows, cols, x_stride, y_stride] in (0..400).step_by(thinning).map(numbers) {
        let shape = Shape {
            rows,
            cols,
            x_stride,
            y_stride,
        };
        for (x_len, y_len) in (0..100).map(|i| (i % 10, i / 10)) {
            let x = zeros::<T>(x_len);
            for op in operators::<T>() {
                let Some(ManyRows { rows: call, .. }) = op.rows else {
                    continue;
                };
                let mut y = vec![T::canary(); y_len];
                let outcome = call(isa, &x, &mut y, shape.rows());
                if rows > 1 && cols > 0 {
                    let y_fits = y_stride >= cols && y_len >= extent(rows, cols, y_stride);
                    let y_fits = if op.width == Width::Row { y_fits } else { y_len >= rows };
                    let fits = x_stride >= cols && x_len >= extent(rows, cols, x_stride) && y_fits;
                    assert_eq!(
                        outcome.is_ok(),
                        fits,
                        "{} {shape:?}, {x_len} to {y_len}: {outcome:?}",
                        op.name
                    );
                }
                assert!(
                    outcome.is_ok() || bits(&y) == bits(&vec![T::canary(); y_len]),
                    "{}: wrote",
                    op.name
                );
            }
        }
    }
}

/// An ISA that this CPU lacks is refused by every operator, in every form.
#[test]
fn missing_isas_are_refused() {
    for_each_element!(check_missing);
}

fn check_missing<T: TestElement>() {
    let all = [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Portable, Isa::Scalar];
    let missing: Vec<Isa> = all.into_iter().filter(|isa| !isa.is_available()).collect();
    assert!(!missing.is_empty(), "no CPU has both NEON and AVX");
    for isa in missing {
        let refused = |outcome: Outcome, what: &str| match outcome {
            Err(error @ Error::IsaUnavailable(named)) => {
                assert_eq!(named, isa);
                assert!(error.to_string().contains(isa.name()), "{error}");
            }
            other => panic!("{what} on {isa}: {other:?}"),
        };
        let (x, rows) = (zeros::<T>(6), Rows::new(2, 3));
        for op in operators::<T>() {
            let y_len = op.outputs(6);
            refused(untouched(y_len, op.name, |y: &mut [T]| (op.row)(isa, &x, y)), op.name);
            if let Some(call) = op.rows {
                refused(
                    untouched(6, op.name, |y: &mut [T]| (call.rows)(isa, &x, y, rows)),
                    op.name,
                );
            }
            if let Some(call) = op.in_place {
                refused(untouched(6, op.name, |x: &mut [T]| (call.row)(isa, x)), op.name);
                if let Some(call) = call.rows {
                    refused(untouched(6, op.name, |x: &mut [T]| (call.rows)(isa, x, rows)), op.name);
                }
            }
        }
        for choice in crate::common::choices::choices::<T>() {
            let shape = Shape {
                rows: 2,
                cols: 3,
                x_stride: 3,
                y_stride: 3,
            };
            refused((choice.row)(isa, &x).map(|_| ()), choice.name);
            refused((choice.rows)(isa, &x, shape).map(|_| ()), choice.name);
        }
    }
}
