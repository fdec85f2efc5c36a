//! Classifies rows of logits and shows what softmax makes of them.
//!
//! `cargo run --release --example classify` reads the bundled logits of 898 handwritten digits; `--help` lists
//! the options. `input` turns files into checked logits and labels, `report` draws; this file does the work between.

#[path = "../common/mod.rs"]
mod common;
mod input;
mod report;
mod sigmoid;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use softmax::{Element, Isa, Rows};

use common::{available_isa, fastest, formats, print, style};
use input::{Logits, Result, Values};
use report::Report;
use style::Style;

/// Classify rows of logits with softmax: the most probable classes, how sure they are, how fast it was.
///
/// Without options: the bundled logits of 898 handwritten digits.
#[derive(Parser)]
#[command(name = "classify")]
struct Args {
    /// Logits, one row per line: .npy (f32 or f64, the last axis is the classes) or CSV
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// True classes, one per row: .npy (integers) or CSV
    #[arg(short, long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// How many of the most probable classes to list [default: 3]
    #[arg(short, long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,

    /// Instruction set to run on: avx512, avx2, neon, portable or scalar [default: the best here]
    #[arg(long, value_name = "NAME", value_parser = available_isa)]
    isa: Option<Isa>,
}

fn main() -> ExitCode {
    common::exit("classify", run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let bundled = args.input.is_none();
    let logits = match &args.input {
        Some(path) => Logits::read(path)?,
        None => Logits::bundled()?,
    };
    let labels = match &args.labels {
        Some(path) => Some(input::read_labels(path, &logits)?),
        None if bundled => Some(input::bundled_labels(&logits)?),
        None => None,
    };
    let isa = args.isa.unwrap_or_else(Isa::detect);
    let k = args.top.map_or(logits.cols.min(3), |k| k as usize);
    let prediction = Prediction::new(isa, &logits, k)?;
    let report = Report {
        logits: &logits,
        labels: labels.as_deref(),
        prediction: &prediction,
        noun: if bundled { "image" } else { "row" },
        style: Style::of_stdout(),
    };
    let text = report.render();
    print(&text)
}

/// What the library says about every row, and how many rows per second it took to say it.
struct Prediction {
    isa: Isa,
    k: usize,
    cols: usize,
    /// `k` classes per row, most probable first, and their probabilities.
    classes: Vec<usize>,
    probabilities: Vec<f64>,
    /// The whole distribution of every row.
    distributions: Vec<f64>,
    predict_rows_per_second: f64,
    softmax_rows_per_second: f64,
}

impl Prediction {
    fn new(isa: Isa, logits: &Logits, k: usize) -> Result<Self> {
        if k > logits.cols {
            return Err(format!("--top {k}: {} has only {} classes", logits.source, logits.cols).into());
        }
        let rows = Rows::new(logits.rows, logits.cols);
        match &logits.values {
            Values::F32(x) => Self::of(isa, x, k, rows),
            Values::F64(x) => Self::of(isa, x, k, rows),
        }
    }

    fn of<T: Element<Compute = T> + Default + Into<f64>>(isa: Isa, x: &[T], k: usize, rows: Rows) -> Result<Self> {
        let mut classes = vec![0; rows.rows() * k];
        let mut probabilities = vec![T::default(); rows.rows() * k];
        let mut distributions = vec![T::default(); x.len()];
        let predict = fastest(|| isa.top_k_rows(x, k, &mut classes, &mut probabilities, rows))?;
        let softmax = fastest(|| isa.softmax_rows(x, &mut distributions, rows))?;
        let per_second = |time: Duration| rows.rows() as f64 / time.as_secs_f64();
        Ok(Self {
            isa,
            k,
            cols: rows.cols(),
            classes,
            probabilities: probabilities.into_iter().map(Into::into).collect(),
            distributions: distributions.into_iter().map(Into::into).collect(),
            predict_rows_per_second: per_second(predict),
            softmax_rows_per_second: per_second(softmax),
        })
    }

    /// The `k` most probable classes of `row`, each with its probability.
    fn top(&self, row: usize) -> impl Iterator<Item = (usize, f64)> {
        let range = row * self.k..(row + 1) * self.k;
        self.classes[range.clone()]
            .iter()
            .copied()
            .zip(self.probabilities[range].iter().copied())
    }

    /// The most probable class of `row` and its probability.
    fn best(&self, row: usize) -> (usize, f64) {
        (self.classes[row * self.k], self.probabilities[row * self.k])
    }

    /// The probability of every class in `row`.
    fn distribution(&self, row: usize) -> &[f64] {
        &self.distributions[row * self.cols..(row + 1) * self.cols]
    }
}
