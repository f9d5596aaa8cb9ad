//! Comments and documents wrap at 100 columns.

use std::fs;
use std::path::{Path, PathBuf};

use support::repository;

const MAX_COLUMNS: usize = 100;

/// All files under a directory, but not what the fuzzer makes.
pub fn files_under(directory: &Path) -> Vec<PathBuf> {
    let made = ["target", "artifacts", "grown", "corpus"];
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("a readable directory").path();
        if !path.is_dir() {
            files.push(path);
        } else if !made.iter().any(|name| path.ends_with(name)) {
            files.extend(files_under(&path));
        }
    }
    files
}

/// The files that are written by hand. Only these are checked, because a working copy may have
/// others.
fn sources() -> Vec<PathBuf> {
    let directories = ["src", "tests", "systemd", ".ci"];
    let mut files: Vec<_> = directories
        .iter()
        .flat_map(|name| files_under(&repository().join(name)))
        .collect();
    for name in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Cargo.toml"] {
        files.push(repository().join(name));
    }
    files
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
    for file in sources() {
        let text = fs::read_to_string(&file).expect("UTF-8");
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
