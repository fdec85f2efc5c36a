//! Rows by the threads of the caller.

use crate::memory::{Place, Span};
use crate::operators;
use crate::status::{Status, code};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};

/// `smx_task`.
pub type Task = unsafe extern "C" fn(data: *mut c_void, i: usize);

/// `smx_parallel_for`. "C-unwind": an exception of C++ that escapes it ends the program at the boundary of ours, where
/// under "C" anything could happen.
pub type ParallelFor = unsafe extern "C-unwind" fn(context: *mut c_void, tasks: usize, task: Task, data: *mut c_void);

/// Elements of a task, at least: some microseconds of work. As in the tuning profile that fits every CPU.
const TASK_ELEMENTS: usize = 32768;

/// What the tasks share.
struct Job {
    x: *const f32,
    y: *mut f32,
    rows: usize,
    cols: usize,
    x_stride: usize,
    y_stride: usize,
    rows_per_task: usize,
    done: AtomicUsize,
    /// The wrapping sum of [`mark`] over the tasks that are done.
    marks: AtomicUsize,
}

/// A number that belongs to a task alone: tasks of which one is missing and another was called twice do not sum up to what
/// all of them do. The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mark(task: usize) -> usize {
    let mut z = (task as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ z >> 31) as usize
}

/// See `softmax.h`.
///
/// # Safety
/// As `softmax.h` says.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)] // those of C
pub unsafe extern "C" fn smx_softmax_parallel_f32(
    x: *const f32,
    y: *mut f32,
    rows: usize,
    cols: usize,
    x_stride: usize,
    y_stride: usize,
    parallel_for: Option<ParallelFor>,
    context: *mut c_void,
) -> c_int {
    let job = Job {
        x,
        y,
        rows,
        cols,
        x_stride,
        y_stride,
        rows_per_task: TASK_ELEMENTS.div_ceil(cols.max(1)),
        done: AtomicUsize::new(0),
        marks: AtomicUsize::new(0),
    };
    // SAFETY: the caller's promise.
    code(unsafe { job.run(parallel_for, context) })
}

impl Job {
    /// # Safety
    /// The caller's promise (see `memory`).
    unsafe fn run(&self, parallel_for: Option<ParallelFor>, context: *mut c_void) -> Result<(), Status> {
        let parallel_for = parallel_for.ok_or(Status::Null)?;
        let x = Span::rows(self.x, self.rows, self.cols, self.x_stride)?;
        let y = Span::rows(self.y, self.rows, self.cols, self.y_stride)?;
        // SAFETY: the promise. Checked for all rows, before the first is written; the slices end here.
        unsafe { Place::new(x, y, self.x_stride == self.y_stride) }?;
        if self.rows == 0 || self.cols == 0 {
            return Ok(());
        }
        let tasks = self.rows.div_ceil(self.rows_per_task);
        let data: *const Self = self;
        // SAFETY: the promise: it calls `task` with this data, which outlives the call.
        unsafe { parallel_for(context, tasks, task, data.cast_mut().cast()) };
        // Each task was called, and has returned: otherwise rows are missing.
        let marks = (0..tasks).map(mark).fold(0, usize::wrapping_add);
        if self.done.load(Ordering::Acquire) != tasks || self.marks.load(Ordering::Acquire) != marks {
            return Err(Status::Param);
        }
        Ok(())
    }

    /// # Safety
    /// The caller's promise (see `memory`), and no other thread runs the same task.
    unsafe fn task(&self, i: usize) {
        let Some(first) = i.checked_mul(self.rows_per_task).filter(|&row| row < self.rows) else {
            return;
        };
        let rows = self.rows_per_task.min(self.rows - first);
        // SAFETY: row `first` is one of the call's rows, which `run` has checked; those of the tasks are apart.
        let status = unsafe {
            let (x, y) = (self.x.add(first * self.x_stride), self.y.add(first * self.y_stride));
            operators::softmax(x, y, rows, self.cols, self.x_stride, self.y_stride)
        };
        if status.is_ok() {
            self.marks.fetch_add(mark(i), Ordering::Release);
            self.done.fetch_add(1, Ordering::Release);
        }
    }
}

/// # Safety
/// `data` is the `Job` of a call that has not returned, and no other thread runs the same task.
unsafe extern "C" fn task(data: *mut c_void, i: usize) {
    let job: *const Job = data.cast();
    if job.is_null() {
        return;
    }
    // SAFETY: the contract.
    unsafe { (*job).task(i) }
}
