//! A disk that fails when told: `shim.c`, compiled once, and what it is told through the environment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Every call that changes what is on the disk.
pub(crate) const ALL_CALLS: &str = "write sync truncate rename unlink";

static SHIM: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let (own, shim) = (directory.join(format!("faults-{}.so", std::process::id())), directory.join("faults-shim.so"));
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&own);
    let compiled = cc.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/faults/shim.c")).arg("-ldl").status();
    assert!(compiled.is_ok_and(|status| status.success()), "tests/faults/shim.c needs a C compiler: install one");
    // Another run may use the one that is there.
    std::fs::rename(&own, &shim).unwrap();
    shim
});

/// What the disk does to one process.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Part of the path of the files that are meant.
    pub(crate) files: String,
    /// The calls that count.
    pub(crate) calls: &'static str,
    /// Which of them is spoiled; 0 = none, all are logged.
    pub(crate) nth: usize,
    /// How; see `shim.c`.
    pub(crate) kind: &'static str,
    /// Where the shim notes what it spoiled.
    pub(crate) log: PathBuf,
    /// Nothing counts before this file exists.
    pub(crate) armed: Option<PathBuf>,
}

impl Fault {
    /// On the files in `directory`, logged beside it.
    pub(crate) fn on(directory: &Path, calls: &'static str, kind: &'static str, nth: usize) -> Fault {
        let mut log = directory.as_os_str().to_owned();
        log.push(".faults");
        let files = format!("{}/", directory.display());
        Fault { files, calls, nth, kind, log: log.into(), armed: None }
    }

    /// The environment of the process that is to suffer.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let mut env = vec![
            ("LD_PRELOAD".to_owned(), SHIM.display().to_string()),
            ("FAULT_FILES".to_owned(), self.files.clone()),
            ("FAULT_CALLS".to_owned(), self.calls.to_owned()),
            ("FAULT_NTH".to_owned(), self.nth.to_string()),
            ("FAULT_KIND".to_owned(), self.kind.to_owned()),
            ("FAULT_LOG".to_owned(), self.log.display().to_string()),
        ];
        env.extend(self.armed.iter().map(|file| ("FAULT_ARMED".to_owned(), file.display().to_string())));
        env
    }

    /// `COUNT CALL FILE` of each call that was spoiled so far.
    pub(crate) fn spoiled(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}
