//! The sums of short rows and their logarithms, some rows at a time: for log_softmax, logsumexp and cross-entropy.
//!
//! A logarithm is a chain of operations that wait for one another: those of eight rows are computed side by side, and
//! subtracted beside the exps of the next rows. The shift of a row is its own, as in the row path: it shows in the last bits
//! of the logarithm.

// Loops over indices: the methods of iterators are not always inlined under target features.
#![allow(clippy::needless_range_loop)]

use super::packed::{Packing, subtract_packed};
use super::pass::{Pass, ROUND};
use super::{EIGHT, FEWEST, longest};
use crate::arch::memory::Cells;
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

/// Elements to a row, at most: as many as of other short rows, or 768 (f64: 384). Of longer rows the logarithm hardly shows,
/// and so many of them do not stay in an L1 cache.
const fn longest_with_log<T: Element>() -> usize {
    let (short, many) = (longest::<T>(), 3072 / size_of::<T::Compute>());
    if short > many { short } else { many }
}

/// The shift of a row, its sum S, and N·ln 2 + ln S, high and low.
pub type LogSum<T> = (
    Shift<<T as Element>::Compute>,
    SumOf<T>,
    (<T as Element>::Compute, <T as Element>::Compute),
);

/// The shifts of some rows.
type Shifts<T> = [Shift<<T as Element>::Compute>; AT_ONCE];

/// The logarithm beside a shift and a sum.
#[inline(always)]
pub fn with_log<T: Element>((shift, sum): (Shift<T::Compute>, SumOf<T>)) -> LogSum<T> {
    (shift, sum, sum.log(shift.n))
}

/// What is known of some short rows that follow one another.
pub struct LogSums<T: Element> {
    /// The number of the first.
    first: usize,
    /// How many.
    pub count: usize,
    shifts: Shifts<T>,
    sums: [SumOf<T>; AT_ONCE],
    /// Rows that have no sum.
    missing: [bool; AT_ONCE],
    /// N·ln 2 + ln S, high and low.
    logs: [[T::Compute; AT_ONCE]; 2],
    /// Rows to a vector, if they are packed and each has a sum, else 0.
    packed: usize,
    /// Whether they may wait: see [`waiting`](Self::waiting).
    may_wait: bool,
}

impl<T: Element> LogSums<T> {
    /// Of no rows.
    #[inline(always)]
    pub fn none() -> Self {
        Self {
            first: 0,
            count: 0,
            shifts: [guess::<T>(&[], true); AT_ONCE],
            sums: [SumOf::<T>::ZERO; AT_ONCE],
            missing: [false; AT_ONCE],
            logs: [[T::Compute::ZERO; AT_ONCE]; 2],
            packed: 0,
            may_wait: false,
        }
    }

    /// Whether rows from `first` on, which exists, are worth it.
    #[inline(always)]
    pub fn are_worth(rows: &Layout<'_>, first: usize) -> bool {
        let second = (first + 1).min(rows.rows() - 1);
        rows.rows() - first >= FEWEST && rows.len(first).max(rows.len(second)) <= longest_with_log::<T>()
    }

    /// Becomes those of some rows from `first` on, which are worth it.
    #[inline(always)]
    pub fn find<L: Memory<T> + Memory<T::Compute>>(&mut self, lanes: L, x: &[T], rows: &Layout<'_>, first: usize) {
        lanes.call(Find {
            known: self,
            buffers: &mut without_output(x, rows),
            first,
            guesses: None,
            before: None,
        });
    }

    /// Becomes those of some rows from `first` on, all of which are short, each under a shift of these. A row whose shift
    /// may not be used counts as one without a sum.
    #[inline(always)]
    pub fn find_under<L>(&mut self, lanes: L, x: &[T], rows: &Layout<'_>, first: usize, guesses: &Shifts<T>)
    where
        L: Memory<T> + Memory<T::Compute>,
    {
        lanes.call(Find {
            known: self,
            buffers: &mut without_output(x, rows),
            first,
            guesses: Some(guesses),
            before: None,
        });
    }

    /// [`find`](Self::find), and log_softmax of the rows that waited `before`.
    #[inline(always)]
    pub fn find_beside<L>(
        &mut self,
        lanes: L,
        buffers: &mut Buffers<'_, T>,
        first: usize,
        before: &WaitingLogs<T::Compute>,
    ) where
        L: Memory<T> + Memory<T::Compute>,
    {
        lanes.call(Find {
            known: self,
            buffers,
            first,
            guesses: None,
            before: Some(before),
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

    /// What log_softmax of these rows needs beside the sums of the next: of strided rows that are not packed, each with a sum
    /// without an offset, where the backend is not [`COMPACT`](crate::lanes::Lanes::COMPACT). Of others no rows wait.
    #[inline(always)]
    pub fn waiting(&self) -> WaitingLogs<T::Compute> {
        WaitingLogs {
            first: self.first,
            count: if self.may_wait { self.count } else { 0 },
            logs: self.logs,
        }
    }

    /// log_softmax of these rows.
    #[inline(always)]
    pub fn subtract<L: Memory<T> + Memory<T::Compute>>(&self, lanes: L, buffers: &mut Buffers<'_, T>) {
        if let (Layout::Strided(rows), 2 | 4) = (buffers.rows, self.packed) {
            let (rows, place) = (rows.for_place(&buffers.place), &mut buffers.place);
            return match self.packed {
                4 => subtract_packed::<T, L, 4>(lanes, place, rows, self.first, &self.logs),
                _ => subtract_packed::<T, L, 2>(lanes, place, rows, self.first, &self.logs),
            };
        }
        for i in 0..self.count.min(AT_ONCE) {
            let r = self.first + i;
            match self.log(i) {
                Some(log) => subtract_short(lanes, buffers.row(r), log),
                None => fill(buffers.output(r), T::NAN),
            }
        }
    }
}

/// Rows that follow one another and wait for their logarithms to be subtracted.
pub struct WaitingLogs<F> {
    first: usize,
    count: usize,
    /// High and low.
    logs: [[F; AT_ONCE]; 2],
}

impl<F: Float> WaitingLogs<F> {
    #[inline(always)]
    pub fn none() -> Self {
        Self {
            first: 0,
            count: 0,
            logs: [[F::ZERO; AT_ONCE]; 2],
        }
    }

    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// log_softmax of the `i`-th row. Rows of 1 to 4 vectors have `N`, others 0.
    #[inline(always)]
    fn subtract<T, L, const N: usize>(&self, lanes: L, buffers: &mut Buffers<'_, T>, i: usize)
    where
        T: Element<Compute = F>,
        L: Memory<T> + Memory<F>,
    {
        let row = buffers.row(self.first + i).cells();
        subtract_vectors::<T, L, N>(lanes, row, [self.logs[0][i], self.logs[1][i]]);
    }
}

/// log_softmax of a row without an offset. Rows of 1 to 4 vectors have `N`, or 0, others 0.
#[inline(always)]
fn subtract_vectors<T: Element, L: Memory<T> + Memory<T::Compute>, const N: usize>(
    lanes: L,
    mut row: Cells<'_, T>,
    [high, low]: [T::Compute; 2],
) {
    let log = [lanes.splat(high), lanes.splat(low)];
    let vectors = if N > 0 {
        N
    } else {
        row.len().div_ceil(T::Compute::LANES)
    };
    if vectors == 0 {
        return;
    }
    let mut at = 0;
    for _ in 1..vectors {
        let x = Memory::<T>::load(lanes, &row.input()[at..]);
        lanes.store(&mut row.output()[at..], log_of_difference(lanes, x, log));
        at += T::Compute::LANES;
    }
    let x = load(lanes, &row.input()[at..], T::Compute::ZERO);
    store(lanes, &mut row.output()[at..], log_of_difference(lanes, x, log));
}

/// The rows of `x`, whose results go nowhere.
#[inline(always)]
fn without_output<'a, T>(x: &'a [T], rows: &Layout<'a>) -> Buffers<'a, T> {
    Buffers {
        place: Place::Apart(x, &mut []),
        rows: *rows,
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
    place: Place<'_, T>,
    [offset, high, low]: [T::Compute; 3],
) {
    if offset != T::Compute::ZERO {
        return lanes.call(Subtract(place, [offset, high, low]));
    }
    subtract_vectors::<T, L, 0>(lanes, place.cells(), [high, low]);
}

/// What becomes of some sums.
struct Found {
    /// Whether every shift may be used.
    accepted: bool,
    /// Whether every exponent fitted its field; if not, any row may be the one whose did not.
    fits: bool,
}

/// [`LogSums::find`], `find_under` and `find_beside`: a function of its own, which four operators call.
struct Find<'b, 'a, T: Element> {
    known: &'b mut LogSums<T>,
    buffers: &'b mut Buffers<'a, T>,
    first: usize,
    /// The shifts of the first rows, if they are not guessed here.
    guesses: Option<&'b Shifts<T>>,
    /// Those that become log_softmax beside the sums of these.
    before: Option<&'b WaitingLogs<T::Compute>>,
}

impl<T: Element> Kernel<T> for Find<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            known,
            buffers,
            first,
            guesses,
            before,
        } = self;
        let (x, width) = (buffers.place.input(), T::Compute::LANES);
        let Found { accepted, fits } = match &buffers.rows {
            Layout::Strided(rows) if rows.cols() <= width / 4 => known.add_packed::<L, 4>(lanes, x, rows, first),
            Layout::Strided(rows) if rows.cols() <= width / 2 => known.add_packed::<L, 2>(lanes, x, rows, first),
            Layout::Strided(rows) if !L::COMPACT && T::IS_COMPUTE && width == WIDEST => {
                match rows.cols().div_ceil(width) {
                    1 => known.add::<L, 1>(lanes, buffers, first, guesses, before),
                    2 => known.add::<L, 2>(lanes, buffers, first, guesses, before),
                    3 => known.add::<L, 3>(lanes, buffers, first, guesses, before),
                    4 => known.add::<L, 4>(lanes, buffers, first, guesses, before),
                    _ => known.add::<L, 0>(lanes, buffers, first, guesses, before),
                }
            }
            _ => known.add::<L, 0>(lanes, buffers, first, guesses, before),
        };
        // Those that waited are of the same call, whose rows are all packed or none.
        debug_assert!(known.packed == 0 || before.is_none_or(WaitingLogs::is_empty));
        (known.first, known.missing) = (first, [false; AT_ONCE]);
        if !accepted {
            (known.packed, known.may_wait) = (0, false);
            if guesses.is_some() {
                for i in 0..known.count.min(AT_ONCE) {
                    known.missing[i] = !(fits && known.sums[i].in_range());
                }
            } else {
                lanes.call(Redo {
                    known: &mut *known,
                    buffers: &*buffers,
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
        (self.packed, self.may_wait) = (P, false);
        for i in 0..AT_ONCE {
            (self.shifts[i], self.sums[i]) = (guess::<T>(&[], L::FUSED), sums[i / EIGHT][i % EIGHT]);
        }
        Found {
            accepted,
            fits: accepted,
        }
    }

    /// Counts as many rows as are short enough, and gives each its shift. All guesses before the sums: in one step with the
    /// exps, fewer chains of operations would be under way at once.
    #[inline(always)]
    fn guess(&mut self, buffers: &Buffers<'_, T>, first: usize, guesses: Option<&Shifts<T>>, fused: bool) {
        let mut count = 0;
        while count < AT_ONCE
            && first + count < buffers.rows.rows()
            && buffers.rows.len(first + count) <= longest_with_log::<T>()
        {
            self.shifts[count] = match guesses {
                Some(guesses) => guesses[first + count],
                None => guess(buffers.input(first + count), fused),
            };
            count += 1;
        }
        (self.count, self.packed) = (count, 0);
    }

    /// The sums of as many rows as are short, under some shifts or guesses, and log_softmax of those `before`: a row beside
    /// the exps of each, as neither waits for the other. Rows of 1 to 4 vectors have `N`, others 0.
    #[inline(always)]
    fn add<L, const N: usize>(
        &mut self,
        lanes: L,
        buffers: &mut Buffers<'_, T>,
        first: usize,
        guesses: Option<&Shifts<T>>,
        before: Option<&WaitingLogs<T::Compute>>,
    ) -> Found
    where
        L: Memory<T> + Memory<T::Compute>,
    {
        let mut pass = Pass::new(lanes);
        self.guess(buffers, first, guesses, L::FUSED);
        self.may_wait = !L::COMPACT && matches!(buffers.rows, Layout::Strided(_));
        let count = self.count.min(AT_ONCE);
        let beside = match before {
            Some(before) => before.count.min(AT_ONCE),
            None => 0,
        };
        for group in 0..count.max(beside).div_ceil(EIGHT) {
            let start = group * EIGHT;
            // Without the registers of AVX-512, to keep eight takes longer than to reduce each.
            let mut accs = [lanes.acc_zero(); EIGHT];
            for i in start..count.max(beside).min(start + EIGHT) {
                if i < count {
                    let acc = pass.row::<T, N, false>(
                        &self.shifts[i].splat(lanes),
                        buffers.input(first + i),
                        &mut [],
                        #[inline(always)]
                        |_, x| x,
                    );
                    if L::WIDE {
                        accs[i % EIGHT] = acc;
                    } else {
                        self.sums[i] = lanes.acc_sum(acc);
                    }
                }
                if i < beside
                    && let Some(before) = before
                {
                    before.subtract::<T, L, N>(lanes, buffers, i);
                }
            }
            if L::WIDE {
                self.sums[start..][..EIGHT].copy_from_slice(&lanes.acc_sums(&accs));
            }
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
struct Redo<'b, 'a, T: Element> {
    known: &'b mut LogSums<T>,
    buffers: &'b Buffers<'a, T>,
    /// See [`Found`].
    fits: bool,
}

impl<T: Element> Kernel<T> for Redo<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { known, buffers, fits } = self;
        for i in 0..known.count.min(AT_ONCE) {
            let x = buffers.input(known.first + i);
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
