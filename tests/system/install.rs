//! Installing with and without the packages, and removing them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::documents::{self, clone_into, run_documented, run_documented_in_clone};
use super::load;
use super::machine::{INSTANCE, Machine, SERVICE, SOCKET, TEMPLATE, TIMEOUT, wait_for};
use super::network::{Lan, V4, V6, assert_answered, local_socket, query, shell_in};
use super::package::{
    PACKAGES, copy_programs, documented_target, pack, package, packed, run_documented_build,
};

/// The time-out of one try of the client, in seconds. A busy host must not use up its tries.
const TRY_TIMEOUT: &str = "10";

/// The units of the client. None is enabled by the installation.
const CHECK: &str = "wallclock-check.service";
const TIMER: &str = "wallclock-check.timer";
const FEED: &str = "wallclock-chrony.service";
const WAIT_SYNC: &str = "wallclock-wait-sync.service";
const CLIENT_UNITS: [&str; 4] = [CHECK, TIMER, FEED, WAIT_SYNC];

#[test]
fn server_package_starts_units_and_answers_the_lan() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    machine.install(&["wallclockd"], 1);
    assert!(!machine.path("/usr/bin/wallclock").exists());
    for unit in [SERVICE, SOCKET] {
        assert_eq!(
            machine.run(&["systemctl", "is-enabled", unit]).trim(),
            "enabled",
            "{unit}"
        );
        assert_eq!(
            machine.run(&["systemctl", "is-active", unit]).trim(),
            "active",
            "{unit}"
        );
    }
    let lan = Lan::new(&machine);
    for socket in lan.sockets() {
        let response = query(&socket, &load::request(7)).expect("a response on the LAN");
        assert_eq!(load::number(response.as_bytes()), Some(7), "{response}");
    }
    // The client, on each host.
    for host in 0..3 {
        for server in [V4, V6] {
            let line = format!("wallclock -t {TRY_TIMEOUT} -s {server} 'at %H:%M'");
            let output = shell_in(lan.pid(host), &line).output().expect("nsenter");
            assert!(output.status.success(), "{line}: {output:?}");
            assert!(output.stdout.starts_with(b"at "), "{line}: {output:?}");
        }
    }
    // As printed, it has the default time-out, which may be too short on a busy host.
    let command = documents::QUERY_FROM_ANOTHER_HOST.line();
    wait_for(command, TIMEOUT, || {
        let output = shell_in(lan.pid(1), command).output().expect("nsenter");
        (output.status.success() && output.stdout.len() == "2026-11-21 12:06:56\n".len())
            .then_some(())
    });
}

#[test]
fn client_package_starts_nothing_and_needs_no_systemd() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    machine.install(&["wallclock"], 1);
    assert!(!machine.path("/usr/bin/wallclockd").exists());
    for unit in CLIENT_UNITS {
        assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
        let state = machine.property(unit, "UnitFileState");
        assert!(["disabled", "static"].contains(&state.as_str()), "{unit}");
    }
    assert_eq!(machine.sh("ss -Hlun 'sport = 9527'"), "");
    let version = machine.run(&["wallclock", "--version"]);
    assert!(version.starts_with("wallclock "), "{version}");
    let names = |fields: &str| {
        let line = machine.run(&["dpkg-query", "-W", "-f", fields, "wallclock"]);
        line.split([',', ' ', '|'])
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let needed = names("${Pre-Depends} ${Depends} ${Recommends}");
    assert!(needed.contains(&"libc6".into()), "{needed:?}");
    for other in ["systemd", "wallclockd"] {
        assert!(!needed.contains(&other.into()), "{needed:?}");
    }
}

#[test]
fn packages_install_where_systemd_does_not_run() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    let files = PACKAGES.map(|name| machine.copy_in(&package(name, 1)));
    // As in a container: no service manager, and a systemctl that fails.
    let script = format!(
        "mount -t tmpfs tmpfs /run; mount --bind /bin/false /usr/bin/systemctl; \
         dpkg -i {0}; dpkg -i {0}; dpkg -r {1}; dpkg -i {0}; dpkg -P {1}",
        files.join(" "),
        PACKAGES.join(" ")
    );
    machine.run(&["unshare", "--mount", "sh", "-ec", &script]);
}

#[test]
fn packages_are_built_and_installed_as_documented() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    let built = documented_target().join("debian");
    let _ = fs::remove_dir_all(&built);
    let _built = run_documented_build(documents::PACKAGE);
    assert_no_path_of_this_machine();
    assert_lintian_finds_only_the_address(&built);
    for package in fs::read_dir(built).expect("target/debian").flatten() {
        let name = package.file_name().to_string_lossy().into_owned();
        machine.copy(
            &package.path(),
            &format!("/root/clone/target/debian/{name}"),
        );
    }
    run_documented_in_clone(&machine, documents::INSTALL_SERVER);
    run_documented_in_clone(&machine, documents::INSTALL_CLIENT);
    machine.daemon(SERVICE);
    assert_answered(&local_socket(&machine, "[::1]:9527"), "localhost");
}

/// Of the same programs: `tests/reproducible` compares two release builds too.
#[test]
fn packages_made_under_other_settings_are_equal() {
    if support::skip_without(&["dpkg-shlibdeps"]) {
        return;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("system-again");
    copy_programs(&target);
    let shell = "umask 077; exec \"$0\" \"$@\"";
    pack(&["sh", "-ec", shell], &target, 1, |command| {
        command.envs([("TZ", "Pacific/Chatham"), ("LC_ALL", "C.UTF-8")]);
    });
    for name in PACKAGES {
        let bytes = |file: PathBuf| fs::read(file).expect("a package");
        let same = bytes(package(name, 1)) == bytes(packed(&target, name, 1));
        assert!(same, "{name} in {} differs", target.display());
    }
}

/// Asserts that Debian's checker finds no error and no warning in the packages of a directory, but
/// that the maintainer has no address yet. Each override has its reason beside it.
fn assert_lintian_finds_only_the_address(built: &Path) {
    if support::skip_without(&["lintian"]) {
        return;
    }
    let packages = fs::read_dir(built).expect("target/debian").flatten();
    let output = Command::new("lintian")
        .args(["--pedantic", "--allow-root"])
        .args(packages.map(|package| package.path()))
        .output()
        .expect("lintian");
    let printed = String::from_utf8_lossy(&output.stdout);
    let found = printed.lines().filter(|line| line.starts_with(['E', 'W']));
    let (address, other): (Vec<_>, Vec<_>) =
        found.partition(|line| line.contains("bogus-mail-host"));
    assert!(other.is_empty(), "{printed}");
    // As the check finds what is there.
    assert_eq!(address.len(), 2 * PACKAGES.len(), "{output:?}");
}

/// Asserts that the programs of the documented build contain no directory of this machine, which
/// would make the packages of two machines differ.
fn assert_no_path_of_this_machine() {
    let home = std::env::var("HOME").expect("HOME");
    let cargo_home = std::env::var("CARGO_HOME").unwrap_or_else(|_| home + "/.cargo");
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = String::from_utf8(sysroot.expect("rustc").stdout).expect("UTF-8");
    for name in PACKAGES {
        let program = fs::read(documented_target().join("release").join(name)).expect("a program");
        let contains = |text: &str| {
            let mut windows = program.windows(text.len());
            windows.any(|window| window == text.as_bytes())
        };
        // As the search finds what is there: names of source files are in each program.
        assert!(contains("/cargo/") && contains("/rustc/"), "{name}");
        for path in [env!("CARGO_MANIFEST_DIR"), &cargo_home, sysroot.trim()] {
            assert!(!contains(&format!("{path}/")), "{name} contains {path}");
        }
    }
}

#[test]
fn installed_units_verify_and_files_are_in_place() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let units = machine.try_run(&[
        "systemd-analyze",
        "verify",
        SOCKET,
        SERVICE,
        TEMPLATE,
        CHECK,
        TIMER,
        FEED,
        WAIT_SYNC,
    ]);
    let output = [units.stdout, units.stderr].concat();
    assert!(
        units.status.success() && output.is_empty(),
        "verify: {}",
        String::from_utf8_lossy(&output)
    );
    for page in ["wallclock.1", "wallclockd.8"] {
        let (name, section) = page.split_once('.').expect("a section");
        assert!(
            !machine.run(&["man", "--where", section, name]).is_empty(),
            "{page}"
        );
    }
    for file in [
        "/usr/share/bash-completion/completions/wallclock",
        "/usr/share/bash-completion/completions/wallclockd",
        "/usr/share/zsh/vendor-completions/_wallclock",
        "/usr/share/zsh/vendor-completions/_wallclockd",
        "/usr/share/fish/vendor_completions.d/wallclock.fish",
        "/usr/share/fish/vendor_completions.d/wallclockd.fish",
        "/usr/share/doc/wallclock/copyright",
        "/usr/share/doc/wallclockd/copyright",
        "/usr/lib/firewalld/services/wallclock.xml",
        "/etc/default/wallclockd",
        "/etc/default/wallclock-check",
        "/etc/default/wallclock-chrony",
        "/etc/default/wallclock-wait-sync",
    ] {
        assert!(
            fs::metadata(machine.path(file)).is_ok_and(|data| data.len() > 0),
            "{file}"
        );
    }
    let copyright = machine.sh("cat /usr/share/doc/wallclock/copyright");
    assert!(copyright.contains("\nFiles: chrono-"), "{copyright}");
}

#[test]
fn service_of_firewalld_is_the_port_of_the_server() {
    if support::skip_without(&["python3"]) {
        return;
    }
    let script = "import xml.etree.ElementTree as xml\n\
                  service = xml.parse('systemd/wallclock.xml').getroot()\n\
                  print(service.tag, *(port.attrib for port in service.iter('port')))";
    let output = Command::new("python3")
        .args(["-c", script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("python3");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "service {'protocol': 'udp', 'port': '9527'}\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn links_of_packaged_documents_work() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    for name in PACKAGES {
        // From the package itself: dpkg may be configured to leave documents out.
        let package = machine.copy_in(&package(name, 1));
        machine.run(&["dpkg-deb", "--extract", &package, "/root/package"]);
        let folder = machine.path(&format!("/root/package/usr/share/doc/{name}"));
        for (document, other) in [
            ("README.md", "systemd/README.md"),
            ("systemd/README.md", "../README.md"),
        ] {
            let path = folder.join(document);
            let text = fs::read_to_string(&path).expect("a packaged document");
            let links: Vec<_> = text
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split([')', '#']).next())
                .filter(|link| !link.is_empty() && !link.contains(':'))
                .collect();
            assert!(links.contains(&other), "{name}: {document}: {links:?}");
            let folder = path.parent().expect("a directory");
            for link in links {
                assert!(folder.join(link).exists(), "{name}: {document}: {link}");
            }
        }
    }
}

#[test]
fn remove_keeps_settings_and_purge_leaves_nothing() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    machine.sh("echo WALLCLOCK_SERVER=127.0.0.1 >>/etc/default/wallclock-wait-sync");
    // The server of this machine is its clock, so the wait is over at once.
    machine.run(&["systemctl", "enable", "--now", INSTANCE, TIMER, WAIT_SYNC]);
    machine.run(&["systemctl", "enable", FEED]);
    assert_eq!(machine.property(WAIT_SYNC, "ActiveState"), "active");
    // Without a server it fails. A failed unit stays listed until it is reset.
    machine.sh("systemctl start wallclock-check || true");
    assert_eq!(machine.property(CHECK, "ActiveState"), "failed");
    machine.sh("echo '#mine' >>/etc/default/wallclockd");
    run_documented(&machine, documents::REMOVE);
    for unit in [SERVICE, SOCKET, INSTANCE, TIMER, WAIT_SYNC, CHECK] {
        assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
        assert_eq!(machine.property(unit, "LoadState"), "not-found", "{unit}");
    }
    assert_eq!(machine.sh("ss -Hlun 'sport = 9527 or sport = 9528'"), "");
    // A removed package leaves the administrator's settings, and the record of what was enabled.
    let find = "find /etc /usr /var /run /tmp -name '*wallclock*' -not -path '/usr/src/*' | sort";
    let left = machine.sh(find);
    let settings = |line: &str| {
        line.starts_with("/etc/default/")
            || line.starts_with("/var/lib/dpkg/info/")
            || line.starts_with("/var/lib/systemd/deb-")
            || ["/var/lib/wallclock", "/var/lib/wallclockd"].contains(&line)
    };
    assert!(left.lines().all(settings), "left by dpkg -r: {left}");
    assert!(
        machine
            .sh("cat /etc/default/wallclockd")
            .ends_with("#mine\n")
    );
    run_documented(&machine, documents::PURGE);
    assert_eq!(machine.sh(find), "", "left by dpkg -P");
    assert_eq!(
        machine.sh(
            "systemctl list-units --all --plain --no-legend --type=service,socket '*wallclock*'"
        ),
        ""
    );
    assert_eq!(machine.sh("getent passwd wallclockd || true"), "");
}

#[test]
fn removal_of_one_package_leaves_the_other() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    machine.run(&["systemctl", "enable", "--now", TIMER, INSTANCE]);
    let links = enabled_links(&machine);
    let daemons = || [SERVICE, INSTANCE].map(|unit| machine.daemon(unit));
    let before = daemons();
    machine.run(&["dpkg", "-P", "wallclock"]);
    assert_eq!(daemons(), before);
    assert_answered(&local_socket(&machine, "[::1]:9527"), "localhost");
    assert!(!enabled_links(&machine).contains(TIMER));

    machine.install(&["wallclock"], 1);
    machine.run(&["systemctl", "enable", "--now", TIMER]);
    let since = machine.property(TIMER, "ActiveEnterTimestampMonotonic");
    machine.run(&["dpkg", "-r", "wallclockd"]);
    assert_eq!(machine.property(TIMER, "ActiveState"), "active");
    assert_eq!(
        machine.property(TIMER, "ActiveEnterTimestampMonotonic"),
        since
    );
    let left = enabled_links(&machine);
    assert!(left.ends_with(&format!("/{TIMER}\n")) && left.lines().count() == 1);
    machine.install(&["wallclockd"], 1);
    assert_eq!(enabled_links(&machine), links);
    daemons();
}

#[test]
fn masked_and_disabled_units_stay_so() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    machine.run(&["systemctl", "disable", "--now", SERVICE]);
    machine.run(&["systemctl", "mask", "--now", SOCKET, TIMER, FEED]);
    let states = || {
        let units = [SERVICE, SOCKET, CHECK, TIMER, FEED, WAIT_SYNC];
        units.map(|unit| {
            assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
            machine.property(unit, "UnitFileState")
        })
    };
    let expected = [
        "disabled", "masked", "static", "masked", "masked", "disabled",
    ];
    assert_eq!(states(), expected);
    // An upgrade, a downgrade, and a reinstallation.
    for revision in [2, 1] {
        machine.install(&PACKAGES, revision);
        assert_eq!(states(), expected, "-{revision}");
    }
    machine.run(&[&["dpkg", "-r"], &PACKAGES[..]].concat());
    machine.install(&PACKAGES, 1);
    assert_eq!(states(), expected);
    // What the administrator takes back has its effect.
    machine.run(&["systemctl", "unmask", SOCKET, TIMER]);
    machine.run(&["systemctl", "enable", "--now", SOCKET, SERVICE, TIMER]);
    machine.daemon(SERVICE);
}

/// The links by which units of the package, their instances and the timer are enabled.
fn enabled_links(machine: &Machine) -> String {
    machine.sh("find /etc/systemd/system -path '*.wants/wallclock*' | sort")
}

#[test]
fn reinstallation_enables_what_was_enabled() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    // The name of the second instance has backslashes.
    let escaped = machine.run(&[
        "systemd-escape",
        "--template=wallclockd@.service",
        "[::1]:9530",
    ]);
    let enabled = [INSTANCE, escaped.trim(), TIMER, SOCKET];
    machine.run(&[&["systemctl", "enable"], &enabled[..3]].concat());
    machine.run(&["systemctl", "disable", "--now", SERVICE]);
    // A unit of the administrator, and a link that dangles for a reason of its own.
    machine.write(
        "/etc/systemd/system/wallclock-chrony.service",
        "[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n",
    );
    machine.run(&["systemctl", "enable", FEED]);
    machine.sh("ln -s /nowhere /etc/systemd/system/multi-user.target.wants/other.service");
    let before = enabled_links(&machine);
    assert_eq!(before.lines().count(), enabled.len() + 1, "{before}");
    // Twice: the second removal must not bring back what the first one recorded.
    for disabled in [None, Some(INSTANCE)] {
        if let Some(unit) = disabled {
            machine.run(&["systemctl", "disable", unit]);
        }
        let before = enabled_links(&machine);
        machine.run(&[&["dpkg", "-r"], &PACKAGES[..]].concat());
        assert_eq!(
            machine.sh("find /etc/systemd/system -xtype l -path '*.wants/*'"),
            "/etc/systemd/system/multi-user.target.wants/other.service\n"
        );
        assert_eq!(
            enabled_links(&machine),
            "/etc/systemd/system/multi-user.target.wants/wallclock-chrony.service\n"
        );
        machine.install(&PACKAGES, 1);
        assert_eq!(enabled_links(&machine), before);
        for unit in enabled {
            let state = machine.property(unit, "UnitFileState");
            let expected = ["enabled", "disabled"][usize::from(disabled == Some(unit))];
            assert_eq!(state, expected, "{unit}");
            let active = machine.property(unit, "ActiveState") == "active";
            assert_eq!(active, state == "enabled", "{unit}");
        }
        assert_eq!(machine.property(SERVICE, "UnitFileState"), "disabled");
    }
    // After a purge, an installation is a first one.
    machine.run(&[&["dpkg", "-P"], &PACKAGES[..]].concat());
    machine.install(&PACKAGES, 1);
    let links = enabled_links(&machine);
    let names: Vec<_> = links
        .lines()
        .filter_map(|link| link.rsplit('/').next())
        .collect();
    assert_eq!(names, [FEED, SERVICE, SOCKET], "{links}");
}

#[test]
fn upgrade_and_removal_ask_the_policy_for_each_unit() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    machine.run(&["systemctl", "enable", "--now", INSTANCE]);
    // An instance that is not enabled.
    let manual = "wallclockd@127.0.0.9:9529.service";
    machine.run(&["systemctl", "start", manual]);
    // The feed of chronyd and chronyd, each a program that waits.
    let waiting = "[Service]\nExecStart=sleep infinity\n";
    machine.write("/etc/systemd/system/chrony.service", waiting);
    let feed = "[Service]\nNoExecPaths=\nExecPaths=\nExecStartPre=\nExecStart=\n";
    machine.drop_in(
        FEED,
        "test.conf",
        &format!("{feed}ExecStart=sleep infinity\n"),
    );
    machine.run(&["systemctl", "start", FEED]);
    let units = [SERVICE, INSTANCE, manual, FEED];
    let pids = || units.map(|unit| machine.daemon(unit));
    let policy = |refused: &str| {
        let script = format!("#!/bin/sh\ncase $1 in {refused}) exit 101 ;; esac\nexit 0\n");
        machine.write("/usr/sbin/policy-rc.d", &script);
        machine.sh("chmod +x /usr/sbin/policy-rc.d");
    };
    for (refused, restarted) in [
        ("*", [false; 4]),
        (INSTANCE, [true, false, true, true]),
        (manual, [true, true, false, true]),
        (FEED, [true, true, true, false]),
        ("none", [true; 4]),
    ] {
        policy(refused);
        let before = pids();
        machine.install(&PACKAGES, 2);
        let after = pids();
        let changed = [0, 1, 2, 3].map(|unit| before[unit] != after[unit]);
        assert_eq!(changed, restarted, "refused: {refused}");
    }
    policy(INSTANCE);
    machine.run(&[&["dpkg", "-r"], &PACKAGES[..]].concat());
    let active = || units.map(|unit| machine.property(unit, "ActiveState"));
    assert_eq!(active(), ["inactive", "active", "inactive", "inactive"]);
    // An installation where everything is refused starts nothing.
    machine.run(&["systemctl", "stop", INSTANCE]);
    policy("*");
    machine.install(&PACKAGES, 1);
    assert_eq!(active(), ["inactive"; 4]);
    assert_eq!(machine.property(SOCKET, "ActiveState"), "inactive");
    assert_eq!(machine.property(SOCKET, "UnitFileState"), "enabled");
}

#[test]
fn install_without_the_package_works() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    clone_into(&machine);
    let _built = run_documented_build(documents::BUILD);
    for name in ["wallclock", "wallclockd"] {
        let built = documented_target().join("release").join(name);
        machine.copy(&built, &format!("/root/clone/target/release/{name}"));
    }
    for command in [
        documents::INSTALL_PROGRAMS,
        documents::INSTALL_UNITS,
        documents::INSTALL_TMPFILES,
        documents::CREATE_TMPFILES,
        documents::DAEMON_RELOAD,
        documents::ENABLE,
    ] {
        run_documented_in_clone(&machine, command);
    }
    machine.run(&["systemctl", "start", INSTANCE]);
    for server in ["[::1]:9527", "127.0.0.9:9528"] {
        assert_answered(&local_socket(&machine, server), server);
    }
    machine.run(&[
        "systemd-analyze",
        "security",
        "--no-pager",
        "--threshold=5",
        SERVICE,
    ]);
    // The feed of chronyd, which `client` tests as packaged.
    run_documented_in_clone(&machine, documents::COPY_CHRONY_UNIT);
    run_documented_in_clone(&machine, documents::COPY_CHRONY_OPTIONS);
    run_documented_in_clone(&machine, documents::COPY_WAIT_SYNC_UNIT);
    run_documented_in_clone(&machine, documents::COPY_WAIT_SYNC_OPTIONS);
    // The check of a machine's clock.
    run_documented_in_clone(&machine, documents::COPY_CHECK_UNITS);
    run_documented_in_clone(&machine, documents::COPY_CHECK_OPTIONS);
    run_documented_in_clone(&machine, documents::DAEMON_RELOAD);
    machine.sh("echo WALLCLOCK_SERVER=[::1] >>/etc/default/wallclock-check");
    machine.run(&["systemctl", "start", CHECK]);
    assert_eq!(machine.property(CHECK, "Result"), "success");
    for unit in [FEED, WAIT_SYNC] {
        assert_eq!(machine.property(unit, "LoadState"), "loaded", "{unit}");
    }
}
