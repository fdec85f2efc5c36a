//! The element types under test.

use super::dd::scale;
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
    /// The nearest finite element of a finite number.
    fn finite(v: f64) -> Self {
        let one_ulp = scale(1.0, Self::FORMAT.max_exp + 1 - Self::FORMAT.digits);
        let largest = (scale(2.0, Self::FORMAT.digits - 1) - 1.0) * one_ulp;
        Self::from_f64(if v.is_infinite() { v } else { v.clamp(-largest, largest) })
    }
    /// The exact value.
    fn to_f64(self) -> f64;
    fn bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;

    /// The operators that not every element type has.
    fn own_operators() -> Vec<Operator<Self>> {
        Vec::new()
    }

    /// A NaN with a payload: a mark that no operator writes, and that poisons the result of whoever reads it.
    #[inline]
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
    ($t:ident, $bits:ident, $format:ident, $nan:literal, $from:expr, $own:expr) => {
        impl TestElement for $t {
            type Probability = <$t as Element>::Compute;
            const NAME: &'static str = stringify!($t);
            const FORMAT: Format = Format::$format;
            const WIDTH: u32 = $bits::BITS;
            const NAN_BITS: u64 = $nan;
            fn from_f64(v: f64) -> $t {
                $from(v)
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline]
            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }
            #[inline]
            fn from_bits(bits: u64) -> $t {
                $t::from_bits(bits as $bits)
            }
            fn own_operators() -> Vec<Operator<$t>> {
                $own
            }
        }
    };
}

/// `exp`, which only the types that are computed in themselves have.
fn exp<T: TestElement<Probability = T> + softmax::Float>() -> Vec<Operator<T>> {
    vec![ops::exp(
        |isa, x, y| isa.exp(x, y),
        |x, y| softmax::exp(x, y),
        |isa, x, y| isa.exp(x, y),
        ops::InPlace {
            row: |isa, x| isa.exp_in_place(x),
            detected: |x| softmax::exp_in_place(x),
            rows: None,
        },
    )]
}

test_element!(f32, u32, F32, 0x7fc0_0000, |v: f64| v as f32, {
    let mut own = exp::<f32>();
    own.extend([ops::online_softmax(), ops::online_logsumexp()]);
    own
});
test_element!(f64, u64, F64, 0x7ff8_0000_0000_0000, |v: f64| v, exp::<f64>());

#[cfg(feature = "half")]
pub use halves::{bf16, f16};

#[cfg(feature = "half")]
mod halves {
    use super::*;
    pub use half::{bf16, f16};

    test_element!(f16, u16, F16, 0x7e00, |v: f64| f16::from_f32(odd(v)), Vec::new());
    test_element!(bf16, u16, BF16, 0x7fc0, |v: f64| bf16::from_f32(odd(v)), Vec::new());

    /// `v` in f32, rounded to odd, so that the next rounding is as if it were the only one.
    fn odd(v: f64) -> f32 {
        let near = v as f32;
        if f64::from(near) == v || v.is_nan() || near.is_infinite() || near.to_bits() & 1 == 1 {
            near
        } else if f64::from(near).abs() < v.abs() {
            f32::from_bits(near.to_bits() + 1)
        } else {
            f32::from_bits(near.to_bits() - 1)
        }
    }
}

/// Calls a generic check for every element type. A new type is a line here or in [`for_each_element_of_f32`], and an
/// `impl TestElement`.
macro_rules! for_each_element {
    ($check:ident $(, $argument:expr)*) => {
        $crate::common::element::for_each_element_of_f32!($check $(, $argument)*);
        $check::<f64>($($argument),*);
    };
}

/// Calls a generic check for every element type whose rows are computed in f32: all that samplers and streams take.
macro_rules! for_each_element_of_f32 {
    ($check:ident $(, $argument:expr)*) => {
        $check::<f32>($($argument),*);
        #[cfg(feature = "half")]
        $check::<$crate::common::element::f16>($($argument),*);
        #[cfg(feature = "half")]
        $check::<$crate::common::element::bf16>($($argument),*);
    };
}

pub(crate) use {for_each_element, for_each_element_of_f32};

pub fn bits<T: TestElement>(values: &[T]) -> Vec<u64> {
    values.iter().map(|v| v.bits()).collect()
}
