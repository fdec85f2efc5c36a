//! The host's flush-to-zero and denormals-are-zero flags.
#![allow(unsafe_code)]

use super::element::TestElement;
use super::is_emulated;

/// Runs `body` as a program that has set FTZ and DAZ would, and panics if `body` changed the control register.
/// `None` where the platform has no such flags.
///
/// And where they are emulated wrongly: `vcvtps2ph` must ignore FTZ, QEMU 7 to 8 flushes its result.
pub fn with_subnormals_flushed_for<T: TestElement, R>(body: impl FnOnce() -> R) -> Option<R> {
    let wrong = cfg!(target_arch = "x86_64") && is_emulated() && T::NAME == "f16";
    if wrong { None } else { with_subnormals_flushed(body) }
}

/// As [`with_subnormals_flushed_for`], for bodies without a conversion to f16.
pub fn with_subnormals_flushed<R>(body: impl FnOnce() -> R) -> Option<R> {
    let before = control::read()?;
    control::write(before | control::FLUSH);
    let result = body();
    let after = control::read()?;
    control::write(before);
    assert_eq!(
        after & control::MASK,
        (before | control::FLUSH) & control::MASK,
        "the control register changed"
    );
    Some(result)
}

#[cfg(target_arch = "x86_64")]
mod control {
    use std::arch::asm;

    /// FTZ and DAZ.
    pub const FLUSH: u64 = 1 << 15 | 1 << 6;
    /// All but the sticky exception flags.
    pub const MASK: u64 = !0x3f;

    pub fn read() -> Option<u64> {
        let mut mxcsr = 0u32;
        // SAFETY: stores MXCSR in a variable.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags)) };
        Some(u64::from(mxcsr))
    }

    pub fn write(mxcsr: u64) {
        let mxcsr = mxcsr as u32;
        // SAFETY: loads valid bits; only the code under test runs between the two calls of `with_subnormals_flushed`.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod control {
    use std::arch::asm;

    /// FZ, which covers inputs and outputs.
    pub const FLUSH: u64 = 1 << 24;
    pub const MASK: u64 = !0;

    pub fn read() -> Option<u64> {
        let fpcr: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {}, fpcr", out(reg) fpcr, options(nostack, preserves_flags)) };
        Some(fpcr)
    }

    pub fn write(fpcr: u64) {
        // SAFETY: valid bits; only the code under test runs between the two calls of `with_subnormals_flushed`.
        unsafe { asm!("msr fpcr, {}", in(reg) fpcr, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod control {
    pub const FLUSH: u64 = 0;
    pub const MASK: u64 = 0;

    pub fn read() -> Option<u64> {
        None
    }

    pub fn write(_: u64) {}
}
