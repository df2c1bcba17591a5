//! Network addresses of nodes, in the text form of CometBFT.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::NodeId;
use crate::range::{self, Reach};

/// The transport protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP with Noise and Yamux.
    Tcp,
    /// QUIC version 1 over UDP.
    Quic,
}

impl Transport {
    /// Returns the libp2p address of a socket under this transport.
    pub(crate) fn multiaddr(self, socket: SocketAddr) -> Multiaddr {
        let address = Multiaddr::from(socket.ip());
        match self {
            Transport::Tcp => address.with(Protocol::Tcp(socket.port())),
            Transport::Quic => address.with(Protocol::Udp(socket.port())).with(Protocol::QuicV1),
        }
    }
}

/// Returns the transport and socket of a libp2p address, or `None` if the address has another form.
pub(crate) fn socket_of(address: &Multiaddr) -> Option<(Transport, SocketAddr)> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::from(ip),
        Protocol::Ip6(ip) => IpAddr::from(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some((Transport::Tcp, SocketAddr::new(ip, port))),
        Protocol::Udp(port) => Some((Transport::Quic, SocketAddr::new(ip, port))),
        _ => None,
    }
}

/// A host and a port: `example.org:26656`, `10.0.0.1:26656`, `[::1]:26656`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// DNS name or IP address, without brackets.
    pub host: String,
    /// TCP or UDP port; not 0 in an address to dial.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<HostPort, AddressError> {
        let error = |reason| AddressError { got: text.chars().take(96).collect(), reason };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| error("there is no port"))?;
        let port = port.parse().map_err(|_| error("the port is not a number from 0 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(ip) => {
                ip.parse::<std::net::Ipv6Addr>().map_err(|_| error("what is in brackets is not an IPv6 address"))?;
                ip
            }
            None => host,
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
        if host.is_empty() || host.len() > 253 || !(host.chars().all(is_name) || host.parse::<IpAddr>().is_ok()) {
            return Err(error("the host is neither a DNS name nor an IP address (IPv6 goes in brackets)"));
        }
        if host.contains(':') && !text.starts_with('[') {
            return Err(error("an IPv6 address goes in brackets"));
        }
        Ok(HostPort { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The id of a node and its network address. Text: `id@host:port` for TCP, `id@quic://host:port` for QUIC.
///
/// The parser also accepts `id@tcp://host:port` and `tcp://id@host:port`. The host may be a DNS name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress {
    /// Id that the node at this address must prove.
    pub id: NodeId,
    /// DNS name or IP address, without brackets.
    pub host: String,
    /// TCP or UDP port, not 0.
    pub port: u16,
    /// Transport that is used to dial.
    pub transport: Transport,
}

/// An error about text that is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is not an address of the form id@host:port: {reason}")]
pub struct AddressError {
    /// The rejected text, cut to 96 characters.
    pub got: String,
    /// What is wrong with the text.
    pub reason: &'static str,
}

impl PeerAddress {
    /// Creates the address of a node from its id, socket and transport.
    pub fn new(id: NodeId, socket: SocketAddr, transport: Transport) -> PeerAddress {
        PeerAddress { id, host: socket.ip().to_string(), port: socket.port(), transport }
    }

    /// Returns the reach of the host. A DNS name counts as public until it is resolved. `None` if no host can have the
    /// address.
    pub(crate) fn reach(&self) -> Option<Reach> {
        match self.host.parse() {
            Ok(ip) => range::reach(ip),
            Err(_) if self.host == "localhost" || self.host.ends_with(".localhost") => Some(Reach::Host),
            Err(_) => Some(Reach::Public),
        }
    }
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<PeerAddress, AddressError> {
        let error = |reason| AddressError { got: text.chars().take(96).collect(), reason };
        if text.len() > 320 {
            return Err(error("it is longer than 320 characters"));
        }
        let (id, rest) = text.trim().split_once('@').ok_or_else(|| error("there is no id before an @"))?;
        let (outer, id) = scheme(id);
        let id = id.parse().map_err(|_| error("the id is not 40 hex digits"))?;
        let (inner, rest) = scheme(rest);
        let transport = match inner.or(outer) {
            None | Some("tcp") => Transport::Tcp,
            Some("quic") => Transport::Quic,
            Some(_) => return Err(error("the transport is neither tcp nor quic")),
        };
        let HostPort { host, port } = rest.parse().map_err(|e: AddressError| error(e.reason))?;
        if port == 0 {
            return Err(error("the port is 0"));
        }
        Ok(PeerAddress { id, host, port, transport })
    }
}

/// Splits `scheme://rest` into the optional scheme and the rest.
fn scheme(text: &str) -> (Option<&str>, &str) {
    match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = HostPort { host: self.host.clone(), port: self.port };
        match self.transport {
            Transport::Tcp => write!(f, "{}@{place}", self.id),
            Transport::Quic => write!(f, "{}@quic://{place}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff00112233";

    #[test]
    fn text_forms_of_cometbft_and_ours_are_read() {
        for (text, host, port, transport) in [
            (format!("{ID}@10.0.0.1:26656"), "10.0.0.1", 26656, Transport::Tcp),
            (format!("{ID}@node0.example.org:1"), "node0.example.org", 1, Transport::Tcp),
            (format!("tcp://{ID}@node_0:26656"), "node_0", 26656, Transport::Tcp),
            (format!("{ID}@tcp://[::1]:26656"), "::1", 26656, Transport::Tcp),
            (format!(" {ID}@quic://[2001:db8::1]:7 "), "2001:db8::1", 7, Transport::Quic),
        ] {
            let address: PeerAddress = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port, address.transport), (host, port, transport), "{text}");
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn other_text_is_refused_with_a_reason() {
        for (text, reason) in [
            ("".to_owned(), "no id"),
            ("10.0.0.1:26656".to_owned(), "no id"),
            ("abcd@10.0.0.1:26656".to_owned(), "40 hex"),
            (format!("{ID}@10.0.0.1"), "no port"),
            (format!("{ID}@10.0.0.1:0"), "port is 0"),
            (format!("{ID}@10.0.0.1:70000"), "0 to 65535"),
            (format!("{ID}@::1:26656"), "brackets"),
            (format!("{ID}@[::g]:26656"), "IPv6"),
            (format!("{ID}@a b:26656"), "host"),
            (format!("{ID}@:26656"), "host"),
            (format!("{ID}@udp://a:26656"), "neither tcp nor quic"),
            (format!("{ID}@{}:1", "a".repeat(400)), "longer"),
        ] {
            let error = text.parse::<PeerAddress>().unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_survive_their_multiaddr() {
        let socket: SocketAddr = "127.0.0.1:9".parse().unwrap();
        for transport in [Transport::Tcp, Transport::Quic] {
            assert_eq!(socket_of(&transport.multiaddr(socket)), Some((transport, socket)));
        }
        assert_eq!(socket_of(&"/dns4/a/tcp/1".parse().unwrap()), None);
    }

    #[test]
    fn host_names_are_public_except_for_local_ones() {
        let at =
            |host: &str| PeerAddress { id: NodeId([0; 20]), host: host.into(), port: 1, transport: Transport::Tcp };
        assert_eq!(at("localhost").reach(), Some(Reach::Host));
        assert_eq!(at("10.1.2.3").reach(), Some(Reach::Private));
        assert_eq!(at("example.org").reach(), Some(Reach::Public));
        assert_eq!(at("224.0.0.1").reach(), None);
    }
}
