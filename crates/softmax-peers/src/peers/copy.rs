//! A plain copy of the matrix: the bound that memory sets. It has no part in the ratios.

use crate::data::{Data, Io, Rows};
use crate::peer::{Context, Kernel, Peer, Role};
use crate::pool::Pool;
use crate::task::{Place, Task};
use std::sync::Arc;

/// `copy_from_slice`.
pub struct Copy(Arc<Pool>);

impl Copy {
    /// On the threads of `context`.
    pub fn new(context: &Context) -> Self {
        Self(context.pool.clone())
    }
}

impl Peer for Copy {
    fn name(&self) -> &'static str {
        super::COPY
    }

    fn version(&self) -> String {
        "copy_from_slice".into()
    }

    fn role(&self) -> Role {
        Role::Ceiling
    }

    fn prepare(&self, task: &Task, _data: &Data) -> Result<Box<dyn Kernel>, String> {
        if task.place == Place::In {
            return Err("a copy has two places".into());
        }
        self.0.can_split(task.shape.rows)?;
        let (pool, cols) = (self.0.clone(), task.shape.cols);
        Ok(Box::new(move |io: Io<'_>| match io {
            Io::F32(rows) => pool.split(rows, cols, copy),
            Io::F16(rows) => pool.split(rows, cols, copy),
            Io::Bf16(rows) => pool.split(rows, cols, copy),
        }))
    }
}

fn copy<T: std::marker::Copy>(rows: Rows<'_, T>) {
    if let Rows::Out { x, y } = rows {
        y.copy_from_slice(x);
    }
}
