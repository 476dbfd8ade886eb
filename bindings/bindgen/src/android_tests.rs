//! The AAR from stand-ins: what is refused, and what another program reads out of it.

use super::*;
use crate::binary::fixtures::{AARCH64, X86_64, elf32_arm, elf64};

const MANIFEST: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
    <manifest xmlns:android=\"http://schemas.android.com/apk/res/android\">\n    <application />\n</manifest>\n";

fn libraries(arm64: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (abi, bytes) in
        [("arm64-v8a", arm64), ("armeabi-v7a", &elf32_arm(0x1000)), ("x86_64", &elf64(X86_64, &[0x4000]))]
    {
        fs::create_dir(directory.path().join(abi)).expect("made");
        fs::write(directory.path().join(abi).join("libbackstop_ffi.so"), bytes).expect("written");
    }
    directory
}

fn budget() -> Budget {
    Budget::read(&root().join("bindings/size-budget.toml")).expect("read")
}

fn refused(arm64: &[u8]) -> String {
    format!("{:#}", check_all(libraries(arm64).path(), &budget()).expect_err("is refused"))
}

#[test]
fn a_library_that_phones_cannot_load_is_refused_in_words() {
    let lines = check_all(libraries(&elf64(AARCH64, &[0x4000, 0x4000])).path(), &budget()).expect("good");
    assert_eq!(lines.len(), 3, "{lines:?}");
    let small = refused(&elf64(AARCH64, &[0x4000, 0x1000]));
    assert!(small.contains("aligned to 4096 bytes; phones with pages of 16384 cannot load it"), "{small}");
    let foreign = refused(&elf64(X86_64, &[0x4000]));
    assert!(foreign.contains("it is for X86_64, and arm64-v8a is Aarch64"), "{foreign}");
    assert!(refused(b"").contains("is no library that can be loaded"));
}

#[test]
fn a_library_of_this_machine_is_no_library_of_android() {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, path) = (directory.path().join("a.c"), directory.path().join("a.so"));
    fs::write(&source, "extern int getpid(void); int here(void) { return getpid(); }").expect("written");
    let mut cc = std::process::Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wl,-z,max-page-size=16384", "-o"]).arg(&path).arg(&source);
    assert!(cc.status().expect("a C compiler").success());
    let library = Library::read(&path).expect("read");
    let abi = Abi { architecture: library.architecture, ..ABIS[2] };
    let error = check_library(&abi, &library).expect_err("has symbols").to_string();
    assert!(error.contains("not stripped"), "{error}");
    let error = check_library(&abi, &Library { has_symbol_table: false, ..library }).expect_err("glibc").to_string();
    assert_eq!(error, "it loads libc.so.6, which Android does not have");
}

#[test]
fn an_abi_that_is_missing_is_named() {
    let directory = libraries(&elf64(AARCH64, &[0x4000]));
    fs::remove_dir_all(directory.path().join("x86_64")).expect("removed");
    let error = format!("{:#}", check_all(directory.path(), &budget()).expect_err("one is missing"));
    assert!(error.contains("x86_64/libbackstop_ffi.so"), "{error}");
}

#[test]
fn an_aar_holds_what_gradle_looks_for_and_is_the_same_twice() {
    let libraries = libraries(&elf64(AARCH64, &[0x4000]));
    let rules = REQUIRED_RULES.join("\n");
    let contents = Contents { manifest: MANIFEST, rules: &rules, classes: b"PK\x05\x06", libraries: libraries.path() };
    let (first, second) = (libraries.path().join("a.aar"), libraries.path().join("b.aar"));
    assemble(&first, &contents).expect("made");
    assemble(&second, &contents).expect("made");
    assert_eq!(fs::read(&first).expect("read"), fs::read(&second).expect("read"));
    // Python's own reader, not ours: names in order, and every checksum.
    let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
                  print(*z.namelist(), sep='\\n')\nprint(z.read('AndroidManifest.xml').decode())";
    let read = std::process::Command::new("python3").args(["-c", script]).arg(&first).output().expect("Python");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let text = String::from_utf8(read.stdout).expect("UTF-8");
    let names: Vec<&str> = text.lines().take(8).collect();
    assert_eq!(
        names,
        [
            "AndroidManifest.xml",
            "META-INF/com/android/build/gradle/aar-metadata.properties",
            "R.txt",
            "classes.jar",
            "jni/arm64-v8a/libbackstop_ffi.so",
            "jni/armeabi-v7a/libbackstop_ffi.so",
            "jni/x86_64/libbackstop_ffi.so",
            "proguard.txt",
        ]
    );
    assert!(text.contains("package=\"dev.backstop\"") && text.contains("minSdkVersion=\"24\""), "{text}");
}

#[test]
fn an_aar_without_the_rules_of_the_shrinker_is_not_made() {
    let libraries = libraries(&elf64(AARCH64, &[0x4000]));
    for missing in REQUIRED_RULES {
        let rules = REQUIRED_RULES.into_iter().filter(|rule| *rule != missing).collect::<Vec<_>>().join("\n");
        let contents = Contents { manifest: MANIFEST, rules: &rules, classes: b"PK", libraries: libraries.path() };
        let error = assemble(&libraries.path().join("a.aar"), &contents).expect_err(missing).to_string();
        assert!(error.contains(missing), "{error}");
    }
}

#[test]
fn a_packed_manifest_says_its_package_and_its_oldest_android_once() {
    for manifest in ["<manifest xmlns:android=\"x\">\n</manifest>", "<manifest xmlns:android=\"x\" />"] {
        let packed = packed_manifest(manifest).expect("packed");
        assert_eq!(
            packed,
            "<manifest xmlns:android=\"x\"\n    package=\"dev.backstop\">\n    <uses-sdk android:minSdkVersion=\"24\" \
             />\n</manifest>"
        );
        assert_eq!(packed_manifest(&packed).expect("packed"), packed, "packing twice changes nothing");
    }
    assert!(packed_manifest("<application/>").is_err());
}

#[test]
fn without_an_ndk_it_is_said_what_is_missing_and_where_to_get_it() {
    let said = missing(None).join("\n");
    assert!(said.contains("ANDROID_NDK_HOME") && said.contains("https://developer.android.com/ndk"), "{said}");
    let ndk = tempfile::tempdir().expect("a directory");
    assert!(missing(Some(ndk.path()))[0].starts_with("an Android NDK in ANDROID_NDK_HOME"));
    let version = |text: &str| {
        fs::write(ndk.path().join("source.properties"), text).expect("written");
        ndk_version(ndk.path())
    };
    assert_eq!(version("Pkg.Desc = Android NDK\nPkg.Revision = 28.2.13676358\n"), Some(28));
    assert_eq!(version("Pkg.Desc = Android NDK\n"), None);
    version("Pkg.Revision = 27.0.1\n");
    assert!(missing(Some(ndk.path()))[0].starts_with("a newer Android NDK than 27"));
}
