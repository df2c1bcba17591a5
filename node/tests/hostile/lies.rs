//! Attacks with messages of consensus: false signatures, floods of what is useless, and unsigned claims that are plausible.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use files::ValidatorKey;
use node::verify_pool::{SIGNATURES_BURST, SIGNATURES_PER_SECOND};
use p2p::limits::{ADDRESS_MESSAGES_PER_MINUTE_MAX, ADDRESSES_PER_MESSAGE_MAX, DIALS_LEARNED_BURST};
use tokio::time::sleep;
use types::{
    BitSet, BlockId, Certificate, ChainId, ConsensusSecretKey, Evidence, Hash, Height, KeyType, PartSet, PartSetHeader,
    PeerMessage, Proposal, Round, RoundState, RoundVotes, Signature, SignedVote, Step, Time, Vote, VoteType,
};

use crate::{
    hostile::{CHAIN, Siege},
    liar::{Flood, Liar, Target},
    processes::{
        eventually,
        evidence::{double_votes, set_of},
    },
    raw::{self, CONSENSUS, PARTS},
};

/// Rate at which each flood sends: twice what a peer may use.
const FLOOD_RATE: usize = 10_000;

/// Duration of a flood that is not ended by a ban.
const FLOOD_TIME: Duration = Duration::from_secs(16);

fn chain() -> ChainId {
    ChainId::new(CHAIN).unwrap()
}

fn time() -> Time {
    Time::parse("2026-01-02T03:04:05Z").unwrap()
}

/// Returns the key of a validator.
fn key_of(siege: &Siege, index: usize) -> ConsensusSecretKey {
    ValidatorKey::load(&siege.homes.home(index).join("config/priv_validator_key.json")).unwrap().secret
}

/// Returns a key that is no validator's.
fn stranger() -> ConsensusSecretKey {
    ConsensusSecretKey::from_bytes(KeyType::Secp256k1, &[9; 32]).unwrap()
}

fn block_id(byte: u8) -> BlockId {
    BlockId { hash: Hash([byte; 32]), parts: PartSetHeader { total: 1, hash: Hash([byte; 32]) } }
}

/// Returns a prevote of a validator at a height, without a signature.
fn vote(siege: &Siege, validator: usize, height: u64, round: u32) -> Vote {
    let address = key_of(siege, validator).public_key().address();
    let set = set_of(siege.victim(), 1);
    let (index, ..) = set.iter().find(|(_, known, _)| *known == address.to_string()).expect("a validator");
    Vote {
        vote_type: VoteType::Prevote,
        height: Height(height),
        round: Round(round),
        block_id: Some(block_id(5)),
        timestamp: time(),
        validator: address,
        validator_index: *index,
    }
}

/// Returns the height that the victim is deciding.
fn deciding(siege: &Siege) -> u64 {
    siege.victim().height() + 1
}

/// The height that the victim is deciding, for a flood: it is looked up from time to time.
struct Deciding<'a> {
    siege: &'a Siege,
    height: u64,
    looked: Instant,
}

impl<'a> Deciding<'a> {
    fn new(siege: &'a Siege) -> Self {
        Self { siege, height: deciding(siege), looked: Instant::now() }
    }

    fn now(&mut self) -> Height {
        if self.looked.elapsed() > Duration::from_millis(200) {
            (self.height, self.looked) = (deciding(self.siege), Instant::now());
        }
        Height(self.height)
    }
}

/// Returns a vote in the name of a validator, signed by another key.
pub fn forged_vote(siege: &Siege, validator: usize) -> PeerMessage {
    // A height later, the victim still judges it as late.
    PeerMessage::Vote(vote(siege, validator, deciding(siege) + 1, 0).sign(&chain(), &stranger()))
}

/// Votes, proposals, certificates and evidence in the name of validators: each of the peers is banned.
pub async fn forgeries(siege: &Siege, target: &Target) {
    let bans = siege.metric("p2p_bans_total", "bad_signature");
    let vote = || forged_vote(siege, 1);
    let proposal = || {
        let (height, round) = (Height(deciding(siege) + 1), Round::ZERO);
        let proposal = Proposal { height, round, pol_round: None, block_id: block_id(6), timestamp: time() };
        PeerMessage::Proposal(proposal.sign(&chain(), &stranger()))
    };
    let certificate = || {
        let PeerMessage::Vote(vote) = forged_vote(siege, 1) else { unreachable!("it is a vote") };
        PeerMessage::Certificate(Certificate::new(vec![vote]).unwrap())
    };
    let evidence = || {
        let height = siege.victim().height() - 2;
        let mut votes = double_votes(siege.victim(), CHAIN, &key_of(siege, 1), height);
        votes.vote_b.signature.0[40] ^= 1;
        PeerMessage::Evidence(Box::new(Evidence::DuplicateVote(votes)))
    };
    let makes: [(&str, &dyn Fn() -> PeerMessage); 4] =
        [("vote", &vote), ("proposal", &proposal), ("certificate", &certificate), ("evidence", &evidence)];
    for (n, (what, make)) in (120..).zip(makes) {
        let mut liar = Liar::connect(target, n).await;
        for _ in 0..20 {
            if !liar.say(&make()).await {
                break;
            }
            sleep(Duration::from_millis(20)).await; // so that the next one is of a later height
        }
        liar.is_disconnected(&format!("a forged {what}")).await;
    }
    assert_eq!(siege.metric("p2p_bans_total", "bad_signature") - bans, 4.0);
    let slashed = siege.metric("state_slashes_total", "");
    assert_eq!(slashed, 0.0, "forged evidence slashes a validator");
}

/// Votes with false signatures, 10,000 per second and more: eight peers at a time, each of which comes back with a new key from a
/// new address after its ban.
pub async fn invalid_votes(siege: &Siege, target: &Target) {
    const PEERS: u16 = 8;
    const BANS: u16 = 10;
    let bans = siege.metric("p2p_bans_total", "bad_signature");
    let (begun, sent) = (Instant::now(), Cell::new(0_u64));
    let one = |peer: u16| {
        let sent = &sent;
        async move {
            for ban in 0..BANS {
                let mut liar = Liar::connect(target, 200 + peer * BANS + ban).await;
                let (mut next, mut deciding) = (vote(siege, 2, 1, 0), Deciding::new(siege));
                let flood = liar.flood(CONSENSUS, FLOOD_RATE, FLOOD_TIME, || {
                    let n = sent.replace(sent.get() + 1);
                    next.height = deciding.now();
                    next.timestamp = Time::from_unix_nanos(time().unix_nanos() + n as i64);
                    let signature = Signature(std::array::from_fn(|at| (n >> (8 * (at % 8))) as u8 ^ at as u8));
                    PeerMessage::Vote(SignedVote { vote: next.clone(), signature })
                });
                assert!(flood.await.is_closed, "a peer that sends false signatures is banned");
            }
        }
    };
    futures::future::join_all((0..PEERS).map(one)).await;
    println!("  {} votes with false signatures under {} keys in {:?}", sent.get(), PEERS * BANS, begun.elapsed());
    assert_eq!(siege.metric("p2p_bans_total", "bad_signature") - bans, f64::from(PEERS * BANS));
}

/// Floods of messages that are no offence one by one, all at the same time: votes of heights that no one decides, votes of a
/// validator for future rounds, votes and parts that were heard before, round states, and parts of a block that no one proposed.
/// Each peer is banned, or its rate is limited.
pub async fn useless_floods(siege: &Siege, target: &Target) {
    let (far, rounds, replays, states, parts) = tokio::join!(
        far_heights(siege, target),
        future_rounds(siege, target),
        replays(siege, target),
        round_states(siege, target),
        parts_of_no_block(siege, target),
    );
    for (what, (liar, flood)) in [
        ("far heights", far),
        ("future rounds", rounds),
        ("replays", replays),
        ("round states", states),
        ("parts", parts),
    ] {
        println!("  {what}: {flood:?}, {:.0} per second", flood.per_second());
        let budget = f64::from(SIGNATURES_PER_SECOND) * flood.took.as_secs_f64() + f64::from(SIGNATURES_BURST);
        let is_penalized = || siege.metric("p2p_peer_penalty", &liar.id().to_string()) > 0.0;
        assert!(flood.is_closed || flood.sent as f64 <= budget || is_penalized(), "a flood is not limited: {what}");
    }
    assert!(siege.metric("verify_dropped_total", "flood") > 0.0);
    assert!(siege.metric("p2p_penalties_total", "flood") > 0.0);
}

async fn far_heights(siege: &Siege, target: &Target) -> (Liar, Flood) {
    let mut liar = Liar::connect(target, 130).await;
    let mut next = vote(siege, 1, 1_000_000, 0);
    let flood = liar.flood(CONSENSUS, FLOOD_RATE, FLOOD_TIME, || {
        next.height = next.height.next();
        PeerMessage::Vote(SignedVote { vote: next.clone(), signature: Signature([7; 64]) })
    });
    let flood = flood.await;
    (liar, flood)
}

/// The key of the fourth validator, whose node does not run, signs these votes.
async fn future_rounds(siege: &Siege, target: &Target) -> (Liar, Flood) {
    let mut liar = Liar::connect(target, 131).await;
    let key = key_of(siege, 3);
    let (mut next, mut deciding) = (vote(siege, 3, 1, 1_000), Deciding::new(siege));
    let flood = liar.flood(CONSENSUS, FLOOD_RATE, FLOOD_TIME, || {
        next.height = deciding.now();
        next.round = next.round.next();
        PeerMessage::Vote(next.clone().sign(&chain(), &key))
    });
    let flood = flood.await;
    (liar, flood)
}

/// Says that it holds nothing of the current heights, and sends back what it hears.
async fn replays(siege: &Siege, target: &Target) -> (Liar, Flood) {
    let mut liar = Liar::connect(target, 132).await;
    let mut heard = Vec::new();
    for _ in 0..200 {
        let empty = RoundState::empty(Height(deciding(siege)), Round::ZERO, 4, Height(1));
        liar.say(&PeerMessage::RoundState(empty)).await;
        heard.extend(liar.listen(Duration::from_millis(50)).await);
        if heard.len() >= 20 {
            break;
        }
    }
    assert!(heard.len() >= 20, "the node says what it holds: {heard:?}");
    let mut again = heard.into_iter().cycle();
    let flood = liar.flood(CONSENSUS, FLOOD_RATE, FLOOD_TIME, || again.next().expect("some were heard")).await;
    (liar, flood)
}

/// Returns a round state that says more than its sender holds.
fn claim(height: u64, round: u32, earliest: u64) -> RoundState {
    let mut all = BitSet::new(4);
    (0..4).for_each(|index| all.set(index));
    let votes = |round| RoundVotes { round: Round(round), prevotes: all.clone(), precommits: all.clone() };
    RoundState {
        height: Height(height),
        round: Round(round),
        step: Step::Precommit,
        has_proposal: true,
        parts_header: Some(block_id(8).parts),
        parts: all.clone(),
        current: votes(round),
        previous: Some(votes(round.saturating_sub(1))),
        earliest_height: Height(earliest),
    }
}

async fn round_states(siege: &Siege, target: &Target) -> (Liar, Flood) {
    let mut liar = Liar::connect(target, 133).await;
    let (height, mut n) = (deciding(siege), 0);
    let flood = liar.flood(CONSENSUS, FLOOD_RATE, FLOOD_TIME, || {
        n += 1;
        PeerMessage::RoundState(claim(height + n % 100, n as u32 % 7, 1))
    });
    let flood = flood.await;
    (liar, flood)
}

async fn parts_of_no_block(siege: &Siege, target: &Target) -> (Liar, Flood) {
    let mut liar = Liar::connect(target, 134).await;
    let (mut deciding, mut n) = (Deciding::new(siege), 0_u64);
    let flood = liar.flood(PARTS, FLOOD_RATE, FLOOD_TIME, || {
        n += 1;
        let part = PartSet::from_bytes(&[n.to_be_bytes(), [3; 8]].concat().repeat(16)).get(0).unwrap().clone();
        PeerMessage::Part { height: deciding.now(), round: Round::ZERO, part }
    });
    let flood = flood.await;
    (liar, flood)
}

/// Plausible claims: heights ahead with all their blocks and votes, and the last height that exists. The victim asks for the
/// blocks, gets none and stops to ask; it goes on to sign and says that it is not syncing.
pub async fn plausible_lies(siege: &Siege, target: &Target) {
    let unserved = siege.metric("p2p_penalties_total", "unserved");
    let signed = siege.metric("consensus_validator_last_signed_height", "");
    let mut liars = [Liar::connect(target, 140).await, Liar::connect(target, 141).await];
    for _ in 0..30 {
        let height = deciding(siege);
        for (liar, claimed) in liars.iter_mut().zip([height + 1_000, i64::MAX as u64]) {
            liar.say(&PeerMessage::RoundState(claim(claimed, 3, 1))).await;
            liar.say(&PeerMessage::RoundState(claim(height, 50, height))).await;
            liar.say(&PeerMessage::RoundState(claim(claimed, 3, 1))).await;
        }
        sleep(Duration::from_millis(100)).await;
    }
    eventually("claims that are not served are an offence", || {
        siege.metric("p2p_penalties_total", "unserved") > unserved
    });
    eventually("the victim signs", || siege.metric("consensus_validator_last_signed_height", "") > signed + 5.0);
    eventually("the victim does not believe the claims", || siege.metric("blocksync_syncing", "") == 0.0);
}

/// Parts whose proof does not hold: the peer is banned.
pub async fn bad_parts(siege: &Siege, target: &Target) {
    let bans = siege.metric("p2p_bans_total", "invalid");
    let mut liar = Liar::connect(target, 150).await;
    let mut part = (**PartSet::from_bytes(&[4; 1000]).get(0).unwrap()).clone();
    part.bytes[0] ^= 1;
    let part = Arc::new(part);
    for _ in 0..50 {
        let height = Height(deciding(siege));
        if !liar.say(&PeerMessage::Part { height, round: Round::ZERO, part: part.clone() }).await {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    liar.is_disconnected("parts of no block").await;
    assert_eq!(siege.metric("p2p_bans_total", "invalid") - bans, 1.0);
}

/// Lists of addresses where nothing answers, to a node that would dial them: it dials few. Too many messages are a penalty, a list
/// that is too long is a ban.
pub async fn address_book_poison(siege: &Siege, target: &Target) {
    let bans = siege.metric("p2p_bans_total", "garbage");
    let mut liar = Liar::connect(target, 160).await;
    liar.control(&[raw::addresses(vec![String::new(); ADDRESSES_PER_MESSAGE_MAX + 1])]).await;
    liar.is_disconnected("a list that is too long").await;
    assert_eq!(siege.metric("p2p_bans_total", "garbage") - bans, 1.0);
    let floods = siege.metric("p2p_penalties_total", "flood");
    let mut liar = Liar::connect(target, 161).await;
    for _ in 0..=ADDRESS_MESSAGES_PER_MINUTE_MAX {
        liar.control(&[raw::ask()]).await;
    }
    eventually("too many messages about addresses are an offence", || {
        siege.metric("p2p_penalties_total", "flood") > floods
    });

    let (credulous, begun) = (&siege.nodes[1], Instant::now());
    let dials = || {
        let of = |name: &str| crate::hostile::metric(credulous, name, "");
        (of("p2p_dial_failures_total"), of("p2p_dials_refused_total"))
    };
    let (failed, refused) = dials();
    let (other, mut liars) = (Target::of(siege, 1), Vec::new());
    for n in 0..20_u8 {
        let mut liar = Liar::connect(&other, 400 + u16::from(n)).await;
        let place = |k: u8| {
            let id = p2p::NodeId(std::array::from_fn(|at| [n, k].get(at).copied().unwrap_or(1)));
            // Half of them are in one range, as if the liars wanted to flood a third party.
            if k.is_multiple_of(2) { format!("{id}@127.199.0.1:1") } else { format!("{id}@127.{}.{k}.1:1", 200 + n) }
        };
        liar.control(&[raw::addresses((0..ADDRESSES_PER_MESSAGE_MAX as u8).map(place).collect())]).await;
        liars.push(liar);
    }
    eventually("dials are refused", || dials().1 > refused);
    sleep(Duration::from_secs(2)).await; // time for dials that should not happen
    let made = dials().0 - failed;
    let most = u64::from(DIALS_LEARNED_BURST) + begun.elapsed().as_secs() + 1;
    assert!(made > 0.0 && made <= most as f64, "{made} dials to addresses of liars, at most {most} are allowed");
}
