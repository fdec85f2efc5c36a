//! Settings of a process, by environment variables (feature `std`).

use core::str::FromStr;
#[cfg(feature = "std")]
use core::sync::atomic::{AtomicBool, Ordering};

/// An environment variable.
pub struct Setting {
    #[cfg(feature = "std")]
    name: &'static str,
    /// What it may hold.
    #[cfg(feature = "std")]
    wanted: &'static str,
    /// Whether it was reported: threads that all call first read it at the same time.
    #[cfg(feature = "std")]
    reported: AtomicBool,
}

#[cfg(feature = "std")]
impl Setting {
    pub const fn new(name: &'static str, wanted: &'static str) -> Self {
        Self {
            name,
            wanted,
            reported: AtomicBool::new(false),
        }
    }

    /// What it holds. What is not as wanted is reported on standard error, once, and ignored.
    pub fn get<T: FromStr>(&self) -> Option<T> {
        use std::io::Write;
        let Self { name, wanted, reported } = self;
        let value = std::env::var_os(name)?;
        let parsed = value.to_str().and_then(|value| value.parse().ok());
        if parsed.is_none() && !value.is_empty() && !reported.swap(true, Ordering::Relaxed) {
            // Where nothing can be said, nothing is: no call panics.
            let _ = writeln!(std::io::stderr(), "softmax: {name}={value:?} is ignored: not {wanted}");
        }
        parsed
    }
}

#[cfg(not(feature = "std"))]
impl Setting {
    pub const fn new(_: &'static str, _: &'static str) -> Self {
        Self {}
    }

    pub fn get<T: FromStr>(&self) -> Option<T> {
        None
    }
}
