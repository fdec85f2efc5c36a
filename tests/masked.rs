//! Masks: each alone and in combination against an oracle on z, what masked places may hold, and bad calls.

use crate::common::dd::{self, Dd};
use crate::common::element::{TestElement, bits};
use crate::common::inputs::{self, DISTRIBUTIONS, TestRng, rows_of};
use crate::common::ops::LOG_MAX_ULP;
use crate::common::oracle::Oracle;
use crate::common::shape::Shape;
use crate::common::ulp::Format;
use crate::common::{exact_isas, for_each_isa, isas, thinned};
use crate::errors::{check_message, untouched};
use rand::RngExt;
use softmax::{Broadcast, Error, FullyMasked, Isa, Mask, Rows};

/// The element types whose arithmetic the oracle can follow step by step.
macro_rules! for_f32_and_f64 {
    ($check:ident) => {
        $check::<f32>();
        $check::<f64>();
    };
}

/// The values, which of them belong to which row, and where by that those of a row start.
type Additive<T> = (Vec<f32>, Broadcast, fn(&Case<T>, usize) -> usize);

/// All that a call is given, and with it what z must be.
struct Case<T> {
    shape: Shape,
    queries: usize,
    x: Vec<T>,
    scale: f64,
    softcap: f64,
    slope: f64,
    additive: Option<Additive<T>>,
    causal: Option<isize>,
    window: usize,
    lengths: Option<Vec<usize>>,
    keep: Option<Vec<bool>>,
    as_bits: bool,
    packed: Vec<u8>,
    sinks: Option<Vec<f32>>,
}

impl<T: TestElement> Case<T> {
    /// Scores alone.
    fn plain(shape: Shape, x: Vec<T>) -> Case<T> {
        Case {
            shape,
            queries: 0,
            x,
            scale: 1.0,
            softcap: 0.0,
            slope: 1.0,
            additive: None,
            causal: None,
            window: 0,
            lengths: None,
            keep: None,
            as_bits: false,
            packed: Vec::new(),
            sinks: None,
        }
    }

    /// Any combination of the steps.
    fn drawn(rng: &mut TestRng, rows: usize, cols: usize) -> Case<T> {
        let (x_gap, y_gap) = (rng.random_range(0..3), rng.random_range(0..3));
        let shape = Shape {
            rows,
            cols,
            x_stride: cols + x_gap,
            y_stride: cols + y_gap,
        };
        let deviation = [1.0, 3.0, 30.0][rng.random_range(0..3)];
        let x = (0..shape.x_extent()).map(|_| T::from_f64(deviation * inputs::normal(rng)));
        let mut case = Case::plain(shape, x.collect());
        let mut maybe = |one_in: u32| rng.random_ratio(1, one_in);
        let [
            scale,
            softcap,
            additive,
            slope,
            causal,
            window,
            lengths,
            keep,
            as_bits,
            sinks,
        ] = [2, 4, 2, 3, 2, 3, 4, 3, 2, 3].map(&mut maybe);
        if scale {
            case.scale = [0.125, 0.176_776_69, -0.7, 3.0][rng.random_range(0..4)];
        }
        if softcap {
            case.softcap = [0.5, 3.0, 50.0][rng.random_range(0..3)];
        }
        case.queries = [0, 1, 3, rows][rng.random_range(0..4)];
        if additive {
            let values = |rng: &mut TestRng, n: usize| -> Vec<f32> {
                let value = |rng: &mut TestRng| {
                    if rng.random_ratio(1, 6) {
                        f32::NEG_INFINITY
                    } else {
                        inputs::normal(rng) as f32
                    }
                };
                (0..n).map(|_| value(rng)).collect()
            };
            case.additive = Some(match rng.random_range(0..5) {
                0 => (values(rng, cols), Broadcast::ONE, |_, _| 0),
                1 => (values(rng, rows * cols), Broadcast::rows(cols), |case, r| {
                    r * case.shape.cols
                }),
                2 => (
                    values(rng, 2 * (cols + 1)),
                    Broadcast::rows(cols + 1).cycle(2),
                    |case, r| r % 2 * (case.shape.cols + 1),
                ),
                // Four rows to a sequence: two heads of two queries.
                3 => (
                    values(rng, rows.div_ceil(4) * 2 * cols),
                    Broadcast::rows(cols).cycle(2).outer(4, 2 * cols),
                    |case, r| (r / 4 * 2 + r % 2) * case.shape.cols,
                ),
                _ => (
                    values(rng, rows.div_ceil(3) * cols),
                    Broadcast::rows(cols).every(3),
                    |case, r| r / 3 * case.shape.cols,
                ),
            });
        }
        if slope {
            case.slope = [0.5, 0.1, -1.0, 0.0][rng.random_range(0..4)];
        }
        if causal {
            case.causal = Some(rng.random_range(-3..=cols as i64) as isize);
        }
        if window {
            case.window = rng.random_range(1..=cols);
        }
        case.lengths = lengths.then(|| (0..rows).map(|_| rng.random_range(0..=cols)).collect());
        case.keep = keep.then(|| (0..rows * cols).map(|_| rng.random_ratio(3, 4)).collect());
        case.as_bits = as_bits;
        if let Some(keep) = &case.keep {
            let pack = |row: &[bool]| -> Vec<u8> {
                let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
                row.chunks(8).map(byte).collect()
            };
            case.packed = keep.chunks(cols).flat_map(pack).collect();
        }
        case.sinks = sinks.then(|| (0..rows).map(|_| 3.0 * inputs::normal(rng) as f32).collect());
        case
    }

    fn mask(&self) -> Mask<'_, T> {
        let number = T::Probability::from_f64;
        let mut mask = Mask::new()
            .with_scale(number(self.scale))
            .with_softcap(number(self.softcap))
            .with_alibi_slope(number(self.slope))
            .with_queries(self.queries)
            .with_window(self.window);
        if let Some((values, rows, _)) = &self.additive {
            mask = mask.with_additive(values, *rows);
        }
        if let Some(offset) = self.causal {
            mask = mask.with_causal(offset);
        }
        if let Some(lengths) = &self.lengths {
            mask = mask.with_lengths(lengths, Broadcast::rows(1));
        }
        match &self.keep {
            Some(_) if self.as_bits => {
                mask = mask.with_keep_bits(&self.packed, Broadcast::rows(self.shape.cols.div_ceil(8)));
            }
            Some(keep) => mask = mask.with_keep(keep, Broadcast::rows(self.shape.cols)),
            None => {}
        }
        if let Some(sinks) = &self.sinks {
            mask = mask.with_sinks(sinks, Broadcast::rows(1));
        }
        mask
    }

    /// Whether row `r` sees column `c`, by the definition of each mask, one place at a time.
    fn visible(&self, r: usize, c: usize) -> bool {
        let cols = self.shape.cols as isize;
        let query = if self.queries == 0 { r } else { r % self.queries } as isize;
        let end = self.causal.map_or(cols, |offset| (query + offset + 1).clamp(0, cols));
        let column = c as isize;
        let causal = column < end;
        let window = self.window == 0 || column >= end - self.window as isize;
        let length = self.lengths.as_ref().is_none_or(|lengths| c < lengths[r]);
        let keep = self.keep.as_ref().is_none_or(|keep| keep[r * self.shape.cols + c]);
        causal && window && length && keep
    }

    /// The logit of a place, −∞ where it is masked; with a softcap within half an ULP.
    fn z(&self, isa: Isa, r: usize, c: usize) -> f64 {
        let x = self.x[r * self.shape.x_stride + c].to_f64();
        let mask = self
            .additive
            .as_ref()
            .map(|(values, _, start)| f64::from(values[start(self, r) + c]));
        if !self.visible(r, c) || mask == Some(f64::NEG_INFINITY) || x == f64::NEG_INFINITY {
            return f64::NEG_INFINITY;
        }
        let round = |v: f64| T::Probability::from_f64(v).to_f64();
        let (scale, slope) = (round(self.scale), round(self.slope));
        let fused = isa != Isa::Portable;
        let product = mask.map(|mask| if slope == 1.0 { mask } else { round(slope * mask) });
        if self.softcap > 0.0 {
            return round(softcap(scale, self.softcap, x) + product.unwrap_or(0.0));
        }
        match product {
            None => round(scale * x),
            Some(product) if !fused => round(round(scale * x) + product),
            Some(product) if T::Probability::WIDTH == 32 => f64::from((scale as f32).mul_add(x as f32, product as f32)),
            Some(product) => scale.mul_add(x, product),
        }
    }

    /// ULP of z by which the softcap may be off, over what that is worth in ULP of a probability.
    fn slack(&self, isa: Isa, format: Format) -> (f64, f64) {
        if self.softcap == 0.0 {
            return (0.0, 0.0);
        }
        let ulp = |v: f64| dd::scale(1.0, format.ulp_exp(Dd::from(v).into()));
        let off = if isa == Isa::Portable { 7.0 } else { 3.0 } * ulp(self.softcap) + ulp(self.softcap + 4.0);
        (2.0 * off, 2.0 * off / dd::scale(1.0, -format.digits))
    }

    fn run(&self, isa: Isa, log: bool) -> Vec<T> {
        let mut y = vec![T::canary(); self.shape.y_extent(crate::common::ops::Width::Row)];
        let (rows, mask) = (self.shape.rows(), self.mask());
        let outcome = match log {
            true => isa.masked_log_softmax(&self.x, &mut y, rows, &mask),
            false => isa.masked_softmax(&self.x, &mut y, rows, &mask),
        };
        outcome.unwrap_or_else(|e| panic!("{isa}: {e}"));
        y
    }

    fn run_in_place(&self, isa: Isa, log: bool) -> Vec<T> {
        let mut x = self.x.clone();
        let (rows, mask) = (self.shape.rows_in_place(), self.mask());
        let outcome = match log {
            true => isa.masked_log_softmax_in_place(&mut x, rows, &mask),
            false => isa.masked_softmax_in_place(&mut x, rows, &mask),
        };
        outcome.unwrap_or_else(|e| panic!("{isa}: {e}"));
        x
    }

    /// Every row within the bound of the oracle on z, nothing between the rows written, in place the same bits.
    fn check(&self, isa: Isa, what: &str) {
        for log in [false, true] {
            let (y, in_place) = (self.run(isa, log), self.run_in_place(isa, log));
            let Shape {
                rows,
                cols,
                x_stride,
                y_stride,
            } = self.shape;
            for r in 0..rows {
                let z: Vec<f64> = (0..cols).map(|c| self.z(isa, r, c)).collect();
                let row = &y[r * y_stride..][..cols];
                self.check_row(isa, log, r, &z, row, what);
                let other = &in_place[r * x_stride..][..cols];
                assert!(bits(other) == bits(row), "{what} on {isa}, row {r}: in place differs");
            }
            for (i, y) in y.iter().enumerate().filter(|(i, _)| i % y_stride >= cols) {
                assert_eq!(y.bits(), T::canary().bits(), "{what} on {isa}: wrote at {i}");
            }
        }
    }

    fn check_row(&self, isa: Isa, log: bool, r: usize, z: &[f64], y: &[T], what: &str) {
        let sink = self.sinks.as_ref().map(|sinks| f64::from(sinks[r]));
        let terms = z.iter().copied().chain(sink);
        let oracle = match T::WIDTH {
            64 => Oracle::new(terms, crate::common::oracle::Precision::DoubleDouble),
            _ => Oracle::new(terms, crate::common::oracle::Precision::Fast),
        };
        let empty = z.iter().all(|&z| z == f64::NEG_INFINITY);
        let (slack_log, slack) = self.slack(isa, T::FORMAT);
        for (c, (&z, &y)) in z.iter().zip(y).enumerate() {
            let place = || format!("{what} on {isa}, log {log}, row {r}, column {c} of {}", y.to_f64());
            if empty || z == f64::NEG_INFINITY {
                let want = if log { f64::NEG_INFINITY } else { 0.0 };
                assert_eq!(y.bits(), T::from_f64(want).bits(), "{}", place());
            } else if log {
                let want = oracle.log_softmax(z);
                let error = T::FORMAT.error_from_1(y.to_f64(), want);
                let unit = dd::scale(1.0, T::FORMAT.ulp_exp(want).max(1 - T::FORMAT.digits));
                assert!(error <= LOG_MAX_ULP + slack_log / unit, "{}: {error} ULP", place());
            } else {
                let error = T::FORMAT.error(y.to_f64(), oracle.softmax(z));
                assert!(error <= f64::from(isa.max_ulp()) + slack, "{}: {error} ULP", place());
            }
        }
    }
}

/// cap·tanh(scale·x/cap), in double-double.
fn softcap(scale: f64, cap: f64, x: f64) -> f64 {
    let u = dd::two_sum(0.0, scale * x) + Dd::from(scale.mul_add(x, -(scale * x)));
    let u = u / Dd::from(cap);
    let e = dd::exp((u + u).abs().scale(0) * Dd::from(-1.0)).to_dd();
    let t = (Dd::from(1.0) - e) / (Dd::from(1.0) + e) * Dd::from(cap);
    t.hi.copysign(u.hi)
}

/// Lengths at which kernels change their ways, and some between.
fn lengths() -> impl Iterator<Item = usize> + Clone {
    (1..=40).chain([
        63, 64, 65, 100, 127, 128, 129, 200, 255, 256, 257, 300, 511, 640, 1000, 4099, 5000,
    ])
}

#[test]
fn any_combination_within_its_bound() {
    for_f32_and_f64!(check_combinations);
}

fn check_combinations<T: TestElement>() {
    let rng = &mut inputs::rng(71);
    for (cols, round) in
        thinned(lengths().flat_map(|cols| (0..if cols > 300 { 4 } else { 16 }).map(move |r| (cols, r))))
    {
        let rows = if cols > 300 { 3 } else { 1 + round };
        let mut case = Case::<T>::drawn(rng, rows, cols);
        // Whatever a masked place holds.
        for r in 0..rows {
            for c in 0..cols {
                if case.z(Isa::Scalar, r, c) == f64::NEG_INFINITY && rng.random_ratio(1, 3) {
                    let poison = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3e38][rng.random_range(0..4)];
                    case.x[r * case.shape.x_stride + c] = T::from_f64(poison);
                }
            }
        }
        let what = format!("{}: {rows} × {cols}, round {round}", T::NAME);
        for_each_isa(|isa| {
            if isa != Isa::Scalar || round % 4 == 0 {
                case.check(isa, &what);
            }
        });
        for log in [false, true] {
            let results: Vec<_> = exact_isas().map(|isa| (isa, bits(&case.run(isa, log)))).collect();
            for (isa, y) in &results[1..] {
                assert!(
                    *y == results[0].1,
                    "{what}, log {log}: {isa} and {} differ",
                    results[0].0
                );
            }
        }
    }
}

/// One row of `z`, plain.
fn softmax_of<T: TestElement>(isa: Isa, z: &[T], log: bool) -> Vec<u64> {
    let mut y = vec![T::canary(); z.len()];
    let outcome = if log {
        isa.log_softmax(z, &mut y)
    } else {
        isa.softmax(z, &mut y)
    };
    outcome.expect("equal lengths");
    bits(&y)
}

fn masked<T: TestElement>(isa: Isa, x: &[T], mask: &Mask<'_, T>, log: bool) -> Vec<u64> {
    let (mut y, rows) = (vec![T::canary(); x.len()], Rows::new(1, x.len()));
    let outcome = match log {
        true => isa.masked_log_softmax(x, &mut y, rows, mask),
        false => isa.masked_softmax(x, &mut y, rows, mask),
    };
    outcome.expect("a valid mask");
    bits(&y)
}

/// Without a mask the bits are those of softmax, with one those of softmax of z.
#[test]
fn bits_of_softmax_of_z() {
    for_f32_and_f64!(check_bits);
}

fn check_bits<T: TestElement>() {
    let half = T::Probability::from_f64(0.5);
    for (d, n) in rows_of(lengths().chain([70_001])) {
        let x: Vec<T> = d.row(n, 72);
        let keep: Vec<bool> = (0..n).map(|i| i % 3 != 1 || i == n / 2).collect();
        let additive: Vec<f32> = keep
            .iter()
            .map(|&keep| if keep { 0.0 } else { f32::NEG_INFINITY })
            .collect();
        let end = n - n / 3;
        let with = |visible: &dyn Fn(usize) -> bool, factor: f64| -> Vec<T> {
            let value = |i: usize| {
                if visible(i) {
                    factor * x[i].to_f64()
                } else {
                    f64::NEG_INFINITY
                }
            };
            (0..n).map(|i| T::from_f64(value(i))).collect()
        };
        // Of the mask, of z, and whether z has anything to see.
        let cases = [
            (Mask::new(), x.clone()),
            (Mask::new().with_scale(half), with(&|_| true, 0.5)),
            (Mask::new().with_keep(&keep, Broadcast::ONE), with(&|i| keep[i], 1.0)),
            (
                Mask::new().with_additive(&additive, Broadcast::ONE),
                with(&|i| keep[i], 1.0),
            ),
            (Mask::new().with_causal(end as isize - 1), with(&|i| i < end, 1.0)),
            (Mask::new().with_window(n / 2 + 1), with(&|i| i + n / 2 + 1 >= n, 1.0)),
        ];
        for (k, (mask, z)) in cases.iter().enumerate() {
            let empty = z.iter().all(|z| z.to_f64() == f64::NEG_INFINITY);
            for &isa in isas().iter().filter(|&&isa| !empty && (isa != Isa::Scalar || n < 300)) {
                // The shift is guessed from the visible places. It shows where the logarithm of a sum is rounded, and
                // without a fused multiply-add.
                if k >= 2 && isa == Isa::Portable {
                    continue;
                }
                for &log in if k < 2 { &[false, true][..] } else { &[false] } {
                    let (got, want) = (masked(isa, &x, mask, log), softmax_of(isa, z, log));
                    let at = got.iter().zip(&want).position(|(a, b)| a != b);
                    assert_eq!(
                        at,
                        None,
                        "{} mask {k} on {isa}, log {log}: {}, n = {n}",
                        T::NAME,
                        d.name
                    );
                }
            }
        }
    }
}

#[test]
fn special_values() {
    for_f32_and_f64!(check_special);
}

fn check_special<T: TestElement>() {
    let number = T::Probability::from_f64;
    const INF: f64 = f64::INFINITY;
    let all = |v: f64, n: usize| vec![T::from_f64(v).bits(); n];
    for n in [1, 5, 17, 40, 130, 300] {
        let ones = vec![T::from_f64(1.0); n];
        let least = vec![f32::NEG_INFINITY; n];
        let nothing = vec![false; n];
        for_each_isa(|isa| {
            let nan = vec![T::NAN_BITS; n];
            // Nothing to see, in every way there is, with and without a sink.
            let empty: [(&str, Mask<'_, T>); 6] = [
                ("causal", Mask::new().with_causal(-1)),
                ("far", Mask::new().with_causal(isize::MIN)),
                ("length", Mask::new().with_lengths(&[0], Broadcast::ONE)),
                ("keep", Mask::new().with_keep(&nothing, Broadcast::ONE)),
                ("additive", Mask::new().with_additive(&least, Broadcast::ONE)),
                (
                    "slope",
                    Mask::new()
                        .with_additive(&least, Broadcast::ONE)
                        .with_alibi_slope(number(-2.0)),
                ),
            ];
            for (name, mask) in empty {
                for sink in [None, Some([-300.0_f32]), Some([0.5]), Some([1e30])] {
                    let mask = match &sink {
                        Some(sink) => mask.with_sinks(sink, Broadcast::ONE),
                        None => mask,
                    };
                    let what = format!("{name} on {isa}, n = {n}, sink {sink:?}");
                    for x in [0.0, f64::NAN, INF, -INF] {
                        let x = vec![T::from_f64(x); n];
                        assert_eq!(masked(isa, &x, &mask, false), all(0.0, n), "{what}");
                        assert_eq!(masked(isa, &x, &mask, true), all(-INF, n), "{what}");
                        let mask = mask.with_fully_masked(FullyMasked::Nan);
                        assert_eq!(masked(isa, &x, &mask, false), nan, "{what}");
                        assert_eq!(masked(isa, &x, &mask, true), nan, "{what}");
                    }
                }
            }
            // Scores of nothing but −∞ are fully masked too, whatever is done to them.
            for mask in [
                Mask::new(),
                Mask::new().with_scale(number(-1.0)),
                Mask::new().with_scale(number(0.0)),
                Mask::new().with_softcap(number(5.0)),
            ] {
                let x = vec![T::from_f64(-INF); n];
                assert_eq!(masked(isa, &x, &mask, false), all(0.0, n), "{isa}, n = {n}");
                assert_eq!(masked(isa, &x, &mask, true), all(-INF, n), "{isa}, n = {n}");
            }
            // NaN that is not masked shows, wherever it comes from.
            for at in [0, n / 2, n - 1] {
                let mut x = vec![T::from_f64(-INF); n];
                x[at] = T::from_f64(f64::NAN);
                let mut additive = vec![0.0_f32; n];
                additive[at] = f32::NAN;
                let mut absent = ones.clone();
                absent[at] = T::from_f64(-INF);
                for log in [false, true] {
                    let what = format!("{isa}, n = {n}, NaN at {at}");
                    for mask in [
                        Mask::new(),
                        Mask::new().with_softcap(number(5.0)),
                        Mask::new().with_scale(number(-1.0)),
                        Mask::new().with_alibi_slope(number(0.5)),
                    ] {
                        assert_eq!(masked(isa, &x, &mask, log), nan, "{what}");
                        let mask = mask.with_additive(&additive, Broadcast::ONE);
                        assert_eq!(masked(isa, &ones, &mask, log), nan, "{what}, in the mask");
                        assert_eq!(
                            masked(isa, &absent, &mask, log),
                            nan,
                            "{what}, in the mask, beside -inf"
                        );
                    }
                    for sink in [[f32::NAN], [f32::INFINITY]] {
                        let mask = Mask::new().with_sinks(&sink, Broadcast::ONE);
                        assert_eq!(masked(isa, &ones, &mask, log), nan, "{what}, sink {sink:?}");
                    }
                    x[at] = T::from_f64(INF);
                    assert_eq!(masked(isa, &x, &Mask::new(), log), nan, "{what}, +inf");
                    x[at] = T::from_f64(f64::NAN);
                }
            }
            // tanh(∞) is 1.
            let mut x = ones.clone();
            x[0] = T::from_f64(INF);
            let y = masked(isa, &x, &Mask::new().with_softcap(number(3.0)), false);
            assert!(y.iter().all(|&y| T::from_bits(y).to_f64() > 0.0), "{isa}");
        });
    }
}

/// Big sinks, and rows beyond the guess, take the three-pass form.
#[test]
fn sinks_and_rows_beyond_the_guess() {
    for_f32_and_f64!(check_beyond);
}

fn check_beyond<T: TestElement>() {
    let rng = &mut inputs::rng(73);
    let levels = [
        (0.0, 0.0, 200.0),
        (0.0, 0.0, -200.0),
        (1000.0, 0.0, 990.0),
        (-1e5, 0.0, 0.0),
        (0.0, 150.0, 3.0),
        (0.0, 300.0, 299.0),
        (1e6, 0.0, 1e6),
    ];
    let all = [7, 40, 256, 300, 5000]
        .into_iter()
        .flat_map(|cols| levels.map(|level| (cols, level)));
    for (cols, (mean, peak, sink)) in thinned(all) {
        let shape = Shape {
            rows: 2,
            cols,
            x_stride: cols,
            y_stride: cols,
        };
        let mut x: Vec<T> = (0..2 * cols).map(|_| T::from_f64(mean + inputs::normal(rng))).collect();
        x[cols / 3] = T::from_f64(mean + peak);
        let mut case = Case::plain(shape, x);
        case.sinks = Some(vec![sink, sink]);
        case.scale = 0.5;
        for_each_isa(|isa| case.check(isa, &format!("{mean} {peak} {sink}, n = {cols}")));
    }
}

/// Rows that are computed side by side are each as if alone, whatever the sinks and the lengths of their neighbours, and
/// what a masked place holds.
#[test]
fn neighbours_do_not_show() {
    for_f32_and_f64!(check_neighbours);
}

fn check_neighbours<T: TestElement>() {
    const ROWS: usize = 20;
    let rng = &mut inputs::rng(75);
    for cols in [9, 40, 130, 250] {
        let mut x: Vec<T> = (0..ROWS * cols).map(|_| T::from_f64(inputs::normal(rng))).collect();
        // ln 2/2, which the shift may round up or down.
        x[13 * cols + 1] = T::from_f64(std::f64::consts::LN_2 / 2.0);
        (x[15 * cols + 2], x[16 * cols + 3]) = (T::from_f64(f64::NAN), T::from_f64(1e30));
        x[17 * cols..][..cols].fill(T::from_f64(f64::NEG_INFINITY));
        x[18 * cols + 4] = T::from_f64(f64::INFINITY);
        let mut sinks = [1.0_f32; ROWS];
        (sinks[3], sinks[7], sinks[9], sinks[11]) = (f32::NAN, f32::INFINITY, 1e30, 200.0);
        (sinks[12], sinks[14]) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        let mut lengths = [cols; ROWS];
        (lengths[2], lengths[5], lengths[12]) = (0, cols / 2, 0);
        let mut additive = vec![0.25_f32; cols];
        additive[cols / 3] = f32::NEG_INFINITY;
        let keep: Vec<bool> = (0..cols).map(|i| i != cols / 3).collect();
        let one = Broadcast::ONE;
        let number = T::Probability::from_f64;
        for (i, fully_masked) in [FullyMasked::Zero, FullyMasked::Nan].into_iter().enumerate() {
            let mask = Mask::new().with_fully_masked(fully_masked);
            let kinds = [
                mask,
                mask.with_additive(&additive, one),
                mask.with_additive(&additive, one).with_alibi_slope(number(0.5)),
                mask.with_keep(&keep, one),
                mask.with_softcap(number(30.0)),
            ];
            for (kind, mask) in kinds.iter().enumerate() {
                let masks = (1..4).contains(&kind);
                for_each_isa(|isa| {
                    let mut scores = x.clone();
                    if masks {
                        for (r, row) in scores.chunks_exact_mut(cols).enumerate() {
                            row[cols / 3] = T::from_f64([0.0, f64::NAN, f64::INFINITY][r % 3]);
                        }
                    }
                    for (log, sunk) in [(false, false), (false, true), (true, false), (true, true)] {
                        let of_row = |r: usize, rows| {
                            let mask = mask.with_lengths(&lengths[r..], rows);
                            if sunk { mask.with_sinks(&sinks[r..], rows) } else { mask }
                        };
                        let (mut y, shape) = (scores.clone(), Rows::new(ROWS, cols));
                        let whole = of_row(0, Broadcast::rows(1));
                        match log {
                            true => isa.masked_log_softmax(&scores, &mut y, shape, &whole),
                            false => isa.masked_softmax(&scores, &mut y, shape, &whole),
                        }
                        .unwrap();
                        for r in 0..ROWS {
                            let alone = masked(isa, &x[r * cols..][..cols], &of_row(r, one), log);
                            let row = &y[r * cols..][..cols];
                            let what = format!("{isa} kind {kind}.{i} log {log} sinks {sunk} row {r} of {cols}");
                            assert_eq!(bits(row), alone, "{what}");
                        }
                    }
                });
            }
        }
    }
}

/// Long rows that may be divided beside the exps of the next one, and rows that fit no scratch, under masks that let them and
/// others.
#[test]
fn long_rows_after_one_another() {
    for_f32_and_f64!(check_long_rows);
}

fn check_long_rows<T: TestElement>() {
    const ROWS: usize = 9;
    let rng = &mut inputs::rng(76);
    for cols in [330, 530, 1100, 1410, 34_000 / size_of::<T>()] {
        let mut x: Vec<T> = (0..ROWS * cols).map(|_| T::from_f64(inputs::normal(rng))).collect();
        x[cols + (cols - 1).min(500)] = T::from_f64(f64::NAN);
        x[2 * cols + 9] = T::from_f64(f64::NAN); // behind every mask
        x[7 * cols + 9] = T::from_f64(f64::INFINITY);
        x[3 * cols..][..cols].fill(T::from_f64(f64::NEG_INFINITY));
        x[5 * cols + 5] = T::from_f64(1e4);
        for (r, offset) in [(4, 60.0), (6, 300.0), (7, -300.0)] {
            for x in &mut x[r * cols..][..cols] {
                *x = T::from_f64(x.to_f64() + offset);
            }
        }
        let sinks = [0.5_f32, -3.0, 1e30, f32::NEG_INFINITY, f32::NAN, 2.0, 200.0, 0.0, 1.0];
        let lengths = [cols, (cols - 1).min(500), 0, cols, 300, cols, cols - 50, cols - 10, 100];
        let hidden = |i: usize| i % cols % 7 == 2 || i / cols == 8 && i % 2 == 1;
        let keep: Vec<bool> = (0..ROWS * cols).map(|i| !hidden(i)).collect();
        let bytes = cols.div_ceil(8);
        let packed: Vec<u8> = keep.chunks(cols).flat_map(packed).collect();
        let value = |i: usize| {
            if hidden(i) {
                f32::NEG_INFINITY
            } else {
                0.1 * (i % 9) as f32
            }
        };
        let additive: Vec<f32> = (0..ROWS * cols).map(value).collect();
        let (causal, number) = (cols as isize - 4, T::Probability::from_f64);
        let mask = Mask::new().with_scale(number(0.5));
        // Of all rows, or of row `r` alone.
        let of_rows = |kind, alone: Option<usize>| {
            let r = alone.unwrap_or(0);
            let by = |stride| alone.map_or(Broadcast::rows(stride), |_| Broadcast::ONE);
            let added = mask.with_additive(&additive[r * cols..], by(cols));
            match kind {
                "scale" => mask,
                "causal" => mask.with_causal(causal).with_first_row(r),
                // Ends on both sides of a whole block, and a query after the last that sees less.
                "causal, block" => mask
                    .with_causal((cols / 2).next_multiple_of(128) as isize - 3)
                    .with_queries(6)
                    .with_first_row(r),
                "window" => mask.with_causal(causal).with_window(cols - 20).with_first_row(r),
                "lengths" => mask.with_lengths(&lengths[r..], by(1)),
                "lengths, NaN" => mask
                    .with_lengths(&lengths[r..], by(1))
                    .with_fully_masked(FullyMasked::Nan),
                "sinks" => mask.with_sinks(&sinks[r..], by(1)),
                "keep" => mask.with_keep(&keep[r * cols..], by(cols)),
                "bits" => mask.with_keep_bits(&packed[r * bytes..], by(bytes)),
                "additive" => added,
                "additive, slope" => added.with_alibi_slope(number(0.3)),
                "softcap, window" => mask
                    .with_softcap(number(40.0))
                    .with_causal(causal)
                    .with_window(cols - 20)
                    .with_first_row(r),
                "additive, softcap" => added.with_softcap(number(40.0)).with_fully_masked(FullyMasked::Nan),
                "additive, keep" => added.with_keep(&keep[r * cols..], by(cols)),
                "additive, lengths" => added.with_lengths(&lengths[r..], by(1)),
                "additive, lengths, sinks" => added.with_lengths(&lengths[r..], by(1)).with_sinks(&sinks[r..], by(1)),
                _ => unreachable!("{kind}"),
            }
        };
        let kinds = [
            "scale",
            "causal",
            "causal, block",
            "window",
            "lengths",
            "lengths, NaN",
            "sinks",
            "keep",
            "bits",
            "softcap, window",
            "additive",
            "additive, slope",
            "additive, keep",
            "additive, lengths",
            "additive, lengths, sinks",
            "additive, softcap",
        ];
        for kind in kinds {
            for_each_isa(|isa| {
                for log in [false, true] {
                    let (mut y, mut place, shape) = (x.clone(), x.clone(), Rows::new(ROWS, cols));
                    let all = of_rows(kind, None);
                    let outcome = match log {
                        false => isa.masked_softmax(&x, &mut y, shape, &all),
                        true => isa.masked_log_softmax(&x, &mut y, shape, &all),
                    };
                    outcome.expect("valid");
                    let outcome = match log {
                        false => isa.masked_softmax_in_place(&mut place, shape, &all),
                        true => isa.masked_log_softmax_in_place(&mut place, shape, &all),
                    };
                    outcome.expect("valid");
                    for r in 0..ROWS {
                        let row = r * cols..(r + 1) * cols;
                        let alone = masked(isa, &x[row.clone()], &of_rows(kind, Some(r)), log);
                        let what = format!("{isa} {kind} log {log} row {r} of {cols}");
                        assert!(bits(&y[row.clone()]) == alone, "{what}");
                        assert!(bits(&place[row]) == alone, "{what}, in place");
                    }
                }
            });
        }
    }
}

/// Bits of a keep mask of bytes.
fn packed(keep: &[bool]) -> Vec<u8> {
    let byte = |eight: &[bool]| eight.iter().rev().fold(0, |byte, &keep| byte << 1 | u8::from(keep));
    keep.chunks(8).map(byte).collect()
}

/// Long rows under masks of halves are as under the same of f32.
#[cfg(feature = "half")]
#[test]
fn long_rows_under_halves() {
    const ROWS: usize = 5;
    for cols in [530, 1410] {
        let x: Vec<f32> = DISTRIBUTIONS[0].row(ROWS * cols, 77);
        let value = |i: usize| if i % 7 == 2 { f32::NEG_INFINITY } else { (i % 9) as f32 };
        let wide: Vec<f32> = (0..ROWS * cols).map(value).collect();
        let halves: Vec<half::f16> = wide.iter().map(|&m| half::f16::from_f32(m)).collect();
        let brief: Vec<half::bf16> = wide.iter().map(|&m| half::bf16::from_f32(m)).collect();
        for_each_isa(|isa| {
            for slope in [1.0, 0.25] {
                let (mask, by) = (Mask::new().with_alibi_slope(slope), Broadcast::rows(cols));
                let masks = [
                    mask.with_additive(&wide, by),
                    mask.with_additive(&halves, by),
                    mask.with_additive(&brief, by),
                ];
                let [wide, halves, brief] = masks.map(|mask| {
                    let mut y = vec![0.0; x.len()];
                    isa.masked_softmax(&x, &mut y, Rows::new(ROWS, cols), &mask).unwrap();
                    bits(&y)
                });
                assert_eq!(wide, halves, "f16, slope {slope}, on {isa}");
                assert_eq!(wide, brief, "bf16, slope {slope}, on {isa}");
            }
        });
    }
}

/// An additive mask of f64 for rows of f64.
#[test]
fn additive_mask_of_the_rows_own_type() {
    let x: Vec<f64> = DISTRIBUTIONS[1].row(300, 74);
    let mask: Vec<f64> = (0..300)
        .map(|i| {
            if i % 4 == 1 {
                f64::NEG_INFINITY
            } else {
                0.1 * f64::from(i % 9)
            }
        })
        .collect();
    for_each_isa(|isa| {
        let value = |(x, m): (&f64, &f64)| x + m;
        let z: Vec<f64> = x.iter().zip(&mask).map(value).collect();
        let got = masked(isa, &x, &Mask::new().with_additive(&mask, Broadcast::ONE), false);
        assert_eq!(got, softmax_of(isa, &z, false), "{isa}");
        let narrow = [1.5_f64];
        let sink = Mask::new().with_sinks(&narrow, Broadcast::ONE);
        let wide = Mask::new().with_sinks(&[1.5_f32], Broadcast::ONE);
        assert_eq!(masked(isa, &x, &sink, true), masked(isa, &x, &wide, true), "{isa}");
    });
}

/// What a masked place holds does not show, whatever the sign of the slope: not in the shift either, which rounds
/// logarithms.
#[test]
fn masked_places_never_show() {
    for_f32_and_f64!(check_masked_places);
}

fn check_masked_places<T: TestElement>() {
    for n in [20, 40, 300, 1000] {
        let mut additive = vec![0.25_f32; n];
        for at in [0, n / 2, n - 1] {
            additive[at] = f32::NEG_INFINITY;
        }
        for_each_isa(|isa| {
            for (slope, log) in [(-1.0, false), (-1.0, true), (0.0, true), (2.0, true)] {
                let mask = Mask::new()
                    .with_additive(&additive, Broadcast::ONE)
                    .with_alibi_slope(T::Probability::from_f64(slope));
                let with = |held: f64| {
                    let value = |i: usize| {
                        if additive[i] < 0.0 {
                            held
                        } else {
                            100.0 - (i % 7) as f64
                        }
                    };
                    let x: Vec<T> = (0..n).map(|i| T::from_f64(value(i))).collect();
                    masked(isa, &x, &mask, log)
                };
                let want = with(0.0);
                for held in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30] {
                    assert_eq!(with(held), want, "{held} on {isa}, n = {n}, slope {slope}, log {log}");
                }
            }
        });
    }
}

/// In place nobody asks for the stride of results.
#[test]
fn in_place_without_a_stride_of_results() {
    for_each_isa(|isa| {
        let rows = Rows::new(3, 1).with_y_stride(usize::MAX);
        for mask in [Mask::new(), Mask::new().with_lengths(&[1; 3], Broadcast::rows(1))] {
            let mut x = [2.0_f32; 3];
            isa.masked_softmax_in_place(&mut x, rows, &mask).expect("valid");
            assert_eq!(x, [1.0; 3], "{isa}");
        }
    });
}

#[test]
fn bad_calls_name_the_values() {
    let (rows, cols) = (10, 12);
    let (additive, bytes, lengths) = ([0.0_f32; 119], [1_u8; 119], [12, 13]);
    let each = Broadcast::rows(cols);
    let new = Mask::<f32>::new;
    let bad: Vec<(Mask<'_, f32>, Vec<usize>)> = vec![
        (new().with_additive(&additive, each), vec![119, 10, 12, 120]),
        (new().with_additive(&additive, Broadcast::rows(11)), vec![11, 12]),
        (new().with_additive(&additive[..11], Broadcast::ONE), vec![11, 12]),
        (new().with_additive(&additive[..47], each.cycle(4)), vec![47, 4, 12, 48]),
        (new().with_additive(&additive[..47], each.every(3)), vec![47, 4, 12, 48]),
        (
            new().with_additive(&additive[..95], each.cycle(2).outer(3, 24)),
            vec![95, 4, 24, 96],
        ),
        (
            new().with_additive(&additive, each.cycle(2).outer(3, usize::MAX)),
            vec![4, 24, usize::MAX],
        ),
        (new().with_additive(&additive, each.every(0)), vec![0]),
        (new().with_additive(&additive, each.cycle(0)), vec![0]),
        (
            new().with_additive(&additive, Broadcast::rows(usize::MAX)),
            vec![10, 12, usize::MAX],
        ),
        (new().with_keep_bytes(&bytes, each), vec![119, 10, 12, 120]),
        (
            new().with_keep_bits(&bytes[..19], Broadcast::rows(2)),
            vec![19, 10, 2, 20],
        ),
        (new().with_keep_bits(&bytes, Broadcast::rows(1)), vec![1, 2]),
        (
            new().with_lengths(&lengths, Broadcast::rows(1).every(5)),
            vec![5, 13, 12],
        ),
        (new().with_lengths(&lengths, Broadcast::rows(1)), vec![2, 10]),
        (new().with_sinks(&additive[..9], Broadcast::rows(1)), vec![9, 10]),
        (new().with_scale(f32::NAN), vec![]),
        (new().with_scale(f32::INFINITY), vec![]),
        (new().with_softcap(-2.0), vec![2]),
        (new().with_softcap(f32::NAN), vec![]),
        (new().with_softcap(f32::INFINITY), vec![]),
        (new().with_scale(1e30).with_softcap(1e-30), vec![]),
        (new().with_scale(3e38).with_softcap(1.0), vec![]),
        (new().with_scale(0.1).with_softcap(1.6e38), vec![]),
        (new().with_alibi_slope(f32::NAN), vec![]),
    ];
    let x = [0.0_f32; 120];
    let shape = Rows::new(rows, cols);
    for_each_isa(|isa| {
        for (i, (mask, numbers)) in bad.iter().enumerate() {
            let what = format!("mask {i} on {isa}");
            let apart = |log: bool| {
                untouched(120, &what, |y: &mut [f32]| match log {
                    true => isa.masked_log_softmax(&x, y, shape, mask),
                    false => isa.masked_softmax(&x, y, shape, mask),
                })
            };
            check_message(apart(false), numbers, &what);
            check_message(apart(true), numbers, &what);
            let in_place = untouched(120, &what, |x: &mut [f32]| isa.masked_softmax_in_place(x, shape, mask));
            check_message(in_place, numbers, &what);
            assert_eq!(in_place, apart(false), "{what}");
        }
    });
    let nan = Mask::new().with_scale(f32::NAN);
    let error = softmax::masked_softmax(&[0.0_f32], &mut [0.0], Rows::new(1, 1), &nan).unwrap_err();
    assert_eq!(error.to_string(), "scale is NaN, not finite");
    assert!(matches!(error, Error::Parameter { name: "scale", value, .. } if value.get().is_nan()));
    // A mask may be longer than it needs to be, and rows that are not there need none.
    let long = new()
        .with_additive(&additive, each.cycle(9))
        .with_lengths(&lengths, Broadcast::rows(1));
    assert_eq!(
        softmax::masked_softmax(&x, &mut [0.0; 12], Rows::new(1, 12), &long),
        Ok(())
    );
    assert_eq!(
        softmax::masked_softmax(&x, &mut [0.0; 0], Rows::new(0, 12), &long),
        Ok(())
    );
    // Masks of a batch may overlap.
    let close = new().with_additive(&additive[..84], each.cycle(2).outer(3, 20));
    let mut y = [0.0; 120];
    assert_eq!(softmax::masked_softmax(&x, &mut y, shape, &close), Ok(()));
    let needs = new().with_additive(&additive[..0], Broadcast::rows(0));
    assert_eq!(
        softmax::masked_softmax(&x, &mut [0.0; 0], Rows::new(7, 0), &needs),
        Ok(())
    );
}
