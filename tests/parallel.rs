//! The `par_*` twins: the bits of one thread, for any number of threads.

use crate::common::element::{TestElement, bits, for_each_element, for_each_element_of_f32};
use crate::common::inputs::{self, DISTRIBUTIONS, rows_of};
use crate::common::thinned;
use rand::RngExt;
use rayon::{ThreadPool, ThreadPoolBuilder};
use softmax::{
    Axis, BackwardRows, Broadcast, CrossEntropy, Element, Error, FullyMasked, Isa, Mask, Reduction, Rows, Sampler,
    split_rows,
};
use std::fmt::Debug;

mod long;

fn pools() -> Vec<ThreadPool> {
    let pool = |threads| ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    [1, 2, 7].map(pool).into()
}

/// Runs the operator (`false`) and its twin (`true`), which must do the same for any number of threads.
fn same<R: PartialEq + Send>(what: &str, run: impl Fn(bool) -> R + Sync) {
    let want = run(false);
    for pool in pools() {
        let threads = pool.current_num_threads();
        assert!(pool.install(|| run(true)) == want, "{what}, {threads} threads");
    }
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
    let longest = DISTRIBUTIONS.iter().skip(1).step_by(4).map(|d| (d, 4_260_000));
    for (d, n) in rows_of([200_001, 131_073, 131_072, 70_001, 100, 0]).chain(thinned(longest)) {
        check_long::<T>(&d.row(n, 62), &pools, d.name);
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

/// Heads of queries over keys, with every kind of mask that depends on the row.
#[test]
fn masked_rows() {
    for_each_element!(check_masked);
}

fn check_masked<T: TestElement>() {
    let (heads, queries) = (6, 41);
    for (cols, gap) in [(700, 0), (333, 5), (9, 1)] {
        let r = heads * queries;
        let rows = Rows::new(r, cols)
            .with_x_stride(cols + gap)
            .with_y_stride(cols + 2 * gap);
        let x: Vec<T> = DISTRIBUTIONS[1].row(r * (cols + gap), 71);
        let bias: Vec<f32> = DISTRIBUTIONS[0].row(queries * cols, 72);
        let (lengths, sinks): (Vec<usize>, Vec<f32>) = (0..r).map(|i| (i * 37 % (cols + 1), i as f32 / 50.0)).unzip();
        let keep: Vec<bool> = (0..r * cols).map(|i| i % 7 != 0).collect();
        let keep_bits: Vec<u8> = (0..queries * cols.div_ceil(8)).map(|i| (i * 91) as u8).collect();
        let plain = Mask::<T>::new().with_scale(T::Compute::from_f64(0.125));
        let masks = [
            plain,
            plain
                .with_causal(cols as isize - queries as isize)
                .with_queries(queries),
            plain.with_causal(-3).with_fully_masked(FullyMasked::Nan),
            plain.with_additive(&bias, Broadcast::rows(cols).cycle(queries)),
            plain
                .with_causal(5)
                .with_window(9)
                .with_sinks(&sinks, Broadcast::rows(1)),
            plain.with_sinks(&sinks, Broadcast::rows(1).every(queries).cycle(heads)),
            plain.with_lengths(&lengths, Broadcast::rows(1)),
            plain.with_keep(&keep, Broadcast::rows(cols)),
            plain.with_keep_bits(&keep_bits, Broadcast::rows(cols.div_ceil(8)).cycle(queries)),
        ];
        for (m, mask) in masks.iter().enumerate() {
            let run = |par: bool| {
                let new = || vec![T::canary(); r * (cols + 2 * gap)];
                let (mut y, mut log, mut place, mut log_place) = (new(), new(), x.clone(), x.clone());
                if par {
                    softmax::par_masked_softmax(&x, &mut y, rows, mask)?;
                    softmax::par_masked_log_softmax(&x, &mut log, rows, mask)?;
                    softmax::par_masked_softmax_in_place(&mut place, rows, mask)?;
                    softmax::par_masked_log_softmax_in_place(&mut log_place, rows, mask)?;
                } else {
                    softmax::masked_softmax(&x, &mut y, rows, mask)?;
                    softmax::masked_log_softmax(&x, &mut log, rows, mask)?;
                    softmax::masked_softmax_in_place(&mut place, rows, mask)?;
                    softmax::masked_log_softmax_in_place(&mut log_place, rows, mask)?;
                }
                Ok::<_, Error>([y, log, place, log_place].map(|v| bits(&v)))
            };
            assert!(run(false).is_ok());
            same(&format!("{} mask {m}, {r}x{cols}", T::NAME), run);
            // By hand, as an engine with a pool of its own does.
            for cut in [0, 1, queries + 3, r] {
                let (mut y, mut whole) = (vec![T::canary(); r * (cols + 2 * gap)], Vec::new());
                whole.clone_from(&y);
                softmax::masked_softmax(&x, &mut whole, rows, mask).expect("valid");
                let [(x0, y0, rows0), (x1, y1, rows1)] = split_rows(&x, &mut y, rows, cut).expect("valid");
                softmax::masked_softmax(x0, y0, rows0, mask).expect("the first part");
                softmax::masked_softmax(x1, y1, rows1, &mask.with_first_row(cut)).expect("the rest");
                assert!(bits(&y) == bits(&whole), "{} mask {m}, cut at {cut}", T::NAME);
            }
        }
    }
}

#[test]
fn first_row_of_a_mask() {
    let (x, lengths) = ([0.0_f32; 4], [2, 2, 2, 3]);
    let rows = Rows::new(2, 2);
    let error = |mask: Mask<f32>| {
        let mut y = [7.0; 4];
        let error = softmax::masked_softmax(&x, &mut y, rows, &mask).expect_err("a bad mask");
        assert_eq!(y, [7.0; 4]);
        error.to_string()
    };
    let mask = Mask::new().with_lengths(&lengths, Broadcast::rows(1));
    assert_eq!(
        error(mask.with_first_row(2)),
        "row 1 has 3 valid columns of 2",
        "the row of the call"
    );
    assert_eq!(
        error(mask.with_first_row(3)),
        "lengths has 4 elements, 5 rows of 1 columns at stride 1 need 5"
    );
    let far = error(Mask::new().with_first_row(usize::MAX));
    assert!(
        far.starts_with("the first row of the mask is 18446744073709552000,"),
        "{far}"
    );
    let mut y = [7.0; 4];
    let last = Mask::new().with_causal(0).with_first_row(usize::MAX - 2);
    softmax::masked_softmax(&x, &mut y, rows, &last).expect("it sees every column");
    assert_eq!(y, [0.5; 4]);
}

#[test]
fn ragged_rows() {
    for_each_element!(check_ragged);
}

fn check_ragged<T: TestElement>() {
    let mut rng = inputs::rng(81);
    let mut random = |rows: usize, longest: usize| -> Vec<usize> {
        let mut end = 3;
        (0..=rows)
            .map(|_| {
                end += rng.random_range(0..=longest);
                end
            })
            .collect()
    };
    let mut all = vec![
        vec![],
        vec![5],
        vec![2, 2],
        vec![1; 1000],
        vec![7, 200_000],
        random(30_000, 12),
        random(300, 2000),
    ];
    // One row has most of the elements: at the beginning, in the middle and at the end; empty rows around it.
    for at in [0, 40, 99] {
        let mut end = 1;
        let offsets = (0..=100).map(|r| {
            let start = end;
            end += if r == at { 140_000 } else { r % 3 * 200 };
            start
        });
        all.push(offsets.collect());
    }
    for offsets in &all {
        let end = offsets.last().map_or(4, |&end| end + 2);
        let x: Vec<T> = DISTRIBUTIONS[1].row(end, 82);
        same(&format!("{} {} offsets", T::NAME, offsets.len()), |par| {
            let new = |n| vec![T::canary(); n];
            let (mut y, mut log, mut lse) = (new(end), new(end), new(offsets.len() + 1));
            let (mut place, mut log_place) = (x.clone(), x.clone());
            let outcome = if par {
                softmax::par_softmax_ragged(&x, &mut y, offsets)
                    .and(softmax::par_log_softmax_ragged(&x, &mut log, offsets))
                    .and(softmax::par_logsumexp_ragged(&x, &mut lse, offsets))
                    .and(softmax::par_softmax_ragged_in_place(&mut place, offsets))
                    .and(softmax::par_log_softmax_ragged_in_place(&mut log_place, offsets))
            } else {
                softmax::softmax_ragged(&x, &mut y, offsets)
                    .and(softmax::log_softmax_ragged(&x, &mut log, offsets))
                    .and(softmax::logsumexp_ragged(&x, &mut lse, offsets))
                    .and(softmax::softmax_ragged_in_place(&mut place, offsets))
                    .and(softmax::log_softmax_ragged_in_place(&mut log_place, offsets))
            };
            outcome.expect("the offsets are valid");
            [y, log, lse, place, log_place].map(|v| bits(&v))
        });
    }
}

#[test]
fn any_axis() {
    for_each_element!(check_axis);
}

fn check_axis<T: TestElement>() {
    let tensors = [
        (1, 100, 3001),
        (1, 3000, 70),
        (1, 2, 70_000),
        (1, 70_000, 3),
        (2, 500, 200),
        (3, 1000, 130),
        (300, 20, 33),
        (9, 65, 1),
        (1, 200_000, 1),
        (0, 5, 7),
        (3, 0, 7),
        (3, 5, 0),
    ];
    for (outer, len, inner) in tensors {
        let (axis, n) = (Axis::new(outer, len, inner), outer * len * inner);
        let mut x: Vec<T> = DISTRIBUTIONS[1].row(n + 3, 91);
        // Special rows keep to their columns.
        for (at, value) in [(n / 2, f64::NAN), (n / 3, f64::INFINITY), (n / 5, f64::NEG_INFINITY)] {
            x[at] = T::from_f64(value);
        }
        same(&format!("{} {axis:?}", T::NAME), |par| {
            let new = |n| vec![T::canary(); n];
            let (mut y, mut log, mut lse) = (new(n + 3), new(n + 3), new(outer * inner + 3));
            let (mut place, mut log_place) = (x.clone(), x.clone());
            let outcome = if par {
                softmax::par_softmax_axis(&x, &mut y, axis)
                    .and(softmax::par_log_softmax_axis(&x, &mut log, axis))
                    .and(softmax::par_logsumexp_axis(&x, &mut lse, axis))
                    .and(softmax::par_softmax_axis_in_place(&mut place, axis))
                    .and(softmax::par_log_softmax_axis_in_place(&mut log_place, axis))
            } else {
                softmax::softmax_axis(&x, &mut y, axis)
                    .and(softmax::log_softmax_axis(&x, &mut log, axis))
                    .and(softmax::logsumexp_axis(&x, &mut lse, axis))
                    .and(softmax::softmax_axis_in_place(&mut place, axis))
                    .and(softmax::log_softmax_axis_in_place(&mut log_place, axis))
            };
            outcome.expect("the tensor is there");
            [y, log, lse, place, log_place].map(|v| bits(&v))
        });
    }
}

#[test]
fn gradients() {
    for_each_element!(check_gradients);
}

fn check_gradients<T: TestElement>() {
    for (r, c, gap) in [
        (300, 700, 0),
        (20_000, 10, 3),
        (3, 70_001, 1),
        (1, 150_000, 0),
        (0, 4, 0),
    ] {
        let (y_stride, dy_stride, dx_stride) = (c + gap, c + 2 * gap, c + 3 * gap);
        let rows = BackwardRows::new(r, c)
            .with_y_stride(y_stride)
            .with_dy_stride(dy_stride)
            .with_dx_stride(dx_stride);
        let mut y: Vec<T> = vec![T::canary(); r * y_stride];
        let x: Vec<T> = DISTRIBUTIONS[1].row(r * y_stride, 95);
        softmax::softmax_rows(
            &x,
            &mut y,
            Rows::new(r, c).with_x_stride(y_stride).with_y_stride(y_stride),
        )
        .expect("y");
        let dy: Vec<T> = DISTRIBUTIONS[0].row(r * dy_stride, 96);
        same(&format!("{} {r}x{c}", T::NAME), |par| {
            let new = || vec![T::canary(); r * dx_stride];
            let (mut dx, mut log, mut place, mut log_place) = (new(), new(), dy.clone(), dy.clone());
            let outcome = if par {
                softmax::par_softmax_backward_rows(&y, &dy, &mut dx, rows)
                    .and(softmax::par_log_softmax_backward_rows(&x, &dy, &mut log, rows))
                    .and(softmax::par_softmax_backward_rows_in_place(&y, &mut place, rows))
                    .and(softmax::par_log_softmax_backward_rows_in_place(
                        &x,
                        &mut log_place,
                        rows,
                    ))
            } else {
                softmax::softmax_backward_rows(&y, &dy, &mut dx, rows)
                    .and(softmax::log_softmax_backward_rows(&x, &dy, &mut log, rows))
                    .and(softmax::softmax_backward_rows_in_place(&y, &mut place, rows))
                    .and(softmax::log_softmax_backward_rows_in_place(&x, &mut log_place, rows))
            };
            outcome.expect("the slices hold the rows");
            [dx, log, place, log_place].map(|v| bits(&v))
        });
    }
}

#[test]
fn losses() {
    for_each_element!(check_losses);
}

fn check_losses<T: TestElement>() {
    for (r, c, gap) in [
        (700, 300, 0),
        (20_001, 7, 2),
        (5, 40_000, 1),
        (1, 150_000, 0),
        (0, 4, 0),
        (9, 0, 0),
    ] {
        let rows = Rows::new(r, c).with_x_stride(c + gap).with_y_stride(c + 2 * gap);
        let x: Vec<T> = DISTRIBUTIONS[1].row(r * (c + gap), 97);
        let labels: Vec<i64> = (0..r)
            .map(|i| {
                if i % 5 == 0 || c == 0 {
                    -100
                } else {
                    (i * 31 % c) as i64
                }
            })
            .collect();
        let weights: Vec<f32> = (0..c).map(|i| (i % 8) as f32 * 0.375).collect();
        for reduction in [Reduction::None, Reduction::Mean, Reduction::Sum] {
            for (label_smoothing, class_weights) in [(0.0, None), (0.1, Some(&weights[..]))] {
                let params = CrossEntropy {
                    label_smoothing,
                    class_weights,
                    reduction,
                    ..CrossEntropy::default()
                };
                same(&format!("{} {r}x{c} {reduction:?}", T::NAME), |par| {
                    let losses = if reduction == Reduction::None { r } else { 1 };
                    let mut loss = vec![T::Probability::canary(); losses + 1];
                    let (mut alone, mut dx) = (loss.clone(), vec![T::canary(); r * (c + 2 * gap)]);
                    let call = if par {
                        softmax::par_cross_entropy
                    } else {
                        softmax::cross_entropy
                    };
                    call(&x, &labels, &mut loss[..], Some(&mut dx), rows, &params).expect("the slices hold the rows");
                    call(&x, &labels, &mut alone[..], None, rows, &params).expect("the slices hold the rows");
                    (bits(&loss), bits(&alone), bits(&dx))
                });
            }
        }
    }
}

#[test]
fn exps() {
    check_exp::<f32>();
    check_exp::<f64>();
}

fn check_exp<T: TestElement<Probability = T> + softmax::Float>() {
    for n in [0, 1, 1000, 65_536, 300_007] {
        let x: Vec<T> = DISTRIBUTIONS[2].row(n, 98);
        same(&format!("{} exp of {n}", T::NAME), |par| {
            let mut y = vec![T::canary(); n];
            if par {
                softmax::par_exp(&x, &mut y)
            } else {
                softmax::exp(&x, &mut y)
            }
            .expect("one length");
            bits(&y)
        });
        same(&format!("{} exp of {n}, in place", T::NAME), |par| {
            let mut y = x.clone();
            if par {
                softmax::par_exp_in_place(&mut y);
            } else {
                softmax::exp_in_place(&mut y);
            }
            bits(&y)
        });
    }
}

#[test]
fn draws() {
    for_each_element_of_f32!(check_draws);
}

fn check_draws<T: TestElement<Probability = f32> + Element<Compute = f32>>() {
    let (r, c, gap) = (150, 1001, 4);
    let rows = Rows::new(r, c).with_x_stride(c + gap);
    let mut x: Vec<T> = DISTRIBUTIONS[1].row(r * (c + gap), 99);
    x[70 * (c + gap) + 5] = T::from_f64(f64::NAN);
    let mut rng = inputs::rng(100);
    let random: Vec<u64> = (0..r).map(|_| rng.random()).collect();
    let (temperature, all) = (0.7, Sampler::default());
    for sampler in [
        all,
        Sampler {
            temperature: 0.0,
            ..all
        },
        Sampler {
            temperature,
            top_k: 40,
            ..all
        },
        Sampler {
            temperature,
            top_p: 0.9,
            min_p: 0.01,
            ..all
        },
    ] {
        let per_row = sampler.workspace_len(c);
        same(&format!("{} {sampler:?}", T::NAME), |par| {
            let mut workspace = vec![(0.0, 0); r * per_row];
            let mut class = vec![Ok(usize::MAX); r];
            if par {
                sampler
                    .par_sample_rows(&x, &random, &mut workspace, &mut class, rows)
                    .expect("the slices hold the rows");
            } else {
                for (row, class) in class.iter_mut().enumerate() {
                    *class = sampler.sample(&x[row * (c + gap)..][..c], &mut workspace, || random[row]);
                }
            }
            assert!(
                class
                    .iter()
                    .enumerate()
                    .all(|(row, class)| class.is_err() == (row == 70))
            );
            class
        });
    }
}

#[test]
fn gumbel_draws() {
    for_each_element_of_f32!(check_gumbel_draws);
}

fn check_gumbel_draws<T: TestElement<Probability = f32> + Element<Compute = f32>>() {
    for (r, c, gap) in [(150, 1001, 4), (1, 70_000, 0), (0, 5, 0)] {
        let rows = Rows::new(r, c).with_x_stride(c + gap);
        let mut x: Vec<T> = DISTRIBUTIONS[1].row(r * (c + gap), 102);
        if r > 70 {
            x[70 * (c + gap) + 5] = T::from_f64(f64::NAN);
        }
        for temperature in [0.0, 0.7] {
            let generator = |row: usize| {
                let mut rng = inputs::rng(103 + row as u64);
                move || rng.random()
            };
            same(&format!("{} Gumbel {r}x{c} at {temperature}", T::NAME), |par| {
                let mut class = vec![Ok(usize::MAX); r + 1];
                if par {
                    softmax::par_sample_gumbel_rows(&x, temperature, generator, &mut class, rows)
                        .expect("the slices hold the rows");
                } else {
                    for (row, class) in class[..r].iter_mut().enumerate() {
                        *class = softmax::sample_gumbel(&x[row * (c + gap)..][..c], temperature, generator(row));
                    }
                }
                assert!((0..r).all(|row| class[row].is_err() == (row == 70)));
                assert_eq!(class[r], Ok(usize::MAX), "wrote behind the results");
                class
            });
        }
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
    assert!(softmax::par_exp(&x, &mut y).is_err());
    assert_eq!(y, [7.0; 9]);
}

/// Each twin refuses what its operator refuses, with the same error, and writes nothing.
#[test]
fn errors_before_writes() {
    fn same_error<O: PartialEq + Debug + Clone>(
        out: &[O],
        one: impl Fn(&mut [O]) -> Result<(), Error>,
        twin: impl Fn(&mut [O]) -> Result<(), Error>,
    ) {
        let mut written = out.to_vec();
        let error = one(&mut written).expect_err("a bad call");
        assert_eq!(twin(&mut written), Err(error));
        assert_eq!(written, out);
    }
    // Enough for several tasks, were it valid.
    let (r, c) = (40, 5000);
    let (x, y, rows) = (vec![0.5_f32; r * c], vec![7.0_f32; r * c], Rows::new(r, c));
    let lengths = {
        let mut lengths = vec![c; r];
        lengths[r - 1] = c + 1;
        lengths
    };
    for mask in [
        Mask::new().with_lengths(&lengths, Broadcast::rows(1)),
        Mask::new().with_lengths(&lengths[1..], Broadcast::rows(1)),
        Mask::new().with_scale(f32::NAN),
    ] {
        same_error(
            &y,
            |y| softmax::masked_softmax(&x, y, rows, &mask),
            |y| softmax::par_masked_softmax(&x, y, rows, &mask),
        );
        same_error(
            &y,
            |y| softmax::masked_log_softmax_in_place(y, rows, &mask),
            |y| softmax::par_masked_log_softmax_in_place(y, rows, &mask),
        );
    }
    let mut offsets: Vec<usize> = (0..=r).map(|i| i * c).collect();
    offsets[r] += 1;
    same_error(
        &y,
        |y| softmax::softmax_ragged(&x, y, &offsets),
        |y| softmax::par_softmax_ragged(&x, y, &offsets),
    );
    offsets[r] = 5;
    same_error(
        &y,
        |y| softmax::log_softmax_ragged_in_place(y, &offsets),
        |y| softmax::par_log_softmax_ragged_in_place(y, &offsets),
    );
    same_error(
        &y[2..r],
        |y| softmax::logsumexp_ragged(&x, y, &offsets[..r]),
        |y| softmax::par_logsumexp_ragged(&x, y, &offsets[..r]),
    );
    for axis in [
        Axis::new(r, c / 4, 5),
        Axis::new(1, usize::MAX, 2),
        Axis::new(usize::MAX, usize::MAX, 2),
    ] {
        same_error(
            &y,
            |y| softmax::softmax_axis(&x, y, axis),
            |y| softmax::par_softmax_axis(&x, y, axis),
        );
        same_error(
            &y,
            |y| softmax::log_softmax_axis_in_place(y, axis),
            |y| softmax::par_log_softmax_axis_in_place(y, axis),
        );
        same_error(
            &y,
            |y| softmax::logsumexp_axis(&x, y, axis),
            |y| softmax::par_logsumexp_axis(&x, y, axis),
        );
    }
    for back in [
        BackwardRows::new(r, c + 1),
        BackwardRows::new(r, c).with_dx_stride(c + 1),
    ] {
        same_error(
            &y,
            |dx| softmax::softmax_backward_rows(&x, &x, dx, back),
            |dx| softmax::par_softmax_backward_rows(&x, &x, dx, back),
        );
    }
    let back = BackwardRows::new(r, c).with_y_stride(c - 1);
    same_error(
        &y,
        |dy| softmax::log_softmax_backward_rows_in_place(&x, dy, back),
        |dy| softmax::par_log_softmax_backward_rows_in_place(&x, dy, back),
    );
    let mut labels = vec![0_i64; r];
    labels[r - 1] = c as i64;
    let params = CrossEntropy::default();
    same_error(
        &y,
        |dx| softmax::cross_entropy(&x, &labels, &mut [0.0], Some(dx), rows, &params),
        |dx| softmax::par_cross_entropy(&x, &labels, &mut [0.0], Some(dx), rows, &params),
    );
    let (class, random) = ([Ok(3); 40], [0; 40]);
    let draw = |sampler: Sampler, random: &[u64], workspace: usize, rows: Rows| {
        let mut written = class;
        let error = sampler
            .par_sample_rows(&x, random, &mut vec![(0.0, 0); workspace], &mut written, rows)
            .expect_err("a bad call");
        assert_eq!(written, class);
        error.to_string()
    };
    let nucleus = Sampler {
        top_p: 0.5,
        ..Sampler::default()
    };
    assert_eq!(
        draw(nucleus, &random, r * c - 1, rows),
        "the workspace has 199999 entries and needs 200000"
    );
    assert!(draw(Sampler { top_p: 2.0, ..nucleus }, &random, r * c, rows).starts_with("top_p"));
    assert!(draw(nucleus, &random[1..], r * c, rows).starts_with("random"));
    assert!(draw(nucleus, &random, r * c, Rows::new(41, c)).starts_with("input"));
    assert!(draw(nucleus, &random, r * c, Rows::new(41, 10)).starts_with("random"));
    let gumbel = |temperature: f32, rows: Rows| {
        let mut written = class;
        let generator = |_| || -> u64 { unreachable!("a number is drawn") };
        let error = softmax::par_sample_gumbel_rows(&x, temperature, generator, &mut written, rows);
        assert_eq!(written, class);
        error.expect_err("a bad call").to_string()
    };
    assert!(gumbel(-1.0, rows).starts_with("temperature"));
    assert!(gumbel(1.0, Rows::new(41, c)).starts_with("input"));
    assert!(gumbel(1.0, Rows::new(41, 10)).starts_with("class"));
}

#[test]
fn draws_from_rows_without_columns() {
    let (mut class, rows) = ([Ok(0); 3], Rows::new(3, 0).with_x_stride(1));
    softmax::par_sample_gumbel_rows::<f32, _>(&[], 1.0, |_| || 0, &mut class, rows).expect("an empty layout");
    assert_eq!(class, [Err(Error::NoChoice { len: 0 }); 3]);
    let sampler = Sampler::default();
    class = [Ok(0); 3];
    let drawn = sampler.par_sample_rows::<f32>(&[], &[0; 3], &mut [], &mut class, rows);
    drawn.expect("an empty layout");
    assert_eq!(class, [Err(Error::NoChoice { len: 0 }); 3]);
}

/// A sum of losses is one of halves, whatever the ISA.
#[test]
fn a_sum_of_losses_does_not_depend_on_the_isa() {
    let (r, c) = (3000, 11);
    let (x, labels): (Vec<f64>, Vec<i64>) = (
        DISTRIBUTIONS[1].row(r * c, 101),
        (0..r).map(|i| i as i64 % 11).collect(),
    );
    let params = CrossEntropy::default();
    let run = |isa: Isa| {
        let mut loss = [0.0];
        isa.cross_entropy(&x, &labels, &mut loss, None, Rows::new(r, c), &params)
            .expect("valid");
        loss[0].to_bits()
    };
    let losses: Vec<u64> = crate::common::exact_isas().map(run).collect();
    assert!(losses.windows(2).all(|pair| pair[0] == pair[1]), "{losses:x?}");
}
