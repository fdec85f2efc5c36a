//! The command line.

use crate::measure::Plan;
use crate::peers;
use crate::task::{Cap, Dtype, Op, Place, SHAPES, Shape, Task};
use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Measures the softmax crate beside the other libraries that compute softmax: in turns, in one
/// process per instruction set and number of threads, on the same buffers.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// Instruction sets: all of the CPU, no AVX-512, or one process for each.
    #[arg(long, value_enum, default_value = "native")]
    pub isa: Isa,
    /// Functions.
    #[arg(long, value_delimiter = ',', default_value = "softmax")]
    pub op: Vec<Op>,
    /// Element types.
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    pub dtype: Vec<Dtype>,
    /// Out of place, in place.
    #[arg(long, value_delimiter = ',', default_value = "out,in")]
    pub place: Vec<Place>,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = threads)]
    pub threads: Vec<usize>,
    /// Every function, element type, place and number of threads.
    #[arg(long)]
    pub all: bool,
    /// Matrices as ROWSxCOLS instead of the twelve of the duel.
    #[arg(long, value_delimiter = ',')]
    pub shape: Vec<Shape>,
    /// Peers by name instead of all; the crate under test always takes part.
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(peers::NAMES))]
    pub peer: Vec<String>,
    /// Samples of each peer; the least counts.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Few and short samples: a look, not a record.
    #[arg(long)]
    pub quick: bool,
    /// Write the figures.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write a plot.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Measure nothing: read the figures of the peers that are wanted from a CSV of this program.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["isa", "op", "dtype", "place", "threads", "all", "shape", "rounds", "quick"]
    )]
    pub from: Option<PathBuf>,
}

/// The measuring processes to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Isa {
    /// All that the CPU has.
    Native,
    /// No AVX-512.
    Avx2,
    /// One after the other.
    Both,
}

impl Cli {
    /// The caps of the measuring processes.
    pub fn caps(&self) -> &'static [Cap] {
        match self.isa {
            Isa::Native => &[Cap::Native],
            Isa::Avx2 => &[Cap::Avx2],
            Isa::Both => &[Cap::Native, Cap::Avx2],
        }
    }

    /// The numbers of threads of the measuring processes.
    pub fn thread_counts(&self) -> Vec<usize> {
        if self.all { vec![1, 2] } else { self.threads.clone() }
    }

    /// The samples to take.
    pub fn plan(&self) -> Plan {
        let plan = if self.quick { Plan::QUICK } else { Plan::FULL };
        Plan {
            rounds: self.rounds.map_or(plan.rounds, |rounds| rounds as usize),
            ..plan
        }
    }

    /// Whether `peer` was asked for.
    pub fn is_wanted(&self, peer: &str) -> bool {
        peer == peers::OURS || self.peer.is_empty() || self.peer.iter().any(|name| name == peer)
    }

    /// The tables, each with its tasks.
    pub fn tasks(&self) -> Vec<Vec<Task>> {
        let (ops, dtypes, places) = if self.all {
            (Op::value_variants(), Dtype::value_variants(), Place::value_variants())
        } else {
            (&*self.op, &*self.dtype, &*self.place)
        };
        let shapes = if self.shape.is_empty() {
            &SHAPES[..]
        } else {
            &self.shape
        };
        let mut tables = Vec::new();
        for &op in ops {
            for &dtype in dtypes {
                for &place in places {
                    let task = |&shape: &Shape| Task {
                        op,
                        dtype,
                        place,
                        shape,
                    };
                    tables.push(shapes.iter().map(task).collect());
                }
            }
        }
        tables
    }
}

fn threads(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|threads| (1..=1024).contains(threads))
        .ok_or_else(|| "1 to 1024".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_and_choices() {
        let cli = Cli::parse_from(["softmax-peers"]);
        assert_eq!(cli.tasks().len(), 2);
        assert_eq!(cli.tasks()[0].len(), SHAPES.len());
        assert_eq!(cli.thread_counts(), [1, 2]);

        let cli = Cli::parse_from([
            "softmax-peers",
            "--shape",
            "3x4,5x6",
            "--dtype=f16",
            "--place=in",
            "--rounds=7",
            "--isa=both",
            "--threads=4",
            "--peer",
            "candle,naive",
        ]);
        assert_eq!(cli.caps(), [Cap::Native, Cap::Avx2]);
        assert_eq!(cli.plan().rounds, 7);
        assert_eq!(
            cli.tasks(),
            [[(3, 4), (5, 6)]
                .map(|(rows, cols)| Task {
                    op: Op::Softmax,
                    dtype: Dtype::F16,
                    place: Place::In,
                    shape: Shape::new(rows, cols),
                })
                .to_vec()]
        );
        assert_eq!(Cli::parse_from(["softmax-peers", "--all"]).tasks().len(), 12);
        for wrong in ["--shape=3", "--peer=nobody", "--threads=0", "--rounds=0"] {
            assert!(Cli::try_parse_from(["softmax-peers", wrong]).is_err(), "{wrong}");
        }
        let from = |more: &str| Cli::try_parse_from(["softmax-peers", "--from=duel.csv", more]);
        assert!(from("--peer=naive").is_ok());
        assert!(from("--isa=avx2").is_err() && from("--shape=3x4").is_err());
    }
}
