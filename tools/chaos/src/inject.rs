//! Injects the faults of a round, each at its time, and starts what ends as it should.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fs,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    ChaosError,
    fault::{Fault, Record},
    net::Net,
    node::{Expected, Version, empty},
    plan::Round,
    random::Random,
    tally::Report,
    wanted::Place,
    watch::Watch,
};

/// Interval between two checks of the processes.
const LOOK_PERIOD: Duration = Duration::from_millis(10);
/// Time limit for a process that was asked to stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(40);
/// Exit code of a node whose next height needs the program with the upgrade.
const EXIT_UPGRADE: i32 = 20;
/// Exit code of a node whose program has an upgrade that is not in force yet.
const EXIT_TOO_NEW: i32 = 21;
/// Exit code of a node whose disk failed.
const EXIT_DISK: i32 = 74;

/// A moment of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// The fault begins.
    Begin,
    /// A part of a fault begins: links are cut for a short time.
    Cut,
    /// A part of a fault ends.
    Open,
    /// The process of a full disk is killed and started again, because a running one may have space that it reserved before.
    Restart,
    /// The fault ends.
    End,
}

/// Injects faults into a network.
pub struct Injector<'a> {
    /// The network with its validators.
    pub net: &'a mut Net,
    /// Counts and findings of the run.
    pub report: &'a mut Report,
    watch: &'a Watch,
    say: &'a dyn Fn(&str),
    stop: &'a AtomicBool,
    /// The last backup of each validator.
    backups: BTreeMap<usize, PathBuf>,
    /// Since when a validator stops.
    stopping: BTreeMap<usize, Instant>,
}

impl<'a> Injector<'a> {
    /// Creates an injector. `say` receives one line for each fault.
    pub fn new(
        net: &'a mut Net,
        report: &'a mut Report,
        watch: &'a Watch,
        say: &'a dyn Fn(&str),
        stop: &'a AtomicBool,
    ) -> Self {
        Self { net, report, watch, say, stop, backups: BTreeMap::new(), stopping: BTreeMap::new() }
    }

    /// Takes a backup of each of these validators, which run.
    ///
    /// Errors: [`ChaosError::Machine`] if an old backup cannot be removed; [`ChaosError::Violation`] if a validator that
    /// runs gives no backup.
    pub fn back_up(&mut self, nodes: &[usize]) -> Result<(), ChaosError> {
        for index in nodes {
            let folder = self.net.spare_folder().join(format!("backup-of-node{index}"));
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(|error| ChaosError::machine(folder.display(), error))?;
            }
            let home = self.net.nodes[*index].home.clone();
            let made = self.net.programs.cairn(&["backup", &folder.display().to_string()], &home);
            made.map_err(|error| ChaosError::Violation(format!("a validator that runs gives no backup: {error}")))?;
            self.backups.insert(*index, folder);
        }
        Ok(())
    }

    /// Injects all faults of a round, and returns when the last one has ended. `seed` decides what the plan does not.
    ///
    /// Errors: [`ChaosError::Machine`] if a fault cannot be injected; [`ChaosError::Violation`] if a process ends that
    /// should not; [`ChaosError::Stopped`] when the run is stopped.
    pub fn round(&mut self, round: &Round, seed: u64) -> Result<(), ChaosError> {
        let begun = Instant::now();
        let mut random = Random::new(seed);
        for node in self.net.nodes.iter_mut().filter(|node| node.expected == Expected::DiskFull) {
            node.expected = Expected::Runs; // it has had the whole calm to notice the full disk
        }
        let moment = |(index, act): (usize, &crate::plan::Act)| Reverse((act.at, Moment::Begin, index));
        let mut moments: BinaryHeap<_> = round.acts.iter().enumerate().map(moment).collect();
        while let Some(Reverse((at, moment, index))) = moments.pop() {
            self.supervise_until(begun + at)?;
            let fault = &round.acts[index].fault;
            match moment {
                Moment::Begin => {
                    if let Some(kind) = self.net.skipped.keys().find(|kind| **kind == fault.kind()) {
                        self.report.left_out(kind);
                        continue;
                    }
                    (self.say)(&fault.to_string());
                    self.report.done(fault.kind());
                    self.begin(fault)?;
                    if let (Fault::Lose { percent, time, .. }, Place::Loopback) = (fault, self.net.place) {
                        let cuts = short_cuts(*percent, *time, &mut random);
                        moments.extend(cuts.into_iter().map(|(after, moment)| Reverse((at + after, moment, index))));
                    }
                    if let Fault::Fill { time, .. } = fault {
                        moments.push(Reverse((at + *time / 2, Moment::Restart, index)));
                    }
                    moments.push(Reverse((at + fault.time(), Moment::End, index)));
                }
                Moment::Cut => self.cut_or_open(fault, "cut")?,
                Moment::Open => self.cut_or_open(fault, "heal")?,
                Moment::Restart => self.restart_on_full_disk(fault)?,
                Moment::End => self.end(fault)?,
            }
        }
        self.supervise()
    }

    /// Ends all faults and starts what is down.
    ///
    /// Errors: those of [`Injector::round`].
    pub fn heal(&mut self) -> Result<(), ChaosError> {
        self.net.links.heal()?;
        self.net.disk.iter().try_for_each(|disk| disk.free())?;
        self.supervise()?;
        for index in 0..self.net.nodes.len() {
            if let Some(clock) = &self.net.nodes[index].clock {
                clock.set(0)?;
            }
        }
        self.start_what_is_down()
    }

    /// Starts each validator that is down.
    ///
    /// Errors: those of [`Injector::round`].
    pub fn start_what_is_down(&mut self) -> Result<(), ChaosError> {
        self.supervise()?;
        (0..self.net.nodes.len()).try_for_each(|index| self.start_again(index))
    }

    fn supervise_until(&mut self, until: Instant) -> Result<(), ChaosError> {
        loop {
            self.supervise()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(LOOK_PERIOD));
        }
    }

    /// Starts each validator that has ended as it should.
    ///
    /// Errors: [`ChaosError::Violation`] if another process has ended, or one does not end; [`ChaosError::Stopped`] when
    /// the run is stopped.
    pub fn supervise(&mut self) -> Result<(), ChaosError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(ChaosError::Stopped);
        }
        for index in 0..self.net.nodes.len() {
            let node = &mut self.net.nodes[index];
            let Some(status) = node.ended() else {
                let is_late = self.stopping.get(&index).is_some_and(|since| since.elapsed() > STOP_TIME_MAX);
                if node.expected == Expected::Stops && is_late {
                    return Err(ChaosError::Violation(format!("{} does not stop after SIGTERM", node.name)));
                }
                continue;
            };
            let version = match (node.expected, status.code()) {
                (_, Some(EXIT_UPGRADE)) => Version::Next,
                (_, Some(EXIT_TOO_NEW)) => Version::First,
                (Expected::Stops, Some(0)) => node.version.other(),
                (Expected::DiskFull, Some(EXIT_DISK)) => {
                    node.expected = Expected::Down;
                    self.report.full_disks += 1;
                    continue;
                }
                _ => {
                    let how = status.signal().map_or(format!("{status}"), |signal| format!("signal {signal}"));
                    let (name, words) = (&node.name, node.last_words());
                    return Err(ChaosError::Violation(format!("{name} ended by itself ({how}): {words}")));
                }
            };
            if node.version != version {
                self.report.swaps += 1;
            }
            node.version = version;
            self.stopping.remove(&index);
            self.net.start(index, &[])?;
        }
        Ok(())
    }

    fn kill(&mut self, index: usize) {
        self.report.kills += usize::from(self.net.nodes[index].kill());
        self.stopping.remove(&index);
    }

    fn others(&self, side: &[usize]) -> Vec<usize> {
        (0..self.net.nodes.len()).filter(|node| !side.contains(node)).collect()
    }

    fn begin(&mut self, fault: &Fault) -> Result<(), ChaosError> {
        match fault {
            Fault::Kill { node, .. } => self.kill(*node),
            Fault::RestartAll { .. } => (0..self.net.nodes.len()).for_each(|node| self.kill(node)),
            Fault::Pause { node, .. } => drop(self.net.nodes[*node].signal("STOP")),
            Fault::Wipe { node, record: Record::Kept } => {
                self.kill(*node);
                let home = self.net.nodes[*node].home.clone();
                self.net.programs.cairn(&["unsafe-reset-all"], &home)?;
                self.net.start(*node, &[])?;
            }
            Fault::Wipe { node, record: Record::Lost } => {
                self.kill(*node);
                let height = self.net.nodes[*node].signed_height();
                empty(&self.net.nodes[*node].data())?;
                self.watch.record_lost(*node);
                let declared = ["--signed-up-to".to_owned(), height.to_string()];
                self.net.start(*node, if height == 0 { &[] } else { &declared })?;
            }
            Fault::Forget { node } => {
                self.kill(*node);
                self.lose_record(*node)?;
                self.net.start(*node, &[])?;
            }
            Fault::Restore { node, record } => self.restore(*node, *record)?,
            Fault::Fill { node, .. } => {
                self.net.nodes[*node].expected = Expected::DiskFull;
                self.net.disk.iter().try_for_each(|disk| disk.fill())?;
            }
            Fault::Clock { node, offset_ms, .. } => {
                self.net.nodes[*node].clock.iter().try_for_each(|clock| clock.set(*offset_ms))?;
            }
            Fault::Swap { node } => {
                if self.net.nodes[*node].signal("TERM") {
                    self.net.nodes[*node].expected = Expected::Stops;
                    self.stopping.insert(*node, Instant::now());
                }
            }
            Fault::Cut { side, .. } => self.cut(side)?,
            Fault::Deaf { node, .. } => {
                let others = self.others(&[*node]);
                others.iter().try_for_each(|from| crate::spaces::drop_all(*node, *from))?;
            }
            Fault::Delay { delay_ms, jitter_ms, .. } => {
                let all = self.others(&[]);
                self.net.links.change(&all, &all, &format!("delay={delay_ms}ms jitter={jitter_ms}ms"))?;
            }
            Fault::Lose { node, percent, .. } => {
                if self.net.place == Place::Namespaces {
                    let others = self.others(&[*node]);
                    others.iter().try_for_each(|from| crate::spaces::drop_some(*node, *from, *percent))?;
                }
            }
            Fault::Narrow { node, rate, .. } => {
                self.net.links.change(&[*node], &self.others(&[*node]), &format!("rate={rate}"))?;
            }
        }
        Ok(())
    }

    fn lose_record(&mut self, node: usize) -> Result<(), ChaosError> {
        self.net.nodes[node].delete_record()?;
        self.watch.record_lost(node);
        Ok(())
    }

    fn restore(&mut self, node: usize, record: Record) -> Result<(), ChaosError> {
        self.kill(node);
        let (home, database) = (self.net.nodes[node].home.clone(), self.net.nodes[node].data().join("cairn.db"));
        let backup = self.backups.get(&node).map(|backup| backup.display().to_string());
        let backup =
            backup.ok_or_else(|| ChaosError::Machine(format!("node{node} has no backup: the plan is wrong")))?;
        fs::remove_dir_all(&database).map_err(|error| ChaosError::machine(database.display(), error))?;
        self.net.programs.cairn(&["restore", &backup], &home)?;
        if record == Record::Lost {
            self.lose_record(node)?;
        }
        self.net.start(node, &[])
    }

    fn cut(&self, side: &[usize]) -> Result<(), ChaosError> {
        let others = self.others(side);
        if self.net.place == Place::Loopback {
            return self.net.links.change(side, &others, "cut");
        }
        let pairs = side.iter().flat_map(|one| others.iter().map(move |other| (*one, *other)));
        pairs.into_iter().try_for_each(|(one, other)| {
            crate::spaces::drop_all(one, other).and_then(|()| crate::spaces::drop_all(other, one))
        })
    }

    fn cut_or_open(&self, fault: &Fault, change: &str) -> Result<(), ChaosError> {
        let Fault::Lose { node, .. } = fault else { return Ok(()) };
        self.net.links.change(&[*node], &self.others(&[*node]), change)
    }

    fn end(&mut self, fault: &Fault) -> Result<(), ChaosError> {
        match fault {
            Fault::Kill { node, .. } => self.start_again(*node)?,
            Fault::RestartAll { .. } => {
                (0..self.net.nodes.len()).try_for_each(|node| self.start_again(node))?;
            }
            Fault::Pause { node, .. } => drop(self.net.nodes[*node].signal("CONT")),
            Fault::Fill { node, .. } => {
                self.net.disk.iter().try_for_each(|disk| disk.free())?;
                self.supervise()?;
                // A process that still runs may notice a failed write later, so it is still expected to end.
                self.start_again(*node)?;
            }
            Fault::Clock { node, .. } => self.net.nodes[*node].clock.iter().try_for_each(|clock| clock.set(0))?,
            Fault::Cut { .. }
            | Fault::Deaf { .. }
            | Fault::Delay { .. }
            | Fault::Lose { .. }
            | Fault::Narrow { .. } => self.net.links.heal()?,
            Fault::Wipe { .. } | Fault::Forget { .. } | Fault::Restore { .. } | Fault::Swap { .. } => {}
        }
        Ok(())
    }

    fn restart_on_full_disk(&mut self, fault: &Fault) -> Result<(), ChaosError> {
        let Fault::Fill { node, .. } = fault else { return Ok(()) };
        if self.net.nodes[*node].expected == Expected::DiskFull {
            self.kill(*node);
            self.net.start(*node, &[])?;
            self.net.nodes[*node].expected = Expected::DiskFull;
        }
        Ok(())
    }

    fn start_again(&mut self, node: usize) -> Result<(), ChaosError> {
        if self.net.nodes[node].expected == Expected::Down { self.net.start(node, &[]) } else { Ok(()) }
    }
}

/// Returns short cuts that together last for a share of the time, with pauses between them: where packets cannot be lost
/// one by one, QUIC loses those of each cut, and TCP waits.
fn short_cuts(percent: u64, time: Duration, random: &mut Random) -> Vec<(Duration, Moment)> {
    let (mut at, end) = (0, time.as_millis() as u64);
    let mut cuts = Vec::new();
    loop {
        let length = random.between(50, 400);
        at += length * (100 - percent) / percent;
        if at + length >= end {
            return cuts;
        }
        cuts.push((Duration::from_millis(at), Moment::Cut));
        at += length;
        cuts.push((Duration::from_millis(at), Moment::Open));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_cuts_last_for_the_share_and_end_in_time() {
        let time = Duration::from_secs(1_000);
        let cuts = short_cuts(20, time, &mut Random::new(1));
        let cut: Duration = cuts.chunks(2).map(|pair| pair[1].0 - pair[0].0).sum();
        assert!((180..=220).contains(&cut.as_secs()), "{cut:?}");
        assert!(cuts.is_sorted_by_key(|(at, _)| *at) && cuts.last().unwrap().0 < time);
        assert!(short_cuts(3, Duration::from_millis(100), &mut Random::new(1)).is_empty());
    }
}
