//! The file of signed transactions. It is made before the load, so that signing does not compete with the load.
//!
//! ```text
//! file  = "CAIRNLD3"  header length (4)  header (JSON)  nonce of each sender (8 each)
//!          BLAKE3 of all bytes before (32)  chunk *
//! chunk = payload length (4)  records (4)  BLAKE3 of these and the payload (32)  payload      numbers are little-endian
//! ```
//! The header and the nonces determine every transaction, so a file can be continued: a run that needs more
//! transactions appends them. A file fits a chain when the senders' nonces on the chain are those after the first n
//! transactions of the file, for some n; these n are skipped. The file is written and read in chunks, and a run holds
//! one chunk in memory, whatever the size of the file. A chunk that is incomplete because its writer died is cut off.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use types::{Hash, blake3, blake3_parts};

use crate::{
    LoadError,
    recipe::{Recipe, number_after},
    records::{CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, Chunk, Record},
};

const MAGIC: &[u8; 8] = b"CAIRNLD3";
const HEADER_BYTES_MAX: u32 = 4096;
const CHUNK_HEAD_BYTES: u64 = 4 + 4 + 32;

/// Values that determine the transactions of a file, besides the nonces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    chain_id: String,
    senders: u32,
    /// Hash of the seed of the senders' keys: it shows whether two files have the same keys without revealing the seed.
    sender_seed_hash: String,
    fee: u64,
    invalid_ppm: u32,
    seed: u64,
}

impl Header {
    /// Returns the header for a recipe whose senders' keys are derived from this seed.
    pub fn of(recipe: &Recipe, sender_seed: Option<&str>) -> Self {
        let hash = |seed: &str| blake3_parts(&[b"cairn load file", seed.as_bytes()]).to_string();
        Self {
            chain_id: recipe.chain_id.to_string(),
            senders: recipe.senders.len() as u32,
            sender_seed_hash: sender_seed.map(hash).unwrap_or_default(),
            fee: recipe.fee,
            invalid_ppm: recipe.invalid_ppm,
            seed: recipe.seed,
        }
    }
}

/// A file of signed transactions, and the position of the next one to use.
pub struct Presigned {
    path: PathBuf,
    file: File,
    header: Header,
    nonces: Vec<u64>,
    /// For each chunk: its offset in the file in bytes, and the number of records before it.
    chunks: Vec<(u64, u64)>,
    /// Offset in bytes at which the next chunk is written.
    end: u64,
    /// Number of records in the file.
    total: u64,
    /// Number of the next record to read.
    position: u64,
    current: Option<(Chunk, usize)>,
}

impl Presigned {
    /// Creates an empty file. An existing file at this path is overwritten.
    ///
    /// Errors: [`LoadError::File`] when the folder or the file cannot be created or written.
    pub fn create(path: &Path, header: Header, nonces: &[u64]) -> Result<Self, LoadError> {
        let failed =
            |error: io::Error| LoadError::file(path, format!("cannot be written: {error}: name another with --file"));
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let json = serde_json::to_vec(&header).expect("a header is JSON");
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&json);
        nonces.iter().for_each(|nonce| bytes.extend_from_slice(&nonce.to_le_bytes()));
        bytes.extend_from_slice(&blake3(&bytes).0);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        let (end, nonces) = (bytes.len() as u64, nonces.to_vec());
        Ok(Self { path: path.into(), file, header, nonces, chunks: vec![], end, total: 0, position: 0, current: None })
    }

    /// Opens a file, and cuts off an unfinished chunk at its end. Returns `None` if the file does not exist.
    ///
    /// Errors: [`LoadError::File`] when the file cannot be opened or cut, is not a file of signed transactions, or is
    /// damaged; the error names the position of the damage.
    pub fn open(path: &Path) -> Result<Option<Self>, LoadError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(LoadError::file(path, format!("cannot be opened: {error}: name another with --file")));
            }
        };
        let mut reader = io::BufReader::new(&file);
        let mut magic = [0; 8];
        if reader.read_exact(&mut magic).is_err() || magic != *MAGIC {
            let reason = "this is not a file of signed transactions of this version of cairn: name another with --file";
            return Err(LoadError::file(path, reason));
        }
        let (header, nonces, mut end) =
            read_header(&mut reader, &magic).ok_or_else(|| damaged(path, "its beginning"))?;
        let size = file.metadata().map_err(|error| LoadError::file(path, error.to_string()))?.len();
        let (mut chunks, mut total) = (Vec::new(), 0);
        while let Some((bytes, records)) = read_chunk_head(&file, end, size) {
            if !(1..=CHUNK_RECORDS_MAX).contains(&records) || bytes > CHUNK_BYTES_MAX as u64 {
                return Err(damaged(path, &format!("byte {end}")));
            }
            chunks.push((end, total));
            (end, total) = (end + CHUNK_HEAD_BYTES + bytes, total + u64::from(records));
        }
        if end < size {
            file.set_len(end).map_err(|error| LoadError::file(path, format!("cannot be cut: {error}")))?;
        }
        Ok(Some(Self { path: path.into(), file, header, nonces, chunks, end, total, position: 0, current: None }))
    }

    /// Returns true if this file was made for the same header.
    pub fn is_of(&self, header: &Header) -> bool {
        self.header == *header && self.nonces.len() == header.senders as usize
    }

    /// Returns the senders' nonces before the file's first transaction, by the senders' numbers.
    pub fn nonces(&self) -> &[u64] {
        &self.nonces
    }

    /// Returns the number of transactions after which the senders' nonces are `nonces`, if there is such a number.
    pub fn position_at(&self, nonces: &[u64]) -> Option<u64> {
        if nonces.len() != self.nonces.len() {
            return None;
        }
        let used = nonces.iter().zip(&self.nonces).map(|(now, first)| now.checked_sub(*first));
        let used: Vec<u64> = used.collect::<Option<_>>()?;
        let valid = used.iter().try_fold(0_u64, |sum, used| sum.checked_add(*used))?;
        let (turns, more) = (valid / used.len() as u64, valid % used.len() as u64);
        let as_sent = used.iter().zip(0..).all(|(used, sender)| *used == turns + u64::from(sender < more));
        as_sent.then(|| number_after(valid, self.header.invalid_ppm))
    }

    /// Moves to the record with this number, or to the end if the file is shorter.
    ///
    /// Errors: [`LoadError::File`] when the file is damaged or cannot be read.
    pub fn seek(&mut self, number: u64) -> Result<(), LoadError> {
        self.current = None;
        let index = self.chunks.partition_point(|(_, before)| *before <= number).saturating_sub(1);
        self.position = self.chunks.get(index).map_or(0, |(_, before)| *before);
        while self.position < number.min(self.total) {
            self.next()?;
        }
        Ok(())
    }

    /// Verifies the checksum of every chunk from the current position to the end. Cost: reads this part of the file.
    ///
    /// Errors: [`LoadError::File`] when a chunk is damaged; the error names its position.
    pub fn check(&self) -> Result<(), LoadError> {
        let from = self.chunks.partition_point(|(_, before)| *before <= self.position).saturating_sub(1);
        self.chunks[from..].iter().try_for_each(|(at, _)| self.read_chunk(*at).map(drop))
    }

    /// Returns the number of the next record to read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the number of records in the file.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns the size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// Appends signed transactions, whose numbers must follow those in the file.
    ///
    /// Errors: [`LoadError::File`] when the file cannot be written, for example because the disk is full.
    pub fn append(&mut self, chunk: &Chunk) -> Result<(), LoadError> {
        let payload = chunk.bytes();
        let mut bytes = Vec::with_capacity(payload.len() + CHUNK_HEAD_BYTES as usize);
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&chunk.len().to_le_bytes());
        let hash = blake3_parts(&[&bytes, payload]);
        bytes.extend_from_slice(&hash.0);
        bytes.extend_from_slice(payload);
        self.file.write_all_at(&bytes, self.end).map_err(|error| {
            let mb = self.end as f64 / 1e6;
            LoadError::file(
                &self.path,
                format!(
                    "cannot be written beyond {mb:.1} MB: {error}: free some space, name another with --file, or load less"
                ),
            )
        })?;
        self.chunks.push((self.end, self.total));
        self.end += bytes.len() as u64;
        self.total += u64::from(chunk.len());
        Ok(())
    }

    /// Returns the next transaction and its number, or `None` at the end.
    ///
    /// Errors: [`LoadError::File`] when the file is damaged or cannot be read.
    pub fn next(&mut self) -> Result<Option<(u64, Record<'_>)>, LoadError> {
        let is_over = self.current.as_ref().is_none_or(|(chunk, cursor)| *cursor >= chunk.bytes().len());
        if is_over {
            let Ok(index) = self.chunks.binary_search_by_key(&self.position, |(_, before)| *before) else {
                return Ok(None);
            };
            self.current = Some((self.read_chunk(self.chunks[index].0)?, 0));
        }
        let Some((chunk, cursor)) = &mut self.current else { return Ok(None) };
        let record = chunk.record(cursor).ok().flatten().ok_or_else(|| damaged(&self.path, "a record"))?;
        let number = self.position;
        self.position += 1;
        Ok(Some((number, record)))
    }

    fn read_chunk(&self, at: u64) -> Result<Chunk, LoadError> {
        let broken = || damaged(&self.path, &format!("byte {at}"));
        let (bytes, records) = read_chunk_head(&self.file, at, self.end).ok_or_else(broken)?;
        let (mut head, mut hash) = ([0; 8], [0; 32]);
        let mut payload = vec![0; bytes as usize];
        let read = self.file.read_exact_at(&mut head, at).and_then(|()| self.file.read_exact_at(&mut hash, at + 8));
        read.and_then(|()| self.file.read_exact_at(&mut payload, at + CHUNK_HEAD_BYTES)).map_err(|_| broken())?;
        if blake3_parts(&[&head, &payload]) != Hash(hash) {
            return Err(broken());
        }
        Ok(Chunk::from_bytes(payload, records))
    }
}

fn damaged(path: &Path, place: &str) -> LoadError {
    LoadError::file(path, format!("it is damaged at {place}: remove it; the next run creates it again"))
}

/// Reads the header, the nonces, and the offset of the first chunk. Returns `None` if they are damaged.
fn read_header(reader: &mut impl Read, magic: &[u8; 8]) -> Option<(Header, Vec<u64>, u64)> {
    let mut length = [0; 4];
    reader.read_exact(&mut length).ok()?;
    let length_bytes = u32::from_le_bytes(length);
    if length_bytes > HEADER_BYTES_MAX {
        return None;
    }
    let mut json = vec![0; length_bytes as usize];
    reader.read_exact(&mut json).ok()?;
    let header: Header = serde_json::from_slice(&json).ok()?;
    let mut nonces = Vec::new();
    // The limit is enforced while reading, so a wrong `senders` cannot make us allocate more than the file holds.
    reader.take(u64::from(header.senders) * 8).read_to_end(&mut nonces).ok()?;
    let mut hash = [0; 32];
    reader.read_exact(&mut hash).ok()?;
    let is_whole = blake3_parts(&[magic, &length, &json, &nonces]) == Hash(hash);
    let end = (8 + 4 + json.len() + nonces.len() + 32) as u64;
    let nonces: Vec<u64> =
        nonces.chunks_exact(8).map(|nonce| u64::from_le_bytes(nonce.try_into().expect("8 bytes"))).collect();
    is_whole.then_some((header, nonces, end))
}

/// Reads the payload size in bytes and the number of records of the chunk at offset `at`, if the whole chunk lies
/// before `size`.
fn read_chunk_head(file: &File, at: u64, size: u64) -> Option<(u64, u32)> {
    let mut head = [0; 8];
    file.read_exact_at(&mut head, at).ok()?;
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("4 bytes"));
    let (bytes, records) = (u64::from(number(&head[..4])), number(&head[4..]));
    (at + CHUNK_HEAD_BYTES + bytes <= size).then_some((bytes, records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::tests::recipe;

    fn chunk(recipe: &Recipe, numbers: std::ops::Range<u64>) -> Chunk {
        let mut chunk = Chunk::default();
        numbers.for_each(|number| recipe.make(number, None, &mut chunk));
        chunk
    }

    /// Creates a file with 20 transactions in two chunks.
    fn written(path: &Path, recipe: &Recipe) -> Presigned {
        let mut file = Presigned::create(path, Header::of(recipe, None), &recipe.nonces).unwrap();
        file.append(&chunk(recipe, 0..10)).unwrap();
        file.append(&chunk(recipe, 10..20)).unwrap();
        file
    }

    fn calls(file: &mut Presigned) -> Vec<(u64, Vec<u8>)> {
        let mut calls = Vec::new();
        while let Some((number, record)) = file.next().unwrap() {
            calls.push((number, record.call.to_vec()));
        }
        calls
    }

    #[test]
    fn a_written_file_is_read_and_continued() {
        let dir = tempfile::tempdir().unwrap();
        let (path, recipe) = (dir.path().join("folder/load.txs"), recipe(3, 100_000));
        assert!(Presigned::open(&path).unwrap().is_none());
        let first = calls(&mut written(&path, &recipe));
        assert_eq!(first.len(), 20);
        let mut file = Presigned::open(&path).unwrap().unwrap();
        assert!(file.is_of(&Header::of(&recipe, None)));
        assert_eq!((file.total(), calls(&mut file)), (20, first.clone()));
        file.append(&chunk(&recipe, 20..21)).unwrap();
        assert_eq!(calls(&mut file).len(), 1, "reading continues after the end was reached");
        for number in [0, 9, 10, 13, 20] {
            file.seek(number).unwrap();
            assert_eq!(file.position(), number);
            assert_eq!(calls(&mut file)[0].0, number);
        }
    }

    #[test]
    fn a_file_of_other_transactions_is_not_taken_for_these() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("load.txs");
        let recipe = recipe(3, 0);
        let file = written(&path, &recipe);
        let other = |change: fn(&mut Recipe)| {
            let mut recipe = recipe.clone();
            change(&mut recipe);
            !file.is_of(&Header::of(&recipe, None))
        };
        assert!(other(|recipe| recipe.chain_id = types::ChainId::new("other").unwrap()));
        assert!(other(|recipe| recipe.fee = 9));
        assert!(other(|recipe| recipe.senders = recipe.senders[..2].into()));
        assert!(other(|recipe| recipe.invalid_ppm = 5));
        assert!(other(|recipe| recipe.seed = 5));
        assert!(!file.is_of(&Header::of(&recipe, Some("secret"))));
    }

    #[test]
    fn a_file_fits_a_chain_that_has_some_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = recipe(3, 500_000);
        let file = written(&dir.path().join("load.txs"), &recipe);
        let first = recipe.nonces.to_vec();
        let after = |used: [u64; 3]| {
            let nonces: Vec<u64> = first.iter().zip(used).map(|(first, used)| first + used).collect();
            file.position_at(&nonces)
        };
        assert_eq!(after([0, 0, 0]), Some(0));
        assert_eq!(after([2, 1, 1]), Some(number_after(4, 500_000)));
        assert_eq!(after([1, 2, 1]), None, "not in the order of the file");
        assert_eq!(after([2, 0, 0]), None);
        assert_eq!(file.position_at(&[0, 0, 0]), None, "before the file");
        assert_eq!(file.position_at(&[0]), None);
    }

    #[test]
    fn damage_is_found_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("load.txs");
        let recipe = recipe(3, 0);
        drop(written(&path, &recipe));
        let whole = fs::read(&path).unwrap();
        let bytes_of = |numbers| chunk(&recipe, numbers).bytes().len() + CHUNK_HEAD_BYTES as usize;
        let begin = whole.len() - bytes_of(0..10) - bytes_of(10..20);
        let heads = [begin, whole.len() - bytes_of(10..20)].map(|head| head..head + CHUNK_HEAD_BYTES as usize);
        for at in (0..whole.len()).step_by(7).chain(heads.into_iter().flatten()) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            fs::write(&path, &bytes).unwrap();
            let read = Presigned::open(&path).and_then(|file| {
                let mut file = file.unwrap();
                file.check()?;
                let mut calls = 0;
                while file.next()?.is_some() {
                    calls += 1;
                }
                Ok(calls)
            });
            match read {
                Err(error) => assert!(error.to_string().contains("load.txs: "), "{error}"),
                // A damaged length that reaches beyond the end of the file looks like an unfinished chunk.
                Ok(calls) => assert!(at >= begin && calls < 20, "byte {at}"),
            }
        }
        for length in [0, 7, 20, begin - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(Presigned::open(&path).is_err(), "{length}");
        }
    }

    #[test]
    fn an_unfinished_record_at_the_end_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("load.txs");
        let recipe = recipe(3, 0);
        drop(written(&path, &recipe));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let mut file = Presigned::open(&path).unwrap().unwrap();
        assert_eq!(file.total(), 10);
        file.append(&chunk(&recipe, 10..20)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}
