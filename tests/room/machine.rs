//! A machine of its own to install things on: a real systemd as PID 1 of fresh namespaces (see
//! `boot`).

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::Mode;

/// Ends a wait for something that must happen. No machine is so busy that it is reached.
pub const SOON: Duration = Duration::from_secs(60);

/// Polls until `ready` gives something; the last resort is a panic that says what never came.
pub fn wait_for<T>(what: &str, deadline: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(
            start.elapsed() < deadline,
            "{what}: not within {deadline:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A booted systemd. Nothing of it outlives the value, and the kernel kills it should the test
/// process die first.
pub struct Machine {
    outer: Child,
    inner: u32,
    cgroup: PathBuf,
    log: PathBuf,
    turn: Option<File>,
}

impl Machine {
    /// Boots, or says why this machine can't and returns `None`: the test is then skipped.
    ///
    /// One machine runs at a time: several on a small host would only slow each other down.
    pub fn boot() -> Option<Self> {
        if let Err(reason) = can_boot() {
            support::skip(&reason);
            return None;
        }
        // Whatever the umask of whoever runs the tests: the daemon inside is nobody, and has to
        // read what is put there.
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let turn =
            File::create(folder.join("room.lock")).expect("a lock file in the target folder");
        rustix::fs::flock(&turn, rustix::fs::FlockOperation::LockExclusive).expect("the lock");

        let hierarchy = cgroup2().expect("checked above");
        sweep(&hierarchy);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "wallclock-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let cgroup = hierarchy.join(&name);
        fs::create_dir(&cgroup).expect("a cgroup to boot in");
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).expect("a log in the target folder");
        let outer = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "setsid", "sh"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/room/boot"))
            .arg(&cgroup)
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
            turn: Some(turn),
        };

        let outer = machine.outer.id();
        machine.inner = wait_for("a booted systemd", SOON, || {
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

    /// Its PID 1, as this process sees it.
    pub fn pid(&self) -> u32 {
        self.inner
    }

    /// A path of the machine, as this process sees it.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.inner))
    }

    /// Runs a command inside and returns what came of it.
    pub fn try_run(&self, command: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["-t", &self.inner.to_string(), "-a", "--"])
            .args(command)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .expect("nsenter")
    }

    /// Runs a command inside that has to succeed, and returns what it printed.
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

    /// Runs a line of shell inside that has to succeed. Every command of the README goes through
    /// here as written.
    pub fn sh(&self, line: &str) -> String {
        self.run(&["sh", "-ec", line])
    }

    /// Copies a file of this host into the machine's /root, which nothing else looks at; whoever
    /// can get at it there may read and execute it, whatever its mode here.
    pub fn copy_in(&self, file: &Path) -> String {
        let inside = format!(
            "/root/{}",
            file.file_name().expect("a file").to_string_lossy()
        );
        fs::copy(file, self.path(&inside)).expect("a copy inside");
        fs::set_permissions(self.path(&inside), Permissions::from_mode(0o755))
            .expect("its mode inside");
        inside
    }

    /// Writes a file inside, atomically, as editors do.
    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a folder")).expect("its folder inside");
        let new = self.path(&format!("{inside}.new"));
        File::create(&new)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("a file inside");
        fs::rename(new, path).expect("a file inside");
    }

    /// Installs or upgrades a package.
    pub fn install(&self, package: &Path) {
        let inside = self.copy_in(package);
        self.run(&["dpkg", "-i", &inside]);
    }

    /// One property of a unit.
    pub fn property(&self, unit: &str, property: &str) -> String {
        self.run(&["systemctl", "show", "-P", property, unit])
            .trim()
            .to_owned()
    }

    /// The daemon's process of a unit, once it is ready.
    pub fn daemon(&self, unit: &str) -> String {
        wait_for(&format!("{unit} to be active"), SOON, || {
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

    /// The journal from its beginning, plain messages, narrowed by journalctl's own arguments.
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
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.inner != 0 {
            let journal = self.try_run(&["journalctl", "--quiet", "--no-pager", "--lines=40"]);
            eprintln!(
                "the machine's journal ended with:\n{}",
                String::from_utf8_lossy(&journal.stdout)
            );
        }
        // unshare's --kill-child takes the inside down with it.
        let _ = self.outer.kill();
        // Dead, it is in nobody's way; the kernel takes a second more to clear its file systems
        // away.
        self.turn = None;
        let _ = self.outer.wait();
        let start = Instant::now();
        while !remove_cgroup(&self.cgroup) && start.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = fs::remove_file(&self.log);
    }
}

/// Where the unified hierarchy is mounted.
fn cgroup2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .find(|mount| mount.get(2) == Some(&"cgroup2"))
        .map(|mount| PathBuf::from(mount[1]))
}

/// Removes a cgroup and those below it; false while there is still a process in one.
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

/// Takes away what a killed test process of an earlier run could not.
fn sweep(hierarchy: &Path) {
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

/// Whether this host has what a machine is made of, or the one thing that is missing.
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
        ("cargo-deb", "cargo install cargo-deb --locked"),
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| {
        let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        folders.any(|folder| folder.join(program).exists())
    };
    if let Some((program, package)) = needed.iter().find(|(program, _)| !has(program)) {
        return Err(format!("no {program} ({package})"));
    }
    // One try of all the privileges it takes: namespaces, a mount, an overlay of the root.
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
