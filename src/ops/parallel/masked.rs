//! Masked rows.

use super::super::checked;
use super::super::cut::{Cut, Input, Results};
use super::{First, share_rows};
use crate::element::{Element, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::mask::Mask;
use crate::rows::Rows;

/// [`masked_softmax`](crate::masked_softmax) on the current rayon pool: the same bits.
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
    let (isa, y) = (Isa::detect(), checked(x, y, rows)?);
    share_masked(apart(x, y, rows), rows, mask, &|(x, y), rows, mask| {
        isa.masked_softmax(x.0, y.0, rows, mask)
    })
}

/// [`masked_softmax_in_place`](crate::masked_softmax_in_place) on the current rayon pool: the same bits.
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
    let isa = Isa::detect();
    share_masked(Results(x, rows.x_stride()), rows, mask, &|x, rows, mask| {
        isa.masked_softmax_in_place(x.0, rows, mask)
    })
}

/// [`masked_log_softmax`](crate::masked_log_softmax) on the current rayon pool: the same bits.
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
    let (isa, y) = (Isa::detect(), checked(x, y, rows)?);
    share_masked(apart(x, y, rows), rows, mask, &|(x, y), rows, mask| {
        isa.masked_log_softmax(x.0, y.0, rows, mask)
    })
}

/// [`masked_log_softmax_in_place`](crate::masked_log_softmax_in_place) on the current rayon pool: the same bits.
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
    let isa = Isa::detect();
    share_masked(Results(x, rows.x_stride()), rows, mask, &|x, rows, mask| {
        isa.masked_log_softmax_in_place(x.0, rows, mask)
    })
}

fn apart<'x, 'y, X, Y>(x: &'x [X], y: &'y mut [Y], rows: Rows) -> (Input<'x, X>, Results<'y, Y>) {
    (Input(x, rows.x_stride()), Results(y, rows.y_stride()))
}

/// Shares rows whose memory is checked; each part has the mask of the row that it begins at.
fn share_masked<T: Element, M: Cut + Send>(
    memory: M,
    rows: Rows,
    mask: &Mask<'_, T>,
    f: &(impl Fn(M, Rows, &Mask<'_, T>) -> Result<(), Error> + Sync),
) -> Result<(), Error> {
    mask.check(&rows)?;
    share_rows((memory, First(0)), rows, &|(memory, first), rows| {
        f(memory, rows, &mask.with_first_row(mask.first + first.0))
    })
}
