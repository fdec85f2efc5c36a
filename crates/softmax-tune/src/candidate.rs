//! Candidates: the crate built with a profile, and the processes that measure it.

use crate::knob::Shape;
use crate::profile::Profile;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, fs};

const PROBE: &str = "softmax-tune-probe";

/// A profile, and how it is measured.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What differs from the other candidates of a trial.
    pub label: String,
    /// The profile.
    pub profile: Profile,
    /// What [`build`] made of it, or of one that differs in what `variables` set.
    pub program: PathBuf,
    /// The instruction set that it runs on.
    pub isa: String,
    /// The variables of the environment that are set for it.
    pub variables: Vec<(&'static str, u64)>,
}

/// Builds the probe with `profile` and keeps it under `name` in `folder`.
///
/// # Errors
/// The compiler's words have been printed.
pub fn build(root: &Path, folder: &Path, name: &str, profile: &Profile) -> Result<PathBuf, String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let file = folder.join(format!("{name}.toml"));
    fs::write(&file, profile.to_toml("A candidate.")).map_err(|error| format!("{}: {error}", file.display()))?;
    // The kernels that the probe runs, and no others.
    let flags = env::var("RUSTFLAGS").unwrap_or_default() + " --cfg only_softmax";
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--quiet", "--package", "softmax-tune"])
        .args([
            "--no-default-features",
            "--features",
            "probe",
            "--bin",
            PROBE,
            "--target-dir",
        ])
        .arg(folder)
        .env("RUSTFLAGS", flags)
        .env("SOFTMAX_TUNING", &file)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("building candidate {name}: {status}")),
        Err(error) => return Err(format!("cargo: {error}")),
    }
    let suffix = env::consts::EXE_SUFFIX;
    let (built, kept) = (
        folder.join(format!("release/{PROBE}{suffix}")),
        folder.join(format!("{name}{suffix}")),
    );
    // A running probe keeps the file it was started from: removed, not overwritten.
    let _ = fs::remove_file(&kept);
    fs::copy(&built, &kept).map_err(|error| format!("{}: {error}", built.display()))?;
    Ok(kept)
}

/// A running probe, on one instruction set.
pub struct Probe {
    process: Child,
    questions: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    isa: String,
}

impl Probe {
    /// Starts the program of a candidate.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(candidate: &Candidate) -> Result<Self, String> {
        let variables = candidate.variables.iter();
        let mut process = Command::new(&candidate.program)
            .envs(variables.map(|(name, value)| (name, value.to_string())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", candidate.program.display()))?;
        let (questions, answers) = (process.stdin.take(), process.stdout.take());
        let answers = answers.ok_or("the probe has no output")?;
        Ok(Self {
            process,
            questions,
            answers: BufReader::new(answers).lines(),
            isa: candidate.isa.clone(),
        })
    }

    /// The instruction sets of this CPU, best first.
    ///
    /// # Errors
    /// The probe has ended.
    pub fn isas(&mut self) -> Result<Vec<String>, String> {
        Ok(self.ask("isas")?.split_whitespace().map(str::to_owned).collect())
    }

    /// Nanoseconds per element, least of about `micros` microseconds.
    ///
    /// # Errors
    /// The probe has ended.
    pub fn measure(&mut self, shape: Shape, micros: u32) -> Result<f64, String> {
        let answer = self.ask(&format!("{} {shape} {micros}", self.isa))?;
        answer.parse().map_err(|_| format!("the probe said {answer}"))
    }

    fn ask(&mut self, question: &str) -> Result<String, String> {
        let questions = self.questions.as_mut().ok_or("the probe has no input")?;
        writeln!(questions, "{question}").map_err(|error| format!("the probe: {error}"))?;
        let answer = self.answers.next().ok_or("the probe has ended")?;
        answer.map_err(|error| format!("the probe: {error}"))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.questions = None;
        let _ = self.process.wait();
    }
}
