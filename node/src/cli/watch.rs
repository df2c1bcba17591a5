//! Observes the nodes of a testnet. One thread per node queries it every second, and every 250 ms while it does not
//! answer.
//!
//! One observation is one POST with five calls over a persistent connection, and one GET of the metrics page, which has
//! the number of committed transactions.

use std::{
    sync::mpsc::Sender,
    thread,
    time::{Duration, Instant},
};

use client::{Client, fields};
use node::{clock, exit::Failure};
use serde_json::Value;

use super::view::Seen;

/// Pause between two observations of a node that answers.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause between two observations of a node that does not answer.
const PAUSE_SILENT: Duration = Duration::from_millis(250);
/// Timeout of each step of a request.
const NODE_TIMEOUT: Duration = Duration::from_millis(900);

/// One observation of a node.
pub struct Look {
    /// Index of the observed node.
    pub index: usize,
    /// State of the node; `None` if it did not answer.
    pub seen: Option<Seen>,
}

/// Starts a thread that observes a node and sends each observation to `to`, until the receiver is dropped. `metrics` is
/// the address of the node's metrics page, if it has one.
///
/// Errors: an address is invalid, or the thread cannot be started.
pub fn spawn<E: From<Look> + Send + 'static>(
    index: usize,
    rpc: &str,
    metrics: Option<String>,
    to: Sender<E>,
) -> Result<(), Failure> {
    let client = Client::with_timeout(rpc, None, NODE_TIMEOUT)?;
    let metrics = match metrics {
        Some(address) => Some(Client::with_timeout(&address, None, NODE_TIMEOUT)?),
        None => None,
    };
    let name = format!("watch-{index}");
    let run = move || {
        let mut committed = None;
        loop {
            let seen = look(&client, metrics.as_ref(), &mut committed);
            let pause = if seen.is_some() { PAUSE } else { PAUSE_SILENT };
            if to.send(E::from(Look { index, seen })).is_err() {
                return;
            }
            thread::sleep(pause);
        }
    };
    thread::Builder::new()
        .name(name)
        .spawn(run)
        .map(|_| ())
        .map_err(|error| Failure::refused(format!("no thread can be started: {error}")))
}

/// Makes one observation; returns `None` if the node does not answer. `committed` is the number of committed
/// transactions at the previous observation, with its time, and is updated.
fn look(client: &Client, metrics: Option<&Client>, committed: &mut Option<(u64, Instant)>) -> Option<Seen> {
    let answers = client.call_all(["status", "consensus_state", "num_unconfirmed_txs", "net_info", "ready"]).ok()?;
    let total = metrics.and_then(|metrics| committed_in(&metrics.page("/metrics").ok()?));
    let now = Instant::now();
    let txs_per_second = match (total, *committed) {
        (Some(total), Some((before, then))) => {
            total.saturating_sub(before) as f64 / now.duration_since(then).as_secs_f64().max(0.001)
        }
        _ => 0.0,
    };
    *committed = total.map(|total| (total, now));
    read(&answers, txs_per_second).ok()
}

fn read([status, state, mempool, peers, ready]: &[Value; 5], txs_per_second: f64) -> Result<Seen, Failure> {
    let place = fields::text(state, "/round_state/height~1round~1step")?;
    let mut place = place.split('/').skip(1);
    let round = place.next().and_then(|round| round.parse().ok()).unwrap_or(0);
    let step = place.next().unwrap_or_default();
    Ok(Seen {
        height: fields::number(status, "/sync_info/latest_block_height")?,
        round,
        step: step_name(step).to_owned(),
        peers: fields::number(peers, "/n_peers")?,
        last_block: fields::time(status, "/sync_info/latest_block_time").unwrap_or_default(),
        waiting: fields::number(mempool, "/total")?,
        txs_per_second,
        catching_up: status.pointer("/sync_info/catching_up").and_then(Value::as_bool).unwrap_or(false),
        not_ready: not_ready(ready),
        seen_at: clock::wall(),
    })
}

/// Returns the reasons why a node is not ready, from its response to `ready`; an empty string if it is ready.
pub fn not_ready(answer: &Value) -> String {
    let reasons = answer.get("reasons").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    reasons.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
}

/// Returns the name of a step for its number in CometBFT.
fn step_name(step: &str) -> &str {
    match step {
        "1" => "new height",
        "2" => "new round",
        "3" => "propose",
        "4" | "5" => "prevote",
        "6" | "7" => "precommit",
        "8" => "commit",
        other => other,
    }
}

/// Returns the number of committed transactions from a metrics page.
fn committed_in(page: &str) -> Option<u64> {
    let line = page.lines().find(|line| !line.starts_with('#') && line.contains("consensus_total_txs"))?;
    Some(line.rsplit(' ').next()?.parse::<f64>().ok()?.max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_state_of_a_node_is_read_from_five_answers() {
        let answers = [
            json!({"sync_info": {"latest_block_height": "7", "latest_block_time": "2026-01-01T00:00:00Z", "catching_up": true}}),
            json!({"round_state": {"height/round/step": "8/2/4"}}),
            json!({"total": "5"}),
            json!({"n_peers": "3"}),
            json!({"ready": false, "reasons": ["a", "b"]}),
        ];
        let seen = read(&answers, 1.5).unwrap();
        assert_eq!((seen.height, seen.round, seen.step.as_str(), seen.peers, seen.waiting), (7, 2, "prevote", 3, 5));
        assert!(seen.catching_up && seen.not_ready == "a; b");
        assert!(read(&[const { Value::Null }; 5], 0.0).is_err());
    }

    #[test]
    fn committed_transactions_are_read_from_the_metrics() {
        let page =
            "# HELP cometbft_consensus_total_txs x\ncometbft_consensus_total_txs{chain_id=\"c\"} 1200\nother 1\n";
        assert_eq!(committed_in(page), Some(1200));
        assert_eq!(committed_in("other 1\n"), None);
    }
}
