//! Extensions that the published Envoy 1.40 has no registered implementation of, by its categories
//! (`Node.extensions` in its config_dump).

use super::upstream_filters;
use crate::{
    classify::{MANAGER, UPSTREAM_CODEC, content_type},
    form::CLUSTER,
    path::Path,
    schema::schema,
    view::View,
};

/// `envoy.filters.http.upstream`.
const UPSTREAM_FILTERS: &[&str] = &[
    "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
    "envoy.extensions.filters.http.admission_control.v3.AdmissionControl",
    "envoy.extensions.filters.http.ai_protocol_manager.v3.AiProtocolManager",
    "envoy.extensions.filters.http.aws_lambda.v3.Config",
    "envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigning",
    "envoy.extensions.filters.http.body_size_limit.v3.BodySizeLimit",
    "envoy.extensions.filters.http.buffer.v3.Buffer",
    "envoy.extensions.filters.http.composite.v3.Composite",
    "envoy.extensions.filters.http.compressor.v3.Compressor",
    "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
    "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
    "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "envoy.extensions.filters.http.lua.v3.Lua",
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
    "envoy.extensions.filters.http.wasm.v3.Wasm",
];

/// `envoy.transport_sockets.downstream`.
const DOWNSTREAM_SOCKETS: &[&str] = &[
    "envoy.extensions.transport_sockets.alts.v3.Alts",
    "envoy.extensions.transport_sockets.dynamic_modules.v3.DynamicModuleTransportSocket",
    "envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    "envoy.extensions.transport_sockets.starttls.v3.StartTlsConfig",
    "envoy.extensions.transport_sockets.tap.v3.Tap",
    "envoy.extensions.transport_sockets.tcp_stats.v3.Config",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
];

/// `envoy.transport_sockets.upstream`.
const UPSTREAM_SOCKETS: &[&str] = &[
    "envoy.extensions.transport_sockets.alts.v3.Alts",
    "envoy.extensions.transport_sockets.dynamic_modules.v3.DynamicModuleTransportSocket",
    "envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport",
    "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
    "envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport",
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    "envoy.extensions.transport_sockets.starttls.v3.UpstreamStartTlsConfig",
    "envoy.extensions.transport_sockets.tap.v3.Tap",
    "envoy.extensions.transport_sockets.tcp_stats.v3.Config",
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
];

/// `envoy.tracers`.
const TRACERS: &[&str] = &[
    "envoy.config.trace.v3.DatadogConfig",
    "envoy.config.trace.v3.OpenTelemetryConfig",
    "envoy.config.trace.v3.SkyWalkingConfig",
    "envoy.config.trace.v3.XRayConfig",
    "envoy.config.trace.v3.ZipkinConfig",
    "envoy.extensions.tracers.dynamic_modules.v3.DynamicModuleTracer",
    "envoy.extensions.tracers.fluentd.v3.FluentdConfig",
];

/// `envoy.access_loggers`.
const ACCESS_LOGGERS: &[&str] = &[
    "envoy.extensions.access_loggers.dynamic_modules.v3.DynamicModuleAccessLog",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "envoy.extensions.access_loggers.fluentd.v3.FluentdAccessLogConfig",
    "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
    "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig",
    "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
    "envoy.extensions.access_loggers.stats.v3.Config",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
    "envoy.extensions.access_loggers.wasm.v3.WasmAccessLog",
];

/// An extension that Envoy does not have.
pub(crate) struct Missing {
    /// Where it stands.
    pub(crate) path: Path,
    /// What is wrong with it.
    pub(crate) problem: String,
    /// Its type is none of Envoy's API: an Envoy of another build may have it.
    pub(crate) is_foreign: bool,
}

/// The extensions of a message that Envoy does not have.
pub(crate) fn missing(config: &View<'_>) -> Vec<Missing> {
    let mut found = Vec::new();
    match config.message.name.as_str() {
        "envoy.config.listener.v3.FilterChain" => {
            socket(config, DOWNSTREAM_SOCKETS, "listeners", &mut found);
        }
        CLUSTER => {
            socket(config, UPSTREAM_SOCKETS, "clusters", &mut found);
            for matched in config.children("transport_socket_matches") {
                socket(&matched, UPSTREAM_SOCKETS, "clusters", &mut found);
            }
        }
        "envoy.config.trace.v3.Tracing.Http" => {
            extension(config, TRACERS, "tracing provider", &mut found);
        }
        "envoy.config.accesslog.v3.AccessLog" => {
            extension(config, ACCESS_LOGGERS, "access logger", &mut found);
        }
        MANAGER => codec(config, &mut found),
        _ => filters(config, &mut found),
    }
    found
}

/// A message's transport socket, and those within it.
fn socket(
    of: &View<'_>,
    registered: &'static [&'static str],
    place: &str,
    found: &mut Vec<Missing>,
) {
    let Some(config) = of.child("transport_socket") else {
        return;
    };
    extension(
        &config,
        registered,
        &format!("transport socket for {place}"),
        found,
    );
    let inner = config.any("typed_config").and_then(|any| any.content());
    if let Some(inner) = inner {
        socket(&inner, registered, place, found);
    }
}

/// An extension that is none of the registered ones.
fn extension(config: &View<'_>, registered: &[&str], what: &str, found: &mut Vec<Missing>) {
    let Some(any) = config.any("typed_config") else {
        found.push(Missing {
            path: config.path.clone(),
            problem: "typed_config is required: Envoy finds no extension by its name".to_owned(),
            is_foreign: false,
        });
        return;
    };
    let name = content_type(&any);
    if !registered.contains(&name.as_str()) {
        found.push(Missing {
            path: any.path,
            problem: format!("Envoy 1.40 has no {what} of the type {name:?}"),
            is_foreign: schema().message(&name).is_none(),
        });
    }
}

/// An upstream codec among the filters of a connection manager.
fn codec(manager: &View<'_>, found: &mut Vec<Missing>) {
    for filter in manager.children("http_filters") {
        let Some(any) = filter.any("typed_config") else {
            continue;
        };
        if filter.number("is_optional") == 0 && content_type(&any) == UPSTREAM_CODEC {
            found.push(Missing {
                path: any.path,
                problem: "an upstream codec is no filter of a connection manager".to_owned(),
                is_foreign: false,
            });
        }
    }
}

/// Upstream HTTP filters. What is foreign is undecided anyway.
fn filters(config: &View<'_>, found: &mut Vec<Missing>) {
    let filters = upstream_filters::chain(config).unwrap_or_default();
    let of_typed =
        |filter: &&View<'_>| filter.has("typed_config") && filter.number("is_optional") == 0;
    for filter in filters.iter().filter(of_typed) {
        let mut missing = Vec::new();
        extension(
            filter,
            UPSTREAM_FILTERS,
            "upstream HTTP filter",
            &mut missing,
        );
        found.extend(missing.into_iter().filter(|it| !it.is_foreign));
    }
}
