//! The addresses of all slots. A slot is a validator, or the liar's second process, which has the last slot.

use std::net::{TcpListener, UdpSocket};

use crate::{
    ChaosError, spaces,
    wanted::{NODES_MAX, Place},
};

/// Number of ports of one run on loopback.
const PORTS: u16 = 256;
/// First port above the ones that a run uses: the system assigns ports from 32768 on.
const PORT_MAX: u16 = 32_000;
/// First port that a run tries.
const PORT_MIN: u16 = 12_000;
/// Offset of the ports of the links.
const LINK_PORTS: u16 = 128;

/// The addresses of a run.
#[derive(Clone, Debug)]
pub struct Layout {
    place: Place,
    base: u16,
    /// Number of slots with addresses.
    pub slots: usize,
}

impl Layout {
    /// Chooses the addresses for some slots. On loopback, the ports are free now.
    ///
    /// Errors: [`ChaosError::Machine`] if there are no free ports in a row.
    pub fn new(place: Place, slots: usize) -> Result<Self, ChaosError> {
        assert!(slots <= NODES_MAX + 1, "each slot has its ports");
        let base = match place {
            Place::Namespaces => PORT_MIN,
            Place::Loopback => free_ports()?,
        };
        Ok(Self { place, base, slots })
    }

    fn host(&self, slot: usize) -> String {
        match self.place {
            Place::Namespaces => spaces::address(slot).to_string(),
            Place::Loopback => "127.0.0.1".to_owned(),
        }
    }

    /// Returns the address at which a slot listens for peers.
    pub fn peers(&self, slot: usize) -> String {
        format!("{}:{}", self.host(slot), self.base + 4 * slot as u16)
    }

    /// Returns the address of a slot's RPC.
    pub fn rpc(&self, slot: usize) -> String {
        format!("{}:{}", self.host(slot), self.base + 4 * slot as u16 + 1)
    }

    /// Returns the address of the control of a slot's relay, if it is a process of its own.
    pub fn control(&self, slot: usize) -> String {
        format!("{}:{}", self.host(slot), self.base + 4 * slot as u16 + 2)
    }

    /// Returns the address of the relay at which slot `from` dials slot `to`.
    pub fn link(&self, from: usize, to: usize) -> String {
        format!("127.0.0.1:{}", self.base + LINK_PORTS + ((NODES_MAX + 1) * from + to) as u16)
    }

    /// Returns the words before a program of a slot.
    pub fn prefix(&self, slot: usize) -> Vec<String> {
        match self.place {
            Place::Namespaces => spaces::prefix(slot),
            Place::Loopback => Vec::new(),
        }
    }
}

/// Returns the first of [`PORTS`] ports in a row that are free on loopback, for both TCP and UDP.
fn free_ports() -> Result<u16, ChaosError> {
    let blocks = (PORT_MAX - PORT_MIN) / PORTS;
    // Runs at the same time begin with different blocks.
    let first = (std::process::id() % u32::from(blocks)) as u16;
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok();
    (0..blocks)
        .map(|block| PORT_MIN + (first + block) % blocks * PORTS)
        .find(|base| (*base..base + PORTS).all(is_free))
        .ok_or_else(|| ChaosError::Machine(format!("127.0.0.1 has no {PORTS} free ports in a row below {PORT_MAX}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_addresses_are_equal() {
        for place in [Place::Loopback, Place::Namespaces] {
            let layout = Layout::new(place, NODES_MAX + 1).unwrap();
            let slots = 0..layout.slots;
            let of_slot = |slot: usize| [layout.peers(slot), layout.rpc(slot), layout.control(slot)];
            let links = slots.clone().flat_map(|from| slots.clone().map(move |to| (from, to)));
            let mut all: Vec<String> = slots.clone().flat_map(of_slot).collect();
            all.extend(links.map(|(from, to)| layout.link(from, to)));
            let distinct: BTreeSet<&String> = all.iter().collect();
            assert_eq!(distinct.len(), all.len());
            let port = |address: &String| address.rsplit(':').next().unwrap().parse::<u16>().unwrap();
            let used = layout.base..layout.base + PORTS;
            assert!(all.iter().all(|address| used.contains(&port(address))), "{all:?}");
        }
    }
}
