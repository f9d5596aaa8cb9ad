//! The small clients that wallclockd(8) prints.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{repository, request_counters, skip_without, start_daemon};

use super::pages::{MAX_ATTEMPTS, lacks_netcat, make_dir};

fn source(file: &str) -> PathBuf {
    repository().join("tests/clients").join(file)
}

/// Compiles the client in C.
fn compile(program: &Path) {
    let mut compiler = Command::new("cc");
    compiler
        .args(["-Wall", "-Wextra", "-Werror", "-o"])
        .args([program, &source("ask.c")]);
    assert!(compiler.status().expect("cc starts").success());
}

/// Whether a client got no response within its second: it prints nothing after `no time: `, raises
/// an exception, or is ended by SIGALRM.
fn is_late(output: &Output) -> bool {
    let error = String::from_utf8_lossy(&output.stderr);
    error == "no time: \n"
        || error.contains("TimeoutError")
        || output.status.signal() == Some(libc::SIGALRM)
}

#[test]
fn small_clients_print_the_time_and_an_error() {
    let (mut server, address) = start_daemon();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let compiled = make_dir("clients").join("ask");
    let (mut clients, mut late) = (0, 0);
    for (tool, file) in [("nc", "ask.sh"), ("python3", "ask.py"), ("cc", "ask.c")] {
        if skip_without(&[tool]) || tool == "nc" && lacks_netcat() {
            continue;
        }
        if tool == "cc" {
            compile(&compiled);
        }
        let command = || match tool {
            "nc" => Command::new("sh"),
            "python3" => Command::new("python3"),
            _ => Command::new(&compiled),
        };
        let mut request = |format: &str| {
            for attempt in 1.. {
                let mut command = command();
                if tool != "cc" {
                    command.arg(source(file));
                }
                let output = command.args([&host, &port, format]).output();
                let output = output.expect("the client starts");
                if !is_late(&output) || attempt == MAX_ATTEMPTS {
                    return output;
                }
                late += 1;
            }
            unreachable!("the last attempt returns")
        };
        let output = request("%Y 100%% %Z");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success(), "{file}: {text:?}");
        assert!(text.ends_with(" 100% UTC\n"), "{file}: {text:?}");
        assert_eq!(text.len(), "2026 100% UTC\n".len(), "{file}: {text:?}");
        let output = request("%Q");
        let error = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(!output.status.success(), "{file}: {error}");
        assert!(error.contains("unknown conversion Q"), "{file}: {error}");
        clients += 1;
    }
    let [answered, refused, ..] = request_counters(&mut server);
    let expected = clients..=clients + late;
    assert!(expected.contains(&answered), "{answered}: {expected:?}");
    assert!(expected.contains(&refused), "{refused}: {expected:?}");
}
