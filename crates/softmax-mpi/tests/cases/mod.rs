//! What must hold on any group: run by threads in `threads.rs`, by processes in `mpi.rs`.
//!
//! Every rank makes the whole input from the seed, computes its slice with the others, and compares it with f64 and with
//! one process that has the whole rows.

use softmax::{CrossEntropy, Reduction, Rows};
use softmax_mpi::{Error, Group, MAX_ULP, Vocabulary};

/// A mark that no operator writes.
const CANARY: u32 = 0x7fc0_0025;

/// Every case, in an order that is the same on all ranks.
pub fn all<G: Group>(group: &G) {
    agreement(group);
    for input in INPUTS {
        for classes in [1, 2, 7, 1000, 4099] {
            for cut in CUTS {
                let whole = Whole::new(input.fill, 5, classes);
                let what = format!("{}, {classes} classes, {}", input.name, cut.name);
                let cols = (cut.cols)(group.rank(), group.size(), classes);
                operators(group, &whole, cols, &what);
                losses(group, &whole, cols, &what);
            }
        }
    }
    errors(group);
}

struct Input {
    name: &'static str,
    /// The logit of a row and a class, out of how many, from a number in [0, 1).
    fill: fn(usize, usize, usize, f64) -> f64,
}

const INPUTS: &[Input] = &[
    Input {
        name: "uniform(-5, 5)",
        fill: |_, _, _, u| 10.0 * u - 5.0,
    },
    Input {
        name: "uniform(-110, 0)",
        fill: |_, _, _, u| -110.0 * u,
    },
    Input {
        name: "around 1e6",
        fill: |_, _, _, u| 1e6 + 20.0 * u,
    },
    Input {
        name: "around -20000",
        fill: |_, _, _, u| -2e4 + 20.0 * u,
    },
    Input {
        name: "±3e38",
        fill: |_, _, _, u| if u < 0.5 { 3e38 } else { -3e38 },
    },
    Input {
        name: "one dominant",
        fill: |_, c, n, u| if c == n / 2 { 40.0 } else { u },
    },
    // Whole slices of nothing but −∞, on several ranks.
    Input {
        name: "-inf but for a quarter",
        fill: |_, c, n, u| if c * 4 / n == 1 { u } else { f64::NEG_INFINITY },
    },
    Input {
        name: "some -inf",
        fill: |_, _, _, u| if u < 0.3 { f64::NEG_INFINITY } else { u },
    },
    Input {
        name: "all -inf",
        fill: |_, _, _, _| f64::NEG_INFINITY,
    },
    Input {
        name: "a NaN",
        fill: |_, c, n, u| if c == n * 2 / 3 { f64::NAN } else { u },
    },
    Input {
        name: "a +inf",
        fill: |_, c, n, u| if c == n / 3 { f64::INFINITY } else { u },
    },
    Input {
        name: "a NaN, a +inf and a -inf",
        fill: |_, c, n, u| match c {
            0 => f64::INFINITY,
            1 => f64::NEG_INFINITY,
            _ if c + 1 == n => f64::NAN,
            _ => u,
        },
    },
    // Ordinary rows beside special ones.
    Input {
        name: "a NaN in row 2",
        fill: |r, c, n, u| if r == 2 && c == n * 2 / 3 { f64::NAN } else { u },
    },
    Input {
        name: "nothing but -inf in row 3, a +inf in row 4",
        fill: |r, c, n, u| match r {
            3 => f64::NEG_INFINITY,
            4 if c == n / 3 => f64::INFINITY,
            _ => u,
        },
    },
];

struct Cut {
    name: &'static str,
    /// Columns of a rank, out of how many ranks and classes.
    cols: fn(usize, usize, usize) -> usize,
}

const CUTS: &[Cut] = &[
    Cut {
        name: "even",
        cols: |rank, size, n| n * (rank + 1) / size - n * rank / size,
    },
    Cut {
        name: "all on the first",
        cols: |rank, _, n| if rank == 0 { n } else { 0 },
    },
    Cut {
        name: "all on the last",
        cols: |rank, size, n| if rank + 1 == size { n } else { 0 },
    },
    Cut {
        name: "odd ranks empty",
        cols: |rank, size, n| {
            let holders = size.div_ceil(2);
            let at = |i: usize| n * i / holders;
            if rank % 2 == 0 {
                at(rank / 2 + 1) - at(rank / 2)
            } else {
                0
            }
        },
    },
];

/// The rows as one process has them.
struct Whole {
    rows: usize,
    classes: usize,
    x: Vec<f32>,
}

impl Whole {
    fn new(fill: fn(usize, usize, usize, f64) -> f64, rows: usize, classes: usize) -> Self {
        let mut state = classes as u64;
        let mut uniform = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 * 2f64.powi(-53)
        };
        let x = (0..rows * classes)
            .map(|i| fill(i / classes, i % classes, classes, uniform()) as f32)
            .collect();
        Self { rows, classes, x }
    }

    fn row(&self, r: usize) -> &[f32] {
        &self.x[r * self.classes..][..self.classes]
    }

    /// The columns of a slice, `gap` canaries after each row.
    fn slice(&self, first: usize, cols: usize, gap: usize) -> Vec<f32> {
        let rows = (0..self.rows).map(|r| &self.row(r)[first..first + cols]);
        rows.flat_map(|row| row.iter().copied().chain([f32::from_bits(CANARY)].repeat(gap)))
            .collect()
    }
}

/// Maximum and ln Σ e^(x − max) in f64, for a row whose maximum is finite.
fn reference(row: &[f32]) -> Option<(f64, f64)> {
    let max = row.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(f64::from(x)));
    if row.iter().any(|x| x.is_nan()) || !max.is_finite() {
        return None;
    }
    let sum: f64 = row.iter().map(|&x| (f64::from(x) - max).exp()).sum();
    Some((max, sum.ln()))
}

/// The distance of a result from the exact one in ULP of f32 at the exact one.
fn ulps(got: f32, exact: f64) -> f64 {
    if exact < 2f64.powi(-126) * (1.0 + 1e-6) && got == 0.0 {
        return 0.0; // results below 2^−126 are 0
    }
    (f64::from(got) - exact).abs() / ulp(exact)
}

fn ulp(exact: f64) -> f64 {
    let exponent = exact.abs().max(2f64.powi(-126)).log2().floor();
    2f64.powi(exponent as i32 - 23)
}

/// The gaps hold canaries and the rows none.
fn check_gaps(y: &[f32], cols: usize, gap: usize, what: &str) {
    for (i, y) in y.iter().enumerate() {
        let in_gap = i % (cols + gap) >= cols;
        assert_eq!(y.to_bits() == CANARY, in_gap, "{what}: place {i}");
    }
}

fn operators<G: Group>(group: &G, whole: &Whole, cols: usize, what: &str) {
    let n = whole.rows;
    let mut vocabulary = Vocabulary::new(group, n, cols).expect("the ranks agree");
    let first = vocabulary.first_class();
    assert_eq!(vocabulary.classes(), whole.classes, "{what}");
    let (x_gap, y_gap) = (3, 2);
    let x = whole.slice(first, cols, x_gap);
    let rows = Rows::new(n, cols)
        .with_x_stride(cols + x_gap)
        .with_y_stride(cols + y_gap);
    let canaries = vec![f32::from_bits(CANARY); n * (cols + y_gap)];
    let (mut y, mut log, mut place) = (canaries.clone(), canaries, x.clone());
    let mut lse = vec![f32::from_bits(CANARY); n];
    vocabulary.softmax(&x, &mut y, rows).expect("valid");
    vocabulary.log_softmax(&x, &mut log, rows).expect("valid");
    vocabulary.logsumexp(&x, &mut lse, rows).expect("valid");
    vocabulary.softmax_in_place(&mut place, rows).expect("valid");
    check_gaps(&y, cols, y_gap, what);
    check_gaps(&log, cols, y_gap, what);
    check_gaps(&place, cols, x_gap, what);
    for r in 0..n {
        let (row, want) = (whole.row(r), reference(whole.row(r)));
        let mut alone = vec![0.0; row.len()];
        softmax::softmax(row, &mut alone).expect("one length");
        let alone_lse = softmax::logsumexp(row);
        match want {
            Some((max, log)) => {
                let exact = max + log;
                let bound = 4.0 * ulp(exact.abs().max(1.0));
                assert!(
                    (f64::from(lse[r]) - exact).abs() <= bound,
                    "{what}: logsumexp {} {exact}",
                    lse[r]
                );
            }
            None => assert_eq!(
                lse[r].to_bits(),
                alone_lse.to_bits(),
                "{what}: logsumexp of a special row"
            ),
        }
        for c in 0..cols {
            let (got, got_log) = (y[r * (cols + y_gap) + c], log[r * (cols + y_gap) + c]);
            assert_eq!(
                got.to_bits(),
                place[r * (cols + x_gap) + c].to_bits(),
                "{what}: in place"
            );
            let Some((max, log)) = want else {
                assert!(
                    got.is_nan() && got_log.is_nan() && alone[first + c].is_nan(),
                    "{what}: a special row"
                );
                continue;
            };
            let x = f64::from(row[first + c]);
            let exact = (x - max - log).exp();
            assert!(
                ulps(got, exact) <= f64::from(MAX_ULP),
                "{what}: softmax {got:e}, exactly {exact:e}"
            );
            let apart = got.to_bits().abs_diff(alone[first + c].to_bits());
            let at_border = exact < 2f64.powi(-126) * (1.0 + 1e-6);
            assert!(
                apart <= 2 * MAX_ULP as u32 || at_border,
                "{what}: {apart} ULP from one process"
            );
            let exact = x - max - log;
            if exact < -f64::from(f32::MAX) {
                // −∞, or beyond what f32 holds.
                assert_eq!(got_log, f32::NEG_INFINITY, "{what}: log_softmax of -inf");
            } else {
                let bound = 4.0 * ulp(exact.abs().max(1.0));
                assert!(
                    (f64::from(got_log) - exact).abs() <= bound,
                    "{what}: log_softmax {got_log} {exact}"
                );
                assert!(got_log <= 0.0, "{what}: log_softmax {got_log}");
            }
        }
    }
}

fn losses<G: Group>(group: &G, whole: &Whole, cols: usize, what: &str) {
    let n = whole.rows;
    let mut vocabulary = Vocabulary::new(group, n, cols).expect("the ranks agree");
    let first = vocabulary.first_class();
    let x_gap = 2;
    let x = whole.slice(first, cols, x_gap);
    let rows = Rows::new(n, cols).with_x_stride(cols + x_gap).with_y_stride(cols + 1);
    let all_weights: Vec<f32> = (0..whole.classes).map(|c| (c % 8) as f32 * 0.375).collect();
    let my_weights = &all_weights[first..first + cols];
    let labels: Vec<i64> = (0..n)
        .map(|r| if r == 1 { -100 } else { (r * 611 % whole.classes) as i64 })
        .collect();
    for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean] {
        for (label_smoothing, weighted) in [(0.0, false), (0.1, false), (0.0, true), (0.25, true)] {
            let what = format!("{what}, {reduction:?}, smoothing {label_smoothing}, weights {weighted}");
            let params = |weights| CrossEntropy {
                label_smoothing,
                class_weights: weights,
                reduction,
                ..CrossEntropy::default()
            };
            let places = if reduction == Reduction::None { n } else { 1 };
            let (mut want, mut want_dx) = (vec![0.0; places], vec![0.0; whole.x.len()]);
            let (single, all) = (
                params(weighted.then_some(&all_weights[..])),
                Rows::new(n, whole.classes),
            );
            softmax::cross_entropy(&whole.x, &labels, &mut want, Some(&mut want_dx), all, &single).expect("valid");
            let (mut loss, mut alone) = (vec![f32::from_bits(CANARY); places], vec![0.0; places]);
            let mut dx = vec![f32::from_bits(CANARY); n * (cols + 1)];
            let mine = params(weighted.then_some(my_weights));
            vocabulary
                .cross_entropy(&x, &labels, &mut loss, Some(&mut dx), rows, &mine)
                .expect("valid");
            vocabulary
                .cross_entropy(&x, &labels, &mut alone, None, rows, &mine)
                .expect("valid");
            check_gaps(&dx, cols, 1, &what);
            for (loss, alone) in loss.iter().zip(&alone) {
                assert_eq!(loss.to_bits(), alone.to_bits(), "{what}: without the gradient");
            }

            // Losses against the formula in f64; gradients against one process: both are within their bounds.
            let u = 2f64.powi(-24);
            let (each, total_weight) = (label_smoothing / whole.classes as f64, all_weights.iter().sum::<f32>());
            let weight = |c: usize| if weighted { f64::from(all_weights[c]) } else { 1.0 };
            let total_weight = if weighted {
                f64::from(total_weight)
            } else {
                whole.classes as f64
            };
            let counted: f64 = labels.iter().filter(|&&t| t >= 0).map(|&t| weight(t as usize)).sum();
            let scale = if reduction == Reduction::Mean {
                1.0 / counted
            } else {
                1.0
            };
            let mut exact = vec![(0.0, 0.0); n];
            for r in (0..n).filter(|&r| labels[r] >= 0) {
                let (row, t) = (whole.row(r), labels[r] as usize);
                let Some((max, log)) = reference(row) else {
                    exact[r].0 = f64::NAN;
                    continue;
                };
                let l = |c: usize| log + (max - f64::from(row[c]));
                let at_label = (1.0 - label_smoothing) * weight(t);
                exact[r] = (at_label * l(t), 12.0 * u * at_label * l(t).max(1.0));
                if each != 0.0 {
                    for c in 0..row.len() {
                        exact[r].0 += each * weight(c) * l(c);
                        exact[r].1 += 12.0 * u * each * weight(c) * l(c).max(1.0);
                    }
                }
                let at_all = (1.0 - label_smoothing) * weight(t) + each * total_weight;
                for c in 0..cols {
                    let (got, want) = (dx[r * (cols + 1) + c], want_dx[r * whole.classes + first + c]);
                    let p = (f64::from(row[first + c]) - max - log).exp();
                    let direct = weight(t) * f64::from(u8::from(first + c == t)) + each * weight(first + c);
                    let bound = scale * u * (32.0 * at_all * p + 9.0 * direct) + 2f64.powi(-125);
                    let error = (f64::from(got) - f64::from(want)).abs();
                    assert!(
                        error <= bound || same(got, want),
                        "{what}: gradient {got:e}, in one process {want:e}"
                    );
                }
            }
            if reduction != Reduction::None {
                let sum = exact.iter().fold((0.0, 0.0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
                exact = vec![(scale * sum.0, scale * sum.1)];
            }
            for (&got, (exact, bound)) in loss.iter().zip(exact) {
                let is_right = if exact.is_nan() || exact > f64::from(f32::MAX) {
                    same(got, exact as f32)
                } else {
                    (f64::from(got) - exact).abs() <= bound + u * exact && got >= 0.0
                };
                assert!(is_right, "{what}: loss {got:e}, exactly {exact:e}");
            }
            for r in (0..n).filter(|&r| labels[r] < 0 || reference(whole.row(r)).is_none()) {
                for c in 0..cols {
                    let (got, want) = (dx[r * (cols + 1) + c], want_dx[r * whole.classes + first + c]);
                    assert!(
                        same(got, want),
                        "{what}: gradient {got} of a special row, in one process {want}"
                    );
                }
            }
        }
    }
}

/// Equal, or both NaN.
fn same(a: f32, b: f32) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

/// Calls that are right go through, after any that were not.
fn works<G: Group>(vocabulary: &mut Vocabulary<'_, G>) {
    let (rows, cols) = (vocabulary.rows(), vocabulary.cols());
    let mut y = vec![0.0; rows * cols];
    vocabulary
        .softmax(&vec![3.0; rows * cols], &mut y, Rows::new(rows, cols))
        .expect("valid");
    assert!(y.iter().all(|&y| y == 1.0 / vocabulary.classes() as f32));
}

fn agreement<G: Group>(group: &G) {
    let (rank, size) = (group.rank(), group.size());
    let vocabulary = Vocabulary::new(group, 3, 10 + rank).expect("the ranks agree");
    let first: usize = (0..rank).map(|rank| 10 + rank).sum();
    assert_eq!(
        (vocabulary.first_class(), vocabulary.cols(), vocabulary.rows()),
        (first, 10 + rank, 3)
    );
    let nothing = Vocabulary::new(group, 0, 0).and_then(|mut v| v.softmax(&[], &mut [], Rows::new(0, 0)));
    assert_eq!(nothing, Ok(()));
    if size > 1 {
        let rows = if rank + 1 == size { 4 } else { 3 };
        let error = Vocabulary::new(group, rows, 10).err().expect("other rows");
        assert_eq!(error.to_string(), "the numbers of rows differ between the ranks");
    }
    let huge = if rank + 1 == size { usize::MAX } else { 10 };
    let error = Vocabulary::new(group, 3, huge).err().expect("too many columns");
    expect(
        error,
        rank,
        size,
        "3 rows of 18446744073709551615 columns at stride 18446744073709551615 exceed",
    );
}

/// The last rank's own error begins like this; the others name the last rank.
fn expect(error: Error, rank: usize, size: usize, own: &str) {
    if rank + 1 == size {
        assert!(
            matches!(error, Error::Call(_)) && error.to_string().starts_with(own),
            "{error}"
        );
    } else {
        assert_eq!(error, Error::OtherRank { rank: size - 1 });
    }
}

fn errors<G: Group>(group: &G) {
    let (rank, size) = (group.rank(), group.size());
    let (n, cols, last) = (4, 6, rank + 1 == size);
    let mut vocabulary = Vocabulary::new(group, n, cols).expect("the ranks agree");
    let (x, rows) = (vec![0.5; n * cols], Rows::new(n, cols));
    let untouched = vec![7.0; n * cols];
    let mut y = untouched.clone();

    // Shapes: of one rank.
    let short = if last { &mut y[..n * cols - 1] } else { &mut y[..] };
    let error = vocabulary.softmax(&x, short, rows).expect_err("a short output");
    expect(
        error,
        rank,
        size,
        "output has 23 elements, 4 rows of 6 columns at stride 6 need 24",
    );
    let wide = if last { rows.with_x_stride(7) } else { rows };
    let error = vocabulary.log_softmax(&x, &mut y, wide).expect_err("a short input");
    expect(
        error,
        rank,
        size,
        "input has 24 elements, 4 rows of 6 columns at stride 7 need 27",
    );
    let narrow = if last { rows.with_x_stride(5) } else { rows };
    let error = vocabulary.softmax_in_place(&mut y, narrow).expect_err("a bad stride");
    expect(error, rank, size, "input: row stride 5 is smaller than 6 columns");
    let other = if last { Rows::new(3, cols) } else { rows };
    let error = vocabulary.logsumexp(&x, &mut y, other).expect_err("other rows");
    expect(error, rank, size, "rows is 3, not the number of the vocabulary");
    let places = if last { 3 } else { 4 };
    let error = vocabulary
        .logsumexp(&x, &mut y[..places], rows)
        .expect_err("few places");
    expect(error, rank, size, "output has 3 elements");
    // Of the two last ranks: the others name the lower one.
    let bad = rank + 2 >= size;
    let short = if bad { &mut y[..3] } else { &mut y[..] };
    let error = vocabulary.softmax(&x, short, rows).expect_err("two short outputs");
    if bad {
        assert!(error.to_string().starts_with("output has 3 elements"), "{error}");
    } else {
        assert_eq!(error, Error::OtherRank { rank: size - 2 });
    }
    assert_eq!(y, untouched);
    works(&mut vocabulary);

    // Labels and parameters: of one rank, of all, and others on one.
    let default = CrossEntropy::default();
    let mut loss = [7.0; 4];
    let mut call = |vocabulary: &mut Vocabulary<'_, G>, labels: &[i64], params: &CrossEntropy<'_>, places: usize| {
        let error = vocabulary
            .cross_entropy(&x, labels, &mut loss[..places], Some(&mut y), rows, params)
            .expect_err("a bad call");
        assert_eq!((loss, &y), ([7.0; 4], &untouched));
        error
    };
    let classes = vocabulary.classes() as i64;
    let good = [0, classes - 1, -100, 1];
    let bad = [0, classes, -100, 1];
    let error = call(&mut vocabulary, if last { &bad } else { &good }, &default, 1);
    expect(
        error,
        rank,
        size,
        &format!("the label of row 1 is {classes}, but there are {classes} classes"),
    );
    let error = call(&mut vocabulary, &bad, &default, 1);
    assert!(
        matches!(error, Error::Call(softmax::Error::Label { row: 1, .. })),
        "on every rank: {error}"
    );
    let error = call(&mut vocabulary, &good[..if last { 3 } else { 4 }], &default, 1);
    expect(error, rank, size, "labels has 3 elements");
    let error = call(&mut vocabulary, &good, &default, if last { 0 } else { 1 });
    expect(error, rank, size, "loss has 0 elements");
    let weights = [1.0; 6];
    let weighted = |len: usize| CrossEntropy {
        class_weights: Some(&weights[..len]),
        ..default
    };
    let error = call(&mut vocabulary, &good, &weighted(if last { 5 } else { 6 }), 1);
    expect(error, rank, size, "5 class weights for 6 classes");
    let smoothed = |label_smoothing: f64| CrossEntropy {
        label_smoothing,
        ..default
    };
    let error = call(&mut vocabulary, &good, &smoothed(if last { 1.5 } else { 0.5 }), 1);
    expect(error, rank, size, "label_smoothing is 1.5, not in [0, 1)");
    if size > 1 {
        let differ = "the operators, labels or parameters differ between the ranks";
        let other = [1, classes - 1, -100, 1];
        let error = call(&mut vocabulary, if last { &other } else { &good }, &default, 1);
        assert_eq!(error.to_string(), differ);
        let error = call(&mut vocabulary, &good, &smoothed(if last { 0.25 } else { 0.5 }), 1);
        assert_eq!(error.to_string(), differ);
        let error = call(&mut vocabulary, &good, &if last { weighted(6) } else { default }, 1);
        assert_eq!(error.to_string(), differ);
        let error = if last {
            vocabulary.softmax(&x, &mut y, rows)
        } else {
            vocabulary.log_softmax(&x, &mut y, rows)
        };
        assert_eq!(error.expect_err("another operator").to_string(), differ);
    }
    assert_eq!(y, untouched);
    works(&mut vocabulary);
}
