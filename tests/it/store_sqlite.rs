//! The SQLite engine: the suite of all engines, start-up checks, crashes, a full disk, files of earlier versions.

use crate::store_conformance;
use backstop_server::store::{OpenError, OpenOptions, SqliteStore, Store};
use backstop_server::vault::Vault;
use std::path::Path;
use std::sync::Arc;

const OPTIONS: OpenOptions = OpenOptions { sandbox: true, serve: true, read_connections: 2 };

fn vault() -> Vault {
    Vault::new(&[7; 32])
}

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, OPTIONS, &vault())
}

/// P8, D9, C2, S6, S8, W3, W4.
#[tokio::test]
async fn sqlite_does_what_every_store_does() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(open(&dir.path().join("b.db")).unwrap());
    store_conformance::exercise(store).await;
}
