//! Writes each ISA predicate once, as a cfg alias, so that the sources never repeat it, and turns the tuning profile
//! into constants.
//!
//! The profile is the one that the environment variable `SOFTMAX_TUNING` names (a file of `tuning/` without `.toml`, or
//! a path, relative to this file), else the one for the CPU of `-Ctarget-cpu`, else `generic`.

#[path = "tuning/profile.rs"]
mod profile;

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    isa_aliases();
    if let Err(error) = tuning() {
        // Fails the build.
        println!("cargo::error=tuning profile: {error}");
    }
}

fn isa_aliases() {
    // `only_softmax` is a flag of softmax-tune.
    for alias in ["isa_x86", "isa_neon", "fma_instruction", "only_softmax"] {
        println!("cargo::rustc-check-cfg=cfg({alias})");
    }
    let arch = var("CARGO_CFG_TARGET_ARCH");
    let features = var("CARGO_CFG_TARGET_FEATURE");
    let has = |feature: &str| features.split(',').any(|f| f == feature);
    // A soft-float x86-64 target (kernels, firmware) has no vector registers to dispatch to.
    if arch == "x86_64" && has("sse2") {
        println!("cargo::rustc-cfg=isa_x86");
    }
    if arch == "aarch64" && has("neon") && var("CARGO_CFG_TARGET_ENDIAN") == "little" {
        println!("cargo::rustc-cfg=isa_neon");
    }
    // Every CPU of these has one, and `std` has the function.
    if ["s390x", "powerpc64"].contains(&arch.as_str()) && env::var_os("CARGO_FEATURE_STD").is_some() {
        println!("cargo::rustc-cfg=fma_instruction");
    }
}

/// Writes the constants of the chosen profile, for `src/tuning.rs`.
fn tuning() -> Result<(), String> {
    println!("cargo::rerun-if-changed=tuning");
    println!("cargo::rerun-if-env-changed=SOFTMAX_TUNING");
    let wanted = env::var("SOFTMAX_TUNING").ok();
    let flags = var("CARGO_ENCODED_RUSTFLAGS");
    let cpu = match profile::target_cpu(&flags) {
        Some("native") => native_cpu(),
        cpu => cpu.map(str::to_owned),
    };
    let file = profile::choose(Path::new("tuning"), wanted.as_deref(), cpu.as_deref())?;
    println!("cargo::rerun-if-changed={}", file.display());
    let constants = profile::read(&file)?.to_rust();
    let output = Path::new(&var("OUT_DIR")).join("tuning.rs");
    fs::write(&output, constants).map_err(|error| format!("{}: {error}", output.display()))
}

/// What `native` stands for. Only the compiler knows; it is asked for its list of names and compiles nothing.
fn native_cpu() -> Option<String> {
    let output = Command::new(var("RUSTC"))
        .args(["--print", "target-cpus"])
        .output()
        .ok()?;
    let list = String::from_utf8(output.stdout).ok()?;
    profile::native_cpu(&list).map(str::to_owned)
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
