//! Masked rows, any parameters: every place against a reference on z, one place at a time; masked places are exactly 0
//! (−∞ of the logarithm) and may hold anything; what does not fit is an error, and nothing is written then.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use softmax::{Broadcast, FullyMasked, Isa, Mask, Rows};
use softmax_fuzz::common::element::{TestElement, bits};
use softmax_fuzz::common::ops::LOG_MAX_ULP;
use softmax_fuzz::common::oracle::{Oracle, Precision};
use softmax_fuzz::common::shape::extent;
use softmax_fuzz::common::ulp::Format;
use softmax_fuzz::{Number, Numbers, Size, check_untouched, within};

/// Elements of a mask, at most.
const MOST: usize = 1 << 16;

/// Which row of a mask belongs to which row of the scores.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Lent {
    stride: Stride,
    every: Option<Size>,
    cycle: Option<Size>,
    outer: Option<(Size, Size)>,
    /// Elements that the mask lacks.
    missing: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Stride {
    Zero,
    Gap(u8),
    Any(Size),
}

impl Lent {
    fn stride(&self, cols: usize) -> usize {
        match self.stride {
            Stride::Zero => 0,
            Stride::Gap(gap) => cols + within(gap.into(), 5),
            Stride::Any(size) => size.get(),
        }
    }

    fn broadcast(&self, cols: usize) -> Broadcast {
        let mut rows = Broadcast::rows(self.stride(cols));
        if let Some(every) = self.every {
            rows = rows.every(every.get());
        }
        if let Some(cycle) = self.cycle {
            rows = rows.cycle(cycle.get());
        }
        if let Some((outer, stride)) = self.outer {
            rows = rows.outer(outer.get(), stride.get());
        }
        rows
    }

    /// Where the row for row `r` starts, by the definition.
    fn start(&self, r: usize, cols: usize) -> usize {
        let every = self.every.map_or(1, |n| n.get());
        let cycle = self.cycle.map_or(usize::MAX, |n| n.get());
        let outer = match self.outer {
            Some((outer, stride)) if outer.get() > 0 => r / outer.get() * stride.get(),
            _ => 0,
        };
        r / every % cycle * self.stride(cols) + outer
    }

    /// How many elements the mask has, and whether they are enough for `rows` rows: the largest place of each of the
    /// two terms counts.
    fn len(&self, rows: Option<usize>, cols: usize) -> (usize, bool) {
        let (every, cycle) = (
            self.every.map_or(1, |n| n.get()),
            self.cycle.map_or(usize::MAX, |n| n.get()),
        );
        let stride = self.stride(cols);
        let (Some(rows), true) = (rows, every > 0 && cycle > 0 && (stride == 0 || stride >= cols)) else {
            return (MOST, false);
        };
        let different = rows.div_ceil(every).min(cycle);
        let mut needed = (different as u128 - 1) * stride as u128 + cols as u128;
        if let Some((outer, stride)) = self.outer.filter(|(outer, _)| outer.get() > 0) {
            needed += (rows.div_ceil(outer.get()) as u128 - 1) * stride.get() as u128;
        }
        let missing = usize::from(self.missing.saturating_sub(240));
        let len = (needed.min(MOST as u128) as usize).saturating_sub(missing);
        (len, needed <= len as u128)
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    rows: u16,
    cols: u16,
    x_gap: u8,
    y_gap: u8,
    scores: Numbers,
    scale: Option<Number>,
    softcap: Option<Number>,
    slope: Option<Number>,
    additive: Option<(Numbers, Lent)>,
    causal: Option<Offset>,
    queries: Size,
    window: Size,
    lengths: Option<(Vec<u16>, Lent)>,
    keep: Option<(Vec<u8>, bool, Lent)>,
    sinks: Option<(Numbers, Lent)>,
    first: Option<Size>,
    nan: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Offset {
    Near(i8),
    Any(isize),
}

/// A call: shapes, and every mask at the length that it has.
struct Call<'a> {
    input: &'a Input,
    rows: usize,
    cols: usize,
    x_stride: usize,
    y_stride: usize,
    first: usize,
    x: Vec<f32>,
    scale: f32,
    softcap: f32,
    slope: f32,
    additive: Vec<f32>,
    lengths: Vec<usize>,
    keep: Vec<u8>,
    sinks: Vec<f32>,
    valid: bool,
}

fuzz_target!(|input: Input| {
    let call = Call::new(&input);
    let fully_masked = if input.nan { FullyMasked::Nan } else { FullyMasked::Zero };
    let mask = call.mask().with_fully_masked(fully_masked);
    for log in [false, true] {
        let mut exact: Option<Vec<u64>> = None;
        for isa in Isa::available() {
            let Some(y) = call.run(isa, log, &mask) else { continue };
            for r in 0..if call.cols > 0 { call.rows } else { 0 } {
                call.check_row(isa, log, r, &y[r * call.y_stride..][..call.cols]);
            }
            if isa != Isa::Portable {
                let y = bits(&y);
                assert_eq!(
                    exact.get_or_insert_with(|| y.clone()),
                    &y,
                    "{isa}, log {log}: other bits"
                );
            }
        }
    }
});

/// So many elements, these repeated.
fn repeated<A: Clone>(values: &[A], nothing: A, n: usize) -> Vec<A> {
    let mut all: Vec<A> = values.iter().cloned().cycle().take(n).collect();
    all.resize(n, nothing);
    all
}

impl<'a> Call<'a> {
    fn new(input: &'a Input) -> Call<'a> {
        let cols = within(input.cols, 400);
        let rows = within(input.rows, 2 + 600 / (cols + 10));
        let x_stride = cols + within(input.x_gap.into(), 4);
        let first = input.first.map_or(0, |n| n.get());
        let [scale, slope] = [input.scale, input.slope].map(|v| v.map_or(1.0, |v| v.get::<f32>()));
        let softcap: f32 = input.softcap.map_or(0.0, |v| v.get());
        let end = first.checked_add(rows);
        let is_empty = rows == 0 || cols == 0;
        let mut fits = end.is_some();
        let mut length = |lent: Option<&Lent>, cols: usize| match lent {
            Some(lent) if !is_empty => {
                let (len, enough) = lent.len(end, cols);
                fits &= enough;
                len
            }
            _ => 0,
        };
        let additive = length(input.additive.as_ref().map(|a| &a.1), cols);
        let lengths = length(input.lengths.as_ref().map(|a| &a.1), 1);
        let sinks = length(input.sinks.as_ref().map(|a| &a.1), 1);
        let keep_cols = |bits: bool| if bits { cols.div_ceil(8) } else { cols };
        let keep = length(
            input.keep.as_ref().map(|a| &a.2),
            input.keep.as_ref().map_or(0, |a| keep_cols(a.1)),
        );
        let mut call = Call {
            input,
            rows,
            cols,
            x_stride,
            y_stride: cols + within(input.y_gap.into(), 4),
            first,
            x: input.scores.take(extent(rows, cols, x_stride)),
            scale,
            softcap,
            slope,
            additive: input.additive.as_ref().map_or(Vec::new(), |a| a.0.take(additive)),
            lengths: Vec::new(),
            keep: input.keep.as_ref().map_or(Vec::new(), |a| repeated(&a.0, 0xFF, keep)),
            sinks: input.sinks.as_ref().map_or(Vec::new(), |a| a.0.take(sinks)),
            valid: false,
        };
        let quotient = scale / softcap;
        let parameters = scale.is_finite()
            && slope.is_finite()
            && (0.0..=f32::MAX / 4.0).contains(&softcap)
            && (softcap == 0.0 || (2.0 * quotient).is_finite());
        let mut within_cols = true;
        if let Some((values, lent)) = &input.lengths {
            // One more than there are columns, now and then.
            let values: Vec<usize> = values.iter().map(|&n| usize::from(n) % (cols + 2)).collect();
            call.lengths = repeated(&values, cols, lengths);
            within_cols = is_empty || !fits || (0..rows).all(|r| call.lengths[lent.start(first + r, 1)] <= cols);
        }
        call.valid = parameters && (is_empty || fits && within_cols);
        call
    }

    fn mask(&self) -> Mask<'_, f32> {
        let input = self.input;
        let mut mask = Mask::new()
            .with_scale(self.scale)
            .with_softcap(self.softcap)
            .with_alibi_slope(self.slope)
            .with_queries(input.queries.get())
            .with_window(input.window.get())
            .with_first_row(self.first);
        if let Some((_, lent)) = &input.additive {
            mask = mask.with_additive(&self.additive, lent.broadcast(self.cols));
        }
        match input.causal {
            Some(Offset::Near(offset)) => mask = mask.with_causal(offset.into()),
            Some(Offset::Any(offset)) => mask = mask.with_causal(offset),
            None => {}
        }
        if let Some((_, lent)) = &input.lengths {
            mask = mask.with_lengths(&self.lengths, lent.broadcast(1));
        }
        match &input.keep {
            Some((_, true, lent)) => mask = mask.with_keep_bits(&self.keep, lent.broadcast(self.cols.div_ceil(8))),
            Some((_, false, lent)) => mask = mask.with_keep_bytes(&self.keep, lent.broadcast(self.cols)),
            None => {}
        }
        if let Some((_, lent)) = &input.sinks {
            mask = mask.with_sinks(&self.sinks, lent.broadcast(1));
        }
        mask
    }

    /// The output of a valid call, apart and in place alike.
    fn run(&self, isa: Isa, log: bool, mask: &Mask<'_, f32>) -> Option<Vec<f32>> {
        let rows = Rows::new(self.rows, self.cols)
            .with_x_stride(self.x_stride)
            .with_y_stride(self.y_stride);
        let mut y = vec![f32::canary(); extent(self.rows, self.cols, self.y_stride)];
        let mut both = self.x.clone();
        let (apart, in_place) = match log {
            true => (
                isa.masked_log_softmax(&self.x, &mut y, rows, mask),
                isa.masked_log_softmax_in_place(&mut both, rows, mask),
            ),
            false => (
                isa.masked_softmax(&self.x, &mut y, rows, mask),
                isa.masked_softmax_in_place(&mut both, rows, mask),
            ),
        };
        assert_eq!(apart.is_ok(), self.valid, "{isa}: {apart:?}");
        assert_eq!(apart, in_place, "{isa}: in place");
        if apart.is_err() {
            check_untouched(&y, |_| false);
            assert_eq!(bits(&both), bits(&self.x), "{isa}: written");
            return None;
        }
        check_untouched(&y, |i| i % self.y_stride < self.cols);
        for r in 0..if self.cols > 0 { self.rows } else { 0 } {
            let (y, both) = (
                &y[r * self.y_stride..][..self.cols],
                &both[r * self.x_stride..][..self.cols],
            );
            assert_eq!(bits(y), bits(both), "{isa}, row {r}: in place");
        }
        Some(y)
    }

    /// Whether row `r` sees column `c`, by the definition of each mask.
    fn visible(&self, r: usize, c: usize) -> bool {
        let r = self.first + r;
        let (input, cols, column) = (self.input, self.cols as i128, c as i128);
        let queries = input.queries.get();
        let query = if queries == 0 { r } else { r % queries } as i128;
        let end = match input.causal {
            None => cols,
            Some(Offset::Near(offset)) => (query + 1 + i128::from(offset)).clamp(0, cols),
            Some(Offset::Any(offset)) => (query + 1 + offset as i128).clamp(0, cols),
        };
        let window = input.window.get() as i128;
        let length = input
            .lengths
            .as_ref()
            .is_none_or(|(_, lent)| c < self.lengths[lent.start(r, 1)]);
        let keep = match &input.keep {
            None => true,
            Some((_, false, lent)) => self.keep[lent.start(r, self.cols) + c] != 0,
            Some((_, true, lent)) => self.keep[lent.start(r, self.cols.div_ceil(8)) + c / 8] >> (c % 8) & 1 != 0,
        };
        column < end && (window == 0 || column >= end - window) && length && keep
    }

    /// The logit of a place, −∞ where it is masked, and by how much it may be off.
    fn z(&self, isa: Isa, r: usize, c: usize) -> (f64, f64) {
        const MASKED: (f64, f64) = (f64::NEG_INFINITY, 0.0);
        let x = self.x[r * self.x_stride + c];
        let lent = self.input.additive.as_ref().map(|a| &a.1);
        let mask = lent.map(|lent| self.additive[lent.start(self.first + r, self.cols) + c]);
        if !self.visible(r, c) || mask == Some(f32::NEG_INFINITY) {
            return MASKED;
        }
        if x == f32::NEG_INFINITY && (self.softcap > 0.0 || self.scale <= 0.0) {
            return MASKED;
        }
        let product = mask.map(|mask| if self.slope == 1.0 { mask } else { self.slope * mask });
        if self.softcap > 0.0 {
            let cap = f64::from(self.softcap);
            let capped = cap * (f64::from(self.scale) / cap * f64::from(x)).tanh();
            let z = (capped + f64::from(product.unwrap_or(0.0))) as f32;
            let ulps = if isa == Isa::Portable { 3.0 } else { 2.0 };
            return (z.into(), ulps * ulp(capped) + ulp(z.into()));
        }
        let z = match product {
            None => self.scale * x,
            Some(product) if isa == Isa::Portable => self.scale * x + product,
            Some(product) => self.scale.mul_add(x, product),
        };
        (z.into(), 0.0)
    }

    fn check_row(&self, isa: Isa, log: bool, r: usize, y: &[f32]) {
        let places: Vec<(f64, f64)> = (0..self.cols).map(|c| self.z(isa, r, c)).collect();
        let lent = self.input.sinks.as_ref().map(|a| &a.1);
        let sink = lent.map(|lent| f64::from(self.sinks[lent.start(self.first + r, 1)]));
        let oracle = Oracle::new(places.iter().map(|p| p.0).chain(sink), Precision::Fast);
        let empty = places.iter().all(|p| p.0 == f64::NEG_INFINITY);
        // What the others are off moves the sum, and each place moves itself.
        let slack = 2.0 * places.iter().map(|p| p.1).fold(0.0, f64::max);
        let bad = places
            .iter()
            .map(|p| p.0)
            .chain(sink)
            .any(|z| z.is_nan() || z == f64::INFINITY);
        for (c, (&(z, _), &y)) in places.iter().zip(y).enumerate() {
            let place = || format!("{isa}, log {log}, row {r}, column {c}: {y:e}, z = {z:e}");
            if empty || bad {
                let want = match (empty && !self.input.nan, log) {
                    (false, _) => f32::NAN.to_bits(),
                    (true, false) => 0,
                    (true, true) => f32::NEG_INFINITY.to_bits(),
                };
                assert_eq!(y.to_bits(), want, "{}", place());
            } else if z == f64::NEG_INFINITY {
                let want: f32 = if log { z as f32 } else { 0.0 };
                assert_eq!(y.to_bits(), want.to_bits(), "{}", place());
            } else if slack > 1e-3 {
                let range = if log { f32::NEG_INFINITY..=0.0 } else { 0.0..=1.0 };
                assert!(range.contains(&y), "{}", place());
            } else if log {
                let want = oracle.log_softmax(z);
                let unit = ulp(want.to_f64()).max(ulp(1.0));
                let error = Format::F32.error_from_1(y.into(), want);
                assert!(error <= LOG_MAX_ULP + slack / unit, "{}: {error} ULP", place());
            } else {
                let error = Format::F32.error(y.into(), oracle.softmax(z));
                let bound = f64::from(isa.max_ulp()) + 1.01 * slack / 2f64.powi(-24);
                assert!(error <= bound, "{}: {error} ULP", place());
            }
        }
    }
}

/// One ULP of f32 at a number.
fn ulp(v: f64) -> f64 {
    let v = v.abs().clamp(f32::MIN_POSITIVE.into(), f32::MAX.into()) as f32;
    let power_of_two = f32::from_bits(v.to_bits() >> 23 << 23);
    f64::from(power_of_two) * f64::from(f32::EPSILON)
}
