//! The largest elements of one long row: each part of it has candidates, and of those the foremost are taken.
//!
//! The order of the elements is one of all of them (NaN first, then the larger, then the lower index), so that the choice
//! does not depend on the parts.

use super::super::argmax_on;
use super::super::cut::Input;
use super::long::long_sum;
use super::{First, Strided, share};
use crate::element::Element;
use crate::isa::Isa;
use crate::kernel::passes::SEGMENT;
use crate::kernel::top_k::{Steps, TopK, before};
use crate::rows::Rows;
use rayon::{current_num_threads, join};

/// The index of the foremost element of a row that has one.
pub fn long_argmax<T: Element>(isa: Isa, x: &[T]) -> usize {
    let work = Strided((Input(x, 1), First(0)), Rows::new(x.len(), 1));
    let part = |Strided((x, start), _): Strided<(Input<'_, T>, First)>| start.0 + argmax_on(isa, x.0).unwrap_or(0);
    share(work, &part, &|a, b| if before(x[b], x[a]) { b } else { a })
}

/// The `index.len()` foremost elements of a row and their probabilities.
pub fn long_top_k<T: Element>(isa: Isa, x: &[T], index: &mut [usize], prob: &mut [T::Compute]) {
    let rows = Rows::new(1, x.len());
    let k = index.len();
    index.copy_from_slice(&foremost(isa, x, k, current_num_threads().min(x.len() / SEGMENT)));
    let steps = Steps::Probabilities(long_sum(isa, x));
    T::top_k(
        isa,
        TopK {
            x,
            k,
            index,
            prob,
            rows,
            steps,
        },
    );
}

/// The indices of the `k` foremost elements (or of all), in order. By a part to a thread and no more: where k is large,
/// what takes time is the candidates of each part, not its length.
fn foremost<T: Element>(isa: Isa, x: &[T], k: usize, parts: usize) -> Vec<usize> {
    let k = k.min(x.len());
    if parts < 2 {
        let mut index = vec![0; k];
        let kernel = TopK {
            x,
            k,
            index: &mut index,
            prob: &mut [],
            rows: Rows::new(1, x.len()),
            steps: Steps::Select,
        };
        T::top_k(isa, kernel);
        return index;
    }
    let half = parts / 2;
    let middle = x.len() / parts * half;
    let (first, rest) = x.split_at(middle);
    let (first, rest) = join(
        || foremost(isa, first, k, half),
        || foremost(isa, rest, k, parts - half),
    );
    let mut first = first.into_iter().peekable();
    let mut rest = rest.into_iter().map(|i| middle + i).peekable();
    let next = || match (first.peek(), rest.peek()) {
        (Some(&a), Some(&b)) if before(x[b], x[a]) => rest.next(),
        (None, _) => rest.next(),
        _ => first.next(),
    };
    core::iter::from_fn(next).take(k).collect()
}
