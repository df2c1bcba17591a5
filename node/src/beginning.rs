//! The genesis document of a home: read in full when it is new to the store, and not again while the file has the same bytes.
//!
//! A document of a million accounts takes seconds to read and check; the store remembers the hash of the file that it was begun with.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use genesis::{FileError, Genesis};
use storage::{RocksKv, StoreError};
use types::{ChainId, Hash};

use crate::{exit::Failure, rpc::GenesisText};

/// Bytes of a file that is read in full at each start: it takes a moment, and clients get it in one piece.
const SMALL_BYTES_MAX: u64 = 16 << 20;

/// Bytes that are read and hashed together.
const READ_BYTES: usize = 1 << 20;

/// What a node needs to know of its genesis document.
pub struct Beginning {
    chain_id: ChainId,
    hash: Hash,
    /// `None`: the store was begun with these very bytes.
    pub document: Option<Genesis>,
    /// Of a file that is large.
    pub file_hash: Option<Hash>,
    /// For clients.
    pub text: GenesisText,
}

impl Beginning {
    /// Reads the file as far as needed.
    ///
    /// Errors: the file cannot be read, or is no genesis document; a store that is damaged or of another format.
    pub fn read(path: &Path, kv: &RocksKv) -> Result<Self, Failure> {
        let failed = |act, error| FileError::Io { file: path.to_owned(), act, error };
        let file = File::open(path).map_err(|error| failed("open", error))?;
        let bytes = file.metadata().map_err(|error| failed("read", error))?.len();
        if bytes <= SMALL_BYTES_MAX {
            let document = Genesis::load(path)?;
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
        let document = Genesis::load(path)?;
        Ok(Self::of(document, Some(file_hash), text))
    }

    fn of(document: Genesis, file_hash: Option<Hash>, text: GenesisText) -> Self {
        let (chain_id, hash) = (document.chain_id().clone(), document.hash());
        Self { chain_id, hash, document: Some(document), file_hash, text }
    }

    /// The chain.
    pub fn chain_id(&self) -> &ChainId {
        &self.chain_id
    }

    /// [`Genesis::hash`].
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
