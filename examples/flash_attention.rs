//! Attention without the matrix of scores: the softmax of each query comes in tiles of keys.
//!
//! ```text
//! out = Σ_j softmax(q·k_j/√d)_j · v_j
//! ```
//!
//! * `plain`: all scores, softmax, weighted sum.
//! * `flash`: tile by tile with one [`OnlineSoftmax`], as in FlashAttention (Dao et al. 2022, arXiv:2205.14135): when the
//!   maximum rises, what was summed is multiplied by a power of two, so that nothing is lost by it.
//! * `split_k`: as when a long context is decoded: parts of the keys are reduced on their own (by other threads, other
//!   machines) and merged.
//!
//! `cargo run --release --example flash_attention` compares the three with a reference in f64.

use softmax::{OnlineSoftmax, softmax_in_place};

/// Keys and values of one head, `dim` numbers to each.
pub struct Context {
    /// Numbers to a key, and to a value.
    pub dim: usize,
    /// One key after the other.
    pub keys: Vec<f32>,
    /// As many values.
    pub values: Vec<f32>,
}

/// Keys to a tile.
pub const TILE: usize = 64;

impl Context {
    /// q·k_j/√d of some keys.
    fn scores(&self, query: &[f32], keys: &[f32], scores: &mut [f32]) {
        let scale = 1.0 / (self.dim as f32).sqrt();
        for (score, key) in scores.iter_mut().zip(keys.chunks_exact(self.dim)) {
            *score = scale * query.iter().zip(key).map(|(q, k)| q * k).sum::<f32>();
        }
    }

    /// All scores, then softmax, then the weighted sum.
    pub fn plain(&self, query: &[f32]) -> Vec<f32> {
        let mut p = vec![0.0; self.keys.len() / self.dim];
        self.scores(query, &self.keys, &mut p);
        softmax_in_place(&mut p);
        let mut out = vec![0.0; self.dim];
        add_weighted(&mut out, &p, &self.values);
        out
    }

    /// Tile by tile: never more than `TILE` scores.
    pub fn flash(&self, query: &[f32]) -> Vec<f32> {
        let all = 0..self.keys.len() / self.dim;
        self.part(query, all).finish()
    }

    /// In `parts` of the keys that know nothing of one another, merged at the end.
    pub fn split_k(&self, query: &[f32], parts: usize) -> Vec<f32> {
        let n = self.keys.len() / self.dim;
        let bounds = |i: usize| i * n / parts;
        let mut all = Part::new(self.dim);
        for i in 0..parts {
            all.merge(&self.part(query, bounds(i)..bounds(i + 1)));
        }
        all.finish()
    }

    /// The sums over some of the keys.
    fn part(&self, query: &[f32], keys: std::ops::Range<usize>) -> Part {
        let elements = keys.start * self.dim..keys.end * self.dim;
        let (keys, values) = (&self.keys[elements.clone()], &self.values[elements]);
        let mut part = Part::new(self.dim);
        let mut tile = [0.0; TILE];
        for (keys, values) in keys.chunks(TILE * self.dim).zip(values.chunks(TILE * self.dim)) {
            let e = &mut tile[..keys.len() / self.dim];
            self.scores(query, keys, e);
            // Scores become weights, and what was summed under the old maximum is rescaled.
            let factor = part.state.update_in_place(e);
            part.out.iter_mut().for_each(|out| *out *= factor);
            add_weighted(&mut part.out, e, values);
        }
        part
    }

    /// The same in f64.
    pub fn reference(&self, query: &[f32]) -> Vec<f64> {
        let scale = 1.0 / (self.dim as f64).sqrt();
        let dot = |key: &[f32]| {
            query
                .iter()
                .zip(key)
                .map(|(&q, &k)| f64::from(q) * f64::from(k))
                .sum::<f64>()
        };
        let scores: Vec<f64> = self.keys.chunks_exact(self.dim).map(|key| scale * dot(key)).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        let mut out = vec![0.0; self.dim];
        for (score, value) in scores.iter().zip(self.values.chunks_exact(self.dim)) {
            let p = (score - max).exp() / sum;
            for (out, &v) in out.iter_mut().zip(value) {
                *out += p * f64::from(v);
            }
        }
        out
    }
}

/// out += Σ w_j·v_j
fn add_weighted(out: &mut [f32], weights: &[f32], values: &[f32]) {
    let dim = out.len();
    for (&w, value) in weights.iter().zip(values.chunks_exact(dim)) {
        for (out, &v) in out.iter_mut().zip(value) {
            *out += w * v;
        }
    }
}

/// Σ e_j and Σ e_j·v_j over some keys, both under the shift of the state.
struct Part {
    state: OnlineSoftmax,
    out: Vec<f32>,
}

impl Part {
    fn new(dim: usize) -> Part {
        Part {
            state: OnlineSoftmax::new(),
            out: vec![0.0; dim],
        }
    }

    fn merge(&mut self, other: &Part) {
        let before = self.state;
        self.state.merge(&other.state);
        let (mine, theirs) = (
            self.state.rescale_factor(&before),
            self.state.rescale_factor(&other.state),
        );
        for (out, &v) in self.out.iter_mut().zip(&other.out) {
            *out = *out * mine + v * theirs;
        }
    }

    /// Σ e_j·v_j / Σ e_j
    fn finish(self) -> Vec<f32> {
        let (sum, _, _) = self.state.to_parts();
        self.out.iter().map(|&v| (f64::from(v) / sum) as f32).collect()
    }
}

/// About N(0, deviation) from a linear congruential generator, rising along the context so that the maximum moves.
pub fn example(n: usize, dim: usize, deviation: f32) -> (Context, Vec<f32>) {
    let mut state = 1_u64;
    let mut normal = || {
        let mut sum = -6.0;
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            sum += (state >> 40) as f32 / (1 << 24) as f32;
        }
        sum
    };
    let query: Vec<f32> = (0..dim).map(|_| deviation * normal()).collect();
    let keys = (0..n * dim)
        .map(|i| normal() * (1.0 + i as f32 / (n * dim) as f32))
        .collect();
    let values = (0..n * dim).map(|_| normal()).collect();
    (Context { dim, keys, values }, query)
}

/// The largest difference from the reference.
pub fn error(out: &[f32], reference: &[f64]) -> f64 {
    let difference = |(&out, want): (&f32, &f64)| (f64::from(out) - want).abs();
    out.iter().zip(reference).map(difference).fold(0.0, f64::max)
}

#[allow(dead_code)]
fn main() {
    println!("keys   deviation  plain      flash      split-K (7 parts)   largest |error| against f64");
    for (n, deviation) in [(100, 1.0), (1000, 1.0), (1000, 30.0), (4096, 3.0)] {
        let (context, query) = example(n, 64, deviation);
        let want = context.reference(&query);
        let errors =
            [context.plain(&query), context.flash(&query), context.split_k(&query, 7)].map(|out| error(&out, &want));
        println!(
            "{n:<6} {deviation:<10} {:<10.2e} {:<10.2e} {:<10.2e}",
            errors[0], errors[1], errors[2]
        );
    }
}
