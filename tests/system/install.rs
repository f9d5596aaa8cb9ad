//! Installing with and without the package, and removing it.

use std::fs;

use super::documents::{self, clone_into, run_documented, run_documented_in_clone};
use super::load;
use super::machine::{INSTANCE, Machine, SERVICE, SOCKET, TIMEOUT, wait_for};
use super::network::{Lan, V4, V6, assert_answered, local_socket, query, shell_in};
use super::package::{documented_target, package, run_documented_build};

/// The time-out of one try of the client, in seconds. A busy host must not use up its tries.
const TRY_TIMEOUT: &str = "10";

#[test]
fn package_starts_units_and_answers_the_lan() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    machine.install(&package(1));
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
fn package_is_built_and_installed_as_documented() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    let built = documented_target().join("debian");
    let _ = fs::remove_dir_all(&built);
    run_documented_build(documents::PACKAGE);
    for package in fs::read_dir(built).expect("target/debian").flatten() {
        let name = package.file_name().to_string_lossy().into_owned();
        machine.copy(
            &package.path(),
            &format!("/root/clone/target/debian/{name}"),
        );
    }
    run_documented_in_clone(&machine, documents::INSTALL_PACKAGE);
    machine.daemon(SERVICE);
    assert_answered(&local_socket(&machine, "[::1]:9527"), "localhost");
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
        "wallclockd@.service",
        "wallclock-check.service",
        "wallclock-check.timer",
        "wallclock-chrony.service",
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
        "/etc/default/wallclockd",
        "/etc/default/wallclock-check",
        "/etc/default/wallclock-chrony",
    ] {
        assert!(
            fs::metadata(machine.path(file)).is_ok_and(|data| data.len() > 0),
            "{file}"
        );
    }
    // cargo-deb would write one of its own, with the name of this project alone.
    let copyright = machine.sh("cat /usr/share/doc/wallclock/copyright");
    assert!(copyright.contains("\nFiles: chrono-"), "{copyright}");
}

#[test]
fn package_has_both_readmes_and_their_links_work() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    // From the package itself: dpkg may be configured to leave documents out.
    let package = machine.copy_in(&package(1));
    machine.run(&["dpkg-deb", "--extract", &package, "/root/package"]);
    let folder = machine.path("/root/package/usr/share/doc/wallclock");
    for (document, link) in [
        ("README.md", "systemd/README.md"),
        ("systemd/README.md", "../README.md"),
    ] {
        let path = folder.join(document);
        let text = fs::read_to_string(&path).expect("a packaged document");
        assert!(text.contains(&format!("]({link}")), "{document}: {link}");
        let target = path.parent().expect("a directory").join(link);
        assert!(target.exists(), "{document}: {link}");
    }
}

#[test]
fn remove_keeps_settings_and_purge_leaves_nothing() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let timer = "wallclock-check.timer";
    machine.run(&["systemctl", "enable", "--now", INSTANCE, timer]);
    machine.run(&["systemctl", "enable", "wallclock-chrony.service"]);
    machine.sh("echo '#mine' >>/etc/default/wallclockd");
    run_documented(&machine, documents::REMOVE);
    for unit in [SERVICE, SOCKET, INSTANCE, timer] {
        assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
        assert_eq!(machine.property(unit, "LoadState"), "not-found", "{unit}");
    }
    assert_eq!(machine.sh("ss -Hlun 'sport = 9527 or sport = 9528'"), "");
    // A removed package leaves the administrator's settings, and the record of what was enabled.
    let find = "find /etc /usr /var /run /tmp -name '*wallclock*' -not -path '/usr/src/*' | sort";
    let left = machine.sh(find);
    let settings = |line: &str| {
        line.starts_with("/etc/")
            || line.starts_with("/var/lib/dpkg/info/")
            || line.starts_with("/var/lib/systemd/deb-")
            || line == "/var/lib/wallclock"
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

/// The links by which units of the package, their instances and the timer are enabled.
fn enabled_links(machine: &Machine) -> String {
    machine.sh("find /etc/systemd/system -path '*.wants/wallclock*' | sort")
}

#[test]
fn reinstallation_enables_what_was_enabled() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let package = machine.copy_in(&package(1));
    // The name of the second instance has backslashes.
    let escaped = machine.run(&[
        "systemd-escape",
        "--template=wallclockd@.service",
        "[::1]:9530",
    ]);
    let enabled = [INSTANCE, escaped.trim(), "wallclock-check.timer", SOCKET];
    machine.run(&[&["systemctl", "enable"], &enabled[..3]].concat());
    machine.run(&["systemctl", "disable", "--now", SERVICE]);
    // A unit of the administrator, and a link that dangles for a reason of its own.
    machine.write(
        "/etc/systemd/system/wallclock-chrony.service",
        "[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n",
    );
    machine.run(&["systemctl", "enable", "wallclock-chrony.service"]);
    machine.sh("ln -s /nowhere /etc/systemd/system/multi-user.target.wants/other.service");
    let before = enabled_links(&machine);
    assert_eq!(before.lines().count(), enabled.len() + 1, "{before}");
    // Twice: the second removal must not bring back what the first one recorded.
    for disabled in [None, Some(INSTANCE)] {
        if let Some(unit) = disabled {
            machine.run(&["systemctl", "disable", unit]);
        }
        let before = enabled_links(&machine);
        machine.run(&["dpkg", "-r", "wallclock"]);
        assert_eq!(
            machine.sh("find /etc/systemd/system -xtype l -path '*.wants/*'"),
            "/etc/systemd/system/multi-user.target.wants/other.service\n"
        );
        assert_eq!(
            enabled_links(&machine),
            "/etc/systemd/system/multi-user.target.wants/wallclock-chrony.service\n"
        );
        machine.run(&["dpkg", "-i", &package]);
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
    machine.run(&["dpkg", "-P", "wallclock"]);
    machine.run(&["dpkg", "-i", &package]);
    let links = enabled_links(&machine);
    let names: Vec<_> = links
        .lines()
        .filter_map(|link| link.rsplit('/').next())
        .collect();
    assert_eq!(
        names,
        ["wallclock-chrony.service", SERVICE, SOCKET],
        "{links}"
    );
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
    let units = [SERVICE, INSTANCE, manual];
    let pids = || units.map(|unit| machine.daemon(unit));
    let policy = |refused: &str| {
        let script = format!("#!/bin/sh\ncase $1 in {refused}) exit 101 ;; esac\nexit 0\n");
        machine.write("/usr/sbin/policy-rc.d", &script);
        machine.sh("chmod +x /usr/sbin/policy-rc.d");
    };
    let inside = machine.copy_in(&package(2));
    for (refused, restarted) in [
        ("*", [false; 3]),
        (INSTANCE, [true, false, true]),
        (manual, [true, true, false]),
        ("none", [true; 3]),
    ] {
        policy(refused);
        let before = pids();
        machine.run(&["dpkg", "-i", &inside]);
        let after = pids();
        let changed = [0, 1, 2].map(|unit| before[unit] != after[unit]);
        assert_eq!(changed, restarted, "refused: {refused}");
    }
    policy(INSTANCE);
    machine.run(&["dpkg", "-r", "wallclock"]);
    let active = units.map(|unit| machine.property(unit, "ActiveState"));
    assert_eq!(active, ["inactive", "active", "inactive"]);
}

#[test]
fn install_without_the_package_works() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    clone_into(&machine);
    run_documented_build(documents::BUILD);
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
    // The check of a machine's clock.
    run_documented_in_clone(&machine, documents::COPY_CHECK_UNITS);
    run_documented_in_clone(&machine, documents::COPY_CHECK_OPTIONS);
    run_documented_in_clone(&machine, documents::DAEMON_RELOAD);
    machine.sh("echo WALLCLOCK_SERVER=[::1] >>/etc/default/wallclock-check");
    machine.run(&["systemctl", "start", "wallclock-check.service"]);
    assert_eq!(
        machine.property("wallclock-check.service", "Result"),
        "success"
    );
    let loaded = machine.property("wallclock-chrony.service", "LoadState");
    assert_eq!(loaded, "loaded");
}
