//! Tract as it is: nothing here links this crate.

mod common;

use criterion::{Criterion, criterion_group, criterion_main};

fn own(c: &mut Criterion) {
    common::models(c, "tract", |_| Ok(()));
}

criterion_group!(benches, own);
criterion_main!(benches);
