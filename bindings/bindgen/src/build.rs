//! The library as apps ship it: the profile `mobile`, SQLite without what the SDK does not use, stripped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::android::MIN_SDK;
use crate::workspace::{root, target_directory};

/// SQLite of the phones, on top of the flags of its crate: less by half a megabyte. Only what needs no other parser can
/// be left out of the amalgamation; no function that the crate `rusqlite` names may go, which `-z defs` holds.
const SQLITE: &[&str] = &[
    // As the server has it: a write is on disk without its file's times, and nobody counts memory.
    "-DHAVE_FDATASYNC=1",
    "-DSQLITE_DEFAULT_MEMSTATUS=0",
    // Recommended by SQLite's authors: "x" is a name and never a text.
    "-DSQLITE_DQS=0",
    "-DSQLITE_LIKE_DOESNT_MATCH_BLOBS",
    // Locks as POSIX has them, on Apple's systems, too: no look at the file system's kind, which Apple wants declared.
    "-DSQLITE_ENABLE_LOCKING_STYLE=0",
    // What the crate turns on for others: search, maps, statistics, extensions.
    "-USQLITE_ENABLE_API_ARMOR",
    "-USQLITE_ENABLE_COLUMN_METADATA",
    "-USQLITE_ENABLE_DBSTAT_VTAB",
    "-USQLITE_ENABLE_FTS3",
    "-USQLITE_ENABLE_FTS3_PARENTHESIS",
    "-USQLITE_ENABLE_FTS5",
    "-USQLITE_ENABLE_LOAD_EXTENSION",
    "-USQLITE_ENABLE_MEMORY_MANAGEMENT",
    "-USQLITE_ENABLE_RTREE",
    "-USQLITE_ENABLE_STAT4",
    "-USQLITE_SOUNDEX",
    // What no statement of the SDK and no function of the crate asks for.
    "-DSQLITE_OMIT_COMPILEOPTION_DIAGS",
    "-DSQLITE_OMIT_DATETIME_FUNCS",
    "-DSQLITE_OMIT_DECLTYPE",
    "-DSQLITE_OMIT_DEPRECATED",
    "-DSQLITE_OMIT_DESERIALIZE",
    "-DSQLITE_OMIT_GET_TABLE",
    "-DSQLITE_OMIT_INCRBLOB",
    "-DSQLITE_OMIT_INTROSPECTION_PRAGMAS",
    "-DSQLITE_OMIT_JSON",
    "-DSQLITE_OMIT_LOAD_EXTENSION",
    "-DSQLITE_OMIT_SHARED_CACHE",
    "-DSQLITE_OMIT_TCL_VARIABLE",
    "-DSQLITE_OMIT_TRACE",
    "-DSQLITE_OMIT_UTF16",
    "-DSQLITE_UNTESTABLE",
    // Ways around slow statements and large files: the SDK has a dozen statements on three small tables.
    "-DSQLITE_MAX_MMAP_SIZE=0",
    "-DSQLITE_MAX_WORKER_THREADS=0",
    "-DSQLITE_OMIT_AUTOMATIC_INDEX",
    "-DSQLITE_OMIT_AUTOVACUUM",
    "-DSQLITE_OMIT_BETWEEN_OPTIMIZATION",
    "-DSQLITE_OMIT_COMPLETE",
    "-DSQLITE_OMIT_LIKE_OPTIMIZATION",
    "-DSQLITE_OMIT_LOOKASIDE",
    "-DSQLITE_OMIT_OR_OPTIMIZATION",
    "-DSQLITE_OMIT_SCHEMA_PRAGMAS",
    "-DSQLITE_OMIT_XFER_OPT",
];

/// No panic passes through C (the SDK gives SQLite no function to call), so C needs no tables to be unwound by; and no
/// library replaces one of its functions by another, so that each may be called without a detour.
const C_FLAGS: &str = "-fno-asynchronous-unwind-tables -fno-unwind-tables -fvisibility=hidden";

/// What is built.
#[derive(Args)]
pub(crate) struct Options {
    /// The package.
    #[arg(long, default_value = "backstop-ffi")]
    pub(crate) package: String,
    /// The platform; this machine's if not given.
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// A library to load, or one to link.
    #[arg(long, value_enum, default_value_t = Kind::Cdylib)]
    pub(crate) kind: Kind,
    /// Cargo's profile.
    #[arg(long, default_value = "mobile")]
    pub(crate) profile: String,
    /// The program that strips: the NDK's, or this machine's.
    #[arg(long, default_value = "strip")]
    pub(crate) strip: PathBuf,
    /// The ABI as the NDK calls it, when `cargo ndk` builds.
    #[arg(skip)]
    pub(crate) ndk_abi: Option<&'static str>,
    /// More arguments for Cargo.
    #[arg(last = true)]
    pub(crate) cargo_arguments: Vec<String>,
}

/// The two ways in which an app gets the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Loaded: Android, and the tests on this machine.
    Cdylib,
    /// Linked into the app: Apple's systems.
    Staticlib,
}

/// Builds, and returns where the library is that apps ship. With its symbols it stays beside it, below `symbols`: stack
/// traces of crashes are read with that.
pub(crate) fn build(options: &Options) -> Result<PathBuf> {
    let host = host()?;
    let target = options.target.as_deref().unwrap_or(&host);
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).env("LIBSQLITE3_FLAGS", SQLITE.join(" "));
    let c_flags = format!("CFLAGS_{}", target.replace('-', "_"));
    let given = std::env::var(&c_flags).unwrap_or_default();
    cargo.env(c_flags, format!("{given} {C_FLAGS}"));
    cargo.args(arguments(options, target));
    run(&mut cargo)?;

    let name = file_name(&options.package, options.kind, target);
    let mut built = target_directory();
    built.extend(options.target.as_deref());
    let built = built.join(&options.profile).join(&name);
    let shipped = target_directory().join("package").join(target).join(&name);
    keep(&built, &shipped, options)?;
    Ok(shipped)
}

fn arguments(options: &Options, target: &str) -> Vec<String> {
    let kind = match options.kind {
        Kind::Cdylib => "cdylib",
        Kind::Staticlib => "staticlib",
    };
    let mut arguments = Vec::new();
    if let Some(abi) = options.ndk_abi {
        arguments.extend(["ndk", "--target", abi, "--platform", MIN_SDK].map(String::from));
    }
    arguments.extend(["rustc", "--locked", "--lib", "--crate-type", kind].map(String::from));
    arguments.extend(["--package".to_owned(), options.package.clone()]);
    arguments.extend(["--profile".to_owned(), options.profile.clone()]);
    if let (Some(target), None) = (&options.target, options.ndk_abi) {
        arguments.extend(["--target".to_owned(), target.clone()]);
    }
    arguments.extend(options.cargo_arguments.iter().cloned());
    if options.kind == Kind::Cdylib {
        arguments.push("--".to_owned());
        let linked = link_arguments(target, &file_name(&options.package, options.kind, target));
        arguments.extend(linked.iter().map(|argument| format!("-Clink-arg=-Wl,{argument}")));
    }
    arguments
}

fn link_arguments(target: &str, name: &str) -> Vec<String> {
    // A symbol that nobody defines must fail here, not at the first call on a phone.
    let mut arguments = vec!["-z,defs".to_owned(), "-O2".to_owned()];
    if target.contains("android") {
        arguments.push(format!("-soname,{name}"));
        // Phones with pages of 16 KiB load nothing else (NDK 28 does it by itself for 64 bit).
        arguments.push("-z,max-page-size=16384".to_owned());
        // A tenth of a megabyte of addresses, packed in the form that Android reads since version 6.
        arguments.push("--pack-dyn-relocs=android".to_owned());
    } else if target.contains("linux-gnu") {
        // The same for this machine, which stands in for phones.
        arguments.push("-z,pack-relative-relocs".to_owned());
    }
    arguments
}

fn keep(built: &Path, shipped: &Path, options: &Options) -> Result<()> {
    let directory = shipped.parent().context("a library lies in a directory")?;
    let symbols = directory.join("symbols").join(shipped.file_name().context("a library has a name")?);
    fs::create_dir_all(directory.join("symbols"))?;
    fs::copy(built, &symbols).with_context(|| format!("Cargo made no {}", built.display()))?;
    match options.kind {
        Kind::Cdylib => {
            let mut strip = Command::new(&options.strip);
            run(strip.args(["--strip-unneeded", "-o"]).arg(shipped).arg(&symbols))
        }
        // The app's linker takes what it needs, and the app is stripped as a whole.
        Kind::Staticlib => fs::rename(&symbols, shipped).context("cannot move the library"),
    }
}

/// The file that Cargo makes of a package.
pub(crate) fn file_name(package: &str, kind: Kind, target: &str) -> String {
    let extension = match kind {
        Kind::Staticlib => "a",
        Kind::Cdylib if target.contains("apple") => "dylib",
        Kind::Cdylib => "so",
    };
    format!("lib{}.{extension}", package.replace('-', "_"))
}

/// The target triple of this machine.
pub(crate) fn host() -> Result<String> {
    let said = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&said.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what machine this is")?.to_owned())
}

/// Runs a program to its end. What it prints goes to the error output: ours is for answers.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdout(std::io::stderr()).status().with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status}); its words are above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(target: Option<&str>, kind: Kind) -> Options {
        Options {
            package: "backstop-ffi".to_owned(),
            target: target.map(str::to_owned),
            kind,
            profile: "mobile".to_owned(),
            strip: "strip".into(),
            ndk_abi: None,
            cargo_arguments: vec!["-Zx".to_owned()],
        }
    }

    #[test]
    fn android_gets_large_pages_packed_addresses_and_a_name_and_nothing_undefined() {
        let arguments =
            arguments(&options(Some("aarch64-linux-android"), Kind::Cdylib), "aarch64-linux-android").join(" ");
        for wanted in [
            "--target aarch64-linux-android -Zx -- ",
            "-Clink-arg=-Wl,-z,defs",
            "-Clink-arg=-Wl,-z,max-page-size=16384",
            "-Clink-arg=-Wl,--pack-dyn-relocs=android",
            "-Clink-arg=-Wl,-soname,libbackstop_ffi.so",
        ] {
            assert!(arguments.contains(wanted), "{wanted} in {arguments}");
        }
    }

    #[test]
    fn the_ndk_is_told_its_own_name_for_the_platform_and_cargo_none() {
        let options = Options { ndk_abi: Some("arm64-v8a"), ..options(Some("aarch64-linux-android"), Kind::Cdylib) };
        let arguments = arguments(&options, "aarch64-linux-android").join(" ");
        assert!(arguments.starts_with("ndk --target arm64-v8a --platform 24 rustc --locked "), "{arguments}");
        assert!(
            !arguments.contains("--target aarch64") && arguments.contains("-- -Clink-arg=-Wl,-z,defs"),
            "{arguments}"
        );
    }

    #[test]
    fn an_archive_is_not_linked() {
        let arguments = arguments(&options(Some("aarch64-apple-ios"), Kind::Staticlib), "aarch64-apple-ios").join(" ");
        assert!(arguments.contains("--crate-type staticlib") && !arguments.contains("link-arg"), "{arguments}");
    }

    #[test]
    fn files_are_named_as_each_system_wants_them() {
        assert_eq!(file_name("backstop-ffi", Kind::Cdylib, "x86_64-unknown-linux-gnu"), "libbackstop_ffi.so");
        assert_eq!(file_name("backstop-ffi", Kind::Cdylib, "aarch64-apple-darwin"), "libbackstop_ffi.dylib");
        assert_eq!(
            file_name("backstop-ffi-testing", Kind::Staticlib, "aarch64-apple-ios"),
            "libbackstop_ffi_testing.a"
        );
    }

    #[test]
    fn sqlite_keeps_what_the_crate_names() {
        for named in ["PROGRESS_CALLBACK", "AUTHORIZATION"] {
            assert!(!SQLITE.iter().any(|flag| flag.contains(named)), "{named}");
        }
    }
}
