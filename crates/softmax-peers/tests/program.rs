//! The program from its command line to its files.

use softmax_peers::peer::Role;
use softmax_peers::record::{HEADER, Record, groups, read_csv};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_softmax-peers"))
        .args(arguments)
        .env("ORT_DYLIB_PATH", "no/such/library.so")
        .output()
        .unwrap()
}

fn file(name: &str) -> (PathBuf, String) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text = path.to_str().unwrap().to_owned();
    (path, text)
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn measures_and_writes_what_it_measured() {
    let ((csv, csv_name), (svg, svg_name)) = (file("duel.csv"), file("duel.svg"));
    let shapes = "--shape=5x9,40x33";
    let common = ["--quick", "--rounds=1", "--isa=both", "--threads=1,2", shapes];
    let files = ["--csv", &csv_name, "--svg", &svg_name];
    let output = program(&[&common[..], &files].concat());
    let tables = stdout(&output);
    let remarks = String::from_utf8_lossy(&output.stderr);
    assert!(remarks.contains("absent: onnxruntime ("), "{remarks}");

    let (comments, records) = read_csv(&fs::read_to_string(&csv).unwrap()).unwrap();
    for key in ["date: ", "cpu: ", "rustc: ", "load before: ", "load after: ", "plan: "] {
        assert!(comments.iter().any(|comment| comment.starts_with(key)), "{key}");
        assert!(tables.contains(key), "{key}");
    }
    // Two instruction sets, two places, two numbers of threads.
    assert_eq!(groups(&records).len(), 8);
    let of = |name: &str| {
        records
            .iter()
            .filter(|record| record.peer == name)
            .collect::<Vec<&Record>>()
    };
    // In each group two shapes; out of place, a call of one element, which cannot be split between threads by rows.
    assert_eq!(of("ours").len(), 8 * 2 + 4);
    assert_eq!(of("naive").len(), 8 * 2 + 2);
    assert_eq!(of("onnxruntime").len(), 0);
    for record in &records {
        assert!(record.ns > 0.0 && record.median_ns >= record.ns, "{record:?}");
        assert!(record.right || record.role == Role::Ceiling, "{record:?}");
        assert_eq!(record.samples, Some(1), "{record:?}");
    }
    let svg = fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("40x33") && svg.contains("ours"));

    // The same tables come from the file.
    let again = stdout(&program(&["--from", &csv_name]));
    let body = |text: &str| text.split_once("## ").unwrap().1.to_owned();
    assert_eq!(body(&again), body(&tables));
    let some = stdout(&program(&["--from", &csv_name, "--peer", "naive"]));
    assert!(some.contains("naive") && !some.contains("copy_from_slice"), "{some}");
}

/// A matrix that no memory holds ends each measuring process; what was measured before it is kept.
#[test]
fn a_failure_loses_nothing_that_was_measured() {
    let (csv, csv_name) = file("failed.csv");
    let shapes = "--shape=5x9,1x2305843009213693952";
    let common = ["--quick", "--rounds=1", "--threads=1,2", "--place=out", "--peer=naive"];
    let output = program(&[&common[..], &[shapes, "--csv", &csv_name]].concat());
    assert!(!output.status.success());
    let remarks = String::from_utf8_lossy(&output.stderr);
    assert!(remarks.contains("native, 2 thread(s) ended with"), "{remarks}");

    let (comments, records) = read_csv(&fs::read_to_string(csv).unwrap()).unwrap();
    for threads in [1, 2] {
        let of_process = records.iter().filter(|record| record.group.threads == threads);
        assert_eq!(of_process.filter(|record| record.shape.rows == 5).count(), 2);
    }
    let is_told = |comment: &&String| comment.starts_with("incomplete: ");
    assert_eq!(comments.iter().filter(is_told).count(), 2, "{comments:?}");
}

#[test]
fn errors_are_told() {
    let output = program(&["--from", "no/such/file.csv"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no/such/file.csv"));
    let (path, name) = file("wrong.csv");
    fs::write(path, format!("{HEADER}\nnative,softmax\n")).unwrap();
    assert!(!program(&["--from", &name]).status.success());
}
