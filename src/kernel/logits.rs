//! From a score to its masked logit z: which steps stand between load and exp.
//!
//! The steps of most rows are an [`Addend`](super::addend::Addend) of the exp pass, which has z in registers alone. Of
//! others the additive mask, with −∞ where a place is excluded, or z itself is computed a [`CHUNK`] at a time. The order
//! is that of [`Mask`]. Every step is a vector operation with one rounding, so that z has the same bits on every ISA. In
//! [`LogitsOf`] −∞ comes from selections after the arithmetic, so that what a masked place holds does not matter.

use super::Kernel;
use super::addend::{Added, Addend, Bits, Bytes, Excluded, Kept, Nothing, Single, Sloped, Values, with_values};
use super::passes::{self, V};
use super::row::{LONGEST_BLOCK, block};
use super::softmax::guess_at;
use crate::arch::memory::as_output;
use crate::element::{Element, Float};
use crate::lanes::{Lanes, Memory, WIDEST};
use crate::mask::{Keep, Mask, MaskValues};
use crate::math::exp::Shift;
use crate::math::tanh::Softcap;
use core::mem::MaybeUninit;
use core::ops::Range;

/// Which steps rows need: a pass of its own for those that most rows are.
#[derive(Clone, Copy)]
pub enum Steps<'m> {
    /// z = scale·x.
    Scale,
    /// z = scale·x + mask, of f32.
    Add(&'m [f32]),
    /// z = scale·x + slope·mask, of a mask of any type; the slope is positive.
    AddSloped,
    /// z = scale·x, where the keep mask does not exclude it.
    Keep,
    /// z = scale·x + slope·mask, or scale·x, where some places are excluded.
    Exclude,
    /// Any.
    All,
}

/// Evaluates an expression with what is added to the rows of a call whose logits stay in registers, the whole masks, or
/// another for other rows; `$t` is the type of the scores.
macro_rules! with_added {
    ($t:ty, $call:expr, $added:ident => $with:expr, $without:expr) => {
        match $call.steps {
            $crate::kernel::logits::Steps::Scale => {
                let $added = $crate::kernel::addend::Nothing;
                $with
            }
            $crate::kernel::logits::Steps::Add(values) => {
                let $added = $crate::kernel::addend::Added($crate::kernel::addend::Single(values));
                $with
            }
            $crate::kernel::logits::Steps::AddSloped | $crate::kernel::logits::Steps::Keep
                if <$t>::IS_SINGLE && !L::COMPACT =>
            {
                $crate::kernel::addend::with_addend!(
                    $t,
                    ($call.mask.values(), $call.slope, $call.mask.kept()),
                    $added => $with,
                    $without
                )
            }
            _ => $without,
        }
    };
}
pub(super) use with_added;

impl Steps<'_> {
    /// Whether [`LogitsInto`] takes fewer than all.
    #[inline(always)]
    fn add<T: Element, L: Lanes<T::Compute>>(self) -> bool {
        match self {
            Steps::Scale | Steps::Add(_) => true,
            Steps::AddSloped | Steps::Keep => !L::COMPACT,
            Steps::Exclude | Steps::All => false,
        }
    }
}

/// What the rows of a call have in common.
pub struct Call<'m, T: Element> {
    pub mask: &'m Mask<'m, T>,
    /// Those of the mask; the slope is 1 if nothing is added. Not behind a reference, or loops would load them again.
    pub scale: T::Compute,
    pub slope: T::Compute,
    softcap: Option<Softcap<T::Compute>>,
    /// Those of rows whose visible places begin with a block, and the whole mask.
    pub steps: Steps<'m>,
}

impl<'m, T: Element> Call<'m, T> {
    #[inline(always)]
    pub fn new(mask: &'m Mask<'m, T>) -> Self {
        let (zero, one) = (T::Compute::ZERO, T::Compute::from_i32(1));
        let slope = if mask.additive.is_some() { mask.slope } else { one };
        let softcap = (mask.softcap > zero).then(|| Softcap::new(mask.scale, mask.softcap));
        // Whether arithmetic on a score of −∞ can give anything but −∞.
        let guarded = softcap.is_some() || mask.scale <= zero;
        // Whether the slope keeps −∞.
        let keeps = slope > zero;
        Self {
            softcap,
            steps: match mask.additive {
                _ if guarded || !keeps => Steps::All,
                None if !mask.keeps_all() => Steps::Keep,
                _ if !mask.keeps_all() => Steps::Exclude,
                None => Steps::Scale,
                Some((MaskValues::Single(values), _)) if slope == one => Steps::Add(values),
                Some(_) => Steps::AddSloped,
            },
            mask,
            scale: mask.scale,
            slope,
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
            (Steps::All, _) => Steps::All,
            _ if hidden > 0 => Steps::Exclude,
            (Steps::Add(_), Some(MaskValues::Single(mask))) => Steps::Add(mask),
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

/// The logits of one row: `at` counts from column `start`.
pub struct Logits<'c, 'm, T: Element> {
    pub call: &'c Call<'m, T>,
    pub start: usize,
    pub end: usize,
    /// Columns from `start` on that are not visible.
    hidden: usize,
    pub additive: Option<MaskValues<'m, T>>,
    pub(super) keep: Keep<'m>,
    pub steps: Steps<'m>,
    /// −∞ for none.
    pub sink: T::Compute,
}

impl<T: Element> Logits<'_, '_, T> {
    /// From which column to which they are, the hidden ones of the first block among them; none if nothing is visible.
    #[inline(always)]
    pub fn columns(&self) -> (usize, usize) {
        if self.start + self.hidden < self.end {
            (self.start, self.end)
        } else {
            (0, 0)
        }
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
        let mut z = self.call.scale * x;
        if self.call.softcap.is_some() {
            let cap = self.call.mask.softcap;
            z = if z > cap { cap } else { z };
            z = if z < -cap { -cap } else { z };
        }
        match &self.additive {
            Some(mask) => match mask.get(at) {
                // Whatever z holds.
                mask if mask == -T::Compute::INFINITY => mask,
                mask => z + self.call.slope * mask,
            },
            None => z,
        }
    }
}

/// Logits, or values of a mask, that are computed at once: whole blocks.
pub const CHUNK: usize = 2 * LONGEST_BLOCK;

/// Room for them.
pub struct Room<T: Element>([T::Compute; CHUNK]);

impl<T: Element> Room<T> {
    #[inline(always)]
    pub fn new() -> Self {
        Self([T::Compute::ZERO; CHUNK])
    }

    /// The logits of the scores `x`, which begin at column `at`: as many as there is room for. Behind the last one the
    /// vector that it is in is −∞.
    #[inline(always)]
    pub fn logits<L: Memory<T> + Memory<T::Compute>>(
        &mut self,
        lanes: L,
        logits: &Logits<'_, '_, T>,
        (at, x): (usize, &[T]),
    ) -> &[T::Compute] {
        let x = &x[..x.len().min(CHUNK)];
        let z = &mut self.0[..x.len().next_multiple_of(T::Compute::LANES)];
        lanes.call(LogitsOf {
            logits,
            x,
            at,
            z: &mut *z,
        });
        z
    }

    /// The same without what is behind the last one, and `by_all_steps` or by those of [`LogitsInto`].
    #[inline(always)]
    pub fn some<L: Memory<T> + Memory<T::Compute>>(
        &mut self,
        lanes: L,
        logits: &Logits<'_, '_, T>,
        (at, x): (usize, &[T]),
        by_all_steps: bool,
    ) -> &[T::Compute] {
        let x = &x[..x.len().min(CHUNK)];
        if by_all_steps || !logits.steps.add::<T, L>() {
            return &self.logits(lanes, logits, (at, x))[..x.len()];
        }
        let z = &mut self.0[..x.len()];
        lanes.call(LogitsInto {
            logits,
            x,
            at,
            z: as_output(z),
            by_all_steps: false,
        });
        z
    }

    /// The mask of `columns`.
    #[inline(always)]
    pub fn mask<L: Memory<T> + Memory<T::Compute>>(
        &mut self,
        lanes: L,
        logits: &Logits<'_, '_, T>,
        columns: Range<usize>,
    ) -> &[T::Compute] {
        let mask = &mut self.0[..columns.len().next_multiple_of(T::Compute::LANES)];
        lanes.call(MaskOf {
            logits,
            at: columns.start,
            mask: &mut *mask,
        });
        mask
    }
}

/// The additive mask of some places of a row, −∞ where the keep mask or the beginning of the visible places excludes one.
/// Each step is a loop over the places: what a row needs is asked once, not for each vector. A function of its own, and so
/// compiled once.
pub struct MaskOf<'a, 'c, 'm, T: Element> {
    pub logits: &'a Logits<'c, 'm, T>,
    /// The first column, from the start of `logits`.
    pub at: usize,
    /// Whole vectors.
    pub mask: &'a mut [T::Compute],
}

impl<T: Element> Kernel<T> for MaskOf<'_, '_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { logits, at, mask } = self;
        logits.take_mask(lanes, at, mask);
        logits.exclude(lanes, at, mask);
    }
}

/// The logits of some places of a row, by all steps.
pub struct LogitsOf<'a, 'c, 'm, T: Element> {
    pub logits: &'a Logits<'c, 'm, T>,
    pub x: &'a [T],
    /// The first column, from the start of `logits`.
    pub at: usize,
    /// Whole vectors.
    pub z: &'a mut [T::Compute],
}

impl<T: Element> Kernel<T> for LogitsOf<'_, '_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { logits, x, at, z } = self;
        let Call {
            scale, slope, softcap, ..
        } = logits.call;
        let (scale, slope) = (lanes.splat(*scale), lanes.splat(*slope));
        let masks = logits.additive.is_some() || !matches!(logits.keep, Keep::All) || at < logits.hidden;
        // What is −∞ stays so, but for +∞ and NaN that are added.
        let least = lanes.splat(T::Compute::LEAST);
        match softcap {
            Some(softcap) => replace::<T, L>(
                lanes,
                z,
                #[inline(always)]
                |i, _| {
                    let x = score(lanes, x, i);
                    lanes.select_below(softcap.of(lanes, x), x, x, least)
                },
            ),
            None if !masks => replace::<T, L>(
                lanes,
                z,
                #[inline(always)]
                |i, _| {
                    let x = score(lanes, x, i);
                    lanes.select_below(lanes.mul(scale, x), x, x, least)
                },
            ),
            None => {}
        }
        if !masks {
            return;
        }
        let mut room = Room::new();
        let mask = room.mask(lanes, logits, at..at + x.len());
        if softcap.is_some() {
            replace::<T, L>(
                lanes,
                z,
                #[inline(always)]
                |i, z| {
                    let mask = Memory::<T::Compute>::load(lanes, &mask[i..]);
                    masked_where::<T, L>(lanes, lanes.add(z, lanes.mul(slope, mask)), mask)
                },
            );
        } else {
            replace::<T, L>(
                lanes,
                z,
                #[inline(always)]
                |i, _| {
                    let (x, mask) = (score(lanes, x, i), Memory::<T::Compute>::load(lanes, &mask[i..]));
                    let added = lanes.mul(slope, mask);
                    let z = lanes.select_below(lanes.mul_add(scale, x, added), lanes.add(x, added), x, least);
                    masked_where::<T, L>(lanes, z, mask)
                },
            );
        }
    }
}

/// Logits that are stored: by all steps, or what stands in masked places may make NaN of them. A function of its own.
pub struct LogitsInto<'a, 'c, 'm, T: Element> {
    pub logits: &'a Logits<'c, 'm, T>,
    pub x: &'a [T],
    /// The column of the first, from the start of `logits`.
    pub at: usize,
    /// As many as scores.
    pub z: &'a mut [MaybeUninit<T::Compute>],
    pub by_all_steps: bool,
}

impl<T: Element> LogitsInto<'_, '_, '_, T> {
    /// Those of scaled scores and what is added.
    #[inline(always)]
    fn add<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, added: impl Addend<T>) {
        let (n, end) = (T::Compute::LANES, self.at + self.z.len());
        // As many: no check in the loop.
        let (x, added) = (&self.x[..self.z.len()], added.part(self.at, end));
        let scale = lanes.splat(self.logits.call.scale);
        for (i, z) in self.z.chunks_mut(n).enumerate() {
            let v = passes::load::<T, L>(lanes, &x[i * n..], -T::Compute::INFINITY);
            passes::store::<T::Compute, L>(lanes, z, added.logits(lanes, scale, v, i * n));
        }
    }

    /// Those of any row.
    #[inline(always)]
    fn all_steps<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let (n, mut room) = (T::Compute::LANES, Room::new());
        for (i, (x, z)) in self.x.chunks(CHUNK).zip(self.z.chunks_mut(CHUNK)).enumerate() {
            let found = room.logits(lanes, self.logits, (self.at + i * CHUNK, x));
            for (found, z) in found.chunks_exact(n).zip(z.chunks_mut(n)) {
                let v: V<T, L> = Memory::<T::Compute>::load(lanes, found);
                passes::store::<T::Compute, L>(lanes, z, v);
            }
        }
    }
}

impl<T: Element> Kernel<T> for LogitsInto<'_, '_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Logits {
            call, additive, keep, ..
        } = *self.logits;
        match if self.by_all_steps {
            Steps::All
        } else {
            self.logits.steps
        } {
            Steps::Scale => self.add(lanes, Nothing),
            Steps::Add(mask) => self.add(lanes, Added(Single(mask))),
            Steps::AddSloped if !L::COMPACT => with_values!(
                T,
                additive,
                values => self.add(lanes, Sloped(call.slope, values)),
                self.all_steps(lanes)
            ),
            Steps::Keep if !L::COMPACT => match keep {
                Keep::Bytes(keep) => self.add(lanes, Excluded(Bytes(keep))),
                Keep::Bits(keep) => self.add(lanes, Excluded(Bits(keep))),
                Keep::All => self.add(lanes, Nothing),
            },
            _ => self.all_steps(lanes),
        }
    }
}

impl<T: Element> Logits<'_, '_, T> {
    /// The additive mask from column `at` on; 0 if there is none.
    #[inline(always)]
    fn take_mask<L: Memory<T> + Memory<T::Compute>>(&self, lanes: L, at: usize, taken: &mut [T::Compute]) {
        let len = self.end - self.start;
        with_values!(
            T,
            &self.additive,
            values => take_values::<T, L>(lanes, Values::<T>::part(values, at, len), taken),
            taken.fill(T::Compute::ZERO)
        );
    }

    /// −∞ where the keep mask or the beginning of the visible places excludes one.
    #[inline(always)]
    fn exclude<L: Memory<T> + Memory<T::Compute>>(&self, lanes: L, at: usize, mask: &mut [T::Compute]) {
        match self.keep {
            Keep::All => {}
            Keep::Bytes(keep) => replace::<T, L>(
                lanes,
                mask,
                #[inline(always)]
                |i, mask| Kept::<T>::keep(Bytes(keep), lanes, mask, at + i),
            ),
            Keep::Bits(keep) => replace::<T, L>(
                lanes,
                mask,
                #[inline(always)]
                |i, mask| Kept::<T>::keep(Bits(keep), lanes, mask, at + i),
            ),
        }
        if at < self.hidden {
            let (places, least) = (places::<T, L>(lanes), lanes.splat(-T::Compute::INFINITY));
            replace::<T, L>(
                lanes,
                mask,
                #[inline(always)]
                |i, mask| {
                    let hidden = T::Compute::from_i32(self.hidden as i32 - (at + i) as i32);
                    lanes.select_below(mask, least, places, lanes.splat(hidden))
                },
            );
        }
    }
}

/// Takes the first values of a mask, 0 behind the last.
#[inline(always)]
pub fn take_values<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    values: impl Values<T>,
    taken: &mut [T::Compute],
) {
    replace::<T, L>(
        lanes,
        taken,
        #[inline(always)]
        |i, _| values.vector(lanes, i),
    );
}

/// Replaces each vector v of `values` by `f(i, v)`, `i` being where it begins.
#[inline(always)]
fn replace<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    values: &mut [T::Compute],
    f: impl Fn(usize, V<T, L>) -> V<T, L>,
) {
    for (i, values) in values.chunks_exact_mut(T::Compute::LANES).enumerate() {
        let v = f(i * T::Compute::LANES, Memory::<T::Compute>::load(lanes, values));
        Memory::<T::Compute>::store(lanes, as_output(values), v);
    }
}

/// The vector of scores at `i`, −∞ behind the last.
#[inline(always)]
fn score<T: Element, L: Memory<T>>(lanes: L, x: &[T], i: usize) -> V<T, L> {
    lanes.prefetch(&x[i..]);
    passes::load(lanes, &x[i..], -T::Compute::INFINITY)
}

/// −∞ where `key` is −∞, else `z`.
#[inline(always)]
fn masked_where<T: Element, L: Memory<T>>(lanes: L, z: V<T, L>, key: V<T, L>) -> V<T, L> {
    lanes.select_below(z, key, key, lanes.splat(T::Compute::LEAST))
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
