//! Runs the example `classify` as a user would: the bundled digits, other files and formats, every kind of bad
//! file. `cargo test` builds the example before it runs this; under an emulator the example runs there too.
#![cfg(not(target_family = "wasm"))] // WASI starts no process

#[path = "common/program.rs"]
mod program;

use program::{Program, f32s, npy};

fn classify(test: &str) -> Program {
    Program::new("classify", test)
}

/// The line of the first table for `row`.
#[track_caller]
fn row_line(text: &str, row: usize) -> &str {
    let found = text
        .lines()
        .find(|line| line.trim_start().starts_with(&format!("{row} │")));
    found.unwrap_or_else(|| panic!("no row {row} in\n{text}"))
}

/// Everything but the figures of speed.
fn without_speed(text: &str) -> String {
    text.lines()
        .filter(|line| !line.contains("rows/s"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn bundled_digits() {
    let text = classify("bundled_digits").shows(&[]);
    let isa = softmax::Isa::detect().name();
    assert!(text.contains(&format!("softmax on {isa} ")), "{text}");
    assert!(text.contains("854 of 898 (95.10 %)"), "{text}");
    assert!(text.contains("898 images × 10 classes"), "{text}");
    assert_eq!(text.matches("rows/s").count(), 2, "{text}");
    let first = row_line(&text, 0);
    assert!(
        first.contains("│   1   0.9999      1 ✓") && first.contains("█████"),
        "{first}"
    );
    let wrong = row_line(&text, 9);
    assert!(wrong.contains("│   1   0.3796      9 ✗"), "{wrong}");

    let after = |title: &str| text.split(title).nth(1).unwrap().lines().nth(1).unwrap().to_owned();
    let unsure = after("The least certain images");
    assert!(unsure.contains("785 │ 1 ██▏    0.3465 "), "{unsure}");
    let sure = after("The most confidently wrong images");
    assert!(
        sure.contains(" 43 │ 1 ██████ >.9999 ") && sure.ends_with("4 ✗"),
        "{sure}"
    );

    assert_eq!(text.matches("over 0.5").count(), 5, "{text}");
    assert!(
        text.contains("5 of 10 pass 0.5, and the values sum to 4.0919"),
        "{text}"
    );
    assert!(
        text.contains("a distribution that sums to 1.0000, and one answer, 2"),
        "{text}"
    );

    assert!(!text.contains('\x1b'), "colour without a terminal");
    assert!(text.lines().all(|line| line.chars().count() <= 96), "{text}");
}

#[test]
fn every_isa_says_the_same() {
    let classify = classify("every_isa_says_the_same");
    let scalar = classify.shows(&["--isa", "scalar"]);
    for isa in softmax::Isa::available() {
        let text = classify.shows(&["--isa", isa.name()]);
        println!("{isa}");
        let expected = scalar.replace("softmax on scalar", &format!("softmax on {isa}"));
        assert_eq!(without_speed(&text), without_speed(&expected));
    }
}

#[test]
fn csv_and_npy_of_either_float_either_order_either_endianness() {
    let classify = classify("formats");
    let x = [0.5, -1.0, 3.0, 2.0, 0.0, f32::NEG_INFINITY];
    let columns = [x[0], x[3], x[1], x[4], x[2], x[5]];
    let f64s: Vec<u8> = x.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect();
    let big: Vec<u8> = x.iter().flat_map(|&x| f64::from(x).to_be_bytes()).collect();
    classify
        .file("x.csv", "# from a model\n\nzero, one, two\n0.5,-1,3\n2e0, 0,-inf\n")
        .file("bare.csv", "0.5,-1,3\r\n2.0,0,-inf")
        .file("c.npy", npy("<f4", false, "(2, 3)", &f32s(&x)))
        .file("fortran.npy", npy("<f4", true, "(2, 3)", &f32s(&columns)))
        .file("f64.npy", npy("<f8", false, "(2, 3)", &f64s))
        .file("big.npy", npy(">f8", false, "(2, 3)", &big))
        .file("axes.npy", npy("<f4", false, "(1, 2, 3)", &f32s(&x)));
    let body = |text: String| without_speed(text.split("The first").nth(1).unwrap());
    let expected = body(classify.shows(&["--input", "x.csv"]));
    assert!(row_line(&expected, 0).ends_with("│   2   0.9088"), "{expected}");
    assert!(row_line(&expected, 1).ends_with("│   0   0.8808"), "{expected}");
    for file in ["bare.csv", "c.npy", "fortran.npy", "f64.npy", "big.npy", "axes.npy"] {
        assert_eq!(body(classify.shows(&["--input", file])), expected, "{file}");
    }
    let axes = classify.shows(&["--input", "axes.npy"]);
    assert!(
        axes.contains("2 rows × 3 classes from axes.npy (1 × 2 × 3 f32)"),
        "{axes}"
    );
}

#[test]
fn labels_and_accuracy() {
    let classify = classify("labels");
    let truth: Vec<u8> = [2i64, 1].iter().flat_map(|x| x.to_le_bytes()).collect();
    classify
        .file("x.csv", "0.5,-1,3\n2,0,1\n")
        .file("truth.csv", "label\n2\n1\n")
        .file("truth.npy", npy("<i8", false, "(2,)", &truth));
    for labels in ["truth.csv", "truth.npy"] {
        let text = classify.shows(&["--input", "x.csv", "--labels", labels, "--top", "1"]);
        assert!(text.contains("1 of 2 (50.00 %)"), "{text}");
        assert!(row_line(&text, 1).ends_with("│   0   0.6652      1 ✗"), "{text}");
    }
    let text = classify.shows(&["--input", "x.csv"]);
    assert!(!text.contains("accuracy") && !text.contains("wrong"), "{text}");
}

#[test]
fn more_classes_than_fit_a_row() {
    let classify = classify("wide");
    for (cols, bars) in [(30, "classes 0 to 29"), (1000, "the 5 most probable classes")] {
        let x: Vec<f32> = (0..3 * cols)
            .map(|i| if i % cols == i / cols + 7 { 8.0 } else { 0.0 })
            .collect();
        classify.file("x.npy", npy("<f4", false, &format!("(3, {cols})"), &f32s(&x)));
        let text = classify.shows(&["--input", "x.npy", "--top", "5"]);
        assert!(text.contains(bars), "{text}");
        let probability = 8f64.exp() / (8f64.exp() + cols as f64 - 1.0);
        let line = row_line(&text, 2);
        assert!(
            line.contains(" 9 ") && line.contains(&format!("{probability:.4}")),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    }
}

#[test]
fn bad_logits() {
    let classify = classify("bad_logits");
    let good = npy("<f4", false, "(2, 3)", &f32s(&[0.0; 6]));
    classify
        .file("empty.csv", "")
        .file("heading.csv", "zero,one,two\n")
        .file("word.csv", "1,2,3\n4,five,6\n")
        .file("ragged.csv", "1,2,3\n4,5\n")
        .file("nan.csv", "1,2,3\n4,5,nan\n")
        .file("inf.csv", "x,y\n1,inf\n")
        .file("none.csv", "1,2\n-inf,-inf\n")
        .file("binary.csv", b"1,2\n\xff\xfe,3\n")
        .file("text.npy", "1,2,3\n")
        .file("empty.npy", "")
        .file("magic.npy", &good[..6])
        .file("header.npy", &good[..60])
        .file("short.npy", &good[..good.len() - 5])
        .file("long.npy", [&good[..], &[0]].concat())
        .file(
            "garbled.npy",
            String::from_utf8_lossy(&good)
                .replace("'shape'", "'shade'")
                .replace('\u{fffd}', ""),
        )
        .file("integers.npy", npy("<i4", false, "(2, 3)", &[0; 24]))
        .file("rowless.npy", npy("<f4", false, "(0, 3)", &[]))
        .file("classless.npy", npy("<f4", false, "(2, 0)", &[]))
        .file("number.npy", npy("<f4", false, "()", &[0; 4]))
        .file(
            "nan.npy",
            npy("<f4", false, "(2, 2)", &f32s(&[0.0, 1.0, f32::NAN, 0.0])),
        )
        .file(
            "inf.npy",
            npy(
                "<f8",
                false,
                "(1, 2)",
                &[[0u8; 8], f64::INFINITY.to_le_bytes()].concat(),
            ),
        );
    let needs = "2 × 3 values of f32 need 24 bytes after the header, not";
    for (file, problem) in [
        ("empty.csv", "the file is empty"),
        ("heading.csv", "no logits in it: 0 rows of 0 classes"),
        ("word.csv", "line 2, class 1: \"five\" is not a number"),
        ("ragged.csv", "line 2: 2 values where the first line has 3"),
        (
            "nan.csv",
            "line 2, class 2: the logit NaN leaves the row without a softmax",
        ),
        (
            "inf.csv",
            "line 2, class 1: the logit inf leaves the row without a softmax",
        ),
        ("none.csv", "line 2: every logit is -inf, no class is possible"),
        ("binary.csv", "line 2: neither NPY nor CSV: not text"),
        ("text.npy", "not a NumPy file: it does not begin with \\x93NUMPY"),
        ("empty.npy", "the file is empty"),
        ("magic.npy", "truncated inside the NumPy header"),
        ("header.npy", "truncated inside the NumPy header"),
        ("short.npy", &format!("truncated: {needs} 19")),
        ("long.npy", &format!("too long: {needs} 25")),
        ("garbled.npy", "not a NumPy file: it does not begin with \\x93NUMPY"),
        ("integers.npy", "holds i32, logits are f32 or f64"),
        ("rowless.npy", "no logits in it: 0 rows of 3 classes"),
        ("classless.npy", "no logits in it: 2 rows of 0 classes"),
        ("number.npy", "a single number, not rows of logits"),
        (
            "nan.npy",
            "row 1, class 0: the logit NaN leaves the row without a softmax",
        ),
        (
            "inf.npy",
            "row 0, class 1: the logit inf leaves the row without a softmax",
        ),
    ] {
        classify.refuses(&["--input", file], &format!("{file}: {problem}"));
    }
    if cfg!(target_os = "linux") {
        let missing = "absent.npy: No such file or directory (os error 2)";
        classify.refuses(&["--input", "absent.npy"], missing);
        classify.refuses(&["--input", "."], ".: Is a directory (os error 21)");
    }
}

#[test]
fn bad_labels() {
    let classify = classify("bad_labels");
    classify
        .file("x.csv", "1,2,3\n4,5,6\n")
        .file("few.csv", "0\n")
        .file("high.csv", "0\n3\n")
        .file("negative.npy", npy("|i1", false, "(2,)", &[0, 255]))
        .file("word.csv", "0\ncat\n")
        .file("pair.csv", "0,1\n1,0\n")
        .file("floats.npy", npy("<f4", false, "(2,)", &[0; 8]));
    for (file, problem) in [
        ("few.csv", "1 labels for the 2 rows of x.csv"),
        ("high.csv", "row 1: label 3 is not one of the classes 0 to 2 of x.csv"),
        (
            "negative.npy",
            "row 1: label -1 is not one of the classes 0 to 2 of x.csv",
        ),
        ("word.csv", "line 2: the label \"cat\" is not an integer"),
        ("pair.csv", "line 1: 2 values, labels stand one per line"),
        ("floats.npy", "holds f32, labels are integers"),
    ] {
        classify.refuses(&["--input", "x.csv", "--labels", file], &format!("{file}: {problem}"));
    }
    let problem = "few.csv: 1 labels for the 898 rows of the bundled digits_logits.npy";
    classify.refuses(&["--labels", "few.csv"], problem);
}

#[test]
fn bad_options() {
    let classify = classify("bad_options");
    classify.refuses(
        &["--top", "11"],
        "--top 11: the bundled digits_logits.npy has only 10 classes",
    );
    for (arguments, message) in [
        (&["--top", "0"][..], "0 is not in 1.."),
        (&["--isa", "mmx"], "this CPU runs "),
        (&["--colour"], "unexpected argument '--colour'"),
        (&["digits.npy"], "unexpected argument 'digits.npy'"),
        (&["--input"], "a value is required for '--input <FILE>'"),
    ] {
        let run = classify.run(arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.errors);
        assert!(run.errors.contains(message), "{arguments:?}: {}", run.errors);
    }
    let help = classify.shows(&["--help"]);
    for option in [
        "--input <FILE>",
        "--labels <FILE>",
        "--top <K>",
        "--isa <NAME>",
        "--help",
    ] {
        assert!(help.contains(option), "{option}\n{help}");
    }
}
