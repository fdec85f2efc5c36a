//! Every way to compute the result of one row: the law says that all of them give the same bits.
#![allow(unsafe_code)]

use super::choices::{Choice, choices};
use super::element::{TestElement, bits};
use super::host_flags::with_subnormals_flushed_for;
use super::layouts::layout_forms;
use super::ops::{InPlace, ManyRows, Operator, Outcome, RowsInPlace, Width, operators};
use super::shape::Shape;
use softmax::Isa;
use std::mem::MaybeUninit;

/// The bits of the result of a row on an ISA; `None` where the form does not apply.
pub type Run<T> = Box<dyn Fn(Isa, &[T]) -> Option<Vec<u64>>>;

pub struct Form<T> {
    pub name: String,
    pub run: Run<T>,
}

/// An operator with all its forms, the plain call first.
pub struct Subject<T> {
    pub name: &'static str,
    pub forms: Vec<Form<T>>,
}

pub fn subjects<T: TestElement>() -> Vec<Subject<T>> {
    let operators = operators::<T>().into_iter().map(|op| Subject {
        name: op.name,
        forms: operator_forms(op),
    });
    let choices = choices::<T>().into_iter().map(|op| Subject {
        name: op.name,
        forms: choice_forms(op),
    });
    operators
        .chain(choices)
        .chain(super::derived::derived())
        .chain(super::masks::subjects())
        .collect()
}

/// Distances from a 64-byte boundary, in elements.
const OFFSETS: std::ops::RangeInclusive<usize> = 0..=16;

/// Rows of a batch, which of them is looked at, and what is added to the columns to give the strides.
pub const BATCHES: [(usize, usize, usize, usize); 11] = [
    (1, 0, 0, 0),
    (2, 1, 0, 0),
    (3, 0, 1, 3),
    (7, 6, 0, 5),
    (8, 3, 17, 0),
    (9, 8, 0, 0),
    (16, 0, 0, 0),
    (16, 15, 3, 1),
    (17, 16, 0, 0),
    (33, 20, 1, 1),
    (40, 37, 0, 0),
];

/// Batches larger than this add time, not evidence.
pub const LARGEST_BATCH: usize = 150_000;

fn operator_forms<T: TestElement>(op: Operator<T>) -> Vec<Form<T>> {
    let rows_in_place = op.rows_in_place();
    let Operator {
        name,
        width,
        row,
        detected,
        uninit,
        in_place,
        rows,
        ..
    } = op;
    let outputs = move |n: usize| if width == Width::Row { n } else { 1 };
    let done = move |outcome: Outcome| outcome.unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut forms = Vec::new();
    let mut form = |name: String, run: Run<T>| forms.push(Form { name, run });
    let plain = move |isa, x: &[T]| {
        let mut y = vec![T::canary(); outputs(x.len())];
        done(row(isa, x, &mut y));
        bits(&y)
    };
    form("plain".into(), Box::new(move |isa, x| Some(plain(isa, x))));
    form(
        "on the detected ISA".into(),
        Box::new(move |isa, x| {
            let mut y = vec![T::canary(); outputs(x.len())];
            (isa == Isa::detect())
                .then(|| done(detected(x, &mut y)))
                .map(|()| bits(&y))
        }),
    );
    form(
        "subnormals flushed by the host".into(),
        Box::new(move |isa, x| {
            let mut y = vec![T::canary(); outputs(x.len())];
            with_subnormals_flushed_for::<T, _>(|| row(isa, x, &mut y))
                .map(done)
                .map(|()| bits(&y))
        }),
    );
    for offset in OFFSETS {
        let y_offset = (5 * offset + 3) % 17;
        let run = move |isa, x: &[T]| {
            let x = Aligned::new(x, offset);
            let mut y = Aligned::new(&vec![T::canary(); outputs(x.get().len())], y_offset);
            done(row(isa, x.get(), y.get_mut()));
            Some(bits(y.get()))
        };
        form(format!("offsets {offset} and {y_offset}"), Box::new(run));
    }
    if let Some(uninit) = uninit {
        let run = move |isa, x: &[T]| {
            let mut y = vec![MaybeUninit::new(T::canary()); x.len()];
            done(uninit(isa, x, &mut y));
            Some(bits(&assume_init(y)))
        };
        form("uninitialised".into(), Box::new(run));
    }
    if let Some(InPlace { row, detected, .. }) = in_place {
        for offset in OFFSETS {
            let run = move |isa, x: &[T]| {
                let mut x = Aligned::new(x, offset);
                done(row(isa, x.get_mut()));
                Some(bits(x.get()))
            };
            form(format!("in place at {offset}"), Box::new(run));
        }
        let run = move |isa, x: &[T]| {
            let mut x = x.to_vec();
            (isa == Isa::detect()).then(|| detected(&mut x)).map(|()| bits(&x))
        };
        form("in place on the detected ISA".into(), Box::new(run));
        let run = move |isa, x: &[T]| {
            let mut x = x.to_vec();
            with_subnormals_flushed_for::<T, _>(|| row(isa, &mut x))
                .map(done)
                .map(|()| bits(&x))
        };
        form("in place, subnormals flushed by the host".into(), Box::new(run));
    }
    if let Some(RowsInPlace { rows, detected }) = rows_in_place {
        for batch in BATCHES {
            let run = move |isa, x: &[T]| {
                let (shape, position, mut x) = batch_of(x, batch)?;
                done(match isa == Isa::detect() && position % 2 == 0 {
                    true => detected(&mut x, shape.rows_in_place()),
                    false => rows(isa, &mut x, shape.rows_in_place()),
                });
                Some(bits(&x[position * shape.x_stride..][..shape.cols]))
            };
            form(format!("in place, rows {batch:?}"), Box::new(run));
        }
    }
    if let Some(ManyRows { rows, uninit, detected }) = rows {
        for batch in BATCHES {
            let run = move |isa, x: &[T]| {
                let (shape, position, x) = batch_of(x, batch)?;
                let mut y = vec![T::canary(); shape.y_extent(width)];
                done(match isa == Isa::detect() && position % 2 == 0 {
                    true => detected(&x, &mut y, shape.rows()),
                    false => rows(isa, &x, &mut y, shape.rows()),
                });
                let mut again = vec![MaybeUninit::new(T::canary()); y.len()];
                done(uninit(isa, &x, &mut again, shape.rows()));
                assert_eq!(
                    bits(&assume_init(again)),
                    bits(&y),
                    "{name} on {isa}: rows {batch:?}, uninitialised output"
                );
                Some(bits(&y[shape.y_row(width, position)]))
            };
            form(format!("rows {batch:?}"), Box::new(run));
        }
        let run = move |isa, x: &[T]| {
            let (shape, position, x) = batch_of(x, (9, 8, 1, 1))?;
            let mut y = vec![T::canary(); shape.y_extent(width)];
            with_subnormals_flushed_for::<T, _>(|| rows(isa, &x, &mut y, shape.rows())).map(done)?;
            Some(bits(&y[shape.y_row(width, position)]))
        };
        form("rows, subnormals flushed by the host".into(), Box::new(run));
    }
    forms.extend(layout_forms(name));
    forms
}

fn choice_forms<T: TestElement>(op: Choice<T>) -> Vec<Form<T>> {
    let Choice {
        name,
        row,
        detected,
        rows,
    } = op;
    let mut forms = Vec::new();
    let mut form = |name: String, run: Run<T>| forms.push(Form { name, run });
    let plain = move |isa, x: &[T]| row(isa, x).unwrap_or_else(|e| panic!("{name}: {e}"));
    form("plain".into(), Box::new(move |isa, x| Some(plain(isa, x))));
    form(
        "on the detected ISA".into(),
        Box::new(move |isa, x| (isa == Isa::detect()).then(|| detected(x))),
    );
    form(
        "subnormals flushed by the host".into(),
        Box::new(move |isa, x| with_subnormals_flushed_for::<T, _>(|| plain(isa, x))),
    );
    for offset in OFFSETS {
        let run = move |isa, x: &[T]| Some(plain(isa, Aligned::new(x, offset).get()));
        form(format!("offset {offset}"), Box::new(run));
    }
    for batch in BATCHES {
        let run = move |isa, x: &[T]| {
            let (shape, position, x) = batch_of(x, batch)?;
            let mut all = rows(isa, &x, shape).unwrap_or_else(|e| panic!("{name}: {e}"));
            Some(all.swap_remove(position))
        };
        form(format!("rows {batch:?}"), Box::new(run));
    }
    forms
}

/// Element `i` of row `r` beside the one that is looked at.
pub fn neighbour<T: TestElement>(r: usize, i: usize) -> T {
    const NEIGHBOURS: [fn(usize) -> f64; 7] = [
        |_| f64::NAN,
        |i| -(i as f64 % 110.0),
        |_| f64::NEG_INFINITY,
        |i| if i % 7 == 3 { f64::INFINITY } else { 0.0 },
        |i| if i % 2 == 0 { 3e38 } else { -3e38 },
        |i| -1e4 - i as f64,
        |_| 0.0,
    ];
    T::from_f64(NEIGHBOURS[r % NEIGHBOURS.len()](i))
}

/// The row among neighbours that have every reason to disturb it, canaries in the gaps.
pub fn batch_of<T: TestElement>(
    row: &[T],
    (rows, position, x_gap, y_gap): (usize, usize, usize, usize),
) -> Option<(Shape, usize, Vec<T>)> {
    let cols = row.len();
    let shape = Shape {
        rows,
        cols,
        x_stride: cols + x_gap,
        y_stride: cols + y_gap,
    };
    if shape.x_extent() > LARGEST_BATCH && rows > 1 {
        return None;
    }
    let mut x = vec![T::canary(); shape.x_extent()];
    for r in 0..if cols > 0 { rows } else { 0 } {
        let to = &mut x[r * shape.x_stride..][..cols];
        to.iter_mut().enumerate().for_each(|(i, v)| *v = neighbour(r, i));
        if r == position {
            to.copy_from_slice(row);
        }
    }
    Some((shape, position, x))
}

/// A copy that starts a given number of elements after a 64-byte boundary.
struct Aligned<T> {
    all: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: TestElement> Aligned<T> {
    fn new(values: &[T], offset: usize) -> Aligned<T> {
        let mut all = vec![T::canary(); values.len() + offset + 64 / size_of::<T>()];
        let start = all.as_ptr().align_offset(64) + offset;
        all[start..][..values.len()].copy_from_slice(values);
        Aligned {
            all,
            start,
            len: values.len(),
        }
    }

    fn get(&self) -> &[T] {
        &self.all[self.start..][..self.len]
    }

    fn get_mut(&mut self) -> &mut [T] {
        &mut self.all[self.start..][..self.len]
    }
}

pub fn assume_init<T: Copy>(values: Vec<MaybeUninit<T>>) -> Vec<T> {
    // SAFETY: every element was initialised with a canary before the call.
    values.into_iter().map(|v| unsafe { v.assume_init() }).collect()
}
