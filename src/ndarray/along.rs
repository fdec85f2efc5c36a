//! Finds, for a layout, what the operators on slices can work on.
//!
//! The axes are sorted by their strides, and reversed where those are negative. An array that then has the standard
//! layout fills its memory, and the axis stands somewhere between `outer` and `inner` others of it. The axis of the
//! operator itself is never reversed: the bits of a row depend on the order of its elements.

use super::Error;
use crate::element::Element;
use ::ndarray::{ArrayRef, ArrayView, ArrayViewMut, Axis, Dimension, RemoveAxis, Zip};

#[derive(Clone, Copy)]
pub enum Operator {
    Softmax,
    LogSoftmax,
}

impl Operator {
    fn row<T: Element>(self, x: &[T], y: &mut [T]) -> Result<(), crate::Error> {
        match self {
            Self::Softmax => crate::softmax(x, y),
            Self::LogSoftmax => crate::log_softmax(x, y),
        }
    }

    fn row_in_place<T: Element>(self, x: &mut [T]) {
        match self {
            Self::Softmax => crate::softmax_in_place(x),
            Self::LogSoftmax => crate::log_softmax_in_place(x),
        }
    }

    fn axis<T: Element>(self, x: &[T], y: &mut [T], axis: crate::Axis) -> Result<(), crate::Error> {
        match self {
            Self::Softmax => crate::softmax_axis(x, y, axis),
            Self::LogSoftmax => crate::log_softmax_axis(x, y, axis),
        }
    }

    fn axis_in_place<T: Element>(self, x: &mut [T], axis: crate::Axis) -> Result<(), crate::Error> {
        match self {
            Self::Softmax => crate::softmax_axis_in_place(x, axis),
            Self::LogSoftmax => crate::log_softmax_axis_in_place(x, axis),
        }
    }
}

pub fn check_axis<T, D: Dimension>(x: &ArrayRef<T, D>, axis: Axis) -> Result<(), Error> {
    let (axis, ndim) = (axis.index(), x.ndim());
    if axis < ndim {
        Ok(())
    } else {
        Err(Error::Axis { axis, ndim })
    }
}

fn check_shape(expected: &[usize], output: &[usize]) -> Result<(), Error> {
    if expected == output {
        return Ok(());
    }
    let (expected, output) = (expected.to_vec(), output.to_vec());
    Err(Error::Shape { expected, output })
}

/// The order of the axes in which an array may fill its memory, the farthest apart first, and which of them run
/// backwards.
struct Order<D> {
    axes: D,
    reversed: Vec<usize>,
    /// Where the axis of the operator comes to stand.
    position: usize,
}

impl<D: Dimension> Order<D> {
    fn of<T>(x: &ArrayRef<T, D>, axis: Axis) -> Self {
        let mut sorted: Vec<usize> = (0..x.ndim()).collect();
        // The stride of an axis of one element means nothing; last, it does no harm.
        let distance = |a| {
            if x.len_of(Axis(a)) > 1 {
                x.stride_of(Axis(a)).unsigned_abs()
            } else {
                0
            }
        };
        sorted.sort_by_key(|&a| std::cmp::Reverse(distance(a)));
        let backwards = |&a: &usize| a != axis.index() && x.len_of(Axis(a)) > 1 && x.stride_of(Axis(a)) < 0;
        let reversed = (0..x.ndim()).filter(backwards).collect();
        let position = sorted.iter().position(|&a| a == axis.index()).unwrap_or(0);
        let mut axes = D::zeros(x.ndim());
        axes.slice_mut().copy_from_slice(&sorted);
        Self {
            axes,
            reversed,
            position,
        }
    }

    /// The same for an array without the axis of the operator.
    fn without(&self, axis: Axis) -> Order<D::Smaller> {
        let rest = |axes: &[usize]| -> Vec<usize> {
            let rest = axes.iter().filter(|&&a| a != axis.index());
            rest.map(|&a| if a > axis.index() { a - 1 } else { a }).collect()
        };
        let sorted = rest(self.axes.slice());
        let mut axes = D::Smaller::zeros(sorted.len());
        axes.slice_mut().copy_from_slice(&sorted);
        let (reversed, position) = (rest(&self.reversed), 0);
        Order {
            axes,
            reversed,
            position,
        }
    }

    fn view<'a, T>(&self, x: &'a ArrayRef<T, D>) -> ArrayView<'a, T, D> {
        let mut view = x.view();
        for &axis in &self.reversed {
            view.invert_axis(Axis(axis));
        }
        view.permuted_axes(self.axes.clone())
    }

    fn view_mut<'a, T>(&self, x: &'a mut ArrayRef<T, D>) -> ArrayViewMut<'a, T, D> {
        let mut view = x.view_mut();
        for &axis in &self.reversed {
            view.invert_axis(Axis(axis));
        }
        view.permuted_axes(self.axes.clone())
    }

    /// The axis of the operator among those of a view.
    fn axis<T>(&self, view: &ArrayRef<T, D>) -> crate::Axis {
        let extents = view.shape();
        let (outer, inner) = (&extents[..self.position], &extents[self.position + 1..]);
        crate::Axis::new(outer.iter().product(), extents[self.position], inner.iter().product())
    }
}

pub fn into<T: Element, D: Dimension>(
    operator: Operator,
    x: &ArrayRef<T, D>,
    y: &mut ArrayRef<T, D>,
    axis: Axis,
) -> Result<(), Error> {
    check_axis(x, axis)?;
    check_shape(x.shape(), y.shape())?;
    if x.is_empty() {
        return Ok(());
    }
    let order = Order::of(x, axis);
    let (from, mut to) = (order.view(x), order.view_mut(y));
    let along = order.axis(&from);
    if let (Some(x), Some(y)) = (from.as_slice(), to.as_slice_mut()) {
        return Ok(operator.axis(x, y, along)?);
    }
    if rows_are_slices(x, axis) && rows_are_slices(y, axis) {
        for (x, mut y) in x.lanes(axis).into_iter().zip(y.lanes_mut(axis)) {
            if let (Some(x), Some(y)) = (x.as_slice(), y.as_slice_mut()) {
                operator.row(x, y)?;
            }
        }
        return Ok(());
    }
    y.assign(x);
    in_place(operator, y, axis)
}

pub fn in_place<T: Element, D: Dimension>(operator: Operator, x: &mut ArrayRef<T, D>, axis: Axis) -> Result<(), Error> {
    check_axis(x, axis)?;
    if x.is_empty() {
        return Ok(());
    }
    let order = Order::of(x, axis);
    let mut view = order.view_mut(x);
    let along = order.axis(&view);
    if let Some(x) = view.as_slice_mut() {
        return Ok(operator.axis_in_place(x, along)?);
    }
    if rows_are_slices(x, axis) {
        for mut row in x.lanes_mut(axis) {
            if let Some(row) = row.as_slice_mut() {
                operator.row_in_place(row);
            }
        }
        return Ok(());
    }
    let mut copy: Vec<T> = x.iter().copied().collect();
    operator.axis_in_place(&mut copy, standard(x.shape(), axis))?;
    put(x, copy);
    Ok(())
}

pub fn logsumexp_into<T: Element, D: RemoveAxis>(
    x: &ArrayRef<T, D>,
    out: &mut ArrayRef<T, D::Smaller>,
    axis: Axis,
) -> Result<(), Error> {
    check_axis(x, axis)?;
    let shape = x.raw_dim().remove_axis(axis);
    check_shape(shape.slice(), out.shape())?;
    if x.is_empty() {
        let empty = crate::logsumexp::<T>(&[]);
        out.iter_mut().for_each(|out| *out = empty);
        return Ok(());
    }
    let order = Order::of(x, axis);
    let view = order.view(x);
    if let Some(x) = view.as_slice() {
        let along = order.axis(&view);
        let mut out = order.without(axis).view_mut(out);
        if let Some(out) = out.as_slice_mut() {
            return Ok(crate::logsumexp_axis(x, out, along)?);
        }
        let mut results: Vec<T> = out.iter().copied().collect();
        crate::logsumexp_axis(x, &mut results[..], along)?;
        put(&mut out, results);
        return Ok(());
    }
    if rows_are_slices(x, axis) {
        Zip::from(out).and(x.lanes(axis)).for_each(|out, row| {
            if let Some(row) = row.as_slice() {
                *out = crate::logsumexp(row);
            }
        });
        return Ok(());
    }
    let copy: Vec<T> = x.iter().copied().collect();
    let mut results: Vec<T> = out.iter().copied().collect();
    crate::logsumexp_axis(&copy, &mut results[..], standard(x.shape(), axis))?;
    put(out, results);
    Ok(())
}

/// Writes elements in the order of the indices.
fn put<T, D: Dimension>(x: &mut ArrayRef<T, D>, elements: Vec<T>) {
    for (x, element) in x.iter_mut().zip(elements) {
        *x = element;
    }
}

/// Whether the elements of each row along the axis lie side by side, in order.
fn rows_are_slices<T, D: Dimension>(x: &ArrayRef<T, D>, axis: Axis) -> bool {
    x.len_of(axis) == 1 || x.stride_of(axis) == 1
}

/// The axis of an array of the standard layout.
fn standard(shape: &[usize], axis: Axis) -> crate::Axis {
    let (outer, inner) = (&shape[..axis.index()], &shape[axis.index() + 1..]);
    crate::Axis::new(outer.iter().product(), shape[axis.index()], inner.iter().product())
}
