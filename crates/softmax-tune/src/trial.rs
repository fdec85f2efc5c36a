//! A trial: candidates measured in turns on the same shapes, and what follows from it.

use crate::candidate::Probe;
use crate::knob::Shape;

/// Below this ratio a candidate is not better than what is there: noise.
const WORTH: f64 = 1.01;

/// Elements from which on a shape is measured in one round of four.
const LARGE: usize = 1 << 21;

/// The least times of some candidates on some shapes.
pub struct Trial {
    /// What differs between the candidates.
    pub knob: String,
    /// The candidates.
    pub labels: Vec<String>,
    /// What they were measured on.
    pub shapes: Vec<Shape>,
    /// Nanoseconds per element, by candidate and shape.
    pub ns: Vec<Vec<f64>>,
}

impl Trial {
    /// Measures `candidates` in turns. `tick` is called after each of the rounds.
    ///
    /// # Errors
    /// A probe has failed.
    pub fn run(
        knob: &str,
        candidates: &mut [(String, Probe)],
        shapes: Vec<Shape>,
        (rounds, micros): (u32, u32),
        mut tick: impl FnMut(),
    ) -> Result<Self, String> {
        let mut ns = vec![vec![f64::INFINITY; shapes.len()]; candidates.len()];
        for round in 0..rounds {
            for (s, &shape) in shapes.iter().enumerate() {
                // Long passes need fewer of them.
                if shape.rows * shape.cols > LARGE && !round.is_multiple_of(4) {
                    continue;
                }
                for ((_, probe), ns) in candidates.iter_mut().zip(&mut ns) {
                    ns[s] = ns[s].min(probe.measure(shape, micros)?);
                }
            }
            tick();
        }
        Ok(Self {
            knob: knob.into(),
            labels: candidates.iter().map(|(label, _)| label.clone()).collect(),
            shapes,
            ns,
        })
    }

    /// The geometric mean, over the shapes, of the time of candidate `a` over that of `b`.
    pub fn ratio(&self, a: usize, b: usize) -> f64 {
        let logs = self.ns[a].iter().zip(&self.ns[b]).map(|(a, b)| (a / b).ln());
        (logs.sum::<f64>() / self.shapes.len() as f64).exp()
    }

    /// The best candidate, which is `current` unless another is really better.
    pub fn best(&self, current: usize) -> usize {
        let best = (0..self.ns.len()).max_by(|&a, &b| self.ratio(current, a).total_cmp(&self.ratio(current, b)));
        best.filter(|&best| self.ratio(current, best) > WORTH)
            .unwrap_or(current)
    }

    /// One line of the CSV per figure.
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        for (label, ns) in self.labels.iter().zip(&self.ns) {
            for (shape, ns) in self.shapes.iter().zip(ns) {
                let place = if shape.in_place { "in" } else { "out" };
                let Shape { rows, cols, .. } = shape;
                text += &format!("{},{label},{place},{rows},{cols},{ns:.4}\n", self.knob);
            }
        }
        text
    }

    /// A table: shapes downwards, candidates across.
    pub fn to_table(&self, chosen: usize) -> String {
        let mut text = format!("{:>24}", self.knob);
        for label in &self.labels {
            text += &format!("{label:>10}");
        }
        for (s, shape) in self.shapes.iter().enumerate() {
            text += &format!("\n{:>24}", shape.to_string());
            for ns in &self.ns {
                text += &format!("{:>10.3}", ns[s]);
            }
        }
        text + &format!("\n{:>24}{:>10}\n", "chosen", self.labels[chosen])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(ns: [f64; 3]) -> Trial {
        let shape = |cols| Shape {
            in_place: false,
            rows: 2,
            cols,
        };
        Trial {
            knob: "batch_rows".into(),
            labels: ["4", "8", "16"].map(String::from).to_vec(),
            shapes: [8, 9].map(shape).to_vec(),
            ns: ns.iter().map(|&ns| vec![ns, 2.0 * ns]).collect(),
        }
    }

    #[test]
    fn only_a_real_gain_changes_the_value() {
        assert_eq!(trial([1.0, 0.9, 0.8]).best(0), 2);
        assert_eq!(trial([0.995, 1.0, 2.0]).best(1), 1, "noise");
        assert_eq!(trial([0.5, 1.0, 2.0]).best(1), 0);
        assert!((trial([0.5, 1.0, 2.0]).ratio(2, 0) - 4.0).abs() < 1e-12);
    }

    #[test]
    fn a_line_to_each_figure() {
        let csv = trial([0.5, 1.0, 2.0]).to_csv();
        assert_eq!(csv.lines().count(), 6);
        assert!(csv.starts_with("batch_rows,4,out,2,8,0.5000\n"), "{csv}");
    }
}
