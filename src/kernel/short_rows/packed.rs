//! Rows so short that several share a vector.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use super::EIGHT;
use super::logs::AT_ONCE;
use super::pass::{Pass, Quotients, ROUND};
use crate::element::{Element, Float, Sum};
use crate::kernel::Place;
use crate::kernel::log_softmax::log_of_difference;
use crate::kernel::passes::V;
use crate::kernel::softmax::{SumOf, guess};
use crate::lanes::{Lanes, Memory, WIDEST};
use crate::math::exp::Splat;
use crate::rows::Rows;

/// Rows `P` to a vector, a round of them at a time.
pub struct Packing<'r, T: Element, L: Lanes<T::Compute>, const P: usize> {
    lanes: L,
    rows: &'r Rows,
    splat: Splat<V<T, L>>,
    /// Minus the place in a part, and ½ − cols: the one is below the other where there is no element.
    inside: V<T, L>,
    last: V<T, L>,
}

impl<'r, T: Element, L: Memory<T> + Memory<T::Compute>, const P: usize> Packing<'r, T, L, P> {
    #[inline(always)]
    pub fn new(lanes: L, rows: &'r Rows) -> Self {
        let mut inside = [T::Compute::ZERO; WIDEST];
        for (i, inside) in inside.iter_mut().enumerate() {
            *inside = -T::Compute::from_i32((i % (T::Compute::LANES / P)) as i32);
        }
        Self {
            lanes,
            rows,
            // The guess of so short a row is a constant.
            splat: guess::<T>(&[], L::FUSED).splat(lanes),
            inside: Memory::<T::Compute>::load(lanes, &inside),
            last: lanes.splat(T::Compute::from_f64(0.5 - rows.cols() as f64)),
        }
    }

    /// The exps of a round of rows from `start` on, and their sums; whether the guess is accepted for all of them. Absent
    /// rows are copies of the last one.
    #[inline(always)]
    pub fn exps(&self, x: &[T], start: usize, e: &mut [V<T, L>; ROUND], sums: &mut [[SumOf<T>; EIGHT]; 2]) -> bool {
        let lanes = self.lanes;
        let mut pass = Pass::new(lanes);
        load_round::<T, L, P>(lanes, x, self.rows, start, e);
        pass.round(&self.splat, e);
        for e in &mut *e {
            // Padding adds exactly 0.
            *e = lanes.zero_below(*e, self.inside, self.last);
        }
        let mut accepted = pass.fits();
        for half in 0..ROUND * P / EIGHT {
            sums[half] = lanes.sum_groups::<P>(&e[half * EIGHT / P..]);
            for i in 0..EIGHT {
                accepted &= sums[half][i].in_range();
            }
        }
        accepted
    }
}

/// The rows from `start` on, `P` of them to a vector, until a round's guess fails: its first row, or all of them.
#[inline(always)]
pub fn packed<T: Element, L: Memory<T> + Memory<T::Compute>, const P: usize>(
    lanes: L,
    place: &mut Place<'_, T>,
    rows: Rows,
    mut start: usize,
) -> usize {
    let packing = Packing::<T, L, P>::new(lanes, &rows);
    let mut e = [lanes.splat(T::Compute::ZERO); ROUND];
    let mut sums = [[SumOf::<T>::ZERO; EIGHT]; 2];
    while start < rows.rows() {
        if !packing.exps(place.input(), start, &mut e, &mut sums) {
            return start;
        }
        let mut quotients = [Quotients::none(); 2];
        for half in 0..ROUND * P / EIGHT {
            quotients[half] = Quotients(lanes.divisors(sums[half]));
        }
        for i in 0..ROUND {
            let quotient = quotients[i * P / EIGHT].of_group::<L, P>(lanes, i * P % EIGHT);
            e[i] = quotient.of(lanes, e[i]);
        }
        store_round::<T, L, P>(lanes, place, rows, start, &e);
        start += ROUND * P;
    }
    rows.rows()
}

/// log_softmax of a round of rows from `start` on whose logarithms of the sums are known, high and low: the guess was
/// accepted, so that there is no offset.
#[inline(always)]
pub fn subtract_packed<T: Element, L: Memory<T> + Memory<T::Compute>, const P: usize>(
    lanes: L,
    place: &mut Place<'_, T>,
    rows: Rows,
    start: usize,
    logs: &[[T::Compute; AT_ONCE]; 2],
) {
    let mut v = [lanes.splat(T::Compute::ZERO); ROUND];
    load_round::<T, L, P>(lanes, place.input(), &rows, start, &mut v);
    for i in 0..ROUND {
        let mut parts = [[T::Compute::ZERO; P]; 2];
        for (part, logs) in parts.iter_mut().zip(logs) {
            part.copy_from_slice(&logs[i * P..][..P]);
        }
        let [high, low] = parts;
        v[i] = log_of_difference(lanes, v[i], [lanes.splat_groups(high), lanes.splat_groups(low)]);
    }
    store_round::<T, L, P>(lanes, place, rows, start, &v);
}

/// Whether a round of rows from `start` on fills its parts and lies without a gap at this stride: it is loaded and stored
/// as it lies.
#[inline(always)]
fn gapless<T: Element, const P: usize>(rows: Rows, start: usize, stride: usize) -> bool {
    stride == rows.cols() && stride * P == T::Compute::LANES && rows.rows() - start >= ROUND * P
}

/// The vectors of a round.
#[inline(always)]
fn load_round<T: Element, L: Memory<T> + Memory<T::Compute>, const P: usize>(
    lanes: L,
    x: &[T],
    rows: &Rows,
    start: usize,
    v: &mut [V<T, L>; ROUND],
) {
    let n = T::Compute::LANES;
    if gapless::<T, P>(*rows, start, rows.x_stride()) {
        let x = &x[start * rows.cols()..][..ROUND * n];
        for i in 0..ROUND {
            lanes.prefetch(&x[i * n..]);
            v[i] = Memory::<T>::load(lanes, &x[i * n..]);
        }
    } else {
        for i in 0..ROUND {
            let mut group: [&[T]; P] = [&[]; P];
            for g in 0..P {
                group[g] = rows.input(x, (start + i * P + g).min(rows.rows() - 1));
            }
            v[i] = Memory::<T>::load_groups(lanes, group, -T::Compute::INFINITY);
        }
    }
}

/// Stores the results of a round.
#[inline(always)]
fn store_round<T: Element, L: Memory<T> + Memory<T::Compute>, const P: usize>(
    lanes: L,
    place: &mut Place<'_, T>,
    rows: Rows,
    start: usize,
    v: &[V<T, L>; ROUND],
) {
    let (y, n) = (place.output(), T::Compute::LANES);
    if gapless::<T, P>(rows, start, rows.y_stride()) {
        let y = &mut y[start * rows.cols()..][..ROUND * n];
        for i in 0..ROUND {
            lanes.prefetch_output(&mut y[i * n..]);
            Memory::<T>::store(lanes, &mut y[i * n..], v[i]);
        }
        return;
    }
    for i in 0..ROUND {
        for g in 0..P {
            let r = start + i * P + g;
            if r < rows.rows() {
                Memory::<T>::store_group::<P>(lanes, rows.output(y, r), v[i], g);
            }
        }
    }
}
