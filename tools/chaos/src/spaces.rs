//! Network namespaces: each validator in one of its own, all of them on one bridge.
//!
//! ```text
//!   node0: eth0 10.111.0.10 ──┐
//!   node1: eth0 10.111.0.11 ──┼── bridge 10.111.0.1 (this process)
//!   node2: eth0 10.111.0.12 ──┘
//! ```
//! The whole run is inside namespaces of its own (network, mounts, processes), which [`wrapper`] creates: addresses, mounts
//! and firewall rules touch nothing of the machine, and the kernel ends everything with the first process. They need root,
//! or a system that allows user namespaces.
//!
//! This kernel interface has no delay (netem is often missing), so delays are the relay's. Loss and cuts are rules of the
//! firewall in the namespace of the receiver: packets disappear, as on a real network.

use std::{
    net::Ipv4Addr,
    process::{Command, Stdio},
};

use crate::{ChaosError, command::line};

/// Name of the bridge between the namespaces.
const BRIDGE: &str = "chaos";

/// Returns the words of a command that starts a program in namespaces of its own; `None` if this user may not.
pub fn wrapper() -> Option<Vec<String>> {
    let own = "--net --mount --pid --fork --kill-child --mount-proc";
    let found = ["", "--user --map-root-user "].iter().map(|user| format!("unshare {user}{own}"));
    // The whole network of two namespaces is tried, because a kernel may lack a part of it.
    let tried = "mount -t tmpfs none /run && ip netns add try && ip link add name bridge0 type bridge \
        && ip link add name veth0 type veth peer name veth1 netns try \
        && ip netns exec try iptables -A INPUT -s 10.9.9.9 -m statistic --mode random --probability 0.1 -j DROP";
    found.map(|words| words.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).find(|words| {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["sh", "-c", tried]);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    })
}

/// Returns the address of a slot on the bridge. Each validator has a slot, and the liar's second process too.
pub fn address(slot: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 111, 0, 10 + slot as u8)
}

/// Returns the words before a program that runs in the namespace of a slot.
pub fn prefix(slot: usize) -> Vec<String> {
    vec!["nsenter".to_owned(), format!("--net=/run/netns/n{slot}")]
}

/// Creates the namespaces and the bridge. This process must be in namespaces of its own.
///
/// Errors: [`ChaosError::Machine`] if a command fails.
pub fn build(slots: usize) -> Result<(), ChaosError> {
    for words in ["ip link set lo up", "mount -t tmpfs none /run", &format!("ip link add name {BRIDGE} type bridge")] {
        line(words)?;
    }
    line(&format!("ip addr add 10.111.0.1/24 dev {BRIDGE}"))?;
    line(&format!("ip link set {BRIDGE} up"))?;
    for slot in 0..slots {
        line(&format!("ip netns add n{slot}"))?;
        line(&format!("ip link add name v{slot} type veth peer name eth0 netns n{slot}"))?;
        line(&format!("ip link set v{slot} master {BRIDGE} up"))?;
        line(&format!("ip -n n{slot} addr add {}/24 dev eth0", address(slot)))?;
        line(&format!("ip -n n{slot} link set lo up"))?;
        line(&format!("ip -n n{slot} link set eth0 up"))?;
    }
    Ok(())
}

/// Drops what comes to one slot from another.
///
/// Errors: [`ChaosError::Machine`] if the firewall refuses.
pub fn drop_all(to: usize, from: usize) -> Result<(), ChaosError> {
    rule(to, &format!("-A INPUT -s {} -j DROP", address(from)))
}

/// Drops a share of what comes to one slot from another.
///
/// Errors: [`ChaosError::Machine`] if the firewall refuses.
pub fn drop_some(to: usize, from: usize, percent: u64) -> Result<(), ChaosError> {
    let share = percent as f64 / 100.0;
    rule(to, &format!("-A INPUT -s {} -m statistic --mode random --probability {share} -j DROP", address(from)))
}

/// Removes all rules of a slot.
///
/// Errors: [`ChaosError::Machine`] if the firewall refuses.
pub fn drop_nothing(slot: usize) -> Result<(), ChaosError> {
    rule(slot, "-F INPUT")
}

fn rule(slot: usize, rule: &str) -> Result<(), ChaosError> {
    line(&format!("ip netns exec n{slot} iptables -w {rule}")).map(drop)
}
