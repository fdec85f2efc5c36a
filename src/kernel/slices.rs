//! Rows along a short axis of a narrow tensor: too few to a slice, and too short, for a tile of their own.
//!
//! Some slices at a time stand transposed in stack scratch, row after row, and are computed side by side.

use super::log_softmax::{LogSoftmax, LogSumExp, RowsInto};
use super::short_rows::{BothBatches, ShortRows, longest};
use super::tile::Along;
use super::{Buffers, Kernel, Place};
use crate::arch::memory::{Stack, assume_written};
use crate::element::{Element, Float};
use crate::lanes::Memory;
use crate::layout::Axis;
use crate::rows::Rows;
use core::mem::MaybeUninit;

/// Room for the rows of some slices.
type Room = Stack<8192>;
// No path has more scratch than that; every profile was checked.
const _: () = assert!(size_of::<Room>() + size_of::<BothBatches>() <= 32 * 1024);

/// Elements of the largest slice: a larger one is a tile sooner than it is transposed twice.
const LARGEST: usize = 160;

/// Whether a tensor is one for [`SlicesKernel`].
#[inline(always)]
pub fn suits<T: Element>(axis: Axis) -> bool {
    axis.inner() < T::Compute::LANES && axis.len() <= longest::<T>() && axis.len() * axis.inner() <= LARGEST
}

/// An operator on each row of a tensor that [`suits`].
pub struct SlicesKernel<'a, T> {
    pub along: Along,
    pub place: Place<'a, T>,
    pub axis: Axis,
}

impl<T: Element> Kernel<T> for SlicesKernel<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { along, mut place, axis } = self;
        let (len, inner) = (axis.len(), axis.inner());
        let slice = len * inner;
        let at_once = Room::capacity::<T>() / slice;
        let mut room = Room::new();
        let mut first = 0;
        while first < axis.outer() {
            let slices = at_once.min(axis.outer() - first);
            let part = first * slice..(first + slices) * slice;
            let room = &mut room.as_elements::<T>()[..slices * slice];
            transpose(&place.input()[part.clone()], room, len, inner);
            #[allow(unsafe_code)]
            // SAFETY: the room is whole slices, and `transpose` has stored every element of each.
            let x = unsafe { assume_written(room) };
            let rows = Rows::new(slices * inner, len);
            match along {
                Along::Softmax => lanes.call(ShortRows {
                    place: &mut Place::InPlace(&mut *x),
                    rows,
                }),
                Along::LogSoftmax => lanes.call(LogSoftmax(&mut Buffers::in_place(&mut *x, rows))),
                Along::LogSumExp => lanes.call(LogSumExp(&mut RowsInto {
                    x: &*x,
                    out: &mut place.output()[first * inner..][..slices * inner],
                    rows: rows.into(),
                })),
            }
            if !matches!(along, Along::LogSumExp) {
                transpose(x, &mut place.output()[part], inner, len);
            }
            first += slices;
        }
    }
}

/// Every `rows` × `cols` of `src` as `cols` × `rows` in `dst`.
#[inline(always)]
fn transpose<T: Copy>(src: &[T], dst: &mut [MaybeUninit<T>], rows: usize, cols: usize) {
    let size = rows * cols;
    for start in (0..src.len()).step_by(size) {
        let (src, dst) = (&src[start..][..size], &mut dst[start..][..size]);
        for i in 0..rows {
            for k in 0..cols {
                dst[k * rows + i].write(src[i * cols + k]);
            }
        }
    }
}
