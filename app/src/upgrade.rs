//! Upgrades of the program: the plan, the check whether this program may execute the next height, and the migration.
//!
//! ```text
//!   decided ──> plan (row Y) ──> the block of its height, before anything else: migrate, raise version.app, barrier
//! ```
//! Each node looks after each block whether its program may execute the next one ([`Upgrades::check`]):
//!
//! | next height | the program has the upgrade | it has not |
//! |---|---|---|
//! | below the plan's | it stops: its rules are not in force yet ([`UpgradeStop::Early`]) | it continues |
//! | the plan's | it migrates and continues | it stops ([`UpgradeStop::Needed`]) |
//! | above that of the last upgrade | it continues | it stops ([`UpgradeStop::Outdated`]) |
//!
//! A program has a table of its upgrades, in their order ([`UPGRADES`]); a line stays for as long as a chain may have it
//! as its last upgrade. No revert goes back before an upgrade: its height and name are the barrier.

use std::fmt;

use prost::Message;
use thiserror::Error;
use types::{Event, Height, Params, Reader, UpgradePlan, pb};

use crate::{
    event::event,
    kv::height_pb,
    mutation::{Mutation, mutated},
    state::key,
    view::View,
};

/// The upgrades that this program has.
pub const UPGRADES: Upgrades = Upgrades(&[]);

/// An upgrade that a program has.
pub struct Upgrade {
    /// Name of the upgrade, as in its plan.
    pub name: &'static str,
    /// Changes the state for the new rules, before anything else in the block of the plan's height.
    pub migrate: fn(&mut Migration<'_>),
}

/// The last change of the chain's rules across which no revert goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// First height with the new rules.
    pub height: Height,
    /// Name of the upgrade.
    pub kind: String,
}

/// The upgrades that a program has, in their order.
#[derive(Clone, Copy)]
pub struct Upgrades(pub &'static [Upgrade]);

/// Reason why a program may not execute the next height; a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpgradeStop {
    /// The next height needs an upgrade that the program does not have.
    #[error(
        "height {} needs the upgrade {}, which this program does not have: install the program that has it{}, then start it with `cairn start`",
        .0.height, .0.name, from_info(&.0.info)
    )]
    Needed(UpgradePlan),
    /// The program has an upgrade whose height has not come.
    #[error(
        "this program has the upgrade {}, which is planned for height {}, and the next height is {next}: run the program without it up to height {}, and this one from then on",
        plan.name, plan.height, plan.height.prev().unwrap_or_default()
    )]
    Early {
        /// The plan of the upgrade.
        plan: UpgradePlan,
        /// Height that would be executed next.
        next: Height,
    },
    /// The chain was upgraded, and the program does not have the upgrade.
    #[error(
        "the chain has the upgrade {name} since height {height}, and this program does not have it: install a program that has it, then start it with `cairn start`"
    )]
    Outdated {
        /// Name of the upgrade.
        name: String,
        /// First height with the upgrade.
        height: Height,
    },
}

fn from_info(info: &str) -> String {
    if info.is_empty() { String::new() } else { format!(" from {info}") }
}

impl fmt::Debug for Upgrades {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|upgrade| upgrade.name)).finish()
    }
}

impl Default for Upgrades {
    fn default() -> Self {
        UPGRADES
    }
}

impl Upgrades {
    /// Returns the upgrade of this name, if the program has it.
    fn find(self, name: &str) -> Option<&'static Upgrade> {
        self.0.iter().find(|upgrade| upgrade.name == name)
    }

    /// Checks whether a program with these upgrades may execute the block of the height `next`; `reader` is the state
    /// before it. Cost: two reads.
    ///
    /// Errors: [`UpgradeStop`], why it may not.
    pub fn check<R: Reader + ?Sized>(self, reader: &R, next: Height) -> Result<(), UpgradeStop> {
        if mutated(Mutation::AnyProgram) {
            return Ok(());
        }
        let mut view = View::of_state(reader);
        if let Some(Barrier { height, kind: name }) = barrier(&mut view)
            && self.find(&name).is_none()
        {
            return Err(UpgradeStop::Outdated { name, height });
        }
        match plan(&mut view) {
            Some(plan) if next < plan.height && self.find(&plan.name).is_some() => {
                Err(UpgradeStop::Early { plan, next })
            }
            Some(plan) if next >= plan.height && self.find(&plan.name).is_none() => Err(UpgradeStop::Needed(plan)),
            _ => Ok(()),
        }
    }
}

/// Returns the last upgrade of the chain, if there was one.
pub fn last_upgrade<R: Reader + ?Sized>(reader: &R) -> Option<Barrier> {
    barrier(&mut View::of_state(reader))
}

/// The rows that a migration changes.
pub struct Migration<'m>(&'m mut dyn Rows);

/// A view whose reader does not matter.
trait Rows {
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>>;
    fn set(&mut self, key: &[u8], value: Option<Vec<u8>>);
    fn params(&mut self) -> Params;
    fn set_params(&mut self, params: &Params);
}

impl<R: Reader + ?Sized> Rows for View<'_, R> {
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        View::get(self, key).map(<[u8]>::to_vec)
    }

    fn set(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        View::set(self, key, value);
    }

    fn params(&mut self) -> Params {
        View::params(self)
    }

    fn set_params(&mut self, params: &Params) {
        View::set_params(self, params);
    }
}

impl Migration<'_> {
    /// Returns the value under a raw key of N.
    pub fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    /// Sets the value under a raw key of N, or deletes it.
    pub fn set(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        self.0.set(key, value);
    }

    /// Returns the parameters of the next height.
    pub fn params(&mut self) -> Params {
        self.0.params()
    }

    /// Sets the parameters of the next height.
    pub fn set_params(&mut self, params: &Params) {
        self.0.set_params(params);
    }
}

/// Migrates the state if an upgrade is planned for this height. Cost otherwise: one read.
///
/// Panics if the program does not have the upgrade: the caller asks [`Upgrades::check`] after the block before.
pub(crate) fn begin<R: Reader + ?Sized>(view: &mut View<'_, R>, height: Height, upgrades: Upgrades) -> Option<Event> {
    let UpgradePlan { name, .. } = plan(view).filter(|plan| plan.height <= height)?;
    match upgrades.find(&name) {
        Some(upgrade) => (upgrade.migrate)(&mut Migration(view)),
        None => assert!(mutated(Mutation::AnyProgram), "a program without the upgrade stops before the height"),
    }
    let mut params = view.params();
    params.version_app += u64::from(!mutated(Mutation::KeepVersion));
    view.set_params(&params);
    if !mutated(Mutation::NoBarrier) {
        let barrier = pb::Barrier { height: height_pb(height), kind: name.clone() };
        view.set(key::BARRIER, Some(barrier.encode_to_vec()));
    }
    let done = pb::UpgradeDone { height: height_pb(height) };
    view.set(&key::upgrade_done(&name), Some(done.encode_to_vec()));
    if !mutated(Mutation::KeepPlan) {
        set_plan(view, None);
    }
    let version = ("version_app", (params.version_app.to_string(), false));
    Some(event("upgrade.applied", [("name", (name, true)), ("height", (height.to_string(), false)), version]))
}

/// Returns the plan of the next upgrade, if there is one.
pub(crate) fn plan<R: Reader + ?Sized>(view: &mut View<'_, R>) -> Option<UpgradePlan> {
    let pb: pb::Upgrade = view.message(key::UPGRADE_PLAN)?;
    UpgradePlan::from_pb(pb).ok().or_else(|| view.unreadable(key::UPGRADE_PLAN, "it is not the plan of an upgrade"))
}

pub(crate) fn set_plan<R: Reader + ?Sized>(view: &mut View<'_, R>, plan: Option<&UpgradePlan>) {
    view.set(key::UPGRADE_PLAN, plan.map(|plan| plan.to_pb().encode_to_vec()));
}

/// Returns the height of an upgrade that was executed.
pub(crate) fn done<R: Reader + ?Sized>(view: &mut View<'_, R>, name: &str) -> Option<Height> {
    let key = key::upgrade_done(name);
    let pb: pb::UpgradeDone = view.message(&key)?;
    height_of(view, &key, pb.height)
}

/// Returns the last barrier, if there is one.
pub(crate) fn barrier<R: Reader + ?Sized>(view: &mut View<'_, R>) -> Option<Barrier> {
    let pb: pb::Barrier = view.message(key::BARRIER)?;
    let height = height_of(view, key::BARRIER, pb.height)?;
    Some(Barrier { height, kind: pb.kind })
}

fn height_of<R: Reader + ?Sized>(view: &View<'_, R>, key: &[u8], height: i64) -> Option<Height> {
    u64::try_from(height).ok().map(Height).or_else(|| view.unreadable(key, "its height is negative"))
}
