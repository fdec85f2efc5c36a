//! Attention against the masked scores written out in f64.

use candle_core::{DType, Device, Result, Tensor, Var};
use softmax_candle::AttentionSoftmax;

use crate::support::{DTYPES, distance, flat, tensor, ulp};

/// Scale and softcap, then the mask, then what is hidden: softmax of a row, 0 if nothing is left.
fn reference(x: &[f64], mask: impl Fn(usize) -> f64, scale: f64, cap: f64, seen: std::ops::Range<usize>) -> Vec<f64> {
    let z: Vec<f64> = (0..x.len())
        .map(|i| {
            let z = scale * x[i];
            let z = if cap > 0.0 { cap * (z / cap).tanh() } else { z };
            if seen.contains(&i) {
                z + mask(i)
            } else {
                f64::NEG_INFINITY
            }
        })
        .collect();
    if z.iter().all(|&z| z == f64::NEG_INFINITY) {
        return vec![0.0; x.len()];
    }
    crate::support::softmax(&z)
}

/// Scores of every layout: contiguous, rows apart, columns apart, a single query.
fn scores(dtype: DType) -> Result<Vec<Tensor>> {
    let (batch, heads, queries, keys) = (2, 3, 5, 11);
    let base = tensor(&[batch, queries, heads, 2 * keys], 3.0, dtype)?.transpose(1, 2)?;
    Ok(vec![
        base.narrow(3, 0, keys)?.contiguous()?,
        base.narrow(3, 4, keys)?,
        base.narrow(3, 0, queries)?.t()?.narrow(2, 0, 5)?,
        base.narrow(2, 1, 1)?.narrow(3, 0, keys)?,
    ])
}

/// The shapes of masks for scores, each as a tensor of its own and as views of others: columns of a wider one, a turned
/// one, one to which a dimension is added.
fn masks(x: &Tensor, values: impl Fn(&[usize]) -> Result<Tensor>) -> Result<Vec<Tensor>> {
    let (b, h, q, k) = x.dims4()?;
    let mut masks = vec![];
    for shape in [
        vec![k],
        vec![q, k],
        vec![b, 1, 1, k],
        vec![b, 1, q, k],
        vec![h, 1, k],
        vec![b, h, q, k],
        vec![q, 1],
    ] {
        let last = shape.len() - 1;
        masks.push(values(&shape)?);
        let mut wider = shape.clone();
        wider[last] += 3;
        masks.push(values(&wider)?.narrow(last, 1, shape[last])?);
        if last > 0 {
            let mut turned = shape.clone();
            turned.swap(last - 1, last);
            masks.push(values(&turned)?.t()?);
        }
        for d in (0..=last).filter(|&d| shape[d] == 1) {
            let mut squeezed = shape.clone();
            squeezed.remove(d);
            masks.push(values(&squeezed)?.unsqueeze(d)?);
        }
    }
    Ok(masks)
}

#[test]
fn masks_of_every_layout_on_scores_of_every_layout() -> Result<()> {
    for dtype in DTYPES {
        for x in scores(dtype)? {
            let (b, h, q, k) = x.dims4()?;
            for mask in masks(&x, |shape| tensor(shape, 1.0, dtype))? {
                for (softcap, causal, window) in [(0.0, None, 0), (4.0, Some(0), 0), (0.0, Some(-2), 2)] {
                    let mut op = AttentionSoftmax::new()
                        .with_scale(0.4)
                        .with_softcap(softcap)
                        .with_window(window);
                    if let Some(offset) = causal {
                        op = op.with_causal(offset);
                    }
                    let y = flat(&op.forward_masked(&x, &mask)?)?;
                    let wide = flat(&x)?;
                    let bias = flat(&mask.broadcast_as(x.dims())?)?;
                    for row in 0..b * h * q {
                        let end = causal
                            .map_or(k as isize, |offset| (row % q) as isize + 1 + offset)
                            .clamp(0, k as isize);
                        let start = if window > 0 {
                            (end as usize).saturating_sub(window)
                        } else {
                            0
                        };
                        let at = row * k;
                        let expected =
                            reference(&wide[at..at + k], |i| bias[at + i], 0.4, softcap, start..end as usize);
                        for (y, expected) in y[at..at + k].iter().zip(expected) {
                            // The masked logits, of magnitude below 16, are rounded to f32 first.
                            let bound = match dtype {
                                DType::F64 => 1e-13 * expected + 1e-300,
                                DType::F32 => 64.0 * ulp(DType::F32, expected),
                                _ => 0.52 * ulp(dtype, expected),
                            };
                            let what = mask.layout();
                            assert!((y - expected).abs() <= bound, "{dtype:?} {what:?}: {y} for {expected}");
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// A boolean mask has the bits, and the gradient, of an additive one of 0 and −∞.
#[test]
fn boolean_masks() -> Result<()> {
    for dtype in DTYPES {
        for x in scores(dtype)? {
            let x = Var::from_tensor(&x)?;
            // 3, which keeps as 1 does, or 0.
            for keep in masks(&x, |shape| tensor(shape, 1.0, DType::F64)?.ge(0.0)? * 3.0)? {
                let additive = keep.to_dtype(dtype)?.affine(1.0 / 3.0, 0.0)?.round()?.log()?;
                for op in [
                    AttentionSoftmax::new().with_scale(0.4),
                    AttentionSoftmax::new().with_softcap(2.0).with_causal(1).with_nan_rows(),
                ] {
                    let (ours, theirs) = (op.forward_kept(&x, &keep)?, op.forward_masked(&x, &additive)?);
                    assert_eq!(bits(&ours)?, bits(&theirs)?, "{dtype:?} {:?}", keep.layout());
                    let gradient = |y: Tensor| -> Result<_> {
                        let store = y.sqr()?.sum_all()?.backward()?;
                        bits(store.get(&x).expect("a gradient"))
                    };
                    assert_eq!(gradient(ours)?, gradient(theirs)?, "{dtype:?} {:?}", keep.layout());
                }
            }
        }
    }
    // A mask of candle's models that says what is hidden.
    let x = Tensor::new(&[[1.0_f32, f32::NAN], [1.0, 1.0]], &Device::Cpu)?;
    let hidden = Tensor::new(&[[0_u8, 1], [0, 0]], &Device::Cpu)?;
    let y = AttentionSoftmax::new().forward_kept(&x, &hidden.eq(0_u8)?)?;
    assert_eq!(y.to_vec2::<f32>()?, [[1.0, 0.0], [0.5, 0.5]]);
    Ok(())
}

fn bits(t: &Tensor) -> Result<Vec<u64>> {
    Ok(flat(t)?.into_iter().map(f64::to_bits).collect())
}

/// A mask that does nothing gives the bits of softmax; so does a mask in another type.
#[test]
fn plain_rows() -> Result<()> {
    for dtype in DTYPES {
        let x = tensor(&[3, 4, 130], 3.0, dtype)?;
        let expected = flat(&softmax_candle::softmax_last_dim(&x)?)?;
        let op = AttentionSoftmax::default();
        assert_eq!(flat(&op.forward(&x)?)?, expected);
        for mask in [DType::F32, DType::F64, DType::BF16] {
            let mask = Tensor::zeros((4, 130), mask, &Device::Cpu)?;
            assert_eq!(flat(&op.forward_masked(&x, &mask)?)?, expected);
        }
        // One row, and rows without a dimension of queries.
        assert_eq!(flat(&op.forward(&x.get(0)?.get(0)?)?)?, expected[..130]);
        let empty = x.narrow(2, 0, 0)?;
        assert_eq!(op.forward(&empty)?.dims(), empty.dims());
    }
    Ok(())
}

/// Tasks that end inside a head, and heads that end inside a task.
#[test]
fn large_scores() -> Result<()> {
    for (heads, queries, keys) in [(3, 700, 65), (40, 7, 300), (900, 1, 100)] {
        let x = tensor(&[heads, queries, keys], 3.0, DType::F32)?;
        let mask = tensor(&[heads, 1, keys], 1.0, DType::F32)?;
        let op = AttentionSoftmax::new()
            .with_scale(0.5)
            .with_causal(keys as isize - queries as isize);
        let y = op.forward_masked(&x, &mask)?;
        for head in 0..heads {
            let alone = op.forward_masked(&x.get(head)?, &mask.get(head)?)?;
            assert_eq!(flat(&y.get(head)?)?, flat(&alone)?);
            for query in (0..queries).step_by(97) {
                let row = y.get(head)?.get(query)?;
                let seen = (query + 1 + keys).saturating_sub(queries);
                let row: Vec<f32> = row.to_vec1()?;
                let sum: f32 = row.iter().sum();
                assert!(
                    if seen == 0 {
                        sum == 0.0
                    } else {
                        (sum - 1.0).abs() < 1e-5
                    },
                    "{sum}"
                );
                assert!(row[seen.min(keys)..].iter().all(|&p| p == 0.0));
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_hidden_may_hold_anything() -> Result<()> {
    let x = Tensor::new(&[[1.0_f32, f32::NAN], [1.0, 1.0]], &Device::Cpu)?;
    let causal = AttentionSoftmax::new().with_causal(0);
    assert_eq!(causal.forward(&x)?.to_vec2::<f32>()?, [[1.0, 0.0], [0.5, 0.5]]);
    let all = Tensor::full(f32::NEG_INFINITY, 2, &Device::Cpu)?;
    assert_eq!(causal.forward_masked(&x, &all)?.to_vec2::<f32>()?, [[0.0; 2]; 2]);
    let nan = causal.with_nan_rows().forward_masked(&x, &all)?;
    assert!(nan.to_vec2::<f32>()?.iter().flatten().all(|y| y.is_nan()));
    assert!(AttentionSoftmax::new().forward(&x)?.to_vec2::<f32>()?[0][0].is_nan());
    Ok(())
}

#[test]
fn errors_are_values() -> Result<()> {
    let x = tensor(&[2, 3], 1.0, DType::F32)?;
    let op = AttentionSoftmax::new();
    assert!(op.forward_masked(&x, &tensor(&[2, 2], 1.0, DType::F32)?).is_err());
    assert!(op.forward(&x.to_dtype(DType::U32)?).is_err());
    assert!(op.forward(&Tensor::new(1.0_f32, &Device::Cpu)?).is_err());
    let keep = Tensor::ones(3, DType::U8, &Device::Cpu)?;
    let message = op.forward_masked(&x, &keep).unwrap_err().to_string();
    assert!(message.contains("U8 cannot be added"), "{message}");
    assert!(op.forward_masked(&x, &keep.to_dtype(DType::I64)?).is_err());
    assert!(op.forward_kept(&x, &keep.to_dtype(DType::F32)?).is_err());
    assert!(op.forward_kept(&x, &keep.narrow(0, 0, 2)?).is_err());
    assert_eq!(distance(&op.forward(&x)?, &softmax_candle::softmax(&x, 1)?)?, 0.0);
    Ok(())
}

/// Parameters count as they are in the type of the arithmetic, of tensors without elements, too.
#[test]
fn bad_parameters_are_errors() -> Result<()> {
    for dtype in DTYPES {
        let x = tensor(&[2, 3], 1.0, dtype)?;
        for x in [&x, &x.narrow(0, 1, 0)?, &x.narrow(1, 1, 0)?] {
            let op = AttentionSoftmax::new();
            let (tiny, huge) = if dtype == DType::F64 {
                (1e-300, 1e308)
            } else {
                (1e-38, 1e38)
            };
            for (op, what) in [
                (op.with_scale(f64::NAN), "scale"),
                (op.with_scale(f64::INFINITY), "scale"),
                (op.with_softcap(f64::NAN), "softcap"),
                (op.with_softcap(-1.0), "softcap"),
                (op.with_softcap(huge), "softcap"),
                (op.with_scale(1e10).with_softcap(tiny), "scale / softcap"),
            ] {
                let message = op.forward(x).unwrap_err().to_string();
                assert!(message.contains(what), "{message}");
                assert!(op.forward_masked(x, &x.zeros_like()?).is_err());
                assert!(
                    op.forward_kept(x, &Tensor::ones(x.dims(), DType::U8, &Device::Cpu)?)
                        .is_err()
                );
            }
            for op in [op.with_scale(1e300), op.with_softcap(1e-60), op.with_softcap(-1e-60)] {
                assert_eq!(
                    op.forward(x).is_ok(),
                    dtype == DType::F64 && op != op.with_softcap(-1e-60)
                );
            }
        }
    }
    Ok(())
}
