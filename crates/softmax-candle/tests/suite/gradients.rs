//! Gradients against those that candle derives from its own operators.

use candle_core::{DType, Result, Tensor, Var};
use softmax_candle::{AttentionSoftmax, log_softmax, softmax, softmax_last_dim};

use crate::support::{DTYPES, distance, largest, tensor};

/// The gradient of Σ weights·f(x) with respect to the first of `vars`, and so on.
fn gradients(vars: &[&Var], weights: &Tensor, f: impl Fn() -> Result<Tensor>) -> Result<Vec<Tensor>> {
    let store = (f()? * weights)?.sum_all()?.backward()?;
    Ok(vars.iter().map(|v| store.get(v).expect("a gradient").clone()).collect())
}

/// What a gradient of order 1 may be off by, computed in this type.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-14,
        DType::F32 => 1e-6,
        DType::F16 => 4e-3,
        _ => 3e-2,
    }
}

#[test]
fn every_dimension() -> Result<()> {
    let wide = Var::from_tensor(&tensor(&[3, 5, 4], 2.0, DType::F64)?)?;
    let weights = tensor(&[3, 5, 4], 1.0, DType::F64)?.sin()?;
    for dtype in DTYPES {
        let x = Var::from_tensor(&wide.to_dtype(dtype)?)?;
        let w = weights.to_dtype(dtype)?;
        for dim in 0..3 {
            type Pair = (
                fn(&Tensor, usize) -> Result<Tensor>,
                fn(&Tensor, usize) -> Result<Tensor>,
            );
            let pairs: [Pair; 2] = [
                (softmax, candle_nn::ops::softmax),
                (log_softmax, candle_nn::ops::log_softmax),
            ];
            for (ours, theirs) in pairs {
                let ours = gradients(&[&x], &w, || ours(&x, dim))?;
                let theirs = gradients(&[&wide], &weights, || theirs(&wide, dim))?;
                assert_eq!(ours[0].dtype(), dtype);
                let error = distance(&ours[0], &theirs[0])?;
                assert!(error <= tolerance(dtype), "{dtype:?}, {dim}: {error}");
            }
        }
    }
    Ok(())
}

/// Through a view, and with a gradient that is not contiguous.
#[test]
fn layouts_that_are_not_contiguous() -> Result<()> {
    let x = Var::from_tensor(&tensor(&[4, 6, 8], 2.0, DType::F64)?)?;
    let w = tensor(&[6, 4, 5], 1.0, DType::F64)?;
    let view = |x: &Tensor| x.transpose(0, 1)?.narrow(2, 2, 5);
    let through = |f: fn(&Tensor) -> Result<Tensor>| gradients(&[&x], &w, || f(&view(&x)?));
    let ours = through(softmax_last_dim)?;
    let theirs = through(|x| candle_nn::ops::softmax(x, 2))?;
    assert!(distance(&ours[0], &theirs[0])? < 1e-14);

    let turned = |f: fn(&Tensor) -> Result<Tensor>| gradients(&[&x], &w.t()?, || f(&view(&x)?)?.t());
    let ours = turned(|x| softmax(x, 0))?;
    let theirs = turned(|x| candle_nn::ops::softmax(x, 0))?;
    assert!(distance(&ours[0], &theirs[0])? < 1e-14);
    Ok(())
}

/// The scores, and a mask that is learned and broadcast: against the gradients in f64 of the same rounded inputs.
#[test]
fn attention() -> Result<()> {
    let (heads, queries, keys) = (3, 4, 6);
    let shape = [2, heads, queries, keys];
    let (x, w) = (tensor(&shape, 3.0, DType::F64)?, tensor(&shape, 1.0, DType::F64)?);
    // Where the cap leaves little slope: |scale·x| is at least twice the cap.
    let far = (&x + (x.sign()? * 4.8)?)?;
    let (small, faint) = ((&x * 3.5e-6)?, (&w * 1e-3)?);
    for (scale, softcap, x, w, unit) in [
        (0.35, 0.0, &x, &w, 1.0),
        (0.35, 2.5, &x, &w, 1.0),
        (0.35, 0.8, &far, &w, 1.0),
        // More than the largest f16.
        (1e5, 0.0, &small, &faint, 1e-3),
        (1e5, 2.5, &small, &faint, 1e-3),
    ] {
        let attention = AttentionSoftmax::new().with_scale(scale).with_softcap(softcap);
        for mask_shape in [vec![heads, 1, keys], vec![2, 1, queries, 1], vec![heads, queries, keys]] {
            for dtype in DTYPES {
                let var = |t: &Tensor, dtype| Var::from_tensor(&t.to_dtype(dtype)?);
                let (x, mask) = (var(x, dtype)?, var(&tensor(&mask_shape, 1.0, DType::F64)?, dtype)?);
                let (wide, wide_mask) = (var(&x, DType::F64)?, var(&mask, DType::F64)?);
                let w = w.to_dtype(dtype)?;
                let theirs = gradients(&[&wide, &wide_mask], &w.to_dtype(DType::F64)?, || {
                    let z = wide.affine(scale, 0.0)?;
                    let z = if softcap > 0.0 {
                        z.affine(1.0 / softcap, 0.0)?.tanh()?.affine(softcap, 0.0)?
                    } else {
                        z
                    };
                    candle_nn::ops::softmax(&z.broadcast_add(&wide_mask)?, 3)
                })?;
                let ours = gradients(&[&x, &mask], &w, || attention.forward_masked(&x, &mask))?;
                // Probabilities are rounded to a half before; in f64 candle's own 1 − tanh² cancels.
                let of_scores = (2.0 * tolerance(dtype)).max(1e-13) * largest(&theirs[0])?;
                // A broadcast mask gets the sum of several, which may be 0.
                let of_mask = 8.0 * tolerance(dtype) * unit;
                for (what, ours, theirs, bound) in [
                    ("scores", &ours[0], &theirs[0], of_scores),
                    ("mask", &ours[1], &theirs[1], of_mask),
                ] {
                    assert_eq!((ours.dtype(), ours.dims()), (dtype, theirs.dims()));
                    let error = distance(ours, theirs)?;
                    assert!(
                        error <= bound,
                        "{what}, {dtype:?}, scale {scale}, cap {softcap}: {error}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// What is hidden has no gradient, and nothing is hidden from the others.
#[test]
fn causal_attention() -> Result<()> {
    let x = Var::from_tensor(&tensor(&[2, 5, 7], 2.0, DType::F64)?)?;
    let w = tensor(&[2, 5, 7], 1.0, DType::F64)?;
    let hidden: Vec<f64> = (0..35)
        .map(|i| if i % 7 > i / 7 + 2 { f64::NEG_INFINITY } else { 0.0 })
        .collect();
    let hidden = Tensor::from_vec(hidden, (5, 7), x.device())?;
    let ours = gradients(&[&x], &w, || AttentionSoftmax::new().with_causal(2).forward(&x))?;
    let theirs = gradients(&[&x], &w, || candle_nn::ops::softmax(&x.broadcast_add(&hidden)?, 2))?;
    assert!(distance(&ours[0], &theirs[0])? < 1e-14);
    assert_eq!(ours[0].to_vec3::<f64>()?[0][0][3..], [0.0; 4]);

    let mask = Var::from_tensor(&hidden)?;
    let untracked = gradients(&[&x], &w, || {
        AttentionSoftmax::new().forward_masked(&x, &mask.as_detached_tensor())
    })?;
    assert!(distance(&untracked[0], &theirs[0])? < 1e-14);
    Ok(())
}
