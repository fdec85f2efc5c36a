//! The gradients of softmax and log_softmax over contiguous rows.

use candle_core::{CpuStorage, CustomOp2, Error, Layout, Result, Shape};
use rayon::prelude::*;
use softmax::BackwardRows;

use crate::element::{GRAIN, Real, with_elements};
use crate::forward::Operator;

/// (y, dy) to dx, both contiguous, rows along the last dimension.
pub struct Backward(pub Operator);

impl Backward {
    fn run<T: Real>(&self, y: &[T], y_layout: &Layout, dy: &CpuStorage, dy_layout: &Layout) -> Result<CpuStorage> {
        let dy = T::cpu_storage_as_slice(dy)?;
        let (Some((y0, y1)), Some((d0, d1))) = (y_layout.contiguous_offsets(), dy_layout.contiguous_offsets()) else {
            candle_core::bail!("{}: the gradient takes contiguous tensors", self.name());
        };
        let (y, dy) = (&y[y0..y1], &dy[d0..d1]);
        let cols = y_layout.dims().last().map_or(1, |&cols| cols.max(1));
        let task = GRAIN.div_ceil(cols) * cols;
        let mut dx = vec![T::zero(); y.len()];
        let tasks = y.par_chunks(task).zip(dy.par_chunks(task)).zip(dx.par_chunks_mut(task));
        tasks.try_for_each(|((y, dy), dx)| {
            let rows = BackwardRows::new(y.len() / cols, cols);
            match self.0 {
                Operator::Softmax => softmax::softmax_backward_rows(y, dy, dx, rows),
                Operator::LogSoftmax => softmax::log_softmax_backward_rows(y, dy, dx, rows),
            }
            .map_err(Error::wrap)
        })?;
        Ok(T::to_cpu_storage_owned(dx))
    }
}

impl CustomOp2 for Backward {
    fn name(&self) -> &'static str {
        match self.0 {
            Operator::Softmax => "softmax-backward",
            Operator::LogSoftmax => "log-softmax-backward",
        }
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dx = with_elements!(y, self.name(), |y| self.run(y, y_layout, dy, dy_layout)?);
        Ok((dx, y_layout.shape().clone()))
    }
}
