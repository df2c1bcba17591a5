//! Gives money to senders that lack it. One account pays, with unordered transactions of many transfers each.

use std::{thread, time::Duration};

use client::{AccountState, ChainParams, Client, ClientError};
use data_encoding::BASE64;
use serde_json::{Value, json};
use types::{ChainId, Deadline, Msg, SecretKey, TxBody, TxOrder, Wire, limits::TX_MESSAGES_MAX};

use crate::{
    LoadError, Plan,
    clock::ChainTime,
    plan,
    progress::{Event, Watch},
    senders::{self, Sender},
};

/// Maximum number of funding transactions in flight at one time. They expire, so they must not wait for long.
const WINDOW: usize = 1_024;
/// Interval between two checks whether they are committed.
const PAUSE: Duration = Duration::from_millis(20);
/// Number of attempts. What expired in one attempt is sent again in the next.
const ROUNDS: usize = 3;
/// Number of checks before one group of transactions is given up: about one minute.
const LOOKS_MAX: u32 = 3_000;

/// Values that funding needs.
pub struct Funding<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// Name of the chain.
    pub chain_id: &'a ChainId,
    /// Parameters of the chain.
    pub params: ChainParams,
    /// Fee of one transaction.
    pub fee: u64,
    /// Maximum amount that each sender will spend, fees included.
    pub need: u64,
    /// Maximum number of calls in one request that every node accepts.
    pub batch: usize,
}

/// Ensures that each sender has the amount that it needs. `states` holds the accounts' states and is updated.
///
/// Errors: [`LoadError::Funds`] when the plan names no funder, the funder's balance is too small (the error names the
/// missing amount), or senders are still unfunded after the last attempt; [`LoadError::Client`] when a node does
/// not answer; [`LoadError::Node`] when a node refuses a transaction; [`LoadError::Stopped`].
pub fn fund(
    funding: &Funding<'_>,
    all: &[Sender],
    states: &mut [AccountState],
    watch: &mut Watch<'_>,
) -> Result<(), LoadError> {
    for _ in 0..ROUNDS {
        let poor: Vec<usize> = (0..all.len()).filter(|sender| states[*sender].balance < funding.need).collect();
        if poor.is_empty() {
            return Ok(());
        }
        let Some(payer) = &funding.plan.funder else {
            return Err(LoadError::Funds(format!(
                "{} of {} senders have less than the {} that they need: name an account that funds them with --fund-from, or \
                 load with fewer --senders",
                poor.len(),
                all.len(),
                funding.need
            )));
        };
        let amounts = funding.amounts(payer, &poor, states, all.len())?;
        let transfers: Vec<Msg> = poor
            .iter()
            .zip(&amounts)
            .map(|(sender, amount)| Msg::Transfer { to: all[*sender].address, amount: *amount })
            .collect();
        funding.pay(payer, &transfers, watch)?;
        let addresses: Vec<Sender> = poor.iter().map(|sender| all[*sender].clone()).collect();
        let news = senders::states(funding.plan, &addresses, funding.batch, watch)?;
        poor.iter().zip(news).for_each(|(sender, state)| states[*sender] = state);
    }
    let poor = states.iter().filter(|state| state.balance < funding.need).count();
    if poor == 0 {
        return Ok(());
    }
    Err(LoadError::Funds(format!(
        "{poor} senders could not be funded: check with `cairn query status` that the chain commits transactions"
    )))
}

impl Funding<'_> {
    fn node(&self) -> Result<Client, LoadError> {
        plan::client(&self.plan.nodes[0].rpc)
    }

    /// Returns the amount for each unfunded sender: it fills the balance up to twice the need if the payer can afford
    /// that, otherwise up to the need.
    fn amounts(
        &self,
        payer: &SecretKey,
        poor: &[usize],
        states: &[AccountState],
        of: usize,
    ) -> Result<Vec<u64>, LoadError> {
        let address = payer.public_key().address();
        let has = self.node()?.accounts(&[address])?.first().map_or(0, |state| state.balance);
        let fees = poor.len().div_ceil(TX_MESSAGES_MAX) as u128 * u128::from(self.fee);
        let lacks = |goal: u64| poor.iter().map(move |sender| goal - states[*sender].balance.min(goal));
        let sum = |goal: u64| lacks(goal).map(u128::from).sum::<u128>() + fees;
        let plenty = self.need.saturating_mul(2);
        let goal = if sum(plenty) <= u128::from(has) { plenty } else { self.need };
        if sum(goal) > u128::from(has) {
            return Err(LoadError::Funds(format!(
                "{address} has {has}, but {} of {of} senders lack {} together: name another account with --fund-from, or load \
                 with fewer --senders, or for a shorter --duration",
                poor.len(),
                sum(goal)
            )));
        }
        Ok(lacks(goal).collect())
    }

    /// Pays these transfers, and waits until all are committed or have expired.
    fn pay(&self, payer: &SecretKey, transfers: &[Msg], watch: &mut Watch<'_>) -> Result<(), LoadError> {
        let (mut done, of) = (0, transfers.len() as u64);
        watch.see(&Event::Funding { done, of });
        for some in transfers.chunks(WINDOW * TX_MESSAGES_MAX) {
            let expires = ChainTime::after(self.node()?.chain()?.time).deadline(self.params.tx_ttl_max);
            let txs = self.sign(payer, some, expires);
            self.submit(&txs)?;
            self.wait(
                &mut |left| watch.see(&Event::Funding { done: (done + some.len() as u64).saturating_sub(left), of }),
                expires,
            )?;
            done += some.len() as u64;
            if watch.is_stopped() {
                return Err(LoadError::Stopped);
            }
        }
        Ok(())
    }

    /// Returns the calls for these transfers, signed on all cores.
    fn sign(&self, payer: &SecretKey, transfers: &[Msg], expires: Deadline) -> Vec<Value> {
        let bundles: Vec<&[Msg]> = transfers.chunks(TX_MESSAGES_MAX).collect();
        let part = bundles.len().div_ceil(senders::cores()).max(1);
        let call = |messages: &[Msg]| {
            let body = TxBody {
                chain_id: self.chain_id.clone(),
                signer: payer.public_key(),
                order: TxOrder::Expires(expires),
                fee: self.fee,
                messages: messages.to_vec(),
            };
            json!({ "tx": BASE64.encode(&body.sign(payer).encode()) })
        };
        thread::scope(|scope| {
            let call = &call;
            let sign = |part: &'_ [&[Msg]]| part.iter().map(|messages| call(messages)).collect::<Vec<_>>();
            let parts: Vec<_> = bundles.chunks(part).map(|part| scope.spawn(move || sign(part))).collect();
            parts.into_iter().flat_map(|part| part.join().expect("signing does not panic")).collect()
        })
    }

    /// Distributes the calls over all nodes and submits them.
    fn submit(&self, calls: &[Value]) -> Result<(), LoadError> {
        let part = calls.len().div_ceil(self.plan.nodes.len()).max(1);
        thread::scope(|scope| {
            let submit = |(node, part): (&crate::Node, &[Value])| {
                let (url, part, batch) = (node.rpc.clone(), part.to_vec(), self.batch);
                scope.spawn(move || {
                    let client = plan::client(&url)?;
                    for some in part.chunks(batch) {
                        for answer in client.batch(some.iter().map(|params| ("broadcast_tx_sync", params.clone())))? {
                            accepted(&url, answer)?;
                        }
                    }
                    Ok(())
                })
            };
            let submitted: Vec<_> = self.plan.nodes.iter().zip(calls.chunks(part)).map(submit).collect();
            submitted.into_iter().try_for_each(|part| part.join().expect("submitting does not panic"))
        })
    }

    /// Waits until no transaction waits for a block, `expires` has passed, or the checks are used up. `tell` receives
    /// the number of transfers that may still wait.
    fn wait(&self, tell: &mut dyn FnMut(u64), expires: Deadline) -> Result<(), LoadError> {
        let nodes: Vec<Client> =
            self.plan.nodes.iter().map(|node| plan::client(&node.rpc)).collect::<Result<_, _>>()?;
        for _ in 0..LOOKS_MAX {
            let mut waiting = 0;
            for node in &nodes {
                waiting = waiting.max(node.waiting()?);
            }
            tell(waiting * TX_MESSAGES_MAX as u64);
            if waiting == 0 || expires.has_passed(nodes[0].chain()?.time) {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        // A sender that has no money yet is funded in the next attempt.
        Ok(())
    }
}

/// Checks that a node accepted a funding transaction.
fn accepted(url: &str, answer: Result<Value, ClientError>) -> Result<(), LoadError> {
    let answer = answer?;
    if answer.get("code").and_then(Value::as_u64) == Some(0) {
        return Ok(());
    }
    let reason = answer.get("log").and_then(Value::as_str).unwrap_or("no reason given");
    Err(LoadError::node(url, format!("it refuses a transaction that funds senders: {reason}")))
}
