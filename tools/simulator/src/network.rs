//! Simulated links that delay, lose, repeat and reorder messages.

use std::time::Duration;

use crate::random::Random;

/// Properties of all links. A message takes one to two times the base delay of its link.
#[derive(Clone, Copy, Debug)]
pub struct LinkSetup {
    /// Minimum base delay of a link.
    pub delay_min: Duration,
    /// Maximum base delay of a link.
    pub delay_max: Duration,
    /// Number of lost messages per thousand.
    pub loss: u32,
    /// Number of messages per thousand that arrive twice.
    pub repeats: u32,
    /// Number of messages per thousand that take longer, by 1 to 10 times `delay_max`.
    pub spikes: u32,
    /// True if the messages of one link stay in order, as on a stream.
    pub ordered: bool,
}

impl LinkSetup {
    /// Returns links with base delays of 0.5 to 2 ms, in order and without loss.
    pub fn quiet() -> Self {
        let (delay_min, delay_max) = (Duration::from_micros(500), Duration::from_millis(2));
        Self { delay_min, delay_max, loss: 0, repeats: 0, spikes: 0, ordered: true }
    }

    /// Draws random properties, with base delays up to `delay_max`.
    pub fn random(random: &mut Random, delay_max: Duration) -> Self {
        let delay_max = random.duration(Duration::from_millis(1), delay_max);
        let mut or_none = |most: u64| if random.chance(500) { 0 } else { random.within(1, most) as u32 };
        let (loss, repeats, spikes) = (or_none(100), or_none(100), or_none(30));
        Self { delay_min: delay_max / 10, delay_max, loss, repeats, spikes, ordered: random.chance(500) }
    }
}

#[derive(Clone, Debug)]
struct Link {
    /// Base delay of the link.
    base: Duration,
    /// True if no message gets through; the nodes are not informed.
    blocked: bool,
    /// Arrival time of the last message, for ordered links.
    last: Duration,
}

/// All links between nodes; each direction is a separate link.
#[derive(Clone, Debug)]
pub struct Network {
    setup: LinkSetup,
    links: Vec<Vec<Link>>,
    /// Pairs of nodes whose connection broke and cannot be established again for now.
    apart: Vec<Vec<bool>>,
    /// Number of additional lost messages per thousand, during a storm.
    pub storm: u32,
    /// Number of messages that did not arrive.
    pub lost: u64,
}

impl Network {
    /// Creates the links between `nodes` nodes.
    pub fn new(setup: LinkSetup, nodes: usize, random: &mut Random) -> Self {
        let mut link = || {
            let base = random.duration(setup.delay_min.max(Duration::from_micros(1)), setup.delay_max);
            Link { base, blocked: false, last: Duration::ZERO }
        };
        let links = (0..nodes).map(|_| (0..nodes).map(|_| link()).collect()).collect();
        Self { setup, links, apart: vec![vec![false; nodes]; nodes], storm: 0, lost: 0 }
    }

    /// Stops all loss, repetition and delay spikes, and unblocks all links.
    pub fn calm(&mut self) {
        self.setup = LinkSetup { loss: 0, repeats: 0, spikes: 0, ..self.setup };
        self.storm = 0;
        self.heal();
    }

    /// Unblocks all links and reunites all pairs.
    pub fn heal(&mut self) {
        self.links.iter_mut().flatten().for_each(|link| link.blocked = false);
        self.apart.iter_mut().flatten().for_each(|apart| *apart = false);
    }

    /// Returns true if no message gets from one node to the other.
    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.links[from][to].blocked || self.apart[from][to]
    }

    /// Blocks or unblocks one direction of a link. The nodes are not informed.
    pub fn block(&mut self, from: usize, to: usize, blocked: bool) {
        self.links[from][to].blocked = blocked;
    }

    /// Returns true if the two nodes cannot connect.
    pub fn is_apart(&self, a: usize, b: usize) -> bool {
        self.apart[a][b]
    }

    /// Prevents or allows connections between two nodes.
    pub fn set_apart(&mut self, a: usize, b: usize, apart: bool) {
        (self.apart[a][b], self.apart[b][a]) = (apart, apart);
    }

    /// Returns the arrival times of a message that is sent now: none, one or two.
    pub fn arrivals(&mut self, random: &mut Random, now: Duration, from: usize, to: usize) -> Vec<Duration> {
        let setup = self.setup;
        if self.is_blocked(from, to) || random.chance(setup.loss) || random.chance(self.storm) {
            self.lost += 1;
            return Vec::new();
        }
        let link = &mut self.links[from][to];
        let mut arrival = |random: &mut Random| {
            let mut delay = link.base + Duration::from_nanos(random.below(link.base.as_nanos() as u64 + 1));
            if random.chance(setup.spikes) {
                delay += setup.delay_max * random.within(1, 10) as u32;
            }
            let at = if setup.ordered { (now + delay).max(link.last) } else { now + delay };
            link.last = at;
            at
        };
        let first = arrival(random);
        let mut arrivals = vec![first];
        if random.chance(setup.repeats) {
            arrivals.push(arrival(random));
        }
        arrivals
    }
}
