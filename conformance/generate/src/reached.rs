//! Which rules a request's decision went through: counted, so that generated traffic cannot come
//! to miss one unnoticed.

use std::collections::BTreeMap;

use serde_json::Value;
use twinmesh_engine::{Decision, Outcome, Request, Step, Trace};

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
];

/// How many requests went through each of [`RULES`].
#[derive(Debug, Default, Clone)]
pub struct Reached {
    counts: BTreeMap<&'static str, usize>,
}

fn list<'a>(of: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    of.pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn named<'a>(mut of: impl Iterator<Item = &'a Value>, name: &str) -> Option<&'a Value> {
    of.find(|one| one.get("name").and_then(Value::as_str) == Some(name))
}

/// The `match` of the route that a decision names.
fn matched<'a>(bootstrap: &'a Value, decision: &Decision) -> Option<&'a Value> {
    let configurations = list(bootstrap, "/static_resources/listeners")
        .flat_map(|listener| {
            let default = listener.get("default_filter_chain");
            list(listener, "/filter_chains").chain(default)
        })
        .filter_map(|chain| chain.pointer("/filters/0/typed_config/route_config"));
    let configuration = named(configurations, decision.route_config.as_deref()?)?;
    let hosts = list(configuration, "/virtual_hosts");
    let host = named(hosts, decision.virtual_host.as_deref()?)?;
    let index: usize = decision.route.as_deref()?.strip_prefix('#')?.parse().ok()?;
    host.get("routes")?.get(index)?.get("match")
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
        self.count_one("redirect", decision.outcome == Outcome::Redirect);
        self.count_one(
            "direct response",
            decision.outcome == Outcome::DirectResponse,
        );
        let clusters = list(bootstrap, "/static_resources/clusters");
        let cluster = decision
            .cluster
            .as_deref()
            .and_then(|name| named(clusters, name));
        if let (Some(cluster), Some(priority)) = (cluster, decision.priority) {
            self.endpoint(cluster, priority);
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
        if let Some(matched) = matched(bootstrap, decision) {
            self.route(matched, request);
        }
    }

    /// How the endpoint was chosen.
    fn endpoint(&mut self, cluster: &Value, priority: u32) {
        let own = |locality: &&Value| locality.get("priority") == Some(&priority.into());
        let weights: Vec<u64> = list(cluster, "/load_assignment/endpoints")
            .filter(own)
            .flat_map(|locality| list(locality, "/lb_endpoints"))
            .map(|endpoint| {
                let weight = endpoint.get("load_balancing_weight");
                weight.and_then(Value::as_u64).unwrap_or(1)
            })
            .collect();
        let least = cluster.get("lb_policy").and_then(Value::as_str) == Some("LEAST_REQUEST");
        let is_weighted = weights.windows(2).any(|pair| pair.first() != pair.last());
        let several = weights.len() > 1;
        let given = |name: &str| cluster.pointer(&format!("/least_request_lb_config/{name}"));
        let biased = given("active_request_bias/default_value")
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
        let yes = Value::Bool(true);
        let regex = |matcher: &Value| {
            matcher.pointer("/string_match/safe_regex").is_some()
                || matcher.get("safe_regex_match").is_some()
        };
        let headers: Vec<&Value> = list(matched, "/headers").collect();
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
        let parameters: Vec<&Value> = list(matched, "/query_parameters").collect();
        self.count_one("query parameter", !parameters.is_empty());
        self.count_one(
            "query parameter regex",
            parameters.iter().any(|matcher| regex(matcher)),
        );
    }
}
