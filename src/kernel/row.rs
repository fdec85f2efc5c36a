//! How a pass walks over a row: in blocks of [`BLOCK`] vectors, and a tail.

use super::passes::{V, map};
use crate::arch::memory::Cells;
use crate::element::{Element, Float};
use crate::lanes::{Lanes, Memory, WIDEST};
use core::mem::MaybeUninit;
use core::slice::ChunksExact;

/// Vectors to a block: the lanes of a block are summed pairwise before they join the sums of the row.
pub const BLOCK: usize = 4;

/// Elements to the longest block.
pub const LONGEST_BLOCK: usize = BLOCK * WIDEST;

/// Elements to a block.
pub const fn block<T: Element>() -> usize {
    BLOCK * T::Compute::LANES
}

/// Of `len` elements, those in whole blocks.
#[inline(always)]
pub fn whole<T: Element>(len: usize) -> usize {
    len - len % block::<T>()
}

/// A row of `T` and the place (if any) for the results `U` of a pass over it.
pub trait Row<T: Element, U: Element> {
    type Chunk: Chunk<T, U>;
    /// Whole blocks, and what is left (less than one block).
    fn blocks(self) -> (impl Iterator<Item = Self::Chunk>, Self::Chunk);
}

/// Part of a row. `at` counts elements.
pub trait Chunk<T: Element, U: Element> {
    /// Whether results are stored.
    const STORES: bool = true;
    /// Whether such rows are so common that each number of vectors behind the last block is worth a pass of its own.
    const COMMON: bool = true;
    /// Whether exps that vanish are to be exactly 0, where vectors are wide, under a shift that [is neutral].
    ///
    /// [is neutral]: crate::math::exp::Shift::is_neutral
    const ZEROS: bool = false;
    fn len(&self) -> usize;
    /// What absent elements are taken for where logits near `near` are expected: nothing is said of them then.
    #[inline(always)]
    fn absent(&self, near: T::Compute) -> T::Compute {
        near
    }
    /// What passes do beside the exps of the vector at `at` of a whole block, where blocks are not rolled into a loop: hints of
    /// what comes later, or more ([`Beside`]).
    #[inline(always)]
    fn beside<L: Memory<T> + Memory<U>>(&mut self, _: L, _at: usize) {}
    /// Hints of what is soon stored, and of nothing else.
    #[inline(always)]
    fn prefetch_stored<L: Memory<U>>(&mut self, _: L, _at: usize) {}
    fn load<L: Memory<T> + Memory<U>>(&self, lanes: L, at: usize) -> V<T, L>;
    fn load_or<L: Memory<T> + Memory<U>>(&self, lanes: L, at: usize, fill: T::Compute) -> V<T, L>;
    fn store<L: Memory<U>>(&mut self, lanes: L, at: usize, v: L::V);
    fn store_partial<L: Memory<U>>(&mut self, lanes: L, at: usize, v: L::V);
}

/// The elements `at..at + LANES` of `row`, or as many as there are.
#[inline(always)]
fn part<T: Element>(row: &[T], at: usize) -> &[T] {
    &row[at..row.len().min(at + T::Compute::LANES)]
}

#[inline(always)]
fn part_mut<T: Element>(row: &mut [MaybeUninit<T>], at: usize) -> &mut [MaybeUninit<T>] {
    let end = row.len().min(at + T::Compute::LANES);
    &mut row[at..end]
}

/// Input alone: results are dropped.
pub struct Read<'a, T>(pub &'a [T]);

impl<'a, T: Element> Row<T, T> for Read<'a, T> {
    type Chunk = &'a [T];
    #[inline(always)]
    fn blocks(self) -> (impl Iterator<Item = &'a [T]>, &'a [T]) {
        let blocks: ChunksExact<'a, T> = self.0.chunks_exact(block::<T>());
        let tail = blocks.remainder();
        (blocks, tail)
    }
}

impl<T: Element> Chunk<T, T> for &[T] {
    const STORES: bool = false;
    #[inline(always)]
    fn beside<L: Memory<T>>(&mut self, lanes: L, at: usize) {
        lanes.prefetch(&self[at..]);
    }
    #[inline(always)]
    fn len(&self) -> usize {
        <[T]>::len(self)
    }
    #[inline(always)]
    fn load<L: Memory<T>>(&self, lanes: L, at: usize) -> L::V {
        lanes.load(&self[at..])
    }
    #[inline(always)]
    fn load_or<L: Memory<T>>(&self, lanes: L, at: usize, fill: T::Compute) -> L::V {
        lanes.load_or(part(self, at), fill)
    }
    #[inline(always)]
    fn store<L: Memory<T>>(&mut self, _: L, _: usize, _: L::V) {}
    #[inline(always)]
    fn store_partial<L: Memory<T>>(&mut self, _: L, _: usize, _: L::V) {}
}

/// Bytes from what is stored [`Beside`] a row to what the CPU is told of.
const STORED_AHEAD: usize = 1024;

#[inline(always)]
fn prefetch_stored<T: Element, L: Memory<T>>(lanes: L, place: &mut [MaybeUninit<T>]) {
    lanes.prefetch_near(place.as_ptr().cast(), STORED_AHEAD);
}

/// Input and output of the same length, apart.
pub struct Pair<'a, T, U>(pub &'a [T], pub &'a mut [MaybeUninit<U>]);

impl<'a, T: Element, U: Element<Compute = T::Compute>> Row<T, U> for Pair<'a, T, U> {
    type Chunk = Pair<'a, T, U>;
    #[inline(always)]
    fn blocks(self) -> (impl Iterator<Item = Self::Chunk>, Self::Chunk) {
        let x = self.0.chunks_exact(block::<T>());
        let whole = self.0.len() - x.remainder().len();
        let x_tail = x.remainder();
        let (y, y_tail) = self.1.split_at_mut(whole);
        let y = y.chunks_exact_mut(block::<T>());
        (x.zip(y).map(|(x, y)| Pair(x, y)), Pair(x_tail, y_tail))
    }
}

impl<T: Element, U: Element<Compute = T::Compute>> Chunk<T, U> for Pair<'_, T, U> {
    #[inline(always)]
    fn beside<L: Memory<T> + Memory<U>>(&mut self, lanes: L, at: usize) {
        lanes.prefetch(&self.0[at..]);
        lanes.prefetch_output(&mut self.1[at..]);
    }
    #[inline(always)]
    fn prefetch_stored<L: Memory<U>>(&mut self, lanes: L, at: usize) {
        prefetch_stored::<U, L>(lanes, &mut self.1[at..]);
    }
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }
    #[inline(always)]
    fn load<L: Memory<T> + Memory<U>>(&self, lanes: L, at: usize) -> V<T, L> {
        Memory::<T>::load(lanes, &self.0[at..])
    }
    #[inline(always)]
    fn load_or<L: Memory<T> + Memory<U>>(&self, lanes: L, at: usize, fill: T::Compute) -> V<T, L> {
        Memory::<T>::load_or(lanes, part(self.0, at), fill)
    }
    #[inline(always)]
    fn store<L: Memory<U>>(&mut self, lanes: L, at: usize, v: L::V) {
        lanes.store(&mut self.1[at..], v);
    }
    #[inline(always)]
    fn store_partial<L: Memory<U>>(&mut self, lanes: L, at: usize, v: L::V) {
        lanes.store_partial(part_mut(self.1, at), v);
    }
}

impl<'a, T: Element> Row<T, T> for Cells<'a, T> {
    type Chunk = Cells<'a, T>;
    #[inline(always)]
    fn blocks(self) -> (impl Iterator<Item = Self::Chunk>, Self::Chunk) {
        let whole = whole::<T>(self.len());
        let (blocks, tail) = self.split_at(whole);
        (Blocks(Some(blocks)), tail)
    }
}

/// Elements that a second sweep over a row takes from the first to the last: 64 KB of f32.
const PIECE: usize = 16_384;
const _: () = assert!(PIECE.is_multiple_of(LONGEST_BLOCK));

/// Calls `pass` with the pieces of a `row` and where each begins, the last first: it is still in the cache of a sweep that
/// ended with it, while the first of a long row is not.
#[inline(always)]
pub fn last_first<'a, T: Copy>(row: Cells<'a, T>, mut pass: impl FnMut(usize, Cells<'a, T>)) {
    let mut left = row;
    loop {
        let start = left.len().saturating_sub(1) / PIECE * PIECE;
        let (rest, last) = left.split_at(start);
        pass(start, last);
        if start == 0 {
            return;
        }
        left = rest;
    }
}

/// Cells a block at a time.
struct Blocks<'a, T>(Option<Cells<'a, T>>);

impl<'a, T: Element> Iterator for Blocks<'a, T> {
    type Item = Cells<'a, T>;
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let cells = self.0.take()?;
        if cells.len() == 0 {
            return None;
        }
        let (first, rest) = cells.split_at(block::<T>());
        self.0 = Some(rest);
        Some(first)
    }
}

impl<T: Element> Chunk<T, T> for Cells<'_, T> {
    #[inline(always)]
    fn beside<L: Memory<T>>(&mut self, lanes: L, at: usize) {
        lanes.prefetch(&self.input()[at..]);
    }
    #[inline(always)]
    fn len(&self) -> usize {
        Cells::len(self)
    }
    #[inline(always)]
    fn load<L: Memory<T>>(&self, lanes: L, at: usize) -> L::V {
        lanes.load(&self.input()[at..])
    }
    #[inline(always)]
    fn load_or<L: Memory<T>>(&self, lanes: L, at: usize, fill: T::Compute) -> L::V {
        lanes.load_or(part(self.input(), at), fill)
    }
    #[inline(always)]
    fn store<L: Memory<T>>(&mut self, lanes: L, at: usize, v: L::V) {
        lanes.store(&mut self.output()[at..], v);
    }
    #[inline(always)]
    fn store_partial<L: Memory<T>>(&mut self, lanes: L, at: usize, v: L::V) {
        lanes.store_partial(part_mut(self.output(), at), v);
    }
}

/// A row in place; while its vectors are loaded, the CPU is told of as much that stands at `next`, which need not exist.
pub struct Telling<'a, T> {
    pub e: Cells<'a, T>,
    pub next: *const T,
}

impl<'a, T: Element> Row<T, T> for Telling<'a, T> {
    type Chunk = Self;
    #[inline(always)]
    fn blocks(self) -> (impl Iterator<Item = Self>, Self) {
        let Self { e, mut next } = self;
        let tail = next.wrapping_add(whole::<T>(e.len()));
        let (blocks, e) = e.blocks();
        let blocks = blocks.map(
            #[inline(always)]
            move |e| {
                let told = Self { e, next };
                next = next.wrapping_add(block::<T>());
                told
            },
        );
        (blocks, Self { e, next: tail })
    }
}

impl<T: Element> Chunk<T, T> for Telling<'_, T> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.e.len()
    }
    #[inline(always)]
    fn load<L: Memory<T>>(&self, lanes: L, at: usize) -> L::V {
        lanes.prefetch_later(self.next, at);
        Chunk::load(&self.e, lanes, at)
    }
    #[inline(always)]
    fn load_or<L: Memory<T>>(&self, lanes: L, at: usize, fill: T::Compute) -> L::V {
        Chunk::load_or(&self.e, lanes, at, fill)
    }
    #[inline(always)]
    fn store<L: Memory<T>>(&mut self, lanes: L, at: usize, v: L::V) {
        Chunk::store(&mut self.e, lanes, at, v);
    }
    #[inline(always)]
    fn store_partial<L: Memory<T>>(&mut self, lanes: L, at: usize, v: L::V) {
        Chunk::store_partial(&mut self.e, lanes, at, v);
    }
}

/// What is left to be done to each vector of a row whose sum is known.
pub trait Finish<F: Float>: Copy {
    /// Whether the results are stored where nothing was yet.
    const APART: bool;
    /// The results of the vector `v`.
    fn of<L: Lanes<F>>(self, lanes: L, v: L::V) -> L::V;
}

/// A row, and as many whole blocks of the one before it, which are finished in the loop that computes the exps of this one:
/// that waits for the caches, exp for the arithmetic, and together they take less time than in turns. The loads tell the CPU's
/// prefetchers enough of the logits. For passes that call [`Chunk::beside`] alone.
pub struct Beside<R, W> {
    pub row: R,
    pub before: W,
}

/// Whole blocks of a row that wait to be finished, beside a row of `T` with results `U`.
pub trait Waiting<T: Element, U: Element>: Sized {
    /// Each.
    fn blocks(self) -> (impl Iterator<Item = Self>, Self);
    /// Finishes the vector at `at`.
    fn finish<L: Memory<T> + Memory<U>>(&mut self, lanes: L, at: usize);
}

/// Those whose results are of the type that waits.
pub struct Before<'a, U, Q> {
    pub cells: Cells<'a, U>,
    pub finish: Q,
}

impl<U: Element, Q: Finish<U::Compute>> Before<'_, U, Q> {
    /// Finishes them beside nothing.
    #[inline(always)]
    pub fn finish_alone<L: Memory<U>>(self, lanes: L) {
        let Self { cells, finish } = self;
        map(
            lanes,
            cells,
            #[inline(always)]
            |v| finish.of(lanes, v),
        );
    }
}

impl<T: Element, U: Element, Q: Finish<U::Compute>> Waiting<T, U> for Before<'_, U, Q> {
    #[inline(always)]
    fn blocks(self) -> (impl Iterator<Item = Self>, Self) {
        let Self { cells, finish } = self;
        let (blocks, cells) = cells.blocks();
        let blocks = blocks.map(
            #[inline(always)]
            move |cells| Self { cells, finish },
        );
        (blocks, Self { cells, finish })
    }
    #[inline(always)]
    fn finish<L: Memory<T> + Memory<U>>(&mut self, lanes: L, at: usize) {
        let Self { cells, finish } = self;
        if Q::APART {
            prefetch_stored::<U, L>(lanes, &mut cells.output()[at..]);
        }
        let v = finish.of(lanes, Chunk::<U, U>::load(cells, lanes, at));
        Chunk::<U, U>::store(cells, lanes, at, v);
    }
}

/// Those of exps `U` that are kept aside, and the place of the results.
pub struct Aside<'a, T, U, Q> {
    pub row: Pair<'a, U, T>,
    pub finish: Q,
}

impl<T, U, Q> Waiting<T, U> for Aside<'_, T, U, Q>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    Q: Finish<T::Compute>,
{
    #[inline(always)]
    fn blocks(self) -> (impl Iterator<Item = Self>, Self) {
        let Self { row, finish } = self;
        let (blocks, row) = Row::<U, T>::blocks(row);
        let blocks = blocks.map(
            #[inline(always)]
            move |row| Self { row, finish },
        );
        (blocks, Self { row, finish })
    }
    #[inline(always)]
    fn finish<L: Memory<T> + Memory<U>>(&mut self, lanes: L, at: usize) {
        let Self { row, finish } = self;
        let v = finish.of(lanes, Chunk::<U, T>::load(row, lanes, at));
        Chunk::<U, T>::store(row, lanes, at, v);
    }
}

impl<T, U, R, W> Row<T, U> for Beside<R, W>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    R: Row<T, U>,
    W: Waiting<T, U>,
{
    type Chunk = Beside<R::Chunk, W>;
    #[inline(always)]
    fn blocks(self) -> (impl Iterator<Item = Self::Chunk>, Self::Chunk) {
        let (rows, row) = self.row.blocks();
        let (blocks, before) = self.before.blocks();
        let blocks = rows.zip(blocks).map(
            #[inline(always)]
            |(row, before)| Beside { row, before },
        );
        (blocks, Beside { row, before })
    }
}

impl<T, U, C, W> Chunk<T, U> for Beside<C, W>
where
    T: Element,
    U: Element<Compute = T::Compute>,
    C: Chunk<T, U>,
    W: Waiting<T, U>,
{
    const STORES: bool = C::STORES;
    const COMMON: bool = C::COMMON;
    const ZEROS: bool = C::ZEROS;
    #[inline(always)]
    fn len(&self) -> usize {
        self.row.len()
    }
    #[inline(always)]
    fn absent(&self, near: T::Compute) -> T::Compute {
        self.row.absent(near)
    }
    #[inline(always)]
    fn beside<L: Memory<T> + Memory<U>>(&mut self, lanes: L, at: usize) {
        self.row.prefetch_stored(lanes, at);
        self.before.finish(lanes, at);
    }
    #[inline(always)]
    fn load<L: Memory<T> + Memory<U>>(&self, lanes: L, at: usize) -> V<T, L> {
        self.row.load(lanes, at)
    }
    #[inline(always)]
    fn load_or<L: Memory<T> + Memory<U>>(&self, lanes: L, at: usize, fill: T::Compute) -> V<T, L> {
        self.row.load_or(lanes, at, fill)
    }
    #[inline(always)]
    fn store<L: Memory<U>>(&mut self, lanes: L, at: usize, v: L::V) {
        self.row.store(lanes, at, v);
    }
    #[inline(always)]
    fn store_partial<L: Memory<U>>(&mut self, lanes: L, at: usize, v: L::V) {
        self.row.store_partial(lanes, at, v);
    }
}
