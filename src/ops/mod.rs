//! The operators: they check shapes, then run a kernel.

mod backward;
mod cross_entropy;
mod cut;
mod online;
#[cfg(feature = "rayon")]
pub mod parallel;
pub mod row;
mod sampling;

pub use backward::*;
pub use cross_entropy::{CrossEntropy, Reduction, cross_entropy};
pub use online::*;
pub use sampling::{Sampler, sample_gumbel};

use crate::arch::memory::filled;
use crate::element::{Element, Float, Inside, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::argmax::ArgMax;
use crate::kernel::exp::Exp;
use crate::kernel::log_softmax::{LogSoftmax, LogSumExp, RowsInto};
use crate::kernel::row::block;
use crate::kernel::short_rows::{Single, SingleLog, SingleLogSumExp};
use crate::kernel::softmax::{OneRow, Softmax};
use crate::kernel::top_k::{Steps, TopK};
use crate::kernel::{Buffers, Place};
use crate::rows::Rows;
use core::mem::MaybeUninit;

mod axis;
pub mod masked;
mod ragged;

pub use axis::{log_softmax_axis, log_softmax_axis_in_place, logsumexp_axis, softmax_axis, softmax_axis_in_place};
pub use ragged::{
    log_softmax_ragged, log_softmax_ragged_in_place, logsumexp_ragged, softmax_ragged, softmax_ragged_in_place,
};

/// The length that two arguments have.
#[inline(always)]
fn equal(what: [&'static str; 2], len: [usize; 2]) -> Result<usize, Error> {
    if len[0] == len[1] {
        Ok(len[0])
    } else {
        Err(Error::Unequal { what, len })
    }
}

/// One row as [`Rows`], once input and output have the same length.
#[inline(always)]
fn same_length(input: usize, output: usize) -> Result<Rows, Error> {
    if input == output {
        Ok(Rows::new(1, input))
    } else {
        Err(Error::Length { input, output })
    }
}

/// softmax(x)_i = e^{x_i} / Σ_j e^{x_j} of one row, from `x` to `y` of the same length.
///
/// # Numerical contract
/// At most 8 ULP (derived; 6.15 found, below 5 on ordinary rows) from the exact value, in every element, for rows of up to 2^24
/// elements; the `Portable` backend at most [`Isa::max_ulp`]. Results below 2^−126 (f64:
/// 2^−1022) are 0. The bits depend on the values and the length of the row alone.
///
/// | the row has | result |
/// |---|---|
/// | some −∞ | 0 there, the rest as if they were absent |
/// | NaN, +∞, or nothing but −∞ | the whole row NaN |
/// | no element | `Ok`, nothing written |
///
/// # Errors
/// [`Error::Length`] if the lengths differ; nothing is written then.
///
/// ```
/// let mut y = [0.0; 3];
/// softmax::softmax(&[1.0_f32, 2.0, 3.0], &mut y)?;
/// assert!((y.iter().sum::<f32>() - 1.0).abs() < 1e-6);
/// assert!(y[0] < y[1] && y[1] < y[2]);
/// # Ok::<(), softmax::Error>(())
/// ```
///
/// The output may be uninitialised:
///
/// ```
/// use core::mem::MaybeUninit;
/// let mut y = [MaybeUninit::<f32>::uninit(); 2];
/// softmax::softmax(&[0.0_f32, 0.0], &mut y)?;
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn softmax<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y) -> Result<(), Error> {
    let y = y.as_uninit(Inside);
    same_length(x.len(), y.len())?;
    softmax_of_row(Isa::detect(), Place::Apart(x, y));
    Ok(())
}

/// [`softmax`] of one row in place: the same bits.
///
/// ```
/// let mut x = [0.0_f32, f32::NEG_INFINITY, 0.0];
/// softmax::softmax_in_place(&mut x);
/// assert_eq!(x, [0.5, 0.0, 0.5]);
/// ```
#[inline]
pub fn softmax_in_place<T: Element>(x: &mut [T]) {
    softmax_of_row(Isa::detect(), Place::InPlace(x));
}

/// One row, of any length, on an ISA that the CPU has.
#[inline]
fn softmax_of_row<T: Element>(isa: Isa, mut place: Place<'_, T>) {
    let len = place.input().len();
    if len == 1 {
        // e/e; NaN for NaN and both infinities. A kernel would take twenty times as long.
        let x = place.input()[0].widen();
        let is_finite = x > -T::Compute::INFINITY && x < T::Compute::INFINITY;
        place.output()[0].write(if is_finite {
            T::narrow(T::Compute::from_i32(1))
        } else {
            T::NAN
        });
    } else if len > block::<T>() && T::IS_COMPUTE && matches!(place, Place::Apart(..)) {
        T::softmax_row(isa, OneRow(&mut place));
    } else if len > block::<T>() {
        let rows = Rows::new(1, len).into();
        T::softmax(isa, Softmax(&mut Buffers { place, rows }));
    } else if len > 0 {
        T::softmax_single(isa, Single(&mut place));
    }
}

/// Rows that were checked, on an ISA that the CPU has.
#[inline]
fn softmax_of_rows<T: Element>(isa: Isa, place: Place<'_, T>, rows: Rows) {
    if rows.rows() == 1 {
        softmax_of_row(isa, place.part(0..rows.cols()));
    } else if !rows.is_empty() {
        let rows = rows.into();
        T::softmax(isa, Softmax(&mut Buffers { place, rows }));
    }
}

/// [`softmax`] of each of many rows.
///
/// # Errors
/// [`Error::Stride`], [`Error::TooShort`] or [`Error::Overflow`] if a slice does not hold the rows; nothing is written
/// then.
///
/// ```
/// use softmax::{Rows, softmax_rows};
/// let x = [0.0_f32, 0.0, 1.0, 1.0];
/// let mut y = [0.0; 4];
/// softmax_rows(&x, &mut y, Rows::new(2, 2))?;
/// assert_eq!(y, [0.5; 4]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn softmax_rows<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y, rows: Rows) -> Result<(), Error> {
    Isa::detect().softmax_rows(x, y, rows)
}

/// [`softmax`] of each of many rows in place, at the input stride of `rows`.
///
/// # Errors
/// As [`softmax_rows`].
///
/// ```
/// use softmax::{Rows, softmax_rows_in_place};
/// let mut x = [3.0_f32, 3.0, 7.0, 7.0];
/// softmax_rows_in_place(&mut x, Rows::new(2, 2))?;
/// assert_eq!(x, [0.5; 4]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn softmax_rows_in_place<T: Element>(x: &mut [T], rows: Rows) -> Result<(), Error> {
    Isa::detect().softmax_rows_in_place(x, rows)
}

/// log_softmax(x)_i = x_i − ln Σ_j e^{x_j} of one row.
///
/// # Numerical contract
/// At most 4 ULP of max(1, |result|), never positive. −∞ gives −∞; a row with NaN or +∞, or of nothing but −∞, is NaN;
/// an empty row is `Ok`. The bits depend on the row alone.
///
/// # Errors
/// [`Error::Length`] if the lengths differ; nothing is written then.
///
/// ```
/// let mut y = [0.0; 2];
/// softmax::log_softmax(&[5.0_f32, 5.0], &mut y)?;
/// assert!((y[0] + core::f32::consts::LN_2).abs() < 1e-7);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn log_softmax<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y) -> Result<(), Error> {
    Isa::detect().log_softmax(x, y)
}

/// [`log_softmax`] of one row in place: the same bits.
///
/// ```
/// let mut x = [100.0_f32, f32::NEG_INFINITY];
/// softmax::log_softmax_in_place(&mut x);
/// assert!(x[0].abs() < 1e-7 && x[1] == f32::NEG_INFINITY);
/// ```
#[inline]
pub fn log_softmax_in_place<T: Element>(x: &mut [T]) {
    log_softmax_of_row(Isa::detect(), Place::InPlace(x));
}

/// One row, of any length, on an ISA that the CPU has.
#[inline]
fn log_softmax_of_row<T: Element>(isa: Isa, mut place: Place<'_, T>) {
    let len = place.input().len();
    if len > block::<T>() {
        let rows = Rows::new(1, len).into();
        T::log_softmax(isa, LogSoftmax(&mut Buffers { place, rows }));
    } else if len > 0 {
        T::log_softmax_single(isa, SingleLog(&mut place));
    }
}

/// Rows that were checked, on an ISA that the CPU has.
#[inline]
fn log_softmax_of_rows<T: Element>(isa: Isa, place: Place<'_, T>, rows: Rows) {
    if rows.rows() == 1 {
        log_softmax_of_row(isa, place.part(0..rows.cols()));
    } else if !rows.is_empty() {
        let rows = rows.into();
        T::log_softmax(isa, LogSoftmax(&mut Buffers { place, rows }));
    }
}

/// [`log_softmax`] of each of many rows.
///
/// # Errors
/// As [`softmax_rows`].
///
/// ```
/// use softmax::{Rows, log_softmax_rows};
/// let mut y = [0.0_f32; 2];
/// log_softmax_rows(&[1.0_f32, 2.0], &mut y, Rows::new(2, 1))?;
/// assert!(y.iter().all(|y| y.abs() < 1e-7));
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn log_softmax_rows<T: Element, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y, rows: Rows) -> Result<(), Error> {
    Isa::detect().log_softmax_rows(x, y, rows)
}

/// [`log_softmax`] of each of many rows in place, at the input stride of `rows`.
///
/// # Errors
/// As [`softmax_rows`].
///
/// ```
/// use softmax::{Rows, log_softmax_rows_in_place};
/// let mut x = [1.0_f32, 2.0];
/// log_softmax_rows_in_place(&mut x, Rows::new(2, 1))?;
/// assert!(x.iter().all(|y| y.abs() < 1e-7));
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn log_softmax_rows_in_place<T: Element>(x: &mut [T], rows: Rows) -> Result<(), Error> {
    Isa::detect().log_softmax_rows_in_place(x, rows)
}

/// ln Σ_j e^{x_j} of one row.
///
/// # Numerical contract
/// At most 4 ULP of max(1, |result|). NaN if there is a NaN, else +∞ if there is a +∞; −∞ of nothing and of nothing but
/// −∞.
///
/// ```
/// assert_eq!(softmax::logsumexp(&[0.0_f32; 1]), 0.0);
/// assert!((softmax::logsumexp(&[1000.0_f32, 1000.0]) - 1000.6931).abs() < 1e-4);
/// assert_eq!(softmax::logsumexp::<f32>(&[]), f32::NEG_INFINITY);
/// ```
#[inline]
pub fn logsumexp<T: Element>(x: &[T]) -> T {
    logsumexp_on(Isa::detect(), x)
}

#[inline]
fn logsumexp_on<T: Element>(isa: Isa, x: &[T]) -> T {
    let mut out = [T::NAN];
    logsumexp_of_rows(isa, x, out.as_uninit(Inside), Rows::new(1, x.len()));
    out[0]
}

/// Rows that were checked, on an ISA that the CPU has.
#[inline]
fn logsumexp_of_rows<T: Element>(isa: Isa, x: &[T], out: &mut [MaybeUninit<T>], rows: Rows) {
    let is_single = rows.rows() == 1 && rows.cols() <= block::<T>();
    let rows = rows.into();
    let mut rows = RowsInto { x, out, rows };
    if is_single {
        T::logsumexp_single(isa, SingleLogSumExp(&mut rows));
    } else {
        T::logsumexp(isa, LogSumExp(&mut rows));
    }
}

/// [`logsumexp`] of each of many rows: row `r` to `out[r]`, −∞ for each where `cols` is 0.
///
/// # Errors
/// As [`softmax_rows`]; `out` needs `rows` elements.
///
/// ```
/// use softmax::{Rows, logsumexp_rows};
/// let mut out = [0.0_f32; 2];
/// logsumexp_rows(&[3.0_f32, 4.0], &mut out, Rows::new(2, 1))?;
/// assert_eq!(out, [3.0, 4.0]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn logsumexp_rows<T: Element, Y: Output<T> + ?Sized>(x: &[T], out: &mut Y, rows: Rows) -> Result<(), Error> {
    Isa::detect().logsumexp_rows(x, out, rows)
}

/// e^x of each element, f32 or f64.
///
/// # Numerical contract
/// f32: at most 1 ULP over every f32 (0.892 found, exhaustively; `Portable`: [`Isa::exp_max_ulp`]). f64: at most 1 ULP.
/// Results below 2^−126 (f64: 2^−1022) are 0, overflow is +∞; of a NaN, some NaN.
///
/// # Errors
/// [`Error::Length`] if the lengths differ; nothing is written then.
///
/// ```
/// let mut y = [0.0; 3];
/// softmax::exp(&[0.0_f32, f32::NEG_INFINITY, 1000.0], &mut y)?;
/// assert_eq!(y, [1.0, 0.0, f32::INFINITY]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn exp<T: Float, Y: Output<T> + ?Sized>(x: &[T], y: &mut Y) -> Result<(), Error> {
    Isa::detect().exp(x, y)
}

/// [`exp`] in place: the same bits.
///
/// ```
/// let mut x = [0.0_f32, f32::NEG_INFINITY, 1000.0];
/// softmax::exp_in_place(&mut x);
/// assert_eq!(x, [1.0, 0.0, f32::INFINITY]);
/// ```
#[inline]
pub fn exp_in_place<T: Float>(x: &mut [T]) {
    T::exp(Isa::detect(), Exp(Place::InPlace(x)));
}

/// The index of the largest element of one row: the predicted class.
///
/// The first NaN if there is one (NumPy's rule), else the lowest index of the maximum; `None` of an empty row.
///
/// ```
/// assert_eq!(softmax::argmax(&[1.0_f32, 7.0, 7.0]), Some(1));
/// assert_eq!(softmax::argmax(&[1.0_f32, 7.0, f32::NAN]), Some(2));
/// assert_eq!(softmax::argmax::<f32>(&[]), None);
/// ```
#[inline]
pub fn argmax<T: Element>(x: &[T]) -> Option<usize> {
    argmax_on(Isa::detect(), x)
}

#[inline]
fn argmax_on<T: Element>(isa: Isa, x: &[T]) -> Option<usize> {
    let mut index = [usize::MAX];
    T::argmax(
        isa,
        ArgMax {
            x,
            index: &mut index,
            rows: Rows::new(1, x.len()),
        },
    );
    (!x.is_empty()).then_some(index[0])
}

/// [`argmax`] of each of many rows: row `r` to `index[r]`, `usize::MAX` for each where `cols` is 0.
///
/// # Errors
/// As [`softmax_rows`]; `index`, initialised or not, needs `rows` elements.
///
/// ```
/// use softmax::{Rows, argmax_rows};
/// let mut index = [0; 2];
/// argmax_rows(&[0.0_f32, 1.0, 5.0, 4.0], &mut index, Rows::new(2, 2))?;
/// assert_eq!(index, [1, 0]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn argmax_rows<T: Element, I: Output<usize> + ?Sized>(x: &[T], index: &mut I, rows: Rows) -> Result<(), Error> {
    Isa::detect().argmax_rows(x, index, rows)
}

/// The k most probable classes of one row and their probabilities, best first, without writing the row:
/// k = `index.len()` = `prob.len()`. Neither need be initialised.
///
/// By logit, ties by lowest index; the probabilities are those of [`softmax`], bit for bit (f16, bf16: before they are
/// rounded to the type). A row with NaN, +∞, or nothing but −∞ gives NaN probabilities; its first NaN stands first.
///
/// One sweep for the sum and one for the choice, which inserts into the k kept so far: a row that rises all the way costs
/// len·k steps.
///
/// # Errors
/// [`Error::Unequal`] if `index` and `prob` differ in length, [`Error::TopK`] if k > x.len(); nothing is written then.
///
/// ```
/// let (mut index, mut prob) = ([0; 2], [0.0; 2]);
/// softmax::top_k(&[0.0_f32, 3.0, 1.0], &mut index, &mut prob)?;
/// assert_eq!(index, [1, 2]);
/// assert!((prob[0] - 0.843_795).abs() < 1e-6);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn top_k<T, I, P>(x: &[T], index: &mut I, prob: &mut P) -> Result<(), Error>
where
    T: Element,
    I: Output<usize> + ?Sized,
    P: Output<T::Compute> + ?Sized,
{
    Isa::detect().top_k(x, index, prob)
}

/// [`top_k`] of each of many rows: row `r` to `index[r·k..][..k]` and `prob[r·k..][..k]`.
///
/// # Errors
/// As [`softmax_rows`], [`Error::TopK`] if k > cols; `index` and `prob`, initialised or not, need rows·k elements.
///
/// ```
/// use softmax::{Rows, top_k_rows};
/// let (mut index, mut prob) = ([0; 2], [0.0; 2]);
/// top_k_rows(&[0.0_f32, 9.0, 9.0, 0.0], 1, &mut index, &mut prob, Rows::new(2, 2))?;
/// assert_eq!(index, [1, 0]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn top_k_rows<T, I, P>(x: &[T], k: usize, index: &mut I, prob: &mut P, rows: Rows) -> Result<(), Error>
where
    T: Element,
    I: Output<usize> + ?Sized,
    P: Output<T::Compute> + ?Sized,
{
    Isa::detect().top_k_rows(x, k, index, prob, rows)
}

/// The operators on a chosen ISA: the free functions of the same names, and
/// [`Error::IsaUnavailable`] where the CPU lacks it.
impl Isa {
    #[inline(always)]
    pub(crate) fn require(self) -> Result<(), Error> {
        if self.is_available() {
            Ok(())
        } else {
            Err(Error::IsaUnavailable(self))
        }
    }

    /// [`softmax`](crate::softmax()) on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [0.0_f32; 2];
    /// Isa::Scalar.softmax(&[3.0, 3.0], &mut y)?;
    /// assert_eq!(y, [0.5; 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn softmax<T: Element, Y: Output<T> + ?Sized>(self, x: &[T], y: &mut Y) -> Result<(), Error> {
        let y = y.as_uninit(Inside);
        same_length(x.len(), y.len())?;
        self.require()?;
        softmax_of_row(self, Place::Apart(x, y));
        Ok(())
    }

    /// [`softmax_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [3.0_f32; 4];
    /// Isa::Scalar.softmax_in_place(&mut x)?;
    /// assert_eq!(x, [0.25; 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn softmax_in_place<T: Element>(self, x: &mut [T]) -> Result<(), Error> {
        self.require()?;
        softmax_of_row(self, Place::InPlace(x));
        Ok(())
    }

    /// [`softmax_rows`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [0.0_f32; 4];
    /// Isa::Scalar.softmax_rows(&[3.0; 4], &mut y, Rows::new(2, 2))?;
    /// assert_eq!(y, [0.5; 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn softmax_rows<T: Element, Y: Output<T> + ?Sized>(self, x: &[T], y: &mut Y, rows: Rows) -> Result<(), Error> {
        let y = checked(x, y, rows)?;
        self.require()?;
        softmax_of_rows(self, Place::Apart(x, y), rows);
        Ok(())
    }

    /// [`softmax_rows_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [3.0_f32; 4];
    /// Isa::Scalar.softmax_rows_in_place(&mut x, Rows::new(2, 2))?;
    /// assert_eq!(x, [0.5; 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn softmax_rows_in_place<T: Element>(self, x: &mut [T], rows: Rows) -> Result<(), Error> {
        rows.check_input(x.len())?;
        self.require()?;
        softmax_of_rows(self, Place::InPlace(x), rows);
        Ok(())
    }

    /// [`log_softmax`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [1.0_f64; 1];
    /// Isa::Scalar.log_softmax(&[3.0], &mut y)?;
    /// assert!(y[0].abs() < 1e-15);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn log_softmax<T: Element, Y: Output<T> + ?Sized>(self, x: &[T], y: &mut Y) -> Result<(), Error> {
        let y = y.as_uninit(Inside);
        same_length(x.len(), y.len())?;
        self.require()?;
        log_softmax_of_row(self, Place::Apart(x, y));
        Ok(())
    }

    /// [`log_softmax_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [3.0_f64];
    /// Isa::Scalar.log_softmax_in_place(&mut x)?;
    /// assert!(x[0].abs() < 1e-15);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn log_softmax_in_place<T: Element>(self, x: &mut [T]) -> Result<(), Error> {
        let rows = Rows::new(1, x.len());
        self.log_softmax_rows_in_place(x, rows)
    }

    /// [`log_softmax_rows`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [1.0_f32; 2];
    /// Isa::Scalar.log_softmax_rows(&[3.0, 4.0], &mut y, Rows::new(2, 1))?;
    /// assert!(y[0].abs() < 1e-6 && y[1].abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn log_softmax_rows<T: Element, Y: Output<T> + ?Sized>(
        self,
        x: &[T],
        y: &mut Y,
        rows: Rows,
    ) -> Result<(), Error> {
        let y = checked(x, y, rows)?;
        self.require()?;
        log_softmax_of_rows(self, Place::Apart(x, y), rows);
        Ok(())
    }

    /// [`log_softmax_rows_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [3.0_f32, 4.0];
    /// Isa::Scalar.log_softmax_rows_in_place(&mut x, Rows::new(2, 1))?;
    /// assert!(x[0].abs() < 1e-6 && x[1].abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn log_softmax_rows_in_place<T: Element>(self, x: &mut [T], rows: Rows) -> Result<(), Error> {
        rows.check_input(x.len())?;
        self.require()?;
        log_softmax_of_rows(self, Place::InPlace(x), rows);
        Ok(())
    }

    /// [`logsumexp`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Isa::Scalar.logsumexp(&[3.0_f32])?, 3.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn logsumexp<T: Element>(self, x: &[T]) -> Result<T, Error> {
        self.require()?;
        Ok(logsumexp_on(self, x))
    }

    /// [`logsumexp_rows`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut out = [0.0_f32; 2];
    /// Isa::Scalar.logsumexp_rows(&[3.0, 4.0], &mut out, Rows::new(2, 1))?;
    /// assert_eq!(out, [3.0, 4.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn logsumexp_rows<T: Element, Y: Output<T> + ?Sized>(
        self,
        x: &[T],
        out: &mut Y,
        rows: Rows,
    ) -> Result<(), Error> {
        rows.check_input(x.len())?;
        let out = out.as_uninit(Inside);
        rows.check_results("output", out.len(), 1)?;
        self.require()?;
        let out = &mut out[..rows.rows()];
        if rows.cols() == 0 {
            crate::kernel::softmax::fill(out, T::NEG_INFINITY);
        } else {
            logsumexp_of_rows(self, x, out, rows);
        }
        Ok(())
    }

    /// [`exp`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut y = [0.0_f32; 2];
    /// Isa::Scalar.exp(&[0.0, f32::NEG_INFINITY], &mut y)?;
    /// assert_eq!(y, [1.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn exp<T: Float, Y: Output<T> + ?Sized>(self, x: &[T], y: &mut Y) -> Result<(), Error> {
        let y = y.as_uninit(Inside);
        same_length(x.len(), y.len())?;
        self.require()?;
        T::exp(self, Exp(Place::Apart(x, y)));
        Ok(())
    }

    /// [`exp_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [0.0_f32, f32::NEG_INFINITY];
    /// Isa::Scalar.exp_in_place(&mut x)?;
    /// assert_eq!(x, [1.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn exp_in_place<T: Float>(self, x: &mut [T]) -> Result<(), Error> {
        self.require()?;
        T::exp(self, Exp(Place::InPlace(x)));
        Ok(())
    }

    /// [`argmax`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Isa::Scalar.argmax(&[3.0_f32, 4.0])?, Some(1));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn argmax<T: Element>(self, x: &[T]) -> Result<Option<usize>, Error> {
        self.require()?;
        Ok(argmax_on(self, x))
    }

    /// [`argmax_rows`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut index = [0; 2];
    /// Isa::Scalar.argmax_rows(&[3.0_f32, 4.0, 6.0, 5.0], &mut index, Rows::new(2, 2))?;
    /// assert_eq!(index, [1, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn argmax_rows<T: Element, I: Output<usize> + ?Sized>(
        self,
        x: &[T],
        index: &mut I,
        rows: Rows,
    ) -> Result<(), Error> {
        let index = index.as_uninit(Inside);
        rows.check_input(x.len())?;
        rows.check_results("index", index.len(), 1)?;
        self.require()?;
        let index = filled(&mut index[..rows.rows()], usize::MAX);
        if rows.cols() > 0 {
            T::argmax(self, ArgMax { x, index, rows });
        }
        Ok(())
    }

    /// [`top_k`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let (mut index, mut prob) = ([0; 1], [0.0; 1]);
    /// Isa::Scalar.top_k(&[0.0_f32, 400.0], &mut index, &mut prob)?;
    /// assert_eq!((index, prob), ([1], [1.0]));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn top_k<T, I, P>(self, x: &[T], index: &mut I, prob: &mut P) -> Result<(), Error>
    where
        T: Element,
        I: Output<usize> + ?Sized,
        P: Output<T::Compute> + ?Sized,
    {
        let (index, prob) = (index.as_uninit(Inside), prob.as_uninit(Inside));
        let k = equal(["index", "prob"], [index.len(), prob.len()])?;
        self.top_k_rows(x, k, index, prob, Rows::new(1, x.len()))
    }

    /// [`top_k_rows`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let (mut index, mut prob) = ([0; 2], [0.0; 2]);
    /// let rows = Rows::new(2, 2);
    /// Isa::Scalar.top_k_rows(&[0.0_f32, 400.0, 400.0, 0.0], 1, &mut index, &mut prob, rows)?;
    /// assert_eq!((index, prob), ([1, 0], [1.0; 2]));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn top_k_rows<T, I, P>(self, x: &[T], k: usize, index: &mut I, prob: &mut P, rows: Rows) -> Result<(), Error>
    where
        T: Element,
        I: Output<usize> + ?Sized,
        P: Output<T::Compute> + ?Sized,
    {
        let (index, prob) = (index.as_uninit(Inside), prob.as_uninit(Inside));
        check_top_k(x.len(), k, index.len(), prob.len(), rows)?;
        self.require()?;
        let places = rows.rows() * k;
        T::top_k(
            self,
            TopK {
                x,
                k,
                index: filled(&mut index[..places], usize::MAX),
                prob: filled(&mut prob[..places], T::Compute::NAN),
                rows,
                steps: Steps::Both,
            },
        );
        Ok(())
    }
}

/// The output of an operator on rows, once input and output hold them.
#[inline(always)]
fn checked<'y, T: Element, Y: Output<T> + ?Sized>(
    x: &[T],
    y: &'y mut Y,
    rows: Rows,
) -> Result<&'y mut [MaybeUninit<T>], Error> {
    rows.check_input(x.len())?;
    let y = y.as_uninit(Inside);
    rows.check_output(y.len())?;
    Ok(y)
}

/// Checks that slices of these lengths hold the rows of a top-k and its results.
#[inline(always)]
fn check_top_k(x: usize, k: usize, index: usize, prob: usize, rows: Rows) -> Result<(), Error> {
    rows.check_input(x)?;
    if k > rows.cols() {
        return Err(Error::TopK { k, cols: rows.cols() });
    }
    rows.check_results("index", index, k)?;
    rows.check_results("prob", prob, k)
}
