//! Localities, subsets and the like: what the tables name as userspace's, what does not fit them, and
//! what balancers remember over an update, as Envoy 1.40 did with EDS from a watched file.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_compile::compile;
use twinmesh_engine::update::keep_order;
use twinmesh_engine::{Engine, Outcome, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

fn read(bootstrap: &Value) -> Snapshot {
    let text = bootstrap.to_string();
    let read = twinmesh_xds::read_bytes("test.json", text.as_bytes(), &ReadOptions::default());
    read.unwrap_or_else(|error| panic!("{error}"))
}

/// A cluster `c` with these fields and endpoints that come beside it; a route to it, and one to each
/// of its subsets.
fn snapshot(more: &Value, assignment: &Value) -> Arc<Snapshot> {
    let mut cluster = json!({"name": "c", "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "c", "endpoints": []}});
    for (field, value) in more.as_object().into_iter().flatten() {
        cluster[field] = value.clone();
    }
    let mut routes: Vec<Value> = ["a", "b"]
        .iter()
        .map(|label| {
            let metadata = json!({"filter_metadata": {"envoy.lb": {"v": label}}});
            json!({"match": {"path": format!("/{label}")},
                "route": {"cluster": "c", "metadata_match": metadata}})
        })
        .collect();
    routes.push(json!({"match": {"prefix": "/"}, "route": {"cluster": "c"}}));
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"name": "rc", "virtual_hosts": [{"name": "h", "domains": ["*"], "routes": routes}]},
    });
    let listener = json!({"name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]});
    let mut read_cluster = cluster.clone();
    let mut snapshot =
        read(&json!({"static_resources": {"listeners": [listener], "clusters": [cluster]}}));
    let mut assigned = assignment.clone();
    assigned["cluster_name"] = json!("c");
    read_cluster["load_assignment"] = assigned;
    let other = read(&json!({"static_resources": {"clusters": [read_cluster]}}));
    snapshot.clusters[0].load_assignment = other.clusters[0].load_assignment.clone();
    Arc::new(snapshot)
}

fn endpoint(name: u32, weight: u32) -> Value {
    let address = json!({"address": "127.0.0.1", "port_value": 9000 + name});
    json!({"endpoint": {"address": {"socket_address": address}}, "load_balancing_weight": weight})
}

fn group(zone: &str, weight: u32, endpoints: &[Value]) -> Value {
    json!({"locality": {"zone": zone}, "load_balancing_weight": weight, "lb_endpoints": endpoints})
}

fn plain(names: std::ops::RangeInclusive<u32>) -> Vec<Value> {
    names.map(|name| endpoint(name, 1)).collect()
}

fn by_locality() -> Value {
    json!({"common_lb_config": {"locality_weighted_lb_config": {}}})
}

struct Run {
    engine: Box<dyn Engine>,
    snapshot: Arc<Snapshot>,
    decided: u64,
}

impl Run {
    fn update(&mut self, next: Arc<Snapshot>) {
        self.snapshot = keep_order(&self.snapshot, next);
        self.engine.update(&self.snapshot, 0).expect("it updates");
    }

    /// The last digits of the endpoints that requests go to, or `-`.
    fn picks(&mut self, path: &str, count: usize) -> String {
        (0..count)
            .map(|_| {
                let request: Request = serde_json::from_value(json!({
                    "id": "r", "authority": "a", "path": path, "destination": "127.0.0.1:8080"}))
                .expect("a line of traffic");
                self.decided += 1;
                let answer = self.engine.decide(&request, self.decided, 0, false);
                let answer = answer.expect("it decides");
                if let Some(held) = answer.held {
                    self.engine.release(held).expect("it is released");
                }
                let endpoint = answer.decision.endpoint.as_deref();
                endpoint.and_then(|name| name.chars().last()).unwrap_or('-')
            })
            .collect()
    }
}

fn both(snapshot: &Arc<Snapshot>) -> [Run; 2] {
    let engines: [Box<dyn Engine>; 2] = [Box::<Spec>::default(), Box::<Sim>::default()];
    engines.map(|engine| {
        let mut run = Run {
            engine,
            snapshot: Arc::clone(snapshot),
            decided: 0,
        };
        run.engine.load(snapshot).expect("it loads");
        run
    })
}

fn two_zones(weight: u32) -> Value {
    json!({"endpoints": [group("a", weight, &plain(1..=3)), group("b", 1, &plain(9..=9))]})
}

fn without(picks: &str, letter: char) -> String {
    picks.chars().filter(|it| *it != letter).collect()
}

#[test]
fn turns_within_a_locality_go_on() {
    let config = by_locality();
    for mut run in both(&snapshot(&config, &two_zones(1))) {
        assert_eq!(run.picks("/", 9), "192939192");
        run.update(snapshot(&config, &two_zones(2)));
        assert_eq!(without(&run.picks("/", 13), '9')[..6], *"312312");
    }
}

/// They go by its place: one that comes before it takes its turns over.
#[test]
fn turns_go_by_the_place_of_the_locality() {
    let config = by_locality();
    let more = json!({"endpoints": [
        group("a", 1, &plain(1..=3)), group("0", 1, &plain(8..=8)), group("b", 1, &plain(9..=9))]});
    for mut run in both(&snapshot(&config, &two_zones(1))) {
        // Of these b had four, so the next of three is the second.
        run.picks("/", 9);
        run.update(snapshot(&config, &more));
        let picks = without(&without(&run.picks("/", 9), '8'), '9');
        assert_eq!(picks, "231");
    }
}

#[rstest]
#[case::locality_weight(json!({"endpoints": [group("z", 2, &[endpoint(1, 1), endpoint(2, 2), endpoint(3, 4)])]}), true)]
#[case::overprovisioning(json!({"policy": {"overprovisioning_factor": 150}}), true)]
#[case::weighted_health(json!({"policy": {"weighted_priority_health": true}}), true)]
#[case::stale_after(json!({"policy": {"endpoint_stale_after": "7s"}}), false)]
#[case::drops(json!({"policy": {"drop_overloads": [{"category": "c"}]}}), false)]
fn schedules_start_anew(
    #[case] change: Value,
    #[case] anew: bool,
    #[values(json!({}), by_locality())] config: Value,
) {
    let endpoints = [endpoint(1, 1), endpoint(2, 2), endpoint(3, 4)];
    let first = json!({"endpoints": [group("z", 1, &endpoints)]});
    let mut next = first.clone();
    for (field, value) in change.as_object().into_iter().flatten() {
        next[field] = value.clone();
    }
    for mut run in both(&snapshot(&config, &first)) {
        let all = run.picks("/", 14);
        assert_eq!(all[..7], all[7..]);
        run.picks("/", 2);
        run.update(snapshot(&config, &next));
        let expected = if anew { &all[..7] } else { &all[2..9] };
        assert_eq!(run.picks("/", 7), expected);
    }
}

#[test]
fn metadata_starts_schedules_anew() {
    let endpoints = [endpoint(1, 1), endpoint(2, 2), endpoint(3, 4)];
    let first = json!({"endpoints": [group("z", 1, &endpoints)]});
    let mut next = first.clone();
    next["endpoints"][0]["lb_endpoints"][0]["metadata"] =
        json!({"filter_metadata": {"x": {"k": "m"}}});
    for mut run in both(&snapshot(&json!({}), &first)) {
        let all = run.picks("/", 7);
        run.picks("/", 2);
        run.update(snapshot(&json!({}), &next));
        assert_eq!(run.picks("/", 7), all);
    }
}

#[test]
fn a_subset_that_was_empty_has_forgotten() {
    let config = json!({"lb_subset_config": {"subset_selectors": [{"keys": ["v"]}]}});
    let labelled = |name, label: &str| {
        let mut endpoint = endpoint(name, 1);
        endpoint["metadata"] = json!({"filter_metadata": {"envoy.lb": {"v": label}}});
        endpoint
    };
    let a: Vec<Value> = (1..=3).map(|name| labelled(name, "a")).collect();
    let b: Vec<Value> = (4..=6).map(|name| labelled(name, "b")).collect();
    let of = |endpoints: Vec<Value>| {
        snapshot(&config, &json!({"endpoints": [group("z", 1, &endpoints)]}))
    };
    let all = || of([a.clone(), b.clone()].concat());
    for mut run in both(&all()) {
        assert_eq!(run.picks("/a", 4), "1231");
        assert_eq!(run.picks("/b", 4), "4564");
        run.update(of(a.clone()));
        assert_eq!(run.picks("/b", 1), "-");
        run.update(all());
        assert_eq!(run.picks("/a", 3), "231");
        assert_eq!(run.picks("/b", 3), "456");
    }
}

#[rstest]
#[case::one_locality(by_locality(), json!({"endpoints": [group("a", 1, &plain(1..=2))]}), &[])]
#[case::two_localities(by_locality(), two_zones(1), &["common_lb_config.locality_weighted_lb_config"])]
#[case::subsets(json!({"lb_subset_config": {"subset_selectors": [{"keys": ["v"]}]}}), two_zones(1), &["lb_subset_config"])]
#[case::dropped(json!({}), json!({"policy": {"drop_overloads": [{"category": "c", "drop_percentage": {"numerator": 1}}]}}), &["load_assignment.policy.drop_overloads"])]
#[case::health_by_weight(json!({}), json!({"policy": {"weighted_priority_health": true}}), &[])]
fn the_tables_name_what_is_left_to_userspace(
    #[case] config: Value,
    #[case] assignment: Value,
    #[case] expected: &[&str],
) {
    let compiled = compile(&snapshot(&config, &assignment)).expect("it compiles");
    assert!(compiled.undecided().is_empty());
    let found: Vec<&str> = compiled
        .userspace()
        .iter()
        .map(|found| found.path.as_str())
        .collect();
    assert_eq!(found, expected);
}

/// A bootstrap whose Envoy is in the zone `a` of the cluster `me`, with another cluster.
fn zoned(zones: &[(&str, u32)], more: &Value) -> Snapshot {
    let mut first = 0;
    let mut groups = |zones: &[(&str, u32)]| -> Vec<Value> {
        let group = |(zone, count): &(&str, u32)| {
            first += count;
            group(zone, 1, &plain(first - count + 1..=first))
        };
        zones.iter().map(group).collect()
    };
    let own = groups(&[("a", 2), ("b", 2)]);
    let cluster = |name: &str, groups: Vec<Value>, more: &Value| {
        let mut cluster = json!({"name": name, "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": {"cluster_name": name, "endpoints": groups}});
        for (field, value) in more.as_object().into_iter().flatten() {
            cluster[field] = value.clone();
        }
        cluster
    };
    let other = groups(zones);
    read(&json!({
        "node": {"locality": {"zone": "a"}}, "cluster_manager": {"local_cluster_name": "me"},
        "static_resources": {"clusters": [cluster("me", own, &json!({})), cluster("other", other, more)]},
    }))
}

#[rstest]
#[case::all_of_the_load(&[("a", 3), ("b", 3)], &[])]
#[case::a_part(&[("a", 2), ("b", 4)], &["load_assignment.endpoints"])]
#[case::small(&[("a", 1), ("b", 4)], &[])]
fn the_tables_name_zones(#[case] zones: &[(&str, u32)], #[case] expected: &[&str]) {
    let compiled = compile(&Arc::new(zoned(zones, &json!({})))).expect("it compiles");
    let found: Vec<&str> = compiled
        .userspace()
        .iter()
        .map(|found| found.path.as_str())
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn zones_are_undecided_where_what_they_rest_on_is() {
    let zones = [("a", 3), ("b", 3)];
    let kind =
        "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin";
    let forced = json!({"zone_aware_lb_config": {"force_local_zone": {"min_size": 1}}});
    let extension =
        json!({"name": "x", "typed_config": {"@type": kind, "locality_lb_config": forced}});
    let more =
        json!({"load_balancing_policy": {"policies": [{"typed_extension_config": extension}]}});
    let unsupported =
        |snapshot: &Snapshot| snapshot.cluster("other").map(|it| it.unsupported.is_some());
    assert_eq!(unsupported(&zoned(&zones, &json!({}))), Some(false));
    assert_eq!(unsupported(&zoned(&zones, &more)), Some(true));
    assert_eq!(unsupported(&zoned(&zones[..1], &more)), Some(false));
}

#[test]
fn a_choice_among_localities_that_is_too_long_is_undecided_in_the_tables() {
    let weights = [(65_537, 1..=2), (1, 3..=3)];
    let groups = weights.map(|(weight, names)| {
        let zone = format!("z{weight}");
        group(&zone, weight, &plain(names))
    });
    let snapshot = snapshot(&by_locality(), &json!({"endpoints": groups}));
    let compiled = compile(&snapshot).expect("it compiles");
    let [undecided] = compiled.undecided() else {
        panic!("{:?}", compiled.undecided());
    };
    assert!(undecided.reason.contains("65538"), "{undecided}");
    let outcomes = both(&snapshot).map(|mut run| {
        let request: Request = serde_json::from_value(
            json!({"id": "r", "authority": "a", "destination": "127.0.0.1:8080"}),
        )
        .expect("a line of traffic");
        let answer = run
            .engine
            .decide(&request, 1, 0, false)
            .expect("it decides");
        answer.decision.outcome
    });
    assert_eq!(outcomes, [Outcome::Forward, Outcome::Unsupported]);
}

/// What one healthy endpoint of many is worth may round to nothing. Measured: the first priority takes all
/// of it, and no other.
#[rstest]
#[case::panic_disabled(json!({"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}), 140, 220, "1111")]
#[case::not_in_panic(json!({"common_lb_config": {"healthy_panic_threshold": {"value": 50}}}), 1, 2, "1111")]
#[case::none(json!({"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}), 140, 0, "----")]
fn an_availability_that_rounds_to_nothing(
    #[case] config: Value,
    #[case] factor: u32,
    #[case] others: u32,
    #[case] expected: &str,
) {
    let unhealthy = |name| {
        let mut endpoint = endpoint(name, 1);
        endpoint["health_status"] = json!("UNHEALTHY");
        endpoint
    };
    let endpoints = |first: u32| -> Vec<Value> {
        let own = (others > 0).then(|| endpoint(first, 1));
        let others = (1..others.max(1)).map(|other| unhealthy(first + 10 * other));
        own.into_iter().chain(others).collect()
    };
    let mut second = group("z", 1, &endpoints(2));
    second["priority"] = json!(1);
    let assignment = json!({
        "policy": {"overprovisioning_factor": factor},
        "endpoints": [group("z", 1, &endpoints(1)), second]
    });
    let runs = both(&snapshot(&config, &assignment));
    for mut run in runs {
        let count = expected.len();
        assert_eq!(run.picks("/", count), expected, "{}", run.engine.name());
    }
}
