//! The [`softmax`](https://docs.rs/softmax) crate as the softmax of tract.
//!
//! There are two ways in, which may be combined:
//!
//! * **Linked**: a program that links this crate has its kernels in tract's registry of routines. Every f32 softmax over
//!   the last axes then runs on them, in models that are loaded as before. [`is_linked`] says whether that is so.
//! * **Rewritten**: [`SoftmaxTransform`] replaces the softmax nodes of a model by [`Softmax`], which takes f32, f64 and
//!   f16, softmax and log-softmax, along any axis, and which has the whole contract of the `softmax` crate.
//!
//! ```
//! use tract_core::internal::*;
//! use tract_core::ops::nn::{Softmax, SoftmaxKind};
//!
//! let mut model = TypedModel::default();
//! let x = model.add_source("x", f32::fact([2, 4]))?;
//! let y = model.wire_node("y", Softmax::new(tvec![1], None, SoftmaxKind::Softmax), &[x])?;
//! model.select_output_outlets(&y)?;
//!
//! softmax_tract::SoftmaxTransform.transform(&mut model)?;
//! let y = model.into_runnable()?.run(tvec![tensor2(&[[0.0_f32; 4], [1.0; 4]]).into()])?;
//! assert_eq!(*y[0], tensor2(&[[0.25_f32; 4]; 2]));
//! # use tract_core::transform::ModelTransform;
//! # TractResult::Ok(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod node;
mod routines;

pub use node::{Softmax, SoftmaxTransform};
pub use routines::is_linked;
