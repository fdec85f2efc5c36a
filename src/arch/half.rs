//! Loads and stores of f16 and bf16 on the backends without a conversion of their own: loops over the conversions of
//! `math::half`, which have no branch, so that the compiler turns them into vector code.

use super::{put, take};
use crate::element::Element;
use crate::kernel::passes;
use crate::lanes::Memory;
use core::mem::MaybeUninit;

/// An element type of 16 bits that is computed in f32.
pub trait Half: Element<Compute = f32> {}
impl Half for half::f16 {}
impl Half for half::bf16 {}

/// The loads of halves of a `Memory<f32>`, which is a `Memory` of both.
macro_rules! load_halves {
    () => {
        #[inline(always)]
        fn load_f16(self, src: &[half::f16]) -> Self::V {
            super::half::load(self, src)
        }
        #[inline(always)]
        fn load_bf16(self, src: &[half::bf16]) -> Self::V {
            super::half::load(self, src)
        }
    };
}
pub(super) use load_halves;

/// A vector, 0 behind the end of `src`.
#[inline(always)]
pub fn load<T: Half, L: Memory<T>>(lanes: L, src: &[T]) -> L::V {
    lanes.prefetch(src);
    passes::load(lanes, src, 0.0)
}

#[inline(always)]
fn widen<T: Half>(x: [T; 32]) -> [f32; 32] {
    let mut v = [0.0; 32];
    for i in 0..32 {
        v[i] = x[i].widen();
    }
    v
}

#[inline(always)]
fn narrow<T: Half>(v: [f32; 32]) -> [T; 32] {
    let mut y = [T::NAN; 32];
    for i in 0..32 {
        y[i] = T::narrow(v[i]);
    }
    y
}

macro_rules! by_elements {
    ($backend:ty, $cast:path) => {
        impl<T: Half> Memory<T> for $backend {
            #[inline(never)]
            fn load(self, src: &[T]) -> Self::V {
                $cast(widen(take::<T, 32>(&src[..32], 0, T::NAN)))
            }
            #[inline(never)]
            fn load_or(self, src: &[T], fill: f32) -> Self::V {
                $cast(widen(take::<T, 32>(src, 0, T::narrow(fill))))
            }
            #[inline(never)]
            fn store(self, dst: &mut [MaybeUninit<T>], v: Self::V) {
                put::<T, 32>(&mut dst[..32], 0, narrow($cast(v)));
            }
            #[inline(never)]
            fn store_partial(self, dst: &mut [MaybeUninit<T>], v: Self::V) {
                put::<T, 32>(dst, 0, narrow($cast(v)));
            }
        }
    };
}
by_elements!(super::scalar::Scalar, core::convert::identity);
by_elements!(super::portable::Portable, wide::bytemuck::cast);
