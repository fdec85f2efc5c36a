//! From a score to its masked logit z, a vector at a time and in registers: what stands between load and exp.
//!
//! The order is that of [`Mask`]. Every step is a vector operation with one rounding, so that z has the same bits on
//! every ISA; −∞ comes from selections after the arithmetic, so that what a masked place holds does not matter.

use super::Kernel;
use super::passes::{self, V};
use super::row::{Chunk, LONGEST_BLOCK, Pair, Row, block};
use super::softmax::{guess_at, largest_looked_at, largest_of};
use crate::arch::memory::as_output;
use crate::element::{Element, Float};
use crate::lanes::{Memory, WIDEST};
use crate::mask::{Keep, Mask, MaskValues};
use crate::math::exp::Shift;
use crate::math::tanh::Softcap;
use core::ops::Range;

/// Which steps rows need: a pass of its own for those that most rows are.
#[derive(Clone, Copy)]
pub enum Steps<'m, T: Element> {
    /// z = scale·x.
    Scale,
    /// z = scale·x + mask, of f32.
    Add(&'m [f32]),
    /// z = scale·x + slope·mask, where [`Lanes::ANY_MASK`](crate::lanes::Lanes::ANY_MASK).
    AddSloped(Sloped<'m, T>),
    /// Any, chosen at run time.
    All,
}

/// What the rows of a call have in common.
pub struct Call<'m, T: Element> {
    pub mask: Mask<'m, T>,
    softcap: Option<Softcap<T::Compute>>,
    slope: Option<T::Compute>,
    /// Whether arithmetic on a score of −∞ can give anything but −∞.
    guarded: bool,
    /// Those of rows whose visible places begin with a block, and the whole mask.
    pub steps: Steps<'m, T>,
}

impl<'m, T: Element> Call<'m, T> {
    #[inline(always)]
    pub fn new(mask: Mask<'m, T>) -> Self {
        let (zero, one) = (T::Compute::ZERO, T::Compute::from_i32(1));
        let softcap = (mask.softcap > zero).then(|| Softcap::new(mask.scale, mask.softcap));
        let slope = (mask.slope != one).then_some(mask.slope);
        let guarded = softcap.is_some() || mask.scale <= zero;
        let plain = !guarded && mask.keeps_all();
        Self {
            softcap,
            slope,
            guarded,
            steps: match mask.additive {
                _ if !plain => Steps::All,
                None => Steps::Scale,
                Some((MaskValues::Single(mask), _)) if slope.is_none() => Steps::Add(mask),
                Some((mask, _)) => Steps::AddSloped(Sloped { slope, mask }),
            },
            mask,
        }
    }

    /// Without [`Steps::AddSloped`].
    #[inline(always)]
    pub fn without_any(self) -> Self {
        let steps = match self.steps {
            Steps::AddSloped(_) => Steps::All,
            steps => steps,
        };
        Self { steps, ..self }
    }

    /// The logits of the columns `visible` of row `r`.
    #[inline(always)]
    pub fn logits(&self, r: usize, visible: &Range<usize>) -> Logits<'_, 'm, T> {
        // Whole blocks, so that every element keeps its lane.
        let start = visible.start - visible.start % block::<T>();
        let additive = self.mask.additive_of(r, start, visible.end);
        let keep = self.mask.keep_of(r, start, visible.end);
        let hidden = visible.start - start;
        let steps = match (self.steps, additive) {
            _ if hidden > 0 => Steps::All,
            (Steps::Add(_), Some(MaskValues::Single(mask))) => Steps::Add(mask),
            (Steps::AddSloped(sloped), Some(mask)) => Steps::AddSloped(Sloped { mask, ..sloped }),
            (steps, _) => steps,
        };
        Logits {
            call: self,
            start,
            end: visible.end,
            hidden,
            additive,
            keep,
            steps,
            sink: self.mask.sink_of(r),
        }
    }
}

/// What is added to the scaled scores of a row, whose mask begins where it does.
pub trait Addend<T: Element>: Copy {
    /// Whether it can be −∞.
    const MASKS: bool = true;
    /// See [`Source::COMMON`](super::short_rows::Source::COMMON).
    const COMMON: bool = true;

    /// From column `start` to `end`.
    fn part(self, start: usize, end: usize) -> Self;

    /// About the largest logit of the scores `x`.
    #[inline(always)]
    fn nearest(self, scale: T::Compute, x: &[T]) -> T::Compute {
        largest_of(
            x.len(),
            #[inline(always)]
            |at| self.near(scale * x[at].widen(), at),
        )
    }

    /// About the logit of the scaled score `z` at `at`.
    fn near(self, z: T::Compute, at: usize) -> T::Compute;

    /// The logits of the vector `x` of scores at `at`.
    fn logits<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, scale: V<T, L>, x: V<T, L>, at: usize) -> V<T, L>;
}

/// Nothing: [`Steps::Scale`].
#[derive(Clone, Copy)]
pub struct Nothing;

impl<T: Element> Addend<T> for Nothing {
    const MASKS: bool = false;
    #[inline(always)]
    fn part(self, _: usize, _: usize) -> Self {
        self
    }
    #[inline(always)]
    fn nearest(self, scale: T::Compute, x: &[T]) -> T::Compute {
        // The scale is positive.
        scale * largest_looked_at(x)
    }
    #[inline(always)]
    fn near(self, z: T::Compute, _: usize) -> T::Compute {
        z
    }
    #[inline(always)]
    fn logits<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, scale: V<T, L>, x: V<T, L>, _: usize) -> V<T, L> {
        lanes.mul(scale, x)
    }
}

/// A mask of f32: [`Steps::Add`].
impl<T: Element> Addend<T> for &[f32] {
    #[inline(always)]
    fn part(self, start: usize, end: usize) -> Self {
        &self[start..end]
    }
    #[inline(always)]
    fn near(self, z: T::Compute, at: usize) -> T::Compute {
        z + T::Compute::from_f64(f64::from(self[at]))
    }
    #[inline(always)]
    fn logits<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, scale: V<T, L>, x: V<T, L>, at: usize) -> V<T, L> {
        lanes.mul_add_unmasked(scale, x, T::Compute::load_single(lanes, &self[at..], 0.0))
    }
}

/// slope·mask, of a mask of any type: [`Steps::AddSloped`].
#[derive(Clone, Copy)]
pub struct Sloped<'m, T: Element> {
    /// 1 if none.
    slope: Option<T::Compute>,
    mask: MaskValues<'m, T>,
}

impl<'m, T: Element> Sloped<'m, T> {
    /// All of it.
    #[inline(always)]
    pub fn whole(&self) -> SlopedPart<'_, 'm, T> {
        SlopedPart {
            of: self,
            start: 0,
            end: self.mask.len(),
        }
    }
}

/// A part of it: words that stay in registers, while a copy of its mask and slope would go through memory for each block.
#[derive(Clone, Copy)]
pub struct SlopedPart<'a, 'm, T: Element> {
    of: &'a Sloped<'m, T>,
    start: usize,
    end: usize,
}

impl<T: Element> Addend<T> for SlopedPart<'_, '_, T> {
    const COMMON: bool = false;
    #[inline(always)]
    fn part(self, start: usize, end: usize) -> Self {
        Self {
            start: self.start + start,
            end: self.start + end,
            ..self
        }
    }
    #[inline(always)]
    fn near(self, z: T::Compute, at: usize) -> T::Compute {
        near_with(z, self.of.slope, self.of.mask.get(self.start + at))
    }
    #[inline(always)]
    fn logits<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, scale: V<T, L>, x: V<T, L>, at: usize) -> V<T, L> {
        let mask = load::<T, L>(lanes, &self.of.mask, self.start + at, self.end);
        match self.of.slope {
            None => lanes.mul_add_unmasked(scale, x, mask),
            Some(slope) => {
                let product = lanes.mul(lanes.splat(slope), mask);
                masked_where::<T, L>(lanes, lanes.mul_add(scale, x, product), mask)
            }
        }
    }
}

/// About z + slope·mask: −∞ where the mask is, whatever z holds.
#[inline(always)]
fn near_with<F: Float>(z: F, slope: Option<F>, mask: F) -> F {
    match slope {
        _ if mask == -F::INFINITY => mask,
        Some(slope) => z + slope * mask,
        None => z + mask,
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

/// A row of scores and the place of its exps; what is loaded are the logits, by a scale and what is added.
pub struct Scaled<'a, T: Element, A>(pub Pair<'a, T, T::Compute>, pub T::Compute, pub A);

impl<T: Element, A: Addend<T>> Row<T, T::Compute> for Scaled<'_, T, A> {
    type Chunk = Self;
    #[inline(always)]
    fn blocks(self) -> (impl Iterator<Item = Self>, Self) {
        let Self(row, scale, added) = self;
        let len = row.0.len();
        let tail = added.part(len - len % block::<T>(), len);
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

impl<T: Element, A: Addend<T>> Chunk<T, T::Compute> for Scaled<'_, T, A> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }
    #[inline(always)]
    fn absent(&self, near: T::Compute) -> T::Compute {
        score_of::<T>(near, self.1)
    }
    #[inline(always)]
    fn prefetch<L: Memory<T> + Memory<T::Compute>>(&mut self, lanes: L, at: usize) {
        self.0.prefetch(lanes, at);
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

/// The logits of one row: `at` counts from column `start`.
pub struct Logits<'c, 'm, T: Element> {
    pub call: &'c Call<'m, T>,
    pub start: usize,
    pub end: usize,
    /// Columns from `start` on that are not visible.
    hidden: usize,
    additive: Option<MaskValues<'m, T>>,
    keep: Keep<'m>,
    pub steps: Steps<'m, T>,
    /// −∞ for none.
    pub sink: T::Compute,
}

impl<T: Element> Logits<'_, '_, T> {
    /// Those of the vector at `at`, by all steps.
    #[inline(always)]
    fn all<L: Memory<T> + Memory<T::Compute>>(&self, lanes: L, x: V<T, L>, at: usize) -> V<T, L> {
        let scale = lanes.splat(self.call.mask.scale);
        let capped = self.call.softcap.map(
            #[inline(always)]
            |softcap| softcap.of(lanes, x),
        );
        let mask = match &self.additive {
            Some(mask) => Some(load::<T, L>(lanes, mask, at, usize::MAX)),
            None => None,
        };
        let added = match (mask, self.call.slope) {
            (Some(mask), Some(slope)) => Some(lanes.mul(lanes.splat(slope), mask)),
            (mask, _) => mask,
        };
        let mut z = match (capped, added) {
            (Some(z), Some(added)) => lanes.add(z, added),
            (Some(z), None) => z,
            (None, Some(added)) => lanes.mul_add(scale, x, added),
            (None, None) => lanes.mul(scale, x),
        };
        if self.call.guarded {
            // What is −∞ stays so, but for +∞ and NaN that are added.
            let absent = match added {
                Some(added) => lanes.add(x, added),
                None => x,
            };
            z = lanes.select_below(z, absent, x, lanes.splat(T::Compute::LEAST));
        }
        if let Some(mask) = mask {
            z = masked_where::<T, L>(lanes, z, mask);
        }
        z = kept::<T, L>(lanes, &self.keep, at, z);
        if at < self.hidden {
            let hidden = lanes.splat(T::Compute::from_i32((self.hidden - at) as i32));
            let least = lanes.splat(-T::Compute::INFINITY);
            z = lanes.select_below(z, least, places::<T, L>(lanes), hidden);
        }
        z
    }

    /// The shift of the ordinary path, from the first, the middle and the last visible place, and the sink; 0 for up to
    /// 16 places, as in softmax.
    #[inline(always)]
    pub fn guess(&self, x: &[T], fused: bool) -> Shift<T::Compute> {
        guess_at(self.nearest(x), fused).1
    }

    /// What the guess takes for the maximum.
    #[inline(always)]
    pub fn nearest(&self, x: &[T]) -> T::Compute {
        if x.len() - self.hidden <= 16 {
            return -T::Compute::INFINITY;
        }
        let middle = self.hidden + (x.len() - self.hidden) / 2;
        let mut m = self.sink;
        for at in [self.hidden, middle, x.len() - 1] {
            let z = self.near(x[at].widen(), at);
            m = if z > m { z } else { m };
        }
        m
    }

    /// About the logit of the score `x` at `at`.
    #[inline(always)]
    fn near(&self, x: T::Compute, at: usize) -> T::Compute {
        let kept = match self.keep {
            Keep::All => true,
            Keep::Bytes(keep) => keep[at] != 0,
            Keep::Bits(keep) => keep[at / 8] >> (at % 8) & 1 != 0,
        };
        if !kept {
            return -T::Compute::INFINITY;
        }
        let mut z = self.call.mask.scale * x;
        if self.call.softcap.is_some() {
            let cap = self.call.mask.softcap;
            z = if z > cap { cap } else { z };
            z = if z < -cap { -cap } else { z };
        }
        match &self.additive {
            Some(mask) => near_with(z, self.call.slope, mask.get(at)),
            None => z,
        }
    }
}

/// The logits of at most a block of a row by all steps, −∞ behind the last: their many instructions are compiled once, as
/// a function that every pass calls for each block.
struct LogitsOf<'a, 'c, 'm, T: Element> {
    logits: &'a Logits<'c, 'm, T>,
    x: &'a [T],
    /// The first column, from the start of `logits`.
    at: usize,
    z: &'a mut Block<T>,
}

/// Room for a block of logits.
pub type Block<T> = [<T as Element>::Compute; LONGEST_BLOCK];

/// The logits from column `at` on, at most a block of them, in `z`; `x` is the whole row. Where the next block begins.
#[inline(always)]
pub fn next_block<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    logits: &Logits<'_, '_, T>,
    x: &[T],
    at: usize,
    z: &mut Block<T>,
) -> usize {
    let end = x.len().min(at + block::<T>());
    let x = &x[at..end];
    lanes.call(LogitsOf { logits, x, at, z });
    end
}

impl<T: Element> Kernel<T> for LogitsOf<'_, '_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { logits, x, at, z } = self;
        let mut i = 0;
        while i < x.len() {
            let v = passes::load(lanes, &x[i..], -T::Compute::INFINITY);
            Memory::<T::Compute>::store(lanes, as_output(&mut z[i..]), logits.all(lanes, v, at + i));
            i += T::Compute::LANES;
        }
    }
}

/// −∞ where `key` is −∞, else `z`.
#[inline(always)]
fn masked_where<T: Element, L: Memory<T>>(lanes: L, z: V<T, L>, key: V<T, L>) -> V<T, L> {
    lanes.select_below(z, key, key, lanes.splat(T::Compute::LEAST))
}

/// The vector of an additive mask at `at`, 0 from `end` on and behind its end.
#[inline(always)]
fn load<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    mask: &MaskValues<'_, T>,
    at: usize,
    end: usize,
) -> V<T, L> {
    let end = end.min(mask.len());
    match mask {
        MaskValues::Single(mask) => T::Compute::load_single(lanes, &mask[at..end], 0.0),
        MaskValues::Own(mask) => {
            Memory::<T>::prefetch(lanes, &mask[at..end]);
            passes::load(lanes, &mask[at..end], T::Compute::ZERO)
        }
        #[cfg(feature = "half")]
        MaskValues::F16(mask) if T::IS_SINGLE => Memory::<T::Compute>::load_f16(lanes, &mask[at..end]),
        #[cfg(feature = "half")]
        MaskValues::Bf16(mask) if T::IS_SINGLE => Memory::<T::Compute>::load_bf16(lanes, &mask[at..end]),
        // Beside f32 alone: see `MaskElement`.
        #[cfg(feature = "half")]
        MaskValues::F16(_) | MaskValues::Bf16(_) => lanes.splat(T::Compute::ZERO),
    }
}

/// `z`, and −∞ in the lanes that are not kept or behind the end.
#[inline(always)]
fn kept<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, keep: &Keep<'_>, at: usize, z: V<T, L>) -> V<T, L> {
    let n = T::Compute::LANES;
    let bits = match keep {
        Keep::All => return z,
        Keep::Bytes(keep) => lanes.bits_of(&keep[at..keep.len().min(at + n)]),
        Keep::Bits(keep) => {
            let mut bits = 0;
            for i in (at / 8..keep.len().min((at + n) / 8)).rev() {
                bits = bits << 8 | u32::from(keep[i]);
            }
            bits
        }
    };
    Memory::<T::Compute>::keep_bits(lanes, z, bits)
}

/// Lane i holds i.
#[inline(always)]
fn places<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L) -> V<T, L> {
    let mut flat = [T::Compute::ZERO; WIDEST];
    for (i, place) in flat.iter_mut().enumerate() {
        *place = T::Compute::from_i32(i as i32);
    }
    Memory::<T::Compute>::load(lanes, &flat)
}
