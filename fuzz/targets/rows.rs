//! Rows of any floats, at any stride, in place and apart: every operator on rows against the tests' reference and bounds.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use softmax::Isa;
use softmax_fuzz::common::element::{TestElement, bits};
use softmax_fuzz::common::ops::{Expect, Operator, Width, operators};
use softmax_fuzz::common::oracle::Oracle;
use softmax_fuzz::common::shape::Shape;
use softmax_fuzz::{Numbers, Type, check_untouched, for_type, within};

#[derive(Arbitrary, Debug)]
struct Input {
    element: Type,
    rows: u16,
    cols: u16,
    x_gap: u8,
    y_gap: u8,
    /// Elements before the first row: the alignment.
    before: u8,
    values: Numbers,
}

fuzz_target!(|input: Input| for_type!(input.element, check(&input)));

fn check<T: TestElement>(input: &Input) {
    let cols = within(input.cols, 400);
    let shape = Shape {
        rows: within(input.rows, 2 + 400 / (cols + 10)),
        cols,
        x_stride: cols + within(input.x_gap.into(), 5),
        y_stride: cols + within(input.y_gap.into(), 5),
    };
    let before = within(input.before.into(), 32);
    let mut x: Vec<T> = input.values.take(before + shape.x_extent());
    for (i, x) in x.iter_mut().enumerate() {
        // What is no part of a row poisons what reads it.
        if i < before || (i - before) % shape.x_stride >= cols {
            *x = T::canary();
        }
    }
    let x = &x[before..];
    let rows = if cols == 0 { 0 } else { shape.rows };
    let rows: Vec<&[T]> = (0..rows).map(|r| &x[r * shape.x_stride..][..cols]).collect();
    let oracles: Vec<Oracle> = rows.iter().map(|row| Oracle::of(row)).collect();
    for op in operators::<T>() {
        let alone: Vec<Results<T>> = rows
            .iter()
            .zip(&oracles)
            .map(|(row, oracle)| check_row(&op, row, oracle))
            .collect();
        for (i, isa) in Isa::available().enumerate() {
            let alone: Vec<Vec<u64>> = alone.iter().map(|results| bits(&results[i].1)).collect();
            check_rows(&op, isa, x, shape, &alone);
        }
    }
}

/// The results of a row on each ISA.
type Results<T> = Vec<(Isa, Vec<T>)>;

/// One row on every ISA, within the bound, and with the same bits on those that promise them.
fn check_row<T: TestElement>(op: &Operator<T>, row: &[T], oracle: &Oracle) -> Results<T> {
    let results: Results<T> = Isa::available().map(|isa| (isa, op.run(isa, row))).collect();
    let nothing = row.iter().all(|x| x.to_f64() == f64::NEG_INFINITY);
    match op.all_minus_infinity {
        Expect::All(want) if nothing => {
            let want = if want.is_nan() {
                T::NAN_BITS
            } else {
                T::from_f64(want).bits()
            };
            for (isa, y) in &results {
                assert!(y.iter().all(|y| y.bits() == want), "{} on {isa}: {y:?}", op.name);
            }
        }
        _ => op.check(row, &results, oracle, &"any floats"),
    }
    // Where any NaN will do, all are one.
    let known = |y: &Vec<T>| -> Vec<u64> {
        let any = |y: &T| !op.canonical_nan && y.to_f64().is_nan();
        let known = |y: &T| if any(y) { T::NAN_BITS } else { y.bits() };
        y.iter().map(known).collect()
    };
    let mut exact = results.iter().filter(|(isa, _)| *isa != Isa::Portable);
    let first = exact.next().expect("the scalar backend");
    for (isa, y) in exact {
        assert_eq!(known(y), known(&first.1), "{}: {isa} and {}", op.name, first.0);
    }
    for (isa, y) in &results {
        for y in y.iter().filter(|_| op.canonical_nan) {
            let nan = y.to_f64().is_nan();
            assert!(!nan || y.bits() == T::NAN_BITS, "{} on {isa}: {y:?}", op.name);
        }
    }
    results
}

/// Each row with the bits that it has alone, and nothing else written.
fn check_rows<T: TestElement>(op: &Operator<T>, isa: Isa, x: &[T], shape: Shape, alone: &[Vec<u64>]) {
    if let Some(many) = &op.rows {
        let mut y = vec![T::canary(); shape.y_extent(op.width)];
        (many.rows)(isa, x, &mut y, shape.rows()).expect("the slices hold the rows");
        for (r, want) in alone.iter().enumerate() {
            assert_eq!(
                &bits(&y[shape.y_row(op.width, r)]),
                want,
                "{} on {isa}, row {r}",
                op.name
            );
        }
        if op.width == Width::Row {
            check_untouched(&y, |i| i % shape.y_stride < shape.cols);
        }
    }
    if let Some(in_place) = op.rows_in_place() {
        let mut both = x.to_vec();
        (in_place.rows)(isa, &mut both, shape.rows_in_place()).expect("the slice holds the rows");
        for (r, want) in alone.iter().enumerate() {
            let both = &both[r * shape.x_stride..][..shape.cols];
            assert_eq!(&bits(both), want, "{} on {isa}, row {r} in place", op.name);
        }
        check_untouched(&both, |i| i % shape.x_stride < shape.cols);
    }
}
