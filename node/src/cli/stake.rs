//! `cairn stake` creates and changes validators, and moves the stake behind them.

use clap::{ArgGroup, Args, Subcommand};
use client::fields;
use files::ValidatorKey;
use node::{config::Config, exit::Failure};
use types::{
    Commission, ConsensusKey, Description, Msg, StakeMsg, ValidatorCreate, ValidatorEdit, limits::TX_MESSAGES_MAX,
    possession_message,
};

use super::{home::Home, keyring::Keyring, query, stake_advice, tx::Signing};

const HELP: &str = "\
Examples:
  cairn stake create --from eve --amount 5000000 --moniker eve --commission 5%    on a running node: it signs two heights later
  cairn stake delegate --from bob --to eve --amount 1000000
  cairn stake undelegate --from bob --of eve --amount 400000
  cairn stake cancel --from bob --of eve --id 3 --amount 100000
  cairn stake redelegate --from bob --of eve --to alice --amount 1000000
  cairn query unbonding bob
  cairn stake withdraw --from bob                          all rewards, or with --of those of one validator

A validator is named by its operator, the account that created it: an address or the name of a key.
`create` signs with the consensus key of this home's node to prove that the operator has it.";

/// Create validators, and delegate, move and take back stake
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Stake {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a validator with the consensus key of this home's node
    Create(Create),
    /// Change the description, the commission or the minimum own stake of your validator
    Edit(Edit),
    /// Lock an amount behind a validator
    Delegate {
        /// Operator of the validator: an address, or the name of a key
        #[arg(long, value_name = "ADDRESS|NAME")]
        to: String,
        /// Amount to lock
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        amount: u64,
        #[command(flatten)]
        signing: Signing,
    },
    /// Take stake back; it stays locked for the unbonding time
    #[command(group(ArgGroup::new("how much").args(["amount", "all"]).required(true)))]
    Undelegate {
        /// Operator of the validator: an address, or the name of a key
        #[arg(long, value_name = "ADDRESS|NAME")]
        of: String,
        /// Amount to take back
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        amount: Option<u64>,
        /// Take back all
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        signing: Signing,
    },
    /// Return stake that is being unbonded to its validator
    Cancel {
        /// Operator of the validator: an address, or the name of a key
        #[arg(long, value_name = "ADDRESS|NAME")]
        of: String,
        /// Number of the unbonding, which `cairn query unbonding` shows
        #[arg(long, value_name = "N")]
        id: u64,
        /// Amount to return
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        amount: u64,
        #[command(flatten)]
        signing: Signing,
    },
    /// Move stake to another validator
    Redelegate {
        /// Operator of the validator that loses the stake: an address, or the name of a key
        #[arg(long, value_name = "ADDRESS|NAME")]
        of: String,
        /// Operator of the validator that receives it: an address, or the name of a key
        #[arg(long, value_name = "ADDRESS|NAME")]
        to: String,
        /// Amount to move
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        amount: u64,
        #[command(flatten)]
        signing: Signing,
    },
    /// Let your validator return from jail
    Unjail {
        #[command(flatten)]
        signing: Signing,
    },
    /// Withdraw what your stake has earned
    Withdraw {
        /// Operator of a validator, an address or the name of a key [default: all that owe you something]
        #[arg(long, value_name = "ADDRESS|NAME")]
        of: Option<String>,
        #[command(flatten)]
        signing: Signing,
    },
    /// Withdraw what your validator keeps of the rewards
    Commission {
        #[command(flatten)]
        signing: Signing,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// Amount that the operator locks behind the validator
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    amount: u64,
    /// Name of the validator for people
    #[arg(long, value_name = "TEXT")]
    moniker: String,
    /// Address of a page about the validator
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    website: String,
    /// Further text about the validator
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    details: String,
    /// Share of the rewards that the operator keeps
    #[arg(long, value_name = "PERCENT", value_parser = bps, default_value = "5%")]
    commission: u32,
    /// Maximum of that share, for ever
    #[arg(long, value_name = "PERCENT", value_parser = bps, default_value = "20%")]
    commission_max: u32,
    /// Maximum rise of that share in a day
    #[arg(long, value_name = "PERCENT", value_parser = bps, default_value = "1%")]
    commission_rise: u32,
    /// Minimum of the operator's own stake, below which the validator goes to jail [default: the chain's minimum]
    #[arg(long, value_name = "N")]
    own_min: Option<u64>,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Debug, Args)]
struct Edit {
    /// Name of the validator for people; without it, the description stays
    #[arg(long, value_name = "TEXT")]
    moniker: Option<String>,
    /// Address of a page about the validator
    #[arg(long, value_name = "TEXT", requires = "moniker", default_value = "", hide_default_value = true)]
    website: String,
    /// Further text about the validator
    #[arg(long, value_name = "TEXT", requires = "moniker", default_value = "", hide_default_value = true)]
    details: String,
    /// Share of the rewards that the operator keeps
    #[arg(long, value_name = "PERCENT", value_parser = bps)]
    commission: Option<u32>,
    /// Minimum of the operator's own stake; it can only grow
    #[arg(long, value_name = "N")]
    own_min: Option<u64>,
    #[command(flatten)]
    signing: Signing,
}

/// Reads a percentage with at most two decimals, such as `5%` or `2.25%`, in hundredths of a percent.
///
/// Errors: the text is not such a percentage.
fn bps(text: &str) -> Result<u32, String> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let read = || {
        let whole: u32 = whole.parse().ok()?;
        let padded = format!("{part:0<2}");
        let part: u32 = (padded.len() == 2 && padded.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| padded.parse().ok())
            .flatten()?;
        whole.checked_mul(100)?.checked_add(part).filter(|bps| *bps <= 10_000)
    };
    read().ok_or_else(|| "use a percentage from 0% to 100% with at most two decimals, such as 2.25%".to_owned())
}

/// Withdraws from each validator that owes the signer something, in one transaction. If they are too many for one, from
/// those that owe most.
///
/// Errors: nothing is due; and those of [`Signing::send`].
fn withdraw_all(home: &Home, Signing { from, sending }: &Signing) -> Result<(), Failure> {
    let client = sending.client(home)?;
    let path = format!("/staking/rewards/{}", Keyring::of(home).get(from)?.address());
    let (all, _) = query::pages(&client, &path, "/rewards", None)?;
    let mut due = Vec::new();
    for one in &all {
        due.push((fields::number(one, "/amount")?, fields::text(one, "/validator")?));
    }
    due.retain(|(amount, _)| *amount > 0);
    due.sort_unstable_by(|a, b| b.cmp(a));
    if due.is_empty() {
        return Err(Failure::refused(format!("no validator owes {from} anything: wait for more income")));
    }
    let message = |(_, validator): &(u64, &str)| {
        let validator = validator
            .parse()
            .map_err(|error| Failure::refused(format!("the node's answer names the validator {validator}: {error}")))?;
        Ok(Msg::Stake(StakeMsg::WithdrawRewards { validator }))
    };
    let messages = due.iter().take(TX_MESSAGES_MAX).map(message).collect::<Result<Vec<_>, Failure>>()?;
    sending.send(home, &client, from, &messages)
}

impl Stake {
    /// Runs the subcommand with the keyring, the consensus key and the node of the home.
    ///
    /// Errors: a key or an input is invalid, the node does not respond or refuses, or the transaction fails or is not
    /// committed within `--timeout`.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        let keyring = Keyring::of(home);
        let (message, signing) = match self.command {
            Command::Create(create) => return create.run(home),
            Command::Edit(Edit { moniker, website, details, commission, own_min, signing }) => {
                let description = moniker.map(|moniker| Description { moniker, website, details });
                let edit = ValidatorEdit { description, commission_bps: commission, own_min };
                (StakeMsg::Edit(Box::new(edit)), signing)
            }
            Command::Delegate { to, amount, signing } => {
                let validator = keyring.address_of(&to)?;
                stake_advice::warn_of_power(&signing.sending.client(home)?, Some(&validator), amount);
                (StakeMsg::Delegate { validator, amount }, signing)
            }
            Command::Undelegate { of, amount, all: _, signing } => {
                (StakeMsg::Undelegate { validator: keyring.address_of(&of)?, amount }, signing)
            }
            Command::Cancel { of, id, amount, signing } => {
                (StakeMsg::Cancel { validator: keyring.address_of(&of)?, id, amount }, signing)
            }
            Command::Redelegate { of, to, amount, signing } => {
                let (from, to) = (keyring.address_of(&of)?, keyring.address_of(&to)?);
                (StakeMsg::Redelegate { from, to, amount }, signing)
            }
            Command::Unjail { signing } => (StakeMsg::Unjail, signing),
            Command::Withdraw { of: Some(of), signing } => {
                (StakeMsg::WithdrawRewards { validator: keyring.address_of(&of)? }, signing)
            }
            Command::Withdraw { of: None, signing } => return withdraw_all(home, &signing),
            Command::Commission { signing } => (StakeMsg::WithdrawCommission, signing),
        };
        signing.send(home, Msg::Stake(message))
    }
}

impl Create {
    fn run(self, home: &Home) -> Result<(), Failure> {
        home.must_exist()?;
        let config = Config::load(home.path(), &[])?;
        let key = ValidatorKey::load(&config.priv_validator_key_file())?;
        let Signing { from, sending } = &self.signing;
        let operator = Keyring::of(home).get(from)?.address();
        let client = sending.client(home)?;
        let message = possession_message(&client.chain()?.chain_id, &operator);
        let create = ValidatorCreate {
            public_key: key.public_key(),
            possession: key.secret.sign_message(&message),
            amount: self.amount,
            commission: Commission {
                rate_bps: self.commission,
                max_bps: self.commission_max,
                rise_max_bps: self.commission_rise,
            },
            own_min: self.own_min.map_or_else(|| stake_advice::own_stake_min(&client), Ok)?,
            description: Description { moniker: self.moniker, website: self.website, details: self.details },
        };
        stake_advice::warn_of_node(home, &config, &client, &key.address());
        stake_advice::warn_of_power(&client, None, self.amount);
        sending.send(home, &client, from, &[Msg::Stake(StakeMsg::Create(Box::new(create)))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_two_decimals_at_most() {
        assert_eq!(
            ["0%", "5%", "5", "2.5%", "2.25%", "100%"].map(|text| bps(text).unwrap()),
            [0, 500, 500, 250, 225, 10_000]
        );
        for bad in ["", "%", "-1%", "2.255%", "100.01%", "1.x%", "2 %", "4294967296%"] {
            assert!(bps(bad).is_err(), "{bad}");
        }
    }
}
