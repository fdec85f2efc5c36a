//! Any axis of a tensor: by outer slices, and by columns where those are fewer than the threads.
//!
//! Columns stand at a stride from one another in every one of the `len` lines of an outer slice. A task owns its part of
//! each line; it copies a strip of columns side by side, computes that as a tensor of its own, and copies the results
//! back. A row has the bits that it has alone, so that neither the cuts nor the copy show.

use super::super::axis::checked;
use super::super::cut::{Cut, Input, Results};
use super::{
    First, Strided, is_small, par_log_softmax_rows, par_log_softmax_rows_in_place, par_logsumexp_rows,
    par_softmax_rows, par_softmax_rows_in_place, share, share_rows,
};
use crate::element::{Element, Inside, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::Place;
use crate::layout::Axis;
use crate::rows::Rows;
use core::mem::MaybeUninit;

/// [`softmax_axis`](crate::softmax_axis) on the current rayon pool: the same bits.
///
/// Outer slices are shared, or columns where there are fewer outer slices than threads: with scratch memory of 64 columns for
/// a task, and of some 100 bytes for each of the `len` elements of a column.
///
/// # Errors
/// As [`softmax_axis`](crate::softmax_axis).
///
/// ```
/// use softmax::{Axis, par_softmax_axis};
/// let mut y = [0.0_f32; 4];
/// par_softmax_axis(&[3.0_f32, 4.0, 3.0, 4.0], &mut y, Axis::new(1, 2, 2))?;
/// assert_eq!(y, [0.5; 4]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_softmax_axis<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y, axis: Axis) -> Result<(), Error> {
    let y = checked(x, y, axis)?;
    match axis.as_rows() {
        Some(rows) => par_softmax_rows(x, y, rows),
        None => share_apart(x, y, axis, &Isa::softmax_axis, &Isa::softmax_axis_in_place),
    }
}

/// [`softmax_axis_in_place`](crate::softmax_axis_in_place) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`softmax_axis`](crate::softmax_axis).
///
/// ```
/// use softmax::{Axis, par_softmax_axis_in_place};
/// let mut x = [3.0_f32, 4.0, 3.0, 4.0];
/// par_softmax_axis_in_place(&mut x, Axis::new(1, 2, 2))?;
/// assert_eq!(x, [0.5; 4]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_softmax_axis_in_place<T: Element>(x: &mut [T], axis: Axis) -> Result<(), Error> {
    axis.check("input", x.len())?;
    match axis.as_rows() {
        Some(rows) => par_softmax_rows_in_place(x, rows),
        None => share_in_place(x, axis, &Isa::softmax_axis_in_place),
    }
}

/// [`log_softmax_axis`](crate::log_softmax_axis) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`softmax_axis`](crate::softmax_axis).
///
/// ```
/// use softmax::{Axis, par_log_softmax_axis};
/// let mut y = [0.0_f32; 4];
/// par_log_softmax_axis(&[3.0_f32, 4.0, 3.0, 4.0], &mut y, Axis::new(1, 2, 2))?;
/// assert!(y.iter().all(|y| (y + core::f32::consts::LN_2).abs() < 4e-7));
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_log_softmax_axis<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y, axis: Axis) -> Result<(), Error> {
    let y = checked(x, y, axis)?;
    match axis.as_rows() {
        Some(rows) => par_log_softmax_rows(x, y, rows),
        None => share_apart(x, y, axis, &Isa::log_softmax_axis, &Isa::log_softmax_axis_in_place),
    }
}

/// [`log_softmax_axis_in_place`](crate::log_softmax_axis_in_place) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`softmax_axis`](crate::softmax_axis).
///
/// ```
/// use softmax::{Axis, par_log_softmax_axis_in_place};
/// let mut x = [3.0_f32, 4.0, 3.0, 4.0];
/// par_log_softmax_axis_in_place(&mut x, Axis::new(1, 2, 2))?;
/// assert!(x.iter().all(|y| (y + core::f32::consts::LN_2).abs() < 4e-7));
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_log_softmax_axis_in_place<T: Element>(x: &mut [T], axis: Axis) -> Result<(), Error> {
    axis.check("input", x.len())?;
    match axis.as_rows() {
        Some(rows) => par_log_softmax_rows_in_place(x, rows),
        None => share_in_place(x, axis, &Isa::log_softmax_axis_in_place),
    }
}

/// [`logsumexp_axis`](crate::logsumexp_axis) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`logsumexp_axis`](crate::logsumexp_axis).
///
/// ```
/// use softmax::{Axis, par_logsumexp_axis};
/// let mut out = [0.0_f32; 2];
/// par_logsumexp_axis(&[3.0_f32, 4.0], &mut out, Axis::new(1, 1, 2))?;
/// assert_eq!(out, [3.0, 4.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_logsumexp_axis<T: Element, Y: Output<T> + ?Sized>(x: &[T], out: &mut Y, axis: Axis) -> Result<(), Error> {
    axis.check("input", x.len())?;
    let (isa, out) = (Isa::detect(), out.as_uninit(Inside));
    let results = axis.check_results("output", out.len())?;
    if let Some(rows) = axis.as_rows() {
        return par_logsumexp_rows(x, out, rows);
    }
    let Axes { slice, slices } = Axes::of(axis);
    let memory = (Input(x, slices.cols()), Results(&mut out[..results], axis.inner()));
    let by_columns = few(slices);
    share_rows(memory, slices, &|(x, out), slices| {
        if !(by_columns && is_one_large(slices)) {
            return isa.logsumexp_axis(x.0, out.0, Axis::new(slices.rows(), axis.len(), axis.inner()));
        }
        let columns = (First(0), Results(out.0, 1));
        share_rows(columns, slice, &|(first, out), columns| {
            let mut strip = Strip::new(columns);
            for at in strip.starts() {
                let width = strip.width.min(columns.rows() - at);
                let start = first.0 + at;
                let lines = x.0.chunks_exact(axis.inner()).take(axis.len());
                let lines = lines.map(|line| &line[start..start + width]);
                let tensor = strip.fill(lines);
                isa.logsumexp_axis(tensor, &mut out.0[at..at + width], Axis::new(1, axis.len(), width))?;
            }
            Ok(())
        })
    })
}

/// A tensor as rows to share.
struct Axes {
    /// The columns of an outer slice.
    slice: Rows,
    /// The outer slices.
    slices: Rows,
}

impl Axes {
    fn of(axis: Axis) -> Self {
        // Checked, but for a tensor without outer slices.
        let extent = if axis.is_nothing() {
            0
        } else {
            axis.len() * axis.inner()
        };
        Self {
            slice: Rows::new(axis.inner(), axis.len()),
            slices: Rows::new(axis.outer(), extent),
        }
    }
}

/// Whether there are fewer outer slices than threads.
fn few(slices: Rows) -> bool {
    slices.rows() < rayon::current_num_threads()
}

/// Whether this is a single outer slice, and more than one task.
fn is_one_large(slices: Rows) -> bool {
    slices.rows() == 1 && !is_small(slices.cols())
}

/// An operator out of place.
type Apart<T> = dyn Fn(Isa, &[T], &mut [MaybeUninit<T>], Axis) -> Result<(), Error> + Sync;
/// An operator in place.
type InPlace<T> = dyn Fn(Isa, &mut [T], Axis) -> Result<(), Error> + Sync;

fn share_apart<T: Element>(
    x: &[T],
    y: &mut [MaybeUninit<T>],
    axis: Axis,
    apart: &Apart<T>,
    in_place: &InPlace<T>,
) -> Result<(), Error> {
    let (isa, slices) = (Isa::detect(), Axes::of(axis).slices);
    let by_columns = few(slices);
    let memory = (Input(x, slices.cols()), Results(y, slices.cols()));
    share_rows(memory, slices, &|(x, y), slices| {
        if by_columns && is_one_large(slices) {
            share_columns(Place::Apart(x.0, y.0), axis, in_place)
        } else {
            apart(isa, x.0, y.0, Axis::new(slices.rows(), axis.len(), axis.inner()))
        }
    })
}

fn share_in_place<T: Element>(x: &mut [T], axis: Axis, in_place: &InPlace<T>) -> Result<(), Error> {
    let (isa, slices) = (Isa::detect(), Axes::of(axis).slices);
    let by_columns = few(slices);
    share_rows(Results(x, slices.cols()), slices, &|x, slices| {
        if by_columns && is_one_large(slices) {
            share_columns(Place::InPlace(x.0), axis, in_place)
        } else {
            in_place(isa, x.0, Axis::new(slices.rows(), axis.len(), axis.inner()))
        }
    })
}

/// Some columns of an outer slice: their part of each line.
struct Columns<'a, T>(Vec<Place<'a, T>>);

impl<T: Element> Cut for Columns<'_, T> {
    fn cut(self, column: usize) -> (Self, Self) {
        let (a, b) = self.0.into_iter().map(|line| line.split_at(column)).unzip();
        (Self(a), Self(b))
    }
}

/// Shares the columns of one outer slice.
fn share_columns<T: Element>(slice: Place<'_, T>, axis: Axis, in_place: &InPlace<T>) -> Result<(), Error> {
    let (isa, len, inner) = (Isa::detect(), axis.len(), axis.inner());
    let mut lines = Vec::with_capacity(len);
    let mut rest = slice;
    for _ in 0..len {
        let (line, others) = rest.split_at(inner);
        lines.push(line);
        rest = others;
    }
    let columns = Strided(Columns(lines), Rows::new(inner, len));
    let part = |Strided(Columns(mut lines), columns): Strided<Columns<'_, T>>| {
        let mut strip = Strip::new(columns);
        for at in strip.starts() {
            let width = strip.width.min(columns.rows() - at);
            let tensor = strip.fill(lines.iter().map(|line| &line.input()[at..at + width]));
            in_place(isa, tensor, Axis::new(1, len, width))?;
            for (line, results) in lines.iter_mut().zip(tensor.chunks_exact(width)) {
                for (place, &result) in line.output()[at..at + width].iter_mut().zip(results) {
                    place.write(result);
                }
            }
        }
        Ok(())
    };
    share(columns, &part, &Result::and)
}

/// Columns that are copied side by side: whole vectors of every type, and about a tile of the kernel.
const STRIP: usize = 64;

/// Scratch memory for some columns at a time.
struct Strip<T> {
    elements: Vec<T>,
    width: usize,
    columns: usize,
}

impl<T: Element> Strip<T> {
    fn new(columns: Rows) -> Self {
        let width = STRIP.min(columns.rows());
        Self {
            elements: Vec::with_capacity(width * columns.cols()),
            width,
            columns: columns.rows(),
        }
    }

    /// The first column of each strip.
    fn starts(&self) -> impl Iterator<Item = usize> + use<T> {
        (0..self.columns).step_by(self.width.max(1))
    }

    /// The lines one after the other.
    fn fill<'a>(&mut self, lines: impl Iterator<Item = &'a [T]>) -> &mut [T] {
        self.elements.clear();
        lines.for_each(|line| self.elements.extend_from_slice(line));
        &mut self.elements
    }
}
