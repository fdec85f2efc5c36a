//! The operators under test that give values, one row each in [`operators`], with everything the tests ask of them.

use super::dd::{Exact, scale};
use super::element::TestElement;
use super::oracle::Oracle;
use softmax::{Error, Isa, Mask, OnlineSoftmax, Rows};
use std::mem::MaybeUninit;

pub type Outcome = Result<(), Error>;
pub type RowCall<T> = fn(Isa, &[T], &mut [T]) -> Outcome;
pub type UninitCall<T> = fn(Isa, &[T], &mut [MaybeUninit<T>]) -> Outcome;

/// How many values a row gives.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Width {
    Row,
    One,
}

/// What an operator must give for a row with a special value; the rest of a row is judged by its bound.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Expect {
    /// This value everywhere.
    All(f64),
    /// This value in the place of the special one, and the rest as if it were absent.
    There(f64),
    /// As if the special value were absent.
    Rest,
}

/// An operator that gives values: its call forms, its reference, its bound, its column of the special-rows table.
pub struct Operator<T: TestElement> {
    pub name: &'static str,
    pub width: Width,
    pub row: RowCall<T>,
    pub detected: fn(&[T], &mut [T]) -> Outcome,
    pub uninit: Option<UninitCall<T>>,
    pub in_place: Option<InPlace<T>>,
    pub rows: Option<ManyRows<T>>,
    /// The exact result at an entry `x` of the row.
    pub reference: fn(&Oracle, f64) -> Exact,
    pub error: fn(got: f64, want: Exact, format: super::ulp::Format) -> f64,
    pub bound: fn(Isa) -> f64,
    /// Whether a NaN result is the canonical quiet one, else any.
    pub canonical_nan: bool,
    pub nan: Expect,
    pub infinity: Expect,
    pub minus_infinity: Expect,
    pub all_minus_infinity: Expect,
    /// Closed range of every result that is not NaN.
    pub range: (f64, f64),
}

pub struct InPlace<T> {
    pub row: fn(Isa, &mut [T]) -> Outcome,
    pub detected: fn(&mut [T]),
    pub rows: Option<RowsInPlace<T>>,
}

#[derive(Clone, Copy)]
pub struct RowsInPlace<T> {
    pub rows: fn(Isa, &mut [T], Rows) -> Outcome,
    pub detected: fn(&mut [T], Rows) -> Outcome,
}

type UninitRowsCall<T> = fn(Isa, &[T], &mut [MaybeUninit<T>], Rows) -> Outcome;

pub struct ManyRows<T> {
    pub rows: fn(Isa, &[T], &mut [T], Rows) -> Outcome,
    pub uninit: UninitRowsCall<T>,
    pub detected: fn(&[T], &mut [T], Rows) -> Outcome,
}

impl<T: TestElement> Operator<T> {
    pub fn rows_in_place(&self) -> Option<RowsInPlace<T>> {
        self.in_place.as_ref()?.rows
    }

    pub fn outputs(&self, n: usize) -> usize {
        if self.width == Width::Row { n } else { 1 }
    }

    /// The plain call on one row.
    pub fn run(&self, isa: Isa, x: &[T]) -> Vec<T> {
        let mut y = vec![T::canary(); self.outputs(x.len())];
        (self.row)(isa, x, &mut y).unwrap_or_else(|e| panic!("{} on {isa}, n = {}: {e}", self.name, x.len()));
        y
    }

    /// The largest error of each of several results of the row `x`, in the operator's ULP, and where.
    pub fn worst(&self, x: &[T], results: &[&[T]], oracle: &Oracle) -> Vec<(f64, usize)> {
        let mut worst = vec![(0.0, 0); results.len()];
        let reference = |i: usize| (self.reference)(oracle, x.get(i).map_or(f64::NAN, |v| v.to_f64()));
        let mut want = reference(0);
        for i in 0..self.outputs(x.len()) {
            if i > 0 && x[i].bits() != x[i - 1].bits() {
                want = reference(i);
            }
            // Most ISAs give the same bits.
            let (mut bits, mut error) = (None, 0.0);
            for (worst, y) in worst.iter_mut().zip(results) {
                if bits != Some(y[i].bits()) {
                    (bits, error) = (Some(y[i].bits()), (self.error)(y[i].to_f64(), want, T::FORMAT));
                }
                if error > worst.0 {
                    *worst = (error, i);
                }
            }
        }
        worst
    }

    /// Panics unless each of the results of the row `x` is within the bound of its ISA.
    pub fn check(&self, x: &[T], results: &[(Isa, Vec<T>)], oracle: &Oracle, what: &dyn std::fmt::Display) {
        let slices: Vec<&[T]> = results.iter().map(|(_, y)| &y[..]).collect();
        for ((isa, y), (error, i)) in results.iter().zip(self.worst(x, &slices, oracle)) {
            let (bound, n) = ((self.bound)(*isa), x.len());
            let context = || format!("{} on {isa}, {what}, n = {n}", self.name);
            assert!(
                error <= bound,
                "{}: {:?} at {i}: {error} ULP, bound {bound}",
                context(),
                y[i]
            );
        }
    }
}

/// `log_softmax` and `logsumexp`: ULP of max(1, |result|).
pub const LOG_MAX_ULP: f64 = 4.0;

/// f16 and bf16 are computed in f32 and rounded once.
pub const HALF_MAX_ULP: f64 = 0.51;

/// The bound in ULP of `T` of what is computed within `ulp` ULP of the type that `T` is computed in.
fn bound<T: TestElement>(ulp: f64) -> f64 {
    if T::FORMAT.is_half() { HALF_MAX_ULP } else { ulp }
}

/// The bound of `softmax`.
pub fn softmax_bound<T: TestElement>(isa: Isa) -> f64 {
    bound::<T>(f64::from(isa.max_ulp()))
}

/// How far from 1 a row of `n` probabilities may sum: each is within B ULP, at most B·2^(1−digits) of itself, and what is
/// flushed is below 2^min_exp (f16 is rounded instead: n·2^−25). Of the halves the contract promises this with B = ½.
pub fn sum_bound<T: TestElement>(isa: Isa, n: usize) -> f64 {
    let format = T::FORMAT;
    let ulp = if format.is_half() { 0.5 } else { softmax_bound::<T>(isa) };
    let lost = format.min_exp - if format.flush { 0 } else { format.digits };
    ulp * scale(1.0, 1 - format.digits) + n as f64 * scale(1.0, lost)
}

/// The bound of `log_softmax` and `logsumexp`.
pub fn log_bound<T: TestElement>() -> f64 {
    bound::<T>(LOG_MAX_ULP)
}

/// A new operator is a row here.
pub fn operators<T: TestElement>() -> Vec<Operator<T>> {
    let mut list = operators_of_all();
    list.extend(T::own_operators());
    list
}

/// One row, for the operators that have no form of their own for it.
fn same_length(input: usize, output: usize) -> Result<Rows, Error> {
    match input == output {
        true => Ok(Rows::new(1, input)),
        false => Err(Error::Length { input, output }),
    }
}

/// Those that every element type has.
fn operators_of_all<T: TestElement>() -> Vec<Operator<T>> {
    vec![
        Operator {
            name: "softmax",
            width: Width::Row,
            row: |isa, x, y| isa.softmax(x, y),
            detected: |x, y| softmax::softmax(x, y),
            uninit: Some(|isa, x, y| isa.softmax(x, y)),
            in_place: Some(InPlace {
                row: |isa, x| isa.softmax_in_place(x),
                detected: |x| softmax::softmax_in_place(x),
                rows: Some(RowsInPlace {
                    rows: |isa, x, rows| isa.softmax_rows_in_place(x, rows),
                    detected: |x, rows| softmax::softmax_rows_in_place(x, rows),
                }),
            }),
            rows: Some(ManyRows {
                rows: |isa, x, y, rows| isa.softmax_rows(x, y, rows),
                uninit: |isa, x, y, rows| isa.softmax_rows(x, y, rows),
                detected: |x, y, rows| softmax::softmax_rows(x, y, rows),
            }),
            reference: |oracle, x| oracle.softmax(x),
            error: |got, want, format| format.error(got, want),
            bound: softmax_bound::<T>,
            canonical_nan: true,
            nan: Expect::All(f64::NAN),
            infinity: Expect::All(f64::NAN),
            minus_infinity: Expect::There(0.0),
            all_minus_infinity: Expect::All(f64::NAN),
            range: (0.0, 1.0),
        },
        Operator {
            name: "log_softmax",
            width: Width::Row,
            row: |isa, x, y| isa.log_softmax(x, y),
            detected: |x, y| softmax::log_softmax(x, y),
            uninit: Some(|isa, x, y| isa.log_softmax(x, y)),
            in_place: Some(InPlace {
                row: |isa, x| isa.log_softmax_in_place(x),
                detected: |x| softmax::log_softmax_in_place(x),
                rows: Some(RowsInPlace {
                    rows: |isa, x, rows| isa.log_softmax_rows_in_place(x, rows),
                    detected: |x, rows| softmax::log_softmax_rows_in_place(x, rows),
                }),
            }),
            rows: Some(ManyRows {
                rows: |isa, x, y, rows| isa.log_softmax_rows(x, y, rows),
                uninit: |isa, x, y, rows| isa.log_softmax_rows(x, y, rows),
                detected: |x, y, rows| softmax::log_softmax_rows(x, y, rows),
            }),
            reference: |oracle, x| oracle.log_softmax(x),
            error: |got, want, format| format.error_from_1(got, want),
            bound: |_| log_bound::<T>(),
            canonical_nan: true,
            nan: Expect::All(f64::NAN),
            infinity: Expect::All(f64::NAN),
            minus_infinity: Expect::There(f64::NEG_INFINITY),
            all_minus_infinity: Expect::All(f64::NAN),
            range: (f64::NEG_INFINITY, 0.0),
        },
        Operator {
            name: "logsumexp",
            width: Width::One,
            row: |isa, x, y| isa.logsumexp(x).map(|v| y[0] = v),
            detected: |x, y| {
                y[0] = softmax::logsumexp(x);
                Ok(())
            },
            uninit: None,
            in_place: None,
            rows: Some(ManyRows {
                rows: |isa, x, y, rows| isa.logsumexp_rows(x, y, rows),
                uninit: |isa, x, y, rows| isa.logsumexp_rows(x, y, rows),
                detected: |x, y, rows| softmax::logsumexp_rows(x, y, rows),
            }),
            reference: |oracle, _| oracle.logsumexp(),
            error: |got, want, format| format.error_from_1(got, want),
            bound: |_| log_bound::<T>(),
            canonical_nan: true,
            nan: Expect::All(f64::NAN),
            infinity: Expect::All(f64::INFINITY),
            minus_infinity: Expect::Rest,
            all_minus_infinity: Expect::All(f64::NEG_INFINITY),
            range: (f64::NEG_INFINITY, f64::INFINITY),
        },
        Operator {
            name: "masked_softmax",
            width: Width::Row,
            row: |isa, x, y| isa.masked_softmax(x, y, same_length(x.len(), y.len())?, &Mask::new()),
            detected: |x, y| softmax::masked_softmax(x, y, same_length(x.len(), y.len())?, &Mask::new()),
            uninit: Some(|isa, x, y| isa.masked_softmax(x, y, same_length(x.len(), y.len())?, &Mask::new())),
            in_place: Some(InPlace {
                row: |isa, x| isa.masked_softmax_in_place(x, Rows::new(1, x.len()), &Mask::new()),
                detected: |x| {
                    let rows = Rows::new(1, x.len());
                    softmax::masked_softmax_in_place(x, rows, &Mask::new()).expect("valid");
                },
                rows: Some(RowsInPlace {
                    rows: |isa, x, rows| isa.masked_softmax_in_place(x, rows, &Mask::new()),
                    detected: |x, rows| softmax::masked_softmax_in_place(x, rows, &Mask::new()),
                }),
            }),
            rows: Some(ManyRows {
                rows: |isa, x, y, rows| isa.masked_softmax(x, y, rows, &Mask::new()),
                uninit: |isa, x, y, rows| isa.masked_softmax(x, y, rows, &Mask::new()),
                detected: |x, y, rows| softmax::masked_softmax(x, y, rows, &Mask::new()),
            }),
            reference: |oracle, x| oracle.softmax(x),
            error: |got, want, format| format.error(got, want),
            bound: softmax_bound::<T>,
            canonical_nan: true,
            nan: Expect::All(f64::NAN),
            infinity: Expect::All(f64::NAN),
            minus_infinity: Expect::There(0.0),
            all_minus_infinity: Expect::All(0.0),
            range: (0.0, 1.0),
        },
        Operator {
            name: "masked_log_softmax",
            width: Width::Row,
            row: |isa, x, y| isa.masked_log_softmax(x, y, same_length(x.len(), y.len())?, &Mask::new()),
            detected: |x, y| softmax::masked_log_softmax(x, y, same_length(x.len(), y.len())?, &Mask::new()),
            uninit: Some(|isa, x, y| isa.masked_log_softmax(x, y, same_length(x.len(), y.len())?, &Mask::new())),
            in_place: Some(InPlace {
                row: |isa, x| isa.masked_log_softmax_in_place(x, Rows::new(1, x.len()), &Mask::new()),
                detected: |x| {
                    let rows = Rows::new(1, x.len());
                    softmax::masked_log_softmax_in_place(x, rows, &Mask::new()).expect("valid");
                },
                rows: Some(RowsInPlace {
                    rows: |isa, x, rows| isa.masked_log_softmax_in_place(x, rows, &Mask::new()),
                    detected: |x, rows| softmax::masked_log_softmax_in_place(x, rows, &Mask::new()),
                }),
            }),
            rows: Some(ManyRows {
                rows: |isa, x, y, rows| isa.masked_log_softmax(x, y, rows, &Mask::new()),
                uninit: |isa, x, y, rows| isa.masked_log_softmax(x, y, rows, &Mask::new()),
                detected: |x, y, rows| softmax::masked_log_softmax(x, y, rows, &Mask::new()),
            }),
            reference: |oracle, x| oracle.log_softmax(x),
            error: |got, want, format| format.error_from_1(got, want),
            bound: |_| log_bound::<T>(),
            canonical_nan: true,
            nan: Expect::All(f64::NAN),
            infinity: Expect::All(f64::NAN),
            minus_infinity: Expect::There(f64::NEG_INFINITY),
            all_minus_infinity: Expect::All(f64::NEG_INFINITY),
            range: (f64::NEG_INFINITY, 0.0),
        },
    ]
}

/// `exp`, which only the types that are computed in themselves have.
pub fn exp<T: TestElement>(
    row: RowCall<T>,
    detected: fn(&[T], &mut [T]) -> Outcome,
    uninit: UninitCall<T>,
    in_place: InPlace<T>,
) -> Operator<T> {
    Operator {
        name: "exp",
        width: Width::Row,
        row,
        detected,
        uninit: Some(uninit),
        in_place: Some(in_place),
        rows: None,
        reference: |oracle, x| oracle.exp(x),
        error: |got, want, format| format.error(got, want),
        bound: |isa| f64::from(isa.exp_max_ulp()),
        canonical_nan: false,
        nan: Expect::There(f64::NAN),
        infinity: Expect::There(f64::INFINITY),
        minus_infinity: Expect::There(0.0),
        all_minus_infinity: Expect::All(0.0),
        range: (0.0, f64::INFINITY),
    }
}

/// The state of a row in two parts of tiles of 100.
fn online(isa: Isa, x: &[f32]) -> Result<OnlineSoftmax, Error> {
    let (left, right) = x.split_at(x.len() / 3);
    let [mut first, mut second] = [OnlineSoftmax::new(); 2];
    for (state, part) in [(&mut first, left), (&mut second, right)] {
        for tile in part.chunks(100) {
            isa.online_update(state, tile)?;
        }
    }
    first.merge(&second);
    Ok(first)
}

/// Softmax of a row that comes in tiles.
pub fn online_softmax() -> Operator<f32> {
    Operator {
        name: "online_softmax",
        row: |isa, x, y| isa.online_finish(&online(isa, x)?, x, y),
        detected: |x, y| online(Isa::detect(), x)?.finish(x, y),
        uninit: Some(|isa, x, y| isa.online_finish(&online(isa, x)?, x, y)),
        in_place: None,
        rows: None,
        ..operators_of_all().swap_remove(0)
    }
}

/// logsumexp of a row that comes in tiles.
pub fn online_logsumexp() -> Operator<f32> {
    Operator {
        name: "online_logsumexp",
        row: |isa, x, y| {
            y[0] = online(isa, x)?.logsumexp();
            Ok(())
        },
        detected: |x, y| {
            y[0] = online(Isa::detect(), x)?.logsumexp();
            Ok(())
        },
        rows: None,
        ..operators_of_all().swap_remove(2)
    }
}
