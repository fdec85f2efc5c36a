//! What the targets share: long rows from few bytes, sizes that are small or anything, which element type to take.

pub mod common;

use common::element::TestElement;
use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// A number of a row.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Number {
    /// In steps of 1/256 within ±128, where all terms count.
    Near(i16),
    /// Any bits: the lowest of them, as many as the type has.
    Bits(u64),
    MinusInfinity,
    Zero,
}

impl Number {
    pub fn get<T: TestElement>(self) -> T {
        match self {
            Number::Near(steps) => T::from_f64(f64::from(steps) / 256.0),
            Number::Bits(bits) => T::from_bits(bits),
            Number::MinusInfinity => T::from_f64(f64::NEG_INFINITY),
            Number::Zero => T::from_f64(0.0),
        }
    }
}

/// Rows of any length from few bytes, or from none.
#[derive(Arbitrary, Clone, Debug)]
pub enum Numbers {
    /// Noise with these numbers in it, spread.
    Noise(Vec<Number>),
    /// These, again and again.
    Repeated(Vec<Number>),
}

impl Numbers {
    pub fn take<T: TestElement>(&self, n: usize) -> Vec<T> {
        let mut row: Vec<T> = (0..n).map(|i| T::from_f64(noise(i))).collect();
        match self {
            Numbers::Noise(numbers) if n > 0 => {
                for (i, number) in numbers.iter().enumerate() {
                    row[i * 29 % n] = number.get();
                }
            }
            Numbers::Repeated(numbers) => {
                row.iter_mut()
                    .zip(numbers.iter().cycle())
                    .for_each(|(x, number)| *x = number.get());
            }
            Numbers::Noise(_) => {}
        }
        row
    }
}

/// Within ±8, so that no term vanishes beside another.
fn noise(i: usize) -> f64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    f64::from(((mixed ^ mixed >> 32) >> 16) as i16) / 4096.0
}

/// A size of a call that need not be valid.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Size {
    Small(u8),
    Short(u16),
    Any(usize),
}

impl Size {
    pub fn get(self) -> usize {
        match self {
            Size::Small(n) => n.into(),
            Size::Short(n) => n.into(),
            Size::Any(n) => n,
        }
    }
}

/// A size that is small most of the time, taken modulo what a target can afford.
pub fn within(size: u16, below: usize) -> usize {
    usize::from(size) % below
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Type {
    F32,
    F64,
    F16,
    Bf16,
}

/// Calls a generic function for an element type that is chosen at run time.
#[macro_export]
macro_rules! for_type {
    ($type:expr, $function:ident($($argument:expr),*)) => {
        match $type {
            $crate::Type::F32 => $function::<f32>($($argument),*),
            $crate::Type::F64 => $function::<f64>($($argument),*),
            $crate::Type::F16 => $function::<$crate::common::element::f16>($($argument),*),
            $crate::Type::Bf16 => $function::<$crate::common::element::bf16>($($argument),*),
        }
    };
}

/// Panics if an element at which `written` does not hold is another than the canary.
pub fn check_untouched<T: TestElement>(y: &[T], written: impl Fn(usize) -> bool) {
    for (i, y) in y.iter().enumerate() {
        assert!(written(i) || y.bits() == T::canary().bits(), "wrote at {i}");
    }
}
