//! Uses a node through unmodified CometBFT clients: calls every method of `tendermint-rpc`, and verifies headers with a
//! light client.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::time::Duration;

use app::{ProofOp, StateProof, state::NEVER_REVERTED};
use futures::StreamExt;
use prost::Message;
use tendermint::{
    block::Height,
    crypto::default::Sha256,
    merkle::{proof::ProofOps, simple_hash_from_byte_vectors},
};
use tendermint_light_client_verifier::{
    ProdVerifier, Verdict, Verifier,
    options::Options,
    types::{TrustThreshold, TrustedBlockState, UntrustedBlockState, ValidatorSet},
};
use tendermint_proto::v0_38 as proto;
use tendermint_rpc::{
    Client, Paging, SubscriptionClient,
    event::EventData,
    query::{EventType, Query},
};
use types::{Address, Hash, KeyType, merkle};

/// Returns the SHA-256 hash of the bytes in the client library's type, which is the id of a transaction.
pub fn id(tx: &[u8]) -> tendermint::Hash {
    tendermint::Hash::Sha256(types::sha256(tx).0)
}

/// Calls every method and checks the responses. `txs` are alice's next transactions: the first is committed here, the
/// others are only submitted.
pub async fn every_method(client: &(impl Client + Sync), txs: [Vec<u8>; 3], alice: Address) {
    client.health().await.unwrap();
    let [first, second, third] = txs;

    let answer = client.broadcast_tx_commit(first.clone()).await.unwrap();
    assert!(answer.check_tx.code.is_ok() && answer.tx_result.code.is_ok(), "{answer:?}");
    assert_eq!(answer.hash, id(&first));
    let height = answer.height;
    let found = client.tx(id(&first), true).await.unwrap();
    assert_eq!((found.height, found.hash, &found.tx), (height, id(&first), &first));
    assert!(found.tx_result.events.iter().any(|event| event.kind == "transfer"));

    let block = client.block(height).await.unwrap();
    let proof = found.proof.unwrap();
    let ours = merkle::Proof {
        total: proof.proof.total as u32,
        index: proof.proof.index as u32,
        leaf_hash: Hash(proof.proof.leaf_hash.as_bytes().try_into().unwrap()),
        aunts: proof.proof.aunts.iter().map(|aunt| Hash(aunt.as_bytes().try_into().unwrap())).collect(),
    };
    let root = Hash(block.block.header.data_hash.unwrap().as_bytes().try_into().unwrap());
    assert_eq!(proof.root_hash.as_bytes(), root.0);
    ours.verify(merkle::Hasher::Sha256, root, id(&proof.data).as_bytes()).unwrap();

    assert_eq!(block.block.header.hash(), block.block_id.hash);
    assert_eq!(block.block.data, [first]);
    let by_hash = client.block_by_hash(block.block_id.hash).await.unwrap();
    assert_eq!(by_hash.block.as_ref(), Some(&block.block));
    assert!(client.block_by_hash(id(b"nothing")).await.unwrap().block.is_none());
    assert!(client.latest_block().await.unwrap().block.header.height >= height);
    assert_eq!(client.header(height).await.unwrap().header, block.block.header);
    let header = client.header_by_hash(block.block_id.hash).await.unwrap().header;
    assert_eq!(header.as_ref(), Some(&block.block.header));
    assert!(client.header_by_hash(id(b"nothing")).await.unwrap().header.is_none());
    let metas = client.blockchain(Height::from(1_u32), height).await.unwrap().block_metas;
    assert_eq!((metas[0].header.height, metas[0].num_txs), (height, 1));
    assert!(metas.is_sorted_by(|a, b| a.header.height > b.header.height));
    let results = client.block_results(height).await.unwrap();
    assert_eq!((results.height, results.txs_results.unwrap().len()), (height, 1));
    client.latest_block_results().await.unwrap();
    let commit = client.commit(height).await.unwrap();
    assert_eq!(commit.signed_header.header.hash(), commit.signed_header.commit.block_id.hash);
    client.latest_commit().await.unwrap();

    let validators = client.validators(height, Paging::All).await.unwrap();
    assert_eq!(validators.total as usize, validators.validators.len());
    let params = client.consensus_params(height).await.unwrap().consensus_params;
    assert!(params.block.max_bytes > 0 && params.version.is_some());
    client.latest_consensus_params().await.unwrap();
    client.consensus_state().await.unwrap();

    let status = client.status().await.unwrap();
    assert!(status.sync_info.latest_block_height >= height && !status.sync_info.catching_up);
    assert_eq!(status.node_info.version.to_string(), "0.38.0");
    client.net_info().await.unwrap();
    let genesis = client.genesis::<serde_json::Value>().await.unwrap();
    assert_eq!(genesis.chain_id, block.block.header.chain_id);
    let pieces = client.genesis_chunked_stream().await;
    let pieces: Vec<Vec<u8>> = pieces.map(|piece| piece.unwrap()).collect().await;
    let pieced: serde_json::Value = serde_json::from_slice(&pieces.concat()).unwrap();
    assert_eq!(pieced["chain_id"], genesis.chain_id.as_str());
    assert!(client.abci_info().await.unwrap().last_block_height >= height);

    account_and_its_proof(client, alice).await;

    let sent = client.broadcast_tx_sync(second.clone()).await.unwrap();
    assert!(sent.code.is_ok() && sent.hash == id(&second), "{sent:?}");
    let sent = client.broadcast_tx_async(third.clone()).await.unwrap();
    assert!(sent.code.is_ok() && sent.hash == id(&third), "{sent:?}");
    let refused = client.broadcast_tx_sync(b"nonsense".to_vec()).await.unwrap();
    assert_eq!((refused.code.value(), refused.codespace.as_str()), (1, "cairn"));
    let refused = client.broadcast_tx_commit(b"nonsense".to_vec()).await.unwrap();
    assert_eq!((refused.check_tx.code.value(), refused.height.value()), (1, 0));

    a_light_proxy_is_convinced(client, height).await;

    let unknown = client.tx(id(b"nothing"), false).await.unwrap_err().to_string();
    assert!(unknown.contains("not found"), "{unknown}");
    let of_height = Query::eq("tx.height", height.value());
    let search = client.tx_search(of_height, true, 1, 10, tendermint_rpc::Order::Ascending).await.unwrap();
    assert_eq!((search.total_count, search.txs[0].hash), (1, found.hash));
    let of_height = Query::eq("block.height", height.value());
    let search = client.block_search(of_height, 1, 10, tendermint_rpc::Order::Descending).await.unwrap();
    assert_eq!((search.total_count, search.blocks[0].block_id.hash), (1, block.block_id.hash));
}

fn root(leaves: &[impl AsRef<[u8]>]) -> tendermint::Hash {
    tendermint::Hash::Sha256(simple_hash_from_byte_vectors::<Sha256>(leaves))
}

/// Recomputes from the node's responses every header hash that CometBFT's light proxy recomputes, by the proxy's rules,
/// and compares them with the header.
async fn a_light_proxy_is_convinced(client: &(impl Client + Sync), height: Height) {
    while client.status().await.unwrap().sync_info.latest_block_height <= height {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let block = client.block(height).await.unwrap().block;
    let next = client.block(height.increment()).await.unwrap().block;
    for block in [&block, &next] {
        let ids: Vec<_> = block.data.iter().map(|tx| id(tx)).collect();
        assert_eq!(block.header.data_hash, Some(root(&ids)), "data");
        let signatures = block.last_commit.iter().flat_map(|commit| commit.signatures.clone());
        let entries: Vec<_> = signatures.map(|entry| proto::types::CommitSig::from(entry).encode_to_vec()).collect();
        assert_eq!(block.header.last_commit_hash, Some(root(&entries)), "last commit");
        assert_eq!(block.header.evidence_hash, Some(root(&[[0; 0]; 0])), "evidence, of which there is none");
    }
    let results = client.block_results(height).await.unwrap().txs_results.unwrap();
    let results: Vec<_> = results
        .into_iter()
        .map(|result| {
            let (code, data) = (result.code.value(), result.data);
            let (gas_wanted, gas_used) = (result.gas_wanted, result.gas_used);
            proto::abci::ExecTxResult { code, data, gas_wanted, gas_used, ..Default::default() }.encode_to_vec()
        })
        .collect();
    assert_eq!(results.len(), block.data.len());
    assert_eq!(next.header.last_results_hash, Some(root(&results)), "results");
    let params = client.consensus_params(height).await.unwrap().consensus_params.block;
    let (block_max_bytes, block_max_gas) = (params.max_bytes as i64, params.max_gas);
    let hashed = proto::types::HashedParams { block_max_bytes, block_max_gas }.encode_to_vec();
    assert_eq!(block.header.consensus_hash.as_bytes(), types::sha256(&hashed).0, "consensus parameters");
    for (of, claimed) in
        [(height, block.header.validators_hash), (height.increment(), block.header.next_validators_hash)]
    {
        let members = client.validators(of, Paging::All).await.unwrap().validators;
        assert_eq!(ValidatorSet::without_proposer(members).hash(), claimed, "validators of {of}");
    }
}

/// Reads an account, and verifies the proof of its row against the app hash of the next header.
async fn account_and_its_proof(client: &(impl Client + Sync), alice: Address) {
    let answer = client.abci_query(Some("/account".into()), alice.0.to_vec(), None, false).await.unwrap();
    let account: serde_json::Value = serde_json::from_slice(&answer.value).unwrap();
    assert_eq!(account["address"], alice.to_string());
    let key = app::state::key::account(&alice);
    let before = Height::try_from(answer.height.value() - 1).unwrap();
    let row = client.abci_query(Some("/store".into()), key.clone(), Some(before), true).await.unwrap();
    assert_eq!((row.code.value(), row.height), (0, before), "{row:?}");
    let ProofOps { ops } = row.proof.unwrap();
    let ops: Vec<ProofOp> = ops.into_iter().map(|op| ProofOp { key: op.key, data: op.data }).collect();
    let proof = StateProof::from_ops(&ops).unwrap();
    let header = client.header(before.increment()).await.unwrap().header;
    let app_hash = Hash(header.app_hash.as_bytes().try_into().unwrap());
    proof.verify(&app_hash, &[NEVER_REVERTED], &key, Some(&row.value)).unwrap();
    assert!(proof.verify(&app_hash, &[NEVER_REVERTED], &key, None).is_err());
    let unknown = client.abci_query(Some("/nonsense".into()), Vec::new(), None, false).await.unwrap();
    assert_eq!((unknown.code.value(), unknown.codespace.as_str()), (32, "cairn"));
}

/// Subscribes to blocks and transactions, submits a transaction, waits for both events, and unsubscribes.
pub async fn subscriptions(client: &(impl Client + SubscriptionClient + Sync), tx: Vec<u8>) {
    let mut blocks = client.subscribe(EventType::NewBlock.into()).await.unwrap();
    let query = Query::from(EventType::Tx).and_eq("tx.hash", id(&tx).to_string());
    let mut txs = client.subscribe(query).await.unwrap();
    client.broadcast_tx_sync(tx.clone()).await.unwrap();
    let event = txs.next().await.unwrap().unwrap();
    let EventData::Tx { tx_result } = event.data else { panic!("{event:?}") };
    assert_eq!(tx_result.tx, tx);
    // A transaction must be found as soon as its event has arrived.
    assert_eq!(client.tx(id(&tx), false).await.unwrap().height.value(), tx_result.height as u64);
    loop {
        let event = blocks.next().await.unwrap().unwrap();
        let EventData::NewBlock { block: Some(block), block_id, .. } = event.data else { panic!("{event:?}") };
        assert_eq!(block.header.hash(), block_id.hash);
        if block.header.height.value() == tx_result.height as u64 {
            break;
        }
    }
    client.unsubscribe(EventType::NewBlock.into()).await.unwrap();
}

async fn validator_set(
    client: &(impl Client + Sync),
    height: Height,
    proposer: tendermint::account::Id,
) -> ValidatorSet {
    let members = client.validators(height, Paging::All).await.unwrap().validators;
    ValidatorSet::with_proposer(members, proposer).unwrap()
}

/// Checks that all consensus keys in the node's responses are of this type. With Ed25519, client crates without the
/// feature `secp256k1` can then read the responses. This workspace cannot build such a client, because Cargo unites the
/// features of one build.
pub async fn meets_keys_of(client: &(impl Client + Sync), http: &str, key_type: KeyType) {
    let members = client.validators(Height::from(1_u32), Paging::All).await.unwrap().validators;
    let is_ed25519 = |key: &tendermint::PublicKey| key.ed25519().is_some();
    assert!(members.iter().all(|member| is_ed25519(&member.pub_key) == (key_type == KeyType::Ed25519)));
    let other = KeyType::ALL.into_iter().find(|other| *other != key_type).unwrap();
    for route in
        ["status", "genesis", "validators", "block_results?height=1", "dump_consensus_state", "consensus_params"]
    {
        let url = format!("{http}/{route}");
        let config = ureq::Agent::config_builder().proxy(None).build();
        let get = move || config.new_agent().get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        let text = tokio::task::spawn_blocking(get).await.unwrap();
        assert!(!text.contains(other.public_tag()), "{route}: {text}");
        assert!(
            !["status", "genesis", "validators"].contains(&route) || text.contains(key_type.public_tag()),
            "{text}"
        );
    }
}

/// Lets an unmodified light client that trusts the header at `trusted` verify the header at `untrusted`, with the
/// node's responses for both heights.
pub async fn light_client(client: &(impl Client + Sync), trusted: u32, untrusted: u32) {
    let (trusted, untrusted) = (Height::from(trusted), Height::from(untrusted));
    let known = client.commit(trusted).await.unwrap().signed_header;
    let known_next = client.validators(trusted.increment(), Paging::All).await.unwrap().validators;
    let known_next = ValidatorSet::without_proposer(known_next);
    let new = client.commit(untrusted).await.unwrap().signed_header;
    let validators = validator_set(client, untrusted, new.header.proposer_address).await;
    let next = client.validators(untrusted.increment(), Paging::All).await.unwrap().validators;
    let next = ValidatorSet::without_proposer(next);
    let day = Duration::from_secs(24 * 3600);
    let options = Options {
        trust_threshold: TrustThreshold::TWO_THIRDS,
        trusting_period: 14 * day,
        clock_drift: Duration::from_secs(5),
    };
    let verdict = ProdVerifier::default().verify_update_header(
        UntrustedBlockState { signed_header: &new, validators: &validators, next_validators: Some(&next) },
        TrustedBlockState {
            chain_id: &known.header.chain_id,
            header_time: known.header.time,
            height: known.header.height,
            next_validators: &known_next,
            next_validators_hash: known.header.next_validators_hash,
        },
        &options,
        tendermint::Time::now(),
    );
    assert_eq!(verdict, Verdict::Success);
}
