//! Kotlin and Swift from a built library, laid out as Gradle and SwiftPM want them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use uniffi::{GenerateOptions, SwiftBindingsOptions, TargetLanguage};

use crate::workspace::{C_MODULE, TESTING_LIBRARY, root};
use crate::{Language, binary};

/// Writes the bindings of every crate in the library.
///
/// Kotlin: one file below the directories of its package. Swift: `BackstopBindings` with the sources that apps compile,
/// `BackstopTestingBindings` with those of tests, and `BackstopFFI` with the C module that both import.
pub(crate) fn generate(language: Language, library: &Path, out: &Path) -> Result<()> {
    let binary = binary::Library::read(library)?;
    if !binary.has_symbol_table {
        bail!(
            "{} is stripped: what describes it is gone. Generate from the library that Cargo built (`cargo build -p \
             backstop-ffi`), or from what `backstop-bindgen build` keeps in `symbols`",
            library.display()
        );
    }
    let (library, out) = (utf8(library)?, utf8(out)?);
    match language {
        Language::Kotlin => kotlin(library, out),
        Language::Swift => swift(library, out),
    }
}

fn kotlin(library: &Utf8Path, out: &Utf8Path) -> Result<()> {
    uniffi::generate(GenerateOptions {
        languages: vec![TargetLanguage::Kotlin],
        source: library.to_owned(),
        out_dir: out.to_owned(),
        config_override: Some(config()?),
        format: false,
        crate_filter: None,
        metadata_no_deps: true,
    })
    .with_context(|| format!("no Kotlin from {library}"))
}

fn swift(library: &Utf8Path, out: &Utf8Path) -> Result<()> {
    let (sources, c_module) = (out.join("BackstopBindings"), out.join(C_MODULE));
    let into = |out_dir: Utf8PathBuf, swift: bool| -> Result<()> {
        uniffi::generate_swift_bindings(SwiftBindingsOptions {
            generate_swift_sources: swift,
            generate_headers: !swift,
            generate_modulemap: !swift,
            source: library.to_owned(),
            out_dir,
            // That would be a module map of a framework; ours is a library with headers.
            xcframework: false,
            module_name: Some(C_MODULE.to_owned()),
            modulemap_filename: Some("module.modulemap".to_owned()),
            metadata_no_deps: true,
            link_frameworks: Vec::new(),
            config: Some(config()?),
        })
        .with_context(|| format!("no Swift from {library}"))
    };
    into(sources.clone(), true)?;
    set_testing_apart(&sources, &out.join("BackstopTestingBindings"))?;
    into(c_module.join("include"), false)?;
    // SwiftPM takes a directory for a C target only if there is something to compile.
    fs::write(c_module.join("empty.c"), "// Nothing to compile: the module's code is in the library.\n")?;
    Ok(())
}

/// What only tests call becomes a module of its own: in the other, every app would carry it. It uses types of the
/// other, which UniFFI takes to be in the same module.
fn set_testing_apart(sources: &Utf8Path, testing: &Utf8Path) -> Result<()> {
    let name = format!("{TESTING_LIBRARY}.swift");
    let together = sources.join(&name);
    if !together.exists() {
        return Ok(());
    }
    let text = fs::read_to_string(&together).with_context(|| format!("cannot read {together}"))?;
    fs::create_dir_all(testing).with_context(|| format!("cannot make {testing}"))?;
    let apart = testing.join(name);
    fs::write(&apart, format!("import BackstopBindings\n{text}")).with_context(|| format!("cannot write {apart}"))?;
    fs::remove_file(&together).with_context(|| format!("cannot remove {together}"))
}

fn config() -> Result<Utf8PathBuf> {
    Ok(utf8(root())?.join("bindings/uniffi.toml"))
}

fn utf8(path: &Path) -> Result<&Utf8Path> {
    Utf8Path::from_path(path).with_context(|| format!("{} is no UTF-8", path.display()))
}
