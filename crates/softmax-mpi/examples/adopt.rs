//! The example of the root's README: `mpirun -n 4 ../target/debug/examples/adopt`.

use softmax::{CrossEntropy, Rows};
use softmax_mpi::{Error, Vocabulary};

fn main() -> Result<(), Error> {
    let universe = mpi::initialize().expect("MPI starts once");
    let (rows, my_classes) = (2, 8000); // each rank holds the next 8000 logits of both rows
    let (layout, logits, labels) = (Rows::new(rows, my_classes), vec![1.0; rows * my_classes], [3, 5]);
    let (mut probabilities, mut loss, mut gradient) = (vec![0.0; logits.len()], [0.0], vec![0.0; logits.len()]);
    let world = universe.world();
    let mut vocabulary = Vocabulary::new(&world, rows, my_classes)?;
    vocabulary.softmax(&logits, &mut probabilities, layout)?;
    vocabulary.cross_entropy(
        &logits,
        &labels,
        &mut loss,
        Some(&mut gradient),
        layout,
        &CrossEntropy::default(),
    )?;
    assert_eq!(probabilities[0], 1.0 / vocabulary.classes() as f32);
    assert!((loss[0] - (vocabulary.classes() as f32).ln()).abs() < 1e-5);
    Ok(())
}
