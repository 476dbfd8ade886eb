//! What a built library is: its machine, its segments, its symbols, what it loads.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::elf::DT_NEEDED;
use object::read::archive::ArchiveFile;
use object::read::elf::{DynamicTable, FileHeader};
use object::{Architecture, BinaryFormat, File, Object, ObjectSegment, ObjectSymbol};

/// A library that is loaded.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) architecture: Architecture,
    pub(crate) bytes: u64,
    /// The smallest alignment of its loaded segments: the largest page that it can be loaded with.
    pub(crate) page_bytes: u64,
    pub(crate) exported: BTreeSet<String>,
    pub(crate) undefined: BTreeSet<String>,
    /// The libraries that it loads in turn.
    pub(crate) needed: BTreeSet<String>,
    pub(crate) has_symbol_table: bool,
}

impl Library {
    /// Reads an ELF or Mach-O library.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&data).with_context(|| format!("{} is no library that can be loaded", path.display()))
    }

    fn parse(data: &[u8]) -> Result<Self> {
        let file = File::parse(data)?;
        let (mut exported, mut undefined) = (BTreeSet::new(), BTreeSet::new());
        // Mach-O has one table of symbols, and what is stripped there is only what was local.
        let apple = file.format() == BinaryFormat::MachO;
        let symbols: Vec<_> = if apple { file.symbols().collect() } else { file.dynamic_symbols().collect() };
        for symbol in symbols {
            let name = symbol.name()?.to_owned();
            if symbol.is_undefined() && !symbol.is_weak() && !name.is_empty() {
                undefined.insert(name);
            } else if symbol.is_definition() && symbol.is_global() {
                exported.insert(name);
            }
        }
        Ok(Library {
            architecture: file.architecture(),
            bytes: data.len() as u64,
            page_bytes: file.segments().map(|segment| segment.align()).min().unwrap_or(0),
            exported,
            undefined,
            needed: needed(&file)?,
            has_symbol_table: !apple && file.symbols().next().is_some(),
        })
    }
}

fn needed(file: &File<'_>) -> Result<BTreeSet<String>> {
    match file {
        File::Elf64(elf) => needed_by(&elf.elf_dynamic_table()?),
        File::Elf32(elf) => needed_by(&elf.elf_dynamic_table()?),
        _ => Ok(BTreeSet::new()),
    }
}

fn needed_by<Elf: FileHeader>(table: &DynamicTable<'_, Elf>) -> Result<BTreeSet<String>> {
    let entries = table.iter().filter(|entry| entry.tag == DT_NEEDED);
    entries.map(|entry| Ok(String::from_utf8_lossy(table.string(entry)?).into_owned())).collect()
}

/// Checks that an archive holds Mach-O code for that machine and nothing else; returns how many objects.
pub(crate) fn check_archive(path: &Path, wanted: Architecture) -> Result<usize> {
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let archive = ArchiveFile::parse(&*data).with_context(|| format!("{} is no archive", path.display()))?;
    let mut objects = 0;
    for member in archive.members() {
        let member = member?;
        let name = String::from_utf8_lossy(member.name()).into_owned();
        let file = File::parse(member.data(&*data)?).with_context(|| format!("{name} is no object file"))?;
        if file.format() != BinaryFormat::MachO || file.architecture() != wanted {
            bail!("{name} is {:?} for {:?}, not Mach-O for {wanted:?}", file.format(), file.architecture());
        }
        objects += 1;
    }
    if objects == 0 {
        bail!("{} is empty", path.display());
    }
    Ok(objects)
}

#[cfg(test)]
pub(crate) mod fixtures {
    //! The smallest libraries that can be read: headers and loaded segments.

    /// An ELF library of 64 bit for that machine (`e_machine`), with one loaded segment per alignment.
    pub(crate) fn elf64(machine: u16, alignments: &[u64]) -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        file.extend(3u16.to_le_bytes()); // a shared library
        file.extend(machine.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        file.extend(0u64.to_le_bytes()); // no entry
        file.extend(64u64.to_le_bytes()); // program headers follow at once
        file.extend(0u64.to_le_bytes()); // no sections
        file.extend(0u32.to_le_bytes());
        let count = u16::try_from(alignments.len()).expect("few");
        for half in [64u16, 56, count, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        for alignment in alignments {
            file.extend(1u32.to_le_bytes()); // PT_LOAD
            file.extend(5u32.to_le_bytes()); // read, execute
            for word in [0u64, 0, 0, 64, 64, *alignment] {
                file.extend(word.to_le_bytes());
            }
        }
        file
    }

    /// An ELF library of 32 bit for ARM with one loaded segment.
    pub(crate) fn elf32_arm(alignment: u32) -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        file.extend(3u16.to_le_bytes());
        file.extend(40u16.to_le_bytes()); // EM_ARM
        for word in [1u32, 0, 52, 0, 0] {
            file.extend(word.to_le_bytes());
        }
        for half in [52u16, 32, 1, 40, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        for word in [1u32, 0, 0, 0, 52, 52, 5, alignment] {
            file.extend(word.to_le_bytes());
        }
        file
    }

    pub(crate) const AARCH64: u16 = 183;
    pub(crate) const X86_64: u16 = 62;
}

#[cfg(test)]
mod tests {
    use super::fixtures::*;
    use super::*;

    #[test]
    fn the_smallest_alignment_of_the_loaded_segments_counts() {
        let library = Library::parse(&elf64(AARCH64, &[0x4000, 0x1000])).expect("read");
        assert_eq!((library.architecture, library.page_bytes), (Architecture::Aarch64, 0x1000));
        assert!(!library.has_symbol_table && library.exported.is_empty());
        let library = Library::parse(&elf32_arm(0x1000)).expect("read");
        assert_eq!((library.architecture, library.page_bytes), (Architecture::Arm, 0x1000));
    }

    /// A library that this machine's compiler made: what it exports, misses and loads.
    #[test]
    fn symbols_and_loaded_libraries_are_read_from_a_real_library() {
        let directory = tempfile::tempdir().expect("a directory");
        let (source, library) = (directory.path().join("a.c"), directory.path().join("liba.so"));
        fs::write(&source, "extern int far_away(void), getpid(void); int here(void) { return far_away() + getpid(); }")
            .expect("written");
        let mut cc = std::process::Command::new("cc");
        let made = cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().expect("a C compiler");
        assert!(made.success());
        let library = Library::read(&library).expect("read");
        assert!(library.exported.contains("here") && !library.exported.contains("far_away"));
        assert!(library.undefined.contains("far_away"));
        assert!(library.needed.contains("libc.so.6"), "{:?}", library.needed);
        assert!(library.has_symbol_table);
    }

    #[test]
    fn what_is_no_library_says_so() {
        for bad in [&b""[..], b"PK\x03\x04", &elf64(AARCH64, &[1])[..50]] {
            assert!(Library::parse(bad).is_err());
        }
    }

    #[test]
    fn an_archive_of_another_machine_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.a");
        let member = elf64(X86_64, &[]);
        let mut archive = b"!<arch>\n".to_vec();
        archive.extend(format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "a.o/", 0, 0, 0, 644, member.len()).bytes());
        archive.extend(&member);
        fs::write(&path, archive).expect("written");
        let error = check_archive(&path, Architecture::Aarch64).expect_err("is ELF").to_string();
        assert_eq!(error, "a.o is Elf for X86_64, not Mach-O for Aarch64");
        fs::write(&path, "!<arch>\n").expect("written");
        assert!(check_archive(&path, Architecture::Aarch64).is_err());
    }
}
