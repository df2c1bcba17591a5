//! Proves every hash that other software recomputes against other implementations: a block of a CometBFT v0.38 chain,
//! the `tendermint` crate, and constants that a separate program computed from the rules (protobuf written by hand,
//! SHA-256, RFC 6962 trees).

use prost::Message;
use tendermint::{crypto::default::Sha256, merkle::simple_hash_from_byte_vectors};
use tendermint_proto::v0_38 as proto;
use types::*;

/// Returns the root over `leaves`, computed by the other implementation.
fn their_root(leaves: &[impl AsRef<[u8]>]) -> Hash {
    Hash(simple_hash_from_byte_vectors::<Sha256>(leaves))
}

fn hash(text: &str) -> Hash {
    text.parse().unwrap()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

fn signature(base64: &str) -> Signature {
    Signature(data_encoding::BASE64.decode(base64.as_bytes()).unwrap().try_into().unwrap())
}

fn block_id(block: &str, parts: &str) -> BlockId {
    BlockId { hash: hash(block), parts: PartSetHeader { total: 1, hash: hash(parts) } }
}

/// SHA-256 of zero bytes, which is also the root over no leaves.
const EMPTY: &str = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";

/// Returns CometBFT's default parameters of a block, 21 MiB and no gas bound, as in most Cosmos chains.
fn their_default_params() -> Params {
    Params { block: BlockParams { bytes_max: 22_020_096, gas_max: -1 }, ..Params::default() }
}

/// A commit, evidence and a header of height 549 of the chain `provi`, which CometBFT v0.38 made: the answer to
/// `block_search` among the test fixtures of `tendermint-rpc` 0.41 (`block_search_evidence.json`).
#[test]
fn a_block_that_cometbft_made_has_our_hashes() {
    let last = block_id(
        "02E7201800A013798DE9CC5E158D227F465C6082C02891C27967CBB2E8D8322E",
        "F60555618ED4ABB2BECBA4A5D3C8B366FD1B2040F660774275B02ADEB6E8F1CA",
    );
    let entry = |validator: &str, timestamp: &str, signed: &str| CommitSig::Commit {
        validator: address(validator),
        timestamp: time(timestamp),
        signature: signature(signed),
    };
    let commit = Commit {
        height: Height(548),
        round: Round(0),
        block_id: last,
        signatures: vec![
            entry(
                "06C0F3E47CC5C748269088DC2F36411D3AAA27C6",
                "2024-09-13T15:58:29.677606671Z",
                "9v+PFHLp0ySOxvVaUy0khcShvAUcR3lNETQjjqD2OcYvwUSsSta3/mCtuDESCN6FVl/08NkjkPmsRr0Adih5Dg==",
            ),
            entry(
                "99BD3A72EF12CD024E7584B3AC900AE3743C6ADF",
                "2024-09-13T15:58:29.574657588Z",
                "iMYwtOEjrElYQfv5dr41AJbWn5QHQFbpDh1GDtH+oF+E8jmda7dA5KUZWN4FuHwKUi+cLqkNr0AifK6izhDSCQ==",
            ),
            entry(
                "C888306A908A217B9A943D1DAD8790044D0947A4",
                "2024-09-13T15:58:29.575293338Z",
                "gIOsYg44s2yPbwFH1z8sNqgFb8BCmFtL5GyUoMfIk8AOM255eOpTBdc8a4uN/aVvKFLlVdY+zocLbXro7T1cCA==",
            ),
        ],
    };
    let vote = |block_id, timestamp: &str, signed: &str| SignedVote {
        vote: Vote {
            vote_type: VoteType::Precommit,
            height: Height(547),
            round: Round(0),
            block_id,
            timestamp: time(timestamp),
            validator: address("C888306A908A217B9A943D1DAD8790044D0947A4"),
            validator_index: 2,
        },
        signature: signature(signed),
    };
    let evidence = Evidence::DuplicateVote(DuplicateVoteEvidence {
        vote_a: vote(
            None,
            "2024-09-13T15:58:28.469186921Z",
            "hU7N6J45TKKHg7/xsbzLzSvZsu5xJhDC1wSUFpYLqM/tcadaugwn7BDRwXFheKVdoGVR/b4g83bXMNeOOICABg==",
        ),
        vote_b: vote(
            Some(block_id(
                "36A6DC9D9DC15034156C81083294FE0F48F62CBBECBAB58D50E6873323ADC1DE",
                "BA930F53061BDAEFB9C761E44CAB36817009DAC8BDE1B1E16B2A527B4B30F30C",
            )),
            "2024-09-13T15:58:28.364807546Z",
            "0xL4svhxUvQrsZFZqXaer+pKI00d4j0Xi03uqYIIMzB0YKgGqVlJfC828oJiZTX3iD9bt/xQK72eKMqhdXS3Cg==",
        ),
        total_power: Power(1509),
        validator_power: Power(99),
        timestamp: time("2024-09-13T15:58:27.05956617Z"),
    });
    let header = Header {
        version_app: 0,
        chain_id: ChainId::new("provi").unwrap(),
        height: Height(549),
        time: time("2024-09-13T15:58:29.677606671Z"),
        last_block_id: Some(last),
        last_commit_hash: hash("BA41D70D0B4133C8E088D627034AD9B0AB1C4B7B471F11CBE078E54FB78F8459"),
        data_hash: hash(EMPTY),
        validators_hash: hash("CD0FED96CC6A2F96F9D6220901E3FF609DC6B8C80A32D90C9F466ED14F97AF30"),
        next_validators_hash: hash("FAE16F233FBF640966E76C54102B09010A54786E227A26227353E4BD4F0EDF54"),
        consensus_hash: hash("048091BC7DDC283F77BFBF91D73C44DA58C3DF8A9CBC867405D8B7F3DAADA22F"),
        app_hash: hash("EEDC3EA34934725E9D2BF94C1D861B9E4438D7CBB76275B7F6C0C9EE23134238"),
        last_results_hash: hash(EMPTY),
        evidence_hash: hash("051CD844C65A51852281128722BC6BE700F2CC288F6C4AB808E06D9EF82170E5"),
        proposer: address("99BD3A72EF12CD024E7584B3AC900AE3743C6ADF"),
    };
    assert_eq!(commit.hash(), header.last_commit_hash);
    assert_eq!(Block::data_hash(&[]), header.data_hash);
    assert_eq!(their_default_params().hash(), header.consensus_hash);
    assert_eq!(results_hash(&[]), header.last_results_hash);
    assert_eq!(Block::evidence_hash(std::slice::from_ref(&evidence)), header.evidence_hash);
    assert_eq!(evidence.hash(), hash("572867FFA232F3D5AE1ADEB1A12B8B5111EBCA64D025427FAA87FAFEABDA40CD"));
    assert_eq!(header.hash(), hash("9A32DFAD3F04AB0573D91D08F12766A159E5ADFE4FA14DFD569B234DA5933ADB"));
    let block = Block { header, txs: vec![], evidence: vec![evidence], last_commit: Some(commit) };
    assert_eq!(block.check_content(), Ok(()));
}

/// The transaction is from `tx_search_with_prove.json` of the same fixtures.
#[test]
fn transaction_ids_and_data_hash() {
    let theirs = b"async-key=value".to_vec();
    assert_eq!(TxId::of(&theirs).to_string(), "9F28904F9C0F3AB74A81CBA48E39124DA1C680B47FBFCBA0126870DB722BCC30");
    assert_eq!(Block::data_hash(&[theirs]), hash("3081F9915040D138B3AD7F895732D2767C29E85BA5D84388D04E17A5D8262B7A"));
    let txs = [b"a=1".to_vec(), b"b=22".to_vec(), b"c=333".to_vec()];
    assert_eq!(Block::data_hash(&txs), hash("69A721C5E155466A45B6FA3127FCFC38C72882F9A857A2D881B22572A3A7F8D3"));
    let ids: Vec<TxId> = txs.iter().map(|tx| TxId::of(tx)).collect();
    assert_eq!(Block::data_hash(&txs), their_root(&ids));
    assert_eq!(Block::data_hash(&[]), their_root(&[[0; 0]; 0]));
}

/// A transaction's proof is compared with the other implementation's rules.
#[test]
fn a_transaction_is_proven_under_the_data_hash() {
    let txs: Vec<Vec<u8>> = (0..7).map(|n| vec![n; 20]).collect();
    let ids: Vec<TxId> = txs.iter().map(|tx| TxId::of(tx)).collect();
    let (root, proofs) = merkle::proofs(merkle::Hasher::Sha256, &ids);
    assert_eq!(root, Block::data_hash(&txs));
    for (tx, proof) in txs.iter().zip(proofs) {
        let theirs: tendermint::merkle::Proof =
            proto::crypto::Proof::decode(&*proof.encode()).unwrap().try_into().unwrap();
        assert_eq!(theirs.leaf_hash.as_bytes(), their_root(&[TxId::of(tx)]).0);
        assert_eq!(proof.verify(merkle::Hasher::Sha256, root, &TxId::of(tx).0), Ok(()));
    }
}

#[test]
fn results_hash_covers_only_deterministic_fields() {
    let result = |code, data: &[u8], gas_wanted, gas_used| TxResult {
        code,
        data: data.to_vec(),
        gas_wanted,
        gas_used,
        log: "for people".into(),
        codespace: "cairn".into(),
        events: vec![Event { kind: "transfer".into(), attributes: vec![] }],
    };
    let results = [result(0, &[7], 3, 2), result(5, &[], 1, 1), result(0, &[], 0, 0)];
    assert_eq!(results_hash(&results), hash("490128C4D07FC40FE81CB924AEF85FA9A97454AB53F6D062EBD81E4C59C8D29D"));
    let leaf = |result: &TxResult| {
        let (code, data) = (result.code, result.data.clone().into());
        let (gas_wanted, gas_used) = (result.gas_wanted, result.gas_used);
        proto::abci::ExecTxResult { code, data, gas_wanted, gas_used, ..Default::default() }.encode_to_vec()
    };
    assert_eq!(results_hash(&results), their_root(&results.each_ref().map(leaf)));
    // The complete result also has the field numbers of the other implementation.
    let whole = proto::abci::ExecTxResult::decode(&*results[1].encode()).unwrap();
    assert_eq!((whole.code, whole.log.as_str(), whole.codespace.as_str()), (5, "for people", "cairn"));
    assert_eq!(whole.encode_to_vec(), results[1].encode());
}

#[test]
fn consensus_hash_is_over_the_bounds_of_a_block() {
    for (bytes_max, gas_max, known) in [
        (22_020_096, -1, "048091BC7DDC283F77BFBF91D73C44DA58C3DF8A9CBC867405D8B7F3DAADA22F"),
        (4_194_304, -1, "BAB5041D16246E2757DB17AF4B55FAAFBFD8660F7EB32871C99F91D0E58D5BF2"),
        (1_048_576, 5_000_000, "B6A8F88FA389FA3EAD4A59EE59D62055DC91103B87A6D46591F5F46A0A46793C"),
    ] {
        let params = Params { block: BlockParams { bytes_max, gas_max }, fee_min: 7, ..Params::default() };
        let theirs = proto::types::HashedParams { block_max_bytes: bytes_max as i64, block_max_gas: gas_max };
        assert_eq!(params.hash(), sha256(&theirs.encode_to_vec()));
        assert_eq!(params.hash(), hash(known));
    }
}

#[test]
fn last_commit_hash_with_absent_and_nil() {
    let (validator, timestamp) = (address("06C0F3E47CC5C748269088DC2F36411D3AAA27C6"), time("1970-01-01T00:00:00Z"));
    let signature = Signature([7; 64]);
    let commit = Commit {
        height: Height(5),
        round: Round(1),
        block_id: block_id(EMPTY, EMPTY),
        signatures: vec![
            CommitSig::Absent,
            CommitSig::Nil { validator, timestamp, signature },
            CommitSig::Commit { validator, timestamp, signature },
        ],
    };
    let theirs: tendermint::block::Commit =
        proto::types::Commit::decode(&*commit.encode()).unwrap().try_into().unwrap();
    let leaves: Vec<Vec<u8>> =
        theirs.signatures.into_iter().map(|entry| proto::types::CommitSig::from(entry).encode_to_vec()).collect();
    assert_eq!(commit.hash(), their_root(&leaves));
    assert_eq!(Commit::empty_hash(), their_root(&[[0; 0]; 0]));
}

/// If two blocks have the same header hash, the bytes of the parts header decide, as in CometBFT: 256 parts are ordered
/// before 129.
#[test]
fn evidence_is_ordered_as_cometbft_orders_it() {
    let key = SecretKey::from_bytes(&[1; 32]).unwrap();
    let set = ValidatorSet::new(vec![(key.public_key(), Power(5))]).unwrap();
    let chain_id = ChainId::new("order").unwrap();
    let vote = |total| {
        let vote = Vote {
            vote_type: VoteType::Prevote,
            height: Height(1),
            round: Round(0),
            block_id: Some(BlockId { hash: hash(EMPTY), parts: PartSetHeader { total, hash: hash(EMPTY) } }),
            timestamp: time("2026-01-01T00:00:00Z"),
            validator: key.public_key().address(),
            validator_index: 0,
        };
        vote.sign(&chain_id, &key)
    };
    let evidence = DuplicateVoteEvidence::new(vote(129), vote(256), &set, time("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!((evidence.vote_a.clone(), evidence.vote_b.clone()), (vote(256), vote(129)));
    assert_eq!(evidence.verify(&chain_id, &set), Ok(()));
}
