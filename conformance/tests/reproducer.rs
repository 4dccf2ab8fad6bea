//! Reproducers of what two engines disagree about: as small as the disagreement allows.

mod common;

use std::sync::Arc;

use common::{Case, TRAFFIC};
use twinmesh::judge::Question;
use twinmesh::{case, reproducer};
use twinmesh_engine::{Answer, Engine, EngineError, Held, Outcome, Request, Strictness};
use twinmesh_spec::Spec;
use twinmesh_xds::Snapshot;

/// Decides as `spec` does, and wrongly every so many picks of a cluster.
struct Wrong {
    spec: Spec,
    cluster: &'static str,
    every: usize,
    picks: usize,
}

impl Wrong {
    fn new(cluster: &'static str, every: usize) -> Self {
        Self {
            spec: Spec::default(),
            cluster,
            every,
            picks: 0,
        }
    }
}

impl Engine for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }

    fn strictness(&self) -> Strictness {
        Strictness::Exact
    }

    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        self.picks = 0;
        self.spec.load(snapshot)
    }

    fn update(&mut self, snapshot: &Arc<Snapshot>, now_us: u64) -> Result<(), EngineError> {
        self.spec.update(snapshot, now_us)
    }

    fn decide(
        &mut self,
        request: &Request,
        random: u64,
        now_us: u64,
        trace: bool,
    ) -> Result<Answer, EngineError> {
        let mut answer = self.spec.decide(request, random, now_us, trace)?;
        if answer.decision.cluster.as_deref() == Some(self.cluster)
            && answer.decision.outcome == Outcome::Forward
        {
            self.picks += 1;
            if self.picks.is_multiple_of(self.every) {
                answer.decision.endpoint = Some("10.9.9.9:1".to_owned());
            }
        }
        Ok(answer)
    }

    fn release(&mut self, held: Held) -> Result<(), EngineError> {
        self.spec.release(held)
    }
}

/// The reproducer of what the engine and `spec` make of a request, read again.
fn reproduce(mut engine: Wrong, index: usize) -> case::Case {
    let folder = Case::new("");
    let case = case::Case::read(&folder.folder, "shop", true).expect("the case");
    let question = Question {
        snapshot: Arc::clone(&case.snapshot),
        requests: &case.requests,
        recorded: None,
        comparison: &case.comparison,
        schedule: case.schedule.as_ref(),
        endpoints: None,
        seed: 0,
    };
    let mut spec = Spec::default();
    let found = folder.parent.path().join("found");
    let written = reproducer::write(
        &found,
        &case,
        &question,
        index,
        &mut engine,
        Some(&mut spec),
    )
    .expect("a reproducer");
    assert_eq!(written, found.join(format!("shop-wrong-r{index}")));
    case::Case::read(&written, "found", true).expect("a case")
}

#[test]
fn one_request_and_one_of_each_resource_remain() {
    let case = reproduce(Wrong::new("reviews-v2", 1), 1);
    assert_eq!(case.requests.len(), 1);
    assert!(case.recorded.is_none());
    let snapshot = &case.snapshot;
    assert_eq!(snapshot.route_configurations.len(), 1);
    let hosts = &snapshot.route_configurations[0].config.virtual_hosts;
    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["reviews"]);
    assert_eq!(hosts[0].domains, ["reviews.test"]);
    let routes: Vec<&str> = hosts[0]
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(routes, ["jason"]);
    // Neither the matcher nor the header matters once no other route is there.
    let matched = hosts[0].routes[0].r#match.as_ref().expect("a match");
    assert!(matched.headers.is_empty(), "{matched:?}");
    assert!(case.requests[0].headers.is_empty());
    let with_endpoints: Vec<&str> = snapshot
        .clusters
        .iter()
        .filter(|cluster| cluster.load_assignment.is_some())
        .map(|cluster| cluster.name.as_str())
        .collect();
    assert_eq!(with_endpoints, ["reviews-v2"]);
}

#[test]
fn as_many_requests_remain_as_the_state_takes() {
    // The picks of reviews-v1 are r0, r2, r3, r8, r10 and r11: the third is r3.
    assert!(
        TRAFFIC
            .lines()
            .nth(3)
            .is_some_and(|line| line.contains("\"r3\""))
    );
    let case = reproduce(Wrong::new("reviews-v1", 3), 3);
    let ids: Vec<&str> = case
        .requests
        .iter()
        .map(|request| request.id.as_str())
        .collect();
    assert_eq!(ids, ["r0", "r2", "r3"]);
    // Drawn for the place that it had in the whole traffic.
    let random = twinmesh_engine::random::draw(0, 3);
    assert_eq!(case.requests[2].random, Some(random));
}

#[test]
fn what_does_not_diverge_has_no_reproducer() {
    let folder = Case::new("");
    let case = case::Case::read(&folder.folder, "shop", true).expect("the case");
    let question = Question {
        snapshot: Arc::clone(&case.snapshot),
        requests: &case.requests,
        recorded: None,
        comparison: &case.comparison,
        schedule: case.schedule.as_ref(),
        endpoints: None,
        seed: 0,
    };
    let found = folder.parent.path().join("found");
    let error = reproducer::write(
        &found,
        &case,
        &question,
        0,
        &mut Wrong::new("reviews-v2", 1),
        Some(&mut Spec::default()),
    )
    .expect_err("nothing to reproduce");
    assert!(
        error.to_string().contains("the divergence has gone"),
        "{error}"
    );
    assert!(!found.exists());
}
