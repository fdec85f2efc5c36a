//! The example of the README.

include!("../../examples/readme.rs");

#[test]
fn the_example_runs() -> candle_core::Result<()> {
    main()
}

#[test]
fn the_readmes_show_it() {
    let example = concat!("```rust,ignore\n", include_str!("../../examples/readme.rs"), "```\n");
    assert!(include_str!("../../../../README.md").contains(example));
}
