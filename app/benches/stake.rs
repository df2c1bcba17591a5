//! Measures what a block does about stake: by itself, for a double sign, and when unbondings are due. 100 validators, the first
//! with a million delegators. Run: `cargo bench --profile dev -p cairn-app --bench stake`.
#![allow(missing_docs, clippy::disallowed_types, clippy::disallowed_methods, clippy::print_stdout)]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use app::{App, BlockContext, FirstDelegation, FirstStake, FirstValidator, MATURED_MAX, Outcome, first_state};
use types::{
    Address, ChainId, EvidenceParams, Hash, Height, Misbehavior, MisbehaviorKind, Msg, Params, Power, SecretKey,
    StakeMsg, StakingParams, Time, TxBody, TxOrder, VerifiedTx, limits::TX_MESSAGES_MAX,
};

const VALIDATORS: u8 = 100;
const DELEGATORS: u32 = 1_000_000;
/// Unbondings that are due at one time.
const UNBONDINGS: usize = 10_000;
const UNBONDING: Duration = Duration::from_secs(10);
/// Stake that gives a power of 1.
const UNIT: u64 = 1_000_000;

fn key(kind: u8, seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[&[kind; 31][..], &[seed]].concat()).expect("a key")
}

fn address(kind: u8, seed: u8) -> Address {
    key(kind, seed).public_key().address()
}

fn operator(seed: u8) -> Address {
    address(1, seed)
}

fn consensus(seed: u8) -> SecretKey {
    key(2, seed)
}

/// An account that delegates to all validators.
fn saver(seed: u8) -> SecretKey {
    key(3, seed)
}

struct Chain {
    app: App,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    height: u64,
    time: Time,
}

impl Chain {
    fn new(chain_id: &ChainId) -> Self {
        let staking = StakingParams { unbonding: UNBONDING, ..StakingParams::default() };
        let evidence = EvidenceParams { age_max: Duration::from_secs(5), ..EvidenceParams::default() };
        let params = Params { staking, evidence, ..Params::default() };
        let delegation = |delegator, validator, amount| FirstDelegation { delegator, validator, amount };
        let crowd = (0..DELEGATORS).map(|index| {
            let mut address = [9; 20];
            address[..4].copy_from_slice(&index.to_be_bytes());
            delegation(Address(address), operator(1), 1000)
        });
        let seeds = 1..=VALIDATORS;
        let own = seeds.clone().map(|seed| delegation(operator(seed), operator(seed), 10 * UNIT));
        let savers = (1..=SAVERS).flat_map(|saver| (1..=VALIDATORS).map(move |seed| (saver, seed)));
        let savings = savers.map(|(saver, seed)| delegation(address(3, saver), operator(seed), 1000));
        let stake = FirstStake { delegations: crowd.chain(own).chain(savings).collect(), ..FirstStake::default() };
        let mut powers: BTreeMap<Address, u64> = BTreeMap::new();
        stake.delegations.iter().for_each(|one| *powers.entry(one.validator).or_default() += one.amount);
        let validators: Vec<FirstValidator> = seeds
            .map(|seed| FirstValidator {
                public_key: consensus(seed).public_key().into(),
                power: Power(powers[&operator(seed)] / UNIT),
                operator: Some(operator(seed)),
            })
            .collect();
        let accounts = (1..=SAVERS).map(|seed| (address(3, seed), 1_000_000_000));
        let first = first_state(&params, &validators, accounts, &stake).expect("a first state");
        let rows: BTreeMap<Vec<u8>, Vec<u8>> = first.rows().collect();
        let app = App::open(&rows, chain_id.clone(), Height(0));
        Self { app, rows, height: 0, time: Time::from_unix_millis(1_000_000) }
    }

    /// Executes and commits a block that is `after` the last one; returns the time that it takes.
    fn block(&mut self, after: Duration, misbehavior: Vec<Misbehavior>, txs: &[VerifiedTx]) -> (Duration, Outcome) {
        (self.height, self.time) = (self.height + 1, self.time.saturating_add(after));
        let (height, time, proposer) = (Height(self.height), self.time, operator(1));
        let context = BlockContext { height, time, proposer, misbehavior, absent: Vec::new() };
        let start = Instant::now();
        let outcome = self.app.execute(&self.rows, &context, txs);
        self.app.commit(outcome.update.clone());
        let took = start.elapsed();
        for (key, value) in outcome.writes.0.clone() {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        assert!(outcome.results.txs.iter().all(|result| result.code == 0), "{:?}", outcome.results.txs);
        (took, outcome)
    }
}

/// Accounts that together can have [`UNBONDINGS`] at all validators, seven for each pair.
const SAVERS: u8 = (UNBONDINGS / (7 * VALIDATORS as usize) + 1) as u8;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

fn main() {
    let chain_id = ChainId::new("bench").expect("a chain id");
    let mut chain = Chain::new(&chain_id);
    let second = Duration::from_secs(1);
    println!("{VALIDATORS} validators, {} rows of the state", chain.rows.len());
    let idle = median((0..101).map(|_| chain.block(second, Vec::new(), &[]).0).collect());
    let mut nonces = [0; 256];
    let mut tx = |seed: u8, fee: u64, messages: Vec<Msg>| {
        let order = TxOrder::Nonce(nonces[usize::from(seed)]);
        nonces[usize::from(seed)] += 1;
        let body = TxBody { chain_id: chain_id.clone(), signer: saver(seed).public_key(), order, fee, messages };
        VerifiedTx::verified_before(body.sign(&saver(seed)))
    };
    let mut income = Vec::new();
    for _ in 0..101 {
        let pay = Msg::Transfer { to: address(4, 1), amount: 1 };
        chain.block(second, Vec::new(), &[tx(1, 1000, vec![pay])]);
        income.push(chain.block(second, Vec::new(), &[]).0);
    }
    println!("a block without transactions: {}; with the income of the one before: {}", ms(idle), ms(median(income)));

    let messages: Vec<(u8, Msg)> = (0..7_u8)
        .flat_map(|_| (1..=SAVERS).flat_map(|saver| (1..=VALIDATORS).map(move |seed| (saver, seed))))
        .map(|(saver, seed)| (saver, Msg::Stake(StakeMsg::Undelegate { validator: operator(seed), amount: Some(1) })))
        .take(UNBONDINGS)
        .collect();
    let of_one = messages.chunk_by(|(one, _), (other, _)| one == other);
    let txs: Vec<VerifiedTx> = of_one
        .flat_map(|chunk| chunk.chunks(TX_MESSAGES_MAX))
        .map(|chunk| tx(chunk[0].0, 10_000, chunk.iter().map(|(_, message)| message.clone()).collect()))
        .collect();
    let (began, _) = chain.block(second, Vec::new(), &txs);
    chain.block(second, Vec::new(), &[]);
    let (mut due, mut ended) = (Vec::new(), 0);
    let mut after = UNBONDING;
    while ended < UNBONDINGS {
        let (took, outcome) = chain.block(after, Vec::new(), &[]);
        ended += outcome.results.events.iter().filter(|event| event.kind == "staking.unbonded").count();
        due.push(took);
        after = Duration::from_millis(1);
    }
    let total: Duration = due.iter().sum();
    println!(
        "{UNBONDINGS} unbondings begin in one block: {}; they are paid in {} blocks of {MATURED_MAX}: {} in all, {} a block",
        ms(began),
        due.len(),
        ms(total),
        ms(median(due))
    );

    for seed in [1, 2] {
        let named = Misbehavior {
            kind: MisbehaviorKind::DuplicateVote,
            validator: consensus(seed).public_key().address(),
            height: Height(chain.height),
            time: chain.time,
            power: Power(10),
            total_power: Power(1000),
            evidence: Hash([seed; 32]),
        };
        let (took, outcome) = chain.block(second, vec![named], &[]);
        assert!(outcome.results.events.iter().any(|event| event.kind == "staking.slashed"));
        let delegators = if seed == 1 { DELEGATORS } else { 0 } + u32::from(SAVERS) + 1;
        println!("a double sign of a validator with {delegators} delegators: {}", ms(took));
    }
}
