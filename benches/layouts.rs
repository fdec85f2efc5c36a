//! `softmax_axis/<isa>/<outer>x<len>x<inner>`, beside it `softmax_rows` of as many contiguous rows of `len`;
//! `softmax_ragged/<isa>/<longest>`: rows of 1 to `longest` elements; `log_softmax_rows`, `logsumexp_rows` and
//! `cross_entropy_rows` (no gradient) `/<isa>/<rows>x<cols>`: many short rows.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use softmax::{Axis, CrossEntropy, Isa, Rows};
use std::hint::black_box;

mod common;

const TENSORS: [(usize, usize, usize); 8] = [
    (32, 81, 8732),
    (64, 1000, 49),
    (16, 1000, 2),
    (16, 1000, 3),
    (16, 1000, 7),
    (1000, 10, 3),
    (8, 150, 1024),
    (256, 21, 64),
];

fn bench_axis(c: &mut Criterion) {
    for (outer, len, inner) in TENSORS {
        let n = outer * len * inner;
        let (x, shape) = (common::logits(n), format!("{outer}x{len}x{inner}"));
        let mut y = common::results::<f32>(n);
        for isa in Isa::available().filter(|&isa| isa != Isa::Scalar) {
            let mut group = c.benchmark_group("softmax_axis");
            group.throughput(Throughput::Elements(n as u64)).sample_size(20);
            group.bench_function(BenchmarkId::new(isa.name(), &shape), |b| {
                b.iter(|| isa.softmax_axis(black_box(&x), black_box(&mut y[..]), Axis::new(outer, len, inner)));
            });
            group.finish();
            let mut group = c.benchmark_group("softmax_rows");
            group.throughput(Throughput::Elements(n as u64)).sample_size(20);
            group.bench_function(BenchmarkId::new(isa.name(), &shape), |b| {
                b.iter(|| isa.softmax_rows(black_box(&x), black_box(&mut y[..]), Rows::new(outer * inner, len)));
            });
            group.finish();
        }
    }
}

fn bench_ragged(c: &mut Criterion) {
    let mut group = c.benchmark_group("softmax_ragged");
    for longest in [16, 64, 500] {
        let lengths = (0..200).map(|r| 1 + r * 37 % longest);
        let offsets: Vec<usize> = [0]
            .into_iter()
            .chain(lengths.scan(0, |end, n| {
                *end += n;
                Some(*end)
            }))
            .collect();
        let n = offsets[offsets.len() - 1];
        let (x, mut y) = (common::logits(n), common::results::<f32>(n));
        group.throughput(Throughput::Elements(n as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(isa.name(), longest), |b| {
                b.iter(|| isa.softmax_ragged(black_box(&x), black_box(&mut y[..]), black_box(&offsets)));
            });
        }
    }
    group.finish();
}

fn bench_short_rows(c: &mut Criterion) {
    for (rows, cols) in [(10_000, 8), (10_000, 10), (4096, 32), (4096, 64), (1024, 200)] {
        let (n, shape, layout) = (rows * cols, format!("{rows}x{cols}"), Rows::new(rows, cols));
        let (x, mut y) = (common::logits(n), common::results::<f32>(n));
        let labels: Vec<i64> = (0..rows as i64).map(|r| r * 7 % cols as i64).collect();
        for isa in Isa::available().filter(|&isa| isa != Isa::Scalar) {
            let mut bench = |operator: &str, run: &mut dyn FnMut(&[f32], &mut [f32])| {
                let mut group = c.benchmark_group(operator);
                group.throughput(Throughput::Elements(n as u64)).sample_size(20);
                group.bench_function(BenchmarkId::new(isa.name(), &shape), |b| {
                    b.iter(|| run(black_box(&x), black_box(&mut y[..])));
                });
                group.finish();
            };
            bench("log_softmax_rows", &mut |x, y| {
                isa.log_softmax_rows(x, y, layout).expect("the rows fit");
            });
            bench("logsumexp_rows", &mut |x, y| {
                isa.logsumexp_rows(x, &mut y[..rows], layout).expect("the rows fit");
            });
            bench("cross_entropy_rows", &mut |x, y| {
                isa.cross_entropy(x, &labels, &mut y[..rows], None, layout, &CrossEntropy::default())
                    .expect("the rows fit");
            });
        }
    }
}

criterion_group!(benches, bench_axis, bench_ragged, bench_short_rows);
criterion_main!(benches);
