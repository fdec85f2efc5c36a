//! From a score to its masked logit z, a vector at a time and in registers: what stands between load and exp.
//!
//! The order is that of [`Mask`]. Every step is a vector operation with one rounding, so that z has the same bits on
//! every ISA; −∞ comes from selections after the arithmetic, so that what a masked place holds does not matter.

use super::Kernel;
use super::passes::{self, V};
use super::row::{Chunk, LONGEST_BLOCK, Pair, Row, block};
use super::softmax::guess_at;
use crate::arch::memory::as_output;
#[cfg(feature = "half")]
use crate::arch::memory::copy_first;
use crate::element::{Element, Float};
use crate::lanes::{Memory, WIDEST};
#[cfg(feature = "half")]
use crate::mask::single;
use crate::mask::{Broadcast, Keep, Mask, MaskValues};
use crate::math::exp::Shift;
use crate::math::tanh::Softcap;
use core::ops::Range;

/// Which steps rows need: a pass of its own for the two that most rows are. `M` is the additive mask.
#[derive(Clone, Copy)]
pub enum Steps<M> {
    /// z = scale·x.
    Scale,
    /// z = scale·x + mask.
    Add(M),
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
    /// Those of rows whose visible places begin with a block.
    pub steps: Steps<(&'m [f32], Broadcast)>,
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
                None if plain => Steps::Scale,
                Some((MaskValues::Single(values), rows)) if plain && slope.is_none() => Steps::Add((values, rows)),
                _ => Steps::All,
            },
            mask,
        }
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
            (Steps::Scale, _) if hidden == 0 => Steps::Scale,
            (Steps::Add(_), Some(MaskValues::Single(mask))) if hidden == 0 => Steps::Add(mask),
            _ => Steps::All,
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

/// The logits of the vector `x` of scores, by [`Steps::Scale`].
#[inline(always)]
pub fn scaled<T: Element, L: Memory<T>>(lanes: L, scale: T::Compute, x: V<T, L>) -> V<T, L> {
    lanes.mul(lanes.splat(scale), x)
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

/// Those by [`Steps::Add`], the mask beginning at the same place.
#[inline(always)]
pub fn added<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    scale: T::Compute,
    x: V<T, L>,
    mask: &[f32],
) -> V<T, L> {
    let mask = T::Compute::load_single(lanes, mask, 0.0);
    lanes.mul_add_unmasked(lanes.splat(scale), x, mask)
}

/// A row of scores and the place of its exps; what is loaded are the logits of [`Steps::Scale`].
pub struct Scaled<'a, T: Element>(pub Pair<'a, T, T::Compute>, pub T::Compute);

/// The same with the logits of [`Steps::Add`].
pub struct Added<'a, T: Element>(pub Pair<'a, T, T::Compute>, pub T::Compute, pub &'a [f32]);

impl<T: Element> Row<T, T::Compute> for Scaled<'_, T> {
    type Chunk = Self;
    #[inline(always)]
    fn blocks(self) -> (impl Iterator<Item = Self>, Self) {
        let (pairs, tail) = self.0.blocks();
        let scale = self.1;
        (pairs.map(move |pair| Self(pair, scale)), Self(tail, scale))
    }
}

impl<T: Element> Row<T, T::Compute> for Added<'_, T> {
    type Chunk = Self;
    #[inline(always)]
    fn blocks(self) -> (impl Iterator<Item = Self>, Self) {
        let (pairs, tail) = self.0.blocks();
        let (scale, mask) = (self.1, self.2.chunks_exact(block::<T>()));
        let tail = Self(tail, scale, mask.remainder());
        (pairs.zip(mask).map(move |(pair, mask)| Self(pair, scale, mask)), tail)
    }
}

/// A chunk whose results go where those of its pair go.
macro_rules! chunk_of_pair {
    ($chunk:ident, |$this:ident, $lanes:ident, $at:ident, $x:ident| $logits:expr) => {
        impl<T: Element> Chunk<T, T::Compute> for $chunk<'_, T> {
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
            fn load<L: Memory<T> + Memory<T::Compute>>(&self, $lanes: L, $at: usize) -> V<T, L> {
                let ($this, $x) = (self, self.0.load($lanes, $at));
                $logits
            }
            #[inline(always)]
            fn load_or<L: Memory<T> + Memory<T::Compute>>(&self, $lanes: L, $at: usize, fill: T::Compute) -> V<T, L> {
                let ($this, $x) = (self, self.0.load_or($lanes, $at, fill));
                $logits
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
    };
}

chunk_of_pair!(Scaled, |this, lanes, at, x| scaled::<T, L>(lanes, this.1, x));
chunk_of_pair!(Added, |this, lanes, at, x| added::<T, L>(
    lanes,
    this.1,
    x,
    &this.2[at..]
));

/// The logits of one row: `at` counts from column `start`.
pub struct Logits<'c, 'm, T: Element> {
    pub call: &'c Call<'m, T>,
    pub start: usize,
    pub end: usize,
    /// Columns from `start` on that are not visible.
    hidden: usize,
    additive: Option<MaskValues<'m, T>>,
    keep: Keep<'m>,
    pub steps: Steps<&'m [f32]>,
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
        let mask = self.additive.as_ref().map(
            #[inline(always)]
            |mask| load::<T, L>(lanes, mask, at),
        );
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
            // A score of −∞ stays −∞, unless +∞ or NaN is added to it.
            let absent = match added {
                Some(added) => lanes.add(x, added),
                None => x,
            };
            z = lanes.select_below(z, absent, x, lanes.splat(T::Compute::LEAST));
        }
        if let Some(mask) = mask {
            z = masked_where::<T, L>(lanes, z, mask);
        }
        let least = lanes.splat(-T::Compute::INFINITY);
        if !matches!(self.keep, Keep::All) {
            let half = lanes.splat(T::Compute::from_f64(0.5));
            z = lanes.select_below(z, least, kept::<T, L>(lanes, &self.keep, at), half);
        }
        if at < self.hidden {
            let hidden = lanes.splat(T::Compute::from_i32((self.hidden - at) as i32));
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
            // Whatever the score is.
            Some(mask) if mask.get(at) == -T::Compute::INFINITY => mask.get(at),
            Some(mask) => z + self.call.mask.slope * mask.get(at),
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

/// The vector of an additive mask at `at`, 0 behind its end.
#[inline(always)]
fn load<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, mask: &MaskValues<'_, T>, at: usize) -> V<T, L> {
    match mask {
        MaskValues::Single(mask) => T::Compute::load_single(lanes, &mask[at..], 0.0),
        MaskValues::Own(mask) => passes::load(lanes, &mask[at..], T::Compute::ZERO),
        // Beside logits of a half type they are `Own`.
        #[cfg(feature = "half")]
        MaskValues::F16(_) | MaskValues::Bf16(_) if !T::IS_COMPUTE => lanes.splat(T::Compute::ZERO),
        #[cfg(feature = "half")]
        MaskValues::F16(mask) => widened::<T::Compute, L, _>(lanes, &mask[at..]),
        #[cfg(feature = "half")]
        MaskValues::Bf16(mask) => widened::<T::Compute, L, _>(lanes, &mask[at..]),
    }
}

/// The same of halves beside logits of another type: a loop over conversions, which the compiler turns into vector code.
#[cfg(feature = "half")]
#[inline(always)]
fn widened<F: Float, L: Memory<F>, H: Element<Compute = f32>>(lanes: L, mask: &[H]) -> L::V {
    let (mut halves, mut values) = ([H::narrow(0.0); WIDEST], [F::ZERO; WIDEST]);
    copy_first::<H, WIDEST>(&mask[..mask.len().min(F::LANES)], as_output(&mut halves));
    for i in 0..F::LANES {
        values[i] = single(halves[i]);
    }
    lanes.load(&values)
}

/// 1 in the lanes that are kept, 0 in the others and behind the end.
#[inline(always)]
fn kept<T: Element, L: Memory<T> + Memory<T::Compute>>(lanes: L, keep: &Keep<'_>, at: usize) -> V<T, L> {
    let n = T::Compute::LANES;
    let mut flat = [T::Compute::ZERO; WIDEST];
    match keep {
        Keep::All => {}
        Keep::Bytes(keep) if keep.len() - at >= n => {
            let keep = &keep[at..at + n];
            for i in 0..n {
                flat[i] = T::Compute::from_i32(i32::from(keep[i] != 0));
            }
        }
        Keep::Bytes(keep) => {
            for i in at..keep.len() {
                flat[i - at] = T::Compute::from_i32(i32::from(keep[i] != 0));
            }
        }
        Keep::Bits(keep) => {
            let mut bits = 0;
            for i in (at / 8..keep.len().min((at + n) / 8)).rev() {
                bits = bits << 8 | u32::from(keep[i]);
            }
            for (i, lane) in flat.iter_mut().enumerate().take(n) {
                *lane = T::Compute::from_i32((bits >> i & 1) as i32);
            }
        }
    }
    Memory::<T::Compute>::load(lanes, &flat)
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
