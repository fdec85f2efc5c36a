//! The [`softmax`](https://docs.rs/softmax) crate as operators of candle: the drop-in counterparts of
//! `candle_nn::ops::{softmax_last_dim, softmax, log_softmax}`, with gradients, and the softmax of attention
//! ([`AttentionSoftmax`]).
//!
//! ```
//! use candle_core::{D, Device, Tensor};
//! let x = Tensor::new(&[[0.0_f32, 1.0], [7.0, 7.0]], &Device::Cpu)?;
//! let y = softmax_candle::softmax(&x, D::Minus1)?;
//! assert_eq!(y.to_vec2::<f32>()?[1], [0.5, 0.5]);
//! # Ok::<(), candle_core::Error>(())
//! ```
//!
//! * Tensors are f32, f64, f16 or bf16, on the CPU, of any layout; anything else is an error. The halves are computed
//!   in f32 and rounded once, so that a row of n elements sums to 1 within n·2^−25 + 2^−11 in f16 and 2^−8 in bf16.
//! * Bounds, special rows and bits are those of the `softmax` crate: the result for a row depends on its values alone,
//!   not on its dimension, layout, neighbours or the number of threads.
//! * Large tensors are shared by the threads of the current rayon pool, as candle's own operators are.

#![warn(missing_docs)]

mod attention;
mod backward;
mod element;
mod forward;
mod strided;

pub use attention::AttentionSoftmax;

use candle_core::shape::Dim;
use candle_core::{D, Result, Tensor};
use forward::{Forward, Operator};

/// e^x / Σ e^x along the last dimension: `softmax(xs, D::Minus1)`.
///
/// In the place of `candle_nn::ops::softmax_last_dim`, which has no gradient and takes contiguous tensors only.
///
/// # Errors
/// As [`softmax()`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[3.0_f32, f32::NEG_INFINITY, 3.0], &Device::Cpu)?;
/// assert_eq!(softmax_candle::softmax_last_dim(&x)?.to_vec1::<f32>()?, [0.5, 0.0, 0.5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn softmax_last_dim(xs: &Tensor) -> Result<Tensor> {
    softmax(xs, D::Minus1)
}

/// y_i = e^{x_i} / Σ_j e^{x_j} along one dimension, of the shape and type of `xs`, contiguous.
///
/// Each row that runs along `dim` has the bounds and the special cases of `softmax::softmax`: NaN, +∞ or nothing but −∞
/// make it NaN, −∞ beside finite values is 0. The gradient, dx_i = y_i·(dy_i − Σ_j dy_j·y_j), is that of
/// `softmax::softmax_backward`.
///
/// # Errors
/// If `dim` is not a dimension of `xs`, or if `xs` is not f32, f64, f16 or bf16 on the CPU.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// let x = Var::new(&[[0.0_f32, 1.0], [0.0, 3.0]], &Device::Cpu)?;
/// let y = softmax_candle::softmax(x.as_tensor(), 0)?;
/// assert_eq!(y.to_vec2::<f32>()?[0][0], 0.5);
///
/// let gradients = y.get(0)?.get(0)?.backward()?;
/// assert_eq!(gradients.get(&x).unwrap().to_vec2::<f32>()?, [[0.25, 0.0], [-0.25, 0.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn softmax<A: Dim>(xs: &Tensor, dim: A) -> Result<Tensor> {
    let dim = dim.to_index(xs.shape(), "softmax")?;
    xs.apply_op1(Forward::new(Operator::Softmax, dim))
}

/// y_i = x_i − ln Σ_j e^{x_j} along one dimension, of the shape and type of `xs`, contiguous.
///
/// Each row that runs along `dim` has the bounds and the special cases of `softmax::log_softmax`. The gradient, dx_i =
/// dy_i − e^{y_i}·Σ_j dy_j, is that of `softmax::log_softmax_backward`.
///
/// # Errors
/// As [`softmax()`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1000.0_f32, 1000.0]], &Device::Cpu)?;
/// let y = softmax_candle::log_softmax(&x, 1)?.to_vec2::<f32>()?;
/// assert!((y[0][0] + std::f32::consts::LN_2).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn log_softmax<A: Dim>(xs: &Tensor, dim: A) -> Result<Tensor> {
    let dim = dim.to_index(xs.shape(), "log-softmax")?;
    xs.apply_op1(Forward::new(Operator::LogSoftmax, dim))
}

/// [`softmax()`] in the storage of `xs`, without an allocation where `xs` is contiguous: the same bits.
///
/// Whatever shares that storage (a view, a clone) changes with it, and candle records no gradient: it is for
/// inference.
///
/// # Errors
/// As [`softmax()`], and if elements of `xs` share their place, as those of a broadcast do.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[2.0_f32, 2.0]], &Device::Cpu)?;
/// softmax_candle::softmax_in_place(&x, 1)?;
/// assert_eq!(x.to_vec2::<f32>()?, [[0.5, 0.5]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn softmax_in_place<A: Dim>(xs: &Tensor, dim: A) -> Result<()> {
    let dim = dim.to_index(xs.shape(), "softmax")?;
    xs.inplace_op1(&Forward::new(Operator::Softmax, dim))
}

/// [`log_softmax`] in the storage of `xs`; otherwise as [`softmax_in_place`].
///
/// # Errors
/// As [`softmax_in_place`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[2.0_f64, f64::NEG_INFINITY]], &Device::Cpu)?;
/// softmax_candle::log_softmax_in_place(&x, 1)?;
/// assert!(x.to_vec2::<f64>()?[0][0].abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn log_softmax_in_place<A: Dim>(xs: &Tensor, dim: A) -> Result<()> {
    let dim = dim.to_index(xs.shape(), "log-softmax")?;
    xs.inplace_op1(&Forward::new(Operator::LogSoftmax, dim))
}
