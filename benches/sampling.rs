//! `sample_<filters>/<isa>/<n>` and `sample_gumbel/<isa>/<n>`, with one sweep of logsumexp to compare with.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use softmax::{Isa, Sampler};
use std::hint::black_box;

mod common;

const LENGTHS: [usize; 2] = [32_000, 128_256];

fn each(c: &mut Criterion, name: &str, mut run: impl FnMut(Isa, &[f32])) {
    let mut group = c.benchmark_group(name);
    for n in LENGTHS {
        let x = common::logits(n);
        group.throughput(Throughput::Elements(n as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(isa.name(), n), |b| b.iter(|| run(isa, black_box(&x))));
        }
    }
    group.finish();
}

fn bench(c: &mut Criterion) {
    let mut workspace = vec![(0.0, 0); LENGTHS[1]];
    let mut rng = StdRng::seed_from_u64(1);
    for (name, top_k, top_p, min_p) in [
        ("sample_top_k_top_p", 40, 0.95, 0.0),
        ("sample_top_p", 0, 0.95, 0.0),
        ("sample_min_p", 0, 1.0, 0.05),
        ("sample_plain", 0, 1.0, 0.0),
    ] {
        let sampler = Sampler {
            temperature: 0.8,
            top_k,
            top_p,
            min_p,
        };
        each(c, name, |isa, x| {
            let _ = black_box(isa.sample(&sampler, x, &mut workspace, || rng.random()));
        });
    }
    each(c, "sample_gumbel", |isa, x| {
        let _ = black_box(isa.sample_gumbel(x, 0.8, || rng.random()));
    });
    each(c, "logsumexp", |isa, x| {
        let _ = black_box(isa.logsumexp(x));
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
