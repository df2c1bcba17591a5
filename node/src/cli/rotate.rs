//! `cairn keys rotate` replaces the consensus key of a validator while its node runs.
//!
//! ```text
//!   next_validator_key.json is made ─> transaction, in block H ─> block H + 1 ─> the files change their places
//!         the node reads it here ──────────────┘                      from H + 2 on, the new key signs
//! ```
//! Each step looks at what is there, so the command can be run again after an interruption at any place.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use client::{Client, fields};
use files::{Existing, ValidatorKey, is_absent, sync_folder};
use node::{config::Config, exit::Failure};
use types::{Address, ConsensusKey, KeyRotate, KeyType, Msg, StakeMsg, possession_message};

use super::{
    home::Home,
    keyring::Keyring,
    output,
    query::{self, Answer},
    show::Facts,
    tx::Signing,
};

const HELP: &str = "\
Example:
  cairn keys rotate --from validator-0 --home testnet/node0

Run it on the machine of the validator, whose node runs, with the key of its operator. It
1. creates config/next_validator_key.json, unless that file exists;
2. sends the transaction that gives the validator this key, unless it has it;
3. waits until the old key signs nothing more: the node switches by itself two heights later;
4. makes the new key config/priv_validator_key.json, and the old one config/old_validator_key.json.
Run it again if it was interrupted: it continues where it stopped. Keep the old key until the
time that it prints: evidence against it still hits the validator until then, and the node needs
the file to start as long as the new key has signed nothing.

If the present key is lost, for example because next_validator_key.json was deleted after step 2,
put a copy of it back and start the node again. Without a copy, only another rotation helps, as
soon as the chain allows one: --lost-key, in the home of the validator's node. The validator is in
jail for downtime by then: send `cairn stake unjail` afterwards.";

/// Pause between two questions for the height of the chain.
const PAUSE: Duration = Duration::from_millis(100);

/// Replace the consensus key of your validator while its node runs
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Rotate {
    /// Type of the new consensus key: secp256k1 or ed25519 [default: that of the present one]
    #[arg(long, value_name = "TYPE")]
    key_type: Option<KeyType>,
    /// Replace a key that no file of this home has any more. Only in the home of the validator's node: another node would
    /// get the new key
    #[arg(long)]
    lost_key: bool,
    #[command(flatten)]
    signing: Signing,
}

/// The consensus key of a validator on the chain.
struct OnChain {
    address: Address,
    /// The key before it, until evidence against that one cannot come any more.
    old: Option<Address>,
    /// Time from which evidence against the key before it cannot come any more; `None` if that is so already.
    old_until: Option<String>,
    height: u64,
}

impl Rotate {
    /// Runs the steps that are left.
    ///
    /// Errors: the home's key is not that of the operator's validator, a file cannot be read or written, the node does not
    /// respond or refuses the transaction, or the chain makes no block within `--timeout`.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        home.must_exist()?;
        let config = Config::load(home.path(), &[])?;
        let (file, next_file) = (config.priv_validator_key_file(), config.next_validator_key_file());
        let key = ValidatorKey::load(&file)?;
        let operator = Keyring::of(home).get(&self.signing.from)?.address();
        let client = self.signing.sending.client(home)?;
        let before = on_chain(&client, &operator)?;
        let must_be_ours = || if self.lost_key { Ok(()) } else { before.must_be_of(&key, &operator, &file) };
        if is_absent(&next_file) {
            must_be_ours()?;
            let key_type = self.key_type.unwrap_or_else(|| key.public_key().key_type());
            ValidatorKey::generate(key_type)?.save(&next_file, Existing::Refuse)?;
        }
        let next = ValidatorKey::load(&next_file)?;
        if before.address != next.address() {
            must_be_ours()?;
            let message = possession_message(&client.chain()?.chain_id, &operator);
            let rotate = KeyRotate { public_key: next.public_key(), possession: next.secret.sign_message(&message) };
            self.signing.send(home, Msg::Stake(StakeMsg::RotateKey(Box::new(rotate))))?;
            if !self.signing.sending.waits() {
                output::note("run the command again when the transaction is committed: the files are not changed yet");
                return Ok(());
            }
        }
        let after = on_chain(&client, &operator)?;
        after.must_be_of(&next, &operator, &next_file)?;
        self.wait_for(&client, after.height + 1)?;
        let old_file = config.old_validator_key_file();
        switch(&key, [&file, &next_file, &old_file])?;
        let mut facts = Facts::default();
        facts.add("new key", format!("{} in {}", next.address(), file.display()));
        facts.add("old key", format!("{} in {}", key.address(), old_file.display()));
        let until = on_chain(&client, &operator)?.old_until.map(|until| format!("{until}, and ")).unwrap_or_default();
        facts.add("keep it until", format_args!("{until}the new key has signed"));
        facts.print();
        Ok(())
    }

    fn wait_for(&self, client: &Client, height: u64) -> Result<(), Failure> {
        let deadline = Instant::now() + self.signing.sending.timeout();
        while client.chain()?.height.0 < height {
            if Instant::now() > deadline {
                return Err(Failure::refused(format!(
                    "height {height} was not decided in time, so the old key may still sign: run the command again later"
                )));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// Returns the consensus key of the operator's validator in the latest state.
fn on_chain(client: &Client, operator: &Address) -> Result<OnChain, Failure> {
    let Answer { value, height } = query::state(client, &format!("/staking/validator/{operator}"), &[], None)?;
    let address = fields::text(&value, "/consensus_address")?;
    let address = address
        .parse()
        .map_err(|error| Failure::refused(format!("the node's answer has the consensus address {address}: {error}")))?;
    let old = fields::text(&value, "/old_key/consensus_address").ok().and_then(|old| old.parse().ok());
    let old_until = fields::text(&value, "/old_key/until").ok().map(str::to_owned);
    Ok(OnChain { address, old, old_until, height })
}

impl OnChain {
    /// Checks that the validator on the chain has the key of a file.
    ///
    /// Errors: it has another one; the failure says what to do if the chain shows that this one was replaced.
    fn must_be_of(&self, key: &ValidatorKey, operator: &Address, file: &Path) -> Result<(), Failure> {
        let (now, there, file) = (self.address, key.address(), file.display());
        if now == there {
            return Ok(());
        }
        Err(Failure::refused(if self.old == Some(there) {
            let until = self.old_until.as_deref().unwrap_or("the time that E_ROTATED names");
            format!(
                "the validator of {operator} replaced its consensus key {there}, which is in {file}, and has the key {now}, which \
                 no file of this home has. Put a copy of next_validator_key.json back beside it and start the node again; \
                 without it, the validator signs nothing and goes to jail for downtime. If there is no copy, run this command \
                 with --lost-key after {until}, and `cairn stake unjail` then"
            )
        } else {
            format!(
                "the validator of {operator} has the consensus key {now}, and {file} has {there}: run the command in the home of \
                 the validator's node, with the key of its operator. If this is that home, its key was replaced and is lost: \
                 put a copy back as next_validator_key.json, or replace it with --lost-key"
            )
        }))
    }
}

/// Makes the next key the validator's. At each moment the validator's file has one of both keys.
fn switch(key: &ValidatorKey, [file, next, old]: [&PathBuf; 3]) -> Result<(), Failure> {
    key.save(old, Existing::Replace)?;
    let moved = fs::rename(next, file).and_then(|()| file.parent().map_or(Ok(()), sync_folder));
    moved.map_err(|error| Failure::file("write", file, &error))
}
