//! Nodes that violate the protocol, with and without stake: a real replica whose outgoing messages are changed.
//!
//! Each behaviour has a small file. All have the shape of `Conduct`: they change what the replica says, may look at what
//! arrives, and may change the answers to requests for blocks.
//!
//! | behaviour | file | sends | aims at |
//! |---|---|---|---|
//! | `Silent`, `SilentIn` | `silent` | nothing, or nothing of one step | L47, L57, L61: timers replace what is missing |
//! | `Selective`, `OneSided` | `selective` | messages to some peers only | D4, gossip repair |
//! | `Equivocator`, `LateEquivocator` | `equivocator` | two blocks and two votes, one to each half of the peers, in all rounds or from round 1 on | agreement, evidence (EV1, EV2) |
//! | `TwoBlocks` | `equivocator` | two blocks, one to each half | L22: one prevote per round |
//! | `TwoVotes` | `equivocator` | two votes, one to each half | evidence, votes of equivocators in certificates |
//! | `Amnesiac` | `amnesiac` | votes for whatever is proposed | lock (L28, L29): correct validators keep theirs |
//! | `PolkaWithholder` | `polka_withholder` | no polka, also with a re-proposal | L28: no vote without the polka |
//! | `HiddenLock` | `hidden_lock` | a polka for one victim, nil in later rounds | D4, D6: a lock stays hidden for one round at most |
//! | `PartWithholder` | `part_withholder` | proposals without their blocks | D7, L57: the wait for a block ends |
//! | `BadParts` | `bad_parts` | false parts before the true ones | part proofs, bounds of early parts (I6) |
//! | `PolLiar` | `pol_liar` | POL rounds without a polka | L28, decoding |
//! | `BadBlocks` | `bad_blocks` | blocks with one flaw of each kind | validity (the table in `replica/src/chain.rs`) |
//! | `Accuser`, `Coalition` | `accuser` | blocks with evidence that proves nothing | EV1 to EV5 |
//! | `RoundFlood` | `round_flood` | signed votes and proposals of rounds far ahead | L55, I6: bounds of votes by round |
//! | `Replayer` | `replayer` | true messages of others, again | signatures of one place, guard (G4), relaying |
//! | `Forger` | `forger` | false signatures of others in votes, certificates, commits, evidence | signature checks, penalties of the sender only |
//! | `BadTimes` | `bad_times` | blocks and votes with times at and beyond the bounds | D5, time |
//! | `Plausible` | `plausible` | lies in round states and about the blocks that it serves | unsigned claims are only reasons to ask |
//! | `Claimant` | `claimant` | claims of far heights and new rounds | the same |
//! | `Unsigned` | `unsigned` | votes and proposals that no validator signed | no height starts by them |
//! | `Garbage` | `garbage` | wrong messages of all kinds | decoding, penalties |
//! | `Fickle` | `fickle` | as another one of the above at each height, or as two | all of them |
//! | `Splitter` | `splitter` | as a group: two blocks, and votes for both | agreement, which breaks above a third |
//! | `Forgetful` | `forgetful` | as a group: votes for whatever is proposed, at any height | agreement, which breaks above a third |
//! | `Twin`, `Traitor` | | what the protocol says | another process, or the operator, contradicts it |

use std::{rc::Rc, sync::Arc};

use types::{BlockResponse, PeerMessage, Round};

use crate::{
    liar::{Behaviour, Liar, Tally},
    random::Random,
};

mod accuser;
mod amnesiac;
mod bad_blocks;
mod bad_parts;
mod bad_times;
mod claimant;
mod conduct;
mod equivocator;
mod fickle;
mod forger;
mod forgetful;
mod garbage;
mod hidden_lock;
mod part_withholder;
mod plausible;
mod pol_liar;
mod polka_withholder;
mod replayer;
mod round_flood;
mod said;
mod selective;
mod silent;
mod splitter;
mod spoil;
mod twins;
mod unsigned;

use conduct::Conduct;
pub use said::Said;

/// Memory of a node that violates the protocol.
#[derive(Default)]
pub struct Twister {
    conduct: Option<Box<dyn Conduct>>,
    tally: Rc<Tally>,
}

/// Returns the names of the flaws that [`Behaviour::BadBlocks`] gives its blocks, each as often as the others.
pub fn flaws() -> impl Iterator<Item = &'static str> {
    bad_blocks::FLAWS.into_iter().map(|(name, _)| name).chain([bad_blocks::FALSE_ID])
}

/// Returns the names of the times that [`Behaviour::BadTimes`] gives its blocks.
pub fn wrong_times() -> impl Iterator<Item = &'static str> {
    bad_times::TIMES.into_iter()
}

/// Returns the names of the lies of [`Behaviour::Plausible`].
pub fn plausible_lies() -> impl Iterator<Item = &'static str> {
    plausible::LIES.into_iter()
}

/// Returns the behaviour as code; `None` if it changes no message.
fn conduct_of(behaviour: Behaviour) -> Option<Box<dyn Conduct>> {
    use equivocator::Equivocator;
    Some(match behaviour {
        Behaviour::Silent => Box::new(silent::Silent),
        Behaviour::SilentIn(step) => Box::new(silent::SilentIn(step)),
        Behaviour::Selective => Box::new(selective::Selective),
        Behaviour::OneSided => Box::new(selective::OneSided),
        Behaviour::Equivocator => Box::new(Equivocator::new(true, true, Round::ZERO)),
        Behaviour::TwoBlocks => Box::new(Equivocator::new(true, false, Round::ZERO)),
        Behaviour::TwoVotes => Box::new(Equivocator::new(false, true, Round::ZERO)),
        Behaviour::LateEquivocator => Box::new(Equivocator::new(true, true, Round(1))),
        Behaviour::Amnesiac => Box::<amnesiac::Amnesiac>::default(),
        Behaviour::PolkaWithholder => Box::new(polka_withholder::PolkaWithholder),
        Behaviour::HiddenLock => Box::<hidden_lock::HiddenLock>::default(),
        Behaviour::PartWithholder => Box::<part_withholder::PartWithholder>::default(),
        Behaviour::BadParts => Box::<bad_parts::BadParts>::default(),
        Behaviour::PolLiar => Box::<pol_liar::PolLiar>::default(),
        Behaviour::BadBlocks => Box::<bad_blocks::BadBlocks>::default(),
        Behaviour::Accuser => Box::new(accuser::Accuser::new(false)),
        Behaviour::Coalition => Box::new(accuser::Accuser::new(true)),
        Behaviour::RoundFlood => Box::<round_flood::RoundFlood>::default(),
        Behaviour::Replayer => Box::<replayer::Replayer>::default(),
        Behaviour::Forger => Box::<forger::Forger>::default(),
        Behaviour::BadTimes => Box::<bad_times::BadTimes>::default(),
        Behaviour::Plausible => Box::<plausible::Plausible>::default(),
        Behaviour::Fickle => {
            let behaviours = Behaviour::SINGLE.into_iter().filter_map(conduct_of).collect();
            Box::new(fickle::Fickle::new(behaviours))
        }
        Behaviour::Splitter => Box::<splitter::Splitter>::default(),
        Behaviour::Forgetful => Box::<forgetful::Forgetful>::default(),
        Behaviour::Garbage => Box::<garbage::Garbage>::default(),
        Behaviour::Claimant => Box::<claimant::Claimant>::default(),
        Behaviour::Unsigned => Box::<unsigned::Unsigned>::default(),
        Behaviour::Twin | Behaviour::Traitor => return None,
    })
}

impl Twister {
    /// Creates the memory of a node with this behaviour.
    pub fn new(behaviour: Behaviour) -> Self {
        Self { conduct: conduct_of(behaviour), tally: Rc::default() }
    }

    /// Returns the messages that are sent instead of `said`.
    pub fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        match &mut self.conduct {
            Some(conduct) => conduct.twist(liar, random, said),
            None => said,
        }
    }

    /// Notes a message that arrives from the node `from`.
    pub fn hear(&mut self, from: usize, message: &Arc<PeerMessage>) {
        if let Some(conduct) = &mut self.conduct {
            conduct.hear(from, message);
        }
    }

    /// Returns what is sent in answer to a request for blocks instead of `response`, or `None` for no answer.
    pub fn serve(&mut self, liar: &Liar<'_>, random: &mut Random, response: BlockResponse) -> Option<BlockResponse> {
        match &mut self.conduct {
            Some(conduct) => conduct.serve(liar, random, response),
            None => Some(response),
        }
    }

    /// Returns what it lied so far. The counters are shared, because a [`Liar`] needs them while its memory changes.
    pub fn tally(&self) -> &Rc<Tally> {
        &self.tally
    }
}
