//! Simulated clients that send transfers and writes to namespaces, with correct and incorrect nonces, and some invalid
//! transactions. In worlds with reverts they also propose reverts, and the operators of validators vote on them; in worlds in
//! which stake moves, they propose parameters and upgrades.

use std::time::Duration;

use app::{Answer, View, query};
use types::{
    Address, ChainId, Choice, Commission, ConsensusKey, ConsensusSecretKey, Deadline, Description, Hash, Height, KvOp,
    Msg, NsOwner, ProposalKind, Propose, Reader, Revert, RevertScope, SecretKey, StakeMsg, Time, TxBody, TxOrder,
    ValidatorCreate, Wire, limits::KV_VALUE_BYTES_MAX, possession_message,
};

use crate::random::Random;

mod decisions;

/// Number of funded accounts.
pub const ACCOUNTS: usize = 6;

/// Initial balance of each account.
pub const BALANCE: u64 = 1_000_000;

/// Names of the namespaces that clients use.
pub const NAMES: [&str; 3] = ["shared/a", "shared/b", "own"];

/// The owners of all accounts.
pub struct Clients {
    chain_id: ChainId,
    keys: Vec<SecretKey>,
    /// Keys of the accounts that vote for the validators, and those of the accounts of `joiners`.
    operators: Vec<SecretKey>,
    /// Consensus keys of nodes that are no validators at first. Their operators are the last ones.
    joiners: Vec<ConsensusSecretKey>,
    /// Transactions that were sent before and may be sent again.
    sent: Vec<Vec<u8>>,
}

impl Clients {
    /// Creates the owners of all accounts, and the operators of this number of validators and of the nodes that may become
    /// validators.
    pub fn new(chain_id: ChainId, validators: usize, joiners: Vec<ConsensusSecretKey>) -> Self {
        let keys = (0..ACCOUNTS).map(|index| account_key(100 + index as u8)).collect();
        let operators = (0..validators + joiners.len()).map(operator_key).collect();
        Self { chain_id, keys, operators, joiners, sent: Vec::new() }
    }

    /// Returns the addresses of all accounts, with those of the operators.
    pub fn addresses(&self) -> Vec<Address> {
        self.keys.iter().chain(&self.operators).map(|key| key.public_key().address()).collect()
    }

    /// Creates a random transaction for a node at height `tip` whose clock shows `now`. `nonce_of` returns the next nonce of an account.
    pub fn transaction(
        &mut self,
        random: &mut Random,
        now: Time,
        tip: Height,
        nonce_of: impl Fn(&Address) -> u64,
    ) -> Vec<u8> {
        if !self.sent.is_empty() && random.chance(100) {
            return self.sent[random.index(self.sent.len())].clone();
        }
        let from = random.index(ACCOUNTS);
        let key = &self.keys[from];
        let to = self.keys[random.index(ACCOUNTS)].public_key().address();
        let nonce = nonce_of(&key.public_key().address());
        let order = match random.below(10) {
            0..4 => TxOrder::Nonce(nonce),
            4..6 => TxOrder::Nonce(nonce + random.below(4)),
            6 => TxOrder::Nonce(nonce.saturating_sub(1)),
            7 => TxOrder::Expires(Deadline::at(now.saturating_sub(Duration::from_millis(random.below(1000))))),
            _ => TxOrder::Expires(Deadline::at(now.saturating_add(Duration::from_millis(random.within(1, 20_000))))),
        };
        let chain_id =
            if random.chance(30) { ChainId::new("elsewhere").expect("a name") } else { self.chain_id.clone() };
        let messages = (0..random.within(1, 3)).map(|_| message(random, to, tip)).collect();
        let body = TxBody { chain_id, signer: key.public_key(), order, fee: random.within(0, 20), messages };
        let mut bytes = body.sign(key).encode();
        if random.chance(50) {
            let at = random.index(bytes.len());
            bytes[at] ^= 1;
        }
        if self.sent.len() < 64 {
            self.sent.push(bytes.clone());
        }
        bytes
    }
}

impl Clients {
    /// Creates a transaction of 66 kB to 190 kB, so that its block has several parts.
    pub fn large(&mut self, random: &mut Random, now: Time) -> Vec<u8> {
        let (count, bytes_max) = if random.chance(900) { (2, 36_000) } else { (3, KV_VALUE_BYTES_MAX as u64) };
        let op = |random: &mut Random| KvOp {
            key: vec![b'a' + random.below(8) as u8],
            value: Some(vec![random.below(256) as u8; random.within(33_000, bytes_max) as usize]),
            if_height: None,
        };
        let ops = (0..count).map(|_| op(random)).collect();
        let write = Msg::KvWrite { ns: NAMES[random.index(3)].to_owned(), data_epoch: 1, ops };
        let key = &self.keys[random.index(ACCOUNTS)];
        let order =
            TxOrder::Expires(Deadline::at(now.saturating_add(Duration::from_millis(random.within(1_000, 20_000)))));
        let (chain_id, signer) = (self.chain_id.clone(), key.public_key());
        TxBody { chain_id, signer, order, fee: 300, messages: vec![write] }.sign(key).encode()
    }

    /// Creates what clients send at one moment in a world with reverts: one transaction, or the votes of several operators.
    /// `state` is that of a node at height `tip` whose clock shows `now`.
    pub fn petition<R: Reader>(&mut self, random: &mut Random, now: Time, tip: Height, state: &R) -> Vec<Vec<u8>> {
        let view = &mut View::of_state(state);
        let open = open_proposals(state);
        // A random open proposal, or one that does not exist yet.
        let id = if open.is_empty() || random.chance(50) { 1 + random.below(8) } else { random.pick(&open) };
        let signer = random.index(ACCOUNTS);
        let (signers, message) = match random.below(20) {
            0..3 => (vec![self.keys[signer].clone()], self.propose(random, tip, view)),
            3..7 => (self.some_operators(random, 900), Msg::Vote { id, choice: Choice::Yes }),
            7 => (self.some_operators(random, 500), Msg::Vote { id, choice: random.chance(300).into() }),
            8 if open.len() > 1 && random.chance(500) => {
                // The same operators demand the freeze of all of them, of which each may freeze for one.
                let demanders = self.some_operators(random, 800);
                let demands = open.iter().map(|id| self.sign(random, now, &demanders, &Msg::Freeze { id: *id }));
                return demands.flatten().collect();
            }
            8 => (self.some_operators(random, 500), Msg::Freeze { id }),
            9 => (self.keys.clone(), Msg::Cancel { id }),
            10..18 => (vec![self.keys[signer].clone()], write(random, tip, view)),
            _ => {
                return vec![
                    self.transaction(random, now, tip, |address| View::of_state(state).account(address).nonce),
                ];
            }
        };
        self.sign(random, now, &signers, &message)
    }

    /// Creates what a client sends at one moment in a world in which stake moves.
    pub fn stake<R: Reader>(&mut self, random: &mut Random, now: Time, tip: Height, state: &R) -> Vec<Vec<u8>> {
        let view = &mut View::of_state(state);
        let operators: Vec<Address> = self.operators.iter().map(|key| key.public_key().address()).collect();
        let (validator, to) = (random.pick(&operators), random.pick(&operators));
        let operator = self.operators[random.index(self.operators.len())].clone();
        let account = self.keys[random.index(ACCOUNTS)].clone();
        let amount = random.pick(&[1, 9_999, 10_000, 25_000, 60_000, 2 * BALANCE]);
        let own = view.delegation(&operator.public_key().address(), &operator.public_key().address()).shares > 0;
        let (signer, message) = match random.below(16) {
            0..4 => (account, StakeMsg::Delegate { validator, amount }),
            4..6 => (account, StakeMsg::Undelegate { validator, amount: random.chance(700).then_some(amount) }),
            6..8 => (account, StakeMsg::Redelegate { from: validator, to, amount }),
            8 => (account, StakeMsg::Cancel { validator, id: 1 + random.below(12), amount: random.within(1, 20_000) }),
            9..11 if own => {
                let validator = operator.public_key().address();
                (operator, StakeMsg::Undelegate { validator, amount: random.chance(500).then_some(amount) })
            }
            9..12 => (operator.clone(), StakeMsg::Delegate { validator: operator.public_key().address(), amount }),
            12 => (operator, StakeMsg::Unjail),
            13..15 if !self.joiners.is_empty() => self.join(random),
            14 => (account, StakeMsg::WithdrawRewards { validator }),
            15 => (operator, StakeMsg::WithdrawCommission),
            _ => {
                return vec![
                    self.transaction(random, now, tip, |address| View::of_state(state).account(address).nonce),
                ];
            }
        };
        self.sign(random, now, &[signer], &Msg::Stake(message))
    }

    /// Makes a node a validator.
    fn join(&self, random: &mut Random) -> (SecretKey, StakeMsg) {
        let joiner = random.index(self.joiners.len());
        let operator = self.operators[self.operators.len() - self.joiners.len() + joiner].clone();
        let consensus = &self.joiners[joiner];
        let create = ValidatorCreate {
            public_key: consensus.public_key(),
            possession: consensus.sign_message(&possession_message(&self.chain_id, &operator.public_key().address())),
            amount: random.within(10_000, 300_000),
            commission: Commission { rate_bps: 500, max_bps: 1000, rise_max_bps: 100 },
            own_min: 10_000,
            description: Description { moniker: "joiner".to_owned(), ..Description::default() },
        };
        (operator, StakeMsg::Create(Box::new(create)))
    }

    /// Signs a message for each of these accounts, in unordered transactions.
    fn sign(&self, random: &mut Random, now: Time, signers: &[SecretKey], message: &Msg) -> Vec<Vec<u8>> {
        let expires = Deadline::at(now.saturating_add(Duration::from_millis(random.within(1_000, 20_000))));
        let sign = |key: &SecretKey| {
            let (chain_id, order) = (self.chain_id.clone(), TxOrder::Expires(expires));
            TxBody { chain_id, signer: key.public_key(), order, fee: 10, messages: vec![message.clone()] }
                .sign(key)
                .encode()
        };
        signers.iter().map(sign).collect()
    }

    /// Returns each operator with this probability in 1000.
    fn some_operators(&self, random: &mut Random, per_thousand: u32) -> Vec<SecretKey> {
        self.operators.iter().filter(|_| random.chance(per_thousand)).cloned().collect()
    }

    /// Proposes to revert some namespaces to one of the last heights, often to that before their last revert.
    fn propose<R: Reader>(&self, random: &mut Random, tip: Height, view: &mut View<'_, R>) -> Msg {
        let chosen: Vec<&str> = random.some_of(&[0, 1, 2]).into_iter().map(|ns| NAMES[ns]).collect();
        let scope =
            |ns: &&str| RevertScope { ns: (*ns).to_owned(), expect_root: random.chance(30).then_some(Hash([7; 32])) };
        let scope: Vec<RevertScope> = chosen.iter().map(scope).collect();
        let reverted =
            view.namespace(chosen[0]).and_then(|namespace| namespace.reverted).filter(|_| random.chance(400));
        let target = match reverted {
            Some(height) => Height(height.0 - 1),
            None => Height((tip.0 + 1).saturating_sub(random.below(12))),
        };
        let notice = random.chance(300).then(|| Duration::from_millis(random.within(100, 600)));
        let dirty_after = random.chance(100).then_some(tip);
        let kind = ProposalKind::Revert(Revert { target, scope, notice, dirty_after });
        Msg::Propose(Box::new(Propose { kind, reason: String::new(), uri: String::new() }))
    }
}

/// Returns the numbers of the open proposals.
fn open_proposals<R: Reader>(state: &R) -> Vec<u64> {
    match query(state, "/proposals", b"") {
        Ok(Answer::Proposals { open, .. }) => open,
        _ => Vec::new(),
    }
}

/// Writes to a namespace, mostly with its present epoch, or creates it.
fn write<R: Reader>(random: &mut Random, tip: Height, view: &mut View<'_, R>) -> Msg {
    let ns = NAMES[random.index(3)];
    let Some(namespace) = view.namespace(ns) else { return create(ns) };
    let data_epoch = if random.chance(50) { namespace.data_epoch - 1 } else { namespace.data_epoch };
    Msg::KvWrite { ns: ns.to_owned(), data_epoch, ops: (0..random.within(1, 3)).map(|_| op(random, tip)).collect() }
}

/// Creates a random message: a transfer, or one that concerns one of a few namespaces, where it may conflict with others.
fn message(random: &mut Random, to: Address, tip: Height) -> Msg {
    let ns = NAMES[random.index(3)];
    match random.below(10) {
        0 => create(ns),
        1..5 => Msg::KvWrite {
            ns: ns.to_owned(),
            data_epoch: if random.chance(30) { 2 } else { 1 },
            ops: (0..random.within(1, 3)).map(|_| op(random, tip)).collect(),
        },
        _ => {
            let amount = if random.chance(50) { 2 * BALANCE } else { random.within(1, 1000) };
            Msg::Transfer { to, amount }
        }
    }
}

fn create(ns: &str) -> Msg {
    let owner = if ns == "own" { NsOwner::Signer } else { NsOwner::Shared };
    Msg::NsCreate { owner, ns: ns.to_owned(), quota_keys: 6, quota_bytes: 200 }
}

/// Returns the key of an account of all worlds.
fn account_key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).expect("a small number is a key")
}

/// Returns the key of the account that votes for a validator.
pub fn operator_key(validator: usize) -> SecretKey {
    account_key(150 + validator as u8)
}

fn op(random: &mut Random, tip: Height) -> KvOp {
    let if_height = match random.below(4) {
        0 => Some(Height(tip.0.saturating_sub(random.below(3)))),
        1 => Some(Height(0)),
        _ => None,
    };
    let value = (!random.chance(250)).then(|| vec![b'v'; random.within(0, 40) as usize]);
    KvOp { key: vec![b'a' + random.below(8) as u8], value, if_height }
}
