//! The duel: see `README.md`, or `--help`.

use clap::Parser;
use softmax_peers::cli::Cli;
use softmax_peers::record::Record;
use softmax_peers::{machine, plot, process, record, table};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match process::assignment() {
        Ok(Some((cap, threads))) => process::run(&cli, cap, threads),
        Ok(None) => duel(&cli),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures or reads, then writes what was asked for, even if some of the measuring processes failed.
fn duel(cli: &Cli) -> Result<(), String> {
    let mut failures = Vec::new();
    let (comments, records) = match &cli.from {
        Some(file) => {
            let text = fs::read_to_string(file).map_err(|error| in_file(file, error))?;
            let (comments, mut records) = record::read_csv(&text)?;
            records.retain(|record| cli.is_wanted(&record.peer));
            (comments, records)
        }
        None => measure(cli, &mut failures),
    };
    for comment in &comments {
        println!("{comment}");
    }
    println!("\n{}\n{}", table::render(&records), table::summary(&records));
    if let Some(file) = &cli.csv {
        write(file, &record::write_csv(&comments, &records))?;
    }
    if let Some(file) = &cli.svg {
        write(file, &plot::render(&comments, &records)?)?;
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(failures.join("; ")),
    }
}

/// Runs the measuring processes; returns comments and records, and adds to `failures` what went wrong.
fn measure(cli: &Cli, failures: &mut Vec<String>) -> (Vec<String>, Vec<Record>) {
    let mut comments = machine::describe();
    comments.push(format!("plan: {:?}, least of the rounds", cli.plan()));
    comments.push(format!("load before: {}", machine::load()));
    if machine::is_busy() {
        eprintln!("warning: other programs are running; figures of several threads mean little");
    }
    let mut records = Vec::new();
    for &cap in cli.caps() {
        for threads in cli.thread_counts() {
            if let Err(error) = process::start(cap, threads, &mut records) {
                eprintln!("error: {error}");
                failures.push(error);
            }
        }
    }
    comments.push(format!("load after: {}", machine::load()));
    comments.extend(failures.iter().map(|failure| format!("incomplete: {failure}")));
    (comments, records)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| in_file(file, error))
}

fn in_file(file: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", file.display())
}
