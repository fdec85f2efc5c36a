//! The same bits on every backend but `portable`, which has its own, and in every form of call on each backend: any
//! alignment, in place or not, alone or in a batch at any position and stride, initialised or not, and with the
//! host's flush-to-zero and denormals-are-zero flags set.

use crate::common::element::{TestElement, bits, for_each_element};
use crate::common::forms::{Subject, subjects};
use crate::common::inputs::{DISTRIBUTIONS, Distribution, lengths, rows_of};
use crate::common::{child, exact_isas, is_emulated, isas, longest, scale, thinned};
use softmax::Isa;

#[test]
fn same_bits_on_every_backend() {
    for_each_element!(check_backends);
}

/// The plain form, at all lengths: the scalar backend is the reference.
fn check_backends<T: TestElement>() {
    let subjects = subjects::<T>();
    let long = DISTRIBUTIONS.iter().skip(1).step_by(5);
    let long = long.flat_map(|d| lengths(1 << 20).filter(|&n| n > 5000).map(move |n| (d, n)));
    for (d, n) in rows_of(lengths(5000).skip(1)).chain(thinned(long)) {
        let x: Vec<T> = d.row(n, 51);
        for Subject { name, forms } in &subjects {
            let on = |isa| (forms[0].run)(isa, &x);
            let want = (n <= longest(Isa::Scalar, 1 << 18)).then(|| on(Isa::Scalar)).flatten();
            let mut want = want.map(|bits| (Isa::Scalar, bits));
            for isa in exact_isas().filter(|&isa| isa != Isa::Scalar) {
                let got = on(isa).expect("the plain form always applies");
                match &want {
                    Some((other, want)) => assert_same(want, &got, &format!("{name} on {other} and {isa}"), d, n),
                    None => want = Some((isa, got)),
                }
            }
        }
    }
}

#[test]
fn same_bits_in_every_form() {
    for_each_element!(check_forms);
}

fn check_forms<T: TestElement>() {
    let subjects = subjects::<T>();
    let lengths = [
        1, 2, 3, 5, 8, 15, 16, 17, 24, 31, 32, 33, 47, 64, 65, 96, 100, 127, 128, 129, 160, 255, 256, 257,
    ];
    let long = [511, 512, 513, 1000, 1024, 4099];
    // Each distribution takes its share of the lengths.
    let shares = DISTRIBUTIONS.iter().step_by(3).enumerate();
    let rows = shares.flat_map(|(i, d)| {
        let lengths = lengths.into_iter().skip(i % 3).step_by(3);
        lengths
            .chain(long.into_iter().skip(i % 3).step_by(3))
            .map(move |n| (d, n))
    });
    // More than one segment of the sum, and than any cache block.
    let longest = [70_001, 65_536, 65_537].map(|n| (&DISTRIBUTIONS[1], n));
    let rows = rows.chain(longest).filter(|&(_, n)| !is_emulated() || n < 200);
    for (d, n) in thinned(rows) {
        check_row(&subjects, &d.row(n, 53), d);
    }
}

fn check_row<T: TestElement>(subjects: &[Subject<T>], x: &[T], d: &Distribution) {
    for Subject { name, forms } in subjects {
        for &isa in isas() {
            let want = (forms[0].run)(isa, x).expect("the plain form always applies");
            let step = match x.len() {
                ..600 => 1,
                _ if isa == Isa::Scalar => 13,
                600..9999 => 1,
                _ => 4,
            };
            let forms = forms[1..].iter().step_by(step);
            for form in forms {
                if let Some(got) = (form.run)(isa, x) {
                    assert_same(&want, &got, &format!("{name} on {isa}, {}", form.name), d, x.len());
                }
            }
        }
    }
}

/// A long row in place is stored over before its guess is known to hold: logits too large for it at any place, sums too
/// large though no exp is, +∞ and NaN.
#[test]
fn long_rows_in_place_whose_guess_fails() {
    for_each_element!(check_in_place);
}

fn check_in_place<T: TestElement>() {
    const N: usize = 5003;
    // Some too large for f32, some for f64 alone, some from where the maximum is subtracted.
    let heights = [
        40.0,
        61.0,
        64.0,
        66.0,
        80.0,
        95.0,
        170.0,
        260.0,
        500.0,
        680.0,
        690.0,
        800.0,
        1500.0,
        9000.0,
        17_000.0,
        6e4,
        f64::INFINITY,
        f64::NAN,
    ];
    // Neither the first nor the last, nor the middle, which the guess looks at.
    let places = [1, 130, 1900, 2502, 4990, N - 2];
    let offsets = [0.0, -4000.0, 7900.0, 8500.0];
    let rows = heights.into_iter().flat_map(|height| {
        let at = places
            .into_iter()
            .flat_map(move |place| [(place, 1), (place, 600.min(N - 1 - place))]);
        at.zip(offsets.into_iter().cycle())
            .map(move |((place, count), offset)| (height, place, count, offset))
    });
    for (height, place, count, offset) in thinned(rows) {
        let mut row: Vec<f64> = (0..N)
            .map(|i| offset + ((i * 7919) % 1009) as f64 / 100.0 - 5.0)
            .collect();
        row[place..place + count].iter_mut().for_each(|x| *x += height);
        let x: Vec<T> = row.into_iter().map(T::from_f64).collect();
        for &isa in isas() {
            let (mut apart, mut in_place) = (x.clone(), x.clone());
            isa.softmax(&x, &mut apart).expect("available");
            isa.softmax_in_place(&mut in_place).expect("available");
            let what = format!("{isa}: {count} higher by {height} from {place} on, others about {offset}");
            assert_eq!(bits(&apart), bits(&in_place), "{what}");
        }
    }
}

fn assert_same(want: &[u64], got: &[u64], what: &str, d: &Distribution, n: usize) {
    let different = want.iter().zip(got).position(|(a, b)| a != b);
    let context = || format!("{what}: {}, n = {n}", d.name);
    assert_eq!(want.len(), got.len(), "{}", context());
    if let Some(i) = different {
        panic!("{}: {:#x} and {:#x} at {i}", context(), want[i], got[i]);
    }
}

/// Rows whose results, or steps on the way, are subnormal where an operator is not careful.
#[test]
fn subnormals_do_not_depend_on_the_host() {
    for_each_element!(check_subnormals);
}

fn check_subnormals<T: TestElement>() {
    let tiny = |steps: i64| T::from_f64(0.0).step(steps).to_f64();
    let min_normal = crate::common::dd::scale(1.0, T::FORMAT.min_exp);
    // ln of 1 ± e^-d is subnormal from d = 87 (709 for f64) on.
    let depth = -f64::from(T::FORMAT.min_exp) * std::f64::consts::LN_2;
    let rows: Vec<Vec<f64>> = vec![
        vec![tiny(5)],
        vec![-tiny(5)],
        vec![tiny(3), tiny(2), tiny(9), -tiny(4)],
        vec![min_normal, -min_normal, tiny(1), 0.0],
        vec![0.0, -depth - 1.0],
        vec![0.0, -depth - 8.0, -depth - 3.0],
        vec![tiny(7), -depth - 2.0],
        vec![-tiny(7), -depth + 1.0, -depth + 0.01, -depth],
        vec![0.0, -std::f64::consts::LN_2, -depth],
        // The logarithm of the sum nearly takes the maximum away.
        vec![-std::f64::consts::LN_2; 2],
        vec![-(3f64.ln()); 3],
    ];
    for (row, n) in thinned(
        rows.into_iter()
            .flat_map(|row| [row.len(), 33, 100].map(|n| (row.clone(), n))),
    ) {
        let mut x: Vec<T> = row.iter().map(|&v| T::from_f64(v)).collect();
        x.resize(
            n,
            T::from_f64(if n % 2 == 0 { f64::NEG_INFINITY } else { -2.0 * depth }),
        );
        check_row(&subjects(), &x, &DISTRIBUTIONS[0]);
    }
}

/// The paths of rows beyond the caches, taken by every row that has them.
#[test]
fn same_bits_beyond_the_caches() {
    let (none, large) = ("1", "1000000000");
    for sizes in thinned([[none; 3], [large, none, large], [large; 3], [none, large, large]]) {
        let scale = (4 * scale()).to_string();
        let output = child(
            &["golden", "same_bits_in_every_form"],
            &[
                ("SOFTMAX_L1_BYTES", Some(sizes[0])),
                ("SOFTMAX_L2_BYTES", Some(sizes[1])),
                ("SOFTMAX_L3_BYTES", Some(sizes[2])),
                ("SOFTMAX_TEST_SCALE", Some(&scale)),
                // The child of an emulated process sees the CPU itself.
                ("SOFTMAX_REQUIRE_ISA", None),
            ],
        );
        let Some(output) = output else { return };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && !text.contains(" 0 passed"),
            "{sizes:?}: {text}"
        );
    }
}

/// A long row in place chooses its shift by the distance of its maximum from the elements that guess it: the maximum
/// at every distance around the borders of that choice.
#[test]
fn in_place_around_the_guess() {
    for_each_element!(check_around_the_guess);
}

fn check_around_the_guess<T: TestElement>() {
    let n = 5003;
    let distances = (-400..=1000)
        .map(|i| f64::from(i) / 10.0)
        .chain([-2000.0, -710.0, 700.0, 710.0, 20_000.0]);
    for (distance, rest) in thinned(distances.flat_map(|d| [0.0, 20.0, 1000.0].map(|rest| (d, rest)))) {
        let mut x = vec![T::from_f64(distance - rest); n];
        // Guesses that stand above the rest of the row must be masked ones for the maximum to be below them.
        for guess in [0, n / 2, n - 1] {
            x[guess] = T::from_f64(if distance < 0.0 { -6000.0 } else { 0.0 });
        }
        x[n / 3] = T::from_f64(distance);
        for &isa in isas() {
            let (mut y, mut place) = (vec![T::canary(); n], x.clone());
            isa.softmax(&x, &mut y).expect("same length");
            isa.softmax_in_place(&mut place).expect("available");
            assert_eq!(bits(&y), bits(&place), "{} on {isa}, {distance}, {rest}", T::NAME);
        }
    }
}
