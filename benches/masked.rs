//! `masked_softmax/<kind>/<isa>/<n>` and `masked_log_softmax/<kind>/<isa>/<n>`: rows of n scores, 65,536 scores in all, beside
//! plain softmax and log_softmax of the same rows. `additive_f16` needs feature `half`; `causal` and `square` are n × n, with
//! and without the causal mask.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use softmax::{Broadcast, Isa, Mask, Rows};
use std::hint::black_box;

mod common;

const LENGTHS: [usize; 5] = [32, 128, 512, 2048, 8192];
const SQUARES: [usize; 3] = [64, 256, 1024];
const TOTAL: usize = 65_536;

fn kinds(c: &mut Criterion) {
    for n in LENGTHS {
        let x = common::logits(TOTAL);
        let additive: Vec<f32> = (0..TOTAL)
            .map(|i| if i % 5 == 3 { f32::NEG_INFINITY } else { -0.5 })
            .collect();
        let additive = common::Buffer::input(&additive);
        let keep: Vec<bool> = (0..TOTAL).map(|i| i % 5 != 3).collect();
        let bits: Vec<u8> = (0..TOTAL / 8).map(|i| (37 * i) as u8 | 1).collect();
        let own = Broadcast::rows(n);
        let scaled = Mask::new().with_scale(0.125);
        let masks = vec![
            ("scale", scaled),
            ("additive", scaled.with_additive(&additive, own)),
            (
                "alibi",
                scaled.with_additive(&additive, Broadcast::ONE).with_alibi_slope(0.25),
            ),
            ("softcap", scaled.with_softcap(30.0)),
            ("keep", scaled.with_keep(&keep, own)),
            ("keep_bits", scaled.with_keep_bits(&bits, Broadcast::rows(n / 8))),
            ("sink", scaled.with_sinks(&[1.0_f32], Broadcast::ONE)),
        ];
        #[cfg(feature = "half")]
        let halves: Vec<half::f16> = additive.iter().map(|&mask| half::f16::from_f32(mask)).collect();
        #[cfg(feature = "half")]
        let masks = [masks, vec![("additive_f16", scaled.with_additive(&halves, own))]].concat();
        for log in [false, true] {
            for (kind, mask) in &masks {
                group(c, (kind, log), n, Rows::new(TOTAL / n, n), &x, Some(mask));
            }
            group(c, ("plain", log), n, Rows::new(TOTAL / n, n), &x, None);
        }
    }
}

fn squares(c: &mut Criterion) {
    for n in SQUARES {
        let x = common::logits(n * n);
        let square = Mask::new().with_scale(0.125);
        for (kind, mask) in [("square", square), ("causal", square.with_causal(0))] {
            group(c, (kind, false), n, Rows::new(n, n), &x, Some(&mask));
        }
    }
}

/// Of log_softmax, or of softmax.
fn group(c: &mut Criterion, (kind, log): (&str, bool), n: usize, rows: Rows, x: &[f32], mask: Option<&Mask<'_, f32>>) {
    let operator = if log { "masked_log_softmax" } else { "masked_softmax" };
    let mut group = c.benchmark_group(format!("{operator}/{kind}"));
    let mut y = common::results::<f32>(x.len());
    group.throughput(Throughput::Elements(x.len() as u64));
    for isa in Isa::available() {
        group.bench_function(BenchmarkId::new(isa.name(), n), |b| {
            b.iter(|| {
                let (x, y) = (black_box(x), black_box(&mut y[..]));
                match (mask, log) {
                    (Some(mask), false) => isa.masked_softmax(x, y, rows, mask),
                    (Some(mask), true) => isa.masked_log_softmax(x, y, rows, mask),
                    (None, false) => isa.softmax_rows(x, y, rows),
                    (None, true) => isa.log_softmax_rows(x, y, rows),
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, kinds, squares);
criterion_main!(benches);
