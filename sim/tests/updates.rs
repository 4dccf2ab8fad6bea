//! What balancers remember over an update, against what Envoy 1.40 did with EDS from a watched
//! file (one worker). Where its index started is not known: it is found from its first picks.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_engine::update::keep_order;
use twinmesh_engine::{Engine, Held, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

/// An endpoint: its name, weight, whether it is healthy, priority.
type Endpoint = (u32, u32, bool, u32);

fn snapshot(policy: &str, endpoints: &[Endpoint]) -> Arc<Snapshot> {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"name": "rc", "virtual_hosts": [{"name": "h", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}]},
    });
    let text = json!({"static_resources": {
        "listeners": [{
            "name": "l",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
            "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
        }],
        "clusters": [{"name": "c", "type": "STATIC", "lb_policy": policy, "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": []}]}}],
    }})
    .to_string();
    let read = twinmesh_xds::read_bytes("t.json", text.as_bytes(), &ReadOptions::default());
    let mut snapshot = read.expect("it is valid");
    // The endpoints are not in the cluster's message, as those from EDS are not.
    let group = |(name, weight, healthy, priority): &Endpoint| -> Value {
        let address =
            json!({"socket_address": {"address": "127.0.0.1", "port_value": 9000 + name}});
        let health = if *healthy { "HEALTHY" } else { "UNHEALTHY" };
        json!({"priority": priority, "locality": {"zone": format!("z{priority}")}, "lb_endpoints": [{
            "endpoint": {"address": address}, "load_balancing_weight": weight, "health_status": health}]})
    };
    let groups: Vec<Value> = endpoints.iter().map(group).collect();
    let eds = json!({"clusters": [{"name": "c", "type": "STATIC", "load_assignment": {"cluster_name": "c", "endpoints": groups}}]});
    let text = json!({"static_resources": eds}).to_string();
    let read = twinmesh_xds::read_bytes("t.json", text.as_bytes(), &ReadOptions::default());
    let read = read.expect("it is valid");
    snapshot.clusters[0].load_assignment = read.clusters[0].load_assignment.clone();
    Arc::new(snapshot)
}

/// An engine with what it was given last.
struct Run {
    engine: Box<dyn Engine>,
    snapshot: Arc<Snapshot>,
    decided: u64,
}

impl Run {
    fn new(engine: Box<dyn Engine>, snapshot: Arc<Snapshot>) -> Self {
        let mut run = Self {
            engine,
            snapshot,
            decided: 0,
        };
        run.engine.load(&run.snapshot).expect("it loads");
        run
    }

    fn update(&mut self, next: Arc<Snapshot>) {
        self.snapshot = keep_order(&self.snapshot, next);
        self.engine.update(&self.snapshot, 0).expect("it updates");
    }

    fn decide(&mut self) -> (char, Option<Held>) {
        let request: Request = serde_json::from_value(
            json!({"id": "r", "authority": "a", "destination": "127.0.0.1:8080"}),
        )
        .expect("a line of traffic");
        self.decided += 1;
        let random = twinmesh_model::random::draw(self.decided, 1);
        let answer = self.engine.decide(&request, random, 0, false);
        let answer = answer.expect("it decides");
        let name = answer
            .decision
            .endpoint
            .as_deref()
            .and_then(|name| name.chars().last());
        (name.unwrap_or('-'), answer.held)
    }

    /// Picks of requests that end at once.
    fn picks(&mut self, count: usize) -> String {
        (0..count)
            .map(|_| {
                let (name, held) = self.decide();
                if let Some(held) = held {
                    self.engine.release(held).expect("it is released");
                }
                name
            })
            .collect()
    }
}

fn both(snapshot: &Arc<Snapshot>) -> [Run; 2] {
    let engines: [Box<dyn Engine>; 2] = [Box::<Spec>::default(), Box::<Sim>::default()];
    engines.map(|engine| Run::new(engine, Arc::clone(snapshot)))
}

/// `n` endpoints of weight 1; those named are unhealthy.
fn equal(n: u32, unhealthy: &[u32]) -> Vec<Endpoint> {
    (1..=n)
        .map(|name| (name, 1, !unhealthy.contains(&name), 0))
        .collect()
}

fn weighted(weights: &[u32]) -> Vec<Endpoint> {
    (1..)
        .zip(weights)
        .map(|(name, &weight)| (name, weight, true, 0))
        .collect()
}

#[rstest]
#[case::health(3, &[(equal(4, &[]), "41234123"), (equal(4, &[4]), "312312"), (equal(4, &[]), "23412341")])]
#[case::health_again(3, &[(equal(4, &[]), "412341234123"), (equal(4, &[4]), "123123"), (equal(4, &[]), "23412341")])]
#[case::added_and_removed(8, &[(equal(3, &[]), "312312"), (equal(5, &[]), "5123451"), (equal(2, &[]), "2121")])]
#[case::weights_and_back(0, &[(equal(3, &[]), "1231231"), (weighted(&[3, 1, 1]), ""), (equal(3, &[]), "23123")])]
#[case::panic_has_its_own_index(0, &[(equal(4, &[]), "123412341"), (equal(4, &[1, 2, 3]), "12341"), (equal(4, &[]), "23412341"), (equal(4, &[1, 2, 3]), "23412")])]
fn round_robin_goes_on(#[case] start: usize, #[case] steps: &[(Vec<Endpoint>, &str)]) {
    let (first, _) = &steps[0];
    for mut run in both(&snapshot("ROUND_ROBIN", first)) {
        run.picks(start);
        for (index, (endpoints, expected)) in steps.iter().enumerate() {
            if index > 0 {
                run.update(snapshot("ROUND_ROBIN", endpoints));
            }
            let count = if expected.is_empty() {
                10
            } else {
                expected.len()
            };
            let picks = run.picks(count);
            if !expected.is_empty() {
                assert_eq!(&picks, expected, "{} step {index}", run.engine.name());
            }
        }
    }
}

#[test]
fn an_index_that_is_not_used_stays() {
    for mut run in both(&snapshot("ROUND_ROBIN", &equal(4, &[]))) {
        assert_eq!(run.picks(6), "123412");
        run.update(snapshot("ROUND_ROBIN", &equal(4, &[1, 2, 3])));
        assert_eq!(run.picks(3), "123");
        run.update(snapshot("ROUND_ROBIN", &equal(4, &[])));
        assert_eq!(run.picks(3), "341");
        run.update(snapshot("ROUND_ROBIN", &equal(4, &[1, 2, 3])));
        assert_eq!(run.picks(2), "41");
    }
}

#[test]
fn a_new_order_alone_is_no_change() {
    let reversed = |n| equal(n, &[]).into_iter().rev().collect::<Vec<_>>();
    for mut run in both(&snapshot("ROUND_ROBIN", &equal(3, &[]))) {
        assert_eq!(run.picks(8), "12312312");
        run.update(snapshot("ROUND_ROBIN", &reversed(3)));
        assert_eq!(run.picks(6), "312312");
        let mut more = reversed(3);
        more.push((4, 1, true, 0));
        run.update(snapshot("ROUND_ROBIN", &more));
        // 14 picks were made; the order is 3, 2, 1, 4.
        assert_eq!(run.picks(8), "14321432");
    }
}

#[rstest]
fn schedules_start_anew_where_their_priority_changed(
    #[values("ROUND_ROBIN", "LEAST_REQUEST")] policy: &str,
) {
    for mut run in both(&snapshot(policy, &weighted(&[3, 1, 2]))) {
        let period = run.picks(6);
        assert_eq!(run.picks(8), format!("{period}{}", &period[..2]));
        run.update(snapshot(policy, &weighted(&[3, 1, 2])));
        assert_eq!(run.picks(4), &period[2..], "nothing changed");
        run.picks(1);
        let mut unhealthy = weighted(&[3, 1, 2]);
        unhealthy[1].2 = false;
        run.update(snapshot(policy, &unhealthy));
        // 3 : 2, from the start.
        assert_eq!(run.picks(10), "1313113131");
        run.update(snapshot(policy, &weighted(&[3, 1, 2])));
        assert_eq!(run.picks(6), period);
    }
}

#[test]
fn schedules_of_other_priorities_go_on() {
    let endpoints = |sixth| {
        vec![
            (1, 3, true, 0),
            (2, 1, true, 0),
            (3, 2, false, 0),
            (7, 1, false, 0),
            (8, 1, false, 0),
            (4, 3, true, 1),
            (5, sixth, true, 1),
            (6, 2, true, 1),
        ]
    };
    let split = |picks: &str| -> [String; 2] {
        [['1', '2', '3'], ['4', '5', '6']]
            .map(|of| picks.chars().filter(|name| of.contains(name)).collect())
    };
    for mut run in both(&snapshot("ROUND_ROBIN", &endpoints(1))) {
        let [before, _] = split(&run.picks(65));
        run.update(snapshot("ROUND_ROBIN", &endpoints(7)));
        let [after, changed] = split(&run.picks(40));
        let whole = "1121".repeat(40);
        assert!(
            whole.starts_with(&format!("{before}{after}")),
            "{before} {after}"
        );
        assert!(
            before.len() % 4 != 0 && !after.is_empty(),
            "{before} {after}"
        );
        // 3 : 7 : 2, from the start.
        assert!(changed.starts_with("5545654"), "{changed}");
    }
}

/// In a panic the load of a priority's healthy endpoints and that of its degraded ones go to all
/// of its endpoints by one balancer.
#[test]
fn a_panic_has_one_balancer() {
    let mut endpoints: Vec<Endpoint> = (0..10).map(|name| (name, 1, name == 0, 0)).collect();
    endpoints.extend((10..14).map(|name| (name, 1, name > 11, 1)));
    let mut mixed = Arc::unwrap_or_clone(snapshot("ROUND_ROBIN", &endpoints));
    let assignment = mixed.clusters[0].load_assignment.as_mut();
    let second = &mut assignment.expect("it has endpoints").endpoints[1];
    second.lb_endpoints[0].health_status = 5; // DEGRADED
    for mut run in both(&Arc::new(mixed)) {
        let picks = (0..300).filter_map(|_| run.decide().1);
        let first: Vec<usize> = picks
            .map(|held| held.locality)
            .filter(|locality| *locality < 10)
            .collect();
        assert!(first.len() > 50 && first.len() < 150, "{first:?}");
        let in_turn: Vec<usize> = (0..first.len()).map(|pick| pick % 10).collect();
        assert_eq!(first, in_turn, "{}", run.engine.name());
    }
}

fn hold(run: &mut Run, count: usize) -> Vec<Held> {
    (0..count).filter_map(|_| run.decide().1).collect()
}

/// Envoy: a count stays over a change of weight, health or priority; an endpoint of another
/// locality, or one that returns, starts at 0.
#[test]
fn active_requests_stay_with_their_endpoint() {
    let two = |second: Endpoint| vec![(1, 1, true, 0), second];
    let policy = "LEAST_REQUEST";
    for mut run in both(&snapshot(policy, &two((2, 1, true, 0)))) {
        // Endpoint 1 is the busier one.
        let held = hold(&mut run, 40);
        let (ones, twos): (Vec<Held>, Vec<Held>) =
            held.into_iter().partition(|held| held.locality == 0);
        for held in twos {
            run.engine.release(held).expect("it is released");
        }
        assert!(ones.len() > 10);
        let prefers = |run: &mut Run, name: char| {
            let picks = run.picks(40);
            picks.chars().filter(|pick| *pick == name).count() > 25
        };
        assert!(prefers(&mut run, '2'));
        run.update(snapshot(
            policy,
            &[(2, 1, true, 0), (3, 1, true, 0), (1, 1, true, 0)],
        ));
        let picks = run.picks(60);
        let busy = picks.chars().filter(|pick| *pick == '1').count();
        assert!(busy < 15, "{picks}");
        // The endpoint now stands third: what it held is given back to it there.
        run.update(snapshot(policy, &two((2, 1, true, 0))));
        for held in &ones {
            run.engine.release(*held).expect("it is released");
        }
        assert!(!prefers(&mut run, '2'));
        hold(&mut run, 20);
        run.update(snapshot(policy, &[(3, 1, true, 0)]));
        run.update(snapshot(policy, &two((2, 1, true, 0))));
        // Both returned without any.
        assert!(!prefers(&mut run, '2') && !prefers(&mut run, '1'));
    }
}

#[test]
fn another_cluster_of_the_name_starts_anew() {
    for mut run in both(&snapshot("ROUND_ROBIN", &equal(3, &[]))) {
        assert_eq!(run.picks(4), "1231");
        run.update(snapshot("LEAST_REQUEST", &equal(3, &[])));
        run.update(snapshot("ROUND_ROBIN", &equal(3, &[])));
        assert_eq!(run.picks(4), "1231");
    }
}
