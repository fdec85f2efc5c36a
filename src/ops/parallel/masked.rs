//! Masked rows.

use super::super::checked;
use super::super::cut::{Input, Results};
use super::long_masked::{is_long_masked, long_masked};
use super::{First, share_rows};
use crate::element::{Element, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::Place;
use crate::mask::Mask;
use crate::rows::Rows;

/// [`masked_softmax`](crate::masked_softmax) on the current rayon pool: the same bits.
///
/// A single row that sees more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`masked_softmax`](crate::masked_softmax).
///
/// ```
/// use softmax::{Mask, Rows, par_masked_softmax};
/// let mut y = [0.0; 4];
/// par_masked_softmax(&[1.0_f32; 4], &mut y, Rows::new(2, 2), &Mask::new().with_causal(0))?;
/// assert_eq!(y, [1.0, 0.0, 0.5, 0.5]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_masked_softmax<T: Element, Y: Output<T> + ?Sized>(
    x: &[T],
    y: &mut Y,
    rows: Rows,
    mask: &Mask<'_, T>,
) -> Result<(), Error> {
    let y = checked(x, y, rows)?;
    share_masked(Place::Apart(x, y), rows, mask, false)
}

/// [`masked_softmax_in_place`](crate::masked_softmax_in_place) on the current rayon pool: the same bits.
///
/// A single row that sees more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`masked_softmax`](crate::masked_softmax).
///
/// ```
/// use softmax::{Mask, Rows, par_masked_softmax_in_place};
/// let mut x = [3.0_f32, 9.0, 3.0, 3.0];
/// par_masked_softmax_in_place(&mut x, Rows::new(2, 2), &Mask::new().with_causal(0))?;
/// assert_eq!(x, [1.0, 0.0, 0.5, 0.5]);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_masked_softmax_in_place<T: Element>(x: &mut [T], rows: Rows, mask: &Mask<'_, T>) -> Result<(), Error> {
    rows.check_input(x.len())?;
    share_masked(Place::InPlace(x), rows, mask, false)
}

/// [`masked_log_softmax`](crate::masked_log_softmax) on the current rayon pool: the same bits.
///
/// A single row that sees more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`masked_softmax`](crate::masked_softmax).
///
/// ```
/// use softmax::{Mask, Rows, par_masked_log_softmax};
/// let mut y = [0.0; 4];
/// par_masked_log_softmax(&[7.0_f32; 4], &mut y, Rows::new(2, 2), &Mask::new().with_causal(0))?;
/// assert!(y[0].abs() < 1e-6 && y[1] == f32::NEG_INFINITY);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_masked_log_softmax<T: Element, Y: Output<T> + ?Sized>(
    x: &[T],
    y: &mut Y,
    rows: Rows,
    mask: &Mask<'_, T>,
) -> Result<(), Error> {
    let y = checked(x, y, rows)?;
    share_masked(Place::Apart(x, y), rows, mask, true)
}

/// [`masked_log_softmax_in_place`](crate::masked_log_softmax_in_place) on the current rayon pool: the same bits.
///
/// A single row that sees more than 131,072 elements is shared, too, by parts.
///
/// # Errors
/// As [`masked_softmax`](crate::masked_softmax).
///
/// ```
/// use softmax::{Mask, Rows, par_masked_log_softmax_in_place};
/// let mut x = [7.0_f32, f32::NAN];
/// par_masked_log_softmax_in_place(&mut x, Rows::new(1, 2), &Mask::new().with_causal(0))?;
/// assert!(x[0].abs() < 1e-6 && x[1] == f32::NEG_INFINITY);
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_masked_log_softmax_in_place<T: Element>(x: &mut [T], rows: Rows, mask: &Mask<'_, T>) -> Result<(), Error> {
    rows.check_input(x.len())?;
    share_masked(Place::InPlace(x), rows, mask, true)
}

/// Shares rows whose memory is checked; each part has the mask of the row that it begins at.
fn share_masked<T: Element>(place: Place<'_, T>, rows: Rows, mask: &Mask<'_, T>, log: bool) -> Result<(), Error> {
    mask.check(&rows)?;
    let isa = Isa::detect();
    if is_long_masked(rows, mask) {
        long_masked(isa, place.part(0..rows.cols()), mask, log);
        return Ok(());
    }
    let run = |place: Place<'_, T>, rows: Rows, first: First| {
        isa.masked(place, rows, &mask.with_first_row(mask.first + first.0), log)
    };
    let (first, stride) = (First(0), rows.x_stride());
    match place {
        Place::Apart(x, y) => {
            let memory = (Input(x, stride), Results(y, rows.y_stride()));
            share_rows((memory, first), rows, &|((x, y), first), rows| {
                run(Place::Apart(x.0, y.0), rows, first)
            })
        }
        Place::InPlace(x) => share_rows((Results(x, stride), first), rows, &|(x, first), rows| {
            run(Place::InPlace(x.0), rows, first)
        }),
    }
}
