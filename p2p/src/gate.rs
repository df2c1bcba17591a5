//! Admission of connections. The handshake limits the numbers of peers later; the limits here protect it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use libp2p::swarm::ConnectionId;

use crate::NodeId;
use crate::limits::{GREETING_MAX, PENDING_INBOUND_MAX, PENDING_INBOUND_PER_IP_MAX};
use crate::shared::Shared;

/// The reason why a connection was denied before the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("too many connections")]
    TooMany,
    #[error("too many connections from one address")]
    TooManyFromIp,
    #[error("the key is not Ed25519")]
    WrongKey,
    #[error("banned")]
    Banned,
    #[error("not dialled by us")]
    NotDialled,
}

/// The pending and established connections, as far as the limits need to know them.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pending: BTreeMap<ConnectionId, Option<IpAddr>>,
    /// Established connections, with the IP address of those that count for the limit per address.
    established: BTreeMap<ConnectionId, Option<IpAddr>>,
    dialled: BTreeSet<ConnectionId>,
}

impl Gate {
    /// Announces a dial, so that its connection is admitted.
    pub(crate) fn expect(&mut self, connection: ConnectionId) {
        self.dialled.insert(connection);
    }

    pub(crate) fn is_expected(&self, connection: &ConnectionId) -> bool {
        self.dialled.contains(connection)
    }

    pub(crate) fn admit_pending(&mut self, connection: ConnectionId, ip: Option<IpAddr>) -> Result<(), Denied> {
        if self.pending.len() >= PENDING_INBOUND_MAX {
            return Err(Denied::TooMany);
        }
        if self.pending.values().filter(|known| ip.is_some() && **known == ip).count() >= PENDING_INBOUND_PER_IP_MAX {
            return Err(Denied::TooManyFromIp);
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
        let is_free = config.is_exempt(&id) || (config.allow_private && ip.is_some_and(|ip| ip.is_loopback()));
        let counted = if is_free || config.max_inbound_per_ip == 0 { None } else { ip };
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
    use crate::Config;

    fn connection(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    #[test]
    fn the_gate_bounds_handshakes_connections_and_addresses() {
        let mut config = Config::new("chain-1", "");
        (config.max_inbound, config.max_outbound, config.max_inbound_per_ip) = (40, 10, 4);
        let shared = Shared::for_tests(config);
        let ip = |n: u8| Some(IpAddr::from([10, 0, 0, n]));
        let mut gate = Gate::default();
        for n in 0..PENDING_INBOUND_PER_IP_MAX {
            assert_eq!(gate.admit_pending(connection(n), ip(1)), Ok(()));
        }
        assert_eq!(gate.admit_pending(connection(99), ip(1)), Err(Denied::TooManyFromIp));
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
    fn only_announced_dials_pass() {
        let shared = Shared::for_tests(Config::new("chain-1", ""));
        let (a, mut gate) = (NodeId([1; 20]), Gate::default());
        assert_eq!(gate.admit_outbound(connection(1), a, None, &shared), Err(Denied::NotDialled));
        gate.expect(connection(3));
        assert_eq!(gate.admit_outbound(connection(3), a, None, &shared), Ok(()));
    }
}
