//! Softmax and cross-entropy of random logits whose classes are cut between the ranks, checked against one process that
//! has the whole rows, and timed:
//!
//! ```text
//! mpirun -n 4 ../target/release/examples/vocabulary [ROWS [CLASSES [REPEATS]]]
//! ```
//!
//! Rank 0 prints the least time of a call (of its slowest rank), the part of it in the two allreduces (which waits for
//! other ranks too), and the largest differences. At the end one rank makes a bad call, and every rank says so.

use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use softmax::{CrossEntropy, Rows};
use softmax_mpi::{Group, Vocabulary};
use std::cell::Cell;
use std::process::ExitCode;
use std::time::Instant;

/// A group that takes the time of its allreduces.
struct Timed<'a, G> {
    group: &'a G,
    seconds: Cell<f64>,
}

impl<G: Group> Timed<'_, G> {
    fn take(&self, call: impl FnOnce()) {
        let start = Instant::now();
        call();
        self.seconds.set(self.seconds.get() + start.elapsed().as_secs_f64());
    }
}

impl<G: Group> Group for Timed<'_, G> {
    fn rank(&self) -> usize {
        self.group.rank()
    }

    fn size(&self) -> usize {
        self.group.size()
    }

    fn all_max(&self, local: &[i32], global: &mut [i32]) {
        self.take(|| self.group.all_max(local, global));
    }

    fn all_sum(&self, local: &[f64], global: &mut [f64]) {
        self.take(|| self.group.all_sum(local, global));
    }
}

/// Logit of a class in a row: the sum of four hashed bytes, about N(0, 2.3).
fn logit(row: usize, class: usize) -> f32 {
    let mut z = ((row as u64) << 32 | class as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^= z >> 27;
    let sum: u32 = z.to_le_bytes()[..4].iter().map(|&byte| u32::from(byte)).sum();
    (sum as f32 - 510.0) / 64.0 + (z >> 40) as f32 * 2f32.powi(-34)
}

/// The logits of some classes of all rows.
fn logits(rows: usize, classes: std::ops::Range<usize>) -> Vec<f32> {
    (0..rows)
        .flat_map(|row| classes.clone().map(move |class| logit(row, class)))
        .collect()
}

/// How many floats lie between two of one sign; very many where the signs differ, or one is NaN.
fn ulps(a: f32, b: f32) -> i32 {
    i32::try_from(a.to_bits().abs_diff(b.to_bits())).unwrap_or(i32::MAX)
}

/// The difference of two floats in units of `unit`, rounded up; the most there is where one of them alone is NaN.
fn units(a: f32, b: f32, unit: f32) -> i32 {
    match ((a - b).abs() / unit).ceil() {
        units if !units.is_nan() => units as i32,
        _ if a.is_nan() && b.is_nan() => 0,
        _ => i32::MAX,
    }
}

/// 2^−24.
const U: f32 = f32::EPSILON / 2.0;

/// How far results may be from those of one process, since each is within the bound of the worst backend: probabilities
/// in ULP, the loss in 2^−24·max(1, loss), the gradient in 2^−24·s·(softmax(x)_c + [c = t]).
const BOUNDS: [(&str, i32); 3] = [("softmax", 16), ("loss", 48), ("gradient", 64)];

fn main() -> ExitCode {
    let universe = mpi::initialize().expect("MPI starts once");
    let world = universe.world();
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut next = |default| numbers.next().unwrap_or(Ok(default));
    let (Ok(rows), Ok(classes), Ok(repeats)) = (next(16), next(128_256), next(20)) else {
        eprintln!("usage: vocabulary [ROWS [CLASSES [REPEATS]]]");
        return ExitCode::FAILURE;
    };
    match run(&world, rows, classes, repeats.max(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rank {}: {error}", Communicator::rank(&world));
            ExitCode::FAILURE
        }
    }
}

fn run(world: &SimpleCommunicator, rows: usize, classes: usize, repeats: usize) -> Result<(), String> {
    let group = Timed {
        group: world,
        seconds: Cell::new(0.0),
    };
    let (rank, size) = (group.rank(), group.size());
    let slice = rank * classes / size..(rank + 1) * classes / size;
    let (cols, layout) = (slice.len(), Rows::new(rows, slice.len()));
    let x = logits(rows, slice.clone());
    let labels: Vec<i64> = (0..rows).map(|row| (row * 7919 % classes.max(1)) as i64).collect();
    let params = CrossEntropy::default();
    let text = |error: softmax_mpi::Error| error.to_string();
    let mut vocabulary = Vocabulary::new(&group, rows, cols).map_err(text)?;
    let (mut y, mut dx, mut loss) = (vec![0.0; x.len()], vec![0.0; x.len()], [0.0]);

    let (mut softmax_time, mut loss_time) = (Least::new(), Least::new());
    for _ in 0..repeats {
        softmax_time
            .time(world, &group, || vocabulary.softmax(&x, &mut y, layout))
            .map_err(text)?;
        loss_time
            .time(world, &group, || {
                vocabulary.cross_entropy(&x, &labels, &mut loss, Some(&mut dx), layout, &params)
            })
            .map_err(text)?;
    }

    // One process that has everything.
    let whole = logits(rows, 0..classes);
    let (mut want, mut want_dx, mut want_loss) = (vec![0.0; whole.len()], vec![0.0; whole.len()], [0.0]);
    let all = Rows::new(rows, classes);
    softmax::softmax_rows(&whole, &mut want, all).map_err(|error| error.to_string())?;
    softmax::cross_entropy(&whole, &labels, &mut want_loss, Some(&mut want_dx), all, &params)
        .map_err(|error| error.to_string())?;
    let unit = U * want_loss[0].max(1.0);
    let mut mine = [0, units(loss[0], want_loss[0], unit), 0];
    for (row, &label) in labels.iter().enumerate() {
        for col in 0..cols {
            let class = slice.start + col;
            let (here, there) = (row * cols + col, row * classes + class);
            let at_label = if label == class as i64 { 1.0 } else { 0.0 };
            let unit = U * (want[there] + at_label).max(f32::MIN_POSITIVE / U) / rows as f32;
            mine[0] = mine[0].max(ulps(y[here], want[there]));
            mine[2] = mine[2].max(units(dx[here], want_dx[there], unit));
        }
    }
    let mut worst = mine;
    group.all_max(&mine, &mut worst);
    if rank == 0 {
        println!("{size} ranks, {rows} rows of {classes} classes, {cols} of them on rank 0");
        println!("softmax         {softmax_time}");
        println!("cross-entropy   {loss_time}, with the gradient");
        println!(
            "against one process: softmax within {} ULP, loss {} and gradient {} units of 2^-24",
            worst[0], worst[1], worst[2]
        );
    }
    for ((what, bound), worst) in BOUNDS.into_iter().zip(worst) {
        if worst > bound {
            return Err(format!(
                "{what} differs from that of one process by {worst}, more than {bound}"
            ));
        }
    }

    // The last rank's output is too short.
    let short = if rank + 1 == size { &mut y[..0] } else { &mut y[..] };
    let error = vocabulary.softmax(&x, short, layout);
    for turn in 0..size {
        world.barrier();
        if let (true, Err(error)) = (turn == rank, &error) {
            println!("rank {rank}: {error}");
        }
    }
    Ok(())
}

/// The least time of a call, and of the allreduces in it, in microseconds.
struct Least {
    call: f64,
    allreduces: f64,
}

impl Least {
    fn new() -> Self {
        Self {
            call: f64::INFINITY,
            allreduces: f64::INFINITY,
        }
    }

    fn time<G: Group, E>(
        &mut self,
        world: &SimpleCommunicator,
        group: &Timed<'_, G>,
        call: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        world.barrier();
        group.seconds.set(0.0);
        let start = Instant::now();
        call()?;
        let seconds = start.elapsed().as_secs_f64();
        let (mine, mut slowest) = ([seconds, group.seconds.get()].map(|seconds| seconds * 1e6), [0.0; 2]);
        world.all_reduce_into(&mine, &mut slowest, SystemOperation::max());
        self.call = self.call.min(slowest[0]);
        self.allreduces = self.allreduces.min(slowest[1]);
        Ok(())
    }
}

impl std::fmt::Display for Least {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:9.1} µs, {:7.1} µs in allreduces", self.call, self.allreduces)
    }
}
