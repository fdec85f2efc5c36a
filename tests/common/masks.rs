//! Masks for the forms and the golden lines: the same for every row of a call, so that a row has the same result alone
//! and among others.

use super::element::{TestElement, bits};
use super::forms::{BATCHES, Form, Run, Subject, batch_of};
use super::host_flags::with_subnormals_flushed_for;
use softmax::{Broadcast, Isa, Mask, Rows};

/// What a mask for rows of `n` lends.
pub struct Parts {
    additive: Vec<f32>,
    keep: Vec<bool>,
    bits: Vec<u8>,
    lengths: Vec<usize>,
    sinks: Vec<f32>,
}

impl Parts {
    pub fn new(n: usize) -> Parts {
        let additive = |i: usize| match i % 11 {
            7 => f32::NEG_INFINITY,
            k => -0.375 * k as f32,
        };
        Parts {
            additive: (0..n).map(additive).collect(),
            keep: (0..n).map(|i| i % 5 != 2).collect(),
            bits: (0..n.div_ceil(8)).map(|i| (91 * i + 37) as u8 | 1).collect(),
            lengths: vec![n - n / 8],
            sinks: vec![1.5],
        }
    }
}

pub type Build<T> = for<'a> fn(&'a Parts, usize) -> Mask<'a, T>;

fn number<T: TestElement>(v: f64) -> T::Probability {
    T::Probability::from_f64(v)
}

/// Every step at least once; a few of them go through kernels of their own.
pub fn masks<T: TestElement>() -> Vec<(&'static str, Build<T>)> {
    vec![
        ("additive", |parts, _| {
            Mask::new()
                .with_scale(number::<T>(0.375))
                .with_additive(&parts.additive, Broadcast::ONE)
        }),
        ("causal", |parts, n| {
            Mask::new()
                .with_additive(&parts.additive, Broadcast::ONE)
                .with_alibi_slope(number::<T>(-0.3))
                .with_causal(n as isize / 2)
                .with_queries(1)
                .with_window(n / 3 + 1)
                .with_keep_bits(&parts.bits, Broadcast::ONE)
        }),
        ("everything", |parts, n| {
            Mask::new()
                .with_scale(number::<T>(-0.375))
                .with_softcap(number::<T>(20.0))
                .with_additive(&parts.additive, Broadcast::ONE)
                .with_alibi_slope(number::<T>(0.75))
                .with_causal(n as isize - 2)
                .with_queries(1)
                .with_window(n - n / 5)
                .with_lengths(&parts.lengths, Broadcast::ONE)
                .with_keep(&parts.keep, Broadcast::ONE)
                .with_sinks(&parts.sinks, Broadcast::ONE)
        }),
    ]
}

type Call<T> = fn(Isa, &[T], &mut [T], Rows, &Mask<'_, T>) -> super::ops::Outcome;
type InPlace<T> = fn(Isa, &mut [T], Rows, &Mask<'_, T>) -> super::ops::Outcome;

pub fn subjects<T: TestElement>() -> Vec<Subject<T>> {
    let mut subjects = Vec::new();
    for (name, mask) in masks::<T>() {
        let names = [format!("masked_softmax:{name}"), format!("masked_log_softmax:{name}")];
        let [softmax, log] = names.map(|name| &*name.leak());
        subjects.push(subject(
            softmax,
            mask,
            |isa, x, y, rows, mask| isa.masked_softmax(x, y, rows, mask),
            |isa, x, rows, mask| isa.masked_softmax_in_place(x, rows, mask),
        ));
        subjects.push(subject(
            log,
            mask,
            |isa, x, y, rows, mask| isa.masked_log_softmax(x, y, rows, mask),
            |isa, x, rows, mask| isa.masked_log_softmax_in_place(x, rows, mask),
        ));
    }
    subjects
}

fn subject<T: TestElement>(name: &'static str, mask: Build<T>, call: Call<T>, in_place: InPlace<T>) -> Subject<T> {
    let mut forms = Vec::new();
    let mut form = |name: String, run: Run<T>| forms.push(Form { name, run });
    let plain = move |isa, x: &[T]| {
        let (parts, mut y) = (Parts::new(x.len()), vec![T::canary(); x.len()]);
        let outcome = call(isa, x, &mut y, Rows::new(1, x.len()), &mask(&parts, x.len()));
        outcome.unwrap_or_else(|e| panic!("{name}: {e}"));
        bits(&y)
    };
    form("plain".into(), Box::new(move |isa, x| Some(plain(isa, x))));
    form(
        "subnormals flushed by the host".into(),
        Box::new(move |isa, x| with_subnormals_flushed_for::<T, _>(|| plain(isa, x))),
    );
    for batch in BATCHES {
        let run = move |isa, x: &[T]| {
            let (parts, n) = (Parts::new(x.len()), x.len());
            let (shape, position, mut x) = batch_of(x, batch)?;
            let mut y = vec![T::canary(); shape.y_extent(super::ops::Width::Row)];
            call(isa, &x, &mut y, shape.rows(), &mask(&parts, n)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let y = bits(&y[shape.y_row(super::ops::Width::Row, position)]);
            let outcome = in_place(isa, &mut x, shape.rows_in_place(), &mask(&parts, n));
            outcome.unwrap_or_else(|e| panic!("{name}: {e}"));
            let x = &x[position * shape.x_stride..][..shape.cols];
            assert_eq!(bits(x), y, "{name} on {isa}: in place, rows {batch:?}");
            Some(y)
        };
        form(format!("rows {batch:?}"), Box::new(run));
    }
    Subject { name, forms }
}
