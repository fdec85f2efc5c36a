//! The kernels: one file each, generic over the vector type, and the list that compiles each for each element type.

use crate::arch::memory::{Cells, as_output};
use crate::element::Element;
use crate::isa::Isa;
#[cfg_attr(test, allow(unused_imports, reason = "no kernel is compiled"))]
use crate::isa::run;
use crate::lanes::Memory;
use crate::layout::Layout;
use core::mem::MaybeUninit;
use core::ops::Range;

pub mod addend;
pub mod argmax;
pub mod axis;
pub mod backward;
pub mod columns;
pub mod cross_entropy;
pub mod exp;
pub mod gather;
pub mod kept;
pub mod log_softmax;
pub mod logits;
pub mod masked;
mod masked_log;
pub mod masked_long;
mod masked_prefix;
pub mod online;
pub mod overwrite;
pub mod passes;
pub mod primitives;
pub mod row;
#[cfg(feature = "rayon")]
pub mod segments;
pub mod short_masked;
pub mod short_rows;
pub mod slices;
pub mod softmax;
pub mod tile;
pub mod top_k;

/// The rows of an operator, in two buffers or in one.
pub struct Buffers<'a, T> {
    pub place: Place<'a, T>,
    pub rows: Layout<'a>,
}

/// Where the results go.
pub enum Place<'a, T> {
    Apart(&'a [T], &'a mut [MaybeUninit<T>]),
    InPlace(&'a mut [T]),
}

impl<'a, T: Element> Place<'a, T> {
    #[inline(always)]
    pub fn cells(self) -> Cells<'a, T> {
        match self {
            Self::Apart(x, y) => Cells::apart(x, y),
            Self::InPlace(x) => Cells::in_place(x),
        }
    }

    #[inline(always)]
    pub fn reborrow(&mut self) -> Place<'_, T> {
        match self {
            Self::Apart(x, y) => Place::Apart(x, y),
            Self::InPlace(x) => Place::InPlace(x),
        }
    }

    #[inline(always)]
    pub fn input(&self) -> &[T] {
        match self {
            Self::Apart(x, _) => x,
            Self::InPlace(x) => x,
        }
    }

    #[inline(always)]
    pub fn output(&mut self) -> &mut [MaybeUninit<T>] {
        self.reborrow().into_output()
    }

    /// [`output`](Self::output) for as long as the place is borrowed.
    #[inline(always)]
    pub fn into_output(self) -> &'a mut [MaybeUninit<T>] {
        match self {
            Self::Apart(_, y) => y,
            Self::InPlace(x) => as_output(x),
        }
    }

    /// Some columns of a row.
    #[inline(always)]
    pub fn part(self, columns: Range<usize>) -> Self {
        match self {
            Self::Apart(x, y) => Self::Apart(&x[columns.clone()], &mut y[columns]),
            Self::InPlace(x) => Self::InPlace(&mut x[columns]),
        }
    }
}

/// Row `r` of `x`, and the row before, if there is one.
#[inline(always)]
fn with_before<'x, T>(rows: Layout<'_>, x: &'x mut [T], r: usize) -> (&'x mut [T], &'x mut [T]) {
    let (before, x) = x.split_at_mut(rows.starts(r).0);
    let before = if r > 0 { rows.input_mut(before, r - 1) } else { &mut [] };
    (&mut x[..rows.len(r)], before)
}

impl<'a, T> Buffers<'a, T> {
    #[inline(always)]
    pub fn apart(x: &'a [T], y: &'a mut [MaybeUninit<T>], rows: impl Into<Layout<'a>>) -> Self {
        Self {
            place: Place::Apart(x, y),
            rows: rows.into(),
        }
    }

    #[inline(always)]
    pub fn in_place(x: &'a mut [T], rows: impl Into<Layout<'a>>) -> Self {
        Self {
            place: Place::InPlace(x),
            rows: rows.into(),
        }
    }
}

impl<T: Element> Buffers<'_, T> {
    /// Whether the output is apart and can hold exps.
    #[inline(always)]
    pub fn output_holds_exps(&self) -> bool {
        T::IS_COMPUTE && matches!(self.place, Place::Apart(..))
    }

    /// The logits of row `r`.
    #[inline(always)]
    pub fn input(&self, r: usize) -> &[T] {
        self.rows.input(self.place.input(), r)
    }

    /// The place for the results of row `r`.
    #[inline(always)]
    pub fn output(&mut self, r: usize) -> &mut [MaybeUninit<T>] {
        match &mut self.place {
            Place::Apart(_, y) => self.rows.output(y, r),
            Place::InPlace(x) => as_output(self.rows.input_mut(x, r)),
        }
    }

    /// The logits of row `r` and the place for its results, if that is another.
    #[inline(always)]
    pub fn split(&mut self, r: usize) -> (&[T], Option<&mut [MaybeUninit<T>]>) {
        match &mut self.place {
            Place::Apart(x, y) => (self.rows.input(x, r), Some(self.rows.output(y, r))),
            Place::InPlace(x) => (self.rows.input(x, r), None),
        }
    }

    /// The logits of row `r`, the place for its results, which is another, and that of the row before.
    #[inline(always)]
    pub fn split_after(&mut self, r: usize) -> (&[T], &mut [MaybeUninit<T>], &mut [MaybeUninit<T>]) {
        let Place::Apart(x, y) = &mut self.place else {
            return (&[], &mut [], &mut []);
        };
        let (before, y) = y.split_at_mut(self.rows.starts(r).1);
        let before = if r > 0 {
            self.rows.output(before, r - 1)
        } else {
            &mut []
        };
        (self.rows.input(x, r), &mut y[..self.rows.len(r)], before)
    }

    /// The logits of row `r`, and the row before.
    #[inline(always)]
    pub fn with_before(&mut self, r: usize) -> (&[T], Place<'_, T>) {
        let (rows, before) = (self.rows, r - 1);
        match &mut self.place {
            Place::Apart(x, y) => {
                let place = Place::Apart(rows.input(x, before), rows.output(y, before));
                (rows.input(x, r), place)
            }
            Place::InPlace(x) => {
                let (x, before) = with_before(rows, x, r);
                (x, Place::InPlace(before))
            }
        }
    }

    /// Row `r`, in place, and the row before.
    #[inline(always)]
    pub fn in_place_after(&mut self, r: usize) -> (&mut [T], &mut [T]) {
        match &mut self.place {
            Place::Apart(..) => (&mut [], &mut []),
            Place::InPlace(x) => with_before(self.rows, x, r),
        }
    }

    /// Both.
    #[inline(always)]
    pub fn row(&mut self, r: usize) -> Place<'_, T> {
        match &mut self.place {
            Place::Apart(x, y) => Place::Apart(self.rows.input(x, r), self.rows.output(y, r)),
            Place::InPlace(x) => Place::InPlace(self.rows.input_mut(x, r)),
        }
    }
}

/// A computation generic over the vector type; [`Kernels`] runs it on the backend of an [`Isa`].
pub trait Kernel<T: Element>: Sized {
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L);

    /// The same as a function of its own: how backends enter kernels for which the compiler need not enable features. It is a
    /// method of the kernel, and so compiled beside it, while all kernels of a backend would be a single unit of compilation.
    #[inline(never)]
    fn run_apart<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        self.run(lanes);
    }
}

/// Compiles each kernel for each element type here, once, instead of in every crate that calls it.
macro_rules! kernels {
    ([$($(#[$attr:meta])* $t:ty),*] $kernels:tt) => {
        kernels! { @trait $kernels }
        $(kernels! { @impl [$(#[$attr])* $t] $kernels })*
    };
    (@trait { $($(#[$cfg:meta])* $name:ident: $kernel:ty;)* }) => {
        /// The kernels of an element type, each on a chosen ISA.
        #[doc(hidden)]
        pub trait Kernels: Sized {
            $($(#[$cfg])* fn $name(isa: Isa, kernel: $kernel) where Self: Element;)*
        }
    };
    (@impl [$(#[$attr:meta])* $t:ty] { $($(#[$cfg:meta])* $name:ident: $kernel:ty;)* }) => {
        $(#[$attr])*
        impl Kernels for $t {
            $(
                $(#[$cfg])*
                #[inline(never)]
                fn $name(isa: Isa, kernel: $kernel) {
                    kernels!(@body $name(isa, kernel))
                }
            )*
        }
    };
    // The unit tests call no operator, and the tuner measures one: to compile all once more takes minutes.
    (@body softmax $arguments:tt) => { kernels!(@body_if [not(test)] $arguments) };
    (@body softmax_row $arguments:tt) => { kernels!(@body_if [not(test)] $arguments) };
    (@body softmax_single $arguments:tt) => { kernels!(@body_if [not(test)] $arguments) };
    (@body $name:ident $arguments:tt) => { kernels!(@body_if [not(any(test, only_softmax))] $arguments) };
    (@body_if [$condition:meta] ($isa:ident, $kernel:ident)) => {{
        #[cfg($condition)]
        run!($isa, $kernel);
        #[cfg(not($condition))]
        unreachable!("{} is left out of this build", core::any::type_name_of_val(&($isa, $kernel)));
    }};
}

kernels! {
    [f32, f64, #[cfg(feature = "half")] half::f16, #[cfg(feature = "half")] half::bf16] {
    softmax: softmax::Softmax<'_, '_, Self>;
    softmax_single: short_rows::Single<'_, '_, Self>;
    softmax_row: softmax::OneRow<'_, '_, Self>;
    log_softmax: log_softmax::LogSoftmax<'_, '_, Self>;
    log_softmax_single: short_rows::SingleLog<'_, '_, Self>;
    logsumexp: log_softmax::LogSumExp<'_, '_, Self>;
    logsumexp_single: short_rows::SingleLogSumExp<'_, '_, Self>;
    axis: axis::AxisKernel<'_, Self>;
    columns: columns::ColumnsKernel<'_, Self>;
    slices: slices::SlicesKernel<'_, Self>;
    argmax: argmax::ArgMax<'_, Self>;
    top_k: top_k::TopK<'_, Self>;
    exp: exp::Exp<'_, Self>;
    #[cfg(feature = "rayon")]
    segment: segments::Segment<'_, Self>;
    #[cfg(feature = "rayon")]
    masked_part: segments::MaskedPart<'_, '_, Self>;
    row_max: primitives::RowMax<'_, Self>;
    exp_sub_max: primitives::ExpSubMax<'_, Self>;
    scale: primitives::Scale<'_, Self>;
    tile: online::Tile<'_, Self>;
    finish: online::Finish<'_, Self>;
    backward: backward::Backward<'_, Self>;
    cross_entropy: cross_entropy::CrossEntropy<'_, Self>;
    gather: gather::Gather<'_, Self>;
    masked: masked::Masked<'_, '_, Self>;
}}
