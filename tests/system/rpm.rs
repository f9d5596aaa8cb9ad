//! The RPM packages, installed by rpm beside the packages of this host.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::documents::{self, run_documented};
use super::load::upgrade_under_load;
use super::machine::{INSTANCE, Machine, SERVICE, SOCKET};
use super::package::{
    PACKAGES, build_environment, documented_target, package, run_documented_build,
};

/// The RPM package with this revision of the version.
fn rpm(name: &str, revision: u32) -> PathBuf {
    let start = format!("{name}-{}-{revision}.", env!("CARGO_PKG_VERSION"));
    let files = fs::read_dir(documented_target().join("rpm")).expect("target/rpm");
    let mut files = files.flatten().map(|file| file.path());
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&start)
    };
    files.find(is_it).unwrap_or_else(|| panic!("no {start}*"))
}

/// The output of a program.
#[track_caller]
fn stdout(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {printed}{errors}"
    );
    printed
}

/// Lines, or the parts of a list, as a set.
fn set<'a>(parts: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    parts.into_iter().map(str::to_owned).collect()
}

#[test]
fn rpm_packages_are_upgraded_under_load_and_removed() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    if support::skip_without(&["rpm", "rpmbuild"]) {
        return;
    }
    let _ = fs::remove_dir_all(documented_target().join("rpm"));
    let _built = run_documented_build(documents::RPM);
    let mut again = Command::new("systemd/package");
    again
        .args(["--no-build", "--revision", "2", "rpm"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let again = build_environment(&mut again).output().expect("a build");
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    for name in PACKAGES {
        assert_same_files_as_deb(name);
        assert_dependencies(name);
    }

    // In RPM distributions, presets enable what is in a list.
    machine.write(
        "/etc/systemd/system-preset/90-default.preset",
        "disable *\n",
    );
    let find = "find /etc /usr /var /run -name '*wallclock*' -not -path '/usr/src/*' | sort";
    let before = machine.sh(find);
    let install = |revision: u32| {
        let files = PACKAGES.map(|name| machine.copy_in(&rpm(name, revision)));
        // Debian's rpm asks for the first option. The packages that these need are those of dpkg.
        machine.sh(&format!(
            "rpm --force-debian --nodeps --upgrade {}",
            files.join(" ")
        ));
    };
    install(1);
    for unit in [SERVICE, SOCKET] {
        assert_eq!(machine.property(unit, "UnitFileState"), "disabled");
        assert_eq!(machine.property(unit, "ActiveState"), "inactive");
    }
    run_documented(&machine, documents::ENABLE);
    let timer = "wallclock-check.timer";
    machine.run(&["systemctl", "enable", "--now", INSTANCE, timer]);
    machine.sh("echo '#mine' >>/etc/default/wallclockd");
    upgrade_under_load(&machine, || install(2));
    machine.sh("tail -n 1 /etc/default/wallclockd | grep -x '#mine'");

    // The check fails, because no server is set.
    machine.sh("! systemctl start wallclock-check.service");
    machine.sh("rpm --force-debian --erase wallclock wallclockd");
    machine.sh("rm /etc/default/wallclockd.rpmsave");
    assert_eq!(machine.sh(find), before);
    assert_eq!(machine.sh("ss -Hlun 'sport = 9527 or sport = 9528'"), "");
    assert_eq!(
        machine.sh("systemctl list-units --all --plain --no-legend 'wallclock*'"),
        ""
    );

    if !support::skip_without(&["rpmlint"]) {
        let files = PACKAGES.map(|name| rpm(name, 1).to_string_lossy().into_owned());
        let config = support::repository().join("systemd/rpm/rpmlint.toml");
        let printed = stdout(
            "rpmlint",
            &["-c", &config.to_string_lossy(), &files[0], &files[1]],
        );
        assert!(printed.contains(" 0 errors, 0 warnings"), "{printed}");
    }
}

/// Asserts that both packages of this name have the same files, but for those of one format.
fn assert_same_files_as_deb(name: &str) {
    let of_deb = stdout(
        "dpkg-deb",
        &["--contents", &package(name, 1).to_string_lossy()],
    );
    let of_deb = of_deb
        .lines()
        .filter(|line| !line.ends_with('/'))
        .filter_map(|line| line.split(" .").nth(1))
        .filter(|path| !path.ends_with("changelog.Debian.gz") && !path.contains("/lintian/"));
    let of_deb = of_deb.map(|path| path.replace("vendor-completions/_", "site-functions/_"));
    let mut expected: BTreeSet<_> = of_deb.collect();
    expected.insert(format!("/usr/share/licenses/{name}/LICENSE"));
    let query = "[%{FILEMODES:perms} %{FILENAMES}\\n]";
    let of_rpm = stdout(
        "rpm",
        &["-qp", "--qf", query, &rpm(name, 1).to_string_lossy()],
    );
    let of_rpm = of_rpm
        .lines()
        .filter(|line| line.starts_with('-'))
        .filter_map(|line| line.split(' ').nth(1));
    assert_eq!(set(of_rpm), expected, "{name}");
}

/// Asserts what a package requires and recommends, and which files are settings.
fn assert_dependencies(name: &str) {
    let file = rpm(name, 1).to_string_lossy().into_owned();
    let list = |option: &str| {
        let printed = stdout("rpm", &["-qp", option, &file]);
        set(printed
            .lines()
            .filter_map(|line| line.split([' ', '(']).next()))
    };
    let required = list("--requires");
    assert!(required.contains("libc.so.6"), "{name}: {required:?}");
    let server = name == "wallclockd";
    assert_eq!(required.contains("systemd"), server, "{name}: {required:?}");
    assert!(PACKAGES.iter().all(|other| !required.contains(*other)));
    let recommended: &[&str] = if server {
        &["tzdata", "wallclock"]
    } else {
        &[]
    };
    assert_eq!(list("--recommends"), set(recommended.iter().copied()));
    let settings = list("--configfiles");
    assert!(
        !settings.is_empty()
            && settings
                .iter()
                .all(|file| file.starts_with("/etc/default/"))
    );
}
