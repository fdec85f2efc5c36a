//! Rows of at most [`longest`] elements, [`BATCH`] at a time.
//!
//! The exps of a batch (`batches.rs`) stay in stack scratch in whole vectors, so that no partial store is ever reloaded, and
//! the sums, divisions and thresholds of its rows are computed side by side. Each of these is a chain of operations that
//! wait for one another; so a batch is looked at one batch before its exps, and divided beside those of the next. Rows of up
//! to 16 (8) elements share a vector, two (four) to each (`packed.rs`). One row alone stays in registers (`single.rs`). What
//! else needs the sums of short rows, and of somewhat longer ones, has them and their logarithms from `logs.rs`.
//!
//! The bits are those of the row path: the same exp, the same order of additions. Where multiply-add is fused, any
//! accepted shift gives them, so that a batch has one, the guess of its first row.

mod batches;
mod logs;
mod packed;
mod pass;
mod single;

pub use batches::{Batches, Extent, Source, Spot, Spots, alike, ending, one_by_one};
pub use logs::{AT_ONCE, LogSum, LogSums, WaitingLogs, with_log};
pub use single::{Single, SingleLog, SingleLogSumExp};

use super::row::block;
use super::{Buffers, Kernel, Place};
use crate::arch::memory::Stack;
use crate::element::{Element, Float};
use crate::lanes::Memory;
use crate::layout::Layout;
use crate::rows::Rows;
use crate::tuning;
use batches::Plain;
use packed::packed;

/// Rows to a batch.
const BATCH: usize = tuning::BATCH_ROWS;

/// Vectors to a row, at most.
const VECTORS: usize = tuning::SHORT_ROW_VECTORS;

/// Rows that are worth a batch: fewer are done sooner one by one.
pub const FEWEST: usize = 3;

/// Rows of more than a block that are worth a batch, if they end inside a block.
const FEWEST_LONGER: usize = 8;

/// Bytes from the results of a batch that are stored to those that the CPU is told of, at most: what is told from farther
/// away has left the cache when it is stored to.
const WRITTEN_AHEAD: usize = 1024;

/// And from the elements of rows of `vectors` that are read: of rows of one or two, a batch is less than a page.
const fn read_ahead(vectors: usize) -> usize {
    if 0 < vectors && vectors <= 2 { 1024 } else { usize::MAX }
}

/// Whether `count` rows of `cols` elements are done here.
#[inline(always)]
pub fn suits<T: Element>(count: usize, cols: usize) -> bool {
    let few = cols <= block::<T>() || !cols.is_multiple_of(block::<T>()) && count >= FEWEST_LONGER;
    few && cols <= longest::<T>()
}

/// Elements to a row, at most.
pub const fn longest<T: Element>() -> usize {
    VECTORS * T::Compute::LANES
}

/// Rows whose sums are reduced side by side.
const EIGHT: usize = 8;

/// Room for a batch.
const ROOM: usize = BATCH.next_multiple_of(EIGHT);

/// The exps of a batch, and of the one before it. A vector has 128 bytes.
pub type BothBatches = Stack<{ 2 * BATCH * VECTORS * 128 }>;

/// What is taken for rows of a batch before their exps: of one at least.
type TakenRows = Stack<8192>;
const _: () = assert!(size_of::<TakenRows>() >= VECTORS * 128);

impl Rows {
    /// As they lie at a place: in place, results have the stride of the input.
    #[inline(always)]
    fn for_place<T>(self, place: &Place<'_, T>) -> Self {
        match place {
            Place::Apart(..) => self,
            Place::InPlace(_) => self.with_y_stride(self.x_stride()),
        }
    }
}

/// Softmax of every row, each of 1 to `longest` elements: a function of its own.
pub struct ShortRows<'p, 'a, T> {
    pub place: &'p mut Place<'a, T>,
    pub rows: Rows,
}

impl<T: Element> Kernel<T> for ShortRows<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { place, rows } = self;
        debug_assert!(rows.cols() <= longest::<T>(), "{} columns", rows.cols());
        let (count, width) = (rows.rows(), T::Compute::LANES);
        let rows = rows.for_place(place);
        let mut start = 0;
        while start < count {
            let mut end = count;
            if count >= FEWEST && rows.cols() <= width / 2 {
                start = if rows.cols() <= width / 4 {
                    packed::<T, L, 4>(lanes, place, rows, start)
                } else {
                    packed::<T, L, 2>(lanes, place, rows, start)
                };
                // Those whose guess failed, and some more.
                end = count.min(start + BATCH);
            }
            let mut buffers = Buffers {
                place: place.reborrow(),
                rows: Layout::Strided(rows),
            };
            start = side_by_side(lanes, &mut buffers, start, end);
        }
    }
}

/// Softmax of the short rows that follow one another from `start` on, up to `end`; the row behind the last.
#[inline(always)]
pub fn side_by_side<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    buffers: &mut Buffers<'_, T>,
    mut start: usize,
    end: usize,
) -> usize {
    while end - start < FEWEST && start < end && buffers.rows.len(start) <= block::<T>() {
        lanes.call(Single(&mut buffers.row(start)));
        start += 1;
    }
    if start < end && buffers.rows.len(start) <= longest::<T>() {
        let in_place = matches!(buffers.place, Place::InPlace(_));
        lanes.call(Batches {
            place: &mut buffers.place,
            source: Plain {
                rows: buffers.rows,
                end,
                in_place,
            },
            start: &mut start,
        });
    }
    start
}
