//! A machine to install the packages on: a real systemd as PID 1 of new namespaces (see `boot`).

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, flock};

use super::package::{PACKAGES, package};

/// Limit of a wait for something that must happen, far above what a busy host needs.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The unit of the daemon, and its process.
pub const SERVICE: &str = "wallclockd.service";
/// The unit of the daemon's socket.
pub const SOCKET: &str = "wallclockd.socket";
/// The template of the daemons that bind their own socket.
pub const TEMPLATE: &str = "wallclockd@.service";
/// A unit of that template, for an address that every machine has.
pub const INSTANCE: &str = "wallclockd@127.0.0.9:9528.service";

/// What commands inside are not permitted to do: set the clock of the host, or stop the host.
const DROPPED_CAPABILITIES: &str = "-sys_time,-sys_module,-sys_rawio,-sys_boot";

/// Polls until `ready` returns a value. Panics after the time-out, and names what did not happen.
#[track_caller]
pub fn wait_for<T>(what: &str, timeout: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < timeout, "{what}: not within {timeout:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A booted systemd. It ends when the value is dropped; if the test process dies first, the kernel
/// kills it.
pub struct Machine {
    outer: Child,
    inner: u32,
    cgroup: PathBuf,
    log: PathBuf,
    lock: Option<File>,
}

impl Machine {
    /// Boots a machine. Where this host cannot boot one, it records the reason as a skipped test
    /// and returns `None`.
    ///
    /// At most one machine for each core runs at a time: more would slow each other down.
    pub fn boot() -> Option<Self> {
        if let Err(reason) = can_boot() {
            support::skip(&reason);
            return None;
        }
        // The daemon inside has no privileges and must be able to read the files that tests write,
        // whatever the umask of the user who runs them.
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let lock = lock(folder);

        let hierarchy = cgroup2().expect("checked above");
        remove_stale_cgroups(&hierarchy);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "wallclock-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let cgroup = hierarchy.join(&name);
        fs::create_dir(&cgroup).expect("a cgroup for the machine");
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).expect("a log in the target directory");
        let outer = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "setsid", "sh"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/boot"))
            .arg(&cgroup)
            .arg(std::env::var_os("WALLCLOCK_TEST_ROOT").unwrap_or_else(|| "/".into()))
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a second handle"))
            .stderr(out)
            .spawn()
            .expect("setpriv");
        let mut machine = Self {
            outer,
            inner: 0,
            cgroup,
            log,
            lock: Some(lock),
        };

        let outer = machine.outer.id();
        machine.inner = wait_for("a booted systemd", TIMEOUT, || {
            if let Ok(Some(status)) = machine.outer.try_wait() {
                panic!(
                    "boot ended with {status}: {}",
                    fs::read_to_string(&machine.log).unwrap_or_default()
                );
            }
            let children =
                fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
            let inner = children.split_whitespace().next()?.parse().ok()?;
            Path::new(&format!("/proc/{inner}/root/run/systemd/private"))
                .exists()
                .then_some(inner)
        });
        machine.run(&["systemctl", "is-system-running", "--wait"]);
        Some(machine)
    }

    /// Boots a machine, installs both packages, and waits until the daemon is ready.
    pub fn with_package() -> Option<Self> {
        let machine = Self::boot()?;
        machine.install(&PACKAGES, 1);
        machine.daemon(SERVICE);
        Some(machine)
    }

    /// Its PID 1, as this process sees it.
    pub fn pid(&self) -> u32 {
        self.inner
    }

    /// A path of the machine, as this process sees it.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.inner))
    }

    /// Runs a command inside.
    pub fn try_run(&self, command: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["-t", &self.inner.to_string(), "-a", "--"])
            .args(["setpriv", "--bounding-set", DROPPED_CAPABILITIES])
            .args(["--inh-caps", DROPPED_CAPABILITIES, "--"])
            .args(command)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .expect("nsenter")
    }

    /// Runs a command inside, asserts that it succeeds, and returns its output.
    #[track_caller]
    pub fn run(&self, command: &[&str]) -> String {
        let output = self.try_run(command);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{command:?}: {}\n{printed}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        printed
    }

    /// Runs a line of shell inside, asserts that it succeeds, and returns its output.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        self.run(&["sh", "-ec", line])
    }

    /// Copies a file of this host into the machine's /root, readable and executable, and returns
    /// its path there.
    pub fn copy_in(&self, file: &Path) -> String {
        let inside = format!(
            "/root/{}",
            file.file_name().expect("a file").to_string_lossy()
        );
        self.copy(file, &inside);
        fs::set_permissions(self.path(&inside), Permissions::from_mode(0o755))
            .expect("its mode inside");
        inside
    }

    /// Copies a file of this host to a path inside.
    pub fn copy(&self, file: &Path, inside: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a directory")).expect("its directory inside");
        fs::copy(file, path).expect("a copy inside");
    }

    /// Writes a file inside, atomically, as editors do.
    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a directory")).expect("its directory inside");
        let new = self.path(&format!("{inside}.new"));
        File::create(&new)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("a file inside");
        fs::rename(new, path).expect("a file inside");
    }

    /// Writes a drop-in for a unit, which applies from the unit's next start.
    pub fn drop_in(&self, unit: &str, name: &str, text: &str) {
        self.write(&format!("/etc/systemd/system/{unit}.d/{name}"), text);
        self.run(&["systemctl", "daemon-reload"]);
    }

    /// Runs `systemctl edit`, which needs a terminal, with an editor that enters `text`.
    pub fn edit(&self, systemctl_edit: &str, text: &str) {
        self.write("/root/text", text);
        self.write("/root/editor", "#!/bin/sh\ncat /root/text >\"$1\"\n");
        self.sh(&format!(
            "SYSTEMD_EDITOR='sh /root/editor' script -qec '{systemctl_edit}' /dev/null"
        ));
    }

    /// Installs these packages with this revision of the version: new, as an upgrade, or as a
    /// downgrade.
    #[track_caller]
    pub fn install(&self, packages: &[&str], revision: u32) {
        let files = packages.iter().map(|name| package(name, revision));
        let inside: Vec<_> = files.map(|file| self.copy_in(&file)).collect();
        self.sh(&format!("dpkg -i {}", inside.join(" ")));
    }

    /// One property of a unit.
    pub fn property(&self, unit: &str, property: &str) -> String {
        self.run(&["systemctl", "show", "-P", property, unit])
            .trim()
            .to_owned()
    }

    /// The process of a daemon's unit, once it is ready.
    pub fn daemon(&self, unit: &str) -> String {
        wait_for(&format!("{unit} to be active"), TIMEOUT, || {
            let state = self.run(&[
                "systemctl",
                "show",
                "-p",
                "ActiveState",
                "-p",
                "MainPID",
                unit,
            ]);
            let pid = state
                .lines()
                .find_map(|line| line.strip_prefix("MainPID="))?;
            (state.contains("ActiveState=active") && pid != "0").then(|| pid.to_owned())
        })
    }

    /// The journal from its beginning, messages only, selected by the arguments of journalctl.
    pub fn journal(&self, arguments: &[&str]) -> String {
        self.run(&["journalctl", "--sync"]);
        self.run(
            &[
                &["journalctl", "--quiet", "--no-pager", "--output=cat"],
                arguments,
            ]
            .concat(),
        )
    }

    /// What the daemon of [`SERVICE`] has logged.
    pub fn daemon_log(&self) -> String {
        self.journal(&["--unit", SERVICE, "--identifier", "wallclockd"])
    }

    /// The number of warnings of [`SERVICE`] that contain this text.
    pub fn count_warnings(&self, text: &str) -> usize {
        let log = self.journal(&["--unit", SERVICE, "--priority", "warning"]);
        log.lines().filter(|line| line.contains(text)).count()
    }

    /// The counters of [`SERVICE`]: answered, refused, ignored, unsent, dropped.
    pub fn counters(&self) -> [u64; 5] {
        let lines = || -> Vec<String> {
            let log = self.daemon_log();
            let lines = log.lines().filter(|line| line.starts_with("answered="));
            lines.map(str::to_owned).collect()
        };
        let before = lines().len();
        self.run(&["systemctl", "kill", "--signal=USR1", SERVICE]);
        wait_for("the counters", TIMEOUT, || {
            lines()
                .get(before)
                .map(|line| support::parse_counters(line))
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.inner != 0 {
            let journal = self.try_run(&["journalctl", "--quiet", "--no-pager", "--lines=40"]);
            eprintln!(
                "the end of the machine's journal:\n{}",
                String::from_utf8_lossy(&journal.stdout)
            );
        }
        // With unshare's --kill-child, all processes inside end too.
        let _ = self.outer.kill();
        // The next machine may boot already: the kernel needs a second more for the file systems.
        self.lock = None;
        let _ = self.outer.wait();
        let start = Instant::now();
        while !remove_cgroup(&self.cgroup) && start.elapsed() < TIMEOUT {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = fs::remove_file(&self.log);
    }
}

/// The mount point of the cgroup2 hierarchy.
fn cgroup2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .find(|mount| mount.get(2) == Some(&"cgroup2"))
        .map(|mount| PathBuf::from(mount[1]))
}

/// Removes a cgroup and those below it. Returns false while one of them has a process.
fn remove_cgroup(cgroup: &Path) -> bool {
    let Ok(entries) = fs::read_dir(cgroup) else {
        return true;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    fs::remove_dir(cgroup).is_ok()
}

/// Waits for one of the locks that running machines hold, one for each core, and takes it.
fn lock(folder: &Path) -> File {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    loop {
        for number in 0..cores {
            let path = folder.join(format!("system-{number}.lock"));
            let file = File::create(path).expect("a lock file in the target directory");
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return file;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Removes the cgroups of test processes that were killed.
fn remove_stale_cgroups(hierarchy: &Path) {
    let Ok(entries) = fs::read_dir(hierarchy) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix("wallclock-test-")
            .and_then(|rest| rest.split('-').next())
            .map(str::to_owned);
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            remove_cgroup(&entry.path());
        }
    }
}

/// Checks that this host can boot a machine. The error names the first thing that is missing.
fn can_boot() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root".into());
    }
    if cgroup2().is_none() {
        return Err("no cgroup2 mount".into());
    }
    if !Path::new("/lib/systemd/systemd").exists() {
        return Err("no systemd".into());
    }
    let needed = [
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
        ("setpriv", "util-linux"),
        ("setsid", "util-linux"),
        ("ip", "iproute2"),
        ("dpkg", "dpkg"),
        ("dpkg-shlibdeps", "dpkg-dev"),
        ("deb-systemd-helper", "init-system-helpers"),
        ("man", "man-db"),
        ("script", "bsdutils"),
        ("ss", "iproute2"),
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| {
        let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        folders.any(|folder| folder.join(program).exists())
    };
    if let Some((program, package)) = needed.iter().find(|(program, _)| !has(program)) {
        return Err(format!("no {program} (Debian package {package})"));
    }
    // Tries all the privileges that booting needs: namespaces, a mount, an overlay of the root.
    let overlay = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r && \
                   mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r";
    let tried = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "sh", "-c", overlay])
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "no namespaces or overlay: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Err(format!("no namespaces: {error}")),
    }
}
