//! `row_max`, `row_exp_sub_max_sum` and `row_scale`, and `online_update` in tiles of 128, as `<operator>/<isa>/<n>`: one
//! hot row.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use softmax::{Isa, OnlineSoftmax};
use std::hint::black_box;

mod common;

const LENGTHS: [usize; 4] = [128, 1000, 4096, 32_000];

fn each(c: &mut Criterion, name: &str, mut run: impl FnMut(Isa, &[f32], &mut [f32])) {
    let mut group = c.benchmark_group(name);
    for n in LENGTHS {
        let x = common::logits(n);
        let mut y = vec![0.0; n];
        group.throughput(Throughput::Elements(n as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(isa.name(), n), |b| {
                b.iter(|| run(isa, black_box(&x), black_box(&mut y)));
            });
        }
    }
    group.finish();
}

fn bench(c: &mut Criterion) {
    each(c, "row_max", |isa, x, y| y[0] = isa.row_max(x).unwrap_or_default());
    each(c, "row_exp_sub_max_sum", |isa, x, y| {
        let _ = black_box(isa.row_exp_sub_max_sum(x, Some(y), 9.0));
    });
    each(c, "row_scale", |isa, _, y| {
        let _ = black_box(isa.row_scale(y, 1.0));
    });
    each(c, "online_update", |isa, x, y| {
        let mut state = OnlineSoftmax::new();
        for (x, y) in x.chunks(128).zip(y.chunks_mut(128)) {
            let _ = black_box(isa.online_update_into(&mut state, x, y));
        }
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
