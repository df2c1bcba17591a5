//! What the validators decide beside reverts, as proposals carry it: changes of parameters, upgrades of the program,
//! payments of the community pool, and statements.

use std::collections::BTreeSet;

use crate::{
    Address, Height,
    limits::{
        PARAM_CHANGES_MAX, PARAM_NAME_BYTES_MAX, STATEMENT_BODY_BYTES_MAX, STATEMENT_TITLE_BYTES_MAX,
        UPGRADE_INFO_BYTES_MAX, UPGRADE_NAME_BYTES_MAX,
    },
    pb,
    text::{is_plain, plain},
    wire::{self, DecodeError},
};

/// An act of the validators: all that they decide, except reverts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Changes parameters, 1 to [`PARAM_CHANGES_MAX`], each once.
    Params(Vec<ParamChange>),
    /// Plans an upgrade of the program.
    Upgrade(UpgradePlan),
    /// Removes the plan of an upgrade.
    UpgradeCancel,
    /// Pays from the community pool.
    Spend {
        /// Address that receives the amount.
        to: Address,
        /// Amount to pay, at least 1.
        amount: u64,
    },
    /// Changes nothing: the decision itself is the result.
    Text {
        /// Title, 1 to [`STATEMENT_TITLE_BYTES_MAX`] bytes without control characters.
        title: String,
        /// What is decided, at most [`STATEMENT_BODY_BYTES_MAX`] bytes without control characters except line breaks.
        body: String,
    },
}

/// The change of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamChange {
    /// Name of the parameter in the genesis document, such as `block.max_bytes`, at most [`PARAM_NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// New value, in the unit of the genesis document.
    pub value: i64,
}

/// The plan that another program executes the chain from a height on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradePlan {
    /// Name of the upgrade, which programs that have it know: 1 to [`UPGRADE_NAME_BYTES_MAX`] lower-case letters,
    /// digits, `.`, `-` and `_`; the first one is a letter or a digit.
    pub name: String,
    /// First height that is executed by a program that has the upgrade.
    pub height: Height,
    /// Where the program is, for people and for supervisors: at most [`UPGRADE_INFO_BYTES_MAX`] bytes without control
    /// characters.
    pub info: String,
}

impl Act {
    /// Returns the kind of the act as one identifier for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Params(_) => "params",
            Self::Upgrade(_) => "upgrade",
            Self::UpgradeCancel => "upgrade_cancel",
            Self::Spend { .. } => "spend",
            Self::Text { .. } => "text",
        }
    }

    pub(crate) fn to_kind(&self) -> pb::propose::Kind {
        use pb::propose::Kind;
        match self {
            Self::Params(changes) => {
                let change = |change: &ParamChange| pb::ParamChange { name: change.name.clone(), value: change.value };
                Kind::Params(pb::ParamsChange { changes: changes.iter().map(change).collect() })
            }
            Self::Upgrade(plan) => Kind::Upgrade(plan.to_pb()),
            Self::UpgradeCancel => Kind::UpgradeCancel(pb::UpgradeCancel {}),
            Self::Spend { to, amount } => Kind::Spend(pb::Spend { to: to.0.to_vec(), amount: *amount }),
            Self::Text { title, body } => Kind::Text(pb::Statement { title: title.clone(), body: body.clone() }),
        }
    }

    pub(crate) fn params(pb: pb::ParamsChange) -> Result<Self, DecodeError> {
        const CHANGES: &str = "propose.params.changes";
        if !(1..=PARAM_CHANGES_MAX).contains(&pb.changes.len()) {
            let reason = format!("{} parameters, 1 to {PARAM_CHANGES_MAX} are allowed", pb.changes.len());
            return Err(DecodeError::field(CHANGES, reason));
        }
        let mut names = BTreeSet::new();
        let change = |pb: pb::ParamChange| {
            let name = plain("propose.params.changes.name", pb.name, PARAM_NAME_BYTES_MAX)?;
            if !names.insert(name.clone()) {
                return Err(DecodeError::field(CHANGES, format!("names {name} twice")));
            }
            Ok(ParamChange { name, value: pb.value })
        };
        Ok(Self::Params(pb.changes.into_iter().map(change).collect::<Result<_, _>>()?))
    }

    pub(crate) fn spend(pb: &pb::Spend) -> Result<Self, DecodeError> {
        Ok(Self::Spend { to: wire::address("propose.spend.to", &pb.to)?, amount: pb.amount })
    }

    pub(crate) fn text(pb: pb::Statement) -> Result<Self, DecodeError> {
        const TITLE: &str = "propose.text.title";
        const BODY: &str = "propose.text.body";
        let title = plain(TITLE, pb.title, STATEMENT_TITLE_BYTES_MAX)?;
        if title.is_empty() {
            return Err(DecodeError::field(TITLE, "is empty"));
        }
        if pb.body.len() > STATEMENT_BODY_BYTES_MAX {
            let reason = format!("{} bytes, at most {STATEMENT_BODY_BYTES_MAX} are allowed", pb.body.len());
            return Err(DecodeError::field(BODY, reason));
        }
        if !pb.body.chars().all(|c| c == '\n' || is_plain(c)) {
            return Err(DecodeError::field(BODY, "has control characters other than line breaks"));
        }
        Ok(Self::Text { title, body: pb.body })
    }
}

impl UpgradePlan {
    /// Converts to the generated structure, which is also the row of the state.
    pub fn to_pb(&self) -> pb::Upgrade {
        pb::Upgrade { name: self.name.clone(), height: wire::height_pb(self.height), info: self.info.clone() }
    }

    /// Converts from the generated structure and checks it.
    ///
    /// Errors: `Field` with the field that breaks an invariant.
    pub fn from_pb(pb: pb::Upgrade) -> Result<Self, DecodeError> {
        if !is_upgrade_name(&pb.name) {
            let reason = format!(
                "use 1 to {UPGRADE_NAME_BYTES_MAX} lower-case letters, digits, '.', '-' and '_', and begin with a letter or a digit"
            );
            return Err(DecodeError::field("propose.upgrade.name", reason));
        }
        Ok(Self {
            name: pb.name,
            height: wire::height("propose.upgrade.height", pb.height)?,
            info: plain("propose.upgrade.info", pb.info, UPGRADE_INFO_BYTES_MAX)?,
        })
    }
}

/// Returns true if a text may be the name of an upgrade. Supervisors use it as the name of a folder.
fn is_upgrade_name(name: &str) -> bool {
    let is_first = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_allowed = |c: u8| is_first(c) || matches!(c, b'.' | b'-' | b'_');
    name.len() <= UPGRADE_NAME_BYTES_MAX && name.bytes().next().is_some_and(is_first) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ProposalKind, Propose, Wire};

    fn propose(act: Act) -> Propose {
        Propose { kind: ProposalKind::Act(act), reason: String::new(), uri: String::new() }
    }

    fn change(name: &str, value: i64) -> ParamChange {
        ParamChange { name: name.into(), value }
    }

    fn plan(name: &str, info: &str) -> Act {
        Act::Upgrade(UpgradePlan { name: name.into(), height: Height(300), info: info.into() })
    }

    fn text(title: &str, body: &str) -> Act {
        Act::Text { title: title.into(), body: body.into() }
    }

    #[test]
    fn golden_bytes_of_acts() {
        let golden = [
            (
                Act::Params(vec![change("fee_min", 3), change("block.max_gas", -1)]),
                "52290A0B0A076665655F6D696E10030A1A",
            ),
            (plan("v2", "u"), "5A0A0A02763210AC021A0175"),
            (Act::UpgradeCancel, "6200"),
            (Act::Spend { to: Address([9; 20]), amount: 7 }, "6A180A140909090909090909090909090909090909090909"),
            (text("t", "a\nb"), "72080A0174120361"),
        ];
        for (act, begin) in golden {
            let bytes = propose(act.clone()).encode();
            assert_eq!(Propose::decode(&bytes), Ok(propose(act)));
            assert!(data_encoding::HEXUPPER.encode(&bytes).starts_with(begin), "{bytes:02X?}");
        }
    }

    #[test]
    fn an_error_names_the_field() {
        let reason = |act: Act| Propose::decode(&propose(act).encode()).unwrap_err().to_string();
        assert!(reason(Act::Params(vec![])).starts_with("propose.params.changes: 0 parameters, 1 to 64"));
        assert!(reason(Act::Params(vec![change("a", 1); 65])).contains("65 parameters"));
        assert!(reason(Act::Params(vec![change("a", 1); 2])).contains("names a twice"));
        assert!(reason(Act::Params(vec![change(&"n".repeat(65), 1)])).contains("name: 65 bytes, at most 64"));
        for name in ["", "V2", ".", "-a", "a/b", "a b", &"n".repeat(65)] {
            assert!(reason(plan(name, "")).starts_with("propose.upgrade.name: use 1 to 64"), "{name}");
        }
        assert!(reason(plan("v2", "a\nb")).starts_with("propose.upgrade.info: has control characters"));
        assert!(reason(plan("v2", &"i".repeat(1025))).contains("1025 bytes, at most 1024"));
        assert!(reason(text("", "")).starts_with("propose.text.title: is empty"));
        assert!(reason(text(&"t".repeat(141), "")).contains("at most 140"));
        assert!(reason(text("t", &"b".repeat(4097))).contains("at most 4096"));
        assert!(reason(text("t", "a\u{1b}[2J")).starts_with("propose.text.body: has control characters"));
        let pb = pb::Propose {
            kind: Some(pb::propose::Kind::Upgrade(pb::Upgrade { name: "v2".into(), height: -1, info: String::new() })),
            ..pb::Propose::default()
        };
        assert!(Propose::from_pb(pb).unwrap_err().to_string().starts_with("propose.upgrade.height"));
        let pb = pb::Propose {
            kind: Some(pb::propose::Kind::Spend(pb::Spend { to: vec![1], amount: 1 })),
            ..pb::Propose::default()
        };
        assert!(Propose::from_pb(pb).unwrap_err().to_string().starts_with("propose.spend.to: 1 bytes"));
    }
}
