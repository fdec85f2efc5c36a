//! Rows of at most [`longest`] elements, [`BATCH`] at a time.
//!
//! The exps of a batch stay in stack scratch in whole vectors, so that no partial store is ever reloaded, and the
//! sums, divisions and thresholds of its rows are computed side by side. Rows of up to 16 (8) elements share a vector,
//! two (four) to each. The bits are those of the row path: the same exp, the same order of additions.

use super::passes::{Quotient, V, fold_block};
use super::row::BLOCK;
use super::softmax::{fill, guess, shift_of_max};
use super::{Buffers, Kernel, Place};
use crate::arch::memory::{Scratch, assume_written};
use crate::element::{Element, Float, Sum};
use crate::lanes::Memory;
use crate::layout::Layout;
use crate::math::exp::{Shift, Splat, exp};
use crate::rows::Rows;
use crate::tuning;
use core::mem::MaybeUninit;

/// Rows to a batch.
const BATCH: usize = tuning::BATCH_ROWS;

/// Vectors to a row, at most.
const VECTORS: usize = tuning::SHORT_ROW_VECTORS;

/// Elements to a row, at most.
pub const fn longest<T: Element>() -> usize {
    VECTORS * T::Compute::LANES
}

/// What a batch knows of its rows. `None` for a row that is NaN.
type Sums<F> = [Option<<F as Float>::Sum>; BATCH];

/// Softmax of every row, each of 1 to `longest` elements.
#[inline(always)]
pub fn softmax<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, place: Place<'_, T>, rows: Rows) {
    let mut buffers = Buffers {
        place,
        rows: Layout::Strided(rows),
    };
    let (rows, cols) = (rows.rows(), rows.cols());
    let width = T::Compute::LANES;
    let mut start = 0;
    while start < rows {
        let count = (rows - start).min(BATCH);
        if cols <= width / 4 {
            packed::<T, L, 4>(lanes, &mut buffers, start, count);
        } else if cols <= width / 2 {
            packed::<T, L, 2>(lanes, &mut buffers, start, count);
        } else {
            batch(lanes, &mut buffers, start, count);
        }
        start += count;
    }
}

/// Softmax of the short rows, at most a batch of them, that follow one another from `start` on; how many.
#[inline(always)]
pub fn ragged<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    start: usize,
) -> usize {
    let most = (buffers.rows.rows() - start).min(BATCH);
    let mut count = 0;
    while count < most && buffers.rows.len(start + count) <= longest::<T>() {
        count += 1;
    }
    if count > 0 {
        batch(lanes, buffers, start, count);
    }
    count
}

/// Rows `start..start + count`, each in vectors of its own.
#[inline(always)]
fn batch<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    start: usize,
    count: usize,
) {
    lanes.call(Batch { buffers, start, count });
}

/// [`batch`], a function of its own.
struct Batch<'b, 'a, T> {
    buffers: &'b mut Buffers<'a, T>,
    start: usize,
    count: usize,
}

impl<T: Element> Kernel<T> for Batch<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { buffers, start, count } = self;
        let width = T::Compute::LANES;
        let mut pitch = 0;
        for i in 0..count {
            pitch = pitch.max(buffers.rows.len(start + i).next_multiple_of(width));
        }
        let mut scratch = Scratch::new();
        let scratch = scratch.as_elements::<T::Compute>();
        let mut sums: Sums<T::Compute> = [None; BATCH];
        for i in 0..count {
            let (x, e) = (buffers.input(start + i), &mut scratch[i * pitch..][..pitch]);
            let (sum, fits) = exp_row::<T, L, false>(lanes, x, &guess(x, L::FUSED), e);
            sums[i] = (fits && sum.in_range()).then_some(sum);
        }
        for i in 0..count {
            if sums[i].is_none() {
                sums[i] = redo(lanes, buffers.input(start + i), &mut scratch[i * pitch..][..pitch]);
            }
        }
        for i in 0..count {
            let y = buffers.output(start + i);
            let e = &mut scratch[i * pitch..][..y.len().next_multiple_of(width)];
            let Some(sum) = sums[i] else {
                fill(y, T::NAN);
                continue;
            };
            #[allow(unsafe_code)]
            // SAFETY: `exp_row` stored every vector of the row.
            let e = unsafe { assume_written(e) };
            let quotient = Quotient::new(lanes, sum);
            for (y, e) in y.chunks_mut(width).zip(e.chunks_exact(width)) {
                let v = quotient.of(lanes, Memory::<T::Compute>::load(lanes, e));
                if y.len() == width {
                    lanes.store(y, v)
                } else {
                    lanes.store_partial(y, v)
                }
            }
        }
    }
}

/// The exps of one row, whole vectors of them with 0 behind the last, their sum, and whether every exponent fitted.
#[inline(always)]
fn exp_row<T: Element, L: Memory<T> + Memory<T::Compute>, const OFFSET: bool>(
    lanes: L,
    x: &[T],
    shift: &Shift<T::Compute>,
    e: &mut [MaybeUninit<T::Compute>],
) -> (<T::Compute as Float>::Sum, bool) {
    let core = T::Compute::core(L::FUSED);
    let splat = shift.splat(lanes);
    let width = T::Compute::LANES;
    let none = lanes.fold(lanes.splat(T::Compute::ZERO));
    let (mut seen, mut acc) = (lanes.seen_none(), lanes.acc_zero());
    let mut at = 0;
    while at < x.len() {
        let mut halves = [none; BLOCK];
        for half in &mut halves {
            if at < x.len() {
                let present = x.len() - at;
                let v = if present >= width {
                    lanes.load(&x[at..])
                } else {
                    lanes.load_or(&x[at..], -T::Compute::INFINITY)
                };
                let ([v], [t]) = exp::<_, L, 1, OFFSET>(lanes, core, &splat, [v]);
                seen = lanes.seen(seen, t);
                let v = if present >= width {
                    v
                } else {
                    lanes.keep_first(v, present)
                };
                Memory::<T::Compute>::store(lanes, &mut e[at..], v);
                *half = lanes.fold(v);
                at += width;
            }
        }
        acc = lanes.acc_add(acc, fold_block::<T, L>(lanes, halves));
    }
    (lanes.acc_sum(acc), lanes.seen_none_of(seen, core.forbidden))
}

/// The three-pass form of one row whose guess failed.
#[inline(always)]
fn redo<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &[T],
    e: &mut [MaybeUninit<T::Compute>],
) -> Option<<T::Compute as Float>::Sum> {
    let (sum, _) = exp_row::<T, L, true>(lanes, x, &shift_of_max(lanes, x)?, e);
    (!sum.is_nan()).then_some(sum)
}

/// Rows `start..start + count`, `P` of them to a vector. Absent rows are copies of the last one.
///
/// Loops over indices instead of `array::map` or `zip`: they are not always inlined, and a call here costs a row.
#[inline(always)]
fn packed<T: Element, L: Memory<T> + Memory<T::Compute>, const P: usize>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    start: usize,
    count: usize,
) {
    let core = T::Compute::core(L::FUSED);
    // The guess of so short a row is a constant.
    let splat: Splat<V<T, L>> = guess::<T>(&[], L::FUSED).splat(lanes);
    let last = lanes.splat(T::Compute::from_f64(0.5 - buffers.rows.len(start) as f64));
    let mut place = [T::Compute::ZERO; 32];
    for (i, place) in place.iter_mut().enumerate() {
        *place = -T::Compute::from_i32((i % (T::Compute::LANES / P)) as i32);
    }
    let place = Memory::<T::Compute>::load(lanes, &place);
    let mut first = 0;
    while first < count {
        let mut group: [&[T]; P] = [&[]; P];
        for (g, row) in group.iter_mut().enumerate() {
            *row = buffers.input(start + (first + g).min(count - 1));
        }
        let x = Memory::<T>::load_groups(lanes, group, -T::Compute::INFINITY);
        let ([e], [t]) = exp::<_, L, 1, false>(lanes, core, &splat, [x]);
        let fits = lanes.seen_none_of(lanes.seen(lanes.seen_none(), t), core.forbidden);
        // Padding adds exactly 0: it stands where −i < ½ − cols, i being the place in a group.
        let sums = lanes.sum_groups::<P>(lanes.zero_below(e, place, last));
        let mut accepted = fits;
        for sum in &sums {
            accepted &= sum.in_range();
        }
        let present = (count - first).min(P);
        if accepted {
            let y = Quotient::grouped(lanes, &sums).of(lanes, e);
            for g in 0..present {
                Memory::<T>::store_group::<P>(lanes, buffers.output(start + first + g), y, g);
            }
        } else {
            batch(lanes, buffers, start + first, present);
        }
        first += P;
    }
}
