//! Detection, names, and the cap `SOFTMAX_MAX_ISA`.

use crate::common::{child, exact_isas, for_each_isa};
use softmax::Isa;
use std::env;
use std::process::Output;
use std::sync::Barrier;
use std::thread;

const NAMES: [(Isa, &str); 5] = [
    (Isa::Avx512, "avx512"),
    (Isa::Avx2, "avx2"),
    (Isa::Neon, "neon"),
    (Isa::Portable, "portable"),
    (Isa::Scalar, "scalar"),
];

#[test]
fn names() {
    for (isa, name) in NAMES {
        assert_eq!(
            (isa.name(), isa.to_string().as_str(), name.parse::<Isa>().ok()),
            (name, name, Some(isa))
        );
    }
    for unknown in ["", "sse9", "avx2 ", "avx", "avx5122"] {
        let error = unknown.parse::<Isa>().expect_err(unknown);
        assert!(error.to_string().contains("avx512"), "the known names: {error}");
    }
}

/// Best first, the two that are everywhere last; what is required is there.
#[test]
fn available_isas() {
    let available: Vec<Isa> = Isa::available().collect();
    let order = |isa: &Isa| NAMES.iter().position(|(i, _)| i == isa);
    assert!(available.is_sorted_by(|a, b| order(a) < order(b)), "{available:?}");
    assert!(available.ends_with(&[Isa::Portable, Isa::Scalar]), "{available:?}");
    for (isa, _) in NAMES {
        assert_eq!(isa.is_available(), available.contains(&isa), "{isa}");
    }
    assert!(available.contains(&Isa::detect()));
    assert!(exact_isas().any(|isa| isa == Isa::Scalar));
    let mut seen = 0;
    for_each_isa(|_| seen += 1);
    assert_eq!(seen, available.len());
    if env::var_os("SOFTMAX_MAX_ISA").is_none() {
        assert_eq!(Isa::detect(), available[0]);
    }
}

/// The CPU's own word, where the standard library passes it on.
#[test]
fn available_as_the_cpu_says() {
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! has {
            ($($feature:tt)*) => { true $(&& is_x86_feature_detected!($feature))* };
        }
        // What the kernels use, and all that a CPU of the level has.
        let avx2 = has!("avx2" "fma" "f16c");
        let v3 = has!("avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "movbe" "popcnt");
        let v4 = has!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl");
        assert!(avx2 || !Isa::Avx2.is_available());
        assert!(Isa::Avx2.is_available() || !v3);
        assert!(v4 || !Isa::Avx512.is_available());
        assert!(Isa::Avx512.is_available() || !(v3 && v4));
    }
    assert_eq!(
        Isa::Neon.is_available(),
        cfg!(all(target_arch = "aarch64", target_endian = "little"))
    );
    assert!(cfg!(target_arch = "x86_64") || !(Isa::Avx2.is_available() || Isa::Avx512.is_available()));
}

/// Answers the parent's question: with the environment of a child, this prints what is detected, at first by threads that
/// all ask at once.
#[test]
#[ignore = "asked by the tests of the cap"]
fn child_detects() {
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                Isa::detect()
            });
        }
    });
    println!("detected {}", Isa::detect());
    println!("detected {}", Isa::detect());
}

/// What a process with this cap detects, and what it says on standard error. `None` where processes cannot be
/// started: on wasm, and under an emulator that the kernel does not know.
fn capped(cap: Option<&str>) -> Option<(Isa, String)> {
    let Output { stdout, stderr, status } = child(
        &["--ignored", "--exact", "isa::child_detects"],
        &[("SOFTMAX_MAX_ISA", cap)],
    )?;
    assert!(status.success(), "{status}");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let mut names = stdout.lines().filter_map(|line| line.split("detected ").nth(1));
    let [first, second] = [names.next(), names.next()].map(|name| name.and_then(|name| name.parse::<Isa>().ok()));
    assert!(first.is_some() && first == second, "{stdout}");
    first.map(|isa| (isa, stderr.into_owned()))
}

#[test]
fn the_cap() {
    let Some((best, said)) = capped(None) else { return };
    assert_eq!(said, "");
    for (cap, name) in NAMES {
        let (detected, said) = capped(Some(name)).expect("as before");
        assert_eq!(said, "", "{name}");
        let allowed = |isa: &Isa| NAMES.iter().position(|n| n.0 == *isa) >= NAMES.iter().position(|n| n.0 == cap);
        assert!(allowed(&detected), "{detected} under the cap {cap}");
        // A child of an emulator may run on the real CPU: compare with the best that a child detects.
        if allowed(&best) {
            assert_eq!(detected, best, "the cap {cap} is not below {best}");
        } else if cap.is_available() {
            assert_eq!(detected, cap);
        }
    }
}

#[test]
fn an_unknown_cap_warns_once_and_is_ignored() {
    let Some((best, _)) = capped(None) else { return };
    let (detected, said) = capped(Some("sse9")).expect("as before");
    assert_eq!(detected, best);
    assert_eq!(said.matches("sse9").count(), 1, "said {said:?}");
}
