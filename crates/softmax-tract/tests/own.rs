//! The model of the other tests on tract as it is: nothing here links this crate.

mod common;
use common::*;

#[test]
fn attention_without_ours() -> tract_core::internal::TractResult<()> {
    for tokens in [TOKENS, TOKENS + 1] {
        let y = run(attention(tokens)?, input(tokens))?;
        let error = error(&y, tokens);
        println!("{tokens} tokens: {error:e}");
        assert!(error < TOLERANCE, "{tokens} tokens: {error}");
    }
    let names = tract_linalg::routines::declared().map(|routine| routine.name());
    assert!(names.into_iter().all(|name| !name.starts_with("softmax_crate")));
    Ok(())
}
