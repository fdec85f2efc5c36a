//! Buffers that notice what touches their surroundings.
//!
//! [`Guarded`] lies against an inaccessible page where the platform has `mmap` (Linux on x86-64 and aarch64): one
//! element read or written past that edge kills the process. Its other side, and both sides on every other platform,
//! hold canaries: a write is found by [`Guarded::check`], a read poisons the result with NaN.
//!
//! [`Lent`] holds the same values in plain memory and against both edges.

use super::element::TestElement;
use super::pages::{Pages, guarded};
use std::ops::{Deref, DerefMut};

/// The side of a [`Guarded`] that lies against the guard page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge {
    Start,
    End,
}

pub const EDGES: [Edge; 2] = [Edge::Start, Edge::End];

/// What a [`Guarded`] can hold: elements, and what operators take or give beside them.
pub trait Watched: Copy {
    /// A value that no operator writes.
    fn mark() -> Self;
    /// Whether the bits are the same.
    fn same(self, other: Self) -> bool;
}

impl<T: TestElement> Watched for T {
    #[inline]
    fn mark() -> T {
        T::canary()
    }
    #[inline]
    fn same(self, other: T) -> bool {
        self.bits() == other.bits()
    }
}

macro_rules! watched {
    ($($t:ty: $mark:expr),*) => {$(
        impl Watched for $t {
            #[inline]
            fn mark() -> $t {
                $mark
            }
            #[inline]
            fn same(self, other: $t) -> bool {
                self == other
            }
        }
    )*};
}
watched!(u8: 0xA5, usize: 0xBAD_C0DE, i64: -0xBAD_C0DE);

/// An entry of the workspace of a sampler.
impl Watched for (f32, u32) {
    #[inline]
    fn mark() -> (f32, u32) {
        (f32::canary(), 0xBAD_C0DE)
    }
    #[inline]
    fn same(self, other: (f32, u32)) -> bool {
        self.0.same(other.0) && self.1 == other.1
    }
}

fn all_same<T: Watched>(a: &[T], b: &[T]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(*b))
}

/// Canaries beside a slice; more than the widest store of any backend.
const MARGIN: usize = 80;

/// A slice of canaries to fill or write to, watched on both sides.
pub struct Guarded<T: Watched> {
    pages: Pages<T>,
    start: usize,
    len: usize,
}

impl<T: Watched> Guarded<T> {
    pub fn new(len: usize, edge: Edge) -> Guarded<T> {
        let beside = if guarded(edge) { 0 } else { MARGIN };
        let mut pages = Pages::new(len + MARGIN + beside);
        pages.all().fill(T::mark());
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
        beside.fold(true, |intact, v| intact & v.same(T::mark()))
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
        assert!(all_same(self, values), "{what}: the input was written");
    }
}

impl<T: Watched> Deref for Guarded<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.pages.shared()[self.start..][..self.len]
    }
}

impl<T: Watched> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.pages.all()[self.start..][..self.len]
    }
}

/// Whose memory a call is lent: plain memory, or memory against an edge.
pub const PLACES: [Option<Edge>; 3] = [None, Some(Edge::Start), Some(Edge::End)];

/// The same values at each of [`PLACES`]: where a call is lent them does not show.
pub struct Lent<T: Watched> {
    plain: Vec<T>,
    guarded: [Guarded<T>; 2],
}

impl<T: Watched> Lent<T> {
    pub fn new(values: Vec<T>) -> Lent<T> {
        Lent {
            guarded: EDGES.map(|edge| Guarded::copy_of(&values, edge)),
            plain: values,
        }
    }

    /// Canaries to write to.
    pub fn room(len: usize) -> Lent<T> {
        Lent::new(vec![T::mark(); len])
    }

    pub fn at(&self, place: Option<Edge>) -> &[T] {
        match place {
            None => &self.plain,
            Some(edge) => &self.guarded[edge as usize],
        }
    }

    pub fn at_mut(&mut self, place: Option<Edge>) -> &mut [T] {
        match place {
            None => &mut self.plain,
            Some(edge) => &mut self.guarded[edge as usize],
        }
    }

    /// Holds these values instead, as many.
    pub fn refill(&mut self, values: &[T]) {
        for place in PLACES {
            self.at_mut(place).copy_from_slice(values);
        }
    }

    /// Holds canaries again.
    pub fn clear(&mut self) {
        for place in PLACES {
            self.at_mut(place).fill(T::mark());
        }
    }

    /// Panics unless the same bits are at every place, and nothing beside them was written.
    pub fn check_same(&self, what: &dyn std::fmt::Display) {
        for (edge, guarded) in EDGES.iter().zip(&self.guarded) {
            guarded.check(what);
            assert!(
                all_same(guarded, &self.plain),
                "{what}: other bits at {edge:?} than in plain memory"
            );
        }
    }

    /// [`Lent::check_same`], and that exactly `written` elements were written.
    pub fn check_results(&self, written: usize, what: &dyn std::fmt::Display) {
        self.check_same(what);
        let marks = self.plain.iter().filter(|v| v.same(T::mark())).count();
        assert_eq!(self.plain.len() - marks, written, "{what}: elements written");
    }

    /// Panics if anything but these values is there, or anything beside them was written.
    pub fn check_unchanged(&self, values: &[T], what: &dyn std::fmt::Display) {
        assert!(all_same(&self.plain, values), "{what}: the input was written");
        for guarded in &self.guarded {
            guarded.check_unchanged(values, what);
        }
    }
}
