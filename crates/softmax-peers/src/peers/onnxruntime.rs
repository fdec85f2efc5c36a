//! onnxruntime, loaded at run time. Input and output are bound to this program's buffers once, so
//! that a call neither copies nor allocates; what remains is its run loop for one node, which
//! `call 1x1` shows. It has no switch for the instruction set.

use super::onnx_model::{self, INPUT, OUTPUT};
use crate::data::{Data, Io};
use crate::library;
use crate::peer::{Context, Kernel, Peer};
use crate::task::{Op, Shape, Task};
use ort::environment::Environment;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::ortsys;
use ort::session::builder::SessionBuilder;
use ort::session::{IoBinding, Session};
use ort::{AsPointer, sys};
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

/// The library allows one environment in a process.
static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();

fn load(path: &Path) -> Result<Environment, String> {
    let builder = ort::init_from(path).map_err(|error| error.to_string())?;
    builder.with_telemetry(false).build().map_err(|error| error.to_string())
}

/// A session per task.
pub struct OnnxRuntime {
    environment: &'static Environment,
    version: String,
    threads: usize,
}

impl OnnxRuntime {
    /// Loads the library that `ORT_DYLIB_PATH` names, or the one that was fetched.
    ///
    /// # Errors
    /// There is none, or it is too old.
    pub fn open(context: &Context) -> Result<Self, String> {
        let path = library::locate("ORT_DYLIB_PATH", "onnxruntime", &["libonnxruntime.so"]);
        let environment = ENVIRONMENT.get_or_init(|| load(&path)).as_ref();
        let version = path
            .file_name()
            .and_then(|name| name.to_string_lossy().split_once(".so.").map(|(_, v)| v.to_owned()))
            .unwrap_or_default();
        Ok(Self {
            environment: environment.map_err(String::clone)?,
            version: format!("onnxruntime {version}").trim_end().to_owned(),
            threads: context.pool.threads(),
        })
    }

    fn session(&self, task: &Task) -> Result<Run, String> {
        let text = |error: ort::Error| error.to_string();
        let of_builder = |error: ort::Error<SessionBuilder>| error.to_string();
        let session = Session::builder(self.environment)
            .map_err(text)?
            .with_intra_threads(self.threads)
            .map_err(of_builder)?
            .with_inter_threads(1)
            .map_err(of_builder)?
            .with_memory_pattern(false)
            .map_err(of_builder)?
            .commit_from_memory(&onnx_model::bytes(task.op, task.dtype, task.shape))
            .map_err(text)?;
        let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default);
        Ok(Run {
            binding: session.create_binding().map_err(text)?,
            session,
            memory: memory.map_err(text)?,
            shape: task.shape,
            element: element(task),
            bound: (ptr::null(), ptr::null_mut()),
            values: Vec::new(),
        })
    }
}

impl Peer for OnnxRuntime {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn prepare(&self, task: &Task, data: &Data) -> Result<Box<dyn Kernel>, String> {
        data.can_bind()?;
        self.session(task)
            .map(|run| Box::new(run) as Box<dyn Kernel>)
            .map_err(|error| {
                let operator = match task.op {
                    Op::Softmax => "Softmax",
                    Op::LogSoftmax => "LogSoftmax",
                };
                let reason = error.lines().next().unwrap_or_default();
                format!("its {operator} does not take {}: {reason}", task.dtype)
            })
    }
}

struct Run {
    session: Session,
    binding: IoBinding,
    memory: MemoryInfo<'static>,
    shape: Shape,
    element: (sys::ONNXTensorElementDataType, usize),
    bound: (*const u8, *mut u8),
    values: Vec<Value>,
}

impl Run {
    /// Binds input and output, unless they are bound already.
    fn bind(&mut self, (x, y): (*const u8, *mut u8)) -> ort::Result<()> {
        if self.bound == (x, y) {
            return Ok(());
        }
        let input = Value::new(self, x.cast_mut())?;
        let output = Value::new(self, y)?;
        let binding = self.binding.ptr().cast_mut();
        ortsys![unsafe BindInput(binding, INPUT.as_ptr(), input.0)?];
        ortsys![unsafe BindOutput(binding, OUTPUT.as_ptr(), output.0)?];
        self.values = vec![input, output];
        self.bound = (x, y);
        Ok(())
    }

    fn call(&mut self) -> ort::Result<()> {
        let session = self.session.ptr().cast_mut();
        ortsys![unsafe RunWithBinding(session, ptr::null(), self.binding.ptr())?];
        Ok(())
    }
}

impl Kernel for Run {
    fn run(&mut self, mut io: Io<'_>) {
        let done = self.bind(io.pointers()).and_then(|()| self.call());
        done.expect("a session that was created runs");
    }
}

/// A tensor over memory of this program.
struct Value(*mut sys::OrtValue);

impl Value {
    fn new(run: &Run, data: *mut u8) -> ort::Result<Self> {
        let shape = [run.shape.rows as i64, run.shape.cols as i64];
        let (element, size) = run.element;
        let mut value = ptr::null_mut();
        ortsys![unsafe CreateTensorWithDataAsOrtValue(
            run.memory.ptr(),
            data.cast(),
            run.shape.len() * size,
            shape.as_ptr(),
            shape.len(),
            element,
            &mut value
        )?];
        Ok(Self(value))
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        ortsys![unsafe ReleaseValue(self.0)];
    }
}

/// The element type and its size.
fn element(task: &Task) -> (sys::ONNXTensorElementDataType, usize) {
    use crate::task::Dtype;
    use sys::ONNXTensorElementDataType as Type;
    match task.dtype {
        Dtype::F32 => (Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, 4),
        Dtype::F16 => (Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, 2),
        Dtype::Bf16 => (Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, 2),
    }
}
