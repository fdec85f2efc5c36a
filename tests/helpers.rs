//! Tests of the tests: the helpers must be right before anything they say counts.
#![allow(unsafe_code)] // deliberate faults

use crate::common::dd::{Dd, Exact};
use crate::common::element::TestElement;
use crate::common::inputs::DISTRIBUTIONS;
use crate::common::memory::{EDGES, Edge, Guarded};
use crate::common::ulp::{Format, distance};
use crate::common::{check_required, host_flags};
use softmax::Isa;

fn exact(hi: f64) -> Exact {
    Exact::from(Dd::from(hi))
}

#[test]
fn ulp_error_of_ordinary_values() {
    let f = Format::F32;
    let next = f64::from(1.0f32.step(1));
    assert_eq!(f.error(1.0, exact(1.0)), 0.0);
    assert_eq!(f.error(next, exact(1.0)), 1.0);
    assert_eq!(f.error(1.0, exact(next)), 1.0);
    assert_eq!(f.error(1.0, exact(1.0 + f64::from(f32::EPSILON) / 4.0)), 0.25);
    // Just below a power of two the ULP is half as large.
    assert_eq!(f.error(1.0, exact(1.0 - f64::from(f32::EPSILON))), 2.0);
    assert_eq!(f.error(-1.0, exact(-1.0 - f64::from(f32::EPSILON))), 1.0);
    assert!(f.error(-1.0, exact(1.0)) > 1e7);
    assert_eq!(
        Format::F64.error(
            1.0,
            Exact {
                m: Dd {
                    hi: 1.0,
                    lo: f64::EPSILON / 8.0
                },
                e: 0
            }
        ),
        0.125
    );
    assert_eq!(Format::F16.error(1.0, exact(1.0 + 1.0 / 2048.0)), 0.5);
    assert_eq!(Format::BF16.error(1.0, exact(1.0 + 1.0 / 256.0)), 0.5);
    assert!(f.error(f64::NAN, exact(1.0)).is_infinite() && f.error(1.0, exact(f64::NAN)).is_infinite());
    assert_eq!(f.error(f64::NAN, exact(f64::NAN)), 0.0);
    assert!(f.error(1.0, exact(f64::NEG_INFINITY)).is_infinite());
}

#[test]
fn ulp_error_at_zero_and_underflow() {
    let f = Format::F32;
    let min = f64::from(f32::MIN_POSITIVE);
    // The trap of others: an ULP of 0 that lets everything pass where 0 is expected.
    assert!(f.error(1e-10, exact(0.0)) > 1e30 && f.error(-1e-10, exact(0.0)) > 1e30);
    assert_eq!(f.error(min, exact(0.0)), 8_388_608.0);
    assert_eq!(f.error(0.0, exact(0.0)), 0.0);
    // Flushed: 0 stands for everything below 2^-126, and either answer is right only at the border.
    assert_eq!(f.error(0.0, exact(min * 0.999)), 0.0);
    assert_eq!(
        f.error(
            0.0,
            Exact {
                m: Dd::from(1.3),
                e: -4000
            }
        ),
        0.0
    );
    assert_eq!(f.error(0.0, exact(min * (1.0 + f64::from(f32::EPSILON)))), 1.0);
    assert_eq!(f.error(min, exact(min * (1.0 - f64::from(f32::EPSILON)))), 1.0);
    assert!(f.error(min, exact(min * 0.99)) > 8e4);
    assert!(f.error(0.0, exact(min * 1.01)) > 8e4 && f.error(0.0, exact(1.0)) > 8e6);
    // A subnormal result is never right, f16's excepted.
    assert!(f.error(min / 2.0, exact(min / 2.0)).is_infinite());
    assert_eq!(Format::F16.error(2f64.powi(-24), exact(2f64.powi(-24))), 0.0);
    assert_eq!(Format::F16.error(0.0, exact(2f64.powi(-24))), 1.0);
    assert_eq!(Format::F16.error(0.0, exact(2f64.powi(-26))), 0.25);
    assert_eq!(
        Format::F64.error(
            0.0,
            Exact {
                m: Dd::from(1.0),
                e: -1023
            }
        ),
        0.0
    );
    assert!(
        Format::F64.error(
            0.0,
            Exact {
                m: Dd::from(1.0),
                e: -1021
            }
        ) > 1e15
    );
}

#[test]
fn ulp_error_at_overflow_and_of_logarithms() {
    let f = Format::F32;
    assert_eq!(f.error(f64::INFINITY, exact(1e39)), 0.0);
    assert_eq!(f.error(f64::INFINITY, exact(f64::from(f32::MAX))), 0.5);
    assert!(f.error(f64::INFINITY, exact(3e38)) > 1e6 && f.error(f64::from(f32::MAX), exact(4e38)) > 1e6);
    assert_eq!(
        Format::F64.error(
            f64::INFINITY,
            Exact {
                m: Dd::from(1.0),
                e: 1024
            }
        ),
        0.0
    );
    assert!(
        Format::F64.error(
            f64::INFINITY,
            Exact {
                m: Dd::from(1.0),
                e: 1023
            }
        ) > 1e15
    );
    let ulp = f64::from(f32::EPSILON);
    assert_eq!(f.error_from_1(-3.0 * ulp, exact(0.0)), 3.0);
    assert_eq!(f.error_from_1(-1e-10, exact(-1e-20)), (1e-10 - 1e-20) / ulp);
    assert_eq!(f.error_from_1(-4.0 - 8.0 * ulp, exact(-4.0)), 2.0);
    assert_eq!(f.error_from_1(f64::NEG_INFINITY, exact(f64::NEG_INFINITY)), 0.0);
    assert!(f.error_from_1(f64::NEG_INFINITY, exact(-104.0)) > 1e38);
    assert_eq!(f.error_from_1(f64::NEG_INFINITY, exact(-6e38)), 0.0);
    assert_eq!(f.error_from_1(1e-40, exact(1e-20)).to_bits(), (1e-20 / ulp).to_bits());
}

#[test]
fn distance_counts_floats() {
    assert_eq!(0f32.distance(-0f32), 0);
    assert_eq!(f32::from_bits(1).distance(-f32::from_bits(1)), 2);
    assert_eq!(0f32.distance(f32::MIN_POSITIVE), 1 << 23);
    assert_eq!(f32::MAX.distance(f32::INFINITY), 1);
    assert_eq!(f32::NAN.distance(f32::canary()), 0);
    assert_eq!(f32::NAN.distance(0.0), u64::MAX);
    assert_eq!(f32::NEG_INFINITY.distance(-f32::NAN), u64::MAX);
    assert_eq!(1f64.distance(1.0 + f64::EPSILON), 1);
    assert_eq!(f64::MAX.distance(-f64::MAX), 2 * (f64::MAX.to_bits()));
    assert_eq!(distance(0x3c00, 0x3c01, 16, 10), 1); // f16
    assert_eq!(
        (1f32.step(-1), 0f32.step(-1).to_bits()),
        (1.0 - f32::EPSILON / 2.0, 0x8000_0001)
    );
    assert_eq!((-1f32).step(-1).distance(-1.0), 1);
}

#[test]
fn distributions_keep_their_promise() {
    for d in DISTRIBUTIONS {
        for n in [1, 2, 33, 1000] {
            let row = d.row::<f32>(n, 5);
            assert_eq!(row.len(), n);
            assert!(row.iter().any(|v| v.is_finite()), "{}", d.name);
            assert!(row.iter().all(|v| !v.is_nan() && *v < f32::INFINITY), "{}", d.name);
            assert_eq!(
                crate::common::element::bits(&row),
                crate::common::element::bits(&d.row::<f32>(n, 5)),
                "{} is seeded",
                d.name
            );
        }
    }
    let subnormal = DISTRIBUTIONS
        .iter()
        .find(|d| d.name == "subnormal gaps")
        .expect("in the list");
    assert!(subnormal.row::<f32>(100, 1).iter().any(|v| v.is_subnormal()));
    assert!(subnormal.row::<f64>(100, 1).iter().any(|v| v.is_subnormal()));
}

#[test]
fn required_isas_are_required() {
    let here = [Isa::Avx2, Isa::Portable, Isa::Scalar];
    assert!(check_required("avx2,portable", &here, Some(Isa::Avx2)).is_ok());
    assert!(check_required("avx2, scalar", &here, None).is_ok());
    assert!(
        check_required("scalar", &here, None).is_ok(),
        "a capped dispatch says nothing"
    );
    for (required, named) in [
        ("avx512", "avx512"),
        ("avx2,avx512", "avx512"),
        ("portable", "Avx2"),
        ("", ""),
    ] {
        let message = check_required(required, &here, Some(Isa::Avx2)).expect_err(required);
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn host_flags_flush_subnormals() {
    let tiny = std::hint::black_box(f32::MIN_POSITIVE);
    let Some(product) = host_flags::with_subnormals_flushed(|| std::hint::black_box(tiny * std::hint::black_box(0.5)))
    else {
        println!("no flush-to-zero flags on this platform");
        return;
    };
    assert_eq!(product, 0.0);
    assert!((tiny * std::hint::black_box(0.5)).is_subnormal(), "restored");
}

#[test]
fn guarded_slices_hold_and_notice() {
    for edge in EDGES {
        for n in [0, 1, 33, 5000] {
            let mut g = Guarded::<f32>::new(n, edge);
            g.fill(1.5);
            assert_eq!(&g[..], vec![1.5; n]);
            g.check_unchanged(&vec![1.5; n], &"untouched");
            let outside = if edge == Edge::End { -1 } else { n as isize };
            // SAFETY: canaries lie on the side that is not guarded.
            unsafe { g.as_mut_ptr().offset(outside).write(0.0) };
            assert!(!g.intact(), "{edge:?}, n = {n}: a write went unnoticed");
        }
    }
}

/// A deliberate overread and overwrite, one element past the guarded edge, each in a forked process.
#[test]
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn guard_pages_stop_overreads_and_overwrites() {
    use crate::common::pages::{faults, guarded};
    #[cfg(target_arch = "x86_64")]
    assert!(
        guarded(Edge::End) || !is_x86_feature_detected!("avx512f"),
        "nothing emulates AVX-512"
    );
    for edge in EDGES.into_iter().filter(|&edge| guarded(edge)) {
        let mut g = Guarded::<f32>::new(33, edge);
        let (inside, outside) = match edge {
            Edge::Start => (0, -1),
            Edge::End => (32, 33),
        };
        let p = g.as_mut_ptr();
        // SAFETY: in the child; the second and third are faults on purpose.
        unsafe {
            assert!(
                !faults(|| p.offset(inside).write_volatile(p.offset(inside).read_volatile())),
                "{edge:?}: inside"
            );
            assert!(
                faults(|| _ = p.wrapping_offset(outside).read_volatile()),
                "{edge:?}: read"
            );
            assert!(
                faults(|| p.wrapping_offset(outside).write_volatile(1.0)),
                "{edge:?}: write"
            );
        }
    }
}
