//! The kernels in tract's registry of routines, which is made of what a program links.
//!
//! tract runs `SoftmaxRows` over f32 rows whose length is a multiple of 4, where a machine has one, and otherwise, row by
//! row, the maximum, `Softmax2` and a multiplication.

use tract_core::internal::*;
use tract_linalg::isa::{Arch, IsaReq};
use tract_linalg::reduce::MapReduce;
use tract_linalg::routines::{Func, Routine, RoutineFactory, softmax_rows_f32};

/// The architecture of this build: tract prefers a kernel that names it to one that names none.
const ARCH: Option<Arch> = if cfg!(target_arch = "x86_64") {
    Some(Arch::X86_64)
} else if cfg!(target_arch = "aarch64") {
    Some(Arch::Aarch64)
} else if cfg!(target_arch = "arm") {
    Some(Arch::Arm)
} else if cfg!(target_arch = "riscv64") {
    Some(Arch::RiscV64)
} else if cfg!(all(target_arch = "wasm32", target_feature = "simd128")) {
    Some(Arch::Wasm32Simd128)
} else {
    None
};

/// Above every step of tract's ladder of instruction sets: ours chooses among those itself.
const BOOST: isize = 1000;

const fn routine(func: Func, factory: RoutineFactory) -> Routine {
    Routine {
        func,
        arch: ARCH,
        isa: IsaReq::ANY,
        boost: BOOST,
        round_trip: false,
        factory,
    }
}

inventory::submit! {
    routine(Func::SoftmaxRows, RoutineFactory::SoftmaxRowsF32 { name: "softmax_crate_rows_f32", run: softmax_rows })
}

inventory::submit! {
    routine(Func::Softmax2, RoutineFactory::F32MapReduce(|| Box::new(ExpSum)))
}

/// Softmax in place of each `row_len` elements.
fn softmax_rows(rows: &mut [f32], row_len: usize) {
    let layout = softmax::Rows::new(rows.len() / row_len.max(1), row_len);
    // tract's signature has no place for an error, and this layout fits the slice by construction.
    let done = softmax::softmax_rows_in_place(rows, layout);
    debug_assert!(done.is_ok());
}

/// e^(x − max) in place, and its sum.
#[derive(Clone, Debug)]
struct ExpSum;

impl MapReduce<f32, f32> for ExpSum {
    fn name(&self) -> &'static str {
        "softmax_crate_exp_sum_f32"
    }

    fn run_with_params(&self, row: &mut [f32], max: f32) -> TractResult<f32> {
        Ok(softmax::row::exp_sub_max_sum_in_place(row, max) as f32)
    }
}

/// Whether tract runs f32 softmax over the last axes on the kernels of this crate in this process.
///
/// A call of it, or a `use softmax_tract as _;`, is what makes a program link the crate; tract looks up its kernels at the
/// first use, so there is nothing to initialise.
///
/// ```
/// assert!(softmax_tract::is_linked());
/// ```
pub fn is_linked() -> bool {
    softmax_rows_f32().is_some_and(|run| std::ptr::fn_addr_eq(run, softmax_rows as fn(&mut [f32], usize)))
}
