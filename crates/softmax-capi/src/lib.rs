//! The C interface of [`softmax`]: `libsoftmax`, documented in `include/softmax.h`.
//!
//! Each function checks pointers, sizes and overlap, makes slices of them and calls the Rust function of its name.
//! What is wrong with a call becomes a status; nothing is written then. `tests/header.rs` compares every signature,
//! struct and constant with the header.

mod memory;
mod operators;
mod parallel;
mod params;
mod row;
mod status;

pub use parallel::{ParallelFor, Task, smx_softmax_parallel_f32};
pub use params::{
    Bool, CrossEntropyParams, FULLY_MASKED_NAN, FULLY_MASKED_ZERO, Mask, REDUCTION_MEAN, REDUCTION_NONE, REDUCTION_SUM,
};
pub use row::*;
pub use status::Status;

use core::ffi::{CStr, c_char, c_int};
use softmax::Isa;
use status::code;

/// `SMX_DECLARE` of the header: each function for each element type.
macro_rules! declare {
    ([$($t:ident = $T:ty),* $(,)?] $functions:tt) => { $(declare! { @element $t $T, $functions })* };
    (@element $t:ident $T:ty, { $(fn $name:ident($($arg:ident: $type:ty),* $(,)?);)* }) => {
        #[doc = concat!("The functions of `softmax.h` whose names end in `_", stringify!($t), "`.")]
        pub mod $t {
            use crate::params::{CrossEntropyParams, Mask};
            use crate::{operators, status::code};
            use core::ffi::c_int;

            type T = $T;
            type P = <T as softmax::Element>::Compute;
            $(
                /// See `softmax.h`.
                ///
                /// # Safety
                /// As `softmax.h` says.
                #[unsafe(export_name = concat!("smx_", stringify!($name), "_", stringify!($t)))]
                #[allow(clippy::too_many_arguments)] // those of C
                pub unsafe extern "C" fn $name($($arg: $type),*) -> c_int {
                    // SAFETY: the caller's promise.
                    code(unsafe { operators::$name::<T>($($arg),*) })
                }
            )*
        }
    };
}

declare! { [f32 = core::primitive::f32, f64 = core::primitive::f64, f16 = half::f16, bf16 = half::bf16] {
    fn softmax(x: *const T, y: *mut T, rows: usize, cols: usize, x_stride: usize, y_stride: usize);
    fn log_softmax(x: *const T, y: *mut T, rows: usize, cols: usize, x_stride: usize, y_stride: usize);
    fn logsumexp(x: *const T, out: *mut T, rows: usize, cols: usize, x_stride: usize);
    fn softmax_axis(x: *const T, y: *mut T, outer: usize, len: usize, inner: usize);
    fn log_softmax_axis(x: *const T, y: *mut T, outer: usize, len: usize, inner: usize);
    fn logsumexp_axis(x: *const T, out: *mut T, outer: usize, len: usize, inner: usize);
    fn argmax(x: *const T, index: *mut usize, rows: usize, cols: usize, x_stride: usize);
    fn top_k(
        x: *const T, rows: usize, cols: usize, x_stride: usize, k: usize, index: *mut usize, prob: *mut P,
    );
    fn softmax_ragged(x: *const T, y: *mut T, offsets: *const usize, rows: usize);
    fn masked_softmax(
        x: *const T, y: *mut T, rows: usize, cols: usize, x_stride: usize, y_stride: usize, mask: *const Mask,
    );
    fn masked_log_softmax(
        x: *const T, y: *mut T, rows: usize, cols: usize, x_stride: usize, y_stride: usize, mask: *const Mask,
    );
    fn softmax_backward(
        y: *const T, dy: *const T, dx: *mut T, rows: usize, cols: usize, y_stride: usize, dy_stride: usize,
        dx_stride: usize,
    );
    fn log_softmax_backward(
        y: *const T, dy: *const T, dx: *mut T, rows: usize, cols: usize, y_stride: usize, dy_stride: usize,
        dx_stride: usize,
    );
    fn cross_entropy(
        x: *const T, labels: *const i64, loss: *mut P, dx: *mut T, rows: usize, cols: usize, x_stride: usize,
        dx_stride: usize, params: *const CrossEntropyParams,
    );
}}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_exp_f32(x: *const core::primitive::f32, y: *mut core::primitive::f32, n: usize) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe { operators::exp(x, y, n) })
}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_exp_f64(x: *const core::primitive::f64, y: *mut core::primitive::f64, n: usize) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe { operators::exp(x, y, n) })
}

/// See `softmax.h`.
#[unsafe(no_mangle)]
pub extern "C" fn smx_status_message(status: c_int) -> *const c_char {
    status::message(status).as_ptr()
}

/// [`Isa::name`] with the zero byte that C wants.
const ISA_NAMES: [&CStr; 5] = [c"avx512", c"avx2", c"neon", c"portable", c"scalar"];

/// See `softmax.h`.
#[unsafe(no_mangle)]
pub extern "C" fn smx_isa_name() -> *const c_char {
    let name = Isa::detect().name().as_bytes();
    let found = ISA_NAMES.into_iter().find(|known| known.to_bytes() == name);
    found.unwrap_or(c"unknown").as_ptr()
}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_set_max_isa(name: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe { set_max_isa(name) })
}

/// # Safety
/// If not null, `name` is a string of C.
unsafe fn set_max_isa(name: *const c_char) -> Result<(), Status> {
    if name.is_null() {
        return Err(Status::Null);
    }
    // SAFETY: not null, and a string by the contract.
    let name = unsafe { CStr::from_ptr(name) };
    let isa: Isa = name
        .to_str()
        .ok()
        .and_then(|name| name.parse().ok())
        .ok_or(Status::Isa)?;
    Ok(isa.set_max()?)
}

/// See `softmax.h`.
#[unsafe(no_mangle)]
pub extern "C" fn smx_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
