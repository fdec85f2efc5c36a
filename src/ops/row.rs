//! Row primitives for engines that own their loops: the maximum, e^(x − max) with its sum, and a product.
//!
//! ```
//! use softmax::row;
//! let mut x = [1.0_f32, 2.0, 3.0];
//! let max = row::max(&x);
//! let sum = row::exp_sub_max_sum_in_place(&mut x, max);
//! row::scale(&mut x, (1.0 / sum) as f32);
//! assert!((x[2] - 0.665_241).abs() < 1e-6);
//! ```
//!
//! [`softmax`](crate::softmax()) itself is faster and more accurate: it never rounds x − max.

use crate::element::{Element, Float, Sum};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::Place;
use crate::kernel::primitives::{ExpSubMax, Pass, RowMax, Scale};

/// The largest element of `x`.
///
/// Exact. −∞ of an empty row, NaN if there is a NaN, +0 where the maximum is a zero. The same bits on every ISA.
///
/// ```
/// use softmax::row;
/// assert_eq!(row::max(&[1.0_f32, 3.0, -2.0]), 3.0);
/// assert_eq!(row::max::<f32>(&[]), f32::NEG_INFINITY);
/// assert!(row::max(&[1.0_f32, f32::NAN, 2.0]).is_nan());
/// ```
#[inline]
pub fn max<T: Element>(x: &[T]) -> T {
    max_on(Isa::detect(), x).map_or(T::NAN, T::narrow)
}

/// The maximum in the type of the arithmetic, `None` if there is a NaN.
#[inline]
pub(crate) fn max_on<T: Element>(isa: Isa, x: &[T]) -> Option<T::Compute> {
    let mut max = None;
    T::row_max(isa, RowMax { x, max: &mut max });
    max
}

/// y_i = e^(x_i − max) where `y` is given, and Σ_i e^(x_i − max) in f64.
///
/// # Numerical contract
/// y_i: at most 1.5 + |x_i − max| ULP (`Portable`: 3.5 + |x_i − max|): the rounding of the subtraction, times e^…, is
/// |x_i − max|, the exponential at most 1, the rounding to a half type 0.5. The sum: at most 3·2^−24 + n·2^−53 (f64:
/// 3·2^−53) relative, beside the errors of its terms; it adds what was computed, before any rounding to a half type.
///
/// | where | y_i |
/// |---|---|
/// | below 2^−126 (f64: 2^−1022), and x_i = −∞ | 0 |
/// | from 2^127.5 (f64: 2^1023.5) on, if `max` is not the maximum | +∞ |
/// | x_i or `max` NaN, x_i − max = ∞ − ∞ | NaN, and the sum NaN |
///
/// The sum of an empty row is 0. A row of nothing but −∞, whose maximum is −∞, gives NaN. Up to eight y_i are added in the
/// type of the arithmetic before they join the sum: where `max` is so far below the maximum that they reach 2^125 (f64:
/// 2^1021), it may be +∞.
///
/// # Errors
/// [`Error::Length`] if `y` has another length than `x`; nothing is written then.
///
/// ```
/// use softmax::row;
/// let mut y = [0.0; 2];
/// assert_eq!(row::exp_sub_max_sum(&[5.0_f32, 5.0], Some(&mut y), 5.0)?, 2.0);
/// assert_eq!(y, [1.0, 1.0]);
/// assert_eq!(row::exp_sub_max_sum(&[5.0_f32, f32::NEG_INFINITY], None, 5.0)?, 1.0);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn exp_sub_max_sum<T: Element>(x: &[T], y: Option<&mut [T]>, max: T::Compute) -> Result<f64, Error> {
    Isa::detect().row_exp_sub_max_sum(x, y, max)
}

/// [`exp_sub_max_sum`] with `x` for `y`: the same bits.
///
/// ```
/// let mut x = [2.0_f64, 2.0, 2.0];
/// assert_eq!(softmax::row::exp_sub_max_sum_in_place(&mut x, 2.0), 3.0);
/// assert_eq!(x, [1.0; 3]);
/// ```
#[inline]
pub fn exp_sub_max_sum_in_place<T: Element>(x: &mut [T], max: T::Compute) -> f64 {
    exp_sub_max_on(Isa::detect(), Pass::Write(Place::InPlace(x)), max)
}

#[inline]
pub(crate) fn exp_sub_max_on<T: Element>(isa: Isa, row: Pass<'_, T>, max: T::Compute) -> f64 {
    let mut sum = <T::Compute as Float>::Sum::ZERO;
    T::exp_sub_max(
        isa,
        ExpSubMax {
            row,
            max,
            sum: &mut sum,
        },
    );
    sum.to_f64()
}

/// y_i·s in place, each product rounded once (in the arithmetic of the type, and to the type).
///
/// NaN and infinities follow the product. Subnormal results are those of the host's flush-to-zero setting.
///
/// ```
/// let mut y = [1.0_f32, 2.0];
/// softmax::row::scale(&mut y, 0.25);
/// assert_eq!(y, [0.25, 0.5]);
/// ```
#[inline]
pub fn scale<T: Element>(y: &mut [T], s: T::Compute) {
    T::scale(Isa::detect(), Scale { y, factor: s });
}

/// The row primitives on a chosen ISA: the functions of [`row`](crate::row), `row_` before their names, and
/// [`Error::IsaUnavailable`] where the CPU lacks it.
impl Isa {
    /// [`row::max`](crate::row::max) on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Isa::Scalar.row_max(&[3.0_f32, 4.0])?, 4.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn row_max<T: Element>(self, x: &[T]) -> Result<T, Error> {
        self.require()?;
        Ok(max_on(self, x).map_or(T::NAN, T::narrow))
    }

    /// [`row::exp_sub_max_sum`](crate::row::exp_sub_max_sum) on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [0.0_f32; 2];
    /// assert_eq!(Isa::Scalar.row_exp_sub_max_sum(&[3.0; 2], Some(&mut y), 3.0)?, 2.0);
    /// assert_eq!(y, [1.0; 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn row_exp_sub_max_sum<T: Element>(self, x: &[T], y: Option<&mut [T]>, max: T::Compute) -> Result<f64, Error> {
        let row = match y {
            Some(y) => {
                super::same_length(x.len(), y.len())?;
                Pass::Write(Place::Apart(x, crate::arch::memory::as_output(y)))
            }
            None => Pass::Read(x),
        };
        self.require()?;
        Ok(exp_sub_max_on(self, row, max))
    }

    /// [`row::exp_sub_max_sum_in_place`](crate::row::exp_sub_max_sum_in_place) on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [3.0_f32; 2];
    /// assert_eq!(Isa::Scalar.row_exp_sub_max_sum_in_place(&mut x, 3.0)?, 2.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn row_exp_sub_max_sum_in_place<T: Element>(self, x: &mut [T], max: T::Compute) -> Result<f64, Error> {
        self.require()?;
        Ok(exp_sub_max_on(self, Pass::Write(Place::InPlace(x)), max))
    }

    /// [`row::scale`](crate::row::scale()) on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [3.0_f32; 2];
    /// Isa::Scalar.row_scale(&mut y, 2.0)?;
    /// assert_eq!(y, [6.0; 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn row_scale<T: Element>(self, y: &mut [T], s: T::Compute) -> Result<(), Error> {
        self.require()?;
        T::scale(self, Scale { y, factor: s });
        Ok(())
    }
}
