//! The commands that README.md and systemd/README.md print. The tests run each as printed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use support::pattern_of;

use super::machine::Machine;

/// The documents whose commands are run.
const DOCUMENTS: [&str; 2] = ["README.md", "systemd/README.md"];

/// The languages of code blocks. Those of shell commands are `sh`, one command a line, and
/// `console`, where a command follows `$ ` and the other lines are its output.
const LANGUAGES: [&str; 5] = ["", "console", "ini", "sh", "text"];

/// Commands that no test runs, and why.
const NOT_RUN: [(&str, &str); 1] = [("cargo test", "it is what runs these tests")];

/// A command of a document.
#[derive(Clone, Copy)]
pub struct Documented(&'static str);

impl Documented {
    /// The command as printed.
    pub fn line(self) -> &'static str {
        self.0
    }
}

/// Defines a constant for each command. A constant that no test uses is a command that no test
/// runs, and an error of the compiler.
macro_rules! documented {
    ($($name:ident = $line:literal;)*) => {
        $(
            #[deny(dead_code)]
            pub const $name: Documented = Documented($line);
        )*
        const RUN: &[&str] = &[$($line),*];
    };
}

documented! {
    // Quick start and examples: `quick_start`.
    CARGO_RUN = "cargo run";
    CARGO_RUN_CLIENT = "cargo run --quiet --bin wallclock";
    CARGO_RUN_CLIENT_FORMAT =
        "cargo run --quiet --bin wallclock '+%A, %-d %B, week %V, %T.%3N %Z'";
    NETCAT = r"printf '%%s.%%N' | nc -u -w1 127.0.0.1 9527";
    PYTHON_CLIENT = "python3 tests/python/client.py";
    OFFSET = "wallclock -s 127.0.0.21 --offset";
    OFFSET_OF_SEVERAL = "wallclock -s 127.0.0.22 -s 127.0.0.23 -s 127.0.0.24 --offset";
    PLUGIN = "wallclock -s 127.0.0.21 -w 0.1 -c 1";

    // Installation: `install`, `restart`.
    PACKAGE = "systemd/package";
    INSTALL_SERVER = "dpkg -i target/debian/wallclockd_*.deb";
    INSTALL_CLIENT = "dpkg -i target/debian/wallclock_*.deb";
    QUERY_FROM_ANOTHER_HOST = "wallclock -s 192.168.7.10";
    DISABLE = "systemctl disable --now wallclockd.socket wallclockd.service";
    REMOVE = "dpkg -r wallclockd wallclock";
    PURGE = "dpkg -P wallclockd wallclock";
    BUILD = "cargo build --release";
    INSTALL_PROGRAMS = "install target/release/wallclockd target/release/wallclock /usr/bin/";
    INSTALL_UNITS = "install -m 644 systemd/wallclockd.socket systemd/wallclockd*.service \
                     /etc/systemd/system/";
    INSTALL_TMPFILES =
        "install -m 644 systemd/wallclockd.tmpfiles /etc/tmpfiles.d/wallclockd.conf";
    CREATE_TMPFILES = "systemd-tmpfiles --create wallclockd.conf";
    DAEMON_RELOAD = "systemctl daemon-reload";
    ENABLE = "systemctl enable --now wallclockd.socket wallclockd.service";

    // RPM packages: `rpm`. The static archive and its image: `archive`.
    RPM = "systemd/package rpm";
    ARCHIVE = "systemd/package --target x86_64-unknown-linux-musl archive";
    UNPACK_ARCHIVE = "tar -xzf wallclock-*-musl.tar.gz";
    INSTALL_ARCHIVE = "wallclock-*-musl/install";
    REMOVE_ARCHIVE = "/usr/local/share/wallclock/install --remove";
    BUILD_IMAGE = "podman build --tag wallclockd wallclock-*-musl";
    RUN_IMAGE = "podman run --detach --name wallclockd --network host --read-only --cap-drop all \
                 wallclockd";

    // Status and log: `status`.
    STATUS = "systemctl status wallclockd";
    LOG = "journalctl -u wallclockd";
    WARNINGS = "journalctl -p warning -u 'wallclockd*'";
    SHOW_PORT = "ss -ulpn 'sport = :9527'";
    LOG_COUNTERS = "systemctl kill --signal=USR1 wallclockd";

    // Options, networks, addresses, cores: `options`, `access`.
    RESTART = "systemctl restart wallclockd";
    EDIT_SOCKET = "systemctl edit wallclockd.socket";
    RESTART_SOCKET = "systemctl restart wallclockd.socket";
    COPY_TABLE = "cp /usr/share/doc/wallclockd/examples/wallclockd.nft /etc/wallclockd.nft";
    LOAD_TABLE = "nft -f /etc/wallclockd.nft";
    INCLUDE_TABLE = "echo 'include \"/etc/wallclockd.nft\"' >>/etc/nftables.conf";
    ENABLE_TABLE = "systemctl enable nftables";
    SHOW_TABLE = "nft list table inet wallclockd";
    DELETE_TABLE = "nft delete table inet wallclockd";
    ENABLE_ADDRESSES =
        "systemctl enable --now wallclockd@192.168.7.10:9527 wallclockd@fd00:7::10";
    ENABLE_ESCAPED = "systemctl enable --now \
                      \"$(systemd-escape --template=wallclockd@.service '[fd00:7::10]:9528')\"";
    WRITE_CORE_OPTIONS =
        "printf 'WALLCLOCKD_LISTEN=[::]:9527\\nWALLCLOCKD_REUSE_PORT=true\\n' \
         >/etc/default/wallclockd@core1";
    COPY_CORE_OPTIONS = "cp /etc/default/wallclockd@core1 /etc/default/wallclockd@core2";
    ENABLE_CORES = "systemctl enable --now wallclockd@core1 wallclockd@core2";

    // Clients: `check`, `client`, `wait`.
    ENABLE_CHECK = "systemctl enable --now wallclock-check.timer";
    COPY_CHECK_UNITS = "cp systemd/wallclock-check.service systemd/wallclock-check.timer \
                        /etc/systemd/system/";
    COPY_CHECK_OPTIONS = "cp systemd/wallclock-check.default /etc/default/wallclock-check";
    COPY_CHRONY_UNIT = "cp systemd/wallclock-chrony.service /etc/systemd/system/";
    COPY_CHRONY_OPTIONS =
        "cp systemd/wallclock-chrony.default /etc/default/wallclock-chrony";
    RESTART_CHRONY = "systemctl restart chrony";
    ENABLE_CHRONY_FEED = "systemctl enable --now wallclock-chrony";
    ENABLE_WAIT_SYNC = "systemctl enable --now wallclock-wait-sync.service";
    COPY_WAIT_SYNC_UNIT = "cp systemd/wallclock-wait-sync.service /etc/systemd/system/";
    COPY_WAIT_SYNC_OPTIONS =
        "cp systemd/wallclock-wait-sync.default /etc/default/wallclock-wait-sync";
    EDIT_MIDNIGHT_SERVICE = "systemctl edit --full --force read-database.service";
    EDIT_MIDNIGHT_TIMER = "systemctl edit --full --force read-database.timer";
    ENABLE_MIDNIGHT = "systemctl enable --now read-database.timer";
    SET_CLOCK = "date -s \"@$(wallclock -s 10.0.0.1 +%s.%N)\"";

    // Several clocks: `several`.
    EDIT_KEEPALIVED = "systemctl edit keepalived";
    ENABLE_KEEPALIVED = "systemctl enable keepalived";
    RESTART_KEEPALIVED = "systemctl restart keepalived";
    OFFSET_OF_ROOM = "wallclock -s 192.168.7.11 -s 192.168.7.12 -s 192.168.7.13 --offset";
    ADD_SERVICE = "firewall-cmd --permanent --add-service=wallclock";
    ADD_VRRP = "firewall-cmd --permanent --add-protocol=vrrp";
    RELOAD_FIREWALLD = "firewall-cmd --reload";
    TELL_SESSIONS = "echo WALLCLOCK_SERVER=192.168.7.10 >>/etc/environment";
}

fn read(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// The code blocks of a document: the language and the lines of each.
fn code_blocks(document: &str) -> Vec<(String, Vec<String>)> {
    let text = read(document);
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let block = lines.by_ref().take_while(|line| line.trim() != "```");
            blocks.push((language.to_owned(), block.map(str::to_owned).collect()));
        }
    }
    blocks
}

/// The command in a line of a code block, without the comment after it.
fn command_in<'a>(language: &str, line: &'a str) -> Option<&'a str> {
    let command = match language {
        "sh" => Some(line).filter(|line| !line.is_empty() && !line.starts_with('#')),
        "console" => line.strip_prefix("$ "),
        _ => None,
    }?;
    Some(match command.split_once("  #") {
        Some((command, _)) => command.trim_end(),
        None => command,
    })
}

/// All commands of the documents.
fn commands() -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for (language, lines) in DOCUMENTS.into_iter().flat_map(code_blocks) {
        let found = lines.iter().filter_map(|line| command_in(&language, line));
        commands.extend(found.map(str::to_owned));
    }
    commands
}

/// Asserts that one of the documents prints this command.
#[track_caller]
pub fn assert_documented(command: &str) {
    assert!(
        commands().contains(command),
        "{DOCUMENTS:?} do not print: {command}"
    );
}

/// Runs a command in the machine as printed, asserts that it succeeds, and returns its output.
#[track_caller]
pub fn run_documented(machine: &Machine, command: Documented) -> String {
    assert_documented(command.line());
    machine.sh(command.line())
}

/// Runs a command in a clone of this repository, see [`clone_into`].
#[track_caller]
pub fn run_documented_in_clone(machine: &Machine, command: Documented) -> String {
    assert_documented(command.line());
    machine.sh(&format!("cd /root/clone && {}", command.line()))
}

/// Copies systemd/ into the machine's /root/clone, where a clone of this repository would be.
pub fn clone_into(machine: &Machine) {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    for entry in fs::read_dir(units).expect("systemd/").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            machine.copy(&entry.path(), &format!("/root/clone/systemd/{name}"));
        }
    }
}

/// The documented code block that has this line.
pub fn block_with(line: &str) -> String {
    let blocks = DOCUMENTS.into_iter().flat_map(code_blocks);
    let mut found = blocks.filter(|(_, lines)| lines.iter().any(|other| other == line));
    let (_, lines) = found
        .next()
        .unwrap_or_else(|| panic!("no code block of {DOCUMENTS:?} has the line: {line}"));
    assert!(found.next().is_none(), "two code blocks have: {line}");
    lines.join("\n") + "\n"
}

/// Asserts that a command printed what its document shows below it.
///
/// All numbers are taken for equal, and so are all days, months and units of time. In the
/// document, `…` at the end of a line stands for any text, and alone for any lines.
#[track_caller]
pub fn assert_output_as_documented(command: Documented, output: &str) {
    assert!(
        output_is_as_documented(command, output),
        "{} printed: {output}",
        command.line()
    );
}

/// Whether a command printed what its document shows, see [`assert_output_as_documented`].
pub fn output_is_as_documented(command: Documented, output: &str) -> bool {
    let shapes = |lines: Vec<&str>| {
        lines
            .into_iter()
            .map(|line| pattern_of(line.trim_end()))
            .collect::<Vec<_>>()
    };
    let expected = documented_output(command);
    let expected = shapes(expected.iter().map(String::as_str).collect());
    lines_match(&expected, &shapes(output.lines().collect()))
}

fn documented_output(command: Documented) -> Vec<String> {
    let blocks = DOCUMENTS.into_iter().flat_map(code_blocks);
    for (_, lines) in blocks.filter(|(language, _)| language == "console") {
        let mut lines = lines.into_iter();
        if lines.any(|line| command_in("console", &line) == Some(command.line())) {
            return lines.take_while(|line| !line.starts_with("$ ")).collect();
        }
    }
    panic!("no output of {} is documented", command.line());
}

fn lines_match(expected: &[String], lines: &[String]) -> bool {
    match (expected.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "…" => {
            lines_match(rest, lines)
                || lines
                    .split_first()
                    .is_some_and(|(_, lines)| lines_match(expected, lines))
        }
        (Some((expected, rest)), Some((line, lines))) => {
            let same = match expected.strip_suffix('…') {
                Some(start) => line.starts_with(start),
                None => line == expected,
            };
            same && lines_match(rest, lines)
        }
        _ => false,
    }
}

#[test]
fn each_documented_command_is_run_by_a_test() {
    for document in DOCUMENTS {
        for (language, lines) in code_blocks(document) {
            assert!(
                LANGUAGES.contains(&language.as_str()),
                "{document}: a code block of {language:?}, whose commands would not be found"
            );
            let shell = ["sh", "console"].contains(&language.as_str());
            assert!(
                !shell || !lines.iter().any(|line| line.ends_with('\\')),
                "{document}: a command of more than one line: {lines:?}"
            );
        }
    }
    let not_run = NOT_RUN.map(|(command, _)| command);
    let known: BTreeSet<_> = RUN
        .iter()
        .chain(&not_run)
        .map(|&line| line.into())
        .collect();
    let documented = commands();
    let missing: Vec<_> = documented.difference(&known).collect();
    assert!(missing.is_empty(), "no test runs: {missing:#?}");
    let extra: Vec<_> = known.difference(&documented).collect();
    assert!(extra.is_empty(), "{DOCUMENTS:?} do not print: {extra:#?}");
}

#[test]
fn command_in_reads_sh_and_console_blocks() {
    assert_eq!(command_in("sh", "cp a b"), Some("cp a b"));
    assert_eq!(command_in("sh", "make     # builds it"), Some("make"));
    assert_eq!(command_in("sh", "# a comment"), None);
    assert_eq!(command_in("sh", ""), None);
    assert_eq!(command_in("console", "$ date"), Some("date"));
    assert_eq!(command_in("console", "Sat Nov 21"), None);
    assert_eq!(command_in("ini", "[Socket]"), None);
}

#[test]
fn output_matches_but_for_numbers_and_ellipses() {
    let matches = |expected: &str, lines: &str| {
        let shapes = |text: &str| {
            text.lines()
                .map(|line| pattern_of(line.trim_end()))
                .collect::<Vec<_>>()
        };
        lines_match(&shapes(expected), &shapes(lines))
    };
    assert!(matches("a +1.5 ms", "a -22 us"));
    assert!(matches("Saturday, 1 May", "Monday, 12 June"));
    assert!(matches("…\nb 1\n…", "a\nb 2"));
    assert!(matches("a: …", "a: b"));
    assert!(!matches("a 1", "b 1"));
    assert!(!matches("a", "a\nb"));
    assert!(!matches("…\nb", "b\na"));
}
