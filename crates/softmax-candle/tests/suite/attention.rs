//! Attention against the masked scores written out in f64.

use candle_core::{DType, Device, Result, Tensor};
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

#[test]
fn masks_of_every_shape_on_scores_of_every_layout() -> Result<()> {
    let (batch, heads, queries, keys) = (2, 3, 5, 11);
    for dtype in DTYPES {
        let base = tensor(&[batch, queries, heads, 2 * keys], 3.0, dtype)?.transpose(1, 2)?;
        let scores = [
            base.narrow(3, 0, keys)?.contiguous()?,
            base.narrow(3, 4, keys)?,
            base.narrow(3, 0, queries)?.t()?.narrow(2, 0, 5)?,
        ];
        for x in &scores {
            let (b, h, q, k) = x.dims4()?;
            for shape in [
                vec![k],
                vec![q, k],
                vec![b, 1, 1, k],
                vec![h, 1, k],
                vec![b, h, q, k],
                vec![q, 1],
            ] {
                let mask = tensor(&shape, 1.0, dtype)?;
                for (softcap, causal, window) in [(0.0, None, 0), (4.0, Some(0), 0), (0.0, Some(-2), 2)] {
                    let mut op = AttentionSoftmax::new()
                        .with_scale(0.4)
                        .with_softcap(softcap)
                        .with_window(window);
                    if let Some(offset) = causal {
                        op = op.with_causal(offset);
                    }
                    let y = flat(&op.forward_masked(x, &mask)?)?;
                    let wide = flat(x)?;
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
                            assert!((y - expected).abs() <= bound, "{dtype:?} {shape:?}: {y} for {expected}");
                        }
                    }
                }
            }
        }
    }
    Ok(())
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
    let message = op.with_scale(f64::NAN).forward(&x).unwrap_err().to_string();
    assert!(message.contains("scale"), "{message}");
    assert!(op.with_softcap(-1.0).forward(&x).is_err());
    assert_eq!(distance(&op.forward(&x)?, &softmax_candle::softmax(&x, 1)?)?, 0.0);
    Ok(())
}
