//! A model of one head of attention, and what it must give.

use tract_core::internal::*;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::nn::{Softmax, SoftmaxKind};

pub const TOKENS: usize = 24;
pub const WIDTH: usize = 16;

pub fn values(n: usize, seed: u64) -> Vec<f32> {
    let value = |i: u64| ((i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 24) as f32;
    (0..n as u64).map(|i| 4.0 * value(i) - 2.0).collect()
}

fn matrix(rows: usize, cols: usize, seed: u64) -> Tensor {
    Tensor::from_shape(&[rows, cols], &values(rows * cols, seed)).expect("as many values as the shape has")
}

pub fn input(tokens: usize) -> Tensor {
    matrix(tokens, WIDTH, 1)
}

/// softmax(x·A·xᵀ)·x·B.
pub fn attention(tokens: usize) -> TractResult<TypedModel> {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([tokens, WIDTH]))?;
    let product = |model: &mut TypedModel, name: &str, expression: &str, a, b| {
        let product = EinSum::new(expression.parse()?, f32::datum_type());
        Ok(model.wire_node(name, product, &[a, b])?[0]) as TractResult<_>
    };
    let a = model.add_const("a", matrix(WIDTH, WIDTH, 2))?;
    let b = model.add_const("b", matrix(WIDTH, WIDTH, 3))?;
    let queries = product(&mut model, "queries", "mk,kn->mn", x, a)?;
    let values = product(&mut model, "values", "mk,kn->mn", x, b)?;
    let scores = product(&mut model, "scores", "mk,nk->mn", queries, x)?;
    let softmax = Softmax::new(tvec![1], None, SoftmaxKind::Softmax);
    let probabilities = model.wire_node("probabilities", softmax, &[scores])?[0];
    let y = product(&mut model, "y", "mk,kn->mn", probabilities, values)?;
    model.select_output_outlets(&[y])?;
    Ok(model)
}

type Matrix = Vec<Vec<f64>>;

fn wide(t: &Tensor) -> Matrix {
    let flat: Vec<f64> = t
        .try_as_plain_ram()
        .unwrap()
        .as_slice::<f32>()
        .unwrap()
        .iter()
        .map(|&x| x.into())
        .collect();
    flat.chunks(t.shape()[1]).map(<[f64]>::to_vec).collect()
}

fn transposed(a: &Matrix) -> Matrix {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

fn times(a: &Matrix, b: &Matrix) -> Matrix {
    let b = transposed(b);
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum();
    a.iter().map(|x| b.iter().map(|y| dot(x, y)).collect()).collect()
}

/// softmax of a row in f64.
pub fn softmax(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - max).exp()).sum();
    x.iter().map(|x| (x - max).exp() / sum).collect()
}

/// The largest error of what the model of attention gives; NaN if there is one in it.
pub fn error(y: &Tensor, tokens: usize) -> f64 {
    assert_eq!(y.shape(), [tokens, WIDTH]);
    let (x, y) = (wide(&input(tokens)), wide(y));
    let (a, b) = (wide(&matrix(WIDTH, WIDTH, 2)), wide(&matrix(WIDTH, WIDTH, 3)));
    let scores = times(&times(&x, &a), &transposed(&x));
    let probabilities = scores.iter().map(|row| softmax(row)).collect();
    let expected = times(&probabilities, &times(&x, &b));
    let differences = expected
        .iter()
        .flatten()
        .zip(y.iter().flatten())
        .map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |a, b| if a.is_nan() || b <= a { a } else { b })
}

pub fn run(model: TypedModel, x: Tensor) -> TractResult<Tensor> {
    let y = model.into_optimized()?.into_runnable()?.run(tvec![x.into()])?;
    Ok(y[0].clone().into_tensor())
}

/// Scores of some 60 in f32 products are off by their rounding, which e^x makes relative errors of.
pub const TOLERANCE: f64 = 2e-3;
