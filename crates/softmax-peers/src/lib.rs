//! Measures the crate `softmax` beside the other libraries that compute softmax.
//!
//! A run is a set of [`task::Task`]s. The program starts one measuring process for each pair of
//! instruction set and number of threads ([`process`]); it opens the peers ([`peers`]), and for
//! each task lets them take turns on the same buffers ([`measure`]). What it measures comes back
//! as records ([`record`]), from which the tables ([`table`]), the CSV and the plot ([`plot`]) are
//! made.

#[path = "../../../benches/common/buffer.rs"]
pub mod buffer;
pub mod cli;
pub mod clock;
pub mod data;
pub mod library;
pub mod machine;
pub mod measure;
pub mod peer;
pub mod peers;
pub mod plot;
pub mod pool;
pub mod process;
pub mod record;
pub mod reference;
pub mod table;
pub mod task;
pub mod x86;
