//! The trait that every engine implements.

use std::sync::Arc;
use std::time::Duration;

use twinmesh_xds::Snapshot;

use crate::{Decision, Request, Streams, Trace};

/// How strictly an engine's decisions can be compared with another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Every field and every step of the trace.
    Exact,
    /// Every field, but it may answer `unsupported` where a limit of its own says so; such a
    /// decision is counted, not compared.
    ExactWithinLimits,
    /// As the case's `case.toml` says: a recording of another server.
    Recorded,
    /// A server that runs: it draws random numbers of its own and its balancers start somewhere,
    /// so that it is compared as far as the snapshot leaves no choice. It makes no traces, and may
    /// decide what the reference cannot.
    Live,
}

/// What an engine made of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The decision.
    pub decision: Decision,
    /// How it came about; empty where it was not asked for.
    pub trace: Trace,
    /// What the request holds until it ends; `None` where nothing was forwarded.
    pub held: Option<Held>,
    /// By how many microseconds HTTP filters delayed the request: so much later it gets to the
    /// endpoint, and ends.
    pub delayed_us: u64,
}

/// An endpoint that a request holds: what [`Engine::release`] gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// Index into `Snapshot::clusters`.
    pub cluster: usize,
    /// Index into `ClusterLoadAssignment.endpoints`.
    pub locality: usize,
    /// Index into its `lb_endpoints`.
    pub endpoint: usize,
    /// Counts the snapshots loaded, so that what an older one holds is not given back to a newer.
    pub generation: u64,
}

impl Held {
    /// Stands for `locality` and `endpoint` where the endpoint has gone since: only the cluster
    /// still counts the request.
    pub const GONE: usize = usize::MAX;
}

/// One way to decide requests. All inputs of a decision are arguments; the only state is the
/// balancers', which starts at zero with the first snapshot.
pub trait Engine {
    /// The engine's name: `spec`, `sim`, `bpf-vm`, `kernel`, `envoy`.
    fn name(&self) -> &'static str;

    /// How strictly it can be compared.
    fn strictness(&self) -> Strictness;

    /// Whether it is the kernel's programs, which leave what they have no room for to userspace before
    /// they look at the request.
    fn is_of_kernel(&self) -> bool {
        false
    }

    /// Takes a snapshot at the virtual time 0; from the next request on it decides. Balancer state
    /// starts anew.
    ///
    /// # Errors
    /// The snapshot does not fit the engine; the one before stays.
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError>;

    /// Sees the requests of a run before the first of them is decided, as far as the snapshot that
    /// was loaded stays in force; returns how long they took it. An engine that is asked by
    /// function calls has no use for it; a server is sent them here.
    ///
    /// # Errors
    /// The engine itself failed.
    fn foresee(&mut self, _requests: &[Request]) -> Result<Duration, EngineError> {
        Ok(Duration::ZERO)
    }

    /// Takes the snapshot that follows the one before at the virtual time `now_us` while requests
    /// are under way, as an Envoy takes an xDS update. What survives is what survives there (measured on 1.40):
    ///
    /// - A cluster that goes on (see [`keeps_state`](crate::update::keeps_state)) keeps its
    ///   balancer; any other starts anew, and nothing held in it is ever released.
    /// - Active requests of an endpoint stay with it, whatever its index, priority, weight or
    ///   health; see [`Identity`](crate::update::Identity). An endpoint that has gone takes its
    ///   own with it, and returns without any.
    /// - The round robin index of each source of a priority (its healthy endpoints, the degraded
    ///   ones, all of them in a panic) survives, whatever the endpoints are now, and while the
    ///   source is not used. Picks by weight do not move it.
    /// - The HTTP filters of a listener whose message is equal keep what they know; see
    ///   [`keeps_filters`](crate::update::keeps_filters). So do the token buckets of what an equal
    ///   route configuration says to filters ([`keeps_routes`](crate::update::keeps_routes)).
    ///   Others start anew.
    /// - Where localities are chosen by weight, each has an index of its own, which goes by the
    ///   locality's place among those of the priority and survives like the others.
    /// - The schedules of weighted endpoints and localities start anew in each priority whose
    ///   endpoints, their health, weights or metadata, or whose localities' weights changed, or
    ///   where the overprovisioning factor or `weighted_priority_health` did; those of other
    ///   priorities go on.
    /// - A subset has state of its own; one that has lost all its endpoints forgets it.
    /// - In slow start an endpoint's time goes on, whatever its weight or health since; that of one
    ///   which has come begins. One of another locality is another one.
    ///
    /// The generation in [`Held`] stays as it is; the caller renumbers what it holds to the new
    /// snapshot's indices.
    ///
    /// # Errors
    /// The snapshot does not fit the engine; the one before stays.
    fn update(&mut self, snapshot: &Arc<Snapshot>, now_us: u64) -> Result<(), EngineError>;

    /// Decides one request. `random` is its one random number, `now_us` the virtual time. With
    /// `trace` the answer tells how the decision came about, which costs time in the number of
    /// routes.
    ///
    /// # Errors
    /// The engine itself failed; what a request lacks is an outcome, never an error.
    fn decide(
        &mut self,
        request: &Request,
        random: u64,
        now_us: u64,
        trace: bool,
    ) -> Result<Answer, EngineError>;

    /// A forwarded request has ended.
    ///
    /// # Errors
    /// The engine itself failed.
    fn release(&mut self, held: Held) -> Result<(), EngineError>;

    /// The engine as one that decides what becomes of requests after their endpoint is chosen;
    /// `None` where it does not.
    fn streams(&mut self) -> Option<&mut dyn Streams> {
        None
    }
}

/// An engine could not do its work.
#[derive(Debug, thiserror::Error)]
#[error("engine {engine}: {message}")]
pub struct EngineError {
    /// The engine's name.
    pub engine: &'static str,
    /// What failed, where, and what to do about it.
    pub message: String,
}
