//! Results of fixed inputs, as hashes, committed in `golden.txt`: the same on every machine and in every version.
//!
//! A line is `operator element length distribution family hash`; family `exact` is every backend but `portable`. The
//! inputs come from integers alone, the hash (FNV-1a, 64 bits) from the bits of the results. To write the file anew,
//! after a change to the contract and for no other reason:
//!
//! `SOFTMAX_WRITE_GOLDEN=1 cargo test --all-features --test suite golden`

use crate::common::element::{TestElement, for_each_element};
use crate::common::forms::subjects;
use crate::common::{exact_isas, is_emulated, isas};
use softmax::Isa;
use std::collections::BTreeMap;
use std::fmt::Write;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.txt");

const LENGTHS: [usize; 10] = [1, 3, 10, 32, 33, 128, 257, 1000, 4099, 70_001];

/// Inputs from a random 32-bit integer and the place; every step is exact, in each format but the halves, which round.
type Input = fn(u32, usize) -> f64;
const INPUTS: [(&str, Input); 7] = [
    ("bell", |r, _| bell(r)),
    ("narrow", |r, _| 0.25 * bell(r)),
    ("wide", |r, _| 24.0 * bell(r)),
    ("flat", |r, _| -f64::from(r >> 12) / 16_384.0),
    ("offset", |r, _| 1_000_000.0 + f64::from(r >> 26)),
    ("masked", |r, i| {
        if r % 3 == 0 && i > 0 {
            f64::NEG_INFINITY
        } else {
            bell(r)
        }
    }),
    ("peak", |r, i| if i == 0 { 0.5 } else { -16.5 + bell(r) / 64.0 }),
];

/// The sum of four bytes, about normal with deviation 2.3.
fn bell(r: u32) -> f64 {
    let sum: u32 = r.to_le_bytes().into_iter().map(u32::from).sum();
    let low = r.wrapping_mul(0x9e37_79b9) >> 17;
    (f64::from(sum) - 510.0) / 64.0 + f64::from(low) / 1_048_576.0
}

/// SplitMix64.
fn random(state: &mut u64) -> u32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 32) as u32
}

fn row<T: TestElement>(input: Input, n: usize) -> Vec<T> {
    let mut state = n as u64;
    (0..n).map(|i| T::finite(input(random(&mut state), i))).collect()
}

fn fnv(words: &[u64], bytes_per_word: usize) -> u64 {
    let bytes = words
        .iter()
        .flat_map(|w| w.to_le_bytes().into_iter().take(bytes_per_word));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, b| {
        (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn fnv_is_fnv() {
    assert_eq!(fnv(&[], 8), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv(&[0x61], 1), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv(&[u64::from_le_bytes(*b"foobar\0\0")], 6), 0x8594_4171_f739_67e8);
}

#[test]
fn inputs_are_fixed() {
    let mut state = 0;
    assert_eq!([random(&mut state), random(&mut state)], [0xe220_a839, 0x6e78_9e6a]);
    let all = INPUTS
        .iter()
        .flat_map(|(_, input)| row::<f32>(*input, 1000))
        .map(|v| u64::from(v.to_bits()));
    assert_eq!(format!("{:016x}", fnv(&all.collect::<Vec<_>>(), 4)), "956db9122f13ca0a");
}

/// Where the CPU is emulated, one of the longest rows is enough.
fn is_tried(element: &str, n: usize, distribution: &str) -> bool {
    !is_emulated() || n < 2000 || (element == "f32" && distribution == "bell")
}

/// The key of each line, and the hash on an ISA.
fn each<T: TestElement>(isas: &[Isa], mut each: impl FnMut(String, Isa, u64)) {
    for subject in subjects::<T>() {
        for n in LENGTHS {
            for (distribution, input) in INPUTS {
                if !is_tried(T::NAME, n, distribution) {
                    continue;
                }
                let x = row::<T>(input, n);
                for &isa in isas.iter() {
                    let words = (subject.forms[0].run)(isa, &x).expect("the plain form always applies");
                    let family = if isa == Isa::Portable { "portable" } else { "exact" };
                    let key = format!("{} {} {n} {distribution} {family}", subject.name, T::NAME);
                    each(key, isa, fnv(&words, 8));
                }
            }
        }
    }
}

#[test]
fn golden_hashes() {
    if std::env::var_os("SOFTMAX_WRITE_GOLDEN").is_some() {
        write_golden();
        return;
    }
    for_each_element!(check_golden);
}

fn check_golden<T: TestElement>() {
    let golden = include_str!("golden.txt");
    let lines = golden.lines().filter_map(|line| line.rsplit_once(' '));
    let mut known: BTreeMap<String, (u64, bool)> = lines
        .filter(|(key, _)| key.split(' ').nth(1) == Some(T::NAME))
        .map(|(key, hash)| (key.to_owned(), (u64::from_str_radix(hash, 16).expect("a hash"), false)))
        .collect();
    let mut wrong = Vec::new();
    each::<T>(isas(), |key, isa, hash| match known.get_mut(&key) {
        Some((golden, seen)) => {
            *seen = true;
            if *golden != hash {
                wrong.push(format!("{key} on {isa}: {hash:016x}, golden {golden:016x}"));
            }
        }
        None => wrong.push(format!("{key}: no such line in golden.txt")),
    });
    wrong.extend(
        known
            .iter()
            .filter(|(key, (_, seen))| !seen && is_line_tried(key))
            .map(|(key, _)| format!("{key}: computed by nothing")),
    );
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        known.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
}

fn is_line_tried(key: &str) -> bool {
    let fields: Vec<&str> = key.split(' ').collect();
    is_tried(fields[1], fields[2].parse().expect("a length"), fields[3])
}

fn write_golden() {
    if !cfg!(feature = "half") {
        panic!("the file has lines of every type: --features half");
    }
    let mut text = String::new();
    for_each_element!(golden_lines, &mut text);
    std::fs::write(FILE, text).expect("golden.txt is writable");
}

fn golden_lines<T: TestElement>(text: &mut String) {
    let mut lines: BTreeMap<String, (Isa, u64)> = BTreeMap::new();
    let isas: Vec<Isa> = exact_isas().chain([Isa::Portable]).collect();
    let mut order = Vec::new();
    each::<T>(&isas, |key, isa, hash| {
        let (other, first) = *lines.entry(key.clone()).or_insert_with(|| {
            order.push(key.clone());
            (isa, hash)
        });
        assert_eq!(first, hash, "{key}: {other} and {isa} differ; nothing written");
    });
    for key in order {
        writeln!(text, "{key} {:016x}", lines[&key].1).expect("a String");
    }
}
