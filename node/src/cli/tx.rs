//! `cairn tx` signs and sends transactions, or decodes one.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use client::{Chain, ChainParams, Client, ClientError, fields};
use node::{clock, config::duration_text, exit::Failure};
use serde_json::json;
use types::{Address, ChainId, Deadline, Msg, Time, Transaction, TxBody, TxId, TxOrder, Wire};

use super::{
    args::{NodeArgs, duration},
    explain,
    home::Home,
    keyring::{KeyName, Keyring},
    output,
    query::{self, Status},
    show::{self, Facts, Names},
};

const SEND_HELP: &str = "\
Examples:
  cairn tx send --from alice --to bob --amount 5
  cairn tx send --from alice --to 1A2B...40-hex-digits --amount 5 --json
  cairn tx send --from alice --to bob --amount 5 --unordered --no-wait
  cairn tx send --from alice --to bob --amount 5 --unordered --expires 30s

--from is a key of the keyring (`cairn keys list`). --to is an address or the name of a key.
Nonces put the signer's transactions in order; unordered transactions have none, and expire instead.
A transaction that expires at a time is valid in blocks whose time is before it. A duration in
--expires counts from the time of the node's latest block or from this machine's clock, whichever
is later: on an idle chain the latest block may be old, but the next one has about the current time.
The chain limits how far ahead the expiry may be (tx_ttl_ms_max in `cairn query params`).
Without --nonce, the command tries again with the next nonce if another process has used this one.
The exit code is 0 only if the transaction was committed and succeeded (with --no-wait: was
accepted).";

/// First and longest pause between two status queries for a transaction that is not committed yet.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));
/// Result codes which mean that another transaction has used the nonce meanwhile: E_NONCE, E_IN_MEMPOOL, E_COMMITTED,
/// E_REPLACE_FEE.
const NONCE_TAKEN: [u64; 4] = [5, 65, 66, 68];
/// Maximum attempts of one `send` command, each with the account's next nonce. If several processes send at the same
/// time, at least one of them succeeds with each attempt.
const TRIES_MAX: u32 = 100;
/// Default time until an unordered transaction expires.
const EXPIRES: Expires = Expires::After(Duration::from_secs(60));

/// Sign and send transactions, or decode one
#[derive(Debug, Args)]
pub struct Tx {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Transfer an amount from one of your accounts
    #[command(after_help = SEND_HELP)]
    Send(Send),
    /// Show the content of an encoded transaction
    Decode {
        /// Bytes of the transaction, hexadecimal or base64
        bytes: String,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Send {
    /// Receiver: an address, or the name of a key
    #[arg(long, value_name = "ADDRESS|NAME")]
    to: String,
    /// Amount to transfer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    amount: u64,
    #[command(flatten)]
    signing: Signing,
}

impl Tx {
    /// Runs the subcommand with the keyring and the node of the home.
    ///
    /// Errors: a key or an input is invalid, the node does not respond or refuses the transaction, or the transaction
    /// fails or is not committed within `--timeout`.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        match self.command {
            Command::Send(Send { to, amount, signing }) => {
                let to = Keyring::of(home).address_of(&to)?;
                signing.send(home, Msg::Transfer { to, amount })
            }
            Command::Decode { bytes, json } => decode(home, &bytes, json),
        }
    }
}

/// Who signs, and how the transaction is sent.
#[derive(Debug, Args)]
pub struct Signing {
    /// Name of the key that signs and pays
    #[arg(long, value_name = "NAME")]
    pub from: KeyName,
    #[command(flatten)]
    pub sending: Sending,
}

impl Signing {
    /// Signs and sends a transaction with this message.
    ///
    /// Errors: those of [`Sending::send`], and the address of the node is invalid.
    pub fn send(&self, home: &Home, message: Msg) -> Result<(), Failure> {
        self.sending.send(home, &self.sending.client(home)?, &self.from, &[message])
    }
}

/// How a command signs its transaction, sends it, and waits for it.
#[derive(Debug, Args)]
pub struct Sending {
    /// Fee for the transaction [default: the chain's minimum fee]
    #[arg(long, value_name = "N")]
    fee: Option<u64>,
    /// Nonce of this transaction [default: the signer's next one]
    #[arg(long, value_name = "N", conflicts_with = "unordered")]
    nonce: Option<u64>,
    /// Send without a nonce: the transaction has no order among the signer's transactions, and expires instead
    #[arg(long)]
    unordered: bool,
    /// When the transaction expires: after a duration, such as 30s, or at a time, such as 2026-01-31T12:00:00Z
    /// [default: 1m]
    #[arg(long, value_name = "DURATION|TIME", requires = "unordered", value_parser = expires)]
    expires: Option<Expires>,
    /// Sign for this chain, and fail if the node belongs to another one [default: the node's chain]
    #[arg(long, value_name = "ID")]
    chain_id: Option<ChainId>,
    /// Wait until the transaction is committed; this is the default
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    /// Print the hash once the node has accepted it, and do not wait
    #[arg(long)]
    no_wait: bool,
    /// Maximum time to wait
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s", conflicts_with = "no_wait")]
    timeout: Duration,
    /// Print JSON for programs: one object, at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

/// When an unordered transaction expires.
#[derive(Clone, Copy, Debug)]
enum Expires {
    /// This long after the time of the next block, as far as it is known.
    After(Duration),
    /// At this time.
    At(Time),
}

/// Reads the value of `--expires`.
///
/// Errors: the text is neither a duration nor a time.
fn expires(text: &str) -> Result<Expires, String> {
    match (duration(text), Time::parse(text)) {
        (Ok(after), _) => Ok(Expires::After(after)),
        (_, Ok(time)) => Ok(Expires::At(time)),
        _ => Err("use a duration such as 30s, or an RFC 3339 time such as 2026-01-31T12:00:00Z".to_owned()),
    }
}

impl Sending {
    /// Returns a client of the node that receives the transaction.
    ///
    /// Errors: the address of the node is invalid.
    pub fn client(&self, home: &Home) -> Result<Client, Failure> {
        self.node.client(home)
    }

    /// Returns true if the command waits until the transaction is committed.
    pub fn waits(&self) -> bool {
        !self.no_wait
    }

    /// Returns the maximum time to wait.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Signs a transaction with these messages, sends it to the node of `client`, waits for it if it was asked to, and
    /// prints the result.
    ///
    /// Errors: the key is unknown, the node does not respond or refuses the transaction, or the transaction fails or is
    /// not committed within `--timeout`.
    pub fn send(&self, home: &Home, client: &Client, from: &KeyName, messages: &[Msg]) -> Result<(), Failure> {
        let keyring = Keyring::of(home);
        let account = keyring.get(from)?;
        let chain = client.chain()?;
        let chain_id = self.chain_of(&chain)?;
        let body = |order, fee| TxBody {
            chain_id: chain_id.clone(),
            signer: account.secret.public_key(),
            order,
            fee,
            messages: messages.to_vec(),
        };
        let params = match self.fee {
            Some(_) => None,
            None => Some(client.params()?),
        };
        let mut tries = 1;
        let (id, order) = loop {
            let order = self.order(client, &chain, &account.address())?;
            let largest =
                |params: &ChainParams| params.fee_of(body(order, u64::MAX).sign(&account.secret).bytes().len());
            let fee = self.fee.or_else(|| params.as_ref().map(largest)).unwrap_or_default();
            match submit(client, &body(order, fee).sign(&account.secret))? {
                Submitted::Accepted(id) => break (id, order),
                Submitted::Refused { code, .. } if self.takes_next_nonce(code) && tries < TRIES_MAX => tries += 1,
                Submitted::Refused { code, log } => {
                    if self.json {
                        output::json(&json!({ "code": code, "name": explain::name_of(code), "message": log }));
                    }
                    let why = sentence(code, &log);
                    return Err(Failure::refused(format!("the node refused the transaction: {why}")));
                }
            }
        };
        if self.no_wait {
            if self.json {
                output::json(&json!({ "hash": id.to_string(), "status": "pending" }));
            } else {
                output::line(id);
            }
            return Ok(());
        }
        if !self.json {
            output::line(id);
        }
        let status = wait(client, &id, order, self.timeout)?;
        self.report(&id, &status, &Names::of(&keyring))
    }

    /// Returns the chain for which the transaction is signed.
    fn chain_of(&self, chain: &Chain) -> Result<ChainId, Failure> {
        match &self.chain_id {
            Some(asked) if *asked != chain.chain_id => Err(Failure::refused(format!(
                "the node belongs to chain {}, not {asked}: choose another node with --node, or leave out --chain-id",
                chain.chain_id
            ))),
            _ => Ok(chain.chain_id.clone()),
        }
    }

    /// Returns the order of the transaction: an expiry, the given nonce, or the account's next nonce according
    /// to the node.
    fn order(&self, client: &Client, chain: &Chain, signer: &Address) -> Result<TxOrder, Failure> {
        if self.unordered {
            let expires = match self.expires.unwrap_or(EXPIRES) {
                Expires::After(after) => chain.time.max(clock::wall()).saturating_add(after),
                Expires::At(time) => time,
            };
            return Ok(TxOrder::Expires(Deadline::at(expires)));
        }
        match self.nonce {
            Some(nonce) => Ok(TxOrder::Nonce(nonce)),
            None => Ok(TxOrder::Nonce(client.account(signer)?.nonce)),
        }
    }

    /// Returns true if a refusal means that another process used the nonce that the node returned as the account's
    /// next.
    ///
    /// Two sends of the same amount to the same account with the same nonce are the same transaction. So E_IN_MEMPOOL
    /// and E_COMMITTED have this meaning too.
    fn takes_next_nonce(&self, code: u64) -> bool {
        self.nonce.is_none() && !self.unordered && NONCE_TAKEN.contains(&code)
    }

    fn report(&self, id: &TxId, status: &Status, names: &Names) -> Result<(), Failure> {
        let Status::Committed { height, result, raw, .. } = status else {
            return Err(not_committed(id, status, self.timeout));
        };
        let code = fields::number(result, "/code").unwrap_or(0);
        let log = fields::text(result, "/log").unwrap_or_default();
        if self.json {
            output::json(raw);
        } else {
            let mut facts = Facts::default();
            facts.add("height", height);
            facts.add("result", if code == 0 { "ok".to_owned() } else { format!("failed, code {code}: {log}") });
            names.events(fields::list(result, "/events").unwrap_or(&[]), &mut facts);
            facts.print();
        }
        if code == 0 {
            Ok(())
        } else {
            Err(Failure::refused(format!(
                "transaction {id} was committed at height {height} and failed: {}",
                sentence(code, log)
            )))
        }
    }
}

fn not_committed(id: &TxId, status: &Status, timeout: Duration) -> Failure {
    let timeout = duration_text(timeout);
    match status {
        Status::Expired { why } => {
            Failure::refused(format!("transaction {id} expired before it was committed{why}: send it again"))
        }
        Status::Pending => Failure::refused(format!(
            "transaction {id} still waits after {timeout}: check with `cairn query status` that the height grows. Query the \
             transaction later with `cairn query tx {id}`; do not send it again in the meantime"
        )),
        _ => Failure::refused(format!(
            "the node no longer knows transaction {id} after {timeout}: another transaction may have taken its \
             nonce, or the node was restarted. Check with `cairn query account`, and send it again if needed"
        )),
    }
}

fn sentence(code: u64, log: &str) -> String {
    if log.is_empty() { format!("code {code}") } else { format!("{log} (code {code})") }
}

/// A node's decision about a submitted transaction.
enum Submitted {
    /// The transaction was accepted and waits for a block.
    Accepted(TxId),
    /// The transaction was refused, with this code and this sentence, which includes a remedy.
    Refused { code: u64, log: String },
}

/// Submits a transaction to the node.
///
/// Errors: the node does not respond, or its response has no result code.
fn submit(client: &Client, tx: &Transaction) -> Result<Submitted, Failure> {
    let bytes = data_encoding::BASE64.encode(&tx.encode());
    let answer = client.call("broadcast_tx_sync", json!({ "tx": bytes }))?;
    match fields::number(&answer, "/code")? {
        0 => Ok(Submitted::Accepted(tx.id())),
        code => Ok(Submitted::Refused { code, log: fields::text(&answer, "/log").unwrap_or_default().to_owned() }),
    }
}

/// Queries the status of a transaction until it is committed or expired, or until the time `patience` is over, and
/// returns the last status. The pauses double from query to query: a fast chain is noticed quickly, and a slow chain
/// gets few queries.
fn wait(client: &Client, id: &TxId, order: TxOrder, patience: Duration) -> Result<Status, Failure> {
    let deadline = Instant::now() + patience;
    let (mut pause, longest) = PAUSE;
    loop {
        let status = match query::status_of(client, id) {
            Ok(status) => status,
            // The node may be restarting; the transaction is not lost by that, so the query is retried.
            Err(ClientError::Refused { .. } | ClientError::NoAnswer { .. }) if Instant::now() < deadline => {
                Status::Pending
            }
            Err(error) => {
                return Err(Failure::refused(format!(
                    "{error}. Transaction {id} was sent; query it later with `cairn query tx {id}`"
                )));
            }
        };
        let status = match (status, order) {
            // A transaction that is in no block before its expiry can no longer be committed. The status is queried again
            // after that block, because the transaction may have been committed between the two queries.
            (Status::Unknown, TxOrder::Expires(deadline))
                if client.chain().is_ok_and(|chain| deadline.has_passed(chain.time)) =>
            {
                match query::status_of(client, id) {
                    Ok(Status::Unknown) => Status::Expired { why: format!(" at {deadline}") },
                    other => other?,
                }
            }
            (status, _) => status,
        };
        let over = matches!(status, Status::Committed { .. } | Status::Expired { .. });
        if over || Instant::now() >= deadline {
            return Ok(status);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(longest);
    }
}

fn decode(home: &Home, text: &str, json: bool) -> Result<(), Failure> {
    let tx = show::decode(&show::bytes(text)?)?;
    if json {
        output::json(&show::transaction_json(&tx));
        return Ok(());
    }
    let mut facts = Facts::default();
    facts.add("hash", tx.id());
    Names::of(&Keyring::of(home)).transaction(&tx, &mut facts);
    let valid = tx.verify().is_ok();
    facts.add("signature", if valid { "is the signer's" } else { "is NOT the signer's signature of this body" });
    facts.print();
    Ok(())
}
