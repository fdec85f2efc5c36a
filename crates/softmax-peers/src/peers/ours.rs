//! The crate under test, through its public API: the plain functions on one thread, their `par_` twins on several.

use crate::data::{Data, Io, Rows};
use crate::peer::{Context, Kernel, Peer, Role};
use crate::pool::Pool;
use crate::task::{Dtype, Op, Task};
use softmax::{Element, Error, Isa};
use std::sync::Arc;

/// The crate `softmax`.
pub struct Ours(Arc<Pool>);

impl Ours {
    /// On the threads of `context`; the instruction set is capped by `SOFTMAX_MAX_ISA`.
    pub fn new(context: &Context) -> Self {
        Self(context.pool.clone())
    }
}

impl Peer for Ours {
    fn name(&self) -> &'static str {
        super::OURS
    }

    fn version(&self) -> String {
        format!("softmax {} ({})", env!("PEERS_COMMIT"), Isa::detect())
    }

    fn role(&self) -> Role {
        Role::Ours
    }

    fn prepare(&self, task: &Task, _data: &Data) -> Result<Box<dyn Kernel>, String> {
        if cfg!(not(feature = "ours-half")) && task.dtype != Dtype::F32 {
            return Err("built without the cargo feature `ours-half`".into());
        }
        let (pool, op, cols) = (self.0.clone(), task.op, task.shape.cols);
        Ok(Box::new(move |io: Io<'_>| match io {
            Io::F32(rows) => run(&pool, op, cols, rows),
            #[cfg(feature = "ours-half")]
            Io::F16(rows) => run(&pool, op, cols, rows),
            #[cfg(feature = "ours-half")]
            Io::Bf16(rows) => run(&pool, op, cols, rows),
            #[cfg(not(feature = "ours-half"))]
            _ => unreachable!("refused above"),
        }))
    }
}

fn run<T: Element>(pool: &Pool, op: Op, cols: usize, rows: Rows<'_, T>) {
    let done = match pool.threads() {
        1 => one(op, cols, rows),
        _ => pool.install(|| several(op, cols, rows)),
    };
    done.expect("the buffers have the shape they are said to have");
}

/// `one` and `several` differ by the functions they call.
macro_rules! call {
    ($name:ident: $softmax:ident $softmax_in_place:ident $log_softmax:ident $log_softmax_in_place:ident) => {
        fn $name<T: Element>(op: Op, cols: usize, rows: Rows<'_, T>) -> Result<(), Error> {
            let matrix = |len: usize| softmax::Rows::new(len / cols, cols);
            match (op, rows) {
                (Op::Softmax, Rows::Out { x, y }) => softmax::$softmax(x, y, matrix(x.len())),
                (Op::LogSoftmax, Rows::Out { x, y }) => softmax::$log_softmax(x, y, matrix(x.len())),
                (Op::Softmax, Rows::In { x }) => {
                    let rows = matrix(x.len());
                    softmax::$softmax_in_place(x, rows)
                }
                (Op::LogSoftmax, Rows::In { x }) => {
                    let rows = matrix(x.len());
                    softmax::$log_softmax_in_place(x, rows)
                }
            }
        }
    };
}

call!(one: softmax_rows softmax_rows_in_place log_softmax_rows log_softmax_rows_in_place);
call!(several: par_softmax_rows par_softmax_rows_in_place par_log_softmax_rows par_log_softmax_rows_in_place);
