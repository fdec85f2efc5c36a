//! References in f64, errors in units in the last place, and tensors of every layout.

use candle_core::{DType, Device, Result, Tensor};

pub const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];

/// Deterministic values, roughly normal, whose order means nothing.
pub fn values(n: usize, scale: f64) -> Vec<f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    (0..n)
        .map(|_| scale * (0..4).map(|_| uniform()).sum::<f64>() * 3.0)
        .collect()
}

pub fn tensor(shape: &[usize], scale: f64, dtype: DType) -> Result<Tensor> {
    let n = shape.iter().product();
    Tensor::from_vec(values(n, scale), shape, &Device::Cpu)?.to_dtype(dtype)
}

/// Tensors of all kinds of layout, named.
pub fn layouts(dtype: DType) -> Result<Vec<(&'static str, Tensor)>> {
    let base = tensor(&[4, 6, 5, 7], 3.0, dtype)?;
    Ok(vec![
        ("contiguous", base.clone()),
        ("offset", base.narrow(0, 1, 2)?),
        ("narrow columns", base.narrow(3, 2, 4)?),
        ("narrow middle", base.narrow(1, 1, 3)?),
        ("transposed", base.t()?),
        ("heads", base.transpose(1, 2)?),
        ("permuted", base.permute((3, 1, 0, 2))?),
        ("broadcast rows", base.narrow(2, 0, 1)?.broadcast_as((4, 6, 3, 7))?),
        ("broadcast columns", base.narrow(3, 0, 1)?.broadcast_as((4, 6, 5, 3))?),
        ("one row", base.flatten_all()?),
        ("one element each", base.unsqueeze(4)?),
        ("empty", base.narrow(1, 0, 0)?),
        ("empty rows", base.narrow(3, 0, 0)?),
    ])
}

/// The rows along a dimension, as f64.
pub fn rows(t: &Tensor, dim: usize) -> Result<Vec<Vec<f64>>> {
    let cols = t.dims()[dim];
    let flat: Vec<f64> = t
        .transpose(dim, t.rank() - 1)?
        .contiguous()?
        .flatten_all()?
        .to_dtype(DType::F64)?
        .to_vec1()?;
    Ok(if cols == 0 {
        vec![]
    } else {
        flat.chunks(cols).map(<[f64]>::to_vec).collect()
    })
}

/// softmax of a row with something finite in it.
pub fn softmax(x: &[f64]) -> Vec<f64> {
    log_softmax(x).iter().map(|y| y.exp()).collect()
}

pub fn log_softmax(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log = x.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    x.iter().map(|x| x - max - log).collect()
}

/// The unit in the last place of a type at a number.
pub fn ulp(dtype: DType, at: f64) -> f64 {
    let (bits, smallest) = match dtype {
        DType::F16 => (10, -14),
        DType::BF16 => (7, -126),
        DType::F32 => (23, -126),
        DType::F64 => (52, -1022),
        _ => unreachable!(),
    };
    2.0_f64.powi((at.abs().log2().floor() as i32).max(smallest) - bits)
}

/// What softmax may be off by, in units in the last place; in f64, where the reference is no better, more.
pub fn max_ulp(dtype: DType) -> f64 {
    match dtype {
        DType::F16 | DType::BF16 => 0.51,
        DType::F32 => 8.0,
        _ => 64.0,
    }
}

#[track_caller]
pub fn check(what: &str, dtype: DType, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs() / ulp(dtype, expected);
        assert!(
            error <= max_ulp(dtype),
            "{what}, {dtype:?}, {i}: {got} for {expected}, {error} ULP"
        );
    }
}

/// log_softmax: 4 ULP of max(1, |result|), of f32 for a half, which is then rounded once; see [`max_ulp`] for f64.
#[track_caller]
pub fn check_log(what: &str, dtype: DType, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (&got, &expected) in got.iter().zip(expected) {
        let error = (got - expected).abs() / ulp(dtype, expected.abs().max(1.0));
        let bound = if dtype == DType::F32 { 4.0 } else { max_ulp(dtype) };
        assert!(error <= bound, "{what}, {dtype:?}: {got} for {expected}, {error} ULP");
    }
}

/// The largest difference of two tensors; NaN if there is one in either.
pub fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    largest(&(a.to_dtype(DType::F64)? - b.to_dtype(DType::F64)?)?)
}

/// The largest magnitude of a tensor; NaN if there is one in it.
pub fn largest(t: &Tensor) -> Result<f64> {
    let largest = |a: f64, b: f64| if a.is_nan() || b <= a { a } else { b };
    Ok(flat(&t.abs()?)?.into_iter().fold(0.0, largest))
}

#[test]
fn distances_of_nan() -> Result<()> {
    let (a, b) = (
        Tensor::new(&[f64::NAN, 5.0], &Device::Cpu)?,
        Tensor::new(&[1.0, 2.0], &Device::Cpu)?,
    );
    assert!(distance(&a, &b)?.is_nan() && distance(&b, &a)?.is_nan());
    assert_eq!(distance(&b, &(&b * 3.0)?)?, 4.0);
    Ok(())
}

/// The values as f64, which holds all of all types.
pub fn flat(t: &Tensor) -> Result<Vec<f64>> {
    t.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}
