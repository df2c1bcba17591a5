//! A correct node repeats its last votes of a height until the height is decided, because any of them may be lost, and shows
//! its round state to its peers in each gossip interval, so that they send what it lacks.

use consensus::{Timeout, TimeoutKind};
use replica::{Output, Timer};
use types::{PeerMessage, Round, VoteType};

use crate::{
    broken::{Broken, ensure},
    checker::step::Step,
};

/// Checks that the gossip timer runs in each interval of the configuration, and that the round state leaves when it expires.
///
/// Errors: [`Broken`] if not.
pub fn check_gossip(step: &Step<'_>) -> Result<(), Broken> {
    let (who, Some(alive)) = (step.node.index, &step.node.alive) else { return Ok(()) };
    let timers = step.outputs.iter().filter_map(|output| match output {
        Output::StartTimer { timer: Timer::Gossip, after } => Some(*after),
        _ => None,
    });
    let (timers, interval): (Vec<_>, _) = (timers.collect(), alive.gossip_interval);
    for after in &timers {
        ensure!(*after == interval, "repeats: n{who} gossips after {after:?}, and its interval is {interval:?}");
    }
    let is_halted = step.node.halted.is_some() || step.outputs.iter().any(|output| matches!(output, Output::Halt(_)));
    if !step.given.has_gossip_expired || is_halted {
        return Ok(());
    }
    ensure!(!timers.is_empty(), "repeats: n{who} starts no further gossip timer");
    let is_state = |output: &Output| match output {
        Output::Broadcast(message) => matches!(**message, PeerMessage::RoundState(_)),
        _ => false,
    };
    ensure!(step.outputs.iter().any(is_state), "repeats: n{who} does not broadcast its round state");
    Ok(())
}

/// Checks a step in which the timer for this expires at the height that a node is still deciding: its last vote of each type
/// leaves again, with the polka behind its valid block after round 0, and the timer starts again.
///
/// Errors: [`Broken`] if one does not.
pub fn check(step: &Step<'_>) -> Result<(), Broken> {
    let (who, Some(alive)) = (step.node.index, &step.node.alive) else { return Ok(()) };
    let engine = alive.replica.engine();
    let expires = step.given.timeouts().any(|timeout| {
        timeout.kind == TimeoutKind::Rebroadcast && timeout.height == engine.height() && !engine.is_decided()
    });
    // A node that stops sends nothing more, and neither does one that has the height from block sync.
    let stops = step.outputs.iter().any(|output| matches!(output, Output::Halt(_)));
    if !expires || stops || engine.signer().is_none() || step.node.tip() >= engine.height() {
        return Ok(());
    }
    let is_timer = |timeout: &Timeout| (timeout.kind, timeout.height) == (TimeoutKind::Rebroadcast, engine.height());
    let starts = step.outputs.iter().any(
        |output| matches!(output, Output::StartTimer { timer: Timer::Consensus(timeout), .. } if is_timer(timeout)),
    );
    ensure!(starts, "repeats: n{who} starts no further timer to repeat its messages at height {}", engine.height());
    // D4: from round 1 on, also the polka behind the valid block. Another input of the step may have brought it later.
    let polka = engine.valid_polka().filter(|_| engine.round() > Round::ZERO && step.given.inputs == 1);
    let is_polka = |message: &PeerMessage| matches!(message, PeerMessage::Certificate(one) if Some(one) == polka);
    ensure!(
        polka.is_none() || step.messages().any(|message| is_polka(message)),
        "repeats: n{who} does not repeat the polka behind its valid block at height {}",
        engine.height()
    );
    let own = engine.hard_state().votes;
    for vote_type in [VoteType::Prevote, VoteType::Precommit] {
        let Some(last) = own.iter().rfind(|signed| signed.vote.vote_type == vote_type) else { continue };
        let is_said = step.messages().any(|message| matches!(&**message, PeerMessage::Vote(signed) if signed == last));
        ensure!(
            is_said,
            "repeats: n{who} does not repeat its {vote_type:?} of height {}, round {}",
            last.vote.height,
            last.vote.round
        );
    }
    Ok(())
}
