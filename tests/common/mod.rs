//! What the tests share. An operator is a row in `ops.rs`, an element type a line in `element.rs`, a distribution a row
//! in `inputs.rs`; every test of a rule that holds for all of them runs all of them on every [`Isa::available`].
//!
//! Environment:
//! - `SOFTMAX_REQUIRE_ISA=avx512,avx2`: fail if one of these is missing, or if the first is not what is detected.
//! - `SOFTMAX_TEST_SCALE=N`: about N times less work; 10 and more is for emulators. 20 by default on wasm, else 1.

pub mod choices;
pub mod climb;
pub mod dd;
pub mod derived;
pub mod element;
pub mod forms;
pub mod host_flags;
pub mod inputs;
pub mod layouts;
pub mod masks;
pub mod memory;
pub mod ops;
pub mod oracle;
pub mod pages;
pub mod shape;
pub mod ulp;

use softmax::Isa;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, io, thread};

/// Every ISA of this CPU, best first; checked once against `SOFTMAX_REQUIRE_ISA`.
pub fn isas() -> &'static [Isa] {
    static ISAS: OnceLock<Vec<Isa>> = OnceLock::new();
    ISAS.get_or_init(|| {
        let available: Vec<Isa> = Isa::available().collect();
        let detected = env::var_os("SOFTMAX_MAX_ISA").is_none().then(Isa::detect);
        if let Ok(required) = env::var("SOFTMAX_REQUIRE_ISA") {
            check_required(&required, &available, detected).unwrap_or_else(|message| panic!("{message}"));
        }
        available
    })
}

pub fn for_each_isa(mut body: impl FnMut(Isa)) {
    for &isa in isas() {
        println!("on {isa}");
        body(isa);
    }
}

/// The backends that promise one another's bits: all but `portable`, which has its own.
pub fn exact_isas() -> impl Iterator<Item = Isa> {
    isas().iter().copied().filter(|&isa| isa != Isa::Portable)
}

/// The rule of `SOFTMAX_REQUIRE_ISA`; `detected` is `None` when the dispatch is capped.
pub fn check_required(required: &str, available: &[Isa], detected: Option<Isa>) -> Result<(), String> {
    for (i, name) in required.split(',').map(str::trim).enumerate() {
        let found = available.iter().find(|isa| isa.name() == name);
        let found = found.ok_or(format!(
            "SOFTMAX_REQUIRE_ISA={required}: {name} is not in {available:?}"
        ))?;
        if i == 0 && detected.is_some_and(|isa| isa != *found) {
            return Err(format!(
                "SOFTMAX_REQUIRE_ISA={required}: detected {detected:?}, not {name}"
            ));
        }
    }
    Ok(())
}

/// How many times less work to do.
pub fn scale() -> usize {
    static SCALE: OnceLock<usize> = OnceLock::new();
    *SCALE.get_or_init(|| match env::var("SOFTMAX_TEST_SCALE") {
        Ok(scale) => scale
            .parse()
            .ok()
            .filter(|&n| n > 0)
            .expect("SOFTMAX_TEST_SCALE is a positive number"),
        Err(_) if cfg!(target_family = "wasm") => 20,
        Err(_) => 1,
    })
}

/// The longest rows to try on a backend: the exact scalar one is slow, and slower still under an emulator.
pub fn longest(isa: Isa, longest: usize) -> usize {
    let slow = if isa == Isa::Scalar { 4 } else { 1 };
    if scale() == 1 && slow == 1 {
        longest
    } else {
        (longest / (scale() * slow)).max(70_001).min(longest)
    }
}

/// Whether the CPU is an emulated one, as the scale tells.
pub fn is_emulated() -> bool {
    scale() >= 10
}

/// One in [`scale`] of these, spread over the whole, and at least one.
pub fn thinned<T>(all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    let all: Vec<T> = all.into_iter().collect();
    assert!(!all.is_empty(), "nothing to thin");
    // No simple fraction, so that it picks nothing special of what is listed in periods.
    let first = (all.len().min(scale()) - 1) * 5 / 8;
    all.into_iter().skip(first).step_by(scale())
}

/// How many of `n` repetitions are left.
pub fn repeated(n: usize) -> usize {
    (n / scale()).max(1)
}

/// This program once more with these arguments and, set or removed, these variables; `None` where no process can be
/// started.
pub fn child(arguments: &[&str], variables: &[(&str, Option<&str>)]) -> Option<Output> {
    if cfg!(target_family = "wasm") {
        return None;
    }
    let mut command = Command::new(env::current_exe().expect("a path to this program"));
    command.args(arguments).arg("--nocapture");
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    match output(&mut command) {
        // 127 is what the child of an emulated process ends with.
        Ok(output) if output.status.code() != Some(127) => Some(output),
        failed if cfg!(not(target_arch = "x86_64")) => {
            println!("not checked, no process can be started: {failed:?}");
            None
        }
        failed => panic!("cannot start this program: {failed:?}"),
    }
}

/// What a command leaves behind.
///
/// Of an emulator's threads a new process copies the locks, too: one that waits for them is ended, and another made.
fn output(command: &mut Command) -> io::Result<Output> {
    if !is_emulated() {
        return command.output();
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for _ in 0..10 {
        let mut child = command.spawn()?;
        if within(Duration::from_secs(20), || child.try_wait().transpose()).is_some() {
            return child.wait_with_output();
        }
        child.kill()?;
        child.wait()?;
    }
    panic!("no process comes to an end: {command:?}");
}

/// What `poll` finds in that time, if it does.
pub fn within<T>(time: Duration, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let found = poll();
        if found.is_some() || start.elapsed() > time {
            return found;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
