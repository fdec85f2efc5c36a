//! A bad call has the error, and the message, that it has in one process.

use softmax::{CrossEntropy, Rows};
use softmax_mpi::{Alone, Error, Vocabulary};

const ROWS: usize = 4;
const COLS: usize = 6;

#[track_caller]
fn same(here: Result<(), Error>, there: Result<(), softmax::Error>) {
    let there = there.expect_err("a bad call");
    assert_eq!(here, Err(Error::Call(there)));
    assert_eq!(Error::Call(there).to_string(), there.to_string());
}

#[test]
fn shapes() {
    let rows = Rows::new(ROWS, COLS);
    let mut vocabulary = Vocabulary::new(&Alone, ROWS, COLS).expect("valid");
    for (x, y, rows) in [
        (24, 23, rows),
        (23, 24, rows),
        (24, 24, rows.with_x_stride(7)),
        (24, 24, rows.with_y_stride(7)),
        (24, 24, rows.with_x_stride(5)),
        (24, 24, rows.with_y_stride(5)),
        (24, 24, rows.with_x_stride(usize::MAX)),
        (24, 24, rows.with_y_stride(usize::MAX / 3)),
        (0, 0, rows),
    ] {
        let (x, mut y) = (vec![0.5; x], vec![0.0; y]);
        same(
            vocabulary.softmax(&x, &mut y, rows),
            softmax::softmax_rows(&x, &mut y, rows),
        );
        same(
            vocabulary.log_softmax(&x, &mut y, rows),
            softmax::log_softmax_rows(&x, &mut y, rows),
        );
    }
    let mut x = [0.5; ROWS * COLS];
    let wide = rows.with_x_stride(7);
    same(
        vocabulary.softmax_in_place(&mut x, wide),
        softmax::softmax_rows_in_place(&mut x, wide),
    );
    same(
        vocabulary.logsumexp(&x, &mut [0.0; 3], rows),
        softmax::logsumexp_rows(&x, &mut [0.0; 3], rows),
    );
}

#[test]
fn labels_and_parameters() {
    let mut vocabulary = Vocabulary::new(&Alone, ROWS, COLS).expect("valid");
    let (x, rows) = ([0.5; ROWS * COLS], Rows::new(ROWS, COLS));
    let (good, weights) = ([0, 5, -100, 1], [1.0; 7]);
    let smoothed = |label_smoothing| CrossEntropy {
        label_smoothing,
        ..CrossEntropy::default()
    };
    let weighted = |len| CrossEntropy {
        class_weights: Some(&weights[..len]),
        ..CrossEntropy::default()
    };
    for (labels, losses, gradients, params) in [
        (&good[..3], 1, 24, CrossEntropy::default()),
        (&good, 0, 24, CrossEntropy::default()),
        (&good, 1, 23, CrossEntropy::default()),
        (&[0, 6, -100, 1], 1, 24, CrossEntropy::default()),
        (&[0, 5, -100, -1], 1, 24, CrossEntropy::default()),
        (&[0, i64::MAX, i64::MIN, 1], 1, 24, CrossEntropy::default()),
        (&good, 1, 24, smoothed(1.0)),
        (&good, 1, 24, smoothed(-0.5)),
        (&good, 1, 24, weighted(5)),
        (&good, 1, 24, weighted(7)),
        // Several things at a time.
        (&[0, 6, -100, 1], 1, 24, smoothed(2.0)),
        (&good[..3], 0, 23, weighted(5)),
    ] {
        let (mut loss, mut dx) = (vec![0.0; losses], vec![0.0; gradients]);
        same(
            vocabulary.cross_entropy(&x, labels, &mut loss, Some(&mut dx), rows, &params),
            softmax::cross_entropy(&x, labels, &mut loss[..], Some(&mut dx), rows, &params),
        );
    }
}
