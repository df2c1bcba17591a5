//! Proposals to the validators, as transactions carry them.
//!
//! They are not the proposals of consensus, which propose a block. A transaction carries what its author wrote, within
//! the bounds of memory. Whether a name is allowed, and whether the proposal is possible, is decided by the application,
//! which refuses each with a code of its own.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    Act, Hash, Height, UpgradePlan,
    limits::{PROPOSAL_REASON_BYTES_MAX, PROPOSAL_URI_BYTES_MAX, REVERT_SCOPE_MAX, TX_BYTES_MAX},
    pb,
    text::plain,
    wire::{self, DecodeError, Wire},
};

/// What an account asks the validators to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propose {
    /// The effect of the decision.
    pub kind: ProposalKind,
    /// Reason for people, at most [`PROPOSAL_REASON_BYTES_MAX`] bytes without control characters; may be empty.
    pub reason: String,
    /// Where to read more, at most [`PROPOSAL_URI_BYTES_MAX`] bytes without control characters; may be empty.
    pub uri: String,
}

/// The effect of a decision of the validators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposalKind {
    /// Namespaces return to their content at an earlier height.
    Revert(Revert),
    /// Anything else that validators decide.
    Act(Act),
}

/// The return of namespaces to their content at a height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revert {
    /// Height whose content returns.
    pub target: Height,
    /// The namespaces, 1 to [`REVERT_SCOPE_MAX`], each once.
    pub scope: Vec<RevertScope>,
    /// Block time between the decision and its execution, in whole milliseconds; `None` for the chain's minimum.
    pub notice: Option<Duration>,
    /// Condition: no namespace of the scope changes after this height, so that the revert takes back only what was
    /// known to its author.
    pub dirty_after: Option<Height>,
}

/// One namespace that a revert returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevertScope {
    /// Name of the namespace; [`NsName`](crate::NsName) says which names are allowed.
    pub ns: String,
    /// Condition: the root that the namespace had at the target height.
    pub expect_root: Option<Hash>,
}

impl Wire for Propose {
    type Pb = pb::Propose;
    const NAME: &'static str = "proposal";
    const BYTES_MAX: usize = TX_BYTES_MAX;

    fn to_pb(&self) -> pb::Propose {
        let kind = match &self.kind {
            ProposalKind::Revert(revert) => pb::propose::Kind::Revert(revert_pb(revert)),
            ProposalKind::Act(act) => act.to_kind(),
        };
        pb::Propose { kind: Some(kind), reason: self.reason.clone(), uri: self.uri.clone() }
    }

    fn from_pb(pb: pb::Propose) -> Result<Self, DecodeError> {
        use pb::propose::Kind;
        let kind = match wire::required("propose.kind", pb.kind)? {
            Kind::Revert(pb) => ProposalKind::Revert(revert(pb)?),
            Kind::Params(pb) => ProposalKind::Act(Act::params(pb)?),
            Kind::Upgrade(pb) => ProposalKind::Act(Act::Upgrade(UpgradePlan::from_pb(pb)?)),
            Kind::UpgradeCancel(_) => ProposalKind::Act(Act::UpgradeCancel),
            Kind::Spend(pb) => ProposalKind::Act(Act::spend(&pb)?),
            Kind::Text(pb) => ProposalKind::Act(Act::text(pb)?),
        };
        let reason = plain("propose.reason", pb.reason, PROPOSAL_REASON_BYTES_MAX)?;
        Ok(Self { kind, reason, uri: plain("propose.uri", pb.uri, PROPOSAL_URI_BYTES_MAX)? })
    }
}

fn revert_pb(revert: &Revert) -> pb::Revert {
    let scope = |scope: &RevertScope| pb::RevertScope {
        ns: scope.ns.clone(),
        expect_root: scope.expect_root.map(|root| root.0.to_vec()),
    };
    pb::Revert {
        target_height: wire::height_pb(revert.target),
        scope: revert.scope.iter().map(scope).collect(),
        notice_ms: revert.notice.map(|notice| notice.as_millis() as u64),
        dirty_after: revert.dirty_after.map(wire::height_pb),
    }
}

fn revert(pb: pb::Revert) -> Result<Revert, DecodeError> {
    const SCOPE: &str = "propose.revert.scope";
    if !(1..=REVERT_SCOPE_MAX).contains(&pb.scope.len()) {
        let reason = format!("{} namespaces, 1 to {REVERT_SCOPE_MAX} are allowed", pb.scope.len());
        return Err(DecodeError::field(SCOPE, reason));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = pb.scope.iter().find(|scope| !names.insert(&scope.ns)) {
        let name: String = twice.ns.chars().take(80).collect();
        return Err(DecodeError::field(SCOPE, format!("names {name:?} twice")));
    }
    let scope = |pb: pb::RevertScope| {
        let root = |root: Vec<u8>| wire::hash("propose.revert.scope.expect_root", &root);
        Ok(RevertScope { ns: pb.ns, expect_root: pb.expect_root.map(root).transpose()? })
    };
    let dirty_after = pb.dirty_after.map(|height| wire::height("propose.revert.dirty_after", height));
    Ok(Revert {
        target: wire::height("propose.revert.target_height", pb.target_height)?,
        scope: pb.scope.into_iter().map(scope).collect::<Result<_, DecodeError>>()?,
        notice: pb.notice_ms.map(Duration::from_millis),
        dirty_after: dirty_after.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn propose() -> Propose {
        Propose {
            kind: ProposalKind::Revert(Revert {
                target: Height(88_120),
                scope: vec![
                    RevertScope { ns: "shared/policy".into(), expect_root: Some(Hash([0x1D; 32])) },
                    RevertScope { ns: "shared/tools".into(), expect_root: None },
                ],
                notice: Some(Duration::from_secs(60)),
                dirty_after: Some(Height(88_200)),
            }),
            reason: "supply-chain prompt".into(),
            uri: "https://example.org/incident".into(),
        }
    }

    #[test]
    fn golden_bytes_of_a_proposal() {
        let bytes = propose().encode();
        assert_eq!(Propose::decode(&bytes), Ok(propose()));
        let expected = [
            "0A4F08B8B005",
            "12310A0D7368617265642F706F6C6963791220",
            &"1D".repeat(32),
            "120E0A0C7368617265642F746F6F6C73",
            "18E0D403",
            "2088B105",
            "1213737570706C792D636861696E2070726F6D7074",
            "1A1C68747470733A2F2F6578616D706C652E6F72672F696E636964656E74",
        ];
        assert_eq!(data_encoding::HEXUPPER.encode(&bytes), expected.concat());
    }

    #[test]
    fn an_error_names_the_field() {
        let reason = |change: fn(&mut pb::Propose, &mut pb::Revert)| {
            let mut pb = propose().to_pb();
            let Some(pb::propose::Kind::Revert(mut revert)) = pb.kind.take() else { unreachable!() };
            change(&mut pb, &mut revert);
            pb.kind = Some(pb::propose::Kind::Revert(revert));
            Propose::decode(&prost::Message::encode_to_vec(&pb)).unwrap_err().to_string()
        };
        assert!(reason(|pb, _| pb.reason = "r".repeat(281)).starts_with("propose.reason: 281 bytes, at most 280"));
        assert!(reason(|pb, _| pb.reason = "a\u{1b}[2J".into()).starts_with("propose.reason: has control characters"));
        assert!(reason(|pb, _| pb.reason = "a\u{202E}b".into()).starts_with("propose.reason: has control characters"));
        assert!(reason(|pb, _| pb.uri = "u".repeat(257)).starts_with("propose.uri: 257 bytes"));
        assert!(reason(|_, revert| revert.scope.clear()).starts_with("propose.revert.scope: 0 namespaces, 1 to 32"));
        assert!(reason(|_, revert| revert.scope.resize(33, Default::default())).contains("33 namespaces"));
        assert!(
            reason(|_, revert| revert.scope[1].ns = "shared/policy".into()).contains("names \"shared/policy\" twice")
        );
        assert!(reason(|_, revert| revert.scope[0].expect_root = Some(vec![1])).contains("expect_root: 1 bytes"));
        assert!(reason(|_, revert| revert.target_height = -1).starts_with("propose.revert.target_height"));
        assert!(reason(|_, revert| revert.dirty_after = Some(-1)).starts_with("propose.revert.dirty_after"));
        let empty = pb::Propose { kind: None, ..propose().to_pb() };
        assert!(Propose::from_pb(empty).unwrap_err().to_string().starts_with("propose.kind"));
    }
}
