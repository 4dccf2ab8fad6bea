//! The bootstrap, but for its resources: what it changes for all requests. The layers of the runtime are
//! looked through in `assemble/runtime.rs`.

use super::{
    Judged,
    Rule::{Inert, Judge, Unsupported},
    STATISTICS, TRACING, Table, Verdict, filter,
};
use crate::form::BOOTSTRAP;

pub(super) const TABLES: &[Table] = &[Table {
    message: BOOTSTRAP,
    fields: &[
        ("node", Inert),
        ("node_context_params", Inert),
        ("static_resources", Inert),
        ("dynamic_resources", Inert),
        ("cluster_manager", Inert),
        ("hds_config", Inert),
        ("flags_path", Inert),
        ("stats_sinks", STATISTICS),
        ("deferred_stat_options", STATISTICS),
        ("stats_config", STATISTICS),
        ("stats_flush_interval", STATISTICS),
        ("stats_flush_on_admin", STATISTICS),
        ("stats_eviction_interval", STATISTICS),
        ("watchdog", Inert),
        ("watchdogs", Inert),
        ("tracing", TRACING),
        ("layered_runtime", Inert),
        ("admin", Inert),
        ("overload_manager", Judge(overload)),
        ("enable_dispatcher_stats", STATISTICS),
        ("header_prefix", Judge(header_prefix)),
        ("stats_server_version_override", STATISTICS),
        ("use_tcp_for_dns_lookups", Inert),
        ("dns_resolution_config", Inert),
        ("typed_dns_resolver_config", Inert),
        ("bootstrap_extensions", Inert),
        ("fatal_actions", Inert),
        ("config_sources", Inert),
        ("default_config_source", Inert),
        ("default_socket_interface", Inert),
        ("certificate_provider_instances", Inert),
        ("inline_headers", Judge(inline_header)),
        ("perf_tracing_file_path", Inert),
        ("default_regex_engine", Judge(regex_engine)),
        ("xds_delegate_extension", Inert),
        ("xds_config_tracker_extension", Inert),
        (
            "listener_manager",
            Unsupported("another listener manager than Envoy's own default takes connections"),
        ),
        ("application_log_config", Inert),
        ("grpc_async_client_manager_config", Inert),
        ("memory_allocator_manager", Inert),
        ("enable_worker_cpu_affinity", Inert),
    ],
}];

fn overload(judged: &Judged<'_>) -> Verdict {
    match judged.child {
        Some(manager) if manager.has("resource_monitors") => Verdict::Caution(
            "decisions are made as if no resource is under pressure: an Envoy that sheds load answers otherwise".into(),
        ),
        _ => Verdict::Inert,
    }
}

/// What Envoy's own headers start with.
fn header_prefix(judged: &Judged<'_>) -> Verdict {
    match judged.text() {
        "x-envoy" => Verdict::Inert,
        _ => Verdict::Unsupported("Envoy's own headers have other names".into()),
    }
}

/// The lines of such a header are joined to one.
fn inline_header(judged: &Judged<'_>) -> Verdict {
    const TRAILERS: [u64; 2] = [1, 3];
    match judged.child {
        Some(header) if !TRAILERS.contains(&header.number("inline_header_type")) => {
            let name = header.text("inline_header_name");
            Verdict::Unsupported(format!("the lines of the header {name} are joined").into())
        }
        _ => Verdict::Inert,
    }
}

fn regex_engine(judged: &Judged<'_>) -> Verdict {
    const RE2: &str = "envoy.extensions.regex_engines.v3.GoogleRE2";
    let any = judged.child.and_then(|engine| engine.any("typed_config"));
    match any.is_some_and(|any| filter::content_type(&any) == RE2) {
        true => Verdict::Inert,
        false => Verdict::Unsupported("another engine than RE2 matches regexes".into()),
    }
}
