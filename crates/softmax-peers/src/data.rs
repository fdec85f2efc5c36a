//! The buffers every peer works on: one input and one output, page-aligned, reused for all.

use crate::buffer::Buffer;
use crate::task::{Dtype, Place, Shape, Task};
use half::{bf16, f16};

/// Elements below which an in-place buffer holds several matrices, so that a sample is not
/// made of clock readings.
const IN_PLACE_ELEMENTS: usize = 8192;

/// The rows handed to a peer.
pub enum Rows<'a, T> {
    /// Read `x`, write `y`; both have the same length.
    Out {
        /// The input.
        x: &'a [T],
        /// The output.
        y: &'a mut [T],
    },
    /// Replace `x` by the result.
    In {
        /// Input and output.
        x: &'a mut [T],
    },
}

impl<T> Rows<'_, T> {
    /// Input and output addresses, for libraries that take pointers.
    pub fn pointers(&mut self) -> (*const T, *mut T) {
        match self {
            Rows::Out { x, y } => (x.as_ptr(), y.as_mut_ptr()),
            Rows::In { x } => (x.as_ptr(), x.as_mut_ptr()),
        }
    }
}

/// [`Rows`] of any element type.
pub enum Io<'a> {
    /// Binary32.
    F32(Rows<'a, f32>),
    /// Binary16.
    F16(Rows<'a, f16>),
    /// The upper half of a binary32.
    Bf16(Rows<'a, bf16>),
}

impl Io<'_> {
    /// Input and output addresses, untyped.
    pub fn pointers(&mut self) -> (*const u8, *mut u8) {
        fn untyped<T>((x, y): (*const T, *mut T)) -> (*const u8, *mut u8) {
            (x.cast(), y.cast())
        }
        match self {
            Io::F32(rows) => untyped(rows.pointers()),
            Io::F16(rows) => untyped(rows.pointers()),
            Io::Bf16(rows) => untyped(rows.pointers()),
        }
    }
}

/// An element: what data and reference need to know about it.
pub trait Number: Copy + Default + Send + Sync + 'static {
    /// Significant bits, the hidden one included.
    const PRECISION: i32;
    /// The exponent of the smallest normal number.
    const MIN_EXPONENT: i32;
    /// The nearest element.
    fn of(value: f32) -> Self;
    /// The exact value.
    fn value(self) -> f64;
}

macro_rules! number {
    ($type:ty, $precision:literal, $min:literal, $of:expr) => {
        impl Number for $type {
            const PRECISION: i32 = $precision;
            const MIN_EXPONENT: i32 = $min;
            fn of(value: f32) -> Self {
                $of(value)
            }
            fn value(self) -> f64 {
                f64::from(self)
            }
        }
    };
}

number!(f32, 24, -126, std::convert::identity);
number!(f16, 11, -14, f16::from_f32);
number!(bf16, 8, -126, bf16::from_f32);

/// Input and output of one task for one element type.
pub struct Pair<T> {
    /// The input; never written after [`Pair::new`].
    pub x: Buffer<T>,
    /// The output, or the matrices that are replaced in place.
    pub y: Buffer<T>,
}

impl<T: Number> Pair<T> {
    fn new(shape: Shape, place: Place) -> Self {
        let copies = match place {
            Place::Out => 1,
            Place::In => IN_PLACE_ELEMENTS.div_ceil(shape.len()),
        };
        let mut normal = Normal::new(0x5eed ^ shape.cols as u64);
        let x: Vec<T> = (0..shape.len()).map(|_| T::of(3.0 * normal.next())).collect();
        let mut pair = Self {
            x: Buffer::input(&x),
            y: Buffer::output(&vec![T::default(); shape.len() * copies]),
        };
        pair.refill(place);
        pair
    }

    fn refill(&mut self, place: Place) {
        if place == Place::In {
            for y in self.y.chunks_exact_mut(self.x.len()) {
                y.copy_from_slice(&self.x);
            }
        }
    }

    fn each<'a>(&'a mut self, place: Place, mut run: impl FnMut(Rows<'a, T>)) {
        match place {
            Place::Out => run(Rows::Out {
                x: &self.x,
                y: &mut self.y,
            }),
            Place::In => {
                let len = self.x.len();
                self.y.chunks_exact_mut(len).for_each(|x| run(Rows::In { x }));
            }
        }
    }
}

/// Input and output of one task.
pub enum Data {
    /// Binary32.
    F32(Pair<f32>),
    /// Binary16.
    F16(Pair<f16>),
    /// The upper half of a binary32.
    Bf16(Pair<bf16>),
}

impl Data {
    /// Buffers for `task`, the input drawn from N(0, 3), the same for every run.
    pub fn new(task: &Task) -> Self {
        match task.dtype {
            Dtype::F32 => Self::F32(Pair::new(task.shape, task.place)),
            Dtype::F16 => Self::F16(Pair::new(task.shape, task.place)),
            Dtype::Bf16 => Self::Bf16(Pair::new(task.shape, task.place)),
        }
    }

    /// Calls in one pass over the buffers: more than one only for small in-place matrices.
    pub fn calls(&self) -> usize {
        match self {
            Self::F32(pair) => pair.y.len() / pair.x.len(),
            Self::F16(pair) => pair.y.len() / pair.x.len(),
            Self::Bf16(pair) => pair.y.len() / pair.x.len(),
        }
    }

    /// Whether a library that binds buffers does so once: not where a pass goes over several matrices,
    /// each of which it would bind anew, in the timed part.
    ///
    /// # Errors
    /// There are several.
    pub fn can_bind(&self) -> Result<(), String> {
        match self.calls() {
            1 => Ok(()),
            calls => Err(format!("binds its buffers, and these are {calls} matrices")),
        }
    }

    /// Restores what an in-place pass has replaced.
    pub fn refill(&mut self, place: Place) {
        match self {
            Self::F32(pair) => pair.refill(place),
            Self::F16(pair) => pair.refill(place),
            Self::Bf16(pair) => pair.refill(place),
        }
    }

    /// Runs `run` on each matrix: [`Data::calls`] times.
    pub fn each(&mut self, place: Place, mut run: impl FnMut(Io<'_>)) {
        match self {
            Self::F32(pair) => pair.each(place, |rows| run(Io::F32(rows))),
            Self::F16(pair) => pair.each(place, |rows| run(Io::F16(rows))),
            Self::Bf16(pair) => pair.each(place, |rows| run(Io::Bf16(rows))),
        }
    }

    /// Fills the output with NaN, so that a peer that writes nothing is found out.
    pub fn poison(&mut self, place: Place) {
        if place == Place::Out {
            match self {
                Self::F32(pair) => pair.y.fill(f32::NAN),
                Self::F16(pair) => pair.y.fill(f16::NAN),
                Self::Bf16(pair) => pair.y.fill(bf16::NAN),
            }
        }
    }
}

/// Standard normal variates: Box–Muller over a linear congruential generator.
struct Normal(u64);

impl Normal {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Uniform in (0, 1).
    fn uniform(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn next(&mut self) -> f32 {
        let (u, v) = (self.uniform(), self.uniform());
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }
}
