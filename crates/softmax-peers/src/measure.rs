//! The measurement: peers take turns on the same buffers, and the least time of each counts.
//!
//! 1. Every peer prepares the task, runs once on a poisoned output and is compared with the
//!    reference; whether it executed AVX-512 is noted.
//! 2. A sample is as many calls as fill [`Plan::sample_ns`], after one call that is not timed: it
//!    brings the buffers, the branch predictor and the peer's threads into the peer's own state.
//! 3. In each round every peer gives one sample, the first one rotating; what is more than [`SLOW`]
//!    times slower than the fastest rival gives one in four rounds.
//! 4. In place, the input is restored before each pass, outside the timed part.

use crate::clock::{Elapsed, Stamp, settle};
use crate::data::Data;
use crate::peer::{Context, Entry, Kernel, Peer};
use crate::record::{self, Group, Record};
use crate::reference::{Accuracy, Reference};
use crate::task::{Place, Task};
use crate::x86::{self, Watch};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Samples of each peer.
    pub rounds: usize,
    /// The least length of a sample.
    pub sample_ns: f64,
}

impl Plan {
    /// The usual plan.
    pub const FULL: Self = Self {
        rounds: 40,
        sample_ns: 1e6,
    };
    /// A look, not a record.
    pub const QUICK: Self = Self {
        rounds: 5,
        sample_ns: 3e5,
    };
}

/// What is slower than the fastest rival by this factor is sampled in one round of four.
const SLOW: f64 = 4.0;

struct Runner<'a> {
    peer: &'a dyn Peer,
    kernel: Box<dyn Kernel>,
    accuracy: Accuracy,
    avx512_used: Option<bool>,
    passes: usize,
    estimate: f64,
    samples: Vec<Elapsed>,
}

/// Measures `task` with every peer that offers it.
///
/// `refused` is told which peer does not, and why.
pub fn measure(
    context: &Context,
    task: &Task,
    peers: &[Entry],
    plan: Plan,
    mut refused: impl FnMut(&str, &str),
) -> Vec<Record> {
    let mut data = Data::new(task);
    let reference = Reference::new(task, &data);
    let overhead = Elapsed::overhead();
    let several = context.pool.threads() > 1;
    let mut runners = Vec::new();
    for entry in peers {
        let Ok(peer) = &entry.peer else { continue };
        match peer.prepare(task, &data) {
            Ok(kernel) => {
                let runner = Runner::new(peer.as_ref(), kernel, task, &mut data, &reference);
                runners.push(runner);
            }
            Err(reason) => refused(entry.name, &reason),
        }
    }
    for runner in &mut runners {
        runner.calibrate(task, &mut data, plan, overhead);
    }
    let times = runners.iter().map(|runner| (runner.is_rival(context), runner.estimate));
    let slow = slow(times);
    for round in 0..plan.rounds {
        let count = runners.len();
        for turn in 0..count {
            let runner = &mut runners[(round + turn) % count];
            if runner.estimate > slow && !round.is_multiple_of(4) {
                continue;
            }
            if several {
                settle();
            }
            runner.sample(task, &mut data, overhead);
        }
    }
    runners.into_iter().map(|runner| runner.record(context, task)).collect()
}

/// The time beyond which something is slow, from the times of all and whether each is a rival of ours. Neither we nor the
/// copy count: the best rival would be sampled less than we are wherever we are far ahead.
fn slow(times: impl Iterator<Item = (bool, f64)>) -> f64 {
    let of_rivals = times.filter(|(is_rival, _)| *is_rival).map(|(_, time)| time);
    SLOW * of_rivals.fold(f64::INFINITY, f64::min)
}

impl<'a> Runner<'a> {
    fn new(
        peer: &'a dyn Peer,
        mut kernel: Box<dyn Kernel>,
        task: &Task,
        data: &mut Data,
        reference: &Reference,
    ) -> Self {
        data.refill(task.place);
        data.poison(task.place);
        x86::clean();
        let watch = Watch::start();
        data.each(task.place, |io| kernel.run(io));
        let avx512_used = watch.avx512_used();
        x86::clean();
        data.each(task.place, |io| kernel.collect(io));
        let accuracy = reference.compare(data);
        let samples = Vec::new();
        Self {
            peer,
            kernel,
            accuracy,
            avx512_used,
            passes: 1,
            estimate: 0.0,
            samples,
        }
    }

    fn is_rival(&self, context: &Context) -> bool {
        record::is_rival(
            self.peer.role(),
            self.accuracy.is_right(),
            context.cap,
            self.avx512_used,
        )
    }

    /// Finds how many passes over the buffers make a sample.
    fn calibrate(&mut self, task: &Task, data: &mut Data, plan: Plan, overhead: Elapsed) {
        let _warm_up = self.timed(task, data, 1, overhead);
        let mut passes = 1;
        let mut spent = self.timed(task, data, passes, overhead).wall;
        while spent < 0.1 * plan.sample_ns && passes < 1 << 20 {
            passes *= 4;
            spent = self.timed(task, data, passes, overhead).wall;
        }
        self.estimate = spent / passes as f64;
        self.passes = (plan.sample_ns / self.estimate.max(1.0)).ceil().clamp(1.0, 1e7) as usize;
    }

    fn sample(&mut self, task: &Task, data: &mut Data, overhead: Elapsed) {
        x86::clean();
        data.refill(task.place);
        data.each(task.place, |io| self.kernel.run(io));
        let spent = self.timed(task, data, self.passes, overhead);
        let calls = self.passes * data.calls();
        self.samples.push(spent.per((calls * task.shape.len()) as f64));
    }

    /// The time of `passes` over the buffers.
    fn timed(&mut self, task: &Task, data: &mut Data, passes: usize, overhead: Elapsed) -> Elapsed {
        let mut total = Elapsed::default();
        let (outer, inner) = match task.place {
            Place::Out => (1, passes),
            Place::In => (passes, 1),
        };
        for _ in 0..outer {
            data.refill(task.place);
            let start = Stamp::now();
            for _ in 0..inner {
                data.each(task.place, |io| self.kernel.run(io));
            }
            total = total.plus(start.elapsed());
        }
        x86::clean();
        total.less(overhead, outer as f64)
    }

    fn record(self, context: &Context, task: &Task) -> Record {
        let threads = context.pool.threads();
        let sorted = |clock: fn(&Elapsed) -> f64| {
            let mut values: Vec<f64> = self.samples.iter().map(clock).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let (cpu, wall) = (sorted(|sample| sample.cpu), sorted(|sample| sample.wall));
        let figure = if threads == 1 { &cpu } else { &wall };
        Record {
            group: Group {
                cap: context.cap,
                op: task.op,
                dtype: task.dtype,
                place: task.place,
                threads,
            },
            shape: task.shape,
            peer: self.peer.name().into(),
            role: self.peer.role(),
            ns: figure[0],
            median_ns: figure[figure.len() / 2],
            cpu_ns: cpu[0],
            wall_ns: wall[0],
            max_ulp: self.accuracy.max_ulp,
            row_sum_error: self.accuracy.row_sum_error,
            right: self.accuracy.is_right(),
            avx512_used: self.avx512_used,
            version: self.peer.version(),
            samples: Some(self.samples.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_far_behind_the_best_rival_is_slow() {
        let (copy, ours, best, wrong) = ((false, 1.0), (false, 4.0), (true, 9.0), (false, 2.0));
        assert_eq!(slow([copy, ours, best, wrong, (true, 50.0)].into_iter()), 36.0);
        assert_eq!(slow([copy, ours].into_iter()), f64::INFINITY);
    }
}
