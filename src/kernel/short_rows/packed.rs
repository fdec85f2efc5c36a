//! Rows so short that several share a vector.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use super::EIGHT;
use super::pass::{Pass, Quotients, ROUND};
use crate::element::{Element, Float, Sum};
use crate::kernel::Place;
use crate::kernel::passes::V;
use crate::kernel::softmax::guess;
use crate::lanes::{Memory, WIDEST};
use crate::math::exp::Splat;
use crate::rows::Rows;

/// The rows from `start` on, `P` of them to a vector, until a round's guess fails: its first row, or all of them. Absent
/// rows are copies of the last one.
#[inline(always)]
pub fn packed<T: Element, L: Memory<T> + Memory<T::Compute>, const P: usize>(
    lanes: L,
    place: &mut Place<'_, T>,
    rows: Rows,
    mut start: usize,
) -> usize {
    // The guess of so short a row is a constant.
    let splat: Splat<V<T, L>> = guess::<T>(&[], L::FUSED).splat(lanes);
    let last = lanes.splat(T::Compute::from_f64(0.5 - rows.cols() as f64));
    let mut inside = [T::Compute::ZERO; WIDEST];
    for (i, inside) in inside.iter_mut().enumerate() {
        *inside = -T::Compute::from_i32((i % (T::Compute::LANES / P)) as i32);
    }
    let inside = Memory::<T::Compute>::load(lanes, &inside);
    let mut e = [lanes.splat(T::Compute::ZERO); ROUND];
    while start < rows.rows() {
        let mut pass = Pass::new(lanes);
        load_round::<T, L, P>(lanes, place, rows, start, &mut e);
        pass.round(&splat, &mut e);
        for e in &mut e {
            // Padding adds exactly 0: it stands where −i < ½ − cols, i being the place in a part.
            *e = lanes.zero_below(*e, inside, last);
        }
        let (mut accepted, mut quotients) = (pass.fits(), [Quotients::none(); 2]);
        for half in 0..ROUND * P / EIGHT {
            let sums = lanes.sum_groups::<P>(&e[half * EIGHT / P..]);
            for i in 0..EIGHT {
                accepted &= sums[i].in_range();
            }
            quotients[half] = Quotients(lanes.divisors(sums));
        }
        if !accepted {
            return start;
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
    place: &Place<'_, T>,
    rows: Rows,
    start: usize,
    v: &mut [V<T, L>; ROUND],
) {
    let (x, n) = (place.input(), T::Compute::LANES);
    if gapless::<T, P>(rows, start, rows.x_stride()) {
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
