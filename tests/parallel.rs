//! The `par_*` twins: the bits of one thread, for any number of threads.

use crate::common::element::{TestElement, bits, for_each_element};
use crate::common::inputs::DISTRIBUTIONS;
use crate::common::scale;
use rayon::{ThreadPool, ThreadPoolBuilder};
use softmax::{Error, Rows};

fn pools() -> Vec<ThreadPool> {
    let pool = |threads| ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    [1, 2, 7].map(pool).into()
}

#[test]
fn same_bits_for_any_number_of_threads() {
    for_each_element!(check_rows);
    for_each_element!(check_long_rows);
}

fn check_rows<T: TestElement>() {
    for (r, c, gap) in [
        (300, 1000, 0),
        (1000, 100, 3),
        (20_000, 10, 1),
        (3, 70_001, 0),
        (2, 200_000, 5),
    ] {
        let rows = Rows::new(r, c).with_x_stride(c + gap).with_y_stride(c + 2 * gap);
        let x: Vec<T> = DISTRIBUTIONS[1].row(r * (c + gap), 61);
        let new = |n: usize| vec![T::canary(); n];
        let run = |par: bool| {
            let (mut y, mut log, mut lse) = (new(r * (c + 2 * gap)), new(r * (c + 2 * gap)), new(r));
            let (mut place, mut log_place) = (x.clone(), x.clone());
            let (mut index, mut top, mut prob) = (vec![0; r], vec![0; 3 * r], vec![T::Compute::from_f64(0.0); 3 * r]);
            if par {
                softmax::par_softmax_rows(&x, &mut y, rows)?;
                softmax::par_softmax_rows_in_place(&mut place, rows)?;
                softmax::par_log_softmax_rows(&x, &mut log, rows)?;
                softmax::par_log_softmax_rows_in_place(&mut log_place, rows)?;
                softmax::par_logsumexp_rows(&x, &mut lse, rows)?;
                softmax::par_argmax_rows(&x, &mut index, rows)?;
                softmax::par_top_k_rows(&x, 3, &mut top, &mut prob, rows)?;
            } else {
                softmax::softmax_rows(&x, &mut y, rows)?;
                softmax::softmax_rows_in_place(&mut place, rows)?;
                softmax::log_softmax_rows(&x, &mut log, rows)?;
                softmax::log_softmax_rows_in_place(&mut log_place, rows)?;
                softmax::logsumexp_rows(&x, &mut lse, rows)?;
                softmax::argmax_rows(&x, &mut index, rows)?;
                softmax::top_k_rows(&x, 3, &mut top, &mut prob, rows)?;
            }
            let values = [y, place, log, log_place, lse].map(|v| bits(&v));
            Ok::<_, Error>((values, index, top, bits(&prob)))
        };
        let want = run(false);
        for pool in pools() {
            assert!(pool.install(|| run(true)) == want, "{} {r}x{c}", T::NAME);
        }
    }
}

fn check_long_rows<T: TestElement>() {
    let pools = pools();
    // More than one group of segments; more than two segments; a segment and less.
    let lengths = [4_260_000 / scale(), 200_001, 131_073, 131_072, 70_001, 100, 0];
    for (i, d) in DISTRIBUTIONS.iter().enumerate() {
        for &n in &lengths[usize::from(i % 4 != 1)..] {
            check_long::<T>(&d.row(n, 62), &pools, d.name);
        }
    }
    for special in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3e38] {
        for at in [0, 65_535, 140_000] {
            let mut x: Vec<T> = DISTRIBUTIONS[1].row(140_001, 63);
            x[at] = T::from_f64(special);
            check_long(&x, &pools, "special");
        }
        let all = [T::from_f64(special); 140_001];
        check_long(&all, &pools, "all special");
    }
}

fn check_long<T: TestElement>(x: &[T], pools: &[ThreadPool], what: &str) {
    let run = |par: bool| {
        let (mut y, mut log) = (vec![T::canary(); x.len()], vec![T::canary(); x.len()]);
        let (mut place, mut log_place) = (x.to_vec(), x.to_vec());
        let lse = if par {
            softmax::par_softmax(x, &mut y)?;
            softmax::par_softmax_in_place(&mut place);
            softmax::par_log_softmax(x, &mut log)?;
            softmax::par_log_softmax_in_place(&mut log_place);
            softmax::par_logsumexp(x)
        } else {
            softmax::softmax(x, &mut y)?;
            softmax::softmax_in_place(&mut place);
            softmax::log_softmax(x, &mut log)?;
            softmax::log_softmax_in_place(&mut log_place);
            softmax::logsumexp(x)
        };
        Ok::<_, Error>([y, place, log, log_place, vec![lse]].map(|v| bits(&v)))
    };
    let want = run(false);
    for pool in pools {
        let got = pool.install(|| run(true));
        assert!(
            got == want,
            "{} {what}, n = {}, {} threads",
            T::NAME,
            x.len(),
            pool.current_num_threads()
        );
    }
}

#[test]
fn bad_calls() {
    let (x, mut y) = ([0.0_f32; 10], [7.0_f32; 9]);
    let rows = Rows::new(2, 5);
    let message = softmax::par_softmax_rows(&x, &mut y, rows).unwrap_err().to_string();
    assert_eq!(
        message,
        "output has 9 elements, 2 rows of 5 columns at stride 5 need 10"
    );
    assert!(softmax::par_softmax(&x, &mut y).is_err());
    assert!(softmax::par_log_softmax_rows(&x, &mut y, rows).is_err());
    assert!(softmax::par_softmax_rows_in_place(&mut y, rows).is_err());
    assert!(softmax::par_logsumexp_rows(&x, &mut y[..1], rows).is_err());
    assert!(softmax::par_argmax_rows(&x, &mut [0], rows).is_err());
    assert!(softmax::par_top_k_rows(&x, 6, &mut [0; 12], &mut [0.0; 12], rows).is_err());
    assert_eq!(y, [7.0; 9]);
}
