//! The tests as one program: the kernels are generic, and would be compiled anew for each test program.
//!
//! `cargo test accuracy` runs one module, `cargo test --release -- --ignored --nocapture exhaustive` the long one.
//! `common` says how to add an operator, an element type or a distribution, and which variables steer the tests.

mod accuracy;
mod axis;
mod backward;
mod choices;
mod common;
mod contract;
mod cross_entropy;
mod errors;
mod exhaustive;
mod flash_attention;
mod golden;
mod guards;
#[cfg(feature = "half")]
mod halves;
mod helpers;
mod isa;
mod masked;
mod online;
mod oracle;
#[cfg(feature = "rayon")]
mod parallel;
mod properties;
mod ragged;
mod reproducible;
mod row;
mod sampling;
mod shapes;
// The profiles are files.
#[cfg(not(target_family = "wasm"))]
mod tuning;
