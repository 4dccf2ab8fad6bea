//! HTTP filters: which ones leave a decision alone.
//!
//! A filter runs after the route is chosen, so one that only changes headers changes no decision,
//! unless it asks for the route to be chosen anew. Of those that may answer in the route's place,
//! some are decided by tables of their own; any other makes its connection manager undecided.

use super::{
    Judged,
    Rule::{Decided, Inert, Judge, ReadOver},
    Table, Verdict, upstream,
};
use crate::{
    header_mutation, http_filter,
    schema::type_name,
    view::{AnyView, View},
};

pub(super) const TABLES: &[Table] = &[
    Table {
        message: "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
        fields: &[
            ("name", Inert),
            ("typed_config", Decided),
            ("config_discovery", Decided),
            ("is_optional", Inert),
            ("disabled", Decided),
        ],
    },
    Table {
        message: "envoy.extensions.filters.http.router.v3.Router",
        fields: &[
            ("dynamic_stats", Inert),
            ("start_child_span", super::TRACING),
            ("upstream_log", super::ACCESS_LOG),
            ("upstream_log_options", Inert),
            ("suppress_envoy_headers", Inert),
            (
                "strict_check_headers",
                ReadOver("it looks at headers that only requests from inside may have"),
            ),
            ("respect_expected_rq_timeout", Inert),
            ("suppress_grpc_request_failure_code_stats", Inert),
            ("upstream_http_filters", Judge(upstream::of_router)),
            ("reject_connect_request_early_data", Inert),
        ],
    },
    Table {
        message: "envoy.config.core.v3.ExtensionConfigSource",
        fields: &[
            ("config_source", UNKNOWN_SOURCE),
            ("default_config", UNKNOWN_SOURCE),
            ("apply_default_config_without_warming", UNKNOWN_SOURCE),
            ("type_urls", UNKNOWN_SOURCE),
        ],
    },
];

const UNKNOWN_SOURCE: super::Rule =
    super::Rule::Unsupported("a filter that comes by extension discovery is not in the snapshot");

pub(crate) const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
pub(crate) const UPSTREAM_CODEC: &str =
    "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";

/// What a filter does to decisions.
enum Effect {
    /// Nothing; the sentence says what it does instead.
    None(&'static str),
    /// It depends on its configuration: what it does to decisions, or `None`.
    Depends(fn(&View<'_>) -> Option<&'static str>),
}

/// Filters of Envoy's that do nothing to decisions, or only where they are configured to.
const FILTERS: &[(&str, Effect)] = &[
    (
        "envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit",
        Effect::None("it delays"),
    ),
    (
        "envoy.extensions.filters.http.buffer.v3.Buffer",
        Effect::Depends(|_| Some(LIMITS_BODIES)),
    ),
    (
        "envoy.extensions.filters.http.compressor.v3.Compressor",
        Effect::None("it changes bodies"),
    ),
    (
        "envoy.extensions.filters.http.connect_grpc_bridge.v3.FilterConfig",
        Effect::Depends(|_| Some("makes other requests of those of the Connect protocol")),
    ),
    (
        "envoy.extensions.filters.http.cors.v3.Cors",
        // Decided, but in a TypedStruct.
        Effect::Depends(|_| None),
    ),
    (
        "envoy.extensions.filters.http.decompressor.v3.Decompressor",
        Effect::None("it changes bodies"),
    ),
    (
        "envoy.extensions.filters.http.file_system_buffer.v3.FileSystemBufferFilterConfig",
        Effect::Depends(file_system_buffer),
    ),
    (
        "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config",
        Effect::Depends(grpc_http1_bridge),
    ),
    (
        "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
        Effect::None("it counts"),
    ),
    (
        "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
        Effect::None("it changes bodies and the content type, after the route is chosen"),
    ),
    (
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        // Decided, but in a TypedStruct.
        Effect::Depends(|_| None),
    ),
    (
        "envoy.extensions.filters.http.header_to_metadata.v3.Config",
        Effect::Depends(header_to_metadata),
    ),
    (
        "envoy.extensions.filters.http.health_check.v3.HealthCheck",
        Effect::Depends(health_check),
    ),
    (
        "envoy.extensions.filters.http.lua.v3.Lua",
        Effect::Depends(lua),
    ),
    (
        "envoy.extensions.filters.http.original_src.v3.OriginalSrc",
        Effect::None("it sets the upstream connection's source"),
    ),
    (
        "envoy.extensions.filters.http.set_filter_state.v3.Config",
        Effect::Depends(set_filter_state),
    ),
    (
        "envoy.extensions.filters.http.set_metadata.v3.Config",
        Effect::None("it writes metadata, which no decided matcher reads"),
    ),
    (
        "envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
        Effect::Depends(stateful_session),
    ),
    (
        "envoy.extensions.filters.http.tap.v3.Tap",
        Effect::None("it records"),
    ),
    // Refused, unless it is optional.
    (
        UPSTREAM_CODEC,
        Effect::None("a connection manager leaves it out"),
    ),
    (
        "envoy.extensions.filters.http.wasm.v3.Wasm",
        Effect::Depends(wasm),
    ),
];

/// Filters of Istio's proxy, whose types are not part of Envoy's API.
const ISTIO_FILTERS: [&str; 7] = [
    "envoy.tcp.metadataexchange.config.MetadataExchange",
    "io.istio.http.peer_metadata.Config",
    "io.istio.network.metadata_exchange.Config",
    "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
    "istio.telemetry.stats.PluginConfig",
    "stats.PluginConfig",
    "udpa.type.v1.PeerMetadata",
];

/// Whether this is a filter of Istio's proxy that reports, or sets up upstream TLS.
pub(crate) fn is_istio_inert(type_name: &str) -> bool {
    ISTIO_FILTERS.contains(&type_name)
}

/// An HTTP filter of a connection manager.
pub(super) fn http_filter(judged: &Judged<'_>) -> Verdict {
    let Some(filter) = judged.child else {
        return Verdict::Decided;
    };
    let name = filter.text("name");
    let any = filter.any("typed_config");
    if any.as_ref().is_some_and(|any| is_decided(any.type_name())) {
        return Verdict::Decided;
    }
    if filter.number("disabled") != 0 {
        return Verdict::ReadOver(
            format!("the filter {name} is disabled; requests for which a route enables it are not decided")
                .into(),
        );
    }
    let Some(any) = any else {
        // By discovery; its own table says what that means.
        return Verdict::Decided;
    };
    if content_type(&any) == ROUTER {
        return Verdict::Decided;
    }
    if writes_for_balancers(judged, &any) {
        return Verdict::Unsupported(
            format!("the filter {name} may choose a cluster's subset").into(),
        );
    }
    match effect(&any) {
        Ok(None) => Verdict::Inert,
        Ok(Some(instead)) => {
            Verdict::ReadOver(format!("the filter {name} changes no decision: {instead}").into())
        }
        Err(what) => Verdict::Unsupported(format!("the filter {name} {what}").into()),
    }
}

fn is_decided(type_name: &str) -> bool {
    http_filter::is_decided(type_name) || type_name == header_mutation::FILTER
}

/// Whether a filter of this configuration may write the metadata by which a balancer chooses a
/// subset: it names them.
pub(super) fn writes_for_balancers(judged: &Judged<'_>, any: &AnyView<'_>) -> bool {
    const NAMESPACE: &[u8] = b"envoy.lb";
    let mut windows = any.value.windows(NAMESPACE.len());
    judged.context.subsets && windows.any(|window| window == NAMESPACE)
}

/// The type of an extension's configuration, also where a TypedStruct stands for it.
pub(crate) fn content_type(any: &AnyView<'_>) -> String {
    match (any.type_name(), any.content()) {
        ("udpa.type.v1.TypedStruct" | "xds.type.v3.TypedStruct", Some(content)) => {
            type_name(content.text("type_url")).to_owned()
        }
        (name, _) => name.to_owned(),
    }
}

/// What a filter of this configuration does: `Ok` where it changes no decision, with what it does
/// instead; `Err` where it may.
pub(super) fn effect(any: &AnyView<'_>) -> Result<Option<&'static str>, &'static str> {
    const MAY: &str = "may answer requests itself, change them, or send them elsewhere";
    let name = content_type(any);
    if is_istio_inert(&name) {
        // Unknown types are reported where they stand.
        return Ok(if name == any.type_name() {
            None
        } else {
            Some("it reports")
        });
    }
    let Some((_, effect)) = FILTERS.iter().find(|(filter, _)| *filter == name) else {
        return Err(MAY);
    };
    match (effect, any.content()) {
        (Effect::None(instead), _) => Ok(Some(instead)),
        // The content of a TypedStruct has no fields that could be looked up by name here.
        (Effect::Depends(_), Some(content)) if content.message.name != name => {
            if name.ends_with(".Wasm") && is_null_wasm_struct(&content) {
                Ok(Some(NULL_WASM))
            } else {
                Err(MAY)
            }
        }
        (Effect::Depends(judge), Some(content)) => match judge(&content) {
            Some(what) => Err(what),
            None => Ok(Some("as it is configured, it does nothing to requests")),
        },
        (Effect::Depends(_), None) => Err(MAY),
    }
}

const LIMITS_BODIES: &str = "refuses bodies over its limit, and says the length of others";

/// Without a behavior, or streaming, it only keeps what the other side does not take yet.
fn file_system_buffer(config: &View<'_>) -> Option<&'static str> {
    const HOLDS: [&str; 3] = [
        "fully_buffer",
        "fully_buffer_and_always_inject_content_length",
        "inject_content_length_if_necessary",
    ];
    let holds = ["request", "response"].iter().any(|side| {
        let behavior = config.child(side).and_then(|side| side.child("behavior"));
        behavior.is_some_and(|behavior| HOLDS.iter().any(|name| behavior.has(name)))
    });
    holds.then_some(LIMITS_BODIES)
}

/// The metadata that it writes no decided matcher reads.
fn header_to_metadata(config: &View<'_>) -> Option<&'static str> {
    let rules = config.children("request_rules");
    let removes = rules.iter().any(|rule| rule.number("remove") != 0);
    removes.then_some("takes headers off requests")
}

fn grpc_http1_bridge(config: &View<'_>) -> Option<&'static str> {
    (config.number("upgrade_protobuf_to_grpc") != 0)
        .then_some("makes gRPC requests of others, and has their route chosen anew")
}

fn health_check(config: &View<'_>) -> Option<&'static str> {
    let passes = config.wrapped("pass_through_mode").unwrap_or_default() != 0;
    (!passes).then_some("answers health checks itself")
}

fn lua(config: &View<'_>) -> Option<&'static str> {
    (config.has("inline_code") || config.has("default_source_code"))
        .then_some("runs a script on requests")
}

fn set_filter_state(config: &View<'_>) -> Option<&'static str> {
    Some(if config.number("clear_route_cache") != 0 {
        "has the route chosen anew"
    } else {
        "may set what chooses the endpoint"
    })
}

fn stateful_session(config: &View<'_>) -> Option<&'static str> {
    config
        .has("session_state")
        .then_some("chooses endpoints by session")
}

const NULL_WASM: &str = "it reports";

/// Istio's own reporting extensions run outside a sandbox, under the runtime `null`.
const NULL_RUNTIME: &str = "envoy.wasm.runtime.null";
const NULL_CODE: [&str; 4] = [
    "envoy.wasm.attributegen",
    "envoy.wasm.metadata_exchange",
    "envoy.wasm.null.stats",
    "envoy.wasm.stats",
];

fn wasm(config: &View<'_>) -> Option<&'static str> {
    let vm = config
        .child("config")
        .and_then(|plugin| plugin.child("vm_config"));
    let code = vm
        .as_ref()
        .and_then(|vm| vm.child("code"))
        .and_then(|code| code.child("local"))
        .map(|local| local.text("inline_string"))
        .unwrap_or_default();
    let is_null = vm.is_some_and(|vm| vm.text("runtime") == NULL_RUNTIME);
    (!is_null || !NULL_CODE.contains(&code)).then_some("runs an extension on requests")
}

/// Whether a Wasm extension, of an HTTP or a network filter, is one of Istio's own that report.
pub(super) fn is_reporting_wasm(any: &AnyView<'_>) -> bool {
    any.content().is_some_and(|content| {
        if content.message.name.ends_with(".TypedStruct") {
            is_null_wasm_struct(&content)
        } else {
            wasm(&content).is_none()
        }
    })
}

fn is_null_wasm_struct(typed: &View<'_>) -> bool {
    let Some(value) = typed.child("value") else {
        return false;
    };
    let text = |path: &[&str]| struct_text(&value, path);
    text(&["config", "vm_config", "runtime"]).as_deref() == Some(NULL_RUNTIME)
        && text(&["config", "vm_config", "code", "local", "inline_string"])
            .is_some_and(|code| NULL_CODE.contains(&code.as_str()))
}

/// The string at a path of a google.protobuf.Struct.
fn struct_text(value: &View<'_>, path: &[&str]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let (_, found) = value
        .entries("fields")
        .into_iter()
        .find(|(key, _)| key == first)?;
    if rest.is_empty() {
        return Some(found.text("string_value").to_owned());
    }
    struct_text(&found.child("struct_value")?, rest)
}

/// The list of a connection manager's filters.
pub(super) const HTTP_FILTERS: super::Rule = Judge(http_filter);
