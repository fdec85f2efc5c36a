//! Every case on the processes of `mpirun`; without it, on one. `run.sh` runs it on 1, 2 and 4.

mod cases;

use softmax_mpi::Group;

fn main() {
    let universe = mpi::initialize().expect("MPI starts once");
    let world = universe.world();
    // A rank that fails ends the others, which would wait for it.
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cases::all(&world))).is_err() {
        mpi::traits::Communicator::abort(&world, 1);
    }
    if world.rank() == 0 {
        println!("test result: ok. 1 passed; 0 failed; on {} processes", world.size());
    }
}
