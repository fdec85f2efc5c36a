//! XNNPACK, loaded at run time from the library of its operators that executorch ships. One
//! operator per task, over this program's buffers, threads by its own pool. It chooses kernels by
//! the CPU and has no switch, so a cap clears the AVX-512 flags of the `cpuinfo` it asks.

use crate::c_functions;
use crate::data::{Data, Io};
use crate::library;
use crate::peer::{Context, Kernel, Peer};
use crate::task::{Cap, Dtype, Op, Task};
use std::ffi::{c_int, c_void};
use std::path::Path;
use std::ptr;

type Handle = *mut c_void;

c_functions! {
    /// The operators; halves are passed as untyped pointers.
    struct Operators {
        fn xnn_initialize(*const c_void) -> c_int;
        fn xnn_create_softmax_nc_f32(u32, *mut Handle) -> c_int;
        fn xnn_reshape_softmax_nc_f32(Handle, usize, usize, usize, usize, Handle) -> c_int;
        fn xnn_setup_softmax_nc_f32(Handle, *const c_void, *mut c_void) -> c_int;
        fn xnn_create_softmax_nc_f16(u32, *mut Handle) -> c_int;
        fn xnn_reshape_softmax_nc_f16(Handle, usize, usize, usize, usize, Handle) -> c_int;
        fn xnn_setup_softmax_nc_f16(Handle, *const c_void, *mut c_void) -> c_int;
        fn xnn_run_operator(Handle, Handle) -> c_int;
        fn xnn_delete_operator(Handle) -> c_int;
    }
}

c_functions! {
    /// What it stands on, in a library of its own.
    struct Below {
        fn cpuinfo_initialize() -> bool;
        fn pthreadpool_create(usize) -> Handle;
    }
}

/// The library beside it that holds `cpuinfo` and `pthreadpool`.
const CPUINFO: &str = "libexecutorch_threadpool.so";
/// Flags of `struct cpuinfo_x86_isa`, one byte each, in the order of its header.
const AVX2: usize = 28;
const AVX512F: usize = 29;
const AVX512VL: usize = 35;
/// All AVX-512 and AVX10 flags.
const WIDE: std::ops::RangeInclusive<usize> = AVX512F..=48;

/// The operators and the threads they use.
#[derive(Clone, Copy)]
pub struct Xnnpack {
    operators: Operators,
    /// Null: the calling thread alone.
    threads: Handle,
}

impl Xnnpack {
    /// Loads the library that `XNNPACK_DYLIB_PATH` names, or the one that was fetched.
    ///
    /// # Errors
    /// There is none, or it cannot be capped.
    pub fn open(context: &Context) -> Result<Self, String> {
        let names = ["libexecutorch_backend_xnnpack.so"];
        let path = library::locate("XNNPACK_DYLIB_PATH", "xnnpack", &names);
        if context.cap == Cap::Avx2 {
            cap(&path)?;
        }
        // SAFETY: loading runs initialisers only; the functions are declared as in their headers.
        let (operators, below) = unsafe {
            let library = library::open(&path)?;
            let (operators, below) = (Operators::new(library)?, Below::new(library)?);
            check((operators.xnn_initialize)(ptr::null()))?;
            (operators, below)
        };
        let threads = match context.pool.threads() {
            1 => ptr::null_mut(),
            // SAFETY: a plain constructor; the pool lives until the process ends.
            threads => unsafe { (below.pthreadpool_create)(threads) },
        };
        Ok(Self { operators, threads })
    }
}

/// Clears the flags of AVX-512 in the library that holds `cpuinfo`. The operators read them while
/// they are being loaded, so this must come first.
fn cap(operators: &Path) -> Result<(), String> {
    let path = operators.with_file_name(CPUINFO);
    let known = |index: usize| match index {
        #[cfg(target_arch = "x86_64")]
        AVX2 => std::arch::is_x86_feature_detected!("avx2"),
        #[cfg(target_arch = "x86_64")]
        AVX512F => std::arch::is_x86_feature_detected!("avx512f"),
        #[cfg(target_arch = "x86_64")]
        AVX512VL => std::arch::is_x86_feature_detected!("avx512vl"),
        _ => false,
    };
    // SAFETY: the function is declared as in its header. The structure is a writable variable of
    // the library, of 85 one-byte flags; no other thread runs its code yet.
    unsafe {
        let library = library::open(&path)?;
        if !(Below::new(library)?.cpuinfo_initialize)() {
            return Err("its cpuinfo does not know this CPU".into());
        }
        let flags = library
            .get::<*mut u8>("cpuinfo_isa")
            .map_err(|error| error.to_string())?;
        // Only if the flags are where they are thought to be.
        if [AVX2, AVX512F, AVX512VL]
            .iter()
            .any(|&i| *flags.add(i) != u8::from(known(i)))
        {
            return Err("its cpuinfo has an unknown layout and cannot be capped to AVX2".into());
        }
        WIDE.for_each(|i| *flags.add(i) = 0);
    }
    Ok(())
}

impl Peer for Xnnpack {
    fn name(&self) -> &'static str {
        "xnnpack"
    }

    fn version(&self) -> String {
        "XNNPACK of executorch".into()
    }

    fn prepare(&self, task: &Task, data: &Data) -> Result<Box<dyn Kernel>, String> {
        data.can_bind()?;
        if task.op != Op::Softmax || task.dtype == Dtype::Bf16 {
            return Err("its operators are softmax in f32 and f16".into());
        }
        let half = task.dtype == Dtype::F16;
        let operators = &self.operators;
        let (create, reshape) = if half {
            (
                operators.xnn_create_softmax_nc_f16,
                operators.xnn_reshape_softmax_nc_f16,
            )
        } else {
            (
                operators.xnn_create_softmax_nc_f32,
                operators.xnn_reshape_softmax_nc_f32,
            )
        };
        let (rows, cols) = (task.shape.rows, task.shape.cols);
        let mut operator = ptr::null_mut();
        // SAFETY: the pointer is valid for writes; the operator exists when it gets its shape.
        unsafe {
            check(create(0, &mut operator))?;
            check(reshape(operator, cols, cols, cols, rows, self.threads))?;
        }
        let bound = (ptr::null(), ptr::null_mut());
        Ok(Box::new(Run {
            library: *self,
            operator,
            half,
            bound,
        }))
    }
}

struct Run {
    library: Xnnpack,
    operator: Handle,
    half: bool,
    bound: (*const u8, *mut u8),
}

impl Run {
    fn call(&mut self, (x, y): (*const u8, *mut u8)) -> Result<(), String> {
        let operators = &self.library.operators;
        let setup = if self.half {
            operators.xnn_setup_softmax_nc_f16
        } else {
            operators.xnn_setup_softmax_nc_f32
        };
        // SAFETY: the buffers have the size given to the operator, and readable slack.
        unsafe {
            if self.bound != (x, y) {
                check(setup(self.operator, x.cast(), y.cast()))?;
                self.bound = (x, y);
            }
            check((operators.xnn_run_operator)(self.operator, self.library.threads))
        }
    }
}

impl Kernel for Run {
    fn run(&mut self, mut io: Io<'_>) {
        self.call(io.pointers()).expect("an operator that was created runs");
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // SAFETY: made in `prepare`, used by nobody else.
        unsafe { (self.library.operators.xnn_delete_operator)(self.operator) };
    }
}

fn check(status: c_int) -> Result<(), String> {
    match status {
        0 => Ok(()),
        5 => Err("not supported by this CPU".into()),
        status => Err(format!("status {status}")),
    }
}
