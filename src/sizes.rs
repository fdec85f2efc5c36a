//! The sizes from which on another algorithm is faster: those of the tuning profile, or of the caches as the CPU reports
//! them. No result depends on them.
//!
//! `SOFTMAX_L2_BYTES` and `SOFTMAX_L3_BYTES` (feature `std`) override both: a virtual machine may report the cache of the
//! whole host.

use crate::setting::setting;
use crate::tuning;
use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Where the size classes begin, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The L2 cache: a longer row in place that cannot be stored over at once computes its exps twice.
    pub l2: usize,
    /// The share of the L3 cache: where a row and its results are larger, they are stored past the caches.
    pub l3: usize,
}

/// 0 until read.
static L2: AtomicUsize = AtomicUsize::new(0);
static L3: AtomicUsize = AtomicUsize::new(0);

impl Sizes {
    /// Whether `row` and its results together exceed the share of the L3 cache.
    #[inline(always)]
    pub fn is_beyond<T>(&self, row: &[T]) -> bool {
        size_of_val(row) > self.l3 / 2
    }

    /// Read once in a process.
    #[inline(always)]
    pub fn get() -> Sizes {
        let sizes = Sizes {
            l2: L2.load(Ordering::Relaxed),
            l3: L3.load(Ordering::Relaxed),
        };
        if sizes.l2 == 0 || sizes.l3 == 0 {
            Self::read()
        } else {
            sizes
        }
    }

    #[cold]
    fn read() -> Sizes {
        let [mut l2, mut l3] = reported();
        // 0 leaves the word to the CPU.
        if tuning::L2_BYTES != 0 {
            l2 = tuning::L2_BYTES;
        }
        if tuning::L3_BYTES != 0 {
            l3 = tuning::L3_BYTES;
        }
        overridden("SOFTMAX_L2_BYTES", &mut l2);
        overridden("SOFTMAX_L3_BYTES", &mut l3);
        L2.store(l2, Ordering::Relaxed);
        L3.store(l3, Ordering::Relaxed);
        Sizes { l2, l3 }
    }
}

/// L2 and L3 where the CPU does not say.
const USUAL: [usize; 2] = [1 << 20, 32 << 20];

/// L2 and L3 of this CPU.
#[cfg(isa_x86)]
fn reported() -> [usize; 2] {
    let mut sizes = USUAL;
    if let Some(caches) = raw_cpuid::CpuId::new().get_cache_parameters() {
        for cache in caches {
            let bytes = cache.associativity() * cache.physical_line_partitions() * cache.coherency_line_size();
            if let level @ 2..=3 = cache.level()
                && let bytes @ 1.. = bytes.saturating_mul(cache.sets())
            {
                sizes[usize::from(level) - 2] = bytes;
            }
        }
    }
    sizes
}

#[cfg(not(isa_x86))]
fn reported() -> [usize; 2] {
    USUAL
}

fn overridden(name: &str, size: &mut usize) {
    if let Some(bytes) = setting::<NonZeroUsize>(name, "a number of bytes") {
        *size = bytes.get();
    }
}
