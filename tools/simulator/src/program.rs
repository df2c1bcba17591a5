//! The programs of a world in which the program is upgraded: each has the upgrades of the one before, and one more.

use app::{Migration, Upgrade, Upgrades};
use types::Params;

/// Names of the upgrades, in their order.
pub const NAMES: [&str; 3] = ["first", "second", "third"];

const FIRST: Upgrade = Upgrade { name: NAMES[0], migrate };
const SECOND: Upgrade = Upgrade { name: NAMES[1], migrate };
const THIRD: Upgrade = Upgrade { name: NAMES[2], migrate };

/// The programs, by the number of upgrades that they have.
pub const PROGRAMS: [Upgrades; NAMES.len() + 1] =
    [Upgrades(&[]), Upgrades(&[FIRST]), Upgrades(&[FIRST, SECOND]), Upgrades(&[FIRST, SECOND, THIRD])];

fn migrate(migration: &mut Migration<'_>) {
    let mut params = migration.params();
    migrate_params(&mut params);
    migration.set_params(&params);
}

/// Does what the migration of each upgrade does.
pub fn migrate_params(params: &mut Params) {
    params.ns_deposit += 1;
}

/// Returns the place of an upgrade in the order; `None` if there is none of this name.
pub fn place(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

/// Returns true if a program with this number of upgrades has the one of this name.
pub fn has(program: usize, name: &str) -> bool {
    place(name).is_some_and(|place| place < program)
}
