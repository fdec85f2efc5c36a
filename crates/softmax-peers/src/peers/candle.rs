//! candle: `softmax_last_dim`, and the composed `log_softmax`. Every call allocates its result;
//! candle has no other way. The previous result is dropped first, so that its memory is reused.

use crate::data::{Data, Io, Rows};
use crate::peer::{Context, Kernel, Peer};
use crate::pool::Pool;
use crate::task::{Op, Place, Task};
use candle_core::{D, Device, Tensor, WithDType};
use std::sync::Arc;

/// Tensors on the CPU.
pub struct Candle(Arc<Pool>);

impl Candle {
    /// On the threads of `context`.
    ///
    /// # Errors
    /// None.
    pub fn open(context: &Context) -> Result<Self, String> {
        Ok(Self(context.pool.clone()))
    }
}

impl Peer for Candle {
    fn name(&self) -> &'static str {
        "candle"
    }

    fn version(&self) -> String {
        "candle-nn 0.11".into()
    }

    fn prepare(&self, task: &Task, data: &Data) -> Result<Box<dyn Kernel>, String> {
        if task.place == Place::In {
            return Err("its tensors are immutable".into());
        }
        let shape = (task.shape.rows, task.shape.cols);
        let input = match data {
            Data::F32(pair) => Tensor::from_slice(&pair.x, shape, &Device::Cpu),
            Data::F16(pair) => Tensor::from_slice(&pair.x, shape, &Device::Cpu),
            Data::Bf16(pair) => Tensor::from_slice(&pair.x, shape, &Device::Cpu),
        };
        let input = input.map_err(|error| error.to_string())?;
        Ok(Box::new(Run {
            pool: self.0.clone(),
            op: task.op,
            input,
            result: None,
        }))
    }
}

struct Run {
    pool: Arc<Pool>,
    op: Op,
    input: Tensor,
    result: Option<Tensor>,
}

impl Kernel for Run {
    fn run(&mut self, _io: Io<'_>) {
        self.result = None;
        let (op, input) = (self.op, &self.input);
        let result = self.pool.install(|| match op {
            Op::Softmax => candle_nn::ops::softmax_last_dim(input),
            Op::LogSoftmax => candle_nn::ops::log_softmax(input, D::Minus1),
        });
        self.result = Some(result.expect("a contiguous float tensor has a softmax"));
    }

    fn collect(&mut self, io: Io<'_>) {
        let result = self.result.as_ref().expect("collected after a run");
        match io {
            Io::F32(rows) => copy(result, rows),
            Io::F16(rows) => copy(result, rows),
            Io::Bf16(rows) => copy(result, rows),
        }
    }
}

fn copy<T: WithDType>(result: &Tensor, rows: Rows<'_, T>) {
    if let Rows::Out { y, .. } = rows {
        let values = result.flatten_all().and_then(|flat| flat.to_vec1::<T>());
        y.copy_from_slice(&values.expect("the result has the type of the input"));
    }
}
