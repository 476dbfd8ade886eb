//! The real program in a process of its own: built once, started on a free port, stopped or killed.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// Longer than any start or stop may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program as cargo builds it from the sources that these tests were built from, with their profile and features.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--offline",
        "--locked",
        "--quiet",
        // With the features that the whole workspace gives its dependencies: one build for both.
        "--workspace",
        "--bin",
        "backstop",
        "--target-dir",
    ]);
    cargo.arg(profile.parent().unwrap()).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    // What cargo tells a test of its package is a changed environment to ring's build script: it would all build anew.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|known| name.to_string_lossy().starts_with(known)) {
            cargo.env_remove(name);
        }
    }
    assert!(cargo.status().unwrap().success(), "the program does not build");
    profile.join("backstop")
});

/// A command of the program in `dir`, without the environment's configuration.
pub fn backstop(dir: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(&*PROGRAM);
    command.current_dir(dir).args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BACKSTOP") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub fn run(dir: &TempDir, arguments: &[&str]) -> Output {
    backstop(dir, arguments).output().unwrap()
}

/// Runs a command that must succeed, and answers what it printed.
pub fn said(dir: &TempDir, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A running `backstop serve`. Killed when dropped.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    log: Arc<Mutex<Vec<String>>>,
    log_ended: Receiver<()>,
}

impl Server {
    /// Starts it on a free port of loopback, in `dir`, and waits until it listens; `Err` is what it said instead.
    pub fn start(dir: &TempDir, arguments: &[&str], env: &[(&str, &str)]) -> Result<Server, String> {
        let mut command = backstop(dir, &[&["serve"], arguments].concat());
        command.env("BACKSTOP__SERVER__LISTEN", "127.0.0.1:0").envs(env.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, kept) = (channel(), log.clone());
        let (ended, log_ended) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line.clone());
                let _ = lines.0.send(line);
            }
            drop((lines.0, ended));
        });
        let listening = |line: &String| address_of(line, "listen");
        let mut said = Vec::new();
        loop {
            let line = match lines.1.recv_timeout(PATIENCE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    child.kill().unwrap();
                    break;
                }
            };
            if let Some(address) = listening(&line) {
                return Ok(Server { child, url: format!("http://{address}"), log, log_ended });
            }
            said.push(line);
        }
        let status = child.wait().unwrap();
        Err(format!("{}\nexit {}", said.join("\n"), status.code().unwrap_or(-1)))
    }

    /// What it logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The address that this key of `[server]` came to.
    pub fn address(&self, key: &str) -> String {
        self.log().iter().find_map(|line| address_of(line, key)).unwrap()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What the process holds in memory now.
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends SIGHUP: look at the certificate again.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    /// Lets it go on after a SIGSTOP.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    /// Waits until it has ended; answers how, and all it logged.
    pub fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let closed = self.log_ended.recv_timeout(PATIENCE);
        assert!(matches!(closed, Err(RecvTimeoutError::Disconnected)), "it does not end");
        let status = self.child.wait().unwrap();
        let log = std::mem::take(&mut *self.log.lock().unwrap());
        (status, log)
    }
}

/// Where a line of the log says that this listener is.
fn address_of(line: &str, key: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line["key"] == key { line["address"].as_str().map(str::to_owned) } else { None }
}

/// Whether a SIGSTOP holds a process.
pub fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name in parentheses.
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
