//! Inputs, floor and ceiling of the benchmarks.
#![allow(dead_code)]

mod buffer;

pub use buffer::Buffer;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// From a handful of classes over attention rows to vocabularies, in and beyond the caches.
pub const LENGTHS: [usize; 14] = [
    8,
    16,
    32,
    64,
    100,
    128,
    256,
    512,
    1000,
    2048,
    4096,
    32_000,
    128_256,
    1 << 20,
];

/// About N(0, 3): a sum of twelve uniforms.
pub fn logits(n: usize) -> Buffer<f32> {
    let mut rng = StdRng::seed_from_u64(n as u64);
    let logits = (0..n).map(|_| 3.0 * ((0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0));
    Buffer::input(&logits.collect::<Vec<f32>>())
}

/// Room for `n` results.
pub fn results<T: Copy + Default>(n: usize) -> Buffer<T> {
    Buffer::output(&vec![T::default(); n])
}

/// The loop everyone writes first.
pub fn naive_softmax(x: &[f32], y: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - max).exp();
        sum += *y;
    }
    for y in y {
        *y /= sum;
    }
}
