//! What is tried: each knob with its candidates and the shapes on which it shows. A new knob is a row of [`KNOBS`].

use crate::profile::{Profile, Value};
use std::fmt;

/// A key of the profile whose best value is sought.
pub struct Knob {
    /// The key.
    pub key: &'static str,
    /// The values tried.
    pub values: &'static [u64],
    /// The values tried in a hurry.
    pub quick: &'static [u64],
    /// Whether it is measured in place.
    pub in_place: bool,
    /// The lengths of the rows.
    pub cols: &'static [usize],
    /// Elements of a matrix, unless a row is longer.
    pub elements: usize,
    /// The variable that sets it in a process, for which no build is needed.
    pub variable: Option<&'static str>,
    /// The key whose value is lowered where both together would take too much stack.
    pub beside: Option<&'static str>,
}

const MIB: u64 = 1 << 20;

/// All of them, in the order in which they are decided.
pub const KNOBS: [Knob; 6] = [
    Knob {
        key: "l3_bytes",
        values: &[4 * MIB, 8 * MIB, 16 * MIB, 32 * MIB, 64 * MIB, 128 * MIB, 1 << 40],
        quick: &[16 * MIB, 32 * MIB, 64 * MIB, 1 << 40],
        in_place: false,
        cols: &[1 << 20, 1 << 21, 1 << 22, 1 << 23, 1 << 24],
        elements: IN_L2,
        variable: Some("SOFTMAX_L3_BYTES"),
        beside: None,
    },
    Knob {
        key: "scratch_bytes",
        values: &[16384, 24576, 32768],
        quick: &[16384, 32768],
        in_place: true,
        cols: &[1000, 2048, 3000, 4096, 6000, 8192, 12000],
        elements: IN_L2,
        variable: None,
        beside: None,
    },
    Knob {
        key: "batch_rows",
        values: &[4, 8, 12, 16, 32],
        quick: &[4, 8, 16],
        in_place: false,
        cols: SHORT,
        elements: IN_L2,
        variable: None,
        beside: Some("short_row_vectors"),
    },
    Knob {
        key: "short_row_vectors",
        values: &[1, 2, 4, 8, 12, 16, 32],
        quick: &[4, 8, 16],
        in_place: false,
        cols: SHORT,
        elements: IN_L2,
        variable: None,
        beside: Some("batch_rows"),
    },
    Knob {
        key: "overlapped_columns",
        values: &[0, 512, 1024, 2048, 4096],
        quick: &[0, 1024, 4096],
        in_place: false,
        cols: &[320, 512, 777, 1000, 1500, 2000, 3000, 4000],
        elements: IN_L2,
        variable: None,
        beside: None,
    },
    Knob {
        key: "prefetch_bytes",
        values: &[0, 512, 1024, 2048, 4096, 8192],
        quick: &[0, 1024, 4096],
        in_place: false,
        cols: &[8, 32, 64, 128, 512, 1000, 2048, 4096, 32_000],
        elements: IN_L3,
        variable: None,
        beside: None,
    },
];

/// Rows that may count as short.
const SHORT: &[usize] = &[
    8, 16, 17, 24, 32, 33, 40, 48, 64, 100, 128, 197, 256, 384, 512, 777, 1000,
];

/// The most stack that a profile may allow.
const MOST_SCRATCH: u64 = 32_768;

/// Elements of a matrix whose input and output fit the L2 cache, and a pass over which is long beside a reading of the
/// clock.
const IN_L2: usize = 1 << 15;

/// Of one that does not fit there.
const IN_L3: usize = 1 << 19;

/// A matrix to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// In place or not.
    pub in_place: bool,
    /// How many rows.
    pub rows: usize,
    /// The length of each.
    pub cols: usize,
}

impl Knob {
    /// The values to try.
    pub fn values(&self, quick: bool) -> &'static [u64] {
        if quick { self.quick } else { self.values }
    }

    /// `best` with another value of this key. Batches that need more stack bring it along; where there is no more, the value
    /// of the key beside is lowered to the greatest that fits.
    ///
    /// # Errors
    /// None does.
    pub fn candidate(&self, best: &Profile, value: u64) -> Result<Profile, String> {
        let profile = best.with(self.key, Value::Count(value));
        let (Err(error), Some(beside)) = (profile.check(), self.beside) else {
            return profile.check().map(|()| profile);
        };
        let roomy = profile.with("scratch_bytes", Value::Count(MOST_SCRATCH));
        let lower = (1..=profile.count(beside)).rev();
        let mut lowered = lower.map(|count| roomy.with(beside, Value::Count(count)));
        lowered.find(|profile| profile.check().is_ok()).ok_or(error)
    }

    /// The value of this key in `profile`; and that of the key beside, if it was lowered for it.
    pub fn label(&self, best: &Profile, profile: &Profile) -> String {
        let value = profile.count(self.key);
        let lowered = self.beside.filter(|key| profile.count(key) != best.count(key));
        lowered.map_or(value.to_string(), |key| {
            format!("{value} ({key} {})", profile.count(key))
        })
    }

    /// The matrices to try them on.
    pub fn shapes(&self) -> Vec<Shape> {
        let shape = |&cols: &usize| Shape {
            in_place: self.in_place,
            rows: (self.elements / cols).max(1),
            cols,
        };
        self.cols.iter().map(shape).collect()
    }
}

/// Every matrix on which some of `knobs` is measured, once.
pub fn all_shapes(knobs: &[&Knob]) -> Vec<Shape> {
    let mut shapes = Vec::new();
    for shape in knobs.iter().flat_map(|knob| knob.shapes()) {
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    shapes
}

/// As the probe takes it.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.in_place { "in" } else { "out" };
        write!(f, "{place} {} {}", self.rows, self.cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{choose, read};
    use std::path::Path;

    fn generic() -> Profile {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tuning"));
        choose(folder, None, None)
            .and_then(|file| read(&file))
            .expect("the profile of every build")
    }

    /// From the profile of every build, and what is written is read back.
    #[test]
    fn every_value_makes_a_profile() {
        let generic = generic();
        for knob in &KNOBS {
            for &value in knob.values.iter().chain(knob.quick) {
                let profile = knob.candidate(&generic, value);
                let profile = profile.unwrap_or_else(|error| panic!("{} = {value}: {error}", knob.key));
                assert_eq!(profile.count(knob.key), value);
                assert_eq!(Profile::parse(&profile.to_toml("")), Ok(profile));
            }
            assert!(
                knob.quick.iter().all(|value| knob.values.contains(value)),
                "{}",
                knob.key
            );
        }
    }

    #[test]
    fn the_key_beside_is_lowered_no_more_than_it_must_be() {
        let generic = generic();
        let label = |key: &str, value: u64| {
            let knob = KNOBS.iter().find(|knob| knob.key == key).expect("a knob");
            knob.label(&generic, &knob.candidate(&generic, value).expect("it fits"))
        };
        assert_eq!(label("batch_rows", 12), "12");
        assert_eq!(label("batch_rows", 16), "16 (short_row_vectors 6)");
        assert_eq!(label("short_row_vectors", 32), "32 (batch_rows 3)");
        assert_eq!(label("scratch_bytes", 16384), "16384");
    }
}
