//! Validators that vote twice, and proposers of evidence that proves nothing.

use std::time::Duration;

use super::stage::{MINUTE, Stage, ms, until};
use crate::{broken::Broken, liar::Behaviour, setup::Setup};

/// A liar votes twice, and is then cut off: its evidence is in a block.
pub(super) fn liar(stage: &Stage) -> Result<(), Broken> {
    let mut c = stage.world(Setup::validators(4).with_full_nodes(1).with_byzantine(0, Behaviour::Equivocator));
    c.run_until_height(12, MINUTE)?;
    c.partition(&[&[1, 2, 3, 4]]);
    let correct = [1, 2, 3, 4];
    c.run_until("no evidence waits", ms(8000), |c| correct.iter().all(|node| c.status(*node).evidence_waiting == 0))?;
    let tip = correct.iter().map(|node| c.tip(*node).0).max().unwrap_or(0);
    until(&mut c, &correct, tip + 2)?;
    c.expect_evidence(MINUTE)?;
    match c.evidence().is_empty() {
        true => Err(Broken("EV7: a validator voted twice, and no block has evidence of it".to_owned())),
        false => Ok(()),
    }
}

/// A proposer puts evidence into its blocks that proves nothing there: none of them is decided.
pub(super) fn accuser(stage: &Stage) -> Result<(), Broken> {
    for seed in 1..=10 {
        let setup = Setup { seed, ..Setup::validators(4) };
        let setup = setup.with_byzantine(1, Behaviour::Accuser).with_evidence_of(5, Duration::from_secs(2)).forgiving();
        stage.world(setup).run_until_height(60, Duration::from_secs(300))?;
    }
    Ok(())
}

/// Half of the validators follow the protocol, but propose evidence of attacks on light clients that proves nothing there.
pub(super) fn coalition(stage: &Stage) -> Result<(), Broken> {
    for seed in 1..=10 {
        let setup = Setup { seed, ..Setup::validators(4) };
        let setup = setup.with_byzantine(0, Behaviour::Coalition).with_byzantine(1, Behaviour::Coalition);
        let setup = setup.with_evidence_of(5, Duration::from_secs(2)).forgiving();
        stage.world(setup).run_until_height(60, Duration::from_secs(600))?;
    }
    Ok(())
}
