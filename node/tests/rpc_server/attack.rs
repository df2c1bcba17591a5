//! Proves that attacks on light clients are taken from unmodified clients, shown in CometBFT's JSON, and refused with the
//! reason.

use prost::Message;
use rpc::Limits;
use serde_json::{Value, json};
use tendermint_proto::v0_38 as proto;
use tendermint_rpc::{Client, HttpClient};
use types::{
    BlockId, Commit, ConsensusPublicKey, Evidence, Hash, Header, Height, LightBlock, LightClientAttackEvidence,
    PartSetHeader, Power, Round, Time, TrustedBlock, ValidatorSet, Vote, VoteType, Wire, limits::VALIDATORS_MAX,
};

use crate::{
    chain::{Chain, chain_id, key},
    post,
};

/// The common height of the attacks here.
const COMMON: Height = Height(2);

/// Returns evidence that validators 1 and 2 signed a false state of a height, for light clients that trust height 2.
fn attack(chain: &Chain, height: u64, time: impl Fn(&Header) -> Time) -> LightClientAttackEvidence {
    let members: Vec<(ConsensusPublicKey, Power)> =
        [1, 2].map(|seed| (key(seed).public_key().into(), Power(3))).to_vec();
    let validators = ValidatorSet::new(members).unwrap();
    let tip = chain.store.tip().unwrap().height;
    let known = chain.store.header(Height(height).min(tip)).unwrap();
    let (app_hash, validators_hash, time) = (Hash([66; 32]), validators.hash(), time(&known));
    let header = Header { height: Height(height), time, app_hash, validators_hash, ..known };
    let block_id = BlockId { hash: header.hash(), parts: PartSetHeader { total: 1, hash: Hash([1; 32]) } };
    let votes: Vec<_> = [1, 2]
        .map(|seed| {
            let validator = key(seed).public_key().address();
            let (validator_index, _) = validators.by_address(&validator).unwrap();
            let (vote_type, height, round, timestamp) = (VoteType::Precommit, header.height, Round(1), time);
            let block_id = Some(block_id);
            Vote { vote_type, height, round, block_id, timestamp, validator, validator_index }
                .sign(&chain_id(), &key(seed))
        })
        .to_vec();
    let commit = Commit::from_votes(header.height, Round(1), block_id, &validators, &votes);
    let conflicting = LightBlock { header, commit, validators };
    let trusted: Option<TrustedBlock> = chain.store.trusted_block(Height(height)).ok();
    let (common, time) = (chain.store.validators(COMMON).unwrap(), chain.store.block_time(COMMON).unwrap());
    LightClientAttackEvidence::new(conflicting, COMMON, trusted.as_ref(), &common, time).unwrap()
}

fn wrapped(attack: LightClientAttackEvidence) -> Evidence {
    Evidence::LightClientAttack(Box::new(attack))
}

/// Returns the evidence in the types of an unmodified client.
fn stock(evidence: &Evidence) -> proto::types::Evidence {
    proto::types::Evidence::decode(evidence.encode().as_slice()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attack_is_taken_from_an_unmodified_client_and_shown_in_cometbfts_json() {
    let chain = Chain::new();
    (0..5).for_each(|_| drop(chain.grow(vec![])));
    let served = chain.serve(Limits::default()).await;
    let url = served.http();
    let evidence = wrapped(attack(&chain, 4, |header| header.time));
    let client = HttpClient::new(url.as_str()).unwrap();
    let answer = client.broadcast_evidence(stock(&evidence).try_into().unwrap()).await.unwrap();
    assert_eq!(answer.hash.as_bytes(), evidence.hash().0);

    let block = chain.grow_with(vec![], vec![evidence.clone()]);
    let shown = post(&url, "block", json!({ "height": "6" })).await.json();
    let shown = shown["result"]["block"]["evidence"]["evidence"][0].clone();
    assert_eq!(block.block.evidence, std::slice::from_ref(&evidence));
    assert_eq!(shown["type"], "tendermint/LightClientAttackEvidence");
    let value = &shown["value"];
    assert_eq!((&value["CommonHeight"], &value["TotalVotingPower"]), (&json!("2"), &json!("40")));
    let conflicting = &value["ConflictingBlock"];
    assert_eq!(conflicting["signed_header"]["header"]["app_hash"], "42".repeat(32));
    assert_eq!(conflicting["signed_header"]["commit"]["signatures"].as_array().unwrap().len(), 2);
    assert_eq!(conflicting["validator_set"]["validators"][0]["voting_power"], "3");
    let named: Vec<&Value> = value["ByzantineValidators"].as_array().unwrap().iter().collect();
    let mut expected = [1, 2].map(|seed| key(seed).public_key().address());
    expected.sort();
    assert_eq!(
        named.iter().map(|one| one["address"].as_str().unwrap()).collect::<Vec<_>>(),
        expected.map(|one| one.to_string())
    );
    assert!(named.iter().all(|one| one["voting_power"] == "10"), "their power at height 2: {value}");

    let results = post(&url, "block_results", json!({ "height": "6" })).await.json();
    let events = results["result"]["finalize_block_events"].as_array().unwrap();
    let named = events.iter().filter(|event| event["type"] == "evidence");
    let attributes = named.map(|event| [0, 1, 2].map(|at| event["attributes"][at]["value"].clone()));
    let expected =
        expected.map(|one| [one.to_string(), "2".to_owned(), "light_client_attack".to_owned()].map(Value::from));
    assert_eq!(attributes.collect::<Vec<_>>(), expected);

    // What is shown is read back, and refused, because it is in a block.
    let again = post(&url, "broadcast_evidence", json!({ "evidence": shown })).await;
    assert!(again.error().contains("it is repeated: block 6 has evidence"), "{}", again.text);
    let hash = evidence.hash().to_string();
    assert!(again.error().contains(&hash), "{}", again.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reason_why_an_attack_is_refused_is_said() {
    let chain = Chain::new();
    (0..5).for_each(|_| drop(chain.grow(vec![])));
    let served = chain.serve(Limits::default()).await;
    let url = served.http();
    let send = async |evidence: Value| post(&url, "broadcast_evidence", json!({ "evidence": evidence })).await;
    let good = serde_json::to_value(stock(&wrapped(attack(&chain, 4, |header| header.time)))).unwrap();
    assert!(send(good.clone()).await.json()["result"]["hash"].is_string());
    let entry = "/value/conflicting_block/signed_header/commit/signatures/0";
    let header = "/value/conflicting_block/signed_header/header";
    let set = "/value/conflicting_block/validator_set";
    let many = vec![good.pointer(&format!("{set}/proposer")).unwrap().clone(); VALIDATORS_MAX + 1];
    for (pointer, value, says) in [
        (format!("{header}/app_hash"), json!("00".repeat(32)), "evidence was not added: the commit is for block"),
        (format!("{header}/app_hash"), json!("00".repeat(31)), "header.app_hash: 31 bytes, a hash has 32"),
        (format!("{header}/height"), json!("x"), "conflicting_block.signed_header.header.height is \"x\""),
        (format!("{entry}/signature"), json!(data_encoding::BASE64.encode(&[1; 64])), "signature 0 is wrong"),
        (format!("{entry}/signature"), json!("AA"), "signatures[0].signature is \"AA\": expected base64"),
        (format!("{entry}/block_id_flag"), json!(1), "power 10 of 40 of the common height signed, more than one third"),
        (format!("{set}/validators"), json!([]), "2 signatures, the conflicting set has 0 validators"),
        (format!("{set}/validators"), json!(many), "has 201 elements, at most 200 are allowed"),
        (format!("{set}/validators/0/voting_power"), json!("4"), "the validators have hash"),
        (format!("{set}/proposer"), Value::Null, "validator_set.proposer.pub_key.type is null"),
        ("/value/common_height".to_owned(), json!("0"), "the common height 0 is not between 1 and"),
        ("/value/common_height".to_owned(), json!("5"), "the common height 5 is not between 1 and"),
        ("/value/common_height".to_owned(), json!("-1"), "evidence.common_height: -1 is negative"),
        (
            "/value/total_voting_power".to_owned(),
            json!("7"),
            "the total power is 7, that of the set at the common height is 40",
        ),
        ("/value/timestamp".to_owned(), json!("2026-01-31T12:00:00Z"), "the time of block 2 is"),
        ("/value/timestamp".to_owned(), Value::Null, "Timestamp is null"),
        ("/value/byzantine_validators".to_owned(), json!([]), "0 validators are named, not exactly the 2"),
    ] {
        let mut wrong = good.clone();
        *wrong.pointer_mut(&pointer).unwrap_or_else(|| panic!("{pointer}: {good:#}")) = value;
        let answer = send(wrong).await;
        assert!(answer.error().contains(says), "{pointer}: {says}: {}", answer.text);
    }
    let later = wrapped(attack(&chain, 9, |header| header.time.saturating_add(std::time::Duration::from_secs(9))));
    let answer = send(serde_json::to_value(stock(&later)).unwrap()).await;
    assert!(answer.error().contains("attack at height 9, which is not decided yet"), "{}", answer.text);
    let not_later = wrapped(attack(&chain, 9, |header| header.time));
    assert!(send(serde_json::to_value(stock(&not_later)).unwrap()).await.json()["result"]["hash"].is_string());
    chain.expire_evidence_below(3);
    chain.grow(vec![]);
    let answer = send(good).await;
    assert!(answer.error().contains("it is of height 2 and has expired"), "{}", answer.text);
}
