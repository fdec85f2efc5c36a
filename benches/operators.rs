//! Operators for every element type that they have, as `<operator>_<type>/<isa>/<n>`: one hot row of n; along an axis ten
//! planes, ragged rows of 1 to 100 elements. `top_k` takes five, the masks are a scale and an additive one of f32. In place,
//! a row is the result of the call before: exp gives ∞ soon, which takes no longer. (Sampling has a file of its own.)
//!
//! `cargo bench --all-features --bench operators -- 'softmax_f16/avx512'`

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use softmax::{Axis, Broadcast, CrossEntropy, Element, Error, Float, Isa, Mask, MaskElement, OnlineSoftmax, Rows};
use std::hint::black_box;

mod common;

use common::Buffer;

const LENGTHS: [usize; 4] = [10, 100, 2050, 32_000];

/// What the operators read and write.
struct Data<T: Element> {
    x: Buffer<T>,
    /// softmax and log_softmax of x.
    p: [Buffer<T>; 2],
    y: Buffer<T>,
    prob: [T::Compute; 5],
    index: [usize; 5],
    mask: Buffer<f32>,
    offsets: Vec<usize>,
}

impl<T: Element + Default> Data<T> {
    fn new(n: usize, from_f32: fn(f32) -> T, zero: T::Compute) -> Self {
        let x: Vec<T> = common::logits(n).iter().copied().map(from_f32).collect();
        let mut p = [Buffer::input(&x), Buffer::input(&x)];
        softmax::softmax_in_place(&mut p[0]);
        softmax::log_softmax_in_place(&mut p[1]);
        let mask: Vec<f32> = (0..n).map(|i| -0.5 * (i % 3) as f32).collect();
        let mut offsets = vec![0];
        while offsets[offsets.len() - 1] < n {
            offsets.push(n.min(offsets[offsets.len() - 1] + 1 + offsets.len() * 37 % 100));
        }
        Self {
            y: common::results(n),
            prob: [zero; 5],
            index: [0; 5],
            mask: Buffer::input(&mask),
            x: Buffer::input(&x),
            p,
            offsets,
        }
    }
}

/// A tensor of ten planes, n elements in all.
fn planes(n: usize) -> Axis {
    Axis::new(1, 10, n / 10)
}

type Run<T> = fn(Isa, &mut Data<T>) -> Result<(), Error>;
type Named<T> = (&'static str, Run<T>);

fn scaled<T>(mask: &[f32]) -> Mask<'_, T>
where
    T: Element<Compute: From<f32>>,
    f32: MaskElement<T>,
{
    Mask::new().with_scale(0.125.into()).with_additive(mask, Broadcast::ONE)
}

fn masked<T>(isa: Isa, data: &mut Data<T>, log: bool) -> Result<(), Error>
where
    T: Element<Compute: From<f32>>,
    f32: MaskElement<T>,
{
    let (rows, mask) = (Rows::new(1, data.x.len()), scaled(&data.mask));
    match log {
        false => isa.masked_softmax(&data.x, &mut data.y[..], rows, &mask),
        true => isa.masked_log_softmax(&data.x, &mut data.y[..], rows, &mask),
    }
}

fn masked_in_place<T>(isa: Isa, data: &mut Data<T>) -> Result<(), Error>
where
    T: Element<Compute: From<f32>>,
    f32: MaskElement<T>,
{
    isa.masked_softmax_in_place(&mut data.y, Rows::new(1, data.x.len()), &scaled(&data.mask))
}

fn operators<T>() -> Vec<Named<T>>
where
    T: Element<Compute: From<f32>> + Default,
    f32: MaskElement<T>,
{
    vec![
        ("softmax", |isa, d| isa.softmax(&d.x, &mut d.y[..])),
        ("softmax_in_place", |isa, d| isa.softmax_in_place(&mut d.y)),
        ("log_softmax", |isa, d| isa.log_softmax(&d.x, &mut d.y[..])),
        ("log_softmax_in_place", |isa, d| isa.log_softmax_in_place(&mut d.y)),
        ("logsumexp", |isa, d| isa.logsumexp(&d.x).map(|v| d.y[0] = v)),
        ("argmax", |isa, d| isa.argmax(&d.x).map(|i| d.index[0] = i.unwrap_or(0))),
        ("top_k", |isa, d| isa.top_k(&d.x, &mut d.index, &mut d.prob)),
        ("masked_softmax", |isa, d| masked(isa, d, false)),
        ("masked_log_softmax", |isa, d| masked(isa, d, true)),
        ("masked_softmax_in_place", |isa, d| masked_in_place(isa, d)),
        ("softmax_axis", |isa, d| {
            isa.softmax_axis(&d.x, &mut d.y[..], planes(d.x.len()))
        }),
        ("log_softmax_axis", |isa, d| {
            isa.log_softmax_axis(&d.x, &mut d.y[..], planes(d.x.len()))
        }),
        ("logsumexp_axis", |isa, d| {
            isa.logsumexp_axis(&d.x, &mut d.y[..], planes(d.x.len()))
        }),
        ("softmax_ragged", |isa, d| {
            isa.softmax_ragged(&d.x, &mut d.y[..], &d.offsets)
        }),
        ("log_softmax_ragged", |isa, d| {
            isa.log_softmax_ragged(&d.x, &mut d.y[..], &d.offsets)
        }),
        ("logsumexp_ragged", |isa, d| {
            isa.logsumexp_ragged(&d.x, &mut d.y[..], &d.offsets)
        }),
        ("softmax_backward", |isa, d| {
            isa.softmax_backward(&d.p[0], &d.x, &mut d.y[..])
        }),
        ("log_softmax_backward", |isa, d| {
            isa.log_softmax_backward(&d.p[1], &d.x, &mut d.y[..])
        }),
        ("cross_entropy", |isa, d| {
            let rows = Rows::new(1, d.x.len());
            isa.cross_entropy(
                &d.x,
                &[3],
                &mut d.prob[..1],
                Some(&mut d.y[..]),
                rows,
                &CrossEntropy::default(),
            )
        }),
        ("row_max", |isa, d| isa.row_max(&d.x).map(|v| d.y[0] = v)),
        ("row_exp_sub_max_sum", |isa, d| {
            isa.row_exp_sub_max_sum(&d.x, Some(&mut d.y[..]), 9.0.into())
                .map(|sum| {
                    black_box(sum);
                })
        }),
        ("row_scale", |isa, d| isa.row_scale(&mut d.y[..], 1.0.into())),
    ]
}

/// The probabilities of a row whose tiles are summed.
fn online_finish<T: Element<Compute = f32>>(isa: Isa, d: &mut Data<T>) -> Result<(), Error> {
    let mut state = OnlineSoftmax::new();
    isa.online_update(&mut state, &d.x)?;
    isa.online_finish(&state, &d.x, &mut d.y[..])
}

/// Tiles of 128.
fn online_update<T: Element<Compute = f32>>(isa: Isa, d: &mut Data<T>) -> Result<(), Error> {
    let mut state = OnlineSoftmax::new();
    let tiles = d.x.chunks(128).zip(d.y.chunks_mut(128));
    tiles
        .into_iter()
        .try_for_each(|(x, y)| isa.online_update_into(&mut state, x, y).map(|_| ()))
}

fn online<T: Element<Compute = f32>>() -> Vec<Named<T>> {
    vec![("online_update", online_update), ("online_finish", online_finish)]
}

fn exps<T: Float>() -> Vec<Named<T>> {
    vec![
        ("exp", |isa, d| isa.exp(&d.x, &mut d.y[..])),
        ("exp_in_place", |isa, d| isa.exp_in_place(&mut d.y)),
    ]
}

fn each<T>(c: &mut Criterion, name: &str, from_f32: fn(f32) -> T, more: &[Named<T>])
where
    T: Element<Compute: From<f32>> + Default,
    f32: MaskElement<T>,
{
    for (operator, run) in operators::<T>().into_iter().chain(more.iter().copied()) {
        let mut group = c.benchmark_group(format!("{operator}_{name}"));
        for n in LENGTHS {
            let mut data = Data::new(n, from_f32, 0.0.into());
            bench(&mut group, n, |isa| run(isa, black_box(&mut data)));
        }
        group.finish();
    }
}

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, n: usize, mut run: impl FnMut(Isa) -> Result<(), Error>) {
    group.throughput(Throughput::Elements(n as u64));
    for isa in Isa::available() {
        group.bench_function(BenchmarkId::new(isa.name(), n), |b| {
            b.iter(|| run(isa).expect("the slices fit"));
        });
    }
}

fn all(c: &mut Criterion) {
    each::<f32>(c, "f32", |x| x, &[online::<f32>(), exps()].concat());
    each::<f64>(c, "f64", f64::from, &exps());
    #[cfg(feature = "half")]
    {
        each(c, "f16", half::f16::from_f32, &online());
        each(c, "bf16", half::bf16::from_f32, &online());
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
