//! `/explain`: how a request would be decided, as things stand.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use twinmesh_engine::{Chain, Did, Domain, Failed, Request, Step};

use super::{Admin, json_reply};

/// Takes a line of a traffic file; gives the decision and its steps.
pub(super) async fn explain(State(admin): State<Admin>, body: String) -> Response {
    let refused =
        |message: String| json_reply(StatusCode::BAD_REQUEST, &json!({ "error": message }));
    let mut deserializer = serde_json::Deserializer::from_str(&body);
    let request: Request = match serde::Deserialize::deserialize(&mut deserializer) {
        Ok(request) => request,
        Err(error) => {
            return refused(format!("expected a request as in a traffic file: {error}"));
        }
    };
    let random = request.random.unwrap_or_else(rand::random);
    match admin.live.explain(&request, random) {
        Ok(answer) => json_reply(
            StatusCode::OK,
            &json!({
                "decision": answer.decision,
                "random": random,
                "steps": answer.trace.steps.iter().map(step).collect::<Vec<_>>(),
            }),
        ),
        Err(error) => refused(error.message),
    }
}

/// A step as JSON.
pub(crate) fn step(step: &Step) -> Value {
    match step {
        Step::Listener(index) => json!({ "step": "listener", "index": index }),
        Step::FilterChainMatcher(action) => {
            json!({ "step": "filter_chain_matcher", "action": action })
        }
        Step::FilterChain(Chain::Index(index)) => {
            json!({ "step": "filter_chain", "index": index })
        }
        Step::FilterChain(Chain::Default) => {
            json!({ "step": "filter_chain", "index": "default_filter_chain" })
        }
        Step::Filter { filter, did } => {
            let did = match did {
                Did::Pass => json!("pass"),
                Did::Delay(milliseconds) => json!({ "delay_ms": milliseconds }),
                Did::Answer(status) => json!({ "answer": status }),
            };
            json!({ "step": "filter", "index": filter, "did": did })
        }
        Step::NetworkFilter {
            filter,
            policy,
            closes,
        } => {
            let did = if *closes { "close" } else { "pass" };
            json!({ "step": "network_filter", "index": filter, "policy": policy, "did": did })
        }
        Step::BadRequest(why) => json!({ "step": "bad_request", "reason": why.to_string() }),
        Step::RouteConfiguration(index) => {
            json!({ "step": "route_configuration", "index": index })
        }
        Step::VirtualHost {
            virtual_host,
            domain,
        } => {
            let domain = match domain {
                Domain::Exact => "exact",
                Domain::Suffix => "suffix",
                Domain::Prefix => "prefix",
                Domain::Any => "any",
            };
            json!({ "step": "virtual_host", "index": virtual_host, "domain": domain })
        }
        Step::RouteNotMatched { route, failed } => {
            let failed = match failed {
                Failed::RuntimeFraction => "match.runtime_fraction".to_owned(),
                Failed::Grpc => "match.grpc".to_owned(),
                Failed::Cookie(index) => format!("match.cookies[{index}]"),
                Failed::TlsContext => "match.tls_context".to_owned(),
                Failed::DynamicMetadata(index) => format!("match.dynamic_metadata[{index}]"),
                Failed::Header(index) => format!("match.headers[{index}]"),
                Failed::QueryParameter(index) => format!("match.query_parameters[{index}]"),
                Failed::Path => "match.path_specifier".to_owned(),
            };
            json!({ "step": "route_not_matched", "index": route, "failed": failed })
        }
        Step::Route(index) => json!({ "step": "route", "index": index }),
        Step::WeightedCluster {
            entry,
            value,
            from,
            to,
        } => json!({
            "step": "weighted_cluster", "index": entry, "value": value, "from": from, "to": to,
        }),
        Step::Cluster(index) => json!({ "step": "cluster", "index": index }),
        Step::Priority {
            priority,
            value,
            degraded,
            panic,
        } => json!({
            "step": "priority", "priority": priority, "value": value,
            "degraded": degraded, "panic": panic,
        }),
        Step::OverrideHost(source) => json!({ "step": "override_host", "index": source }),
        Step::Endpoint { locality, endpoint } => {
            json!({ "step": "endpoint", "locality": locality, "index": endpoint })
        }
        // The proxy changes no headers and makes no copies, and its decisions have no such steps.
        Step::Mutation { .. } => json!({ "step": "mutation" }),
        Step::Mirror { .. } => json!({ "step": "mirror" }),
        Step::Unsupported => json!({ "step": "unsupported" }),
    }
}
