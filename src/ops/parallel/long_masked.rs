//! One long masked row. Its visible part is shared by segments of the sum, which count from column 0, so that those of one
//! thread are added in its order; the results, which are each element's own, and what is filled by blocks of the row.

use super::super::cut::{self, Cut, Input};
use super::long::{Kept, in_order, is_long};
use super::{First, Strided, share};
use crate::element::{Element, Float};
use crate::isa::Isa;
use crate::kernel::Place;
use crate::kernel::logits::{Call, Logits};
use crate::kernel::masked::{Outcome, WithSink, decide, masked_value};
use crate::kernel::masked_long::Results;
use crate::kernel::passes::{Exps, SEGMENT, Total};
use crate::kernel::segments::{MaskedPart, MaskedSum, Segment};
use crate::kernel::softmax::fill;
use crate::mask::Mask;
use crate::math::exp::Shift;
use crate::rows::Rows;
use core::ops::Range;

/// Columns to a block, or to whole blocks of a wider type: no part begins elsewhere, so that lanes are those of the row.
const BLOCK: usize = 128;

/// Whether a single row sees so much that it is worth sharing. The mask is checked.
pub fn is_long_masked<T: Element>(rows: Rows, mask: &Mask<'_, T>) -> bool {
    is_long(rows) && mask.visible(0, rows.cols()).len() > 2 * SEGMENT
}

/// softmax or log_softmax of one row; the exps are kept in the output where one thread keeps them there.
pub fn long_masked<T: Element>(isa: Isa, mut row: Place<'_, T>, mask: &Mask<'_, T>, log: bool) {
    let (cols, masked, fused) = (row.input().len(), masked_value(log), isa.is_fused());
    let (call, visible) = (&Call::new(mask), mask.visible(0, cols));
    let logits = call.logits(0, &visible);
    // The first segment may begin before what is visible of it.
    let columns = logits.start - logits.start % SEGMENT..logits.end;
    let (x, mut e) = match &mut row {
        Place::Apart(x, y) if !log => (&x[columns.clone()], T::as_compute(&mut y[columns.clone()])),
        place => (&place.input()[columns.clone()], None),
    };
    let is_kept = e.is_some();
    let passes = Passes {
        isa,
        call,
        visible: &visible,
        x,
        first: First(columns.start),
    };
    let sums = |shift: &Shift<T::Compute>, e: Kept<'_, T>, is_guessed: bool| {
        let mut sums = WithSink::none(passes.exps(shift, is_guessed, e));
        T::masked_part(isa, MaskedPart::Sink(&mut sums, shift, logits.sink));
        sums
    };
    let shift = logits.guess(&x[logits.start - columns.start..], fused);
    let guessed = sums(&shift, e.as_deref_mut(), true);
    let Outcome { shift, sum, .. } = decide(
        &logits,
        fused,
        (shift, guessed),
        || passes.max(),
        |shift| sums(shift, e, false),
    );
    let total = match sum {
        Ok(sum) => Total::new(sum, false),
        Err(special) => return fill(row.output(), special.value(mask, masked)),
    };
    let results = |(mut part, First(first)): (Place<'_, T>, First)| {
        let end = first + part.input().len();
        let visible = visible.start.clamp(first, end)..visible.end.clamp(first, end);
        if visible.is_empty() {
            return fill(part.output(), masked);
        }
        let logits = &call.logits(0, &visible);
        let columns = logits.start - first..logits.end - first;
        fill(&mut part.output()[..columns.start], masked);
        fill(&mut part.output()[columns.end..], masked);
        let mut place = part.part(columns);
        match T::as_compute(place.output()) {
            Some(e) if is_kept => T::segment(isa, Segment::Scale(e, total)),
            _ => T::masked_part(
                isa,
                MaskedPart::Results(Results {
                    logits,
                    first: 0,
                    place,
                    shift,
                    total,
                    log,
                    // The parts do not tell.
                    by_all_steps: true,
                }),
            ),
        }
    };
    by_blocks((row, First(0)), cols, &results, &|(), ()| ());
}

/// The passes over the segments of a row that are visible.
struct Passes<'a, 'm, T: Element> {
    isa: Isa,
    call: &'a Call<'m, T>,
    visible: &'a Range<usize>,
    /// From the column `first` on, where a segment begins, to the end of what is visible.
    x: &'a [T],
    first: First,
}

impl<T: Element> Passes<'_, '_, T> {
    /// Σe of the parts under a shift; whether it is the guessed one.
    fn exps(&self, shift: &Shift<T::Compute>, is_guessed: bool, e: Kept<'_, T>) -> Exps<T::Compute> {
        let mut all = Exps::none();
        let part = |((x, e), first): ((Input<'_, T>, Option<cut::Results<'_, _>>), First)| {
            let mut exps = Exps::none();
            if let Some((logits, at)) = self.part(x.0.len(), first) {
                let sum = MaskedSum {
                    logits: &logits,
                    x: &x.0[at..],
                    e: e.map(|e| &mut e.0[at..]),
                    shift,
                    is_guessed,
                    exps: &mut exps,
                };
                T::masked_part(self.isa, MaskedPart::Sum(sum));
            }
            exps
        };
        let memory = ((Input(self.x, 1), e.map(|e| cut::Results(e, 1))), self.first);
        in_order(memory, self.x.len(), &part, |part| all.join(part));
        all
    }

    /// The largest logit; if one is NaN, any.
    fn max(&self) -> T::Compute {
        let part = |(x, first): (Input<'_, T>, First)| {
            let mut m = -T::Compute::INFINITY;
            if let Some((logits, at)) = self.part(x.0.len(), first) {
                T::masked_part(self.isa, MaskedPart::Max(&logits, &x.0[at..], &mut m));
            }
            m
        };
        by_blocks((Input(self.x, 1), self.first), self.x.len(), &part, &|a, b| {
            if b > a { b } else { a }
        })
    }

    /// The logits of the part of `len` columns from `first` on, if any is visible, and where in it they start.
    fn part(&self, len: usize, First(first): First) -> Option<(Logits<'_, '_, T>, usize)> {
        let visible = self.visible.start.max(first)..first + len;
        (!visible.is_empty()).then(|| {
            let logits = self.call.logits(0, &visible);
            let at = logits.start - first;
            (logits, at)
        })
    }
}

/// Runs `f` on parts of a row, cut before blocks, and joins what it gives by `and`.
fn by_blocks<M: Cut + Send, R: Send>(
    row: M,
    len: usize,
    f: &(impl Fn(M) -> R + Sync),
    and: &(impl Fn(R, R) -> R + Sync),
) -> R {
    let rows = Rows::new(len.div_ceil(BLOCK), BLOCK);
    share(Strided(Blocks(row), rows), &|Strided(Blocks(part), _)| f(part), and)
}

/// Memory of a row, by blocks.
struct Blocks<M>(M);

impl<M: Cut> Cut for Blocks<M> {
    fn cut(self, block: usize) -> (Self, Self) {
        let (a, b) = self.0.cut(block * BLOCK);
        (Self(a), Self(b))
    }
}
