//! A climbing search for the row on which `softmax` errs most, and the record of the worst rows found.

use super::element::TestElement;
use super::inputs::{TestRng, precision, rng, uniform};
use super::ops::{Operator, operators};
use super::oracle::Oracle;
use rand::RngExt;
use softmax::Isa;
use std::env;
use std::time::{Duration, Instant};

pub struct Found<T> {
    pub error: f64,
    pub row: Vec<T>,
}

/// The recorded rows: a line each, `ulp: bits bits*count …`, as [`line`] prints them.
pub fn recorded<T: TestElement>() -> Vec<Vec<T>> {
    let record = match T::NAME {
        "f32" => include_str!("worst_softmax_f32.txt"),
        "f64" => include_str!("worst_softmax_f64.txt"),
        _ => panic!("no worst rows of {} are recorded", T::NAME),
    };
    let lines = record.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| parse(line).unwrap_or_else(|| panic!("not a recorded row: {line}")))
        .collect()
}

fn parse<T: TestElement>(line: &str) -> Option<Vec<T>> {
    let mut row = Vec::new();
    for run in line.split_once(':')?.1.split_whitespace() {
        let (bits, count) = run.split_once('*').unwrap_or((run, "1"));
        let value = T::from_bits(u64::from_str_radix(bits, 16).ok()?);
        row.extend(std::iter::repeat_n(value, count.parse().ok()?));
    }
    Some(row)
}

pub fn line<T: TestElement>(error: f64, row: &[T]) -> String {
    let (runs, digits) = (row.chunk_by(|a, b| a.bits() == b.bits()), T::WIDTH as usize / 4);
    let words = runs.map(|run| match (run[0].bits(), run.len()) {
        (bits, 1) => format!("{bits:0digits$x}"),
        (bits, count) => format!("{bits:0digits$x}*{count}"),
    });
    format!("{error:.4}: {}", words.collect::<Vec<_>>().join(" "))
}

/// A row as a few values and how often each stands in it, so that a step can move all equal entries together: the
/// worst sums are those whose many terms all err alike.
#[derive(Clone)]
struct Genome<T>(Vec<(T, usize)>);

impl<T: TestElement> Genome<T> {
    fn random(rng: &mut TestRng) -> Self {
        let levels = [1, 2, 2, 2, 3, 4, 8][rng.random_range(0..7)];
        let longest = [1, 2, 8, 64, 256][rng.random_range(0..5)];
        let base = uniform(rng, -20.0, 20.0);
        let depth = precision(&T::FORMAT) * [0.7, 5.0, 17.0][rng.random_range(0..3)];
        let mut genome: Vec<_> = (0..levels)
            .map(|_| {
                (
                    T::from_f64(base - uniform(rng, 0.0, depth)),
                    rng.random_range(1..=longest),
                )
            })
            .collect();
        genome[0] = (T::from_f64(base), 1);
        Genome(genome)
    }

    fn row(&self) -> Vec<T> {
        self.0
            .iter()
            .flat_map(|&(v, count)| std::iter::repeat_n(v, count))
            .collect()
    }

    fn mutate(&mut self, rng: &mut TestRng) {
        let i = rng.random_range(0..self.0.len());
        let levels = self.0.len();
        let (value, count) = self.0[i];
        self.0[i] = match rng.random_range(0..8) {
            0 => (T::from_f64(value.to_f64() + uniform(rng, -1.0, 1.0)), count),
            1 => (value, rng.random_range(1..=512)),
            2 => (value, (count * 2).min(1024)),
            3 if levels < 40 => {
                self.0.push((value.step(rng.random_range(-1000..=1000)), 1));
                (value, count)
            }
            4 if levels > 1 => {
                self.0.remove(i);
                return;
            }
            _ => {
                let reach = 1i64 << rng.random_range(0..T::FORMAT.digits - 2);
                (value.step(rng.random_range(-reach..=reach)), count)
            }
        };
    }
}

/// Climbs from many random rows for `SOFTMAX_CLIMB_SECONDS`.
pub fn search<T: TestElement>(isa: Isa) -> Found<T> {
    let number = |name, default| env::var(name).map_or(default, |v| v.parse().expect("a number"));
    let end = Instant::now() + Duration::from_secs(number("SOFTMAX_CLIMB_SECONDS", 60));
    let mut rng = rng(number("SOFTMAX_CLIMB_SEED", 1));
    let op = &operators::<T>()[0];
    let mut best = Found {
        error: 0.0,
        row: Vec::new(),
    };
    while Instant::now() < end {
        let (error, genome) = climb(op, isa, &mut rng, end);
        if error > best.error {
            best = Found {
                error,
                row: genome.row(),
            };
            println!("{}", line(error, &best.row));
        }
    }
    best
}

fn climb<T: TestElement>(op: &Operator<T>, isa: Isa, rng: &mut TestRng, end: Instant) -> (f64, Genome<T>) {
    let mut at = Genome::random(rng);
    let mut error = error_of(op, isa, &at);
    let mut patience = 0;
    while patience < 3000 && Instant::now() < end {
        let mut next = at.clone();
        (0..rng.random_range(1..=2)).for_each(|_| next.mutate(rng));
        let next_error = error_of(op, isa, &next);
        patience = if next_error > error { 0 } else { patience + 1 };
        if next_error >= error {
            (at, error) = (next, next_error);
        }
    }
    (error, at)
}

fn error_of<T: TestElement>(op: &Operator<T>, isa: Isa, genome: &Genome<T>) -> f64 {
    let row = genome.row();
    op.worst(&row, &[&op.run(isa, &row)], &Oracle::of(&row))[0].0
}
