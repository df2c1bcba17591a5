//! The upgrade of the program, which the validators decide while faults happen.

use client::Client;
use serde_json::Value;

use crate::{ChaosError, audit::query, net::Net, node::Version};

/// Name of the upgrade that the second program has.
pub const NAME: &str = "v2";

/// Lets the validators plan the upgrade for a number of heights after the present one. Returns its height.
///
/// Errors: [`ChaosError::Violation`] if the decision fails, although all validators run.
pub fn plan(net: &Net, ahead: u64) -> Result<u64, ChaosError> {
    let failed =
        |error: &dyn std::fmt::Display| ChaosError::Violation(format!("the upgrade cannot be planned: {error}"));
    // A node that has the upgrade already stops when the others have decided about it.
    let node = net.nodes.iter().find(|node| node.version == Version::First);
    let node = node.ok_or_else(|| ChaosError::Machine("all validators run the second program already".to_owned()))?;
    let client = &node.client;
    let height = client.chain().map_err(|error| failed(&error))?.height.0 + ahead;
    let (url, at) = (client.url(), height.to_string());
    let run = |args: &[&str]| {
        net.programs.cairn(&[args, &["--node", &url]].concat(), &node.home).map_err(|error| failed(&error))
    };
    run(&[
        "proposal",
        "upgrade",
        "--name",
        NAME,
        "--height",
        &at,
        "--info",
        "https://example.org/v2",
        "--from",
        "bob",
    ])?;
    for index in 0..net.nodes.len() {
        let operator = format!("validator-{index}");
        let voted = run(&["proposal", "vote", "1", "--yes", "--from", &operator]);
        // The votes of the others may have decided already.
        if index <= net.nodes.len() * 2 / 3 {
            voted?;
        }
    }
    run(&["proposal", "watch", "1", "--timeout", "30s"])?;
    Ok(height)
}

/// Returns the height at which the chain was upgraded; `None` if it was not yet.
///
/// Errors: those of [`Client::call`], as [`ChaosError::Machine`].
pub fn done(client: &Client) -> Result<Option<u64>, ChaosError> {
    let answer = query(client, "/upgrade", 0).map_err(|error| ChaosError::machine("/upgrade", error))?;
    let last = answer["last"]["height"].clone();
    Ok(match last {
        Value::String(text) => text.parse().ok(),
        last => last.as_u64(),
    })
}
