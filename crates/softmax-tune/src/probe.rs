//! The measured side: one build of the crate, asked line by line.
//!
//! The line `isas` on standard input is answered by the instruction sets of the CPU, best first. Any other is
//! `ISA PLACE ROWS COLS MICROSECONDS`, with `out` or `in` for the place. The answer is the least time of a pass in
//! nanoseconds per element, over about that long.

#[path = "../../../benches/common/buffer.rs"]
mod buffer;

use buffer::Buffer;
use softmax::{Isa, Rows};
use std::io::{BufRead, Write, stdin, stdout};
use std::time::{Duration, Instant};

fn main() {
    let mut buffers = [Buffer::input(&[]), Buffer::output(&[])];
    for line in stdin().lock().lines() {
        let line = line.expect("lines are text");
        if line == "isas" {
            println!("{}", Isa::available().map(Isa::name).collect::<Vec<_>>().join(" "));
        } else {
            let ns = answer(&line, &mut buffers).unwrap_or_else(|| panic!("not understood: {line}"));
            println!("{ns}");
        }
        stdout().flush().expect("somebody listens");
    }
}

/// The buffers grow to the largest matrix and are kept, so that no measurement meets fresh pages.
fn answer(line: &str, [x, y]: &mut [Buffer<f32>; 2]) -> Option<f64> {
    let mut words = line.split_whitespace();
    let isa: Isa = words.next()?.parse().ok()?;
    let in_place = words.next()? == "in";
    let (rows, cols) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let span = Duration::from_micros(words.next()?.parse().ok()?);
    let shape = Rows::new(rows, cols);
    let len = rows * cols;
    if x.len() < len {
        *x = Buffer::input(&logits(len));
        *y = Buffer::output(x);
    }
    let (x, y) = (&x[..len], &mut y[..len]);
    let mut least = Duration::MAX;
    let begin = Instant::now();
    let mut passes = 0;
    while passes < 2 || begin.elapsed() < span {
        if in_place {
            y.copy_from_slice(x);
        }
        let start = Instant::now();
        let done = match in_place {
            true => isa.softmax_rows_in_place(y, shape),
            false => isa.softmax_rows(x, y, shape),
        };
        least = least.min(start.elapsed());
        done.ok()?;
        passes += 1;
    }
    Some(least.as_nanos() as f64 / len as f64)
}

/// Sums of four uniform variates, about N(0, 3).
fn logits(n: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n)
        .map(|_| 5.2 * (uniform() + uniform() + uniform() + uniform()))
        .collect()
}
