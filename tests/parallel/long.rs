//! One long row of the operators that threads share inside a row: gradients, cross-entropy, argmax and top-k, and the
//! masked ones.

use super::same;
use crate::common::element::{TestElement, bits, for_each_element};
use crate::common::inputs::DISTRIBUTIONS;
use crate::common::thinned;
use softmax::{BackwardRows, Broadcast, CrossEntropy, Error, FullyMasked, Mask, Reduction, Rows};

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

/// Of which more than two segments are visible by most masks.
const MASKED: [usize; 3] = [2 * SEGMENT + 1, 140_000, 200_001];

#[test]
fn masked() {
    for_each_element!(check_masked);
    check_own_mask();
}

fn check_masked<T: TestElement>() {
    for n in MASKED {
        let x: Vec<T> = DISTRIBUTIONS[1].row(n, 141);
        with_masks(n, |what, mask| same_masked(&format!("{what}, n = {n}"), &x, mask));
    }
    // More than one group of 64 segments.
    let x: Vec<T> = DISTRIBUTIONS[1].row(LENGTHS[3], 142);
    same_masked("groups", &x, &windowed(x.len(), x.len() - 777, 5));
    let n = MASKED[2];
    let mut rows: Vec<(String, Vec<T>)> = Vec::new();
    let mut add = |what: String, changes: &[(usize, f64)]| {
        let mut x: Vec<T> = DISTRIBUTIONS[1].row(n, 143);
        for &(at, value) in changes {
            x[at] = T::finite(value);
        }
        rows.push((what, x));
    };
    // The guess of the shift is far below the maximum, or the maximum is far above what it looks at.
    add("tiny, huge".into(), &[(0, -3e38), (n - 1, 3e38)]);
    add("huge, tiny".into(), &[(n - 1, -3e38), (SEGMENT + 77, 3e38)]);
    add("far above".into(), &[(n / 3, 3000.0)]);
    add("far above at the end".into(), &[(n - 6, 4000.0)]);
    for special in [f64::NAN, f64::INFINITY] {
        for at in PLACES.into_iter().chain([69_000, 199_000]) {
            add(format!("{special} at {at}"), &[(at, special)]);
        }
    }
    for value in [f64::NEG_INFINITY, f64::NAN, f64::INFINITY, -3e38] {
        rows.push((format!("all {value}"), vec![T::finite(value); n]));
    }
    for (i, (row, x)) in rows.iter().enumerate() {
        let mut m = i;
        with_masks(n, |mask, of| {
            m += 1;
            // A seventh of all pairs, of every mask some.
            if m % 7 == 0 {
                same_masked(&format!("{mask}, {row}"), x, of);
            }
        });
    }
    let n = MASKED[1];
    for k in 0..16 {
        for last in [2 * SEGMENT - 64, 2 * SEGMENT + 64] {
            let x = absorbed::<T>(n, k, [400, SEGMENT + 64, last]);
            same_masked(&format!("{k} ULP, {last}"), &x, &windowed(n, n - 301, 0));
        }
    }
}

/// The last `window` columns but `rest` are visible.
fn windowed<T: TestElement>(n: usize, window: usize, rest: usize) -> Mask<'static, T> {
    Mask::new().with_causal((n - 1 - rest) as isize).with_window(window)
}

/// Calls `f` with every kind of mask.
fn with_masks<T: TestElement>(n: usize, mut f: impl FnMut(&str, &Mask<'_, T>)) {
    let compute = T::Compute::from_f64;
    let bias: Vec<f32> = DISTRIBUTIONS[0].row(n, 151);
    let holes: Vec<f32> = (0..n).map(|i| [0.5, f32::NEG_INFINITY, -1.0][i / 100 % 3]).collect();
    let keep: Vec<u8> = (0..n).map(|i| u8::from(i % 7 != 0 && i / 500 % 3 != 1)).collect();
    let keep_bits: Vec<u8> = (0..n.div_ceil(8)).map(|i| (i * 91 + i / 256) as u8).collect();
    let (nothing, none, zeros) = (vec![f32::NEG_INFINITY; n], vec![false; n], vec![0; n.div_ceil(8)]);
    let lengths = [n - 3, 100_000, 0];
    let plain = Mask::<T>::new().with_scale(compute(0.125));
    f("nothing", &Mask::new());
    f("scale", &plain);
    f("negative scale", &Mask::new().with_scale(compute(-0.5)));
    f("scale 0", &Mask::new().with_scale(compute(0.0)));
    let marks = [
        ("no", plain),
        ("additive", plain.with_additive(&bias, Broadcast::ONE)),
        ("holes", plain.with_additive(&holes, Broadcast::rows(n))),
        (
            "slope",
            plain
                .with_additive(&bias, Broadcast::ONE)
                .with_alibi_slope(compute(-0.25)),
        ),
        ("softcap", plain.with_softcap(compute(3.0))),
        ("keep", plain.with_keep_bytes(&keep, Broadcast::ONE)),
        ("bits", plain.with_keep_bits(&keep_bits, Broadcast::ONE)),
        (
            "all",
            plain
                .with_softcap(compute(5.0))
                .with_additive(&holes, Broadcast::ONE)
                .with_alibi_slope(compute(2.0))
                .with_keep_bits(&keep_bits, Broadcast::ONE)
                .with_sinks(&[1.0], Broadcast::ONE),
        ),
    ];
    // The first column in sight: none of a block, in the second segment; the first one of it, and half a block behind.
    let sights = [(n, 1), (131_100, 0), (n - SEGMENT, 0), (n - SEGMENT - 64, 0)];
    for (m, (mark, mask)) in marks.iter().enumerate() {
        f(mark, mask);
        f(
            &format!("{mark} in sight from 301"),
            &mask.with_causal(n as isize - 1).with_window(n - 301),
        );
        let (window, rest) = sights[m % 4];
        let of = mask.with_causal((n - 1 - rest) as isize).with_window(window);
        f(&format!("{mark} in a window of {window}"), &of);
        let length = &lengths[usize::from(m == 5)..];
        f(
            &format!("{mark} up to {}", length[0]),
            &mask.with_lengths(length, Broadcast::ONE),
        );
    }
    for sink in [3.0, 200.0, -3e38, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        f(&format!("sink {sink}"), &plain.with_sinks(&[sink], Broadcast::ONE));
    }
    for policy in [FullyMasked::Zero, FullyMasked::Nan] {
        let fully = plain.with_fully_masked(policy);
        f("nothing by addition", &fully.with_additive(&nothing, Broadcast::ONE));
        f(
            "nothing kept",
            &fully
                .with_keep(&none, Broadcast::ONE)
                .with_sinks(&[0.5], Broadcast::ONE),
        );
        f("no bit", &fully.with_keep_bits(&zeros, Broadcast::ONE));
        f("no column", &fully.with_lengths(&lengths[2..], Broadcast::ONE));
        f("holes of a policy", &fully.with_additive(&holes, Broadcast::ONE));
    }
    // The third row of a mask.
    let many: Vec<f32> = DISTRIBUTIONS[0].row(3 * n, 152);
    let third = plain.with_additive(&many, Broadcast::rows(n)).with_first_row(2);
    f(
        "third",
        &third.with_causal(n as isize - 9).with_queries(2).with_window(n - 500),
    );
}

/// A row whose sum is 1, `k` ULP of f64 and two terms just below half an ULP, the latter at the last places: what becomes
/// of them depends on which are added first. For one of 16 `k` the logarithm of the sum is another one then.
fn absorbed<T: TestElement>(n: usize, k: usize, [first, second, third]: [usize; 3]) -> Vec<T> {
    let mut x = vec![T::from_f64(f64::NEG_INFINITY); n];
    let ulps = |count: f64| T::from_f64((count * f64::EPSILON).ln());
    x[first] = T::from_f64(0.0);
    x[first + 1] = ulps(k as f64);
    (x[second], x[third]) = (ulps(0.46), ulps(0.46));
    x
}

/// An additive mask of the type of the rows.
fn check_own_mask() {
    let n = MASKED[2];
    let (x, mask): (Vec<f64>, Vec<f64>) = (DISTRIBUTIONS[1].row(n, 144), DISTRIBUTIONS[0].row(n, 145));
    let mask = windowed(n, n - 301, 7).with_additive(&mask, Broadcast::ONE);
    same_masked("a mask of f64", &x, &mask);
    same_masked("a slope and a mask of f64", &x, &mask.with_alibi_slope(-0.5));
}

/// softmax and log_softmax, apart and in place, with memory behind the row that stays as it is.
fn same_masked<T: TestElement>(what: &str, x: &[T], mask: &Mask<'_, T>) {
    let rows = Rows::new(1, x.len());
    same(&format!("{} masked, {what}", T::NAME), |par| {
        let new = || vec![T::canary(); x.len() + 3];
        let with_more = || {
            let mut place = new();
            place[..x.len()].copy_from_slice(x);
            place
        };
        let (mut y, mut log, mut place, mut log_place) = (new(), new(), with_more(), with_more());
        let outcome = if par {
            softmax::par_masked_softmax(x, &mut y, rows, mask)
                .and(softmax::par_masked_log_softmax(x, &mut log, rows, mask))
                .and(softmax::par_masked_softmax_in_place(&mut place, rows, mask))
                .and(softmax::par_masked_log_softmax_in_place(&mut log_place, rows, mask))
        } else {
            softmax::masked_softmax(x, &mut y, rows, mask)
                .and(softmax::masked_log_softmax(x, &mut log, rows, mask))
                .and(softmax::masked_softmax_in_place(&mut place, rows, mask))
                .and(softmax::masked_log_softmax_in_place(&mut log_place, rows, mask))
        };
        outcome.expect("the slices hold the row");
        [y, log, place, log_place].map(|v| bits(&v))
    });
}
