//! The element types, and what a storage holds as one of them.

use candle_core::{DType, WithDType};
use softmax::{Element, MaskElement};

/// The type of the arithmetic on elements of a type: that of scale, softcap and additive mask.
pub fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// An element type that candle and the `softmax` crate both have.
pub trait Real: WithDType + Element {
    /// What [`wide`] says.
    type Mask: WithDType + MaskElement<Self>;

    /// A parameter of attention, rounded to the type of the arithmetic.
    fn parameter(value: f64) -> Self::Compute;
}

macro_rules! real {
    ($($t:ty: $compute:ty),*) => {$(
        impl Real for $t {
            type Mask = $compute;

            fn parameter(value: f64) -> $compute {
                value as $compute
            }
        }
    )*};
}
real!(f32: f32, f64: f64, half::f16: f32, half::bf16: f32);

/// Runs `$body` with the vector of a CPU storage, as `$vec`, whichever type it has; the name is for the error.
macro_rules! with_elements {
    ($storage:expr, $name:expr, |$vec:ident| $body:expr) => {
        match $storage {
            candle_core::CpuStorage::F32($vec) => $body,
            candle_core::CpuStorage::F64($vec) => $body,
            candle_core::CpuStorage::F16($vec) => $body,
            candle_core::CpuStorage::BF16($vec) => $body,
            other => {
                let dtype = candle_core::backend::BackendStorage::dtype(&*other);
                candle_core::bail!("{}: {:?} is none of f32, f64, f16 and bf16", $name, dtype)
            }
        }
    };
}
pub(crate) use with_elements;

/// Elements to a task, at least: some ten microseconds of work.
pub const GRAIN: usize = 1 << 14;
