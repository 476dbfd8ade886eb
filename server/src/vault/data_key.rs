//! The data key as a file beside the database, for its owner's eyes only.

use super::{Vault, random};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// 32 random bytes that everything stored is sealed with.
pub struct DataKey(Zeroizing<[u8; 32]>);

/// Why there is no data key, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataKeyError {
    /// The database is there, its key is not.
    #[error(
        "{}: this key file is missing, and without it {} cannot be read: restore both from the same backup",
        key.display(), database.display()
    )]
    Missing {
        /// Where the key should be.
        key: PathBuf,
        /// The database it belongs to.
        database: PathBuf,
    },
    /// Others than its owner may read or change it.
    #[error("{}: others may read this key (mode {mode:04o}): run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not 64 hexadecimal digits.
    #[error("{}: not a data key (64 hexadecimal digits are): restore it from a backup", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read or made.
    #[error("{}: the key file cannot be read or made: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        error: io::Error,
    },
}

impl DataKey {
    /// The key of this SQLite file: `<database>.key` beside it. Made when the database does not exist yet; a database
    /// without its key is an error, since a new key would open nothing.
    pub fn beside(database: &Path) -> Result<DataKey, DataKeyError> {
        let path = Self::path_beside(database);
        let has_data = fs::metadata(database).is_ok_and(|m| m.len() > 0);
        if has_data && !path.exists() {
            return Err(DataKeyError::Missing { key: path, database: database.to_owned() });
        }
        Self::load_or_create(&path)
    }

    /// Where [`DataKey::beside`] looks.
    pub fn path_beside(database: &Path) -> PathBuf {
        let mut path = database.as_os_str().to_owned();
        path.push(".key");
        path.into()
    }

    /// The key in this file, made if there is none.
    pub fn load_or_create(path: &Path) -> Result<DataKey, DataKeyError> {
        match Self::load(path) {
            Err(DataKeyError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                create(path).map_err(|error| DataKeyError::Io { path: path.to_owned(), error })?;
                // Read back: if somebody made it at the same time, theirs is the one that stands.
                Self::load(path)
            }
            other => other,
        }
    }

    /// The key in this file.
    pub fn load(path: &Path) -> Result<DataKey, DataKeyError> {
        let failed = |error| DataKeyError::Io { path: path.to_owned(), error };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(DataKeyError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(128));
        file.take(128).read_to_end(&mut text).map_err(failed)?;
        let digits = text.strip_suffix(b"\n").unwrap_or(&text);
        let mut key = Zeroizing::new([0u8; 32]);
        match hex::decode_to_slice(digits, key.as_mut()) {
            Ok(()) => Ok(DataKey(key)),
            Err(_) => Err(DataKeyError::Malformed { path: path.to_owned() }),
        }
    }

    /// A key from the configuration.
    pub fn from_bytes(bytes: [u8; 32]) -> DataKey {
        DataKey(Zeroizing::new(bytes))
    }

    /// The vault that it opens.
    pub fn vault(&self) -> Vault {
        Vault::new(&self.0)
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey").finish_non_exhaustive()
    }
}

/// Writes a new key whole and durable under a name of its own, then gives it its name unless that is taken: a crash
/// leaves no half key, and two starters agree on one.
fn create(path: &Path) -> io::Result<()> {
    let draft = {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", hex::encode(random::<8>())));
        PathBuf::from(name)
    };
    let text = Zeroizing::new(hex::encode(*Zeroizing::new(random::<32>())) + "\n");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let named = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match named {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("b.db");
        let first = DataKey::beside(&database).unwrap().vault().check_value();
        let path = DataKey::path_beside(&database);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(DataKey::beside(&database).unwrap().vault().check_value(), first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_database_without_its_key_gets_no_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("b.db");
        fs::write(&database, b"data").unwrap();
        let error = DataKey::beside(&database).unwrap_err();
        assert!(matches!(error, DataKeyError::Missing { .. }));
        assert!(error.to_string().contains("b.db.key"), "{error}");
        assert!(!DataKey::path_beside(&database).exists());
    }

    #[test]
    fn an_exposed_or_malformed_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        DataKey::load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o700 | 0o001] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(DataKey::load(&path), Err(DataKeyError::Exposed { mode: m, .. }) if m == mode));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"0".repeat(66)] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(DataKey::load_or_create(&path), Err(DataKeyError::Malformed { .. })), "{bad}");
        }
        fs::write(&path, "0".repeat(64)).unwrap();
        assert_eq!(DataKey::load(&path).unwrap().vault().check_value(), Vault::new(&[0; 32]).check_value());
    }
}
