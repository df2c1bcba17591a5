//! The parts of a world that can be left out, by name: what `--without` takes, and what a failing seed is shrunk by.

use std::time::Duration;

use super::Setup;
use crate::machine::MachineSetup;

/// A part of a world beside its kinds of faults: its name, whether a world has it, and how it is left out.
struct Part {
    name: &'static str,
    is_in: fn(&Setup) -> bool,
    leave_out: fn(&mut Setup),
}

const PARTS: [Part; 13] = [
    Part { name: "liars", is_in: |setup| setup.liars().next().is_some(), leave_out: Setup::leave_out_liars },
    Part { name: "strangers", is_in: |setup| setup.strangers() > 0, leave_out: Setup::leave_out_strangers },
    Part { name: "late", is_in: Setup::has_late, leave_out: Setup::leave_out_late },
    Part { name: "sentries", is_in: |setup| !setup.behind.is_empty(), leave_out: |setup| setup.behind.clear() },
    Part { name: "loss", is_in: |setup| setup.links.loss > 0, leave_out: |setup| setup.links.loss = 0 },
    Part { name: "repeats", is_in: |setup| setup.links.repeats > 0, leave_out: |setup| setup.links.repeats = 0 },
    Part { name: "spikes", is_in: |setup| setup.links.spikes > 0, leave_out: |setup| setup.links.spikes = 0 },
    Part { name: "plans", is_in: |setup| setup.plans > 0, leave_out: |setup| setup.plans = 0 },
    Part { name: "skew", is_in: |setup| !setup.skew.is_zero(), leave_out: |setup| setup.skew = Duration::ZERO },
    Part {
        name: "drift",
        is_in: |setup| setup.machines.drift.is_some(),
        leave_out: |setup| setup.machines.drift = None,
    },
    Part {
        name: "slow_machines",
        is_in: |setup| setup.machines.slow_checks.0 > 0 || setup.machines.uneven_timers > 0,
        leave_out: |setup| {
            let MachineSetup { drift, jump_max, .. } = setup.machines;
            setup.machines = MachineSetup { drift, jump_max, ..MachineSetup::default() };
        },
    },
    Part { name: "large_txs", is_in: |setup| setup.large_txs > 0, leave_out: |setup| setup.large_txs = 0 },
    Part { name: "clients", is_in: |setup| setup.tx_interval.is_some(), leave_out: |setup| setup.tx_interval = None },
];

impl Setup {
    /// Returns the names of the parts that this world has.
    pub fn parts(&self) -> Vec<&'static str> {
        let faults = self.faults.named().filter(|(_, weight)| *weight > 0).map(|(name, _)| name);
        let others = PARTS.iter().filter(|part| (part.is_in)(self)).map(|part| part.name);
        faults.chain(others).collect()
    }

    /// Leaves out the part with this name. Returns false if there is no part of this name in any world.
    pub fn leave_out(&mut self, name: &str) -> bool {
        if let Some(weight) = self.faults.weight(name) {
            *weight = 0;
            return true;
        }
        let part = PARTS.iter().find(|part| part.name == name);
        part.inspect(|part| (part.leave_out)(self)).is_some()
    }

    /// Returns the validators that violate the protocol.
    fn liars(&self) -> impl Iterator<Item = usize> {
        let validators = self.powers.len();
        self.byzantine.keys().copied().filter(move |node| *node < validators)
    }

    fn leave_out_liars(&mut self) {
        let validators = self.powers.len();
        self.byzantine.retain(|node, _| *node >= validators);
    }

    /// Returns the number of nodes without stake that violate the protocol. They are the last ones.
    fn strangers(&self) -> usize {
        self.byzantine.len() - self.liars().count()
    }

    fn leave_out_strangers(&mut self) {
        let kept = self.powers.len() + self.full_nodes - self.strangers();
        self.full_nodes = kept - self.powers.len();
        self.byzantine.retain(|node, _| *node < kept);
        self.late.retain(|node| *node < kept);
    }

    fn has_late(&self) -> bool {
        self.late.iter().any(|node| !self.byzantine.contains_key(node))
    }

    fn leave_out_late(&mut self) {
        let byzantine = &self.byzantine;
        self.late.retain(|node| byzantine.contains_key(node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_without_all_its_parts_has_none() {
        for seed in 0..300 {
            let mut setup = Setup::of_seed(seed);
            let validators = setup.powers.len();
            for part in setup.parts() {
                assert!(setup.leave_out(part), "{part}");
                assert!(!setup.parts().contains(&part), "seed {seed} still has {part}");
            }
            assert!(setup.byzantine.is_empty() && setup.powers.len() == validators, "seed {seed}");
            let nodes = validators + setup.full_nodes;
            assert!(setup.late.iter().chain(setup.behind.keys()).all(|node| *node < nodes), "seed {seed}");
        }
        assert!(!Setup::of_seed(0).leave_out("nothing"));
    }
}
