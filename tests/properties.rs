//! Properties that hold for any row, within the bounds that follow from the contract.
//!
//! Cases are drawn from a fixed seed; `PROPTEST_RNG_SEED=n` draws others, `PROPTEST_CASES=n` more.

use crate::common::choices::pick;
use crate::common::dd::{self, Dd};
use crate::common::element::{TestElement, bits, for_each_element};
use crate::common::ops::{ManyRows, RowsInPlace, log_bound, operators, softmax_bound, sum_bound};
use crate::common::shape::Shape;
use crate::common::{isas, scale};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use softmax::Isa;

/// Runs a property on values of a strategy.
fn check<S: Strategy<Value: std::fmt::Debug>>(strategy: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = (400 / scale() as u32).max(20);
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(0x50f7_3a78);
    }
    TestRunner::new(config)
        .run(&strategy, property)
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Logits on a grid of 2^-10 within ±40, so that sums with integers below 2^12 are exact in f32, and sometimes −∞.
fn logits(sizes: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<f64>> {
    let grid = |steps: i32| f64::from(steps) / 1024.0;
    let finite = prop_oneof![8 => -40_960..=40_960, 3 => -2048..=2048, 1 => Just(0)].prop_map(grid);
    let any = prop_oneof![20 => finite.clone(), 1 => Just(f64::NEG_INFINITY)];
    (prop::collection::vec(any, sizes), finite).prop_map(|(mut row, first)| {
        row[0] = first;
        row
    })
}

/// Rows of any floats at all.
fn anything<T: TestElement>() -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(
        prop_oneof![
            any::<u64>().prop_map(T::from_bits),
            (-100.0..100.0).prop_map(T::from_f64)
        ],
        1..300,
    )
}

fn row<T: TestElement>(x: &[f64]) -> Vec<T> {
    x.iter().map(|&v| T::from_f64(v)).collect()
}

fn softmax<T: TestElement>(isa: Isa, x: &[T]) -> Vec<T> {
    operators::<T>()[0].run(isa, x)
}

/// Whether two results with the same exact value can both be within `ulp` ULP of it. Flushed results count as 2^min_exp.
fn close<T: TestElement>(a: T, b: T, ulp: f64) -> bool {
    let [a, b] = [a, b].map(|v| v.to_f64().max(dd::scale(1.0, T::FORMAT.min_exp)));
    // The exact value may have the ULP of the larger.
    let larger = crate::common::dd::Exact::from(Dd::from(a.max(b)));
    (a - b).abs() <= 2.0 * ulp * dd::scale(1.0, T::FORMAT.ulp_exp(larger))
}

#[test]
fn shift_invariance() {
    for_each_element!(check_shift);
}

fn check_shift<T: TestElement>() {
    check((logits(1..=300), -2000i32..=2000), |(mut x, mut shift)| {
        if T::FORMAT.is_half() {
            // Eight digits hold these sums.
            let eighths = |v: f64| {
                if v.is_finite() {
                    (v % 8.0 * 8.0).round() / 8.0
                } else {
                    v
                }
            };
            x.iter_mut().for_each(|v| *v = eighths(*v));
            shift %= 8;
        }
        let shifted: Vec<f64> = x.iter().map(|v| v + f64::from(shift)).collect();
        for &isa in isas() {
            let (p, q) = (softmax(isa, &row::<T>(&x)), softmax(isa, &row::<T>(&shifted)));
            for (i, (p, q)) in p.iter().zip(&q).enumerate() {
                prop_assert!(close(*p, *q, softmax_bound::<T>(isa)), "{isa}: {p:?} and {q:?} at {i}");
            }
        }
        Ok(())
    });
}

#[test]
fn permutations() {
    for_each_element!(check_permutations);
}

fn check_permutations<T: TestElement>() {
    let shuffled = logits(1..=300).prop_flat_map(|x| {
        let order: Vec<usize> = (0..x.len()).collect();
        (Just(x), Just(order).prop_shuffle())
    });
    check(shuffled, |(x, order)| {
        let x: Vec<T> = row(&x);
        let y: Vec<T> = order.iter().map(|&i| x[i]).collect();
        for &isa in isas() {
            let (p, q) = (softmax(isa, &x), softmax(isa, &y));
            for (&i, q) in order.iter().zip(&q) {
                prop_assert!(
                    close(p[i], *q, softmax_bound::<T>(isa)),
                    "{isa}: {:?} and {q:?} at {i}",
                    p[i]
                );
            }
        }
        Ok(())
    });
}

/// Larger logits have larger probabilities, equal logits the same bits; the first within the bound, the second always.
#[test]
fn order_is_kept() {
    for_each_element!(check_order);
}

fn check_order<T: TestElement>() {
    check(logits(2..=200), |x| {
        let x: Vec<T> = row(&x);
        for &isa in isas() {
            let p = softmax(isa, &x);
            let mut order: Vec<usize> = (0..x.len()).collect();
            order.sort_by(|&a, &b| x[a].to_f64().total_cmp(&x[b].to_f64()));
            for pair in order.windows(2) {
                let (a, b) = (pair[0], pair[1]);
                let rises = p[a].to_f64() <= p[b].to_f64() || close(p[a], p[b], softmax_bound::<T>(isa));
                prop_assert!(rises, "{isa}: {:?} has {:?}, {:?} has {:?}", x[a], p[a], x[b], p[b]);
                let equal = x[a].to_f64() != x[b].to_f64() || p[a].bits() == p[b].bits();
                prop_assert!(equal, "{isa}: {:?} has {:?} at {a} and {:?} at {b}", x[a], p[a], p[b]);
            }
        }
        Ok(())
    });
}

#[test]
fn sums_and_ranges_of_any_floats() {
    for_each_element!(check_anything);
}

fn check_anything<T: TestElement>() {
    check(anything::<T>(), |x| {
        let max = x
            .iter()
            .map(|v| v.to_f64())
            .fold(f64::NEG_INFINITY, |m, v| if v > m || v.is_nan() { v } else { m });
        for &isa in isas() {
            for op in operators::<T>() {
                let y = op.run(isa, &x);
                let inside = |v: &T| v.to_f64().is_nan() || (op.range.0..=op.range.1).contains(&v.to_f64());
                prop_assert!(y.iter().all(inside), "{} on {isa}: {y:?}", op.name);
                prop_assert!(
                    y.iter().all(|v| v.bits() != T::canary().bits()),
                    "{} on {isa}: not written",
                    op.name
                );
            }
            let p = softmax(isa, &x);
            if max.is_finite() {
                let sum: f64 = p.iter().map(|v| v.to_f64()).sum();
                let bound = sum_bound::<T>(isa, x.len()) + 1e-14;
                approx::assert_abs_diff_eq!(sum, 1.0, epsilon = bound);
            } else {
                prop_assert!(p.iter().all(|v| v.bits() == T::NAN_BITS), "{isa}: {p:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn in_place_is_out_of_place() {
    for_each_element!(check_in_place);
}

fn check_in_place<T: TestElement>() {
    check(
        (anything::<T>(), 1usize..8, 0usize..5, 0usize..5),
        |(mut x, rows, x_gap, y_gap)| {
            let cols = x.len() / rows;
            let shape = Shape {
                rows,
                cols,
                x_stride: cols + x_gap,
                y_stride: cols + y_gap,
            };
            x.resize(x.len().max(shape.x_extent()), T::from_f64(1.5));
            for &isa in isas() {
                for op in operators::<T>() {
                    let (Some(RowsInPlace { rows: in_place, .. }), Some(ManyRows { rows: apart, .. })) =
                        (op.rows_in_place(), op.rows)
                    else {
                        continue;
                    };
                    let (mut y, mut both) = (vec![T::canary(); shape.y_extent(op.width)], x.clone());
                    prop_assert_eq!(apart(isa, &x, &mut y, shape.rows()), Ok(()));
                    prop_assert_eq!(in_place(isa, &mut both, shape.rows_in_place()), Ok(()));
                    for r in 0..if cols > 0 { rows } else { 0 } {
                        let (y, both) = (&y[shape.y_row(op.width, r)], &both[r * shape.x_stride..][..cols]);
                        prop_assert!(bits(y) == bits(both), "{} on {isa}, {shape:?}, row {r}", op.name);
                    }
                }
            }
            Ok(())
        },
    );
}

/// `top_k` is the beginning of the row sorted by logit, with softmax's probabilities.
#[test]
fn top_k_is_a_sorted_softmax() {
    for_each_element!(check_top_k);
}

fn check_top_k<T: TestElement>() {
    let row_and_k = logits(1..=400).prop_flat_map(|x| {
        let n = x.len();
        (Just(x), 0..=n)
    });
    check(row_and_k, |(x, k)| {
        let x: Vec<T> = row(&x);
        let mut order: Vec<usize> = (0..x.len()).collect();
        order.sort_by(|&a, &b| x[b].to_f64().total_cmp(&x[a].to_f64())); // stable; the grid has no −0
        for &isa in isas() {
            let p = softmax(isa, &x);
            let top = pick::<T>(1, k, |index, prob| isa.top_k(&x, index, prob)).expect("k is at most n");
            prop_assert_eq!(&top.index[..], &order[..k], "{}", isa);
            prop_assert_eq!(isa.argmax(&x), Ok(Some(order[0])), "{}", isa);
            for (&i, prob) in top.index.iter().zip(&top.prob) {
                prop_assert_eq!(
                    T::from_f64(prob.to_f64()).bits(),
                    p[i].bits(),
                    "{}: {:?} at {}",
                    isa,
                    prob,
                    i
                );
            }
        }
        Ok(())
    });
}

/// softmax = exp(log_softmax): an error of 4 ULP of max(1, |l|) in l is that relative error in e^l. And
/// log_softmax = x − logsumexp, within both errors.
#[test]
fn log_softmax_is_the_logarithm() {
    for_each_element!(check_logarithm);
}

fn check_logarithm<T: TestElement>() {
    check(logits(1..=300), |x| {
        let x: Vec<T> = row(&x);
        let ops = operators::<T>();
        let ulp = |v: f64| dd::scale(1.0, T::FORMAT.ulp_exp(dd::Exact::from(Dd::from(v.abs().max(1.0)))));
        for &isa in isas() {
            let [p, log, sum] = [0, 1, 2].map(|i| ops[i].run(isa, &x));
            for (i, (p, log)) in p.iter().zip(&log).enumerate() {
                let (p, log, sum) = (p.to_f64(), log.to_f64(), sum[0].to_f64());
                let from = |a: f64, b: Dd| (Dd::from(a) - b).hi.abs();
                let relative =
                    log_bound::<T>() * ulp(log) + softmax_bound::<T>(isa) * dd::scale(1.0, 1 - T::FORMAT.digits);
                let difference = from(p, dd::exp(Dd::from(log)).to_dd());
                let bound =
                    1.01 * relative.min(1.0).exp_m1() * p + dd::scale(1.0, T::FORMAT.min_exp) * (1.0 + relative);
                prop_assert!(difference <= bound, "{isa}: {p:e} and exp({log}) at {i}");
                if log.is_finite() {
                    let difference = from(log, dd::two_sum(x[i].to_f64(), -sum));
                    let bound = log_bound::<T>() * (ulp(log) + ulp(sum)) * 1.01;
                    prop_assert!(difference <= bound, "{isa}: {log} and {:?} - {sum} at {i}", x[i]);
                }
            }
        }
        Ok(())
    });
}
