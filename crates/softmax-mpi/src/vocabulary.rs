//! The ranks' agreement on a vocabulary, and softmax, log_softmax and logsumexp over it.
//!
//! ```text
//! M = max over the ranks of max x          first allreduce
//! Σ e^x = 2^n · Σ over the ranks of s      second allreduce; n = rint(M · log2 e), s = Σ e^x of a slice · 2^−n
//! ```
//!
//! n follows from M alone, by f64 arithmetic that is the same on every CPU, so that ranks of different CPUs agree on it.

use crate::{Error, Group};
use softmax::{OnlineSoftmax, Rows};
use std::f64::consts::{LN_2, LOG2_E};

/// The bound of [`Vocabulary::softmax`] in ULP of f32, but for ranks on the `Portable` backend
/// ([`softmax::Isa::max_ulp`]).
pub const MAX_ULP: f32 = 8.0;

/// ln 2 − `LN_2`.
const LN_2_REST: f64 = 2.319_046_813_846_299_6e-17;

/// From this |maximum| on, sums are Σ e^(x − M): see [`OnlineSoftmax::to_parts`].
const HUGE: f32 = (1 << 30) as f32;

/// Words before the maxima in the first message: the rank that has found an error; the call, and its negative.
const HEADER: usize = 3;

/// The most rows of a batch: the counts of an MPI message are 32 bits wide.
const MAX_ROWS: usize = 1 << 28;

/// A batch of rows whose columns, the classes of a vocabulary, are cut between the ranks of a group.
///
/// Rank after rank, in order, holds the next classes. The memory for what is sent belongs to it, so that no call
/// allocates after the first of its kind.
pub struct Vocabulary<'g, G: ?Sized> {
    group: &'g G,
    rows: usize,
    cols: usize,
    first: usize,
    classes: usize,
    states: Vec<OnlineSoftmax>,
    /// Of this rank, of all.
    maxima: [Vec<i32>; 2],
    sums: [Vec<f64>; 2],
}

/// A call: what all ranks must do alike.
pub(crate) struct Call<'a> {
    /// What the call is, as a number that differs if anything that must not differ does.
    pub id: u64,
    /// Whether this rank's part of it is right.
    pub valid: Result<(), softmax::Error>,
    pub x: &'a [f32],
    pub rows: Rows,
    /// How many numbers of each row are added beside its sum.
    pub extras: usize,
    /// Numbers of the whole call that are added.
    pub tail: &'a [f64],
}

/// Row `r` of memory at a stride.
pub(crate) fn row(x: &[f32], r: usize, stride: usize, cols: usize) -> &[f32] {
    // A slice without columns may be without memory.
    if cols == 0 { &[] } else { &x[r * stride..][..cols] }
}

/// Row `r` of memory at a stride.
pub(crate) fn row_mut(y: &mut [f32], r: usize, stride: usize, cols: usize) -> &mut [f32] {
    if cols == 0 {
        &mut []
    } else {
        &mut y[r * stride..][..cols]
    }
}

/// Checks that `len` elements hold rows of `cols` at a stride.
pub(crate) fn check(
    what: &'static str,
    len: usize,
    rows: usize,
    cols: usize,
    stride: usize,
) -> Result<(), softmax::Error> {
    if stride < cols {
        return Err(softmax::Error::Stride { what, stride, cols });
    }
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    match (rows - 1).checked_mul(stride).and_then(|start| start.checked_add(cols)) {
        None => Err(softmax::Error::Overflow { rows, cols, stride }),
        Some(needed) if needed > len => Err(softmax::Error::TooShort {
            what,
            len,
            needed,
            rows,
            cols,
            stride,
        }),
        Some(_) => Ok(()),
    }
}

/// The place of a maximum in the order −∞ < … < +∞ < NaN, since the maximum of floats with NaN is nobody's promise.
fn key(max: f32) -> i32 {
    if max.is_nan() {
        return i32::MAX;
    }
    let bits = max.to_bits() as i32;
    // The bits of negative floats fall as they rise.
    if bits < 0 { bits ^ i32::MAX } else { bits }
}

/// The maximum at a place in that order.
fn maximum(key: i32) -> f32 {
    match key {
        i32::MAX => f32::NAN,
        0.. => f32::from_bits(key as u32),
        _ => f32::from_bits((key ^ i32::MAX) as u32),
    }
}

/// n for a finite maximum.
fn exponent(max: f32) -> i32 {
    if max.abs() < HUGE {
        (f64::from(max) * LOG2_E).round_ties_even() as i32
    } else {
        0
    }
}

/// ln Σ e^x − M ≥ 0 of a row with a finite maximum M. The product is not rounded, so that little is left of M's error.
pub(crate) fn excess(state: &OnlineSoftmax) -> f64 {
    let (sum, max, n) = state.to_parts();
    let log = sum.ln();
    let excess = if max.abs() < HUGE {
        let n = f64::from(n);
        n.mul_add(LN_2, -f64::from(max)) + (n * LN_2_REST + log)
    } else {
        log
    };
    excess.max(0.0)
}

/// FNV-1a of the words of a call.
pub(crate) fn id(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        word.to_le_bytes().iter().fold(hash, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    })
}

impl<'g, G: Group + ?Sized> Vocabulary<'g, G> {
    /// Agrees with the other ranks on a batch of `rows` rows, the same everywhere, of which this rank holds `cols`
    /// columns (0 too): the classes after those of the ranks before it. One allreduce of 12 + 4·P bytes; what it gives
    /// serves any number of calls.
    ///
    /// # Errors
    /// [`Error::Differ`] if the ranks do not give the same number of rows; [`Error::Call`], elsewhere
    /// [`Error::OtherRank`], for more than 2^28 rows or 2^31 − 2 columns.
    ///
    /// ```
    /// use softmax_mpi::{Alone, Vocabulary};
    /// let vocabulary = Vocabulary::new(&Alone, 16, 32_000)?;
    /// assert_eq!((vocabulary.first_class(), vocabulary.classes()), (0, 32_000));
    /// # Ok::<(), softmax_mpi::Error>(())
    /// ```
    pub fn new(group: &'g G, rows: usize, cols: usize) -> Result<Self, Error> {
        let (rank, size) = (group.rank(), group.size());
        let stride = cols;
        let valid = match i32::try_from(cols) {
            Ok(cols) if cols < i32::MAX && rows <= MAX_ROWS => Ok((rows as i32, cols)),
            _ => Err(softmax::Error::Overflow { rows, cols, stride }),
        };
        let (agreed_rows, agreed_cols) = valid.unwrap_or_default();
        let mut local = vec![0; HEADER + size];
        local[0] = if valid.is_err() { (size - rank) as i32 } else { 0 };
        (local[1], local[2]) = (agreed_rows, -agreed_rows);
        local[HEADER + rank] = agreed_cols;
        let mut global = local.clone();
        group.all_max(&local, &mut global);
        valid?;
        agree(size, &global, "the numbers of rows")?;
        let slices = global[HEADER..].iter().map(|&cols| cols as usize);
        let new = || vec![0; HEADER + rows];
        Ok(Self {
            group,
            rows,
            cols,
            first: slices.clone().take(rank).sum(),
            classes: slices.sum(),
            states: vec![OnlineSoftmax::new(); rows],
            maxima: [new(), new()],
            sums: [Vec::new(), Vec::new()],
        })
    }

    /// The rows of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns of this rank.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The class of this rank's first column.
    pub fn first_class(&self) -> usize {
        self.first
    }

    /// The classes of all ranks.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// softmax(x)_c = e^{x_c} / Σ_j e^{x_j} of each row, where c runs over the classes of this rank and j over those of
    /// all ranks; from `x` to `y`, laid out as `rows` says.
    ///
    /// # Numerical contract
    /// At most [`MAX_ULP`] from the exact value. Special rows as in [`softmax::softmax()`], whichever rank holds what is
    /// special.
    ///
    /// # Errors
    /// [`Error::Call`] if a slice does not hold the rows, or they are not those of the batch; [`Error::OtherRank`] if
    /// that is so on another rank; [`Error::Differ`] if another rank calls another operator. Nothing is written then, on
    /// any rank.
    ///
    /// ```
    /// use softmax::Rows;
    /// use softmax_mpi::{Alone, Vocabulary};
    /// let mut vocabulary = Vocabulary::new(&Alone, 1, 2)?;
    /// let mut y = [0.0; 2];
    /// vocabulary.softmax(&[3.0, 3.0], &mut y, Rows::new(1, 2))?;
    /// assert_eq!(y, [0.5; 2]);
    /// # Ok::<(), softmax_mpi::Error>(())
    /// ```
    pub fn softmax(&mut self, x: &[f32], y: &mut [f32], rows: Rows) -> Result<(), Error> {
        let (y_stride, cols) = (rows.y_stride(), self.cols);
        let valid = self
            .check(x, rows)
            .and_then(|()| check("output", y.len(), self.rows, cols, y_stride));
        self.states(Call::plain(1, valid, x, rows), |_, _, _| ())?;
        for (r, state) in self.states.iter().enumerate() {
            let y = row_mut(y, r, y_stride, cols);
            state.finish(row(x, r, rows.x_stride(), cols), y)?;
        }
        Ok(())
    }

    /// [`softmax`](Self::softmax) in place, at the input stride of `rows`: the same bits.
    ///
    /// # Errors
    /// As [`softmax`](Self::softmax).
    ///
    /// ```
    /// use softmax::Rows;
    /// use softmax_mpi::{Alone, Vocabulary};
    /// let mut x = [3.0, 3.0];
    /// Vocabulary::new(&Alone, 1, 2)?.softmax_in_place(&mut x, Rows::new(1, 2))?;
    /// assert_eq!(x, [0.5; 2]);
    /// # Ok::<(), softmax_mpi::Error>(())
    /// ```
    pub fn softmax_in_place(&mut self, x: &mut [f32], rows: Rows) -> Result<(), Error> {
        let (stride, cols) = (rows.x_stride(), self.cols);
        let valid = self.check(x, rows);
        self.states(Call::plain(1, valid, x, rows), |_, _, _| ())?;
        for (r, state) in self.states.iter().enumerate() {
            state.finish_in_place(row_mut(x, r, stride, cols));
        }
        Ok(())
    }

    /// log_softmax(x)_c = x_c − ln Σ_j e^{x_j} of each row, where c runs over the classes of this rank and j over those
    /// of all ranks.
    ///
    /// # Numerical contract
    /// At most 4 ULP of max(1, |result|), never positive. Special rows as in [`softmax::log_softmax`].
    ///
    /// # Errors
    /// As [`softmax`](Self::softmax).
    ///
    /// ```
    /// use softmax::Rows;
    /// use softmax_mpi::{Alone, Vocabulary};
    /// let mut vocabulary = Vocabulary::new(&Alone, 1, 2)?;
    /// let mut y = [0.0; 2];
    /// vocabulary.log_softmax(&[3.0, 3.0], &mut y, Rows::new(1, 2))?;
    /// assert!((y[0] + core::f32::consts::LN_2).abs() < 4e-7);
    /// # Ok::<(), softmax_mpi::Error>(())
    /// ```
    pub fn log_softmax(&mut self, x: &[f32], y: &mut [f32], rows: Rows) -> Result<(), Error> {
        let (y_stride, cols) = (rows.y_stride(), self.cols);
        let valid = self
            .check(x, rows)
            .and_then(|()| check("output", y.len(), self.rows, cols, y_stride));
        self.states(Call::plain(2, valid, x, rows), |_, _, _| ())?;
        for (r, state) in self.states.iter().enumerate() {
            let (max, excess) = (f64::from(state.max()), excess(state));
            let y = row_mut(y, r, y_stride, cols);
            if !max.is_finite() {
                y.fill(f32::NAN);
                continue;
            }
            for (y, &x) in y.iter_mut().zip(row(x, r, rows.x_stride(), cols)) {
                *y = (0.0 - ((max - f64::from(x)) + excess)) as f32;
            }
        }
        Ok(())
    }

    /// ln Σ_j e^{x_j} of each row, where j runs over the classes of all ranks: the same on all of them.
    ///
    /// # Numerical contract
    /// At most 4 ULP of max(1, |result|). NaN if any rank has NaN, else +∞ if any has +∞; −∞ of nothing but −∞.
    ///
    /// # Errors
    /// As [`softmax`](Self::softmax); `out` needs a place for each row.
    ///
    /// ```
    /// use softmax::Rows;
    /// use softmax_mpi::{Alone, Vocabulary};
    /// let mut out = [0.0];
    /// Vocabulary::new(&Alone, 1, 1)?.logsumexp(&[3.0], &mut out, Rows::new(1, 1))?;
    /// assert_eq!(out, [3.0]);
    /// # Ok::<(), softmax_mpi::Error>(())
    /// ```
    pub fn logsumexp(&mut self, x: &[f32], out: &mut [f32], rows: Rows) -> Result<(), Error> {
        let valid = self
            .check(x, rows)
            .and_then(|()| check("output", out.len(), self.rows, 1, 1));
        self.states(Call::plain(3, valid, x, rows), |_, _, _| ())?;
        for (out, state) in out.iter_mut().zip(&self.states) {
            *out = state.logsumexp();
        }
        Ok(())
    }

    /// Checks that `x` holds the rows, and that they are those of the batch.
    pub(crate) fn check(&self, x: &[f32], rows: Rows) -> Result<(), softmax::Error> {
        for (name, value, agreed) in [("rows", rows.rows(), self.rows), ("columns", rows.cols(), self.cols)] {
            if value != agreed {
                return Err(softmax::Error::Parameter {
                    name,
                    value: (value as f64).into(),
                    range: "the number of the vocabulary",
                });
            }
        }
        check("input", x.len(), self.rows, self.cols, rows.x_stride())
    }

    /// Finds the state of each whole row, and adds over the ranks what `extra` gives for a row, its maximum and its
    /// place: `call.extras` numbers.
    pub(crate) fn states(
        &mut self,
        call: Call<'_>,
        mut extra: impl FnMut(usize, f32, &mut [f64]),
    ) -> Result<(), Error> {
        let (rank, size) = (self.group.rank(), self.group.size());
        let [local, global] = &mut self.maxima;
        // 28 bits of the call and 3 that say how long the second message is: a number that has a negative.
        let id = (call.id >> 36 << 3) as i32 | (2 * call.extras + call.tail.len()) as i32;
        local[0] = if call.valid.is_err() { (size - rank) as i32 } else { 0 };
        (local[1], local[2]) = (id, -id);
        for (r, (state, place)) in self.states.iter_mut().zip(&mut local[HEADER..]).enumerate() {
            *state = OnlineSoftmax::new();
            if call.valid.is_ok() {
                state.update(row(call.x, r, call.rows.x_stride(), self.cols));
            }
            *place = key(state.max());
        }
        self.group.all_max(local, global);
        call.valid?;
        agree(size, global, "the operators, labels or parameters")?;

        let (each, rows) = (1 + call.extras, self.rows * (1 + call.extras));
        self.sums
            .iter_mut()
            .for_each(|sums| sums.resize(rows + call.tail.len(), 0.0));
        let [local, global] = &mut self.sums;
        local[rows..].copy_from_slice(call.tail);
        for (r, (state, place)) in self.states.iter_mut().zip(local.chunks_exact_mut(each)).enumerate() {
            place.fill(0.0);
            let max = maximum(self.maxima[1][HEADER + r]);
            let mut whole = OnlineSoftmax::from_parts(0.0, max, 0);
            if max.is_finite() {
                whole = OnlineSoftmax::from_parts(0.0, max, exponent(max));
                whole.merge(state);
                place[0] = whole.to_parts().0;
            }
            extra(r, max, &mut place[1..]);
            *state = whole;
        }
        self.group.all_sum(local, global);
        for (state, place) in self.states.iter_mut().zip(global.chunks_exact(each)) {
            let (_, max, n) = state.to_parts();
            let sum = if max.is_finite() { place[0] } else { f64::from(max) };
            *state = if max == f32::NEG_INFINITY {
                OnlineSoftmax::new()
            } else {
                OnlineSoftmax::from_parts(sum, max, n)
            };
        }
        Ok(())
    }

    /// The whole rows.
    pub(crate) fn whole(&self) -> &[OnlineSoftmax] {
        &self.states
    }

    /// What was added over the ranks: rows of a sum and the extras, then the tail.
    pub(crate) fn added(&self) -> &[f64] {
        &self.sums[1]
    }
}

impl<'a> Call<'a> {
    /// One that sends nothing but maxima and sums.
    fn plain(operator: u64, valid: Result<(), softmax::Error>, x: &'a [f32], rows: Rows) -> Self {
        Self {
            id: id([operator]),
            valid,
            x,
            rows,
            extras: 0,
            tail: &[],
        }
    }
}

/// Whether the ranks make one call and all of them can, by the header of the first message.
fn agree(size: usize, header: &[i32], what: &'static str) -> Result<(), Error> {
    match header {
        [0, id, negative, ..] if *id == -negative => Ok(()),
        [0, ..] => Err(Error::Differ { what }),
        [failed, ..] => Err(Error::OtherRank {
            rank: size - *failed as usize,
        }),
        [] => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order() {
        let order = [
            f32::NEG_INFINITY,
            f32::MIN,
            -1.0,
            -f32::from_bits(1),
            0.0,
            f32::from_bits(1),
            1.0,
            f32::MAX,
            f32::INFINITY,
            f32::NAN,
        ];
        assert!(order.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
        for max in order {
            assert_eq!(maximum(key(max)).to_bits(), max.to_bits());
        }
        assert!(key(-0.0) < key(0.0) && maximum(key(-0.0)) == 0.0);
        assert!(key(f32::NEG_INFINITY) > i32::MIN);
    }
}
