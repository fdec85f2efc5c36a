//! What is computed: operation, element type, place, threads and shape of one comparison.

use clap::ValueEnum;
use std::fmt;
use std::str::FromStr;

/// The shapes of the duel, rows × columns: gates, attention, classifiers, vocabularies, one row.
pub const SHAPES: [Shape; 12] = [
    Shape::new(100_000, 8),
    Shape::new(65_536, 32),
    Shape::new(4_096, 64),
    Shape::new(4_096, 128),
    Shape::new(1_024, 512),
    Shape::new(256, 1_000),
    Shape::new(256, 2_048),
    Shape::new(64, 4_096),
    Shape::new(16, 32_000),
    Shape::new(4, 128_256),
    Shape::new(1, 1 << 20),
    Shape::new(1, 1 << 24),
];

/// A single element: what one call costs beside the arithmetic.
pub const CALL: Shape = Shape::new(1, 1);

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$item:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
        pub enum $type {
            $($(#[$item])* #[value(name = $name)] $variant,)+
        }

        impl $type {
            /// The name used on the command line and in the CSV.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(format!("`{text}` is not a {}", stringify!($type))),
                }
            }
        }
    };
}

names! {
    /// The function.
    Op {
        /// `e^x / Σ e^x`.
        Softmax = "softmax",
        /// `x - ln Σ e^x`.
        LogSoftmax = "log_softmax",
    }
}

names! {
    /// The element type of input and output.
    Dtype {
        /// IEEE binary32.
        F32 = "f32",
        /// IEEE binary16.
        F16 = "f16",
        /// The upper half of a binary32.
        Bf16 = "bf16",
    }
}

names! {
    /// Where the result goes.
    Place {
        /// Into a second buffer.
        Out = "out",
        /// Over the input.
        In = "in",
    }
}

names! {
    /// The widest instruction set that a measuring process may use.
    Cap {
        /// All that the CPU has.
        Native = "native",
        /// No AVX-512.
        Avx2 = "avx2",
    }
}

/// Rows × columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The number of rows.
    pub rows: usize,
    /// The number of columns: the length of one softmax.
    pub cols: usize,
}

impl Shape {
    /// `rows` × `cols`.
    pub const fn new(rows: usize, cols: usize) -> Self {
        Self { rows, cols }
    }

    /// The number of elements.
    pub const fn len(self) -> usize {
        self.rows * self.cols
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}x{}", self.rows, self.cols))
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse::<usize>().ok().filter(|&n| n > 0);
        text.split_once(['x', '×'])
            .and_then(|(rows, cols)| Some(Self::new(number(rows)?, number(cols)?)))
            .ok_or_else(|| format!("`{text}` is not ROWSxCOLS"))
    }
}

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// The function.
    pub op: Op,
    /// The element type.
    pub dtype: Dtype,
    /// Where the result goes.
    pub place: Place,
    /// The matrix.
    pub shape: Shape,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_round_trip() {
        for shape in SHAPES {
            assert_eq!(shape.to_string().parse(), Ok(shape));
        }
        for wrong in ["", "8", "0x8", "8x", "8x8x8", "-1x2"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_round_trip() {
        assert_eq!("log_softmax".parse(), Ok(Op::LogSoftmax));
        assert_eq!("bf16".parse(), Ok(Dtype::Bf16));
        assert_eq!("in".parse(), Ok(Place::In));
        assert_eq!("avx2".parse(), Ok(Cap::Avx2));
        assert!("AVX".parse::<Cap>().is_err());
    }
}
