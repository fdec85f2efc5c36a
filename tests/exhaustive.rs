//! The public `exp` against its bound: a dense sample with every border always, all 2^32 floats on request:
//!
//! `cargo test --release -- --ignored --nocapture exhaustive`
//!
//! The reference is flushed as the contract says: below 2^-126 the result is +0. Measured in f64 first; whatever that
//! finds worse than the worst so far, or not plainly right, is measured again against the double-double reference.

use crate::common::dd::{self, Dd};
use crate::common::element::{TestElement, for_each_element};
use crate::common::oracle::Oracle;
use crate::common::ulp::Format;
use crate::common::{inputs, isas, repeated, scale, thinned};
use softmax::Isa;

/// The worst error of each ISA, and where.
#[derive(Clone)]
struct Worst(Vec<(Isa, f64, f32)>);

impl Worst {
    fn new(isas: &[Isa]) -> Worst {
        Worst(isas.iter().map(|&isa| (isa, 0.0, 0.0)).collect())
    }

    /// `y` and `want` are lent.
    fn add(&mut self, x: &[f32], y: &mut [f32], want: &mut [f64]) {
        x.iter()
            .zip(&mut *want)
            .for_each(|(x, want)| *want = f64::from(*x).exp());
        for (isa, worst, at) in &mut self.0 {
            isa.exp(x, y).unwrap_or_else(|e| panic!("{isa}: {e}"));
            for ((&x, &y), &want) in x.iter().zip(&*y).zip(&*want) {
                if !plainly_within(*worst, y, want) {
                    let error = error(x, y);
                    if error > *worst {
                        (*worst, *at) = (error, x);
                    }
                }
            }
        }
    }

    fn merge(&mut self, other: &Worst) {
        for (worst, other) in self.0.iter_mut().zip(&other.0) {
            if other.1 > worst.1 {
                *worst = *other;
            }
        }
    }

    /// Prints the worst and panics if one is beyond its bound.
    fn finish(&self) {
        for (isa, error, x) in &self.0 {
            println!("exp {isa}: worst {error:.5} ULP at {x:?} ({:#010x})", x.to_bits());
        }
        for (isa, error, x) in &self.0 {
            let bound = f64::from(isa.exp_max_ulp());
            let y = one(*isa, *x);
            assert!(
                *error <= bound,
                "{isa}: exp({x:?} = {:#x}) = {y:?}: {error} ULP, bound {bound}",
                x.to_bits()
            );
        }
    }
}

/// Whether `y` needs no second look: NaN for NaN, 0 and infinity where they are due by far, else an error that is
/// below `worst`, or below what every exp errs somewhere, even with the error of `want`.
fn plainly_within(worst: f64, y: f32, want: f64) -> bool {
    if want.is_nan() {
        return y.is_nan();
    }
    if want < 1e-38 {
        return y.to_bits() == 0;
    }
    if want > 3.5e38 {
        return y == f32::INFINITY;
    }
    let ulp = f64::from_bits((want.to_bits() & 0x7ff0_0000_0000_0000) - (23 << 52));
    want > 1.2e-38 && want < 3.3e38 && (f64::from(y) - want).abs() < ulp * (worst.max(0.4) - 1e-7)
}

/// The error of `y` as e^x; a wrong sign of zero is infinitely wrong.
fn error(x: f32, y: f32) -> f64 {
    if y.is_sign_negative() && !y.is_nan() {
        return f64::INFINITY;
    }
    Format::F32.error(f64::from(y), dd::exp(Dd::from(f64::from(x))))
}

fn one(isa: Isa, x: f32) -> f32 {
    let mut y = [0.0];
    isa.exp(&[x], &mut y).unwrap_or_else(|e| panic!("{isa}: {e}"));
    y[0]
}

#[test]
fn plain_verdicts_agree_with_the_reference() {
    for x in [
        -104.0,
        -87.4,
        -87.336_55,
        -87.336_54,
        -20.3,
        0.0,
        0.7,
        88.722_83,
        88.722_84,
        90.0,
        f32::NAN,
    ] {
        let want = f64::from(x).exp();
        let exact = f32::from_f64(want);
        for y in [
            exact,
            exact.step(1),
            exact.step(-3),
            0.0,
            f32::MIN_POSITIVE,
            1.0,
            f32::INFINITY,
            f32::NAN,
        ] {
            for worst in [0.2, 0.7, 2.0] {
                let verdict = plainly_within(worst, y, want);
                assert!(
                    !verdict || error(x, y) <= f64::max(worst, 0.4),
                    "exp({x}) = {y}: {} against {worst}",
                    error(x, y)
                );
            }
        }
    }
    assert!(error(-1000.0, -0.0).is_infinite() && error(-1000.0, 0.0) == 0.0);
    assert!(error(-87.5, 1.0e-38).is_infinite(), "a subnormal result");
}

/// Places where a kernel changes its ways.
fn borders<T: TestElement>() -> Vec<T> {
    use std::f64::consts::LN_2;
    let Format {
        min_exp,
        max_exp,
        digits,
        ..
    } = T::FORMAT;
    let powers = [min_exp - digits + 1, min_exp - 1, min_exp, max_exp, max_exp + 1].map(|e| f64::from(e) * LN_2);
    let mut at: Vec<f64> = powers.to_vec();
    // Rounding to an integer, halfway, and to eighths: every multiple of ln2/16 in the range of finite results.
    at.extend(thinned(16 * (min_exp - digits)..16 * (max_exp + 2)).map(|k| f64::from(k) * LN_2 / 16.0));
    at.extend(
        [1.0, 2.0, 64.0, 127.0, 128.0, 1e3, 65_536.0, 8_388_608.0, 1e30]
            .iter()
            .flat_map(|&v| [v, -v]),
    );
    let near = |v: f64| (-24i64..=24).map(move |d| T::from_f64(v).step(d));
    let mut all: Vec<T> = at.into_iter().flat_map(near).collect();
    let smallest = [
        T::from_f64(0.0),
        T::from_f64(-0.0),
        T::from_f64(dd::scale(1.0, min_exp)),
    ];
    all.extend(smallest.iter().flat_map(|v| (-40i64..=40).map(move |d| v.step(d))));
    let infinities = [f64::INFINITY, f64::NEG_INFINITY].map(T::from_f64);
    all.extend(
        infinities
            .iter()
            .flat_map(|v| [*v, T::from_bits(v.bits() - 1), T::from_bits(v.bits() | 1)]),
    );
    let sign = 1u64 << (T::WIDTH - 1);
    all.extend(
        [
            T::NAN_BITS,
            T::NAN_BITS | sign,
            T::NAN_BITS | 7,
            sign - 1,
            2 * (sign - 1) + 1,
        ]
        .map(T::from_bits),
    );
    all
}

/// The borders and every k-th float, k a prime, so that no bit pattern is favoured.
#[test]
fn dense_sample() {
    let stride = 1021 * scale();
    let (mut x, mut worst) = (borders::<f32>(), Worst::new(isas()));
    x.extend((0..=u32::MAX).step_by(stride).map(f32::from_bits));
    let (mut y, mut want) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    worst.add(&x, &mut y, &mut want);
    worst.finish();
}

/// The same borders for every element type, through the list of operators.
#[test]
fn borders_of_every_type() {
    for_each_element!(check_borders);
}

fn check_borders<T: TestElement>() {
    let ops = crate::common::ops::operators::<T>();
    let Some(exp) = ops.iter().find(|op| op.name == "exp") else {
        assert!(T::FORMAT.is_half(), "{} has no exp", T::NAME);
        return;
    };
    let x = borders::<T>();
    let results: Vec<_> = isas().iter().map(|&isa| (isa, exp.run(isa, &x))).collect();
    exp.check(&x, &results, &Oracle::precise(&x), &"borders");
}

/// Of f64 only a sample can be gone through: all finite results, and those just above √2·2^n, where
/// an ULP is smallest beside r and its rounding.
#[test]
fn random_sample_of_f64() {
    use std::f64::consts::LN_2;
    let mut rng = inputs::rng(19);
    let anywhere = |rng: &mut inputs::TestRng| inputs::uniform(rng, -709.0, 710.0);
    let below_half = |rng: &mut inputs::TestRng| {
        let n = inputs::uniform(rng, -1020.0, 1023.0).round();
        (n - inputs::uniform(rng, 0.3, 0.5)) * LN_2
    };
    let x: Vec<f64> = (0..repeated(400_000))
        .map(|i| {
            if i % 2 == 0 {
                anywhere(&mut rng)
            } else {
                below_half(&mut rng)
            }
        })
        .collect();
    let (mut y, oracle) = (vec![0.0; x.len()], Oracle::of::<f64>(&[]));
    for &isa in isas() {
        isa.exp(&x, &mut y[..]).expect("equal lengths");
        let errors = x
            .iter()
            .zip(&y)
            .map(|(&x, &y)| (Format::F64.error(y, oracle.exp(x)), x));
        let (error, at) = errors.fold((0.0, 0.0), |worst, e| if e.0 > worst.0 { e } else { worst });
        println!("exp f64 {isa}: worst {error:.5} ULP at {at:?}");
        assert!(error <= f64::from(isa.exp_max_ulp()), "{isa}: exp({at:?}): {error} ULP");
    }
}

/// e^0 = 1, and the limits.
#[test]
fn exact_values() {
    crate::common::for_each_isa(|isa| {
        for (x, y) in [
            (0.0, 1.0),
            (-0.0, 1.0),
            (1e-30, 1.0),
            (f32::NEG_INFINITY, 0.0),
            (f32::INFINITY, f32::INFINITY),
        ] {
            assert_eq!(one(isa, x).to_bits(), y.to_bits(), "{isa}: exp({x})");
        }
        assert!(
            one(isa, f32::NAN).is_nan() && one(isa, -f32::NAN).is_nan(),
            "{isa}: exp(NaN)"
        );
    });
}

#[test]
#[ignore = "all 2^32 inputs on every backend: minutes"]
fn exhaustive_exp_f32() {
    const CHUNK: u32 = 1 << 16;
    let threads = if cfg!(target_family = "wasm") { 1 } else { 2 };
    let part = |thread: u32| {
        let mut worst = Worst::new(isas());
        let (mut x, mut y, mut want) = (
            vec![0.0; CHUNK as usize],
            vec![0.0; CHUNK as usize],
            vec![0.0; CHUNK as usize],
        );
        for chunk in (thread..u32::MAX / CHUNK + 1).step_by(threads) {
            x.iter_mut()
                .enumerate()
                .for_each(|(i, x)| *x = f32::from_bits(chunk * CHUNK + i as u32));
            worst.add(&x, &mut y, &mut want);
        }
        worst
    };
    let mut worst = Worst::new(isas());
    if threads == 1 {
        worst = part(0);
    } else {
        std::thread::scope(|scope| {
            let parts: Vec<_> = (0..threads as u32).map(|t| scope.spawn(move || part(t))).collect();
            parts
                .into_iter()
                .for_each(|p| worst.merge(&p.join().expect("a part that panicked says why")));
        });
    }
    worst.finish();
}
