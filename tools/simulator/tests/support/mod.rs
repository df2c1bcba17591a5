//! What the scenarios share with the directed ones of the simulator.
#![allow(unused_imports, reason = "each test file uses its part")]

use simulator::Broken;
pub use simulator::directed::stage::{MINUTE, SOON, idle, ms, reached, tx, until};

pub type Checked = Result<(), Broken>;
