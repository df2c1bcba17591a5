//! Arguments that commands about reverts and about other proposals share: who signs, and what a validator votes.

use clap::Args;
use node::exit::Failure;
use types::{Choice, Msg, ProposalKind, Propose, Wire};

use super::{home::Home, keyring::KeyName, tx::Sending};

/// What a validator votes.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Ballot {
    /// Vote for it
    #[arg(long)]
    yes: bool,
    /// Vote against it
    #[arg(long)]
    no: bool,
    /// Vote against it, and against returning its deposit
    #[arg(long)]
    veto: bool,
}

/// What a proposal says to people.
#[derive(Debug, Args)]
pub struct Explained {
    /// Reason for people, at most 280 bytes
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Where to read more, at most 256 bytes
    #[arg(long, value_name = "URI", default_value = "", hide_default_value = true)]
    uri: String,
}

/// Who signs, and how the transaction is sent.
#[derive(Debug, Args)]
pub struct Signing {
    /// Name of the key that signs and pays
    #[arg(long, value_name = "NAME")]
    from: KeyName,
    #[command(flatten)]
    sending: Sending,
}

impl Ballot {
    /// Returns the choice that the flags make.
    pub fn choice(&self) -> Choice {
        if self.veto { Choice::Veto } else { self.yes.into() }
    }
}

impl Explained {
    /// Returns a proposal with this explanation.
    ///
    /// Errors: the chain would not decode it. The checks are the same, before anybody signs or pays.
    pub fn propose(self, kind: ProposalKind) -> Result<Propose, Failure> {
        let propose = Propose { kind, reason: self.reason, uri: self.uri };
        Propose::decode(&propose.encode()).map_err(|error| Failure::refused(format!("this is no proposal: {error}")))
    }

    /// Returns an explanation without text.
    pub fn nothing() -> Self {
        Self { reason: String::new(), uri: String::new() }
    }
}

impl Signing {
    /// Signs and sends a transaction with this message.
    ///
    /// Errors: the key is unknown, the node does not respond or refuses, or the transaction fails or is not committed in time.
    pub fn send(&self, home: &Home, message: Msg) -> Result<(), Failure> {
        self.sending.send(home, &self.sending.client(home)?, &self.from, &[message])
    }
}
