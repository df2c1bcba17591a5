//! The format of the stake in a genesis document: terms of validators, and delegations.

use app::{FirstDelegation, FirstTerms, JailReason};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use types::{Address, Commission, Description, KeyType};

use crate::json::{self, FieldError, KeyShape, number, text};

/// Terms as they are read and written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TermsShape {
    #[serde(with = "text")]
    operator: Address,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub_key: Option<KeyShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commission: Option<CommissionShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    own_min: Option<Number>,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    moniker: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    website: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    details: String,
    #[serde(
        serialize_with = "jail_name",
        deserialize_with = "jail_reason",
        skip_serializing_if = "Option::is_none",
        default
    )]
    jailed: Option<JailReason>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
struct Number(#[serde(with = "number")] u64);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommissionShape {
    #[serde(with = "number")]
    rate_bps: u32,
    #[serde(with = "number")]
    max_bps: u32,
    #[serde(with = "number")]
    rise_max_bps: u32,
}

fn jail_name<S: Serializer>(why: &Option<JailReason>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(why.map_or("", JailReason::name))
}

fn jail_reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<JailReason>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let why = JailReason::from_name(&name);
    why.map(Some).ok_or_else(|| de::Error::custom("is no reason for jail: use own_stake, or leave it out"))
}

impl From<&FirstTerms> for TermsShape {
    fn from(terms: &FirstTerms) -> Self {
        let Description { moniker, website, details } = terms.description.clone();
        let commission = |Commission { rate_bps, max_bps, rise_max_bps }: Commission| CommissionShape {
            rate_bps,
            max_bps,
            rise_max_bps,
        };
        Self {
            operator: terms.operator,
            pub_key: terms.public_key.as_ref().map(KeyShape::public),
            commission: terms.commission.map(commission),
            own_min: terms.own_min.map(Number),
            moniker,
            website,
            details,
            jailed: terms.jailed,
        }
    }
}

impl TryFrom<TermsShape> for FirstTerms {
    type Error = FieldError;

    fn try_from(shape: TermsShape) -> Result<Self, FieldError> {
        let TermsShape { operator, pub_key, commission, own_min, moniker, website, details, jailed } = shape;
        let key = |key: KeyShape| key.to_public(&KeyType::ALL).map_err(|error| error.within("pub_key"));
        let commission = commission.map(|CommissionShape { rate_bps, max_bps, rise_max_bps }| Commission {
            rate_bps,
            max_bps,
            rise_max_bps,
        });
        Ok(Self {
            operator,
            public_key: pub_key.map(key).transpose()?,
            commission,
            own_min: own_min.map(|Number(min)| min),
            description: Description { moniker, website, details },
            jailed,
        })
    }
}

/// A delegation as it is read and written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DelegationShape {
    #[serde(with = "text")]
    delegator: Address,
    #[serde(with = "text")]
    validator: Address,
    #[serde(with = "number")]
    amount: u64,
}

impl From<&FirstDelegation> for DelegationShape {
    fn from(FirstDelegation { delegator, validator, amount }: &FirstDelegation) -> Self {
        Self { delegator: *delegator, validator: *validator, amount: *amount }
    }
}

impl From<DelegationShape> for FirstDelegation {
    fn from(DelegationShape { delegator, validator, amount }: DelegationShape) -> Self {
        Self { delegator, validator, amount }
    }
}

/// Reads an amount, whose field has this path; null is 0, as an absent field is.
///
/// Errors: [`FieldError`] if it is no amount.
pub(crate) fn amount(value: &Value, path: &str) -> Result<u64, FieldError> {
    if value.is_null() { Ok(0) } else { json::read_part(value, path).map(|Number(amount)| amount) }
}
