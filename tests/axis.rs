//! Any axis of a tensor: every width of it, guard pages and canaries against both sides, special rows side by side, and
//! each row with the bits that it has alone. `forms.rs` has the same law for every distribution.

use crate::common::element::{TestElement, bits, for_each_element};
use crate::common::inputs::DISTRIBUTIONS;
use crate::common::layouts::{Laid, laid, place};
use crate::common::memory::{EDGES, Guarded};
use crate::common::ops::{Operator, Width, operators};
use crate::common::{for_each_isa, is_emulated, isas, thinned};
use crate::contract::cases;
use crate::errors::{check_message, untouched, zeros};
use softmax::{Axis, Error, Isa};

/// Row (o, k) of a tensor.
fn row<T: TestElement>(x: &[T], axis: Axis, r: usize) -> Vec<T> {
    let (o, k) = (r / axis.inner(), r % axis.inner());
    (0..axis.len()).map(|i| x[place(axis, o, i, k)]).collect()
}

/// What an operator gives for a tensor, row by row.
fn row_by_row<T: TestElement>(op: &Operator<T>, isa: Isa, x: &[T], axis: Axis) -> Vec<T> {
    let rows = axis.outer() * axis.inner();
    let outputs = if op.width == Width::Row { x.len() } else { rows };
    let mut want = vec![T::canary(); outputs];
    for r in 0..rows {
        let y = op.run(isa, &row(x, axis, r));
        match op.width {
            Width::One => want[r] = y[0],
            Width::Row => {
                for (i, &y) in y.iter().enumerate() {
                    want[place(axis, r / axis.inner(), i, r % axis.inner())] = y;
                }
            }
        }
    }
    want
}

fn check_tensor<T: TestElement>(isa: Isa, x: &[T], axis: Axis, what: &str) {
    for (op, Laid { name, axis: calls, .. }) in operators::<T>().iter().zip(laid::<T>()) {
        assert_eq!(op.name, name);
        let (want, what) = (
            row_by_row(op, isa, x, axis),
            format!("{name} on {isa}, {axis:?}, {what}"),
        );
        for edge in EDGES {
            let (input, mut output) = (Guarded::copy_of(x, edge), Guarded::new(want.len(), edge));
            (calls.apart)(isa, &input, &mut output, &axis).unwrap_or_else(|e| panic!("{what}: {e}"));
            input.check_unchanged(x, &what);
            output.check(&what);
            assert!(bits(&output) == bits(&want), "{what}: other bits than row by row");
            if let Some(in_place) = &calls.in_place {
                let mut both = Guarded::copy_of(x, edge);
                (in_place.call)(isa, &mut both, &axis).unwrap_or_else(|e| panic!("{what}, in place: {e}"));
                both.check(&what);
                assert!(
                    bits(&both) == bits(&want),
                    "{what}: in place, other bits than row by row"
                );
            }
        }
    }
}

/// A tensor with rows of every distribution side by side.
fn tensor<T: TestElement>(axis: Axis) -> Vec<T> {
    let mut x = vec![T::canary(); axis.outer() * axis.len() * axis.inner()];
    for r in 0..axis.outer() * axis.inner() {
        let row: Vec<T> = DISTRIBUTIONS[r % DISTRIBUTIONS.len()].row(axis.len(), r as u64);
        for (i, v) in row.into_iter().enumerate() {
            x[place(axis, r / axis.inner(), i, r % axis.inner())] = v;
        }
    }
    x
}

#[test]
fn every_width() {
    for_each_element!(check_widths);
}

fn check_widths<T: TestElement>() {
    let lengths = [1, 2, 7, 15, 16, 17, 33, 64, 81, 127, 128, 129, 150, 257];
    for inner in thinned((1..=100).chain([111, 112, 113, 128, 144, 160, 161, 196, 200, 300])) {
        let axis = Axis::new(1 + inner % 2, lengths[inner % lengths.len()], inner);
        for_each_isa(|isa| check_tensor(isa, &tensor::<T>(axis), axis, "mixed rows"));
    }
}

#[test]
fn every_length() {
    for_each_element!(check_lengths);
}

fn check_lengths<T: TestElement>() {
    for len in thinned((1..=140).chain([255, 256, 257, 1000])) {
        let inner = [2, 3, 5, 7, 8, 33, 49, 64][len % 8];
        let axis = Axis::new(1, len, inner);
        for_each_isa(|isa| check_tensor(isa, &tensor::<T>(axis), axis, "mixed rows"));
    }
}

/// Long columns by one tile, by two, and by more, the last of which may be narrow.
#[test]
fn tiles() {
    for_each_element!(check_tiles);
}

fn check_tiles<T: TestElement>() {
    let shapes = [
        (129, 160),
        (257, 161),
        (150, 196),
        (300, 449),
        (131, 321),
        (513, 230),
        (145, 80),
        (145, 81),
    ];
    for (i, (len, inner)) in thinned(shapes.into_iter().enumerate()) {
        let axis = Axis::new(1 + i % 2, len, inner);
        for_each_isa(|isa| check_tensor(isa, &tensor::<T>(axis), axis, "mixed rows"));
    }
}

/// More slices than are transposed at once, up to the largest that are and beyond.
#[test]
fn small_slices() {
    for_each_element!(check_slices);
}

fn check_slices<T: TestElement>() {
    let shapes = [
        (1, 3),
        (2, 2),
        (5, 2),
        (10, 3),
        (16, 7),
        (17, 9),
        (32, 5),
        (80, 2),
        (23, 7),
        (5, 31),
    ];
    for (len, inner) in thinned(shapes) {
        let axis = Axis::new(4200 / (len * inner) + 2, len, inner);
        for_each_isa(|isa| check_tensor(isa, &tensor::<T>(axis), axis, "mixed rows"));
    }
    let axis = Axis::new(300, 5, 3);
    for case in thinned(cases::<T>()) {
        let mut x = tensor::<T>(axis);
        for r in (0..900).step_by(31) {
            let mut special = row(&x, axis, r);
            (case.put)(&mut special, r % 5);
            for (i, v) in special.into_iter().enumerate() {
                x[place(axis, r / 3, i, r % 3)] = v;
            }
        }
        for_each_isa(|isa| check_tensor(isa, &x, axis, case.name));
    }
}

/// More than one segment of the sum, exactly one, exactly two.
#[test]
fn long_columns() {
    if !is_emulated() {
        for_each_element!(check_long);
    } else {
        check_long::<f32>();
    }
}

fn check_long<T: TestElement>() {
    for (len, inner) in thinned([(65_536, 2), (131_072, 2), (65_537, 3), (70_001, 5)]) {
        let axis = Axis::new(1, len, inner);
        for &isa in isas().iter().take(if !is_emulated() { usize::MAX } else { 1 }) {
            check_tensor(isa, &tensor::<T>(axis), axis, "mixed rows");
        }
    }
}

/// Rows are divided by fewer operations where no e is below 2 and the sum is at most 2^64, columns never: around both
/// borders, 21.5 below what is looked at for the guess and 16 to 23 above it, the bits are the same.
#[test]
fn around_the_borders_of_flushing() {
    for_each_element!(check_borders);
}

fn check_borders<T: TestElement>() {
    let (len, axis) = (300, Axis::new(1, 300, 2));
    for quarters in thinned((-88..=-84).chain(60..=96)) {
        let mut x = vec![T::from_f64(0.0); 2 * len];
        for k in 0..2 {
            for i in (1..len - 1).filter(|i| i % 75 > 0) {
                x[place(axis, 0, i, k)] = T::from_f64(f64::from(quarters) / 4.0 - (i % 3 + k) as f64 / 32.0);
            }
        }
        for_each_isa(|isa| check_tensor(isa, &x, axis, &format!("{quarters}/4")));
    }
}

/// A special value in one row changes no other, and gives what it gives alone.
#[test]
fn special_columns() {
    for_each_element!(check_special);
}

fn check_special<T: TestElement>() {
    let shapes = [(5, 3), (20, 7), (21, 40), (128, 70), (150, 40), (130, 130), (130, 240)];
    let each = shapes
        .into_iter()
        .flat_map(|shape| cases::<T>().into_iter().map(move |case| (shape, case)));
    for (c, ((len, inner), case)) in thinned(each.enumerate()) {
        let axis = Axis::new(1, len, inner);
        let mut x: Vec<T> = DISTRIBUTIONS[1].row(len * inner, 5);
        for k in (c % 3..inner).step_by(3) {
            let mut special = row(&x, axis, k);
            (case.put)(&mut special, (k * 7) % len);
            for (i, v) in special.into_iter().enumerate() {
                x[place(axis, 0, i, k)] = v;
            }
        }
        for_each_isa(|isa| check_tensor(isa, &x, axis, case.name));
    }
}

#[test]
fn nothing_to_do() {
    for_each_element!(check_nothing);
}

fn check_nothing<T: TestElement>() {
    for_each_isa(|isa| {
        for (outer, len, inner) in [
            (0, 3, 5),
            (2, 0, 3),
            (2, 3, 0),
            (0, 0, 0),
            (usize::MAX, 0, 1),
            (0, usize::MAX, usize::MAX),
            (usize::MAX, 3, 0),
        ] {
            let axis = Axis::new(outer, len, inner);
            for op in laid::<T>() {
                if op.width == Width::One && outer == usize::MAX && inner > 0 {
                    continue; // that many results have no place
                }
                let what = format!("{} on {isa}, {axis:?}", op.name);
                let mut y = vec![T::canary(); 8];
                assert_eq!((op.axis.apart)(isa, &[], &mut y, &axis), Ok(()), "{what}");
                let written = if op.width == Width::One { outer * inner } else { 0 };
                let (results, rest) = y.split_at(written);
                assert!(results.iter().all(|v| v.to_f64() == f64::NEG_INFINITY), "{what}: {y:?}");
                assert!(rest.iter().all(|v| v.bits() == T::canary().bits()), "{what}: wrote");
                if let Some(in_place) = op.axis.in_place {
                    assert_eq!((in_place.call)(isa, &mut y, &axis), Ok(()), "{what}");
                }
            }
        }
    });
}

#[test]
fn bad_calls() {
    for_each_element!(check_bad_calls);
}

fn check_bad_calls<T: TestElement>() {
    const HUGE: usize = usize::MAX / 4;
    for_each_isa(|isa| {
        for op in laid::<T>() {
            let results = if op.width == Width::Row { 231 } else { 33 };
            type Case<'a> = ((usize, usize, usize), usize, usize, &'a [usize]);
            let cases: [Case; 5] = [
                ((3, 7, 11), 230, 231, &[230, 231, 3, 7, 11]),
                ((3, 7, 11), 231, results - 1, &[results - 1, results, 3, 11]),
                ((HUGE, 8, 1), 16, 16, &[HUGE, 8]),
                ((3, HUGE, 3), 16, 16, &[HUGE, 3]),
                ((2, 3, HUGE), 16, 16, &[HUGE, 2, 3]),
            ];
            for ((outer, len, inner), x_len, y_len, numbers) in cases {
                let (axis, x) = (Axis::new(outer, len, inner), zeros::<T>(x_len));
                let what = format!("{} on {isa}, {axis:?}, {x_len} to {y_len}", op.name);
                let calls = &op.axis;
                let outcome = untouched(y_len, &what, |y: &mut [T]| (calls.apart)(isa, &x, y, &axis));
                check_message(outcome, numbers, &what);
                let outcome = untouched(y_len, &what, |y: &mut [T]| (calls.detected)(&x, y, &axis));
                check_message(outcome, numbers, &what);
                if let (Some(in_place), true) = (&calls.in_place, x_len != 231) {
                    let outcome = untouched(x_len, &what, |x: &mut [T]| (in_place.call)(isa, x, &axis));
                    check_message(outcome, numbers, &what);
                    let outcome = untouched(x_len, &what, |x: &mut [T]| (in_place.detected)(x, &axis));
                    check_message(outcome, numbers, &what);
                }
            }
        }
    });
    let missing = [Isa::Avx512, Isa::Avx2, Isa::Neon]
        .into_iter()
        .filter(|isa| !isa.is_available());
    for isa in missing {
        for (op, inner) in laid::<T>().iter().flat_map(|op| [(op, 1), (op, 2)]) {
            let (axis, x) = (Axis::new(1, 3, inner), zeros::<T>(6));
            let outcome = untouched(6, op.name, |y: &mut [T]| (op.axis.apart)(isa, &x, y, &axis));
            assert_eq!(outcome, Err(Error::IsaUnavailable(isa)), "{}", op.name);
        }
    }
}
