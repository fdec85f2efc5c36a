//! Masks of every type, and what else they take, as all of the memory in [`super`].

use super::{lengths, rows_of, spread, tried};
use crate::common::element::{TestElement, bits, for_each_element};
use crate::common::memory::{Edge, Lent, PLACES};
use crate::common::shape::extent;
use crate::common::thinned;
use softmax::{Broadcast, Isa, Mask, MaskElement, Rows};

/// What a mask is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Additive,
    Slope(f64),
    Softcap,
    Window,
    Lengths,
    Bytes,
    Bits,
    Sinks,
}

/// Combinations that go through kernels of their own.
const MASKS: [&[Step]; 16] = {
    use Step::*;
    [
        &[Additive],
        &[Additive, Slope(0.3)],
        &[Additive, Slope(-0.3)],
        &[Additive, Bytes],
        &[Additive, Slope(0.3), Bits],
        &[Additive, Lengths, Sinks],
        &[Additive, Softcap, Sinks],
        &[Additive, Window, Bits],
        &[Sinks],
        &[Bytes],
        &[Bits],
        &[Lengths],
        &[Bytes, Window],
        &[Bits, Lengths],
        &[Bytes, Softcap],
        &[Bits, Softcap],
    ]
};

/// How rows and those of their masks lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layout {
    /// Side by side, under one row of a mask.
    Shared,
    /// With gaps, each under its own.
    Own,
    /// Two of these.
    Few,
}

/// The memory of calls of masked operators; additive mask and sinks are of `A`.
struct Masked<T: TestElement, A: TestElement> {
    rows: Rows,
    layout: Layout,
    logits: Vec<T>,
    x: Lent<T>,
    additive: Lent<A>,
    bytes: Lent<u8>,
    bits: Lent<u8>,
    lengths: Lent<usize>,
    sinks: Lent<A>,
}

/// Whether each row of a mask hides a column: in one of seven.
fn hides(row: usize, column: usize) -> bool {
    (column + 3 * row) % 7 == 2
}

/// The columns that each row of a mask sees; the last row all.
fn length(row: usize, masks: usize, cols: usize) -> usize {
    match row % 7 {
        _ if row + 1 == masks => cols,
        3 => cols / 2,
        5 => 0,
        _ => cols,
    }
}

impl<T: TestElement, A: TestElement + MaskElement<T>> Masked<T, A> {
    fn new(cols: usize, layout: Layout) -> Self {
        let rows = if layout == Layout::Few { 2 } else { rows_of(cols) };
        let gap = if layout == Layout::Own { 1 + cols % 3 } else { 0 };
        let masks = if layout == Layout::Shared { 1 } else { rows };
        let mut logits = spread(rows, cols, cols + gap);
        if cols.is_multiple_of(2) {
            // NaN in a masked place has a row computed once more.
            for c in (0..cols).filter(|&c| hides(1 % masks, c)) {
                logits[cols + gap + c] = T::from_f64(f64::NAN);
            }
        }
        let places = || (0..masks * cols).map(|i| hides(i / cols, i % cols));
        let added = |(i, hidden)| {
            if hidden {
                f64::NEG_INFINITY
            } else {
                -0.25 * (i % 9) as f64
            }
        };
        let byte = |kept: &[bool]| kept.iter().rev().fold(0, |byte, &kept| byte << 1 | u8::from(kept));
        let kept = Vec::from_iter(places().map(|hidden| !hidden));
        let bits = kept.chunks(cols).flat_map(|row| row.chunks(8).map(byte));
        Masked {
            rows: Rows::new(rows, cols)
                .with_x_stride(cols + gap)
                .with_y_stride(cols + 2 * gap),
            layout,
            x: Lent::new(logits.clone()),
            logits,
            additive: Lent::new(places().enumerate().map(added).map(A::from_f64).collect()),
            bytes: Lent::new(kept.iter().map(|&kept| u8::from(kept)).collect()),
            bits: Lent::new(bits.collect()),
            lengths: Lent::new((0..masks).map(|r| length(r, masks, cols)).collect()),
            sinks: Lent::new((0..masks).map(|r| A::from_f64(0.75 - (r % 3) as f64)).collect()),
        }
    }

    /// A mask whose memory lies at a place.
    fn mask<'a>(&'a self, steps: &[Step], place: Option<Edge>) -> Mask<'a, T> {
        let (rows, cols, number) = (self.rows.rows(), self.rows.cols(), T::Probability::from_f64);
        let by = |stride| match self.layout {
            Layout::Shared => Broadcast::ONE,
            _ => Broadcast::rows(stride),
        };
        let with = |mask: Mask<'a, T>, step: &Step| match *step {
            Step::Additive => mask.with_additive(self.additive.at(place), by(cols)),
            Step::Slope(slope) => mask.with_alibi_slope(number(slope)),
            Step::Softcap => mask.with_softcap(number(30.0)),
            // The last row sees the last column.
            Step::Window => mask
                .with_causal(cols as isize - rows as isize)
                .with_window(cols - cols / 3),
            Step::Lengths => mask.with_lengths(self.lengths.at(place), by(1)),
            Step::Bytes => mask.with_keep_bytes(self.bytes.at(place), by(cols)),
            Step::Bits => mask.with_keep_bits(self.bits.at(place), by(cols.div_ceil(8))),
            Step::Sinks => mask.with_sinks(self.sinks.at(place), by(1)),
        };
        steps.iter().fold(Mask::new().with_scale(number(0.5)), with)
    }

    fn check(&self, isa: Isa, steps: &[Step], y: &mut Lent<T>, both: &mut Lent<T>) {
        let (rows, layout) = (self.rows, self.layout);
        let results = rows.rows() * rows.cols();
        for log in [false, true] {
            let what = format!(
                "{} under {steps:?} of {}, log {log}, on {isa}, {layout:?} {rows:?}",
                T::NAME,
                A::NAME
            );
            y.clear();
            both.refill(&self.logits);
            for place in PLACES {
                let (x, mask) = (self.x.at(place), self.mask(steps, place));
                let (y, both) = (y.at_mut(place), both.at_mut(place));
                match log {
                    false => isa.masked_softmax(x, y, rows, &mask),
                    true => isa.masked_log_softmax(x, y, rows, &mask),
                }
                .expect("valid");
                match log {
                    false => isa.masked_softmax_in_place(both, rows, &mask),
                    true => isa.masked_log_softmax_in_place(both, rows, &mask),
                }
                .expect("valid");
            }
            y.check_results(results, &what);
            both.check_same(&format_args!("{what}, in place"));
            for r in 0..rows.rows() {
                let (y, both) = (
                    &y.at(None)[r * rows.y_stride()..],
                    &both.at(None)[r * rows.x_stride()..],
                );
                let same = bits(&y[..rows.cols()]) == bits(&both[..rows.cols()]);
                assert!(same, "{what}: other bits in place, row {r}");
            }
        }
    }

    fn check_unchanged(&self) {
        let what = format!("{} by {}, {:?}", T::NAME, A::NAME, self.rows);
        self.x.check_unchanged(&self.logits, &what);
        self.additive.check_same(&what);
        self.sinks.check_same(&what);
        self.lengths.check_same(&what);
        self.bytes.check_same(&what);
        self.bits.check_same(&what);
    }
}

fn check_masks<T: TestElement, A: TestElement + MaskElement<T>>() {
    let of_type = |steps: &[Step]| steps.iter().any(|step| matches!(step, Step::Additive | Step::Sinks));
    // Each mask at each length in one layout, and in all of them at lengths that leave a vector as full.
    let layout = |i: usize| [Layout::Shared, Layout::Own, Layout::Few][i % 3];
    let masks = |cols| {
        MASKS
            .iter()
            .enumerate()
            .map(move |(i, steps)| (cols, layout(cols + i), *steps))
    };
    // Those without an additive mask or sinks only once for each type of rows.
    let cases = lengths::<T>()
        .flat_map(masks)
        .filter(|case| of_type(case.2) || A::NAME == "f32");
    let mut cases = Vec::from_iter(thinned(cases));
    cases.sort_by_key(|case| (case.0, case.1));
    for cases in cases.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let memory = Masked::<T, A>::new(cases[0].0, cases[0].1);
        let rows = memory.rows;
        let mut y = Lent::room(extent(rows.rows(), rows.cols(), rows.y_stride()));
        let mut both = Lent::new(memory.logits.clone());
        for isa in tried(memory.logits.len()) {
            for (_, _, steps) in cases {
                memory.check(isa, steps, &mut y, &mut both);
            }
        }
        memory.check_unchanged();
    }
}

#[test]
fn of_f32() {
    for_each_element!(check_of_f32);
}

fn check_of_f32<T: TestElement>()
where
    f32: MaskElement<T>,
{
    check_masks::<T, f32>();
}

#[test]
fn of_another_type() {
    check_masks::<f64, f64>();
    #[cfg(feature = "half")]
    {
        use crate::common::element::{bf16, f16};
        check_masks::<f16, f16>();
        check_masks::<bf16, bf16>();
        check_masks::<f32, f16>();
        check_masks::<f32, bf16>();
    }
}
