//! Settings of a process, by environment variables (feature `std`).

#[cfg(feature = "std")]
use core::str::FromStr;

/// What the variable `name` holds. What is not as `wanted` is reported on standard error, and ignored.
#[cfg(feature = "std")]
pub fn setting<T: FromStr>(name: &str, wanted: &str) -> Option<T> {
    use std::io::Write;
    let value = std::env::var_os(name)?;
    let parsed = value.to_str().and_then(|value| value.parse().ok());
    if parsed.is_none() && !value.is_empty() {
        // Where nothing can be said, nothing is: no call panics.
        let _ = writeln!(std::io::stderr(), "softmax: {name}={value:?} is ignored: not {wanted}");
    }
    parsed
}

#[cfg(not(feature = "std"))]
pub fn setting<T>(_: &str, _: &str) -> Option<T> {
    None
}
