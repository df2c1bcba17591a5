//! One method of the RPC: its description and the function that runs it.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{
    describe::{Case, Field, Param},
    shared::{Outcome, Server},
};
use crate::{args::Args, clients::Client};

/// The way in which a method is run.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// Runs at once: reads memory, or one or two cached rows.
    Now(fn(&Server, &Args) -> Outcome),
    /// Runs on a blocking thread, in its turn: reads blocks or state.
    Store(fn(&Server, &Args) -> Outcome),
    /// Waits for other tasks without a thread.
    Wait(fn(Arc<Server>, Arc<Client>, Args) -> BoxFuture<'static, Outcome>),
    /// Changes the node, and runs only if the operator offers it.
    Unsafe(fn(&Server, &Args) -> Outcome),
    /// Belongs to a WebSocket connection.
    WebSocket,
}

/// A method of the RPC.
pub struct Method {
    /// The name of the method.
    pub name: &'static str,
    /// A sentence about what it does.
    pub about: &'static str,
    /// The parameters that it reads, in order.
    pub params: &'static [Param],
    /// The fields of its result.
    pub result: &'static [Field],
    /// Its errors, without those that every method can have.
    pub errors: &'static [Case],
    pub(super) run: Run,
}

impl Method {
    /// Describes a method without errors of its own and without a result.
    pub(super) const fn new(name: &'static str, about: &'static str, params: &'static [Param], run: Run) -> Self {
        Self { name, about, params, result: &[], errors: &[], run }
    }

    /// Adds the fields of the result.
    pub(super) const fn returns(self, result: &'static [Field]) -> Self {
        Self { result, ..self }
    }

    /// Adds the errors.
    pub(super) const fn fails(self, errors: &'static [Case]) -> Self {
        Self { errors, ..self }
    }

    /// Returns true if the method needs a WebSocket.
    pub fn is_websocket(&self) -> bool {
        matches!(self.run, Run::WebSocket)
    }

    /// Returns true if the method changes the node, and runs only if the operator offers it.
    pub fn is_unsafe(&self) -> bool {
        matches!(self.run, Run::Unsafe(_))
    }

    /// Returns true if this node offers the method.
    pub fn is_offered(&self, server: &Server) -> bool {
        !self.is_unsafe() || server.context.limits.offer_unsafe
    }

    /// Returns true if the method mostly waits for other tasks and has a small answer, so that several calls may run
    /// concurrently.
    pub fn waits(&self) -> bool {
        matches!(self.run, Run::Wait(_))
    }
}
