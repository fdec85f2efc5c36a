//! A trial: candidates measured in turns on the same shapes, and what follows from it.
//!
//! The first two are the current candidate, twice, in processes of their own: what they differ by is noise, which another
//! one must exceed to be better.

use crate::candidate::{Candidate, Probe};
use crate::knob::Shape;

/// The least gain for which a value is changed, and how many times the noise it must be.
const WORTH: f64 = 0.01;
const OF_NOISE: f64 = 2.0;

/// The least times of some candidates on some shapes.
pub struct Trial {
    /// What differs between the candidates.
    pub what: String,
    /// The current candidate, the same once more, the others.
    pub labels: Vec<String>,
    /// What they were measured on.
    pub shapes: Vec<Shape>,
    /// Nanoseconds per element, by candidate and shape.
    pub ns: Vec<Vec<f64>>,
}

impl Trial {
    /// Measures `current` and `others` in turns, each in a new process. `tick` is called after each of the rounds.
    ///
    /// # Errors
    /// A probe has failed.
    pub fn run(
        what: &str,
        current: &Candidate,
        others: &[Candidate],
        shapes: Vec<Shape>,
        (rounds, micros): (u32, u32),
        mut tick: impl FnMut(),
    ) -> Result<Self, String> {
        let candidates = || [current, current].into_iter().chain(others);
        let mut labels: Vec<String> = candidates().map(|candidate| candidate.label.clone()).collect();
        labels[1] += " again";
        let mut probes = candidates().map(Probe::start).collect::<Result<Vec<_>, _>>()?;
        let count = probes.len();
        let mut ns = vec![vec![f64::INFINITY; shapes.len()]; count];
        for round in 0..rounds as usize {
            for (s, &shape) in shapes.iter().enumerate() {
                // What one leaves in the caches and in the clock of the CPU meets each of the others in turn.
                for turn in 0..count {
                    let next = (round + s + turn) % count;
                    ns[next][s] = ns[next][s].min(probes[next].measure(shape, micros)?);
                }
            }
            tick();
        }
        Ok(Self {
            what: what.into(),
            labels,
            shapes,
            ns,
        })
    }

    /// How many times as fast as the current candidate the `other`th of the others is: the geometric mean over the shapes
    /// and over both runs of the current one.
    pub fn ratio(&self, other: usize) -> f64 {
        let ns = &self.ns[2 + other];
        (0.5 * (mean(&logs(&self.ns[0], ns)) + mean(&logs(&self.ns[1], ns)))).exp()
    }

    /// The part by which the speed of the same candidate differs in two runs: that of the geometric means, or what it would
    /// be by the differences on single shapes if that is more, since the means may be near each other by chance.
    pub fn noise(&self) -> f64 {
        let logs = logs(&self.ns[0], &self.ns[1]);
        let squares: f64 = logs.iter().map(|log| log * log).sum();
        mean(&logs).abs().max(squares.sqrt() / logs.len() as f64).exp() - 1.0
    }

    /// The best of the others, if it is really better than the current candidate.
    pub fn best(&self) -> Option<usize> {
        let others = 0..self.ns.len() - 2;
        let best = others.max_by(|&a, &b| self.ratio(a).total_cmp(&self.ratio(b)))?;
        let needed = 1.0 + WORTH.max(OF_NOISE * self.noise());
        (self.ratio(best) > needed).then_some(best)
    }

    /// One line of the CSV per figure.
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        for (label, ns) in self.labels.iter().zip(&self.ns) {
            for (shape, ns) in self.shapes.iter().zip(ns) {
                let place = if shape.in_place { "in" } else { "out" };
                let Shape { rows, cols, .. } = shape;
                text += &format!("{},{label},{place},{rows},{cols},{ns:.4}\n", self.what);
            }
        }
        text
    }

    /// A table: shapes downwards, candidates across; `chosen` is what was decided.
    pub fn to_table(&self, chosen: &str) -> String {
        let width = |label: &str| 2 + label.len().max(8);
        let mut text = format!("{:>24}", self.what);
        for label in &self.labels {
            text += &format!("{label:>0$}", width(label));
        }
        for (s, shape) in self.shapes.iter().enumerate() {
            text += &format!("\n{:>24}", shape.to_string());
            for (label, ns) in self.labels.iter().zip(&self.ns) {
                text += &format!("{:>1$.3}", ns[s], width(label));
            }
        }
        text += &format!("\n{:>24}", "speed");
        for (candidate, label) in self.labels.iter().enumerate() {
            let speed = match candidate {
                0 => String::new(),
                1 => format!("±{:.1} %", 100.0 * self.noise()),
                other => format!("{:+.1} %", 100.0 * (self.ratio(other - 2) - 1.0)),
            };
            text += &format!("{speed:>0$}", width(label));
        }
        text + &format!("\n{:>24}  {chosen}\n", "chosen")
    }
}

/// The logarithms of the times of one candidate over those of another.
fn logs(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| (a / b).ln()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times on two shapes, the second of which takes twice as long.
    fn trial(ns: &[f64]) -> Trial {
        let shape = |cols| Shape {
            in_place: false,
            rows: 2,
            cols,
        };
        Trial {
            what: "batch_rows".into(),
            labels: ["4", "4 again", "8", "16"][..ns.len()]
                .iter()
                .map(|&label| label.into())
                .collect(),
            shapes: [8, 9].map(shape).to_vec(),
            ns: ns.iter().map(|&ns| vec![ns, 2.0 * ns]).collect(),
        }
    }

    #[test]
    fn only_a_real_gain_changes_the_value() {
        assert_eq!(trial(&[1.0, 1.0, 0.9, 0.8]).best(), Some(1));
        assert_eq!(trial(&[1.0, 1.0, 0.9, 2.0]).best(), Some(0));
        assert_eq!(trial(&[1.0, 1.0, 0.995, 2.0]).best(), None, "below 1 %");
        assert_eq!(trial(&[1.0, 1.1, 0.95, 1.0]).best(), None, "below twice the noise");
        assert_eq!(trial(&[1.0, 1.1, 0.8, 1.0]).best(), Some(0));
        assert_eq!(trial(&[1.0, 1.0]).best(), None, "no others");
        assert!((trial(&[1.0, 4.0, 1.0]).ratio(0) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn noise_that_cancels_out_is_noise() {
        let mut trial = trial(&[1.0, 1.0, 0.9]);
        assert_eq!(trial.noise(), 0.0);
        trial.ns[1] = vec![1.2, 2.0 / 1.2];
        assert!(trial.noise() > 0.1, "{}", trial.noise());
        assert_eq!(trial.best(), None);
    }

    #[test]
    fn a_line_to_each_figure() {
        let csv = trial(&[0.5, 0.5, 1.0, 2.0]).to_csv();
        assert_eq!(csv.lines().count(), 8);
        assert!(csv.starts_with("batch_rows,4,out,2,8,0.5000\n"), "{csv}");
        assert!(csv.contains("\nbatch_rows,4 again,out,2,9,1.0000\n"), "{csv}");
    }
}
