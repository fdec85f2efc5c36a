//! The streaming state: any cut of a row into tiles and parts gives the softmax of the row.

use crate::common::dd::{self, Dd, Exact, two_sum};
use crate::common::element::{TestElement, bits};
use crate::common::inputs::{self, rows_of};
use crate::common::oracle::Oracle;
use crate::common::ulp::Format;
use crate::common::{for_each_isa, scale};
use crate::errors::{check_message, untouched};
use rand::RngExt;
use softmax::{Isa, OnlineSoftmax};

/// The state of a row cut at random: tiles into parts, parts merged in random order.
fn cut(isa: Isa, x: &[f32], rng: &mut inputs::TestRng) -> OnlineSoftmax {
    let mut parts = vec![OnlineSoftmax::new(); rng.random_range(1..=4)];
    let mut rest = x;
    while !rest.is_empty() {
        let (tile, behind) = rest.split_at(rng.random_range(0..=rest.len().min(300)));
        let part = rng.random_range(0..parts.len());
        isa.online_update(&mut parts[part], tile).expect("available");
        rest = behind;
    }
    let mut all = OnlineSoftmax::default();
    while !parts.is_empty() {
        let part = parts.swap_remove(rng.random_range(0..parts.len()));
        let mut reverse = part;
        reverse.merge(&all);
        all.merge(&part);
        assert_eq!(all, reverse, "the order of a merge shows");
    }
    all
}

#[test]
fn any_cut_is_softmax() {
    for_each_isa(|isa| {
        let mut rng = inputs::rng(71);
        let (mut worst, mut worst_log) = (0.0_f64, 0.0_f64);
        for (d, n) in rows_of([1, 2, 5, 33, 100, 257, 1000, 3000]) {
            let x: Vec<f32> = d.row(n, 72);
            let oracle = Oracle::precise(&x);
            let state = cut(isa, &x, &mut rng);
            let mut y = vec![f32::canary(); n];
            isa.online_finish(&state, &x, &mut y[..]).expect("equal lengths");
            let mut in_place = x.clone();
            isa.online_finish_in_place(&state, &mut in_place).expect("available");
            assert_eq!(bits(&y), bits(&in_place), "{}: in place", d.name);
            for (x, y) in x.iter().zip(&y) {
                worst = worst.max(Format::F32.error(y.to_f64(), oracle.softmax(x.to_f64())));
                assert!(
                    worst <= f64::from(isa.max_ulp()),
                    "{isa}, {}, n = {n}: {x} gives {y}",
                    d.name
                );
            }
            worst_log = worst_log.max(Format::F32.error_from_1(state.logsumexp().to_f64(), oracle.logsumexp()));
            assert!(
                worst_log <= 4.0,
                "{isa}, {}, n = {n}: logsumexp {}",
                d.name,
                state.logsumexp()
            );
            let (sum, max, shift) = state.to_parts();
            assert_eq!(OnlineSoftmax::from_parts(sum, max, shift), state);
            assert_eq!(max, state.max());
        }
        println!("{isa}: softmax {worst:.3} ULP, logsumexp {worst_log:.3}");
    });
}

/// e^x·2^−shift
fn weight(x: f32, shift: i32) -> Exact {
    let ln2 = dd::ln(Dd::from(2.0));
    dd::exp(Dd::from(x.to_f64()) - Dd::from(f64::from(shift)) * ln2)
}

#[test]
fn weights_and_factors() {
    let offsets = [0.0_f64, 100.0, -3000.0, 16_000.0, 17_000.0, -40_000.0, 1e6, -3e8, 9e8];
    for_each_isa(|isa| {
        let mut rng = inputs::rng(73);
        for offset in offsets {
            let large = offset.abs() >= if isa == Isa::Portable { 200.0 } else { 16_384.0 };
            let bound = if isa == Isa::Portable { 4.0 } else { 2.0 } + f64::from(u8::from(large));
            let mut state = OnlineSoftmax::new();
            let (mut acc, mut all) = (0.0_f64, Vec::new());
            for _ in 0..40 / scale().min(8) {
                let n = rng.random_range(1..200);
                let level = offset + 10.0 * inputs::normal(&mut rng);
                let x: Vec<f32> = (0..n).map(|_| (level + inputs::normal(&mut rng)) as f32).collect();
                let (before, mut e, mut same) = (state, vec![f32::canary(); n], x.clone());
                let mut other = state;
                let factor = isa.online_update_into(&mut state, &x, &mut e).expect("equal lengths");
                let again = isa.online_update_in_place(&mut other, &mut same).expect("available");
                assert_eq!(
                    (other, again, bits(&same)),
                    (state, factor, bits(&e)),
                    "{isa}: in place"
                );
                assert_eq!(factor.to_bits() << 9, 0, "{isa}: {factor} is no power of two");
                assert_eq!(factor, state.rescale_factor(&before));
                let shift = state.to_parts().2;
                for (&x, &e) in x.iter().zip(&e) {
                    let want = weight(x, shift);
                    if want.to_f64() > 2f64.powi(-99) {
                        let error = Format::F32.error(e.to_f64(), want);
                        assert!(error <= bound, "{isa}: {x} under {shift} gives {e}: {error} ULP");
                    } else {
                        assert!(e.to_f64() <= 2f64.powi(-98), "{isa}: {x} under {shift} gives {e}");
                    }
                }
                acc = acc * f64::from(factor) + e.iter().map(|&e| f64::from(e)).sum::<f64>();
                all.extend(x);
                let sum = state.to_parts().0;
                assert!((acc / sum - 1.0).abs() < 1e-5, "{isa}: weights {acc}, sum {sum}");
                let largest = all.iter().copied().fold(f32::MIN, f32::max);
                let at_most = weight(largest, shift).to_f64();
                assert!((0.7..=1.42).contains(&at_most), "{isa}: {largest} under {shift}");
            }
        }
    });
}

#[test]
fn a_maximum_that_leaps() {
    for_each_isa(|isa| {
        for (from, to) in [
            (0.0_f32, 60.0),
            (0.0, 100.0),
            (-700.0, 700.0),
            (1.0, 2e4),
            (3.0, 2e9),
            (1e9, 2e9),
            (-3e38, 3e38),
        ] {
            let (low, high) = ([from; 50], [to, to]);
            let mut state = OnlineSoftmax::new();
            isa.online_update(&mut state, &low).expect("available");
            let before = state;
            let mut e = [f32::canary(); 2];
            let factor = isa
                .online_update_into(&mut state, &high, &mut e)
                .expect("equal lengths");
            let exponent = two_sum(f64::from(before.to_parts().2), -f64::from(state.to_parts().2)).hi;
            let want = if to.abs() >= 1e9 || exponent < -126.0 {
                0.0
            } else {
                exponent.exp2()
            };
            assert_eq!(f64::from(factor), want, "{isa}: {from} to {to}");
            let row: Vec<f32> = low.into_iter().chain(high).collect();
            let oracle = Oracle::precise(&row);
            assert!(
                Format::F32.error_from_1(state.logsumexp().to_f64(), oracle.logsumexp()) <= 4.0,
                "{isa}: {from} to {to}"
            );
            let mut y = vec![0.0; row.len()];
            isa.online_finish(&state, &row, &mut y[..]).expect("equal lengths");
            for (x, y) in row.iter().zip(&y) {
                let error = Format::F32.error(y.to_f64(), oracle.softmax(x.to_f64()));
                assert!(error <= f64::from(isa.max_ulp()), "{isa}: {from} to {to}: {y}");
            }
        }
    });
}

#[test]
fn special_tiles() {
    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;
    for_each_isa(|isa| {
        let feed = |tiles: &[&[f32]]| {
            let mut state = OnlineSoftmax::new();
            for tile in tiles {
                isa.online_update(&mut state, tile).expect("available");
            }
            state
        };
        let finite = feed(&[&[1.0, 2.0]]);
        let empties = [feed(&[]), feed(&[&[]]), feed(&[&[-INF, -INF], &[]])];
        for empty in empties {
            assert_eq!(empty, OnlineSoftmax::new());
            assert_eq!(empty.logsumexp(), -INF);
            let (mut a, mut b) = (finite, empty);
            a.merge(&empty);
            b.merge(&finite);
            assert_eq!((a, b), (finite, finite), "{isa}: merged with nothing");
            assert_eq!(finite.rescale_factor(&empty), 0.0);
            let mut y = [0.0_f32; 2];
            isa.online_finish(&empty, &[-INF, -INF], &mut y).expect("equal lengths");
            assert!(y.iter().all(|y| y.is_nan()), "{isa}: {y:?}");
        }
        assert_eq!(feed(&[&[-INF], &[1.0, -INF, 2.0], &[-INF]]), finite, "{isa}: −∞ counts");
        for (tiles, want) in [
            (vec![&[NAN, 1.0][..]], NAN),
            (vec![&[1.0], &[2.0, NAN]], NAN),
            (vec![&[NAN], &[INF]], NAN),
            (vec![&[INF], &[NAN]], NAN),
            (vec![&[INF], &[1.0]], INF),
            (vec![&[1.0], &[-INF, INF]], INF),
        ] {
            let state = feed(&tiles);
            let same = |got: f32| got == want || got.is_nan() && want.is_nan();
            assert!(same(state.logsumexp()), "{isa}: {tiles:?}: {state:?}");
            for (first, second) in [(state, finite), (finite, state), (state, OnlineSoftmax::new())] {
                let mut merged = first;
                merged.merge(&second);
                assert!(same(merged.logsumexp()), "{isa}: {tiles:?} merged");
            }
            let mut y = [0.0_f32; 3];
            isa.online_finish(&state, &[1.0, -INF, 3.0], &mut y)
                .expect("equal lengths");
            assert!(y.iter().all(|y| y.to_bits() == f32::NAN.to_bits()), "{isa}: {y:?}");
            let (mut e, mut after) = ([0.0_f32; 2], state);
            let factor = isa
                .online_update_into(&mut after, &[1.0, 2.0], &mut e)
                .expect("equal lengths");
            assert!(factor.is_nan() && e.iter().all(|e| e.is_nan()), "{isa}: {factor} {e:?}");
        }
        // An element that was never fed counts as the maximum.
        let mut y = [0.0_f32; 2];
        isa.online_finish(&finite, &[2.0, 1e30], &mut y).expect("equal lengths");
        assert_eq!(y[0].to_bits(), y[1].to_bits(), "{isa}: {y:?}");
        isa.online_finish(&finite, &[2.0, NAN], &mut y).expect("equal lengths");
        assert!(y[1].is_nan() && !y[0].is_nan(), "{isa}: {y:?}");
    });
}

#[test]
fn unequal_lengths() {
    for_each_isa(|isa| {
        let mut state = OnlineSoftmax::new();
        isa.online_update(&mut state, &[1.0_f32]).expect("available");
        let before = state;
        let what = format!("online on {isa}");
        let outcome = untouched(3, &what, |e: &mut [f32]| {
            isa.online_update_into(&mut state, &[9.0; 4], e).map(|_| ())
        });
        check_message(outcome, &[4, 3], &what);
        assert_eq!(state, before, "{what}: the state moved");
        let outcome = untouched(5, &what, |y: &mut [f32]| isa.online_finish(&state, &[9.0; 4], y));
        check_message(outcome, &[4, 5], &what);
    });
}
