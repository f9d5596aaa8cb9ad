//! The copyright file of the package names each crate that is linked into the programs.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use support::{repository, skip_without};

/// A command that runs in the repository.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(repository());
    command
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Returns the licence of each crate (`NAME-VERSION`) that this platform may need, and the crates
/// that the programs depend on directly.
fn crates() -> (BTreeMap<String, String>, Vec<String>) {
    let version = stdout(command("rustc").arg("-vV"));
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("a host");
    let metadata = stdout(command("cargo").args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--filter-platform",
        host,
    ]));
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let list = |value: &Value| value.as_array().expect("an array").clone();
    let name = |package: &Value| {
        let text = |key: &str| package[key].as_str().expect("a string").to_owned();
        (text("name") + "-" + &text("version"), text("license"))
    };
    let packages = list(&metadata["packages"]);
    let root = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .find(|node| node["id"] == metadata["resolve"]["root"])
        .expect("the root package");
    let direct = list(&root["deps"])
        .iter()
        .filter(|dependency| {
            list(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null())
        })
        .filter_map(|dependency| {
            packages
                .iter()
                .find(|package| package["id"] == dependency["pkg"])
        })
        .map(|package| name(package).0)
        .collect();
    (packages.iter().map(name).collect(), direct)
}

#[test]
fn copyright_file_has_each_linked_crate() {
    // systemd/copyright needs these.
    if skip_without(&["sed", "grep", "find"]) {
        return;
    }
    let file = stdout(&mut command("systemd/copyright"));
    let paragraphs: Vec<BTreeMap<_, _>> = file
        .split("\n\n")
        .map(|paragraph| {
            paragraph
                .lines()
                .filter(|line| !line.starts_with(' '))
                .map(|line| line.split_once(": ").expect(line))
                .collect()
        })
        .collect();
    assert!(paragraphs[0]["Format"].ends_with("/copyright-format/1.0/"));

    let (crates, direct) = crates();
    let mut listed: BTreeMap<_, _> = paragraphs
        .iter()
        .filter_map(|paragraph| Some((paragraph.get("Files")?.strip_suffix("/*")?, paragraph)))
        .collect();
    assert!(listed.remove("rust-std").is_some());
    assert!(
        listed.len() > direct.len() && direct.len() > 8,
        "{direct:?}"
    );
    for name in direct {
        assert!(listed.contains_key(name.as_str()), "{name}");
    }
    for (name, paragraph) in listed {
        assert_eq!(paragraph["Comment"], crates[name], "{name}");
        assert!(!paragraph["Copyright"].is_empty(), "{name}");
        assert_eq!(paragraph["License"], "Expat", "{name}");
    }
    // The text of each licence, once.
    for licence in ["Expat", "Apache-2.0"] {
        let text = file.split(&format!("\nLicense: {licence}\n ")).count();
        assert_eq!(text, 2, "{licence}");
    }
}
