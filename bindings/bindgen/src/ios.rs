//! The iOS package: the XCFramework, its checksum, and the Swift package of a release around it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use object::Architecture;
use sha2::{Digest, Sha256};

use crate::archive::Archive;
use crate::build::{self, Kind, run};
use crate::missing::{self, Missing};
use crate::workspace::{C_MODULE, TESTING_LIBRARY, root, target_directory};
use crate::{Language, binary, generate};

/// What tests of apps need is in the same archive: an app's linker drops what nobody calls.
const PACKAGE: &str = "backstop-ffi-testing";
/// The slices of the XCFramework: one directory each, of one machine or of two.
const SLICES: [(&str, &[&str]); 3] = [
    ("ios", &["aarch64-apple-ios"]),
    ("ios-simulator", &["aarch64-apple-ios-sim", "x86_64-apple-ios"]),
    // For `swift test` on a Mac.
    ("macos", &["aarch64-apple-darwin", "x86_64-apple-darwin"]),
];
const BEGIN: &str = "// rust library: begin";
const END: &str = "// rust library: end";

/// `package ios`.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the released XCFramework will be downloaded from; with it, the Swift package of the release is written.
    #[arg(long)]
    url: Option<String>,
    /// Where to write; `target/package/ios` if not given.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Builds every slice and packs them. Without a URL the checkout itself gets the XCFramework, for Xcode.
pub(crate) fn package(options: &Options) -> Result<()> {
    Missing::unless_empty("The iOS package", missing())?;
    let out = options.out.clone().unwrap_or_else(|| target_directory().join("package/ios"));
    fs::create_dir_all(&out)?;
    let libraries = SLICES.iter().map(|(slice, targets)| build_slice(&out.join(slice), targets));
    let libraries = libraries.collect::<Result<Vec<_>>>()?;

    let generated = root().join("ios/Generated");
    run(Command::new("cargo").current_dir(root()).args(["build", "--locked", "--package", PACKAGE, "--lib"]))?;
    let described = target_directory().join("debug").join(build::file_name(PACKAGE, Kind::Cdylib, "apple"));
    generate::generate(Language::Swift, &described, &generated)?;
    let framework = create_framework(&out, &libraries, &generated)?;
    let Some(url) = &options.url else {
        let local = generated.join(format!("{C_MODULE}.xcframework"));
        run(Command::new("rsync").args(["--archive", "--delete"]).arg(framework.join("")).arg(&local))?;
        println!("{}", local.display());
        return Ok(());
    };
    let zip = out.join(format!("{C_MODULE}.xcframework.zip"));
    let mut archive = Archive::create(&zip)?;
    archive.add_directory(&format!("{C_MODULE}.xcframework"), &framework)?;
    archive.finish()?;
    let manifest = fs::read_to_string(root().join("ios/Package.swift")).context("no ios/Package.swift")?;
    let released = out.join("Package.swift");
    fs::write(&released, released_manifest(&manifest, url, &checksum(&fs::read(&zip)?))?)?;
    println!("{}\n{}", zip.display(), released.display());
    Ok(())
}

fn missing() -> Vec<String> {
    let mut what = Vec::new();
    if !missing::runs("xcodebuild", &["-version"]) {
        what.push(
            "Xcode 16 or newer, on a Mac: the App Store, then `sudo xcode-select --switch /Applications/Xcode.app`"
                .to_owned(),
        );
    }
    let targets: Vec<&str> = SLICES.iter().flat_map(|(_, targets)| targets.iter().copied()).collect();
    what.extend(missing::rust_targets(&targets));
    what
}

/// One archive for all machines of a slice.
fn build_slice(directory: &Path, targets: &[&str]) -> Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let slice = directory.join(format!("lib{TESTING_LIBRARY}.a"));
    let mut lipo = Command::new("lipo");
    lipo.arg("-create");
    for target in targets {
        let built = build::build(&build::Options {
            package: PACKAGE.to_owned(),
            target: Some((*target).to_owned()),
            kind: Kind::Staticlib,
            profile: "mobile".to_owned(),
            strip: "strip".into(),
            ndk_abi: None,
            cargo_arguments: vec![],
        })?;
        let machine = if target.starts_with("aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };
        let objects = binary::check_archive(&built, machine)?;
        println!("{target}: {objects} objects, {} bytes before linking", fs::metadata(&built)?.len());
        lipo.arg(built);
    }
    run(lipo.arg("-output").arg(&slice))?;
    Ok(slice)
}

fn create_framework(out: &Path, libraries: &[PathBuf], generated: &Path) -> Result<PathBuf> {
    // In a directory of the module's name: at the top, two such frameworks in one app overwrite each other's map.
    let headers = out.join("headers");
    run(Command::new("rsync")
        .args(["--archive", "--delete", "--mkpath"])
        .arg(generated.join(C_MODULE).join("include").join(""))
        .arg(headers.join(C_MODULE)))?;
    let framework = out.join(format!("{C_MODULE}.xcframework"));
    if framework.exists() {
        fs::remove_dir_all(&framework)?;
    }
    let mut xcodebuild = Command::new("xcodebuild");
    xcodebuild.arg("-create-xcframework");
    for library in libraries {
        xcodebuild.arg("-library").arg(library).arg("-headers").arg(&headers);
    }
    run(xcodebuild.arg("-output").arg(&framework))?;
    Ok(framework)
}

/// As `swift package compute-checksum` says it.
fn checksum(zip: &[u8]) -> String {
    Sha256::digest(zip).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The manifest of the checkout with the released library in the place of the one that was built here.
pub(crate) fn released_manifest(manifest: &str, url: &str, checksum: &str) -> Result<String> {
    if !url.starts_with("https://") || !url.ends_with(".zip") || url.contains(['"', '\\']) {
        bail!("--url must be https://….zip, since SwiftPM takes nothing else");
    }
    let marks = (manifest.matches(BEGIN).count(), manifest.matches(END).count());
    let (Some(begin), Some(end)) = (manifest.find(BEGIN), manifest.find(END)) else {
        bail!("ios/Package.swift lacks the lines `{BEGIN}` and `{END}`, between which a release puts its library");
    };
    if marks != (1, 1) || begin > end {
        bail!("ios/Package.swift must have `{BEGIN}` and `{END}` once each, in this order");
    }
    Ok(format!(
        "{}let rust = Target.binaryTarget(\n    name: \"{C_MODULE}\",\n    url: \"{url}\",\n    checksum: \
         \"{checksum}\"\n){}",
        &manifest[..begin],
        &manifest[end + END.len()..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://example.com/BackstopFFI.xcframework.zip";

    #[test]
    fn a_release_replaces_what_stands_between_the_marks_and_nothing_else() {
        let manifest = "import PackageDescription\n// rust library: begin\n#if os(Linux)\nlet rust = 1\n#endif\n\
                        // rust library: end\nlet package = 2\n";
        let released = released_manifest(manifest, URL, "abc").expect("rendered");
        assert_eq!(
            released,
            format!(
                "import PackageDescription\nlet rust = Target.binaryTarget(\n    name: \"BackstopFFI\",\n    url: \
                 \"{URL}\",\n    checksum: \"abc\"\n)\nlet package = 2\n"
            )
        );
    }

    #[test]
    fn a_manifest_without_its_marks_or_a_url_that_swiftpm_refuses_is_an_error() {
        let good = "// rust library: begin\n// rust library: end\n";
        for bad in ["", "// rust library: begin\n", "// rust library: end\n// rust library: begin\n", &good.repeat(2)] {
            assert!(released_manifest(bad, URL, "abc").is_err(), "{bad}");
        }
        for bad in ["http://example.com/a.zip", "https://example.com/a.tar", "https://example.com/\".zip"] {
            assert!(released_manifest(good, bad, "abc").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_checksum_is_the_one_that_swiftpm_computes() {
        assert_eq!(checksum(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn a_framework_is_packed_in_the_order_of_names() {
        let directory = tempfile::tempdir().expect("a directory");
        let framework = directory.path().join("framework");
        fs::create_dir_all(framework.join("b/c")).expect("made");
        for name in ["b/c/d", "b/a", "Info.plist"] {
            fs::write(framework.join(name), name).expect("written");
        }
        let zip = directory.path().join("a.zip");
        let mut archive = Archive::create(&zip).expect("created");
        archive.add_directory("X.xcframework", &framework).expect("added");
        archive.finish().expect("finished");
        let listed = Command::new("python3").args(["-m", "zipfile", "-l"]).arg(&zip).output().expect("Python");
        let text = String::from_utf8(listed.stdout).expect("UTF-8");
        let names: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, ["X.xcframework/Info.plist", "X.xcframework/b/a", "X.xcframework/b/c/d"]);
    }

    #[cfg(not(target_os = "macos"))]
    #[test]
    fn without_a_mac_it_is_said_what_is_missing() {
        let said = missing().join("\n");
        assert!(said.contains("Xcode 16") && said.contains("rustup target add aarch64-apple-ios"), "{said}");
    }
}
