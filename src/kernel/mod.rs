//! The kernels: one file each, generic over the vector type, and the list that compiles each for each element type.

use crate::element::Element;
use crate::isa::{Isa, run};
use crate::lanes::Memory;

pub mod argmax;
pub mod exp;
pub mod log_softmax;
pub mod passes;
pub mod row;
pub mod softmax;
pub mod top_k;

/// A computation generic over the vector type; [`Kernels`] runs it on the backend of an [`Isa`].
pub trait Kernel<T: Element> {
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L);
}

/// Compiles each kernel for each element type here, once, instead of in every crate that calls it.
macro_rules! kernels {
    ([$($(#[$attr:meta])* $t:ty),*] $kernels:tt) => {
        kernels! { @trait $kernels }
        $(kernels! { @impl [$(#[$attr])* $t] $kernels })*
    };
    (@trait { $($name:ident: $kernel:ty;)* }) => {
        /// The kernels of an element type, each on a chosen ISA.
        #[doc(hidden)]
        pub trait Kernels: Sized {
            $(fn $name(isa: Isa, kernel: $kernel) where Self: Element;)*
        }
    };
    (@impl [$(#[$attr:meta])* $t:ty] { $($name:ident: $kernel:ty;)* }) => {
        $(#[$attr])*
        impl Kernels for $t {
            $(
                #[inline(never)]
                fn $name(isa: Isa, kernel: $kernel) {
                    run!(isa, kernel)
                }
            )*
        }
    };
}

kernels! {
    [f32, f64] {
    softmax: softmax::Softmax<'_, Self>;
    softmax_in_place: softmax::SoftmaxInPlace<'_, Self>;
    log_softmax: log_softmax::LogSoftmax<'_, Self>;
    log_softmax_in_place: log_softmax::LogSoftmaxInPlace<'_, Self>;
    logsumexp: log_softmax::LogSumExp<'_, Self>;
    argmax: argmax::ArgMax<'_, Self>;
    top_k: top_k::TopK<'_, Self>;
    exp: exp::Exp<'_, Self>;
}}
