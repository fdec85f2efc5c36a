//! The operators against references in f64 and against candle's own, and models with ours swapped in.

mod attention;
mod gradients;
mod model;
mod operators;
mod readme;
mod support;
