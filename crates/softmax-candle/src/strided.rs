//! Where the elements of a layout stand, and rows of one that is not contiguous.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result};
use std::ops::Range;

use crate::element::Real;

/// The places of the elements of a contiguous layout. An empty view has none, though it may start behind its storage.
pub fn contiguous(layout: &Layout) -> Option<Range<usize>> {
    if layout.shape().elem_count() == 0 {
        return Some(0..0);
    }
    layout.contiguous_offsets().map(|(start, end)| start..end)
}

/// The elements of a layout that is not empty, in the order of its indices.
pub fn gather<T: Real>(storage: &CpuStorage, layout: &Layout) -> Result<Vec<T>> {
    let mut elements = T::to_cpu_storage_owned(vec![T::zero(); layout.shape().elem_count()]);
    storage.copy_strided_src(&mut elements, 0, layout)?;
    T::cpu_storage_data(elements)
}

/// Calls `f` with the number of each row along the last dimension and the offset at which it starts, in order.
pub fn for_each_row(layout: &Layout, mut f: impl FnMut(usize, usize)) {
    let Some((_, dims)) = layout.dims().split_last() else {
        return;
    };
    let rows: usize = dims.iter().product();
    let mut index = vec![0; dims.len()];
    let mut start = layout.start_offset();
    for row in 0..rows {
        f(row, start);
        // An odometer: the last digit that can grow does, and those after it start again.
        for (d, digit) in index.iter_mut().enumerate().rev() {
            *digit += 1;
            start += layout.stride()[d];
            if *digit < dims[d] {
                break;
            }
            start -= *digit * layout.stride()[d];
            *digit = 0;
        }
    }
}

/// Writes elements in the order of the indices of a layout to their places.
pub fn scatter<T: Real>(elements: &[T], storage: &mut [T], layout: &Layout) {
    let (Some(&n), Some(&stride)) = (layout.dims().last(), layout.stride().last()) else {
        return;
    };
    for_each_row(layout, |row, start| {
        for (i, &element) in elements[row * n..][..n].iter().enumerate() {
            storage[start + i * stride] = element;
        }
    });
}
