//! Masked rows of few visible places, the first ones, side by side ([`short_rows`]).
//!
//! What is added to the commonest rows is an [`Addend`]. For others the mask, or the logits where a softcap or a scale of 0
//! or less asks for more steps, is computed for some rows of a batch at once, before their exps.

use super::addend::{Addend, Sloped, Taken, Values, with_values};
use super::kept::Places;
use super::logits::{CHUNK, Call, LogitsOf, MaskOf, Steps, take_values, with_added};
use super::masked::{WithSink, by_block, decide_row};
use super::passes::{Exps, V};
use super::short_rows::{self, Batches, Extent, FEWEST, Source, Spot, Spots, alike, ending, one_by_one};
use super::softmax::SumOf;
use super::{Kernel, Place};
use crate::element::{Element, Float, Sum};
use crate::lanes::Memory;
use crate::layout::Layout;
use crate::mask::FullyMasked;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::slice::ChunksExactMut;

/// The rows of a call whose visible places are few and the first ones.
#[derive(Clone, Copy)]
pub struct Short<'c, 'm, T: Element> {
    pub call: &'c Call<'m, T>,
    pub rows: Layout<'c>,
    /// Whether the results lie apart from the scores.
    pub apart: bool,
}

impl<'c, 'm, T: Element> Short<'c, 'm, T> {
    /// softmax of these rows from `start` on, until one is not short: which that is.
    #[inline(always)]
    pub fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L, place: &mut Place<'_, T>, start: &mut usize) {
        with_added!(
            T,
            self.call,
            added => self.batches(lanes, InRegisters(added), place, start),
            self.batches(lanes, Any, place, start)
        );
    }

    #[inline(always)]
    fn batches<L: Memory<T> + Memory<T::Compute>, K: Kind<T>>(
        self,
        lanes: L,
        kind: K,
        place: &mut Place<'_, T>,
        start: &mut usize,
    ) {
        let source = ShortMasked(self, kind);
        lanes.call(Batches { place, source, start });
    }

    /// Whether row `r` is one of the call, but none of them.
    #[inline(always)]
    pub fn leaves(&self, r: usize) -> bool {
        r < self.rows.rows() && self.spot(r).is_none()
    }

    /// How many columns row `r` sees, the first ones, if it is one of the call, but none of these.
    #[inline(always)]
    pub fn end_of_other(&self, r: usize) -> Option<usize> {
        let rows = self.rows.rows();
        if r >= rows {
            return None;
        }
        let end = self.call.mask.visible(r, self.rows.len(r)).end;
        (rows < FEWEST || end > short_rows::longest::<T>()).then_some(end)
    }

    /// Where row `r` lies, if it is one of them: none is of a call of so few that they are done sooner one by one.
    #[inline(always)]
    pub fn spot(&self, r: usize) -> Option<Spot> {
        let (mask, rows) = (self.call.mask, self.rows.rows());
        if r >= rows || rows < FEWEST {
            return None;
        }
        let cols = self.rows.len(r);
        let visible = mask.visible(r, cols);
        if visible.start > 0 || visible.end > short_rows::longest::<T>() {
            return None;
        }
        let (x, y) = self.rows.starts(r);
        Some(Spot {
            x,
            y: if self.apart { y } else { x },
            len: visible.end,
            rest: cols - visible.end,
            aside: mask.shared().start(mask.first + r),
        })
    }

    /// Where the rows from `first` on lie, until one is not short.
    #[inline(always)]
    fn spots(&self, first: usize, spots: &mut Spots) -> Extent {
        let Short { call, rows, apart } = *self;
        let extent = match (rows, call.mask.causal_ends(first, rows.len(0))) {
            (Layout::Strided(rows), Some(mut ends)) => ending::<T>(
                spots,
                rows,
                !apart,
                first,
                #[inline(always)]
                || ends.next(),
            ),
            (Layout::Strided(rows), None) if call.mask.sees_all() => alike(spots, rows, !apart, first, rows.rows()),
            _ => {
                return one_by_one(
                    spots,
                    #[inline(always)]
                    |i| self.spot(first + i),
                );
            }
        };
        if !matches!(call.steps, Steps::Scale) {
            let (masks, first) = (call.mask.shared(), call.mask.first + first);
            spots.set_aside(
                extent.count,
                #[inline(always)]
                |i| masks.start(first + i),
            );
        }
        extent
    }
}

/// What short rows are computed from.
trait Kind<T: Element>: Copy {
    /// See [`Source`].
    const TAKES: bool = false;

    /// [`Source::near`]
    fn near(&self, short: &Short<'_, '_, T>, r: usize, spot: &Spot, x: &[T]) -> T::Compute;

    /// [`Source::logits`]
    fn logits<L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        short: &Short<'_, '_, T>,
        spot: &Spot,
        at: usize,
        x: V<T, L>,
        taken: &[T::Compute],
    ) -> V<T, L>;
}

/// Scaled scores and what is added.
#[derive(Clone, Copy)]
struct InRegisters<A>(A);

impl<T: Element, A: Addend<T>> Kind<T> for InRegisters<A> {
    #[inline(always)]
    fn near(&self, short: &Short<'_, '_, T>, _: usize, spot: &Spot, x: &[T]) -> T::Compute {
        self.0.row(spot.aside, x.len()).nearest(short.call.scale, x)
    }
    #[inline(always)]
    fn logits<L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        short: &Short<'_, '_, T>,
        spot: &Spot,
        at: usize,
        x: V<T, L>,
        _: &[T::Compute],
    ) -> V<T, L> {
        let added = self.0.row(spot.aside, spot.len);
        added.logits(lanes, lanes.splat(short.call.scale), x, at)
    }
}

/// Any steps, by what [`Take`] takes.
#[derive(Clone, Copy)]
struct Any;

impl<T: Element> Kind<T> for Any {
    const TAKES: bool = true;

    #[inline(always)]
    fn near(&self, short: &Short<'_, '_, T>, r: usize, _: &Spot, x: &[T]) -> T::Compute {
        short.call.logits(r, &(0..x.len())).nearest(x)
    }
    #[inline(always)]
    fn logits<L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        short: &Short<'_, '_, T>,
        _: &Spot,
        at: usize,
        x: V<T, L>,
        taken: &[T::Compute],
    ) -> V<T, L> {
        let Call {
            scale, slope, steps, ..
        } = short.call;
        if let Steps::All = steps {
            Memory::<T::Compute>::load(lanes, &taken[at..])
        } else {
            let added = Sloped(*slope, Taken(taken));
            Addend::<T>::logits(added, lanes, lanes.splat(*scale), x, at)
        }
    }
}

/// Short rows of some kind.
struct ShortMasked<'c, 'm, T: Element, K>(Short<'c, 'm, T>, K);

impl<T: Element, K: Kind<T>> Source<T> for ShortMasked<'_, '_, T, K> {
    const TAKES: bool = K::TAKES;

    #[inline(always)]
    fn has_rests(&self) -> bool {
        true
    }
    #[inline(always)]
    fn has_sinks(&self) -> bool {
        self.0.call.mask.has_sinks()
    }
    #[inline(always)]
    fn sink(&self, r: usize) -> T::Compute {
        self.0.call.mask.sink_of(r)
    }
    #[inline(always)]
    fn sink_suffices(&self) -> bool {
        matches!(self.0.call.mask.fully_masked, FullyMasked::Zero)
    }
    #[inline(always)]
    fn spot(&self, r: usize) -> Option<Spot> {
        self.0.spot(r)
    }
    #[inline(always)]
    fn spots(&self, first: usize, spots: &mut Spots) -> Extent {
        self.0.spots(first, spots)
    }
    #[inline(always)]
    fn near(&self, r: usize, spot: &Spot, x: &[T]) -> T::Compute {
        let near = self.1.near(&self.0, r, spot, x);
        nearest_with_sink(near, self.sink(r), x.len())
    }
    #[inline(always)]
    fn take<L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        first: usize,
        spots: (&Spots, Range<usize>),
        x: &[T],
        taken: ChunksExactMut<'_, T::Compute>,
    ) {
        let call = self.0.call;
        lanes.call(Take {
            call,
            first,
            spots,
            x,
            taken,
        });
    }
    #[inline(always)]
    fn logits<L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        spot: &Spot,
        at: usize,
        x: V<T, L>,
        taken: &[T::Compute],
    ) -> V<T, L> {
        self.1.logits(lanes, &self.0, spot, at, x, taken)
    }
    #[inline(always)]
    fn redo<L: Memory<T> + Memory<T::Compute>>(
        &self,
        lanes: L,
        r: usize,
        x: &[T],
        e: &mut [MaybeUninit<T::Compute>],
        failed: Option<SumOf<T>>,
    ) -> Result<SumOf<T>, T> {
        let mut found = Err(T::NAN);
        lanes.call(Redo {
            call: self.0.call,
            r,
            x,
            e,
            failed,
            found: &mut found,
        });
        found
    }
}

/// For short rows of any steps: the logits where these take many, else the mask. A function of its own.
struct Take<'a, 'm, T: Element> {
    call: &'a Call<'m, T>,
    first: usize,
    spots: (&'a Spots, Range<usize>),
    x: &'a [T],
    taken: ChunksExactMut<'a, T::Compute>,
}

impl<T: Element> Kernel<T> for Take<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            call,
            first,
            spots,
            x,
            taken,
        } = self;
        let (spots, range) = spots;
        let rows = range.zip(taken).map(
            #[inline(always)]
            |(i, taken)| {
                let spot = spots.at(i);
                (spot, &mut taken[..spot.len.next_multiple_of(T::Compute::LANES)])
            },
        );
        match call.steps {
            Steps::AddSloped if !L::COMPACT => with_values!(
                T,
                call.mask.additive.map(|(mask, _)| mask),
                values => for (spot, taken) in rows {
                    let values = Values::<T>::part(values, spot.aside, spot.aside + spot.len);
                    take_values::<T, L>(lanes, values, taken);
                },
                ()
            ),
            Steps::All => {
                for (i, (spot, z)) in rows.enumerate() {
                    let logits = &call.logits(first + i, &(0..spot.len));
                    let x = x[spot.x..][..spot.len].chunks(CHUNK);
                    for (i, (x, z)) in x.zip(z.chunks_mut(CHUNK)).enumerate() {
                        let at = i * CHUNK;
                        lanes.call(LogitsOf { logits, x, at, z });
                    }
                }
            }
            _ => {
                for (i, (spot, mask)) in rows.enumerate() {
                    let logits = &call.logits(first + i, &(0..spot.len));
                    let mask = MaskOf { logits, at: 0, mask };
                    if L::COMPACT { lanes.call(mask) } else { mask.run(lanes) }
                }
            }
        }
    }
}

/// What the guess of a row of `len` scores with a sink takes for its maximum, which is `near` without. As in
/// [`Logits::nearest`](super::logits::Logits::nearest), a row of up to 16 guesses 0.
#[inline(always)]
pub fn nearest_with_sink<F: Float>(near: F, sink: F, len: usize) -> F {
    if len > 16 && sink > near { sink } else { near }
}

/// The sum of a row whose guess failed, or what it is filled with: [`Source::redo`], and for
/// [longer rows](super::masked_prefix). A function of its own.
pub struct Redo<'a, 'm, T: Element> {
    pub call: &'a Call<'m, T>,
    pub r: usize,
    pub x: &'a [T],
    pub e: &'a mut [MaybeUninit<T::Compute>],
    /// The sum under the guess, if it is that which may not be used.
    pub failed: Option<SumOf<T>>,
    pub found: &'a mut Result<SumOf<T>, T>,
}

impl<T: Element> Kernel<T> for Redo<'_, '_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            call,
            r,
            x,
            e,
            failed,
            found,
        } = self;
        let logits = call.logits(r, &(0..x.len()));
        let shift = logits.guess(x, L::FUSED);
        // NaN may stand in a masked place: see `addend`.
        let sums = match failed.filter(|sum| !sum.is_nan()) {
            Some(sum) => WithSink::none(Exps {
                sum,
                fits: false,
                large: false,
            }),
            None => by_block(lanes, &logits, x, Places::each(e), &shift),
        };
        let outcome = decide_row(lanes, &logits, x, Places::each(e), (shift, sums));
        *found = outcome.sum.map_err(
            #[inline(always)]
            |special| special.value(call.mask, T::narrow(T::Compute::ZERO)),
        );
    }
}
