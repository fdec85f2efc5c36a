//! Where the slices of a benchmark lie: at the start of a cache line, and the output half a page behind where a page
//! starts. As `Vec` places them, every wide access may reach into two lines, and every store be taken for one to what is
//! loaded next (their addresses are equal modulo 4096): a quarter of the time, by chance.

use std::ops::{Deref, DerefMut};

const PAGE: usize = 4096;

/// Bytes of the same memory behind the last element: some libraries load whole vectors.
const SLACK: usize = 256;

/// Elements at a fixed distance from the start of a page.
pub struct Buffer<T> {
    elements: Vec<T>,
    start: usize,
}

impl<T: Copy + Default> Buffer<T> {
    /// What is only read: at the start of a page.
    pub fn input(values: &[T]) -> Self {
        Self::at(0, values)
    }

    /// What is written: in the middle of a page.
    pub fn output(values: &[T]) -> Self {
        Self::at(PAGE / 2, values)
    }

    fn at(offset: usize, values: &[T]) -> Self {
        let mut elements: Vec<T> = Vec::with_capacity((PAGE + offset + SLACK) / size_of::<T>() + values.len());
        let start = elements.as_ptr().align_offset(PAGE) + offset / size_of::<T>();
        // No more than the capacity, so that the elements stay where they are.
        elements.resize(start, T::default());
        elements.extend_from_slice(values);
        Self { elements, start }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.elements[self.start..]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.elements[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Copy + Default + PartialEq>(values: &[T]) {
        let (x, mut y) = (Buffer::input(values), Buffer::output(values));
        assert!(*x == *values && *y == *values);
        let in_page = |buffer: &Buffer<T>| buffer.as_ptr() as usize % PAGE;
        assert_eq!([in_page(&x), in_page(&y)], [0, PAGE / 2]);
        y.fill(T::default());
        assert!(y.iter().all(|y| *y == T::default()) && *x == *values);
    }

    #[test]
    fn places() {
        for len in [0, 1, 7, 1000, 1 << 20] {
            check(&vec![1.5_f32; len]);
            check(&vec![1.5_f64; len]);
            check(&vec![3_u16; len]);
        }
    }
}
