//! Which rules a request's decision went through: counted, so that generated traffic cannot come
//! to miss one unnoticed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use twinmesh_engine::{BadRequest, Decision, Did, Outcome, Request, Step, Trace};

use crate::matcher::at;
use crate::upgrade;

/// Every rule that is counted.
pub const RULES: &[&str] = &[
    "cluster choice",
    "weighted clusters",
    "round robin",
    "weighted round robin",
    "least request",
    "least request, choice_count",
    "weighted least request",
    "weighted least request, active_request_bias",
    "override host",
    "spill-over",
    "panic",
    "degraded endpoints",
    "redirect",
    "direct response",
    "path regex",
    "path_separated_prefix",
    "path without case",
    "header regex",
    "header range",
    "inverted header",
    "missing header as empty",
    "repeated header",
    "query parameter",
    "query parameter regex",
    "URI template",
    "URI template rewrite",
    "gRPC",
    "inverted dynamic metadata",
    "circuit breaker",
    "request headers changed",
    "response headers changed",
    "host or path by format",
    "mirror",
];

/// Rules that are counted, and that userspace alone decides.
pub const USERSPACE_RULES: &[&str] = &[
    "ring hash",
    "Maglev",
    "weighted clusters by hash",
    "random",
    "cluster header",
    "runtime fraction",
    "cookie",
    "TLS context",
    "hash by header",
    "hash by cookie",
    "hash by query parameter",
    "filter chain matcher",
    "filter chain matcher that leads nowhere",
    "network filter that passes",
    "network filter that closes",
    "network filter by a matcher tree",
    "HTTP filter by a matcher tree",
    "HTTP filter that passes",
    "HTTP filter that answers",
    "HTTP filter that delays",
    "rate limits by descriptors",
    "weighted localities",
    "own zone",
    "subset",
    "subset by a weighted cluster",
    "full scan",
    "slow start",
    "dropped",
    "matcher tree",
    "matcher tree without a route",
    "TLS required",
    "upgrade",
    "upgrade that is refused",
    "CONNECT",
    "CONNECT that Envoy ends",
    "CONNECT that is refused",
];

/// How many requests went through each of [`RULES`] and [`USERSPACE_RULES`].
#[derive(Debug, Default, Clone)]
pub struct Reached {
    counts: BTreeMap<&'static str, usize>,
}

fn list<'a>(of: &'a Value, names: &[&str]) -> impl Iterator<Item = &'a Value> {
    at(of, names)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn named<'a>(mut of: impl Iterator<Item = &'a Value>, name: &str) -> Option<&'a Value> {
    of.find(|one| one.get("name").and_then(Value::as_str) == Some(name))
}

/// The type of the first policy that Envoy has; of subsets the one that chooses in them.
fn extension<'a>(of: &'a Value, policies: &[&str]) -> Option<&'a str> {
    let configs = list(of, policies)
        .filter_map(|policy| at(policy, &["typed_extension_config", "typed_config"]));
    let mut typed = configs.filter_map(|config| Some((config, config.get("@type")?.as_str()?)));
    let (config, kind) = typed.find(|(_, kind)| kind.contains("/envoy."))?;
    let within = match kind.rsplit('.').next() {
        Some("Subset") => "subset_lb_policy",
        Some("OverrideHost") => "fallback_policy",
        _ => return Some(kind),
    };
    extension(config, &[within, "policies"])
}

/// The name of a cluster's balancer, of those that userspace alone has.
fn balancer(cluster: &Value) -> Option<&'static str> {
    let kind = extension(cluster, &["load_balancing_policy", "policies"]);
    let name = kind.or(cluster.get("lb_policy").and_then(Value::as_str))?;
    let known = [
        ("RING_HASH", "RingHash", "ring hash"),
        ("MAGLEV", "Maglev", "Maglev"),
        ("RANDOM", "Random", "random"),
    ];
    let found = known
        .into_iter()
        .find(|(old, new, _)| name == *old || name.ends_with(new));
    found.map(|(_, _, rule)| rule)
}

/// Whether the word stands somewhere in the cluster.
fn says(cluster: &Value, word: &str) -> bool {
    match cluster {
        Value::Object(members) => members
            .iter()
            .any(|(name, member)| name.contains(word) || says(member, word)),
        Value::Array(items) => items.iter().any(|item| says(item, word)),
        Value::String(text) => text.contains(word),
        _ => false,
    }
}

/// Whether a priority has several localities with endpoints and weights.
fn has_weighted_localities(cluster: &Value, priority: u32) -> bool {
    let groups = list(cluster, &["load_assignment", "endpoints"])
        .filter(|group| group.get("priority") == Some(&priority.into()))
        .filter(|group| group.get("load_balancing_weight").is_some())
        .filter(|group| list(group, &["lb_endpoints"]).next().is_some());
    let names: BTreeSet<String> = groups
        .filter_map(|group| Some(group.get("locality")?.to_string()))
        .collect();
    says(cluster, "locality_weighted_lb_config") && names.len() > 1
}

fn hashes(balancer: &str) -> bool {
    balancer != "random"
}

/// The connection managers.
fn managers(bootstrap: &Value) -> impl Iterator<Item = &Value> {
    list(bootstrap, &["static_resources", "listeners"])
        .flat_map(|listener| {
            let default = listener.get("default_filter_chain");
            list(listener, &["filter_chains"]).chain(default)
        })
        .flat_map(|chain| list(chain, &["filters"]))
        .filter_map(|filter| filter.get("typed_config"))
}

/// An HTTP filter of the connection manager whose route configuration a decision names.
fn http_filter<'a>(bootstrap: &'a Value, decision: &Decision, index: usize) -> Option<&'a Value> {
    let name = decision.route_config.as_deref()?;
    let mut managers = managers(bootstrap);
    let named =
        |it: &&Value| at(it, &["route_config", "name"]).and_then(Value::as_str) == Some(name);
    managers.find(named)?.get("http_filters")?.get(index)
}

/// A network filter of the filter chain that a decision names.
fn network_filter<'a>(
    bootstrap: &'a Value,
    decision: &Decision,
    index: usize,
) -> Option<&'a Value> {
    let listeners = list(bootstrap, &["static_resources", "listeners"]);
    let listener = named(listeners, decision.listener.as_deref()?)?;
    let default = listener.get("default_filter_chain");
    let chains = list(listener, &["filter_chains"]).chain(default);
    let chain = named(chains, decision.filter_chain.as_deref()?)?;
    chain.get("filters")?.get(index)
}

/// The virtual host that a decision names.
fn host<'a>(bootstrap: &'a Value, decision: &Decision) -> Option<&'a Value> {
    let configurations = managers(bootstrap).filter_map(|manager| manager.get("route_config"));
    let configuration = named(configurations, decision.route_config.as_deref()?)?;
    let hosts = list(configuration, &["virtual_hosts"]);
    named(hosts, decision.virtual_host.as_deref()?)
}

/// The route that a decision names, of those that stand in a list.
fn route<'a>(bootstrap: &'a Value, decision: &Decision) -> Option<&'a Value> {
    let host = host(bootstrap, decision)?;
    let index: usize = decision.route.as_deref()?.strip_prefix('#')?.parse().ok()?;
    host.get("routes")?.get(index)
}

impl Reached {
    /// How many requests went through the rule.
    pub fn count(&self, rule: &str) -> usize {
        self.counts.get(rule).copied().unwrap_or(0)
    }

    /// Adds what others went through.
    pub fn add(&mut self, other: &Self) {
        for (rule, count) in &other.counts {
            *self.counts.entry(rule).or_default() += count;
        }
    }

    fn count_one(&mut self, rule: &'static str, is_reached: bool) {
        if is_reached {
            *self.counts.entry(rule).or_default() += 1;
        }
    }

    /// Notes a decision over a generated bootstrap.
    pub fn note(
        &mut self,
        bootstrap: &Value,
        request: &Request,
        decision: &Decision,
        trace: &Trace,
    ) {
        let steps = &trace.steps;
        let has = |what: fn(&Step) -> bool| steps.iter().any(what);
        let chose = has(|step| matches!(step, Step::Cluster(_)));
        self.count_one(
            "cluster choice",
            chose || decision.outcome == Outcome::NoCluster,
        );
        self.count_one(
            "weighted clusters",
            has(|step| matches!(step, Step::WeightedCluster { .. })),
        );
        let filter = |what: fn(&Did) -> bool| {
            steps
                .iter()
                .any(|step| matches!(step, Step::Filter { did, .. } if what(did)))
        };
        let (passes, answers, delays) = (
            filter(|did| matches!(did, Did::Pass)),
            filter(|did| matches!(did, Did::Answer(_))),
            filter(|did| matches!(did, Did::Delay(_))),
        );
        let by_tree = named(
            list(bootstrap, &["static_resources", "listeners"]),
            decision.listener.as_deref().unwrap_or_default(),
        )
        .is_some_and(|listener| listener.get("filter_chain_matcher").is_some());
        let leads = has(|step| matches!(step, Step::FilterChainMatcher(_)));
        self.count_one("filter chain matcher", leads);
        let default = decision.outcome != Outcome::Unsupported;
        self.count_one(
            "filter chain matcher that leads nowhere",
            by_tree && !leads && default,
        );
        let network = |closing: bool| {
            let asked = |step: &Step| matches!(step, Step::NetworkFilter { closes, .. } if *closes == closing);
            steps.iter().any(asked)
        };
        self.count_one("network filter that passes", network(false));
        self.count_one("network filter that closes", network(true));
        for step in steps {
            let (rule, filter) = match step {
                Step::NetworkFilter { filter, .. } => (
                    "network filter by a matcher tree",
                    network_filter(bootstrap, decision, *filter),
                ),
                Step::Filter { filter, .. } => (
                    "HTTP filter by a matcher tree",
                    http_filter(bootstrap, decision, *filter),
                ),
                _ => continue,
            };
            let by_tree = filter.and_then(|it| at(it, &["typed_config", "matcher"]));
            self.count_one(rule, by_tree.is_some());
        }
        self.count_one("HTTP filter that passes", passes);
        self.count_one("HTTP filter that answers", answers);
        self.count_one("HTTP filter that delays", delays);
        let met = steps.iter().filter_map(|step| match step {
            Step::Filter { filter, did } if !matches!(did, Did::Delay(_)) => Some(*filter),
            _ => None,
        });
        let mut filters = met.filter_map(|index| http_filter(bootstrap, decision, index));
        let by_descriptors = filters.any(|filter| says(filter, "descriptors"));
        self.count_one("rate limits by descriptors", by_descriptors);
        self.count_one(
            "request headers changed",
            decision.request_headers.is_some(),
        );
        self.count_one(
            "response headers changed",
            decision.response_headers.is_some(),
        );
        let refuses_upgrade = |step: &Step| matches!(step, Step::BadRequest(BadRequest::Upgrade));
        self.count_one("upgrade that is refused", steps.iter().any(refuses_upgrade));
        let upgrades = decision.outcome == Outcome::Forward && upgrade::asks(request);
        self.count_one("upgrade", upgrades);
        let is_connect = request.method == "CONNECT";
        let forwards = decision.outcome == Outcome::Forward;
        self.count_one("CONNECT", is_connect && forwards);
        let configs =
            route(bootstrap, decision).and_then(|it| at(it, &["route", "upgrade_configs"]));
        let mut configs = configs.and_then(Value::as_array).into_iter().flatten();
        let ends = configs.any(|config| config.get("connect_config").is_some());
        self.count_one("CONNECT that Envoy ends", is_connect && forwards && ends);
        let is_refused = decision.outcome == Outcome::BadRequest && decision.route.is_some();
        self.count_one("CONNECT that is refused", is_connect && is_refused);
        self.count_one("mirror", !decision.mirrors.is_empty());
        let action = route(bootstrap, decision).and_then(|route| route.get("route"));
        let by_format = action.is_some_and(|action| {
            action.get("path_rewrite").is_some() || action.get("host_rewrite").is_some()
        });
        let forwards = decision.outcome == Outcome::Forward;
        self.count_one("host or path by format", by_format && forwards);
        self.count_one("redirect", decision.outcome == Outcome::Redirect);
        self.count_one(
            "direct response",
            decision.outcome == Outcome::DirectResponse,
        );
        // Nothing that is dropped has a priority chosen for it.
        let refused = decision.outcome == Outcome::Overflow
            && has(|step| matches!(step, Step::Endpoint { .. }));
        self.count_one("circuit breaker", refused);
        let dropped = decision.outcome == Outcome::Overflow && !refused;
        self.count_one("dropped", dropped);
        let host = host(bootstrap, decision);
        let in_tree = host.is_some_and(|host| host.get("matcher").is_some());
        self.count_one("matcher tree", in_tree && decision.route.is_some());
        self.count_one(
            "matcher tree without a route",
            in_tree && decision.outcome == Outcome::NoRoute,
        );
        let secured = host.is_some_and(|host| host.get("require_tls").is_some());
        let redirected = decision.outcome == Outcome::Redirect && decision.route.is_none();
        self.count_one("TLS required", secured && redirected);
        let clusters = list(bootstrap, &["static_resources", "clusters"]);
        let cluster = decision
            .cluster
            .as_deref()
            .and_then(|name| named(clusters, name));
        if let (Some(cluster), Some(priority)) = (cluster, decision.priority) {
            self.endpoint(cluster, priority);
            let own = at(bootstrap, &["node", "locality", "zone"]).is_some();
            let local = at(bootstrap, &["cluster_manager", "local_cluster_name"]);
            let is_other = local.is_some_and(|local| Some(local) != cluster.get("name"));
            let by_zone = says(cluster, "min_cluster_size") && decision.locality.is_some();
            self.count_one("own zone", priority == 0 && own && is_other && by_zone);
            self.count_one(
                "override host",
                has(|step| matches!(step, Step::OverrideHost(_))),
            );
            self.count_one("spill-over", priority > 0);
            self.count_one(
                "panic",
                has(|step| matches!(step, Step::Priority { panic: true, .. })),
            );
            self.count_one(
                "degraded endpoints",
                has(|step| matches!(step, Step::Priority { degraded: true, .. })),
            );
        }
        let Some(route) = route(bootstrap, decision) else {
            return;
        };
        if decision.priority.is_some() && cluster.is_some_and(|it| says(it, "subset_selectors")) {
            let asked = |of: &Value| of.get("metadata_match").is_some();
            self.count_one("subset", route.get("route").is_some_and(asked));
            let mut entries = list(route, &["route", "weighted_clusters", "clusters"]);
            self.count_one("subset by a weighted cluster", entries.any(asked));
        }
        if let Some(matched) = route.get("match") {
            self.route(matched, request);
        }
        let is_hashed = cluster.is_some_and(|cluster| balancer(cluster).is_some_and(hashes));
        self.action(route, decision, is_hashed);
    }

    /// How the endpoint was chosen.
    fn endpoint(&mut self, cluster: &Value, priority: u32) {
        let own = |locality: &&Value| locality.get("priority") == Some(&priority.into());
        let weights: Vec<u64> = list(cluster, &["load_assignment", "endpoints"])
            .filter(own)
            .flat_map(|locality| list(locality, &["lb_endpoints"]))
            .map(|endpoint| {
                let weight = endpoint.get("load_balancing_weight");
                weight.and_then(Value::as_u64).unwrap_or(1)
            })
            .collect();
        let least = cluster.get("lb_policy").and_then(Value::as_str) == Some("LEAST_REQUEST");
        self.count_one(
            "weighted localities",
            has_weighted_localities(cluster, priority),
        );
        self.count_one("full scan", weights.len() > 1 && says(cluster, "FULL_SCAN"));
        let slow = weights.len() > 1 && says(cluster, "slow_start_config");
        self.count_one("slow start", slow);
        let is_weighted = weights.windows(2).any(|pair| pair.first() != pair.last());
        let several = weights.len() > 1;
        if let Some(name) = balancer(cluster) {
            self.count_one(name, several);
            return;
        }
        let given = |name: &str| at(cluster, &["least_request_lb_config", name]);
        let biased = given("active_request_bias")
            .and_then(|bias| bias.get("default_value"))
            .and_then(Value::as_f64)
            .is_some_and(|bias| bias != 1.0);
        self.count_one("round robin", several && !least && !is_weighted);
        self.count_one("weighted round robin", !least && is_weighted);
        self.count_one("least request", several && least && !is_weighted);
        self.count_one(
            "least request, choice_count",
            several && least && !is_weighted && given("choice_count").is_some(),
        );
        self.count_one("weighted least request", least && is_weighted);
        self.count_one(
            "weighted least request, active_request_bias",
            least && is_weighted && biased,
        );
    }

    /// How the route chose the cluster, and what was hashed.
    fn action(&mut self, route: &Value, decision: &Decision, is_hashed: bool) {
        let weighted = at(route, &["route", "weighted_clusters"]);
        let by_hash = weighted.is_some_and(|it| it.get("use_hash_policy").is_some());
        self.count_one("weighted clusters by hash", by_hash);
        self.count_one(
            "cluster header",
            at(route, &["route", "cluster_header"]).is_some() && decision.cluster.is_some(),
        );
        self.count_one(
            "URI template rewrite",
            at(route, &["route", "path_rewrite_policy"]).is_some(),
        );
        let fraction = at(
            route,
            &["match", "runtime_fraction", "default_value", "numerator"],
        );
        let fraction = fraction.and_then(Value::as_u64);
        self.count_one("runtime fraction", fraction.is_some_and(|it| it < 100));
        let is_decided = decision.outcome != Outcome::Unsupported;
        for policy in list(route, &["route", "hash_policy"]).filter(|_| is_decided) {
            for (rule, kind) in [
                ("hash by header", "header"),
                ("hash by cookie", "cookie"),
                ("hash by query parameter", "query_parameter"),
            ] {
                self.count_one(rule, (by_hash || is_hashed) && policy.get(kind).is_some());
            }
        }
    }

    /// What the matching route asked for.
    fn route(&mut self, matched: &Value, request: &Request) {
        self.count_one("path regex", matched.get("safe_regex").is_some());
        self.count_one(
            "path_separated_prefix",
            matched.get("path_separated_prefix").is_some(),
        );
        let no = Value::Bool(false);
        self.count_one(
            "path without case",
            matched.get("case_sensitive") == Some(&no),
        );
        let asks = |field: &str| matched.get(field).is_some();
        self.count_one("URI template", asks("path_match_policy"));
        self.count_one("gRPC", asks("grpc"));
        self.count_one("cookie", asks("cookies"));
        self.count_one("TLS context", asks("tls_context"));
        self.count_one("inverted dynamic metadata", asks("dynamic_metadata"));
        let yes = Value::Bool(true);
        let regex = |matcher: &Value| {
            at(matcher, &["string_match", "safe_regex"]).is_some()
                || matcher.get("safe_regex_match").is_some()
        };
        let headers: Vec<&Value> = list(matched, &["headers"]).collect();
        let any = |what: &dyn Fn(&Value) -> bool| headers.iter().any(|matcher| what(matcher));
        let is_repeated = |matcher: &Value| {
            let name = matcher.get("name").and_then(Value::as_str).unwrap_or("");
            let same = |other: &&(String, String)| other.0.eq_ignore_ascii_case(name);
            request.headers.iter().filter(same).count() > 1
        };
        let is = |name: &'static str| {
            let yes = yes.clone();
            move |matcher: &Value| matcher.get(name) == Some(&yes)
        };
        self.count_one("header regex", any(&regex));
        self.count_one("header range", any(&|it| it.get("range_match").is_some()));
        self.count_one("inverted header", any(&is("invert_match")));
        self.count_one(
            "missing header as empty",
            any(&is("treat_missing_header_as_empty")),
        );
        self.count_one("repeated header", any(&is_repeated));
        let parameters: Vec<&Value> = list(matched, &["query_parameters"]).collect();
        self.count_one("query parameter", !parameters.is_empty());
        self.count_one(
            "query parameter regex",
            parameters.iter().any(|matcher| regex(matcher)),
        );
    }
}
