//! The rules of `argmax` and `top_k`, special rows and bad calls included.

use crate::common::choices::pick;
use crate::common::dd::scale;
use crate::common::element::{TestElement, bits, for_each_element};
use crate::common::forms::assume_init;
use crate::common::inputs::{self, DISTRIBUTIONS};
use crate::common::ops::{Outcome, operators};
use crate::common::{for_each_isa, repeated};
use crate::contract::{cases, places, value};
use crate::errors::{SHAPE, WRAPPING, check_message, untouched, zeros};
use rand::RngExt;
use softmax::Rows;
use std::mem::MaybeUninit;

/// What stands in places for indices before a call.
const NO_INDEX: usize = 0xBAD;

/// Rows for the choosing operators: few values, so many ties; both zeros; infinities and NaN now and then.
fn row_with_ties<T: TestElement>(rng: &mut inputs::TestRng, n: usize, special: bool) -> Vec<T> {
    let subnormal = scale(0.75, T::FORMAT.min_exp);
    let values = [
        0.0,
        -0.0,
        1.0,
        1.0,
        -1.0,
        3e38,
        -3e38,
        f64::NEG_INFINITY,
        subnormal,
        -subnormal,
        f64::INFINITY,
        f64::NAN,
    ];
    let kinds = if special && rng.random() { 12 } else { 10 };
    let (few, wide) = (rng.random_range(1..=kinds), rng.random::<bool>() && n > 40);
    let mut draw = |_| {
        value(if wide {
            inputs::normal(rng)
        } else {
            values[rng.random_range(0..few)]
        })
    };
    (0..n).map(&mut draw).collect()
}

/// The rule, by the book: all indices, NaN first, else by value, ties by index.
fn order<T: TestElement>(x: &[T]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    let key = |i: usize| (!x[i].to_f64().is_nan(), x[i].to_f64());
    order.sort_by(|&a, &b| {
        let ((a_number, a), (b_number, b)) = (key(a), key(b));
        a_number
            .cmp(&b_number)
            .then(b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal))
    });
    order
}

#[test]
fn argmax_and_top_k() {
    for_each_element!(check_choices);
}

fn check_choices<T: TestElement>() {
    for_each_isa(|isa| {
        let mut rng = inputs::rng(41);
        for i in 0..repeated(3000) {
            let n = if i % 50 == 0 { 5000 } else { 1 + i % 300 };
            let x = row_with_ties::<T>(&mut rng, n, true);
            let (order, p) = (order(&x), operators::<T>()[0].run(isa, &x));
            assert_eq!(isa.argmax(&x), Ok(Some(order[0])), "{isa}: argmax, n = {n}");
            let k = [0, 1, 2, 5, 31, 33, n][i % 7].min(n);
            let top = pick::<T>(1, k, |index, prob| isa.top_k(&x, index, prob)).expect("k is at most n");
            if x.iter().any(|v| v.to_f64().is_nan()) {
                // Of a row with NaN only the first is promised, and that the others are places of the row.
                assert_eq!(
                    top.index.first(),
                    order.first().filter(|_| k > 0),
                    "{isa}: top_k of NaN"
                );
                let mut places = top.index.clone();
                places.sort_unstable();
                places.dedup();
                assert!(
                    places.len() == k && places.iter().all(|&i| i < n),
                    "{isa}: places {places:?}"
                );
            } else {
                assert_eq!(top.index, order[..k], "{isa}: top_k of {n}");
            }
            // The probabilities are those of softmax: x and p have the same types but for the halves.
            for (&i, prob) in top.index.iter().zip(&top.prob) {
                let (got, full) = (T::from_f64(prob.to_f64()), p[i]);
                assert!(
                    got.bits() == full.bits(),
                    "{isa}: n = {n}, probability {prob:?} at {i}, softmax has {full:?}"
                );
            }
        }
    });
}

/// Outputs that were never initialised get what others get.
#[test]
fn choices_into_uninitialised_memory() {
    for_each_element!(check_uninitialised);
}

fn check_uninitialised<T: TestElement>() {
    for_each_isa(|isa| {
        let (n, k, rows) = (5, 3, Rows::new(5, 40));
        let x = DISTRIBUTIONS[1].row::<T>(n * 40, 43);
        let mut index = vec![MaybeUninit::new(NO_INDEX); n];
        let mut initialised = vec![0; n];
        isa.argmax_rows(&x, &mut index[..], rows).expect("valid");
        isa.argmax_rows(&x, &mut initialised, rows).expect("valid");
        assert_eq!(assume_init(index), initialised, "{isa}");
        let mut index = vec![MaybeUninit::new(NO_INDEX); n * k];
        let mut prob = vec![MaybeUninit::new(T::Probability::canary()); n * k];
        let top = pick::<T>(n, k, |index, prob| isa.top_k_rows(&x, k, index, prob, rows)).expect("valid");
        isa.top_k_rows(&x, k, &mut index[..], &mut prob[..], rows)
            .expect("valid");
        assert_eq!(assume_init(index), top.index, "{isa}");
        assert_eq!(bits(&assume_init(prob)), bits(&top.prob), "{isa}");
    });
}

/// The special value at every position, as for the other operators.
#[test]
fn choices_of_special_rows() {
    for_each_element!(check_special_choices);
}

fn check_special_choices<T: TestElement>() {
    for_each_isa(|isa| {
        for (n, places) in places().into_iter().filter(|p| p.0 <= 5000) {
            let ordinary: Vec<T> = DISTRIBUTIONS[1].row(n, 37);
            for case in cases::<T>() {
                for &at in &places {
                    let mut x = ordinary.clone();
                    (case.put)(&mut x, at);
                    let first = order(&x)[0];
                    assert_eq!(isa.argmax(&x), Ok(Some(first)), "{isa}: {} at {at}, n = {n}", case.name);
                    let top = pick::<T>(1, 1, |index, prob| isa.top_k(&x, index, prob)).expect("k is at most n");
                    assert_eq!(top.index, [first], "{isa}: top_k, {} at {at}, n = {n}", case.name);
                    let p = operators::<T>()[0].run(isa, &x)[first];
                    assert_eq!(
                        bits(&top.prob)[0] == T::Probability::NAN_BITS,
                        p.bits() == T::NAN_BITS,
                        "{isa}: {p:?}"
                    );
                }
            }
        }
    });
}

#[test]
fn bad_calls() {
    for_each_element!(check_bad_calls);
}

type Call<'a, T> = &'a dyn Fn(&mut [usize], &mut [<T as TestElement>::Probability]) -> Outcome;

fn check_bad_calls<T: TestElement>() {
    for_each_isa(|isa| {
        // `n` places for indices and `m` for probabilities, canaries all.
        let call = |n: usize, m: usize, numbers: &[usize], what: &str, call: Call<T>| {
            let (mut index, what) = (vec![NO_INDEX; n], format!("{what} on {isa}"));
            let outcome = untouched(m, &what, |prob| call(&mut index, prob));
            assert!(index.iter().all(|&i| i == NO_INDEX), "{what}: an index was written");
            check_message(outcome, numbers, &what);
        };
        let x = zeros::<T>(SHAPE.x_extent());
        call(6, 6, &[6, 5], "top_k, k > n", &|i, p| isa.top_k(&x[..5], i, p));
        call(1, 1, &[1, 0], "top_k of nothing", &|i, p| {
            isa.top_k::<T, _, _>(&[], i, p)
        });
        let error = isa
            .top_k(&x, &mut [0; 4], &mut [T::Probability::canary(); 3])
            .expect_err("unequal");
        assert_eq!(error.to_string(), "index has 4 elements, prob has 3", "{isa}");
        call(4, 3, &[4, 3], "top_k, unequal outputs", &|i, p| isa.top_k(&x, i, p));
        call(3, 4, &[4, 3], "top_k, unequal outputs", &|i, p| isa.top_k(&x, i, p));
        call(4, 3, &[4, 3], "top_k, detected", &|i, p| softmax::top_k(&x, i, p));
        let rows = SHAPE.rows();
        call(98, 98, &[14, 13], "top_k_rows, k > cols", &|i, p| {
            isa.top_k_rows(&x, 14, i, p, rows)
        });
        call(13, 14, &[13, 14], "top_k_rows, index", &|i, p| {
            isa.top_k_rows(&x, 2, i, p, rows)
        });
        call(14, 13, &[13, 14], "top_k_rows, prob", &|i, p| {
            isa.top_k_rows(&x, 2, i, p, rows)
        });
        call(14, 13, &[13, 14], "top_k_rows, detected", &|i, p| {
            softmax::top_k_rows(&x, 2, i, p, rows)
        });
        call(14, 14, &[114, 115], "top_k_rows, input", &|i, p| {
            isa.top_k_rows(&x[..114], 2, i, p, rows)
        });
        call(14, 14, &[12, 13], "top_k_rows, stride", &|i, p| {
            isa.top_k_rows(&x, 2, i, p, rows.with_x_stride(12))
        });
        call(5, 5, &[2, 0], "top_k_rows of nothing", &|i, p| {
            isa.top_k_rows::<T, _, _>(&[], 2, i, p, Rows::new(2, 0))
        });
        let wrapping = Rows::new(WRAPPING, 16);
        call(16, 16, &[WRAPPING, 16], "top_k_rows", &|i, p| {
            isa.top_k_rows(&x[..16], 16, i, p, wrapping)
        });
        call(6, 0, &[6, 7], "argmax_rows, index", &|i, _| {
            isa.argmax_rows(&x, i, rows)
        });
        call(6, 0, &[6, 7], "argmax_rows, detected", &|i, _| {
            softmax::argmax_rows(&x, i, rows)
        });
        call(7, 0, &[114, 115], "argmax_rows, input", &|i, _| {
            isa.argmax_rows(&x[..114], i, rows)
        });
        call(7, 0, &[12, 13], "argmax_rows, stride", &|i, _| {
            isa.argmax_rows(&x, i, rows.with_x_stride(12))
        });
        call(16, 0, &[WRAPPING, 16], "argmax_rows", &|i, _| {
            isa.argmax_rows(&x[..16], i, wrapping)
        });
    });
}
