//! Hands the compiler, its flags and the commit under test to the program, which states them.

use std::{env, process::Command};

fn main() {
    for path in ["build.rs", "src", "../../src", "../../tuning", "../../Cargo.toml"] {
        println!("cargo::rerun-if-changed={path}");
    }
    // Every commit and checkout is written down there.
    let log = output("git", &["rev-parse", "--git-path", "logs/HEAD"]);
    if !log.is_empty() {
        println!("cargo::rerun-if-changed={log}");
    }
    println!("cargo::rerun-if-env-changed=RUSTC");
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    set("RUSTC", &output(&rustc, &["--version"]));
    // The separator of encoded flags is U+001F.
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    set("RUSTFLAGS", &flags.replace('\u{1f}', " "));
    set("PROFILE", &env::var("PROFILE").unwrap_or_default());
    // The profile that the main crate is tuned by, if it is named.
    println!("cargo::rerun-if-env-changed=SOFTMAX_TUNING");
    set("TUNING", &env::var("SOFTMAX_TUNING").unwrap_or_default());
    set("COMMIT", &output("git", &["describe", "--always", "--dirty"]));
}

fn set(name: &str, value: &str) {
    println!("cargo::rustc-env=PEERS_{name}={value}");
}

/// What a program says, or nothing if it cannot be run.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    text.unwrap_or_default().trim().to_owned()
}
