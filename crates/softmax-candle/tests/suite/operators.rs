//! softmax and log_softmax along every dimension of every layout.

use candle_core::{D, DType, Device, Error, Result, Tensor, Var};

use crate::support::{self, DTYPES, check, check_log, flat, layouts, tensor};
use softmax_candle::{
    AttentionSoftmax, log_softmax, log_softmax_in_place, softmax, softmax_in_place, softmax_last_dim,
};

#[test]
fn every_dimension_of_every_layout() -> Result<()> {
    for dtype in DTYPES {
        for (name, x) in layouts(dtype)? {
            for dim in 0..x.rank() {
                let (y, log) = (softmax(&x, dim)?, log_softmax(&x, dim)?);
                for y in [&y, &log] {
                    assert_eq!((y.dims(), y.dtype()), (x.dims(), dtype), "{name}");
                    assert!(y.is_contiguous(), "{name}");
                }
                let (x, y) = (support::rows(&x, dim)?, support::rows(&y, dim)?);
                for ((x, y), log) in x.iter().zip(y).zip(support::rows(&log, dim)?) {
                    check(name, dtype, &y, &support::softmax(x));
                    check_log(name, dtype, &log, &support::log_softmax(x));
                }
            }
        }
    }
    Ok(())
}

/// The same bits from every layout, along every dimension, and in place.
#[test]
fn bits_do_not_depend_on_the_layout() -> Result<()> {
    for dtype in DTYPES {
        for (name, x) in layouts(dtype)? {
            for dim in 0..x.rank() {
                let last = x.rank() - 1;
                let alone = x.transpose(dim, last)?.contiguous()?;
                let expected = softmax_last_dim(&alone)?.transpose(dim, last)?;
                assert_eq!(flat(&softmax(&x, dim)?)?, flat(&expected)?, "{name}, {dim}");
                let expected = log_softmax(&alone, D::Minus1)?.transpose(dim, last)?;
                assert_eq!(flat(&log_softmax(&x, dim)?)?, flat(&expected)?, "{name}, {dim}");
            }
        }
    }
    Ok(())
}

#[test]
fn in_place_changes_the_view_alone() -> Result<()> {
    for dtype in DTYPES {
        // The same views of a tensor of their own each time.
        for which in 0..layouts(dtype)?.len() {
            let (name, view) = layouts(dtype)?.swap_remove(which);
            for dim in 0..view.rank() {
                let base = tensor(&[4, 6, 5, 7], 3.0, dtype)?;
                let x = match name {
                    "narrow columns" => base.narrow(3, 2, 4)?,
                    "heads" => base.transpose(1, 2)?,
                    "permuted" => base.permute((3, 1, 0, 2))?,
                    "offset" => base.narrow(0, 1, 2)?,
                    _ => continue,
                };
                let before = flat(&base)?;
                let (expected, log) = (softmax(&x, dim)?, log_softmax(&x, dim)?);
                softmax_in_place(&x, dim)?;
                assert_eq!(flat(&x)?, flat(&expected)?, "{name}");
                let inside = x.elem_count();
                let changed = before.iter().zip(flat(&base)?).filter(|(a, b)| **a != *b).count();
                assert!(changed <= inside, "{name}: {changed} of {inside}");

                let again = tensor(&[4, 6, 5, 7], 3.0, dtype)?;
                let x = if name == "heads" {
                    again.transpose(1, 2)?
                } else {
                    continue;
                };
                log_softmax_in_place(&x, dim)?;
                assert_eq!(flat(&x)?, flat(&log)?, "{name}");
            }
        }
    }
    Ok(())
}

#[test]
fn special_rows() -> Result<()> {
    const INF: f32 = f32::INFINITY;
    let x = Tensor::new(
        &[
            [0.0, -INF, 0.0],
            [f32::NAN, 0.0, 0.0],
            [INF, 0.0, 0.0],
            [-INF; 3],
            [3e38, -3e38, 3e38],
        ],
        &Device::Cpu,
    )?;
    for dtype in DTYPES {
        let y: Vec<Vec<f64>> = softmax(&x.to_dtype(dtype)?, 1)?.to_dtype(DType::F64)?.to_vec2()?;
        assert_eq!(y[0], [0.5, 0.0, 0.5]);
        for row in &y[1..4] {
            assert!(row.iter().all(|y| y.is_nan()), "{dtype:?}: {row:?}");
        }
        if dtype != DType::F16 {
            assert_eq!(y[4], [0.5, 0.0, 0.5]);
        }
    }
    Ok(())
}

/// Where the terms are added in the half type, long rows sum to something else.
#[test]
fn long_half_rows_sum_to_one() -> Result<()> {
    let spread = tensor(&[8, 4096], 3.0, DType::F64)?;
    let equal = Tensor::zeros((8, 4096), DType::F64, &Device::Cpu)?;
    let long = Tensor::zeros((1, 128_256), DType::F64, &Device::Cpu)?;
    for (name, x) in [("spread", spread), ("equal", equal), ("long", long)] {
        let cols = x.dim(1)? as f64;
        for (dtype, bound) in [
            (DType::F16, cols * 2.0_f64.powi(-25) + 2.0_f64.powi(-11)),
            (DType::BF16, 2.0_f64.powi(-8)),
        ] {
            let x = x.to_dtype(dtype)?;
            let sums = |y: Tensor| y.to_dtype(DType::F64)?.sum(1)?.to_vec1::<f64>();
            let own = candle_nn::ops::softmax_last_dim(&x)?;
            println!("{name} {dtype:?}: candle's own rows sum to {:?}", sums(own)?);
            for y in [softmax_last_dim(&x)?, softmax(&x.t()?.contiguous()?, 0)?.t()?] {
                for sum in sums(y)? {
                    assert!((sum - 1.0).abs() <= bound, "{name} {dtype:?}: {sum}");
                }
            }
        }
    }
    Ok(())
}

/// Rows and blocks long and many enough to be shared by threads, and columns where there are fewer blocks than threads.
#[test]
fn large_tensors() -> Result<()> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
    for (shape, dim) in [
        ([1, 300_000, 1], 1),
        ([700, 100, 1], 1),
        ([9, 1000, 5], 1),
        ([2, 3, 40_000], 0),
        ([1, 300, 500], 1),
    ] {
        let x = tensor(&shape, 3.0, DType::F32)?;
        let (y, log) = threads.install(|| Ok::<_, Error>((softmax(&x, dim)?, log_softmax(&x, dim)?)))?;
        let (x_rows, logs) = (support::rows(&x, dim)?, support::rows(&log, dim)?);
        for ((x, y), log) in x_rows.iter().zip(support::rows(&y, dim)?).zip(logs) {
            check("large", DType::F32, &y, &support::softmax(x));
            check_log("large", DType::F32, &log, &support::log_softmax(x));
        }
        let z = x.copy()?;
        threads.install(|| log_softmax_in_place(&z, dim))?;
        assert_eq!(flat(&z)?, flat(&log)?);
        threads.install(|| softmax_in_place(&x, dim))?;
        assert_eq!(flat(&x)?, flat(&y)?);
    }
    Ok(())
}

/// A view without elements may start behind the end of its storage.
#[test]
fn empty_views() -> Result<()> {
    for dtype in DTYPES {
        let base = Var::from_tensor(&tensor(&[4, 6, 5], 3.0, dtype)?)?;
        for x in [
            base.narrow(1, 6, 0)?.narrow(0, 3, 1)?.narrow(2, 2, 3)?,
            base.narrow(0, 4, 0)?.narrow(1, 3, 3)?,
            base.narrow(2, 5, 0)?.narrow(0, 3, 1)?.narrow(1, 5, 1)?,
        ] {
            for dim in 0..3 {
                for y in [softmax(&x, dim)?, log_softmax(&x, dim)?] {
                    assert_eq!(y.dims(), x.dims());
                    let store = y.sum_all()?.backward()?;
                    assert!(flat(store.get(&base).expect("a gradient"))?.iter().all(|&dx| dx == 0.0));
                }
                softmax_in_place(&x, dim)?;
                log_softmax_in_place(&x, dim)?;
            }
            for softcap in [0.0, 2.0] {
                let op = AttentionSoftmax::new().with_softcap(softcap);
                let mask = Tensor::zeros(x.dims(), DType::F32, &Device::Cpu)?;
                for y in [op.forward(&x)?, op.forward_masked(&x, &mask)?] {
                    assert_eq!(y.dims(), x.dims());
                    let store = y.sum_all()?.backward()?;
                    assert!(flat(store.get(&base).expect("a gradient"))?.iter().all(|&dx| dx == 0.0));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn errors_are_values() -> Result<()> {
    let x = tensor(&[2, 3], 1.0, DType::F32)?;
    assert!(softmax(&x, 2).is_err());
    assert!(log_softmax(&x, 2).is_err());
    assert!(softmax_last_dim(&Tensor::new(1.0_f32, &Device::Cpu)?).is_err());
    let integers = x.to_dtype(DType::I64)?;
    let message = softmax(&integers, 0).unwrap_err().to_string();
    assert!(message.contains("I64 is none of f32, f64, f16 and bf16"), "{message}");
    assert!(softmax_in_place(&integers, 0).is_err());
    let shared = x.narrow(0, 0, 1)?.broadcast_as((4, 3))?;
    assert!(softmax_in_place(&shared, 1).is_err());
    Ok(())
}
