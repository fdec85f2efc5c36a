//! Ragged rows: cut where half of the elements end.

use super::super::cut::{Cut, Results};
use super::super::ragged::{check_input, check_results, checked};
use super::long::{is_long, long_log_softmax, long_softmax};
use super::{Work, par_logsumexp, share};
use crate::element::{Element, Inside, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::log_softmax::{LogSoftmax, LogSumExp, RowsInto};
use crate::kernel::softmax::Softmax;
use crate::kernel::{Buffers, Place};
use crate::layout::Layout;
use crate::rows::Rows;
use core::mem::MaybeUninit;

/// [`softmax_ragged`](crate::softmax_ragged) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`softmax_ragged`](crate::softmax_ragged).
///
/// ```
/// let mut y = [0.0_f32; 3];
/// softmax::par_softmax_ragged(&[1.0_f32, 1.0, 7.0], &mut y, &[0, 2, 3])?;
/// assert_eq!(y, [0.5, 0.5, 1.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_softmax_ragged<T: Element, Y: Output<T> + ?Sized>(
    x: &[T],
    y: &mut Y,
    offsets: &[usize],
) -> Result<(), Error> {
    let y = checked(x, y, offsets)?;
    softmax(Place::Apart(x, y), offsets);
    Ok(())
}

/// [`softmax_ragged_in_place`](crate::softmax_ragged_in_place) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`softmax_ragged`](crate::softmax_ragged).
///
/// ```
/// let mut x = [1.0_f32, 1.0, 7.0];
/// softmax::par_softmax_ragged_in_place(&mut x, &[0, 2, 3])?;
/// assert_eq!(x, [0.5, 0.5, 1.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_softmax_ragged_in_place<T: Element>(x: &mut [T], offsets: &[usize]) -> Result<(), Error> {
    check_input(x, offsets)?;
    softmax(Place::InPlace(x), offsets);
    Ok(())
}

/// [`log_softmax_ragged`](crate::log_softmax_ragged) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`softmax_ragged`](crate::softmax_ragged).
///
/// ```
/// let mut y = [0.0_f32; 3];
/// softmax::par_log_softmax_ragged(&[1.0_f32, 1.0, 7.0], &mut y, &[0, 2, 3])?;
/// assert!((y[0] + core::f32::consts::LN_2).abs() < 1e-7 && y[2].abs() < 1e-7);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_log_softmax_ragged<T: Element, Y: Output<T> + ?Sized>(
    x: &[T],
    y: &mut Y,
    offsets: &[usize],
) -> Result<(), Error> {
    let y = checked(x, y, offsets)?;
    log_softmax(Place::Apart(x, y), offsets);
    Ok(())
}

/// [`log_softmax_ragged_in_place`](crate::log_softmax_ragged_in_place) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`softmax_ragged`](crate::softmax_ragged).
///
/// ```
/// let mut x = [1.0_f32, 1.0, 7.0];
/// softmax::par_log_softmax_ragged_in_place(&mut x, &[0, 2, 3])?;
/// assert!((x[0] + core::f32::consts::LN_2).abs() < 1e-7 && x[2].abs() < 1e-7);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_log_softmax_ragged_in_place<T: Element>(x: &mut [T], offsets: &[usize]) -> Result<(), Error> {
    check_input(x, offsets)?;
    log_softmax(Place::InPlace(x), offsets);
    Ok(())
}

/// [`logsumexp_ragged`](crate::logsumexp_ragged) on the current rayon pool: the same bits.
///
/// # Errors
/// As [`logsumexp_ragged`](crate::logsumexp_ragged).
///
/// ```
/// let mut out = [0.0_f32; 3];
/// softmax::par_logsumexp_ragged(&[3.0_f32, 5.0], &mut out, &[0, 1, 1, 2])?;
/// assert_eq!(out, [3.0, f32::NEG_INFINITY, 5.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_logsumexp_ragged<T: Element, Y: Output<T> + ?Sized>(
    x: &[T],
    out: &mut Y,
    offsets: &[usize],
) -> Result<(), Error> {
    let rows = check_input(x, offsets)?;
    let (isa, out) = (Isa::detect(), out.as_uninit(Inside));
    check_results(rows, out.len())?;
    share_ragged(Place::Apart(x, &mut []), out, offsets, &|place, out, rows| {
        let x = place.input();
        match out {
            [out] if is_long(Rows::new(1, x.len())) => {
                out.write(par_logsumexp(x));
            }
            _ => T::logsumexp(isa, LogSumExp(&mut RowsInto { x, out, rows })),
        }
    });
    Ok(())
}

fn softmax<T: Element>(place: Place<'_, T>, offsets: &[usize]) {
    let isa = Isa::detect();
    share_ragged(place, &mut [], offsets, &|place, _, rows| {
        if is_long(Rows::new(rows.rows(), place.input().len())) {
            long_softmax(isa, place);
        } else {
            T::softmax(isa, Softmax(&mut Buffers { place, rows }));
        }
    });
}

fn log_softmax<T: Element>(place: Place<'_, T>, offsets: &[usize]) {
    let isa = Isa::detect();
    share_ragged(place, &mut [], offsets, &|place, _, rows| {
        if is_long(Rows::new(rows.rows(), place.input().len())) {
            long_log_softmax(isa, place);
        } else {
            T::log_softmax(isa, LogSoftmax(&mut Buffers { place, rows }));
        }
    });
}

/// Rows one after the other, the first of which starts at `offsets[0]`, where `place` starts.
struct Ragged<'a, T> {
    place: Place<'a, T>,
    /// A place for each row, or none at all.
    out: Results<'a, MaybeUninit<T>>,
    offsets: &'a [usize],
}

impl<T: Element> Ragged<'_, T> {
    /// The first `row` rows, and the rest.
    fn split_at(self, row: usize) -> (Self, Self) {
        let Self { place, out, offsets } = self;
        let (place_a, place_b) = place.split_at(offsets[row] - offsets[0]);
        let (out_a, out_b) = out.cut(row);
        let (first, rest) = (&offsets[..=row], &offsets[row..]);
        (
            Self {
                place: place_a,
                out: out_a,
                offsets: first,
            },
            Self {
                place: place_b,
                out: out_b,
                offsets: rest,
            },
        )
    }
}

impl<T: Element> Work for Ragged<'_, T> {
    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    fn elements(&self) -> usize {
        self.offsets[self.rows()] - self.offsets[0]
    }

    fn halves(self) -> (Self, Self) {
        let half = self.offsets[0] + self.elements() / 2;
        let row = self.offsets.partition_point(|&start| start < half);
        let row = row.clamp(1, self.rows() - 1);
        self.split_at(row)
    }
}

/// Rows whose offsets stand on the stack at a time.
const GROUP: usize = 256;

/// Runs `f` on parts of checked rows: their memory, their places in `out`, and offsets into both that begin at 0.
fn share_ragged<T: Element>(
    place: Place<'_, T>,
    out: &mut [MaybeUninit<T>],
    offsets: &[usize],
    f: &(impl Fn(Place<'_, T>, &mut [MaybeUninit<T>], Layout<'_>) + Sync),
) {
    let (Some(&start), Some(&end)) = (offsets.first(), offsets.last()) else {
        return;
    };
    let place = place.split_at(start).1.split_at(end - start).0;
    let out = Results(out, 1);
    let part = |mut rest: Ragged<'_, T>| {
        while rest.rows() > 0 {
            let count = rest.rows().min(GROUP);
            let (group, others) = rest.split_at(count);
            let mut local = [0; GROUP + 1];
            for (local, offset) in local.iter_mut().zip(group.offsets) {
                *local = offset - group.offsets[0];
            }
            let places = count.min(group.out.0.len());
            f(
                group.place,
                &mut group.out.0[..places],
                Layout::Ragged(&local[..=count]),
            );
            rest = others;
        }
    };
    share(Ragged { place, out, offsets }, &part, &|(), ()| ());
}
