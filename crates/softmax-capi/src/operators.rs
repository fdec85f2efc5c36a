//! The operators on any element type: they turn pointers into slices and call the Rust function of the same name.
//!
//! A call without rows, or without columns, does nothing, whatever its strides and pointers.

use crate::memory::{Place, Span, read_versioned};
use crate::params::{CrossEntropyParams, Mask, optional};
use crate::status::Status;
use softmax::{Axis, BackwardRows, Element, Float, Reduction, Rows};

type Done = Result<(), Status>;

/// The layout of a call. Without rows or columns the strides do not matter, and there is no row.
fn layout(rows: usize, cols: usize, x_stride: usize, y_stride: usize) -> Rows {
    if rows == 0 || cols == 0 {
        return Rows::new(0, 0);
    }
    Rows::new(rows, cols).with_x_stride(x_stride).with_y_stride(y_stride)
}

/// Declares operators from rows to rows by their two Rust functions, apart and in place.
macro_rules! on_rows {
    ($($name:ident, $in_place:ident;)*) => {$(
        /// # Safety
        /// The caller's promise (see `memory`).
        pub unsafe fn $name<T: Element>(
            x: *const T,
            y: *mut T,
            rows: usize,
            cols: usize,
            x_stride: usize,
            y_stride: usize,
        ) -> Done {
            let (from, to) = (Span::rows(x, rows, cols, x_stride)?, Span::rows(y, rows, cols, y_stride)?);
            let rows = layout(rows, cols, x_stride, y_stride);
            // SAFETY: the promise.
            match unsafe { Place::new(from, to, x_stride == y_stride) }? {
                Place::Apart(x, y) => softmax::$name(x, y, rows)?,
                Place::InPlace(x) => softmax::$in_place(x, rows)?,
            }
            Ok(())
        }
    )*};
}
on_rows! {
    softmax_rows, softmax_rows_in_place;
    log_softmax_rows, log_softmax_rows_in_place;
}
pub use {log_softmax_rows as log_softmax, softmax_rows as softmax};

/// # Safety
/// The caller's promise (see `memory`).
pub unsafe fn logsumexp<T: Element>(x: *const T, out: *mut T, rows: usize, cols: usize, x_stride: usize) -> Done {
    let (x, out) = (Span::rows(x, rows, cols, x_stride)?, Span::new(out, rows)?);
    x.apart(out)?;
    // Rows without columns have a result.
    let rows = if cols == 0 {
        Rows::new(rows, 0)
    } else {
        layout(rows, cols, x_stride, cols)
    };
    // SAFETY: the promise, and they are apart.
    let (x, out) = unsafe { (x.input(), out.output()) };
    Ok(softmax::logsumexp_rows(x, out, rows)?)
}

/// Declares operators along an axis by their two Rust functions, apart and in place.
macro_rules! along_axis {
    ($($name:ident, $in_place:ident;)*) => {$(
        /// # Safety
        /// The caller's promise (see `memory`).
        pub unsafe fn $name<T: Element>(x: *const T, y: *mut T, outer: usize, len: usize, inner: usize) -> Done {
            let extents = [outer, len, inner];
            let (from, to) = (Span::product(x, extents)?, Span::product(y, extents)?);
            let axis = Axis::new(outer, len, inner);
            // SAFETY: the promise.
            match unsafe { Place::new(from, to, true) }? {
                Place::Apart(x, y) => softmax::$name(x, y, axis)?,
                Place::InPlace(x) => softmax::$in_place(x, axis)?,
            }
            Ok(())
        }
    )*};
}
along_axis! {
    softmax_axis, softmax_axis_in_place;
    log_softmax_axis, log_softmax_axis_in_place;
}

/// # Safety
/// The caller's promise (see `memory`).
pub unsafe fn logsumexp_axis<T: Element>(x: *const T, out: *mut T, outer: usize, len: usize, inner: usize) -> Done {
    let x = Span::product(x, [outer, len, inner])?;
    let out = Span::product(out, [outer, 1, inner])?;
    x.apart(out)?;
    // SAFETY: the promise, and they are apart.
    let (x, out) = unsafe { (x.input(), out.output()) };
    Ok(softmax::logsumexp_axis(x, out, Axis::new(outer, len, inner))?)
}

/// # Safety
/// The caller's promise (see `memory`).
pub unsafe fn argmax<T: Element>(x: *const T, index: *mut usize, rows: usize, cols: usize, x_stride: usize) -> Done {
    if cols == 0 {
        return Ok(());
    }
    let (x, index) = (Span::rows(x, rows, cols, x_stride)?, Span::new(index, rows)?);
    x.apart(index)?;
    // SAFETY: the promise, and they are apart.
    let (x, index) = unsafe { (x.input(), index.output()) };
    Ok(softmax::argmax_rows(x, index, layout(rows, cols, x_stride, cols))?)
}

/// # Safety
/// The caller's promise (see `memory`).
pub unsafe fn top_k<T: Element>(
    x: *const T,
    rows: usize,
    cols: usize,
    x_stride: usize,
    k: usize,
    index: *mut usize,
    prob: *mut T::Compute,
) -> Done {
    if k > cols {
        return Err(Status::Shape);
    }
    if k == 0 {
        return Ok(());
    }
    let x = Span::rows(x, rows, cols, x_stride)?;
    let (index, prob) = (Span::rows(index, rows, k, k)?, Span::rows(prob, rows, k, k)?);
    x.apart(index)?;
    x.apart(prob)?;
    index.apart(prob)?;
    let rows = if rows == 0 {
        Rows::new(0, cols)
    } else {
        layout(rows, cols, x_stride, cols)
    };
    // SAFETY: the promise, and they are apart.
    let (x, index, prob) = unsafe { (x.input(), index.output(), prob.output()) };
    Ok(softmax::top_k_rows(x, k, index, prob, rows)?)
}

/// # Safety
/// The caller's promise (see `memory`).
pub unsafe fn softmax_ragged<T: Element>(x: *const T, y: *mut T, offsets: *const usize, rows: usize) -> Done {
    if rows == 0 {
        return Ok(());
    }
    let offsets = Span::new(offsets, rows.checked_add(1).ok_or(Status::Shape)?)?;
    // SAFETY: the promise; whether the output overlaps them can only be seen once they are read.
    let end = unsafe { offsets.input() }[rows];
    let (x, y) = (Span::new(x, end)?, Span::new(y, end)?);
    offsets.apart(y)?;
    // SAFETY: the promise.
    let offsets = unsafe { offsets.input() };
    // SAFETY: the promise.
    match unsafe { Place::new(x, y, true) }? {
        Place::Apart(x, y) => softmax::softmax_ragged(x, y, offsets)?,
        Place::InPlace(x) => softmax::softmax_ragged_in_place(x, offsets)?,
    }
    Ok(())
}

/// Declares masked operators by their two Rust functions, apart and in place.
macro_rules! masked {
    ($($name:ident, $in_place:ident;)*) => {$(
        /// # Safety
        /// The caller's promise (see `memory`).
        #[allow(clippy::too_many_arguments)] // those of C
        pub unsafe fn $name<T: Element<Compute: From<f32>>>(
            x: *const T,
            y: *mut T,
            rows: usize,
            cols: usize,
            x_stride: usize,
            y_stride: usize,
            mask: *const Mask,
        ) -> Done {
            let own = Span::new(mask, 1)?;
            // SAFETY: the promise.
            let mask = unsafe { read_versioned(mask) }?;
            let (from, to) = (Span::rows(x, rows, cols, x_stride)?, Span::rows(y, rows, cols, y_stride)?);
            own.apart(to)?;
            let spans = mask.spans(rows, cols)?;
            spans.apart(to)?;
            // SAFETY: the promise; the spans are those of this mask.
            let mask = unsafe { mask.build(&spans) }?;
            let rows = layout(rows, cols, x_stride, y_stride);
            // SAFETY: the promise.
            match unsafe { Place::new(from, to, x_stride == y_stride) }? {
                Place::Apart(x, y) => softmax::$name(x, y, rows, &mask)?,
                Place::InPlace(x) => softmax::$in_place(x, rows, &mask)?,
            }
            Ok(())
        }
    )*};
}
masked! {
    masked_softmax, masked_softmax_in_place;
    masked_log_softmax, masked_log_softmax_in_place;
}

/// Declares gradients by their two Rust functions, apart and with dx in the place of dy.
macro_rules! backward {
    ($($name:ident: $rows:ident, $in_place:ident;)*) => {$(
        /// # Safety
        /// The caller's promise (see `memory`).
        #[allow(clippy::too_many_arguments)] // those of C
        pub unsafe fn $name<T: Element>(
            y: *const T,
            dy: *const T,
            dx: *mut T,
            rows: usize,
            cols: usize,
            y_stride: usize,
            dy_stride: usize,
            dx_stride: usize,
        ) -> Done {
            if rows == 0 || cols == 0 {
                return Ok(());
            }
            let y = Span::rows(y, rows, cols, y_stride)?;
            let (dy, dx) = (Span::rows(dy, rows, cols, dy_stride)?, Span::rows(dx, rows, cols, dx_stride)?);
            y.apart(dx)?;
            let shape = BackwardRows::new(rows, cols)
                .with_y_stride(y_stride)
                .with_dy_stride(dy_stride)
                .with_dx_stride(dx_stride);
            // SAFETY: the promise, and y is apart from the output.
            let (y, place) = unsafe { (y.input(), Place::new(dy, dx, dy_stride == dx_stride)?) };
            match place {
                Place::Apart(dy, dx) => softmax::$rows(y, dy, dx, shape)?,
                Place::InPlace(d) => softmax::$in_place(y, d, shape)?,
            }
            Ok(())
        }
    )*};
}
backward! {
    softmax_backward: softmax_backward_rows, softmax_backward_rows_in_place;
    log_softmax_backward: log_softmax_backward_rows, log_softmax_backward_rows_in_place;
}

/// # Safety
/// The caller's promise (see `memory`).
#[allow(clippy::too_many_arguments)] // those of C
pub unsafe fn cross_entropy<T: Element>(
    x: *const T,
    labels: *const i64,
    loss: *mut T::Compute,
    dx: *mut T,
    rows: usize,
    cols: usize,
    x_stride: usize,
    dx_stride: usize,
    params: *const CrossEntropyParams,
) -> Done {
    let own = Span::new(params, 1)?;
    // SAFETY: the promise.
    let params = unsafe { read_versioned(params) }?;
    let mut settings = params.build()?;
    let x = Span::rows(x, rows, cols, x_stride)?;
    let dx = optional(dx, |dx| Span::rows(dx, rows, cols, dx_stride))?;
    let layout = layout(rows, cols, x_stride, if dx.is_some() { dx_stride } else { cols });
    let labels = Span::new(labels, layout.rows())?;
    let weights = optional(params.class_weights, |weights| Span::new(weights, layout.cols()))?;
    let losses = match settings.reduction {
        Reduction::None => layout.rows(),
        _ => 1,
    };
    let loss = Span::new(loss, losses)?;
    x.apart(loss)?;
    labels.apart(loss)?;
    own.apart(loss)?;
    weights.map_or(Ok(()), |weights| weights.apart(loss))?;
    if let Some(dx) = dx {
        x.apart(dx)?;
        labels.apart(dx)?;
        own.apart(dx)?;
        loss.apart(dx)?;
        weights.map_or(Ok(()), |weights| weights.apart(dx))?;
    }
    // SAFETY: the promise.
    settings.class_weights = weights.map(|weights| unsafe { weights.input() });
    // SAFETY: the promise, and the outputs are apart from all else; every bit pattern of dx is a float.
    let (x, labels, loss, dx) = unsafe {
        let dx = dx.map(|dx| dx.in_place());
        (x.input(), labels.input(), loss.output(), dx)
    };
    Ok(softmax::cross_entropy(x, labels, loss, dx, layout, &settings)?)
}

/// # Safety
/// The caller's promise (see `memory`).
pub unsafe fn exp<T: Float>(x: *const T, y: *mut T, n: usize) -> Done {
    let (x, y) = (Span::new(x, n)?, Span::new(y, n)?);
    // SAFETY: the promise.
    match unsafe { Place::new(x, y, true) }? {
        Place::Apart(x, y) => softmax::exp(x, y)?,
        Place::InPlace(x) => softmax::exp_in_place(x),
    }
    Ok(())
}
