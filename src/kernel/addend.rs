//! What is added to scaled scores, a vector at a time and in registers: masks of every type.
//!
//! −∞ that is added to a finite score gives −∞, and to +∞ or NaN gives NaN: nothing is selected here. A row whose sum is NaN
//! is computed once more by [`LogitsOf`](super::logits::LogitsOf), which knows a masked place by its mask.

use super::passes::{self, V};
use super::row::{Chunk, Pair, Row, block, whole};
use super::softmax::largest_of;
use crate::element::{Element, Float};
use crate::lanes::Memory;

/// What is added to the scaled scores of a row, whose mask begins where it does.
pub trait Addend<T: Element>: Copy {
    /// Whether it can be −∞.
    const MASKS: bool = true;
    /// See [`Chunk::COMMON`].
    const COMMON: bool = true;

    /// From column `start` to `end`.
    fn part(self, start: usize, end: usize) -> Self;

    /// Of all masks those of the row of `len` columns whose first is at `start`.
    #[inline(always)]
    fn row(self, start: usize, len: usize) -> Self {
        self.part(start, start + len)
    }

    /// About the logit of the score `x` at `at`; NaN or −∞ where it is masked.
    fn near(self, scale: T::Compute, x: T::Compute, at: usize) -> T::Compute;

    /// What the guess of the scores `x` takes for their largest logit: 0 for up to 16.
    #[inline(always)]
    fn nearest(self, scale: T::Compute, x: &[T]) -> T::Compute {
        largest_of(
            x.len(),
            #[inline(always)]
            |at| self.near(scale, x[at].widen(), at),
        )
    }

    /// The logits of the vector `x` of scores at `at`.
    fn logits<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, scale: V<T, L>, x: V<T, L>, at: usize) -> V<T, L>;
}

/// Nothing.
#[derive(Clone, Copy)]
pub struct Nothing;

impl<T: Element> Addend<T> for Nothing {
    const MASKS: bool = false;
    #[inline(always)]
    fn part(self, _: usize, _: usize) -> Self {
        self
    }
    #[inline(always)]
    fn logits<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, scale: V<T, L>, x: V<T, L>, _: usize) -> V<T, L> {
        lanes.mul(scale, x)
    }
    #[inline(always)]
    fn near(self, scale: T::Compute, x: T::Compute, _: usize) -> T::Compute {
        scale * x
    }
}

/// Values of an additive mask, of some type.
pub trait Values<T: Element>: Copy {
    /// See [`Chunk::COMMON`].
    const COMMON: bool = false;
    /// From column `start` to `end`.
    fn part(self, start: usize, end: usize) -> Self;
    /// The one at `at`.
    fn get(self, at: usize) -> T::Compute;
    /// The vector at `at`, 0 behind the end.
    fn vector<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, at: usize) -> V<T, L>;
}

/// Those of [`MaskValues::Single`](crate::mask::MaskValues::Single).
#[derive(Clone, Copy)]
pub struct Single<'a>(pub &'a [f32]);
/// Those of [`MaskValues::Own`](crate::mask::MaskValues::Own).
#[derive(Clone, Copy)]
pub struct Own<'a, T>(pub &'a [T]);
/// Those of another type that a computation in f32 reads.
#[cfg(feature = "half")]
#[derive(Clone, Copy)]
pub struct Narrow<'a, H>(pub &'a [H]);
/// What [`MaskOf`](super::logits::MaskOf) took.
#[derive(Clone, Copy)]
pub struct Taken<'a, F>(pub &'a [F]);

macro_rules! values {
    ($($mask:ty $({$($more:tt)*})?: |$value:ident| $get:expr, |$lanes:ident, $values:ident| $vector:expr;)*) => {$(
        impl<T: Element> Values<T> for $mask {
            $($($more)*)?
            #[inline(always)]
            fn get(self, at: usize) -> T::Compute {
                let $value = self.0[at];
                $get
            }
            #[inline(always)]
            fn part(self, start: usize, end: usize) -> Self {
                Self(&self.0[start..end])
            }
            #[inline(always)]
            fn vector<L: Memory<T> + Memory<T::Compute>>(self, $lanes: L, at: usize) -> V<T, L> {
                let $values = &self.0[at..];
                $vector
            }
        }
    )*};
}
values! {
    Single<'_> {
        const COMMON: bool = true;
    }: |value| T::Compute::from_f64(f64::from(value)), |lanes, values| T::Compute::load_single(lanes, values, 0.0);
    Own<'_, T>: |value| value.widen(), |lanes, values| {
        Memory::<T>::prefetch(lanes, values);
        passes::load(lanes, values, T::Compute::ZERO)
    };
    Taken<'_, T::Compute>: |value| value, |lanes, values| passes::load::<T::Compute, L>(lanes, values, T::Compute::ZERO);
}
#[cfg(feature = "half")]
values! {
    Narrow<'_, half::f16>: |value| T::Compute::from_f64(f64::from(value)), |lanes, values| Memory::<T::Compute>::load_f16(lanes, values);
    Narrow<'_, half::bf16>: |value| T::Compute::from_f64(f64::from(value)), |lanes, values| Memory::<T::Compute>::load_bf16(lanes, values);
}

/// Evaluates an expression with the [`Values`] of an additive mask, or another if there is none; `$t` is the type of the
/// scores.
macro_rules! with_values {
    ($t:ty, $mask:expr, $values:ident => $with:expr, $without:expr) => {
        match $mask {
            None => $without,
            Some($crate::mask::MaskValues::Single(values)) => {
                let $values = $crate::kernel::addend::Single(values);
                $with
            }
            Some($crate::mask::MaskValues::Own(values)) => {
                let $values = $crate::kernel::addend::Own(values);
                $with
            }
            #[cfg(feature = "half")]
            Some($crate::mask::MaskValues::F16(values)) if <$t>::IS_SINGLE => {
                let $values = $crate::kernel::addend::Narrow(values);
                $with
            }
            #[cfg(feature = "half")]
            Some($crate::mask::MaskValues::Bf16(values)) if <$t>::IS_SINGLE => {
                let $values = $crate::kernel::addend::Narrow(values);
                $with
            }
            // Beside f32 alone: see `MaskElement`.
            #[cfg(feature = "half")]
            Some($crate::mask::MaskValues::F16(_) | $crate::mask::MaskValues::Bf16(_)) => $without,
        }
    };
}
pub(super) use with_values;

/// Evaluates an expression with the [`Addend`] of an additive mask beside its slope, or of a keep mask, where there is a pass
/// for it in registers, or another; `$t` is the type of the scores, and bf16 is seldom that of their mask where it is f32.
macro_rules! with_addend {
    ($t:ty, ($additive:expr, $slope:expr, $keep:expr), $added:ident => $with:expr, $without:expr) => {
        match $additive {
            Some($crate::mask::MaskValues::Single(values)) => {
                let $added = $crate::kernel::addend::Sloped($slope, $crate::kernel::addend::Single(values));
                $with
            }
            #[cfg(feature = "half")]
            Some($crate::mask::MaskValues::F16(values))
                if <$t>::IS_SINGLE
                    && $slope == <<$t as $crate::element::Element>::Compute as $crate::element::Float>::from_i32(1) =>
            {
                let $added = $crate::kernel::addend::Added($crate::kernel::addend::Narrow(values));
                $with
            }
            Some(_) => $without,
            None => match $keep {
                $crate::mask::Keep::Bytes(keep) => {
                    let $added = $crate::kernel::addend::Excluded($crate::kernel::addend::Bytes(keep));
                    $with
                }
                $crate::mask::Keep::Bits(keep) => {
                    let $added = $crate::kernel::addend::Excluded($crate::kernel::addend::Bits(keep));
                    $with
                }
                $crate::mask::Keep::All => $without,
            },
        }
    };
}
pub(super) use with_addend;

/// A mask.
#[derive(Clone, Copy)]
pub struct Added<M>(pub M);

impl<T: Element, M: Values<T>> Addend<T> for Added<M> {
    const COMMON: bool = M::COMMON;
    #[inline(always)]
    fn part(self, start: usize, end: usize) -> Self {
        Self(self.0.part(start, end))
    }
    #[inline(always)]
    fn logits<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, scale: V<T, L>, x: V<T, L>, at: usize) -> V<T, L> {
        lanes.mul_add(scale, x, self.0.vector(lanes, at))
    }
    #[inline(always)]
    fn near(self, scale: T::Compute, x: T::Compute, at: usize) -> T::Compute {
        scale * x + self.0.get(at)
    }
}

/// slope·mask; the slope is positive.
#[derive(Clone, Copy)]
pub struct Sloped<F, M>(pub F, pub M);

impl<T: Element, M: Values<T>> Addend<T> for Sloped<T::Compute, M> {
    const COMMON: bool = false;
    #[inline(always)]
    fn part(self, start: usize, end: usize) -> Self {
        Self(self.0, self.1.part(start, end))
    }
    #[inline(always)]
    fn logits<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, scale: V<T, L>, x: V<T, L>, at: usize) -> V<T, L> {
        let mask = self.1.vector(lanes, at);
        lanes.mul_add(scale, x, lanes.mul(lanes.splat(self.0), mask))
    }
    #[inline(always)]
    fn near(self, scale: T::Compute, x: T::Compute, at: usize) -> T::Compute {
        scale * x + self.0 * self.1.get(at)
    }
}

/// A keep mask, of some type.
pub trait Kept<T: Element>: Copy {
    /// From column `start` to `end`; `start` is a multiple of 8.
    fn part(self, start: usize, end: usize) -> Self;
    /// See [`Addend::row`].
    fn row(self, start: usize, len: usize) -> Self;
    /// Whether the place at `at` is kept.
    fn keeps(self, at: usize) -> bool;
    /// The vector `z` at `at`, −∞ where it is not kept.
    fn keep<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, z: V<T, L>, at: usize) -> V<T, L>;
}

/// [`Keep::Bytes`](crate::mask::Keep::Bytes)
#[derive(Clone, Copy)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<T: Element> Kept<T> for Bytes<'_> {
    #[inline(always)]
    fn part(self, start: usize, end: usize) -> Self {
        Self(&self.0[start..end])
    }
    #[inline(always)]
    fn row(self, start: usize, len: usize) -> Self {
        Self(&self.0[start..][..len])
    }
    #[inline(always)]
    fn keeps(self, at: usize) -> bool {
        self.0[at] != 0
    }
    #[inline(always)]
    fn keep<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, z: V<T, L>, at: usize) -> V<T, L> {
        let end = self.0.len().min(at + T::Compute::LANES);
        Memory::<T::Compute>::keep_bits(lanes, z, lanes.bits_of(&self.0[at..end]))
    }
}

/// [`Keep::Bits`](crate::mask::Keep::Bits)
#[derive(Clone, Copy)]
pub struct Bits<'a>(pub &'a [u8]);

impl<T: Element> Kept<T> for Bits<'_> {
    #[inline(always)]
    fn part(self, start: usize, end: usize) -> Self {
        Self(&self.0[start / 8..end.div_ceil(8)])
    }
    #[inline(always)]
    fn row(self, start: usize, len: usize) -> Self {
        Self(&self.0[start..][..len.div_ceil(8)])
    }
    #[inline(always)]
    fn keeps(self, at: usize) -> bool {
        self.0[at / 8] >> (at % 8) & 1 != 0
    }
    #[inline(always)]
    fn keep<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, z: V<T, L>, at: usize) -> V<T, L> {
        Memory::<T::Compute>::keep_bits(lanes, z, bits_from(&self.0[at / 8..]))
    }
}

/// Nothing, but −∞ where a mask does not keep.
#[derive(Clone, Copy)]
pub struct Excluded<K>(pub K);

impl<T: Element, K: Kept<T>> Addend<T> for Excluded<K> {
    const COMMON: bool = false;
    #[inline(always)]
    fn part(self, start: usize, end: usize) -> Self {
        Self(self.0.part(start, end))
    }
    #[inline(always)]
    fn row(self, start: usize, len: usize) -> Self {
        Self(self.0.row(start, len))
    }
    #[inline(always)]
    fn logits<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, scale: V<T, L>, x: V<T, L>, at: usize) -> V<T, L> {
        self.0.keep(lanes, lanes.mul(scale, x), at)
    }
    #[inline(always)]
    fn near(self, scale: T::Compute, x: T::Compute, at: usize) -> T::Compute {
        if <K as Kept<T>>::keeps(self.0, at) {
            scale * x
        } else {
            -T::Compute::INFINITY
        }
    }
}

/// A score whose logit is about `near`; −∞ where there is none, or none in f16.
#[inline(always)]
fn score_of<T: Element>(near: T::Compute, scale: T::Compute) -> T::Compute {
    let least = if T::IS_COMPUTE {
        T::Compute::LEAST
    } else {
        T::Compute::from_i32(-(1 << 15))
    };
    let score = near / scale;
    if score > least && score < -least {
        score
    } else {
        -T::Compute::INFINITY
    }
}

/// A row of scores and the place of its exps; what is loaded are the logits, by a scale and what is added. `ZEROS`: see
/// [`Chunk::ZEROS`].
pub struct Scaled<'a, T: Element, A, const ZEROS: bool>(pub Pair<'a, T, T::Compute>, pub T::Compute, pub A);

impl<T: Element, A: Addend<T>, const ZEROS: bool> Row<T, T::Compute> for Scaled<'_, T, A, ZEROS> {
    type Chunk = Self;
    #[inline(always)]
    fn blocks(self) -> (impl Iterator<Item = Self>, Self) {
        let Self(row, scale, added) = self;
        let len = row.0.len();
        let tail = added.part(whole::<T>(len), len);
        let (pairs, last) = row.blocks();
        let mut at = 0;
        let blocks = pairs.map(
            #[inline(always)]
            move |pair| {
                let start = at;
                at += block::<T>();
                Self(pair, scale, added.part(start, at))
            },
        );
        (blocks, Self(last, scale, tail))
    }
}

impl<T: Element, A: Addend<T>, const ZEROS: bool> Chunk<T, T::Compute> for Scaled<'_, T, A, ZEROS> {
    const COMMON: bool = A::COMMON;
    const ZEROS: bool = ZEROS && A::MASKS;
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }
    #[inline(always)]
    fn absent(&self, near: T::Compute) -> T::Compute {
        score_of::<T>(near, self.1)
    }
    #[inline(always)]
    fn beside<L: Memory<T> + Memory<T::Compute>>(&mut self, lanes: L, at: usize) {
        self.0.beside(lanes, at);
    }
    #[inline(always)]
    fn prefetch_stored<L: Memory<T::Compute>>(&mut self, lanes: L, at: usize) {
        self.0.prefetch_stored(lanes, at);
    }
    #[inline(always)]
    fn load<L: Memory<T> + Memory<T::Compute>>(&self, lanes: L, at: usize) -> V<T, L> {
        self.2.logits(lanes, lanes.splat(self.1), self.0.load(lanes, at), at)
    }
    #[inline(always)]
    fn load_or<L: Memory<T> + Memory<T::Compute>>(&self, lanes: L, at: usize, fill: T::Compute) -> V<T, L> {
        self.2
            .logits(lanes, lanes.splat(self.1), self.0.load_or(lanes, at, fill), at)
    }
    #[inline(always)]
    fn store<L: Memory<T::Compute>>(&mut self, lanes: L, at: usize, v: L::V) {
        self.0.store(lanes, at, v);
    }
    #[inline(always)]
    fn store_partial<L: Memory<T::Compute>>(&mut self, lanes: L, at: usize, v: L::V) {
        self.0.store_partial(lanes, at, v);
    }
}

/// The bits of the first four bytes, those that are missing 0.
#[inline(always)]
fn bits_from(bytes: &[u8]) -> u32 {
    if let Some(four) = bytes.first_chunk() {
        return u32::from_le_bytes(*four);
    }
    let mut bits = 0;
    for &byte in bytes.iter().rev() {
        bits = bits << 8 | u32::from(byte);
    }
    bits
}
