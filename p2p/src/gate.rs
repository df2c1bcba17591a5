//! Admission of connections. The handshake limits the numbers of peers later; the limits here protect it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use libp2p::swarm::ConnectionId;

use crate::NodeId;
use crate::budget::Buckets;
use crate::config::Config;
use crate::denied::Denied;
use crate::limits::{
    GREETING_MAX, INBOUND_PER_IP_BURST, INBOUND_PER_IP_PAUSE, PENDING_INBOUND_MAX, PENDING_INBOUND_PER_IP_MAX,
};
use crate::shared::Shared;

/// The pending and established connections, as far as the limits need to know them.
#[derive(Debug)]
pub(crate) struct Gate {
    pending: BTreeMap<ConnectionId, Option<IpAddr>>,
    /// Established connections, with the IP address of those that count for the limit per address.
    established: BTreeMap<ConnectionId, Option<IpAddr>>,
    dialled: BTreeSet<ConnectionId>,
    /// How often each address may still connect.
    knocks: Buckets<IpAddr>,
}

/// Returns true if an address has no limits of its own: many nodes of a test network, or of its operator, share it.
fn is_shared(ip: IpAddr, config: &Config) -> bool {
    config.max_inbound_per_ip == 0 || (config.allow_private && ip.is_loopback())
}

/// Returns the address by which the owner of an address is counted: its /64 for IPv6.
fn owner_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip @ IpAddr::V4(_) => ip,
    }
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate {
            pending: BTreeMap::new(),
            established: BTreeMap::new(),
            dialled: BTreeSet::new(),
            knocks: Buckets::new(INBOUND_PER_IP_BURST, INBOUND_PER_IP_PAUSE),
        }
    }

    /// Announces a dial, so that its connection is admitted.
    pub(crate) fn expect(&mut self, connection: ConnectionId) {
        self.dialled.insert(connection);
    }

    pub(crate) fn is_expected(&self, connection: &ConnectionId) -> bool {
        self.dialled.contains(connection)
    }

    pub(crate) fn admit_pending(
        &mut self,
        connection: ConnectionId,
        ip: Option<IpAddr>,
        config: &Config,
    ) -> Result<(), Denied> {
        if self.pending.len() >= PENDING_INBOUND_MAX {
            return Err(Denied::TooMany);
        }
        if self.pending.values().filter(|known| ip.is_some() && **known == ip).count() >= PENDING_INBOUND_PER_IP_MAX {
            return Err(Denied::TooManyFromIp);
        }
        if let Some(ip) = ip.filter(|ip| !is_shared(*ip, config)) {
            let now = Instant::now();
            if !self.knocks.of(now, owner_of(ip)).take(now) {
                return Err(Denied::TooOftenFromIp);
            }
        }
        self.pending.insert(connection, ip);
        Ok(())
    }

    pub(crate) fn admit_inbound(
        &mut self,
        connection: ConnectionId,
        id: NodeId,
        ip: Option<IpAddr>,
        shared: &Shared,
    ) -> Result<(), Denied> {
        self.pending.remove(&connection);
        let config = &shared.config;
        if shared.is_banned(&id, ip) {
            return Err(Denied::Banned);
        }
        let counted = ip.filter(|ip| !config.is_exempt(&id) && !is_shared(*ip, config));
        let same = self.established.values().filter(|known| known.is_some() && **known == counted).count();
        if counted.is_some() && same >= config.max_inbound_per_ip {
            return Err(Denied::TooManyFromIp);
        }
        self.admit(connection, counted, shared)
    }

    pub(crate) fn admit_outbound(
        &mut self,
        connection: ConnectionId,
        id: NodeId,
        ip: Option<IpAddr>,
        shared: &Shared,
    ) -> Result<(), Denied> {
        // A node with another id than the dialled one is admitted, so that it can be informed of the mismatch.
        if !self.dialled.remove(&connection) {
            return Err(Denied::NotDialled);
        }
        if shared.is_banned(&id, ip) {
            return Err(Denied::Banned);
        }
        self.admit(connection, None, shared)
    }

    fn admit(&mut self, connection: ConnectionId, counted: Option<IpAddr>, shared: &Shared) -> Result<(), Denied> {
        let config = &shared.config;
        let exempt = config.persistent_peers.len() + config.unconditional_ids.len();
        if self.established.len() >= config.max_inbound + config.max_outbound + 2 * exempt + GREETING_MAX {
            return Err(Denied::TooMany);
        }
        self.established.insert(connection, counted);
        Ok(())
    }

    pub(crate) fn forget(&mut self, connection: &ConnectionId) {
        self.pending.remove(connection);
        self.established.remove(connection);
        self.dialled.remove(connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    #[test]
    fn the_gate_bounds_handshakes_connections_and_addresses() {
        let mut config = Config::new("chain-1", "");
        (config.max_inbound, config.max_outbound, config.max_inbound_per_ip) = (40, 10, 4);
        let shared = Shared::for_tests(config);
        let ip = |n: u8| Some(IpAddr::from([10, 0, 0, n]));
        let mut gate = Gate::new();
        for n in 0..PENDING_INBOUND_PER_IP_MAX {
            assert_eq!(gate.admit_pending(connection(n), ip(1), &shared.config), Ok(()));
        }
        assert_eq!(gate.admit_pending(connection(99), ip(1), &shared.config), Err(Denied::TooManyFromIp));
        for n in 0..4 {
            assert_eq!(gate.admit_inbound(connection(n), NodeId([n as u8; 20]), ip(1), &shared), Ok(()));
        }
        assert_eq!(gate.admit_inbound(connection(4), NodeId([4; 20]), ip(1), &shared), Err(Denied::TooManyFromIp));
        gate.forget(&connection(0));
        assert_eq!(gate.admit_inbound(connection(4), NodeId([4; 20]), ip(1), &shared), Ok(()), "one has gone");
        let mut admitted = 4;
        while gate
            .admit_inbound(connection(1000 + admitted), NodeId([9; 20]), ip(100 + (admitted / 4) as u8), &shared)
            .is_ok()
        {
            admitted += 1;
        }
        assert_eq!(admitted, 40 + 10 + GREETING_MAX);
    }

    #[test]
    fn an_address_that_connects_again_and_again_is_denied_before_the_handshake() {
        let (config, mut gate) = (Config::new("chain-1", ""), Gate::new());
        let mut knock = |ip: &str, config: &Config| {
            let admitted = gate.admit_pending(connection(1), Some(ip.parse().unwrap()), config);
            gate.forget(&connection(1));
            admitted
        };
        for ip in ["8.8.8.8", "2001:4860::1"] {
            assert!((0..INBOUND_PER_IP_BURST).all(|_| knock(ip, &config).is_ok()));
            assert_eq!(knock(ip, &config), Err(Denied::TooOftenFromIp));
        }
        assert_eq!(knock("2001:4860::2", &config), Err(Denied::TooOftenFromIp), "the same /64");
        assert_eq!(knock("8.8.8.9", &config), Ok(()), "other addresses of the range are not denied");
        let shared = Config { max_inbound_per_ip: 0, ..config };
        assert_eq!(knock("8.8.8.8", &shared), Ok(()));
    }

    #[test]
    fn only_announced_dials_pass() {
        let shared = Shared::for_tests(Config::new("chain-1", ""));
        let (a, mut gate) = (NodeId([1; 20]), Gate::new());
        assert_eq!(gate.admit_outbound(connection(1), a, None, &shared), Err(Denied::NotDialled));
        gate.expect(connection(3));
        assert_eq!(gate.admit_outbound(connection(3), a, None, &shared), Ok(()));
    }
}
