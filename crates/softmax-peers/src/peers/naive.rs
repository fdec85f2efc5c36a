//! The loop everyone writes first: maximum, `f32::exp`, sum, division.

use crate::data::{Data, Io, Rows};
use crate::peer::{Context, Kernel, Peer};
use crate::pool::Pool;
use crate::task::{Dtype, Op, Task};
use std::sync::Arc;

/// Three scalar passes over each row.
pub struct Naive(Arc<Pool>);

impl Naive {
    /// On the threads of `context`.
    pub fn new(context: &Context) -> Self {
        Self(context.pool.clone())
    }
}

impl Peer for Naive {
    fn name(&self) -> &'static str {
        "naive"
    }

    fn version(&self) -> String {
        "f32::exp".into()
    }

    fn prepare(&self, task: &Task, _data: &Data) -> Result<Box<dyn Kernel>, String> {
        if task.dtype != Dtype::F32 {
            return Err("written for f32".into());
        }
        self.0.can_split(task.shape.rows)?;
        let (pool, op, cols) = (self.0.clone(), task.op, task.shape.cols);
        Ok(Box::new(move |io: Io<'_>| {
            pool.split(super::f32_rows(io), cols, |rows| match rows {
                Rows::Out { x, y } => {
                    for (x, y) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)) {
                        y.copy_from_slice(x);
                        row(op, y);
                    }
                }
                Rows::In { x } => x.chunks_exact_mut(cols).for_each(|x| row(op, x)),
            });
        }))
    }
}

fn row(op: Op, x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    match op {
        Op::Softmax => {
            let mut sum = 0.0;
            for x in &mut *x {
                *x = (*x - max).exp();
                sum += *x;
            }
            x.iter_mut().for_each(|x| *x /= sum);
        }
        Op::LogSoftmax => {
            let sum: f32 = x.iter().map(|x| (x - max).exp()).sum();
            let shift = max + sum.ln();
            x.iter_mut().for_each(|x| *x -= shift);
        }
    }
}
