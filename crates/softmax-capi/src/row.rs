//! Row primitives, and the state of a row that comes in tiles: f32. They return values, NaN where an argument is wrong.

use crate::memory::{Place, Span};
use crate::status::{Status, code};
use core::ffi::c_int;
use softmax::row;

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_row_max_f32(x: *const f32, n: usize) -> f32 {
    // SAFETY: the caller's promise.
    Span::new(x, n).map_or(f32::NAN, |x| row::max(unsafe { x.input() }))
}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_row_exp_sub_max_sum_f32(x: *const f32, y: *mut f32, n: usize, max: f32) -> f64 {
    // SAFETY: the caller's promise.
    unsafe { exp_sub_max_sum(x, y, n, max) }.unwrap_or(f64::NAN)
}

/// # Safety
/// The caller's promise (see `memory`).
unsafe fn exp_sub_max_sum(x: *const f32, y: *mut f32, n: usize, max: f32) -> Result<f64, Status> {
    let x = Span::new(x, n)?;
    if y.is_null() {
        // SAFETY: the promise.
        return Ok(row::exp_sub_max_sum(unsafe { x.input() }, None, max)?);
    }
    let y = Span::new(y, n)?;
    if x.same(y) {
        // SAFETY: the promise for the output.
        return Ok(row::exp_sub_max_sum_in_place(unsafe { y.in_place() }, max));
    }
    x.apart(y)?;
    // SAFETY: the promise, and they are apart; every bit pattern is a float.
    let (x, y) = unsafe { (x.input(), y.in_place()) };
    Ok(row::exp_sub_max_sum(x, Some(y), max)?)
}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_row_scale_f32(y: *mut f32, n: usize, s: f32) {
    if let Ok(y) = Span::new(y, n) {
        // SAFETY: the caller's promise.
        row::scale(unsafe { y.in_place() }, s);
    }
}

/// `smx_online_f32`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
#[allow(missing_docs)]
pub struct OnlineSoftmax {
    pub sum: f64,
    pub max: f32,
    pub shift: i32,
}

impl From<softmax::OnlineSoftmax> for OnlineSoftmax {
    fn from(state: softmax::OnlineSoftmax) -> Self {
        let (sum, max, shift) = state.to_parts();
        Self { sum, max, shift }
    }
}

impl From<OnlineSoftmax> for softmax::OnlineSoftmax {
    fn from(state: OnlineSoftmax) -> Self {
        Self::from_parts(state.sum, state.max, state.shift)
    }
}

/// A copy of the caller's state: what else the caller passes may overlap it.
///
/// # Safety
/// The caller's promise (see `memory`).
unsafe fn load(state: *const OnlineSoftmax) -> Result<softmax::OnlineSoftmax, Status> {
    let state = Span::new(state, 1)?;
    // SAFETY: the promise.
    Ok(unsafe { state.input() }[0].into())
}

/// # Safety
/// The caller's promise (see `memory`).
unsafe fn store(state: *mut OnlineSoftmax, value: softmax::OnlineSoftmax) -> Result<(), Status> {
    let state = Span::new(state, 1)?;
    // SAFETY: the promise.
    let place = unsafe { state.output() };
    place[0].write(value.into());
    Ok(())
}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_online_init_f32(state: *mut OnlineSoftmax) {
    // SAFETY: the caller's promise. There is no status to return, and nothing to do for a null pointer.
    let _ = unsafe { store(state, softmax::OnlineSoftmax::new()) };
}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_online_update_f32(state: *mut OnlineSoftmax, x: *const f32, n: usize) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe { update(state, x, n) })
}

/// # Safety
/// The caller's promise (see `memory`).
unsafe fn update(state: *mut OnlineSoftmax, x: *const f32, n: usize) -> Result<(), Status> {
    let (x, own) = (Span::new(x, n)?, Span::new(state.cast_const(), 1)?);
    own.apart(x)?;
    // SAFETY: the promise.
    let mut value = unsafe { load(state) }?;
    // SAFETY: the promise.
    value.update(unsafe { x.input() });
    // SAFETY: the promise.
    unsafe { store(state, value) }
}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_online_update_into_f32(
    state: *mut OnlineSoftmax,
    x: *const f32,
    e: *mut f32,
    n: usize,
    factor: *mut f32,
) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe { update_into(state, x, e, n, factor) })
}

/// # Safety
/// The caller's promise (see `memory`).
unsafe fn update_into(
    state: *mut OnlineSoftmax,
    x: *const f32,
    e: *mut f32,
    n: usize,
    factor: *mut f32,
) -> Result<(), Status> {
    let (x, e) = (Span::new(x, n)?, Span::new(e, n)?);
    let (own, result) = (Span::new(state.cast_const(), 1)?, Span::new(factor, 1)?);
    for other in [x, e, result] {
        own.apart(other)?;
    }
    x.apart(result)?;
    e.apart(result)?;
    // SAFETY: the promise.
    let mut value = unsafe { load(state) }?;
    let rescale = if x.same(e) {
        // SAFETY: the promise.
        value.update_in_place(unsafe { e.in_place() })
    } else {
        x.apart(e)?;
        // SAFETY: the promise, and they are apart; every bit pattern is a float.
        let (x, e) = unsafe { (x.input(), e.in_place()) };
        value.update_into(x, e)?
    };
    // SAFETY: the promise, and they are apart.
    unsafe {
        factor.write(rescale);
        store(state, value)
    }
}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_online_rescale_factor_f32(
    state: *const OnlineSoftmax,
    before: *const OnlineSoftmax,
) -> f32 {
    // SAFETY: the caller's promise.
    match unsafe { (load(state), load(before)) } {
        (Ok(state), Ok(before)) => state.rescale_factor(&before),
        _ => f32::NAN,
    }
}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_online_merge_f32(state: *mut OnlineSoftmax, other: *const OnlineSoftmax) {
    // SAFETY: the caller's promise.
    if let (Ok(mut value), Ok(other)) = unsafe { (load(state), load(other)) } {
        value.merge(&other);
        // SAFETY: the caller's promise. It was not null when it was loaded.
        let _ = unsafe { store(state, value) };
    }
}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_online_finish_f32(
    state: *const OnlineSoftmax,
    x: *const f32,
    y: *mut f32,
    n: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe { finish(state, x, y, n) })
}

/// # Safety
/// The caller's promise (see `memory`).
unsafe fn finish(state: *const OnlineSoftmax, x: *const f32, y: *mut f32, n: usize) -> Result<(), Status> {
    let (x, y) = (Span::new(x, n)?, Span::new(y, n)?);
    Span::new(state, 1)?.apart(y)?;
    // SAFETY: the promise.
    let value = unsafe { load(state) }?;
    // SAFETY: the promise.
    match unsafe { Place::new(x, y, true) }? {
        Place::Apart(x, y) => value.finish(x, y)?,
        Place::InPlace(x) => value.finish_in_place(x),
    }
    Ok(())
}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_online_logsumexp_f32(state: *const OnlineSoftmax) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { load(state) }.map_or(f32::NAN, |state| state.logsumexp())
}
