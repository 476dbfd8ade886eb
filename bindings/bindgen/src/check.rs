//! What can be checked of the packages on any machine: size, symbols, rules, templates.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::android::{ABIS, check_library, check_rules};
use crate::binary::Library;
use crate::budget::Budget;
use crate::build::{self, Kind};
use crate::ios::released_manifest;
use crate::report::Report;
use crate::workspace::{LIBRARY, root};

/// `package check`.
#[derive(Args)]
pub(crate) struct Options {
    /// The stripped library of this machine, if it is built already.
    #[arg(long)]
    library: Option<PathBuf>,
}

/// `inspect`.
#[derive(Args)]
pub(crate) struct InspectArgs {
    /// The platform, as Rust calls it.
    #[arg(long)]
    target: String,
    /// What the platform defines: one symbol a line, `#` begins a comment. May be given more than once.
    #[arg(long)]
    symbols: Vec<PathBuf>,
    /// The stripped library.
    library: PathBuf,
}

/// Builds the library of this machine, which stands in for phones, and checks everything that needs no phone.
pub(crate) fn check(options: &Options) -> Result<()> {
    let host = build::host()?;
    let library = match &options.library {
        Some(library) => library.clone(),
        None => build::build(&build::Options {
            package: "backstop-ffi".to_owned(),
            target: None,
            kind: Kind::Cdylib,
            profile: "mobile".to_owned(),
            strip: "strip".into(),
            ndk_abi: None,
            cargo_arguments: vec![],
        })?,
    };
    let mut report = Report::default();
    report.check("size", size(&host, &library));
    report.check("symbols", symbols(&library));
    report.check(
        "R8 rules",
        read("android/sdk/consumer-rules.pro").and_then(|text| check_rules(&text)).map(|()| String::new()),
    );
    report.check("manifest of the SDK", manifest());
    report.check("Package.swift of a release", release());
    report.finish()
}

/// Checks one library of whatever target, and reports its size.
pub(crate) fn inspect(args: &InspectArgs) -> Result<()> {
    let mut report = Report::default();
    report.check(&format!("size for {}", args.target), size(&args.target, &args.library));
    if !args.target.contains("apple") {
        report.check(&format!("symbols for {}", args.target), symbols(&args.library));
    }
    if !args.symbols.is_empty() {
        let closed = closed(&args.library, &args.symbols);
        report.check(&format!("nothing undefined for {}", args.target), closed);
    }
    if let Some(abi) = ABIS.iter().find(|abi| abi.target == args.target) {
        let loadable = Library::read(&args.library).and_then(|library| {
            check_library(abi, &library)?;
            Ok(format!("segments of {} bytes, needs {:?}", library.page_bytes, library.needed))
        });
        report.check(&format!("loadable as {}", abi.name), loadable);
    }
    report.finish()
}

fn size(target: &str, library: &Path) -> Result<String> {
    Budget::read(&root().join("bindings/size-budget.toml"))?.check(target, Library::read(library)?.bytes)
}

/// UniFFI's own functions and nothing else: a second library in an app may bring an SQLite of its own.
fn symbols(library: &Path) -> Result<String> {
    let library = Library::read(library)?;
    let first = format!("ffi_{LIBRARY}_uniffi_contract_version");
    if !library.exported.contains(&first) {
        bail!("{first} is not exported: the bindings cannot load it");
    }
    let ours = [format!("ffi_{LIBRARY}_"), format!("uniffi_{LIBRARY}_"), "UNIFFI_META_".to_owned()];
    let foreign = library.exported.iter().find(|name| !ours.iter().any(|prefix| name.starts_with(prefix)));
    if let Some(foreign) = foreign {
        bail!("{foreign} is exported, and would meet another library's symbol of that name");
    }
    if library.has_symbol_table {
        bail!("it is not stripped");
    }
    Ok(format!("{} exported", library.exported.len()))
}

/// Whether the platform defines everything that the library takes from it.
fn closed(library: &Path, symbols: &[PathBuf]) -> Result<String> {
    let mut defined = BTreeSet::new();
    for path in symbols {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        defined.extend(text.lines().filter_map(|line| Some(line.split('#').next()?.trim().to_owned())));
    }
    let undefined = Library::read(library)?.undefined;
    let unknown: Vec<&str> = undefined.iter().filter(|name| !defined.contains(*name)).map(String::as_str).collect();
    if !unknown.is_empty() {
        bail!("nobody defines {}: the library would not load", unknown.join(", "));
    }
    Ok(format!("{} taken from the platform", undefined.len()))
}

fn manifest() -> Result<String> {
    let text = read("android/sdk/src/main/AndroidManifest.xml")?;
    if text.contains(" package=") {
        bail!("android/sdk: the package is Gradle's `namespace`, not the manifest's");
    }
    Ok(String::new())
}

fn release() -> Result<String> {
    let text = read("ios/Package.swift")?;
    let released = released_manifest(&text, "https://example.com/BackstopFFI.xcframework.zip", &"0".repeat(64))?;
    match released.contains("Target.target(\n    name: \"BackstopFFI\"") || released.contains("#if os(Linux)") {
        true => bail!("ios/Package.swift says outside its marks how to find the library of this checkout"),
        false => Ok(String::new()),
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(source: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let (c, path) = (directory.path().join("a.c"), directory.path().join("a.so"));
        fs::write(&c, source).expect("written");
        let mut cc = std::process::Command::new("cc");
        let made = cc.args(["-shared", "-fPIC", "-s", "-nostdlib", "-o"]).arg(&path).arg(&c).status();
        assert!(made.expect("a C compiler").success());
        (directory, path)
    }

    #[test]
    fn what_nobody_defines_is_named_and_a_comment_is_no_symbol() {
        let (directory, path) = library("int far(void); int near(void); int here(void) { return far() + near(); }");
        let list = directory.path().join("symbols");
        fs::write(&list, "far # from libfar\n# near\n").expect("written");
        let error = closed(&path, std::slice::from_ref(&list)).expect_err("near is missing").to_string();
        assert_eq!(error, "nobody defines near: the library would not load");
        fs::write(&list, "far\nnear\n").expect("written");
        assert_eq!(closed(&path, &[list]).expect("closed"), "2 taken from the platform");
    }

    #[test]
    fn a_library_that_exports_a_foreign_symbol_is_refused() {
        let first = "void ffi_backstop_ffi_uniffi_contract_version(void) {}";
        let (_directory, good) = library(first);
        assert_eq!(symbols(&good).expect("good"), "1 exported");
        let (_directory, leaky) = library(&format!("{first} void sqlite3_open(void) {{}}"));
        let error = symbols(&leaky).expect_err("SQLite shows").to_string();
        assert!(error.starts_with("sqlite3_open is exported"), "{error}");
        let (_directory, other) = library("void other(void) {}");
        assert!(symbols(&other).is_err());
    }
}
