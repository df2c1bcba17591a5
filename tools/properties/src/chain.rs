//! A small chain in memory: accounts and validators of known keys, on which blocks are executed.

use std::time::Duration;

use app::{App, BlockContext, FirstValidator, Outcome, View, genesis_writes};
use types::{
    Address, Commission, Description, EvidenceParams, Height, KeyRotate, KvOp, Msg, NsOwner, Params, Power,
    ProposalKind, ProposalParams, Propose, Reader, Revert, RevertScope, StakeMsg, StakingParams, Time, TxBody, TxOrder,
    TxResult, ValidatorCreate, ValidatorEdit, VerifiedTx, Versions,
};

use crate::samples::{chain_id, key};

/// Number of accounts with money, whose keys are those of the seeds 1, 2, …
pub const ACCOUNTS: u8 = 6;

/// Returns parameters with short times, so that proposals and stake end within a few blocks of one second. The supply does
/// not change.
pub fn params() -> Params {
    let seconds = Duration::from_secs;
    Params {
        retain_blocks: 100,
        tx_ttl_max: seconds(30),
        evidence: EvidenceParams { age_max: seconds(5), ..EvidenceParams::default() },
        proposals: ProposalParams {
            deposit: 500,
            open_max: 3,
            voting: seconds(6),
            notice_min: seconds(2),
            freeze_max: seconds(4),
            cooldown: seconds(2),
            revert_keys_max: 20,
            revert_bytes_max: 2000,
        },
        staking: StakingParams {
            power_unit: 1000,
            validators_max: 3,
            unbonding: seconds(6),
            commission_bps_min: 100,
            commission_bps_max: 5000,
            own_stake_min: 500,
            issuance_bps_per_year: 0,
            community_bps: 1000,
            ..StakingParams::default()
        },
        ..Params::default()
    }
}

/// Returns the address of the account of a seed.
pub fn address(seed: u8) -> Address {
    key(seed).public_key().address()
}

/// A chain with one node.
pub struct Chain {
    /// The application on the committed state.
    pub app: App,
    /// The state at all heights.
    pub rows: Versions,
    /// Time of the next block; that of block h is h seconds.
    pub time: Time,
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Chain {
    /// Creates a chain on which six accounts have 1,000,000 each. The first two of them operate validators.
    pub fn new() -> Self {
        let accounts = (1..=ACCOUNTS).map(|seed| (address(seed), 1_000_000));
        let validator = |seed: u8| FirstValidator {
            public_key: key(100 + seed).public_key().into(),
            power: Power(10),
            operator: Some(address(seed)),
        };
        let first = genesis_writes(&params(), &[validator(1), validator(2)], accounts).expect("it is a first state");
        let rows = Versions::genesis(first.rows());
        let app = App::open(&rows, chain_id(), Height(0));
        assert_eq!(app.app_hash(), first.app_hash, "the state is that of genesis");
        Self { app, rows, time: Time::from_unix_millis(1000) }
    }

    /// Executes a block without committing it.
    pub fn execute(&self, txs: &[VerifiedTx]) -> Outcome {
        let (misbehavior, absent) = (Vec::new(), Vec::new());
        let height = self.app.height().next();
        let context = BlockContext { height, time: self.time, proposer: address(1), misbehavior, absent };
        self.app.execute(&self.rows, &context, txs)
    }

    /// Makes a block that was executed the tip.
    pub fn commit(&mut self, outcome: Outcome) -> Vec<TxResult> {
        self.rows.write(self.app.height().next(), &outcome.writes);
        self.app.commit(outcome.update);
        self.time = self.time.saturating_add(Duration::from_secs(1));
        assert_eq!(self.app.app_hash(), outcome.results.app_hash, "the state has the hash that was announced");
        outcome.results.txs
    }

    /// Returns balance and next nonce of the account of a seed.
    pub fn account(&self, seed: u8) -> app::Account {
        View::of_state(&self.rows).account(&address(seed))
    }

    /// Returns the sum of the balances of all accounts, read from the rows.
    pub fn balances(&self) -> u128 {
        let mut sum = 0;
        self.rows.scan(app::area::NEVER_REVERTED, &mut |_, row| {
            let (key, value) = app::tree::rows::split_row(row).expect("rows of the state are whole");
            if key.len() == 21 && key[0] == b'a' {
                sum += u128::from(app::Account::from_value(value).expect("it is an account").balance);
            }
            true
        });
        sum
    }
}

/// Returns a transaction of the account of a seed.
pub fn body(seed: u8, order: TxOrder, messages: Vec<Msg>) -> TxBody {
    TxBody { chain_id: chain_id(), signer: key(seed).public_key(), order, fee: 9, messages }
}

/// Returns lists of messages with every kind of message, in an order in which they succeed if each is the next
/// transaction of the account that is named.
pub fn messages() -> Vec<(u8, Msg)> {
    let put = |key: &str, value: &str| KvOp { key: key.into(), value: Some(value.into()), if_height: None };
    let write = |ops| Msg::KvWrite { ns: "a/b".into(), data_epoch: 1, ops };
    let scope = || vec![RevertScope { ns: "a/b".into(), expect_root: None }];
    let revert = |target| Revert { target: Height(target), scope: scope(), notice: None, dirty_after: None };
    let propose = |kind| Msg::Propose(Box::new(Propose { kind, reason: "why".into(), uri: String::new() }));
    let act = |act| propose(ProposalKind::Act(act));
    let to = address(4);
    let create = ValidatorCreate {
        public_key: key(103).public_key().into(),
        possession: possession(103, 3),
        amount: 5000,
        commission: Commission { rate_bps: 500, max_bps: 2000, rise_max_bps: 300 },
        own_min: 500,
        description: Description { moniker: "third".into(), ..Description::default() },
    };
    let rotate = KeyRotate { public_key: key(113).public_key().into(), possession: possession(113, 3) };
    let edit = ValidatorEdit { commission_bps: Some(600), own_min: Some(600), description: None };
    let change = types::ParamChange { name: "fee_min".into(), value: 3 };
    let plan = types::UpgradePlan { name: "v2".into(), height: Height(1000), info: String::new() };
    vec![
        (1, Msg::Transfer { to, amount: 5 }),
        (1, Msg::NsCreate { ns: "a/b".into(), owner: NsOwner::Shared, quota_keys: 9, quota_bytes: 999 }),
        (1, write(vec![put("k", "v"), put("l", "w")])),
        (2, write(vec![put("k", "x"), KvOp { key: b"l".to_vec(), value: None, if_height: None }])),
        (3, Msg::Stake(StakeMsg::Create(Box::new(create)))),
        (3, Msg::Stake(StakeMsg::Edit(Box::new(edit)))),
        (4, Msg::Stake(StakeMsg::Delegate { validator: address(1), amount: 3000 })),
        (4, Msg::Stake(StakeMsg::Redelegate { from: address(1), to: address(2), amount: 1000 })),
        (4, Msg::Stake(StakeMsg::Undelegate { validator: address(1), amount: Some(700) })),
        (4, Msg::Stake(StakeMsg::Cancel { validator: address(1), id: 1, amount: 100 })),
        (4, Msg::Stake(StakeMsg::WithdrawRewards { validator: address(1) })),
        (1, Msg::Stake(StakeMsg::WithdrawCommission)),
        (3, Msg::Stake(StakeMsg::RotateKey(Box::new(rotate)))),
        (3, Msg::Stake(StakeMsg::Unjail)),
        (5, propose(ProposalKind::Revert(revert(3)))),
        (1, Msg::Freeze { id: 1 }),
        (2, Msg::Vote { id: 1, choice: types::Choice::Yes }),
        (1, Msg::Vote { id: 1, choice: types::Choice::Yes }),
        (6, act(types::Act::Params(vec![change]))),
        (6, Msg::Cancel { id: 2 }),
        (6, act(types::Act::Upgrade(plan))),
        (5, act(types::Act::UpgradeCancel)),
        (5, act(types::Act::Spend { to, amount: 1 })),
        (5, act(types::Act::Text { title: "title".into(), body: "body".into() })),
    ]
}

fn possession(consensus: u8, operator: u8) -> types::Signature {
    use types::ConsensusKey;
    key(consensus).sign_message(&types::possession_message(&chain_id(), &address(operator)))
}
