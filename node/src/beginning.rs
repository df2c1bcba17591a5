//! Reads the genesis document of a home: in full when the store does not know it yet, not again while the file has the
//! same bytes.
//!
//! Reading and checking a document of a million accounts takes seconds. The store keeps the hash of the file from which
//! it was initialized.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use files::{FileError, load_genesis};
use genesis::Genesis;
use rpc::GenesisText;
use storage::{RocksKv, StoreError};
use types::{ChainId, Hash};

use crate::exit::Failure;

/// Maximum size in bytes of a genesis file that is read in full at each start. Clients receive such a file in one
/// piece.
const SMALL_BYTES_MAX: u64 = 16 << 20;

/// Bytes of the file that are read and hashed per step.
const READ_BYTES: usize = 1 << 20;

/// The genesis data that a node needs at its start.
pub struct Beginning {
    chain_id: ChainId,
    hash: Hash,
    /// The parsed document; `None` when the store was initialized from a file with exactly these bytes.
    pub document: Option<Genesis>,
    /// BLAKE3 hash of the file; set only for a file larger than `SMALL_BYTES_MAX`.
    pub file_hash: Option<Hash>,
    /// The text of the document, as clients receive it.
    pub text: GenesisText,
}

impl Beginning {
    /// Reads the genesis file: only its hash when the file is large and the store was initialized from it, else all of
    /// it.
    ///
    /// Errors: the file cannot be read or is not a valid genesis document; the store is damaged or has another format.
    pub fn read(path: &Path, kv: &RocksKv) -> Result<Self, Failure> {
        let failed = |act, error| FileError::Io { file: path.to_owned(), act, error };
        let file = File::open(path).map_err(|error| failed("open", error))?;
        let bytes = file.metadata().map_err(|error| failed("read", error))?.len();
        if bytes <= SMALL_BYTES_MAX {
            let document = load_genesis(path)?;
            let text = GenesisText::Whole(document.to_json());
            return Ok(Self::of(document, None, text));
        }
        let file_hash = hash_of(&file).map_err(|error| failed("read", error))?;
        let begun = storage::begun_with(kv).map_err(|error: StoreError| Failure::from(error))?;
        let text = GenesisText::File { file, bytes };
        if let Some(begun) = begun.filter(|begun| begun.file == Some(file_hash)) {
            return Ok(Self {
                chain_id: begun.chain_id,
                hash: begun.document,
                document: None,
                file_hash: Some(file_hash),
                text,
            });
        }
        let document = load_genesis(path)?;
        Ok(Self::of(document, Some(file_hash), text))
    }

    fn of(document: Genesis, file_hash: Option<Hash>, text: GenesisText) -> Self {
        let (chain_id, hash) = (document.chain_id().clone(), document.hash());
        Self { chain_id, hash, document: Some(document), file_hash, text }
    }

    /// Returns the id of the chain.
    pub fn chain_id(&self) -> &ChainId {
        &self.chain_id
    }

    /// Returns the hash of the document, see [`Genesis::hash`].
    pub fn hash(&self) -> Hash {
        self.hash
    }
}

fn hash_of(mut file: &File) -> io::Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Hash(*hasher.finalize().as_bytes())),
            bytes => hasher.update(&buffer[..bytes]),
        };
    }
}
