//! The gradients of softmax and log_softmax over contiguous rows.

use candle_core::{CpuStorage, CustomOp2, Error, Layout, Result, Shape};
use softmax::BackwardRows;

use crate::element::{Real, with_elements};
use crate::forward::Operator;
use crate::strided::contiguous;

/// (y, dy) to dx, both contiguous, rows along the last dimension.
pub struct Backward(pub Operator);

impl Backward {
    fn run<T: Real>(&self, y: &[T], y_layout: &Layout, dy: &CpuStorage, dy_layout: &Layout) -> Result<CpuStorage> {
        let dy = T::cpu_storage_as_slice(dy)?;
        let (Some(y_places), Some(dy_places)) = (contiguous(y_layout), contiguous(dy_layout)) else {
            candle_core::bail!("{}: the gradient takes contiguous tensors", self.name());
        };
        let (y, dy) = (&y[y_places], &dy[dy_places]);
        let cols = y_layout.dims().last().map_or(1, |&cols| cols.max(1));
        let mut dx = vec![T::zero(); y.len()];
        let rows = BackwardRows::new(y.len() / cols, cols);
        match self.0 {
            Operator::Softmax => softmax::par_softmax_backward_rows(y, dy, &mut dx[..], rows),
            Operator::LogSoftmax => softmax::par_log_softmax_backward_rows(y, dy, &mut dx[..], rows),
        }
        .map_err(Error::wrap)?;
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
