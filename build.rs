//! Writes each ISA predicate once, as a cfg alias, so that the sources never repeat it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for alias in ["isa_x86", "isa_neon"] {
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
}

fn var(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
