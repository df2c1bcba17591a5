//! Rules that are broken on purpose in every correct node, which proves that each check can fail.
//!
//! `docs/simulation.md` lists them, with the checker that detects each of them and the world in which it does; `tests/score.rs` holds
//! that page. The rules of the validator's crates are in their files `mutation.rs`, and need the feature `mutations`; those of a disk
//! and of an operator are here.

/// A rule that is broken on purpose in every correct node, to prove that a check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A rule of the types: signatures, sets, commits and parts.
    #[cfg(feature = "mutations")]
    Types(types::Mutation),
    /// A rule of the consensus engine.
    #[cfg(feature = "mutations")]
    Engine(consensus::Mutation),
    /// A rule of the store.
    #[cfg(feature = "mutations")]
    Storage(storage::Mutation),
    /// A rule of the application.
    #[cfg(feature = "mutations")]
    App(app::Mutation),
    /// A rule of the waiting transactions.
    #[cfg(feature = "mutations")]
    Mempool(mempool::Mutation),
    /// A rule of the replica.
    #[cfg(feature = "mutations")]
    Replica(replica::Mutation),
    /// Nodes do not hold the key that replaces theirs.
    ForgetNextKey,
    /// The disks only claim to sync.
    LoseSyncs,
    /// The disks give all earlier versions of a row the value of the newest one (violates I-KV2).
    RewriteHistory,
    /// A rewind also deletes a version of a row that it should keep.
    RewindTakesMore,
    /// A rewind deletes what the store knows about signatures.
    RewindForgetsSigning,
    /// A rewind executes reverts without a new epoch, as no node of the chain did.
    #[cfg(feature = "mutations")]
    ReplayDiffers,
}

/// A mutation with its name and its effect.
#[derive(Clone, Debug)]
pub struct Named {
    /// Name that `--mutation` accepts.
    pub name: String,
    /// What a node does when the rule is broken.
    pub effect: &'static str,
    /// The mutation of this name.
    pub mutation: Mutation,
}

/// The rules that are broken in this thread. They are in force again when this is dropped.
pub struct BrokenRules {
    #[cfg(feature = "mutations")]
    _rules: [Option<Rule>; 2],
}

/// A rule of a crate that is broken in this thread.
#[cfg(feature = "mutations")]
#[allow(dead_code, reason = "each is held until it is dropped")]
enum Rule {
    Types(types::BrokenRule),
    Engine(consensus::BrokenRule),
    Storage(storage::BrokenRule),
    App(app::BrokenRule),
    Mempool(mempool::BrokenRule),
    Replica(replica::BrokenRule),
}

impl Mutation {
    /// Returns all mutations, in the order of the table.
    pub fn all() -> Vec<Named> {
        let mut all: Vec<Named> = Vec::new();
        #[cfg(feature = "mutations")]
        {
            macro_rules! of_crate {
                ($krate:ident, $kind:ident) => {
                    let simulated = $krate::Mutation::ALL.iter().filter(|mutation| mutation.is_simulated());
                    all.extend(simulated.map(|mutation| Named {
                        name: snake_case(&format!("{mutation:?}")),
                        effect: mutation.effect(),
                        mutation: Self::$kind(*mutation),
                    }));
                };
            }
            of_crate!(consensus, Engine);
            of_crate!(replica, Replica);
            of_crate!(types, Types);
            of_crate!(storage, Storage);
            of_crate!(app, App);
            of_crate!(mempool, Mempool);
        }
        let own = [
            ("forget_next_key", "Does not hold the key that replaces the present one.", Self::ForgetNextKey),
            ("lose_syncs", "Has a disk that only claims to sync.", Self::LoseSyncs),
            (
                "rewrite_history",
                "Has a disk that gives all earlier versions of a row the newest value.",
                Self::RewriteHistory,
            ),
            ("rewind_takes_more", "Deletes a version of a row that a rewind should keep.", Self::RewindTakesMore),
            ("rewind_forgets_signing", "Deletes the hard state in a rewind.", Self::RewindForgetsSigning),
            #[cfg(feature = "mutations")]
            ("replay_differs", "Executes reverts in a rewind by another rule than the chain.", Self::ReplayDiffers),
        ];
        all.extend(own.map(|(name, effect, mutation)| Named { name: name.to_owned(), effect, mutation }));
        all
    }

    /// Returns the mutation with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|known| known.name == name).map(|known| known.mutation)
    }

    #[cfg(feature = "mutations")]
    fn break_rule(self) -> Option<Rule> {
        Some(match self {
            Self::Types(mutation) => Rule::Types(types::BrokenRule::new(mutation)),
            Self::Engine(mutation) => Rule::Engine(consensus::BrokenRule::new(mutation)),
            Self::Storage(mutation) => Rule::Storage(storage::BrokenRule::new(mutation)),
            Self::App(mutation) => Rule::App(app::BrokenRule::new(mutation)),
            Self::Mempool(mutation) => Rule::Mempool(mempool::BrokenRule::new(mutation)),
            Self::Replica(mutation) => Rule::Replica(replica::BrokenRule::new(mutation)),
            _ => return None,
        })
    }
}

impl BrokenRules {
    /// Breaks the rule of a mutation, if there is one, and, if `forgiving`, the rule that a double sign costs stake.
    #[cfg(feature = "mutations")]
    pub fn new(mutation: Option<Mutation>, forgiving: bool) -> Self {
        let forgiven = forgiving.then(|| Rule::App(app::BrokenRule::new(app::Mutation::ForgiveDoubleSign)));
        Self { _rules: [mutation.and_then(Mutation::break_rule), forgiven] }
    }

    /// Breaks no rule, because this build has none that can be broken.
    #[cfg(not(feature = "mutations"))]
    pub fn new(_: Option<Mutation>, _: bool) -> Self {
        Self {}
    }
}

/// Returns a name like `SkipLock` as `skip_lock`.
#[cfg(feature = "mutations")]
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_mutation_has_a_name_of_its_own_and_a_documented_effect() {
        let all = Mutation::all();
        let names: BTreeSet<&str> = all.iter().map(|known| known.name.as_str()).collect();
        assert_eq!(names.len(), all.len(), "two mutations have one name");
        for known in &all {
            assert!(known.effect.ends_with('.'), "{}: {}", known.name, known.effect);
            assert_eq!(Mutation::named(&known.name), Some(known.mutation));
        }
        assert_eq!(snake_case("SkipWriteAhead"), "skip_write_ahead");
    }

    #[test]
    fn a_rule_is_broken_only_while_its_guard_lives() {
        let skip_lock = Mutation::named("skip_lock");
        let broken = BrokenRules::new(skip_lock, true);
        assert_eq!(consensus::BrokenRule::now(), Some(consensus::Mutation::SkipLock));
        assert_eq!(app::BrokenRule::now(), Some(app::Mutation::ForgiveDoubleSign));
        drop(broken);
        assert_eq!((consensus::BrokenRule::now(), app::BrokenRule::now()), (None, None));
    }
}
