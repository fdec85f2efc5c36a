//! Every operator on f16 and bf16 is the one on f32 with each result rounded once, but for the weights of `OnlineSoftmax` at
//! large maxima: the tests of f32 hold for them, too.

use crate::common::dd::Dd;
use crate::common::element::{TestElement, bf16, bits, f16};
use crate::common::for_each_isa;
use crate::common::inputs::{self, rows_of};
use rand::RngExt;
use softmax::{BackwardRows, Broadcast, CrossEntropy, Isa, Mask, MaskElement, OnlineSoftmax, Reduction, Rows, Sampler};

/// Lengths of every way through the kernels, and beyond the scratch.
const LENGTHS: [usize; 9] = [1, 5, 33, 128, 257, 1000, 2049, 4100, 9000];

trait Half: TestElement<Probability = f32> + MaskElement<Self> {}
impl Half for f16 {}
impl Half for bf16 {}

fn wide<T: Half>(x: &[T]) -> Vec<f32> {
    x.iter().map(|v| v.to_f64() as f32).collect()
}

fn rounded<T: Half>(y: &[f32]) -> Vec<u64> {
    y.iter().map(|&v| T::from_f64(f64::from(v)).bits()).collect()
}

/// Calls `check` on every ISA with rows of each type, what they are called, and their lengths.
fn for_each_row<T: Half>(mut check: impl FnMut(Isa, &str, &[T], &[f32])) {
    for_each_isa(|isa| {
        for (d, n) in rows_of(LENGTHS) {
            if isa == Isa::Scalar && n > 1000 {
                continue; // slow, and not another way
            }
            let x: Vec<T> = d.row(n, 171);
            check(
                isa,
                &format!("{} of {}, n = {n}, on {isa}", T::NAME, d.name),
                &x,
                &wide(&x),
            );
        }
    });
}

/// softmax of rows about the length from which on their exps do not fit the scratch: some are kept there, some in the place of
/// the results, which may not be aligned for them, and the others, if there are any, are computed twice. About the lengths that
/// change which.
#[test]
fn long_rows() {
    check_long::<f16>();
    check_long::<bf16>();
}

fn check_long<T: Half>() {
    let lengths = [
        7681, 7809, 8192, 8193, 8321, 12_000, 15_231, 15_232, 15_359, 15_360, 15_361, 15_487, 15_488, 15_489, 15_617,
        15_745, 16_384, 23_041, 33_333,
    ];
    for_each_isa(|isa| {
        for (d, n) in rows_of(lengths) {
            if isa == Isa::Scalar && ![8193, 15_360, 15_489].contains(&n) {
                continue; // slow
            }
            let x: Vec<T> = d.row(n, 172);
            let mut want = vec![0.0; n];
            isa.softmax(&wide(&x), &mut want).expect("equal lengths");
            let (want, what) = (
                rounded::<T>(&want),
                format!("{} of {}, n = {n}, on {isa}", T::NAME, d.name),
            );
            for before in [0, 1] {
                let mut y = vec![T::canary(); before + n + 1];
                isa.softmax(&x, &mut y[before..before + n]).expect("equal lengths");
                assert!(bits(&y[before..before + n]) == want, "{what}, {before} elements on");
                y.drain(before..before + n);
                assert!(
                    bits(&y) == bits(&vec![T::canary(); before + 1]),
                    "{what}: written beside the row"
                );
            }
            let mut y = x;
            isa.softmax_in_place(&mut y).expect("valid");
            assert!(bits(&y) == want, "{what}, in place");
        }
    });
}

/// A mask and sinks of halves do to f32 scores what their values in f32 do: to one row, and to so many that they are computed
/// side by side.
#[test]
fn masks_of_halves_on_single_scores() {
    check_mask_on_single::<f16>();
    check_mask_on_single::<bf16>();
}

fn check_mask_on_single<T: Half + MaskElement<f32>>() {
    for_each_row::<T>(|isa, what, x, wide_x| {
        // Every finite value of the row, and −∞.
        let value = |(i, v): (usize, &T)| {
            if i % 5 == 3 || !v.to_f64().is_finite() {
                f64::NEG_INFINITY
            } else {
                v.to_f64()
            }
        };
        let additive: Vec<T> = x.iter().enumerate().map(|at| T::from_f64(value(at))).collect();
        let (sinks, wide_additive) = ([T::from_f64(0.75)], wide(&additive));
        let wide_sinks = wide(&sinks);
        for (steps, has_sink) in [
            (Mask::<f32>::new().with_scale(0.125), false),
            (Mask::new().with_alibi_slope(-0.5), false),
            (Mask::new().with_causal(x.len() as isize / 2), false),
            (Mask::new().with_scale(0.125), true),
            (Mask::new().with_alibi_slope(-0.5).with_softcap(30.0), true),
            (Mask::new().with_causal(x.len() as isize / 2).with_window(70), true),
        ] {
            let (mut half, mut same) = (
                steps.with_additive(&additive, Broadcast::ONE),
                steps.with_additive(&wide_additive, Broadcast::ONE),
            );
            if has_sink {
                half = half.with_sinks(&sinks, Broadcast::ONE);
                same = same.with_sinks(&wide_sinks, Broadcast::ONE);
            }
            for rows in if x.len() <= 300 { &[1, 9][..] } else { &[1] } {
                let (x, rows) = (wide_x.repeat(*rows), Rows::new(*rows, x.len()));
                let (mut y, mut want) = (vec![f32::canary(); x.len()], vec![0.0; x.len()]);
                isa.masked_softmax(&x, &mut y, rows, &half).expect("valid");
                isa.masked_softmax(&x, &mut want, rows, &same).expect("valid");
                assert!(bits(&y) == bits(&want), "{what}, {rows:?}");
                isa.masked_log_softmax(&x, &mut y, rows, &half).expect("valid");
                isa.masked_log_softmax(&x, &mut want, rows, &same).expect("valid");
                assert!(bits(&y) == bits(&want), "log, {what}, {rows:?}");
            }
        }
    });
}

#[test]
fn masked_rows() {
    for_each_row::<f16>(check_masks);
    for_each_row::<bf16>(check_masks);
}

/// The same about the lengths that change where exps are kept (see [`long_rows`]), and where others are computed twice in pieces.
#[test]
fn long_masked_rows() {
    check_long_masked::<f16>();
    check_long_masked::<bf16>();
}

fn check_long_masked<T: Half>() {
    for_each_isa(|isa| {
        for (d, n) in rows_of([8193, 12_000, 15_360, 15_489, 16_384, 23_041, 50_001]) {
            if isa == Isa::Scalar && n != 15_489 {
                continue; // slow
            }
            let mut x: Vec<T> = d.row(n, 173);
            let what = format!("{} of {}, n = {n}, on {isa}", T::NAME, d.name);
            check_masks(isa, &what, &x, &wide(&x));
            x[8] = T::from_f64(f64::NAN); // where most masks hide it
            check_masks(isa, &format!("{what}, NaN"), &x, &wide(&x));
        }
    });
}

/// masked_softmax, or masked_log_softmax, of one row.
fn masked<T: TestElement>(isa: Isa, log: bool, x: &[T], y: &mut [T], mask: &Mask<'_, T>) {
    let rows = Rows::new(1, x.len());
    match log {
        false => isa.masked_softmax(x, y, rows, mask),
        true => isa.masked_log_softmax(x, y, rows, mask),
    }
    .expect("valid");
}

fn check_masks<T: Half>(isa: Isa, what: &str, x: &[T], wide_x: &[f32]) {
    let (rows, one) = (Rows::new(1, x.len()), Broadcast::ONE);
    let keep: Vec<bool> = (0..x.len()).map(|i| i % 5 != 3).collect();
    let added = |(i, &keep): (usize, &bool)| T::from_f64(if keep { 0.25 * (i % 7) as f64 } else { f64::NEG_INFINITY });
    let additive: Vec<T> = keep.iter().enumerate().map(added).collect();
    let sinks = [T::from_f64(0.75)];
    let (wide_additive, wide_sinks) = (wide(&additive), wide(&sinks));
    let narrow = Mask::<T>::new().with_scale(0.125);
    let single = Mask::<f32>::new().with_scale(0.125);
    let window = x.len().div_ceil(2);
    for (name, mask, same) in [
        ("scale", narrow, single),
        (
            "additive",
            narrow.with_additive(&additive, one),
            single.with_additive(&wide_additive, one),
        ),
        (
            "of f32",
            narrow.with_additive(&wide_additive, one),
            single.with_additive(&wide_additive, one),
        ),
        ("keep", narrow.with_keep(&keep, one), single.with_keep(&keep, one)),
        (
            "softcap, window, sink",
            narrow.with_softcap(30.0).with_window(window).with_sinks(&sinks, one),
            single
                .with_softcap(30.0)
                .with_window(window)
                .with_sinks(&wide_sinks, one),
        ),
    ] {
        for log in [false, true] {
            let mut want = vec![0.0; x.len()];
            masked(isa, log, wide_x, &mut want, &same);
            let want = rounded::<T>(&want);
            for before in [0, 1] {
                let mut y = vec![T::canary(); before + x.len() + 1];
                let place = &mut y[before..before + x.len()];
                masked(isa, log, x, place, &mask);
                assert!(bits(place) == want, "{name}, log {log}, {what}, {before} elements on");
                y.drain(before..before + x.len());
                assert!(
                    bits(&y) == bits(&vec![T::canary(); before + 1]),
                    "{name}, log {log}, {what}: written beside the row"
                );
            }
            let mut y = x.to_vec();
            match log {
                false => isa.masked_softmax_in_place(&mut y, rows, &mask),
                true => isa.masked_log_softmax_in_place(&mut y, rows, &mask),
            }
            .expect("valid");
            assert!(bits(&y) == want, "{name}, log {log}, {what}, in place");
        }
    }
}

#[test]
fn gradients() {
    check_gradients::<f16>();
    check_gradients::<bf16>();
}

fn check_gradients<T: Half>() {
    for_each_row::<T>(|isa, what, x, _| {
        let n = x.len();
        let rng = &mut inputs::rng(172);
        let dy: Vec<T> = (0..n).map(|_| T::from_f64(inputs::normal(rng))).collect();
        let (wide_dy, rows) = (wide(&dy), BackwardRows::new(1, n));
        for log in [false, true] {
            let mut y = vec![T::canary(); n];
            match log {
                false => isa.softmax(x, &mut y),
                true => isa.log_softmax(x, &mut y),
            }
            .expect("valid");
            let (wide_y, mut dx, mut want) = (wide(&y), vec![T::canary(); n], vec![0.0; n]);
            match log {
                false => isa.softmax_backward_rows(&y, &dy, &mut dx, rows),
                true => isa.log_softmax_backward_rows(&y, &dy, &mut dx, rows),
            }
            .expect("valid");
            match log {
                false => isa.softmax_backward_rows(&wide_y, &wide_dy, &mut want, rows),
                true => isa.log_softmax_backward_rows(&wide_y, &wide_dy, &mut want, rows),
            }
            .expect("valid");
            assert!(bits(&dx) == rounded::<T>(&want), "log {log}, {what}");
        }
    });
}

#[test]
fn losses() {
    check_losses::<f16>();
    check_losses::<bf16>();
}

fn check_losses<T: Half>() {
    for_each_row::<T>(|isa, what, x, wide_x| {
        let n = x.len();
        let weights: Vec<f32> = (0..n).map(|i| 0.5 + (i % 3) as f32).collect();
        for (label_smoothing, class_weights) in [(0.0, None), (0.1, None), (0.1, Some(&weights[..]))] {
            let params = CrossEntropy {
                label_smoothing,
                class_weights,
                reduction: Reduction::None,
                ..CrossEntropy::default()
            };
            let (labels, rows) = ([(n / 2) as i64], Rows::new(1, n));
            let (mut loss, mut want_loss) = ([0.0_f32], [0.0_f32]);
            let (mut dx, mut want) = (vec![T::canary(); n], vec![0.0; n]);
            isa.cross_entropy(x, &labels, &mut loss, Some(&mut dx), rows, &params)
                .expect("valid");
            isa.cross_entropy(wide_x, &labels, &mut want_loss, Some(&mut want), rows, &params)
                .expect("valid");
            assert_eq!(loss[0].to_bits(), want_loss[0].to_bits(), "{what}");
            assert!(bits(&dx) == rounded::<T>(&want), "smoothing {label_smoothing}, {what}");
        }
    });
}

#[test]
fn streaming() {
    check_streaming::<f16>();
    check_streaming::<bf16>();
}

fn check_streaming<T: Half>() {
    for_each_row::<T>(|isa, what, x, wide_x| {
        let (mut state, mut same) = (OnlineSoftmax::new(), OnlineSoftmax::new());
        for (tile, wide_tile) in x.chunks(700).zip(wide_x.chunks(700)) {
            let (mut e, mut want) = (vec![T::canary(); tile.len()], vec![0.0; tile.len()]);
            let mut other = state;
            let mut replaced = tile.to_vec();
            let factor = isa.online_update_into(&mut state, tile, &mut e).expect("equal lengths");
            isa.online_update_in_place(&mut other, &mut replaced)
                .expect("available");
            let wanted = isa
                .online_update_into(&mut same, wide_tile, &mut want)
                .expect("equal lengths");
            assert_eq!((state, factor), (same, wanted), "{what}");
            assert_eq!((other, bits(&replaced)), (state, bits(&e)), "in place, {what}");
            // From here on the weights are multiplied once more after they are stored.
            if state.max().abs() < if isa == Isa::Portable { 200.0 } else { 16_384.0 } {
                assert!(bits(&e) == rounded::<T>(&want), "{what}");
            } else {
                for (e, want) in e.iter().zip(&want) {
                    let want = f64::from(*want);
                    let error = T::FORMAT.error(e.to_f64(), Dd::from(want).into());
                    assert!(error <= 1.01, "{e:?} is {error} ULP from {want}, {what}");
                }
            }
        }
        let (mut y, mut want) = (vec![T::canary(); x.len()], vec![0.0; x.len()]);
        isa.online_finish(&state, x, &mut y).expect("equal lengths");
        isa.online_finish(&same, wide_x, &mut want).expect("equal lengths");
        assert!(bits(&y) == rounded::<T>(&want), "{what}");
    });
}

#[test]
fn primitives_and_samples() {
    check_primitives::<f16>();
    check_primitives::<bf16>();
}

fn check_primitives<T: Half>() {
    for_each_row::<T>(|isa, what, x, wide_x| {
        let n = x.len();
        let max = isa.row_max(x).expect("available").to_f64() as f32;
        assert_eq!(max, isa.row_max(wide_x).expect("available"), "{what}");
        let (mut y, mut want) = (vec![T::canary(); n], vec![0.0; n]);
        let sum = isa.row_exp_sub_max_sum(x, Some(&mut y), max).expect("equal lengths");
        let same = isa
            .row_exp_sub_max_sum(wide_x, Some(&mut want), max)
            .expect("equal lengths");
        assert_eq!(sum.to_bits(), same.to_bits(), "{what}");
        assert!(bits(&y) == rounded::<T>(&want), "{what}");
        let (mut y, mut want) = (x.to_vec(), wide_x.to_vec());
        isa.row_scale(&mut y, 0.3).expect("available");
        isa.row_scale(&mut want, 0.3).expect("available");
        assert!(bits(&y) == rounded::<T>(&want), "{what}");

        let mut workspace = vec![(0.0, 0); n];
        for (temperature, top_k, top_p, min_p) in [(0.7, 0, 1.0, 0.0), (1.0, 5, 0.9, 0.0), (1.3, 0, 0.8, 0.05)] {
            let sampler = Sampler {
                temperature,
                top_k,
                top_p,
                min_p,
            };
            let seed = inputs::rng(173).random::<u64>();
            let got = isa.sample(&sampler, x, &mut workspace, || seed).expect("valid");
            let want = isa.sample(&sampler, wide_x, &mut workspace, || seed).expect("valid");
            assert_eq!(got, want, "{sampler:?}, {what}");
        }
    });
}
