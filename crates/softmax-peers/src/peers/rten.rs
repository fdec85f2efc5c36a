//! rten-vecmath: its softmax and log-softmax, one row at a time, on the best instruction set or,
//! capped, on its AVX2 back end under the target features it asks for.

use crate::data::{Data, Io, Rows};
use crate::peer::{Context, Kernel, Peer};
use crate::pool::Pool;
use crate::task::{Cap, Dtype, Op, Task};
use rten_simd::SimdOp;
use rten_vecmath::{LogSoftmax, Softmax};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// The vectorised operators of rten.
pub struct Rten {
    pool: Arc<Pool>,
    avx2: bool,
}

impl Rten {
    /// On the threads of `context`.
    ///
    /// # Errors
    /// The process is capped to AVX2, which this CPU does not have.
    pub fn open(context: &Context) -> Result<Self, String> {
        let avx2 = context.cap == Cap::Avx2;
        if avx2 && !has_avx2() {
            return Err("the CPU has no AVX2".into());
        }
        Ok(Self {
            pool: context.pool.clone(),
            avx2,
        })
    }
}

impl Peer for Rten {
    fn name(&self) -> &'static str {
        "rten-vecmath"
    }

    fn version(&self) -> String {
        format!("rten-vecmath 0.27{}", if self.avx2 { " (avx2)" } else { "" })
    }

    fn prepare(&self, task: &Task, _data: &Data) -> Result<Box<dyn Kernel>, String> {
        if task.dtype != Dtype::F32 {
            return Err("f32 only".into());
        }
        self.pool.can_split(task.shape.rows)?;
        let (pool, op, cols, avx2) = (self.pool.clone(), task.op, task.shape.cols, self.avx2);
        Ok(Box::new(move |io: Io<'_>| {
            pool.split(super::f32_rows(io), cols, |rows| match rows {
                Rows::Out { x, y } => {
                    for (x, y) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)) {
                        // SAFETY: initialised elements are valid as maybe-uninitialised ones, and
                        // the operators write every one of them.
                        let y = unsafe { &mut *(y as *mut [f32] as *mut [MaybeUninit<f32>]) };
                        match op {
                            Op::Softmax => dispatch(Softmax::new(x, y), avx2),
                            Op::LogSoftmax => dispatch(LogSoftmax::new(x, y), avx2),
                        };
                    }
                }
                Rows::In { x } => {
                    for x in x.chunks_exact_mut(cols) {
                        match op {
                            Op::Softmax => dispatch(Softmax::new_mut(x), avx2),
                            Op::LogSoftmax => dispatch(LogSoftmax::new_mut(x), avx2),
                        };
                    }
                }
            });
        }))
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    rten_simd::isa::Avx2Isa::new().is_some()
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

#[inline]
fn dispatch<S: SimdOp>(op: S, avx2: bool) -> S::Output {
    #[cfg(target_arch = "x86_64")]
    if avx2 && let Some(isa) = rten_simd::isa::Avx2Isa::new() {
        /// The target features that rten enables for this back end.
        #[target_feature(enable = "avx2,avx,fma,f16c")]
        fn eval<S: SimdOp>(op: S, isa: rten_simd::isa::Avx2Isa) -> S::Output {
            op.eval(isa)
        }
        // SAFETY: the value `isa` exists only where the CPU has these features.
        return unsafe { eval(op, isa) };
    }
    let _ = avx2;
    op.dispatch()
}
