//! What a figure is worth depends on: the machine, its load, the compiler, the date.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines of `key: value` that head the CSV and the tables.
pub fn describe() -> Vec<String> {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let flags = match env!("PEERS_RUSTFLAGS") {
        "" => String::new(),
        flags => format!(", RUSTFLAGS {flags}"),
    };
    let tuning = match env!("PEERS_TUNING") {
        "" => String::new(),
        tuning => format!(", tuning {tuning}"),
    };
    vec![
        format!("date: {}", date(now())),
        format!("cpu: {} ({cpus} logical)", cpu_model()),
        format!("caches: {}", caches()),
        format!("simd: {}", simd()),
        format!("system: {} {}", std::env::consts::OS, std::env::consts::ARCH),
        format!(
            "rustc: {}, profile {}{flags}",
            env!("PEERS_RUSTC"),
            env!("PEERS_PROFILE")
        ),
        format!("softmax: commit {}{tuning}", env!("PEERS_COMMIT")),
    ]
}

/// The load averages, or that they are unknown.
pub fn load() -> String {
    match load_averages() {
        Some([one, five, fifteen]) => format!("{one:.2} {five:.2} {fifteen:.2}"),
        None => "unknown".into(),
    }
}

/// Whether other programs have kept a quarter of the CPUs busy for the last minute.
pub fn is_busy() -> bool {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    load_averages().is_some_and(|load| load[0] > 0.25 * cpus as f64)
}

#[cfg(unix)]
fn load_averages() -> Option<[f64; 3]> {
    let mut load = [0.0; 3];
    // SAFETY: three values may be written.
    let written = unsafe { libc::getloadavg(load.as_mut_ptr(), 3) };
    (written == 3).then_some(load)
}

#[cfg(not(unix))]
fn load_averages() -> Option<[f64; 3]> {
    None
}

fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let name = field("model name").unwrap_or_else(|| "unknown".into());
    match (field("cpu family"), field("model\t")) {
        (Some(family), Some(model)) => format!("{name}, family {family} model {model}"),
        _ => name,
    }
}

fn caches() -> String {
    let read = |index: usize, file: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
        fs::read_to_string(path).map(|text| text.trim().to_owned()).ok()
    };
    let caches: Vec<String> = (0..)
        .map_while(|index| Some((read(index, "level")?, read(index, "type")?, read(index, "size")?)))
        .filter(|(_, kind, _)| kind != "Instruction")
        .map(|(level, _, size)| format!("L{level} {size}"))
        .collect();
    if caches.is_empty() {
        "unknown".into()
    } else {
        caches.join(" ")
    }
}

fn simd() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "avx512";
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            return "avx2";
        }
    }
    #[cfg(target_arch = "aarch64")]
    return "neon";
    #[allow(unreachable_code)]
    "baseline"
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The date and time of `seconds` since 1970, in UTC.
fn date(seconds: u64) -> String {
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute) = (time / 3600, time / 60 % 60);
    format!("{year}-{month:02}-{:02} {hour:02}:{minute:02} UTC", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_767_225_599), "2025-12-31 23:59 UTC");
        assert_eq!(date(1_798_761_600), "2027-01-01 00:00 UTC");
    }

    #[test]
    fn every_line_has_a_key_and_a_value() {
        for line in describe() {
            let (key, value) = line.split_once(": ").unwrap();
            assert!(!key.is_empty() && !value.is_empty(), "{line}");
        }
    }
}
