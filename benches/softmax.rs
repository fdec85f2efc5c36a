//! `softmax/<isa>/<n>`: one hot row, with a naive scalar loop as the floor and a plain copy as the ceiling. And
//! `softmax/dispatch/0`: an empty row, by the operator that detects the ISA.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use softmax::Isa;
use std::hint::black_box;

mod common;

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("softmax");
    group.bench_function(BenchmarkId::new("dispatch", 0), |b| {
        let mut y: [f32; 0] = [];
        b.iter(|| softmax::softmax(black_box(&[0.0_f32; 0]), black_box(&mut y[..])));
    });
    for n in common::LENGTHS {
        let x = common::logits(n);
        let mut y = common::results::<f32>(n);
        group.throughput(Throughput::Elements(n as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(isa.name(), n), |b| {
                b.iter(|| isa.softmax(black_box(&x), black_box(&mut y[..])));
            });
        }
        group.bench_function(BenchmarkId::new("naive", n), |b| {
            b.iter(|| common::naive_softmax(black_box(&x), black_box(&mut y[..])));
        });
        group.bench_function(BenchmarkId::new("copy", n), |b| {
            b.iter(|| black_box(&mut y[..]).copy_from_slice(black_box(&x)));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
