//! What the examples share: files, terminal output, the choice of an ISA, and the clock.
#![allow(dead_code)] // no example needs all of it

pub mod formats;
pub mod style;

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use softmax::Isa;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The exit code of an example, its error on standard error.
pub fn exit(program: &str, outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output; a reader that has seen enough is no error.
pub fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()), // `classify | head`
        other => Ok(other?),
    }
}

pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.is_empty() {
        return Err(format!("{}: the file is empty", path.display()).into());
    }
    Ok(bytes)
}

/// The values and shape of an NPY file of f32 with `axes` axes, none of them empty.
pub fn read_f32(source: &str, bytes: &[u8], axes: &str) -> Result<(Vec<usize>, Vec<f32>)> {
    let Some(npy) = formats::Npy::open(source, bytes)? else {
        return Err(format!("{source}: not a NumPy file").into());
    };
    let (shape, kind) = (npy.shape.clone(), npy.kind.clone());
    if kind != "f32" {
        return Err(format!("{source}: holds {kind}, not f32").into());
    }
    if shape.len() != axes.split(" × ").count() || shape.contains(&0) {
        return Err(format!("{source}: has the shape {shape:?}, not {axes}").into());
    }
    Ok((shape, npy.values()?))
}

/// Repeats `work` for a tenth of a second, at least once: the shortest time it took.
pub fn fastest(mut work: impl FnMut() -> std::result::Result<(), softmax::Error>) -> Result<Duration> {
    let begin = Instant::now();
    let mut best = Duration::MAX;
    while best == Duration::MAX || begin.elapsed() < Duration::from_millis(100) {
        let start = Instant::now();
        work()?;
        best = best.min(start.elapsed().max(Duration::from_nanos(1)));
    }
    Ok(best)
}

/// The value of `--isa`.
pub fn available_isa(name: &str) -> std::result::Result<Isa, String> {
    let isa = name.parse::<Isa>().ok().filter(|isa| isa.is_available());
    isa.ok_or_else(|| {
        format!(
            "this CPU runs {}",
            Isa::available().map(Isa::name).collect::<Vec<_>>().join(", ")
        )
    })
}
