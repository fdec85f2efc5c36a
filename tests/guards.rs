//! All memory of the calls that take more than logits and results, against guard pages and canaries: masks, labels, class
//! weights, gradients, tiles, workspace. Each call has the bits that it has in plain memory, in place and apart.
//!
//! `shapes.rs`, `axis.rs` and `ragged.rs` have the same law for the operators of rows alone.

mod masks;

use crate::backward::gradients;
use crate::common::derived::largest;
use crate::common::element::{TestElement, bits, for_each_element, for_each_element_of_f32};
use crate::common::inputs::{self, DISTRIBUTIONS};
use crate::common::memory::{Edge, Lent, PLACES};
use crate::common::shape::extent;
use crate::common::{isas, thinned};
use crate::sampling::FILTERS;
use rand::RngExt;
use softmax::{BackwardRows, CrossEntropy, Element, Isa, OnlineSoftmax, Reduction, Rows, Sampler};
use std::fmt::Debug;

/// Every length of a few vectors, and those about which kernels change their ways; rows of halves that no scratch holds.
fn lengths<T: TestElement>() -> impl Iterator<Item = usize> + Clone {
    let long = [127, 128, 129, 255, 256, 257, 511, 512, 513, 1000, 1025, 3000, 4097];
    (1..=70).chain(long).chain((T::WIDTH < 32).then_some(8200))
}

/// As many rows as make batches of short ones, and of long ones what is divided beside the next.
fn rows_of(cols: usize) -> usize {
    match cols {
        ..=70 => 11,
        71..=300 => 9,
        301..=2000 => 4,
        _ => 3,
    }
}

/// The ISAs for so many elements: the exact scalar one is slow, and its loads and stores are safe code, which leaves no slice.
fn tried(elements: usize) -> impl Iterator<Item = Isa> {
    let all = isas().iter().copied();
    all.filter(move |&isa| isa != Isa::Scalar || elements <= 150)
}

/// Rows at a stride, one in three of a kind that many kernels compute once more, canaries between them.
fn spread<T: TestElement>(rows: usize, cols: usize, stride: usize) -> Vec<T> {
    let mut x = vec![T::canary(); extent(rows, cols, stride)];
    for (r, row) in x.chunks_mut(stride).enumerate() {
        let d = match (r + cols) % 3 {
            0 => &DISTRIBUTIONS[(r + cols) / 3 % DISTRIBUTIONS.len()],
            _ => &DISTRIBUTIONS[1],
        };
        row[..cols].copy_from_slice(&d.row(cols, 181 + r as u64));
    }
    x
}

/// What a call gives besides what it writes, which must be the same at every place.
fn everywhere<R: PartialEq + Debug>(what: &dyn std::fmt::Display, mut call: impl FnMut(Option<Edge>) -> R) {
    let [plain, guarded @ ..] = PLACES.map(&mut call);
    for guarded in guarded {
        assert_eq!(guarded, plain, "{what}: another result than in plain memory");
    }
}

#[test]
fn gradients_of_rows() {
    for_each_element!(check_gradients);
}

fn check_gradients<T: TestElement>() {
    for (cols, gradient) in
        thinned(lengths::<T>().flat_map(|cols| gradients::<T>().map(move |gradient| (cols, gradient))))
    {
        let (rows, gap) = (rows_of(cols), cols % 3);
        let (y_stride, dy_stride, dx_stride) = (cols + gap, cols + 2 * gap, cols + (2 - gap));
        let (x, rng) = (spread::<T>(rows, cols, y_stride), &mut inputs::rng(182));
        let (mut forward, mut upstream) = (x.clone(), vec![T::canary(); extent(rows, cols, dy_stride)]);
        for r in 0..rows {
            let row = r * y_stride..r * y_stride + cols;
            (gradient.forward)(isas()[0], &x[row.clone()], &mut forward[row]).expect("equal lengths");
            upstream[r * dy_stride..][..cols].fill_with(|| T::from_f64(inputs::normal(rng)));
        }
        let (y, dy) = (Lent::new(forward.clone()), Lent::new(upstream.clone()));
        let (mut dx, mut both) = (Lent::room(extent(rows, cols, dx_stride)), Lent::new(upstream.clone()));
        let shape = BackwardRows::new(rows, cols)
            .with_y_stride(y_stride)
            .with_dy_stride(dy_stride);
        for isa in tried(rows * cols) {
            let what = format!("{} {} on {isa}, {shape:?}", gradient.name, T::NAME);
            dx.clear();
            both.refill(&upstream);
            for place in PLACES {
                let (y, dx, both) = (y.at(place), dx.at_mut(place), both.at_mut(place));
                (gradient.rows)(isa, y, dy.at(place), dx, shape.with_dx_stride(dx_stride)).expect("valid");
                (gradient.rows_in_place)(isa, y, both, shape).expect("valid");
            }
            dx.check_results(rows * cols, &what);
            both.check_same(&format_args!("{what}, in place"));
            for r in 0..rows {
                let (dx, both) = (
                    &dx.at(None)[r * dx_stride..][..cols],
                    &both.at(None)[r * dy_stride..][..cols],
                );
                assert!(bits(dx) == bits(both), "{what}: other bits in place, row {r}");
            }
        }
        y.check_unchanged(&forward, &gradient.name);
        dy.check_unchanged(&upstream, &gradient.name);
    }
}

/// Smoothing, whether classes have weights, the reduction, and whether there is a place for the gradient.
const LOSSES: [(f64, bool, Reduction, bool); 5] = [
    (0.0, false, Reduction::None, false),
    (0.0, true, Reduction::Mean, true),
    (0.125, false, Reduction::Mean, true),
    (0.125, true, Reduction::None, true),
    (0.125, true, Reduction::Sum, false),
];

#[test]
fn losses() {
    for_each_element!(check_losses);
}

fn check_losses<T: TestElement>() {
    for (cols, (label_smoothing, weighs, reduction, has_gradient)) in
        thinned(lengths::<T>().flat_map(|cols| LOSSES.map(move |loss| (cols, loss))))
    {
        let (rows, gap) = (rows_of(cols), cols % 3);
        let shape = Rows::new(rows, cols)
            .with_x_stride(cols + gap)
            .with_y_stride(cols + 2 - gap);
        let label = |r| {
            if r % 4 == 1 {
                -100
            } else {
                (cols - 1 - 7 * r % cols) as i64
            }
        };
        let logits = spread::<T>(rows, cols, cols + gap);
        let (x, labels) = (Lent::new(logits.clone()), Lent::new((0..rows).map(label).collect()));
        let weights = Lent::new((0..cols).map(|c| (c % 7 + 1) as f32 / 4.0).collect());
        let losses = if reduction == Reduction::None { rows } else { 1 };
        let mut loss = Lent::<T::Probability>::room(losses);
        let mut dx = Lent::<T>::room(extent(rows, cols, shape.y_stride()));
        for isa in tried(rows * cols) {
            loss.clear();
            dx.clear();
            for place in PLACES {
                let params = CrossEntropy {
                    label_smoothing,
                    class_weights: weighs.then(|| weights.at(place)),
                    reduction,
                    ..CrossEntropy::default()
                };
                let dx = has_gradient.then(|| dx.at_mut(place));
                let (x, labels, loss) = (x.at(place), labels.at(place), loss.at_mut(place));
                isa.cross_entropy(x, labels, loss, dx, shape, &params).expect("valid");
            }
            let what = format!("{reduction:?} of {} on {isa}, {shape:?}", T::NAME);
            loss.check_results(losses, &what);
            dx.check_results(if has_gradient { rows * cols } else { 0 }, &what);
        }
        x.check_unchanged(&logits, &T::NAME);
        labels.check_same(&T::NAME);
        weights.check_same(&T::NAME);
    }
}

/// Distributions with maxima in every range of the state.
const TILES: [usize; 4] = [1, 9, 19, 22];

#[test]
fn tiles() {
    for_each_element_of_f32!(check_tiles);
}

fn check_tiles<T: TestElement<Probability = f32>>() {
    for (n, d) in thinned(lengths::<T>().flat_map(|n| TILES.map(move |d| (n, &DISTRIBUTIONS[d])))) {
        let logits: Vec<T> = d.row(n, 183);
        let (x, mut e, mut both) = (Lent::new(logits.clone()), Lent::room(n), Lent::new(logits.clone()));
        for isa in tried(n) {
            let what = format!("{} of {} on {isa}, n = {n}", d.name, T::NAME);
            let mut state = OnlineSoftmax::new();
            isa.online_update(&mut state, &[logits[0]]).expect("available");
            everywhere(&what, |place| {
                let mut read = state;
                isa.online_update(&mut read, x.at(place)).map(|()| read)
            });
            e.clear();
            both.refill(&logits);
            let mut after = state;
            everywhere(&what, |place| {
                let (mut apart, mut in_place) = (state, state);
                let factors = [
                    isa.online_update_into(&mut apart, x.at(place), e.at_mut(place)),
                    isa.online_update_in_place(&mut in_place, both.at_mut(place)),
                ];
                after = apart;
                (factors, apart, in_place)
            });
            e.check_results(n, &what);
            both.check_results(n, &format_args!("{what}, in place"));
            e.clear();
            both.refill(&logits);
            for place in PLACES {
                isa.online_finish(&after, x.at(place), e.at_mut(place))
                    .expect("equal lengths");
                isa.online_finish_in_place(&after, both.at_mut(place))
                    .expect("available");
            }
            e.check_results(n, &format_args!("{what}, finished"));
            both.check_results(n, &format_args!("{what}, finished in place"));
        }
        x.check_unchanged(&logits, &d.name);
    }
}

#[test]
fn samples() {
    for_each_element_of_f32!(check_samples);
}

fn check_samples<T: TestElement<Probability = f32>>() {
    for (n, (top_k, top_p, min_p)) in thinned(lengths::<T>().flat_map(|n| FILTERS.map(move |filter| (n, filter)))) {
        let logits: Vec<T> = DISTRIBUTIONS[[0, 1, 19][n % 3]].row(n, 184);
        let x = Lent::new(logits.clone());
        let sampler = Sampler {
            temperature: 0.8,
            top_k,
            top_p,
            min_p,
        };
        let (mut workspace, rng) = (Lent::room(sampler.workspace_len(n)), &mut inputs::rng(n as u64));
        for isa in tried(n) {
            let what = format!("{sampler:?} of {} on {isa}, n = {n}", T::NAME);
            let (number, seed) = (rng.random::<u64>(), rng.random());
            everywhere(&what, |place| {
                let mut numbers = inputs::rng(seed);
                let (x, workspace) = (x.at(place), workspace.at_mut(place));
                [
                    isa.sample(&sampler, x, workspace, || number),
                    isa.sample_gumbel(x, 0.8, || numbers.random()),
                ]
            });
            workspace.check_same(&what);
        }
        x.check_unchanged(&logits, &T::NAME);
    }
}

#[test]
fn row_primitives() {
    for_each_element!(check_primitives);
}

fn check_primitives<T: TestElement>() {
    for n in (0..140).chain(thinned(lengths::<T>().filter(|&n| n >= 140))) {
        let logits: Vec<T> = DISTRIBUTIONS[1].row(n, 67);
        let (x, mut y, mut both) = (Lent::new(logits.clone()), Lent::room(n), Lent::new(logits.clone()));
        for isa in tried(n) {
            let what = format!("row primitives of {} on {isa}, n = {n}", T::NAME);
            let factor = <T as Element>::Compute::from_f64(0.5);
            y.clear();
            both.refill(&logits);
            everywhere(&what, |place| {
                let (x, y, both) = (x.at(place), y.at_mut(place), both.at_mut(place));
                let max = largest(isa, x);
                let sums = [
                    isa.row_exp_sub_max_sum(x, None, max),
                    isa.row_exp_sub_max_sum(x, Some(&mut *y), max),
                    isa.row_exp_sub_max_sum_in_place(both, max),
                ];
                isa.row_scale(y, factor).expect("available");
                sums
            });
            y.check_results(n, &what);
            both.check_results(n, &format_args!("{what}, in place"));
        }
        x.check_unchanged(&logits, &T::NAME);
    }
}
