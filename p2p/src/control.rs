//! Messages of the control stream: hello, accept, refuse, and peer addresses.

use std::net::{IpAddr, SocketAddr};

use prost::Message;
use types::is_plain;

use crate::address::HostPort;
use crate::config::Config;
use crate::limits::{ADDRESSES_PER_MESSAGE_MAX, TEXT_BYTES_MAX};
use crate::{NodeId, PeerAddress, Transport};

/// Version of all protocols that this crate uses on a connection. Other versions are refused.
pub const PROTOCOL_VERSION: u32 = 4;

/// One frame of the control stream.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Control {
    #[prost(oneof = "Say", tags = "1, 2, 3, 4, 5")]
    pub(crate) say: Option<Say>,
}

/// Content of a control frame.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Say {
    /// First message of both sides on every connection.
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// Acceptance of the peer: first from the larger id, then from the smaller id, whose answer is final.
    #[prost(message, tag = "2")]
    Accept(Accept),
    /// Refusal with its reason; the connection closes afterwards.
    #[prost(message, tag = "3")]
    Refuse(Refuse),
    /// Request for addresses of peers.
    #[prost(message, tag = "4")]
    Ask(Ask),
    /// Addresses of peers: the answer to `Ask`, and sent once unasked after the handshake.
    #[prost(message, tag = "5")]
    Addresses(Addresses),
}

/// Description of the sender and its chain.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hello {
    #[prost(uint32, tag = "1")]
    pub(crate) protocol: u32,
    #[prost(string, tag = "2")]
    pub(crate) chain_id: String,
    #[prost(string, tag = "3")]
    pub(crate) moniker: String,
    #[prost(string, tag = "4")]
    pub(crate) version: String,
    /// Number that differs between two runs of one node: it distinguishes a restart from a second connection.
    #[prost(fixed64, tag = "5")]
    pub(crate) session: u64,
    /// Port that the sender listens on, 0 if none.
    #[prost(uint32, tag = "6")]
    pub(crate) port: u32,
    /// `host:port` that the operator set as external address; may be empty.
    #[prost(string, tag = "7")]
    pub(crate) external: String,
    /// True if the sender exchanges peer addresses.
    #[prost(bool, tag = "8")]
    pub(crate) pex: bool,
    /// Hash of the genesis document, 32 bytes.
    #[prost(bytes = "vec", tag = "9")]
    pub(crate) genesis_hash: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Accept {}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Ask {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Refuse {
    #[prost(uint32, tag = "1")]
    pub(crate) code: u32,
    /// The refusing node's own chain, version, genesis hash and so on, depending on the code.
    #[prost(string, tag = "2")]
    pub(crate) theirs: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Addresses {
    #[prost(string, repeated, tag = "1")]
    pub(crate) addresses: Vec<String>,
}

impl Control {
    pub(crate) fn accept() -> Control {
        Control { say: Some(Say::Accept(Accept {})) }
    }

    pub(crate) fn ask() -> Control {
        Control { say: Some(Say::Ask(Ask {})) }
    }

    pub(crate) fn addresses(addresses: impl Iterator<Item = PeerAddress>) -> Control {
        let addresses = addresses.take(ADDRESSES_PER_MESSAGE_MAX).map(|address| address.to_string()).collect();
        Control { say: Some(Say::Addresses(Addresses { addresses })) }
    }
}

impl Hello {
    /// Creates our own hello. `port` is the port that we listen on.
    pub(crate) fn ours(config: &Config, session: u64, port: u16) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            chain_id: config.chain_id.clone(),
            moniker: printable(&config.moniker),
            version: printable(&config.version),
            session,
            port: port.into(),
            external: config.external_address.as_ref().map(HostPort::to_string).unwrap_or_default(),
            pex: config.pex,
            genesis_hash: config.genesis_hash.to_vec(),
        }
    }

    /// Returns the address at which other nodes reach the sender: its external address, or its port at the IP address
    /// `seen` that we see.
    pub(crate) fn address(&self, id: NodeId, seen: IpAddr, transport: Transport) -> Option<PeerAddress> {
        let at = |host: String, port: u16| (port != 0).then_some(PeerAddress { id, host, port, transport });
        if let Ok(HostPort { host, port }) = self.external.parse() {
            return at(host, port);
        }
        let port = u16::try_from(self.port).ok()?;
        at(SocketAddr::new(seen, port).ip().to_string(), port)
    }
}

/// The reason why a connection did not become a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The peer belongs to another chain.
    #[error("wrong chain: expected {ours:?}, got {theirs:?}")]
    WrongChain {
        /// Chain id of this node.
        ours: String,
        /// Chain id of the peer.
        theirs: String,
    },
    /// The peer has the same chain id but another genesis document.
    #[error(
        "wrong genesis: expected the genesis hash {ours}, got {theirs}; one of the two nodes has another genesis.json, or the \
         chain was restarted from a new genesis under the same chain id"
    )]
    WrongGenesis {
        /// Hash of our genesis document, in hex.
        ours: String,
        /// Hash of the peer's genesis document, in hex.
        theirs: String,
    },
    /// The peer uses another version of this protocol.
    #[error("wrong protocol version: expected {ours}, got {theirs}; the two nodes run different releases")]
    WrongVersion {
        /// Protocol version of this node.
        ours: u32,
        /// Protocol version of the peer.
        theirs: u32,
    },
    /// Another node answers at the dialled address.
    #[error(
        "wrong node id: expected {expected}, got {got}; correct the id or the address in the configuration of the node that dials"
    )]
    WrongId {
        /// Id that we dialled.
        expected: NodeId,
        /// Id that the answering node proved.
        got: NodeId,
    },
    /// The two nodes are already connected.
    #[error("connected already")]
    Duplicate,
    /// All places for peers are taken.
    #[error("no room for more peers")]
    Full,
    /// The address is our own, or another node has a copy of our key.
    #[error("our own node id answers there: it is our own address, or that node has a copy of our node_key.json")]
    Myself,
    /// Two nodes use the same key; the first one stays connected.
    #[error(
        "the node key of {id} still has a connection from {known}. If that node was just restarted or has moved, wait: a \
         dead connection ends within two ping intervals. If not, two nodes use one key: give one of them a new \
         node_key.json"
    )]
    SameKey {
        /// Id that both nodes prove.
        id: NodeId,
        /// Address of the node that is connected.
        known: String,
    },
    /// A reason code that this version does not know.
    #[error("refused with code {0}")]
    Other(u32),
}

impl Refusal {
    /// Returns true if the node would be refused the next time too, so that its address is useless.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self, Refusal::WrongChain { .. } | Refusal::WrongGenesis { .. } | Refusal::Myself)
    }

    /// Returns the reason code that is sent to the peer.
    pub(crate) fn code(&self) -> u32 {
        match self {
            Refusal::WrongChain { .. } => 1,
            Refusal::WrongVersion { .. } => 2,
            Refusal::Duplicate => 3,
            Refusal::Full => 4,
            Refusal::WrongId { .. } => 5,
            Refusal::Myself => 6,
            Refusal::WrongGenesis { .. } => 7,
            Refusal::SameKey { .. } => 8,
            Refusal::Other(code) => *code,
        }
    }

    /// Creates the control frame that is sent to the refused node.
    pub(crate) fn to_wire(&self) -> Control {
        let theirs = match self {
            Refusal::WrongChain { ours, .. } | Refusal::WrongGenesis { ours, .. } => ours.clone(),
            Refusal::WrongVersion { ours, .. } => ours.to_string(),
            Refusal::WrongId { expected, .. } => expected.to_string(),
            Refusal::SameKey { known, .. } => known.clone(),
            Refusal::Duplicate | Refusal::Full | Refusal::Myself | Refusal::Other(_) => String::new(),
        };
        Control { say: Some(Say::Refuse(Refuse { code: self.code(), theirs })) }
    }

    /// Decodes a refusal that we received. `ours` is our own id.
    pub(crate) fn from_wire(wire: &Refuse, config: &Config, ours: NodeId) -> Refusal {
        match wire.code {
            1 => Refusal::WrongChain { ours: config.chain_id.clone(), theirs: printable(&wire.theirs) },
            2 => Refusal::WrongVersion { ours: PROTOCOL_VERSION, theirs: wire.theirs.parse().unwrap_or(0) },
            3 => Refusal::Duplicate,
            4 => Refusal::Full,
            5 => match wire.theirs.parse() {
                Ok(expected) => Refusal::WrongId { expected, got: ours },
                Err(_) => Refusal::Other(5),
            },
            7 => Refusal::WrongGenesis { ours: hex(&config.genesis_hash), theirs: printable(&wire.theirs) },
            8 => Refusal::SameKey { id: ours, known: printable(&wire.theirs) },
            code => Refusal::Other(code),
        }
    }
}

/// What a node makes of a frame of the control stream, before it decides anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlRead {
    /// Encoded bytes of the frame.
    pub bytes: Vec<u8>,
    /// Texts of the peer as logs and clients show them.
    pub texts: Vec<String>,
    /// Addresses that the frame announces and that can be dialled.
    pub addresses: Vec<PeerAddress>,
}

/// Reads a frame of the control stream as a node does that has just been dialled: for tests from outside of this crate.
///
/// Errors: the reason why the bytes are no frame.
pub fn read_control(bytes: &[u8]) -> Result<ControlRead, String> {
    let frame = Control::decode(bytes).map_err(|error| error.to_string())?;
    let bytes = frame.encode_to_vec();
    let (mut texts, mut addresses) = (Vec::new(), Vec::new());
    let config = Config::new("chain", "node");
    match frame.say.ok_or("the frame says nothing")? {
        Say::Hello(hello) => {
            let (id, seen) = (NodeId([1; 20]), IpAddr::from([192, 0, 2, 1]));
            texts.extend([&hello.chain_id, &hello.moniker, &hello.version].map(|text| printable(text)));
            texts.push(hex(&hello.genesis_hash));
            addresses.extend(hello.address(id, seen, Transport::Tcp));
        }
        Say::Refuse(refuse) => texts.push(Refusal::from_wire(&refuse, &config, NodeId([2; 20])).to_string()),
        Say::Addresses(all) if all.addresses.len() > ADDRESSES_PER_MESSAGE_MAX => {
            return Err(format!("{} addresses, at most {ADDRESSES_PER_MESSAGE_MAX} are read", all.addresses.len()));
        }
        Say::Addresses(all) => addresses.extend(all.addresses.iter().filter_map(|text| text.parse().ok())),
        Say::Accept(_) | Say::Ask(_) => {}
    }
    Ok(ControlRead { bytes, texts, addresses })
}

/// Returns a frame of each kind, for tests from outside of this crate.
pub fn control_samples() -> Vec<Vec<u8>> {
    let address = PeerAddress { id: NodeId([3; 20]), host: "10.0.0.1".into(), port: 26656, transport: Transport::Quic };
    let hello = Hello::ours(&Config::new("chain", "node"), 7, 26656);
    let external = Hello { external: "node.example.org:1".into(), ..hello.clone() };
    let refusals = [Refusal::WrongChain { ours: "a".into(), theirs: "b".into() }, Refusal::Full];
    let mut frames = vec![Control::accept(), Control::ask(), Control::addresses([address].into_iter())];
    frames.extend([hello, external].map(|hello| Control { say: Some(Say::Hello(hello)) }));
    frames.extend(refusals.map(|refusal| refusal.to_wire()));
    frames.iter().map(Control::encode_to_vec).collect()
}

/// Returns a hash as upper-case hex digits, at most 32 bytes of it.
pub(crate) fn hex(hash: &[u8]) -> String {
    data_encoding::HEXUPPER.encode(&hash[..hash.len().min(32)])
}

/// Makes a peer's text safe for logs and terminals: no control characters, at most [`TEXT_BYTES_MAX`] bytes.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| is_plain(*c)) {
        if out.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: NodeId = NodeId([3; 20]);

    #[test]
    fn frames_survive_their_bytes() {
        let config = Config::new("chain-1", "moniker\u{1b}[31m");
        let hello = Hello::ours(&config, 7, 26656);
        assert_eq!(hello.moniker, "moniker[31m");
        let frame = Control { say: Some(Say::Hello(hello)) };
        assert_eq!(Control::decode(frame.encode_to_vec().as_slice()), Ok(frame));
    }

    #[test]
    fn a_refusal_is_decoded_by_the_refused_peer() {
        let (mine, theirs) = (Config::new("mine", ""), Config::new("theirs", ""));
        let refusal = Refusal::WrongChain { ours: "theirs".into(), theirs: "mine".into() };
        let Some(Say::Refuse(wire)) = refusal.to_wire().say else { panic!("not a refusal") };
        assert_eq!(
            Refusal::from_wire(&wire, &mine, ID),
            Refusal::WrongChain { ours: "mine".into(), theirs: theirs.chain_id }
        );
        let ours = hex(&[0; 32]);
        for refusal in [
            Refusal::Duplicate,
            Refusal::Full,
            Refusal::Other(99),
            Refusal::WrongId { expected: NodeId([9; 20]), got: ID },
            Refusal::WrongGenesis { theirs: ours.clone(), ours },
            Refusal::SameKey { id: ID, known: "10.0.0.1:26656".into() },
        ] {
            let Some(Say::Refuse(wire)) = refusal.to_wire().say else { panic!("not a refusal") };
            assert_eq!(Refusal::from_wire(&wire, &mine, ID), refusal);
        }
    }

    #[test]
    fn the_announced_external_address_wins_over_the_observed_one() {
        let seen: IpAddr = "10.0.0.9".parse().unwrap();
        let mut hello = Hello { port: 26656, ..Hello::default() };
        assert_eq!(hello.address(ID, seen, Transport::Tcp).unwrap().to_string(), format!("{ID}@10.0.0.9:26656"));
        hello.external = "node.example.org:1".into();
        assert_eq!(
            hello.address(ID, seen, Transport::Quic).unwrap().to_string(),
            format!("{ID}@quic://node.example.org:1")
        );
        for port in [0, 70_000] {
            let hello = Hello { port, ..Hello::default() };
            assert_eq!(hello.address(ID, seen, Transport::Tcp), None);
        }
    }

    #[test]
    fn text_is_cut_at_a_character() {
        let text = printable(&"ä".repeat(200));
        assert_eq!((text.len(), text.chars().count()), (TEXT_BYTES_MAX, TEXT_BYTES_MAX / 2));
    }
}
