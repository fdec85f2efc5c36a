//! Runs the examples `attention` and `vocab` as a user would: the bundled files, others, and bad ones.
#![cfg(not(target_family = "wasm"))] // WASI starts no process

#[path = "common/program.rs"]
mod program;

use program::{Program, f32s, npy};

/// The numbers in a line.
fn numbers(line: &str) -> Vec<f64> {
    let words = line.split(|c: char| c.is_whitespace() || c == '│' || c == ',');
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn attention_draws_the_bundled_scores() {
    let program = Program::new("attention", "bundled");
    let text = program.shows(&["--isa", "scalar", "--head", "7", "--svg", "head.svg"]);
    assert!(
        text.contains("masked_softmax on scalar") && text.contains("12 heads × 128 × 128"),
        "{text}"
    );
    // The first line of the map sees the first keys only, the last line all of them.
    let map: Vec<&str> = text.lines().filter(|line| line.matches('│').count() == 2).collect();
    assert_eq!(map.len(), 32, "{text}");
    let cells = |line: &str| line.split('│').nth(1).unwrap().trim_end().chars().count();
    assert!(
        cells(map[0]) <= 2 && cells(map[16]) <= 34 && cells(map[31]) > 60,
        "{text}"
    );
    for line in map {
        let sums = &numbers(line)[1..];
        assert!(
            sums.len() == 2 && sums.iter().all(|sum| (sum - 1.0).abs() < 2e-6),
            "{line}"
        );
    }
    // A line to a head: the sums, the keys used.
    let heads = text
        .lines()
        .skip_while(|line| !line.contains("All heads"))
        .skip(2)
        .take(12);
    for (head, line) in heads.enumerate() {
        let values = numbers(line);
        assert_eq!((values.len(), values[0]), (6, head as f64), "{line}");
        assert!(values[1..3].iter().all(|sum| (sum - 1.0).abs() < 2e-6), "{line}");
        assert!(
            (1.0..=64.5).contains(&values[3]) && values[4..].iter().all(|p| (0.0..=1.0).contains(p)),
            "{line}"
        );
    }
    let svg = std::fs::read_to_string(program.folder.join("head.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg:.80}");
    // Nothing above the diagonal.
    for square in svg.lines().filter(|line| line.contains("opacity")) {
        let value = |name: &str| -> usize {
            let text = square.split(&format!(" {name}=\"")).nth(1).unwrap();
            text.split('"').next().unwrap().parse().unwrap()
        };
        assert!(value("x") <= value("y"), "{square}");
    }
}

#[test]
fn attention_reads_files() {
    let program = Program::new("attention", "files");
    let scores = npy("<f4", false, "(1, 2, 2)", &f32s(&[0.0, 9.0, 1.0, 1.0]));
    program
        .file("two.npy", scores)
        .file("flat.npy", npy("<f4", false, "(4,)", &f32s(&[0.0; 4])));
    program.file("text.txt", "1, 2");
    let text = program.shows(&["-i", "two.npy", "--scale", "2"]);
    assert!(
        text.contains("1 heads × 2 × 2 from two.npy, scale 2.000000, causal"),
        "{text}"
    );
    // Half the weight of the second query on each key: 1/2 · (1 + 1/2) on the first, 1/2 · (1 + 1/2) on its own.
    let line = text
        .lines()
        .skip_while(|line| !line.contains("All heads"))
        .nth(2)
        .unwrap();
    assert_eq!(numbers(line)[4..], [0.75, 0.75], "{text}");
    let text = program.shows(&["-i", "two.npy", "--bidirectional"]);
    assert!(text.contains("all keys") && !text.contains(", causal"), "{text}");
    program.refuses(
        &["-i", "two.npy", "--head", "1"],
        "--head 1: two.npy has the heads 0 to 0",
    );
    program.refuses(
        &["-i", "flat.npy"],
        "flat.npy: has the shape [4], not heads × queries × keys",
    );
    program.refuses(&["-i", "text.txt"], "text.txt: not a NumPy file");
    program.refuses(&["--scale", "nan"], "scale is NaN, not finite");
    assert!(program.run(&["--isa", "x"]).errors.contains("this CPU runs"));
}

#[test]
fn vocab_draws_tokens() {
    let program = Program::new("vocab", "draws");
    let drawn = |args: &[&str]| -> Vec<Vec<f64>> {
        let text = program.shows(args);
        text.lines()
            .filter(|line| line.starts_with(" drawn"))
            .map(numbers)
            .collect()
    };
    let first = drawn(&["--samples", "7"]);
    assert!(first.len() == 8 && first.iter().all(|row| row.len() == 7), "{first:?}");
    assert!(
        first == drawn(&["--samples", "7", "--isa", "scalar"]),
        "the same on every ISA"
    );
    assert!(first != drawn(&["--samples", "7", "--seed", "2"]), "another seed");
    let logits = npy("<f4", false, "(1, 4)", &f32s(&[1.0, 3.0, -900.0, 2.9]));
    program.file("four.npy", logits);
    let of_four =
        |more: &[&str]| drawn(&[&["-i", "four.npy", "--top", "1", "--samples", "300"], more].concat()).concat();
    let kinds = |more: &[&str]| {
        let mut tokens = of_four(more);
        tokens.sort_by(f64::total_cmp);
        tokens.dedup();
        tokens
    };
    assert_eq!(kinds(&[]), [0.0, 1.0, 3.0]);
    assert_eq!(kinds(&["--top-k", "2"]), [1.0, 3.0]);
    assert_eq!(kinds(&["--min-p", "0.5"]), [1.0, 3.0]);
    assert_eq!(kinds(&["--top-p", "0.45"]), [1.0]);
    assert_eq!(kinds(&["--temperature", "0"]), [1.0]);
    assert!(drawn(&["--samples", "0"]).is_empty());
}

#[test]
fn vocab_lists_tokens() {
    let program = Program::new("vocab", "all");
    let text = program.shows(&["--top", "3"]);
    assert!(text.contains("8 positions × 30522 tokens"), "{text}");
    assert_eq!(text.matches("Position ").count(), 8, "{text}");
    assert_eq!(
        text.lines().filter(|line| line.starts_with(" token")).count(),
        24,
        "{text}"
    );
    // Four equal tokens of five, the other far below: two bits.
    let logits = npy("<f4", false, "(1, 5)", &f32s(&[3.0, 3.0, -900.0, 3.0, 3.0]));
    program.file("flat.npy", logits);
    let text = program.shows(&["-i", "flat.npy", "--top", "5", "--isa", "portable"]);
    assert!(text.contains("entropy 2.0000 bits, as of 4.0 equal tokens"), "{text}");
    let tokens: Vec<Vec<f64>> = text
        .lines()
        .filter(|line| line.starts_with(" token"))
        .map(numbers)
        .collect();
    let want = [[0.0, 0.25], [1.0, 0.25], [3.0, 0.25], [4.0, 0.25], [2.0, 0.0]];
    assert_eq!(tokens, want.map(Vec::from), "{text}");
    program.refuses(&["-i", "flat.npy", "--top", "6"], "--top 6: flat.npy has only 5 tokens");
    program.refuses(&["-i", "flat.npy", "--top-p", "0"], "top_p is 0, not in (0, 1]");
}
