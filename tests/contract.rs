//! The special rows of the contract, cell by cell.

use crate::common::element::{TestElement, for_each_element};
use crate::common::inputs::{DISTRIBUTIONS, rows_of};
use crate::common::ops::{Expect, Operator, operators};
use crate::common::oracle::Oracle;
use crate::common::{for_each_isa, isas, scale};
use softmax::Isa;

/// Lengths, and at each the places to put a special value.
pub fn places() -> Vec<(usize, Vec<usize>)> {
    let short = (1..=130).map(|n| (n, (0..n).collect()));
    let long = [255, 256, 257, 512, 1000, 4099, 70_001].map(|n| {
        let places = [0, 1, 31, 32, 127, 128, n / 2, n - 33, n - 32, n - 2, n - 1];
        (n, places.into_iter().step_by(if n > 5000 { 5 } else { 1 }).collect())
    });
    let all: Vec<(usize, Vec<usize>)> = short.chain(long).collect();
    // As many lengths fewer as places fewer at each.
    let step = scale().isqrt();
    let fewer = |places: Vec<usize>| places.into_iter().step_by(step).collect();
    all.into_iter()
        .step_by(step)
        .map(|(n, places)| (n, fewer(places)))
        .collect()
}

/// A row with a special value at `at`, the rest drawn or another special value.
pub struct Case<T: TestElement> {
    pub name: &'static str,
    /// Changes an ordinary row.
    pub put: fn(row: &mut [T], at: usize),
    expect: fn(&Operator<T>) -> Expect,
}

pub fn value<T: TestElement>(v: f64) -> T {
    T::from_f64(v)
}

/// NaNs of every kind: quiet, signalling, of either sign, with and without payload.
fn nan<T: TestElement>(kind: usize) -> T {
    let (sign, quiet) = (1 << (T::WIDTH - 1), 1 << (T::FORMAT.digits - 2));
    let kinds = [
        T::NAN_BITS,
        T::NAN_BITS | sign,
        T::NAN_BITS | 9,
        (T::NAN_BITS ^ quiet) | 1,
        sign | (quiet - 1) | T::NAN_BITS,
    ];
    T::from_bits(kinds[kind % 5])
}

pub fn cases<T: TestElement>() -> Vec<Case<T>> {
    const INF: f64 = f64::INFINITY;
    fn opposite(row: &[impl Copy], at: usize) -> usize {
        (at + row.len().div_ceil(2)) % row.len()
    }
    vec![
        Case {
            name: "NaN",
            put: |row, at| row[at] = nan(at),
            expect: |op| op.nan,
        },
        Case {
            name: "NaN and +inf",
            put: |row, at| {
                row[opposite(row, at)] = value(INF);
                row[at] = nan(at);
            },
            expect: |op| op.nan,
        },
        Case {
            name: "NaN among -inf",
            put: |row, at| {
                row.fill(value(-INF));
                row[at] = nan(at);
            },
            expect: |op| op.nan,
        },
        Case {
            name: "+inf",
            put: |row, at| row[at] = value(INF),
            expect: |op| op.infinity,
        },
        Case {
            name: "two +inf",
            put: |row, at| {
                row[opposite(row, at)] = value(INF);
                row[at] = value(INF);
            },
            expect: |op| op.infinity,
        },
        Case {
            name: "+inf among -inf",
            put: |row, at| {
                row.fill(value(-INF));
                row[at] = value(INF);
            },
            expect: |op| op.infinity,
        },
        Case {
            name: "-inf",
            put: |row, at| {
                row[at] = value(-INF);
                if row.len() == 1 {
                    row[0] = value(0.5); // the row of one is another case
                }
            },
            expect: |op| op.minus_infinity,
        },
        Case {
            name: "one finite among -inf",
            put: |row, at| {
                let finite = row[at];
                row.fill(value(-INF));
                row[at] = finite;
            },
            expect: |op| op.minus_infinity,
        },
        Case {
            name: "all -inf",
            put: |row, _| row.fill(value(-INF)),
            expect: |op| op.all_minus_infinity,
        },
    ]
}

#[test]
fn special_rows() {
    for_each_element!(check_special_rows);
}

fn check_special_rows<T: TestElement>() {
    let ops = operators::<T>();
    for (n, places) in places() {
        let ordinary: Vec<T> = DISTRIBUTIONS[1].row(n, 31);
        for case in cases::<T>() {
            for &at in &places {
                let mut x = ordinary.clone();
                (case.put)(&mut x, at);
                let oracle = Oracle::of(&x);
                for op in &ops {
                    check_special(op, &x, &oracle, (case.expect)(op), &format!("{} at {at}", case.name));
                }
            }
        }
    }
}

fn check_special<T: TestElement>(op: &Operator<T>, x: &[T], oracle: &Oracle, expect: Expect, what: &str) {
    let results: Vec<(Isa, Vec<T>)> = isas().iter().map(|&isa| (isa, op.run(isa, x))).collect();
    // What must stand at the places of an input.
    let exactly = |place: &dyn Fn(f64) -> bool, want: f64| {
        for (isa, y) in &results {
            for (i, y) in y.iter().enumerate().filter(|(i, _)| place(x[*i].to_f64())) {
                let same = match want.is_nan() {
                    true if !op.canonical_nan => y.to_f64().is_nan(),
                    true => y.bits() == T::NAN_BITS,
                    false => y.bits() == T::from_f64(want).bits(),
                };
                let context = || format!("{} on {isa}, {what}, n = {}", op.name, x.len());
                assert!(same, "{}: {y:?} ({:#x}) at {i}, not {want}", context(), y.bits());
            }
        }
    };
    match expect {
        Expect::All(want) => exactly(&|_| true, want),
        Expect::Rest => op.check(x, &results, oracle, &what),
        Expect::There(_) => {
            if let Expect::There(want) = op.nan {
                exactly(&f64::is_nan, want);
            }
            if let Expect::There(want) = op.infinity {
                exactly(&|v| v == f64::INFINITY, want);
            }
            if let Expect::There(want) = op.minus_infinity {
                exactly(&|v| v == f64::NEG_INFINITY, want);
            }
            op.check(x, &results, oracle, &what);
        }
    }
}

#[test]
fn empty_rows() {
    for_each_element!(check_empty_rows);
}

fn check_empty_rows<T: TestElement>() {
    for_each_isa(|isa| {
        assert_eq!(
            isa.logsumexp::<T>(&[]).map(|v| v.to_f64()),
            Ok(f64::NEG_INFINITY),
            "{isa}"
        );
        assert_eq!(isa.argmax::<T>(&[]), Ok(None), "{isa}");
        assert_eq!(
            isa.top_k::<T, [usize], [T::Compute]>(&[], &mut [], &mut []),
            Ok(()),
            "{isa}"
        );
        for op in operators::<T>() {
            op.check(&[], &[(isa, op.run(isa, &[]))], &Oracle::of::<T>(&[]), &"empty");
        }
    });
    assert_eq!(softmax::logsumexp::<T>(&[]).to_f64(), f64::NEG_INFINITY);
    assert_eq!(softmax::argmax::<T>(&[]), None);
}

/// softmax in [0, 1] without a sign, log_softmax never positive, finite rows finite: on every distribution.
#[test]
fn results_stay_in_range() {
    for_each_element!(check_range);
}

fn check_range<T: TestElement>() {
    for_each_isa(|isa| {
        for op in operators::<T>() {
            for (d, n) in rows_of((1..=130).chain([256, 1000, 4099])) {
                let y = op.run(isa, &d.row::<T>(n, 7));
                let (low, high) = op.range;
                let inside = |v: f64| low <= v && v <= high && !(low == 0.0 && v.is_sign_negative());
                let outside = y.iter().position(|v| !inside(v.to_f64()));
                assert_eq!(outside.map(|i| y[i]), None, "{} on {isa}: {}, n = {n}", op.name, d.name);
            }
        }
    });
}
