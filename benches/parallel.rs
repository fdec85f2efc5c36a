//! `par_<operator>/<threads>/<rows>x<cols>`: the twins on pools of 1, 2, 4 … threads, up to those of this machine, beside
//! the operator itself (`alone`). The speed-up is the time of `alone` over that of the pool.
//!
//! `<operator>` is `softmax`, `softmax_in_place`, `log_softmax`, `masked_softmax`, `masked_log_softmax` (scaled by 1/8),
//! `softmax_backward`, `log_softmax_backward`, `cross_entropy` (smoothed, with its gradient), `argmax` or `top_k` (k = 10), of
//! f32.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rayon::ThreadPoolBuilder;
use softmax::{BackwardRows, CrossEntropy, Mask, Rows};
use std::hint::black_box;

mod common;

/// Rows and segments of one row, from the caches of the cores to memory.
const SHAPES: [(usize, usize); 6] = [
    (1024, 256),
    (256, 1000),
    (256, 2048),
    (16, 32_000),
    (1, 1 << 18),
    (1, 1 << 24),
];

type Run = fn(&[f32], &mut [f32], Rows);

fn each(c: &mut Criterion, name: &str, alone: Run, twin: Run) {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    for (rows, cols) in SHAPES {
        let mut group = c.benchmark_group(name);
        let (x, mut y, shape) = (
            common::logits(rows * cols),
            common::results::<f32>(rows * cols),
            Rows::new(rows, cols),
        );
        let id = |threads: &str| BenchmarkId::new(threads, format!("{rows}x{cols}"));
        group.throughput(Throughput::Elements((rows * cols) as u64));
        group.bench_function(id("alone"), |b| {
            b.iter(|| alone(black_box(&x), black_box(&mut y[..]), shape))
        });
        for threads in (0..).map(|e| 1 << e).take_while(|&n| n <= available) {
            let Ok(pool) = ThreadPoolBuilder::new().num_threads(threads).build() else {
                continue;
            };
            // From one of the pool's own threads: an engine that calls from another waits for one to wake, too.
            group.bench_function(id(&threads.to_string()), |b| {
                pool.install(|| b.iter(|| twin(black_box(&x), black_box(&mut y[..]), shape)));
            });
        }
        group.finish();
    }
}

fn bench(c: &mut Criterion) {
    each(
        c,
        "par_softmax",
        |x, y, rows| softmax::softmax_rows(x, y, rows).expect("the slices hold the rows"),
        |x, y, rows| softmax::par_softmax_rows(x, y, rows).expect("the slices hold the rows"),
    );
    // Of what is a distribution after the first pass.
    each(
        c,
        "par_softmax_in_place",
        |_, y, rows| softmax::softmax_rows_in_place(y, rows).expect("the slice holds the rows"),
        |_, y, rows| softmax::par_softmax_rows_in_place(y, rows).expect("the slice holds the rows"),
    );
    each(
        c,
        "par_log_softmax",
        |x, y, rows| softmax::log_softmax_rows(x, y, rows).expect("the slices hold the rows"),
        |x, y, rows| softmax::par_log_softmax_rows(x, y, rows).expect("the slices hold the rows"),
    );
}

/// The most rows of a shape.
const ROWS: usize = 1024;
const K: usize = 10;

fn masked(c: &mut Criterion) {
    fn mask() -> Mask<'static, f32> {
        Mask::new().with_scale(0.125)
    }
    each(
        c,
        "par_masked_softmax",
        |x, y, rows| softmax::masked_softmax(x, y, rows, &mask()).expect("the slices hold the rows"),
        |x, y, rows| softmax::par_masked_softmax(x, y, rows, &mask()).expect("the slices hold the rows"),
    );
    each(
        c,
        "par_masked_log_softmax",
        |x, y, rows| softmax::masked_log_softmax(x, y, rows, &mask()).expect("the slices hold the rows"),
        |x, y, rows| softmax::par_masked_log_softmax(x, y, rows, &mask()).expect("the slices hold the rows"),
    );
}

/// The gradients as if the logits were y and dy, too: what they hold does not matter.
fn gradients(c: &mut Criterion) {
    fn back(rows: Rows) -> BackwardRows {
        BackwardRows::new(rows.rows(), rows.cols())
    }
    each(
        c,
        "par_softmax_backward",
        |x, y, rows| softmax::softmax_backward_rows(x, x, y, back(rows)).expect("the slices hold the rows"),
        |x, y, rows| softmax::par_softmax_backward_rows(x, x, y, back(rows)).expect("the slices hold the rows"),
    );
    each(
        c,
        "par_log_softmax_backward",
        |x, y, rows| softmax::log_softmax_backward_rows(x, x, y, back(rows)).expect("the slices hold the rows"),
        |x, y, rows| softmax::par_log_softmax_backward_rows(x, x, y, back(rows)).expect("the slices hold the rows"),
    );
}

fn losses(c: &mut Criterion) {
    const LABELS: [i64; ROWS] = [3; ROWS];
    const PARAMS: CrossEntropy = CrossEntropy {
        label_smoothing: 0.1,
        ignore_index: -100,
        class_weights: None,
        reduction: softmax::Reduction::Mean,
    };
    each(
        c,
        "par_cross_entropy",
        |x, y, rows| {
            softmax::cross_entropy(x, &LABELS, &mut [0.0], Some(y), rows, &PARAMS).expect("the slices hold the rows")
        },
        |x, y, rows| {
            softmax::par_cross_entropy(x, &LABELS, &mut [0.0], Some(y), rows, &PARAMS)
                .expect("the slices hold the rows")
        },
    );
}

fn choices(c: &mut Criterion) {
    each(
        c,
        "par_argmax",
        |x, _, rows| {
            let mut index = [0; ROWS];
            softmax::argmax_rows(x, &mut index, rows).expect("the slices hold the rows");
            black_box(index[0]);
        },
        |x, _, rows| {
            let mut index = [0; ROWS];
            softmax::par_argmax_rows(x, &mut index, rows).expect("the slices hold the rows");
            black_box(index[0]);
        },
    );
    each(
        c,
        "par_top_k",
        |x, prob, rows| {
            let mut index = [0; K * ROWS];
            softmax::top_k_rows(x, K, &mut index, prob, rows).expect("the slices hold the rows");
        },
        |x, prob, rows| {
            let mut index = [0; K * ROWS];
            softmax::par_top_k_rows(x, K, &mut index, prob, rows).expect("the slices hold the rows");
        },
    );
}

criterion_group!(benches, bench, masked, gradients, losses, choices);
criterion_main!(benches);
