//! Proves that our light client believes what an unmodified one of Tendermint believes, unless a signature is wrong.

mod common;

use std::time::Duration;

use common::{Block, Does, block, set};
use light::{HeaderError, verify_header};
use proptest::prelude::*;
use tendermint::block::signed_header::SignedHeader;
use tendermint_light_client_verifier::{
    ProdVerifier, Verdict, Verifier,
    options::Options,
    types::{TrustThreshold, TrustedBlockState, UntrustedBlockState, ValidatorSet},
};
use tendermint_proto::v0_38 as proto;
use types::{CommitError, Hash, Height, LightBlock, LightClientAttackEvidence, Wire};

/// Decodes our bytes as a type of the other implementation.
fn theirs<T: prost::Message + Default>(bytes: &[u8]) -> T {
    T::decode(bytes).unwrap()
}

fn their_set(ours: &types::ValidatorSet) -> ValidatorSet {
    let set: ValidatorSet = theirs::<proto::types::ValidatorSet>(&ours.encode()).try_into().unwrap();
    ValidatorSet::without_proposer(set.validators().clone())
}

/// Returns the other client's verdict about a block, if it trusts `trusted` as the set after height 41.
fn their_verdict(block: &Block, trusted: &types::ValidatorSet) -> Verdict {
    let header = theirs::<proto::types::Header>(&block.header.encode()).try_into().unwrap();
    let commit = theirs::<proto::types::Commit>(&block.commit.encode()).try_into().unwrap();
    let signed_header = SignedHeader::new(header, commit).unwrap();
    let (validators, next_validators) = (their_set(&block.validators), their_set(trusted));
    let options = Options {
        trust_threshold: TrustThreshold::ONE_THIRD,
        trusting_period: Duration::from_secs(3600),
        clock_drift: Duration::from_secs(5),
    };
    let time = tendermint::Time::parse_from_rfc3339(&common::time().to_string()).unwrap();
    let header_time = (time + Duration::from_secs(41)).unwrap();
    ProdVerifier::default().verify_update_header(
        UntrustedBlockState { signed_header: &signed_header, validators: &validators, next_validators: None },
        TrustedBlockState {
            chain_id: &"light-test".try_into().unwrap(),
            header_time,
            height: 41_u32.into(),
            next_validators: &next_validators,
            next_validators_hash: next_validators.hash(),
        },
        &options,
        (time + Duration::from_secs(600)).unwrap(),
    )
}

fn does() -> impl Strategy<Value = Vec<Does>> {
    let one = prop_oneof![12 => Just(Does::Sign), 1 => Just(Does::SignNil), 1 => Just(Does::SignWrongly), 4 => Just(Does::Nothing)];
    proptest::collection::vec(one, 8)
}

/// Compares the verdicts. They differ in one case, in which ours is the stricter one: the other client stops at the
/// signatures that suffice, and does not see that another one is wrong.
fn verdicts_agree(block: &Block, trusted: &types::ValidatorSet) -> Result<bool, TestCaseError> {
    let ours = verify_header(Some(&common::chain_id()), trusted, &block.header, &block.commit, &block.validators);
    if matches!(ours, Err(HeaderError::Commit(CommitError::Signature { .. }))) {
        return Ok(false);
    }
    let theirs = their_verdict(block, trusted);
    prop_assert_eq!(ours.is_ok(), theirs == Verdict::Success, "ours {:?}, theirs {:?}", ours, theirs);
    Ok(ours.is_ok())
}

proptest! {
    /// The next height: its validators are exactly the trusted ones.
    #[test]
    fn adjacent(does in does(), powers in proptest::collection::vec(1..20_u64, 1..7)) {
        let members: Vec<(u8, u64)> = (1..).zip(powers).collect();
        let block = block(42, &members, &members, Hash([7; 32]), |seed| does[usize::from(seed) - 1]);
        verdicts_agree(&block, &set(&members))?;
    }

    /// A later height: some validators are new, some have left, some have another power.
    #[test]
    fn skipping(
        does in does(),
        powers in proptest::collection::vec((0..20_u64, 0..20_u64), 8),
    ) {
        let some = |pick: fn(&(u64, u64)) -> u64| -> Vec<(u8, u64)> {
            (1..).zip(powers.iter().map(pick)).filter(|(_, power)| *power > 0).collect()
        };
        let (before, after) = (some(|pair| pair.0), some(|pair| pair.1));
        prop_assume!(!before.is_empty() && !after.is_empty());
        let block = block(50, &after, &after, Hash([7; 32]), |seed| does[usize::from(seed) - 1]);
        verdicts_agree(&block, &set(&before))?;
    }
}

#[test]
fn both_verdicts_occur() {
    let all = |_: u8| Does::Sign;
    let verdict = |height, members: &[(u8, u64)], trusted: &[(u8, u64)], does: &dyn Fn(u8) -> Does| {
        verdicts_agree(&block(height, members, members, Hash([7; 32]), does), &set(trusted)).unwrap()
    };
    let (old, new) = ([(1, 10), (2, 10), (3, 10)], [(1, 10), (2, 10), (4, 10)]);
    assert!(verdict(42, &old, &old, &all));
    assert!(verdict(50, &new, &old, &all), "two of three trusted validators signed");
    assert!(!verdict(50, &[(1, 10), (4, 10), (5, 10)], &old, &all), "exactly a third of the trusted power signed");
    assert!(
        !verdict(42, &old, &old, &|seed| if seed == 1 { Does::Nothing } else { Does::Sign }),
        "exactly two thirds signed"
    );
    assert!(!verdict(42, &old, &old, &|seed| if seed == 1 { Does::SignWrongly } else { Does::Sign }));
    assert!(!verdict(50, &[(4, 10), (5, 10)], &old, &all), "strangers signed");
}

proptest! {
    /// Whatever a light client believes across a change of the set, though the chain says otherwise, can be reported, and
    /// nothing else. The report names those of the trusted set that signed.
    #[test]
    fn a_false_header_is_evidence_of_an_attack_exactly_if_it_is_believed(
        does in does(),
        powers in proptest::collection::vec(1_u64..20, 8),
        trusted_powers in proptest::collection::vec(0_u64..20, 10),
    ) {
        let members: Vec<(u8, u64)> = (1..).zip(powers).collect();
        // Some members are trusted, with another power, and some that are trusted have left.
        let trusted: Vec<(u8, u64)> = (4..).zip(trusted_powers).filter(|(_, power)| *power > 0).collect();
        prop_assume!(!trusted.is_empty());
        let trusted = set(&trusted);
        let Block { header, commit, validators } =
            block(60, &members, &members, Hash([66; 32]), |seed| does[usize::from(seed) - 1]);
        let believed = verify_header(None, &trusted, &header, &commit, &validators);
        let conflicting = LightBlock { header, commit, validators };
        let report = LightClientAttackEvidence::new(conflicting, Height(41), None, &trusted, common::time());
        let report = report.and_then(|report| report.verify(&common::chain_id()).map(|()| report));
        prop_assert_eq!(believed.is_ok(), report.is_ok(), "{:?} {:?}", believed, report);
        if let Ok(report) = report {
            let signed = |seed: &u8| *seed <= 8 && does[usize::from(*seed) - 1] == Does::Sign;
            let guilty = (4..14_u8).filter(signed).map(common::address);
            let mut guilty: Vec<_> = guilty.filter(|address| trusted.by_address(address).is_some()).collect();
            let mut named: Vec<_> = report.byzantine.iter().map(|validator| validator.address()).collect();
            guilty.sort();
            named.sort();
            prop_assert_eq!(named, guilty);
        }
    }
}
