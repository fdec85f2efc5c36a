//! Buffers that notice what touches their surroundings.
//!
//! [`Guarded`] lies against an inaccessible page where the platform has `mmap` (Linux on x86-64 and aarch64): one
//! element read or written past that edge kills the process. Its other side, and both sides on every other platform,
//! hold canaries: a write is found by [`Guarded::check`], a read poisons the result with NaN.

use super::element::{TestElement, bits};
use super::pages::{Pages, guarded};
use std::ops::{Deref, DerefMut};

/// The side of a [`Guarded`] that lies against the guard page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge {
    Start,
    End,
}

pub const EDGES: [Edge; 2] = [Edge::Start, Edge::End];

/// Canaries beside a slice; more than the widest store of any backend.
const MARGIN: usize = 80;

/// A slice of canaries to fill or write to, watched on both sides.
pub struct Guarded<T: TestElement> {
    pages: Pages<T>,
    start: usize,
    len: usize,
}

impl<T: TestElement> Guarded<T> {
    pub fn new(len: usize, edge: Edge) -> Guarded<T> {
        let beside = if guarded(edge) { 0 } else { MARGIN };
        let mut pages = Pages::new(len + MARGIN + beside);
        pages.all().fill(T::canary());
        let start = if edge == Edge::End {
            pages.all().len() - beside - len
        } else {
            beside
        };
        Guarded { pages, start, len }
    }

    pub fn copy_of(values: &[T], edge: Edge) -> Guarded<T> {
        let mut guarded = Guarded::new(values.len(), edge);
        guarded.copy_from_slice(values);
        guarded
    }

    /// Whether nothing beside the slice was written.
    pub fn intact(&self) -> bool {
        let all = self.pages.shared();
        let beside = all[..self.start].iter().chain(&all[self.start + self.len..]);
        beside.fold(true, |intact, v| intact & (v.bits() == T::canary().bits()))
    }

    /// Panics if anything beside the slice was written.
    pub fn check(&self, what: &dyn std::fmt::Display) {
        assert!(
            self.intact(),
            "{what}: wrote beside the {} elements of a slice",
            self.len
        );
    }

    /// Panics if the slice, or anything beside it, is not as [`Guarded::copy_of`] left it.
    pub fn check_unchanged(&self, values: &[T], what: &dyn std::fmt::Display) {
        self.check(what);
        assert!(bits(self) == bits(values), "{what}: the input was written");
    }
}

impl<T: TestElement> Deref for Guarded<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.pages.shared()[self.start..][..self.len]
    }
}

impl<T: TestElement> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.pages.all()[self.start..][..self.len]
    }
}
