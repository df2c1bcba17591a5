//! Money neither appears nor disappears: what accounts and pools hold is the supply.

use app::{Answer, View};
use types::Address;

use crate::{
    broken::{Broken, ensure},
    node::Node,
};

/// Checks the sum of all money at the tip of a node, of which `accounts` hold all that is not in a pool.
///
/// Errors: [`Broken`] if it is not the supply.
pub fn check(node: &Node, accounts: &[Address]) -> Result<(), Broken> {
    let Some(alive) = &node.alive else { return Ok(()) };
    let reader = alive.store.reader().map_err(|e| Broken(e.to_string()))?;
    let mut view = View::of_state(&reader);
    let balances: u64 = accounts.iter().map(|address| view.account(address).balance).sum();
    let Ok(Answer::Supply { total: supply, fee_pool, deposits, stake }) = app::query(&reader, "/supply", &[]) else {
        return Err(Broken(format!("supply: n{} does not know it", node.index)));
    };
    let sum = balances + fee_pool + deposits + stake.sum();
    ensure!(sum == supply, "supply: the accounts and pools of n{} hold {sum}, its supply is {supply}", node.index);
    Ok(())
}
