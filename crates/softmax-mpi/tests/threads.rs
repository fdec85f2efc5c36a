//! Every case on groups of threads in this process.

mod cases;

use softmax_mpi::{Alone, Group};
use std::sync::{Barrier, Mutex};

/// What the ranks have sent, in any order for maxima, in the order of the ranks for sums.
struct Board {
    size: usize,
    barrier: Barrier,
    maxima: Mutex<Vec<Vec<i32>>>,
    sums: Mutex<Vec<Vec<f64>>>,
}

struct Thread<'a> {
    rank: usize,
    board: &'a Board,
}

impl Thread<'_> {
    /// All ranks write, then all read.
    fn exchange<T: Copy>(&self, all: &Mutex<Vec<Vec<T>>>, local: &[T], global: &mut [T], join: impl Fn(T, T) -> T) {
        all.lock().expect("no rank panics")[self.rank] = local.to_vec();
        self.board.barrier.wait();
        {
            let all = all.lock().expect("no rank panics");
            for (i, global) in global.iter_mut().enumerate() {
                assert!(
                    all.iter().all(|local| local.len() == all[0].len()),
                    "messages of one length"
                );
                *global = all[1..].iter().fold(all[0][i], |a, b| join(a, b[i]));
            }
        }
        self.board.barrier.wait();
    }
}

impl Group for Thread<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.board.size
    }

    fn all_max(&self, local: &[i32], global: &mut [i32]) {
        self.exchange(&self.board.maxima, local, global, i32::max);
    }

    fn all_sum(&self, local: &[f64], global: &mut [f64]) {
        self.exchange(&self.board.sums, local, global, |a, b| a + b);
    }
}

fn on_threads(size: usize) {
    let board = &Board {
        size,
        barrier: Barrier::new(size),
        maxima: Mutex::new(vec![Vec::new(); size]),
        sums: Mutex::new(vec![Vec::new(); size]),
    };
    std::thread::scope(|threads| {
        for rank in 0..size {
            threads.spawn(move || {
                let rank = Thread { rank, board };
                // A rank that fails would leave the others waiting.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cases::all(&rank))).is_err() {
                    std::process::exit(101);
                }
            });
        }
    });
}

#[test]
fn alone() {
    cases::all(&Alone);
}

#[test]
fn one_thread() {
    on_threads(1);
}

#[test]
fn two_threads() {
    on_threads(2);
}

#[test]
fn three_threads() {
    on_threads(3);
}

#[test]
fn seven_threads() {
    on_threads(7);
}
