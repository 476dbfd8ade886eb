//! Zip files that are the same, byte for byte, whenever and wherever they are made of the same input.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// A zip file that is being written.
pub(crate) struct Archive(ZipWriter<File>);

impl Archive {
    /// Starts the file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Ok(Archive(ZipWriter::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?)))
    }

    /// Adds one file.
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644);
        self.0.start_file(name, options)?;
        Ok(self.0.write_all(bytes)?)
    }

    /// Adds everything below a directory, in the order of names.
    pub(crate) fn add_directory(&mut self, name: &str, directory: &Path) -> Result<()> {
        let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            let below = format!("{name}/{}", path.file_name().unwrap_or_default().to_string_lossy());
            match path.is_dir() {
                true => self.add_directory(&below, &path)?,
                false => self.add(&below, &fs::read(&path)?)?,
            }
        }
        Ok(())
    }

    /// Writes what belongs at the end.
    pub(crate) fn finish(self) -> Result<()> {
        self.0.finish()?;
        Ok(())
    }
}
