//! The backends: one file each, and the crate's `unsafe`, but for the places where a kernel reads back what its pass before
//! has written ([`memory::assume_written`]).
//!
//! A backend is a token that proves the CPU features, [`Lanes`](crate::lanes::Lanes) and
//! [`Memory`](crate::lanes::Memory) on it, and `run`, the entry that enables the features.
#![allow(unsafe_code)]

pub mod memory;
pub mod portable;
pub mod scalar;

#[cfg(feature = "half")]
mod half;
#[cfg(all(feature = "half", isa_neon))]
mod half_neon;
#[cfg(all(feature = "half", isa_x86))]
mod half_x86;

#[cfg(isa_x86)]
pub mod avx2;
#[cfg(isa_x86)]
pub mod avx512;
#[cfg(isa_neon)]
pub mod neon;

/// `each!(0 1; i => expr)`: the array `[expr(0), expr(1)]`, written out, so that nothing is left to the inliner.
macro_rules! each {
    ($($index:literal)*; $i:ident => $e:expr) => { [$({ const $i: usize = $index; $e }),*] };
}
pub(crate) use each;

use crate::element::{DoubleDouble, Float, Sum, tree};
use crate::lanes::Lanes;
use core::mem::MaybeUninit;
#[cfg(isa_x86)]
use core::sync::atomic::{AtomicU8, Ordering};
use memory::{as_output, copy_first};
#[cfg(isa_x86)]
use pulp::core_arch::x86::F16c;

/// No answer of [`is_there`] yet.
#[cfg(isa_x86)]
const UNKNOWN: u8 = u8::MAX;

/// Whether the CPU is of this `level` and has F16C, and the operating system saves these `registers`: asked once in a process,
/// so that a call that computes costs a load and a comparison.
#[cfg(isa_x86)]
#[inline(always)]
fn is_there(answer: &AtomicU8, level: fn() -> bool, registers: u64) -> bool {
    #[cold]
    fn ask(answer: &AtomicU8, level: fn() -> bool, registers: u64) -> bool {
        let said = level() && F16c::is_available() && are_saved(registers);
        answer.store(u8::from(said), Ordering::Relaxed);
        said
    }
    match answer.load(Ordering::Relaxed) {
        UNKNOWN => ask(answer, level, registers),
        said => said != 0,
    }
}

/// Bits of XCR0: the operating system saves xmm and ymm registers.
#[cfg(isa_x86)]
const YMM: u64 = 0x06;
/// The same, and zmm and mask registers.
#[cfg(isa_x86)]
const ZMM: u64 = 0xe6;

/// Whether the operating system saves these registers: without that, instructions on them fault that CPUID reports. The
/// detection of std asks itself.
#[cfg(isa_x86)]
#[inline(always)]
fn are_saved(registers: u64) -> bool {
    cfg!(feature = "std") || xcr0() & registers == registers
}

/// XCR0, 0 where it cannot be read.
#[cfg(isa_x86)]
fn xcr0() -> u64 {
    use core::arch::x86_64::_xgetbv;
    #[target_feature(enable = "xsave")]
    fn read() -> u64 {
        // SAFETY: the caller looked at OSXSAVE.
        unsafe { _xgetbv(0) }
    }
    let features = raw_cpuid::CpuId::new().get_feature_info();
    match features {
        // SAFETY: OSXSAVE says that the instruction may be used.
        Some(features) if features.has_oxsave() => unsafe { read() },
        _ => 0,
    }
}

/// Asks for the cache line at `place`: to the L1 cache, or to L2 if `LATER`.
#[cfg(isa_x86)]
#[inline(always)]
fn hint<const LATER: bool>(place: *const i8) {
    use core::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
    // SAFETY: a hint, for any address.
    unsafe {
        if LATER {
            _mm_prefetch::<_MM_HINT_T1>(place);
        } else {
            _mm_prefetch::<_MM_HINT_T0>(place);
        }
    }
}

/// [`Lanes::sum_groups`] of vectors in memory.
#[inline(always)]
fn sum_parts<F: Float, const P: usize>(v: &[F]) -> [F::Sum; 8] {
    let mut sums = [F::Sum::ZERO; 8];
    for (sum, part) in sums.iter_mut().zip(v.chunks_exact(F::LANES / P)) {
        let mut s = [F::Sum::ZERO; 16];
        for (s, &v) in s.iter_mut().zip(part) {
            *s = F::Sum::of(v);
        }
        *sum = tree(s);
    }
    sums
}

/// Adds `v` to sixteen pairs (high, low) without error: Knuth's two-sum, the rest gathered in `low`.
#[inline(always)]
fn two_sum<L: Lanes<f64>>(lanes: L, acc: [L::V; 2], v: L::V) -> [L::V; 2] {
    let high = lanes.add(acc[0], v);
    let t = lanes.sub(high, acc[0]);
    let rest = lanes.add(lanes.sub(acc[0], lanes.sub(high, t)), lanes.sub(v, t));
    [high, lanes.add(acc[1], rest)]
}

/// The sum of sixteen pairs.
#[inline(always)]
fn sum_pairs(high: [f64; 16], low: [f64; 16]) -> DoubleDouble {
    let mut pairs = [DoubleDouble { high: 0.0, low: 0.0 }; 16];
    for i in 0..16 {
        pairs[i] = DoubleDouble {
            high: high[i],
            low: low[i],
        };
    }
    tree(pairs)
}

/// Elements `at..at + N` of `src`, `fill` where there are none.
#[inline(always)]
fn take<F: Copy, const N: usize>(src: &[F], at: usize, fill: F) -> [F; N] {
    let mut v = [fill; N];
    copy_first::<F, N>(src.get(at..).unwrap_or_default(), as_output(&mut v));
    v
}

/// Writes `v` to the elements `at..at + N` of `dst` that exist.
#[inline(always)]
fn put<F: Copy, const N: usize>(dst: &mut [MaybeUninit<F>], at: usize, v: [F; N]) {
    copy_first::<F, N>(&v, dst.get_mut(at..).unwrap_or_default());
}

#[cfg(all(test, isa_x86))]
mod tests {
    use super::{YMM, ZMM, xcr0};

    /// Where the CPU has the instructions, XCR0 says what std's detection says.
    #[test]
    fn xcr0_is_what_std_asks() {
        let cpu = raw_cpuid::CpuId::new();
        if cpu.get_feature_info().is_some_and(|f| f.has_avx()) {
            assert_eq!(xcr0() & YMM == YMM, is_x86_feature_detected!("avx"));
        }
        if cpu.get_extended_feature_info().is_some_and(|f| f.has_avx512f()) {
            assert_eq!(xcr0() & ZMM == ZMM, is_x86_feature_detected!("avx512f"));
        }
    }
}
