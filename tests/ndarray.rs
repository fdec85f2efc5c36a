//! Every axis of arrays of every layout, against f64 and against the same rows alone.

use ndarray::{
    Array, Array2, Array3, ArrayD, ArrayView, ArrayViewD, ArrayViewMutD, Axis, Ix3, IxDyn, ShapeBuilder, arr0, array, s,
};
use softmax::Element;
use softmax::ndarray::*;

/// An element type of the tests.
trait Real: Element + std::fmt::Debug {
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
    /// The unit in the last place of a number between 1 and 2, the units that softmax may be off by, and the smallest
    /// normal number.
    const UNIT: (f64, f64, f64);
}
impl Real for f32 {
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
    const UNIT: (f64, f64, f64) = (f32::EPSILON as f64, 8.0, f32::MIN_POSITIVE as f64);
}
impl Real for f64 {
    fn of(x: f64) -> f64 {
        x
    }
    fn wide(self) -> f64 {
        self
    }
    // The reference is no better.
    const UNIT: (f64, f64, f64) = (f64::EPSILON, 64.0, f64::MIN_POSITIVE);
}
#[cfg(feature = "half")]
impl Real for half::bf16 {
    fn of(x: f64) -> Self {
        Self::from_f64(x)
    }
    fn wide(self) -> f64 {
        self.to_f64()
    }
    const UNIT: (f64, f64, f64) = (1.0 / 128.0, 0.51, f32::MIN_POSITIVE as f64);
}
#[cfg(feature = "half")]
impl Real for half::f16 {
    fn of(x: f64) -> Self {
        Self::from_f64(x)
    }
    fn wide(self) -> f64 {
        self.to_f64()
    }
    const UNIT: (f64, f64, f64) = (1.0 / 1024.0, 0.51, 1.0 / 16384.0);
}

fn value(i: usize) -> f64 {
    let hash = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    hash as f64 / (1 << 24) as f64 * 12.0 - 6.0
}

/// A view of `base`, (6, 8, 10) in the standard or in the Fortran layout, by its number; `None` after the last.
fn view<T>(base: &mut Array3<T>, number: usize) -> Option<(&'static str, ArrayViewMutD<'_, T>)> {
    let whole = base.view_mut();
    let (name, view) = match number {
        0 => ("whole", whole),
        1 => ("permuted", whole.permuted_axes([2, 0, 1])),
        2 => ("every second column", whole.slice_move(s![.., .., ..;2])),
        3 => ("a part of each axis", whole.slice_move(s![1..5, 2..7, 3..9])),
        4 => ("planes", whole.slice_move(s![1..3, .., ..])),
        5 => ("first axis backwards", whole.slice_move(s![..;-1, .., ..])),
        6 => ("middle axis backwards", whole.slice_move(s![.., ..;-1, ..])),
        7 => ("last axis backwards", whole.slice_move(s![.., .., ..;-1])),
        8 => ("all backwards, every third", whole.slice_move(s![..;-3, ..;-3, ..;-3])),
        9 => (
            "backwards and permuted",
            whole.slice_move(s![..;-1, .., ..;-1]).permuted_axes([1, 2, 0]),
        ),
        10 => ("one row", whole.slice_move(s![2..3, 3..4, ..])),
        11 => ("one column", whole.slice_move(s![2..3, .., 4..5])),
        12 => ("one element", whole.slice_move(s![2..3, 3..4, 4..5])),
        13 => ("no plane", whole.slice_move(s![0..0, .., ..])),
        14 => ("no column", whole.slice_move(s![.., .., 0..0])),
        15 => return Some(("four axes", whole.insert_axis(Axis(1)).into_dyn())),
        16 => return Some(("two axes", whole.index_axis_move(Axis(1), 3).into_dyn())),
        17 => {
            return Some((
                "one axis",
                whole.index_axis_move(Axis(2), 3).index_axis_move(Axis(0), 1).into_dyn(),
            ));
        }
        _ => return None,
    };
    Some((name, view.into_dyn()))
}

fn base<T: Real>(fortran: bool) -> Array3<T> {
    let mut i = 0;
    Array::from_shape_simple_fn((6, 8, 10).set_f(fortran), || {
        i += 1;
        T::of(value(i))
    })
}

/// All views, in both layouts, of memory of their own.
fn for_each_view<T: Real>(mut f: impl FnMut(&str, ArrayViewMutD<'_, T>)) {
    for fortran in [false, true] {
        for number in 0.. {
            let mut base = base(fortran);
            match view(&mut base, number) {
                Some((name, view)) => f(&format!("{name}, fortran: {fortran}"), view),
                None => break,
            }
        }
    }
}

fn bits<T: Real>(x: ArrayViewD<'_, T>) -> ArrayD<u64> {
    x.map(|x| x.wide().to_bits())
}

/// What a row gives alone.
fn by_rows<T: Real>(x: ArrayViewD<'_, T>, axis: Axis, row: impl Fn(&mut [T])) -> ArrayD<T> {
    let mut y = x.to_owned();
    for mut lane in y.lanes_mut(axis) {
        let mut copy = lane.to_vec();
        row(&mut copy);
        lane.assign(&Array::from_vec(copy));
    }
    y
}

fn every_view<T: Real>() {
    for_each_view::<T>(|name, mut x| {
        let before = x.to_owned();
        for axis in (0..x.ndim()).map(Axis) {
            let what = format!("{name}, axis {}", axis.index());
            type Ops<T> = (
                fn(&mut [T]),
                fn(&ndarray::ArrayRef<T, IxDyn>, Axis) -> Result<ArrayD<T>, Error>,
                fn(&ndarray::ArrayRef<T, IxDyn>, &mut ndarray::ArrayRef<T, IxDyn>, Axis) -> Result<(), Error>,
                fn(&mut ndarray::ArrayRef<T, IxDyn>, Axis) -> Result<(), Error>,
            );
            let operators: [Ops<T>; 2] = [
                (softmax::softmax_in_place, softmax, softmax_into, softmax_in_place),
                (
                    softmax::log_softmax_in_place,
                    log_softmax,
                    log_softmax_into,
                    log_softmax_in_place,
                ),
            ];
            for (row, owned, into, in_place) in operators {
                let expected = by_rows(x.view(), axis, row);
                let y = owned(&x, axis).unwrap();
                assert_eq!(bits(y.view()), bits(expected.view()), "{what}");
                assert_eq!(x, before, "{what}: the input changed");

                // To outputs of all layouts: what is beside the view must not change.
                for_each_view::<T>(|to, mut y| {
                    if y.shape() == x.shape() {
                        into(&x, &mut y, axis).unwrap();
                        assert_eq!(bits(y.view()), bits(expected.view()), "{what}, to {to}");
                    }
                });
                let mut wide = ArrayD::from_elem(IxDyn(&vec![12; x.ndim()]), T::of(99.0));
                let mut part = wide.view_mut();
                for a in 0..x.ndim() {
                    part.slice_axis_inplace(Axis(a), ndarray::Slice::new(1, Some(1 + x.shape()[a] as isize), 1));
                }
                into(&x, &mut part, axis).unwrap();
                assert_eq!(bits(part.view()), bits(expected.view()), "{what}, to a part");
                let untouched = wide.iter().filter(|y| y.wide() == 99.0).count();
                assert_eq!(untouched, wide.len() - x.len(), "{what}");

                in_place(&mut x, axis).unwrap();
                assert_eq!(bits(x.view()), bits(expected.view()), "{what}, in place");
                x.assign(&before);
            }
        }
    });
}

fn against_f64<T: Real>() {
    let (unit, max_ulp, smallest) = T::UNIT;
    for_each_view::<T>(|name, x| {
        for axis in (0..x.ndim()).map(Axis) {
            let y = softmax(&x, axis).unwrap();
            let log = log_softmax(&x, axis).unwrap();
            let sums = logsumexp(&x, axis).unwrap();
            assert_eq!(sums.len() * x.len_of(axis), x.len());
            if x.is_empty() {
                continue;
            }
            let lanes = x
                .lanes(axis)
                .into_iter()
                .zip(y.lanes(axis))
                .zip(log.lanes(axis))
                .zip(&sums);
            for (((x, y), log), &sum) in lanes {
                let max = x.iter().map(|x| x.wide()).fold(f64::NEG_INFINITY, f64::max);
                let lse = max + x.iter().map(|x| (x.wide() - max).exp()).sum::<f64>().ln();
                // Relative: half a unit at the most below the unit of a power of two.
                let near = |a: f64, b: f64, ulps: f64, least: f64| (a - b).abs() <= ulps * unit * b.abs().max(least);
                assert!(
                    near(sum.wide(), lse, max_ulp.max(4.0), 1.0),
                    "{name}: {sum:?} for {lse}"
                );
                for ((&x, &y), &log) in x.iter().zip(y).zip(log) {
                    let expected = x.wide() - lse;
                    assert!(
                        near(log.wide(), expected, max_ulp.max(4.0), 1.0),
                        "{name}: {log:?} for {expected}"
                    );
                    assert!(
                        near(y.wide(), expected.exp(), max_ulp, smallest),
                        "{name}: {y:?}, ln {expected}"
                    );
                }
            }
        }
    });
}

fn logsumexp_of_every_view<T: Real>() {
    for_each_view::<T>(|name, x| {
        for axis in (0..x.ndim()).map(Axis) {
            let alone = x
                .lanes(axis)
                .into_iter()
                .map(|row| softmax::logsumexp(&row.to_vec()[..]));
            let alone: Vec<u64> = alone.map(|y| y.wide().to_bits()).collect();
            let y = logsumexp(&x, axis).unwrap();
            assert_eq!(
                y.iter().map(|y| y.wide().to_bits()).collect::<Vec<_>>(),
                alone,
                "{name}, {axis:?}"
            );

            // To an output whose memory runs the other way.
            let mut out = ArrayD::from_elem(y.raw_dim().f(), T::of(0.0));
            logsumexp_into(&x, &mut out, axis).unwrap();
            assert_eq!(bits(out.view()), bits(y.view()), "{name}, {axis:?}");
            if out.ndim() > 0 {
                out.invert_axis(Axis(0));
                logsumexp_into(&x, &mut out, axis).unwrap();
                assert_eq!(bits(out.view()), bits(y.view()), "{name}, {axis:?}");
            }
        }
    });
}

#[test]
fn f32() {
    every_view::<f32>();
    against_f64::<f32>();
    logsumexp_of_every_view::<f32>();
}

#[test]
fn f64() {
    every_view::<f64>();
    against_f64::<f64>();
    logsumexp_of_every_view::<f64>();
}

#[cfg(feature = "half")]
#[test]
fn halves() {
    every_view::<half::f16>();
    against_f64::<half::f16>();
    every_view::<half::bf16>();
    against_f64::<half::bf16>();
    logsumexp_of_every_view::<half::bf16>();
}

/// A view in which elements share their place.
#[test]
fn broadcast_input() {
    let row = array![1.0_f32, 2.0, 3.0];
    let x = row.broadcast((4, 3)).unwrap();
    let y = softmax(&x, Axis(1)).unwrap();
    assert!(y.rows().into_iter().all(|y| y == softmax(&row, Axis(0)).unwrap()));
    assert_eq!(softmax(&x, Axis(0)).unwrap(), Array2::from_elem((4, 3), 0.25));
    let mut y = Array2::zeros((4, 3).f());
    softmax_into(&x, &mut y, Axis(0)).unwrap();
    assert_eq!(y, Array2::from_elem((4, 3), 0.25));
    let sums = logsumexp(&x.slice(s![..1, ..]), Axis(0)).unwrap();
    assert!((sums - row).iter().all(|error| error.abs() < 1e-6));
}

#[test]
fn special_rows() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let x = array![[0.0, -inf], [nan, 0.0], [inf, 0.0], [-inf, -inf], [1e300, -1e300]];
    for x in [x.clone(), x.t().as_standard_layout().reversed_axes().to_owned()] {
        let y = softmax(&x, Axis(1)).unwrap();
        assert_eq!(y.row(0), array![1.0, 0.0]);
        assert!(y.slice(s![1..4, ..]).iter().all(|y| y.is_nan()));
        assert_eq!(y.row(4), array![1.0, 0.0]);
        let sums = logsumexp(&x, Axis(1)).unwrap();
        assert!(sums[1].is_nan());
        assert_eq!((sums[2], sums[3], sums[4]), (inf, -inf, 1e300));
    }
}

#[test]
fn rows_without_an_element() {
    let x = Array2::<f32>::zeros((3, 0));
    assert_eq!(softmax(&x, Axis(1)).unwrap(), x);
    assert_eq!(logsumexp(&x, Axis(1)).unwrap(), Array::from_elem(3, f32::NEG_INFINITY));
    assert_eq!(logsumexp(&x, Axis(0)).unwrap().len(), 0);
    let mut out = array![1.0_f32, 2.0, 3.0];
    logsumexp_into(&x, &mut out, Axis(1)).unwrap();
    assert_eq!(out, Array::from_elem(3, f32::NEG_INFINITY));
}

#[test]
fn errors_are_values() {
    let x = Array3::<f32>::zeros((2, 3, 4));
    let error = softmax(&x, Axis(3)).unwrap_err();
    assert_eq!(error, Error::Axis { axis: 3, ndim: 3 });
    assert_eq!(error.to_string(), "axis 3 of an array of 3 dimensions");
    assert_eq!(
        softmax(&arr0(1.0_f32), Axis(0)).unwrap_err(),
        Error::Axis { axis: 0, ndim: 0 }
    );
    assert!(logsumexp(&x, Axis(7)).is_err());
    let mut y = Array3::from_elem((2, 4, 3), 9.0);
    let error = softmax_into(&x, &mut y, Axis(0)).unwrap_err();
    assert_eq!(error.to_string(), "output has shape [2, 4, 3], the result [2, 3, 4]");
    assert!(y.iter().all(|&y| y == 9.0));
    let mut out = Array2::from_elem((2, 3), 9.0);
    assert!(logsumexp_into(&x, &mut out, Axis(1)).is_err());
    assert!(logsumexp_into(&x, &mut out, Axis(2)).is_ok());
    assert!(log_softmax_in_place(&mut y, Axis(3)).is_err());
}

/// Views of a slice, as a caller has them who owns no array.
#[test]
fn views_of_slices() {
    let data = [0.0_f32; 24];
    let x: ArrayView<f32, Ix3> = ArrayView::from_shape((2, 3, 4), &data).unwrap();
    assert!(
        softmax(&x, Axis(1))
            .unwrap()
            .iter()
            .all(|y| (y - 1.0 / 3.0).abs() < 1e-7)
    );
}

mod readme {
    include!("common/readme_ndarray.rs");

    #[test]
    fn the_example_runs() -> Result<(), Error> {
        main()
    }

    #[test]
    fn the_readme_shows_it() {
        let example = concat!("```rust,ignore\n", include_str!("common/readme_ndarray.rs"), "```\n");
        assert!(include_str!("../README.md").contains(example));
    }
}
