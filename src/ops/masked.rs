//! softmax and log_softmax of masked rows: attention.

use super::checked;
use crate::element::{Element, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::masked::{Masked, MaskedRows};
use crate::kernel::{Buffers, Place};
use crate::mask::Mask;
use crate::rows::Rows;

/// softmax(z)_i = e^{z_i} / Σ_j e^{z_j} of each row, z being the scores x as [`Mask`] scales, caps and masks them.
///
/// # Numerical contract
/// The bound of [`softmax`](crate::softmax()), relative to z as rounded to f32 (f64 for f64): [`Mask`] says how. The
/// bits of a row depend on its scores, its part of the mask and the parameters alone: on every ISA, in place or not, at
/// any stride. That holds whatever the host's FTZ and DAZ flags as long as scale, softcap and slope are 0 or between
/// 2^−60 and 2^60 in magnitude. A mask that does nothing gives the bits of softmax.
///
/// | the row has | result |
/// |---|---|
/// | masked places, or −∞ | 0 there, the rest as if they were absent |
/// | NaN in a place that is not masked, or z = +∞ | the whole row NaN |
/// | nothing visible, or nothing but −∞ | the whole row 0, or NaN by [`FullyMasked`](crate::FullyMasked) |
/// | no element | `Ok`, nothing written |
///
/// A row costs what is visible of it; the rest is filled.
///
/// # Errors
/// As [`softmax_rows`](crate::softmax_rows), the same for the masks, [`Error::RowLength`] if a length exceeds the
/// columns, [`Error::Parameter`] if a parameter is out of range; nothing is written then.
///
/// ```
/// use softmax::{Broadcast, Mask, Rows, masked_softmax};
/// // Two heads of two queries over three keys, of which the first is cached; the heads share the mask.
/// let scores = [1.0_f32; 12];
/// let bias = [0.0_f32, 0.0, 0.0, 0.0, f32::NEG_INFINITY, 0.0];
/// let mask = Mask::new()
///     .with_scale(0.5)
///     .with_additive(&bias, Broadcast::rows(3).cycle(2))
///     .with_causal(1)
///     .with_queries(2);
/// let mut y = [0.0; 12];
/// masked_softmax(&scores, &mut y, Rows::new(4, 3), &mask)?;
/// assert_eq!(y[..6], [0.5, 0.5, 0.0, 0.5, 0.0, 0.5]);
/// assert_eq!(y[6..], y[..6]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn masked_softmax<T: Element, Y: Output<T> + ?Sized>(
    x: &[T],
    y: &mut Y,
    rows: Rows,
    mask: &Mask<'_, T>,
) -> Result<(), Error> {
    Isa::detect().masked_softmax(x, y, rows, mask)
}

/// [`masked_softmax`] in place, at the input stride of `rows`: the same bits.
///
/// # Errors
/// As [`masked_softmax`].
///
/// ```
/// use softmax::{Mask, Rows, masked_softmax_in_place};
/// let mut x = [3.0_f32, 9.0, 3.0, 3.0];
/// masked_softmax_in_place(&mut x, Rows::new(2, 2), &Mask::new().with_causal(0))?;
/// assert_eq!(x, [1.0, 0.0, 0.5, 0.5]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn masked_softmax_in_place<T: Element>(x: &mut [T], rows: Rows, mask: &Mask<'_, T>) -> Result<(), Error> {
    Isa::detect().masked_softmax_in_place(x, rows, mask)
}

/// log_softmax(z)_i = z_i − ln Σ_j e^{z_j} of each row, z as in [`masked_softmax`].
///
/// # Numerical contract
/// That of [`masked_softmax`], with the bound of [`log_softmax`](crate::log_softmax()). Masked places give −∞; a row with
/// nothing visible, or nothing but −∞, gives −∞, or NaN by [`FullyMasked`](crate::FullyMasked).
///
/// # Errors
/// As [`masked_softmax`].
///
/// ```
/// use softmax::{Mask, Rows, masked_log_softmax};
/// let mut y = [0.0; 4];
/// masked_log_softmax(&[7.0_f32; 4], &mut y, Rows::new(2, 2), &Mask::new().with_causal(0))?;
/// assert!(y[0].abs() < 1e-6 && y[1] == f32::NEG_INFINITY);
/// assert!((y[3] + core::f32::consts::LN_2).abs() < 1e-6);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn masked_log_softmax<T: Element, Y: Output<T> + ?Sized>(
    x: &[T],
    y: &mut Y,
    rows: Rows,
    mask: &Mask<'_, T>,
) -> Result<(), Error> {
    Isa::detect().masked_log_softmax(x, y, rows, mask)
}

/// [`masked_log_softmax`] in place, at the input stride of `rows`: the same bits.
///
/// # Errors
/// As [`masked_softmax`].
///
/// ```
/// use softmax::{Mask, Rows, masked_log_softmax_in_place};
/// let mut x = [7.0_f32, f32::NAN];
/// masked_log_softmax_in_place(&mut x, Rows::new(1, 2), &Mask::new().with_causal(0))?;
/// assert!(x[0].abs() < 1e-6 && x[1] == f32::NEG_INFINITY);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn masked_log_softmax_in_place<T: Element>(x: &mut [T], rows: Rows, mask: &Mask<'_, T>) -> Result<(), Error> {
    Isa::detect().masked_log_softmax_in_place(x, rows, mask)
}

/// The masked operators on a chosen ISA: the free functions of the same names, and [`Error::IsaUnavailable`] where the
/// CPU lacks it.
impl Isa {
    /// [`masked_softmax`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [0.0_f32; 4];
    /// Isa::Scalar.masked_softmax(&[3.0; 4], &mut y, Rows::new(2, 2), &Mask::new().with_causal(0))?;
    /// assert_eq!(y, [1.0, 0.0, 0.5, 0.5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn masked_softmax<T: Element, Y: Output<T> + ?Sized>(
        self,
        x: &[T],
        y: &mut Y,
        rows: Rows,
        mask: &Mask<'_, T>,
    ) -> Result<(), Error> {
        let y = checked(x, y, rows)?;
        self.masked(Place::Apart(x, y), rows, mask, false)
    }

    /// [`masked_softmax_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [3.0_f32; 4];
    /// Isa::Scalar.masked_softmax_in_place(&mut x, Rows::new(2, 2), &Mask::new().with_causal(0))?;
    /// assert_eq!(x, [1.0, 0.0, 0.5, 0.5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn masked_softmax_in_place<T: Element>(self, x: &mut [T], rows: Rows, mask: &Mask<'_, T>) -> Result<(), Error> {
        rows.check_input(x.len())?;
        self.masked(Place::InPlace(x), rows, mask, false)
    }

    /// [`masked_log_softmax`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [1.0_f32; 2];
    /// Isa::Scalar.masked_log_softmax(&[3.0; 2], &mut y, Rows::new(1, 2), &Mask::new().with_causal(0))?;
    /// assert!(y[0].abs() < 1e-6 && y[1] == f32::NEG_INFINITY);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn masked_log_softmax<T: Element, Y: Output<T> + ?Sized>(
        self,
        x: &[T],
        y: &mut Y,
        rows: Rows,
        mask: &Mask<'_, T>,
    ) -> Result<(), Error> {
        let y = checked(x, y, rows)?;
        self.masked(Place::Apart(x, y), rows, mask, true)
    }

    /// [`masked_log_softmax_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [3.0_f32; 2];
    /// Isa::Scalar.masked_log_softmax_in_place(&mut x, Rows::new(1, 2), &Mask::new().with_causal(0))?;
    /// assert!(x[0].abs() < 1e-6 && x[1] == f32::NEG_INFINITY);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn masked_log_softmax_in_place<T: Element>(
        self,
        x: &mut [T],
        rows: Rows,
        mask: &Mask<'_, T>,
    ) -> Result<(), Error> {
        rows.check_input(x.len())?;
        self.masked(Place::InPlace(x), rows, mask, true)
    }

    /// softmax, or log_softmax, of rows whose memory is checked.
    #[inline]
    pub(super) fn masked<T: Element>(
        self,
        place: Place<'_, T>,
        rows: Rows,
        mask: &Mask<'_, T>,
        log: bool,
    ) -> Result<(), Error> {
        mask.check(&rows)?;
        self.require()?;
        if !rows.is_empty() {
            let rows = rows.into();
            let buffers = Buffers { place, rows };
            T::masked(self, Masked(&mut MaskedRows { buffers, mask, log }));
        }
        Ok(())
    }
}
