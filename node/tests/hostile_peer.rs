//! Proves with real validators that hostile peers without stake do no harm: what they send and what they do not read costs the
//! victim bounded memory, files and processor time; blocks and transactions go on; the liar is banned or limited; and a metric
//! says why. SECURITY.md has the list of attacks.
#![allow(clippy::print_stdout, reason = "it prints what each attack cost")]

mod hostile;
mod processes;
#[path = "../../p2p/tests/raw/mod.rs"]
mod raw;

#[path = "hostile/gossip.rs"]
mod gossip;
#[path = "hostile/liar.rs"]
mod liar;
#[path = "hostile/lies.rs"]
mod lies;
#[path = "hostile/transport.rs"]
mod transport;

use std::sync::{Mutex, PoisonError};

use hostile::{Bounds, Siege};
use liar::Target;

/// Bounds of the victim for any attack.
const FEW: Bounds = Bounds { resident_mb: 64, files: 80, cpu_seconds: 3.0, cores: 0.0 };

/// The flags of the victim: as on the internet, where addresses are limited, with shorter timeouts.
const FLAGS: [&str; 4] = [
    "--p2p.addr_book_strict=true",
    "--p2p.allow_duplicate_ip=false",
    "--p2p.handshake_timeout=2s",
    "--blocksync.request_timeout=1s",
];

/// Held by the test that runs: two testnets at one time would slow each other down.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs one attack on the victim.
macro_rules! endures {
    ($siege:expr, $target:expr, $bounds:expr, $attack:path) => {{
        let (target, name) = ($target, stringify!($attack));
        $siege.endure(name, $bounds, |siege| siege.runtime.block_on($attack(siege, &target)));
    }};
}

#[test]
fn hostile_connections_do_no_harm() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut siege = Siege::start(&FLAGS);
    siege.make_blocks();
    let target = Target::of(&siege, 0);
    endures!(siege, target, FEW, transport::half_open);
    endures!(siege, target, FEW, transport::silent_handshakes);
    endures!(siege, target, FEW, transport::oversize_frames);
    endures!(siege, target, FEW, transport::garbage);
    endures!(siege, target, FEW, transport::stream_floods);
    endures!(siege, target, FEW, transport::slow_reads);
    endures!(siege, target, FEW, transport::connection_flood);
    endures!(siege, target, FEW, transport::many_identities);
    endures!(siege, target, FEW, transport::quic_floods);
    siege.ends_well();
}

#[test]
fn hostile_messages_do_no_harm() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut siege = Siege::start(&FLAGS);
    let target = Target::of(&siege, 0);
    endures!(siege, target, FEW, lies::forgeries);
    endures!(siege, target, FEW, lies::invalid_votes);
    endures!(siege, target, FEW, lies::plausible_lies);
    endures!(siege, target, FEW, lies::bad_parts);
    endures!(siege, target, FEW, lies::address_book_poison);
    endures!(siege, target, FEW, gossip::garbage_gossip);
    endures!(siege, target, FEW, gossip::gossip_flood);
    siege.betray();
    endures!(siege, target, Bounds { cpu_seconds: 30.0, ..FEW }, lies::useless_floods);
    siege.ends_well();
}
