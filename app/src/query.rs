//! Queries of the state. The node formats the answers.

use types::{Address, Hash, NsName, Params, Power, Reader, StakingParams, UpgradePlan, limits::KV_KEY_BYTES_MAX};

use crate::{
    area::{NAMES, key_row, keys_prefix, listed, name_row},
    error::Refusal,
    kv::Namespace,
    proposals::{self, OperatorVote, Preview, Proposal, REVERT_PREVIEW, Tally},
    staking::{self, DelegationOf, DepartureOf, Pools, RewardsOf, Slash, UptimeOf, ValidatorSummary},
    state::{Account, Operator},
    upgrade::{self, Barrier},
    view::View,
};

/// All query paths, each with a description of its data.
pub const QUERY_PATHS: &[(&str, &str)] = &[
    ("/account", "address, 20 bytes or 40 hexadecimal digits: balance and next nonce"),
    ("/params", "no data: the parameters of the next height"),
    (
        "/supply",
        "no data: total supply, collected fees, deposits of open proposals, stake, rewards, the community pool",
    ),
    ("/store", "raw key: the value under it, for proofs"),
    ("/kv/list", "name, may be empty: the namespaces from it on, in order; 100 or, with ?limit=N, fewer"),
    ("/kv/ns/NAME", "no data: a namespace: owner, epoch, quotas, size, root"),
    ("/kv/root/NAME", "no data: the root of a namespace, and the height that changed it"),
    ("/kv/get/NAME", "key: its value in a namespace"),
    (
        "/kv/diff/NAME?from=HEIGHT",
        "no data, or next of an earlier answer: the keys with other values than at that height; 100 or, with &limit=N, fewer; &to=HEIGHT",
    ),
    ("/kv/history/NAME", "key: its versions, the newest first; 100 or, with ?limit=N, fewer"),
    ("/kv/range/NAME", "key, may be empty: the keys and values from it on, in order; 100 or, with ?limit=N, fewer"),
    ("/proposals", "number, may be empty: the proposals from it on, in order; 100 or, with ?limit=N, fewer"),
    ("/proposal/ID", "no data: a proposal with its votes"),
    ("/upgrade", "no data: the plan of the next upgrade, and the last upgrade"),
    (
        "/staking/validators",
        "operator, may be empty: the validators from it on, in order; 100 or, with ?limit=N, fewer",
    ),
    ("/staking/validator/OPERATOR", "no data: a validator"),
    (
        "/staking/delegations/ADDRESS",
        "operator, may be empty: what this account has at the validators from it on; ?limit=N",
    ),
    (
        "/staking/delegators/OPERATOR",
        "address, may be empty: what the accounts from it on have at this validator; ?limit=N",
    ),
    (
        "/staking/unbonding/ADDRESS",
        "operator, may be empty: the unbondings of this account from the validators from it on; ?limit=N",
    ),
    (
        "/staking/redelegations/ADDRESS",
        "operator, may be empty: the redelegations of this account to the validators from it on; ?limit=N",
    ),
    (
        "/staking/slashes/OPERATOR",
        "number, may be empty: the slashes of this validator from it on, the newest first; ?limit=N",
    ),
    ("/staking/uptime/OPERATOR", "no data: the heights that this validator missed"),
    (
        "/staking/rewards/ADDRESS",
        "operator, may be empty: what the stake of this account at the validators from it on has earned; ?limit=N",
    ),
    ("/staking/pool", "no data: stake, rewards, fees and what is the community's, and the power of the set"),
    ("/staking/params", "no data: the parameters of stake"),
    (REVERT_PREVIEW, "bytes of a Propose: what its revert would change, and what not"),
];

/// Maximum number of rows of one answer.
pub const ROWS_MAX: usize = 100;

/// Maximum bytes of the keys and values of one answer; one row is always returned.
pub const RANGE_BYTES_MAX: usize = 1024 * 1024;

/// Maximum bytes of a raw key in a query.
const KEY_BYTES_MAX: usize = 1024;

/// The answer to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answer to `/account`. An unused address has balance 0 and next nonce 0.
    Account {
        /// The address that was queried.
        address: Address,
        /// Balance and next nonce of the address.
        account: Account,
    },
    /// Answer to `/params`: the parameters of the next height.
    Params(Box<Params>),
    /// Answer to `/supply`: the total supply and the fees.
    Supply {
        /// Total supply, including the fee pool.
        total: u64,
        /// Collected fees, which are part of the total.
        fee_pool: u64,
        /// Deposits of open proposals, which are part of the total.
        deposits: u64,
        /// Stake, rewards and the community pool, which are part of the total.
        stake: Pools,
    },
    /// Answer to `/store`: a raw key and its value.
    Store {
        /// The raw key of the query.
        key: Vec<u8>,
        /// The bytes of its value; `None` if the key does not exist.
        value: Option<Vec<u8>>,
    },
    /// Answer to `/kv/ns` and `/kv/root`.
    Namespace {
        /// Name of the namespace.
        name: NsName,
        /// The namespace, without its keys and values.
        namespace: Namespace,
        /// Root of its keys and values.
        root: Hash,
        /// True if only the root was asked for.
        is_root: bool,
    },
    /// Answer to `/kv/list`: some of the namespaces.
    Namespaces {
        /// The namespaces, in the order of their names.
        list: Vec<(NsName, Namespace)>,
        /// The first name that is left out; `None` at the end.
        next: Option<NsName>,
    },
    /// Answer to `/kv/get`: a key and its value.
    Value {
        /// The key of the query.
        key: Vec<u8>,
        /// Its value; `None` if it has none.
        value: Option<Vec<u8>>,
    },
    /// Answer to `/kv/range`: some of the keys, with their values.
    Range {
        /// Keys and values, in the order of the keys.
        rows: Vec<(Vec<u8>, Vec<u8>)>,
        /// The first key that was not looked at or is left out; `None` at the end. The rows before it may be few or none.
        next: Option<Vec<u8>>,
    },
    /// Answer to `/proposals`: some of the proposals.
    Proposals {
        /// The proposals in the order of their numbers, each with the sums of its votes.
        list: Vec<(Proposal, Tally)>,
        /// The numbers of all open proposals.
        open: Vec<u64>,
        /// The first number that is left out; `None` at the end.
        next: Option<u64>,
    },
    /// Answer to `/proposal`: a proposal.
    Proposal {
        /// The proposal that was queried.
        proposal: Box<Proposal>,
        /// Sums of its votes.
        tally: Tally,
        /// Its votes in the order of the operators' addresses, each with its validator.
        votes: Vec<(OperatorVote, Option<Operator>)>,
    },
    /// Answer to `/upgrade`: the next and the last upgrade.
    Upgrade {
        /// The plan of the next upgrade, if there is one.
        plan: Option<UpgradePlan>,
        /// The last upgrade, if there was one.
        last: Option<Barrier>,
    },
    /// Answer to `/staking/validator`: a validator.
    Validator(Box<ValidatorSummary>),
    /// Answer to `/staking/validators`: some of the validators.
    Validators {
        /// The validators, in the order of their operators.
        list: Vec<ValidatorSummary>,
        /// The first operator that is left out; `None` at the end.
        next: Option<Address>,
    },
    /// Answer to `/staking/delegations` and `/staking/delegators`.
    Delegations {
        /// The delegations, in the order of the other party.
        list: Vec<DelegationOf>,
        /// The first other party that is left out; `None` at the end.
        next: Option<Address>,
    },
    /// Answer to `/staking/unbonding` and `/staking/redelegations`.
    Departures {
        /// The departures, in the order of the validators.
        list: Vec<DepartureOf>,
        /// The first validator that is left out; `None` at the end.
        next: Option<Address>,
    },
    /// Answer to `/staking/slashes`: some of the slashes of a validator.
    Slashes {
        /// The slashes with their numbers, the newest first.
        list: Vec<(u64, Slash)>,
        /// The first number that is left out; `None` at the end.
        next: Option<u64>,
    },
    /// Answer to `/staking/uptime`: what is known about the signatures of a validator.
    Uptime(UptimeOf),
    /// Answer to `/staking/rewards`: what the stake of a delegator has earned.
    Rewards {
        /// What is due to the delegator, in the order of the validators.
        list: Vec<RewardsOf>,
        /// The first validator that is left out; `None` at the end.
        next: Option<Address>,
    },
    /// Answer to `/staking/pool`: the amounts of money that are no account's, without deposits.
    Pool {
        /// Stake, rewards and the community pool.
        pools: Pools,
        /// Collected fees, which are the income of the last height.
        fees: u64,
        /// Power of the set that the last block computed.
        power_total: Power,
    },
    /// Answer to `/staking/params`: the parameters of stake.
    Staking(StakingParams),
    /// Answer to `/revert/preview`: what a revert would do.
    Preview(Box<Preview>),
}

/// Answers a query about the state of `reader`.
///
/// Errors: `E_UNKNOWN_PATH` with the existing paths, `E_BAD_QUERY` with a description of the expected data, `E_BAD_NAME`
/// and `E_NS_UNKNOWN` for a namespace, `E_UNKNOWN` for a proposal.
pub fn query<R: Reader + ?Sized>(reader: &R, path: &str, data: &[u8]) -> Result<Answer, Refusal> {
    let mut view = View::of_state(reader);
    if let Some(rest) = path.strip_prefix("/kv/") {
        return of_namespaces(&mut view, reader, path, rest, data);
    }
    if let Some(id) = path.strip_prefix("/proposal/") {
        return proposal(&mut view, id);
    }
    if let Some(rest) = path.strip_prefix("/staking/") {
        return of_stake(&mut view, reader, path, rest, data);
    }
    if path == "/proposals" || path.starts_with("/proposals?") {
        let limit = path.strip_prefix("/proposals").map(|rest| rest.strip_prefix("?limit="));
        return proposal_list(&mut view, data, rows(limit.flatten())?);
    }
    match path {
        "/account" => {
            let address = address("/account", data)?;
            Ok(Answer::Account { address, account: view.account(&address) })
        }
        "/params" => Ok(Answer::Params(Box::new(view.params()))),
        "/upgrade" => Ok(Answer::Upgrade { plan: upgrade::plan(&mut view), last: upgrade::barrier(&mut view) }),
        "/supply" => {
            let deposits = proposals::open(&mut view).iter().map(|proposal| proposal.deposit).sum();
            let (total, fee_pool, stake) = (view.supply(), view.fee_pool(), view.pools());
            Ok(Answer::Supply { total, fee_pool, deposits, stake })
        }
        "/store" if data.len() <= KEY_BYTES_MAX => {
            Ok(Answer::Store { key: data.to_vec(), value: view.get(data).map(<[u8]>::to_vec) })
        }
        "/store" => {
            let reason = format!("a key of {} bytes, at most {KEY_BYTES_MAX} are possible", data.len());
            Err(Refusal::BadQuery { path: "/store", reason })
        }
        _ => Err(unknown(path)),
    }
}

/// Answers the queries under `/staking/`; `rest` is the path after that.
fn of_stake<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    reader: &R,
    path: &str,
    rest: &str,
    data: &[u8],
) -> Result<Answer, Refusal> {
    let (rest, limit) = limited(rest);
    let limit = rows(limit)?;
    let from = || if data.is_empty() { Ok(Address::default()) } else { address("/staking/…", data) };
    let (kind, of) = rest.split_once('/').unwrap_or((rest, ""));
    let of = || address("/staking/…", of.as_bytes());
    Ok(match kind {
        "validators" if rest == kind => {
            let (list, next) = staking::validator_list(view, reader, from()?, limit);
            Answer::Validators { list, next }
        }
        "validator" => {
            let validator = of()?;
            let found = staking::summary(view, &validator).ok_or(Refusal::UnknownValidator { validator })?;
            Answer::Validator(Box::new(found))
        }
        "slashes" => {
            let from = if data.is_empty() { None } else { Some(number("/staking/slashes/OPERATOR", text(data))?) };
            let (list, next) = staking::slashes_of(view, &of()?, from, limit);
            Answer::Slashes { list, next }
        }
        "uptime" => {
            let validator = of()?;
            Answer::Uptime(staking::uptime_of(view, &validator).ok_or(Refusal::UnknownValidator { validator })?)
        }
        "delegations" | "delegators" => {
            let whose = (of()?, kind == "delegators");
            let (list, next) = staking::delegations_of(view, reader, whose, from()?, limit);
            Answer::Delegations { list, next }
        }
        "unbonding" | "redelegations" => {
            let whose = (of()?, kind == "redelegations");
            let (list, next) = staking::departures_of(view, reader, whose, from()?, limit);
            Answer::Departures { list, next }
        }
        "rewards" => {
            let (list, next) = staking::rewards_of(view, reader, of()?, from()?, limit);
            Answer::Rewards { list, next }
        }
        "pool" if rest == kind => {
            Answer::Pool { pools: view.pools(), fees: view.fee_pool(), power_total: view.power_total() }
        }
        "params" if rest == kind => Answer::Staking(view.params().staking),
        _ => return Err(unknown(path)),
    })
}

fn unknown(path: &str) -> Refusal {
    let paths: Vec<String> = QUERY_PATHS.iter().map(|(path, data)| format!("{path} ({data})")).collect();
    Refusal::UnknownPath { path: path.chars().take(80).collect(), paths: paths.join(", ") }
}

/// Answers the queries under `/kv/`; `rest` is the path after that.
fn of_namespaces<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    reader: &R,
    path: &str,
    rest: &str,
    data: &[u8],
) -> Result<Answer, Refusal> {
    let (rest, limit) = limited(rest);
    let (kind, name) = rest.split_once('/').unwrap_or((rest, ""));
    match kind {
        "diff" | "history" => {
            let reason = "it needs the heights that a node keeps, and this is the state of one height".into();
            return Err(Refusal::BadQuery { path: "/kv/diff and /kv/history", reason });
        }
        "list" if name.is_empty() => return list(view, reader, data, rows(limit)?),
        "ns" | "root" | "get" | "range" => {}
        _ => return Err(unknown(path)),
    }
    let name = NsName::new(name).map_err(|reason| Refusal::BadName { reason })?;
    let Some(namespace) = view.namespace(&name) else { return Err(Refusal::NsUnknown { ns: name }) };
    let is_empty_key = kind == "get" && data.is_empty();
    if is_empty_key || data.len() > KV_KEY_BYTES_MAX {
        return Err(Refusal::KeySize { got: data.len() });
    }
    match kind {
        "get" => {
            let value = view.value(&namespace, data).map(<[u8]>::to_vec);
            Ok(Answer::Value { key: data.to_vec(), value })
        }
        "range" => Ok(range(view, reader, &namespace, data, rows(limit)?)),
        _ => {
            let root = view.root_of(&namespace);
            Ok(Answer::Namespace { name, namespace, root, is_root: kind == "root" })
        }
    }
}

/// Splits a path into what is before `?limit=`, and the limit if it has one.
fn limited(path: &str) -> (&str, Option<&str>) {
    path.split_once("?limit=").map_or((path, None), |(before, limit)| (before, Some(limit)))
}

/// Returns the number of rows of an answer.
fn rows(limit: Option<&str>) -> Result<usize, Refusal> {
    match limit.map_or(Ok(ROWS_MAX), str::parse) {
        Ok(rows) if (1..=ROWS_MAX).contains(&rows) => Ok(rows),
        _ => Err(Refusal::BadQuery { path: "?limit=N", reason: format!("N is a number from 1 to {ROWS_MAX}") }),
    }
}

fn list<R: Reader + ?Sized>(view: &mut View<'_, R>, reader: &R, from: &[u8], limit: usize) -> Result<Answer, Refusal> {
    let bad_from = || Refusal::BadQuery { path: "/kv/list", reason: "the first name is not text".into() };
    let from = std::str::from_utf8(from).map_err(|_| bad_from())?;
    let (names, next) = listed(reader, NAMES, &name_row(from), limit);
    let name = |bytes: &[u8]| NsName::new(std::str::from_utf8(bytes).ok()?).ok();
    let list = names.iter().filter_map(|bytes| {
        let name = name(bytes)?;
        let namespace = view.namespace(&name);
        if namespace.is_none() {
            reader.unreadable(&name_row(&name), "it lists a namespace that does not exist");
        }
        Some((name, namespace?))
    });
    Ok(Answer::Namespaces { list: list.collect(), next: next.as_deref().and_then(name) })
}

fn range<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    reader: &R,
    namespace: &Namespace,
    from: &[u8],
    limit: usize,
) -> Answer {
    let number = namespace.number;
    let (keys, mut next) = listed(reader, &keys_prefix(number), &key_row(number, from), limit);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for key in keys {
        let Some(value) = view.value(namespace, &key).map(<[u8]>::to_vec) else {
            reader.unreadable(&key_row(number, &key), "it lists a key that has no value");
            break;
        };
        bytes += key.len() + value.len();
        if bytes > RANGE_BYTES_MAX && !rows.is_empty() {
            next = Some(key);
            break;
        }
        rows.push((key, value));
    }
    Answer::Range { rows, next }
}

/// Returns bytes as text; no number for others.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("?")
}

/// Returns the number of a proposal or slash in decimal digits.
fn number(path: &'static str, digits: &str) -> Result<u64, Refusal> {
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).ok_or_else(|| Refusal::BadQuery {
        path,
        reason: format!("{:?} is not a number", digits.chars().take(80).collect::<String>()),
    })
}

fn proposal<R: Reader + ?Sized>(view: &mut View<'_, R>, id: &str) -> Result<Answer, Refusal> {
    let id = number("/proposal/ID", id)?;
    let proposal = proposals::load(view, id).ok_or(Refusal::UnknownProposal { id })?;
    let tally = proposals::tally_of(view, &proposal);
    let votes = proposals::votes(view, id).into_iter().map(|vote| (vote, view.operator(&vote.operator))).collect();
    Ok(Answer::Proposal { proposal: Box::new(proposal), tally, votes })
}

fn proposal_list<R: Reader + ?Sized>(view: &mut View<'_, R>, from: &[u8], limit: usize) -> Result<Answer, Refusal> {
    let from = text(from);
    let from = if from.is_empty() { 1 } else { number("/proposals", from)?.max(1) };
    let (open, end) = proposals::all(view);
    let last = from.saturating_add(limit as u64).min(end);
    let mut list = Vec::new();
    for id in from..last {
        let Some(proposal) = proposals::load(view, id) else { break };
        let tally = proposals::tally_of(view, &proposal);
        list.push((proposal, tally));
    }
    Ok(Answer::Proposals { list, open, next: (last < end).then_some(last) })
}

fn address(path: &'static str, data: &[u8]) -> Result<Address, Refusal> {
    if let Ok(bytes) = data.try_into() {
        return Ok(Address(bytes));
    }
    std::str::from_utf8(data).ok().and_then(|text| text.parse().ok()).ok_or_else(|| Refusal::BadQuery {
        path,
        reason: format!("{} bytes, expected an address: 20 bytes or 40 hexadecimal digits", data.len()),
    })
}
