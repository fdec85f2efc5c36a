//! The pass under a guessed shift against the three-pass form, on the same rows: where the guess is accepted, the bits are
//! the same.

use super::{accepts, exp_sum, fill, guess_for_quotients, largest_looked_at, quotients_in_place, sum_under_maximum};
use crate::element::{Element, Float};
use crate::isa::{Isa, run};
use crate::kernel::Kernel;
use crate::kernel::row::Pair;
use crate::lanes::Memory;
use core::mem::MaybeUninit;

/// One row by both; NaN where it has no sum.
struct Both<'a, F> {
    x: &'a [F],
    by_guess: &'a mut [MaybeUninit<F>],
    by_maximum: &'a mut [MaybeUninit<F>],
    accepted: &'a mut bool,
}

impl<F: Float> Kernel<F> for Both<'_, F> {
    #[inline(always)]
    fn run<L: Memory<F> + Memory<<F as Element>::Compute>>(self, lanes: L) {
        let Self {
            x,
            by_guess,
            by_maximum,
            accepted,
        } = self;
        let shift = guess_for_quotients(largest_looked_at(x), L::FUSED);
        let exps = exp_sum::<F, F, L, false, false>(lanes, Pair(x, &mut *by_guess), &shift);
        *accepted = accepts(&exps);
        quotients_in_place(lanes, by_guess, &exps.total());
        match sum_under_maximum(lanes, x, by_maximum) {
            Some(total) => quotients_in_place(lanes, by_maximum, &total),
            None => fill(by_maximum, F::NAN),
        }
    }
}

/// Whether the guess was accepted for `x`; then the results are compared.
fn check<F: Float + Into<f64>>(isa: Isa, x: &[F], run: impl Fn(Isa, Both<'_, F>), what: &str) -> bool {
    let (mut by_guess, mut by_maximum) = (vec![F::NAN; x.len()], vec![F::NAN; x.len()]);
    let mut accepted = false;
    run(
        isa,
        Both {
            x,
            by_guess: crate::arch::memory::as_output(&mut by_guess),
            by_maximum: crate::arch::memory::as_output(&mut by_maximum),
            accepted: &mut accepted,
        },
    );
    let bits = |y: &[F]| y.iter().map(|&v| v.into().to_bits()).collect::<Vec<_>>();
    if accepted {
        assert_eq!(bits(&by_guess), bits(&by_maximum), "{what} on {isa}");
    }
    accepted
}

/// Pseudo-random numbers in ±`spread`.
fn noise<F: Float>(n: usize, spread: f64, seed: u32) -> Vec<F> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 23) - 1.0
    };
    (0..n).map(|_| F::from_f64(spread * next())).collect()
}

fn check_all<F: Float + Into<f64>>(run: impl Fn(Isa, Both<'_, F>) + Copy) {
    let number = F::from_f64;
    let largest: f64 = (-F::LEAST).into();
    // From there on a maximum is subtracted before anything else.
    let border: f64 = F::core(true).offset_from.into();
    // Other backends round products, and the shift with them.
    for isa in Isa::available().filter(|&isa| isa != Isa::Portable) {
        for n in [1, 7, 16, 17, 31, 100, 257, 1000] {
            for (seed, spread) in [0.01, 1.0, 8.0, 30.0, 90.0, 300.0].into_iter().enumerate() {
                for offset in [0.0, 3.0, -7.0, 25.0, -60.0, 1000.0, -4000.0] {
                    let mut x = noise::<F>(n, spread, 9 + seed as u32);
                    x.iter_mut().for_each(|x| *x = *x + number(offset));
                    let accepted = check(isa, &x, run, &format!("±{spread} about {offset}, n = {n}"));
                    // A longer row is near one of the three elements that are looked at.
                    let ordinary = spread <= 8.0 && n > 16;
                    assert!(accepted || !ordinary, "±{spread} about {offset}, n = {n}: rejected");
                }
            }
        }
        // A row of 40 whose ends and middle guess `g`, with one element at every distance from it: on both sides of what
        // the sum may be (−17, +60), of the exponents that fit, and of the largest numbers.
        let distances = (-400..=1600)
            .step_by(crate::thinning())
            .map(|d| f64::from(d) / 4.0)
            .chain([3e4, 1e30, 0.9 * largest]);
        for d in distances {
            for g in [
                0.0,
                12.0,
                -9.0,
                -4999.0,
                border - 150.0,
                border - 120.0,
                border - 20.0,
                border + 1.0,
            ] {
                let mut x = vec![number(g - 500.0); 40];
                for at in [0, 20, 39] {
                    x[at] = number(g);
                }
                x[27] = number(g + d);
                let accepted = check(isa, &x, run, &format!("{d} above {g}"));
                let reach = f64::from(F::BIAS) * core::f64::consts::LN_2;
                assert!(!accepted || d < reach, "{d} above {g} was accepted on {isa}");
            }
        }
        // The maximum everywhere but where is looked: first, last and middle are tiny, huge, masked or nothing.
        for edge in [
            -1e4,
            1e4,
            f64::NEG_INFINITY,
            -0.9 * largest,
            0.9 * largest,
            -5000.0,
            -4999.0,
        ] {
            for at in [&[0][..], &[49], &[99], &[0, 49], &[0, 50, 99]] {
                let mut x = noise::<F>(100, 5.0, 77);
                at.iter().for_each(|&at| x[at] = number(edge));
                check(isa, &x, run, &format!("{edge} at {at:?}"));
            }
        }
        for special in [f64::NAN, f64::INFINITY] {
            for at in 0..100 {
                let mut x = noise::<F>(100, 5.0, 78);
                x[at] = number(special);
                assert!(
                    !check(isa, &x, run, "special"),
                    "{special} at {at} was accepted on {isa}"
                );
            }
        }
        assert!(
            !check(isa, &[-F::INFINITY; 50], run, "nothing"),
            "−∞ alone was accepted on {isa}"
        );
    }
}

#[inline(never)]
fn single(isa: Isa, both: Both<'_, f32>) {
    run!(isa, both)
}

#[inline(never)]
fn double(isa: Isa, both: Both<'_, f64>) {
    run!(isa, both)
}

#[test]
fn accepted_guesses_give_the_bits_of_three_passes() {
    check_all::<f32>(single);
    check_all::<f64>(double);
}
