//! tract-linalg: the three row kernels that tract's softmax operator calls, in its order. They
//! work in place; out of place, each row is copied first, as tract copies its tensor.

use crate::data::{Data, Io, Rows};
use crate::peer::{Context, Kernel, Peer};
use crate::pool::Pool;
use crate::task::{Dtype, Op, Task};
use std::sync::Arc;
use tract_linalg::element_wise::ElementWise;
use tract_linalg::reduce::{MapReduce, Reduce};
use tract_linalg::routines::Func;

/// The kernels of this machine; `TRACT_CPU_ISA` edits its instruction sets.
pub struct Tract {
    pool: Arc<Pool>,
    kernels: Kernels,
}

#[derive(Clone)]
struct Kernels {
    max: Box<dyn Reduce<f32>>,
    exp_sum: Box<dyn MapReduce<f32, f32>>,
    scale: Box<dyn ElementWise<f32, f32>>,
}

impl Tract {
    /// On the threads of `context`.
    ///
    /// # Errors
    /// tract has no kernel for this machine.
    pub fn open(context: &Context) -> Result<Self, String> {
        let kernels = Kernels {
            max: Func::ReduceMax.reduce_f32().map_err(|error| error.to_string())?,
            exp_sum: Func::Softmax2.map_reduce_f32().map_err(|error| error.to_string())?,
            scale: Func::MulByScalar.ew_f32_param().map_err(|error| error.to_string())?,
        };
        Ok(Self {
            pool: context.pool.clone(),
            kernels,
        })
    }
}

impl Peer for Tract {
    fn name(&self) -> &'static str {
        "tract-linalg"
    }

    fn version(&self) -> String {
        format!("tract-linalg 0.23 ({})", self.kernels.exp_sum.name())
    }

    fn prepare(&self, task: &Task, _data: &Data) -> Result<Box<dyn Kernel>, String> {
        if task.dtype != Dtype::F32 || task.op != Op::Softmax {
            return Err("its row kernels are softmax in f32".into());
        }
        self.pool.can_split(task.shape.rows)?;
        let (pool, kernels, cols) = (self.pool.clone(), self.kernels.clone(), task.shape.cols);
        Ok(Box::new(move |io: Io<'_>| {
            pool.split(super::f32_rows(io), cols, |rows| match rows {
                Rows::Out { x, y } => {
                    for (x, y) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)) {
                        y.copy_from_slice(x);
                        kernels.row(y);
                    }
                }
                Rows::In { x } => x.chunks_exact_mut(cols).for_each(|x| kernels.row(x)),
            });
        }))
    }
}

impl Kernels {
    fn row(&self, x: &mut [f32]) {
        const RUNS: &str = "kernels run on any slice";
        let max = self.max.run(x).expect(RUNS);
        let sum = self.exp_sum.run_with_params(x, max).expect(RUNS);
        self.scale.run_with_params(x, sum.recip()).expect(RUNS);
    }
}
