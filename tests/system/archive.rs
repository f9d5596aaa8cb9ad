//! The static archive: in an empty root, in a container, and with its install script.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use super::documents::{self, run_documented};
use super::load::upgrade_under_load;
use super::machine::{INSTANCE, Machine, SERVICE, TIMEOUT, wait_for};
use super::network::{Lan, assert_answered, local_socket, query};
use super::package::{
    PACKAGES, build_environment, documented_target, package, run_documented_build,
};

/// The target of the documented command, and what it needs.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// A unit of the client.
const CHECK: &str = "wallclock-check.service";

/// The list of the installed archive.
const RECORD: &str = "/usr/local/share/wallclock/files";

/// Builds the archive once, as documented. Where the toolchain cannot, it records the reason as a
/// skipped test and returns `None`.
fn archive() -> Option<PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    if support::skip_without(&["find", "grep", "gzip", "sed", "tar"]) {
        return None;
    }
    let built = BUILT.get_or_init(|| {
        if !cfg!(target_arch = "x86_64") || !has_target() {
            return None;
        }
        let _built = run_documented_build(documents::ARCHIVE);
        // A test packs again, while others read it.
        let name = packed();
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name.file_name().expect("a file"));
        fs::copy(name, &copy).expect("a copy of the archive");
        Some(copy)
    });
    if built.is_none() {
        support::skip(&format!("no {TARGET} (rustup target add {TARGET})"));
    }
    built.clone()
}

/// Whether the toolchain has the target and rust-lld, which links for it.
fn has_target() -> bool {
    let print = |what: &str| {
        let output = Command::new("rustc")
            .args(["--print", what, "--target", TARGET])
            .output();
        let text = String::from_utf8(output.expect("rustc").stdout).expect("UTF-8");
        PathBuf::from(text.trim())
    };
    let libraries = print("target-libdir");
    let linker = print("sysroot").join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    libraries.is_dir() && linker.exists()
}

/// The archive that was packed last.
fn packed() -> PathBuf {
    let folder = documented_target().join(TARGET).join("archive");
    let name = format!("wallclock-{}-{TARGET}.tar.gz", env!("CARGO_PKG_VERSION"));
    folder.join(name)
}

/// Unpacks the archive, and returns its folder.
fn unpack(archive: &Path, folder: &Path) -> PathBuf {
    let status = Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(folder)
        .status();
    assert!(status.expect("tar").success());
    let name = archive.file_name().expect("a file").to_string_lossy();
    folder.join(name.strip_suffix(".tar.gz").expect("its name"))
}

#[track_caller]
fn assert_success(output: &Output) -> String {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {printed}{errors}",
        output.status
    );
    printed
}

#[test]
fn same_programs_are_packed_to_the_same_bytes() {
    let Some(archive) = archive() else {
        return;
    };
    fs::remove_file(packed()).expect("the archive");
    let again = format!(
        "umask 077; TZ=Asia/Tokyo {}",
        documents::ARCHIVE
            .line()
            .replace(" --target", " --no-build --target")
    );
    let mut shell = Command::new("sh");
    shell
        .args(["-ec", &again])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    assert_success(&build_environment(&mut shell).output().expect("sh"));
    let read = |path: &Path| fs::read(path).expect("the archive");
    assert!(read(&packed()) == read(&archive));
}

#[test]
fn programs_of_the_archive_run_in_an_empty_root() {
    if support::skip_without_namespaces() || support::skip_without(&["ip", "chroot"]) {
        return;
    }
    let Some(archive) = archive() else {
        return;
    };
    let folder = support::TempDir::new("archive");
    let unpacked = unpack(&archive, folder.path());
    // Nothing but both programs; /mnt is a mount of this namespace alone.
    let script = "
        mount -t tmpfs tmpfs /mnt
        cp bin/wallclock bin/wallclockd /mnt
        ip link set lo up
        chroot --userspec=65534:65534 /mnt /wallclockd --listen '[::]:9527' &
        until chroot /mnt /wallclock -t 10 -s ::1 '%Z at %H'; do
            kill -0 $!
            sleep 0.01
        done
        chroot /mnt /wallclock -t 10 -s 127.0.0.1 --offset
        ls /mnt
        kill $!
        wait $!";
    let output = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "sh",
            "-ec",
            script,
        ])
        .current_dir(unpacked)
        .env_remove("TZ")
        .output();
    let printed = assert_success(&output.expect("unshare"));
    assert!(printed.starts_with("UTC at "), "{printed}");
    assert!(printed.contains("127.0.0.1:9527  "), "{printed}");
    assert!(printed.ends_with("\nwallclock\nwallclockd\n"), "{printed}");
}

#[test]
fn archive_is_installed_into_an_image_without_root() {
    let Some(archive) = archive() else {
        return;
    };
    let folder = support::TempDir::new("archive");
    let unpacked = unpack(&archive, folder.path());
    let image = folder.path().join("image");
    let install = |arguments: &[&str]| {
        let output = Command::new(unpacked.join("install"))
            .args(arguments)
            .env("DESTDIR", &image)
            .output();
        assert_success(&output.expect("install"))
    };
    install(&[]);
    let find = || {
        let output = Command::new("find")
            .args([".", "!", "-type", "d"])
            .current_dir(&image)
            .output();
        let mut files: Vec<_> = assert_success(&output.expect("find"))
            .lines()
            .map(str::to_owned)
            .collect();
        files.sort();
        files
    };
    let list = fs::read_to_string(unpacked.join("files")).expect("the list");
    let settings = [
        "wallclock-check",
        "wallclock-chrony",
        "wallclock-wait-sync",
        "wallclockd",
    ];
    let mut expected: Vec<_> = list
        .lines()
        .map(|file| format!("./usr/local/{file}"))
        .collect();
    expected.extend(settings.map(|name| format!("./etc/default/{name}")));
    expected.extend(["files", "install"].map(|name| format!("./usr/local/share/wallclock/{name}")));
    expected.sort();
    assert_eq!(find(), expected);
    // The units run what is installed.
    for file in list.lines().filter(|file| file.ends_with(".service")) {
        let unit = fs::read_to_string(image.join("usr/local").join(file)).expect("a unit");
        let programs: Vec<_> = unit
            .split([' ', '=', '+', '\n'])
            .filter(|word| word.contains("/bin/wallclock"))
            .collect();
        assert!(programs.len() > 1, "{file}: {programs:?}");
        for program in &programs {
            assert!(
                program.starts_with("/usr/local/bin/"),
                "{file}: {programs:?}"
            );
        }
    }
    install(&["--remove"]);
    install(&["--remove"]);
    assert_eq!(find(), [""; 0]);

    // Beside a package, with a wrong option.
    fs::create_dir_all(image.join("usr/bin")).expect("a directory");
    fs::write(image.join("usr/bin/wallclock"), "").expect("a program");
    for (arguments, status, message) in [
        (&[][..], 1, "remove that installation first"),
        (&["--remvoe"], 2, "usage: "),
    ] {
        let output = Command::new(unpacked.join("install"))
            .args(arguments)
            .env("DESTDIR", &image)
            .output()
            .expect("install");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{error}");
        assert!(error.contains(message), "{error}");
        assert_eq!(find(), ["./usr/bin/wallclock"]);
    }
}

#[test]
fn archive_is_upgraded_under_load_and_removed() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    let Some(archive) = archive() else {
        return;
    };
    machine.copy_in(&archive);
    let documented = |command: documents::Documented| {
        documents::assert_documented(command.line());
        machine.sh(&format!("cd /root && {}", command.line()))
    };
    documented(documents::UNPACK_ARCHIVE);
    let find = "find /etc /usr /var /run -name '*wallclock*' -not -path '/usr/src/*' | sort";
    let before = machine.sh(find);

    // As a user, nothing.
    machine.sh("cp -r /root/wallclock-*-musl /tmp/archive");
    let user = "setpriv --reuid=65534 --regid=65534 --clear-groups /tmp/archive/install";
    machine.sh(&format!(
        "! {user} 2>/tmp/error && grep -q 'not root' /tmp/error"
    ));
    assert_eq!(machine.sh(find), before);

    // Without systemd only programs and documents, and nothing in /etc.
    machine.sh("mv /usr/bin/systemctl /root/systemctl");
    documented(documents::INSTALL_ARCHIVE);
    assert!(!machine.path("/etc/default/wallclockd").exists());
    assert!(!machine.sh(&format!("cat {RECORD}")).contains("lib/"));
    machine.sh("mv /root/systemctl /usr/bin/systemctl");

    let printed = documented(documents::INSTALL_ARCHIVE);
    let enable = format!("    {}\n", documents::ENABLE.line());
    assert!(printed.ends_with(&enable), "{printed}");
    assert_eq!(machine.sh("ss -Hlun 'sport = 9527'"), "");
    run_documented(&machine, documents::ENABLE);
    machine.run(&["systemctl", "start", INSTANCE]);
    for unit in [SERVICE, INSTANCE] {
        machine.daemon(unit);
        let log = machine.journal(&["--unit", unit]);
        // musl reads the status of the clock with a system call of its own.
        assert!(!log.contains("clock is unknown"), "{unit}: {log}");
    }
    assert_answered(
        &local_socket(&machine, "127.0.0.9:9528"),
        "the instance, by its own socket",
    );
    machine.run(&["/usr/local/bin/wallclock", "-t", "10", "+%F"]);

    // The next version has other settings, one file less and one more. One setting is edited, one
    // deleted.
    machine.sh("echo '#mine' >>/etc/default/wallclockd; rm /etc/default/wallclock-check");
    machine.sh(
        "cd /root/wallclock-*-musl && sed -i 's/^#WALL/#NEW_WALL/' lib/wallclock/default/* \
         && sed -i '/nft$/d' files && echo new >share/doc/wallclock/new \
         && echo share/doc/wallclock/new >>files",
    );
    let printed = upgrade_under_load(&machine, || documented(documents::INSTALL_ARCHIVE));
    assert!(
        printed.contains("kept /etc/default/wallclockd, which was edited"),
        "{printed}"
    );
    let settings = machine.sh("tail -n 1 /etc/default/wallclockd");
    assert_eq!(settings, "#mine\n");
    assert!(!machine.path("/etc/default/wallclock-check").exists());
    machine.sh("grep -q '^#NEW_WALL' /etc/default/wallclock-chrony");
    let examples = machine.sh("ls /usr/local/share/doc/wallclock /usr/local/share/doc/*/examples");
    assert!(examples.contains("new\n") && !examples.contains(".nft"));

    // The check fails, because no server is set.
    machine.run(&["systemctl", "enable", INSTANCE]);
    assert!(
        !machine
            .try_run(&["systemctl", "start", CHECK])
            .status
            .success()
    );
    run_documented(&machine, documents::REMOVE_ARCHIVE);
    machine.sh("rm /etc/default/wallclockd");
    assert_eq!(machine.sh(find), before);
    assert_eq!(machine.sh("ss -Hlun 'sport = 9527 or sport = 9528'"), "");
    assert_eq!(
        machine.sh("systemctl list-units --all --plain --no-legend 'wallclock*'"),
        ""
    );
}

// Both have the same links, settings and names of units.
#[test]
fn archive_and_packages_refuse_each_other() {
    let Some(machine) = Machine::with_package() else {
        return;
    };
    let Some(archive) = archive() else {
        return;
    };
    machine.copy_in(&archive);
    machine.sh(&format!("cd /root && {}", documents::UNPACK_ARCHIVE.line()));
    let assert_refused = |command: &str, message: &str| {
        let find = "find /etc /usr /var/lib/dpkg/info -name '*wallclock*' | sort";
        let before = machine.sh(find);
        machine.sh(&format!(
            "! {command} 2>/tmp/error && cat /tmp/error && grep -q '{message}' /tmp/error"
        ));
        assert_eq!(machine.sh(find), before);
    };
    let install = "/root/wallclock-*-musl/install";
    assert_refused(install, "remove that installation first");
    machine.run(&[&["dpkg", "-r"], &PACKAGES[..]].concat());
    assert_refused(install, "dpkg -P wallclock");
    machine.run(&[&["dpkg", "-P"], &PACKAGES[..]].concat());
    machine.sh(install);
    for name in PACKAGES {
        let inside = machine.copy_in(&package(name, 1));
        assert_refused(&format!("dpkg -i {inside}"), "install --remove");
    }
    machine.sh("/usr/local/share/wallclock/install --remove");
    machine.install(&PACKAGES, 1);
    machine.daemon(SERVICE);
}

#[test]
fn image_of_the_server_runs_in_a_container() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    if support::skip_without(&["podman"]) {
        return;
    }
    let Some(archive) = archive() else {
        return;
    };
    // Neither podman's file systems nor its limits are what is tested, and they may need rights
    // that this machine lacks.
    machine.write(
        "/etc/containers/storage.conf",
        "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers\"\ngraphroot = \"/tmp/containers\"\n",
    );
    machine.write(
        "/etc/containers/containers.conf",
        "[containers]\ncgroups = \"disabled\"\ndefault_ulimits = [\"nofile=1024:1024\", \
         \"nproc=1024:1024\"]\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n",
    );
    let inside = machine.copy_in(&archive);
    machine.sh(&format!("cd /root && tar -xzf {inside}"));
    documents::assert_documented(documents::BUILD_IMAGE.line());
    let build = documents::BUILD_IMAGE.line();
    machine.sh(&format!("cd /root && {build}"));
    run_documented(&machine, documents::RUN_IMAGE);
    let lan = Lan::new(&machine);
    wait_for("the server in the container", TIMEOUT, || {
        let log = machine.sh("podman logs wallclockd 2>&1");
        log.contains("listening on").then_some(())
    });
    for socket in lan.sockets() {
        assert_answered(&socket, "a host of the LAN");
    }
    machine.run(&["podman", "export", "wallclockd", "--output", "/root/image"]);
    let files =
        machine.sh("tar -tf /root/image | grep -v '/$' | grep -v '^\\(dev\\|etc\\|run\\)/'");
    assert_eq!(files, "wallclockd\n");
    // A zone, as documented.
    machine.sh(
        "podman run --detach --network host --env WALLCLOCKD_LISTEN=127.0.0.1:9600 \
         --env TZ=Asia/Tokyo --volume /usr/share/zoneinfo:/usr/share/zoneinfo:ro wallclockd",
    );
    let socket = local_socket(&machine, "127.0.0.1:9600");
    wait_for("the zone", TIMEOUT, || {
        query(&socket, "%Z").filter(|zone| zone == "JST")
    });
    machine.run(&["podman", "stop", "wallclockd"]);
    let log = machine.sh("podman logs wallclockd 2>&1");
    assert!(log.contains("stopped: answered=6 "), "{log}");
}
