//! Transactions that come twice, and transactions that wait.

use std::time::Duration;

use super::stage::{MINUTE, SOON, Stage, account, idle, ms, tx};
use crate::{broken::Broken, world::World};
use types::{Deadline, KvOp, Msg, NsOwner, Time, TxOrder};

fn transfer(to: u8, amount: u64) -> Vec<Msg> {
    vec![Msg::Transfer { to: account(to), amount }]
}

/// Executed transactions are sent again, to nodes whose processes know nothing of them.
pub(super) fn sent_again(stage: &Stage) -> Result<(), Broken> {
    let mut c = stage.world(idle(4));
    c.run_until_height(3, SOON)?;
    let expires = Deadline::at(Time::from_unix_millis(1_780_000_000_000).saturating_add(Duration::from_secs(60)));
    let sent = [tx(TxOrder::Nonce(0), transfer(1, 1)), tx(TxOrder::Expires(expires), transfer(2, 1))];
    sent.iter().for_each(|bytes| assert!(c.submit(0, bytes)));
    c.run_until("both are executed", SOON, |c| c.counts.txs == 2)?;
    send_again(&mut c, &sent)
}

/// Restarts all nodes after two more heights, and submits the transactions to another node.
fn send_again(c: &mut World, sent: &[Vec<u8>]) -> Result<(), Broken> {
    c.expect_progress(2, SOON)?;
    c.crash_all();
    c.restart_all();
    c.run_for(ms(500))?;
    for bytes in sent {
        c.submit(1, bytes);
    }
    c.expect_progress(5, SOON)
}

/// Transactions wait for several blocks: each is executed, and none is proposed again.
pub(super) fn many_wait(stage: &Stage) -> Result<(), Broken> {
    const ALL: u64 = 200;
    let mut setup = idle(4);
    setup.params.block.bytes_max = 65_536;
    let mut c = stage.world(setup);
    c.run_until_height(3, SOON)?;
    let expires = Deadline::at(Time::from_unix_millis(1_780_000_000_000).saturating_add(Duration::from_secs(60)));
    for n in 0..ALL {
        let order = if n % 2 == 0 { TxOrder::Nonce(n / 2) } else { TxOrder::Expires(expires) };
        let bytes = tx(order, vec![transfer(1, 1 + n).remove(0); 16]);
        for node in 0..4 {
            c.submit(node, &bytes);
        }
    }
    c.run_until("all are executed", MINUTE, |c| c.counts.txs == ALL)?;
    c.expect_progress(3, SOON)
}

/// Two transactions have one nonce, and each half of the validators knows one of them. One is executed: no correct proposer
/// proposes the other one.
pub(super) fn one_nonce_twice(stage: &Stage) -> Result<(), Broken> {
    let mut c: World = stage.world(idle(4));
    c.run_until_height(3, SOON)?;
    c.partition(&[&[0, 1], &[2, 3]]);
    for (node, to) in [(0, 1), (1, 1), (2, 2), (3, 2)] {
        assert!(c.submit(node, &tx(TxOrder::Nonce(0), transfer(to, 1))));
    }
    c.run_for(ms(500))?;
    c.heal();
    c.run_until("one is executed", MINUTE, |c| c.counts.txs == 1)?;
    c.expect_progress(6, SOON)
}

/// Transactions pay, write, and then fail: each leaves its fee and its nonce, and is executed no more.
pub(super) fn failures(stage: &Stage) -> Result<(), Broken> {
    let mut c = stage.world(idle(4));
    c.run_until_height(3, SOON)?;
    let owner = NsOwner::Shared;
    let create = Msg::NsCreate { owner, ns: "shared".to_owned(), quota_keys: 6, quota_bytes: 200 };
    let write = |data_epoch| {
        let ops = vec![KvOp { key: b"k".to_vec(), value: Some(b"v".to_vec()), if_height: None }];
        Msg::KvWrite { ns: "shared".to_owned(), data_epoch, ops }
    };
    let sent = [
        tx(TxOrder::Nonce(0), vec![create]),
        // Epoch 9 is not that of the namespace.
        tx(TxOrder::Nonce(1), [transfer(1, 5), vec![write(1), write(9)]].concat()),
        tx(TxOrder::Nonce(2), transfer(2, 7)),
    ];
    sent.iter().for_each(|bytes| assert!(c.submit(0, bytes)));
    c.run_until("what cannot fail is executed", SOON, |c| c.counts.txs == 2)?;
    send_again(&mut c, &sent)
}
