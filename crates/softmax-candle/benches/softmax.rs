//! The operators beside candle's own, on the same tensors. Both allocate their result.

use candle_core::{D, DType, Device, Result, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use softmax_candle::AttentionSoftmax;

fn normal(shape: &[usize], dtype: DType) -> Result<Tensor> {
    Tensor::randn(0.0_f32, 3.0, shape, &Device::Cpu)?.to_dtype(dtype)
}

type Operator = fn(&Tensor) -> Result<Tensor>;

fn compare(c: &mut Criterion, name: &str, x: &Tensor, operators: &[(&str, Operator)]) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(x.elem_count() as u64));
    for (who, operator) in operators {
        let shape = format!("{:?}/{:?}", x.dtype(), x.dims());
        group.bench_function(BenchmarkId::new(*who, shape), |b| b.iter(|| operator(x)));
    }
    group.finish();
}

fn rows(c: &mut Criterion) {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for shape in [[1024, 64], [256, 1000], [64, 4096], [8, 128_256]] {
            let x = normal(&shape, dtype).expect("a tensor");
            let own: Operator = candle_nn::ops::softmax_last_dim;
            compare(
                c,
                "softmax_last_dim",
                &x,
                &[("ours", softmax_candle::softmax_last_dim), ("candle", own)],
            );
        }
        let x = normal(&[64, 4096], dtype).expect("a tensor");
        let operators: [(_, Operator); 2] = [
            ("ours", |x| softmax_candle::log_softmax(x, D::Minus1)),
            ("candle", |x| candle_nn::ops::log_softmax(x, D::Minus1)),
        ];
        compare(c, "log_softmax", &x, &operators);
    }
}

fn columns(c: &mut Criterion) {
    let x = normal(&[8, 512, 256], DType::F32).expect("a tensor");
    let operators: [(_, Operator); 2] = [
        ("ours", |x| softmax_candle::softmax(x, 1)),
        ("candle", |x| candle_nn::ops::softmax(x, 1)),
    ];
    compare(c, "softmax_dim_1", &x, &operators);
}

/// Twelve heads with a mask of their own length, as models write it, and in one operator.
fn attention(c: &mut Criterion) {
    let x = normal(&[1, 12, 256, 256], DType::F32).expect("a tensor");
    let operators: [(_, Operator); 2] = [
        ("ours", |x| {
            let mask = Tensor::zeros((1, 1, 1, 256), DType::F32, x.device())?;
            AttentionSoftmax::new().with_scale(0.125).forward_masked(x, &mask)
        }),
        ("candle", |x| {
            let mask = Tensor::zeros((1, 1, 1, 256), DType::F32, x.device())?;
            candle_nn::ops::softmax_last_dim(&x.affine(0.125, 0.0)?.broadcast_add(&mask)?)
        }),
    ];
    compare(c, "attention", &x, &operators);
}

criterion_group!(benches, rows, columns, attention);
criterion_main!(benches);
