//! The entries of a row from a floor on, or the k largest of them, without a sort.
//!
//! A block whose maximum does not reach the bar costs one comparison, and so does a vector of the others. The bar is
//! the floor, and once k entries are kept the least of them, which stands at the root of a heap.

use super::Kernel;
use super::argmax::{is_nan, saw_nan, see};
use super::row::{BLOCK, block};
use crate::element::{Element, Float};
use crate::lanes::Memory;

/// A logit and its index.
pub type Entry<F> = (F, u32);

/// The entries of `x` that are not below `floor`; where `kept` has no room for all of them the largest, ties by lowest
/// index.
pub struct Gather<'a, T: Element> {
    pub x: &'a [T],
    pub floor: T::Compute,
    pub kept: &'a mut [Entry<T::Compute>],
    pub count: &'a mut usize,
    /// Whether there is a NaN; what is kept means nothing then.
    pub nan: &'a mut bool,
}

impl<T: Element> Kernel<T> for Gather<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            x,
            floor,
            kept,
            count,
            nan,
        } = self;
        let n = T::Compute::LANES;
        let least = lanes.splat(-T::Compute::INFINITY);
        let mut seen = lanes.splat(T::Compute::ZERO);
        // In integers, since the host may compare subnormals as zeros: an entry must lie above the bar.
        let mut bar = floor.order() - 1;
        let blocks = x.chunks_exact(block::<T>());
        let tail = blocks.remainder();
        let whole = x.len() - tail.len();
        for (b, chunk) in blocks.enumerate() {
            let mut m = [least; BLOCK];
            for (j, m) in m.iter_mut().enumerate() {
                (*m, seen) = see(lanes, *m, seen, lanes.load(&chunk[j * n..]));
            }
            let all = lanes.max(lanes.max(m[0], m[1]), lanes.max(m[2], m[3]));
            if below(lanes.reduce_max(all), bar) {
                continue;
            }
            for (j, m) in m.into_iter().enumerate() {
                if !below(lanes.reduce_max(m), bar) {
                    let at = b * block::<T>() + j * n;
                    bar = scan(&x[at..at + n], at, kept, count, bar);
                }
            }
        }
        scan(tail, whole, kept, count, bar);
        *nan = saw_nan(lanes, seen) | tail.iter().fold(false, |any, &v| any | is_nan(v));
    }
}

/// Whether no element of a vector with maximum `m` lies above the bar; the maximum of tiny ones may be wrong.
#[inline(always)]
fn below<F: Float>(m: F, bar: i64) -> bool {
    m.order() <= bar && (!m.is_tiny() || bar >= F::SMALLEST.order())
}

/// Adds the elements above the bar, the first of which stands at `start` of the row, and gives the new bar.
#[inline(always)]
fn scan<T: Element>(x: &[T], start: usize, kept: &mut [Entry<T::Compute>], count: &mut usize, mut bar: i64) -> i64 {
    for (j, v) in x.iter().enumerate() {
        let v = v.widen();
        if v.order() > bar {
            bar = keep(kept, count, (v, (start + j) as u32), bar);
        }
    }
    bar
}

/// Adds an entry that lies above the bar, and gives the new bar.
#[inline(always)]
fn keep<F: Float>(kept: &mut [Entry<F>], count: &mut usize, entry: Entry<F>, bar: i64) -> i64 {
    if *count < kept.len() {
        kept[*count] = entry;
        *count += 1;
        if *count < kept.len() {
            return bar;
        }
        heapify(kept, before);
    } else if let Some(root) = kept.first_mut() {
        *root = entry;
        sift_down(kept, 0, before);
    }
    kept.first().map_or(bar, |worst| worst.0.order().max(bar))
}

/// Whether `a` is more probable than `b`: the larger logit, ties by lower index.
#[inline(always)]
pub fn before<F: Float>(a: Entry<F>, b: Entry<F>) -> bool {
    (a.0.order(), b.1) > (b.0.order(), a.1)
}

/// Orders `heap` so that its root is the entry that all others are `below`.
#[inline(always)]
pub fn heapify<F: Float>(heap: &mut [Entry<F>], below: fn(Entry<F>, Entry<F>) -> bool) {
    for at in (0..heap.len() / 2).rev() {
        sift_down(heap, at, below);
    }
}

/// Moves the entry at `at` down until both its children are `below` it.
#[inline(always)]
pub fn sift_down<F: Float>(heap: &mut [Entry<F>], mut at: usize, below: fn(Entry<F>, Entry<F>) -> bool) {
    loop {
        let mut child = 2 * at + 1;
        if child >= heap.len() {
            return;
        }
        if child + 1 < heap.len() && below(heap[child], heap[child + 1]) {
            child += 1;
        }
        if !below(heap[at], heap[child]) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}
