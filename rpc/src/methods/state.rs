//! Methods that read the state: accounts, application queries, and proofs.

use app::{
    Answer as AppAnswer, App, CODESPACE, EarlierTrees, PROOF_OP_TYPE, ProofOp, REVERT_PREVIEW, Refusal, StateProof,
    StateWay, View, state::key, tree::StaleReader,
};
use serde_json::{Value, json};
use storage::{Kv, RocksKv, StateReader};
use types::{Address, Height, NsName, Time, limits::KV_KEY_BYTES_MAX};

use super::{
    history, namespaces, proposals,
    shared::{Answer, Outcome, Server},
    staking,
};
use crate::{args::Args, context::Context, error::Error, json};

/// Sends a query to the application. Its refusals are answers, with their code.
///
/// Errors: a bad argument, a height that is unknown or pruned, a proof about a state below the tip that needs another call,
/// an unreadable row.
pub fn abci_query(server: &Server, args: &Args) -> Outcome {
    let (path, mut data) = (args.text("path")?.unwrap_or_default(), args.hex("data")?);
    let prove = args.truth("prove")?;
    if history::answers(&path) && !prove {
        let (answer, height) = history::query(server, args, &path, &data)?;
        let response = match answer {
            Ok(value) => answered(Some(value.to_string().into_bytes()), Value::Null),
            Err(error) => refusal(&error),
        };
        return Ok(whole(response, &data, height));
    }
    let subject = match prove.then(|| Subject::of(server, &path, &data)).transpose()? {
        Some(Err(error)) => return Ok(whole(refusal(&error), &data, server.tip()?.height)),
        Some(Ok(subject)) => Some(subject),
        None => None,
    };
    // The path in the tree is read first: it decides which height is the tip, and the store keeps that height when the
    // tip advances.
    let way = subject.as_ref().and_then(|subject| subject.way(&server.context.app.read()));
    let reader = match (args.number("height")?, &way) {
        (None | Some(0), None) => server.context.store.reader()?,
        (None | Some(0), Some(way)) => server.context.store.reader_at(way.height())?,
        (Some(_), _) => server.context.store.reader_at(server.block_height(args)?.0)?,
    };
    let height = reader.height();
    let answer = match path.as_str() {
        REVERT_PREVIEW => {
            let time = server.context.store.tip().map_or(Time::UNIX_EPOCH, |tip| tip.time);
            app::preview(&reader, height, time, &data).map(|preview| AppAnswer::Preview(Box::new(preview)))
        }
        _ => app::query(&reader, &path, &data),
    };
    reader.check()?;
    let reverted_by = reverted_by(server, &path, &reader)?;
    // That there is no namespace of a name is proven by the absence of its root.
    let is_absence = matches!((&answer, &subject), (Err(Refusal::NsUnknown { .. }), Some(Subject::Root(_))));
    let response = match (subject.filter(|_| answer.is_ok() || is_absence), answer) {
        (None, Ok(answer)) => answered(value(&answer, reverted_by), Value::Null),
        (None, Err(error)) => refusal(&error),
        (Some(subject), _) => {
            let proof = proof_of(server, &reader, &subject, way)?;
            data = proof.key().to_vec();
            answered(proof.value().map(<[u8]>::to_vec), proof_ops(&proof))
        }
    };
    Ok(whole(response, &data, height))
}

/// Proves the subject about the state of `reader`; `way` is the part of the proof that is in memory for the tip.
///
/// Errors: a row is unreadable, the trees of an earlier height need another call.
fn proof_of(
    server: &Server,
    reader: &StateReader<'_, RocksKv>,
    subject: &Subject,
    way: Option<StateWay>,
) -> Result<StateProof, Error> {
    match way.filter(|way| way.height() == reader.height()) {
        Some(way) => {
            let proof = way.prove(reader);
            reader.check()?;
            proof.map_err(|_| Error::internal("the tree is not of the state's height"))
        }
        None => {
            let Context { store, app, .. } = &server.context;
            let prove = |trees: &EarlierTrees| subject.prove(trees, reader);
            server.earlier_prover.prove(store, app, reader, subject.number(), prove)
        }
    }
}

/// Returns the part of a response that has an answer.
fn answered(value: Option<Vec<u8>>, proof: Value) -> Value {
    json!({ "code": 0, "log": "", "value": value.map(json::base64), "proofOps": proof, "codespace": "" })
}

/// Adds the part of a response that does not depend on the answer.
fn whole(mut response: Value, data: &[u8], height: Height) -> Answer {
    response["info"] = json!("");
    response["index"] = json!("0");
    response["key"] = json!(json::base64(data));
    response["height"] = json!(height.to_string());
    json!({ "response": response }).into()
}

/// Returns true for the paths whose answers take up to 100 rows, and pass over others between them, or that compare the
/// keys of a revert.
pub fn reads_many_rows(path: &str) -> bool {
    const MANY: &[&str] = &[
        "/kv/list",
        "/kv/range",
        "/proposals",
        "/staking/validators",
        "/staking/delegations",
        "/staking/delegators",
        "/staking/unbonding",
        "/staking/redelegations",
        "/staking/slashes",
        "/staking/rewards",
        REVERT_PREVIEW,
    ];
    MANY.iter().any(|many| path.starts_with(many)) || history::answers(path)
}

/// Returns the number of the proposal whose revert took back the content that a query of a namespace read, if the state
/// of `reader` is not the latest.
///
/// Errors: the latest state cannot be read.
fn reverted_by<K: Kv>(server: &Server, path: &str, reader: &StateReader<'_, K>) -> Result<Option<u64>, Error> {
    let rest = ["get/", "range/", "ns/", "root/"].iter().find_map(|kind| path.strip_prefix("/kv/")?.strip_prefix(kind));
    let name = rest.and_then(|rest| NsName::new(rest.split('?').next()?).ok());
    let is_old = server.context.store.tip().is_some_and(|tip| reader.height() < tip.height);
    let Some(name) = name.filter(|_| is_old) else { return Ok(None) };
    Ok(server.taints(&name)?.reverted_by(reader.height()))
}

/// What a proof is about.
enum Subject {
    /// A row of the part that is never reverted, by its raw key.
    Row(Vec<u8>),
    /// A key of the namespace with this number.
    Key(u32, Vec<u8>),
    /// The root of a namespace, or that there is none of this name.
    Root(NsName),
}

impl Subject {
    /// Returns what a query asks a proof of, or the refusal. A namespace never changes its number, so the latest state
    /// tells the number at all heights.
    ///
    /// Errors: the latest state cannot be read.
    fn of(server: &Server, path: &str, data: &[u8]) -> Result<Result<Self, Refusal>, Error> {
        if path == "/store" && !data.is_empty() {
            return Ok(Ok(Self::Row(data.to_vec())));
        }
        if let Some(operator) = path.strip_prefix("/staking/validator/") {
            let operator = operator.parse().map(|operator| Self::Row(key::validator(&operator)));
            let reason = "the path ends with the operator's address, 40 hexadecimal digits";
            return Ok(operator.map_err(|_| Refusal::BadQuery { path: "prove", reason: reason.into() }));
        }
        match path {
            "/staking/pool" => return Ok(Ok(Self::Row(key::STAKE_POOLS.to_vec()))),
            "/upgrade" => return Ok(Ok(Self::Row(key::UPGRADE_PLAN.to_vec()))),
            _ => {}
        }
        let (is_key, name) = match (path.strip_prefix("/kv/get/"), path.strip_prefix("/kv/root/")) {
            (Some(name), _) => (true, name),
            (None, Some(name)) => (false, name),
            (None, None) => {
                let reason = "of the state, /store with a raw key, /kv/get/NAME, /kv/root/NAME, /staking/validator/OPERATOR, /staking/pool and the plan of /upgrade can be proven".into();
                return Ok(Err(Refusal::BadQuery { path: "prove", reason }));
            }
        };
        let name = match NsName::new(name) {
            Ok(name) => name,
            Err(reason) => return Ok(Err(Refusal::BadName { reason })),
        };
        if !is_key {
            return Ok(Ok(Self::Root(name)));
        }
        if !(1..=KV_KEY_BYTES_MAX).contains(&data.len()) {
            return Ok(Err(Refusal::KeySize { got: data.len() }));
        }
        let reader = server.context.store.reader()?;
        let namespace = View::of_state(&reader).namespace(&name);
        reader.check()?;
        Ok(namespace.map(|found| Self::Key(found.number, data.to_vec())).ok_or(Refusal::NsUnknown { ns: name }))
    }

    /// Returns the part of the proof that is in memory; `None` if there is no such namespace.
    fn way(&self, app: &App) -> Option<StateWay> {
        match self {
            Self::Row(key) => Some(app.way_to(key)),
            Self::Key(number, key) => app.way_in(*number, key),
            Self::Root(name) => Some(app.way_to_root(name)),
        }
    }

    /// Returns the number of the namespace whose keys it is about, if it is about one.
    fn number(&self) -> Option<u32> {
        match self {
            Self::Key(number, _) => Some(*number),
            Self::Row(_) | Self::Root(_) => None,
        }
    }

    /// Proves it about the state of `reader` below the tip, whose trees are complete.
    fn prove<K: Kv>(&self, trees: &EarlierTrees, reader: &StateReader<'_, K>) -> Result<StateProof, StaleReader> {
        match self {
            Self::Row(key) => trees.prove(reader, key),
            Self::Key(number, key) => trees.prove_in(reader, *number, key),
            Self::Root(name) => trees.prove_root(reader, name),
        }
    }
}

fn proof_ops(proof: &StateProof) -> Value {
    let op =
        |op: ProofOp| json!({ "type": PROOF_OP_TYPE, "key": json::base64(&op.key), "data": json::base64(&op.data) });
    json!({ "ops": proof.to_ops().into_iter().map(op).collect::<Vec<_>>() })
}

fn refusal(refusal: &Refusal) -> Value {
    let code = refusal.code().number;
    json!({ "code": code, "log": refusal.to_string(), "value": null, "proofOps": null, "codespace": CODESPACE })
}

/// Returns the bytes of an answer: JSON, or those of the row for `/store`. `reverted_by` becomes part of an answer about
/// a namespace.
fn value(answer: &AppAnswer, reverted_by: Option<u64>) -> Option<Vec<u8>> {
    let mut json = match answer {
        AppAnswer::Account { address, account } => json!({
            "address": address.to_string(),
            "balance": account.balance.to_string(),
            "nonce": account.nonce.to_string(),
        }),
        AppAnswer::Params(params) => genesis::params_json(params),
        AppAnswer::Supply { total, fee_pool, deposits, stake } => json!({
            "total": total.to_string(),
            "fee_pool": fee_pool.to_string(),
            "deposits": deposits.to_string(),
            "bonded": stake.bonded.to_string(),
            "unbonding": stake.unbonding.to_string(),
            "rewards": stake.rewards.to_string(),
            "community": stake.community.to_string(),
        }),
        AppAnswer::Store { value, .. } => return value.clone(),
        AppAnswer::Namespace { name, namespace, root, is_root: false } => {
            namespaces::shown(name, namespace, Some(root))
        }
        AppAnswer::Namespace { name, namespace, root, is_root: true } => namespaces::root(name, namespace, root),
        AppAnswer::Namespaces { list, next } => namespaces::list(list, next.as_ref()),
        AppAnswer::Value { key, value } => namespaces::row(key, value.as_deref()),
        AppAnswer::Range { rows, next } => namespaces::range(rows, next.as_deref()),
        AppAnswer::Proposals { list, open, next } => proposals::list(list, open, *next),
        AppAnswer::Proposal { proposal, tally, votes } => proposals::with_votes(proposal, tally, votes),
        AppAnswer::Upgrade { plan, last } => proposals::upgrade(plan.as_ref(), last.as_ref()),
        AppAnswer::Preview(preview) => proposals::preview(preview),
        AppAnswer::Validator(summary) => staking::validator(summary),
        AppAnswer::Validators { list, next } => staking::validators(list, *next),
        AppAnswer::Delegations { list, next } => staking::delegations(list, *next),
        AppAnswer::Departures { list, next } => staking::departures(list, *next),
        AppAnswer::Slashes { list, next } => staking::slashes(list, *next),
        AppAnswer::Uptime(of) => staking::uptime(of),
        AppAnswer::Rewards { list, next } => staking::rewards(list, *next),
        AppAnswer::Pool { pools, fees, power_total } => staking::pool(pools, *fees, *power_total),
        AppAnswer::Staking(params) => staking::params(params),
    };
    if let Some(id) = reverted_by {
        json["reverted_by"] = json!(id.to_string());
    }
    Some(json.to_string().into_bytes())
}

/// Returns an account. `nonce` is the next one to sign with: after those that wait in this node's mempool.
///
/// Errors: a bad address or an unreadable row.
pub fn account(server: &Server, args: &Args) -> Outcome {
    let text = args.text("address")?.unwrap_or_default();
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    let address: Address = digits.parse().map_err(|e| {
        Error::invalid_params(format_args!("parameter address: {e}; `cairn keys list` shows addresses"))
    })?;
    let reader = server.context.store.reader()?;
    let account = app::View::of_state(&reader).account(&address);
    reader.check()?;
    let waiting = server.context.pool.next_nonce(&address).unwrap_or(0);
    Ok(json!({
        "address": address.to_string(),
        "balance": account.balance.to_string(),
        "nonce": account.nonce.max(waiting).to_string(),
        "committed_nonce": account.nonce.to_string(),
        "height": reader.height().to_string(),
    })
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_many_rows_wait_for_each_other() {
        for path in [
            "/kv/list",
            "/kv/list?limit=5",
            "/kv/range/a",
            "/kv/range/a/b?limit=5",
            "/kv/diff/a?from=1",
            "/kv/history/a",
            "/proposals",
            "/staking/validators",
            "/staking/delegations/a",
            "/staking/delegators/a?limit=5",
            "/staking/unbonding/a",
            "/staking/redelegations/a",
            "/staking/slashes/a",
            "/staking/rewards/a",
            "/revert/preview",
        ] {
            assert!(reads_many_rows(path), "{path}");
        }
        for path in [
            "",
            "/account",
            "/store",
            "/kv/ns/list",
            "/kv/root/a",
            "/kv/get/range",
            "/proposal/4",
            "/staking/validator/a",
            "/staking/uptime/a",
        ] {
            assert!(!reads_many_rows(path), "{path}");
        }
    }
}
