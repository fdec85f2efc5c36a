//! The line that links the crate, where nothing else of it is used.

use softmax_tract as _;

#[test]
fn one_line_links_the_kernels() {
    let names = tract_linalg::routines::declared().map(|routine| routine.name());
    let ours: Vec<_> = names.filter(|name| name.starts_with("softmax_crate")).collect();
    for name in ["softmax_crate_rows_f32", "softmax_crate_exp_sum_f32"] {
        assert!(ours.contains(&name), "{name} is none of {ours:?}");
    }
}
