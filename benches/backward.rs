//! `softmax_backward`, `log_softmax_backward`, and `cross_entropy` with its gradient, as `<operator>/<isa>/<n>`: one hot
//! row.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use softmax::{CrossEntropy, Isa, Rows};
use std::hint::black_box;

mod common;

const LENGTHS: [usize; 5] = [10, 128, 1000, 32_000, 128_256];

fn each(c: &mut Criterion, name: &str, mut run: impl FnMut(Isa, &[f32], &[f32], &mut [f32])) {
    let mut group = c.benchmark_group(name);
    for n in LENGTHS {
        let (x, mut y) = (common::logits(n), common::results::<f32>(n));
        if softmax::softmax(&x, &mut y[..]).is_err() {
            continue;
        }
        let (y, mut dx) = (common::Buffer::input(&y), common::results::<f32>(n));
        group.throughput(Throughput::Elements(n as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(isa.name(), n), |b| {
                b.iter(|| run(isa, black_box(&x), black_box(&y), black_box(&mut dx[..])));
            });
        }
    }
    group.finish();
}

fn bench(c: &mut Criterion) {
    each(c, "softmax_backward", |isa, x, y, dx| {
        let _ = black_box(isa.softmax_backward(y, x, dx));
    });
    each(c, "log_softmax_backward", |isa, x, y, dx| {
        let _ = black_box(isa.log_softmax_backward(y, x, dx));
    });
    for (name, label_smoothing) in [("cross_entropy", 0.0), ("cross_entropy_smoothed", 0.1)] {
        let params = CrossEntropy {
            label_smoothing,
            ..CrossEntropy::default()
        };
        each(c, name, |isa, x, _, dx| {
            let _ = black_box(isa.cross_entropy(x, &[3], &mut [0.0], Some(dx), Rows::new(1, x.len()), &params));
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
