//! Any parameters of the samplers: the class drawn is one that the filters leave, by a sorted reference; the same on every
//! ISA; what is out of range is an error.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use softmax::{Isa, Sampler};
use softmax_fuzz::{Number, Numbers, Size, within};

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Fraction {
    Step(u8),
    Any(Number),
}

impl Fraction {
    fn get(self) -> f32 {
        match self {
            Fraction::Step(n) => f32::from(n) / 255.0,
            Fraction::Any(number) => number.get(),
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    temperature: Number,
    top_k: Size,
    top_p: Fraction,
    min_p: Fraction,
    random: u64,
    n: u16,
    missing: u8,
    values: Numbers,
}

fuzz_target!(|input: Input| {
    let sampler = Sampler {
        temperature: input.temperature.get(),
        top_k: input.top_k.get(),
        top_p: input.top_p.get(),
        min_p: input.min_p.get(),
    };
    let x: Vec<f32> = input.values.take(within(input.n, 1200));
    let missing = usize::from(input.missing.saturating_sub(200));
    check_sample(&sampler, &x, input.random, missing);
    check_gumbel(sampler.temperature, &x, input.random);
});

/// Whether a class can be drawn.
fn can_draw(temperature: f32, x: &[f32]) -> bool {
    let bad = |&x: &f32| x.is_nan() || x == f32::INFINITY && temperature != 0.0;
    !x.iter().any(bad) && x.iter().any(|&x| x > f32::NEG_INFINITY)
}

fn largest(x: &[f32]) -> f64 {
    x.iter().copied().fold(f32::NEG_INFINITY, f32::max).into()
}

fn check_sample(sampler: &Sampler, x: &[f32], random: u64, missing: usize) {
    const CANARY: (f32, u32) = (-7.5, 0xBAD);
    let &Sampler {
        temperature,
        top_p,
        min_p,
        ..
    } = sampler;
    let in_range =
        temperature.is_finite() && temperature >= 0.0 && top_p > 0.0 && top_p <= 1.0 && (0.0..=1.0).contains(&min_p);
    let needed = sampler.workspace_len(x.len());
    assert!(needed <= x.len());
    let given = if missing == 0 {
        needed + 3
    } else {
        needed.saturating_sub(missing)
    };
    let valid = in_range && given >= needed && can_draw(temperature, x);
    let mut first = None;
    for isa in Isa::available() {
        let (mut workspace, mut calls) = (vec![CANARY; given], 0);
        let outcome = isa.sample(sampler, x, &mut workspace, || {
            calls += 1;
            random
        });
        assert_eq!(outcome.is_ok(), valid, "{isa}: {outcome:?}");
        let behind = workspace.get(needed..).unwrap_or_default();
        assert!(behind.iter().all(|e| *e == CANARY), "{isa}: wrote behind the workspace");
        assert_eq!(
            calls,
            u32::from(valid && temperature > 0.0),
            "{isa}: calls of the generator"
        );
        let Ok(class) = outcome else { continue };
        if isa != Isa::Portable {
            assert_eq!(*first.get_or_insert(class), class, "{isa}: another class");
        }
        if temperature == 0.0 {
            assert_eq!(Some(class), softmax::argmax(x), "{isa}");
        } else {
            check_kept(sampler, x, class);
        }
    }
}

/// Panics unless the filters leave the class, up to the roundings of the reference.
fn check_kept(sampler: &Sampler, x: &[f32], class: usize) {
    let max = largest(x);
    let weight = |x: f32| ((f64::from(x) - max) / f64::from(sampler.temperature)).exp();
    // Thresholds on logits are rounded to f32.
    let by_min_p = |x: f32| weight(x.next_up().min(max as f32)) >= f64::from(sampler.min_p) * (1.0 - 1e-9);
    assert!(
        x[class] > f32::NEG_INFINITY && by_min_p(x[class]),
        "class {class} is masked, or below min_p"
    );
    let is_before = |i: &usize| x[*i] > x[class] || x[*i] == x[class] && *i < class;
    let before: Vec<usize> = (0..x.len()).filter(is_before).collect();
    assert!(
        sampler.top_k == 0 || before.len() < sampler.top_k,
        "class {class} is not among the top_k"
    );
    if sampler.top_p < 1.0 {
        let mut weights: Vec<f64> = x.iter().filter(|&&x| by_min_p(x)).map(|&x| weight(x)).collect();
        weights.sort_by(|a, b| b.total_cmp(a));
        let left = if sampler.top_k == 0 {
            weights.len()
        } else {
            sampler.top_k.min(weights.len())
        };
        let mass: f64 = weights[..left].iter().sum();
        let sum: f64 = before.iter().map(|&i| weight(x[i])).sum();
        assert!(
            sum <= f64::from(sampler.top_p) * mass * (1.0 + 1e-9),
            "class {class} is outside of top_p"
        );
    }
}

fn check_gumbel(temperature: f32, x: &[f32], random: u64) {
    let valid = temperature.is_finite() && temperature >= 0.0 && can_draw(temperature, x);
    let number = |i: usize| {
        (random ^ i as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29)
            .wrapping_mul(random | 1)
    };
    let max = largest(x);
    let key = |i: usize| {
        let u = ((number(i) >> 12) as f64 + 0.5) * 2f64.powi(-52);
        (f64::from(x[i]) - max) / f64::from(temperature) - (-u.ln()).ln()
    };
    for isa in Isa::available() {
        let mut calls = 0;
        let outcome = isa.sample_gumbel(x, temperature, || {
            calls += 1;
            number(calls - 1)
        });
        assert_eq!(outcome.is_ok(), valid, "{isa}, Gumbel: {outcome:?}");
        assert_eq!(
            calls,
            if valid && temperature > 0.0 { x.len() } else { 0 },
            "{isa}: calls of the generator"
        );
        match outcome {
            Ok(class) if temperature == 0.0 => assert_eq!(Some(class), softmax::argmax(x), "{isa}"),
            Ok(class) => {
                let best = (0..x.len()).map(key).fold(f64::NEG_INFINITY, f64::max);
                assert!(
                    key(class) >= best - 1e-9 * (1.0 + best.abs()),
                    "{isa}, Gumbel: class {class} does not win"
                );
            }
            Err(_) => {}
        }
    }
}
