//! Proves proposer rotation, averages of priorities, sign-bytes, header hashes and bodies of transactions against `vectors/vectors.json`, which
//! an independent program made from the specifications (`vectors/generate.py`).
//!
//! These tests notice, for example, an average that is rounded toward zero, priorities that are scaled by the floor of
//! the ratio, a tie that goes to the higher address, a new validator without the additional eighth, a timestamp of the
//! epoch that is left out, and a tree that is split in its middle. `generate.py` proves for the mistakes of the rotation
//! that at least one vector differs.

use serde_json::Value;
use types::*;

fn vectors(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("vectors/vectors.json")).unwrap();
    let cases = all[name].as_array().unwrap().clone();
    assert!(cases.len() >= 10, "{name} has {} vectors", cases.len());
    cases
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text(value).as_bytes()).unwrap()
}

fn hash(value: &Value) -> Hash {
    text(value).parse().unwrap()
}

fn secret(seed: &Value) -> ConsensusSecretKey {
    ConsensusSecretKey::from_bytes(KeyType::Ed25519, &[number(seed) as u8; 32]).unwrap()
}

fn key(seed: &Value) -> ConsensusPublicKey {
    secret(seed).public_key()
}

fn time(value: &Value) -> Time {
    Time::from_unix_nanos(value.as_i64().unwrap())
}

fn round(value: &Value) -> Round {
    Round(number(value) as u32)
}

fn chain_id(case: &Value) -> ChainId {
    ChainId::new(text(&case["chain_id"])).unwrap()
}

fn block_id(value: &Value) -> Option<BlockId> {
    let parts = || PartSetHeader { total: number(&value["total"]) as u32, hash: hash(&value["parts"]) };
    (!value.is_null()).then(|| BlockId { hash: hash(&value["hash"]), parts: parts() })
}

/// Returns the keys and powers in a list of seeds and powers.
fn powers(value: &Value) -> Vec<(ConsensusPublicKey, Power)> {
    list(value).iter().map(|entry| (key(&entry[0]), Power(number(&entry[1])))).collect()
}

fn priorities(set: &ValidatorSet) -> Vec<i64> {
    set.iter().map(|validator| validator.proposer_priority).collect()
}

fn numbers(value: &Value) -> Vec<i64> {
    list(value).iter().map(|number| number.as_i64().unwrap()).collect()
}

#[test]
fn proposers_and_priorities_are_those_of_the_vectors() {
    for case in vectors("rotations") {
        let mut set = ValidatorSet::new(powers(&case["validators"])).unwrap();
        for (round, proposer) in list(&case["rounds"]).iter().enumerate() {
            let got = set.proposer_of_round(Round(round as u32)).public_key;
            assert_eq!(got, key(proposer), "round {round} of {}", case["validators"]);
        }
        for (at, step) in list(&case["steps"]).iter().enumerate() {
            let context = format!("step {at} of {}", case["validators"]);
            let changes = powers(&step["changes"]);
            if !changes.is_empty() {
                let update = |(public_key, power)| ValidatorUpdate { public_key, power };
                set = set.update(&changes.into_iter().map(update).collect::<Vec<_>>()).unwrap();
                assert_eq!(priorities(&set), numbers(&step["updated"]), "changes of {context}");
            }
            set.increment(number(&step["turns"]) as u32);
            let members: Vec<_> = set.iter().map(|validator| (validator.public_key, validator.power)).collect();
            assert_eq!(members, powers(&step["members"]), "{context}");
            assert_eq!(priorities(&set), numbers(&step["priorities"]), "{context}");
            assert_eq!(set.proposer().public_key, key(&step["proposer"]), "{context}");
        }
    }
}

#[test]
fn any_priorities_are_scaled_centred_and_advanced_as_in_the_vectors() {
    for case in vectors("averages") {
        let start = ValidatorSet::decode(&bytes(&case["bytes"])).unwrap();
        for turns in [1, 3] {
            let expected = &case[format!("after_{turns}")];
            let mut set = start.clone();
            set.increment(turns);
            assert_eq!(priorities(&set), numbers(&expected["priorities"]), "{turns} turns of {start:?}");
            assert_eq!(set.proposer().public_key, key(&expected["proposer"]), "{turns} turns of {start:?}");
        }
    }
}

#[test]
fn sign_bytes_and_signatures_are_those_of_the_vectors() {
    let mut kinds = std::collections::BTreeSet::new();
    for case in vectors("sign_bytes") {
        let (height, round, timestamp) = (Height(number(&case["height"])), round(&case["round"]), time(&case["time"]));
        let (chain_id, secret, block_id) = (chain_id(&case), secret(&case["seed"]), block_id(&case["block_id"]));
        let kind = text(&case["kind"]);
        kinds.insert((kind.to_owned(), block_id.is_none()));
        let vote = |vote_type| {
            let (validator, validator_index) = (secret.public_key().address(), 0);
            let vote = Vote { vote_type, height, round, block_id, timestamp, validator, validator_index };
            (vote.sign_bytes(&chain_id), vote.sign(&chain_id, &secret).signature)
        };
        let (signed, signature) = match kind {
            "prevote" => vote(VoteType::Prevote),
            "precommit" => vote(VoteType::Precommit),
            "proposal" => {
                let pol_round = case["pol_round"].as_u64().map(|round| Round(round as u32));
                let proposal = Proposal { height, round, pol_round, block_id: block_id.unwrap(), timestamp };
                (proposal.sign_bytes(&chain_id), proposal.sign(&chain_id, &secret).signature)
            }
            other => panic!("{other} is no kind of message"),
        };
        assert_eq!(data_encoding::HEXLOWER.encode(&signed), text(&case["bytes"]), "{case}");
        assert_eq!(data_encoding::HEXLOWER.encode(&signature.0), text(&case["signature"]), "{case}");
        assert_eq!(secret.public_key().verify(&bytes(&case["bytes"]), &signature), Ok(()), "{case}");
    }
    assert_eq!(kinds.len(), 5, "both votes for a block and for nil, and proposals: {kinds:?}");
}

#[test]
fn header_hashes_are_those_of_the_vectors() {
    for case in vectors("headers") {
        let header = Header {
            version_app: number(&case["version_app"]),
            chain_id: chain_id(&case),
            height: Height(number(&case["height"])),
            time: time(&case["time"]),
            last_block_id: block_id(&case["last_block_id"]),
            last_commit_hash: hash(&case["last_commit_hash"]),
            data_hash: hash(&case["data_hash"]),
            validators_hash: hash(&case["validators_hash"]),
            next_validators_hash: hash(&case["next_validators_hash"]),
            consensus_hash: hash(&case["consensus_hash"]),
            app_hash: hash(&case["app_hash"]),
            last_results_hash: hash(&case["last_results_hash"]),
            evidence_hash: hash(&case["evidence_hash"]),
            proposer: text(&case["proposer"]).parse().unwrap(),
        };
        assert_eq!(header.hash(), hash(&case["hash"]), "{case}");
    }
}

#[test]
fn the_order_and_the_hash_of_validators_are_those_of_the_vectors() {
    for case in vectors("validator_sets") {
        let set = ValidatorSet::new(powers(&case["validators"])).unwrap();
        let order: Vec<_> = set.iter().map(|validator| (validator.public_key, validator.address())).collect();
        let expected = list(&case["order"]).iter().map(|entry| (key(&entry[0]), text(&entry[1]).parse().unwrap()));
        assert_eq!(order, expected.collect::<Vec<_>>(), "{case}");
        assert_eq!(set.hash(), hash(&case["hash"]), "{case}");
    }
}

#[test]
fn bodies_of_transactions_are_those_of_the_vectors() {
    let op = |op: &Value| KvOp {
        key: bytes(&op["key"]),
        value: (!op["value"].is_null()).then(|| bytes(&op["value"])),
        if_height: op["if_height"].as_u64().map(Height),
    };
    let message = |message: &Value| match text(&message["kind"]) {
        "transfer" => {
            Msg::Transfer { to: Address(bytes(&message["to"]).try_into().unwrap()), amount: number(&message["amount"]) }
        }
        "ns_create" => Msg::NsCreate {
            ns: text(&message["ns"]).into(),
            owner: if message["owner"] == "shared" { NsOwner::Shared } else { NsOwner::Signer },
            quota_keys: number(&message["quota_keys"]),
            quota_bytes: number(&message["quota_bytes"]),
        },
        _ => Msg::KvWrite {
            ns: text(&message["ns"]).into(),
            data_epoch: number(&message["data_epoch"]),
            ops: list(&message["ops"]).iter().map(op).collect(),
        },
    };
    for case in vectors("transactions") {
        let body = TxBody {
            chain_id: ChainId::new("cairn-test").unwrap(),
            signer: SecretKey::from_bytes(&[3; 32]).unwrap().public_key(),
            order: TxOrder::Nonce(number(&case["nonce"])),
            fee: 2,
            messages: list(&case["messages"]).iter().map(message).collect(),
        };
        assert_eq!(data_encoding::HEXLOWER.encode(&body.encode()), text(&case["body"]));
        assert_eq!(TxBody::decode(&bytes(&case["body"])), Ok(body));
    }
}
