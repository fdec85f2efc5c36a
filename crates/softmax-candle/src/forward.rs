//! softmax and log_softmax along a dimension, as operators of candle.

use candle_core::{CpuStorage, CustomOp1, Error, InplaceOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use softmax::Axis;

use crate::backward::Backward;
use crate::element::{GRAIN, Real, with_elements};
use crate::strided::{contiguous, for_each_row, gather, scatter};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Softmax,
    LogSoftmax,
}

/// An operator along a dimension that the tensor has.
pub struct Forward {
    operator: Operator,
    dim: usize,
}

impl Forward {
    pub fn new(operator: Operator, dim: usize) -> Self {
        Self { operator, dim }
    }

    fn label(&self) -> &'static str {
        match self.operator {
            Operator::Softmax => "softmax",
            Operator::LogSoftmax => "log-softmax",
        }
    }

    fn axis(&self, layout: &Layout) -> Axis {
        let dims = layout.dims();
        let outer = dims[..self.dim].iter().product();
        Axis::new(outer, dims[self.dim], dims[self.dim + 1..].iter().product())
    }

    fn out_of_place<T: Real>(&self, x: &[T], storage: &CpuStorage, layout: &Layout) -> Result<Vec<T>> {
        let axis = self.axis(layout);
        if let Some(places) = contiguous(layout) {
            let mut y = vec![T::zero(); places.len()];
            self.apart(&x[places], &mut y, axis)?;
            return Ok(y);
        }
        let rows_are_whole = self.dim + 1 == layout.dims().len() && layout.stride()[self.dim] == 1;
        if rows_are_whole {
            let mut y = vec![T::zero(); layout.shape().elem_count()];
            self.rows(x, &mut y, layout)?;
            return Ok(y);
        }
        let mut y = gather(storage, layout)?;
        self.in_place(&mut y, axis)?;
        Ok(y)
    }

    /// A contiguous tensor to another.
    fn apart<T: Real>(&self, x: &[T], y: &mut [T], axis: Axis) -> Result<()> {
        match self.operator {
            Operator::Softmax => softmax::par_softmax_axis(x, y, axis),
            Operator::LogSoftmax => softmax::par_log_softmax_axis(x, y, axis),
        }
        .map_err(Error::wrap)
    }

    fn in_place<T: Real>(&self, x: &mut [T], axis: Axis) -> Result<()> {
        match self.operator {
            Operator::Softmax => softmax::par_softmax_axis_in_place(x, axis),
            Operator::LogSoftmax => softmax::par_log_softmax_axis_in_place(x, axis),
        }
        .map_err(Error::wrap)
    }

    /// Rows along the last dimension, one element at least, whose elements lie side by side, wherever each starts.
    fn rows<T: Real>(&self, x: &[T], y: &mut [T], layout: &Layout) -> Result<()> {
        let cols = layout.dims()[self.dim];
        let mut starts = Vec::with_capacity(y.len() / cols);
        for_each_row(layout, |_, start| starts.push(start));
        let rows = GRAIN.div_ceil(cols);
        let tasks = y.par_chunks_mut(rows * cols).zip(starts.par_chunks(rows));
        tasks.try_for_each(|(y, starts)| {
            for (y, &start) in y.chunks_exact_mut(cols).zip(starts) {
                let x = &x[start..start + cols];
                match self.operator {
                    Operator::Softmax => softmax::softmax(x, y),
                    Operator::LogSoftmax => softmax::log_softmax(x, y),
                }
                .map_err(Error::wrap)?;
            }
            Ok(())
        })
    }
}

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        self.label()
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        fn wrap<T: Real>(y: Vec<T>) -> CpuStorage {
            T::to_cpu_storage_owned(y)
        }
        let y = with_elements!(storage, self.label(), |x| wrap(self.out_of_place(x, storage, layout)?));
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        // The kernel takes rows side by side.
        let last = y.rank() - 1;
        let rows = |t: &Tensor| t.transpose(self.dim, last)?.contiguous();
        let dx = rows(y)?.apply_op2_no_bwd(&rows(dy)?, &Backward(self.operator))?;
        dx.transpose(self.dim, last)?.contiguous().map(Some)
    }
}

impl InplaceOp1 for Forward {
    fn name(&self) -> &'static str {
        self.label()
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let axis = self.axis(layout);
        if let Some(places) = contiguous(layout) {
            return with_elements!(storage, self.label(), |x| self.in_place(&mut x[places], axis));
        }
        // Candle has made sure that no two elements share their place.
        fn apart<T: Real>(op: &Forward, storage: &CpuStorage, layout: &Layout, _: &[T]) -> Result<Vec<T>> {
            let mut y = gather(storage, layout)?;
            op.in_place(&mut y, op.axis(layout))?;
            Ok(y)
        }
        fn wrap<T: Real>(y: Vec<T>) -> CpuStorage {
            T::to_cpu_storage_owned(y)
        }
        let y = with_elements!(&*storage, self.label(), |x| wrap(apart(self, storage, layout, x)?));
        with_elements!(storage, self.label(), |x| {
            scatter(candle_core::WithDType::cpu_storage_as_slice(&y)?, x, layout);
            Ok(())
        })
    }
}
