//! The truth, in binary64, and the distance of a result from it.

use crate::data::{Data, Number, Pair};
use crate::task::{Op, Task};

/// The exact result of a task, to about 1e-15.
pub struct Reference {
    op: Op,
    cols: usize,
    expected: Vec<f64>,
}

/// How far a result is from the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    /// The largest error in units of the last place of the exact result in the element type;
    /// for log-softmax, of the greater of the exact result and 1. NaN if a result is not finite.
    pub max_ulp: f64,
    /// The largest distance from 1 of the sum of a row's probabilities.
    pub row_sum_error: f64,
    /// The largest error, of the greatest exact result of its row; for log-softmax, of the greater
    /// of the exact result and 1.
    pub relative_error: f64,
}

impl Accuracy {
    /// Whether the result is a softmax at all: sums and elements within 5 %, which admits libraries
    /// that compute in half precision.
    pub fn is_right(&self) -> bool {
        self.row_sum_error <= 0.05 && self.relative_error <= 0.05 && self.max_ulp.is_finite()
    }
}

impl Reference {
    /// The exact result for the input in `data`.
    pub fn new(task: &Task, data: &Data) -> Self {
        let expected = match data {
            Data::F32(pair) => expect(task, &pair.x),
            Data::F16(pair) => expect(task, &pair.x),
            Data::Bf16(pair) => expect(task, &pair.x),
        };
        Self {
            op: task.op,
            cols: task.shape.cols,
            expected,
        }
    }

    /// The distance of the output in `data`.
    pub fn compare(&self, data: &Data) -> Accuracy {
        match data {
            Data::F32(pair) => self.distance(pair),
            Data::F16(pair) => self.distance(pair),
            Data::Bf16(pair) => self.distance(pair),
        }
    }

    fn distance<T: Number>(&self, pair: &Pair<T>) -> Accuracy {
        let mut accuracy = Accuracy {
            max_ulp: 0.0,
            row_sum_error: 0.0,
            relative_error: 0.0,
        };
        let rows = self.expected.chunks(self.cols).zip(pair.y.chunks(self.cols));
        for (expected, actual) in rows {
            let mut sum = 0.0;
            let greatest = expected.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            for (&expected, actual) in expected.iter().zip(actual) {
                let actual = actual.value();
                let (scale, whole, probability) = match self.op {
                    Op::Softmax => (expected, greatest, actual),
                    Op::LogSoftmax => {
                        let scale = expected.abs().max(1.0);
                        (scale, scale, actual.exp())
                    }
                };
                let error = (actual - expected).abs();
                accuracy.max_ulp = worse(accuracy.max_ulp, error / ulp::<T>(scale));
                accuracy.relative_error = worse(accuracy.relative_error, error / whole);
                sum += probability;
            }
            accuracy.row_sum_error = worse(accuracy.row_sum_error, (sum - 1.0).abs());
        }
        accuracy
    }
}

/// The greater of both; NaN if either is, unlike `f64::max`.
fn worse(a: f64, b: f64) -> f64 {
    if a >= b || a.is_nan() { a } else { b }
}

fn expect<T: Number>(task: &Task, x: &[T]) -> Vec<f64> {
    let mut expected: Vec<f64> = x.iter().map(|x| x.value()).collect();
    for row in expected.chunks_mut(task.shape.cols) {
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Partial sums keep the rounding of long rows below 1e-13.
        let sum: f64 = row
            .chunks(1024)
            .map(|part| part.iter().map(|x| (x - max).exp()).sum::<f64>())
            .sum();
        match task.op {
            Op::Softmax => row.iter_mut().for_each(|x| *x = (*x - max).exp() / sum),
            Op::LogSoftmax => row.iter_mut().for_each(|x| *x = *x - max - sum.ln()),
        }
    }
    expected
}

/// The unit of the last place of `value` in the format of `T`.
fn ulp<T: Number>(value: f64) -> f64 {
    let exponent = if value == 0.0 { i32::MIN } else { exponent(value) };
    2f64.powi(exponent.max(T::MIN_EXPONENT) - (T::PRECISION - 1))
}

/// The exponent of a normal binary64 number; far below any other for zeros and subnormals.
fn exponent(value: f64) -> i32 {
    ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Dtype, Place, Shape};
    use half::{bf16, f16};

    #[test]
    fn unit_of_the_last_place() {
        assert_eq!(ulp::<f32>(1.0), f64::from(f32::EPSILON));
        assert_eq!(ulp::<f32>(1.999), f64::from(f32::EPSILON));
        assert_eq!(ulp::<f32>(2.0), 2.0 * f64::from(f32::EPSILON));
        assert_eq!(ulp::<f32>(0.0), f64::from(f32::from_bits(1)));
        assert_eq!(ulp::<f32>(1e-42), f64::from(f32::from_bits(1)));
        assert_eq!(ulp::<f16>(1.0), f64::from(f16::EPSILON));
        assert_eq!(ulp::<bf16>(1.0), f64::from(bf16::EPSILON));
    }

    fn task(op: Op, shape: Shape) -> Task {
        Task {
            op,
            dtype: Dtype::F32,
            place: Place::Out,
            shape,
        }
    }

    #[test]
    fn errors_are_seen() {
        let task = task(Op::Softmax, Shape::new(3, 5));
        let mut data = Data::new(&task);
        let reference = Reference::new(&task, &data);
        let rounded: Vec<f32> = reference.expected.iter().map(|&y| y as f32).collect();
        let Data::F32(pair) = &mut data else { unreachable!() };
        pair.y.copy_from_slice(&rounded);
        let exact = reference.compare(&data);
        assert!(exact.max_ulp <= 0.5 && exact.row_sum_error < 1e-6, "{exact:?}");
        assert!(exact.is_right());

        let Data::F32(pair) = &mut data else { unreachable!() };
        pair.y[7] = f32::from_bits(rounded[7].to_bits() + 3);
        let off = reference.compare(&data).max_ulp;
        assert!((2.5..=3.5).contains(&off), "{off}");

        let Data::F32(pair) = &mut data else { unreachable!() };
        pair.y[2] = f32::NAN;
        assert!(!reference.compare(&data).is_right());
    }

    #[test]
    fn another_distribution_is_wrong() {
        for op in [Op::Softmax, Op::LogSoftmax] {
            let task = task(op, Shape::new(2, 64));
            let mut data = Data::new(&task);
            let reference = Reference::new(&task, &data);
            let right: Vec<f32> = reference.expected.iter().map(|&y| y as f32).collect();
            let backwards: Vec<f32> = right.chunks(64).flat_map(|row| row.iter().rev().copied()).collect();
            let uniform = match op {
                Op::Softmax => 1.0 / 64.0_f32,
                Op::LogSoftmax => -64.0_f32.ln(),
            };
            for (output, is_right) in [(right, true), (backwards, false), (vec![uniform; 128], false)] {
                let Data::F32(pair) = &mut data else { unreachable!() };
                pair.y.copy_from_slice(&output);
                let accuracy = reference.compare(&data);
                assert!(accuracy.row_sum_error < 1e-5, "{op}: {accuracy:?}");
                assert_eq!(accuracy.is_right(), is_right, "{op}: {accuracy:?}");
            }
        }
    }
}
