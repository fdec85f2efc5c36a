//! With this crate: linked, and rewritten.

mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use tract_core::transform::ModelTransform;

fn ours(c: &mut Criterion) {
    assert!(softmax_tract::is_linked());
    common::models(c, "linked", |_| Ok(()));
    common::models(c, "rewritten", |model| softmax_tract::SoftmaxTransform.transform(model));
}

criterion_group!(benches, ours);
criterion_main!(benches);
