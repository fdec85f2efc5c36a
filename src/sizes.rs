//! The sizes from which on another algorithm is faster: those of the tuning profile, or of the caches as the CPU (x86) or
//! Linux (sysfs, feature `std`) reports them. No result depends on them.
//!
//! `SOFTMAX_L1_BYTES`, `SOFTMAX_L2_BYTES` and `SOFTMAX_L3_BYTES` (feature `std`) override them: a virtual machine may report
//! the cache of the whole host.

use crate::setting::Setting;
use crate::tuning;
use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Where the size classes begin, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The L1 data cache: a row in place longer than a third of it (f32 on AVX-512: a quarter) keeps its exps where the logits
    /// were.
    pub l1: usize,
    /// The L2 cache: a longer row in place that cannot be stored over at once computes its exps twice; a row of at most a
    /// quarter of it is divided beside the exps of the next (AVX-512), or while the CPU is told of it. A row of halves of more
    /// than four times it keeps no exps in the place of its results.
    pub l2: usize,
    /// The share of the L3 cache: where a row and its results are larger, they are stored past the caches.
    pub l3: usize,
}

/// 0 until read.
static L1: AtomicUsize = AtomicUsize::new(0);
static L2: AtomicUsize = AtomicUsize::new(0);
static L3: AtomicUsize = AtomicUsize::new(0);

impl Sizes {
    /// Whether `row` and its results together exceed the share of the L3 cache.
    #[inline(always)]
    pub fn is_beyond<T>(&self, row: &[T]) -> bool {
        size_of_val(row) > self.l3 / 2
    }

    /// Whether `row` and its exps beside it, of the same type, leave less than a third of the L1 cache free.
    #[inline(always)]
    pub fn is_beyond_l1<T>(&self, row: &[T]) -> bool {
        size_of_val(row) > self.l1 / 3
    }

    /// Read once in a process.
    #[inline(always)]
    pub fn get() -> Sizes {
        let sizes = Sizes {
            l1: L1.load(Ordering::Relaxed),
            l2: L2.load(Ordering::Relaxed),
            l3: L3.load(Ordering::Relaxed),
        };
        if sizes.l1 == 0 || sizes.l2 == 0 || sizes.l3 == 0 {
            Self::read()
        } else {
            sizes
        }
    }

    #[cold]
    fn read() -> Sizes {
        const BYTES: &str = "a number of bytes";
        static VARIABLES: [Setting; 3] = [
            Setting::new("SOFTMAX_L1_BYTES", BYTES),
            Setting::new("SOFTMAX_L2_BYTES", BYTES),
            Setting::new("SOFTMAX_L3_BYTES", BYTES),
        ];
        let mut sizes = reported();
        let tuned = [tuning::L1_BYTES, tuning::L2_BYTES, tuning::L3_BYTES];
        for ((size, tuned), variable) in sizes.iter_mut().zip(tuned).zip(&VARIABLES) {
            // 0 leaves the word to the CPU.
            if tuned != 0 {
                *size = tuned;
            }
            if let Some(bytes) = variable.get::<NonZeroUsize>() {
                *size = bytes.get();
            }
        }
        let [l1, l2, l3] = sizes;
        L1.store(l1, Ordering::Relaxed);
        L2.store(l2, Ordering::Relaxed);
        L3.store(l3, Ordering::Relaxed);
        Sizes { l1, l2, l3 }
    }
}

/// L1, L2 and L3 where the CPU does not say.
const USUAL: [usize; 3] = [32 << 10, 1 << 20, 32 << 20];

/// L1 (data), L2 and L3 of this CPU.
#[cfg(isa_x86)]
fn reported() -> [usize; 3] {
    let mut sizes = USUAL;
    if let Some(caches) = raw_cpuid::CpuId::new().get_cache_parameters() {
        for cache in caches {
            let bytes = cache.associativity() * cache.physical_line_partitions() * cache.coherency_line_size();
            if let level @ 1..=3 = cache.level()
                && cache.cache_type() != raw_cpuid::CacheType::Instruction
                && let bytes @ 1.. = bytes.saturating_mul(cache.sets())
            {
                sizes[usize::from(level) - 1] = bytes;
            }
        }
    }
    sizes
}

#[cfg(not(isa_x86))]
fn reported() -> [usize; 3] {
    #[cfg(all(feature = "std", target_os = "linux"))]
    return listed();
    #[cfg(not(all(feature = "std", target_os = "linux")))]
    USUAL
}

/// L1 (data), L2 and L3 of the first CPU, as Linux lists them in sysfs.
#[cfg(all(feature = "std", target_os = "linux", any(test, not(isa_x86))))]
fn listed() -> [usize; 3] {
    let mut sizes = USUAL;
    for index in 0..8 {
        let mut text = [[0; 32]; 3];
        let [level, kind, size] = text.each_mut();
        if let Some(level) = entry(index, "level", level).and_then(|level| level.parse::<usize>().ok())
            && let Some("Data" | "Unified") = entry(index, "type", kind)
            && let Some(bytes) = entry(index, "size", size).and_then(bytes)
            && let 1..=3 = level
        {
            sizes[level - 1] = bytes;
        }
    }
    sizes
}

/// What sysfs says of cache `index`, in `text`: nothing is allocated.
#[cfg(all(feature = "std", target_os = "linux", any(test, not(isa_x86))))]
fn entry<'t>(index: u8, name: &str, text: &'t mut [u8; 32]) -> Option<&'t str> {
    use std::io::{Cursor, Read, Write};
    let mut path = Cursor::new([0; 64]);
    write!(path, "/sys/devices/system/cpu/cpu0/cache/index{index}/{name}").ok()?;
    let (len, path) = (path.position() as usize, path.into_inner());
    let path = core::str::from_utf8(&path[..len]).ok()?;
    let len = std::fs::File::open(path).ok()?.read(text).ok()?;
    Some(core::str::from_utf8(&text[..len]).ok()?.trim())
}

/// The bytes of a size as sysfs writes it: `48K`.
#[cfg(all(feature = "std", target_os = "linux", any(test, not(isa_x86))))]
fn bytes(size: &str) -> Option<usize> {
    let (number, shift) = match size.as_bytes().last()? {
        b'K' => (&size[..size.len() - 1], 10),
        b'M' => (&size[..size.len() - 1], 20),
        _ => (size, 0),
    };
    let bytes = number.parse::<usize>().ok()?.checked_mul(1 << shift)?;
    (bytes > 0).then_some(bytes)
}

#[cfg(all(test, feature = "std", target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_sysfs_writes_them() {
        assert_eq!(bytes("48K"), Some(48 << 10));
        assert_eq!(bytes("2M"), Some(2 << 20));
        assert_eq!(bytes("512"), Some(512));
        for wrong in ["", "K", "0K", "12Q", "-1K", "18446744073709551615K"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn listed_sizes_are_those_of_caches() {
        let sizes = listed();
        assert!((8 << 10..1 << 20).contains(&sizes[0]) && sizes.is_sorted(), "{sizes:?}");
        let first = "/sys/devices/system/cpu/cpu0/cache/index0";
        if let Ok(size) = std::fs::read_to_string(format!("{first}/size")) {
            assert_eq!(entry(0, "size", &mut [0; 32]), Some(size.trim()));
            assert_eq!(entry(0, "level", &mut [0; 32]), Some("1"));
            assert!(bytes(size.trim()).is_some(), "{size}");
        }
    }
}
