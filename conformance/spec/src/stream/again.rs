//! The endpoint of another attempt.

use twinmesh_engine::stream::{Action, StreamId};
use twinmesh_engine::{Failure, Outcome, Try};

use super::{Stream, clear, name_nothing, undecide};
use crate::draw::draw;
use crate::engine::{Loaded, Spec};
use crate::rewrite;
use crate::run::Run;
use crate::upstream::{Drops, Picked};

/// The first draw for the choice of another attempt's endpoint.
const ATTEMPT: u64 = 1 << 32;
/// How many draws an attempt has.
const SELECTIONS: u64 = 1 << 16;

impl Spec {
    /// Chooses the endpoint of another attempt; ends the stream where there is none.
    pub(super) fn choose_again(
        &mut self,
        id: StreamId,
        now: u64,
        actions: &mut Vec<Action>,
    ) -> bool {
        let generation = self.generation;
        let Some(stream) = self.following.streams.get_mut(&id) else {
            return false;
        };
        let Some(loaded) = &mut self.loaded else {
            return false;
        };
        match select(loaded, generation, stream, now) {
            Selected::Endpoint => return true,
            Selected::Nothing => {
                stream.tries.push(Try {
                    start_us: now,
                    end_us: now,
                    failure: Some(Failure::NoHealthyUpstream),
                    ..Try::default()
                });
                stream.answer.decision.outcome = Outcome::NoHealthyUpstream;
                name_nothing(&mut stream.answer);
                let status = stream
                    .plan
                    .as_ref()
                    .map(|it| it.message.local_reply_status(503));
                let reason = "the cluster has no endpoint that may be used";
                self.end(id, status, &[Some("UH")], reason, now, actions);
            }
            Selected::Undecided(reason) => {
                if let Some(mut stream) = self.following.streams.remove(&id) {
                    if let Some(of) = &stream.retries_of {
                        self.following.breakers.retried(of);
                    }
                    undecide(&mut stream.answer, reason, stream.trace);
                    clear(id, actions);
                    let answer = stream.answer;
                    actions.push(Action::End {
                        stream: id,
                        answer: Box::new(answer),
                    });
                }
            }
        }
        false
    }
}

enum Selected {
    Endpoint,
    Nothing,
    Undecided(String),
}

/// Another endpoint of the stream's cluster, into its decision.
fn select(loaded: &mut Loaded, generation: u64, stream: &mut Stream, now: u64) -> Selected {
    let Some(plan) = &mut stream.plan else {
        return Selected::Nothing;
    };
    let attempt = ATTEMPT + stream.tries.len() as u64 * SELECTIONS;
    let tried: Vec<String> = stream
        .tries
        .iter()
        .filter_map(|it| it.endpoint.clone())
        .collect();
    let selections = if plan.retry.passes_over_tried {
        plan.retry.selections
    } else {
        0
    };
    for selection in 0..=selections {
        let snapshot = &loaded.snapshot;
        let clusters = &snapshot.clusters;
        let Some(index) = clusters
            .iter()
            .position(|cluster| cluster.name == plan.cluster)
        else {
            return Selected::Nothing;
        };
        let hashes = clusters
            .get(index)
            .is_some_and(|cluster| cluster.balancer.hashes());
        let named = std::mem::take(&mut plan.named);
        let mut run = Run::again(
            loaded,
            &stream.request,
            (draw(stream.random, attempt + selection), now),
            generation,
            (plan.hash, plan.criteria.clone()),
            named,
        );
        let picked = run.at_cluster(index, Drops::Ignored);
        plan.named = run.named.take().unwrap_or_default();
        let is_named = run.is_named;
        let found = run.answer;
        if hashes && plan.retry.passes_over_tried && !is_named {
            if let Some(held) = found.held {
                loaded.balancers.release(held);
            }
            return Selected::Undecided(
                "retries of a balancer that hashes with retry_host_predicate are not decided"
                    .to_owned(),
            );
        }
        match picked {
            Picked::Nothing | Picked::Dropped => return Selected::Nothing,
            Picked::Undecided => {
                return Selected::Undecided(found.decision.reason.unwrap_or_default());
            }
            Picked::Endpoint { hostname } => {
                let again = found.decision.endpoint.clone();
                let is_tried = again.as_ref().is_some_and(|again| tried.contains(again));
                if is_tried && selection < selections && !is_named {
                    if let Some(held) = found.held {
                        loaded.balancers.release(held);
                    }
                    continue;
                }
                stream.held = found.held;
                let mut lines = plan.lines.clone();
                let rewritten = rewrite::by_endpoint(&plan.action, &hostname, &mut lines);
                let authority = rewritten.and_then(|()| lines.text(":authority")).ok();
                let decision = &mut stream.answer.decision;
                decision.endpoint = again;
                decision.priority = found.decision.priority;
                decision.locality = found.decision.locality;
                decision.authority =
                    authority.filter(|it| stream.request.authority.as_ref() != Some(it));
                return Selected::Endpoint;
            }
        }
    }
    Selected::Nothing
}
