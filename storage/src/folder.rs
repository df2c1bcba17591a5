//! Checks of a folder before a database is opened in it: it holds our database, nothing, or foreign files that must not
//! be touched.

use std::{ffi::OsString, fs, io::ErrorKind, path::Path};

use crate::error::{Result, StoreError};

/// Name of the file with the sequence number of the last synced batch.
pub(crate) const SYNCED_FILE: &str = "SYNCED";
/// File of RocksDB that names its newest manifest; without it there is no database.
const CURRENT_FILE: &str = "CURRENT";

/// Returns true if the folder holds a database that was created completely.
pub(crate) fn has_database(path: &Path) -> bool {
    // A file whose metadata we may not read exists.
    !matches!(fs::symlink_metadata(path.join(CURRENT_FILE)), Err(error) if error.kind() == ErrorKind::NotFound)
}

/// Returns the sizes of the blob files in the folder, in bytes.
///
/// Errors: the I/O error when the folder or the metadata of a file cannot be read.
pub(crate) fn blob_files(path: &Path) -> std::io::Result<Vec<u64>> {
    let files = fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?;
    let blobs = files.into_iter().filter(|file| file.path().extension().is_some_and(|extension| extension == "blob"));
    blobs.map(|file| Ok(file.metadata()?.len())).collect()
}

/// Checks that a database may be opened or created in the folder `path`.
///
/// Errors: `NoParent`, `NoPermission`, `NotOurs` for a file or for a folder with foreign files, `Damaged` for a
/// database without its `CURRENT` file, `Io` when the folder cannot be listed.
pub(crate) fn check(path: &Path) -> Result<()> {
    let names = match fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<std::io::Result<Vec<_>>>(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match path.parent().map(|parent| (parent.as_os_str().is_empty(), fs::metadata(parent))) {
                Some((true, _)) => Ok(()),
                Some((_, Ok(parent))) if parent.is_dir() => Ok(()),
                Some((_, Err(error))) if error.kind() == ErrorKind::PermissionDenied => {
                    Err(StoreError::NoPermission { path: path.to_owned(), reason: error.to_string() })
                }
                _ => Err(StoreError::NoParent { path: path.to_owned() }),
            };
        }
        Err(error) => Err(error),
    };
    let names = names.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => StoreError::NoPermission { path: path.to_owned(), reason: error.to_string() },
        ErrorKind::NotADirectory => not_ours(path, "it is a file, not a folder".to_owned()),
        _ => {
            StoreError::Io { place: path.display().to_string(), doing: "listing the folder", reason: error.to_string() }
        }
    })?;
    if has_database(path) {
        return Ok(());
    }
    let names: Vec<String> = names.iter().map(|name: &OsString| name.to_string_lossy().into_owned()).collect();
    if let Some(other) = names.iter().find(|name| !is_database_file(name)) {
        return Err(not_ours(path, format!("it holds {other:?}")));
    }
    if let Some(data) = names.iter().find(|name| holds_rows(name)) {
        let reason = format!("{data} exists but the file {CURRENT_FILE} is missing");
        return Err(StoreError::damaged(path.display().to_string(), reason));
    }
    Ok(())
}

fn not_ours(path: &Path, found: String) -> StoreError {
    StoreError::NotOurs { path: path.to_owned(), found }
}

/// Returns true if RocksDB or this crate uses this file name.
fn is_database_file(name: &str) -> bool {
    let numbered =
        |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|c| c.is_ascii_digit()));
    holds_rows(name)
        || ["LOCK", "LOG", "IDENTITY"].contains(&name)
        || ["LOG.old.", "MANIFEST-", "OPTIONS-"].iter().any(|prefix| numbered(prefix))
        || name.ends_with(".dbtmp")
}

/// Returns true if files of this name exist only after something was written.
fn holds_rows(name: &str) -> bool {
    name == SYNCED_FILE || [".log", ".sst", ".blob"].iter().any(|suffix| name.ends_with(suffix))
}
