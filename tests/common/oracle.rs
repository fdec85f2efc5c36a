//! The reference: softmax, log-softmax and log-sum-exp of the exact values of a row, in double-double.

use super::dd::{self, Dd, Exact, Sum, two_sum};
use super::element::TestElement;

/// How the exponentials of the reference are computed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Precision {
    /// Double-double throughout, about 1e-30 relative: good for every format, 150 ns per exponential.
    DoubleDouble,
    /// Exponentials by `f64::exp`, everything else in double-double: about 2^-51, good for f32 and narrower.
    Fast,
}

impl Precision {
    pub fn exp(self, x: Dd) -> Exact {
        match self {
            Precision::DoubleDouble => dd::exp(x),
            Precision::Fast => dd::exp_f64(x),
        }
    }
}

/// What the special rows of the contract follow from: plain arithmetic on the maximum and the sum. A row with NaN has
/// maximum NaN; a row with +∞, or of −∞ alone, meets ∞ − ∞.
#[derive(Clone, Copy)]
pub struct Oracle {
    max: f64,
    sum: Dd,
    ln_sum: Dd,
    precision: Precision,
}

impl Oracle {
    /// The reference of a row of elements, fast where that is enough.
    pub fn of<T: TestElement>(row: &[T]) -> Oracle {
        let precision = if T::FORMAT.digits > 24 {
            Precision::DoubleDouble
        } else {
            Precision::Fast
        };
        Oracle::new(row.iter().map(|v| v.to_f64()), precision)
    }

    /// The reference of a row of elements, in double-double unless the row is long.
    pub fn precise<T: TestElement>(row: &[T]) -> Oracle {
        let fast = Oracle::of(row);
        if row.len() > 300 {
            fast
        } else {
            Oracle::new(row.iter().map(|v| v.to_f64()), Precision::DoubleDouble)
        }
    }

    pub fn new(row: impl Iterator<Item = f64> + Clone, precision: Precision) -> Oracle {
        let max = row
            .clone()
            .fold(f64::NEG_INFINITY, |m, x| if x > m || x.is_nan() { x } else { m });
        // Many rows repeat a value.
        let (mut last, mut term) = (f64::NAN, Dd::from(f64::NAN));
        let terms = row.map(|x| {
            if x != last {
                (last, term) = (x, precision.exp(two_sum(x, -max)).to_dd());
            }
            term
        });
        let sum = terms.fold(Sum::ZERO, Sum::add).total();
        Oracle {
            max,
            sum,
            ln_sum: dd::ln(sum),
            precision,
        }
    }

    /// e^(x − max) / Σ e^(x_j − max)
    pub fn softmax(&self, x: f64) -> Exact {
        self.precision.exp(two_sum(x, -self.max)) * (Dd::from(1.0) / self.sum)
    }

    /// (x − max) − ln Σ e^(x_j − max)
    pub fn log_softmax(&self, x: f64) -> Exact {
        Exact::from(two_sum(x, -self.max) - self.ln_sum)
    }

    /// max + ln Σ e^(x_j − max)
    pub fn logsumexp(&self) -> Exact {
        let finite = self.max.is_finite();
        Exact::from(if finite {
            Dd::from(self.max) + self.ln_sum
        } else {
            Dd::from(self.max)
        })
    }

    pub fn exp(&self, x: f64) -> Exact {
        self.precision.exp(Dd::from(x))
    }
}
