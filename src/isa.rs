//! Instruction sets: what the CPU has, which one runs, and the table that joins a name to a backend.

use crate::setting::Setting;
use core::fmt;
use core::str::FromStr;
use core::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that the kernels are compiled for, best first.
///
/// `Avx512`, `Avx2`, `Neon` and `Scalar` give the same bits; `Portable`, for CPUs without a fused multiply-add, has its
/// own bits and a wider bound ([`Isa::max_ulp`]).
///
/// ```
/// use softmax::Isa;
/// let best = Isa::detect();
/// assert!(best.is_available());
/// println!("{best}, of {:?}", Isa::available().collect::<Vec<_>>());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// AVX-512 F, BW, CD, DQ, VL, and all of `Avx2`.
    Avx512,
    /// AVX2, FMA and F16C, with BMI1, BMI2, LZCNT and POPCNT, which every CPU with these has.
    Avx2,
    /// NEON of AArch64.
    Neon,
    /// 128-bit vectors without a fused multiply-add: SSE2, WebAssembly simd128, or arrays.
    Portable,
    /// One lane at a time with an exact fused multiply-add: the reference. Slow.
    Scalar,
}

/// Every backend in order of preference.
const ALL: [Isa; 5] = [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Portable, Isa::Scalar];

const _: () = {
    let mut rank = 0;
    while rank < ALL.len() {
        assert!(ALL[rank].rank() == rank && Isa::of_rank(rank as u8).rank() == rank);
        rank += 1;
    }
};

/// Where `detect` begins to look, unless the environment says otherwise.
const PREFERRED: Isa = if crate::tuning::PREFER_AVX512 {
    Isa::Avx512
} else {
    Isa::Avx2
};

/// The rank that `detect` found, or `UNKNOWN`.
static DETECTED: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = u8::MAX;

static MAX_ISA: Setting = Setting::new("SOFTMAX_MAX_ISA", "one of avx512, avx2, neon, portable, scalar");

impl Isa {
    /// The ISA that the operators run on: the best that the CPU has (AVX2 rather than AVX-512 where the tuning profile of
    /// the build prefers it), or the one named by the environment variable `SOFTMAX_MAX_ISA` (feature `std`) if the CPU
    /// has it, else the next one after it.
    ///
    /// The variable is read once. A value that is no name of an ISA is reported once on standard error and ignored.
    ///
    /// ```
    /// # use softmax::*;
    /// println!("softmax runs on {}", Isa::detect());
    /// ```
    #[inline]
    pub fn detect() -> Isa {
        match DETECTED.load(Ordering::Relaxed) {
            UNKNOWN => Self::detect_now(),
            rank => Self::of_rank(rank),
        }
    }

    #[cold]
    fn detect_now() -> Isa {
        let cap = MAX_ISA.get().unwrap_or(PREFERRED).rank();
        let isa = ALL
            .into_iter()
            .find(|isa| isa.rank() >= cap && isa.is_available())
            .unwrap_or(Isa::Scalar);
        // Unless another thread has set a cap meanwhile.
        match DETECTED.compare_exchange(UNKNOWN, isa.rank() as u8, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => isa,
            Err(rank) => Self::of_rank(rank),
        }
    }

    /// Caps [`detect`](Self::detect) for the rest of the process, or lifts the cap again: it returns `self` from now on.
    ///
    /// # Errors
    /// [`Error::IsaUnavailable`](crate::Error::IsaUnavailable) where the CPU lacks it; nothing changes then.
    ///
    /// ```
    /// # use softmax::Isa;
    /// Isa::Portable.set_max()?;
    /// assert_eq!(Isa::detect(), Isa::Portable);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    pub fn set_max(self) -> Result<(), crate::Error> {
        if !self.is_available() {
            return Err(crate::Error::IsaUnavailable(self));
        }
        DETECTED.store(self.rank() as u8, Ordering::Relaxed);
        Ok(())
    }

    /// Every ISA that runs on this CPU, best first, whatever the cap.
    ///
    /// ```
    /// # use softmax::*;
    /// assert!(Isa::available().any(|isa| isa == Isa::Scalar));
    /// ```
    pub fn available() -> impl Iterator<Item = Isa> + Clone {
        ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Whether this CPU runs it.
    ///
    /// ```
    /// # use softmax::*;
    /// assert!(Isa::Scalar.is_available());
    /// ```
    #[inline]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(isa_x86)]
            Isa::Avx512 => crate::arch::avx512::is_available(),
            #[cfg(isa_x86)]
            Isa::Avx2 => crate::arch::avx2::is_available(),
            #[cfg(isa_neon)]
            Isa::Neon => crate::arch::neon::is_available(),
            Isa::Portable | Isa::Scalar => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// `"avx512"`, `"avx2"`, `"neon"`, `"portable"` or `"scalar"`.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Isa::Avx512.name(), "avx512");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Neon => "neon",
            Isa::Portable => "portable",
            Isa::Scalar => "scalar",
        }
    }

    /// The bound of [`softmax`](crate::softmax) in ULP of the output, for f32 and f64 rows of up to 2^24 elements: derived
    /// in the [crate docs](crate#the-error-bound).
    /// f16 and bf16 are computed in f32 and rounded once: 0.51 on every ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// assert!(Isa::Avx2.max_ulp() <= Isa::Portable.max_ulp());
    /// ```
    pub const fn max_ulp(self) -> f32 {
        match self {
            Isa::Portable => 16.0,
            _ => 8.0,
        }
    }

    /// The bound of [`exp`](crate::exp) in ULP, checked over every f32.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Isa::Avx2.exp_max_ulp(), 1.0);
    /// ```
    pub const fn exp_max_ulp(self) -> f32 {
        match self {
            Isa::Portable => 3.0,
            _ => 1.0,
        }
    }

    /// Whether its backend has a fused multiply-add.
    pub(crate) const fn is_fused(self) -> bool {
        !matches!(self, Isa::Portable)
    }

    /// Its place in [`ALL`].
    const fn rank(self) -> usize {
        self as usize
    }

    /// The inverse of [`rank`](Self::rank), with the numbers of the variants, so that nothing is left of it but a bound.
    #[inline(always)]
    const fn of_rank(rank: u8) -> Isa {
        match rank {
            0 => Isa::Avx512,
            1 => Isa::Avx2,
            2 => Isa::Neon,
            3 => Isa::Portable,
            _ => Isa::Scalar,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The error of parsing an [`Isa`] from a name that none has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownIsa;

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown instruction set; the names are avx512, avx2, neon, portable and scalar")
    }
}

impl core::error::Error for UnknownIsa {}

impl FromStr for Isa {
    type Err = UnknownIsa;
    fn from_str(name: &str) -> Result<Isa, UnknownIsa> {
        ALL.into_iter().find(|isa| isa.name() == name).ok_or(UnknownIsa)
    }
}

/// Runs a kernel on the backend of an ISA; on `Scalar`, which is always there, where the CPU lacks it.
macro_rules! run {
    ($isa:expr, $kernel:expr) => {{
        use $crate::arch;
        let kernel = $kernel;
        match $isa {
            #[cfg(isa_x86)]
            Isa::Avx512 => arch::avx512::run(kernel).unwrap_or_else(arch::scalar::run),
            #[cfg(isa_x86)]
            Isa::Avx2 => arch::avx2::run(kernel).unwrap_or_else(arch::scalar::run),
            #[cfg(isa_neon)]
            Isa::Neon => arch::neon::run(kernel).unwrap_or_else(arch::scalar::run),
            Isa::Portable => arch::portable::run(kernel),
            _ => arch::scalar::run(kernel),
        }
    }};
}
pub(crate) use run;
