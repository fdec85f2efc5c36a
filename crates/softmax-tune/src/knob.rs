//! What is tried: each knob with its candidates and the shapes on which it shows. A new knob is a row of [`KNOBS`].

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
    },
    Knob {
        key: "scratch_bytes",
        values: &[8192, 16384, 32768],
        quick: &[16384, 32768],
        in_place: true,
        cols: &[1000, 2048, 3000, 4096, 6000, 8192, 12000],
        elements: IN_L2,
        variable: None,
    },
    Knob {
        key: "batch_rows",
        values: &[4, 8, 16, 32],
        quick: &[4, 8, 16],
        in_place: false,
        cols: &[8, 16, 17, 24, 32, 33, 48, 64, 100],
        elements: IN_L2,
        variable: None,
    },
    Knob {
        key: "short_row_vectors",
        values: &[1, 2, 4, 8, 16, 32],
        quick: &[4, 8, 16],
        in_place: false,
        cols: &[40, 64, 100, 128, 197, 256, 384, 512, 777, 1000],
        elements: IN_L2,
        variable: None,
    },
    Knob {
        key: "overlapped_columns",
        values: &[0, 512, 1024, 2048, 4096],
        quick: &[0, 1024, 4096],
        in_place: false,
        cols: &[320, 512, 777, 1000, 1500, 2000, 3000, 4000],
        elements: IN_L2,
        variable: None,
    },
    Knob {
        key: "prefetch_bytes",
        values: &[0, 512, 1024, 2048, 4096, 8192],
        quick: &[0, 1024, 4096],
        in_place: false,
        cols: &[8, 32, 64, 128, 512, 1000, 2048, 4096, 32_000],
        elements: IN_L3,
        variable: None,
    },
];

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
