//! Comments and documents wrap at 100 columns.

use std::fs;
use std::path::{Path, PathBuf};

use support::repository;

const MAX_COLUMNS: usize = 100;

/// All files under a directory, or the file itself; without what the build, the fuzzer and git make.
pub fn files_under(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return vec![path.to_owned()];
    };
    entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| {
            let made = [
                "target",
                "artifacts",
                "grown",
                "corpus",
                ".git",
                "Cargo.lock",
            ];
            !made.iter().any(|name| path.ends_with(name))
        })
        .flat_map(|path| files_under(&path))
        .collect()
}

/// The numbers of the lines that are too wide. Of Markdown these are all lines but tables and code
/// blocks, of man(7) source all lines, of other files the comments.
fn wide_lines(extension: &str, text: &str) -> Vec<usize> {
    let mut is_code_block = false;
    let mut is_prose = |line: &str| match extension {
        "md" => {
            is_code_block ^= line.starts_with("```");
            !is_code_block && !line.starts_with('|')
        }
        "man" => true,
        "rs" | "c" => line.starts_with("//") || line.starts_with("/*"),
        _ => line.starts_with('#'),
    };
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| is_prose(line.trim_start()) && line.chars().count() > MAX_COLUMNS)
        .map(|(number, _)| number)
        .collect()
}

#[test]
fn comments_and_documents_wrap_at_100_columns() {
    let mut wide = Vec::new();
    for file in files_under(repository()) {
        // What is not UTF-8 is not written by hand.
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let extension = file.extension().unwrap_or_default().to_string_lossy();
        for number in wide_lines(&extension, &text) {
            let file = file.strip_prefix(repository()).expect("in the repository");
            wide.push(format!("{}:{number}", file.display()));
        }
    }
    assert!(wide.is_empty(), "\n{}", wide.join("\n"));
}

#[test]
fn wide_lines_are_found_in_prose_only() {
    let wide = "x".repeat(MAX_COLUMNS);
    for (extension, text, expected) in [
        (
            "rs",
            format!("// {wide}\n    // {wide}\nlet x = {wide};"),
            vec![1, 2],
        ),
        ("rs", format!("//{}", &wide[2..]), vec![]),
        ("sh", format!("# {wide}\nx {wide}"), vec![1]),
        (
            "md",
            format!("a {wide}\n| {wide}\n```\n  {wide}\n```\n  {wide}"),
            vec![1, 6],
        ),
        ("man", format!("x{wide}"), vec![1]),
    ] {
        assert_eq!(wide_lines(extension, &text), expected, "{text}");
    }
}
