//! Pointers and sizes of C as slices, once they are checked.
//!
//! What the caller promises, and no check can find out (`softmax.h` says so): the elements that a function names may be
//! read, those of outputs written, by nobody else until it returns. The slices also span the gaps between rows, and
//! before the first of ragged rows. The operators neither read nor write there ([`softmax::Rows`]), so that nothing
//! depends on what stands in a gap, or on who else uses it.

use crate::status::Status;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Elements of the caller's: a pointer that is not null, aligned, and whose extent fits the address space.
pub(crate) struct Span<T> {
    start: NonNull<T>,
    len: usize,
}

impl<T> Clone for Span<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Span<T> {}

impl<T> Span<T> {
    /// `len` elements. Where there is none, the pointer does not matter.
    pub fn new(start: *const T, len: usize) -> Result<Self, Status> {
        let nothing = Self {
            start: NonNull::dangling(),
            len: 0,
        };
        if len == 0 {
            return Ok(nothing);
        }
        let start = NonNull::new(start.cast_mut())
            .filter(|start| start.is_aligned())
            .ok_or(Status::Null)?;
        let bytes = len
            .checked_mul(size_of::<T>())
            .filter(|&bytes| isize::try_from(bytes).is_ok())
            .ok_or(Status::Shape)?;
        start.addr().checked_add(bytes).ok_or(Status::Shape)?;
        Ok(Self { start, len })
    }

    /// Rows at a stride, from the first element to the last.
    pub fn rows(start: *const T, rows: usize, cols: usize, stride: usize) -> Result<Self, Status> {
        if rows == 0 || cols == 0 {
            return Self::new(start, 0);
        }
        if stride < cols {
            return Err(Status::Shape);
        }
        let before_last = (rows - 1).checked_mul(stride);
        let len = before_last.and_then(|n| n.checked_add(cols)).ok_or(Status::Shape)?;
        Self::new(start, len)
    }

    /// `a`·`b`·`c` elements.
    pub fn product(start: *const T, [a, b, c]: [usize; 3]) -> Result<Self, Status> {
        if a == 0 || b == 0 || c == 0 {
            return Self::new(start, 0);
        }
        let len = a.checked_mul(b).and_then(|n| n.checked_mul(c)).ok_or(Status::Shape)?;
        Self::new(start, len)
    }

    /// Whether both are the same elements.
    pub fn same(self, other: Self) -> bool {
        self.start == other.start && self.len == other.len
    }

    /// Checks that no byte belongs to both.
    pub fn apart<U>(self, other: Span<U>) -> Result<(), Status> {
        let ([a, a_end], [b, b_end]) = (self.bytes(), other.bytes());
        if a < b_end && b < a_end {
            return Err(Status::Overlap);
        }
        Ok(())
    }

    /// Where it starts and ends. [`Span::new`] has seen that nothing overflows.
    fn bytes(self) -> [usize; 2] {
        let start = self.start.addr().get();
        // Nothing starts where it ends: before everything, so that it overlaps nothing.
        if self.len == 0 {
            return [0, 0];
        }
        [start, start + self.len * size_of::<T>()]
    }

    /// # Safety
    /// The caller's promise, for an input.
    pub unsafe fn input<'a>(self) -> &'a [T] {
        // SAFETY: aligned, not null, at most isize::MAX bytes by `new`; readable and not written by the promise.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// # Safety
    /// The caller's promise, for an output.
    pub unsafe fn output<'a>(self) -> &'a mut [MaybeUninit<T>] {
        // SAFETY: aligned, not null, at most isize::MAX bytes by `new`; the call's own by the promise and `apart`.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len) }
    }

    /// # Safety
    /// The caller's promise, for memory in place; or for an output of a type all of whose bit patterns are values, of which
    /// memory of C is taken to hold one.
    pub unsafe fn in_place<'a>(self) -> &'a mut [T] {
        // SAFETY: aligned, not null, at most isize::MAX bytes by `new`; the call's own by the promise and `apart`.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// Input and output of an operator that works in place too.
pub(crate) enum Place<'a, T> {
    Apart(&'a [T], &'a mut [MaybeUninit<T>]),
    InPlace(&'a mut [T]),
}

impl<T> Place<'_, T> {
    /// In place if both start at one address and `same_layout`.
    ///
    /// # Safety
    /// The caller's promise, for an input and an output.
    pub unsafe fn new(x: Span<T>, y: Span<T>, same_layout: bool) -> Result<Self, Status> {
        if same_layout && x.same(y) {
            // SAFETY: the promise for the output, of the same extent.
            return Ok(Self::InPlace(unsafe { y.in_place() }));
        }
        x.apart(y)?;
        // SAFETY: the promise for each, and they are apart.
        Ok(unsafe { Self::Apart(x.input(), y.output()) })
    }
}

/// A struct of the C interface whose first field, its size, says which version the caller was compiled with.
///
/// # Safety
/// `repr(C)`, and the first field is that size.
pub(crate) unsafe trait Versioned: Copy {}

/// A copy of the struct, whose size must be one that is known: so far, the only one there is.
///
/// # Safety
/// If not null, `pointer` can be read for as many bytes as its first field says.
pub(crate) unsafe fn read_versioned<T: Versioned>(pointer: *const T) -> Result<T, Status> {
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(Status::Null);
    }
    // SAFETY: `Versioned`: the first field, which every version has, is the size.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size != size_of::<T>() {
        return Err(Status::Param);
    }
    // SAFETY: the caller's struct is as long as `T`, by its own word. Every bit pattern of the fields is a value.
    Ok(unsafe { pointer.read() })
}
