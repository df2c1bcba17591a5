//! Arguments that commands about reverts and about other proposals share: what a proposal says, and what a validator votes.

use clap::Args;
use node::exit::Failure;
use types::{Choice, ProposalKind, Propose, Wire};

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
