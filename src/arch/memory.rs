//! Views of memory that need `unsafe` once, so that the kernels need none.

use crate::element::Element;
use core::marker::PhantomData;
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

/// `row` with every element the `value`.
#[inline(always)]
pub fn filled<T: Copy>(row: &mut [MaybeUninit<T>], value: T) -> &mut [T] {
    for element in &mut *row {
        element.write(value);
    }
    // SAFETY: all were written.
    unsafe { assume_written(row) }
}

/// Room for exps in the place of results that are written later: as many as fit.
#[inline(always)]
pub fn room<T: Element>(row: &mut [MaybeUninit<T>]) -> &mut [MaybeUninit<T::Compute>] {
    // SAFETY: `MaybeUninit` needs no value. What was initialised stays so: the crate only ever writes values, and elements
    // are floats: no byte of one is padding, and all bits make one.
    unsafe { row.align_to_mut().1 }
}

/// A part of a row and the place of its results: another one of the same length, or the part itself. A pass over it is
/// compiled once for both.
pub struct Cells<'a, T> {
    x: *const T,
    y: *mut MaybeUninit<T>,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

impl<'a, T: Copy> Cells<'a, T> {
    #[inline(always)]
    pub fn apart(x: &'a [T], y: &'a mut [MaybeUninit<T>]) -> Self {
        assert!(x.len() == y.len());
        Self {
            x: x.as_ptr(),
            y: y.as_mut_ptr(),
            len: x.len(),
            borrowed: PhantomData,
        }
    }

    #[inline(always)]
    pub fn in_place(row: &'a mut [T]) -> Self {
        let (y, len) = (as_output(row).as_mut_ptr(), row.len());
        Self {
            x: y.cast_const().cast(),
            y,
            len,
            borrowed: PhantomData,
        }
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub fn input(&self) -> &[T] {
        // SAFETY: `len` initialised elements, borrowed for 'a by the constructors; only values are ever written to them, and
        // only through `output`, which borrows all of `self`.
        unsafe { core::slice::from_raw_parts(self.x, self.len) }
    }

    #[inline(always)]
    pub fn output(&mut self) -> &mut [MaybeUninit<T>] {
        // SAFETY: `len` elements, borrowed mutably for 'a by the constructors; `input` cannot be held at the same time.
        unsafe { core::slice::from_raw_parts_mut(self.y, self.len) }
    }

    /// The first `at` and the others.
    #[inline(always)]
    pub fn split_at(self, at: usize) -> (Self, Self) {
        assert!(at <= self.len);
        // SAFETY: `at ≤ len`, so that both pointers stay within their slices or just behind them.
        let (x, y) = unsafe { (self.x.add(at), self.y.add(at)) };
        let rest = Self {
            x,
            y,
            len: self.len - at,
            ..self
        };
        (Self { len: at, ..self }, rest)
    }
}

/// The bytes of booleans: 0 or 1.
#[inline(always)]
pub fn as_bytes(keep: &[bool]) -> &[u8] {
    // SAFETY: bool has size and alignment 1, and every bool is an initialised byte.
    unsafe { &*(core::ptr::from_ref(keep) as *const [u8]) }
}

/// Stack that a row path may use for exps that have no place in the output.
pub type Scratch = Stack<{ crate::tuning::SCRATCH_BYTES }>;

/// Aligned stack memory, not initialised.
#[repr(C, align(64))]
pub struct Stack<const BYTES: usize>([MaybeUninit<u8>; BYTES]);

impl<const BYTES: usize> Stack<BYTES> {
    #[inline(always)]
    pub fn new() -> Self {
        Self([MaybeUninit::uninit(); BYTES])
    }

    /// How many `F` fit.
    #[inline(always)]
    pub const fn capacity<F>() -> usize {
        BYTES / size_of::<F>()
    }

    /// `n` elements of `value`.
    #[inline(always)]
    pub fn filled<F: Copy>(&mut self, n: usize, value: F) -> &mut [F] {
        filled(&mut self.as_elements()[..n], value)
    }

    /// The memory as uninitialised elements.
    #[inline(always)]
    pub fn as_elements<F: Copy>(&mut self) -> &mut [MaybeUninit<F>] {
        const { assert!(align_of::<F>() <= 64) };
        // SAFETY: aligned to 64 ≥ align_of::<F>() (asserted), `capacity` elements fit, and MaybeUninit needs no value.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), Self::capacity::<F>()) }
    }
}

/// Copies the first elements of `src` to `dst`: as many as both have, `N` (a power of two up to 32) at most.
///
/// By two copies that overlap, of the largest power of two that fits: a copy of constant size is a few moves, one of
/// variable size a call, and masked stores take tens of cycles on some CPUs.
#[inline(always)]
pub fn copy_first<T: Copy, const N: usize>(src: &[T], dst: &mut [MaybeUninit<T>]) {
    const { assert!(N.is_power_of_two() && N <= 32) };
    let len = src.len().min(dst.len()).min(N);
    macro_rules! by_size {
        ($($size:literal)*) => {
            $(if N >= $size && len >= $size {
                copy::<T, $size>(src, 0, dst);
                copy::<T, $size>(src, len - $size, dst);
            } else)* {}
        };
    }
    by_size!(32 16 8 4 2 1);
}

/// The `S` elements from `at` on.
#[inline(always)]
fn copy<T: Copy, const S: usize>(src: &[T], at: usize, dst: &mut [MaybeUninit<T>]) {
    let (src, dst) = (&src[at..at + S], &mut dst[at..at + S]);
    // SAFETY: both slices have S elements, checked above; an array of S elements is laid out like them, and the accesses
    // are unaligned ones.
    unsafe {
        dst.as_mut_ptr()
            .cast::<[T; S]>()
            .write_unaligned(src.as_ptr().cast::<[T; S]>().read_unaligned())
    }
}
