//! Whether a request is tried again, and where it then goes.

use twinmesh_attempts::retry;
use twinmesh_compile::attempts;
use twinmesh_engine::stream::{Action, StreamId, Timer};
use twinmesh_engine::{Failure, Held, Outcome, Try};
use twinmesh_model::layout::work;
use twinmesh_model::{Machine, endpoint, random};

use super::{Again, Ending, Reply, end, no_endpoint, reset_of, undecide};
use crate::Sim;
use crate::again::{self, Chosen};

/// Draws of a request's number that attempts after the first take, one each for a selection.
const ATTEMPT: u64 = 1 << 32;
const SELECTIONS: u64 = 1 << 16;
/// Draws that back offs take.
const BACK_OFF: u64 = 1 << 33;

impl Sim {
    /// Whether an attempt is made again; sets the timer for it.
    pub(super) fn again(
        &mut self,
        id: StreamId,
        ending: Ending<'_>,
        now: u64,
        actions: &mut Vec<Action>,
    ) -> Again {
        let replaced = &self.under.replaced;
        let Some(stream) = self.under.streams.get_mut(&id) else {
            return Again::No(None);
        };
        if let Some(key) = stream.retry_of.take() {
            self.under.pools.retried(&key);
        }
        let Some(plan) = &stream.plan else {
            return Again::No(None);
        };
        let retriable = match ending {
            Ending::Response(response) => retry::response(plan.conditions, plan.facts(response)),
            Ending::Failure(Failure::Overflow) => false,
            Ending::Failure(failure) => retry::reset(plan.conditions, reset_of(failure)),
        };
        if !retriable {
            return Again::No(None);
        }
        if !stream.left.take() {
            return Again::No(Some("URX"));
        }
        let replaced = replaced.get(&plan.cluster).copied().unwrap_or(0);
        let key = (plan.cluster.clone(), replaced, plan.high);
        let limits = match &self.loaded {
            Some((compiled, _)) => compiled.snapshot.cluster(&key.0),
            None => None,
        };
        let limits = limits
            .map(|it| attempts::thresholds(&it.config, key.2))
            .unwrap_or_default();
        if !self.under.pools.retry(&limits, &key) {
            return Again::No(Some("UO"));
        }
        stream.retry_of = Some(key);
        let number = random::draw(stream.random, BACK_OFF + stream.tries.len() as u64);
        let asked = match ending {
            Ending::Response(response) => plan.asks_to_wait(response, now, number),
            Ending::Failure(_) => None,
        };
        let wait = asked.unwrap_or_else(|| stream.left.back_off(plan.intervals, number));
        let at = now.saturating_add(wait.saturating_mul(1000));
        actions.push(Action::Set(Timer::BackOff(id), at));
        Again::Yes
    }

    /// Makes another attempt, where there is an endpoint for it.
    pub(super) fn try_again(&mut self, id: StreamId, now: u64, actions: &mut Vec<Action>) {
        let Some(stream) = self.under.streams.get_mut(&id) else {
            return;
        };
        let (Some((compiled, memory)), Some(plan)) = (&mut self.loaded, &stream.plan) else {
            return;
        };
        let first = ATTEMPT + stream.tries.len() as u64 * SELECTIONS;
        let of_cluster = compiled.snapshot.cluster(&plan.cluster);
        let hashes = of_cluster.is_some_and(|cluster| cluster.balancer.hashes());
        let most = plan.selections.unwrap_or(0);
        let mut chosen = Chosen::Nothing;
        let decision = &mut stream.answer.decision;
        if let Some(number) = compiled.next_named(&plan.cluster, &mut stream.named) {
            endpoint::hold(memory, number);
            let held = compiled.name_endpoint(number, plan, &stream.request, decision);
            chosen = Chosen::Endpoint(held);
        } else if hashes && plan.selections.is_some() {
            let why = "retries of a balancer that hashes with retry_host_predicate are not decided";
            chosen = Chosen::Undecided(why.to_owned());
        } else {
            for selection in 0..=most {
                let number = random::draw(stream.random, first + selection);
                let (tables, record) = stream.record;
                let by = (plan, stream.hash, (tables == self.tables).then_some(record));
                memory.set_word(work::NOW, now);
                chosen = again::choose(compiled, memory, by, number, &stream.request, decision);
                let tried = stream
                    .tries
                    .iter()
                    .any(|it| it.endpoint == decision.endpoint);
                match &chosen {
                    Chosen::Endpoint(held) if tried && selection < most => {
                        if let Some(held) = *held {
                            again::release(compiled, memory, held);
                        }
                    }
                    _ => break,
                }
            }
        }
        match chosen {
            Chosen::Endpoint(held) => {
                stream.held = held.map(|held| Held {
                    generation: self.generation,
                    ..held
                });
                self.attempt(id, now, actions);
            }
            Chosen::Nothing => {
                stream.tries.push(Try {
                    start_us: now,
                    end_us: now,
                    failure: Some(Failure::NoHealthyUpstream),
                    ..Try::default()
                });
                let reply = Reply {
                    status: Some(plan.status(503)),
                    flags: vec!["UH"],
                    reason: "the cluster has no endpoint that may be used",
                };
                decision.outcome = Outcome::NoHealthyUpstream;
                no_endpoint(&mut stream.answer);
                self.finish(id, reply, now, actions);
            }
            Chosen::Undecided(reason) => {
                if let Some(mut stream) = self.under.streams.remove(&id) {
                    if let Some(key) = &stream.retry_of {
                        self.under.pools.retried(key);
                    }
                    undecide(&mut stream.answer, reason, stream.traced);
                    end(id, stream.answer, actions);
                }
            }
        }
    }
}
