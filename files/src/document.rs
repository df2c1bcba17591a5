//! Reading of `genesis.json`.

use std::{fs::File, io::BufReader, path::Path};

use genesis::{Genesis, GenesisError};

use crate::error::{FileError, io};

/// Buffer size in bytes for reading a genesis file.
const READ_BYTES: usize = 256 * 1024;

/// Reads and checks `genesis.json`.
///
/// Errors: [`FileError::Io`]; [`FileError::Content`] with the path of the invalid field.
pub fn load_genesis(file: &Path) -> Result<Genesis, FileError> {
    let opened = io(file, "open", File::open(file))?;
    Genesis::read(BufReader::with_capacity(READ_BYTES, opened)).map_err(|error| match error {
        GenesisError::Io(error) => FileError::Io { file: file.to_owned(), act: "read", error: error.into() },
        other => FileError::content(file, other),
    })
}
