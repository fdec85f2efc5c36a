//! Measures this machine and writes a tuning profile: see `README.md`, or `--help`.

mod candidate;
mod knob;
mod plot;
#[path = "../../../tuning/profile.rs"]
mod profile;
mod search;
mod trial;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use profile::{Profile, Value};
use search::Search;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

/// Measures this machine and writes a tuning profile: builds the crate with each candidate value, and measures the
/// candidates in turns.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Fewer candidates, fewer rounds.
    #[arg(long)]
    quick: bool,
    /// The profile to start from, and to compare with [default: generic; with --key, the one that is written, if it is
    /// there].
    #[arg(long)]
    base: Option<String>,
    /// Only these keys, instead of all that can be measured.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(search::keys()))]
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

impl Cli {
    /// The profile to start from: what the other keys keep their values of.
    fn base(&self, tuning: &Path, written: &Path) -> Result<Profile, String> {
        match &self.base {
            None if !self.key.is_empty() && written.is_file() => profile::read(written),
            base => profile::read(&profile::choose(tuning, base.as_deref(), None)?),
        }
    }
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
    let (tuning, folder) = (root.join("tuning"), root.join("target/tune"));
    let cpu = cpu();
    let name = cli.name.as_ref().or(cpu.as_ref());
    let name = name.ok_or("the compiler does not name this CPU; use --name")?;
    let file = |given: &Option<PathBuf>, default: PathBuf| given.clone().unwrap_or(default);
    let written = file(&cli.out, profile::file(&tuning, name));
    let written = std::path::absolute(&written).map_err(|error| in_file(&written, error))?;
    let base = cli.base(&tuning, &written)?;

    let mut search = Search::new(root, base, &cli.key, cli.quick)?;
    let mut chosen = search.run()?;
    if let Some(cpu) = cpu.as_ref().filter(|cpu| !chosen.is_for(cpu)) {
        chosen = chosen.with("cpus", Value::Text(cpu.clone()));
    }
    let heading = format!("Measured by softmax-tune on {}.\n{}", machine(), search.gain);
    write(&written, &chosen.to_toml(&heading))?;
    write(
        &file(&cli.svg, folder.join(format!("{name}.svg"))),
        &plot::render(&search.trials)?,
    )?;
    let mut csv = heading.lines().map(|line| format!("# {line}\n")).collect::<String>();
    csv += "knob,value,place,rows,cols,ns_per_element\n";
    search.trials.iter().for_each(|trial| csv += &trial.to_csv());
    write(&file(&cli.csv, folder.join(format!("{name}.csv"))), &csv)?;
    println!("{}\n{}", search.gain, advice(&tuning, &written, cpu.as_deref()));
    Ok(())
}

/// How to use the profile that was written: by its path, or by the CPU if the build takes it for that.
fn advice(tuning: &Path, written: &Path, cpu: Option<&str>) -> String {
    let by_path = format!("to use it: SOFTMAX_TUNING={} cargo build --release", written.display());
    let is_taken = |cpu: &&str| profile::choose(tuning, None, Some(cpu)).is_ok_and(|file| file == written);
    match cpu.filter(is_taken) {
        Some(cpu) => format!("{by_path}, or RUSTFLAGS=-Ctarget-cpu={cpu}"),
        None => by_path,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn tuning() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tuning")
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        assert!(Cli::try_parse_from(["softmax-tune", "--key=prefer_avx512,batch_rows"]).is_ok());
        assert!(Cli::try_parse_from(["softmax-tune", "--key=l1_bytes"]).is_err());
    }

    /// Some keys are measured for the profile that is there, all of them from `generic` on.
    #[test]
    fn the_profile_to_start_from() {
        let named = |name: &str| profile::read(&profile::file(&tuning(), name));
        let base = |arguments: &[&str], written: &str| {
            let cli = Cli::parse_from([&["softmax-tune"], arguments].concat());
            cli.base(&tuning(), &profile::file(&tuning(), written))
        };
        assert_eq!(base(&["--key=l3_bytes"], "cascadelake"), named("cascadelake"));
        assert_eq!(base(&["--key=l3_bytes"], "no-such-profile"), named("generic"));
        assert_eq!(
            base(&["--key=l3_bytes", "--base=generic"], "cascadelake"),
            named("generic")
        );
        assert_eq!(base(&[], "cascadelake"), named("generic"));
    }

    #[test]
    fn a_cpu_is_named_only_where_the_build_takes_the_profile_for_it() {
        let advice = |name: &str, cpu: Option<&str>| advice(&tuning(), &profile::file(&tuning(), name), cpu);
        assert!(advice("cascadelake", Some("cascadelake")).ends_with("-Ctarget-cpu=cascadelake"));
        for cpu in [None, Some("cascadelake")] {
            let advice = advice("mybox", cpu);
            assert!(
                advice.contains("mybox.toml") && !advice.contains("target-cpu"),
                "{advice}"
            );
        }
    }
}
