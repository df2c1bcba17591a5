//! Stake, as transactions carry it: validators are created, and owners of money delegate to them.
//!
//! A transaction carries what its author wrote, within the bounds of memory. Whether it is possible is decided by the
//! application, which refuses each mistake with a code of its own.

use crate::{
    Address, ChainId, ConsensusPublicKey, Signature, SignatureError, pb,
    wire::{self, DecodeError, Wire},
};

/// An operation on stake. The signer is the operator of the validator, or the delegator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StakeMsg {
    /// Creates a validator whose operator is the signer.
    Create(Box<ValidatorCreate>),
    /// Changes the validator of the signer.
    Edit(Box<ValidatorEdit>),
    /// Locks `amount` of the signer behind a validator.
    Delegate {
        /// Operator of the validator.
        validator: Address,
        /// Amount that the signer locks.
        amount: u64,
    },
    /// Takes stake of the signer back. It stays locked for the unbonding time.
    Undelegate {
        /// Operator of the validator.
        validator: Address,
        /// Amount to take back; `None` for all.
        amount: Option<u64>,
    },
    /// Returns stake of the signer that is being unbonded to its validator.
    Cancel {
        /// Operator of the validator.
        validator: Address,
        /// Number of the unbonding, which is unique for the validator.
        id: u64,
        /// Amount that returns to the validator.
        amount: u64,
    },
    /// Moves stake of the signer to another validator.
    Redelegate {
        /// Operator of the validator that loses the stake.
        from: Address,
        /// Operator of the validator that receives it.
        to: Address,
        /// Amount that moves to the other validator.
        amount: u64,
    },
    /// Lets the validator of the signer return from jail.
    Unjail,
    /// Pays the signer what its stake at a validator has earned.
    WithdrawRewards {
        /// Operator of the validator.
        validator: Address,
    },
    /// Pays the signer what its validator keeps of the rewards.
    WithdrawCommission,
    /// Gives the validator of the signer another consensus key.
    RotateKey(Box<KeyRotate>),
}

/// A consensus key that replaces the one of a validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRotate {
    /// New consensus key of the validator.
    pub public_key: ConsensusPublicKey,
    /// Signature of that key over [`possession_message`].
    pub possession: Signature,
}

/// A validator that does not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorCreate {
    /// Consensus key of the validator.
    pub public_key: ConsensusPublicKey,
    /// Signature of that key over [`possession_message`].
    pub possession: Signature,
    /// Amount that the operator delegates to the validator.
    pub amount: u64,
    /// Share of the rewards that the operator keeps.
    pub commission: Commission,
    /// Minimum of the operator's own stake.
    pub own_min: u64,
    /// Description of the validator for people.
    pub description: Description,
}

/// The parts of a validator that change; `None` leaves a part as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidatorEdit {
    /// Description that replaces the present one.
    pub description: Option<Description>,
    /// New share of the rewards, in hundredths of a percent.
    pub commission_bps: Option<u32>,
    /// New minimum of the operator's own stake.
    pub own_min: Option<u64>,
}

/// Share of the rewards that an operator keeps, in hundredths of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commission {
    /// Share that the operator keeps at present.
    pub rate_bps: u32,
    /// Maximum share, for ever.
    pub max_bps: u32,
    /// Maximum rise of the share in a day.
    pub rise_max_bps: u32,
}

/// Description of a validator for people. The application limits its lengths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Name of the validator for people.
    pub moniker: String,
    /// Address of a page; may be empty.
    pub website: String,
    /// Further text; may be empty.
    pub details: String,
}

/// Returns the message that a consensus key signs to prove that the operator possesses it.
///
/// Its first bytes are those of no vote and no proposal: read as the length and the first field of one, they are invalid.
pub fn possession_message(chain_id: &ChainId, operator: &Address) -> Vec<u8> {
    format!("cairn validator possession v1\n{chain_id}\n{operator}").into_bytes()
}

impl ValidatorCreate {
    /// Checks that the consensus key was signed with for this chain and operator. Cost: one signature check.
    ///
    /// Errors: `SignatureError::Mismatch` if the signature does not hold.
    pub fn check_possession(&self, chain_id: &ChainId, operator: &Address) -> Result<(), SignatureError> {
        self.public_key.verify(&possession_message(chain_id, operator), &self.possession)
    }
}

impl KeyRotate {
    /// Checks that the consensus key was signed with for this chain and operator. Cost: one signature check.
    ///
    /// Errors: `SignatureError::Mismatch` if the signature does not hold.
    pub fn check_possession(&self, chain_id: &ChainId, operator: &Address) -> Result<(), SignatureError> {
        self.public_key.verify(&possession_message(chain_id, operator), &self.possession)
    }
}

impl StakeMsg {
    pub(crate) fn to_sum(&self) -> pb::msg::Sum {
        use pb::msg::Sum;
        match self {
            Self::Create(create) => Sum::ValidatorCreate(create_pb(create)),
            Self::Edit(edit) => Sum::ValidatorEdit(pb::ValidatorEdit {
                description: edit.description.as_ref().map(description_pb),
                commission_bps: edit.commission_bps,
                own_min: edit.own_min,
            }),
            Self::Delegate { validator, amount } => {
                Sum::Delegate(pb::Delegate { validator: validator.0.to_vec(), amount: *amount })
            }
            Self::Undelegate { validator, amount } => {
                Sum::Undelegate(pb::Undelegate { validator: validator.0.to_vec(), amount: *amount })
            }
            Self::Cancel { validator, id, amount } => Sum::UndelegateCancel(pb::UndelegateCancel {
                validator: validator.0.to_vec(),
                id: *id,
                amount: *amount,
            }),
            Self::Redelegate { from, to, amount } => {
                Sum::Redelegate(pb::Redelegate { from: from.0.to_vec(), to: to.0.to_vec(), amount: *amount })
            }
            Self::Unjail => Sum::Unjail(pb::Unjail {}),
            Self::WithdrawRewards { validator } => {
                Sum::RewardsWithdraw(pb::RewardsWithdraw { validator: validator.0.to_vec() })
            }
            Self::WithdrawCommission => Sum::CommissionWithdraw(pb::CommissionWithdraw {}),
            Self::RotateKey(rotate) => Sum::KeyRotate(pb::KeyRotate {
                pub_key: Some(rotate.public_key.to_pb()),
                possession: rotate.possession.0.to_vec(),
            }),
        }
    }

    pub(crate) fn create(pb: pb::ValidatorCreate) -> Result<Self, DecodeError> {
        const KEY: &str = "validator_create.pub_key";
        let possession = possession("validator_create.possession", &pb.possession)?;
        let commission = wire::required("validator_create.commission", pb.commission)?;
        Ok(Self::Create(Box::new(ValidatorCreate {
            public_key: ConsensusPublicKey::from_pb(wire::required(KEY, pb.pub_key)?)?,
            possession,
            amount: pb.amount,
            commission: Commission {
                rate_bps: commission.rate_bps,
                max_bps: commission.max_bps,
                rise_max_bps: commission.rise_max_bps,
            },
            own_min: pb.own_min,
            description: description(wire::required("validator_create.description", pb.description)?),
        })))
    }

    pub(crate) fn edit(pb: pb::ValidatorEdit) -> Self {
        Self::Edit(Box::new(ValidatorEdit {
            description: pb.description.map(description),
            commission_bps: pb.commission_bps,
            own_min: pb.own_min,
        }))
    }

    pub(crate) fn delegate(pb: &pb::Delegate) -> Result<Self, DecodeError> {
        let validator = wire::address("delegate.validator", &pb.validator)?;
        Ok(Self::Delegate { validator, amount: pb.amount })
    }

    pub(crate) fn undelegate(pb: &pb::Undelegate) -> Result<Self, DecodeError> {
        let validator = wire::address("undelegate.validator", &pb.validator)?;
        Ok(Self::Undelegate { validator, amount: pb.amount })
    }

    pub(crate) fn cancel(pb: &pb::UndelegateCancel) -> Result<Self, DecodeError> {
        let validator = wire::address("undelegate_cancel.validator", &pb.validator)?;
        Ok(Self::Cancel { validator, id: pb.id, amount: pb.amount })
    }

    pub(crate) fn rotate_key(pb: pb::KeyRotate) -> Result<Self, DecodeError> {
        let public_key = ConsensusPublicKey::from_pb(wire::required("key_rotate.pub_key", pb.pub_key)?)?;
        let possession = possession("key_rotate.possession", &pb.possession)?;
        Ok(Self::RotateKey(Box::new(KeyRotate { public_key, possession })))
    }

    pub(crate) fn redelegate(pb: &pb::Redelegate) -> Result<Self, DecodeError> {
        let [from, to] = [("redelegate.from", &pb.from), ("redelegate.to", &pb.to)];
        Ok(Self::Redelegate { from: wire::address(from.0, from.1)?, to: wire::address(to.0, to.1)?, amount: pb.amount })
    }

    pub(crate) fn withdraw_rewards(pb: &pb::RewardsWithdraw) -> Result<Self, DecodeError> {
        Ok(Self::WithdrawRewards { validator: wire::address("rewards_withdraw.validator", &pb.validator)? })
    }
}

fn possession(field: &'static str, bytes: &[u8]) -> Result<Signature, DecodeError> {
    let reason = || format!("{} bytes, a signature has 64", bytes.len());
    bytes.try_into().map(Signature).map_err(|_| DecodeError::field(field, reason()))
}

fn create_pb(create: &ValidatorCreate) -> pb::ValidatorCreate {
    pb::ValidatorCreate {
        pub_key: Some(create.public_key.to_pb()),
        possession: create.possession.0.to_vec(),
        amount: create.amount,
        commission: Some(pb::Commission {
            rate_bps: create.commission.rate_bps,
            max_bps: create.commission.max_bps,
            rise_max_bps: create.commission.rise_max_bps,
        }),
        own_min: create.own_min,
        description: Some(description_pb(&create.description)),
    }
}

fn description_pb(description: &Description) -> pb::Description {
    pb::Description {
        moniker: description.moniker.clone(),
        website: description.website.clone(),
        details: description.details.clone(),
    }
}

fn description(pb: pb::Description) -> Description {
    Description { moniker: pb.moniker, website: pb.website, details: pb.details }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConsensusKey, ConsensusSecretKey, KeyType, Msg, TxBody, TxOrder};

    fn chain_id() -> ChainId {
        ChainId::new("cairn-test").unwrap()
    }

    fn create(key_type: KeyType) -> ValidatorCreate {
        let key = ConsensusSecretKey::from_bytes(key_type, &[7; 32]).unwrap();
        ValidatorCreate {
            public_key: key.public_key(),
            possession: key.sign_message(&possession_message(&chain_id(), &Address([9; 20]))),
            amount: 5_000_000,
            commission: Commission { rate_bps: 500, max_bps: 2000, rise_max_bps: 100 },
            own_min: 1_000_000,
            description: Description { moniker: "eve".into(), website: "w".into(), details: "d".into() },
        }
    }

    fn rotate(key_type: KeyType) -> KeyRotate {
        let ValidatorCreate { public_key, possession, .. } = create(key_type);
        KeyRotate { public_key, possession }
    }

    #[test]
    fn golden_message_of_possession() {
        let expected = "cairn validator possession v1\ncairn-test\n0909090909090909090909090909090909090909";
        assert_eq!(possession_message(&chain_id(), &Address([9; 20])), expected.as_bytes());
    }

    #[test]
    fn possession_is_of_one_key_for_one_chain_and_operator() {
        for key_type in KeyType::ALL {
            let create = create(key_type);
            assert_eq!(create.check_possession(&chain_id(), &Address([9; 20])), Ok(()));
            assert!(create.check_possession(&chain_id(), &Address([8; 20])).is_err());
            assert!(create.check_possession(&ChainId::new("cairn-tess").unwrap(), &Address([9; 20])).is_err());
            assert_eq!(rotate(key_type).check_possession(&chain_id(), &Address([9; 20])), Ok(()));
            assert!(rotate(key_type).check_possession(&chain_id(), &Address([8; 20])).is_err());
            let other = ConsensusSecretKey::from_bytes(key_type, &[8; 32]).unwrap().public_key();
            let other = ValidatorCreate { public_key: other, ..create };
            assert!(other.check_possession(&chain_id(), &Address([9; 20])).is_err());
        }
    }

    #[test]
    fn golden_bytes_of_messages() {
        let (a, b) = (Address([0xAA; 20]), Address([0xBB; 20]));
        let key = crate::SecretKey::from_bytes(&[3; 32]).unwrap();
        let edit = ValidatorEdit { description: None, commission_bps: Some(600), own_min: Some(7) };
        let messages = [
            StakeMsg::Create(Box::new(create(KeyType::Ed25519))),
            StakeMsg::Edit(Box::new(edit)),
            StakeMsg::Delegate { validator: a, amount: 5 },
            StakeMsg::Undelegate { validator: a, amount: Some(5) },
            StakeMsg::Undelegate { validator: a, amount: None },
            StakeMsg::Cancel { validator: a, id: 3, amount: 5 },
            StakeMsg::Redelegate { from: a, to: b, amount: 5 },
            StakeMsg::Unjail,
            StakeMsg::WithdrawRewards { validator: a },
            StakeMsg::WithdrawCommission,
            StakeMsg::RotateKey(Box::new(rotate(KeyType::Ed25519))),
        ];
        let body = TxBody {
            chain_id: chain_id(),
            signer: key.public_key(),
            order: TxOrder::Nonce(1),
            fee: 2,
            messages: messages.into_iter().map(Msg::Stake).collect(),
        };
        let bytes = body.encode();
        assert_eq!(TxBody::decode(&bytes), Ok(body));
        let hex = data_encoding::HEXUPPER.encode(&bytes);
        let (aa, bb) = ("AA".repeat(20), "BB".repeat(20));
        let rest = [
            "3289014286010A220A20".into(),
            "EA4A6C63E29C520ABEF5507B132EC5F9954776AEBEBE7B92421EEA691446D22C".into(),
            "1240".into(),
            "EEF27127740CA5C58DE4913A59CEB88CFDB2703582C599425D72890ADFFEB7F4".into(),
            "3EA0158F2B8DE81F75AD1D0BC3A2F615FB42FB4EBCCC752256ACC0596C2AB902".into(),
            "18C096B102220808F40310D00F186428C0843D320B0A036576651201771A0164".into(),
            "32074A0510D8041807".into(),
            format!("321A52180A14{aa}1005"),
            format!("321A5A180A14{aa}1005"),
            format!("32185A160A14{aa}"),
            format!("321C621A0A14{aa}10031805"),
            format!("32306A2E0A14{aa}1214{bb}1805"),
            "32027200".to_owned(),
            format!("3219F201160A14{aa}"),
            "3203FA0100".to_owned(),
            "32698202660A220A20".into(),
            "EA4A6C63E29C520ABEF5507B132EC5F9954776AEBEBE7B92421EEA691446D22C".into(),
            "1240".into(),
            "EEF27127740CA5C58DE4913A59CEB88CFDB2703582C599425D72890ADFFEB7F4".into(),
            "3EA0158F2B8DE81F75AD1D0BC3A2F615FB42FB4EBCCC752256ACC0596C2AB902".into(),
        ];
        assert!(hex.ends_with(&rest.concat()), "{hex}");
    }

    #[test]
    fn an_error_names_the_field() {
        let reason = |change: fn(&mut pb::ValidatorCreate)| {
            let mut pb = create_pb(&create(KeyType::Secp256k1));
            change(&mut pb);
            StakeMsg::create(pb).unwrap_err().to_string()
        };
        assert!(reason(|pb| pb.pub_key = None).starts_with("validator_create.pub_key"));
        assert!(reason(|pb| pb.possession = vec![1]).starts_with("validator_create.possession: 1 bytes"));
        assert!(reason(|pb| pb.commission = None).starts_with("validator_create.commission"));
        assert!(reason(|pb| pb.description = None).starts_with("validator_create.description"));
        let bad = pb::KeyRotate { pub_key: None, possession: vec![1] };
        assert!(StakeMsg::rotate_key(bad).unwrap_err().to_string().starts_with("key_rotate.pub_key"));
        let bad = pb::KeyRotate { pub_key: create_pb(&create(KeyType::Ed25519)).pub_key, possession: vec![1] };
        assert!(StakeMsg::rotate_key(bad).unwrap_err().to_string().starts_with("key_rotate.possession: 1 bytes"));
        let delegate = pb::Delegate { validator: vec![1], amount: 1 };
        assert!(StakeMsg::delegate(&delegate).unwrap_err().to_string().starts_with("delegate.validator"));
    }
}
