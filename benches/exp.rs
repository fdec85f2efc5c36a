//! `exp/<isa>/<n>`: the public vector e^x, with a scalar loop as the floor and a plain copy as the ceiling.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use softmax::Isa;
use std::hint::black_box;

mod common;

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("exp");
    for n in common::LENGTHS {
        let x = common::logits(n);
        let mut y = common::results::<f32>(n);
        group.throughput(Throughput::Elements(n as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(isa.name(), n), |b| {
                b.iter(|| isa.exp(black_box(&x), black_box(&mut y[..])));
            });
        }
        group.bench_function(BenchmarkId::new("naive", n), |b| {
            b.iter(|| {
                for (y, x) in black_box(&mut y[..]).iter_mut().zip(black_box(&x[..])) {
                    *y = x.exp();
                }
            });
        });
        group.bench_function(BenchmarkId::new("copy", n), |b| {
            b.iter(|| black_box(&mut y[..]).copy_from_slice(black_box(&x)));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
