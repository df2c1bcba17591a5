//! The votes that a process certainly holds: those that reached it while it must count them.
//!
//! | votes arrive | and are held if |
//! |---|---|
//! | one by one, of the height that it decides or has decided last | their round is at most one ahead, and not far behind |
//! | in a certificate of the height that it decides | the same, and the step does not decide the height |
//! | of the height before | it decided that height itself, and holds votes of their round |
//! | before their height starts | few messages of their peer wait, and the peer stays until then |
//!
//! All else may be lost: a process may drop it. So it may with the entries of a commit: they are compared with what is held when the
//! block comes, and then forgotten.

use std::collections::BTreeMap;

use types::{Address, BlockId, Commit, Height, Infraction, NodeId, Round, Vote};

use crate::{
    checker::step::{Heard, Place, Step},
    node::Node,
};

/// Number of rounds below its own whose votes a node certainly keeps.
const ROUNDS_KEPT: u32 = 16;

/// Number of messages of a height that has not started, and of votes in them, that a node certainly keeps for each peer.
const EARLY_KEPT: (usize, usize) = (24, 200);

/// The votes of one height that a process holds.
#[derive(Default)]
struct OfHeight {
    /// The latest round of the process at this height.
    round: Round,
    /// Round of the decision, if the process made it itself.
    decided: Option<Round>,
    /// The first value of each validator.
    votes: BTreeMap<Place, Option<BlockId>>,
}

/// What a process holds, and where it was after its last step.
#[derive(Default)]
pub struct Memory {
    life: u64,
    height: Height,
    tip: Height,
    is_decided: bool,
    heights: BTreeMap<Height, OfHeight>,
    /// Messages that wait for their height to start.
    early: Vec<Heard>,
    /// Numbers of messages that came early since the last start, and of votes in them, by peer.
    came_early: BTreeMap<NodeId, (usize, usize)>,
}

/// What a step did that decides whether votes are held after it.
struct Course {
    /// Height and round of the engine after the step.
    height: Height,
    round: Round,
    /// True if the height of the engine is decided after the step.
    is_decided: bool,
    tip: Height,
}

impl OfHeight {
    /// Returns true if a vote of this round is held when it arrives in a step that ends in round `after`.
    fn holds(&self, round: Round, after: Round) -> bool {
        round <= self.round.next() && round.0 + ROUNDS_KEPT >= self.round.max(after).0
    }

    /// Returns true if a late vote of this round is held when it arrives: the round is that of the decision, or votes of it are
    /// held.
    fn takes_late(&self, round: Round) -> bool {
        let is_known = self.decided == Some(round) || self.votes.keys().any(|place| place.0 == round);
        self.decided.is_some() && is_known && self.holds(round, self.round)
    }

    /// Adds a vote, and returns true if it contradicts one that is held.
    fn add(&mut self, place: Place, value: Option<BlockId>) -> bool {
        *self.votes.entry(place).or_insert(value) != value
    }
}

impl Memory {
    /// Creates the memory of a process that has not made a step.
    pub fn new(life: u64) -> Self {
        Self { life, ..Self::default() }
    }

    /// Returns true if this is the memory of a process of that life.
    pub fn is_of(&self, life: u64) -> bool {
        self.life == life
    }

    /// Notes what a step heard, and returns the height and validator of each two votes that it holds now and that contradict each
    /// other. Votes of validators for which `is_correct` holds are passed over.
    pub fn on_step(&mut self, step: &Step<'_>, is_correct: impl Fn(&Address) -> bool) -> Vec<Infraction> {
        let Some(course) = Course::of(step.node) else { return Vec::new() };
        let mut found = Vec::new();
        for committed in step.committed() {
            let header = &committed.block.header;
            match committed.synced {
                false => self.of(header.height).decided = Some(committed.commit.round),
                true => found.extend(self.compare(header.height, &committed.commit, &course, &is_correct)),
            }
            if let Some(commit) = &committed.block.last_commit {
                found.extend(self.compare(commit.height, commit, &course, &is_correct));
            }
        }
        let has_synced = step.committed().any(|committed| committed.synced);
        self.early.retain(|heard| !step.given.gone.contains(&heard.peer));
        for heard in step.given.heard.iter().filter(|_| !has_synced) {
            if self.hears(heard, &course) {
                let after = if heard.height == course.height { course.round } else { Round::ZERO };
                found.extend(self.take(heard, |of_height, round| of_height.holds(round, after), &is_correct));
            } else if self.is_late(heard, &course) {
                found.extend(self.take(heard, OfHeight::takes_late, &is_correct));
            } else if heard.height > self.height {
                let is_kept = self.waits(heard, &course) && !step.given.gone.contains(&heard.peer);
                self.keep(heard, is_kept);
            }
        }
        if course.height > self.height {
            found.extend(self.start(&course, &is_correct));
        }
        let of_height = self.of(course.height);
        of_height.round = of_height.round.max(course.round);
        (self.height, self.tip, self.is_decided) = (course.height, course.tip, course.is_decided);
        found
    }

    fn of(&mut self, height: Height) -> &mut OfHeight {
        self.heights.entry(height).or_default()
    }

    /// Returns true if the engine counts a message whenever in the step it came.
    fn hears(&self, heard: &Heard, course: &Course) -> bool {
        let is_live = self.tip.next() == heard.height || self.is_decided;
        let is_here = heard.height == self.height && is_live && course.height <= heard.height.next();
        is_here && (!heard.is_certificate || course.height == heard.height && !course.is_decided)
    }

    fn is_late(&self, heard: &Heard, course: &Course) -> bool {
        heard.height.next() == self.height && course.height == self.height && !heard.is_certificate
    }

    /// Returns true if a message waits for its height after the step, or has waited and was heard when the height started in it.
    fn waits(&self, heard: &Heard, course: &Course) -> bool {
        let (has_rested, next) = ((self.height, self.tip) == (course.height, course.tip), course.tip.next());
        let is_early = heard.height == next.next() || heard.height == next && course.height != next;
        let has_started = course.height > self.height && heard.height == course.height;
        has_rested && is_early || has_started
    }

    /// Keeps a message until its height starts, if few came early. One that may have been dropped only counts.
    fn keep(&mut self, heard: &Heard, is_kept: bool) {
        let (messages, votes) = self.came_early.entry(heard.peer).or_default();
        (*messages, *votes) = (*messages + 1, *votes + heard.votes.len());
        if is_kept && *messages <= EARLY_KEPT.0 && *votes <= EARLY_KEPT.1 {
            self.early.push(heard.clone());
        }
    }

    /// Moves to a height that started, and hears what waited for it.
    fn start(&mut self, course: &Course, is_correct: impl Fn(&Address) -> bool) -> Vec<Infraction> {
        // The votes of the height before are held if it was decided here.
        let before = course.height.prev();
        self.heights.retain(|height, of_height| {
            *height == course.height || Some(*height) == before && of_height.decided.is_some()
        });
        let mut found = Vec::new();
        self.came_early.clear();
        for heard in std::mem::take(&mut self.early) {
            if heard.height > course.height {
                self.keep(&heard, true);
            } else if heard.height == course.height && !(heard.is_certificate && course.is_decided) {
                let is_near = |of_height: &OfHeight, round: Round| of_height.holds(round, course.round);
                found.extend(self.take(&heard, is_near, &is_correct));
            }
        }
        found
    }

    /// Adds the votes of a message that `is_held` says are held, and returns those that contradict what is held.
    fn take(
        &mut self,
        heard: &Heard,
        is_held: impl Fn(&OfHeight, Round) -> bool,
        is_correct: impl Fn(&Address) -> bool,
    ) -> Vec<Infraction> {
        let of_height = self.of(heard.height);
        let mut found = Vec::new();
        for (place, value) in heard.votes.iter().filter(|(place, _)| !is_correct(&place.2)) {
            if is_held(of_height, place.0) && of_height.add(*place, *value) {
                found.push((heard.height, place.2));
            }
        }
        found
    }

    /// Returns the validators whose precommits in a commit of the chain contradict what is held.
    fn compare(
        &self,
        height: Height,
        commit: &Commit,
        course: &Course,
        is_correct: impl Fn(&Address) -> bool,
    ) -> Vec<Infraction> {
        // The engine stays at this height, or has decided it before the one that follows.
        let is_near = |of_height: &&OfHeight| match of_height.decided {
            Some(_) => self.height == height || self.height == height.next(),
            None => self.height == height && (course.height == height || course.tip == height),
        };
        let is_held = |of_height: &&OfHeight| commit.round.0 + ROUNDS_KEPT >= of_height.round.0;
        let Some(of_height) = self.heights.get(&height).filter(is_near).filter(is_held) else { return Vec::new() };
        let precommits = (0..commit.signatures.len()).filter_map(|index| commit.vote(index)).map(|signed| signed.vote);
        let contradicts = |vote: &Vote| {
            let held = of_height.votes.get(&(vote.round, vote.vote_type, vote.validator));
            !is_correct(&vote.validator) && held.is_some_and(|held| *held != vote.block_id)
        };
        precommits.filter(contradicts).map(|vote| (height, vote.validator)).collect()
    }
}

impl Course {
    fn of(node: &Node) -> Option<Self> {
        let engine = node.alive.as_ref()?.replica.engine();
        let (height, round, is_decided) = (engine.height(), engine.round(), engine.is_decided());
        Some(Self { height, round, is_decided, tip: node.tip() })
    }
}
