//! `softmax_f16/<isa>/<n>`, `softmax_bf16/<isa>/<n>`: one hot row. Compare with `softmax/<isa>/<n>`, which is f32.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::{bf16, f16};
use softmax::{Element, Isa};
use std::hint::black_box;

mod common;

fn bench_type<T: Element>(c: &mut Criterion, name: &str, from_f32: fn(f32) -> T) {
    let mut group = c.benchmark_group(name);
    for n in [16, 100, 256, 1000, 2048, 4096, 32_000, 128_256] {
        let x: Vec<T> = common::logits(n).into_iter().map(from_f32).collect();
        let mut y = x.clone();
        group.throughput(Throughput::Elements(n as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(isa.name(), n), |b| {
                b.iter(|| isa.softmax(black_box(&x), black_box(&mut y)));
            });
        }
    }
    group.finish();
}

fn bench(c: &mut Criterion) {
    bench_type(c, "softmax_f16", f16::from_f32);
    bench_type(c, "softmax_bf16", bf16::from_f32);
}

criterion_group!(benches, bench);
criterion_main!(benches);
