//! Ragged rows: each with the bits that it has alone, guard pages and canaries around them, bad offsets refused.

use crate::common::element::{TestElement, bits, for_each_element};
use crate::common::inputs::{self, DISTRIBUTIONS};
use crate::common::layouts::{Laid, laid, offsets};
use crate::common::memory::{EDGES, Guarded};
use crate::common::ops::{Width, operators};
use crate::common::{for_each_isa, thinned};
use crate::errors::{check_message, untouched, zeros};
use rand::RngExt;
use softmax::{Error, Isa};

fn check_rows<T: TestElement>(isa: Isa, x: &[T], offsets: &[usize]) {
    for (
        op,
        Laid {
            name, ragged: calls, ..
        },
    ) in operators::<T>().iter().zip(laid::<T>())
    {
        assert_eq!(op.name, name);
        let what = format!("{name} on {isa}, {offsets:?}");
        let outputs = if op.width == Width::Row {
            x.len()
        } else {
            offsets.len() - 1
        };
        let (mut want, mut both_want) = (vec![T::canary(); outputs], x.to_vec());
        for (r, pair) in offsets.windows(2).enumerate() {
            let y = op.run(isa, &x[pair[0]..pair[1]]);
            match op.width {
                Width::One => want[r] = y[0],
                Width::Row => {
                    want[pair[0]..pair[1]].copy_from_slice(&y);
                    both_want[pair[0]..pair[1]].copy_from_slice(&y);
                }
            }
        }
        for edge in EDGES {
            let (input, mut output) = (Guarded::copy_of(x, edge), Guarded::new(outputs, edge));
            (calls.apart)(isa, &input, &mut output, offsets).unwrap_or_else(|e| panic!("{what}: {e}"));
            input.check_unchanged(x, &what);
            output.check(&what);
            assert!(
                bits(&output) == bits(&want),
                "{what}: other bits than row by row, or beside the rows"
            );
            if let Some(in_place) = &calls.in_place {
                let mut both = Guarded::copy_of(x, edge);
                (in_place.call)(isa, &mut both, offsets).unwrap_or_else(|e| panic!("{what}, in place: {e}"));
                both.check(&what);
                assert!(bits(&both) == bits(&both_want), "{what}: in place");
            }
        }
    }
}

#[test]
fn rows_of_any_length() {
    for_each_element!(check_lengths);
}

fn check_lengths<T: TestElement>() {
    let mut rng = inputs::rng(71);
    for case in thinned(0..60) {
        let longest = [3, 17, 40, 300, 1200][case % 5];
        let rows = rng.random_range(0..30);
        let lengths: Vec<usize> = (0..rows).map(|_| rng.random_range(0..=longest)).collect();
        let offsets = offsets(case % 4, lengths);
        // Canaries before the first row and behind the last.
        let mut x = vec![T::canary(); offsets[rows] + case % 3];
        for (r, pair) in offsets.windows(2).enumerate() {
            let d = &DISTRIBUTIONS[(r + case) % DISTRIBUTIONS.len()];
            x[pair[0]..pair[1]].copy_from_slice(&d.row(pair[1] - pair[0], r as u64));
        }
        for_each_isa(|isa| check_rows(isa, &x, &offsets));
    }
}

/// Batches of rows that are alike, after others of more, fewer or as many vectors; some rows have no sum.
#[test]
fn rows_alike_after_others() {
    for_each_element!(check_rows_alike);
}

fn check_rows_alike<T: TestElement>() {
    const LENGTHS: [usize; 12] = [20, 50, 50, 128, 70, 300, 33, 1, 96, 10, 200, 64];
    // A batch of each, more, and less.
    for rows in [8, 9, 3] {
        let lengths: Vec<usize> = LENGTHS.iter().flat_map(|&len| vec![len; rows]).collect();
        let offsets = offsets(0, lengths);
        let mut x = vec![T::canary(); offsets[offsets.len() - 1]];
        for (r, pair) in offsets.windows(2).enumerate() {
            x[pair[0]..pair[1]].copy_from_slice(&DISTRIBUTIONS[r % 3].row(pair[1] - pair[0], r as u64));
            if r % 7 == 3 {
                x[pair[1] - 1] = T::from_bits(T::NAN_BITS);
            }
        }
        for_each_isa(|isa| check_rows(isa, &x, &offsets));
    }
}

#[test]
fn bad_calls() {
    for_each_element!(check_bad_calls);
}

fn check_bad_calls<T: TestElement>() {
    for_each_isa(|isa| {
        for op in laid::<T>() {
            let calls = &op.ragged;
            let one = op.width == Width::One;
            // Offsets, lengths of input and output, numbers that the message must have.
            let mut cases: Vec<(&[usize], usize, usize, &[usize])> = vec![
                (&[0, 9, 5, 20], 30, 30, &[2, 5, 9]),
                (&[7, 6], 30, 30, &[1, 6, 7]),
                (&[0, 4, 31], 30, 31, &[30, 31]),
                (&[0, usize::MAX], 30, 30, &[30, usize::MAX]),
            ];
            cases.push(if one {
                (&[0, 1, 2, 3], 3, 2, &[2, 3])
            } else {
                (&[0, 4, 30], 30, 29, &[29, 30])
            });
            for (offsets, x_len, y_len, numbers) in cases {
                let (x, what) = (zeros::<T>(x_len), format!("{} on {isa}, {offsets:?}", op.name));
                let outcome = untouched(y_len, &what, |y: &mut [T]| (calls.apart)(isa, &x, y, offsets));
                check_message(outcome, numbers, &what);
                let outcome = untouched(y_len, &what, |y: &mut [T]| (calls.detected)(&x, y, offsets));
                check_message(outcome, numbers, &what);
                if let (Some(in_place), true) = (&calls.in_place, y_len >= x_len) {
                    let outcome = untouched(x_len, &what, |x: &mut [T]| (in_place.call)(isa, x, offsets));
                    check_message(outcome, numbers, &what);
                    let outcome = untouched(x_len, &what, |x: &mut [T]| (in_place.detected)(x, offsets));
                    check_message(outcome, numbers, &what);
                }
            }
            for nothing in [&[][..], &[0], &[3]] {
                let outcome = untouched(4, op.name, |y: &mut [T]| (calls.apart)(isa, &zeros::<T>(4), y, nothing));
                assert_eq!(outcome, Ok(()), "{} on {isa}: no rows", op.name);
            }
        }
    });
    for isa in [Isa::Avx512, Isa::Avx2, Isa::Neon]
        .into_iter()
        .filter(|isa| !isa.is_available())
    {
        for op in laid::<T>() {
            let call = |y: &mut [T]| (op.ragged.apart)(isa, &zeros::<T>(3), y, &[0, 3]);
            assert_eq!(
                untouched(3, op.name, call),
                Err(Error::IsaUnavailable(isa)),
                "{}",
                op.name
            );
        }
    }
}
