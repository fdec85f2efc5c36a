//! Measuring processes: this program again, one for each cap and number of threads, so that no
//! pool of another size exists in it and, under a cap, no 512-bit instruction has been executed.
//! A measuring process writes records to its standard output and remarks to standard error.

use crate::cli::Cli;
use crate::measure::measure;
use crate::peer::Context;
use crate::peers;
use crate::record::{HEADER, Record, read_csv};
use crate::task::{CALL, Cap, Place, Task};
use std::collections::HashSet;
use std::env;
use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Set in measuring processes: cap and number of threads.
const MARK: &str = "SOFTMAX_PEERS_PROCESS";

/// What keeps libraries from AVX-512. Onnxruntime has no switch; XNNPACK, rten and tract's
/// other half are capped where they are opened.
const AVX2: [(&str, &str); 5] = [
    ("SOFTMAX_MAX_ISA", "avx2"),
    ("ONEDNN_MAX_CPU_ISA", "AVX2"),
    ("DNNL_MAX_CPU_ISA", "AVX2"),
    ("TRACT_CPU_ISA", "-avx512f,-avx512vnni,-avx512fp16"),
    // The C library's own copies.
    (
        "GLIBC_TUNABLES",
        "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD",
    ),
];

/// What this process has to do, if it is a measuring process.
///
/// # Errors
/// The mark is there, but not legible.
pub fn assignment() -> Result<Option<(Cap, usize)>, String> {
    let Ok(mark) = env::var(MARK) else { return Ok(None) };
    let parts = mark.split_once(':').ok_or("the mark has one part")?;
    let threads = parts.1.parse().map_err(|_| "the mark has no number of threads")?;
    Ok(Some((parts.0.parse()?, threads)))
}

/// Starts a measuring process with this process's arguments and adds its records to `records`.
///
/// # Errors
/// It could not be started, wrote something else, or failed; what it wrote before it failed is added.
pub fn start(cap: Cap, threads: usize, records: &mut Vec<Record>) -> Result<(), String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .args(env::args_os().skip(1))
        .env(MARK, format!("{cap}:{threads}"))
        .env("OMP_NUM_THREADS", threads.to_string())
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdout(Stdio::piped());
    if cap == Cap::Avx2 {
        command.envs(AVX2);
    }
    let output = command
        .spawn()
        .and_then(|child| child.wait_with_output())
        .map_err(|error| format!("a measuring process: {error}"))?;
    let text = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    // A failure may have cut the last line.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    records.extend(read_csv(whole)?.1);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "the measuring process of {cap}, {threads} thread(s) ended with {}",
            output.status
        )),
    }
}

/// Measures all tasks of `cli`.
///
/// # Errors
/// The threads could not be started, or nobody reads the records.
pub fn run(cli: &Cli, cap: Cap, threads: usize) -> Result<(), String> {
    keep_memory();
    let context = Context::new(cap, threads)?;
    let peers = peers::open(&context, |name| cli.is_wanted(name));
    for entry in &peers {
        if let Err(reason) = &entry.peer {
            eprintln!("absent: {} ({reason})", entry.name);
        }
    }
    let mut said = HashSet::new();
    let mut out = io::stdout().lock();
    let text = |error: io::Error| error.to_string();
    writeln!(out, "{HEADER}").map_err(text)?;
    for table in cli.tasks() {
        let Some(first) = table.first() else { continue };
        // In place, a call on one element would mostly show how buffers are bound.
        let call = (first.place == Place::Out).then_some(Task { shape: CALL, ..*first });
        for task in call.iter().chain(&table) {
            let Task {
                op,
                dtype,
                place,
                shape,
            } = task;
            let what = format!("{cap}, {threads} thread(s), {op} {dtype} {place}");
            eprintln!("{what}: {shape}");
            let refused = |name: &str, reason: &str| {
                let line = format!("{what}: not measured: {name}: {reason}");
                if shape != &CALL && said.insert(line.clone()) {
                    eprintln!("{line}");
                }
            };
            for record in measure(&context, task, &peers, cli.plan(), refused) {
                writeln!(out, "{}", record.to_csv()).map_err(text)?;
            }
            out.flush().map_err(text)?;
        }
    }
    Ok(())
}

/// Makes the allocator keep what is freed, so that peers which allocate their results do not pay
/// for fresh pages on every call.
fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: called before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
