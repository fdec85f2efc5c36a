//! The operators under test that choose entries of a row, one row each in [`choices`].

use super::element::TestElement;
use super::ops::Outcome;
use super::shape::Shape;
use softmax::{Error, Isa};

type AllRows = Vec<Vec<u64>>;

/// An operator that chooses entries: the chosen indices, then the bits of their probabilities.
pub struct Choice<T: TestElement> {
    pub name: &'static str,
    pub row: fn(Isa, &[T]) -> Result<Vec<u64>, Error>,
    pub detected: fn(&[T]) -> Vec<u64>,
    /// The result of each row.
    pub rows: fn(Isa, &[T], Shape) -> Result<AllRows, Error>,
}

/// How many entries the `top_k` of the list chooses from a row of `n`.
pub fn chosen(n: usize) -> usize {
    n.min(5)
}

/// A new choosing operator is a row here.
pub fn choices<T: TestElement>() -> Vec<Choice<T>> {
    vec![
        Choice {
            name: "argmax",
            row: |isa, x| isa.argmax(x).map(|i| vec![i.map_or(u64::MAX, |i| i as u64)]),
            detected: |x| vec![softmax::argmax(x).map_or(u64::MAX, |i| i as u64)],
            rows: |isa, x, s| pick::<T>(s.rows, 1, |index, _| isa.argmax_rows(x, index, s.rows())).map(|p| p.indices()),
        },
        Choice {
            name: "top_k",
            row: |isa, x| pick::<T>(1, chosen(x.len()), |index, prob| isa.top_k(x, index, prob)).map(|p| p.row(0)),
            detected: |x| {
                let picked = pick::<T>(1, chosen(x.len()), |index, prob| softmax::top_k(x, index, prob));
                picked.expect("k is at most n").row(0)
            },
            rows: |isa, x, s| {
                let k = chosen(s.cols);
                let picked = pick::<T>(s.rows, k, |index, prob| isa.top_k_rows(x, k, index, prob, s.rows()))?;
                Ok((0..s.rows).map(|r| picked.row(r)).collect())
            },
        },
    ]
}

/// Indices and probabilities of some rows.
#[derive(Debug, PartialEq)]
pub struct Picked<T: TestElement> {
    pub k: usize,
    pub index: Vec<usize>,
    pub prob: Vec<T::Probability>,
}

impl<T: TestElement> Picked<T> {
    fn row(&self, r: usize) -> Vec<u64> {
        let range = r * self.k..(r + 1) * self.k;
        let prob = self.prob[range.clone()].iter().map(|p| p.bits());
        self.index[range]
            .iter()
            .map(|&i| if i == usize::MAX { u64::MAX } else { i as u64 })
            .chain(prob)
            .collect()
    }

    fn indices(&self) -> Vec<Vec<u64>> {
        self.index
            .iter()
            .map(|&i| vec![if i == usize::MAX { u64::MAX } else { i as u64 }])
            .collect()
    }
}

/// Lends a choosing operator room for `rows · k` answers, and panics if it wrote beside it.
pub fn pick<T: TestElement>(
    rows: usize,
    k: usize,
    call: impl FnOnce(&mut [usize], &mut [T::Probability]) -> Outcome,
) -> Result<Picked<T>, Error> {
    const MARGIN: usize = 40;
    const CANARY: usize = 0xC0FFEE;
    let n = rows * k;
    let mut index = vec![CANARY; n + 2 * MARGIN];
    let mut prob = vec![T::Probability::canary(); n + 2 * MARGIN];
    call(&mut index[MARGIN..][..n], &mut prob[MARGIN..][..n])?;
    let (picked, probabilities) = (index.split_off(MARGIN), prob.split_off(MARGIN));
    assert!(
        index.iter().chain(&picked[n..]).all(|&i| i == CANARY),
        "wrote beside the indices"
    );
    let canary = |p: &T::Probability| p.bits() == T::Probability::canary().bits();
    assert!(
        prob.iter().chain(&probabilities[n..]).all(canary),
        "wrote beside the probabilities"
    );
    Ok(Picked {
        k,
        index: picked[..n].to_vec(),
        prob: probabilities[..n].to_vec(),
    })
}
