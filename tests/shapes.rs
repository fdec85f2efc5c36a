//! Every length and layout, with guard pages and canaries against both sides of input and output: nothing is read or
//! written that is not the call's, and every element is.

use crate::common::choices::choices;
use crate::common::element::{TestElement, bits, for_each_element};
use crate::common::inputs::{DISTRIBUTIONS, lengths};
use crate::common::layouts::{laid, offsets};
use crate::common::memory::{EDGES, Edge, Guarded};
use crate::common::ops::{ManyRows, Operator, RowsInPlace, Width, operators};
use crate::common::shape::Shape;
use crate::common::{for_each_isa, is_emulated, longest, thinned};
use softmax::{Isa, Rows};

/// Lengths worth trying on an ISA.
fn tried(isa: Isa) -> impl Iterator<Item = usize> {
    thinned(lengths(longest(isa, usize::MAX)))
}

#[test]
fn one_row() {
    for_each_element!(check_one_row);
}

fn check_one_row<T: TestElement>() {
    for_each_isa(|isa| {
        for n in tried(isa) {
            let x: Vec<T> = DISTRIBUTIONS[1].row(n, 61);
            for op in operators::<T>() {
                let what = format!("{} on {isa}, n = {n}", op.name);
                let want = bits(&op.run(isa, &x));
                assert!(!want.contains(&T::canary().bits()), "{what}: not all was written");
                for (x_edge, y_edge) in [
                    (Edge::End, Edge::End),
                    (Edge::Start, Edge::Start),
                    (Edge::End, Edge::Start),
                ] {
                    let input = Guarded::copy_of(&x, x_edge);
                    let mut output = Guarded::new(op.outputs(n), y_edge);
                    (op.row)(isa, &input, &mut output).unwrap_or_else(|e| panic!("{what}: {e}"));
                    input.check_unchanged(&x, &what);
                    output.check(&what);
                    assert!(bits(&output) == want, "{what}: other bits at {x_edge:?} and {y_edge:?}");
                }
                let Some(in_place) = &op.in_place else { continue };
                for edge in EDGES {
                    let mut both = Guarded::copy_of(&x, edge);
                    (in_place.row)(isa, &mut both).unwrap_or_else(|e| panic!("{what}, in place: {e}"));
                    both.check(&what);
                    assert!(bits(&both) == want, "{what}: other bits in place at {edge:?}");
                }
            }
            for choice in choices::<T>() {
                let want = (choice.row)(isa, &x);
                for edge in EDGES {
                    let (input, what) = (Guarded::copy_of(&x, edge), format!("{} on {isa}, n = {n}", choice.name));
                    assert_eq!((choice.row)(isa, &input), want, "{what}: at {edge:?}");
                    input.check_unchanged(&x, &what);
                }
            }
        }
    });
}

/// Contiguous, odd strides, narrow and wide, more rows than any batch, and rows that are cut by a batch.
fn shapes() -> Vec<Shape> {
    let shape = |(rows, cols, x_gap, y_gap)| Shape {
        rows,
        cols,
        x_stride: cols + x_gap,
        y_stride: cols + y_gap,
    };
    let mut all: Vec<Shape> = Vec::new();
    for cols in (1..=70).chain([100, 127, 128, 129, 200, 256, 257, 300]) {
        for rows in [1, 2, 5, 8, 16, 17, 33] {
            all.push(shape((rows, cols, 0, 0)));
            all.push(shape((rows, cols, cols % 5 + 1, cols % 3)));
        }
        all.push(shape((7, cols, 0, 9)));
        all.push(shape((9, cols, 31, 0)));
    }
    all.extend(
        [
            (3, 1000, 1, 0),
            (2, 4099, 0, 7),
            (5, 513, 3, 3),
            (35, 760, 1, 2),
            (100, 10, 1, 1),
            (1000, 8, 0, 0),
        ]
        .map(shape),
    );
    thinned(all).collect()
}

#[test]
fn many_rows() {
    for_each_element!(check_many_rows);
}

fn check_many_rows<T: TestElement>() {
    for shape in shapes() {
        // Rows of every kind side by side, canaries between them.
        let mut x = vec![T::canary(); shape.x_extent()];
        for r in 0..shape.rows {
            let row: Vec<T> = DISTRIBUTIONS[r % DISTRIBUTIONS.len()].row(shape.cols, r as u64);
            x[r * shape.x_stride..][..shape.cols].copy_from_slice(&row);
        }
        for_each_isa(|isa| {
            for op in operators::<T>() {
                let what = format!("{} on {isa}, {shape:?}", op.name);
                check_rows(&op, isa, &x, shape, &what);
                check_rows_in_place(&op, isa, &x, shape, &what);
            }
            for choice in choices::<T>() {
                let (input, what) = (
                    Guarded::copy_of(&x, Edge::End),
                    format!("{} on {isa}, {shape:?}", choice.name),
                );
                let got = (choice.rows)(isa, &input, shape).unwrap_or_else(|e| panic!("{what}: {e}"));
                input.check_unchanged(&x, &what);
                for (r, got) in got.iter().enumerate() {
                    let want = (choice.row)(isa, &x[r * shape.x_stride..][..shape.cols]);
                    assert_eq!(want.as_ref(), Ok(got), "{what}: row {r}");
                }
            }
        });
    }
}

/// Ordinary rows, of which groups are done beside the groups before: after another such group, and after and before one that has
/// rows without a sum or whose guess fails; the last group is shorter, and too short to be one.
#[test]
fn groups_of_ordinary_rows() {
    for_each_element!(check_groups);
}

fn check_groups<T: TestElement>() {
    let widths = [
        8, 16, 17, 32, 40, 64, 96, 100, 128, 130, 250, 300, 384, 385, 500, 768, 769,
    ];
    for (i, cols) in thinned(widths.into_iter().enumerate()) {
        let shape = Shape {
            rows: [101, 98, 89, 105][i % 4],
            cols,
            x_stride: cols + (i + 1) % 3,
            y_stride: cols + i % 3,
        };
        let mut x = vec![T::canary(); shape.x_extent()];
        for r in 0..shape.rows {
            let row = &mut x[r * shape.x_stride..][..cols];
            row.copy_from_slice(&DISTRIBUTIONS[0].row(cols, r as u64));
            match r {
                // Groups of 16: the third and the fourth have such rows.
                32 => row[cols / 3] = T::from_f64(f64::NAN),
                39 => row.fill(T::from_f64(f64::NEG_INFINITY)),
                47 => row[cols / 3] = T::from_f64(1e4),
                // Its exponents fit, its sum does not.
                56 => row.fill(T::from_f64(f64::NEG_INFINITY)),
                _ => {}
            }
        }
        for_each_isa(|isa| {
            for op in operators::<T>() {
                let what = format!("{} on {isa}, {shape:?}", op.name);
                check_rows(&op, isa, &x, shape, &what);
                check_rows_in_place(&op, isa, &x, shape, &what);
            }
        });
    }
}

/// Rows that may be divided beside the exps of the next one, of every kind, those without a sum among them, before and behind
/// every other: each as if alone.
#[test]
fn long_rows_after_one_another() {
    for_each_element!(check_long_rows);
}

fn check_long_rows<T: TestElement>() {
    // The second lengths are those of ragged rows: as many blocks, and others.
    for lengths in thinned([[300, 380], [640, 638], [1536, 1030], [3200, 3210]]) {
        for_each_isa(|isa| {
            for op in operators::<T>() {
                check_neighbours(&op, isa, lengths);
            }
        });
    }
}

/// Each kind of row twice, before the next kind, and ordinary rows around them.
fn check_neighbours<T: TestElement>(op: &Operator<T>, isa: Isa, lengths: [usize; 2]) {
    let ("softmax" | "log_softmax", Some(rows), Some(both)) = (op.name, &op.rows, op.rows_in_place()) else {
        return;
    };
    let laid = laid::<T>().into_iter().find(|laid| laid.name == op.name);
    let ragged = laid.expect("a ragged form").ragged;
    let kinds = lengths.map(|n| Vec::from_iter(kinds_of_rows(n).map(|x| (op.run(isa, &x), x))));
    let all = 0..kinds[0].len();
    let tried = if is_emulated() {
        Vec::from_iter(thinned(all.clone()))
    } else {
        Vec::from_iter(all.clone())
    };
    for i in tried {
        let next = (i + 1) % all.len();
        let what = format!("{} on {isa}, kinds {i} and {next}, {lengths:?} columns", op.name);
        let (x, want) = joined([(0, 0), (0, i), (0, i), (0, next), (0, 0)].map(|(n, kind)| &kinds[n][kind]));
        let shape = Rows::new(5, lengths[0]);
        let mut y = vec![T::canary(); x.len()];
        (rows.rows)(isa, &x, &mut y, shape).expect("five rows");
        assert!(bits(&y) == bits(&want), "{what}");
        let mut y = x.clone();
        (both.rows)(isa, &mut y, shape).expect("five rows");
        assert!(bits(&y) == bits(&want), "{what}, in place");
        let uneven = [(1, 0), (0, i), (1, i), (1, next), (0, 0)].map(|(n, kind)| &kinds[n][kind]);
        let (x, want) = joined(uneven);
        let mut y = vec![T::canary(); x.len()];
        let offsets = offsets(0, uneven.map(|(_, x)| x.len()));
        (ragged.apart)(isa, &x, &mut y, &offsets).expect("five rows");
        assert!(bits(&y) == bits(&want), "{what}, ragged");
        let mut y = x;
        let in_place = ragged.in_place.as_ref().expect("ragged rows in place");
        (in_place.call)(isa, &mut y, &offsets).expect("five rows");
        assert!(bits(&y) == bits(&want), "{what}, ragged, in place");
    }
}

/// Rows of every distribution, with NaN, +∞ and a large element, and of −∞ alone.
fn kinds_of_rows<T: TestElement>(n: usize) -> impl Iterator<Item = Vec<T>> {
    let special = [f64::NAN, f64::INFINITY, 1e4].map(|special| {
        let mut row: Vec<T> = DISTRIBUTIONS[0].row(n, 63);
        row[n / 3] = T::from_f64(special);
        row
    });
    let nothing = vec![T::from_f64(f64::NEG_INFINITY); n];
    let rows = DISTRIBUTIONS.iter().map(move |d| d.row(n, 62));
    rows.chain(special).chain([nothing])
}

/// The logits of some rows, and their results.
fn joined<T: TestElement>(rows: [&(Vec<T>, Vec<T>); 5]) -> (Vec<T>, Vec<T>) {
    (rows.map(|(_, x)| &x[..]).concat(), rows.map(|(y, _)| &y[..]).concat())
}

/// x·log2 e of the second element is ½: without a fused multiply-add, the shift decides which integer it rounds to.
#[test]
fn a_tie_alone_and_among_rows() {
    let mut x = [0.0_f32; 17];
    x[..2].copy_from_slice(&[1.0, 0.346_573_6]);
    let rows = x.repeat(5);
    for_each_isa(|isa| {
        let mut y = [0.0; 5 * 17];
        isa.softmax_rows(&rows, &mut y, Rows::new(5, 17)).expect("five rows");
        let mut alone = [0.0; 17];
        isa.softmax(&x, &mut alone).expect("a row");
        assert_eq!(bits(&y), bits(&alone.repeat(5)), "{isa}");
    });
}

/// Each row as if alone, and the gaps as they were.
fn check_rows<T: TestElement>(op: &Operator<T>, isa: Isa, x: &[T], shape: Shape, what: &String) {
    let Some(ManyRows { rows, .. }) = op.rows else { return };
    for edge in EDGES {
        let (input, mut output) = (Guarded::copy_of(x, edge), Guarded::new(shape.y_extent(op.width), edge));
        rows(isa, &input, &mut output, shape.rows()).unwrap_or_else(|e| panic!("{what}: {e}"));
        input.check_unchanged(x, what);
        output.check(what);
        let mut want = vec![T::canary(); output.len()];
        for r in 0..shape.rows {
            let row = &x[r * shape.x_stride..][..shape.cols];
            want[shape.y_row(op.width, r)].copy_from_slice(&op.run(isa, row));
        }
        assert!(
            bits(&output) == bits(&want),
            "{what}: other bits than row by row, or a gap was written"
        );
    }
}

fn check_rows_in_place<T: TestElement>(op: &Operator<T>, isa: Isa, x: &[T], shape: Shape, what: &String) {
    let Some(RowsInPlace { rows, .. }) = op.rows_in_place() else {
        return;
    };
    for edge in EDGES {
        let mut both = Guarded::copy_of(x, edge);
        rows(isa, &mut both, shape.rows_in_place()).unwrap_or_else(|e| panic!("{what}, in place: {e}"));
        both.check(what);
        let mut want = x.to_vec();
        for r in 0..shape.rows {
            let row = r * shape.x_stride..r * shape.x_stride + shape.cols;
            want[row.clone()].copy_from_slice(&op.run(isa, &x[row]));
        }
        assert!(
            bits(&both) == bits(&want),
            "{what}: in place, other bits than row by row, or a gap was written"
        );
    }
}

/// No rows, no columns, any stride: `Ok`, and nothing written but the −∞ of logsumexp and the "no index" of argmax.
#[test]
fn empty_shapes() {
    for_each_element!(check_empty_shapes);
}

fn check_empty_shapes<T: TestElement>() {
    let empty = [
        (0, 0, 0),
        (0, 5, 5),
        (0, 5, 9),
        (3, 0, 0),
        (3, 0, 4),
        (1, 0, 0),
        (usize::MAX, 0, 0),
    ];
    for_each_isa(|isa| {
        for (rows, cols, stride) in empty {
            let shape = Shape {
                rows,
                cols,
                x_stride: stride,
                y_stride: stride,
            };
            let what = format!("{isa}, {shape:?}");
            for op in operators::<T>() {
                if op.width == Width::One && rows == usize::MAX {
                    continue; // that many results have no place
                }
                if let Some(ManyRows { rows: call, .. }) = op.rows {
                    let mut y = vec![T::canary(); 12];
                    assert_eq!(call(isa, &[], &mut y, shape.rows()), Ok(()), "{} on {what}", op.name);
                    let written = if op.width == Width::One { rows } else { 0 };
                    let (results, rest) = y.split_at(written);
                    assert!(
                        results.iter().all(|v| v.to_f64() == f64::NEG_INFINITY),
                        "{} on {what}: {y:?}",
                        op.name
                    );
                    assert!(
                        rest.iter().all(|v| v.bits() == T::canary().bits()),
                        "{} on {what}: wrote",
                        op.name
                    );
                }
                if let Some(RowsInPlace { rows: call, .. }) = op.rows_in_place() {
                    let mut y = vec![T::canary(); 12];
                    assert_eq!(
                        call(isa, &mut y, shape.rows_in_place()),
                        Ok(()),
                        "{} on {what}",
                        op.name
                    );
                    assert!(
                        y.iter().all(|v| v.bits() == T::canary().bits()),
                        "{} on {what}: wrote",
                        op.name
                    );
                }
            }
            for choice in choices::<T>().into_iter().filter(|_| rows < usize::MAX) {
                let got = (choice.rows)(isa, &[], shape).unwrap_or_else(|e| panic!("{} on {what}: {e}", choice.name));
                let want = if choice.name == "argmax" {
                    vec![u64::MAX]
                } else {
                    vec![]
                };
                assert_eq!(
                    got,
                    if cols == 0 || rows == 0 {
                        vec![want; rows]
                    } else {
                        vec![]
                    },
                    "{}",
                    choice.name
                );
            }
        }
    });
}
