//! The schema of the database: the encoding of each key and of each small record. The crate's documentation lists the
//! column families with their keys and values; a change here is a new [`crate::FORMAT`].

use prost::Message;
use types::{BlockId, Hash, Header, Height, Infraction, PartSetHeader, Round, Signers, Time, Wire, split_revertible};

/// Returns a key in hexadecimal for error messages, truncated if it is long.
pub(crate) fn shown(key: &[u8]) -> String {
    const BYTES_MAX: usize = 48;
    let digits: String = key.iter().take(BYTES_MAX).map(|byte| format!("{byte:02x}")).collect();
    if key.len() > BYTES_MAX { format!("{digits}… ({} bytes)", key.len()) } else { digits }
}

/// Encodes a height as 8 bytes, big-endian, so that heights sort as numbers.
pub(crate) fn height(height: Height) -> [u8; 8] {
    height.0.to_be_bytes()
}

/// Returns an upper bound of all keys that begin with this height or a lower one.
#[cfg(feature = "rocksdb")]
pub(crate) fn last_of(at: Height) -> Vec<u8> {
    [height(at).as_slice(), &[0xFF; BLOCK_ID_BYTES]].concat()
}

/// Marks the end of an escaped key. Inside an escaped key `00` is always followed by `FF`, so the mark sorts below any
/// continuation.
pub(crate) const KEY_END: [u8; 2] = [0, 0];

/// Escapes a key: `00` becomes `00 FF`, so that the rows of one key are adjacent and keys keep their order. Without the
/// end mark, the escaped form of a prefix of a key is a prefix of the key's escaped form.
pub(crate) fn escape(key: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(key.len() + KEY_END.len() + 8);
    escape_into(&mut escaped, key);
    escaped
}

/// Appends the escaped form of a key, see [`escape`].
pub(crate) fn escape_into(escaped: &mut Vec<u8>, key: &[u8]) {
    let mut parts = key.split(|byte| *byte == 0);
    escaped.extend(parts.next().unwrap_or_default());
    for part in parts {
        escaped.extend([0, 0xFF]);
        escaped.extend(part);
    }
}

/// Escapes a key and appends the end mark, so that more bytes can follow.
pub(crate) fn terminated(key: &[u8]) -> Vec<u8> {
    let mut bytes = escape(key);
    bytes.extend(KEY_END);
    bytes
}

/// Decodes the result of [`terminated`]; `None` for other bytes.
pub(crate) fn read_terminated(bytes: &[u8]) -> Option<Vec<u8>> {
    let escaped = bytes.strip_suffix(&KEY_END)?;
    let mut key = Vec::with_capacity(escaped.len());
    let mut rest = escaped.iter();
    while let Some(byte) = rest.next() {
        key.push(*byte);
        if *byte == 0 && rest.next() != Some(&0xFF) {
            return None;
        }
    }
    Some(key)
}

/// Returns the length in bytes of the [`terminated`] key at the start of `bytes`; `None` if there is no end mark.
pub(crate) fn terminated_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes[at..].iter().position(|byte| *byte == 0)? + 2;
        // Any other byte after `00` belongs to an escaped `00` or is invalid; decoding the key detects which.
        if *bytes.get(at - 1)? == 0 {
            return Some(at);
        }
    }
}

/// Returns the row of the version of `key` that height `at` wrote: the rows of one key ascend from the newest version
/// to the oldest. Versions above `at` sort below this row.
pub(crate) fn version(key: &[u8], at: Height) -> Vec<u8> {
    let mut bytes = terminated(key);
    bytes.extend(version_height(at));
    bytes
}

/// Encodes the height of a version: the complement, so that the newest version is first.
pub(crate) fn version_height(at: Height) -> [u8; VERSION_HEIGHT_BYTES] {
    (!at.0).to_be_bytes()
}

pub(crate) const VERSION_HEIGHT_BYTES: usize = 8;

/// Splits the row of a version into the [`terminated`] key and the height; `None` if it is shorter than a height.
pub(crate) fn split_version(row: &[u8]) -> Option<(&[u8], Height)> {
    let (key, at) = row.split_last_chunk::<VERSION_HEIGHT_BYTES>()?;
    Some((key, Height(!u64::from_be_bytes(*at))))
}

/// Appends bytes to a [`terminated`] key, so that the result is above all its versions and below those of other keys
/// above it.
pub(crate) fn pass_versions(key: &mut Vec<u8>) {
    key.extend([0xFF; VERSION_HEIGHT_BYTES + 1]);
}

/// Encodes the value of a version: `00` for a deletion, otherwise `01` and the value.
pub(crate) fn version_value(value: Option<&[u8]>) -> Vec<u8> {
    match value {
        None => vec![0],
        Some(value) => [&[1], value].concat(),
    }
}

/// Decodes the result of [`version_value`]; the outer `None` stands for invalid bytes.
pub(crate) fn read_version_value(bytes: &[u8]) -> Option<Option<&[u8]>> {
    match bytes.split_first()? {
        (0, []) => Some(None),
        (1, value) => Some(Some(value)),
        _ => None,
    }
}

/// Returns the row of a revertible row in the index over last changes: part ‖ complement of the height ‖ rest of the
/// key. The rows of one part ascend from the newest change to the oldest. `None` for the key of another row.
pub(crate) fn recent(key: &[u8], at: Height) -> Option<Vec<u8>> {
    let (part, rest) = split_revertible(key)?;
    Some([part, &version_height(at), rest].concat())
}

/// Splits the result of [`recent`] into the part, the height and the rest of the key; `None` for other bytes.
pub(crate) fn split_recent(row: &[u8]) -> Option<(&[u8], Height, &[u8])> {
    let (part, rest) = split_revertible(row)?;
    let (at, rest) = rest.split_first_chunk::<VERSION_HEIGHT_BYTES>()?;
    Some((part, Height(!u64::from_be_bytes(*at)), rest))
}

/// Change of a row, in the list of a height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) is_deletion: bool,
    /// Height of the value that the change replaced. `None` for a row that did not exist, and for one that is not
    /// revertible.
    pub(crate) before: Option<Height>,
}

/// Adds a change to the list of the changes of a height, whose keys ascend: twice the length of the key, plus 1 for a
/// deletion, as a variable-length number, then the key. If the row is revertible, the height of the replaced value
/// follows as a variable-length number, plus 1; 0 if there was none.
pub(crate) fn push_change(list: &mut Vec<u8>, change: Change<'_>) {
    let Change { key, is_deletion, before } = change;
    prost::encoding::encode_varint(2 * key.len() as u64 + u64::from(is_deletion), list);
    list.extend(key);
    if split_revertible(key).is_some() {
        prost::encoding::encode_varint(before.map_or(0, |before| before.0 + 1), list);
    }
}

/// Iterator over the changes in a list. An item that is `None` stands for invalid bytes, and is the last one.
pub(crate) struct Changes<'a> {
    rest: &'a [u8],
}

impl<'a> Changes<'a> {
    pub(crate) fn new(list: &'a [u8]) -> Self {
        Self { rest: list }
    }

    fn read(&mut self) -> Option<Change<'a>> {
        let number = prost::encoding::decode_varint(&mut self.rest).ok()?;
        let (key, rest) = self.rest.split_at_checked(usize::try_from(number / 2).ok()?)?;
        self.rest = rest;
        let before = match split_revertible(key) {
            Some(_) => prost::encoding::decode_varint(&mut self.rest).ok()?.checked_sub(1).map(Height),
            None => None,
        };
        Some(Change { key, is_deletion: number % 2 == 1, before })
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Option<Change<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let change = self.read();
        if change.is_none() {
            self.rest = &[];
        }
        Some(change)
    }
}

/// Returns the key of a block's bytes: the height, then the block id, so that the blocks of one height are adjacent.
pub(crate) fn block(at: Height, id: &BlockId) -> Vec<u8> {
    [height(at).as_slice(), block_id(id).as_slice()].concat()
}

/// Encodes a block id: hash (32 bytes) ‖ number of parts (4) ‖ hash of the parts (32).
pub(crate) fn block_id(id: &BlockId) -> [u8; BLOCK_ID_BYTES] {
    let mut bytes = [0; BLOCK_ID_BYTES];
    bytes[..32].copy_from_slice(&id.hash.0);
    bytes[32..36].copy_from_slice(&id.parts.total.to_be_bytes());
    bytes[36..].copy_from_slice(&id.parts.hash.0);
    bytes
}

pub(crate) const BLOCK_ID_BYTES: usize = 68;

/// Decodes the result of [`block_id`]; `None` for other bytes.
pub(crate) fn read_block_id(bytes: &[u8]) -> Option<BlockId> {
    let bytes: &[u8; BLOCK_ID_BYTES] = bytes.try_into().ok()?;
    let total = u32::from_be_bytes(*bytes[32..].first_chunk()?);
    let hash = |at: usize| bytes[at..].first_chunk().map(|hash| Hash(*hash));
    Some(BlockId { hash: hash(0)?, parts: PartSetHeader { total, hash: hash(36)? } })
}

/// Encodes the position of a transaction: height ‖ index, 12 bytes.
pub(crate) fn tx_position(at: Height, index: u32) -> Vec<u8> {
    [height(at).as_slice(), &index.to_be_bytes()].concat()
}

/// Decodes the result of [`tx_position`]; `None` for other bytes.
pub(crate) fn read_tx_position(bytes: &[u8]) -> Option<(Height, u32)> {
    let (at, index) = bytes.split_first_chunk::<8>()?;
    Some((read_height(at)?, u32::from_be_bytes(index.try_into().ok()?)))
}

/// What is kept of a block for as long as evidence can be of its height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimeRow {
    /// Time of the block.
    pub time: Time,
    /// The lowest height whose evidence has not expired, after this block.
    pub floor: Height,
    /// Hash of the header.
    pub hash: Hash,
    /// Hash of what the blocks before determine in the header.
    pub derived: Hash,
    /// Who signed the block before, by the commit in this block; `None` in the first block.
    pub last_commit: Option<Signers>,
}

/// Encodes what is kept of a block for evidence: nanoseconds ‖ floor ‖ hash ‖ derived hash, 80 bytes, and of the last
/// commit its round ‖ a bit for each validator, at most 29 bytes.
pub(crate) fn time_row(row: &TimeRow) -> Vec<u8> {
    let TimeRow { time, floor, hash, derived, last_commit } = row;
    let mut bytes = [&time.unix_nanos().to_be_bytes()[..], &height(*floor), &hash.0, &derived.0].concat();
    if let Some(Signers { round, bits }) = last_commit {
        bytes.extend(round.0.to_be_bytes());
        bytes.extend(bits);
    }
    bytes
}

/// Decodes the result of [`time_row`]; `None` for other bytes.
pub(crate) fn read_time_row(bytes: &[u8]) -> Option<TimeRow> {
    let (time, bytes) = bytes.split_first_chunk::<8>()?;
    let (floor, bytes) = bytes.split_first_chunk::<8>()?;
    let (hash, bytes) = bytes.split_first_chunk::<32>()?;
    let (derived, bytes) = bytes.split_first_chunk::<32>()?;
    let last_commit = match bytes.split_first_chunk::<4>() {
        Some((round, bits)) => Some(Signers { round: Round(u32::from_be_bytes(*round)), bits: bits.to_vec() }),
        None if bytes.is_empty() => None,
        None => return None,
    };
    Some(TimeRow {
        time: Time::from_unix_nanos(i64::from_be_bytes(*time)),
        floor: read_height(floor)?,
        hash: Hash(*hash),
        derived: Hash(*derived),
        last_commit,
    })
}

/// Returns the key of an infraction: height ‖ address of the validator, 28 bytes.
pub(crate) fn infraction((at, validator): &Infraction) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[..8].copy_from_slice(&height(*at));
    bytes[8..].copy_from_slice(&validator.0);
    bytes
}

/// Encodes where evidence is: height of the block ‖ hash of the evidence, 40 bytes.
pub(crate) fn committed(at: Height, hash: &Hash) -> Vec<u8> {
    [height(at).as_slice(), &hash.0].concat()
}

/// Decodes the result of [`committed`]; `None` for other bytes.
pub(crate) fn read_committed(bytes: &[u8]) -> Option<(Height, Hash)> {
    let (at, hash) = bytes.split_first_chunk::<8>()?;
    Some((read_height(at)?, Hash(hash.try_into().ok()?)))
}

/// Maximum of a height that is read: the two after it have an encoding, too.
const HEIGHT_MAX: u64 = i64::MAX as u64 - 2;

/// Returns a height that is stored as this number; `None` for one that no chain reaches.
pub(crate) fn stored_height(number: u64) -> Option<Height> {
    (number <= HEIGHT_MAX).then_some(Height(number))
}

/// Decodes 8 bytes as a height; `None` for any other length, or for a height that no chain reaches.
pub(crate) fn read_height(bytes: &[u8]) -> Option<Height> {
    stored_height(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// The tip of the chain: the last committed height, or the genesis state before the first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Height of the tip; the height before the initial one while there is no block.
    pub height: Height,
    /// Id of the block at the tip; `None` at genesis.
    pub block_id: Option<BlockId>,
    /// Time of the block, or the genesis time.
    pub time: Time,
    /// Root of the state after this height, which the next header contains.
    pub app_hash: Hash,
    /// Root over the results of this height, which the next header contains.
    pub results_hash: Hash,
}

/// Properties of the chain at its genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// Height of the first block, 1 or more.
    pub initial_height: Height,
    /// Time of the genesis document; the time of the first block is later.
    pub time: Time,
    /// Root of the genesis state.
    pub app_hash: Hash,
    /// BLAKE3 hash of the genesis document, to detect that the document was replaced.
    pub document_hash: Hash,
}

/// A block without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Id of the block.
    pub block_id: BlockId,
    /// Header of the block.
    pub header: Header,
    /// Size of the encoded block, in bytes.
    pub block_bytes: u64,
    /// Number of transactions in the block.
    pub txs: u32,
}

#[derive(Clone, PartialEq, Message)]
struct TipRecord {
    #[prost(uint64, tag = "1")]
    height: u64,
    #[prost(bytes = "vec", tag = "2")]
    block_id: Vec<u8>,
    #[prost(sint64, tag = "3")]
    time_ns: i64,
    #[prost(bytes = "vec", tag = "4")]
    app_hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    results_hash: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct GenesisRecord {
    #[prost(uint64, tag = "1")]
    initial_height: u64,
    #[prost(sint64, tag = "2")]
    time_ns: i64,
    #[prost(bytes = "vec", tag = "3")]
    app_hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    document_hash: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct HeadRecord {
    #[prost(bytes = "vec", tag = "1")]
    block_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    header: Vec<u8>,
    #[prost(uint64, tag = "3")]
    block_bytes: u64,
    #[prost(uint32, tag = "4")]
    txs: u32,
}

impl Tip {
    pub(crate) fn encode(&self) -> Vec<u8> {
        TipRecord {
            height: self.height.0,
            block_id: self.block_id.map(|id| block_id(&id).to_vec()).unwrap_or_default(),
            time_ns: self.time.unix_nanos(),
            app_hash: self.app_hash.0.to_vec(),
            results_hash: self.results_hash.0.to_vec(),
        }
        .encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let record = TipRecord::decode(bytes).ok()?;
        let block_id = match record.block_id.as_slice() {
            [] => None,
            bytes => Some(read_block_id(bytes)?),
        };
        Some(Self {
            height: stored_height(record.height)?,
            block_id,
            time: Time::from_unix_nanos(record.time_ns),
            app_hash: hash(&record.app_hash)?,
            results_hash: hash(&record.results_hash)?,
        })
    }
}

impl Genesis {
    pub(crate) fn encode(&self) -> Vec<u8> {
        GenesisRecord {
            initial_height: self.initial_height.0,
            time_ns: self.time.unix_nanos(),
            app_hash: self.app_hash.0.to_vec(),
            document_hash: self.document_hash.0.to_vec(),
        }
        .encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let record = GenesisRecord::decode(bytes).ok()?;
        Some(Self {
            initial_height: stored_height(record.initial_height).filter(|height| *height > Height::GENESIS)?,
            time: Time::from_unix_nanos(record.time_ns),
            app_hash: hash(&record.app_hash)?,
            document_hash: hash(&record.document_hash)?,
        })
    }
}

impl Head {
    pub(crate) fn encode(&self) -> Vec<u8> {
        HeadRecord {
            block_id: block_id(&self.block_id).to_vec(),
            header: Wire::encode(&self.header),
            block_bytes: self.block_bytes,
            txs: self.txs,
        }
        .encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let record = HeadRecord::decode(bytes).ok()?;
        Some(Self {
            block_id: read_block_id(&record.block_id)?,
            header: <Header as Wire>::decode(&record.header).ok()?,
            block_bytes: record.block_bytes,
            txs: record.txs,
        })
    }
}

fn hash(bytes: &[u8]) -> Option<Hash> {
    bytes.try_into().ok().map(Hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::blake3;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xFF), any::<u8>()], 0..6)
    }

    proptest! {
        #[test]
        fn versions_sort_by_key_then_newest_first_and_come_back(a in key(), b in key(), h in 0u64..4, i in 0u64..4) {
            let (left, right) = (version(&a, Height(h)), version(&b, Height(i)));
            prop_assert_eq!(left.cmp(&right), (&a, i).cmp(&(&b, h)));
            let (end, at) = split_version(&left).unwrap();
            prop_assert_eq!((read_terminated(end), at), (Some(a.clone()), Height(h)));
            prop_assert_eq!(escape(&b).starts_with(&escape(&a)), b.starts_with(&a));
        }

        #[test]
        fn changes_come_back_in_their_order(rows in proptest::collection::vec((key(), any::<bool>(), 0u64..300), 0..6)) {
            let part = |n: &u64| if *n > 0 { &b"r\0\0\0\x01"[..] } else { &[] };
            let rows: Vec<_> = rows.iter().map(|(key, is, n)| ([part(&(n / 2)), key].concat(), *is, n / 2)).collect();
            let change = |row| {
                let (key, is_deletion, n): &(Vec<u8>, bool, u64) = row;
                Change { key, is_deletion: *is_deletion, before: Some(Height(*n)).filter(|at| at.0 > 0) }
            };
            let mut list = Vec::new();
            for row in &rows {
                push_change(&mut list, change(row));
            }
            let read: Option<Vec<_>> = Changes::new(&list).collect();
            prop_assert_eq!(read, Some(rows.iter().map(change).collect()));
        }

        #[test]
        fn last_changes_sort_by_part_then_newest_first_and_come_back(
            a in (0u32..3, 0u64..4, key()), b in (0u32..3, 0u64..4, key())
        ) {
            let key = |(part, _, rest): &(u32, u64, Vec<u8>)| [&b"r"[..], &part.to_be_bytes(), rest].concat();
            let (left, right) = (recent(&key(&a), Height(a.1)).unwrap(), recent(&key(&b), Height(b.1)).unwrap());
            prop_assert_eq!(left.cmp(&right), (a.0, b.1, &a.2).cmp(&(b.0, a.1, &b.2)));
            let (part, at, rest) = split_recent(&left).unwrap();
            prop_assert_eq!(([part, rest].concat(), at), (key(&a), Height(a.1)));
        }

        #[test]
        fn foreign_bytes_are_refused_not_panicked_on(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (split_version(&bytes).map(|(key, _)| read_terminated(key)), Changes::new(&bytes).count());
            let _ = (split_recent(&bytes), split_recent(&[b"r", bytes.as_slice()].concat()));
            let _ = (read_version_value(&bytes), read_block_id(&bytes), read_tx_position(&bytes));
            let _ = (Tip::decode(&bytes), Genesis::decode(&bytes), Head::decode(&bytes));
            let _ = (read_time_row(&bytes), read_committed(&bytes));
        }
    }

    #[test]
    fn golden_bytes_of_keys() {
        let row = [7, 0, 0xFF, 9, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFD];
        assert_eq!(version(&[7, 0, 9], Height(258)), row);
        assert_eq!(version_value(None), [0]);
        assert_eq!(version_value(Some(&[5])), [1, 5]);
        assert_eq!(read_version_value(&[0, 1]), None);
        let mut list = Vec::new();
        let change = |key, is_deletion, before| Change { key, is_deletion, before };
        push_change(&mut list, change(&[7, 8], false, None));
        push_change(&mut list, change(&[9], true, None));
        push_change(&mut list, change(b"r\0\0\0\x01\x09", false, None));
        push_change(&mut list, change(b"r\0\0\0\x01\x0A", true, Some(Height(300))));
        let golden = [&[4, 7, 8, 3, 9, 12][..], b"r\0\0\0\x01\x09", &[0, 13], b"r\0\0\0\x01\x0A", &[0xAD, 0x02]];
        assert_eq!(list, golden.concat());
        let row = [b'r', 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFD, 7, 0];
        assert_eq!(recent(b"r\0\0\0\x01\x07\0", Height(258)).unwrap(), row);
        assert_eq!(recent(b"n\0\0\0\x01\x07\0", Height(258)), None);
        assert_eq!(tx_position(Height(1), 2), [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        let id = BlockId { hash: blake3(b"a"), parts: PartSetHeader { total: 3, hash: blake3(b"b") } };
        assert_eq!(read_block_id(&block_id(&id)), Some(id));
        assert_eq!(block(Height(9), &id).len(), 8 + BLOCK_ID_BYTES);
        let mut kept = TimeRow {
            time: Time::from_unix_nanos(258),
            floor: Height(7),
            hash: Hash([3; 32]),
            derived: Hash([4; 32]),
            last_commit: None,
        };
        let row = [&[0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 7][..], &[3; 32], &[4; 32]].concat();
        assert_eq!((time_row(&kept), read_time_row(&row)), (row.clone(), Some(kept.clone())));
        kept.last_commit = Some(Signers { round: Round(258), bits: vec![5, 1] });
        let row = [&row[..], &[0, 0, 1, 2, 5, 1]].concat();
        assert_eq!((time_row(&kept), read_time_row(&row)), (row.clone(), Some(kept)));
        assert_eq!((read_time_row(&row[..83]), read_time_row(&row[..79])), (None, None));
        let key = infraction(&(Height(258), types::Address([9; 20])));
        assert_eq!(key[..], [&[0, 0, 0, 0, 0, 0, 1, 2][..], &[9; 20]].concat());
        let row = committed(Height(258), &id.hash);
        assert_eq!((row.len(), read_committed(&row)), (40, Some((Height(258), id.hash))));
    }

    /// What is computed from a height, and encoded, has a next height and the one after it.
    #[test]
    fn heights_that_no_chain_reaches_are_refused() {
        let at = |height| Tip {
            height: Height(height),
            block_id: None,
            time: Time::from_unix_nanos(2),
            app_hash: Hash([1; 32]),
            results_hash: Hash([2; 32]),
        };
        let genesis = |height| Genesis {
            initial_height: Height(height),
            time: Time::from_unix_nanos(2),
            app_hash: Hash([1; 32]),
            document_hash: Hash([2; 32]),
        };
        assert!(
            Tip::decode(&at(HEIGHT_MAX).encode()).is_some() && Genesis::decode(&genesis(HEIGHT_MAX).encode()).is_some()
        );
        for height in [HEIGHT_MAX + 1, i64::MAX as u64, u64::MAX] {
            assert_eq!(Tip::decode(&at(height).encode()), None);
            assert_eq!(Genesis::decode(&genesis(height).encode()), None);
            assert_eq!(read_height(&height.to_be_bytes()), None);
            assert_eq!(read_tx_position(&tx_position(Height(height), 1)), None);
        }
        assert_eq!(Genesis::decode(&genesis(0).encode()), None, "the first block has a height");
    }

    #[test]
    fn golden_bytes_of_the_tip() {
        let tip = Tip {
            height: Height(300),
            block_id: None,
            time: Time::from_unix_nanos(2),
            app_hash: Hash([1; 32]),
            results_hash: Hash([2; 32]),
        };
        let golden = [&[0x08, 0xAC, 0x02, 0x18, 0x04, 0x22, 32][..], &[1; 32], &[0x2A, 32], &[2; 32]].concat();
        assert_eq!(tip.encode(), golden);
        assert_eq!(Tip::decode(&golden), Some(tip));
    }
}
