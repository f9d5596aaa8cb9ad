//! The manual pages have no errors, and fit a terminal.

use std::fs;
use std::process::Command;

use support::skip_without;

use super::pages::{client_page, make_dir, server_page};

#[test]
fn pages_have_no_errors_by_mandoc_and_groff() {
    let directory = make_dir("lint");
    for page in [client_page(), server_page()] {
        let path = directory.join(page.name);
        // Other characters depend on the reader's locale.
        assert!(page.source.is_ascii(), "{}", page.name);
        fs::write(&path, page.source).expect("a file");
        for (program, arguments) in [
            ("mandoc", &["-T", "lint", "-W", "warning"][..]),
            ("groff", &["-ww", "-b", "-z", "-man", "-T", "utf8"]),
        ] {
            if skip_without(&[program]) {
                continue;
            }
            let output = Command::new(program).args(arguments).arg(&path).output();
            let output = output.expect("the program starts");
            let errors = [output.stdout, output.stderr].concat();
            let errors = String::from_utf8_lossy(&errors);
            assert!(output.status.success(), "{program}: {errors}");
            assert_eq!(errors, "", "{program}: {}", page.name);
        }
    }
}

#[test]
fn pages_fit_80_columns() {
    // The man of man-db, which calls groff.
    if skip_without(&["man", "groff"]) {
        return;
    }
    let directory = make_dir("rendered");
    for page in [client_page(), server_page()] {
        let path = directory.join(page.name);
        fs::write(&path, page.source).expect("a file");
        let mut man = Command::new("man");
        man.args(["-l", "--warnings=w"])
            .arg(&path)
            .env("MANWIDTH", "80")
            .env("LC_ALL", "C.UTF-8");
        let output = man.output().expect("man starts");
        assert!(output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.contains("SEE ALSO"), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{}: {line:?}", page.name);
        }
    }
}
