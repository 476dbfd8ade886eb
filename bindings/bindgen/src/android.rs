//! The Android package: the library of every ABI, checked, and the AAR around it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use object::Architecture;

use crate::archive::Archive;
use crate::binary::Library;
use crate::budget::Budget;
use crate::build::{self, Kind};
use crate::missing::{self, Missing};
use crate::workspace::{LIBRARY, root, target_directory};

/// The oldest Android that the SDK runs on: 7.0.
pub(crate) const MIN_SDK: &str = "24";
const PACKAGE: &str = "dev.backstop";
/// Google Play takes nothing smaller for 64 bit.
const PAGE_BYTES_64_BIT: u64 = 16_384;
/// What every Android has. Anything else would have to be shipped, too.
const SYSTEM_LIBRARIES: [&str; 4] = ["libc.so", "libdl.so", "liblog.so", "libm.so"];

/// One of the platforms of Android.
#[derive(Clone, Copy)]
pub(crate) struct Abi {
    /// As Android calls it.
    pub(crate) name: &'static str,
    /// As Rust calls it.
    pub(crate) target: &'static str,
    architecture: Architecture,
    page_bytes: u64,
}

/// All that are shipped. 32-bit x86 is left to emulators of the past.
pub(crate) const ABIS: [Abi; 3] = [
    Abi {
        name: "arm64-v8a",
        target: "aarch64-linux-android",
        architecture: Architecture::Aarch64,
        page_bytes: PAGE_BYTES_64_BIT,
    },
    Abi { name: "armeabi-v7a", target: "armv7-linux-androideabi", architecture: Architecture::Arm, page_bytes: 4_096 },
    Abi {
        name: "x86_64",
        target: "x86_64-linux-android",
        architecture: Architecture::X86_64,
        page_bytes: PAGE_BYTES_64_BIT,
    },
];

/// What the shrinker of an app must leave alone; the façade's rules say the same (`android/sdk/consumer-rules.pro`).
const REQUIRED_RULES: [&str; 5] = [
    "-keep class com.sun.jna.** { *; }",
    "-keep class * implements com.sun.jna.** { *; }",
    "-keep class * extends com.sun.jna.** { *; }",
    "-dontwarn java.awt.**",
    "-keep class dev.backstop.internal.** { *; }",
];

/// `package android`.
#[derive(Args)]
pub(crate) struct Options {
    /// Libraries that are built already, as `<abi>/libbackstop_ffi.so`: nothing is built, and no NDK is needed.
    #[arg(long)]
    prebuilt: Option<PathBuf>,
    /// The façade's compiled classes; with them, the AAR is made.
    #[arg(long)]
    classes: Option<PathBuf>,
    /// Where to write; `target/package/android` if not given.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Builds or takes the libraries, checks them, and lays them out.
pub(crate) fn package(options: &Options) -> Result<()> {
    let out = options.out.clone().unwrap_or_else(|| target_directory().join("package/android"));
    let libraries = out.join("jniLibs");
    match &options.prebuilt {
        Some(prebuilt) => ABIS.iter().try_for_each(|abi| copy(&prebuilt.join(abi.name), &libraries.join(abi.name)))?,
        None => build_all(&libraries)?,
    }
    let budget = Budget::read(&root().join("bindings/size-budget.toml"))?;
    for line in check_all(&libraries, &budget)? {
        println!("{line}");
    }
    if let Some(classes) = &options.classes {
        let sdk = root().join("android/sdk");
        let aar = out.join("backstop-android.aar");
        let manifest =
            fs::read_to_string(sdk.join("src/main/AndroidManifest.xml")).context("no manifest of the SDK")?;
        let rules = fs::read_to_string(sdk.join("consumer-rules.pro")).context("no R8 rules of the SDK")?;
        let classes = fs::read(classes).with_context(|| format!("cannot read {}", classes.display()))?;
        assemble(&aar, &Contents { manifest: &manifest, rules: &rules, classes: &classes, libraries: &libraries })?;
        println!("{}", aar.display());
    }
    println!("{}", libraries.display());
    Ok(())
}

fn build_all(libraries: &Path) -> Result<()> {
    let ndk = std::env::var_os("ANDROID_NDK_HOME").map(PathBuf::from);
    Missing::unless_empty("The Android package", missing(ndk.as_deref()))?;
    let strip = strip_program(&ndk.unwrap_or_default())?;
    for abi in &ABIS {
        let shipped = build::build(&build::Options {
            package: "backstop-ffi".to_owned(),
            target: Some(abi.target.to_owned()),
            kind: Kind::Cdylib,
            profile: "mobile".to_owned(),
            strip: strip.clone(),
            ndk_abi: Some(abi.name),
            cargo_arguments: vec![],
        })?;
        copy(shipped.parent().context("a library lies in a directory")?, &libraries.join(abi.name))?;
    }
    Ok(())
}

fn missing(ndk: Option<&Path>) -> Vec<String> {
    let get = "install \"NDK (Side by side)\" 28 or newer in Android Studio's SDK manager, or from \
               https://developer.android.com/ndk/downloads";
    let mut what = Vec::new();
    match ndk {
        None => what.push(format!("ANDROID_NDK_HOME, the directory of the Android NDK: {get}")),
        Some(ndk) => match ndk_version(ndk) {
            None => what.push(format!("an Android NDK in ANDROID_NDK_HOME ({}): {get}", ndk.display())),
            Some(version) if version < 28 => what.push(format!("a newer Android NDK than {version}: {get}")),
            Some(_) => {}
        },
    }
    if !missing::runs("cargo", &["ndk", "--version"]) {
        what.push("cargo-ndk: `cargo install cargo-ndk --version 4.1.2 --locked`".to_owned());
    }
    what.extend(missing::rust_targets(&ABIS.map(|abi| abi.target)));
    what
}

/// The NDK's major version, from the file in which it says so.
fn ndk_version(ndk: &Path) -> Option<u32> {
    let properties = fs::read_to_string(ndk.join("source.properties")).ok()?;
    let revision = properties.lines().find_map(|line| line.strip_prefix("Pkg.Revision")?.trim().strip_prefix('='))?;
    revision.trim().split('.').next()?.parse().ok()
}

fn strip_program(ndk: &Path) -> Result<PathBuf> {
    let hosts = ndk.join("toolchains/llvm/prebuilt");
    let host = fs::read_dir(&hosts).with_context(|| format!("no {}", hosts.display()))?.next();
    Ok(host.with_context(|| format!("{} is empty", hosts.display()))??.path().join("bin/llvm-strip"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let name = format!("lib{LIBRARY}.so");
    fs::create_dir_all(to)?;
    fs::copy(from.join(&name), to.join(&name)).with_context(|| format!("no {}", from.join(&name).display()))?;
    Ok(())
}

/// Checks every ABI; a line to show for each.
fn check_all(libraries: &Path, budget: &Budget) -> Result<Vec<String>> {
    let (mut lines, mut exported): (Vec<String>, Option<BTreeSet<String>>) = (Vec::new(), None);
    for abi in &ABIS {
        let path = libraries.join(abi.name).join(format!("lib{LIBRARY}.so"));
        let library = Library::read(&path)?;
        check_library(abi, &library).with_context(|| format!("{} cannot be shipped", path.display()))?;
        let first = exported.get_or_insert_with(|| library.exported.clone());
        if let Some(one) = first.symmetric_difference(&library.exported).next() {
            bail!("{one} is not in every ABI: build them all from one checkout");
        }
        lines.push(format!("{}: {}", abi.name, budget.check(abi.target, library.bytes)?));
    }
    Ok(lines)
}

/// Whether that library is one that Android loads.
pub(crate) fn check_library(abi: &Abi, library: &Library) -> Result<()> {
    if library.architecture != abi.architecture {
        bail!("it is for {:?}, and {} is {:?}", library.architecture, abi.name, abi.architecture);
    }
    if library.page_bytes < abi.page_bytes {
        bail!(
            "its segments are aligned to {} bytes; phones with pages of {} cannot load it: use NDK 28 or newer",
            library.page_bytes,
            abi.page_bytes
        );
    }
    if library.has_symbol_table {
        bail!("it is not stripped: ship the file beside `symbols`");
    }
    match library.needed.iter().find(|name| !SYSTEM_LIBRARIES.contains(&name.as_str())) {
        Some(foreign) => bail!("it loads {foreign}, which Android does not have"),
        None => Ok(()),
    }
}

/// Whether an app's shrinker is told everything.
pub(crate) fn check_rules(rules: &str) -> Result<()> {
    let written: BTreeSet<String> =
        rules.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    match REQUIRED_RULES.iter().find(|rule| !written.contains(**rule)) {
        Some(rule) => {
            bail!("android/sdk/consumer-rules.pro lacks `{rule}`: an app with R8 would crash at the first call")
        }
        None => Ok(()),
    }
}

/// What an AAR is made of.
struct Contents<'a> {
    manifest: &'a str,
    rules: &'a str,
    classes: &'a [u8],
    libraries: &'a Path,
}

/// An AAR is a plain zip; the same input is the same file, byte for byte.
fn assemble(aar: &Path, contents: &Contents<'_>) -> Result<()> {
    check_rules(contents.rules)?;
    if !contents.classes.starts_with(b"PK") {
        bail!("the façade's classes are no jar");
    }
    let mut archive = Archive::create(aar)?;
    archive.add("AndroidManifest.xml", packed_manifest(contents.manifest)?.as_bytes())?;
    archive.add("META-INF/com/android/build/gradle/aar-metadata.properties", AAR_METADATA)?;
    // The SDK has no resources.
    archive.add("R.txt", b"")?;
    archive.add("classes.jar", contents.classes)?;
    for abi in &ABIS {
        let name = format!("lib{LIBRARY}.so");
        let bytes = fs::read(contents.libraries.join(abi.name).join(&name))?;
        archive.add(&format!("jni/{}/{name}", abi.name), &bytes)?;
    }
    archive.add("proguard.txt", contents.rules.as_bytes())?;
    archive.finish()
}

const AAR_METADATA: &[u8] = b"aarFormatVersion=1.0\naarMetadataVersion=1.0\n";

/// In the sources Gradle knows the package and the oldest Android; a packed manifest says them itself.
fn packed_manifest(manifest: &str) -> Result<String> {
    let tag = manifest.find("<manifest").context("the manifest has no <manifest>")?;
    let end = tag + manifest[tag..].find('>').context("<manifest> has no end")?;
    let (opening, mut rest) = (&manifest[..end], &manifest[end..]);
    let package = if opening.contains(" package=") { String::new() } else { format!("\n    package=\"{PACKAGE}\"") };
    let mut packed = format!("{}{package}", opening.trim_end_matches('/').trim_end());
    let oldest = format!(">\n    <uses-sdk android:minSdkVersion=\"{MIN_SDK}\" />\n");
    if opening.ends_with('/') {
        packed.push_str(&oldest);
        packed.push_str("</manifest");
    } else if !manifest.contains("<uses-sdk") {
        packed.push_str(&oldest);
        rest = rest[1..].trim_start_matches('\n');
    }
    packed.push_str(rest);
    Ok(packed)
}

#[cfg(test)]
#[path = "android_tests.rs"]
mod tests;
