//! Links that delay, lose, repeat and reorder.

use std::time::Duration;

use crate::random::Random;

/// How links behave.
#[derive(Clone, Copy, Debug)]
pub struct LinkSetup {
    /// The shortest delay of any link.
    pub delay_min: Duration,
    /// The longest usual delay.
    pub delay_max: Duration,
    /// Messages lost, of a thousand.
    pub loss: u32,
    /// Messages that come twice, of a thousand.
    pub repeats: u32,
    /// Messages that take up to ten times as long, of a thousand.
    pub spikes: u32,
    /// Whether messages of one link stay in order, as on a stream.
    pub ordered: bool,
}

impl LinkSetup {
    /// Half a millisecond to two, and nothing is lost.
    pub fn quiet() -> Self {
        let (delay_min, delay_max) = (Duration::from_micros(500), Duration::from_millis(2));
        Self { delay_min, delay_max, loss: 0, repeats: 0, spikes: 0, ordered: true }
    }

    /// Drawn, with delays up to `delay_max`.
    pub fn random(random: &mut Random, delay_max: Duration) -> Self {
        let delay_max = random.duration(Duration::from_millis(1), delay_max);
        let mut or_none = |most: u64| if random.chance(500) { 0 } else { random.within(1, most) as u32 };
        let (loss, repeats, spikes) = (or_none(100), or_none(100), or_none(30));
        Self { delay_min: delay_max / 10, delay_max, loss, repeats, spikes, ordered: random.chance(500) }
    }
}

#[derive(Clone, Debug)]
struct Link {
    /// What distance costs.
    base: Duration,
    /// Nothing gets through, and nobody is told.
    blocked: bool,
    /// When the last message arrives, for ordered links.
    last: Duration,
}

/// All links between nodes, each way on its own.
#[derive(Clone, Debug)]
pub struct Network {
    setup: LinkSetup,
    links: Vec<Vec<Link>>,
    /// Pairs whose connection broke and cannot be made again for now.
    apart: Vec<Vec<bool>>,
    /// Messages lost, of a thousand, in a storm.
    pub storm: u32,
    /// Messages that did not arrive.
    pub lost: u64,
}

impl Network {
    /// Links between `nodes` nodes.
    pub fn new(setup: LinkSetup, nodes: usize, random: &mut Random) -> Self {
        let mut link = || {
            let base = random.duration(setup.delay_min.max(Duration::from_micros(1)), setup.delay_max);
            Link { base, blocked: false, last: Duration::ZERO }
        };
        let links = (0..nodes).map(|_| (0..nodes).map(|_| link()).collect()).collect();
        Self { setup, links, apart: vec![vec![false; nodes]; nodes], storm: 0, lost: 0 }
    }

    /// From now on links lose, repeat and reorder nothing.
    pub fn calm(&mut self) {
        self.setup = LinkSetup { loss: 0, repeats: 0, spikes: 0, ..self.setup };
        self.storm = 0;
        self.heal();
    }

    /// All links carry again.
    pub fn heal(&mut self) {
        self.links.iter_mut().flatten().for_each(|link| link.blocked = false);
        self.apart.iter_mut().flatten().for_each(|apart| *apart = false);
    }

    /// Whether nothing gets from one to the other.
    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.links[from][to].blocked || self.apart[from][to]
    }

    /// Stops or lets through what goes from one to the other, without anybody being told.
    pub fn block(&mut self, from: usize, to: usize, blocked: bool) {
        self.links[from][to].blocked = blocked;
    }

    /// Whether a pair cannot connect.
    pub fn is_apart(&self, a: usize, b: usize) -> bool {
        self.apart[a][b]
    }

    /// Takes a pair apart, or lets it connect again.
    pub fn set_apart(&mut self, a: usize, b: usize, apart: bool) {
        (self.apart[a][b], self.apart[b][a]) = (apart, apart);
    }

    /// When a message sent now arrives: never, once or twice.
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
