//! burn: the softmax operators of its two CPU back ends, `flex` and the deprecated `ndarray`.
//! Every call allocates its result; burn has no other way. The previous result is dropped first,
//! so that its memory is reused.

use crate::data::{Data, Io, Rows};
use crate::peer::{Context, Kernel, Peer};
use crate::pool::Pool;
use crate::task::{Dtype, Op, Place, Task};
use burn_backend::ops::ActivationOps;
use burn_backend::{Backend, TensorData};
#[cfg(feature = "burn-flex")]
use burn_flex::Flex;
#[cfg(feature = "burn-ndarray")]
#[expect(deprecated, reason = "the back end of this name is measured as long as it exists")]
use burn_ndarray::NdArray;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// One back end of burn.
pub struct Burn<B> {
    name: &'static str,
    dtypes: &'static [Dtype],
    pool: Arc<Pool>,
    _backend: std::marker::PhantomData<B>,
}

/// The back end `flex`.
///
/// # Errors
/// None.
#[cfg(feature = "burn-flex")]
pub fn flex(context: &Context) -> Result<Burn<Flex>, String> {
    Ok(Burn::new(context, "burn-flex", &[Dtype::F32, Dtype::F16, Dtype::Bf16]))
}

/// The back end `ndarray`.
///
/// # Errors
/// None.
#[cfg(feature = "burn-ndarray")]
#[expect(deprecated, reason = "as above")]
pub fn ndarray(context: &Context) -> Result<Burn<NdArray>, String> {
    Ok(Burn::new(context, "burn-ndarray", &[Dtype::F32]))
}

impl<B> Burn<B> {
    fn new(context: &Context, name: &'static str, dtypes: &'static [Dtype]) -> Self {
        Self {
            name,
            dtypes,
            pool: context.pool.clone(),
            _backend: std::marker::PhantomData,
        }
    }
}

impl<B: Backend + 'static> Peer for Burn<B> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> String {
        format!("{} 0.22", self.name)
    }

    fn prepare(&self, task: &Task, data: &Data) -> Result<Box<dyn Kernel>, String> {
        if task.place == Place::In {
            return Err("its operators allocate their result".into());
        }
        if !self.dtypes.contains(&task.dtype) {
            return Err(format!("no {}", task.dtype));
        }
        let shape = [task.shape.rows, task.shape.cols];
        let input = match data {
            Data::F32(pair) => TensorData::new(pair.x.to_vec(), shape),
            Data::F16(pair) => TensorData::new(pair.x.to_vec(), shape),
            Data::Bf16(pair) => TensorData::new(pair.x.to_vec(), shape),
        };
        let input = B::float_from_data(input, &B::Device::default());
        Ok(Box::new(Run::<B> {
            pool: self.pool.clone(),
            op: task.op,
            input,
            result: None,
        }))
    }
}

struct Run<B: Backend> {
    pool: Arc<Pool>,
    op: Op,
    input: B::FloatTensorPrimitive,
    result: Option<B::FloatTensorPrimitive>,
}

impl<B: Backend> Kernel for Run<B> {
    fn run(&mut self, _io: Io<'_>) {
        self.result = None;
        let (op, input) = (self.op, self.input.clone());
        self.result = Some(self.pool.install(move || match op {
            Op::Softmax => <B as ActivationOps<B>>::softmax(input, 1),
            Op::LogSoftmax => <B as ActivationOps<B>>::log_softmax(input, 1),
        }));
    }

    fn collect(&mut self, io: Io<'_>) {
        let result = self.result.clone().expect("collected after a run");
        let data = ready(B::float_into_data(result)).expect("results on the CPU can be read");
        match io {
            Io::F32(rows) => copy(&data, rows),
            Io::F16(rows) => copy(&data, rows),
            Io::Bf16(rows) => copy(&data, rows),
        }
    }
}

fn copy<T: burn_backend::Element>(data: &TensorData, rows: Rows<'_, T>) {
    if let Rows::Out { y, .. } = rows {
        y.copy_from_slice(data.as_slice().expect("the result has the type of the input"));
    }
}

/// The value of a future that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the CPU back ends compute when called"),
    }
}
