use ndarray::{Array2, Axis, s};
use softmax::ndarray::{Error, logsumexp, softmax, softmax_in_place};

fn main() -> Result<(), Error> {
    let logits = Array2::from_shape_fn((8, 10), |(i, j)| (i * j) as f32);
    let by_row = softmax(&logits, Axis(1))?; // a new array, along any axis
    assert!((by_row.row(3).sum() - 1.0).abs() < 1e-6);
    assert_eq!(logsumexp(&logits, Axis(0))?.len(), 10);

    let mut scores = logits.clone();
    softmax_in_place(&mut scores.slice_mut(s![.., ..;-2]), Axis(0))?; // a view of any layout
    assert!((scores.column(9).sum() - 1.0).abs() < 1e-6);
    Ok(())
}
