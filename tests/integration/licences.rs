//! What the package says of the licences of what is linked into the programs.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use support::skip_without;

fn here(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn printed(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// All crates of Cargo.lock that this platform may need, by name-version, with their licences; and those that we depend
/// on ourselves and that are no macros.
fn crates() -> (BTreeMap<String, String>, Vec<String>) {
    let about = printed(here("rustc").arg("-vV"));
    let host = about
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("a host");
    let metadata = printed(here("cargo").args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--filter-platform",
        host,
    ]));
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let list = |value: &Value| value.as_array().expect("an array").clone();
    let name = |package: &Value| {
        let text = |key: &str| package[key].as_str().expect("a text").to_owned();
        (text("name") + "-" + &text("version"), text("license"))
    };
    let packages = list(&metadata["packages"]);
    let own = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .find(|node| node["id"] == metadata["resolve"]["root"])
        .expect("our own node");
    let direct = list(&own["deps"])
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
fn the_copyright_file_has_every_linked_crate_with_its_holders_and_licence() {
    // The script needs them.
    if skip_without(&["sed", "grep", "find"]) {
        return;
    }
    let file = printed(&mut here("systemd/copyright"));
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
    let mut told: BTreeMap<_, _> = paragraphs
        .iter()
        .filter_map(|paragraph| Some((paragraph.get("Files")?.strip_suffix("/*")?, paragraph)))
        .collect();
    assert!(told.remove("rust-std").is_some());
    assert!(told.len() > direct.len() && direct.len() > 8, "{direct:?}");
    for name in direct {
        assert!(told.contains_key(name.as_str()), "{name} is not told of");
    }
    for (name, paragraph) in told {
        assert_eq!(paragraph["Comment"], crates[name], "{name}");
        assert!(!paragraph["Copyright"].is_empty(), "{name}");
        assert_eq!(paragraph["License"], "Expat", "{name}");
    }
    // The texts of what is named.
    for licence in ["Expat", "Apache-2.0"] {
        let text = file.split(&format!("\nLicense: {licence}\n ")).count();
        assert_eq!(text, 2, "{licence}");
    }
}
