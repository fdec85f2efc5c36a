//! Measures this machine and writes a tuning profile: see `README.md`, or `--help`.

mod candidate;
mod knob;
mod plot;
#[path = "../../../tuning/profile.rs"]
mod profile;
mod trial;

use candidate::Probe;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use knob::{KNOBS, Knob, Shape};
use profile::{Profile, Value};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};
use trial::Trial;

/// Measures this machine and writes a tuning profile: builds the crate with each candidate value, and measures the
/// candidates in turns.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Fewer candidates, fewer rounds.
    #[arg(long)]
    quick: bool,
    /// The profile to start from, and to compare with.
    #[arg(long, default_value = "generic")]
    base: String,
    /// Only these keys, instead of all that can be measured.
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(KNOBS.map(|knob| knob.key)))]
    key: Vec<String>,
    /// The name of the profile [default: that of the CPU, as the compiler spells it].
    #[arg(long)]
    name: Option<String>,
    /// Where to write the profile [default: tuning/NAME.toml of this repository].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where to draw the times [default: target/tune/NAME.svg].
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Where to write the times [default: target/tune/NAME.csv].
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

fn main() -> ExitCode {
    match tune(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tune(cli: &Cli) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().map_err(|error| in_file(&root, error))?;
    let base = profile::read(&profile::choose(&root.join("tuning"), Some(&cli.base), None)?)?;
    let cpu = cpu();
    let name = cli
        .name
        .clone()
        .or_else(|| cpu.clone())
        .ok_or("the compiler does not name this CPU; use --name")?;
    let mut search = Search::new(cli, root.clone(), base)?;
    let chosen = search.run()?.with("cpus", Value::Text(cpu.unwrap_or_default()));

    let folder = root.join("target/tune");
    let file = |given: &Option<PathBuf>, default: PathBuf| given.clone().unwrap_or(default);
    let heading = format!("Measured by softmax-tune on {}.\n{}", machine(), search.gain);
    write(
        &file(&cli.out, root.join("tuning").join(format!("{name}.toml"))),
        &chosen.to_toml(&heading),
    )?;
    write(
        &file(&cli.svg, folder.join(format!("{name}.svg"))),
        &plot::render(&search.trials)?,
    )?;
    let mut csv = heading.lines().map(|line| format!("# {line}\n")).collect::<String>();
    csv += "knob,value,place,rows,cols,ns_per_element\n";
    search.trials.iter().for_each(|trial| csv += &trial.to_csv());
    write(&file(&cli.csv, folder.join(format!("{name}.csv"))), &csv)?;
    println!("{}", search.gain);
    println!("to use it here: SOFTMAX_TUNING={name} cargo build --release, or RUSTFLAGS=-Ctarget-cpu={name}");
    Ok(())
}

/// The most stack that a profile may allow.
const MOST_SCRATCH: u64 = 32_768;

/// The search: one knob after the other, each from the best profile so far.
struct Search {
    root: PathBuf,
    quick: bool,
    base: Profile,
    /// Rounds of a trial, and microseconds of a measurement.
    effort: (u32, u32),
    bar: ProgressBar,
    trials: Vec<Trial>,
    /// The variables that stand for what was chosen and is in no program.
    set: Vec<(&'static str, u64)>,
    knobs: Vec<&'static Knob>,
    gain: String,
}

impl Search {
    fn new(cli: &Cli, root: PathBuf, base: Profile) -> Result<Self, String> {
        let effort = if cli.quick { (20, 300) } else { (60, 500) };
        let is_wanted = |knob: &&Knob| cli.key.is_empty() || cli.key.iter().any(|key| key == knob.key);
        let knobs: Vec<&Knob> = KNOBS.iter().filter(is_wanted).collect();
        let builds: usize = 1 + knobs.iter().map(|knob| knob.values(cli.quick).len()).sum::<usize>();
        // A build counts as much as the rounds of a trial.
        let trials = knobs.len() + 2;
        let bar = ProgressBar::new((builds + trials) as u64 * u64::from(effort.0));
        let style = ProgressStyle::with_template("{elapsed_precise} [{wide_bar}] {percent:>3} % {msg:40}");
        bar.set_style(style.map_err(|error| error.to_string())?);
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        Ok(Self {
            root,
            quick: cli.quick,
            base,
            effort,
            bar,
            trials: Vec::new(),
            set: Vec::new(),
            knobs,
            gain: String::new(),
        })
    }

    fn run(&mut self) -> Result<Profile, String> {
        let base = self.base.clone();
        let first = self.build("base", &base)?;
        let isas = Probe::start(&first, "", &[])?.isas()?;
        let best_isa = isas.first().cloned().ok_or("the probe names no instruction set")?;
        let (mut best, isa) = self.prefer(&first, &best_isa)?;
        let mut program = first.clone();
        for knob in self.knobs.clone() {
            (best, program) = self.turn(knob, best, program, &isa)?;
        }
        let mut pair = [
            ("base".to_owned(), Probe::start(&first, &best_isa, &[])?),
            ("chosen".to_owned(), Probe::start(&program, &isa, &self.set)?),
        ];
        let last = self.trial("profile", &mut pair, knob::all_shapes(&self.knobs))?;
        let ratio = last.ratio(0, 1);
        self.gain = format!(
            "Against the profile it started from, over {} shapes: {:+.1} % speed (geometric mean).",
            last.shapes.len(),
            100.0 * (ratio - 1.0)
        );
        self.show(last, 1);
        self.bar.finish_and_clear();
        Ok(best)
    }

    /// AVX-512 or AVX2: the same build on both, each in a process of its own.
    fn prefer(&mut self, program: &Path, best: &str) -> Result<(Profile, String), String> {
        let isas = ["avx512", "avx2"];
        if best != isas[0] {
            return Ok((self.base.clone(), best.to_owned()));
        }
        let mut candidates = Vec::new();
        for isa in isas {
            candidates.push((isa.to_owned(), Probe::start(program, isa, &[])?));
        }
        let trial = self.trial("prefer_avx512", &mut candidates, knob::all_shapes(&self.knobs))?;
        let chosen = trial.best(0);
        self.show(trial, chosen);
        Ok((
            self.base.with("prefer_avx512", Value::Flag(chosen == 0)),
            isas[chosen].to_owned(),
        ))
    }

    /// Tries the values of one knob; returns the better profile and its program.
    fn turn(&mut self, knob: &Knob, best: Profile, program: PathBuf, isa: &str) -> Result<(Profile, PathBuf), String> {
        let now = best.count(knob.key);
        let mut tried = vec![(now, best.clone(), program.clone())];
        for &value in knob.values(self.quick) {
            let mut profile = best.with(knob.key, Value::Count(value));
            if profile.check().is_err() && knob.key != "scratch_bytes" {
                // Batches that need more stack bring it along.
                profile = profile.with("scratch_bytes", Value::Count(MOST_SCRATCH));
            }
            if value == now || profile.check().is_err() {
                self.bar.inc(u64::from(self.effort.0));
            } else if knob.variable.is_some() {
                self.bar.inc(u64::from(self.effort.0));
                tried.push((value, profile, program.clone()));
            } else {
                let built = self.build(&format!("{}-{value}", knob.key), &profile)?;
                tried.push((value, profile, built));
            }
        }
        let mut candidates = Vec::new();
        for (value, _, program) in &tried {
            let mut set = self.set.clone();
            set.extend(knob.variable.filter(|_| *value != now).map(|name| (name, *value)));
            candidates.push((value.to_string(), Probe::start(program, isa, &set)?));
        }
        let trial = self.trial(knob.key, &mut candidates, knob.shapes())?;
        let chosen = trial.best(0);
        self.show(trial, chosen);
        let (value, profile, program) = tried.swap_remove(chosen);
        self.set
            .extend(knob.variable.filter(|_| value != now).map(|name| (name, value)));
        Ok((profile, program))
    }

    fn build(&self, name: &str, profile: &Profile) -> Result<PathBuf, String> {
        self.say(&format!("building {name}"));
        let built = candidate::build(&self.root, &self.root.join("target/tune"), name, profile);
        self.bar.inc(u64::from(self.effort.0));
        built
    }

    fn trial(&self, what: &str, candidates: &mut [(String, Probe)], shapes: Vec<Shape>) -> Result<Trial, String> {
        self.say(&format!("measuring {what}"));
        Trial::run(what, candidates, shapes, self.effort, || self.bar.inc(1))
    }

    /// Prints a trial and keeps it for the plot.
    fn show(&mut self, trial: Trial, chosen: usize) {
        self.bar.suspend(|| println!("{}", trial.to_table(chosen)));
        self.trials.push(trial);
    }

    /// What is going on: beside the bar, or as a line where there is none.
    fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        if self.bar.is_hidden() {
            eprintln!("{what}");
        }
    }
}

/// The name of this CPU, as the compiler spells it.
fn cpu() -> Option<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-cpus"]).output().ok()?;
    let list = String::from_utf8(output.stdout).ok()?;
    profile::native_cpu(&list).map(str::to_owned)
}

/// The CPU in its own words, and how busy it was.
fn machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let field = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':'))
            .map_or("unknown", |(_, value)| value.trim())
    };
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("unknown");
    let (name, family, model) = (field("model name"), field("cpu family"), field("model\t"));
    format!("{name}, family {family} model {model}, load {load}")
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(|error| in_file(folder, error))?;
    }
    fs::write(file, text).map_err(|error| in_file(file, error))?;
    println!("wrote {}", file.display());
    Ok(())
}

fn in_file(file: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", file.display())
}
