//! The sums of short rows and their logarithms, some rows at a time: for log_softmax, logsumexp and cross-entropy.
//!
//! A logarithm is a chain of operations that wait for one another: those of eight rows are computed side by side. The
//! shift of a row is its own, as in the row path: it shows in the last bits of the logarithm.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop)]

use super::packed::{Packing, subtract_packed};
use super::pass::{Pass, ROUND};
use super::{EIGHT, FEWEST, VECTORS, longest};
use crate::arch::memory::Stack;
use crate::element::{Element, Float, Sum};
use crate::kernel::log_softmax::{log_of_difference, subtract};
use crate::kernel::passes::{load, store};
use crate::kernel::softmax::{SumOf, fill, guess, sum, sum_after_guess};
use crate::kernel::{Buffers, Kernel, Place};
use crate::lanes::{Memory, WIDEST};
use crate::layout::Layout;
use crate::math::exp::Shift;
use crate::rows::Rows;

/// Rows at a time, at most.
pub const AT_ONCE: usize = 16;

/// The shift of a row, its sum S, and N·ln 2 + ln S, high and low.
pub type LogSum<T> = (
    Shift<<T as Element>::Compute>,
    SumOf<T>,
    (<T as Element>::Compute, <T as Element>::Compute),
);

/// The logarithm beside a shift and a sum.
#[inline(always)]
pub fn with_log<T: Element>((shift, sum): (Shift<T::Compute>, SumOf<T>)) -> LogSum<T> {
    (shift, sum, sum.log(shift.n))
}

/// What is known of some short rows that follow one another.
pub struct LogSums<T: Element> {
    /// How many.
    pub count: usize,
    shifts: [Shift<T::Compute>; AT_ONCE],
    sums: [SumOf<T>; AT_ONCE],
    /// Rows that have no sum.
    missing: [bool; AT_ONCE],
    /// N·ln 2 + ln S, high and low.
    logs: [[T::Compute; AT_ONCE]; 2],
    /// Rows to a vector, if they are packed and each has a sum, else 0.
    packed: usize,
}

impl<T: Element> LogSums<T> {
    /// Of no rows.
    #[inline(always)]
    pub fn none() -> Self {
        Self {
            count: 0,
            shifts: [guess::<T>(&[], true); AT_ONCE],
            sums: [SumOf::<T>::ZERO; AT_ONCE],
            missing: [false; AT_ONCE],
            logs: [[T::Compute::ZERO; AT_ONCE]; 2],
            packed: 0,
        }
    }

    /// Whether rows from `first` on, which exists, are worth it.
    #[inline(always)]
    pub fn are_worth(rows: &Layout<'_>, first: usize) -> bool {
        let second = (first + 1).min(rows.rows() - 1);
        rows.rows() - first >= FEWEST && rows.len(first).max(rows.len(second)) <= longest::<T>()
    }

    /// Becomes those of some rows from `first` on, which are worth it.
    #[inline(always)]
    pub fn find<L: Memory<T> + Memory<T::Compute>>(&mut self, lanes: L, x: &[T], rows: &Layout<'_>, first: usize) {
        lanes.call(Find {
            known: self,
            x,
            rows,
            first,
            guesses: None,
        });
    }

    /// Becomes those of some rows from `first` on, all of which are short, each under a shift of these. A row whose shift
    /// may not be used counts as one without a sum.
    #[inline(always)]
    pub fn find_under<L>(
        &mut self,
        lanes: L,
        x: &[T],
        rows: &Layout<'_>,
        first: usize,
        guesses: &[Shift<T::Compute>; AT_ONCE],
    ) where
        L: Memory<T> + Memory<T::Compute>,
    {
        lanes.call(Find {
            known: self,
            x,
            rows,
            first,
            guesses: Some(guesses),
        });
    }

    /// Of the `i`-th row; `None` where it has no sum.
    #[inline(always)]
    pub fn of(&self, i: usize) -> Option<LogSum<T>> {
        (!self.missing[i]).then_some((self.shifts[i], self.sums[i], (self.logs[0][i], self.logs[1][i])))
    }

    /// ln Σ e^x of the `i`-th row as offset, high and low.
    #[inline(always)]
    pub fn log(&self, i: usize) -> Option<[T::Compute; 3]> {
        (!self.missing[i]).then_some([self.shifts[i].offset, self.logs[0][i], self.logs[1][i]])
    }

    /// log_softmax of these rows, the first of which is `first`.
    #[inline(always)]
    pub fn subtract<L: Memory<T> + Memory<T::Compute>>(&self, lanes: L, buffers: &mut Buffers<'_, T>, first: usize) {
        if let (Layout::Strided(rows), 2 | 4) = (buffers.rows, self.packed) {
            let (rows, place) = (rows.for_place(&buffers.place), &mut buffers.place);
            return match self.packed {
                4 => subtract_packed::<T, L, 4>(lanes, place, rows, first, &self.logs),
                _ => subtract_packed::<T, L, 2>(lanes, place, rows, first, &self.logs),
            };
        }
        for i in 0..self.count.min(AT_ONCE) {
            match self.log(i) {
                Some(log) => subtract_short(lanes, buffers.row(first + i), log),
                None => fill(buffers.output(first + i), T::NAN),
            }
        }
    }
}

/// log_softmax of one row, with an offset: a function of its own.
struct Subtract<'a, T: Element>(Place<'a, T>, [T::Compute; 3]);

impl<T: Element> Kernel<T> for Subtract<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        subtract(lanes, self.0, self.1);
    }
}

/// log_softmax of one short row: without the pieces of a long one.
#[inline(always)]
fn subtract_short<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    mut place: Place<'_, T>,
    log: [T::Compute; 3],
) {
    if log[0] != T::Compute::ZERO {
        return lanes.call(Subtract(place, log));
    }
    let log = [lanes.splat(log[1]), lanes.splat(log[2])];
    let (n, len) = (T::Compute::LANES, place.input().len());
    let mut at = 0;
    while at < len {
        let end = len.min(at + n);
        let x = load(lanes, &place.input()[at..end], T::Compute::ZERO);
        store(lanes, &mut place.output()[at..end], log_of_difference(lanes, x, log));
        at = end;
    }
}

/// What becomes of some sums.
struct Found {
    /// Whether every shift may be used.
    accepted: bool,
    /// Whether every exponent fitted its field; if not, any row may be the one whose did not.
    fits: bool,
}

/// [`LogSums::find`] and [`LogSums::find_under`]: a function of its own, which four operators call.
struct Find<'a, T: Element> {
    known: &'a mut LogSums<T>,
    x: &'a [T],
    rows: &'a Layout<'a>,
    first: usize,
    /// The shifts of the first rows, if they are not guessed here.
    guesses: Option<&'a [Shift<T::Compute>; AT_ONCE]>,
}

impl<T: Element> Kernel<T> for Find<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            known,
            x,
            rows,
            first,
            guesses,
        } = self;
        let width = T::Compute::LANES;
        let Found { accepted, fits } = match rows {
            Layout::Strided(rows) if rows.cols() <= width / 4 => known.add_packed::<L, 4>(lanes, x, rows, first),
            Layout::Strided(rows) if rows.cols() <= width / 2 => known.add_packed::<L, 2>(lanes, x, rows, first),
            Layout::Strided(strided) if !L::COMPACT && T::IS_COMPUTE && width == WIDEST => {
                match strided.cols().div_ceil(width) {
                    1 => known.add::<L, 1>(lanes, x, rows, first, guesses),
                    2 => known.add::<L, 2>(lanes, x, rows, first, guesses),
                    3 => known.add::<L, 3>(lanes, x, rows, first, guesses),
                    4 => known.add::<L, 4>(lanes, x, rows, first, guesses),
                    _ => known.add::<L, 0>(lanes, x, rows, first, guesses),
                }
            }
            _ => known.add::<L, 0>(lanes, x, rows, first, guesses),
        };
        known.missing = [false; AT_ONCE];
        if !accepted {
            known.packed = 0;
            if guesses.is_some() {
                for i in 0..known.count.min(AT_ONCE) {
                    known.missing[i] = !(fits && known.sums[i].in_range());
                }
            } else {
                lanes.call(Redo {
                    known: &mut *known,
                    x,
                    rows,
                    first,
                    fits,
                });
            }
        }
        for group in 0..known.count.div_ceil(EIGHT).min(AT_ONCE / EIGHT) {
            let at = group * EIGHT..(group + 1) * EIGHT;
            let (mut sums, mut n) = ([SumOf::<T>::ZERO; EIGHT], [0; EIGHT]);
            for i in 0..EIGHT {
                (sums[i], n[i]) = (known.sums[at.start + i], known.shifts[at.start + i].n);
            }
            let [high, low] = lanes.logs(&sums, &n);
            known.logs[0][at.clone()].copy_from_slice(&high);
            known.logs[1][at].copy_from_slice(&low);
        }
    }
}

impl<T: Element> LogSums<T> {
    /// The sums of a round of rows, `P` to a vector, under a guess that is a constant.
    #[inline(always)]
    fn add_packed<L, const P: usize>(&mut self, lanes: L, x: &[T], rows: &Rows, first: usize) -> Found
    where
        L: Memory<T> + Memory<T::Compute>,
    {
        let packing = Packing::<T, L, P>::new(lanes, rows);
        let mut e = [lanes.splat(T::Compute::ZERO); ROUND];
        let mut sums = [[SumOf::<T>::ZERO; EIGHT]; 2];
        let accepted = packing.exps(x, first, &mut e, &mut sums);
        self.count = (ROUND * P).min(rows.rows() - first);
        self.packed = P;
        for i in 0..AT_ONCE {
            (self.shifts[i], self.sums[i]) = (guess::<T>(&[], L::FUSED), sums[i / EIGHT][i % EIGHT]);
        }
        Found {
            accepted,
            fits: accepted,
        }
    }

    /// The sums of as many rows as are short, under some shifts or guesses. Rows of 1 to 4 vectors have `N`, others 0.
    #[inline(always)]
    fn add<L, const N: usize>(
        &mut self,
        lanes: L,
        x: &[T],
        rows: &Layout<'_>,
        first: usize,
        guesses: Option<&[Shift<T::Compute>; AT_ONCE]>,
    ) -> Found
    where
        L: Memory<T> + Memory<T::Compute>,
    {
        let mut e = Stack::<{ VECTORS * 128 }>::new();
        let e = e.as_elements();
        let mut pass = Pass::new(lanes);
        (self.count, self.packed) = (0, 0);
        // The guesses first: in one step with the exps, fewer chains of operations would be under way at once.
        while self.count < AT_ONCE && first + self.count < rows.rows() && rows.len(first + self.count) <= longest::<T>()
        {
            self.shifts[self.count] = match guesses {
                Some(guesses) => guesses[first + self.count],
                None => guess(rows.input(x, first + self.count), L::FUSED),
            };
            self.count += 1;
        }
        let count = self.count.min(AT_ONCE);
        for i in 0..count {
            let acc = pass.row::<T, N>(
                &self.shifts[i].splat(lanes),
                rows.input(x, first + i),
                e,
                #[inline(always)]
                |_, x| x,
            );
            self.sums[i] = lanes.acc_sum(acc);
        }
        let fits = pass.fits();
        let mut accepted = fits;
        for i in 0..count {
            accepted &= self.sums[i].in_range();
        }
        Found { accepted, fits }
    }
}

/// The rows whose guess failed, by the row path: a function of its own.
struct Redo<'a, T: Element> {
    known: &'a mut LogSums<T>,
    x: &'a [T],
    rows: &'a Layout<'a>,
    first: usize,
    /// See [`Found`].
    fits: bool,
}

impl<T: Element> Kernel<T> for Redo<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            known,
            x,
            rows,
            first,
            fits,
        } = self;
        for i in 0..known.count.min(AT_ONCE) {
            let x = rows.input(x, first + i);
            let found = if !fits {
                sum(lanes, x)
            } else if !known.sums[i].in_range() {
                sum_after_guess(lanes, x)
            } else {
                continue;
            };
            match found {
                Some(found) => (known.shifts[i], known.sums[i]) = found,
                None => known.missing[i] = true,
            }
        }
    }
}
