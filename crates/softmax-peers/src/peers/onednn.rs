//! oneDNN, loaded at run time: version 3 or 2, whose C functions differ in how a primitive is
//! described. One primitive per task, over this program's buffers. Threads by OpenMP
//! (`OMP_NUM_THREADS`), instruction set by `ONEDNN_MAX_CPU_ISA`.

use crate::c_functions;
use crate::data::{Data, Io};
use crate::library;
use crate::peer::{Context, Kernel, Peer};
use crate::task::{Dtype, Op, Task};
use std::ffi::{c_int, c_void};
use std::path::Path;
use std::ptr;

type Handle = *mut c_void;

c_functions! {
    /// What both versions have.
    struct Common {
        fn dnnl_version() -> *const Version;
        fn dnnl_engine_create(*mut Handle, c_int, usize) -> c_int;
        fn dnnl_stream_create(*mut Handle, Handle, u32) -> c_int;
        fn dnnl_stream_wait(Handle) -> c_int;
        fn dnnl_primitive_create(*mut Handle, Handle) -> c_int;
        fn dnnl_primitive_execute(Handle, Handle, c_int, *const Argument) -> c_int;
        fn dnnl_primitive_destroy(Handle) -> c_int;
        fn dnnl_primitive_desc_destroy(Handle) -> c_int;
        fn dnnl_memory_create(*mut Handle, *const c_void, Handle, *mut c_void) -> c_int;
        fn dnnl_memory_set_data_handle(Handle, *mut c_void) -> c_int;
        fn dnnl_memory_destroy(Handle) -> c_int;
    }
}

c_functions! {
    /// Version 2: descriptions are structures of the caller.
    struct Two {
        fn dnnl_memory_desc_init_by_tag(*mut Blob, c_int, *const i64, c_int, c_int) -> c_int;
        fn dnnl_softmax_v2_forward_desc_init(*mut Blob, c_int, c_int, *const Blob, *const Blob, c_int) -> c_int;
        fn dnnl_primitive_desc_create(*mut Handle, *const Blob, *const c_void, Handle, Handle) -> c_int;
    }
}

c_functions! {
    /// Version 3: descriptions are objects of the library.
    struct Three {
        fn dnnl_memory_desc_create_with_tag(*mut Handle, c_int, *const i64, c_int, c_int) -> c_int;
        fn dnnl_memory_desc_destroy(Handle) -> c_int;
        fn dnnl_softmax_forward_primitive_desc_create(*mut Handle, Handle, c_int, c_int, Handle, Handle, c_int, *const c_void) -> c_int;
    }
}

/// The start of `dnnl_version_t`.
#[repr(C)]
struct Version {
    major: c_int,
    minor: c_int,
    patch: c_int,
}

/// `dnnl_exec_arg_t`.
#[repr(C)]
struct Argument {
    index: c_int,
    memory: Handle,
}

/// Room for any structure of version 2, whose largest is below 3 KiB.
#[repr(C, align(64))]
struct Blob([u8; 8192]);

const VARIABLE: &str = "DNNL_DYLIB_PATH";
const CPU: c_int = 1;
const DEFAULT_STREAM: u32 = 1;
const FORWARD_INFERENCE: c_int = 96;
const ARGUMENT_SOURCE: c_int = 1;
const ARGUMENT_DESTINATION: c_int = 17;
/// `dnnl_ab`: rows, then columns.
const ROW_MAJOR: c_int = 3;

/// An engine and its stream.
#[derive(Clone, Copy)]
pub struct OneDnn {
    common: Common,
    describe: Describe,
    engine: Handle,
    stream: Handle,
}

#[derive(Clone, Copy)]
enum Describe {
    Two(Two),
    Three(Three),
}

impl OneDnn {
    /// Loads the library that `DNNL_DYLIB_PATH` names, or the one that was fetched or installed.
    ///
    /// # Errors
    /// There is none, or it is of neither version.
    pub fn open(_context: &Context) -> Result<Self, String> {
        let names = ["libdnnl.so.3", "libdnnl.so.2"];
        let path = library::locate(VARIABLE, "onednn", &names);
        // SAFETY: loading oneDNN runs its initialisers only.
        let library = unsafe {
            match library::open(&path) {
                // Nothing was asked for or fetched, and the system has no version 3.
                Err(error) if library::named(VARIABLE).is_none() && path == Path::new(names[0]) => {
                    library::open(names[1].as_ref()).map_err(|_| error)?
                }
                opened => opened?,
            }
        };
        // SAFETY: the signatures are those of the headers of the version that is asked for.
        let (common, describe) = unsafe {
            let common = Common::new(library)?;
            let describe = match (*(common.dnnl_version)()).major {
                2 => Describe::Two(Two::new(library)?),
                3 => Describe::Three(Three::new(library)?),
                major => return Err(format!("version {major} is neither 2 nor 3")),
            };
            (common, describe)
        };
        let (mut engine, mut stream) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the pointers are valid for writes, and the engine exists when the stream is made.
        unsafe {
            check((common.dnnl_engine_create)(&mut engine, CPU, 0))?;
            check((common.dnnl_stream_create)(&mut stream, engine, DEFAULT_STREAM))?;
        }
        Ok(Self {
            common,
            describe,
            engine,
            stream,
        })
    }

    /// Primitive descriptor, and one memory object over no memory for each of input and output.
    fn describe(&self, task: &Task) -> Result<[Handle; 3], String> {
        let sizes = [task.shape.rows as i64, task.shape.cols as i64];
        let data_type = match task.dtype {
            Dtype::F16 => 1,
            Dtype::Bf16 => 2,
            Dtype::F32 => 3,
        };
        let algorithm = match task.op {
            Op::Softmax => 0x30000,
            Op::LogSoftmax => 0x30001,
        };
        let (mut descriptor, mut x, mut y) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        let (common, engine, none) = (&self.common, self.engine, ptr::null_mut());
        // SAFETY: every pointer is to a live object of the kind that the header names, and what
        // version 2 writes fits a `Blob`.
        unsafe {
            match &self.describe {
                Describe::Two(two) => {
                    let mut shape = Box::new(Blob([0; 8192]));
                    let mut softmax = Box::new(Blob([0; 8192]));
                    let (shape, softmax) = (&mut *shape as *mut Blob, &mut *softmax as *mut Blob);
                    check((two.dnnl_memory_desc_init_by_tag)(
                        shape,
                        2,
                        sizes.as_ptr(),
                        data_type,
                        ROW_MAJOR,
                    ))?;
                    check((two.dnnl_softmax_v2_forward_desc_init)(
                        softmax,
                        FORWARD_INFERENCE,
                        algorithm,
                        shape,
                        shape,
                        1,
                    ))?;
                    check((two.dnnl_primitive_desc_create)(
                        &mut descriptor,
                        softmax,
                        ptr::null(),
                        engine,
                        none,
                    ))?;
                    check((common.dnnl_memory_create)(&mut x, shape.cast(), engine, none))?;
                    check((common.dnnl_memory_create)(&mut y, shape.cast(), engine, none))?;
                }
                Describe::Three(three) => {
                    let mut shape = ptr::null_mut();
                    check((three.dnnl_memory_desc_create_with_tag)(
                        &mut shape,
                        2,
                        sizes.as_ptr(),
                        data_type,
                        ROW_MAJOR,
                    ))?;
                    check((three.dnnl_softmax_forward_primitive_desc_create)(
                        &mut descriptor,
                        engine,
                        FORWARD_INFERENCE,
                        algorithm,
                        shape,
                        shape,
                        1,
                        ptr::null(),
                    ))?;
                    check((common.dnnl_memory_create)(&mut x, shape, engine, none))?;
                    check((common.dnnl_memory_create)(&mut y, shape, engine, none))?;
                    check((three.dnnl_memory_desc_destroy)(shape))?;
                }
            }
        }
        Ok([descriptor, x, y])
    }
}

impl Peer for OneDnn {
    fn name(&self) -> &'static str {
        "onednn"
    }

    fn version(&self) -> String {
        // SAFETY: the function returns a pointer to a constant.
        let version = unsafe { &*(self.common.dnnl_version)() };
        format!("oneDNN {}.{}.{}", version.major, version.minor, version.patch)
    }

    fn prepare(&self, task: &Task, data: &Data) -> Result<Box<dyn Kernel>, String> {
        data.can_bind()?;
        let [descriptor, x, y] = self
            .describe(task)
            .map_err(|error| format!("no {} in {} on this machine: {error}", task.op, task.dtype))?;
        let mut primitive = ptr::null_mut();
        // SAFETY: `descriptor` was just made.
        unsafe {
            check((self.common.dnnl_primitive_create)(&mut primitive, descriptor))?;
            check((self.common.dnnl_primitive_desc_destroy)(descriptor))?;
        }
        Ok(Box::new(Run {
            library: *self,
            primitive,
            x,
            y,
            bound: (ptr::null(), ptr::null_mut()),
        }))
    }
}

struct Run {
    library: OneDnn,
    primitive: Handle,
    x: Handle,
    y: Handle,
    bound: (*const u8, *mut u8),
}

impl Run {
    fn call(&mut self, (x, y): (*const u8, *mut u8)) -> Result<(), String> {
        let common = &self.library.common;
        let arguments = [
            Argument {
                index: ARGUMENT_SOURCE,
                memory: self.x,
            },
            // In place, input and output are one memory object.
            Argument {
                index: ARGUMENT_DESTINATION,
                memory: if x == y.cast_const() { self.x } else { self.y },
            },
        ];
        // SAFETY: the objects live as long as `self`; the buffers have the size described, and
        // the stream has done its work before they are used again.
        unsafe {
            if self.bound != (x, y) {
                check((common.dnnl_memory_set_data_handle)(self.x, x.cast_mut().cast()))?;
                check((common.dnnl_memory_set_data_handle)(self.y, y.cast()))?;
                self.bound = (x, y);
            }
            check((common.dnnl_primitive_execute)(
                self.primitive,
                self.library.stream,
                2,
                arguments.as_ptr(),
            ))?;
            check((common.dnnl_stream_wait)(self.library.stream))
        }
    }
}

impl Kernel for Run {
    fn run(&mut self, mut io: Io<'_>) {
        self.call(io.pointers()).expect("a primitive that was created runs");
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // SAFETY: made in `prepare`, used by nobody else.
        unsafe {
            (self.library.common.dnnl_primitive_destroy)(self.primitive);
            (self.library.common.dnnl_memory_destroy)(self.x);
            (self.library.common.dnnl_memory_destroy)(self.y);
        }
    }
}

fn check(status: c_int) -> Result<(), String> {
    match status {
        0 => Ok(()),
        1 => Err("out of memory".into()),
        2 => Err("invalid arguments".into()),
        3 => Err("not implemented".into()),
        status => Err(format!("status {status}")),
    }
}
