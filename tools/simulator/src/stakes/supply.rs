//! The supply: what slashes burn and what is issued.

use app::View;
use types::{BPS_MAX, Deadline};

use super::decided::Decided;
use crate::{
    broken::{Broken, ensure},
    rows::{number, of_kind},
};

/// Milliseconds of a year of issuance.
const YEAR_MS: u128 = 365 * 24 * 3600 * 1000;

/// The supply of a world's chain.
pub(super) struct SupplyRecord {
    supply: u64,
    /// Time up to which money was issued, while some is.
    issued_until_ms: Option<u64>,
    /// What is left of the divisions.
    remainder: u128,
}

impl SupplyRecord {
    pub(super) fn new(supply: u64) -> Self {
        Self { supply, issued_until_ms: None, remainder: 0 }
    }

    /// Checks the supply after a block: slashes come before the issuance.
    pub(super) fn on_decided(&mut self, decided: &Decided<'_>) -> Result<(), Broken> {
        let header = &decided.block.header;
        let burned: u64 =
            of_kind(&decided.results.events, "staking.slashed").map(|event| number(event, "burned")).sum();
        self.supply -= burned;
        let issued = self.issue(decided);
        self.supply += issued;
        let (got, expected) = (View::of_state(decided.now).supply(), self.supply);
        ensure!(
            got == expected,
            "ST1: the supply is {got} after height {}, which burned {burned} and issued {issued}, not {expected}",
            header.height
        );
        Ok(())
    }

    fn issue(&mut self, decided: &Decided<'_>) -> u64 {
        let bps = decided.params.staking.issuance_bps_per_year;
        if bps == 0 {
            (self.issued_until_ms, self.remainder) = (None, 0);
            return 0;
        }
        let now_ms = Deadline::at(decided.block.header.time).unix_millis();
        let Some(until_ms) = self.issued_until_ms.replace(now_ms) else { return 0 };
        let parts = u128::from(self.supply) * u128::from(bps) * u128::from(now_ms - until_ms) + self.remainder;
        let all = u128::from(BPS_MAX) * YEAR_MS;
        self.remainder = parts % all;
        (parts / all) as u64
    }
}
