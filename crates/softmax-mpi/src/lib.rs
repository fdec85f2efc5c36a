//! Softmax, log_softmax, logsumexp and cross-entropy of rows that are too long for one process: each rank holds a slice
//! of the vocabulary, that is of the columns of every row, and two small allreduces join them.
//!
//! ```text
//! rank        0            1          2       3
//! row 0   x_0 … x_7999 | … x_15999 | (none) | … x_31999        softmax over all 32000
//! row 1   …            |           |        |
//! ```
//!
//! The ranks agree once on a batch of rows and on who holds which classes ([`Vocabulary::new`]); then every rank calls
//! the same operators in the same order, each with its own slice. The transport is a [`Group`]: any intra-communicator of
//! the crate `mpi` (feature `mpi`, on by default), [`Alone`] for one process, or an engine's own.
//!
//! ```
//! use softmax::Rows;
//! use softmax_mpi::{Alone, Vocabulary};
//! // With MPI, which ends where `universe` does:
//! // let universe = mpi::initialize().unwrap();
//! // let group = universe.world();
//! let group = Alone;
//! let (rows, my_classes) = (2, 3);
//! let mut vocabulary = Vocabulary::new(&group, rows, my_classes)?;
//! let (x, mut y) = ([0.0_f32, 1.0, 2.0, 7.0, 7.0, 7.0], [0.0; 6]);
//! vocabulary.softmax(&x, &mut y, Rows::new(rows, my_classes))?;
//! assert!((y[3] - 1.0 / 3.0).abs() < 1e-7);
//! # Ok::<(), softmax_mpi::Error>(())
//! ```
//!
//! # Numerical contract
//! Elements are f32. With u = 2^−24 and P ranks, whatever the slices:
//!
//! | operator | bound |
//! |---|---|
//! | [`softmax`](Vocabulary::softmax) | [`MAX_ULP`] = 8 ULP (the `Portable` backend: 16), as in one process |
//! | [`log_softmax`](Vocabulary::log_softmax), [`logsumexp`](Vocabulary::logsumexp) | 4 ULP of max(1, \|result\|), as in one process |
//! | [`cross_entropy`](Vocabulary::cross_entropy) | those of [`softmax::cross_entropy()`] for the loss; for the gradient see there |
//!
//! A rank gives the sum of its slice under a power of two that follows from the maximum of the whole row, so that
//! nothing is rounded on the way to the others; P sums are then added in f64, within P·2^−53. Special rows are those of
//! [`softmax::softmax()`] and its kin: a NaN or a +∞ on any rank makes the row NaN on all of them. A slice that is empty,
//! or nothing but −∞, adds nothing. Unlike in one process the bits depend on the slices, and on the order in which the
//! transport adds.
//!
//! # What is sent
//! | | first allreduce, maximum of i32 | second, sum of f64 | bytes per row |
//! |---|---|---|---|
//! | `softmax`, `log_softmax`, `logsumexp` | the maximum | the sum | 4 + 8 = 12 |
//! | `cross_entropy` | the maximum | the sum, how far the label's logit is below the maximum | 4 + 16 = 20 |
//! | … with smoothing | | and Σ_c w_c·(maximum − x_c) | 28 |
//! | … with class weights | | and the weight of the label | 8 more |
//!
//! To each first message come 12 bytes with which the ranks agree that all of them make this call and that none has
//! found an error. Nothing depends on the length of the rows: gathering logits of 32,000 classes would move 128,000 bytes
//! per row. An allreduce of m bytes among P ranks takes about 2·log2 P messages and moves 2·m·(P − 1)/P bytes in and out
//! of each rank, so that a call takes
//!
//! ```text
//! (rows · classes / P) · t_element  +  4·log2 P · t_latency  +  2·(P − 1)/P · rows · bytes per row / bandwidth
//! ```
//!
//! and the efficiency is the share of the first term: the slice of a rank should cost more than its latencies.
//!
//! # Measured
//! Microseconds of a call by the slowest rank, least of the repeats, and of that in the two allreduces (which includes
//! waiting for slower ranks): `mpirun -n P ../target/release/examples/vocabulary ROWS CLASSES`, Open MPI 4.1.4 over shared
//! memory, rustc 1.95, Intel Xeon, AVX-512, 2 cores that were shared with other programs. Four ranks therefore show what
//! too few cores cost, not how four scale.
//!
//! | rows × classes | | 1 rank | 2 ranks | speed-up | 4 ranks on 2 cores |
//! |---|---|---|---|---|---|
//! | 1 × 128,256 | softmax | 56.5 (0.1) | 27.6 (0.7) | 2.05 | 57.2 (44.0) |
//! | | cross-entropy, gradient | 93.7 (0.1) | 46.4 (0.7) | 2.02 | 86.1 (62.8) |
//! | 16 × 128,256 | softmax | 1627 (0.7) | 792 (4.8) | 2.06 | 1095 (696) |
//! | | cross-entropy, gradient | 2327 (0.7) | 1080 (3.7) | 2.15 | 1776 (1179) |
//!
//! The load moves these by tens of percent from run to run. In all of them softmax was within 1 ULP of one process, and
//! the loss had the same bits.
//!
//! # Errors
//! An error of one rank ends the call on all of them, before anything is written: the rank itself gets
//! [`Error::Call`] with the numbers, the others [`Error::OtherRank`] with its rank. Ranks that call different operators,
//! or with other labels or parameters, get [`Error::Differ`]. The next call works. A rank that makes no call at all
//! (or dies) is beyond this: the others wait, or the transport ends them.

mod cross_entropy;
mod error;
mod group;
mod vocabulary;

pub use error::Error;
pub use group::{Alone, Group};
pub use vocabulary::{MAX_ULP, Vocabulary};
