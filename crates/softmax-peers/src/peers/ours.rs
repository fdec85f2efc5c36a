//! The crate under test, through its public API. With several threads its rows are split by this
//! program, as for every peer without threads.

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
        self.0.can_split(task.shape.rows)?;
        let (pool, op, cols) = (self.0.clone(), task.op, task.shape.cols);
        Ok(Box::new(move |io: Io<'_>| match io {
            Io::F32(rows) => pool.split(rows, cols, |rows| run(op, cols, rows)),
            #[cfg(feature = "ours-half")]
            Io::F16(rows) => pool.split(rows, cols, |rows| run(op, cols, rows)),
            #[cfg(feature = "ours-half")]
            Io::Bf16(rows) => pool.split(rows, cols, |rows| run(op, cols, rows)),
            #[cfg(not(feature = "ours-half"))]
            _ => unreachable!("refused above"),
        }))
    }
}

fn run<T: Element>(op: Op, cols: usize, rows: Rows<'_, T>) {
    let matrix = |len: usize| softmax::Rows::new(len / cols, cols);
    let done: Result<(), Error> = match (op, rows) {
        (Op::Softmax, Rows::Out { x, y }) => softmax::softmax_rows(x, y, matrix(x.len())),
        (Op::LogSoftmax, Rows::Out { x, y }) => softmax::log_softmax_rows(x, y, matrix(x.len())),
        (Op::Softmax, Rows::In { x }) => {
            let rows = matrix(x.len());
            softmax::softmax_rows_in_place(x, rows)
        }
        (Op::LogSoftmax, Rows::In { x }) => {
            let rows = matrix(x.len());
            softmax::log_softmax_rows_in_place(x, rows)
        }
    };
    done.expect("the buffers have the shape they are said to have");
}
