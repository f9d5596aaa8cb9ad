//! The examples of the manual pages print what the pages show.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::{
    pattern_of, program, skip_without, skip_without_ipv6, skip_without_namespaces, wallclock,
};

use super::pages::{
    MAX_ATTEMPTS, SHELL_TIMEOUT, client_page, code_blocks, lacks_netcat, make_dir, server_page,
};

/// Ends the output of each command.
const END_OF_OUTPUT: char = '\u{1}';

/// A network namespace with the addresses and names of the examples, where they run as printed.
struct Sandbox {
    /// In PATH before all others: it has the programs.
    directory: PathBuf,
}

impl Sandbox {
    /// Skips where something is missing.
    fn new() -> Option<Sandbox> {
        if skip_without_namespaces()
            || skip_without(&["ip", "mount", "grep", "bash"])
            || lacks_netcat()
            || skip_without_ipv6()
        {
            return None;
        }
        let directory = make_dir("examples");
        let hosts = "127.0.0.1 localhost\n10.0.0.7 clock.example\n";
        fs::write(directory.join("hosts"), hosts).expect("a file");
        let sandbox = Sandbox { directory };
        let [client, server] = ["wallclock", "wallclockd"].map(program);
        sandbox.add_script("wallclock", &format!("exec '{}' \"$@\"", client.display()));
        // The log shows when the server can respond.
        let server = format!(
            "RUST_LOG=info exec '{}' \"$@\" 2>>\"$SERVER_LOG\"",
            server.display()
        );
        sandbox.add_script("wallclockd", &server);
        // Only checks its arguments: tests never set the clock.
        sandbox.add_script(
            "date",
            "case $1$2 in -s@[1-9]*.[0-9]*) ;; *) exit 1 ;; esac",
        );
        Some(sandbox)
    }

    fn add_script(&self, name: &str, line: &str) {
        let path = self.directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    }

    /// Runs commands in one shell. Returns what each prints, and the log of the servers.
    fn run_once(&self, number: usize, commands: &[String]) -> (Vec<String>, String) {
        let log = self.directory.join(format!("{number}.log"));
        fs::write(&log, "").expect("a file");
        let mut script = format!(
            "exec 2>&1\nmount --bind '{}/hosts' /etc/hosts\nip link set lo up\n\
             ip address add 10.0.0.7/32 dev lo\nip address add fd00:7::10/128 dev lo nodad\n\
             trap 'kill $(jobs -p)' EXIT\nservers=0\n",
            self.directory.display()
        );
        for command in commands {
            script += command;
            let servers = command.matches("wallclockd").count();
            if command.contains('&') && servers > 0 {
                script += &format!(
                    "\nservers=$((servers + {servers}))\n\
                     until [ \"$(grep -c 'listening on' \"$SERVER_LOG\")\" -ge \"$servers\" ]; do\n\
                     sleep 0.01\ndone"
                );
            }
            // The next command may print the status of this one.
            script += "\nstatus=$?; printf '\\001'; (exit $status)\n";
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("timeout");
        shell
            .args([SHELL_TIMEOUT, "unshare", "--net", "--mount", "bash", "-c"])
            .arg(script)
            .env("PATH", format!("{}:{path}", self.directory.display()))
            .env("SERVER_LOG", &log)
            .env("TZ", "CST-8")
            .stdin(Stdio::null());
        // No settings from the environment, as in other tests.
        for (name, _) in wallclock().get_envs() {
            shell.env_remove(name);
        }
        shell.env("LC_ALL", "C.UTF-8");
        let output = shell.output().expect("the shell starts");
        let output = String::from_utf8(output.stdout).expect("UTF-8");
        let printed = output.split(END_OF_OUTPUT).map(str::to_owned).collect();
        (printed, fs::read_to_string(log).expect("a log"))
    }

    /// Runs commands as [`Sandbox::run_once`] does, and again if a response came too late.
    fn run(&self, number: usize, commands: &[String]) -> (Vec<String>, String) {
        for attempt in 1.. {
            let (printed, log) = self.run_once(number, commands);
            assert_eq!(
                printed.len(),
                commands.len() + 1,
                "{commands:?}: {printed:?}"
            );
            let is_late = commands.iter().zip(&printed).any(|(command, printed)| {
                printed.contains("no response within")
                    || command.contains("nc -u") && printed.is_empty()
            });
            if !is_late || attempt == MAX_ATTEMPTS {
                return (printed, log);
            }
            println!("run again: {commands:?}: {printed:?}");
        }
        unreachable!("the last attempt returns")
    }
}

/// Splits an example into its commands, and what the page shows after each.
fn parse_example(block: &[String]) -> Vec<(String, String)> {
    let mut commands = Vec::<(String, String)>::new();
    for line in block {
        match line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")) {
            Some(command) => commands.push((command.to_owned(), String::new())),
            None => {
                let (_, shown) = commands.last_mut().expect("a command comes first");
                *shown += line;
                shown.push('\n');
            }
        }
    }
    commands
}

#[test]
fn examples_print_what_the_pages_show() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let mut number = 0;
    for page in [client_page(), server_page()] {
        for block in code_blocks(&page.source, "EXAMPLES") {
            number += 1;
            let mut example = parse_example(&block);
            // The client's page does not start a server.
            if page.name == "wallclock.1" {
                example.insert(0, ("wallclockd -l '[::]' &".to_owned(), String::new()));
            }
            let (commands, shown): (Vec<_>, Vec<_>) = example.into_iter().unzip();
            let (printed, log) = sandbox.run(number, &commands);
            for ((command, shown), printed) in commands.iter().zip(&shown).zip(&printed) {
                // nc prints a response without a newline.
                let expected = pattern_of(shown.trim_end());
                let pattern = pattern_of(printed.trim_end());
                let is_same = match expected.strip_suffix("...") {
                    Some(start) => pattern.starts_with(start),
                    None => pattern == expected,
                };
                assert!(is_same, "{command}\nprints\n{printed}\nnot\n{shown}\n{log}");
            }
            if commands.iter().any(|command| command.contains("-USR1")) {
                assert!(log.contains("answered=0 refused=0"), "{log}");
            }
        }
    }
    assert!(number >= 12, "{number} examples");
}
