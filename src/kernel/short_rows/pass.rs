//! What all short rows go through: the exp pass, and the divisors of eight rows.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use super::EIGHT;
use crate::element::{Element, Float};
use crate::kernel::passes::{Quotient, V, fold_block, load};
use crate::kernel::row::{BLOCK, block};
use crate::lanes::{Lanes, Memory};
use crate::math::exp::{Core, Splat, exp};
use core::mem::MaybeUninit;

/// What eight rows are divided by ([`Lanes::divisors`]).
#[derive(Clone, Copy)]
pub struct Quotients<F>(pub [[F; EIGHT]; 3]);

impl<F: Float> Quotients<F> {
    #[inline(always)]
    pub fn none() -> Self {
        Self([[F::ZERO; EIGHT]; 3])
    }

    #[inline(always)]
    pub fn of_row<L: Lanes<F>>(&self, lanes: L, i: usize) -> Quotient<L::V> {
        let [high, low, threshold] = &self.0;
        Quotient::by_lane(
            lanes,
            [lanes.splat(high[i]), lanes.splat(low[i]), lanes.splat(threshold[i])],
        )
    }

    /// Those of the rows `first..first + P` in each of the parts of a vector.
    #[inline(always)]
    pub fn of_group<L: Lanes<F>, const P: usize>(&self, lanes: L, first: usize) -> Quotient<L::V> {
        let mut parts = [[F::ZERO; P]; 3];
        for (part, all) in parts.iter_mut().zip(&self.0) {
            part.copy_from_slice(&all[first..][..P]);
        }
        let [high, low, threshold] = parts;
        Quotient::by_lane(
            lanes,
            [
                lanes.splat_groups(high),
                lanes.splat_groups(low),
                lanes.splat_groups(threshold),
            ],
        )
    }
}

/// Vectors to a round of packed rows.
pub const ROUND: usize = 4;

/// The exp pass over rows.
pub struct Pass<F: Float, L: Lanes<F>> {
    pub lanes: L,
    core: &'static Core<F>,
    seen: L::Seen,
    /// Bytes from the vectors that are read to those that the CPU is told of, at most.
    ahead: usize,
}

impl<F: Float, L: Lanes<F>> Pass<F, L> {
    #[inline(always)]
    pub fn new(lanes: L) -> Self {
        Self {
            lanes,
            core: F::core(L::FUSED),
            seen: lanes.seen_none(),
            ahead: usize::MAX,
        }
    }

    /// The same, telling the CPU of what is `ahead` bytes away at most.
    #[inline(always)]
    pub fn telling(lanes: L, ahead: usize) -> Self {
        Self {
            ahead,
            ..Self::new(lanes)
        }
    }

    /// Whether every exponent fitted its field.
    #[inline(always)]
    pub fn fits(&self) -> bool {
        self.lanes.seen_none_of(self.seen, self.core.forbidden)
    }

    /// The sums of the exps of a row; if `STORES`, whole vectors of them to `e` with 0 behind the last. Rows of 1 to 4 vectors
    /// have `N`, others 0.
    #[inline(always)]
    pub fn row<T, const N: usize, const STORES: bool>(
        &mut self,
        splat: &Splat<V<T, L>>,
        x: &[T],
        e: &mut [MaybeUninit<F>],
        z: impl Fn(usize, V<T, L>) -> V<T, L>,
    ) -> <L as Lanes<F>>::Acc
    where
        T: Element<Compute = F>,
        L: Memory<T> + Memory<F>,
    {
        let lanes = self.lanes;
        if L::COMPACT {
            return self.rolled::<T, STORES>(splat, x, e, z);
        }
        if N > 0 {
            return lanes.acc_of(self.vectors::<T, N, STORES>(splat, x, e, 0, &z));
        }
        let (mut acc, mut at) = (lanes.acc_zero(), 0);
        let blocks = x.chunks_exact(block::<T>());
        let tail = blocks.remainder();
        for x in blocks {
            let e = if STORES { &mut e[at..] } else { &mut *e };
            let sum = self.vectors::<T, BLOCK, STORES>(splat, x, e, at, &z);
            acc = lanes.acc_add(acc, sum);
            at += block::<T>();
        }
        let e = if STORES { &mut e[at..] } else { e };
        let sum = match tail.len().div_ceil(F::LANES) {
            0 => return acc,
            1 => self.vectors::<T, 1, STORES>(splat, tail, e, at, &z),
            2 => self.vectors::<T, 2, STORES>(splat, tail, e, at, &z),
            3 => self.vectors::<T, 3, STORES>(splat, tail, e, at, &z),
            _ => self.vectors::<T, BLOCK, STORES>(splat, tail, e, at, &z),
        };
        lanes.acc_add(acc, sum)
    }

    /// [`row`](Self::row) in one loop over the vectors, of which a copy is many instructions.
    #[inline(always)]
    fn rolled<T, const STORES: bool>(
        &mut self,
        splat: &Splat<V<T, L>>,
        x: &[T],
        e: &mut [MaybeUninit<F>],
        z: impl Fn(usize, V<T, L>) -> V<T, L>,
    ) -> <L as Lanes<F>>::Acc
    where
        T: Element<Compute = F>,
        L: Memory<T> + Memory<F>,
    {
        let lanes = self.lanes;
        let (mut acc, mut at) = (lanes.acc_zero(), 0);
        while at < x.len() {
            let mut halves = [lanes.fold(lanes.splat(F::ZERO)); BLOCK];
            let mut j = 0;
            while j < BLOCK && at < x.len() {
                let v = self.exp(splat, z(at, load(lanes, &x[at..], -F::INFINITY)));
                let v = lanes.keep_first(v, F::LANES.min(x.len() - at));
                if STORES {
                    Memory::<F>::store(lanes, &mut e[at..], v);
                }
                halves[j] = lanes.fold(v);
                (j, at) = (j + 1, at + F::LANES);
            }
            acc = lanes.acc_add(acc, fold_block::<T, L, BLOCK>(lanes, halves));
        }
        acc
    }

    /// The sums of `N` vectors from column `start` on, the last of which may lack lanes: those of a block whose other
    /// vectors are 0.
    #[inline(always)]
    fn vectors<T, const N: usize, const STORES: bool>(
        &mut self,
        splat: &Splat<V<T, L>>,
        x: &[T],
        e: &mut [MaybeUninit<F>],
        start: usize,
        z: &impl Fn(usize, V<T, L>) -> V<T, L>,
    ) -> <L as Lanes<F>>::Half
    where
        T: Element<Compute = F>,
        L: Memory<T> + Memory<F>,
    {
        let lanes = self.lanes;
        let (whole, last) = x.split_at((N - 1) * F::LANES);
        let e = if STORES { &mut e[..N * F::LANES] } else { e };
        if L::WIDE {
            let mut parts = [last; N];
            for j in 0..N - 1 {
                parts[j] = &whole[j * F::LANES..][..F::LANES];
            }
            let v = self.side_by_side::<T, N, true>(
                splat,
                parts,
                #[inline(always)]
                |j, x| z(start + j * F::LANES, x),
            );
            let mut halves = [lanes.fold(lanes.splat(F::ZERO)); N];
            for j in 0..N {
                if STORES {
                    Memory::<F>::store(lanes, &mut e[j * F::LANES..], v[j]);
                }
                halves[j] = lanes.fold(v[j]);
            }
            return fold_block::<T, L, N>(lanes, halves);
        }
        let mut halves = [lanes.fold(lanes.splat(F::ZERO)); N];
        for j in 0..N {
            Memory::<T>::prefetch_near(lanes, x[j * F::LANES..].as_ptr(), self.ahead);
        }
        for j in 0..N - 1 {
            let at = j * F::LANES;
            let v = self.exp(splat, z(start + at, Memory::<T>::load(lanes, &whole[at..])));
            if STORES {
                Memory::<F>::store(lanes, &mut e[at..], v);
            }
            halves[j] = lanes.fold(v);
        }
        let (at, present) = ((N - 1) * F::LANES, last.len());
        let v = if present == F::LANES {
            self.exp(splat, z(start + at, Memory::<T>::load(lanes, last)))
        } else {
            let v = self.exp(splat, z(start + at, Memory::<T>::load_or(lanes, last, -F::INFINITY)));
            lanes.keep_first(v, present)
        };
        if STORES {
            Memory::<F>::store(lanes, &mut e[at..], v);
        }
        halves[N - 1] = lanes.fold(v);
        fold_block::<T, L, N>(lanes, halves)
    }

    /// The exps of `N` vectors, or of what there is of one and 0, each step across all of them. If `LAST`, only the last
    /// may lack lanes, else any.
    #[inline(always)]
    pub fn side_by_side<T, const N: usize, const LAST: bool>(
        &mut self,
        splat: &Splat<V<T, L>>,
        x: [&[T]; N],
        z: impl Fn(usize, V<T, L>) -> V<T, L>,
    ) -> [V<T, L>; N]
    where
        T: Element<Compute = F>,
        L: Memory<T> + Memory<F>,
    {
        let lanes = self.lanes;
        let first = if LAST { N - 1 } else { 0 };
        let mut whole = true;
        for j in 0..N {
            Memory::<T>::prefetch_near(lanes, x[j].as_ptr(), self.ahead);
            whole &= j < first || x[j].len() == F::LANES;
        }
        let mut v = [lanes.splat(F::ZERO); N];
        // No branch between the vectors, or they would not be side by side.
        if whole {
            for j in 0..N {
                v[j] = z(j, Memory::<T>::load(lanes, x[j]));
            }
        } else {
            for j in 0..N {
                let x = if j < first {
                    Memory::<T>::load(lanes, x[j])
                } else {
                    Memory::<T>::load_or(lanes, x[j], -F::INFINITY)
                };
                v[j] = z(j, x);
            }
        }
        let (mut e, t) = exp::<_, L, N, false>(lanes, self.core, splat, v);
        for j in 0..N {
            self.seen = lanes.seen(self.seen, t[j]);
        }
        if !whole {
            for j in first..N {
                e[j] = lanes.keep_first(e[j], x[j].len());
            }
        }
        e
    }

    /// The exps of the vectors of a round, in their place.
    #[inline(always)]
    pub fn round(&mut self, splat: &Splat<L::V>, x: &mut [L::V; ROUND]) {
        if L::WIDE {
            let (e, t) = exp::<_, L, ROUND, false>(self.lanes, self.core, splat, *x);
            for t in t {
                self.seen = self.lanes.seen(self.seen, t);
            }
            *x = e;
        } else {
            for x in x {
                *x = self.exp(splat, *x);
            }
        }
    }

    #[inline(always)]
    pub fn exp(&mut self, splat: &Splat<L::V>, x: L::V) -> L::V {
        let ([e], [t]) = exp::<_, L, 1, false>(self.lanes, self.core, splat, [x]);
        self.seen = self.lanes.seen(self.seen, t);
        e
    }
}
