//! What the two ways along an axis ([`axis`](super::axis), [`columns`](super::columns)) have in common: tiles of the tensor
//! whose columns, each a row of the operator, are computed side by side, and what is known of each column.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop)]

use super::Place;
use super::log_softmax::{joined, special_of};
use super::softmax::{SumOf, guess_at, largest_of, shift_at};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory};
use crate::layout::Axis;
use crate::math::exp::Shift;
use core::mem::MaybeUninit;

/// Running sums of a row.
pub const SUMS: usize = 16;

/// An operator along an axis.
#[derive(Clone, Copy)]
pub enum Along {
    Softmax,
    LogSoftmax,
    /// One result to each row, apart.
    LogSumExp,
}

/// Columns that are computed side by side.
#[derive(Clone, Copy)]
pub struct Tile {
    /// The first element.
    pub start: usize,
    pub columns: usize,
    /// Elements of a column.
    pub len: usize,
    /// From one element of a column to the next.
    pub inner: usize,
    /// Where the result of the first column stands, where each column has one.
    result: usize,
    /// From the first element to that of the next tile; 0 for the last.
    pub to_next: usize,
}

/// Columns of the tiles of a tensor `inner` columns wide, so that all are about as wide: whole vectors, at most so many.
#[inline(always)]
pub fn even_width<T: Element>(inner: usize, vectors: usize) -> usize {
    let all = inner.div_ceil(T::Compute::LANES);
    all.div_ceil(all.div_ceil(vectors)) * T::Compute::LANES
}

/// Every tile of a tensor, so many columns wide or as many as are left.
#[inline(always)]
pub fn for_each_tile(axis: Axis, width: usize, mut run: impl FnMut(&Tile)) {
    let (len, inner) = (axis.len(), axis.inner());
    for outer in 0..axis.outer() {
        let mut column = 0;
        while column < inner {
            let columns = width.min(inner - column);
            let last = column + columns == inner;
            run(&Tile {
                start: outer * len * inner + column,
                columns,
                len,
                inner,
                result: outer * inner + column,
                to_next: match last {
                    false => columns,
                    true if outer + 1 < axis.outer() => len * inner - column,
                    true => 0,
                },
            });
            column += columns;
        }
    }
}

impl Tile {
    /// At most `columns` of its columns, from `column` on.
    #[inline(always)]
    pub fn part(&self, column: usize, columns: usize) -> Self {
        Self {
            start: self.start + column,
            columns: columns.min(self.columns - column),
            result: self.result + column,
            ..*self
        }
    }

    /// The elements of row `i`.
    #[inline(always)]
    pub fn row<'a, T>(&self, x: &'a [T], i: usize) -> &'a [T] {
        &x[self.start + i * self.inner..][..self.columns]
    }

    #[inline(always)]
    pub fn row_mut<'a, T>(&self, y: &'a mut [T], i: usize) -> &'a mut [T] {
        &mut y[self.start + i * self.inner..][..self.columns]
    }

    /// What the guess of column `k` takes for its maximum.
    #[inline(always)]
    pub fn near<T: Element>(&self, x: &[T], k: usize) -> T::Compute {
        largest_of(
            self.len,
            #[inline(always)]
            |i| x[self.start + i * self.inner + k].widen(),
        )
    }

    /// What a guess for all columns takes: whichever side of the tile is padded, the first, the middle or the last column
    /// is not.
    #[inline(always)]
    pub fn nearest<T: Element>(&self, x: &[T]) -> T::Compute {
        let mut m = self.near(x, 0);
        for k in [self.columns / 2, self.columns - 1] {
            let near = self.near(x, k);
            m = if near > m { near } else { m };
        }
        m
    }
}

/// Three numbers of each of at most `N` columns. Behind the last column stand the first ones again, as far as there is
/// room, so that a vector that begins at any column finds those of its lanes.
#[repr(align(64))]
pub struct Triples<F, const N: usize>([[F; N]; 3]);

impl<F: Float, const N: usize> Triples<F, N> {
    #[inline(always)]
    pub fn all(three: [F; 3]) -> Self {
        Self([[three[0]; N], [three[1]; N], [three[2]; N]])
    }

    #[inline(always)]
    fn set(&mut self, columns: usize, numbers: impl Fn(usize) -> [F; 3]) {
        for k in 0..columns {
            let three = numbers(k);
            for i in 0..3 {
                self.0[i][k] = three[i];
            }
        }
        self.repeat(columns);
    }

    #[inline(always)]
    fn repeat(&mut self, columns: usize) {
        for row in &mut self.0 {
            for k in 0..F::LANES.min(N - columns) {
                row[columns + k] = row[k];
            }
        }
    }

    /// Those of a vector of columns.
    #[inline(always)]
    pub fn at<L: Memory<F>>(&self, lanes: L, column: usize) -> [L::V; 3] {
        [
            lanes.load(&self.0[0][column..]),
            lanes.load(&self.0[1][column..]),
            lanes.load(&self.0[2][column..]),
        ]
    }
}

/// What is known of the columns of a tile, `N` of them at most: a multiple of eight.
pub struct Columns<T: Element, const N: usize> {
    pub shift: [Shift<T::Compute>; N],
    pub sum: [SumOf<T>; N],
    /// Base, low and offset of the shifts.
    pub shifts: Triples<T::Compute, N>,
    /// What the results need of each column.
    pub numbers: Triples<T::Compute, N>,
    /// Whether no column has NaN or +∞, or nothing but −∞.
    all_sound: bool,
    /// If one has, which have not.
    sound: [bool; N],
}

impl<T: Element, const N: usize> Columns<T, N> {
    #[inline(always)]
    pub fn none(fused: bool) -> Self {
        let zero = T::Compute::ZERO;
        Self {
            shift: [guess_at(zero, fused).1; N],
            sum: [SumOf::<T>::ZERO; N],
            shifts: Triples::all([zero; 3]),
            numbers: Triples::all([zero; 3]),
            all_sound: true,
            sound: [true; N],
        }
    }

    /// The guessed shift of each column of a tile of which nothing is known yet.
    #[inline(always)]
    pub fn guess(&mut self, x: &[T], tile: &Tile, fused: bool) {
        for k in 0..tile.columns {
            self.shift[k] = guess_at(tile.near(x, k), fused).1;
        }
        self.set_shifts(tile.columns);
        self.all_sound = true;
    }

    /// One shift, guessed near `m`, for all columns.
    #[inline(always)]
    pub fn guess_shared(&mut self, m: T::Compute, fused: bool) {
        let shift = guess_at(m, fused).1;
        self.shift[0] = shift;
        self.shifts = Triples::all([shift.base, shift.low, shift.offset]);
        self.all_sound = true;
    }

    #[inline(always)]
    fn set_shifts(&mut self, columns: usize) {
        let shift = &self.shift;
        self.shifts.set(
            columns,
            #[inline(always)]
            |k| [shift[k].base, shift[k].low, shift[k].offset],
        );
    }

    /// What the columns are divided by.
    #[inline(always)]
    pub fn set_divisors<L: Lanes<T::Compute>>(&mut self, lanes: L, columns: usize) {
        for k in (0..columns).step_by(8) {
            let mut eight = [SumOf::<T>::ZERO; 8];
            eight.copy_from_slice(&self.sum[k..][..8]);
            let divisors = lanes.divisors(eight);
            for i in 0..3 {
                self.numbers.0[i][k..][..8].copy_from_slice(&divisors[i]);
            }
        }
        self.numbers.repeat(columns);
    }

    /// ln Σ e^x of the columns as offset, high and low.
    #[inline(always)]
    pub fn set_logs<L: Lanes<T::Compute>>(&mut self, lanes: L, columns: usize) {
        for k in (0..columns).step_by(8) {
            let (mut sums, mut n) = ([SumOf::<T>::ZERO; 8], [0; 8]);
            for i in 0..8 {
                (sums[i], n[i]) = (self.sum[k + i], self.shift[k + i].n);
                self.numbers.0[0][k + i] = self.shift[k + i].offset;
            }
            let [high, low] = lanes.logs(&sums, &n);
            self.numbers.0[1][k..][..8].copy_from_slice(&high);
            self.numbers.0[2][k..][..8].copy_from_slice(&low);
        }
        self.numbers.repeat(columns);
    }

    /// Whether the sums of the first `columns` are those of guesses that may be used.
    #[inline(always)]
    pub fn in_range(&self, columns: usize) -> bool {
        let mut all = true;
        for k in 0..columns {
            all &= self.sum[k].in_range();
        }
        all
    }

    /// Replaces the shifts under which the pass failed by those of the `maxima`. Whether every exponent `fits` its field is
    /// known of all columns together; an exponent rises with x, and those of a column fit if that of its maximum does.
    #[inline(always)]
    pub fn correct<L: Lanes<T::Compute>>(&mut self, lanes: L, maxima: &[T::Compute], fits: bool, tile: &Tile) {
        self.sound = [true; N];
        for k in 0..tile.columns {
            if !(self.sum[k].in_range() && (fits || self.shift[k].fits(lanes, maxima[k]))) {
                match shift_at(maxima[k], L::FUSED) {
                    Some(shift) => self.shift[k] = shift,
                    None => self.sound[k] = false,
                }
            }
        }
        self.set_shifts(tile.columns);
    }

    /// Looks at the sums under the corrected shifts: a column that is not sound gets sum 1.
    #[inline(always)]
    pub fn judge(&mut self, tile: &Tile) {
        for k in 0..tile.columns {
            self.sound[k] &= !self.sum[k].is_nan();
            if !self.sound[k] {
                self.sum[k] = SumOf::<T>::of(T::Compute::from_i32(1));
                self.all_sound = false;
            }
        }
    }

    /// Writes NaN to the columns that are not sound.
    #[inline(always)]
    pub fn fill_unsound(&self, y: &mut [MaybeUninit<T>], tile: &Tile) {
        if self.all_sound {
            return;
        }
        for i in 0..tile.len {
            let y = tile.row_mut(y, i);
            for k in 0..tile.columns {
                if !self.sound[k] {
                    y[k].write(T::NAN);
                }
            }
        }
    }

    /// ln Σ e^x of each column.
    #[inline(always)]
    pub fn logsumexp<L: Lanes<T::Compute>>(&mut self, lanes: L, place: &mut Place<'_, T>, tile: &Tile) {
        let Place::Apart(x, out) = place else { return };
        self.set_logs(lanes, tile.columns);
        let [offset, high, low] = &self.numbers.0;
        for k in 0..tile.columns {
            out[tile.result + k].write(if self.all_sound || self.sound[k] {
                joined([offset[k], high[k], low[k]])
            } else {
                special_of((0..tile.len).map(|i| tile.row(x, i)[k]))
            });
        }
    }
}
