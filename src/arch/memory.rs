//! Views of memory that need `unsafe` once, so that the kernels need none.

use core::mem::MaybeUninit;

/// `row` as a place to write to. What was initialised stays so: the kernels only ever write values.
#[inline(always)]
pub fn as_output<T: Copy>(row: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: same layout; `MaybeUninit<T>` is Copy and the crate never writes an uninitialised value through it (every
    // write is `MaybeUninit::write` or a vector store of values).
    unsafe { &mut *(core::ptr::from_mut(row) as *mut [MaybeUninit<T>]) }
}

/// `row` after every element was written.
///
/// # Safety
/// All elements are initialised.
#[inline(always)]
pub unsafe fn assume_written<T>(row: &mut [MaybeUninit<T>]) -> &mut [T] {
    // SAFETY: same layout; initialised by the caller's contract.
    unsafe { &mut *(core::ptr::from_mut(row) as *mut [T]) }
}

/// Bytes of stack that a row path may use for exps that have no place in the output.
pub const SCRATCH_BYTES: usize = crate::tuning::SCRATCH_BYTES;

/// Aligned stack memory, not initialised.
#[repr(C, align(64))]
pub struct Scratch([MaybeUninit<u8>; SCRATCH_BYTES]);

impl Scratch {
    #[inline(always)]
    pub fn new() -> Self {
        Self([MaybeUninit::uninit(); SCRATCH_BYTES])
    }

    /// How many `F` fit.
    #[inline(always)]
    pub const fn capacity<F>() -> usize {
        SCRATCH_BYTES / size_of::<F>()
    }

    /// The memory as uninitialised elements.
    #[inline(always)]
    pub fn as_elements<F: Copy>(&mut self) -> &mut [MaybeUninit<F>] {
        const { assert!(align_of::<F>() <= 64) };
        // SAFETY: aligned to 64 ≥ align_of::<F>() (asserted), `capacity` elements fit, and MaybeUninit needs no value.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), Self::capacity::<F>()) }
    }
}
