//! The structs of parameters.

use crate::memory::{Span, Versioned};
use crate::status::Status;
use core::ffi::c_int;
use softmax::{Broadcast, CrossEntropy, Element, FullyMasked, Reduction};

/// `SMX_FULLY_MASKED_ZERO`.
pub const FULLY_MASKED_ZERO: c_int = 0;
/// `SMX_FULLY_MASKED_NAN`.
pub const FULLY_MASKED_NAN: c_int = 1;

/// `SMX_REDUCTION_NONE`.
pub const REDUCTION_NONE: c_int = 0;
/// `SMX_REDUCTION_MEAN`.
pub const REDUCTION_MEAN: c_int = 1;
/// `SMX_REDUCTION_SUM`.
pub const REDUCTION_SUM: c_int = 2;

/// `smx_mask`. Fields are documented in `softmax.h`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Mask {
    pub size: usize,
    pub scale: f32,
    pub softcap: f32,
    pub alibi_slope: f32,
    pub additive: *const f32,
    pub additive_stride: usize,
    pub keep: *const u8,
    pub keep_stride: usize,
    pub causal: Bool,
    pub causal_offset: isize,
    pub queries: usize,
    pub window: usize,
    pub lengths: *const usize,
    pub sinks: *const f32,
    pub fully_masked: c_int,
}

/// A `bool` of C: one byte, false if it is 0. (A `bool` of Rust may hold nothing but 0 and 1.)
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Bool(pub u8);

// SAFETY: repr(C), and `size` comes first.
unsafe impl Versioned for Mask {}

/// The memory that a mask names, none of which may overlap the output.
pub(crate) struct MaskSpans {
    additive: Option<(Span<f32>, Broadcast)>,
    keep: Option<(Span<u8>, Broadcast)>,
    lengths: Option<Span<usize>>,
    sinks: Option<Span<f32>>,
}

impl Mask {
    /// The memory it names, for so many rows.
    pub(crate) fn spans(&self, rows: usize, cols: usize) -> Result<MaskSpans, Status> {
        let each = if cols == 0 { 0 } else { rows };
        Ok(MaskSpans {
            additive: broadcast(self.additive, rows, cols, self.additive_stride)?,
            keep: broadcast(self.keep, rows, cols, self.keep_stride)?,
            lengths: optional(self.lengths, |start| Span::new(start, each))?,
            sinks: optional(self.sinks, |start| Span::new(start, each))?,
        })
    }

    /// The mask of the Rust crate.
    ///
    /// # Safety
    /// `spans` are those of `self`, and the caller's promise (see `memory`) holds for them, as inputs.
    pub(crate) unsafe fn build<'a, T>(&self, spans: &MaskSpans) -> Result<softmax::Mask<'a, T>, Status>
    where
        T: Element<Compute: From<f32>>,
        f32: softmax::MaskElement<T>,
    {
        let slope = if self.alibi_slope == 0.0 { 1.0 } else { self.alibi_slope };
        let fully_masked = match self.fully_masked {
            FULLY_MASKED_ZERO => FullyMasked::Zero,
            FULLY_MASKED_NAN => FullyMasked::Nan,
            _ => return Err(Status::Param),
        };
        let mut mask = softmax::Mask::new()
            .with_scale(self.scale.into())
            .with_softcap(self.softcap.into())
            .with_alibi_slope(slope.into())
            .with_queries(self.queries)
            .with_window(self.window)
            .with_fully_masked(fully_masked);
        if self.causal.0 != 0 {
            mask = mask.with_causal(self.causal_offset);
        }
        if let Some((additive, rows)) = spans.additive {
            // SAFETY: the promise.
            mask = mask.with_additive(unsafe { additive.input() }, rows);
        }
        if let Some((keep, rows)) = spans.keep {
            // SAFETY: the promise.
            mask = mask.with_keep_bytes(unsafe { keep.input() }, rows);
        }
        if let Some(lengths) = spans.lengths {
            // SAFETY: the promise.
            mask = mask.with_lengths(unsafe { lengths.input() }, Broadcast::rows(1));
        }
        if let Some(sinks) = spans.sinks {
            // SAFETY: the promise.
            mask = mask.with_sinks(unsafe { sinks.input() }, Broadcast::rows(1));
        }
        Ok(mask)
    }
}

impl MaskSpans {
    /// Checks that the output overlaps none of it.
    pub(crate) fn apart<T>(&self, output: Span<T>) -> Result<(), Status> {
        self.additive.map_or(Ok(()), |(span, _)| span.apart(output))?;
        self.keep.map_or(Ok(()), |(span, _)| span.apart(output))?;
        self.lengths.map_or(Ok(()), |span| span.apart(output))?;
        self.sinks.map_or(Ok(()), |span| span.apart(output))
    }
}

/// What a pointer names, unless it is null.
pub(crate) fn optional<T, S>(
    start: *const T,
    span: impl FnOnce(*const T) -> Result<S, Status>,
) -> Result<Option<S>, Status> {
    if start.is_null() {
        return Ok(None);
    }
    span(start).map(Some)
}

/// Rows of a mask at a stride, or, at stride 0, one for all.
fn broadcast<T>(
    start: *const T,
    rows: usize,
    cols: usize,
    stride: usize,
) -> Result<Option<(Span<T>, Broadcast)>, Status> {
    optional(start, |start| {
        if stride == 0 {
            return Ok((Span::rows(start, rows.min(1), cols, cols)?, Broadcast::ONE));
        }
        Ok((Span::rows(start, rows, cols, stride)?, Broadcast::rows(stride)))
    })
}

/// `smx_cross_entropy_params`. Fields are documented in `softmax.h`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[allow(missing_docs)]
pub struct CrossEntropyParams {
    pub size: usize,
    pub label_smoothing: f32,
    pub ignore_index: i64,
    pub class_weights: *const f32,
    pub reduction: c_int,
}

// SAFETY: repr(C), and `size` comes first.
unsafe impl Versioned for CrossEntropyParams {}

impl CrossEntropyParams {
    /// The parameters of the Rust crate, but for the weights.
    pub(crate) fn build<'w>(&self) -> Result<CrossEntropy<'w>, Status> {
        let reduction = match self.reduction {
            REDUCTION_NONE => Reduction::None,
            REDUCTION_MEAN => Reduction::Mean,
            REDUCTION_SUM => Reduction::Sum,
            _ => return Err(Status::Param),
        };
        Ok(CrossEntropy {
            label_smoothing: self.label_smoothing.into(),
            ignore_index: self.ignore_index,
            class_weights: None,
            reduction,
        })
    }
}
