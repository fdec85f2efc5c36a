//! What is needed of a transport.

/// The ranks that share a vocabulary, in the order of their classes.
///
/// Every rank calls the same functions in the same order with slices of one length, and all get the same results.
///
/// An inter-communicator of MPI, whose reductions give each side the data of the other, is none:
///
/// ```compile_fail
/// fn is_a_group<G: softmax_mpi::Group>() {}
/// is_a_group::<mpi::topology::InterCommunicator>();
/// ```
pub trait Group {
    /// Which one this is, from 0 on.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// `global[i]` = max over the ranks of `local[i]`.
    fn all_max(&self, local: &[i32], global: &mut [i32]);

    /// `global[i]` = Σ over the ranks of `local[i]`.
    fn all_sum(&self, local: &[f64], global: &mut [f64]);
}

/// One process that holds the whole vocabulary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alone;

impl Group for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_max(&self, local: &[i32], global: &mut [i32]) {
        global.copy_from_slice(local);
    }

    fn all_sum(&self, local: &[f64], global: &mut [f64]) {
        global.copy_from_slice(local);
    }
}

/// One by one: the trait of all communicators has the inter-communicators, too.
#[cfg(feature = "mpi")]
macro_rules! intra_communicators {
    ($($communicator:ident)*) => {$(
        /// Two calls of `MPI_Allreduce`. An error of MPI itself ends the program, as MPI's default has it.
        impl Group for mpi::topology::$communicator {
            fn rank(&self) -> usize {
                mpi::traits::Communicator::rank(self) as usize
            }

            fn size(&self) -> usize {
                mpi::traits::Communicator::size(self) as usize
            }

            fn all_max(&self, local: &[i32], global: &mut [i32]) {
                use mpi::traits::CommunicatorCollectives;
                self.all_reduce_into(local, global, mpi::collective::SystemOperation::max());
            }

            fn all_sum(&self, local: &[f64], global: &mut [f64]) {
                use mpi::traits::CommunicatorCollectives;
                self.all_reduce_into(local, global, mpi::collective::SystemOperation::sum());
            }
        }
    )*};
}
#[cfg(feature = "mpi")]
intra_communicators!(SimpleCommunicator CartesianCommunicator);
