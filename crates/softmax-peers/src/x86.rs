//! The vector state of an x86-64 thread: cleaned between peers, and watched.
//!
//! A peer that returns with dirty upper halves slows whatever runs after it, hence
//! [`clean`]. XGETBV with ECX = 1 tells which parts of the state are not in their initial
//! configuration. Masks and the registers 16 to 31 exist in AVX-512 only and nothing but XRSTOR
//! brings them back, so [`Watch`] resets them and sees afterwards whether a peer has used AVX-512,
//! whatever the peer was asked to do.

/// Zeroes the upper halves of the vector registers.
pub fn clean() {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: the CPU has AVX, as just tested.
        unsafe { imp::vzeroupper() }
    }
}

/// Tells whether the calling thread has executed AVX-512 instructions since.
pub struct Watch(bool);

impl Watch {
    /// Resets the AVX-512 state of the calling thread.
    pub fn start() -> Self {
        #[cfg(target_arch = "x86_64")]
        if imp::can_watch() {
            // SAFETY: `can_watch` has tested for XRSTOR of the AVX-512 components.
            unsafe { imp::reset() };
            return Self(true);
        }
        Self(false)
    }

    /// `None` where the CPU cannot tell.
    pub fn avx512_used(&self) -> Option<bool> {
        #[cfg(target_arch = "x86_64")]
        if self.0 {
            // SAFETY: `can_watch` has tested for XGETBV with ECX = 1.
            return Some(unsafe { imp::in_use() } & imp::AVX512 != 0);
        }
        None
    }
}

#[cfg(target_arch = "x86_64")]
mod imp {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    /// State components 5 to 7: masks, upper halves of zmm0–15, zmm16–31.
    pub const AVX512: u32 = 0xe0;

    /// Zeroes the upper halves.
    ///
    /// # Safety
    /// The CPU has AVX.
    #[target_feature(enable = "avx")]
    pub unsafe fn vzeroupper() {
        std::arch::x86_64::_mm256_zeroupper();
    }

    /// Whether the AVX-512 state exists, is enabled, and is reported by XGETBV.
    pub fn can_watch() -> bool {
        const OSXSAVE: u32 = 1 << 27;
        const XGETBV_1: u32 = 1 << 2;
        __cpuid(1).ecx & OSXSAVE != 0
            && std::arch::is_x86_feature_detected!("avx512f")
            && __cpuid_count(0xd, 1).eax & XGETBV_1 != 0
    }

    /// The components that are not in their initial configuration.
    ///
    /// # Safety
    /// The CPU has XGETBV with ECX = 1.
    #[inline(never)]
    pub unsafe fn in_use() -> u32 {
        let low: u32;
        // SAFETY: the caller's precondition; the instruction only reads.
        unsafe { asm!("xgetbv", in("ecx") 1, out("eax") low, out("edx") _, options(nomem, nostack)) };
        low
    }

    /// Puts the AVX-512 components into their initial configuration.
    ///
    /// # Safety
    /// The CPU has XRSTOR and AVX-512, enabled by the operating system.
    #[inline(never)]
    pub unsafe fn reset() {
        /// An empty header: no component is present, so each requested one is initialised.
        #[repr(align(64))]
        struct Area([u8; 2752]);
        let area = Area([0; 2752]);
        // SAFETY: the caller's precondition; the area is aligned and as large as the standard
        // format needs for components 0 to 7; the registers are declared as clobbered.
        unsafe {
            asm!(
                "xrstor64 [{area}]",
                area = in(reg) area.0.as_ptr(),
                in("eax") AVX512,
                in("edx") 0,
                clobber_abi("sysv64"),
                options(nostack, readonly),
            );
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[target_feature(enable = "avx512f")]
        fn use_zmm() {
            // SAFETY: the feature is enabled for this function; zmm31 is declared as clobbered.
            unsafe { asm!("vpternlogd zmm31, zmm31, zmm31, 0xff", out("zmm31") _) };
        }

        #[test]
        fn avx512_is_noticed() {
            if !can_watch() {
                eprintln!("not run: this CPU does not report its AVX-512 state");
                return;
            }
            let watch = super::super::Watch::start();
            assert_eq!(watch.avx512_used(), Some(false));
            // SAFETY: `can_watch` has tested for AVX-512F.
            unsafe { use_zmm() };
            assert_eq!(watch.avx512_used(), Some(true));
            let watch = super::super::Watch::start();
            assert_eq!(watch.avx512_used(), Some(false));
        }
    }
}
