//! Attention weights of real scores: scale and causal mask fused with softmax, one head drawn as a heat map.
//!
//! `cargo run --release --example attention` reads the bundled scores of the twelve heads of a layer of
//! all-MiniLM-L6-v2 on 128 tokens of English text; `--help` lists the options.

#[path = "../common/mod.rs"]
mod common;
mod map;

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use softmax::{Isa, Mask, Rows};

use common::style::{Colour, Style, thousands};
use common::{Result, available_isa, fastest, print, read_f32, read_file};

/// Turn attention scores into attention weights: scale, causal mask and softmax in one sweep, and a head as a heat map.
///
/// Without options: head 0 of the bundled scores of 12 heads on 128 tokens.
#[derive(Parser)]
#[command(name = "attention")]
struct Args {
    /// Scores q·k, not yet scaled: .npy of f32, heads × queries × keys
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// The head to draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    head: usize,

    /// The factor of the scores [default: 1/√32, for the bundled heads of 32 dimensions]
    #[arg(long, value_name = "FACTOR")]
    scale: Option<f32>,

    /// Let every query see every key
    #[arg(long)]
    bidirectional: bool,

    /// Draw the head into this file, too
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Instruction set to run on: avx512, avx2, neon, portable or scalar [default: the best here]
    #[arg(long, value_name = "NAME", value_parser = available_isa)]
    isa: Option<Isa>,
}

fn main() -> ExitCode {
    common::exit("attention", run(&Args::parse()))
}

/// The weights of every head, as `queries` rows of `keys` each.
struct Weights {
    heads: usize,
    queries: usize,
    keys: usize,
    values: Vec<f32>,
}

impl Weights {
    fn rows(&self, head: usize) -> impl Iterator<Item = &[f32]> + Clone {
        let size = self.queries * self.keys;
        self.values[head * size..][..size].chunks_exact(self.keys)
    }
}

fn run(args: &Args) -> Result<()> {
    let (source, bytes) = match &args.input {
        Some(path) => (path.display().to_string(), read_file(path)?),
        None => (
            "the bundled attention_scores.npy".to_owned(),
            include_bytes!("../data/attention_scores.npy").to_vec(),
        ),
    };
    let (shape, scores) = read_f32(&source, &bytes, "heads × queries × keys")?;
    let (heads, queries, keys) = (shape[0], shape[1], shape[2]);
    if args.head >= heads {
        return Err(format!("--head {}: {source} has the heads 0 to {}", args.head, heads - 1).into());
    }
    let isa = args.isa.unwrap_or_else(Isa::detect);
    let rows = Rows::new(heads * queries, keys);
    let scale = args.scale.unwrap_or(1.0 / 32f32.sqrt());
    let full = Mask::new().with_scale(scale).with_queries(queries);
    // The last query sees every key.
    let causal = full.with_causal(keys as isize - queries as isize);
    let mask = if args.bidirectional { full } else { causal };

    let mut values = vec![0.0; scores.len()];
    let mut time = |mask| fastest(|| isa.masked_softmax(&scores, &mut values, rows, mask));
    let (full, causal) = (time(&full)?, time(&causal)?);
    isa.masked_softmax(&scores, &mut values, rows, &mask)?;
    let weights = Weights {
        heads,
        queries,
        keys,
        values,
    };

    let style = Style::of_stdout();
    let mut text = format!(
        "\n {}\n",
        style.paint(Colour::Bold, &format!("masked_softmax on {}", isa.name()))
    );
    let seen = if args.bidirectional { "all keys" } else { "causal" };
    writeln!(
        text,
        " {heads} heads × {queries} × {keys} from {source}, scale {scale:.6}, {seen}"
    )?;
    writeln!(
        text,
        "\n {}",
        style.paint(
            Colour::Bold,
            &format!("Head {}: queries down, keys across, row sums", args.head)
        )
    )?;
    text += &map::terminal(&weights, args.head, style);
    writeln!(text, "\n {}", style.paint(Colour::Bold, "All heads"))?;
    text += &summary(&weights);
    let per_second = |time: std::time::Duration| thousands(rows.rows() as f64 / time.as_secs_f64());
    writeln!(text, "\n all keys  {:>12} rows/s   (one thread)", per_second(full))?;
    writeln!(
        text,
        " causal    {:>12} rows/s   (what is not visible is filled)\n",
        per_second(causal)
    )?;
    if let Some(path) = &args.svg {
        std::fs::write(path, map::svg(&weights, args.head)).map_err(|error| format!("{}: {error}", path.display()))?;
        writeln!(text, " head {} is drawn in {}\n", args.head, path.display())?;
    }
    print(&text)
}

/// A line to a head: its row sums, how many keys a query spreads over, and where the weight goes.
fn summary(weights: &Weights) -> String {
    let mut text = format!(
        " {:>4}   {:>10} {:>10}   {:>9}   {:>9}   {:>9}\n",
        "head", "least sum", "largest", "keys used", "first key", "own key"
    );
    for head in 0..weights.heads {
        let (mut least, mut largest) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut entropy, mut first, mut own) = (0.0, 0.0, 0.0);
        for (query, row) in weights.rows(head).enumerate() {
            let sum = map::sum(row);
            (least, largest) = (least.min(sum), largest.max(sum));
            let terms = row.iter().map(|&p| f64::from(p)).filter(|&p| p > 0.0);
            entropy -= terms.map(|p| p * p.ln()).sum::<f64>();
            first += f64::from(row[0]);
            let own_key = (query + weights.keys).checked_sub(weights.queries);
            own += own_key.and_then(|key| row.get(key)).map_or(0.0, |&p| f64::from(p));
        }
        let n = weights.queries as f64;
        let used = (entropy / n).exp();
        text += &format!(
            " {head:>4}   {least:>10.7} {largest:>10.7}   {used:>9.2}   {:>9.4}   {:>9.4}\n",
            first / n,
            own / n
        );
    }
    text
}
