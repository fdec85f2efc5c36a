//! Softmax and cross-entropy of random logits whose classes are cut between the ranks, checked against one process that
//! has the whole rows, and timed:
//!
//! ```text
//! mpirun -n 4 ../target/release/examples/vocabulary [ROWS [CLASSES [REPEATS]]]
//! ```
//!
//! Rank 0 prints the least time of a call (of its slowest rank), the part of it in the two allreduces (which waits for
//! other ranks too), and the largest differences. At the end one rank makes a bad call, and every rank says so.

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

/// How many floats lie between two of one sign.
fn ulps(a: f32, b: f32) -> u32 {
    a.to_bits().abs_diff(b.to_bits())
}

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

fn run(world: &impl Communicator, rows: usize, classes: usize, repeats: usize) -> Result<(), String> {
    let group = Timed {
        group: world,
        seconds: Cell::new(0.0),
    };
    let (rank, size) = (group.rank(), group.size());
    let mine = rank * classes / size..(rank + 1) * classes / size;
    let (cols, layout) = (mine.len(), Rows::new(rows, mine.len()));
    let x = logits(rows, mine.clone());
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
    let (mut worst, mut worst_dx) = (0, 0.0_f32);
    for row in 0..rows {
        for col in 0..cols {
            let (here, there) = (row * cols + col, row * classes + mine.start + col);
            worst = worst.max(ulps(y[here], want[there]));
            worst_dx = worst_dx.max((dx[here] - want_dx[there]).abs() / want[there].max(f32::MIN_POSITIVE));
        }
    }
    let mut all_worst = [0];
    group.all_max(&[worst as i32], &mut all_worst);
    if rank == 0 {
        println!("{size} ranks, {rows} rows of {classes} classes, {cols} of them on rank 0");
        println!("softmax         {softmax_time}");
        println!("cross-entropy   {loss_time}, with the gradient");
        println!(
            "against one process: softmax within {} ULP, loss {} ULP, gradient (rank 0) {:.1e} of the probability",
            all_worst[0],
            ulps(loss[0], want_loss[0]),
            worst_dx
        );
    }
    if all_worst[0] > 16 {
        return Err("the probabilities are not those of one process".into());
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
        world: &impl Communicator,
        group: &Timed<'_, G>,
        call: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        world.barrier();
        group.seconds.set(0.0);
        let start = Instant::now();
        call()?;
        let seconds = start.elapsed().as_secs_f64();
        let (mine, mut slowest) = ([(seconds * 1e9) as i32, (group.seconds.get() * 1e9) as i32], [0; 2]);
        group.group.all_max(&mine, &mut slowest);
        self.call = self.call.min(f64::from(slowest[0]) / 1e3);
        self.allreduces = self.allreduces.min(f64::from(slowest[1]) / 1e3);
        Ok(())
    }
}

impl std::fmt::Display for Least {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:9.1} µs, {:7.1} µs in allreduces", self.call, self.allreduces)
    }
}
