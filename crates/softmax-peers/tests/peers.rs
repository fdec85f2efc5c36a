//! Every peer gives a right softmax on small shapes, in every task that it offers.
//!
//! A peer that is absent is named; if `SOFTMAX_REQUIRE_PEERS` lists it, the test fails.

use clap::ValueEnum;
use softmax_peers::data::Data;
use softmax_peers::peer::{Context, Entry, Role};
use softmax_peers::peers;
use softmax_peers::reference::Reference;
use softmax_peers::task::{Cap, Dtype, Op, Place, Shape, Task};

/// Short and long rows, odd widths, fewer rows than threads, one element.
const SHAPES: [(usize, usize); 7] = [(1, 1), (1, 1000), (2, 7), (5, 8), (7, 33), (64, 128), (3, 4097)];

#[test]
fn one_thread() {
    check_all(1);
}

#[test]
fn two_threads() {
    check_all(2);
}

fn check_all(threads: usize) {
    let context = Context::new(Cap::Native, threads).unwrap();
    let required = std::env::var("SOFTMAX_REQUIRE_PEERS").unwrap_or_default();
    for Entry { name, peer } in peers::open(&context, |_| true) {
        let peer = match peer {
            Ok(peer) => peer,
            Err(reason) => {
                assert!(
                    !required.split(',').any(|required| required == name),
                    "absent: {name} ({reason})"
                );
                eprintln!("absent: {name} ({reason})");
                continue;
            }
        };
        assert_eq!(peer.name(), name);
        assert!(!peer.version().is_empty());
        let mut offered = Vec::new();
        for task in tasks() {
            let mut data = Data::new(&task);
            let Ok(mut kernel) = peer.prepare(&task, &data) else {
                continue;
            };
            let reference = Reference::new(&task, &data);
            // Twice: the second call finds everything in place, and must not depend on the first.
            for _ in 0..2 {
                data.refill(task.place);
                data.poison(task.place);
                data.each(task.place, |io| kernel.run(io));
            }
            data.each(task.place, |io| kernel.collect(io));
            // Some compute halves in the half type, and are wrong on long rows: theirs to mend, and the tables say so.
            if peer.role() != Role::Ceiling && (task.dtype == Dtype::F32 || task.shape.cols <= 128) {
                let accuracy = reference.compare(&data);
                assert!(accuracy.is_right(), "{name} {task:?}: {accuracy:?}");
                // Halves: XNNPACK flushes subnormal results.
                let limit = if task.dtype == Dtype::F32 { 100.0 } else { 1000.0 };
                assert!(accuracy.max_ulp < limit, "{name} {task:?}: {accuracy:?}");
            }
            offered.push((task.op, task.dtype, task.place));
        }
        offered.dedup();
        eprintln!("{name}: {offered:?}");
        assert!(offered.contains(&(Op::Softmax, Dtype::F32, Place::Out)), "{name}");
    }
}

fn tasks() -> impl Iterator<Item = Task> {
    let shapes = SHAPES.map(|(rows, cols)| Shape::new(rows, cols));
    Op::value_variants().iter().flat_map(move |&op| {
        Dtype::value_variants().iter().flat_map(move |&dtype| {
            let places = Place::value_variants().iter();
            places.flat_map(move |&place| {
                shapes.map(|shape| Task {
                    op,
                    dtype,
                    place,
                    shape,
                })
            })
        })
    })
}
