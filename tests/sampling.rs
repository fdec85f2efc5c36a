//! Sampling: the kept set against a sorted reference, distributions by chi-square, the same pick on every ISA, bad calls.

use crate::common::inputs::{self, DISTRIBUTIONS};
use crate::common::{for_each_isa, isas, scale, thinned};
use rand::RngExt;
use softmax::{Error, Isa, Sampler, sample_gumbel};
use std::collections::BTreeSet;

fn sampler(temperature: f32, top_k: usize, top_p: f32, min_p: f32) -> Sampler {
    Sampler {
        temperature,
        top_k,
        top_p,
        min_p,
    }
}

/// One draw, in a workspace with canaries behind what is needed.
fn draw(isa: Isa, sampler: &Sampler, x: &[f32], bits: u64) -> Result<usize, Error> {
    const CANARY: (f32, u32) = (-7.5, 0xBAD);
    let needed = sampler.workspace_len(x.len());
    let mut workspace = vec![CANARY; needed + 3];
    let mut calls = 0;
    let result = isa.sample(sampler, x, &mut workspace, || {
        calls += 1;
        bits
    });
    assert_eq!(
        calls,
        u32::from(result.is_ok() && sampler.temperature > 0.0),
        "calls of the generator"
    );
    assert_eq!(
        workspace[needed..],
        [CANARY; 3],
        "wrote behind the workspace that it asks for"
    );
    result
}

/// The kept classes with their weights by the book: everything sorted, then the filters one after the other.
fn kept(sampler: &Sampler, x: &[f32]) -> Vec<(usize, f64)> {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |x: f32| ((f64::from(x) - f64::from(max)) / f64::from(sampler.temperature)).exp();
    let mut all: Vec<(usize, f64)> = (0..x.len()).map(|i| (i, weight(x[i]))).collect();
    all.retain(|e| x[e.0] > f32::NEG_INFINITY);
    all.sort_by(|a, b| x[b.0].partial_cmp(&x[a.0]).expect("no NaN").then(a.0.cmp(&b.0)));
    all.retain(|e| e.1 >= f64::from(sampler.min_p));
    if sampler.top_k > 0 {
        all.truncate(sampler.top_k);
    }
    let mass: f64 = all.iter().map(|e| e.1).sum();
    let mut sum = 0.0;
    let within = all.iter().take_while(|e| {
        let reached = sum >= f64::from(sampler.top_p) * mass;
        sum += e.1;
        !reached
    });
    let count = within.count();
    all.truncate(if sampler.top_p < 1.0 { count } else { all.len() });
    all
}

pub const FILTERS: [(usize, f32, f32); 12] = [
    (0, 1.0, 0.0),
    (3, 1.0, 0.0),
    (1, 1.0, 0.0),
    (20, 1.0, 0.0),
    (1000, 1.0, 0.0),
    (0, 0.9, 0.0),
    (0, 0.3, 0.0),
    (0, 1.0, 0.05),
    (0, 1.0, 1.0),
    (8, 0.7, 0.0),
    (8, 0.9, 0.1),
    (0, 0.8, 0.02),
];

/// Draws at evenly spaced numbers find every class that is kept, and no other.
#[test]
fn kept_sets() {
    const DRAWS: u64 = 1 << 10;
    for_each_isa(|isa| {
        let mut rng = inputs::rng(131);
        for round in thinned(0..24) {
            let n = [1, 2, 5, 30, 130, 300][round % 6];
            // Ties every other time.
            let grid = if round % 2 == 0 { 2.0_f64 } else { 1e6 };
            let mut x: Vec<f32> = (0..n)
                .map(|_| ((inputs::normal(&mut rng) * grid).round() / grid) as f32)
                .collect();
            if n > 2 {
                x[round % n] = f32::NEG_INFINITY;
            }
            for (top_k, top_p, min_p) in FILTERS {
                for temperature in [0.3, 1.0, 2.5] {
                    let sampler = sampler(temperature, top_k, top_p, min_p);
                    let want = kept(&sampler, &x);
                    let mass: f64 = want.iter().map(|e| e.1).sum();
                    let found: BTreeSet<usize> = (0..DRAWS)
                        .map(|i| draw(isa, &sampler, &x, (i << 54) | (1 << 53)).expect("a row to draw from"))
                        .collect();
                    let all: BTreeSet<usize> = want.iter().map(|e| e.0).collect();
                    // Those that no two neighbouring numbers can step over.
                    let sure = want.iter().filter(|e| e.1 / mass > 1.5 / DRAWS as f64);
                    let sure: BTreeSet<usize> = sure.map(|e| e.0).collect();
                    assert!(
                        found.is_subset(&all) && sure.is_subset(&found),
                        "{isa}, n = {n}, {sampler:?}: found {found:?}, sure {sure:?}, kept {all:?}"
                    );
                }
            }
        }
    });
}

/// Vocabulary rows: every draw is in the kept set, and at least probability comes from the right end of it.
#[test]
fn vocabulary_rows() {
    let n = (128_256 / scale()).max(2000);
    for (d, seed) in [(1, 141), (0, 142), (14, 143), (19, 144)] {
        let x: Vec<f32> = DISTRIBUTIONS[d].row(n, seed);
        for (top_k, top_p, min_p) in [
            (40, 0.95, 0.0),
            (40, 1.0, 0.0),
            (0, 0.5, 0.0),
            (0, 1.0, 0.2),
            (500, 0.9, 0.01),
            (0, 1.0, 0.0),
        ] {
            let sampler = sampler(0.8, top_k, top_p, min_p);
            let set: BTreeSet<usize> = kept(&sampler, &x).iter().map(|e| e.0).collect();
            let mut rng = inputs::rng(145);
            for _ in 0..4 {
                let number = rng.random();
                let mut first = None;
                for &isa in isas().iter().filter(|&&isa| isa != Isa::Scalar || scale() > 1) {
                    let got = draw(isa, &sampler, &x, number).expect("a row to draw from");
                    assert!(set.contains(&got), "{isa}, {sampler:?}: {got} is not kept");
                    assert_eq!(*first.get_or_insert(got), got, "{isa}, {sampler:?}");
                }
            }
        }
    }
}

/// The same pick everywhere, whatever the row.
#[test]
fn same_pick_on_every_isa() {
    let mut rng = inputs::rng(151);
    for d in DISTRIBUTIONS.iter().step_by(scale().min(4)) {
        for n in [1, 7, 33, 128, 700, 1500] {
            let x: Vec<f32> = d.row(n, 152);
            for (top_k, top_p, min_p) in FILTERS {
                let sampler = sampler(1.3, top_k, top_p, min_p);
                let number: u64 = rng.random();
                let want = draw(Isa::Scalar, &sampler, &x, number).expect("a row to draw from");
                let kept = kept(&sampler, &x);
                assert!(kept.iter().any(|e| e.0 == want), "{}, {sampler:?}: {want}", d.name);
                for &isa in isas() {
                    assert_eq!(
                        draw(isa, &sampler, &x, number),
                        Ok(want),
                        "{isa}, {}, n = {n}, {sampler:?}",
                        d.name
                    );
                }
            }
            let numbers: Vec<u64> = (0..n).map(|_| rng.random()).collect();
            let gumbel = |isa: Isa| {
                let mut numbers = numbers.iter();
                let class = isa.sample_gumbel(&x, 0.7, || *numbers.next().expect("one number for each logit"));
                assert_eq!(numbers.len(), 0, "{isa}: numbers are left");
                class
            };
            for &isa in isas() {
                assert_eq!(gumbel(isa), gumbel(Isa::Scalar), "{isa}, {}, n = {n}", d.name);
            }
        }
    }
}

/// Σ (observed − expected)²/expected of draws from kept classes; others must not come.
fn chi_square(kept: &[(usize, f64)], draws: usize, mut draw: impl FnMut() -> usize) -> f64 {
    let mass: f64 = kept.iter().map(|e| e.1).sum();
    let mut counts = vec![0.0; kept.len()];
    for _ in 0..draws {
        let class = draw();
        let at = kept.iter().position(|e| e.0 == class);
        counts[at.unwrap_or_else(|| panic!("{class} is not kept"))] += 1.0;
    }
    let expected = kept.iter().map(|e| e.1 / mass * draws as f64);
    counts.iter().zip(expected).map(|(c, e)| (c - e) * (c - e) / e).sum()
}

/// 99.99999 % of the chi-square distribution with 11 degrees of freedom and fewer.
const CHI_SQUARE_LIMIT: f64 = 55.0;

#[test]
fn distributions() {
    let draws = (40_000 / scale()).max(1000);
    for_each_isa(|isa| {
        let mut rng = inputs::rng(161);
        let x: Vec<f32> = (0..12).map(|i| (i * 5 % 12) as f32 * 0.3).collect();
        for (top_k, top_p, min_p) in FILTERS {
            let sampler = sampler(0.9, top_k, top_p, min_p);
            let statistic = chi_square(&kept(&sampler, &x), draws, || {
                draw(isa, &sampler, &x, rng.random()).expect("a row to draw from")
            });
            assert!(statistic < CHI_SQUARE_LIMIT, "{isa}, {sampler:?}: {statistic}");
        }
        let statistic = chi_square(&kept(&sampler(0.9, 0, 1.0, 0.0), &x), draws, || {
            isa.sample_gumbel(&x, 0.9, || rng.random()).expect("a row to draw from")
        });
        println!("{isa}: Gumbel {statistic:.1}");
        assert!(statistic < CHI_SQUARE_LIMIT, "{isa}, Gumbel: {statistic}");
    });
}

#[test]
fn ends_of_the_range() {
    for_each_isa(|isa| {
        let x = [1.0_f32, 3.0, 3.0, f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY];
        for (top_k, top_p, min_p) in FILTERS {
            for bits in [0, u64::MAX] {
                let sampler = sampler(1.0, top_k, top_p, min_p);
                let got = draw(isa, &sampler, &x, bits).expect("a row to draw from");
                assert!(
                    kept(&sampler, &x).iter().any(|e| e.0 == got),
                    "{isa}, {sampler:?}, {bits:x}: {got}"
                );
                // Temperature 0 is argmax, and +∞ is a maximum.
                let cold = Sampler {
                    temperature: 0.0,
                    ..sampler
                };
                assert_eq!(draw(isa, &cold, &x, bits), Ok(1), "{isa}");
                assert_eq!(draw(isa, &cold, &[0.0, f32::INFINITY], bits), Ok(1), "{isa}");
                // Extreme temperatures and logits.
                assert_eq!(
                    draw(
                        isa,
                        &Sampler {
                            temperature: 1e-30,
                            ..sampler
                        },
                        &[0.0, 1e-3],
                        bits
                    ),
                    Ok(1),
                    "{isa}"
                );
                assert_eq!(draw(isa, &sampler, &[-3e38, 3e38], bits), Ok(1), "{isa}");
                assert_eq!(draw(isa, &sampler, &[5.0], bits), Ok(0), "{isa}");
            }
        }
        for bits in [0, u64::MAX] {
            let class = isa.sample_gumbel(&x, 1.0, || bits).expect("a row to draw from");
            assert_eq!(class, 1, "{isa}: with equal numbers the largest wins");
            assert_eq!(
                isa.sample_gumbel(&x, 0.0, || panic!("no number is needed")),
                Ok(1),
                "{isa}"
            );
        }
    });
}

#[test]
fn bad_calls() {
    for_each_isa(|isa| {
        let x = [1.0_f32, 2.0, 3.0];
        let fails = |sampler: Sampler, x: &[f32], words: &[&str]| {
            let error = draw(isa, &sampler, x, 0).expect_err("a bad call");
            for word in words {
                assert!(error.to_string().contains(word), "{isa}: no {word} in {error}");
            }
            error
        };
        let good = Sampler::default();
        for bad in [-1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let shown = format!("is {bad},");
            fails(
                Sampler {
                    temperature: bad,
                    ..good
                },
                &x,
                &["temperature", &shown],
            );
            fails(Sampler { top_p: bad, ..good }, &x, &["top_p", &shown]);
            fails(Sampler { min_p: bad, ..good }, &x, &["min_p", &shown]);
            let error = sample_gumbel(&x, bad, || panic!("an error comes first")).expect_err("a bad call");
            assert!(error.to_string().contains(&shown), "{error}");
        }
        fails(Sampler { top_p: 0.0, ..good }, &x, &["top_p is 0,"]);
        fails(Sampler { top_p: 1.5, ..good }, &x, &["top_p is 1.5,"]);
        fails(Sampler { min_p: 1.5, ..good }, &x, &["min_p is 1.5,"]);
        let none = |len| Error::NoChoice { len };
        for (top_k, top_p, min_p) in FILTERS {
            for temperature in [0.0, 1.0] {
                let sampler = sampler(temperature, top_k, top_p, min_p);
                let mut row = vec![0.5; 300];
                row[217] = f32::NAN;
                row[280] = f32::NAN;
                fails(sampler, &row, &["217", "NaN"]);
                row[100] = f32::INFINITY;
                fails(sampler, &row, &["100", "inf"]);
                row[100] = 0.5;
                assert_eq!(fails(sampler, &[], &[]), none(0), "{isa}");
                assert_eq!(fails(sampler, &[f32::NEG_INFINITY; 40], &["40"]), none(40), "{isa}");
                if temperature > 0.0 {
                    row[217] = f32::INFINITY;
                    row[280] = 0.0;
                    fails(sampler, &row, &["217", "inf"]);
                    let needed = sampler.workspace_len(row.len());
                    if needed > 0 {
                        let mut small = vec![(0.0, 0); needed - 1];
                        let error = isa.sample(&sampler, &row, &mut small, || panic!("an error comes first"));
                        assert_eq!(
                            error,
                            Err(Error::Workspace {
                                len: needed - 1,
                                needed
                            }),
                            "{isa}"
                        );
                    }
                }
            }
        }
    });
}
