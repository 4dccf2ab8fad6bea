//! What an endpoint is called that has no `hostname`, in the tables as in the plain reading: by what DNS
//! resolves, a literal address too.

use std::sync::Arc;

use rstest::rstest;
use serde_json::json;
use twinmesh_engine::{Decision, Engine, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

fn snapshot(kind: &str, hostname: &str) -> Arc<Snapshot> {
    let add = json!([{"header": {"key": "x-host", "value": "%UPSTREAM_HOST_NAME%"}}]);
    let route = json!({"match": {"prefix": "/"}, "response_headers_to_add": add,
        "route": {"cluster": "c", "auto_host_rewrite": true}});
    let manager = json!({
        "@type": format!("{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "route_config": {"name": "rc", "virtual_hosts": [
            {"name": "v", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "r", "typed_config":
            {"@type": format!("{TYPES}.http.router.v3.Router")}}],
    });
    let socket = json!({"socket_address": {"address": "127.0.9.1", "port_value": 1}});
    let listener = json!({"name": "l", "address": socket,
        "filter_chains": [{"filters": [{"name": "m", "typed_config": manager}]}]});
    let endpoint = json!({"hostname": hostname, "address": socket});
    let cluster = json!({"name": "c", "type": kind, "load_assignment": {"cluster_name": "c",
        "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]}});
    let text = json!({"static_resources": {"listeners": [listener], "clusters": [cluster]}});
    let text = text.to_string();
    let read = twinmesh_xds::read_bytes("t.json", text.as_bytes(), &ReadOptions::default());
    Arc::new(read.unwrap_or_else(|error| panic!("{error}")))
}

fn decide(engine: &mut dyn Engine, snapshot: &Arc<Snapshot>) -> Decision {
    let line = json!({"id": "r", "listener": "l", "authority": "h", "path": "/"});
    let request: Request = serde_json::from_value(line).expect("a line of traffic");
    engine.load(snapshot).expect("it loads");
    let answer = engine.decide(&request, 1, 0, false).expect("it decides");
    answer.decision
}

#[rstest]
#[case("STRICT_DNS", "", Some("127.0.9.1"), "127.0.9.1")]
#[case("LOGICAL_DNS", "", Some("127.0.9.1"), "127.0.9.1")]
#[case("STATIC", "", None, "127.0.9.1:1")]
#[case("STRICT_DNS", "a", Some("a"), "a")]
#[case("STATIC", "a", Some("a"), "a")]
fn endpoints_are_called_by_what_is_resolved(
    #[case] kind: &str,
    #[case] hostname: &str,
    #[case] authority: Option<&str>,
    #[case] host: &str,
) {
    let snapshot = snapshot(kind, hostname);
    let engines: [&mut dyn Engine; 2] = [&mut Spec::default(), &mut Sim::default()];
    for engine in engines {
        let decision = decide(engine, &snapshot);
        assert_eq!(decision.authority.as_deref(), authority);
        let headers = decision.response_headers.expect("there are some");
        let host = Some(vec![host.to_owned()]);
        assert_eq!(headers.get("x-host"), Some(&host));
    }
}
