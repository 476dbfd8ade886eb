//! Namespaces of a test's own: what it mounts and starts is gone when it ends, however it ends.
//!
//! The test runs itself again inside. The kernel unmounts with the last process of the mount namespace, and kills every
//! process of the process namespace with its first; so nothing has to be cleaned up, not even after a crash.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const INSIDE: &str = "BACKSTOP_TEST_ALONE";

/// Runs `body` where it may mount. `test` is the name of the test that calls this.
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|name| name == test) {
        return body();
    }
    let namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut tried = Command::new("unshare");
    let tried = tried.args(namespaces).arg("true").stderr(Stdio::null()).status();
    assert!(tried.is_ok_and(|status| status.success()), "faults of the disk need mounts of their own: run as root");
    let inner = Command::new("unshare")
        .args(namespaces)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .output()
        .unwrap();
    let (said, complained) = (String::from_utf8_lossy(&inner.stdout), String::from_utf8_lossy(&inner.stderr));
    let ran = inner.status.success() && said.contains("test result: ok. 1 passed");
    assert!(ran, "{}\n{said}\n{complained}", inner.status);
    // What the inner run tells of itself.
    said.lines().filter_map(|line| line.find("-- ").map(|at| &line[at..])).for_each(|told| println!("{told}"));
}

fn call(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: install it"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Mounts a disk in memory of that size on `at`.
pub(crate) fn mount_memory(at: &Path, size: &str) -> Mounted {
    call("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "backstop", text(at)]);
    Mounted { at: at.to_owned(), device: "tmpfs".into() }
}

/// Stops a process in the middle of whatever it does, or lets it go on.
pub(crate) fn signal(pid: u32, signal: &str) {
    call("kill", &[signal, &pid.to_string()]);
}

/// Something mounted; unmounted when dropped.
pub(crate) struct Mounted {
    /// Where.
    pub(crate) at: PathBuf,
    device: String,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.at).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
        }
    }
}

/// A disk with ext4 on it, which is a file.
pub(crate) struct Disk {
    image: PathBuf,
}

impl Disk {
    /// An empty one in `directory`.
    pub(crate) fn make(directory: &Path, name: &str, mebibytes: u64) -> Disk {
        let image = directory.join(name);
        std::fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        // Nothing is put off to the background: the disk rests while nobody writes.
        let options = "lazy_itable_init=0,lazy_journal_init=0,discard";
        call("mkfs.ext4", &["-q", "-F", "-E", options, "-J", "size=4", text(&image)]);
        Disk { image }
    }

    /// Mounts it; the kernel replays its journal.
    pub(crate) fn mount(&self, at: &Path) -> Mounted {
        std::fs::create_dir_all(at).unwrap();
        make_loop_nodes();
        call("mount", &["-o", "loop,noatime", text(&self.image), text(at)]);
        let device = call("findmnt", &["-n", "-o", "SOURCE", text(at)]);
        Mounted { at: at.to_owned(), device }
    }

    /// What is on the disk if the power goes now: everything the kernel had written to it and nothing that it had not.
    /// Whoever writes must be stopped.
    pub(crate) fn cut(&self, mounted: &Mounted, name: &str) -> Disk {
        let image = self.image.with_file_name(name);
        for _ in 0..20 {
            let before = writes(&mounted.device);
            std::fs::copy(&self.image, &image).unwrap();
            if before == writes(&mounted.device) {
                return Disk { image };
            }
        }
        panic!("the disk never rests");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.image);
    }
}

/// What the device was asked to write and to flush so far, and what is under way.
fn writes(device: &str) -> Vec<String> {
    let name = device.rsplit('/').next().unwrap();
    let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
    let fields: Vec<&str> = stat.split_whitespace().collect();
    [4, 6, 8].map(|field: usize| fields[field].to_owned()).to_vec()
}

/// A container may lack the nodes that udev would make.
fn make_loop_nodes() {
    let missing = |node: &str| !Path::new(node).exists();
    if missing("/dev/loop-control") {
        call("mknod", &["/dev/loop-control", "c", "10", "237"]);
    }
    let next = call("losetup", &["--find"]);
    if missing(&next) {
        call("mknod", &[&next, "b", "7", next.trim_start_matches("/dev/loop")]);
    }
}
