//! The tests as one program: the kernels are generic, and would be compiled anew for each test program.
//!
//! `cargo test accuracy` runs one module, `cargo test --release -- --ignored --nocapture exhaustive` the long one.
//! `common` says how to add an operator, an element type or a distribution, and which variables steer the tests.

mod accuracy;
mod choices;
mod common;
mod contract;
mod errors;
mod exhaustive;
mod golden;
mod helpers;
mod isa;
mod oracle;
#[cfg(feature = "rayon")]
mod parallel;
mod properties;
mod reproducible;
mod shapes;
mod tuning;
