//! The worked example: attention tile by tile and in parts matches the plain computation and a reference in f64.

#[path = "../examples/flash_attention.rs"]
mod example;

use example::{TILE, error};

#[test]
fn tiles_and_parts_match() {
    for n in [1, 2, TILE - 1, TILE, TILE + 1, 1000] {
        for (deviation, bound) in [(0.1, 1e-6), (1.0, 3e-6), (30.0, 1e-4)] {
            let (context, query) = example::example(n, 32, deviation);
            let want = context.reference(&query);
            let plain = context.plain(&query);
            assert!(
                error(&plain, &want) < bound,
                "{n}, {deviation}: plain {}",
                error(&plain, &want)
            );
            for (name, out) in [
                ("flash", context.flash(&query)),
                ("1 part", context.split_k(&query, 1)),
                ("4 parts", context.split_k(&query, 4)),
                ("more parts than keys", context.split_k(&query, n + 3)),
            ] {
                let error = error(&out, &want);
                assert!(error < bound, "{name}: {n} keys, deviation {deviation}: {error:e}");
            }
        }
    }
}
