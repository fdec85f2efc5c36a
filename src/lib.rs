//! Softmax for CPUs: one numerical contract, the same bits on AVX-512, AVX2, NEON and the scalar reference.
//!
//! ```
//! let logits = [2.0_f32, 1.0, 0.1];
//! let mut probabilities = [0.0; 3];
//! softmax::softmax(&logits, &mut probabilities)?;
//! assert_eq!(softmax::argmax(&logits), Some(0));
//! # Ok::<(), softmax::Error>(())
//! ```
//!
//! * **Right on every input**: at most 8 ULP in every element of every row of up to 2^24 elements, derived below; NaN,
//!   ±∞, masked, huge and empty rows by a table ([`softmax()`]).
//! * **Reproducible**: the bits of a row depend on its values and its length, and on nothing else: not on the CPU (but see
//!   below of [`Isa::Portable`]), alignment, stride, in place or not, neighbours, or FTZ/DAZ ([`masked_softmax`] says which
//!   parameters those must not meet; the gradients, [`cross_entropy`] and [`row::scale`] leave subnormals to the host).
//! * **No surprises**: no allocation, no thread, no panic, at most 32 KiB of the stack for exps (with all frames, in
//!   release builds for x86-64, 56 KiB); errors are values that name the numbers. (The first calls that compute may allocate:
//!   they look up environment variables. Features `rayon` and `ndarray` use threads and allocate where their functions say so.)
//!
//! # Operators
//! Every operator runs on every [`Isa`] and for every element type of its line (f16 and bf16 with feature `half`: f32
//! arithmetic and one rounding at the end, softmax at most 0.51 ULP of the format). `Isa::Avx2.softmax(…)` runs it on a
//! chosen one, [`Isa::set_max`] caps the choice of all, the `par_*` twins among them.
//!
//! | operator | elements | fused into the sweeps of a row | at most |
//! |---|---|---|---|
//! | [`softmax()`], [`softmax_rows`], [`softmax_axis`], [`softmax_ragged`], in place | f32, f64, f16, bf16 | exp, sum, quotient; no sweep for the maximum | 8 ULP |
//! | [`log_softmax`], `_rows`, `_axis`, `_ragged`, in place | f32, f64, f16, bf16 | exp and sum; logarithm and difference | 4 ULP of max(1, \|result\|) |
//! | [`logsumexp`], `_rows`, `_axis`, `_ragged` | f32, f64, f16, bf16 | exp, sum | 4 ULP of max(1, \|result\|) |
//! | [`masked_softmax`], [`masked_log_softmax`], in place | f32, f64, f16, bf16 | scale, softcap, additive mask, ALiBi, causal, window, lengths, keep-mask, sink | softmax's, of the rounded z |
//! | [`top_k`], [`argmax`], `_rows` | f32, f64, f16, bf16 | softmax and the choice; nothing written per row | the bits of softmax |
//! | [`exp()`], in place | f32, f64 | | 1 ULP |
//! | [`row::max`], [`row::exp_sub_max_sum`], [`row::scale`] | f32, f64, f16, bf16 | exp and sum | 1.5 + \|x − max\| ULP |
//! | [`OnlineSoftmax`] | f32, f16, bf16 | exp, sum and the weights of a tile; merges round once | 8 ULP |
//! | [`softmax_backward`], [`log_softmax_backward`], `_rows`, in place | f32, f64, f16, bf16 | dot product; difference and product | see there |
//! | [`cross_entropy`] | f32, f64, f16, bf16 | loss and gradient in two sweeps of the logits | see there |
//! | [`Sampler`], [`sample_gumbel`] | f32, f16, bf16 | thresholds on logits; exps of what is kept | exact sets |
//!
//! | ISA | runs on | f32, f64 | f16, bf16 | bits |
//! |---|---|---|---|---|
//! | [`Isa::Avx512`] | x86-64 with F, BW, CD, DQ and VL | 16 and 8 lanes | F16C of AVX-512; shifts | the same |
//! | [`Isa::Avx2`] | x86-64 with AVX2, FMA and F16C | 8 and 4 lanes | F16C; shifts | the same |
//! | [`Isa::Neon`] | AArch64 | 4 and 2 lanes | `fcvtl`, `fcvtn`; integers | the same |
//! | [`Isa::Scalar`] | anything | 1 lane, exact multiply-add | integers | the same |
//! | [`Isa::Portable`] | anything: SSE2, WebAssembly simd128 | 4 and 2 lanes, no multiply-add | integers | its own |
//!
//! `Portable` has wider bounds, stated by [`Isa::max_ulp`] and [`Isa::exp_max_ulp`].
//!
//! # The error bound
//! In units of u = 2^−24, relative (one u is at most one ULP of the result):
//!
//! | source | u |
//! |---|---|
//! | e^x of the numerator, core of eight steps to the octave | 1.93 |
//! | the same in each term of the sum | 1.93 |
//! | three f32 additions inside a block, then f64 | 3 + n·2^−29 |
//! | reciprocal in two terms | 2^−20 |
//! | last rounding | 0.5 ULP |
//!
//! 6.86 + 0.5 < 8 ULP. The sum has only positive terms, so its relative error is at most that of a term plus that of
//! the additions. The subtraction `x − max` of the textbook, whose rounding alone costs about 20 ULP, does not occur:
//! see `src/math/exp.rs`.
//!
//! f64, with u = 2^−53 and a core of one step to the octave: reduction 0.5, polynomial 0.03, its last two additions 1.25
//! and those before 0.05, so 1.83 in the numerator and in the terms; three additions, then pairs without error; 6.66 + 0.5 ULP.
//!
//! `Portable` rounds products before they are added: 2.1 in the numerator and in the terms (reduction 0.35, polynomial
//! and its steps 1.75), three additions, 1 for the sum rounded to the type, the quotient 0.5 ULP; 8.7 of the 16 promised.
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod arch;
mod element;
mod error;
mod isa;
mod kernel;
mod lanes;
mod layout;
mod mask;
mod math;
mod ops;
mod rows;
mod setting;
mod sizes;
mod tuning;

pub use element::{Element, Float, Output};
pub use error::{Error, Value};
pub use isa::{Isa, UnknownIsa};
pub use layout::Axis;
pub use mask::{Broadcast, FullyMasked, Mask, MaskElement};
pub use ops::masked::{masked_log_softmax, masked_log_softmax_in_place, masked_softmax, masked_softmax_in_place};
pub use ops::row;
pub use ops::{
    BackwardRows, CrossEntropy, OnlineSoftmax, Reduction, Sampler, cross_entropy, log_softmax_backward,
    log_softmax_backward_in_place, log_softmax_backward_rows, log_softmax_backward_rows_in_place, sample_gumbel,
    softmax_backward, softmax_backward_in_place, softmax_backward_rows, softmax_backward_rows_in_place,
};
pub use ops::{
    argmax, argmax_rows, exp, exp_in_place, log_softmax, log_softmax_in_place, log_softmax_rows,
    log_softmax_rows_in_place, logsumexp, logsumexp_rows, softmax, softmax_in_place, softmax_rows,
    softmax_rows_in_place, top_k, top_k_rows,
};
pub use ops::{log_softmax_axis, log_softmax_axis_in_place, logsumexp_axis, softmax_axis, softmax_axis_in_place};
pub use ops::{
    log_softmax_ragged, log_softmax_ragged_in_place, logsumexp_ragged, softmax_ragged, softmax_ragged_in_place,
};
pub use rows::{Rows, split_rows};

#[cfg(feature = "rayon")]
pub use ops::parallel::*;

#[cfg(feature = "ndarray")]
#[cfg_attr(docsrs, doc(cfg(feature = "ndarray")))]
pub mod ndarray;

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

/// One in how many steps of a long search the unit tests take: fewer under an emulator, as in tests/common.
#[cfg(test)]
fn thinning() -> usize {
    let scale = std::env::var("SOFTMAX_TEST_SCALE")
        .ok()
        .and_then(|scale| scale.parse().ok());
    if scale.is_some_and(|scale: usize| scale >= 10) {
        9
    } else {
        1
    }
}
