//! The element types under test.

use super::ops::{self, Operator};
use super::ulp::{Format, distance};
use softmax::Element;
use std::fmt::Debug;

/// What the tests need of an element type beyond [`Element`].
pub trait TestElement:
    Element<Compute = Self::Probability> + Copy + Debug + PartialOrd + Send + Sync + 'static
{
    type Probability: TestElement;
    const NAME: &'static str;
    const FORMAT: Format;
    const WIDTH: u32;
    /// The canonical quiet NaN.
    const NAN_BITS: u64;

    /// The nearest element.
    fn from_f64(v: f64) -> Self;
    /// The exact value.
    fn to_f64(self) -> f64;
    fn bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;

    /// The operators that not every element type has.
    fn own_operators() -> Vec<Operator<Self>> {
        Vec::new()
    }

    /// A NaN with a payload: a mark that no operator writes, and that poisons the result of whoever reads it.
    fn canary() -> Self {
        Self::from_bits(Self::NAN_BITS | 0x25)
    }

    /// Number of elements between two.
    fn distance(self, other: Self) -> u64 {
        distance(self.bits(), other.bits(), Self::WIDTH, Self::FORMAT.digits as u32 - 1)
    }

    /// The element `steps` places above (below, if negative) a finite one.
    fn step(self, steps: i64) -> Self {
        let sign = 1u64 << (Self::WIDTH - 1);
        let bits = self.bits();
        let ordered = if bits & sign == 0 {
            bits as i64
        } else {
            -((bits & !sign) as i64)
        } + steps;
        Self::from_bits(if ordered < 0 {
            sign | ordered.unsigned_abs()
        } else {
            ordered as u64
        })
    }
}

macro_rules! test_element {
    ($t:ident, $bits:ident, $format:ident, $nan:literal $(, $own:expr)*) => {
        impl TestElement for $t {
            type Probability = <$t as Element>::Compute;
            const NAME: &'static str = stringify!($t);
            const FORMAT: Format = Format::$format;
            const WIDTH: u32 = $bits::BITS;
            const NAN_BITS: u64 = $nan;
            fn from_f64(v: f64) -> $t {
                v as $t
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }
            fn from_bits(bits: u64) -> $t {
                $t::from_bits(bits as $bits)
            }
            fn own_operators() -> Vec<Operator<$t>> {
                vec![ops::exp(
                    |isa, x, y| isa.exp(x, y),
                    |x, y| softmax::exp(x, y),
                    |isa, x, y| isa.exp(x, y),
                ) $(, $own)*]
            }
        }
    };
}

test_element!(
    f32,
    u32,
    F32,
    0x7fc0_0000,
    ops::online_softmax(),
    ops::online_logsumexp()
);
test_element!(f64, u64, F64, 0x7ff8_0000_0000_0000);

/// Calls a generic check for every element type. A new type is a line here and an `impl TestElement`.
macro_rules! for_each_element {
    ($check:ident $(, $argument:expr)*) => {
        $check::<f32>($($argument),*);
    };
}

pub(crate) use for_each_element;

pub fn bits<T: TestElement>(values: &[T]) -> Vec<u64> {
    values.iter().map(|v| v.bits()).collect()
}
