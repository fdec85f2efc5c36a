//! Vocabulary rows: the most probable tokens of each position, their probabilities, the entropy of the row, and tokens drawn
//! from it.
//!
//! `cargo run --release --example vocab` reads eight bundled rows of 30,522 logits; `--help` lists the options.

#[path = "../common/mod.rs"]
mod common;

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};
use softmax::{Isa, Rows, Sampler};

use common::style::{Colour, Style, bar, decimal, thousands};
use common::{Result, available_isa, fastest, print, read_f32, read_file};

/// Show what rows of vocabulary logits predict: the most probable tokens, their probabilities, the entropy, and samples.
///
/// Without options: eight bundled rows of 30,522 logits.
#[derive(Parser)]
#[command(name = "vocab")]
struct Args {
    /// Logits: .npy of f32, positions × tokens
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// How many of the most probable tokens to list
    #[arg(short, long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,

    /// How many tokens to draw for each position
    #[arg(short, long, value_name = "N", default_value_t = 5)]
    samples: usize,

    /// What the generator of random numbers starts from
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,

    /// What the logits are divided by; 0 draws the most probable token
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,

    /// Draw from the K most probable tokens only; 0: from all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,

    /// Draw from the most probable tokens that have this share of the probability together
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f32,

    /// Draw from tokens only that are at least so probable beside the most probable one
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    min_p: f32,

    /// Instruction set to run on: avx512, avx2, neon, portable or scalar [default: the best here]
    #[arg(long, value_name = "NAME", value_parser = available_isa)]
    isa: Option<Isa>,
}

fn main() -> ExitCode {
    common::exit("vocab", run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let (source, bytes) = match &args.input {
        Some(path) => (path.display().to_string(), read_file(path)?),
        None => (
            "the bundled vocab_logits.npy".to_owned(),
            include_bytes!("../data/vocab_logits.npy").to_vec(),
        ),
    };
    let (shape, logits) = read_f32(&source, &bytes, "positions × tokens")?;
    let (n, tokens) = (shape[0], shape[1]);
    let k = args.top as usize;
    if k > tokens {
        return Err(format!("--top {k}: {source} has only {tokens} tokens").into());
    }
    let isa = args.isa.unwrap_or_else(Isa::detect);
    let rows = Rows::new(n, tokens);
    let (mut index, mut probability) = (vec![0; n * k], vec![0.0; n * k]);
    let time = fastest(|| isa.top_k_rows(&logits, k, &mut index, &mut probability, rows))?;
    let mut logarithms = vec![0.0; logits.len()];
    isa.log_softmax_rows(&logits, &mut logarithms, rows)?;

    let (mut rng, sampler) = (Xoshiro256PlusPlus::seed_from_u64(args.seed), args.sampler());
    let mut workspace = vec![(0.0, 0); sampler.workspace_len(tokens)];

    let style = Style::of_stdout();
    let mut text = format!(
        "\n {}\n",
        style.paint(
            Colour::Bold,
            &format!("top_k, log_softmax and sample on {}", isa.name())
        )
    );
    writeln!(text, " {n} positions × {tokens} tokens from {source}")?;
    for (row, logarithms) in logarithms.chunks_exact(tokens).enumerate() {
        let entropy = entropy(logarithms);
        let title = format!(
            "Position {row}: entropy {entropy:.4} bits, as of {:.1} equal tokens",
            entropy.exp2()
        );
        writeln!(text, "\n {}", style.paint(Colour::Bold, &title))?;
        for (token, &p) in index[row * k..][..k].iter().zip(&probability[row * k..][..k]) {
            let p = f64::from(p);
            let bar = style.paint(Colour::Cyan, &bar(p, 40));
            writeln!(text, " token {token:>7}  {bar} {}", decimal(p))?;
        }
        if args.samples > 0 {
            text += " drawn";
            for _ in 0..args.samples {
                let logits = &logits[row * tokens..][..tokens];
                let token = isa.sample(&sampler, logits, &mut workspace, || rng.next_u64())?;
                write!(text, " {token:>7}")?;
            }
            text += "\n";
        }
    }
    let per_second = thousands(n as f64 / time.as_secs_f64());
    writeln!(
        text,
        "\n top {k}: {per_second} rows/s, nothing written per row (one thread)\n"
    )?;
    print(&text)
}

impl Args {
    fn sampler(&self) -> Sampler {
        Sampler {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
        }
    }
}

/// −Σ p·log2 p of a row of logarithms, in f64.
fn entropy(logarithms: &[f32]) -> f64 {
    let terms = logarithms.iter().map(|&l| f64::from(l)).filter(|l| l.is_finite());
    -terms.map(|l| l.exp() * l).sum::<f64>() / std::f64::consts::LN_2
}
