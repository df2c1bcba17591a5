//! The subcommands of `cairn proposal` that propose and decide: parameters, upgrades, payments and texts.

use clap::Subcommand;
use node::exit::Failure;
use types::{Act, Height, Msg, ParamChange, ProposalKind, UpgradePlan};

use super::{
    args::height,
    home::Home,
    keyring::Keyring,
    tx::Signing,
    voting::{Ballot, Explained},
};

#[derive(Debug, Subcommand)]
pub enum Decide {
    /// Propose other parameters of the chain; `cairn query params` shows the present ones
    Params {
        /// A parameter and its new value, such as block.max_bytes=2000000; may be repeated
        #[arg(long, value_name = "NAME=VALUE", required = true, value_parser = change)]
        set: Vec<ParamChange>,
        #[command(flatten)]
        explained: Explained,
        #[command(flatten)]
        signing: Signing,
    },
    /// Propose that another program executes the chain from a height on
    Upgrade {
        /// Name of the upgrade, which that program knows
        #[arg(long)]
        name: String,
        /// First height of that program
        #[arg(long, value_parser = height)]
        height: Height,
        /// Where that program is, for people and supervisors, at most 1024 bytes
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        info: String,
        #[command(flatten)]
        explained: Explained,
        #[command(flatten)]
        signing: Signing,
    },
    /// Propose to cancel the planned upgrade; `cairn query upgrade` shows it
    UpgradeCancel {
        #[command(flatten)]
        explained: Explained,
        #[command(flatten)]
        signing: Signing,
    },
    /// Propose to pay an amount of the community pool to an account
    Spend {
        /// Who receives it: an address, or the name of a key
        #[arg(long, value_name = "ADDRESS|NAME")]
        to: String,
        /// Amount to pay from the pool
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        amount: u64,
        #[command(flatten)]
        explained: Explained,
        #[command(flatten)]
        signing: Signing,
    },
    /// Propose a text, which changes nothing by itself
    Text {
        /// Title, at most 140 bytes
        #[arg(long, value_name = "TEXT")]
        title: String,
        /// What is decided, at most 4096 bytes
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        body: String,
        #[command(flatten)]
        explained: Explained,
        #[command(flatten)]
        signing: Signing,
    },
    /// Vote on a proposal as the operator of a validator; a later vote replaces it until the proposal is closed
    Vote {
        /// Number of the proposal
        id: u64,
        #[command(flatten)]
        ballot: Ballot,
        #[command(flatten)]
        signing: Signing,
    },
    /// Withdraw a proposal that you made and that is not scheduled yet
    Cancel {
        /// Number of the proposal
        id: u64,
        #[command(flatten)]
        signing: Signing,
    },
}

impl Decide {
    /// Signs and sends the transaction of the subcommand.
    ///
    /// Errors: an input is invalid, the key is unknown, the node does not respond or refuses, or the transaction fails or is
    /// not committed in time.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        let (act, explained, signing) = match self {
            Self::Params { set, explained, signing } => (Act::Params(set), explained, signing),
            Self::Upgrade { name, height, info, explained, signing } => {
                (Act::Upgrade(UpgradePlan { name, height, info }), explained, signing)
            }
            Self::UpgradeCancel { explained, signing } => (Act::UpgradeCancel, explained, signing),
            Self::Spend { to, amount, explained, signing } => {
                (Act::Spend { to: Keyring::of(home).address_of(&to)?, amount }, explained, signing)
            }
            Self::Text { title, body, explained, signing } => (Act::Text { title, body }, explained, signing),
            Self::Vote { id, ballot, signing } => {
                return signing.send(home, Msg::Vote { id, choice: ballot.choice() });
            }
            Self::Cancel { id, signing } => return signing.send(home, Msg::Cancel { id }),
        };
        signing.send(home, Msg::Propose(Box::new(explained.propose(ProposalKind::Act(act))?)))
    }
}

/// Reads the change of a parameter, such as `fee_min=2`.
///
/// Errors: the text is not a name and a whole number.
fn change(text: &str) -> Result<ParamChange, String> {
    let parts = text.split_once('=').and_then(|(name, value)| Some((name, value.parse().ok()?)));
    let (name, value) = parts.ok_or("use a name and a whole number, such as block.max_bytes=2000000")?;
    Ok(ParamChange { name: name.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_name_and_a_number() {
        assert_eq!(change("block.max_gas=-1"), Ok(ParamChange { name: "block.max_gas".into(), value: -1 }));
        for bad in ["", "fee_min", "fee_min=", "fee_min=x", "fee_min=1.5", "fee_min=9223372036854775808"] {
            assert!(change(bad).is_err(), "{bad}");
        }
    }
}
