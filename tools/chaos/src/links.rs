//! The network between the validators: each dials each other one through a relay of its own.
//!
//! On loopback, one relay is in this process. In namespaces, each slot has a process `cairn relay`, so that the packets
//! between two slots have the addresses of both, and the firewall can drop those of one pair or of one direction.
//! Of the two connections of a pair, one is TCP and one is QUIC.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use faults::relay::{Control, LinkSpec, Relay, Settings};

use crate::{ChaosError, layout::Layout, spaces, wanted::Place};

/// Time limit for the start of a relay.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// All links of a run. They end with the value.
pub struct Links {
    slots: usize,
    relays: Relays,
}

enum Relays {
    Here(Relay),
    Processes(Vec<OfSlot>),
}

struct OfSlot {
    process: Child,
    control: Control,
}

impl Drop for OfSlot {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it has ended already if this fails
        let _ = self.process.wait();
    }
}

impl Links {
    /// Starts the relays of all slots.
    ///
    /// Errors: [`ChaosError::Machine`] if a relay does not start.
    pub fn start(place: Place, layout: &Layout, cairn: &Path) -> Result<Self, ChaosError> {
        let pairs = |from: usize| (0..layout.slots).filter(move |to| *to != from).map(move |to| (from, to));
        let spec = |(from, to)| LinkSpec {
            name: format!("{from}-{to}"),
            listen: layout.link(from, to),
            target: layout.peers(to),
        };
        let relays = match place {
            Place::Loopback => {
                let specs: Vec<LinkSpec> = (0..layout.slots).flat_map(pairs).map(spec).collect();
                let relay = Relay::start(&specs, Settings::default());
                Relays::Here(relay.map_err(|error| ChaosError::machine("the relay", error))?)
            }
            Place::Namespaces => {
                let of_slot = |from| start_process(layout, from, pairs(from).map(spec), cairn);
                Relays::Processes((0..layout.slots).map(of_slot).collect::<Result<_, _>>()?)
            }
        };
        Ok(Self { slots: layout.slots, relays })
    }

    /// Changes both links of each pair with a slot in `one` and a slot in `other`; `changes` is as in `cairn relay`.
    ///
    /// Errors: [`ChaosError::Machine`] if a relay does not answer or refuses.
    pub fn change(&self, one: &[usize], other: &[usize], changes: &str) -> Result<(), ChaosError> {
        let is_between = |from: usize, to: usize| {
            one.contains(&from) && other.contains(&to) || one.contains(&to) && other.contains(&from)
        };
        for from in 0..self.slots {
            let names: Vec<String> = (0..self.slots)
                .filter(|to| *to != from && is_between(from, *to))
                .map(|to| format!("{from}-{to}"))
                .collect();
            if !names.is_empty() {
                self.order(from, &format!("{} {changes}", names.join(",")))?;
            }
        }
        Ok(())
    }

    /// Ends all faults of the network.
    ///
    /// Errors: [`ChaosError::Machine`] if a relay or the firewall does not answer or refuses.
    pub fn heal(&self) -> Result<(), ChaosError> {
        let all: Vec<usize> = (0..self.slots).collect();
        self.change(&all, &all, "open")?;
        if matches!(self.relays, Relays::Processes(_)) {
            all.iter().try_for_each(|slot| spaces::drop_nothing(*slot))?;
        }
        Ok(())
    }

    fn order(&self, from: usize, line: &str) -> Result<(), ChaosError> {
        let failed = |error| ChaosError::Machine(format!("the relay of slot {from}: {error}"));
        match &self.relays {
            Relays::Here(relay) => line.parse().and_then(|order| relay.obey(&[order])).map_err(failed),
            Relays::Processes(relays) => relays[from].control.order(line).map(drop).map_err(failed),
        }
    }
}

fn start_process(
    layout: &Layout,
    from: usize,
    links: impl Iterator<Item = LinkSpec>,
    cairn: &Path,
) -> Result<OfSlot, ChaosError> {
    let prefix = layout.prefix(from);
    let address = layout.control(from);
    let links = links.map(|link| format!("{}={}/{}", link.name, link.listen, link.target));
    let process = Command::new(&prefix[0])
        .args(&prefix[1..])
        .arg(cairn)
        .args(["relay", "--control", &address])
        .args(links)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| ChaosError::machine("cairn relay", error))?;
    let address: SocketAddr = address.parse().expect("a layout has addresses");
    let mut slot = OfSlot { process, control: Control::at(address) };
    let until = Instant::now() + START_TIME_MAX;
    while let Err(error) = slot.control.status() {
        if Instant::now() > until || slot.process.try_wait().is_ok_and(|ended| ended.is_some()) {
            return Err(ChaosError::Machine(format!("the relay of slot {from}: {error}")));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(slot)
}
