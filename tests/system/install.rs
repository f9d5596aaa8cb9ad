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
    // A removed package leaves the administrator's settings, and the record that both units were
    // enabled.
    let find = "find /etc /usr /var /run /tmp -name '*wallclock*' -not -path '/usr/src/*' | sort";
    let left = machine.sh(find);
    let settings = |line: &str| {
        line.starts_with("/etc/")
            || line.starts_with("/var/lib/dpkg/info/")
            || line.starts_with("/var/lib/systemd/deb-")
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
