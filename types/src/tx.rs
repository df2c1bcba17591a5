//! Transactions, which accounts sign.

use std::{ops::Deref, sync::Arc};

use prost::Message;
use thiserror::Error;

use crate::{
    Address, ChainId, Deadline, Hash, KvOp, List, NsOwner, Propose, PublicKey, SecretKey, SignatureError, StakeMsg,
    TxId, TxSignature, kv,
    limits::{TX_BYTES_MAX, TX_MESSAGES_MAX},
    pb,
    wire::{self, DecodeError, Wire},
};

/// Separates the signatures of transactions from all other messages that a key may sign.
const DIGEST_CONTEXT: &str = "cairn transaction v1";

/// Order of a transaction among those of its signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxOrder {
    /// The signer's next number, from 0: the transactions are executed one after the other.
    Nonce(u64),
    /// No order: the transaction is valid once, in blocks whose header time is before this deadline.
    Expires(Deadline),
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Msg {
    /// Moves `amount` from the signer to `to`.
    Transfer {
        /// Address that receives the amount.
        to: Address,
        /// Amount to move, at least 1.
        amount: u64,
    },
    /// Creates an empty namespace. The signer pays the deposit for it.
    NsCreate {
        /// Name of the namespace; [`NsName`](crate::NsName) says which names are allowed.
        ns: String,
        /// The accounts that may write to it.
        owner: NsOwner,
        /// Maximum number of keys in it.
        quota_keys: u64,
        /// Maximum bytes of all its keys and values together.
        quota_bytes: u64,
    },
    /// Changes keys of a namespace, in the order of the operations.
    KvWrite {
        /// Name of the namespace.
        ns: String,
        /// The namespace's epoch that the signer knows: the write fails after the data was reverted.
        data_epoch: u64,
        /// Operations, 1 to [`KV_OPS_MAX`](crate::limits::KV_OPS_MAX).
        ops: Vec<KvOp>,
    },
    /// Asks the validators for a decision. The signer pays a deposit.
    Propose(Box<Propose>),
    /// Votes on a proposal, with the power of the validator whose operator signs. It replaces an earlier vote.
    Vote {
        /// Number of the proposal.
        id: u64,
        /// What the validator votes.
        choice: Choice,
    },
    /// Demands, with the power of the validator whose operator signs, that the namespaces of a proposal take no writes
    /// until it is decided.
    Freeze {
        /// Number of the proposal.
        id: u64,
    },
    /// Withdraws a proposal of the signer that is not decided yet.
    Cancel {
        /// Number of the proposal.
        id: u64,
    },
    /// Changes validators and the stake behind them.
    Stake(StakeMsg),
}

/// What a validator votes on a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The validator wants what is proposed.
    Yes,
    /// The validator does not want it.
    No,
    /// The validator does not want it, and is against returning the deposit.
    Veto,
}

/// True is a vote for the proposal, false one against it.
impl From<bool> for Choice {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl Choice {
    /// Returns the choice as one identifier for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Veto => "no_with_veto",
        }
    }

    /// Returns the two fields that encode the choice: `yes` and `veto`.
    pub fn to_flags(self) -> (bool, bool) {
        (self == Self::Yes, self == Self::Veto)
    }

    /// Returns the choice that two fields encode; `None` if both are true.
    pub fn from_flags(yes: bool, veto: bool) -> Option<Self> {
        match (yes, veto) {
            (true, true) => None,
            (true, false) => Some(Self::Yes),
            (false, true) => Some(Self::Veto),
            (false, false) => Some(Self::No),
        }
    }
}

/// The signed content of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxBody {
    /// Id of the chain that the transaction is for.
    pub chain_id: ChainId,
    /// Public key of the account that signs and pays.
    pub signer: PublicKey,
    /// Order of the transaction among those of its signer.
    pub order: TxOrder,
    /// Fee that the signer pays for the inclusion.
    pub fee: u64,
    /// Messages of the transaction, 1 to [`TX_MESSAGES_MAX`]; they succeed or fail together.
    pub messages: Vec<Msg>,
}

/// A signed transaction with an unverified signature. Cheap to clone.
///
/// The bytes are kept as they arrived, so that nothing depends on a second encoding being identical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction(Arc<Parts>);

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    bytes: Vec<u8>,
    id: TxId,
    body: TxBody,
    digest: Hash,
    signature: TxSignature,
}

/// A transaction whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedTx(Transaction);

/// Reason why bytes are not a valid signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TxError {
    /// The bytes are not a transaction.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The signature does not hold.
    #[error("transaction.signature: {0}")]
    Signature(#[from] SignatureError),
}

impl TxBody {
    /// Signs the body; `key` must be the key of `self.signer`.
    pub fn sign(self, key: &SecretKey) -> Transaction {
        let body = self.encode();
        let digest = digest(&body);
        let signature = key.sign_recoverable(&digest);
        let bytes = pb::Transaction { body, signature: signature.0.to_vec() }.encode_to_vec();
        Transaction::new(bytes, self, digest, signature)
    }
}

fn digest(body_bytes: &[u8]) -> Hash {
    Hash(::blake3::derive_key(DIGEST_CONTEXT, body_bytes))
}

impl Transaction {
    fn new(bytes: Vec<u8>, body: TxBody, digest: Hash, signature: TxSignature) -> Self {
        let id = TxId::of(&bytes);
        Self(Arc::new(Parts { bytes, id, body, digest, signature }))
    }

    /// Returns the signed content of the transaction.
    pub fn body(&self) -> &TxBody {
        &self.0.body
    }

    /// Returns the full bytes, signature included.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Returns the signature over [`Transaction::digest`].
    pub fn signature(&self) -> &TxSignature {
        &self.0.signature
    }

    /// Returns the BLAKE3 of the body's bytes, with a context of its own. This is what is signed. It also identifies
    /// duplicates of unordered transactions: a signer may sign one body twice with different signatures, but it is
    /// executed once.
    pub fn digest(&self) -> Hash {
        self.0.digest
    }

    /// Returns the id: SHA-256 of the full bytes, signature included.
    pub fn id(&self) -> TxId {
        self.0.id
    }

    /// Checks the signature. Cost: about 39 µs.
    ///
    /// Errors: `SignatureError::Mismatch` if the signature does not hold.
    pub fn verify(self) -> Result<VerifiedTx, SignatureError> {
        if self.holds() { Ok(VerifiedTx(self)) } else { Err(SignatureError::Mismatch) }
    }

    /// Returns true if the signature holds. Cost: about 39 µs; less in a [`verify_batch`](crate::verify_batch).
    pub fn holds(&self) -> bool {
        self.body().signer.verify_recoverable(&self.digest(), self.signature()).is_ok()
    }
}

impl VerifiedTx {
    /// Wraps a transaction whose exact bytes this node has verified before, according to its cache.
    pub fn verified_before(transaction: Transaction) -> Self {
        Self(transaction)
    }

    /// Decodes a transaction and checks its signature.
    ///
    /// Errors: [`TxError::Decode`] if the bytes are not a transaction, [`TxError::Signature`] if the signature does not
    /// hold.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TxError> {
        Ok(Transaction::decode(bytes)?.verify()?)
    }
}

impl Deref for VerifiedTx {
    type Target = Transaction;
    fn deref(&self) -> &Transaction {
        &self.0
    }
}

impl Wire for TxBody {
    type Pb = pb::TxBody;
    const NAME: &'static str = "transaction body";
    const BYTES_MAX: usize = TX_BYTES_MAX;
    const LISTS: &'static [List] = &[List::new("transaction.messages", &[6], TX_MESSAGES_MAX)];

    fn to_pb(&self) -> pb::TxBody {
        let message = |message: &Msg| pb::Msg { sum: Some(message_pb(message)) };
        pb::TxBody {
            chain_id: self.chain_id.as_str().to_owned(),
            signer: self.signer.bytes().to_vec(),
            fee: self.fee,
            messages: self.messages.iter().map(message).collect(),
            order: Some(match self.order {
                TxOrder::Nonce(nonce) => pb::tx_body::Order::Nonce(nonce),
                TxOrder::Expires(deadline) => pb::tx_body::Order::ExpiresMs(deadline.unix_millis()),
            }),
        }
    }

    fn from_pb(pb: pb::TxBody) -> Result<Self, DecodeError> {
        if pb.messages.is_empty() {
            return Err(DecodeError::field("transaction.messages", "there is none, at least 1 is needed"));
        }
        wire::at_most("transaction.messages", pb.messages.len(), TX_MESSAGES_MAX)?;
        Ok(Self {
            chain_id: ChainId::new(&pb.chain_id).map_err(|e| DecodeError::field("transaction.chain_id", e))?,
            signer: PublicKey::from_bytes(&pb.signer).map_err(|e| DecodeError::field("transaction.signer", e))?,
            order: match wire::required("transaction.order", pb.order)? {
                pb::tx_body::Order::Nonce(nonce) => TxOrder::Nonce(nonce),
                pb::tx_body::Order::ExpiresMs(millis) => {
                    let deadline = Deadline::from_unix_millis(millis).ok_or_else(|| {
                        DecodeError::field("transaction.expires_ms", format!("{millis} is after the year 2262"))
                    })?;
                    TxOrder::Expires(deadline)
                }
            },
            fee: pb.fee,
            messages: pb.messages.into_iter().map(message).collect::<Result<_, _>>()?,
        })
    }
}

fn message_pb(message: &Msg) -> pb::msg::Sum {
    match message {
        Msg::Transfer { to, amount } => pb::msg::Sum::Transfer(pb::Transfer { to: to.0.to_vec(), amount: *amount }),
        Msg::NsCreate { ns, owner, quota_keys, quota_bytes } => pb::msg::Sum::NsCreate(pb::NsCreate {
            ns: ns.clone(),
            owner: Some(kv::owner_pb(*owner)),
            quota_keys: *quota_keys,
            quota_bytes: *quota_bytes,
        }),
        Msg::KvWrite { ns, data_epoch, ops } => {
            pb::msg::Sum::KvWrite(pb::KvWrite { ns: ns.clone(), data_epoch: *data_epoch, ops: kv::ops_pb(ops) })
        }
        Msg::Propose(propose) => pb::msg::Sum::Propose(propose.to_pb()),
        Msg::Vote { id, choice } => {
            let (yes, veto) = choice.to_flags();
            pb::msg::Sum::Vote(pb::ProposalVote { id: *id, yes, veto })
        }
        Msg::Freeze { id } => pb::msg::Sum::Freeze(pb::ProposalFreeze { id: *id }),
        Msg::Cancel { id } => pb::msg::Sum::Cancel(pb::ProposalCancel { id: *id }),
        Msg::Stake(stake) => stake.to_sum(),
    }
}

fn message(pb: pb::Msg) -> Result<Msg, DecodeError> {
    Ok(match wire::required("transaction.messages", pb.sum)? {
        pb::msg::Sum::Transfer(transfer) => Msg::Transfer {
            to: wire::address("transaction.messages.transfer.to", &transfer.to)?,
            amount: transfer.amount,
        },
        pb::msg::Sum::NsCreate(create) => Msg::NsCreate {
            ns: create.ns,
            owner: kv::owner(create.owner)?,
            quota_keys: create.quota_keys,
            quota_bytes: create.quota_bytes,
        },
        pb::msg::Sum::KvWrite(write) => {
            Msg::KvWrite { ns: write.ns, data_epoch: write.data_epoch, ops: kv::ops(write.ops)? }
        }
        pb::msg::Sum::Propose(propose) => Msg::Propose(Box::new(Propose::from_pb(propose)?)),
        pb::msg::Sum::Vote(vote) => {
            let both = || DecodeError::field("transaction.messages.vote.veto", "is set together with yes");
            Msg::Vote { id: vote.id, choice: Choice::from_flags(vote.yes, vote.veto).ok_or_else(both)? }
        }
        pb::msg::Sum::Freeze(freeze) => Msg::Freeze { id: freeze.id },
        pb::msg::Sum::Cancel(cancel) => Msg::Cancel { id: cancel.id },
        pb::msg::Sum::ValidatorCreate(create) => Msg::Stake(StakeMsg::create(create)?),
        pb::msg::Sum::ValidatorEdit(edit) => Msg::Stake(StakeMsg::edit(edit)),
        pb::msg::Sum::Delegate(delegate) => Msg::Stake(StakeMsg::delegate(&delegate)?),
        pb::msg::Sum::Undelegate(undelegate) => Msg::Stake(StakeMsg::undelegate(&undelegate)?),
        pb::msg::Sum::UndelegateCancel(cancel) => Msg::Stake(StakeMsg::cancel(&cancel)?),
        pb::msg::Sum::Redelegate(redelegate) => Msg::Stake(StakeMsg::redelegate(&redelegate)?),
        pb::msg::Sum::Unjail(_) => Msg::Stake(StakeMsg::Unjail),
        pb::msg::Sum::RewardsWithdraw(withdraw) => Msg::Stake(StakeMsg::withdraw_rewards(&withdraw)?),
        pb::msg::Sum::CommissionWithdraw(_) => Msg::Stake(StakeMsg::WithdrawCommission),
        pb::msg::Sum::KeyRotate(rotate) => Msg::Stake(StakeMsg::rotate_key(rotate)?),
    })
}

impl Wire for Transaction {
    type Pb = pb::Transaction;
    const NAME: &'static str = "transaction";
    const BYTES_MAX: usize = TX_BYTES_MAX;

    fn to_pb(&self) -> pb::Transaction {
        pb::Transaction::decode(self.bytes()).expect("these bytes were decoded or encoded before")
    }

    fn from_pb(pb: pb::Transaction) -> Result<Self, DecodeError> {
        let signature = pb.signature.as_slice().try_into().map(TxSignature).map_err(|_| {
            DecodeError::field("transaction.signature", format!("{} bytes, a signature has 65", pb.signature.len()))
        })?;
        Ok(Self::new(pb.encode_to_vec(), TxBody::decode(&pb.body)?, digest(&pb.body), signature))
    }

    fn encode(&self) -> Vec<u8> {
        self.bytes().to_vec()
    }

    /// Decodes a transaction. Only the bytes that [`Wire::encode`] writes are accepted, so that one signed body with
    /// one signature has one transaction id.
    ///
    /// Errors: `TooLarge`, `Protobuf`, or `Field` with the field that is wrong or if the encoding is not canonical.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(DecodeError::TooLarge { name: Self::NAME, got: bytes.len(), max: Self::BYTES_MAX });
        }
        let pb = pb::Transaction::decode(bytes)
            .map_err(|e| DecodeError::Protobuf { name: Self::NAME, reason: e.to_string() })?;
        let tx = Self::from_pb(pb)?;
        if tx.bytes() != bytes {
            return Err(DecodeError::field("transaction", "is not in canonical encoding"));
        }
        Ok(tx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SecretKey {
        SecretKey::from_bytes(&[3; 32]).unwrap()
    }

    fn deadline() -> Deadline {
        Deadline::from_unix_millis(1_795_000_000_000).unwrap()
    }

    fn body(order: TxOrder) -> TxBody {
        TxBody {
            chain_id: ChainId::new("cairn-test").unwrap(),
            signer: key().public_key(),
            order,
            fee: 2,
            messages: vec![Msg::Transfer { to: Address([9; 20]), amount: 5 }],
        }
    }

    #[test]
    fn signed_decoded_and_verified() {
        for order in [TxOrder::Nonce(0), TxOrder::Nonce(7), TxOrder::Expires(deadline())] {
            let tx = body(order).sign(&key());
            let bytes = tx.encode();
            let verified = VerifiedTx::from_bytes(&bytes).unwrap();
            assert_eq!(*verified, tx);
            assert_eq!(verified.id(), TxId::of(&bytes));
        }
    }

    #[test]
    fn a_transaction_with_a_changed_byte_is_refused() {
        let bytes = body(TxOrder::Nonce(1)).sign(&key()).encode();
        for index in 0..bytes.len() {
            for flip in [1, 0x80] {
                let mut changed = bytes.clone();
                changed[index] ^= flip;
                assert!(VerifiedTx::from_bytes(&changed).is_err(), "byte {index}");
            }
        }
        assert!(VerifiedTx::from_bytes(&[bytes.clone(), vec![0x18, 1]].concat()).is_err(), "unknown field");
        assert!(VerifiedTx::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn an_error_names_the_field() {
        let reason = |change: fn(&mut pb::TxBody)| {
            let mut pb = body(TxOrder::Nonce(0)).to_pb();
            change(&mut pb);
            TxBody::from_pb(pb).unwrap_err().to_string()
        };
        assert!(reason(|pb| pb.messages.clear()).starts_with("transaction.messages"));
        assert!(reason(|pb| pb.order = None).starts_with("transaction.order"));
        assert!(reason(|pb| pb.signer.clear()).starts_with("transaction.signer"));
        assert!(reason(|pb| pb.chain_id.clear()).starts_with("transaction.chain_id"));
        assert!(reason(|pb| pb.messages = vec![pb.messages[0].clone(); 17]).contains("at most 16"));
        let never = |pb: &mut pb::TxBody| pb.order = Some(pb::tx_body::Order::ExpiresMs(u64::MAX));
        assert!(reason(never).starts_with("transaction.expires_ms"));
    }

    #[test]
    fn golden_bytes_of_votes() {
        let messages = vec![
            Msg::Vote { id: 4, choice: Choice::Yes },
            Msg::Vote { id: 4, choice: Choice::No },
            Msg::Freeze { id: 4 },
            Msg::Cancel { id: 4 },
        ];
        let body = TxBody { messages, ..body(TxOrder::Nonce(1)) };
        let bytes = body.encode();
        assert_eq!(TxBody::decode(&bytes), Ok(body));
        let expected = ["32062A0408041001", "32042A020804", "320432020804", "32043A020804"].concat();
        assert!(data_encoding::HEXUPPER.encode(&bytes).ends_with(&expected), "{bytes:02X?}");
    }

    #[test]
    fn golden_bytes() {
        let tx = body(TxOrder::Nonce(1)).sign(&key());
        assert_eq!(tx.encode().len(), 148);
        assert_eq!(tx.id().to_string(), "E21E2B2A76E30A2A52CE85DFA9D4371CB8A5732F10C8C82D00A59FAE6CE8CA96");
        let tx = body(TxOrder::Expires(deadline())).sign(&key());
        assert_eq!(tx.encode().len(), 153);
        assert_eq!(tx.id().to_string(), "F319B7BC1FEBBDDDFAE38C652DF6F350C7BCD2F13607C310A2214FE7D4F5CCC4");
    }
}
