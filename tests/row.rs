//! Row primitives: exact maxima, e^(x − max) within its bound, sums that add what was computed.

use crate::common::dd::{self, Dd, Exact, two_sum};
use crate::common::element::{TestElement, bits};
use crate::common::host_flags::with_subnormals_flushed;
use crate::common::inputs::{self, DISTRIBUTIONS, lengths, rows_of};
use crate::common::{exact_isas, for_each_isa, isas, longest, thinned};
use crate::errors::{check_message, untouched};
use softmax::{Isa, row};

/// The stated bound in ULP beside |x − max|.
fn bound(isa: Isa) -> f64 {
    if isa == Isa::Portable { 3.5 } else { 1.5 }
}

#[test]
fn maxima() {
    check_maxima::<f32>();
    check_maxima::<f64>();
}

fn check_maxima<T: TestElement>() {
    let values = [
        0.0,
        -0.0,
        1e-40,
        -1e-40,
        5e-324,
        -5e-324,
        1.0,
        -1.0,
        -3e38,
        f64::NEG_INFINITY,
        3e38,
    ];
    for_each_isa(|isa| {
        assert_eq!(isa.row_max::<T>(&[]).map(|m| m.to_f64()), Ok(f64::NEG_INFINITY));
        let mut rng = inputs::rng(61);
        for n in thinned(1..300) {
            let few = 1 + n % values.len();
            let mut x: Vec<T> = (0..n)
                .map(|_| T::from_f64(values[(inputs::uniform(&mut rng, 0.0, 1.0) * few as f64) as usize]))
                .collect();
            // +0 above −0, as the contract has it.
            let want = x.iter().map(|v| v.to_f64() + 0.0).fold(f64::NEG_INFINITY, f64::max);
            let got = isa.row_max(&x).expect("available");
            assert_eq!(
                got.bits(),
                T::from_f64(want).bits(),
                "{isa}, n = {n}: {got:?}, not {want:?}"
            );
            if let Some(flushed) = with_subnormals_flushed(|| isa.row_max(&x)) {
                assert_eq!(flushed.map(|m| m.bits()), Ok(got.bits()), "{isa}, n = {n}, flushed");
            }
            x[n * 7 % n.max(2) % n] = T::from_f64(f64::NAN);
            let nan = isa.row_max(&x).expect("available");
            assert_eq!(nan.bits(), T::NAN_BITS, "{isa}, n = {n}");
        }
        let x: Vec<T> = [1.0, f64::INFINITY, 2.0].map(T::from_f64).to_vec();
        assert_eq!(isa.row_max(&x).map(|m| m.to_f64()), Ok(f64::INFINITY));
    });
}

/// y, its sum, on an ISA.
fn run<T: TestElement>(isa: Isa, x: &[T], max: T::Compute) -> (Vec<T>, f64) {
    let mut y = vec![T::canary(); x.len()];
    let sum = isa.row_exp_sub_max_sum(x, Some(&mut y), max).expect("equal lengths");
    (y, sum)
}

/// Panics unless y and sum are within the bounds; prints nothing.
fn check<T: TestElement>(isa: Isa, x: &[T], max: T, (y, sum): &(Vec<T>, f64), what: &str) {
    let mut total = dd::Sum::ZERO;
    for (&x, &y) in x.iter().zip(y) {
        let d = two_sum(x.to_f64(), -max.to_f64());
        let want: Exact = dd::exp(d);
        if d.hi * std::f64::consts::LOG2_E < f64::from(T::FORMAT.max_exp) + 0.49 {
            let error = T::FORMAT.error(y.to_f64(), want);
            let bound = bound(isa) + d.hi.abs();
            assert!(
                error <= bound,
                "{what} on {isa}: {y:?} of {x:?}: {error} ULP, bound {bound}"
            );
        }
        total = total.add(Dd::from(y.to_f64()));
    }
    let total = total.total().hi;
    let relative = 3.0 * 2f64.powi(-T::FORMAT.digits) + x.len() as f64 * 2f64.powi(-53);
    assert!(
        (sum - total).abs() <= relative * total,
        "{what} on {isa}, n = {}: sum {sum}, not {total}",
        x.len()
    );
}

#[test]
fn exponentials_and_sums() {
    check_exponentials::<f32>();
    check_exponentials::<f64>();
}

fn check_exponentials<T: TestElement<Compute = T, Probability = T>>() {
    for (d, n) in rows_of(lengths(5000)) {
        let x: Vec<T> = d.row(n, 63);
        let max = row::max(&x);
        if n == 0 || !max.to_f64().is_finite() {
            continue;
        }
        let want = run(Isa::Scalar, &x, max);
        for &isa in isas() {
            let got = run(isa, &x, max);
            check(isa, &x, max, &got, d.name);
            let same = (bits(&got.0), got.1.to_bits());
            if isa != Isa::Portable {
                assert_eq!(same, (bits(&want.0), want.1.to_bits()), "{} on {isa}, n = {n}", d.name);
            }
            let mut y = x.clone();
            let sum = isa.row_exp_sub_max_sum_in_place(&mut y, max).expect("available");
            assert_eq!(
                (bits(&y), sum.to_bits()),
                same,
                "{} on {isa}, n = {n}, in place",
                d.name
            );
            let sum = isa.row_exp_sub_max_sum(&x, None, max).expect("no output");
            assert_eq!(sum.to_bits(), same.1, "{} on {isa}, n = {n}, no output", d.name);
        }
    }
    // More than one segment, beyond the caches.
    let x: Vec<T> = DISTRIBUTIONS[1].row(longest(Isa::Avx512, 1 << 20) - 5, 64);
    for isa in exact_isas().filter(|&isa| isa != Isa::Scalar) {
        check(isa, &x, row::max(&x), &run(isa, &x, row::max(&x)), "a long row");
    }
}

/// The caller's `max` need not be one.
#[test]
fn any_maximum() {
    check_any::<f32>(&[-3e38, -90.0, -88.0, -87.0, -20.0, 0.3, 20.0, 87.0, 3e38]);
    check_any::<f64>(&[-3e38, -709.0, -708.3, -20.0, 0.3, 20.0, 700.0, 3e38]);
}

fn check_any<T: TestElement<Compute = T, Probability = T>>(maxima: &[f64]) {
    for_each_isa(|isa| {
        for &max in maxima {
            let max = T::from_f64(max);
            // Terms up to 2^100, so that no sum overflows.
            let mut x: Vec<T> = DISTRIBUTIONS[1].row(333, 65);
            x.retain(|x| x.to_f64() - max.to_f64() < 69.0);
            check(isa, &x, max, &run(isa, &x, max), "another maximum");
        }
        let e = |x: f64, max: f64| run(isa, &[T::from_f64(x)], T::from_f64(max)).0[0].to_f64();
        assert_eq!(e(f64::NEG_INFINITY, 5.0), 0.0, "{isa}");
        assert_eq!(e(-1e30, 5.0), 0.0, "{isa}");
        assert_eq!(e(1e30, 5.0), f64::INFINITY, "{isa}");
        assert_eq!(e(f64::INFINITY, 5.0), f64::INFINITY, "{isa}");
        assert_eq!(e(7.0, 7.0), 1.0, "{isa}");
        for (x, max) in [
            (f64::NAN, 1.0),
            (1.0, f64::NAN),
            (f64::INFINITY, f64::INFINITY),
            (f64::NEG_INFINITY, f64::NEG_INFINITY),
        ] {
            let (y, sum) = run(isa, &[T::from_f64(x)], T::from_f64(max));
            assert!(y[0].to_f64().is_nan() && sum.is_nan(), "{isa}: {x} − {max}");
        }
        assert_eq!(run::<T>(isa, &[], T::from_f64(0.0)).1, 0.0);
    });
}

#[test]
fn products() {
    check_products::<f32>();
    check_products::<f64>();
}

fn check_products<T: TestElement<Compute = T, Probability = T>>() {
    for_each_isa(|isa| {
        for n in thinned(0..300) {
            let x: Vec<T> = DISTRIBUTIONS[2].row(n, 66);
            for s in [0.37, -1e-3, 0.0, f64::INFINITY] {
                let (mut y, s) = (x.clone(), T::from_f64(s));
                isa.row_scale(&mut y, s).expect("available");
                for (x, y) in x.iter().zip(&y) {
                    // The product of two f32 is exact in f64; of two f64 it is rounded once.
                    let want = T::from_f64(x.to_f64() * s.to_f64());
                    assert!(want.distance(*y) == 0, "{isa}: {x:?}·{s:?} = {y:?}");
                }
            }
        }
    });
}

/// A sum that is too large is +∞, not NaN.
#[test]
fn sums_beyond_every_number() {
    for_each_isa(|isa| {
        let sum = |x: &[f64]| isa.row_exp_sub_max_sum(x, None, 0.0).expect("no output");
        for n in [1, 3, 17, 40, 300] {
            assert_eq!(sum(&vec![1000.0; n]), f64::INFINITY, "{isa}: {n} infinite terms");
            let mut one = vec![0.0; n];
            one[n / 2] = 1000.0;
            assert_eq!(sum(&one), f64::INFINITY, "{isa}: one infinite term of {n}");
        }
        assert_eq!(sum(&[709.0; 300]), f64::INFINITY, "{isa}");
        let single = isa.row_exp_sub_max_sum(&[1000.0_f32; 40], None, 0.0);
        assert_eq!(single, Ok(f64::INFINITY), "{isa}");
    });
}

#[test]
fn unequal_lengths() {
    for_each_isa(|isa| {
        let what = format!("row_exp_sub_max_sum on {isa}");
        let outcome = untouched(6, &what, |y: &mut [f32]| {
            isa.row_exp_sub_max_sum(&[0.0; 7], Some(y), 0.0).map(|_| ())
        });
        check_message(outcome, &[7, 6], &what);
    });
}
