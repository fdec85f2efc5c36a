//! One row that comes in tiles, or in parts on several threads or machines: [`OnlineSoftmax`].
//!
//! ```text
//! Σ e^x = sum · 2^shift      shift = rint(max · log2 e), so that the largest term of the sum is about 1
//! ```
//!
//! A larger maximum moves the shift, and the sum is multiplied by a power of two: exactly, unless it vanishes beside
//! what is new. From |max| = 16384 on (`Portable`: 256) terms are e^(x − max), where the difference is exact, and the
//! sum takes the factor e^(max − shift·ln 2). From |max| = 2^30 on, where neighbouring floats are 64 apart and more,
//! everything below the maximum vanishes and the shift is 0: Σ e^x = sum · e^max.
//!
//! The online normaliser is that of Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018,
//! arXiv:1805.02867), which multiplies the sum by e^(old max − new max) instead.

use super::row::max_on;
use super::same_length;
use crate::element::{Element, Float, Inside, Output};
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::Place;
use crate::kernel::online::{Finish, Tile};
use crate::kernel::primitives::{Pass, Scale};
use crate::math::exp::{OCTAVE_F64, Shift};

/// log2 of the largest term of a tile.
const TILE_BIAS: i32 = 0;
/// log2 of the largest term when quotients are taken, so that none that is shown comes from a vanished term.
const FINISH_BIAS: i32 = 64;
/// From here on the shift does not fit an integer, and is not needed.
const HUGE: f32 = (1 << 30) as f32;

/// The state of a softmax over one row that is fed by tiles: a sum, a maximum and an integer shift.
///
/// Tiles may be of f32 or of a half type. States of parts of a row [`merge`](Self::merge) in any order. NaN and +∞ in a
/// tile stay in the state. The probabilities of [`finish`](Self::finish) have the bound of [`softmax`](crate::softmax());
/// their bits depend on how the row was cut into tiles.
///
/// ```
/// use softmax::OnlineSoftmax;
/// let row = [1.0_f32, 2.0, 3.0, 4.0];
/// let (mut left, mut right) = (OnlineSoftmax::new(), OnlineSoftmax::new());
/// left.update(&row[..1]);
/// right.update(&row[1..]);
/// left.merge(&right);
/// let mut y = [0.0; 4];
/// left.finish(&row, &mut y)?;
/// assert!((y[3] - 0.643_914).abs() < 1e-6);
/// assert!((left.logsumexp() - softmax::logsumexp(&row)).abs() < 1e-6);
/// # Ok::<(), softmax::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct OnlineSoftmax {
    sum: f64,
    max: f32,
    shift: i32,
}

/// Σ e^x = 2^n · factor · (the sum of the terms under `shift`).
struct Frame {
    n: i32,
    factor: f64,
    shift: Shift<f32>,
}

impl Frame {
    /// For a finite maximum, terms up to about 2^bias.
    #[inline]
    fn new(isa: Isa, max: f32, bias: i32) -> Self {
        let core = f32::core(isa.is_fused());
        if max.abs() < core.offset_from {
            let shift = Shift::new(max, bias, 0.0, core);
            return Self {
                n: shift.n,
                factor: 1.0,
                shift,
            };
        }
        let shift = Shift::new(0.0, bias, max, core);
        if max.abs() >= HUGE {
            return Self {
                n: shift.n,
                factor: 1.0,
                shift,
            };
        }
        let m = f64::from(max);
        let n = libm::rint(m * core::f64::consts::LOG2_E);
        // m − n·ln 2 in two steps: the first is nearly exact, and the second small.
        let rest = crate::math::fma(-n, core::f64::consts::LN_2, m) - n * OCTAVE_F64.ln2_low;
        Self {
            n: n as i32 + shift.n,
            factor: libm::exp(rest),
            shift,
        }
    }
}

/// x·2^n, 0 or ∞ far outside the range of what can matter.
#[inline]
fn scaled(x: f64, n: i64) -> f64 {
    match n {
        ..-1000 => 0.0,
        1001.. => x * f64::INFINITY,
        _ => x * f64::from_bits(((n + 1023) as u64) << 52),
    }
}

impl Default for OnlineSoftmax {
    fn default() -> Self {
        Self::new()
    }
}

impl OnlineSoftmax {
    /// The state of nothing.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(OnlineSoftmax::new().logsumexp(), f32::NEG_INFINITY);
    /// ```
    pub const fn new() -> Self {
        Self {
            sum: 0.0,
            max: f32::NEG_INFINITY,
            shift: 0,
        }
    }

    /// Sum, maximum and shift, to be sent elsewhere: Σ e^x = sum·2^shift (sum·e^max from |max| = 2^30 on). Where the host sets its
    /// DAZ flag a maximum that is subnormal or 0 is any such element.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut state = OnlineSoftmax::new();
    /// state.update(&[3.0_f32]);
    /// assert_eq!(state.to_parts().1, 3.0);
    /// ```
    pub const fn to_parts(self) -> (f64, f32, i32) {
        (self.sum, self.max, self.shift)
    }

    /// The state that [`to_parts`](Self::to_parts) took apart.
    ///
    /// ```
    /// use softmax::OnlineSoftmax;
    /// let mut state = OnlineSoftmax::new();
    /// state.update(&[1.0_f32, 2.0]);
    /// let (sum, max, shift) = state.to_parts();
    /// assert_eq!(OnlineSoftmax::from_parts(sum, max, shift), state);
    /// ```
    pub const fn from_parts(sum: f64, max: f32, shift: i32) -> Self {
        Self { sum, max, shift }
    }

    /// The largest element seen: −∞ of nothing, NaN after a NaN.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut state = OnlineSoftmax::new();
    /// state.update(&[3.0_f32, 4.0]);
    /// assert_eq!(state.max(), 4.0);
    /// ```
    pub const fn max(&self) -> f32 {
        self.max
    }

    /// Adds a tile. −∞ and an empty tile add nothing; after NaN the state is NaN for good, after +∞ it is +∞ until a NaN.
    ///
    /// ```
    /// let mut state = softmax::OnlineSoftmax::new();
    /// state.update(&[1.0_f32, f32::NEG_INFINITY]);
    /// state.update::<f32>(&[]);
    /// assert_eq!(state.max(), 1.0);
    /// assert!((state.logsumexp() - 1.0).abs() < 1e-6);
    /// ```
    #[inline]
    pub fn update<T: Element<Compute = f32>>(&mut self, x: &[T]) {
        self.update_on(Isa::detect(), Pass::Read(x), x);
    }

    /// Adds a tile, stores its weights e_i = e^(x_i)·2^−shift under the new shift, and returns what an accumulator that
    /// was kept under the old one must be multiplied by ([`rescale_factor`](Self::rescale_factor)).
    ///
    /// The largest weight of a row is in [0.7, 1.42]; weights below 2^−100 are 0. At most 2 ULP from exact (`Portable`:
    /// 4), 3 where |max| is from 16384 to 2^30 (from 2^30 on weights are e^(x − max)); of f16 and bf16 that, rounded to
    /// the type, where |max| is from 16384 (`Portable`: 256) on twice. After NaN or +∞ weights and factor are NaN; an empty tile writes
    /// nothing, and its factor is 1 unless the state is empty (0).
    ///
    /// # Errors
    /// [`Error::Length`] if the lengths differ; nothing is written then.
    ///
    /// ```
    /// use softmax::OnlineSoftmax;
    /// // Σ p_i·v_i of a row in two tiles.
    /// let (x, v) = ([[1.0_f32, 2.0], [8.0, 3.0]], [[10.0, 20.0], [30.0, 40.0]]);
    /// let (mut state, mut e, mut acc, mut sum) = (OnlineSoftmax::new(), [0.0_f32; 2], 0.0, 0.0);
    /// for (x, v) in x.iter().zip(v) {
    ///     let factor = state.update_into(x, &mut e)?;
    ///     acc = acc * factor + e[0] * v[0] + e[1] * v[1];
    ///     sum = sum * factor + e[0] + e[1];
    /// }
    /// assert!((acc / sum - 30.024_11).abs() < 1e-4);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[inline]
    pub fn update_into<T: Element<Compute = f32>>(&mut self, x: &[T], e: &mut [T]) -> Result<f32, Error> {
        Isa::detect().online_update_into(self, x, e)
    }

    /// [`update_into`](Self::update_into) with `x` for `e`: the same bits.
    ///
    /// ```
    /// let mut state = softmax::OnlineSoftmax::new();
    /// let mut x = [0.0_f32, 0.0];
    /// state.update_in_place(&mut x);
    /// assert_eq!(x, [1.0, 1.0]);
    /// assert_eq!(state.update_in_place(&mut [2.0 * core::f32::consts::LN_2]), 0.25);
    /// ```
    #[inline]
    pub fn update_in_place<T: Element<Compute = f32>>(&mut self, x: &mut [T]) -> f32 {
        self.update_in_place_on(Isa::detect(), x)
    }

    #[inline]
    fn update_in_place_on<T: Element<Compute = f32>>(&mut self, isa: Isa, x: &mut [T]) -> f32 {
        let before = *self;
        match self.grow(isa, x) {
            Some(frame) => {
                self.add(isa, Pass::Write(Place::InPlace(&mut *x)), &frame);
                weigh(isa, x, &frame);
            }
            None => x.fill(T::narrow(self.special_weight())),
        }
        self.rescale_factor(&before)
    }

    /// Adds the tile `x`, which `row` holds.
    #[inline]
    fn update_on<T: Element<Compute = f32>>(&mut self, isa: Isa, row: Pass<'_, T>, x: &[T]) {
        if let Some(frame) = self.grow(isa, x) {
            self.add(isa, row, &frame);
        }
    }

    /// Moves maximum, shift and sum to what they are once `x` has come; `None` where `x` adds no term.
    #[inline]
    fn grow<T: Element<Compute = f32>>(&mut self, isa: Isa, x: &[T]) -> Option<Frame> {
        let max = match max_on(isa, x) {
            _ if self.max.is_nan() => return None,
            None => f32::NAN,
            Some(m) if m > self.max => m,
            Some(_) => self.max,
        };
        if !max.is_finite() {
            // Nothing but −∞ so far, or nothing that can be summed.
            let sum = if max == f32::NEG_INFINITY { 0.0 } else { f64::from(max) };
            *self = Self { sum, max, shift: 0 };
            return None;
        }
        let frame = Frame::new(isa, max, TILE_BIAS);
        let shift = if max.abs() < HUGE { frame.n } else { 0 };
        self.sum = self.sum_under(max, shift);
        (self.max, self.shift) = (max, shift);
        Some(frame)
    }

    #[inline]
    fn add<T: Element<Compute = f32>>(&mut self, isa: Isa, row: Pass<'_, T>, frame: &Frame) {
        let mut sum = 0.0;
        let shift = frame.shift;
        T::tile(
            isa,
            Tile {
                row,
                shift,
                sum: &mut sum,
            },
        );
        self.sum += frame.factor * sum;
    }

    /// The weight of every element where the state has no finite maximum.
    #[inline]
    fn special_weight(&self) -> f32 {
        if self.max == f32::NEG_INFINITY { 0.0 } else { f32::NAN }
    }

    /// log2 of the factor from the shift of a state to that of another, `None` where the first vanishes or is empty.
    #[inline]
    fn exponent(&self, max: f32, shift: i32) -> Option<i64> {
        if self.max == f32::NEG_INFINITY {
            None
        } else if self.max.abs() >= HUGE || max.abs() >= HUGE {
            (self.max == max).then_some(0)
        } else {
            Some(i64::from(self.shift) - i64::from(shift))
        }
    }

    /// The sum under another shift.
    #[inline]
    fn sum_under(&self, max: f32, shift: i32) -> f64 {
        self.exponent(max, shift).map_or(0.0, |n| scaled(self.sum, n))
    }

    /// Adds what `other` has seen. The sums are rescaled by powers of two and added: one rounding, unless the smaller
    /// vanishes altogether (2^−1000 of the larger). The order of the two does not matter.
    ///
    /// ```
    /// use softmax::OnlineSoftmax;
    /// let mut state = OnlineSoftmax::new();
    /// state.update(&[3.0_f32]);
    /// let before = state;
    /// state.merge(&OnlineSoftmax::new());
    /// assert_eq!(state, before);
    /// ```
    pub fn merge(&mut self, other: &Self) {
        let first = if self.max.is_nan() || self.max >= other.max {
            *self
        } else {
            *other
        };
        if !first.max.is_finite() {
            // NaN over +∞ over everything; −∞ is both, and empty.
            *self = if other.max.is_nan() { *other } else { first };
            return;
        }
        let (max, shift) = (first.max, first.shift);
        let sum = self.sum_under(max, shift) + other.sum_under(max, shift);
        *self = Self { sum, max, shift };
    }

    /// What an accumulator Σ e_i·v_i kept since the state was `before` must be multiplied by: 2^(shift before − shift
    /// now), an exact power of two, 0 where that is below 2^−126 or `before` was empty, NaN after NaN or +∞.
    ///
    /// ```
    /// use softmax::OnlineSoftmax;
    /// let mut state = OnlineSoftmax::new();
    /// state.update(&[0.0_f32]);
    /// let before = state;
    /// state.update(&[3.0 * core::f32::consts::LN_2]);
    /// assert_eq!(state.rescale_factor(&before), 0.125);
    /// ```
    pub fn rescale_factor(&self, before: &Self) -> f32 {
        let special = |max: f32| max.is_nan() || max == f32::INFINITY;
        if special(self.max) || special(before.max) {
            return f32::NAN;
        }
        match before.exponent(self.max, self.shift) {
            None | Some(..-126) => 0.0,
            Some(128..) => f32::INFINITY,
            Some(n) => f32::from_bits(((n + 127) as u32) << 23),
        }
    }

    /// The probabilities y_i = e^(x_i) / Σ e^x of elements of the row: of all of it, or of any part.
    ///
    /// At most 8 ULP (`Portable`: [`Isa::max_ulp`]; f16 and bf16: 0.51 of the type). All NaN after NaN or +∞, and where
    /// nothing but −∞ was seen; an element that is larger than all that were seen counts as the largest of them.
    ///
    /// # Errors
    /// [`Error::Length`] if the lengths differ; nothing is written then.
    ///
    /// ```
    /// let (mut state, mut y) = (softmax::OnlineSoftmax::new(), [0.0; 2]);
    /// state.update(&[3.0_f32, 3.0]);
    /// state.update(&[3.0_f32, 3.0]);
    /// state.finish(&[3.0_f32, f32::NEG_INFINITY], &mut y)?;
    /// assert_eq!(y, [0.25, 0.0]);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[inline]
    pub fn finish<T: Element<Compute = f32>, Y: Output<T> + ?Sized>(&self, x: &[T], y: &mut Y) -> Result<(), Error> {
        Isa::detect().online_finish(self, x, y)
    }

    /// [`finish`](Self::finish) in place: the same bits.
    ///
    /// ```
    /// let (mut state, mut x) = (softmax::OnlineSoftmax::new(), [7.0_f32, 7.0]);
    /// state.update(&x);
    /// state.finish_in_place(&mut x);
    /// assert_eq!(x, [0.5, 0.5]);
    /// ```
    #[inline]
    pub fn finish_in_place<T: Element<Compute = f32>>(&self, x: &mut [T]) {
        self.finish_on(Isa::detect(), Place::InPlace(x));
    }

    #[inline]
    fn finish_on<T: Element<Compute = f32>>(&self, isa: Isa, place: Place<'_, T>) {
        let max = self.max;
        let terms = max.is_finite().then(|| {
            let frame = Frame::new(isa, max, FINISH_BIAS);
            let sum = scaled(self.sum, i64::from(self.shift) - i64::from(frame.n));
            (frame.shift, sum / frame.factor)
        });
        T::finish(isa, Finish { place, max, terms });
    }

    /// ln Σ e^x: at most 4 ULP of max(1, |result|). −∞ of nothing, +∞ after +∞, NaN after NaN.
    ///
    /// ```
    /// let mut state = softmax::OnlineSoftmax::new();
    /// assert_eq!(state.logsumexp(), f32::NEG_INFINITY);
    /// state.update(&[5.0_f32]);
    /// assert!((state.logsumexp() - 5.0).abs() < 1e-6);
    /// ```
    pub fn logsumexp(&self) -> f32 {
        if !self.max.is_finite() {
            return self.max;
        }
        let log = libm::log(self.sum);
        if self.max.abs() >= HUGE {
            (f64::from(self.max) + log) as f32
        } else {
            (f64::from(self.shift) * core::f64::consts::LN_2 + log) as f32
        }
    }
}

/// Takes the factor of a frame into the stored terms.
#[inline]
fn weigh<T: Element<Compute = f32>>(isa: Isa, e: &mut [T], frame: &Frame) {
    if frame.factor != 1.0 {
        T::scale(
            isa,
            Scale {
                y: e,
                factor: frame.factor as f32,
            },
        );
    }
}

/// [`OnlineSoftmax`] on a chosen ISA: its methods that compute, `online_` before their names, and
/// [`Error::IsaUnavailable`] where the CPU lacks it.
impl Isa {
    /// [`OnlineSoftmax::update`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut state = OnlineSoftmax::new();
    /// Isa::Scalar.online_update(&mut state, &[3.0_f32])?;
    /// assert_eq!(state.logsumexp(), 3.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn online_update<T: Element<Compute = f32>>(self, state: &mut OnlineSoftmax, x: &[T]) -> Result<(), Error> {
        self.require()?;
        state.update_on(self, Pass::Read(x), x);
        Ok(())
    }

    /// [`OnlineSoftmax::update_into`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let (mut state, mut e) = (OnlineSoftmax::new(), [0.0_f32; 2]);
    /// Isa::Scalar.online_update_into(&mut state, &[0.0, 0.0], &mut e)?;
    /// assert_eq!(e, [1.0; 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn online_update_into<T: Element<Compute = f32>>(
        self,
        state: &mut OnlineSoftmax,
        x: &[T],
        e: &mut [T],
    ) -> Result<f32, Error> {
        same_length(x.len(), e.len())?;
        self.require()?;
        let before = *state;
        match state.grow(self, x) {
            Some(frame) => {
                state.add(
                    self,
                    Pass::Write(Place::Apart(x, crate::arch::memory::as_output(&mut *e))),
                    &frame,
                );
                weigh(self, e, &frame);
            }
            None => e.fill(T::narrow(state.special_weight())),
        }
        Ok(state.rescale_factor(&before))
    }

    /// [`OnlineSoftmax::update_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let (mut state, mut x) = (OnlineSoftmax::new(), [0.0_f32; 2]);
    /// Isa::Scalar.online_update_in_place(&mut state, &mut x)?;
    /// assert_eq!(x, [1.0; 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn online_update_in_place<T: Element<Compute = f32>>(
        self,
        state: &mut OnlineSoftmax,
        x: &mut [T],
    ) -> Result<f32, Error> {
        self.require()?;
        Ok(state.update_in_place_on(self, x))
    }

    /// [`OnlineSoftmax::finish`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let (mut state, mut y) = (OnlineSoftmax::new(), [0.0_f32; 2]);
    /// Isa::Scalar.online_update(&mut state, &[3.0_f32; 4])?;
    /// Isa::Scalar.online_finish(&state, &[3.0_f32; 2], &mut y)?;
    /// assert_eq!(y, [0.25; 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn online_finish<T: Element<Compute = f32>, Y: Output<T> + ?Sized>(
        self,
        state: &OnlineSoftmax,
        x: &[T],
        y: &mut Y,
    ) -> Result<(), Error> {
        let y = y.as_uninit(Inside);
        same_length(x.len(), y.len())?;
        self.require()?;
        state.finish_on(self, Place::Apart(x, y));
        Ok(())
    }

    /// [`OnlineSoftmax::finish_in_place`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let (mut state, mut x) = (OnlineSoftmax::new(), [3.0_f32; 4]);
    /// Isa::Scalar.online_update(&mut state, &x)?;
    /// Isa::Scalar.online_finish_in_place(&state, &mut x)?;
    /// assert_eq!(x, [0.25; 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn online_finish_in_place<T: Element<Compute = f32>>(
        self,
        state: &OnlineSoftmax,
        x: &mut [T],
    ) -> Result<(), Error> {
        self.require()?;
        state.finish_on(self, Place::InPlace(x));
        Ok(())
    }
}
