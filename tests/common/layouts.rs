//! The operators that also run on ragged rows and along any axis of a tensor, and the forms of a row that follow.

use super::element::{TestElement, bits};
use super::forms::{Form, LARGEST_BATCH, Run, assume_init, neighbour};
use super::host_flags::with_subnormals_flushed_for;
use super::ops::{Outcome, Width};
use softmax::{Axis, Isa};
use std::mem::MaybeUninit;

type UninitCall<T, S> = fn(Isa, &[T], &mut [MaybeUninit<T>], &S) -> Outcome;

/// The calls of an operator on a layout `S`.
pub struct Calls<T, S: ?Sized> {
    pub apart: fn(Isa, &[T], &mut [T], &S) -> Outcome,
    pub uninit: UninitCall<T, S>,
    pub detected: fn(&[T], &mut [T], &S) -> Outcome,
    pub in_place: Option<InPlace<T, S>>,
}

pub struct InPlace<T, S: ?Sized> {
    pub call: fn(Isa, &mut [T], &S) -> Outcome,
    pub detected: fn(&mut [T], &S) -> Outcome,
}

/// An operator of `ops.rs` on both layouts.
pub struct Laid<T> {
    pub name: &'static str,
    pub width: Width,
    pub axis: Calls<T, Axis>,
    pub ragged: Calls<T, [usize]>,
}

macro_rules! calls {
    ($function:ident $(, $in_place:ident)?; $s:ident => $layout:expr) => {
        Calls {
            apart: |isa, x, y, $s| isa.$function(x, y, $layout),
            uninit: |isa, x, y, $s| isa.$function(x, y, $layout),
            detected: |x, y, $s| softmax::$function(x, y, $layout),
            in_place: None$(.or(Some(InPlace {
                call: |isa, x, $s| isa.$in_place(x, $layout),
                detected: |x, $s| softmax::$in_place(x, $layout),
            })))?,
        }
    };
}

/// A new operator on these layouts is a row here.
pub fn laid<T: TestElement>() -> Vec<Laid<T>> {
    vec![
        Laid {
            name: "softmax",
            width: Width::Row,
            axis: calls!(softmax_axis, softmax_axis_in_place; s => *s),
            ragged: calls!(softmax_ragged, softmax_ragged_in_place; s => s),
        },
        Laid {
            name: "log_softmax",
            width: Width::Row,
            axis: calls!(log_softmax_axis, log_softmax_axis_in_place; s => *s),
            ragged: calls!(log_softmax_ragged, log_softmax_ragged_in_place; s => s),
        },
        Laid {
            name: "logsumexp",
            width: Width::One,
            axis: calls!(logsumexp_axis; s => *s),
            ragged: calls!(logsumexp_ragged; s => s),
        },
    ]
}

/// Where element `i` of row (o, k) stands.
pub fn place(axis: Axis, o: usize, i: usize, k: usize) -> usize {
    (o * axis.len() + i) * axis.inner() + k
}

/// Outer and inner extents, and the row that is looked at: narrow, odd, of several vectors, of several tiles.
const TENSORS: [(usize, usize, usize, usize); 6] = [
    (1, 2, 0, 1),
    (2, 3, 1, 0),
    (3, 7, 1, 3),
    (1, 16, 0, 15),
    (2, 33, 1, 32),
    (1, 100, 0, 97),
];

/// Lengths of the ragged rows before the one that is looked at, and behind it.
const RAGGED: [(&[usize], &[usize]); 4] = [(&[], &[]), (&[5, 0, 17], &[1, 40]), (&[300], &[2, 2]), (&[1; 9], &[0])];

pub fn layout_forms<T: TestElement>(name: &str) -> Vec<Form<T>> {
    let mut forms = Vec::new();
    for Laid {
        width, axis, ragged, ..
    } in laid::<T>().into_iter().filter(|op| op.name == name)
    {
        for tensor in TENSORS {
            forms.extend(axis_forms(name, width, &axis, tensor));
        }
        for (before, after) in RAGGED {
            forms.extend(ragged_forms(name, width, &ragged, before, after));
        }
    }
    forms
}

/// Runs a call on a layout in every way that there is; all must agree with the first.
fn ways<T: TestElement, S: ?Sized + 'static>(
    name: &str,
    calls: &Calls<T, S>,
) -> impl Fn(Isa, &[T], usize, &S) -> Vec<T> + use<T, S> {
    let &Calls {
        apart,
        uninit,
        detected,
        ..
    } = calls;
    let name = name.to_owned();
    move |isa, x, outputs, layout| {
        let done = |outcome: Outcome| outcome.unwrap_or_else(|e| panic!("{name} on {isa}: {e}"));
        let (mut y, mut again) = (vec![T::canary(); outputs], vec![MaybeUninit::new(T::canary()); outputs]);
        done(match isa == Isa::detect() && outputs % 2 == 0 {
            true => detected(x, &mut y, layout),
            false => apart(isa, x, &mut y, layout),
        });
        done(uninit(isa, x, &mut again, layout));
        assert_eq!(
            bits(&assume_init(again)),
            bits(&y),
            "{name} on {isa}: uninitialised output"
        );
        y
    }
}

fn axis_forms<T: TestElement>(
    name: &str,
    width: Width,
    calls: &Calls<T, Axis>,
    (outer, inner, o, k): (usize, usize, usize, usize),
) -> Vec<Form<T>> {
    let tensor = move |x: &[T]| {
        let axis = Axis::new(outer, x.len(), inner);
        let fits = !x.is_empty() && outer * inner * x.len() <= LARGEST_BATCH;
        fits.then(|| {
            let mut all = vec![T::canary(); outer * inner * x.len()];
            for r in 0..outer * inner {
                for (i, &v) in x.iter().enumerate() {
                    let at = place(axis, r / inner, i, r % inner);
                    all[at] = if r == o * inner + k { v } else { neighbour(r, i) };
                }
            }
            (axis, all)
        })
    };
    let row = move |axis: Axis, y: &[T]| match width {
        Width::Row => (0..axis.len()).map(|i| y[place(axis, o, i, k)].bits()).collect(),
        Width::One => vec![y[o * inner + k].bits()],
    };
    let run = ways(name, calls);
    let apart: Run<T> = Box::new(move |isa, x| {
        let (axis, x) = tensor(x)?;
        let outputs = if width == Width::Row { x.len() } else { outer * inner };
        Some(row(axis, &run(isa, &x, outputs, &axis)))
    });
    let mut forms = vec![Form {
        name: format!("row ({o}, {k}) of {outer} × n × {inner}"),
        run: apart,
    }];
    if let Some(InPlace { call, detected }) = calls.in_place {
        let run = move |isa, x: &[T]| {
            let (axis, mut x) = tensor(x)?;
            match isa == Isa::detect() && k % 2 == 0 {
                true => detected(&mut x, &axis),
                false => with_subnormals_flushed_for::<T, _>(|| call(isa, &mut x, &axis))
                    .unwrap_or_else(|| call(isa, &mut x, &axis)),
            }
            .expect("a tensor of the right size");
            Some(row(axis, &x))
        };
        forms.push(Form {
            name: format!("row ({o}, {k}) of {outer} × n × {inner} in place, subnormals flushed by the host"),
            run: Box::new(run),
        });
    }
    forms
}

/// Offsets of rows of these lengths, the first at `start`.
pub fn offsets(start: usize, lengths: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut offsets = vec![start];
    for n in lengths {
        offsets.push(offsets[offsets.len() - 1] + n);
    }
    offsets
}

fn ragged_forms<T: TestElement>(
    name: &str,
    width: Width,
    calls: &Calls<T, [usize]>,
    before: &'static [usize],
    after: &'static [usize],
) -> Vec<Form<T>> {
    let r = before.len();
    let rows = move |x: &[T]| {
        let lengths = before.iter().copied().chain([x.len()]).chain(after.iter().copied());
        let offsets = offsets(3, lengths);
        let mut all = vec![T::canary(); offsets[offsets.len() - 1]];
        for (row, pair) in offsets.windows(2).enumerate() {
            for i in pair[0]..pair[1] {
                let i = i - pair[0];
                all[pair[0] + i] = if row == r { x[i] } else { neighbour(row, i) };
            }
        }
        (offsets, all)
    };
    let row = move |offsets: &[usize], y: &[T]| match width {
        Width::Row => bits(&y[offsets[r]..offsets[r + 1]]),
        Width::One => vec![y[r].bits()],
    };
    let run = ways(name, calls);
    let apart: Run<T> = Box::new(move |isa, x| {
        let (offsets, x) = rows(x);
        let outputs = if width == Width::Row {
            x.len()
        } else {
            offsets.len() - 1
        };
        Some(row(&offsets, &run(isa, &x, outputs, &offsets)))
    });
    let mut forms = vec![Form {
        name: format!("ragged between {before:?} and {after:?}"),
        run: apart,
    }];
    if let Some(InPlace { call, detected }) = calls.in_place {
        let run = move |isa, x: &[T]| {
            let (offsets, mut x) = rows(x);
            match isa == Isa::detect() && r == 0 {
                true => detected(&mut x, &offsets),
                false => call(isa, &mut x, &offsets),
            }
            .expect("rows of the right size");
            Some(row(&offsets, &x))
        };
        forms.push(Form {
            name: format!("ragged in place between {before:?} and {after:?}"),
            run: Box::new(run),
        });
    }
    forms
}
