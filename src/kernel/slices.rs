//! Rows along a short axis of a narrow tensor: too few to a slice, and too short, for a tile of their own.
//!
//! Some slices at a time stand transposed in stack scratch, row after row, and are computed as rows are.

use super::log_softmax::{LogSoftmax, LogSumExp};
use super::row::block;
use super::short_rows::ShortRows;
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

/// Elements of the largest slice: a larger one is a tile sooner than it is transposed twice.
const LARGEST: usize = 160;

/// Whether a tensor is one for [`SlicesKernel`].
#[inline(always)]
pub fn suits<T: Element>(axis: Axis) -> bool {
    axis.inner() < T::Compute::LANES && axis.len() <= block::<T>() && axis.len() * axis.inner() <= LARGEST
}

/// `along` of each row of a tensor that [`suits`].
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
            // SAFETY: every element was stored.
            let x = unsafe { assume_written(room) };
            let rows = Rows::new(slices * inner, len);
            match (along, &mut place) {
                (Along::LogSumExp, Place::Apart(_, out)) => lanes.call(LogSumExp {
                    x,
                    out: &mut out[first * inner..][..slices * inner],
                    rows: rows.into(),
                }),
                (Along::LogSoftmax, _) => lanes.call(LogSoftmax(Buffers::in_place(x, rows))),
                _ => lanes.call(ShortRows {
                    place: &mut Place::InPlace(x),
                    rows,
                }),
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
    for (src, dst) in src.chunks_exact(size).zip(dst.chunks_exact_mut(size)) {
        for (i, row) in src.chunks_exact(cols).enumerate() {
            for (k, &x) in row.iter().enumerate() {
                dst[k * rows + i].write(x);
            }
        }
    }
}
