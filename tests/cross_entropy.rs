//! Cross-entropy by PyTorch's rules: the loss and its gradient against double-double, finite differences, special rows.

use crate::common::dd::Dd;
use crate::common::element::{TestElement, bits, for_each_element};
use crate::common::inputs::{self, DISTRIBUTIONS};
use crate::common::oracle::Oracle;
use crate::common::{for_each_isa, isas, thinned};
use crate::contract::cases;
use crate::errors::{SHAPE, check_message, untouched};
use rand::RngExt;
use softmax::{CrossEntropy, Error, Isa, Reduction, Rows, cross_entropy};

const REDUCTIONS: [Reduction; 3] = [Reduction::None, Reduction::Mean, Reduction::Sum];

/// Loss and gradient of the rule, with the magnitudes of their bounds.
struct Reference {
    /// Of each row.
    loss: Vec<f64>,
    loss_bound: Vec<f64>,
    reduced: f64,
    reduced_bound: f64,
    dx: Vec<f64>,
    dx_bound: Vec<f64>,
}

/// By the formula of the documentation, from log-probabilities in double-double. Bounds are in u.
fn reference<T: TestElement>(isa: Isa, x: &[T], labels: &[i64], cols: usize, params: &CrossEntropy) -> Reference {
    let errors = if isa == Isa::Portable { 24.0 } else { 16.0 };
    let loss_errors = if isa == Isa::Portable { 24.0 } else { 12.0 };
    let weight = |c: usize| params.class_weights.map_or(1.0, |w| f64::from(w[c]));
    let (eps, total) = (params.label_smoothing, (0..cols).map(weight).sum::<f64>());
    let each = eps / cols as f64;
    let counted = labels.iter().filter(|&&t| t != params.ignore_index);
    let counted: f64 = counted.map(|&t| weight(t as usize)).sum();
    let scale = if params.reduction == Reduction::Mean {
        1.0 / counted
    } else {
        1.0
    };
    let mut all = Reference {
        loss: Vec::new(),
        loss_bound: Vec::new(),
        reduced: 0.0,
        reduced_bound: 0.0,
        dx: Vec::new(),
        dx_bound: Vec::new(),
    };
    for (r, &label) in labels.iter().enumerate() {
        if label == params.ignore_index {
            all.loss.push(0.0);
            all.loss_bound.push(0.0);
            all.dx.extend(vec![0.0; cols]);
            all.dx_bound.extend(vec![0.0; cols]);
            continue;
        }
        let (row, t) = (&x[r * cols..][..cols], label as usize);
        let oracle = Oracle::precise(row);
        let l: Vec<Dd> = row.iter().map(|x| -oracle.log_softmax(x.to_f64()).to_dd()).collect();
        let at_label = (1.0 - eps) * weight(t);
        let mut loss = Dd::from(at_label) * l[t];
        let mut bound = at_label * l[t].hi.max(1.0);
        for (c, &l) in l.iter().enumerate() {
            let p = oracle.softmax(row[c].to_f64()).to_dd();
            if each != 0.0 {
                loss = loss + Dd::from(each * weight(c)) * l;
                bound += each * weight(c) * l.hi.max(1.0);
            }
            let is_label = if c == t { 1.0 } else { 0.0 };
            let from = Dd::from(each * weight(c)) + Dd::from(at_label * is_label);
            let dx = (Dd::from(at_label) + Dd::from(each * total)) * p - from;
            all.dx.push((Dd::from(scale) * dx).hi);
            let magnitude =
                errors * (weight(t) + each * total) * p.hi + 8.0 * (weight(t) * is_label + each * weight(c));
            all.dx_bound.push(scale * magnitude);
        }
        all.loss.push(loss.hi);
        all.loss_bound.push(loss_errors * bound);
    }
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let divisor = if params.reduction == Reduction::Mean {
        counted
    } else {
        1.0
    };
    all.reduced = sum(&all.loss) / divisor;
    // The result is rounded once more.
    all.reduced_bound = sum(&all.loss_bound) / divisor + all.reduced.abs();
    all
}

struct Case<T> {
    x: Vec<T>,
    labels: Vec<i64>,
    weights: Vec<f32>,
    cols: usize,
}

fn case<T: TestElement>(distribution: usize, rows: usize, cols: usize, ignored: i64, seed: u64) -> Case<T> {
    let mut rng = inputs::rng(seed);
    let d = &DISTRIBUTIONS[distribution];
    Case {
        x: (0..rows).flat_map(|r| d.row::<T>(cols, seed + r as u64)).collect(),
        labels: (0..rows)
            .map(|_| {
                if rng.random_range(0..5) == 0 {
                    ignored
                } else {
                    rng.random_range(0..cols as i64)
                }
            })
            .collect(),
        weights: (0..cols).map(|_| rng.random_range(0..8) as f32 * 0.375).collect(),
        cols,
    }
}

/// All parameters, and what to call them.
fn each_params(weights: &[f32], ignored: i64, mut body: impl FnMut(CrossEntropy)) {
    for reduction in REDUCTIONS {
        for label_smoothing in [0.0, 0.1, 0.75] {
            for class_weights in [None, Some(weights)] {
                body(CrossEntropy {
                    label_smoothing,
                    ignore_index: ignored,
                    class_weights,
                    reduction,
                });
            }
        }
    }
}

fn run<T: TestElement>(isa: Isa, case: &Case<T>, params: &CrossEntropy) -> (Vec<T::Compute>, Vec<T>) {
    let rows = Rows::new(case.labels.len(), case.cols);
    let losses = if params.reduction == Reduction::None {
        rows.rows()
    } else {
        1
    };
    let mut loss = vec![T::Probability::canary(); losses];
    let mut dx = vec![T::canary(); case.x.len()];
    isa.cross_entropy(&case.x, &case.labels, &mut loss[..], Some(&mut dx), rows, params)
        .expect("the slices hold the rows");
    let mut alone = vec![T::Probability::canary(); losses];
    isa.cross_entropy(&case.x, &case.labels, &mut alone[..], None, rows, params)
        .expect("the slices hold the rows");
    assert_eq!(
        bits(&alone),
        bits(&loss),
        "{isa}: the loss without the gradient, {params:?}"
    );
    (loss, dx)
}

#[test]
fn against_the_formula() {
    check_formula::<f32>();
    check_formula::<f64>();
}

fn check_formula<T: TestElement>() {
    let u = 2f64.powi(-T::FORMAT.digits);
    let mut worst = vec![[0.0_f64; 2]; isas().len()];
    let shapes = [(6, 1), (5, 2), (7, 10), (3, 33), (4, 129), (2, 1000), (1, 4099)];
    for (distribution, (rows, cols)) in thinned((0..DISTRIBUTIONS.len()).flat_map(|d| shapes.map(|s| (d, s)))) {
        let case = case::<T>(distribution, rows, cols, -100, 101 + cols as u64);
        // Logits of −∞ have their own test.
        if case.x.iter().any(|x| x.to_f64() == f64::NEG_INFINITY) {
            continue;
        }
        // Where Σ w·l may exceed the largest f32, it is +∞.
        let huge = |limit: f64| case.x.iter().any(|x| x.to_f64().abs() > limit);
        // Nor has the reference numbers beyond f64.
        if huge(1e300) {
            continue;
        }
        let huge = T::FORMAT.digits == 24 && huge(1e34);
        each_params(&case.weights, -100, |params| {
            if huge && params.label_smoothing > 0.0 {
                return;
            }
            let mut scalar = None;
            for (&isa, worst) in isas().iter().rev().zip(worst.iter_mut().rev()) {
                let what = format!(
                    "{isa}, {}, {rows} × {cols}, {params:?}",
                    DISTRIBUTIONS[distribution].name
                );
                let want = reference(isa, &case.x, &case.labels, cols, &params);
                let (loss, dx) = run(isa, &case, &params);
                let mut check = |kind: usize, got: f64, want: f64, bound: f64| {
                    if want.is_nan() {
                        return assert!(got.is_nan(), "{what}: {got}, not NaN");
                    }
                    if T::FORMAT.digits == 24 && want > f64::from(f32::MAX) {
                        return assert!(got == f64::INFINITY, "{what}: {got}, not {want}");
                    }
                    let tiny = 1e-37_f64.max(u * 1e-30);
                    let error = (got - want).abs();
                    assert!(
                        error <= u * bound + tiny,
                        "{what}: {got}, not {want}: {error:e}, bound {:e}",
                        u * bound
                    );
                    if bound > 0.0 {
                        worst[kind] = worst[kind].max((error - tiny) / (u * bound));
                    }
                };
                if params.reduction == Reduction::None {
                    for (loss, (&want, &bound)) in loss.iter().zip(want.loss.iter().zip(&want.loss_bound)) {
                        check(0, loss.to_f64(), want, bound);
                    }
                } else {
                    check(0, loss[0].to_f64(), want.reduced, want.reduced_bound);
                }
                for (dx, (&want, &bound)) in dx.iter().zip(want.dx.iter().zip(&want.dx_bound)) {
                    check(1, dx.to_f64(), want, bound);
                }
                if isa != Isa::Portable {
                    let got = (bits(&loss), bits(&dx));
                    assert!(*scalar.get_or_insert_with(|| got.clone()) == got, "{what}: bits");
                }
            }
        });
    }
    for (isa, [loss, dx]) in isas().iter().zip(worst) {
        println!("{} {isa}: loss {loss:.3}, gradient {dx:.3} of the bound", T::NAME);
    }
}

#[test]
fn finite_differences() {
    const H: f64 = 1e-5;
    for_each_isa(|isa| {
        let case = case::<f64>(0, 3, 7, 2, 111);
        each_params(&case.weights, 2, |params| {
            let (_, dx) = run(isa, &case, &params);
            let value = |x: &[f64]| {
                let mut loss = [0.0; 3];
                let rows = Rows::new(3, 7);
                isa.cross_entropy(x, &case.labels, &mut loss, None, rows, &params)
                    .expect("the slices hold the rows");
                // The sum of the losses is what the gradient of single losses belongs to.
                if params.reduction == Reduction::None {
                    loss.iter().sum()
                } else {
                    loss[0]
                }
            };
            for i in 0..dx.len() {
                let at = |h: f64| {
                    let mut x = case.x.clone();
                    x[i] += h;
                    value(&x)
                };
                let slope = (at(H) - at(-H)) / (2.0 * H);
                assert!(
                    (slope - dx[i]).abs() < 1e-8,
                    "{isa}, {params:?}: {} at {i}, {slope}",
                    dx[i]
                );
            }
        });
    });
}

#[test]
fn strides_and_padding() {
    for_each_isa(|isa| {
        let (rows, cols, x_stride, dx_stride) = (4, 37, 41, 50);
        let case = case::<f32>(1, rows, cols, -1, 121);
        let params = CrossEntropy {
            ignore_index: -1,
            label_smoothing: 0.2,
            ..CrossEntropy::default()
        };
        let (want_loss, want) = run(isa, &case, &params);
        let mut x = vec![f32::canary(); (rows - 1) * x_stride + cols];
        let mut expected = vec![f32::canary(); (rows - 1) * dx_stride + cols + 3];
        for r in 0..rows {
            x[r * x_stride..][..cols].copy_from_slice(&case.x[r * cols..][..cols]);
            expected[r * dx_stride..][..cols].copy_from_slice(&want[r * cols..][..cols]);
        }
        let (mut loss, mut dx) = ([f32::canary(); 2], vec![f32::canary(); expected.len()]);
        let shape = Rows::new(rows, cols).with_x_stride(x_stride).with_y_stride(dx_stride);
        isa.cross_entropy(&x, &case.labels, &mut loss, Some(&mut dx), shape, &params)
            .expect("the slices hold the rows");
        assert_eq!(bits(&dx), bits(&expected), "{isa}");
        assert_eq!(
            loss.map(f32::to_bits),
            [want_loss[0].to_bits(), f32::canary().to_bits()],
            "{isa}"
        );
    });
}

/// Many rows of every kind, special ones and ignored ones among them, have the bits of each alone.
#[test]
fn many_rows_like_each_alone() {
    for_each_element!(check_rows_alone);
}

fn check_rows_alone<T: TestElement>() {
    let specials = cases::<T>();
    let shapes = [1, 2, 3, 8, 16, 17, 33].into_iter().flat_map(|rows| {
        let widths = [
            1, 2, 7, 8, 9, 10, 16, 17, 32, 33, 64, 100, 128, 200, 256, 257, 300, 500, 769,
        ];
        widths.map(|cols| (rows, cols))
    });
    for (i, (rows, cols)) in thinned(shapes).enumerate() {
        let Case { mut x, labels, .. } = case::<T>(i % DISTRIBUTIONS.len(), rows, cols, -100, i as u64);
        for r in 0..rows {
            let row = &mut x[r * cols..][..cols];
            if r % 3 == 1 {
                row.copy_from_slice(&DISTRIBUTIONS[(i + r) % DISTRIBUTIONS.len()].row::<T>(cols, r as u64));
            }
            if r % 7 == 5 {
                (specials[(i + r) % specials.len()].put)(row, r % cols);
            }
        }
        for_each_isa(|isa| {
            for label_smoothing in [0.0, 0.1] {
                let params = CrossEntropy {
                    reduction: Reduction::None,
                    label_smoothing,
                    ..CrossEntropy::default()
                };
                let (loss, dx) = losses(isa, &x, &labels, cols, &params);
                for r in 0..rows {
                    let at = r * cols..(r + 1) * cols;
                    let (alone, dx_alone) = losses(isa, &x[at.clone()], &labels[r..=r], cols, &params);
                    let what = format!("{isa}, row {r} of {rows}x{cols}, smoothing {label_smoothing}");
                    assert_eq!(bits(&loss[r..=r]), bits(&alone), "{what}: loss");
                    assert_eq!(bits(&dx[at]), bits(&dx_alone), "{what}: gradient");
                }
            }
        });
    }
}

/// The losses of contiguous rows, and their gradients.
fn losses<T: TestElement>(
    isa: Isa,
    x: &[T],
    labels: &[i64],
    cols: usize,
    params: &CrossEntropy,
) -> (Vec<T::Compute>, Vec<T>) {
    let mut loss = vec![T::Compute::canary(); labels.len()];
    let mut dx = vec![T::canary(); x.len()];
    isa.cross_entropy(
        x,
        labels,
        &mut loss,
        Some(&mut dx),
        Rows::new(labels.len(), cols),
        params,
    )
    .expect("the slices hold the rows");
    (loss, dx)
}

#[test]
fn special_rows() {
    check_special_rows::<f32>();
    check_special_rows::<f64>();
}

fn check_special_rows<T: TestElement>() {
    const INF: f64 = f64::INFINITY;
    for_each_isa(|isa| {
        let none = CrossEntropy {
            reduction: Reduction::None,
            ..CrossEntropy::default()
        };
        let smooth = CrossEntropy {
            label_smoothing: 0.5,
            ..none
        };
        let call = |x: &[f64], label: i64, params: &CrossEntropy| {
            let x: Vec<T> = x.iter().map(|&v| T::from_f64(v)).collect();
            let (mut loss, mut dx) = ([T::Probability::canary()], vec![T::canary(); x.len()]);
            isa.cross_entropy(&x, &[label], &mut loss, Some(&mut dx), Rows::new(1, x.len()), params)
                .expect("the slices hold the row");
            (loss[0].to_f64(), dx.iter().map(|v| v.to_f64()).collect::<Vec<_>>())
        };
        // −∞ at the label, elsewhere, and under smoothing, where a sum may also exceed every number.
        let (loss, dx) = call(&[0.0, -INF, 0.0], 1, &none);
        assert_eq!((loss, dx), (INF, vec![0.5, -1.0, 0.5]), "{isa}");
        let (loss, dx) = call(&[0.0, -INF, 0.0], 0, &none);
        assert!(
            (loss - std::f64::consts::LN_2).abs() < 1e-6 && dx == [-0.5, 0.0, 0.5],
            "{isa}: {loss} {dx:?}"
        );
        let (loss, dx) = call(&[0.0, -INF], 0, &smooth);
        assert_eq!((loss, dx), (INF, vec![0.25, -0.25]), "{isa}");
        let least = 0.9 * T::finite(-f64::MAX).to_f64();
        let (loss, dx) = call(&[0.0, least, least], 0, &smooth);
        // In f64 the sum is beyond every number.
        assert!(
            loss >= -0.25 * least && dx.iter().all(|v| v.is_finite()),
            "{isa}: {loss} {dx:?}"
        );
        let weights = [1.0, 0.0];
        // The NaN of every CPU has the same bits.
        let nan = |loss: f64| loss.to_bits() == T::Probability::from_f64(f64::NAN).to_f64().to_bits();
        for (params, label) in [(&smooth, 0), (&none, 1)] {
            let weighted = CrossEntropy {
                class_weights: Some(&weights),
                ..*params
            };
            assert!(nan(call(&[0.0, -INF], label, &weighted).0), "{isa}");
        }
        // Rows without a distribution, unless they are ignored.
        for row in [[0.0, f64::NAN], [INF, 0.0], [-INF, -INF]] {
            for params in [&none, &smooth] {
                let (loss, dx) = call(&row, 0, params);
                assert!(
                    nan(loss) && dx.iter().all(|v| v.is_nan()),
                    "{isa}: {row:?}: {loss} {dx:?}"
                );
                assert_eq!(call(&row, -100, params), (0.0, vec![0.0; 2]), "{isa}: {row:?}");
            }
        }
        // Certainty costs nothing, and never less.
        for x in [[200.0, 0.0], [1e30, -1e30], [30.0, -3.0]] {
            let (loss, _) = call(&x, 0, &none);
            assert!((0.0..1e-10).contains(&loss), "{isa}: {x:?}: {loss}");
        }
        // Means and sums of nothing, also where nothing is a row.
        for (labels, cols) in [(&[-100_i64, -100][..], 3), (&[], 3), (&[-100], 0)] {
            let x = vec![T::from_f64(1.0); labels.len() * cols];
            for (reduction, want) in [(Reduction::Mean, f64::NAN), (Reduction::Sum, 0.0)] {
                let params = CrossEntropy { reduction, ..none };
                let (mut loss, mut dx) = ([T::Probability::canary()], vec![T::canary(); x.len()]);
                let rows = Rows::new(labels.len(), cols);
                isa.cross_entropy(&x, labels, &mut loss, Some(&mut dx), rows, &params)
                    .expect("the slices hold the rows");
                let loss = loss[0].to_f64();
                assert!(
                    loss == want || nan(loss) && want.is_nan(),
                    "{isa}: {loss:?} of {labels:?}"
                );
                assert!(dx.iter().all(|v| v.to_f64() == 0.0), "{isa}: {dx:?}");
            }
        }
    });
}

#[test]
fn bad_calls() {
    for_each_isa(|isa| {
        let rows = SHAPE.rows();
        let (x, labels) = (vec![0.0_f32; 115], [1_i64; 7]);
        let none = CrossEntropy {
            reduction: Reduction::None,
            ..CrossEntropy::default()
        };
        let call = |x: &[f32], labels: &[i64], losses: usize, grads: usize, rows: Rows, params: &CrossEntropy| {
            let what = format!("cross_entropy on {isa}");
            untouched(losses, &what, |loss: &mut [f32]| {
                untouched(grads, &what, |dx: &mut [f32]| {
                    isa.cross_entropy(x, labels, loss, Some(dx), rows, params)
                })
            })
        };
        let fails = |outcome: Result<(), Error>, numbers: &[usize]| check_message(outcome, numbers, &isa.to_string());
        fails(call(&x[..114], &labels, 7, 127, rows, &none), &[114, 115]);
        fails(call(&x, &labels[..6], 7, 127, rows, &none), &[6, 7]);
        fails(call(&x, &labels, 6, 127, rows, &none), &[6, 7]);
        fails(call(&x, &labels, 0, 127, rows, &CrossEntropy::default()), &[0, 1]);
        fails(call(&x, &labels, 7, 126, rows, &none), &[126, 127]);
        fails(call(&x, &labels, 7, 127, rows.with_x_stride(12), &none), &[12, 13]);
        fails(call(&x, &labels, 7, 127, rows.with_y_stride(11), &none), &[11, 13]);
        for label in [13, -1, -7, i64::MAX, i64::MIN] {
            let mut labels = labels;
            labels[5] = label;
            let error = call(&x, &labels, 7, 127, rows, &none).expect_err("a label out of range");
            assert_eq!(
                error,
                Error::Label {
                    row: 5,
                    label,
                    classes: 13
                },
                "{isa}"
            );
            assert!(error.to_string().contains(&label.to_string()), "{isa}: {error}");
            fails(Err(error), &[5, 13]);
        }
        for bad in [1.0, -0.1, f64::NAN, f64::INFINITY] {
            let params = CrossEntropy {
                label_smoothing: bad,
                ..none
            };
            let error = call(&x, &labels, 7, 127, rows, &params).expect_err("a smoothing out of range");
            assert!(
                error.to_string().contains(&format!("label_smoothing is {bad},")),
                "{isa}: {error}"
            );
        }
        let weights = [1.0; 12];
        let params = CrossEntropy {
            class_weights: Some(&weights),
            ..none
        };
        fails(call(&x, &labels, 7, 127, rows, &params), &[12, 13]);
        fails(
            cross_entropy(&x, &[13], &mut [0.0], None, Rows::new(1, 13), &none),
            &[0, 13],
        );
    });
}
