//! Clocks: CPU time of the process, all threads included, and wall time.

use std::thread;
use std::time::{Duration, Instant};

/// Both clocks at one moment.
#[derive(Clone, Copy)]
pub struct Stamp {
    cpu: Duration,
    wall: Instant,
}

/// Nanoseconds on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Elapsed {
    /// CPU time of all threads of the process.
    pub cpu: f64,
    /// Wall time.
    pub wall: f64,
}

impl Stamp {
    /// Reads both clocks.
    pub fn now() -> Self {
        Self {
            wall: Instant::now(),
            cpu: process_cpu(),
        }
    }

    /// The time since then.
    pub fn elapsed(self) -> Elapsed {
        let cpu = process_cpu();
        Elapsed {
            cpu: cpu.saturating_sub(self.cpu).as_nanos() as f64,
            wall: self.wall.elapsed().as_nanos() as f64,
        }
    }
}

impl Elapsed {
    /// What two successive readings differ by: the least of many.
    pub fn overhead() -> Self {
        let least = Self {
            cpu: f64::INFINITY,
            wall: f64::INFINITY,
        };
        (0..1000).fold(least, |least, _| {
            let pair = Stamp::now().elapsed();
            Self {
                cpu: least.cpu.min(pair.cpu),
                wall: least.wall.min(pair.wall),
            }
        })
    }

    /// The sum on both clocks.
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            wall: self.wall + other.wall,
        }
    }

    /// `self` less `count` times `overhead`, never negative.
    pub fn less(self, overhead: Self, count: f64) -> Self {
        Self {
            cpu: (self.cpu - count * overhead.cpu).max(0.0),
            wall: (self.wall - count * overhead.wall).max(0.0),
        }
    }

    /// Both divided by `count`.
    pub fn per(self, count: f64) -> Self {
        Self {
            cpu: self.cpu / count,
            wall: self.wall / count,
        }
    }
}

/// Waits until the threads of the pools of other peers have stopped spinning.
///
/// Gives up after a quarter of a second: a pool that never rests cannot be helped.
pub fn settle() {
    const STEP: Duration = Duration::from_micros(500);
    for _ in 0..500 {
        let before = Stamp::now();
        thread::sleep(STEP);
        let spent = before.elapsed();
        if spent.cpu < 0.1 * spent.wall {
            return;
        }
    }
}

#[cfg(unix)]
fn process_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes; the clock exists on every supported system.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(not(unix))]
fn process_cpu() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    START.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_counts_all_threads() {
        let start = Stamp::now();
        let spin = || {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(20) {
                std::hint::spin_loop();
            }
        };
        thread::scope(|scope| {
            scope.spawn(spin);
            scope.spawn(spin);
        });
        let spent = start.elapsed();
        assert!(spent.cpu > 0.0 && spent.wall >= 20e6, "{spent:?}");
        let overhead = Elapsed::overhead();
        assert!(overhead.wall < 1e5, "{overhead:?}");
        assert_eq!(spent.less(spent, 2.0), Elapsed::default());
    }
}
