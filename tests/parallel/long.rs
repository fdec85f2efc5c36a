//! One long row of the operators that threads share inside a row: gradients, cross-entropy, argmax and top-k.

use super::same;
use crate::common::element::{TestElement, bits, for_each_element};
use crate::common::inputs::DISTRIBUTIONS;
use crate::common::thinned;
use softmax::{BackwardRows, CrossEntropy, Error, Reduction, Rows};

/// Elements to a segment of the sum.
const SEGMENT: usize = 65_536;

/// From two segments and an element on, whole segments, short tails, and more than one group of 64 segments.
const LENGTHS: [usize; 4] = [2 * SEGMENT + 1, 3 * SEGMENT, 3 * SEGMENT + 77, 65 * SEGMENT + 5];

/// Where special elements stand: in the first segment, on both sides of its end, in the last one.
const PLACES: [usize; 4] = [0, SEGMENT - 1, SEGMENT, 2 * SEGMENT];

/// A row whose sum depends on the order of its segments: the first holds ±3e38, the second takes it back, so that of the
/// rest of the first nothing is left.
fn cancelling<T: TestElement>(n: usize, seed: u64) -> Vec<T> {
    let mut row: Vec<T> = DISTRIBUTIONS[1].row(n, seed);
    let huge = T::finite(3e38);
    row[7] = huge;
    row[SEGMENT + 7] = T::from_f64(-huge.to_f64());
    row
}

fn softmax_of<T: TestElement>(x: &[T]) -> Vec<T> {
    let mut y = x.to_vec();
    softmax::softmax_in_place(&mut y);
    y
}

#[test]
fn gradients() {
    for_each_element!(check_gradients);
    check_gradients::<f64>();
}

fn check_gradients<T: TestElement>() {
    for n in LENGTHS {
        let x: Vec<T> = DISTRIBUTIONS[0].row(n, 111);
        // The same weights for the two elements that cancel.
        let mut y = softmax_of(&x);
        y[SEGMENT + 7] = y[7];
        same_gradients(&format!("n = {n}"), &y, &x, &DISTRIBUTIONS[0].row(n, 112));
        same_gradients(&format!("n = {n}, cancelling"), &y, &x, &cancelling(n, 113));
    }
    let n = LENGTHS[0];
    let (y, log, dy) = (
        DISTRIBUTIONS[0].row::<T>(n, 114),
        DISTRIBUTIONS[3].row::<T>(n, 115),
        DISTRIBUTIONS[0].row::<T>(n, 116),
    );
    for (special, at) in specials() {
        let with = |row: &[T]| {
            let mut row = row.to_vec();
            row[at] = T::from_f64(special);
            row
        };
        let what = format!("{special} at {at}");
        same_gradients(&format!("y: {what}"), &with(&y), &with(&log), &dy);
        same_gradients(&format!("dy: {what}"), &y, &log, &with(&dy));
    }
}

/// Each special value at each place.
fn specials() -> impl Iterator<Item = (f64, usize)> {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    thinned(values.into_iter().flat_map(|value| PLACES.map(|at| (value, at))))
}

/// Of softmax and log_softmax, apart and in place, with memory behind the row that stays as it is.
fn same_gradients<T: TestElement>(what: &str, y: &[T], log_y: &[T], dy: &[T]) {
    let rows = BackwardRows::new(1, y.len());
    same(&format!("{} gradients, {what}", T::NAME), |par| {
        let new = || vec![T::canary(); y.len() + 3];
        let with_more = || {
            let mut place = new();
            place[..dy.len()].copy_from_slice(dy);
            place
        };
        let (mut dx, mut log, mut place, mut log_place) = (new(), new(), with_more(), with_more());
        let outcome = if par {
            softmax::par_softmax_backward_rows(y, dy, &mut dx, rows)
                .and(softmax::par_log_softmax_backward_rows(log_y, dy, &mut log, rows))
                .and(softmax::par_softmax_backward_rows_in_place(y, &mut place, rows))
                .and(softmax::par_log_softmax_backward_rows_in_place(
                    log_y,
                    &mut log_place,
                    rows,
                ))
        } else {
            softmax::softmax_backward_rows(y, dy, &mut dx, rows)
                .and(softmax::log_softmax_backward_rows(log_y, dy, &mut log, rows))
                .and(softmax::softmax_backward_rows_in_place(y, &mut place, rows))
                .and(softmax::log_softmax_backward_rows_in_place(log_y, &mut log_place, rows))
        };
        outcome.expect("the slices hold the row");
        [dx, log, place, log_place].map(|v| bits(&v))
    });
}

#[test]
fn losses() {
    for_each_element!(check_losses);
    check_losses::<f64>();
}

fn check_losses<T: TestElement>() {
    let ignored = CrossEntropy::default().ignore_index;
    for n in LENGTHS {
        let mut x: Vec<T> = DISTRIBUTIONS[1].row(n, 121);
        x[SEGMENT + 7] = x[7];
        let weights: Vec<f32> = (0..n).map(|i| (i % 8) as f32 * 0.375).collect();
        // Σ w·l depends on the order of its segments.
        let mut cancelling = weights.clone();
        (cancelling[7], cancelling[SEGMENT + 7]) = (3e37, -3e37);
        if n > 4 * SEGMENT {
            let label = (n - 1) as i64;
            same_losses(&format!("n = {n}"), &x, label, Some(&cancelling), Reduction::Sum);
            continue;
        }
        for (l, label) in [3, SEGMENT, SEGMENT + 7, n - 1].into_iter().enumerate() {
            let weights = [None, Some(&weights[..]), Some(&cancelling[..])];
            for (w, weights) in weights.into_iter().enumerate() {
                let reduction = [Reduction::None, Reduction::Mean, Reduction::Sum][(l + w) % 3];
                same_losses(&format!("n = {n}"), &x, label as i64, weights, reduction);
            }
        }
        same_losses("ignored", &x, ignored, Some(&weights), Reduction::None);
    }
    let (n, weights) = (LENGTHS[0], vec![0.5; LENGTHS[0]]);
    for (special, at) in specials().chain([(-3e38, 5), (3e38, 5)]) {
        let mut x: Vec<T> = DISTRIBUTIONS[1].row(n, 122);
        x[at] = T::from_f64(special);
        for label in [at, 2] {
            let what = format!("{special} at {at}");
            same_losses(&what, &x, label as i64, Some(&weights), Reduction::None);
        }
    }
    for special in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3e38] {
        let all = vec![T::from_f64(special); n];
        same_losses(&format!("all {special}"), &all, 5, None, Reduction::Sum);
    }
}

/// Loss and gradient, and the loss alone, smoothed and not, with memory behind the results that stays as it is.
fn same_losses<T: TestElement>(what: &str, x: &[T], label: i64, weights: Option<&[f32]>, reduction: Reduction) {
    let rows = Rows::new(1, x.len());
    for label_smoothing in [0.0, 0.1] {
        let params = CrossEntropy {
            label_smoothing,
            class_weights: weights,
            reduction,
            ..CrossEntropy::default()
        };
        let what = format!(
            "{} {reduction:?} loss, {what}, label {label}, {label_smoothing}",
            T::NAME
        );
        same(&what, |par| {
            let (mut loss, mut alone) = ([T::Probability::canary(); 2], [T::Probability::canary(); 2]);
            let mut dx = vec![T::canary(); x.len() + 3];
            let call = if par {
                softmax::par_cross_entropy
            } else {
                softmax::cross_entropy
            };
            call(x, &[label], &mut loss[..], Some(&mut dx), rows, &params).expect("the slices hold the row");
            call(x, &[label], &mut alone[..], None, rows, &params).expect("the slices hold the row");
            (bits(&loss), bits(&alone), bits(&dx))
        });
    }
}

#[test]
fn choices() {
    for_each_element!(check_choices);
    check_choices::<f64>();
}

fn check_choices<T: TestElement>() {
    for n in LENGTHS {
        for d in DISTRIBUTIONS
            .iter()
            .skip(1)
            .step_by(if n > 4 * SEGMENT { 12 } else { 5 })
        {
            same_choices(&format!("{}, n = {n}", d.name), &d.row::<T>(n, 131), &[1, 50]);
        }
        // Ties in every part.
        let few: Vec<T> = (0..n).map(|i| T::from_f64((i * 7 % 11) as f64)).collect();
        same_choices("eleven values", &few, &[1, 40]);
    }
    let n = LENGTHS[2];
    let zeros: Vec<T> = (0..n)
        .map(|i| T::from_f64(if i % 3 == 0 { -0.0 } else { 0.0 }))
        .collect();
    same_choices("zeros of both signs", &zeros, &[0, 5]);
    let tiny: Vec<T> = (0..n).map(|i| T::from_bits((i * 31 % 100) as u64)).collect();
    same_choices("subnormals", &tiny, &[3]);
    for (special, at) in specials() {
        let mut x: Vec<T> = DISTRIBUTIONS[1].row(n, 132);
        x[at] = T::from_f64(special);
        same_choices(&format!("{special} at {at}"), &x, &[3]);
        // The first of two is in the same part, or in another one.
        x[n - 1] = T::from_f64(special);
        x[SEGMENT + 9] = T::from_f64(f64::NAN);
        same_choices(&format!("{special} at {at} and more"), &x, &[0, 4]);
        same_choices(&format!("all {special}"), &vec![T::from_f64(special); n], &[3]);
    }
    // More than a part has.
    let mut sorted: Vec<T> = DISTRIBUTIONS[0].row(n, 133);
    sorted.sort_by(|a, b| b.partial_cmp(a).expect("no NaN"));
    same_choices("sorted", &sorted, &[2 * SEGMENT, n]);
}

/// argmax and the k foremost, with memory behind the results that stays as it is.
fn same_choices<T: TestElement>(what: &str, x: &[T], ks: &[usize]) {
    let rows = Rows::new(1, x.len());
    for &k in ks {
        same(&format!("{} choices, {what}, k = {k}", T::NAME), |par| {
            let (mut best, mut index) = ([7; 2], vec![7; k + 2]);
            let mut prob = vec![T::Probability::canary(); k + 2];
            if par {
                softmax::par_argmax_rows(x, &mut best, rows)?;
                softmax::par_top_k_rows(x, k, &mut index, &mut prob, rows)?;
            } else {
                softmax::argmax_rows(x, &mut best, rows)?;
                softmax::top_k_rows(x, k, &mut index, &mut prob, rows)?;
            }
            Ok::<_, Error>((best, index, bits(&prob)))
        });
    }
}
