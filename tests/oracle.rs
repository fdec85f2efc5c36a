//! Tests of the reference: double-double arithmetic against known values and identities, and the oracle against itself.
#![allow(clippy::approx_constant)] // the tables hold high and low parts

use crate::common::dd::{self, Dd, Exact};
use crate::common::inputs::{self, DISTRIBUTIONS};
use crate::common::oracle::{Oracle, Precision};

/// x, e^x and its exponent, to 106 bits: e^x = (hi + lo)·2^e. Computed with Python's `decimal` at 80 digits.
const EXP: &[(f64, f64, f64, i32)] = &[
    (1.0, 1.3591409142295225, 7.228234458646251e-17, 1),
    (-1.0, 1.4715177646857693, -4.971501469115345e-17, -2),
    (0.5, 1.6487212707001282, -4.731568479435833e-17, 0),
    (-16.64, 1.9910845972301063, -3.5379963154393125e-17, -25),
    (10.0, 1.3443887814213085, -8.410726745921248e-17, 14),
    (0.34657359027997264, 1.414213562373095, 1.0897353451090442e-16, 0),
    (1e-05, 1.00001000005, 9.70188425858504e-17, 0),
    (-87.3365447505531, 1.0000000000000067, 3.5419121420952933e-17, -126),
    (88.72283905206835, 1.999999880790708, 5.844477280170027e-17, 127),
    (-745.1332191019412, 1.9999999999999711, -1.0052961043639282e-16, -1076),
    (709.782712893384, 1.9999999999999525, 2.3466706385047727e-17, 1023),
    (-1000.0, 1.2353836233019893, 1.3180881881253474e-17, -1443),
    (-3000.0, 1.8854087558619206, -6.047603786337123e-17, -4329),
    (1e-300, 1.0, 0.0, 0),
];
/// x and ln x, likewise.
const LN: &[(f64, f64, f64)] = &[
    (2.0, 0.6931471805599453, 2.3190468138462996e-17),
    (3.0, 1.0986122886681098, -9.07129723500153e-17),
    (10.0, 2.302585092994046, -2.1707562233822494e-16),
    (1.0000001, 9.999999505838704e-08, 1.5249709528441489e-24),
    (1.5, 0.4054651081081644, -2.8811380259626426e-18),
    (512.25, 6.238812787119009, -1.9281870513617845e-16),
    (16777216.5, 16.63553236324101, 1.0006604539964341e-15),
    (0.7, -0.35667494393873245, 4.82556379937662e-18),
];

fn relative(got: Exact, want: Exact) -> f64 {
    let difference = got.m.scale(got.e - want.e) - want.m;
    (difference.hi / want.m.hi).abs()
}

#[test]
fn double_double_exp_and_ln_have_30_digits() {
    for &(x, hi, lo, e) in EXP {
        let (want, got) = (Exact { m: Dd { hi, lo }, e }, dd::exp(Dd::from(x)));
        assert!(relative(got, want) < 1e-30, "exp({x}) off by {:e}", relative(got, want));
        assert!(relative(dd::exp_f64(Dd::from(x)), want) < 1e-15, "f64 exp({x})");
    }
    for &(x, hi, lo) in LN {
        let error = (dd::ln(Dd::from(x)) - Dd { hi, lo }).hi.abs() / hi.abs().max(1.0);
        assert!(error < 1e-30, "ln({x}) off by {error:e}");
    }
}

#[test]
fn double_double_identities() {
    let mut rng = inputs::rng(1);
    for _ in 0..2000 {
        let (a, b) = (
            inputs::uniform(&mut rng, -800.0, 800.0),
            inputs::uniform(&mut rng, -1.0, 1.0),
        );
        let (ea, eb, sum) = (dd::exp(Dd::from(a)), dd::exp(Dd::from(b)), dd::exp(dd::two_sum(a, b)));
        let product = Exact {
            m: ea.m * eb.m,
            e: ea.e + eb.e,
        };
        assert!(relative(product, sum) < 1e-30, "exp({a})·exp({b})");
        let back = dd::ln(eb.to_dd()) - Dd::from(b);
        assert!(back.hi.abs() < 1e-30, "ln(exp({b}))");
        let third = Dd::from(a) / Dd::from(3.0);
        assert!(
            (third + third + third - Dd::from(a)).hi.abs() <= a.abs() * 1e-31,
            "{a} / 3"
        );
    }
    assert_eq!(dd::exp(Dd::from(f64::NEG_INFINITY)).to_f64(), 0.0);
    assert_eq!(dd::exp(Dd::from(f64::INFINITY)).to_f64(), f64::INFINITY);
    assert!(dd::exp(Dd::from(f64::NAN)).to_f64().is_nan());
}

#[test]
fn floor_log2_and_scale() {
    for (v, lo, want) in [
        (1.0, 0.0, 0),
        (1.0, -1e-20, -1),
        (1.5, 0.0, 0),
        (2.0, 1e-20, 1),
        (5e-324, 0.0, -1074),
    ] {
        assert_eq!(Dd { hi: v, lo }.floor_log2(), want, "{v} + {lo}");
    }
    assert_eq!(dd::scale(1.0, -1074), 5e-324);
    assert_eq!(dd::scale(dd::scale(1.5, -1000), 2000), dd::scale(1.5, 1000));
    assert_eq!(dd::scale(f64::NEG_INFINITY, -2000), f64::NEG_INFINITY);
}

#[test]
fn oracle_agrees_with_itself() {
    for d in DISTRIBUTIONS {
        for n in [1, 2, 7, 100] {
            let row: Vec<f64> = d.row::<f64>(n, 3);
            let [good, fast] = [Precision::DoubleDouble, Precision::Fast].map(|p| Oracle::new(row.iter().copied(), p));
            let sum = row.iter().fold(Dd::from(0.0), |s, &x| s + good.softmax(x).to_dd());
            assert!((sum - Dd::from(1.0)).hi.abs() < 1e-29, "{}: the sum is {sum:?}", d.name);
            for &x in &row {
                let (p, log) = (good.softmax(x), good.log_softmax(x));
                if p.m.hi > 0.0 {
                    let again = dd::exp(log.to_dd());
                    assert!(relative(again, p) < 1e-25, "{}: exp(log_softmax({x}))", d.name);
                    assert!(relative(fast.softmax(x), p) < 1e-14, "{}: fast", d.name);
                }
            }
        }
    }
    fn of(row: &[f64]) -> Oracle {
        Oracle::new(row.iter().copied(), Precision::Fast)
    }
    assert_eq!(of(&[]).logsumexp().to_f64(), f64::NEG_INFINITY);
    assert_eq!(of(&[f64::NEG_INFINITY; 2]).logsumexp().to_f64(), f64::NEG_INFINITY);
    assert_eq!(of(&[f64::INFINITY, 1.0]).logsumexp().to_f64(), f64::INFINITY);
    assert!(of(&[f64::INFINITY, f64::NAN, 1.0]).logsumexp().to_f64().is_nan());
    for poison in [f64::NAN, f64::INFINITY] {
        assert!(of(&[1.0, poison, 2.0]).softmax(1.0).to_f64().is_nan(), "{poison}");
        assert!(of(&[1.0, poison, 2.0]).log_softmax(2.0).to_f64().is_nan(), "{poison}");
    }
    assert!(of(&[f64::NEG_INFINITY; 2]).softmax(f64::NEG_INFINITY).to_f64().is_nan());
    assert_eq!(
        of(&[f64::NEG_INFINITY, 1.0]).log_softmax(f64::NEG_INFINITY).to_f64(),
        f64::NEG_INFINITY
    );
}
