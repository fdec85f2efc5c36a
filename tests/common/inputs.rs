//! Rows of test input: one list of distributions, seeded.

use super::dd::scale;
use super::element::TestElement;
use super::thinned;
use super::ulp::Format;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

pub type TestRng = Xoshiro256PlusPlus;

pub fn rng(seed: u64) -> TestRng {
    TestRng::seed_from_u64(seed)
}

pub fn uniform(rng: &mut TestRng, from: f64, to: f64) -> f64 {
    from + (to - from) * rng.random::<f64>()
}

/// N(0, 1), by Box and Muller.
pub fn normal(rng: &mut TestRng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// A named way to fill a row. Every row has at least one finite value and neither NaN nor +∞.
pub struct Distribution {
    pub name: &'static str,
    fill: Fill,
    /// What a row is multiplied by in a type that is computed in this format: 1 in f32.
    unit: fn(&Format) -> f64,
}

type Fill = fn(&mut TestRng, &mut [f64]);

const fn dist(name: &'static str, fill: Fill) -> Distribution {
    stretched(name, |_| 1.0, fill)
}

/// A row at a border of f32, which is at the like border of f64 when it is stretched.
const fn stretched(name: &'static str, unit: fn(&Format) -> f64, fill: Fill) -> Distribution {
    Distribution { name, fill, unit }
}

/// Of logarithms of the precision.
pub fn precision(format: &Format) -> f64 {
    f64::from(format.digits) / f64::from(Format::F32.digits)
}

/// Of logarithms of the smallest normal number.
fn depth(format: &Format) -> f64 {
    f64::from(format.min_exp) / f64::from(Format::F32.min_exp)
}

/// Of the subnormal numbers.
fn smallest(format: &Format) -> f64 {
    let smallest = |format: &Format| format.min_exp - format.digits;
    scale(1.0, smallest(format) - smallest(&Format::F32))
}

/// Of the largest numbers.
fn largest(format: &Format) -> f64 {
    scale(1.0, format.max_exp - Format::F32.max_exp)
}

/// A new distribution is a row here; names and numbers are those of f32.
pub const DISTRIBUTIONS: &[Distribution] = &[
    dist("N(0,1)", |rng, row| fill(row, || normal(rng))),
    dist("N(0,3)", |rng, row| fill(row, || 3.0 * normal(rng))),
    dist("N(0,30)", |rng, row| fill(row, || 30.0 * normal(rng))),
    stretched("uniform(-110,0)", depth, |rng, row| {
        fill(row, || uniform(rng, -110.0, 0.0))
    }),
    dist("all equal", |rng, row| row.fill(uniform(rng, -20.0, 20.0))),
    dist("one dominant", |rng, row| with_peak(rng, row, 0.0, 1.0, 30.0)),
    stretched("one dominant, rest -16.64", precision, |rng, row| {
        with_peak(rng, row, -16.64, 0.0, 16.64)
    }),
    dist("N(1000,3)", |rng, row| fill(row, || 1000.0 + 3.0 * normal(rng))),
    dist("N(-1000,3)", |rng, row| fill(row, || -1000.0 + 3.0 * normal(rng))),
    dist("N(6e4,30)", |rng, row| fill(row, || 6e4 + 30.0 * normal(rng))),
    dist("N(-6e4,30)", |rng, row| fill(row, || -6e4 + 30.0 * normal(rng))),
    dist("around 65536", |rng, row| fill(row, || 65_536.0 + 8.0 * normal(rng))),
    dist("around -65536", |rng, row| fill(row, || -65_536.0 + 8.0 * normal(rng))),
    dist("N(1e6,3)", |rng, row| fill(row, || 1e6 + 3.0 * normal(rng))),
    dist("sorted up", |rng, row| {
        fill(row, || 3.0 * normal(rng));
        row.sort_by(f64::total_cmp);
    }),
    dist("sorted down", |rng, row| {
        fill(row, || 3.0 * normal(rng));
        row.sort_by(|a, b| b.total_cmp(a));
    }),
    // Differences that are subnormal floats, around 0.
    stretched("subnormal gaps", smallest, |rng, row| {
        fill(row, || f64::from(rng.random_range(-40..40)) * 2f64.powi(-149))
    }),
    // A peak and the rest around e^-87: probabilities at the underflow border.
    stretched("underflow border", depth, |rng, row| {
        with_peak(rng, row, -88.0, 1.0, 88.0)
    }),
    // ... and logarithms that are themselves subnormal.
    stretched("underflow border below", depth, |rng, row| {
        with_peak(rng, row, -98.0, 4.0, 98.0)
    }),
    dist("half -inf", |rng, row| {
        fill(row, || 3.0 * normal(rng));
        let keep = rng.random_range(0..row.len());
        for (i, v) in row.iter_mut().enumerate() {
            if i != keep && rng.random() {
                *v = f64::NEG_INFINITY;
            }
        }
    }),
    dist("left padded -1e4", |rng, row| pad(rng, row, -1e4)),
    dist("left padded -inf", |rng, row| pad(rng, row, f64::NEG_INFINITY)),
    stretched("+-3e38", largest, |rng, row| {
        fill(row, || if rng.random() { 3e38 } else { -3e38 })
    }),
    stretched("one 3e38, rest -3e38", largest, |rng, row| {
        with_peak(rng, row, -3e38, 0.0, 6e38)
    }),
    stretched("all 3e38", largest, |_, row| row.fill(3e38)),
    // On both sides of the maximum from which it is subtracted first, as far as a guess can reach.
    dist("around 16384", |rng, row| {
        let (level, width) = (uniform(rng, -700.0, 700.0), uniform(rng, 0.0, 30.0));
        let level = if rng.random() { level } else { level / 8.0 };
        fill(row, || 16384.0 + level + width * normal(rng));
    }),
];

impl Distribution {
    pub fn row<T: TestElement>(&self, n: usize, seed: u64) -> Vec<T> {
        let mut row = vec![0.0; n];
        if n > 0 {
            (self.fill)(&mut rng(seed ^ (n as u64) << 20), &mut row);
        }
        let unit = (self.unit)(&T::Probability::FORMAT);
        row.into_iter().map(|v| T::finite(v * unit)).collect()
    }
}

fn fill(row: &mut [f64], mut value: impl FnMut() -> f64) {
    row.iter_mut().for_each(|v| *v = value());
}

/// N(mean, deviation) everywhere, `above` more at one place.
fn with_peak(rng: &mut TestRng, row: &mut [f64], mean: f64, deviation: f64, above: f64) {
    fill(row, || mean + deviation * normal(rng));
    let peak = rng.random_range(0..row.len());
    row[peak] += above;
}

/// N(0, 3) after a padding of random length.
fn pad(rng: &mut TestRng, row: &mut [f64], padding: f64) {
    fill(row, || 3.0 * normal(rng));
    let end = rng.random_range(0..row.len());
    row[..end].fill(padding);
}

/// Every distribution at every length, thinned.
pub fn rows_of(
    lengths: impl IntoIterator<Item = usize, IntoIter: Clone>,
) -> impl Iterator<Item = (&'static Distribution, usize)> {
    let lengths = lengths.into_iter();
    thinned(
        DISTRIBUTIONS
            .iter()
            .flat_map(move |d| lengths.clone().map(move |n| (d, n))),
    )
}

/// Lengths at which a vector kernel changes its ways: every one up to four virtual vectors and one more, powers of two
/// and their neighbours, and odd ones, up to `longest`.
pub fn lengths(longest: usize) -> impl Iterator<Item = usize> + Clone {
    let powers = (8..=17).flat_map(|e| [(1usize << e) - 1, 1 << e, (1 << e) + 1]);
    let odd = [1000, 4099, 70_001, 1_048_577];
    (0..=4 * 32 + 1).chain(powers).chain(odd).filter(move |&n| n <= longest)
}
