//! Any axis of a tensor, and ragged rows: each row has the bits that it has alone; what does not fit is an error, and
//! nothing is written then.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use softmax::{Axis, Isa};
use softmax_fuzz::common::element::{TestElement, bits};
use softmax_fuzz::{Numbers, Size, Type, check_untouched, for_type, within};

/// Elements of the slices, at most.
const MOST: usize = 4000;

#[derive(Arbitrary, Debug)]
enum Layout {
    /// Extents that fit.
    Axis(u8, u16, u16),
    AnyAxis(Size, Size, Size),
    /// Where the first row starts, and how long they are.
    Ragged(u8, Vec<u8>),
    AnyRagged(Vec<Size>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    element: Type,
    layout: Layout,
    /// Elements that the input, the output and the output of one value per row lack.
    missing: [u8; 3],
    values: Numbers,
}

fuzz_target!(|input: Input| for_type!(input.element, check(&input)));

fn check<T: TestElement>(input: &Input) {
    match &input.layout {
        Layout::Axis(outer, len, inner) => {
            let len = within(*len, 600);
            let inner = within(*inner, 1 + MOST / (len + 1));
            let outer = within((*outer).into(), 1 + MOST / (len * inner + 1));
            check_axis::<T>(input, [outer, len, inner]);
        }
        Layout::AnyAxis(outer, len, inner) => check_axis::<T>(input, [outer.get(), len.get(), inner.get()]),
        Layout::Ragged(first, lengths) => {
            let mut offsets = vec![usize::from(*first)];
            for &len in lengths.iter().take(14) {
                offsets.push(offsets[offsets.len() - 1] + usize::from(len));
            }
            check_ragged::<T>(input, &offsets);
        }
        Layout::AnyRagged(offsets) => {
            let offsets: Vec<usize> = offsets.iter().map(|offset| offset.get()).collect();
            check_ragged::<T>(input, &offsets);
        }
    }
}

/// The lengths of the three slices, and which of them are long enough. `None` does not fit the address space.
fn slices(input: &Input, elements: Option<usize>, results: Option<usize>) -> ([usize; 3], [bool; 3]) {
    let mut missing = input.missing.map(|n| usize::from(n.saturating_sub(200)));
    if results.is_none_or(|n| n > MOST) || elements.is_none_or(|n| n > MOST) {
        missing = [0; 3];
    }
    let needed = [elements, elements, results];
    let lengths = [0, 1, 2].map(|i| needed[i].unwrap_or(MOST).min(MOST).saturating_sub(missing[i]));
    (lengths, [0, 1, 2].map(|i| needed[i].is_some_and(|n| n <= lengths[i])))
}

/// Where the elements of each row stand in the tensor, or in the ragged rows.
type Rows = Vec<Vec<usize>>;

fn check_axis<T: TestElement>(input: &Input, [outer, len, inner]: [usize; 3]) {
    let product = |extents: [usize; 3]| {
        let nothing = extents.contains(&0);
        let product = extents.into_iter().try_fold(1usize, |n, extent| n.checked_mul(extent));
        if nothing { Some(0) } else { product }
    };
    let (elements, results) = (product([outer, len, inner]), product([outer, 1, inner]));
    let (lengths, fits) = slices(input, elements, results);
    let place = |o, i, k| (o * len + i) * inner + k;
    let mut rows = Rows::new();
    if fits[0] && results.is_some_and(|n| (1..=MOST).contains(&n)) {
        // In the order of the results.
        for o in 0..outer {
            rows.extend((0..inner).map(|k| (0..len).map(|i| place(o, i, k)).collect()));
        }
    }
    let axis = Axis::new(outer, len, inner);
    check_calls(
        input,
        lengths,
        fits,
        &rows,
        &Calls::<T> {
            apart: [&|isa, x, y| isa.softmax_axis(x, y, axis), &|isa, x, y| {
                isa.log_softmax_axis(x, y, axis)
            }],
            in_place: [&|isa, x| isa.softmax_axis_in_place(x, axis), &|isa, x| {
                isa.log_softmax_axis_in_place(x, axis)
            }],
            logsumexp: &|isa, x, y| isa.logsumexp_axis(x, y, axis),
        },
    );
}

fn check_ragged<T: TestElement>(input: &Input, offsets: &[usize]) {
    let rises = offsets.is_sorted();
    let end = offsets.last().copied().unwrap_or(0);
    let (lengths, fits) = slices(input, Some(end), Some(offsets.len().saturating_sub(1)));
    let fits = fits.map(|fits| fits && rises);
    let mut rows = Rows::new();
    if fits[0] {
        rows.extend(offsets.windows(2).map(|pair| (pair[0]..pair[1]).collect()));
    }
    check_calls(
        input,
        lengths,
        fits,
        &rows,
        &Calls::<T> {
            apart: [&|isa, x, y| isa.softmax_ragged(x, y, offsets), &|isa, x, y| {
                isa.log_softmax_ragged(x, y, offsets)
            }],
            in_place: [&|isa, x| isa.softmax_ragged_in_place(x, offsets), &|isa, x| {
                isa.log_softmax_ragged_in_place(x, offsets)
            }],
            logsumexp: &|isa, x, y| isa.logsumexp_ragged(x, y, offsets),
        },
    );
}

type Outcome = Result<(), softmax::Error>;

type Apart<'a, T> = &'a dyn Fn(Isa, &[T], &mut [T]) -> Outcome;
type InPlace<'a, T> = &'a dyn Fn(Isa, &mut [T]) -> Outcome;

/// softmax and log_softmax, in this order, and logsumexp.
struct Calls<'a, T> {
    apart: [Apart<'a, T>; 2],
    in_place: [InPlace<'a, T>; 2],
    logsumexp: Apart<'a, T>,
}

fn check_calls<T: TestElement>(input: &Input, lengths: [usize; 3], fits: [bool; 3], rows: &Rows, calls: &Calls<T>) {
    let mut inside = vec![false; lengths[0]];
    rows.iter().flatten().for_each(|&i| {
        if let Some(inside) = inside.get_mut(i) {
            *inside = true;
        }
    });
    let mut x: Vec<T> = input.values.take(lengths[0]);
    for (x, inside) in x.iter_mut().zip(&inside) {
        if !inside {
            *x = T::canary();
        }
    }
    for isa in Isa::available() {
        let alone = |log: bool, row: &[usize]| {
            let x: Vec<T> = row.iter().map(|&i| x[i]).collect();
            let mut y = x.clone();
            match log {
                true => isa.log_softmax(&x, &mut y),
                false => isa.softmax(&x, &mut y),
            }
            .expect("equal lengths");
            bits(&y)
        };
        let check = |y: &[T], log: bool| {
            for row in rows {
                let y: Vec<T> = row.iter().map(|&i| y[i]).collect();
                assert_eq!(bits(&y), alone(log, row), "{isa}, log {log}");
            }
            check_untouched(y, |i| inside.get(i).is_some_and(|&inside| inside));
        };
        for log in [false, true] {
            let mut y = vec![T::canary(); lengths[1]];
            let outcome = calls.apart[usize::from(log)](isa, &x, &mut y);
            assert_eq!(outcome.is_ok(), fits[0] && fits[1], "{isa}: {outcome:?}");
            match outcome {
                Ok(()) => check(&y, log),
                Err(_) => check_untouched(&y, |_| false),
            }
            let mut both = x.clone();
            let outcome = calls.in_place[usize::from(log)](isa, &mut both);
            assert_eq!(outcome.is_ok(), fits[0], "{isa}, in place: {outcome:?}");
            match outcome {
                Ok(()) => check(&both, log),
                Err(_) => assert_eq!(bits(&both), bits(&x), "{isa}: written"),
            }
        }
        let mut out = vec![T::canary(); lengths[2]];
        let outcome = (calls.logsumexp)(isa, &x, &mut out);
        assert_eq!(outcome.is_ok(), fits[0] && fits[2], "{isa}, logsumexp: {outcome:?}");
        if outcome.is_err() {
            check_untouched(&out, |_| false);
            continue;
        }
        for (row, out) in rows.iter().zip(&out) {
            let x: Vec<T> = row.iter().map(|&i| x[i]).collect();
            let want = isa.logsumexp(&x).expect("available");
            assert_eq!(out.bits(), want.bits(), "{isa}, logsumexp");
        }
        check_untouched(&out, |r| r < rows.len());
    }
}
