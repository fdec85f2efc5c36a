//! Drawing a class from each of many rows. Inside a row nothing is shared: its generator is one sequence.

use super::super::cut::{Input, Results};
use super::super::sampling::{check_call, check_temperature};
use super::{First, share_rows};
use crate::element::Element;
use crate::error::Error;
use crate::isa::Isa;
use crate::ops::Sampler;
use crate::rows::Rows;

/// The logits of row `r`; without columns there is no memory to look for them in.
fn row<T>(x: &[T], rows: Rows, r: usize) -> &[T] {
    if rows.cols() == 0 { &[] } else { rows.input(x, r) }
}

impl Sampler {
    /// [`sample`](Self::sample) of each of many rows on the current rayon pool (feature `rayon`): row r draws with
    /// `random[r]`, 64 random bits, and its outcome goes to `class[r]`.
    ///
    /// The classes depend neither on the number of threads nor on the other rows. A row that nothing can be drawn from
    /// has its error for outcome; the other rows are drawn all the same. `workspace` needs
    /// [`workspace_len`](Self::workspace_len) entries for each row.
    ///
    /// # Errors
    /// As [`softmax_rows`](crate::softmax_rows) for logits, random numbers and classes, and what is wrong with the
    /// parameters or the workspace as a whole; nothing is written then.
    ///
    /// ```
    /// use softmax::{Error, Rows, Sampler};
    /// let logits = [0.0_f32, 50.0, f32::NAN, 0.0, 90.0, 0.0];
    /// let mut class = [Ok(0); 3];
    /// let random = [1 << 63; 3]; // of a real generator
    /// Sampler::default().par_sample_rows(&logits, &random, &mut [], &mut class, Rows::new(3, 2))?;
    /// assert_eq!((class[0], class[2]), (Ok(1), Ok(0)));
    /// assert!(matches!(class[1], Err(Error::Logit { index: 0, .. })));
    /// # Ok::<(), softmax::Error>(())
    /// ```
    pub fn par_sample_rows<T: Element<Compute = f32>>(
        &self,
        logits: &[T],
        random: &[u64],
        workspace: &mut [(f32, u32)],
        class: &mut [Result<usize, Error>],
        rows: Rows,
    ) -> Result<(), Error> {
        rows.check_input(logits.len())?;
        rows.check_results("random", random.len(), 1)?;
        rows.check_results("class", class.len(), 1)?;
        let per_row = check_call(self, rows.rows(), rows.cols(), workspace.len())?;
        let isa = Isa::detect();
        let inputs = (Input(logits, rows.x_stride()), Input(random, 1));
        let places = (Results(workspace, per_row), Results(class, 1));
        share_rows((inputs, places), rows, &|((x, random), (workspace, class)), rows| {
            for r in 0..rows.rows() {
                let workspace = &mut workspace.0[r * per_row..][..per_row];
                class.0[r] = isa.sample(self, row(x.0, rows, r), workspace, || random.0[r]);
            }
            Ok(())
        })
    }
}

/// [`sample_gumbel`](crate::sample_gumbel) of each of many rows on the current rayon pool (feature `rayon`): row r draws
/// with the generator `rng(r)`, which gives 64 random bits for each logit, in order, and its outcome goes to `class[r]`.
///
/// The classes depend neither on the number of threads nor on the other rows, as long as `rng(r)` depends on r alone: a
/// generator of its own seed or stream. A row that nothing can be drawn from has its error for outcome; the other rows are
/// drawn all the same.
///
/// # Errors
/// As [`softmax_rows`](crate::softmax_rows) for logits and classes, [`Error::Parameter`] for the temperature; nothing is
/// written then.
///
/// ```
/// use softmax::{Error, Rows, par_sample_gumbel_rows};
/// let logits = [0.0_f32, 50.0, f32::NAN, 0.0, 90.0, 0.0];
/// let mut class = [Ok(0); 3];
/// let generator = |row| {
///     // Weyl's sequence, from a place of its own for each row, stands for a real generator.
///     let mut state = (row as u64) << 32;
///     move || {
///         state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
///         state
///     }
/// };
/// par_sample_gumbel_rows(&logits, 1.0, generator, &mut class, Rows::new(3, 2))?;
/// assert_eq!((class[0], class[2]), (Ok(1), Ok(0)));
/// assert!(matches!(class[1], Err(Error::Logit { index: 0, .. })));
/// # Ok::<(), softmax::Error>(())
/// ```
pub fn par_sample_gumbel_rows<T: Element<Compute = f32>, R: FnMut() -> u64>(
    logits: &[T],
    temperature: f32,
    rng: impl Fn(usize) -> R + Sync,
    class: &mut [Result<usize, Error>],
    rows: Rows,
) -> Result<(), Error> {
    rows.check_input(logits.len())?;
    rows.check_results("class", class.len(), 1)?;
    check_temperature(temperature)?;
    let isa = Isa::detect();
    let memory = ((Input(logits, rows.x_stride()), First(0)), Results(class, 1));
    share_rows(memory, rows, &|((x, first), class), rows| {
        for r in 0..rows.rows() {
            class.0[r] = isa.sample_gumbel(row(x.0, rows, r), temperature, rng(first.0 + r));
        }
        Ok(())
    })
}
