//! Softmax models of tract, timed. The two programs differ in what they link.

use criterion::{BenchmarkId, Criterion, Throughput};
use tract_core::internal::*;
use tract_core::ops::nn::{Softmax, SoftmaxKind};

/// Calls `transform` on each model before it runs.
pub fn models(c: &mut Criterion, who: &str, transform: impl Fn(&mut TypedModel) -> TractResult<()>) {
    let cases: [(&[usize], usize, SoftmaxKind, DatumType); 8] = [
        (&[1024, 64], 1, SoftmaxKind::Softmax, DatumType::F32),
        (&[256, 1000], 1, SoftmaxKind::Softmax, DatumType::F32),
        (&[256, 1001], 1, SoftmaxKind::Softmax, DatumType::F32),
        (&[64, 4096], 1, SoftmaxKind::Softmax, DatumType::F32),
        (&[4, 128_256], 1, SoftmaxKind::Softmax, DatumType::F32),
        (&[8, 256, 64], 1, SoftmaxKind::Softmax, DatumType::F32),
        (&[64, 4096], 1, SoftmaxKind::LogSoftmax, DatumType::F32),
        (&[64, 4096], 1, SoftmaxKind::Softmax, DatumType::F16),
    ];
    for (shape, axis, kind, dt) in cases {
        let plan = || -> TractResult<_> {
            let mut model = TypedModel::default();
            let x = model.add_source("x", dt.fact(shape))?;
            let y = model.wire_node("y", Softmax::new(tvec![axis], None, kind), &[x])?;
            model.select_output_outlets(&y)?;
            transform(&mut model)?;
            let n: usize = shape.iter().product();
            let values: Vec<f32> = (0..n).map(|i| ((i * 7919) % 1000) as f32 / 100.0).collect();
            let x = Tensor::from_shape(shape, &values)?.cast_to_dt(dt)?.into_owned();
            Ok((model.into_optimized()?.into_runnable()?, x.into_tvalue()))
        };
        let (plan, x) = plan().expect("a model");
        let mut group = c.benchmark_group(format!("{kind:?}_axis_{axis}"));
        group.throughput(Throughput::Elements(shape.iter().product::<usize>() as u64));
        group.bench_function(BenchmarkId::new(who, format!("{dt:?}/{shape:?}")), |b| {
            b.iter(|| plan.run(tvec![x.clone()]).expect("a result"))
        });
        group.finish();
    }
}
