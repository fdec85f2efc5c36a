//! Each way through a layout beside the textbook in ndarray's own operators, which allocate as ours does.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, ArrayRef2, Axis, ShapeBuilder, s};

/// softmax as written by hand.
fn textbook(x: &ArrayRef2<f32>, axis: Axis) -> Array2<f32> {
    let max = x.map_axis(axis, |row| row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let mut y = x.to_owned();
    y -= &max.insert_axis(axis);
    y.mapv_inplace(f32::exp);
    let sum = y.sum_axis(axis);
    y /= &sum.insert_axis(axis);
    y
}

fn layouts(c: &mut Criterion) {
    let value = |(i, j): (usize, usize)| ((i * 7919 + j * 104_729) % 1000) as f32 / 100.0;
    let standard = Array2::from_shape_fn((512, 512), value);
    let fortran = Array2::from_shape_fn((512, 512).f(), value);
    let wide = Array2::from_shape_fn((512, 1024), value);
    let cases = [
        ("standard", standard.view()),
        ("fortran", fortran.view()),
        ("sliced", wide.slice(s![.., 100..612])),
        ("every second column", wide.slice(s![.., ..;2])),
        ("backwards", standard.slice(s![.., ..;-1])),
    ];
    for axis in [0, 1] {
        let mut group = c.benchmark_group(format!("softmax_axis_{axis}"));
        group.throughput(Throughput::Elements(512 * 512));
        for (name, x) in &cases {
            let ours = BenchmarkId::new("ours", name);
            group.bench_function(ours, |b| b.iter(|| softmax::ndarray::softmax(x, Axis(axis))));
            let theirs = BenchmarkId::new("textbook", name);
            group.bench_function(theirs, |b| b.iter(|| textbook(x, Axis(axis))));
        }
        group.finish();
    }
}

criterion_group!(benches, layouts);
criterion_main!(benches);
