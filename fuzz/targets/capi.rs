//! The C interface on pointers into one piece of memory: null, misaligned and overlapping ones are statuses, and nothing is
//! written then; all else gives what the Rust function gives.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use softmax::{Axis, Broadcast, FullyMasked, Rows};
use softmax_capi::{Bool, Mask, Status, f32 as c};
use softmax_fuzz::{Number, Numbers, Size, within};
use std::ops::Range;

/// Elements of the memory.
const MOST: usize = 3000;

/// A pointer into the memory.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Pointer {
    Null,
    At(u16),
    /// One byte further.
    Misaligned(u16),
}

#[derive(Arbitrary, Debug)]
enum Call {
    Softmax,
    LogSoftmax,
    LogSumExp,
    Axis,
    Masked(Masked),
}

#[derive(Arbitrary, Debug)]
struct Masked {
    wrong_size: bool,
    scale: Number,
    softcap: Number,
    slope: Number,
    additive: Pointer,
    additive_stride: Size,
    keep: Pointer,
    keep_stride: Size,
    causal: u8,
    causal_offset: i16,
    queries: Size,
    window: Size,
    lengths: Option<Vec<u8>>,
    sinks: Pointer,
    fully_masked: i8,
}

#[derive(Arbitrary, Debug)]
struct Input {
    call: Call,
    x: Pointer,
    y: Pointer,
    /// Rows, columns and strides; or the extents around an axis.
    sizes: [Size; 4],
    same_stride: bool,
    values: Numbers,
}

/// Why a call is not made, or what it must give.
enum Expected {
    /// The promise that the memory is the caller's is not kept.
    Unknown,
    Refused,
    Done(Vec<u32>),
}

/// The elements that an argument names, as a range of bytes of the memory.
fn span(pointer: Pointer, elements: Option<u128>, size: usize) -> Result<Range<usize>, Expected> {
    let elements = elements.ok_or(Expected::Refused)?;
    if elements == 0 {
        return Ok(0..0);
    }
    let at = match pointer {
        Pointer::At(at) => within(at, MOST) * 4,
        Pointer::Misaligned(at) if size == 1 => within(at, MOST) * 4 + 1,
        _ => return Err(Expected::Refused),
    };
    if elements > MOST as u128 * 4 {
        // Beyond the address space it is refused; before that it is a lie.
        let refused = elements > (isize::MAX as u128) / size as u128;
        return Err(if refused { Expected::Refused } else { Expected::Unknown });
    }
    let end = at + elements as usize * size;
    if end > MOST * 4 {
        Err(Expected::Unknown)
    } else {
        Ok(at..end)
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end && !a.is_empty() && !b.is_empty()
}

/// Elements of rows; `None` if the stride is too small.
fn extent(rows: usize, cols: usize, stride: usize) -> Option<u128> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    (stride >= cols).then_some((rows as u128 - 1) * stride as u128 + cols as u128)
}

fuzz_target!(|input: Input| {
    let mut memory: Vec<f32> = input.values.take(MOST);
    let before: Vec<u32> = memory.iter().map(|v| v.to_bits()).collect();
    let [rows, cols, x_stride, y_stride] = input.sizes.map(|size| size.get());
    let y_stride = if input.same_stride { x_stride } else { y_stride };
    let want = match expected(&input, &memory, [rows, cols, x_stride, y_stride]) {
        Ok(bits) => Expected::Done(bits),
        Err(other) => other,
    };
    if matches!(want, Expected::Unknown) {
        return;
    }
    let base = memory.as_mut_ptr();
    let pointer = |pointer: Pointer| match pointer {
        Pointer::Null => std::ptr::null_mut(),
        Pointer::At(at) => base.wrapping_add(within(at, MOST)),
        Pointer::Misaligned(at) => base.wrapping_add(within(at, MOST)).wrapping_byte_add(1),
    };
    let (x, y) = (pointer(input.x), pointer(input.y));
    // SAFETY: `expected` has seen that what is named lies in the memory, or that the call is refused.
    let status = unsafe {
        match &input.call {
            Call::Softmax => c::softmax(x, y, rows, cols, x_stride, y_stride),
            Call::LogSoftmax => c::log_softmax(x, y, rows, cols, x_stride, y_stride),
            Call::LogSumExp => c::logsumexp(x, y, rows, cols, x_stride),
            Call::Axis => c::softmax_axis(x, y, rows, cols, x_stride),
            Call::Masked(masked) => {
                let lengths = masked.lengths(rows, cols);
                let mask = Mask {
                    size: size_of::<Mask>() + usize::from(masked.wrong_size),
                    scale: masked.scale.get(),
                    softcap: masked.softcap.get(),
                    alibi_slope: masked.slope.get(),
                    additive: pointer(masked.additive),
                    additive_stride: masked.additive_stride.get(),
                    keep: pointer(masked.keep).cast(),
                    keep_stride: masked.keep_stride.get(),
                    causal: Bool(masked.causal),
                    causal_offset: masked.causal_offset.into(),
                    queries: masked.queries.get(),
                    window: masked.window.get(),
                    lengths: lengths.as_ref().map_or(std::ptr::null(), |lengths| lengths.as_ptr()),
                    sinks: pointer(masked.sinks),
                    fully_masked: masked.fully_masked.into(),
                };
                c::masked_softmax(x, y, rows, cols, x_stride, y_stride, &mask)
            }
        }
    };
    let after: Vec<u32> = memory.iter().map(|v| v.to_bits()).collect();
    match want {
        Expected::Done(want) => {
            assert_eq!(status, Status::Ok as i32);
            assert_eq!(after, want);
        }
        _ => {
            assert_ne!(status, Status::Ok as i32);
            assert_eq!(after, before, "written");
        }
    }
});

impl Masked {
    /// One for each of the rows, as far as they can fit.
    fn lengths(&self, rows: usize, cols: usize) -> Option<Vec<usize>> {
        let lengths = self
            .lengths
            .as_ref()?
            .iter()
            .cycle()
            .map(|&n| usize::from(n) % cols.saturating_add(2));
        let mut lengths: Vec<usize> = lengths.take(rows.min(MOST)).collect();
        lengths.resize(rows.min(MOST), cols);
        Some(lengths)
    }
}

/// The memory after the call.
fn expected(input: &Input, memory: &[f32], sizes: [usize; 4]) -> Result<Vec<u32>, Expected> {
    let [rows, cols, x_stride, y_stride] = sizes;
    let mut memory = memory.to_vec();
    let (x_len, y_len) = match input.call {
        Call::Axis => {
            let nothing = [rows, cols, x_stride].contains(&0);
            let product = (rows as u128)
                .checked_mul(cols as u128)
                .and_then(|n| n.checked_mul(x_stride as u128));
            let len = if nothing {
                Some(0)
            } else {
                Some(product.unwrap_or(u128::MAX))
            };
            (len, len)
        }
        Call::LogSumExp => (extent(rows, cols, x_stride), Some(rows as u128)),
        _ => (extent(rows, cols, x_stride), extent(rows, cols, y_stride)),
    };
    let x = span(input.x, x_len, 4);
    let y = span(input.y, y_len, 4);
    // Refused is what it is, whatever else is wrong.
    let (x, y) = match (x, y) {
        (Err(Expected::Refused), _) | (_, Err(Expected::Refused)) => return Err(Expected::Refused),
        (x, y) => (x?, y?),
    };
    let strides_agree = match input.call {
        Call::LogSumExp => false,
        Call::Axis => true,
        _ => x_stride == y_stride,
    };
    if overlap(&x, &y) && !(x == y && strides_agree) {
        return Err(Expected::Refused);
    }
    let from = memory[x.start / 4..x.end / 4].to_vec();
    let mut to = memory[y.start / 4..y.end / 4].to_vec();
    let layout = match (rows, cols) {
        (0, _) => Rows::new(0, 0),
        (_, 0) => Rows::new(if matches!(input.call, Call::LogSumExp) { rows } else { 0 }, 0),
        _ => Rows::new(rows, cols).with_x_stride(x_stride).with_y_stride(y_stride),
    };
    let outcome = match &input.call {
        Call::Softmax => softmax::softmax_rows(&from, &mut to, layout),
        Call::LogSoftmax => softmax::log_softmax_rows(&from, &mut to, layout),
        Call::LogSumExp => softmax::logsumexp_rows(&from, &mut to, layout.with_y_stride(cols)),
        Call::Axis => softmax::softmax_axis(&from, &mut to, Axis::new(rows, cols, x_stride)),
        Call::Masked(masked) => masked.run(&memory, [rows, cols], &y, &from, &mut to, layout)?,
    };
    outcome.map_err(|_| Expected::Refused)?;
    memory[y.start / 4..y.end / 4].copy_from_slice(&to);
    Ok(memory.iter().map(|v| v.to_bits()).collect())
}

impl Masked {
    /// The call in Rust, of copies of what the mask names.
    fn run(
        &self,
        memory: &[f32],
        [rows, cols]: [usize; 2],
        y: &Range<usize>,
        from: &[f32],
        to: &mut [f32],
        layout: Rows,
    ) -> Result<Result<(), softmax::Error>, Expected> {
        if self.wrong_size {
            return Err(Expected::Refused);
        }
        let fully_masked = match self.fully_masked {
            0 => FullyMasked::Zero,
            1 => FullyMasked::Nan,
            _ => return Err(Expected::Refused),
        };
        let optional = |pointer, stride: usize, cols: usize, size| match pointer {
            Pointer::Null => Ok(None),
            pointer if stride == 0 => span(pointer, extent(rows.min(1), cols, cols), size).map(Some),
            pointer => span(pointer, extent(rows, cols, stride), size).map(Some),
        };
        let spans = [
            optional(self.additive, self.additive_stride.get(), cols, 4),
            optional(self.keep, self.keep_stride.get(), cols, 1),
            optional(self.sinks, 1, cols.min(1), 4),
        ];
        if spans.iter().any(|span| matches!(span, Err(Expected::Refused))) {
            return Err(Expected::Refused);
        }
        let [additive, keep, sinks] = spans;
        let (additive, keep, sinks) = (additive?, keep?, sinks?);
        if [&additive, &keep, &sinks]
            .into_iter()
            .flatten()
            .any(|span| overlap(span, y))
        {
            return Err(Expected::Refused);
        }
        let floats = |span: &Range<usize>| &memory[span.start / 4..span.end / 4];
        let bytes: Vec<u8> = memory.iter().flat_map(|v| v.to_ne_bytes()).collect();
        let lengths = self.lengths(rows, cols);
        let broadcast = |stride: usize| {
            if stride == 0 {
                Broadcast::ONE
            } else {
                Broadcast::rows(stride)
            }
        };
        let slope: f32 = self.slope.get();
        let mut mask = softmax::Mask::new()
            .with_scale(self.scale.get())
            .with_softcap(self.softcap.get())
            .with_alibi_slope(if slope == 0.0 { 1.0 } else { slope })
            .with_queries(self.queries.get())
            .with_window(self.window.get())
            .with_fully_masked(fully_masked);
        if self.causal != 0 {
            mask = mask.with_causal(self.causal_offset.into());
        }
        if let Some(span) = &additive {
            mask = mask.with_additive(floats(span), broadcast(self.additive_stride.get()));
        }
        if let Some(span) = &keep {
            mask = mask.with_keep_bytes(&bytes[span.clone()], broadcast(self.keep_stride.get()));
        }
        if let Some(lengths) = &lengths {
            mask = mask.with_lengths(lengths, Broadcast::rows(1));
        }
        if let Some(span) = &sinks {
            mask = mask.with_sinks(floats(span), Broadcast::rows(1));
        }
        Ok(softmax::masked_softmax(from, to, layout, &mask))
    }
}
