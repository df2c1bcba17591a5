//! A run from beginning to end: queries the nodes, funds the senders, signs, loads and reports.

use std::{
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, SystemTime},
};

use client::{AccountState, Chain, ChainParams, Client};

use crate::{
    Arrivals, LoadError, Mode, Order, Plan,
    clock::{ChainTime, RunClock},
    funding::{self, Funding},
    plan::{self, Load},
    progress::{Event, Observer, Watch},
    recipe::Recipe,
    report::{FORMAT, NodeInfo, PlanInfo, Report, Saturation, StageReport},
    senders::{self, Keys},
    stage::Stage,
    submit::Lane,
    supply::{self, Signing, Supply},
    tracker::Tracker,
    usage::Meters,
    watch::Watchers,
};

/// Number of transactions in flight in the first stage of a closed loop; it doubles from stage to stage.
const WINDOW_FIRST: u64 = 64;
/// Number of transactions in flight in the last stage of a closed loop.
const WINDOW_MAX: u64 = 32_768;
/// Number of consecutive stages without [`GROWTH`] after which a closed loop ends.
const STAGES_WITHOUT_GROWTH: u32 = 2;
/// Factor over the best throughput so far from which a stage counts as growth.
const GROWTH: f64 = 1.05;
/// Number of transactions per second for which the first stage of a closed loop is prepared.
const FIRST_GUESS_PER_S: f64 = 4_000.0;
/// Number of transactions that each sender must be able to pay for, when the total is not known in advance.
const TXS_OF_A_SENDER: u64 = 1_000;
/// Minimum duration in seconds for which a load without end is funded.
const ENDLESS_S: f64 = 86_400.0;
/// How far ahead of the load unordered transactions are signed.
const AHEAD: Duration = Duration::from_secs(1);
/// Maximum wait before the load begins, while transactions of others are in the mempool.
const QUIET_PATIENCE: Duration = Duration::from_secs(10);

/// Executes a plan. Setting `stop` during a stage ends the load early; what was measured until then is reported.
///
/// Errors: [`LoadError`] when the plan is impossible, nodes do not answer, senders lack money, the file cannot be used,
/// the system refuses a thread, or `stop` is set while a stage is prepared. Each error says what to do.
pub fn run(plan: &Plan, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Report, LoadError> {
    plan.check()?;
    let mut watch = Watch { observer, stop };
    let mut run = Run::prepare(plan, &mut watch)?;
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let ended = match &plan.mode {
        Mode::Open { rate } => run.stage(Load::Open { rate: *rate }, &mut watch).map(drop),
        Mode::Closed => run.closed(&mut watch),
        Mode::Sweep { rates } => run.sweep(rates, &mut watch),
    };
    match ended {
        // Between two stages, while transactions are signed.
        Err(LoadError::Stopped) if !run.stages.is_empty() => {}
        ended => ended?,
    }
    Ok(run.report(began))
}

struct Run<'a> {
    plan: &'a Plan,
    chains: Vec<Chain>,
    recipe: Recipe,
    params: ChainParams,
    batch: usize,
    supply: Supply,
    // These two fields are in the order in which they must be dropped: first the answers end, then the events.
    lanes: Vec<Lane>,
    _watchers: Watchers,
    tracker: Arc<Tracker>,
    meters: Meters,
    stages: Vec<StageReport>,
    saturation: Option<Saturation>,
}

impl<'a> Run<'a> {
    fn prepare(plan: &'a Plan, watch: &mut Watch<'_>) -> Result<Self, LoadError> {
        let (chains, batch) = meet(plan)?;
        if batch < plan.batch {
            watch.note(format!(
                "the nodes accept {batch} calls per request (rpc.max_request_batch_size): the batches have {batch} calls"
            ));
        }
        let client = plan::client(&plan.nodes[0].rpc)?;
        let params = client.params()?;
        let fee = plan.fee.unwrap_or(params.fee_min);
        let total = planned(plan);
        let count = total.map_or(plan.senders, |total| u32::try_from(total).unwrap_or(u32::MAX).clamp(1, plan.senders));
        let keys = Keys::new(chains[0].chain_id.clone(), plan.sender_seed.clone());
        let all = senders::derive(&keys, count);
        let mut states = senders::states(plan, &all, batch, watch)?;
        let need = txs_of_each(plan, count).saturating_mul(fee + 1);
        let chain_id = &chains[0].chain_id;
        funding::fund(&Funding { plan, chain_id, params, fee, need, batch }, &all, &mut states, watch)?;
        wait_for_quiet(&client, watch)?;
        let recipe = Recipe {
            chain_id: chain_id.clone(),
            senders: all.into(),
            nonces: states.iter().map(|state| state.nonce).collect(),
            fee,
            invalid_ppm: plan.invalid_ppm,
            seed: plan.seed,
            unfunded: Recipe::unfunded(&keys),
        };
        let chain = client.chain()?;
        let tracker = Tracker::new(plan.nodes.len(), chain.height.0, plan.timeout, RunClock::new());
        let tracker = Arc::new(tracker.with_witness(plan.witness.clone()));
        let supply = match plan.order {
            Order::Nonce => Supply::File(supply::open_file(plan, &recipe, &states, total.unwrap_or(1), watch)?),
            Order::Unordered => {
                let rate = if let Mode::Open { rate } = plan.mode { rate } else { FIRST_GUESS_PER_S };
                let ahead = (rate * AHEAD.as_secs_f64()).ceil() as u64;
                let time = ChainTime::after(chain.time);
                Supply::Signing(Signing::start(recipe.clone(), time, params.tx_ttl_max, ahead)?)
            }
        };
        let urls: Vec<String> = plan.nodes.iter().map(|node| node.rpc.clone()).collect();
        let watchers = Watchers::start(&urls, &tracker)?;
        // Neighbours in the list are connections to different nodes.
        let lane = |index: usize| Lane::open(&urls[index % urls.len()], tracker.clone());
        let lanes = (0..urls.len() * plan.connections).map(lane).collect::<Result<_, _>>()?;
        Ok(Self {
            plan,
            chains,
            recipe,
            params,
            batch,
            supply,
            lanes,
            _watchers: watchers,
            tracker,
            meters: Meters::of(&plan.nodes)?,
            stages: Vec::new(),
            saturation: None,
        })
    }

    /// Runs one stage, after it made sure that there are as many signed transactions as it may need.
    fn stage(&mut self, load: Load, watch: &mut Watch<'_>) -> Result<&StageReport, LoadError> {
        let per_s = match load {
            Load::Open { rate } => rate,
            Load::Closed { .. } => 2.0 * self.best().max(FIRST_GUESS_PER_S / 2.0),
        };
        if let Some(count) = due_in(self.plan, per_s) {
            self.supply.ensure(&self.recipe, count, watch)?;
        }
        watch.see(&Event::StageBegins { number: self.stages.len() + 1, load });
        let Self { plan, supply, lanes, tracker, batch, meters, .. } = self;
        let stage = Stage { plan, supply, lanes, tracker, batch: *batch, meters };
        let outcome = stage.run(load, watch)?;
        self.stages.push(StageReport::new(load, outcome, senders::cores()));
        let report = self.stages.last().expect("it was put there a moment ago");
        watch.see(&Event::StageEnds(report));
        Ok(report)
    }

    /// Returns the highest throughput so far, in transactions per second.
    fn best(&self) -> f64 {
        self.saturation.as_ref().map_or(0.0, |saturation| saturation.committed_per_s)
    }

    fn closed(&mut self, watch: &mut Watch<'_>) -> Result<(), LoadError> {
        let (mut window, mut without_growth) = (WINDOW_FIRST, 0);
        while window <= WINDOW_MAX && without_growth < STAGES_WITHOUT_GROWTH && !watch.is_stopped() {
            let report = self.stage(Load::Closed { window }, watch)?;
            let (per_s, failed) = (report.committed_per_s, report.refused + report.unsent + report.timed_out);
            without_growth = if per_s > GROWTH * self.best() { 0 } else { without_growth + 1 };
            if per_s > self.best() {
                let how = format!("closed loop with {window} transactions under way");
                self.saturation = Some(Saturation { committed_per_s: per_s, stage: self.stages.len() - 1, how });
            }
            if failed > 0 {
                self.begin_anew(watch)?;
            }
            window *= 2;
        }
        Ok(())
    }

    fn sweep(&mut self, rates: &[f64], watch: &mut Watch<'_>) -> Result<(), LoadError> {
        for rate in rates {
            let report = self.stage(Load::Open { rate: *rate }, watch)?;
            let (per_s, is_sustained) = (report.committed_per_s, report.is_sustained);
            if per_s > self.best() {
                let how = format!("open loop at {} per second", crate::report::rounded(*rate));
                self.saturation = Some(Saturation { committed_per_s: per_s, stage: self.stages.len() - 1, how });
            }
            if watch.is_stopped() {
                break;
            }
            if !is_sustained {
                watch.note("this rate is not sustained: the sweep ends here");
                break;
            }
        }
        Ok(())
    }

    /// Starts with new transactions from the current nonces: after losses, later nonces of the same senders would wait
    /// forever.
    fn begin_anew(&mut self, watch: &mut Watch<'_>) -> Result<(), LoadError> {
        if self.plan.order == Order::Unordered || watch.is_stopped() {
            return Ok(());
        }
        wait_for_quiet(&plan::client(&self.plan.nodes[0].rpc)?, watch)?;
        let states: Vec<AccountState> = senders::states(self.plan, &self.recipe.senders, self.batch, watch)?;
        self.recipe.nonces = states.iter().map(|state| state.nonce).collect();
        self.supply = Supply::File(supply::open_file(self.plan, &self.recipe, &states, u64::MAX, watch)?);
        Ok(())
    }

    fn report(self, began_unix_s: u64) -> Report {
        let Self { plan, chains, recipe, tracker, stages, saturation, params, batch, .. } = self;
        let doubts: Vec<String> = stages.iter().flat_map(StageReport::doubts).collect();
        let node = |(node, chain): (&crate::Node, &Chain)| NodeInfo {
            url: node.rpc.clone(),
            moniker: chain.moniker.clone(),
            version: chain.version.clone(),
        };
        let mode = match plan.mode {
            Mode::Open { .. } => "open",
            Mode::Closed => "closed",
            Mode::Sweep { .. } => "sweep",
        };
        Report {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            began_unix_s,
            chain_id: recipe.chain_id.to_string(),
            nodes: plan.nodes.iter().zip(&chains).map(node).collect(),
            cores: senders::cores(),
            plan: PlanInfo {
                mode: mode.to_owned(),
                arrivals: if plan.arrivals == Arrivals::Poisson { "poisson" } else { "constant" }.to_owned(),
                order: if plan.order == Order::Nonce { "nonce" } else { "unordered" }.to_owned(),
                senders: recipe.senders.len() as u32,
                invalid_share: f64::from(plan.invalid_ppm) / 1e6,
                seed: plan.seed,
                batch,
                connections: plan.connections,
                warm_up_s: plan.warm_up.as_secs_f64(),
                duration_s: plan.duration.map(|duration| duration.as_secs_f64()),
                cool_down_s: plan.cool_down.as_secs_f64(),
                timeout_s: plan.timeout.as_secs_f64(),
                fee: plan.fee.unwrap_or(params.fee_min),
            },
            stages,
            saturation,
            is_trustworthy: doubts.is_empty(),
            doubts,
            warnings: tracker.problems(),
        }
    }
}

/// Queries all nodes for their chain, and for the number of calls that every node accepts in one request.
///
/// Errors: a node does not answer, is named twice, has another chain than the first, is catching up, or has no block
/// yet.
fn meet(plan: &Plan) -> Result<(Vec<Chain>, usize), LoadError> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut batch = plan.batch;
    for node in &plan.nodes {
        let client = plan::client(&node.rpc)?;
        let chain = client.chain()?;
        let wrong = |reason: String| Err(LoadError::node(&node.rpc, reason));
        if let Some(index) = chains.iter().position(|other| other.node_id == chain.node_id) {
            return wrong(format!("it is the same node as {}: name each node once", plan.nodes[index].rpc));
        }
        match chains.first() {
            Some(first) if first.chain_id != chain.chain_id => {
                return wrong(format!(
                    "it is of chain {}, but {} is of {}: name nodes of one chain",
                    chain.chain_id, plan.nodes[0].rpc, first.chain_id
                ));
            }
            _ if chain.catching_up => {
                return wrong("it is catching up: wait until it has caught up, or leave it out".to_owned());
            }
            _ if chain.height.0 == 0 => return wrong("its chain has no block yet: wait for the first".to_owned()),
            _ => {}
        }
        batch = client.batch_max(batch)?;
        chains.push(chain);
    }
    Ok((chains, batch))
}

/// Returns the maximum number of transactions of the run; `None` if it is not known in advance.
fn planned(plan: &Plan) -> Option<u64> {
    match &plan.mode {
        Mode::Open { rate } => due_in(plan, *rate),
        Mode::Closed => None,
        Mode::Sweep { rates } => rates.iter().map(|rate| due_in(plan, *rate)).sum(),
    }
}

/// Returns how many transactions each of `count` senders must be able to pay for.
fn txs_of_each(plan: &Plan, count: u32) -> u64 {
    match (planned(plan), &plan.mode) {
        (Some(total), _) => total.div_ceil(count.into()) + 1,
        (None, Mode::Open { rate }) => TXS_OF_A_SENDER.max((rate * ENDLESS_S / f64::from(count)) as u64),
        (None, _) => TXS_OF_A_SENDER,
    }
}

/// Returns how many transactions are due in a stage with `per_s` transactions per second; `None` if the stage has no
/// end. The result has a reserve for random arrivals.
fn due_in(plan: &Plan, per_s: f64) -> Option<u64> {
    let length = plan.warm_up + plan.duration? + plan.cool_down;
    let mean = per_s * length.as_secs_f64();
    let spare = if plan.arrivals == Arrivals::Poisson { 6.0 * mean.sqrt() } else { 0.0 };
    Some((mean + spare).ceil() as u64 + 1)
}

/// Waits until no transaction waits for a block, because a waiting one could change nonces.
fn wait_for_quiet(client: &Client, watch: &mut Watch<'_>) -> Result<(), LoadError> {
    let pause = Duration::from_millis(50);
    for _ in 0..QUIET_PATIENCE.as_millis() / pause.as_millis() {
        if client.waiting()? == 0 {
            return Ok(());
        }
        if watch.is_stopped() {
            return Err(LoadError::Stopped);
        }
        thread::sleep(pause);
    }
    watch.note("transactions of other clients wait for a block: they use part of the capacity of this chain");
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    struct Nobody;

    impl Observer for Nobody {
        fn see(&mut self, _: &Event<'_>) {}
    }

    /// Does work with an observer that ignores all events.
    pub fn unwatched<T>(work: impl FnOnce(&mut Watch<'_>) -> T) -> T {
        work(&mut Watch { observer: &mut Nobody, stop: &AtomicBool::new(false) })
    }

    #[test]
    fn a_stage_has_as_many_transactions_as_are_due_in_it() {
        let node = crate::Node { rpc: "h:1".into(), metrics: None };
        let mut plan = Plan::new(vec![node], Mode::Open { rate: 100.0 }, Duration::from_secs(10), "x".into());
        assert_eq!(planned(&plan), Some(1_301), "2 s of warm-up, 1 s of cool-down, and one at the very end");
        plan.arrivals = Arrivals::Poisson;
        assert!(planned(&plan) > Some(1_500));
        assert_eq!(txs_of_each(&plan, 1_000), 3);
        plan.mode = Mode::Closed;
        assert_eq!((planned(&plan), txs_of_each(&plan, 1_000)), (None, TXS_OF_A_SENDER));
        (plan.mode, plan.duration) = (Mode::Open { rate: 200.0 }, None);
        assert_eq!(txs_of_each(&plan, 1_000), 17_280, "a day");
    }
}
