//! HTTP filters that may change the headers that routes add to, beside the routes themselves.

use envoy_types::pb::envoy::extensions::filters::{
    http::local_ratelimit::v3::LocalRateLimit,
    network::http_connection_manager::v3::{HttpConnectionManager, http_filter::ConfigType},
};
use envoy_types::pb::google::protobuf::Any;
use prost::Message;

use crate::classify::is_istio_inert;
use crate::header_mutation;
use crate::schema::type_name;
use crate::wire::{self, Raw};

/// What a connection manager's filters do to headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeaderFilters {
    /// One may change any header, in a way that is not decided.
    pub change_any: bool,
    /// One writes `access-control-` headers into responses.
    pub cors: bool,
}

/// Filters that leave headers alone, or write only those that start with `x-envoy-`.
const WITHOUT: [&str; 13] = [
    "envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit",
    "envoy.extensions.filters.http.buffer.v3.Buffer",
    "envoy.extensions.filters.http.fault.v3.HTTPFault",
    "envoy.extensions.filters.http.file_system_buffer.v3.FileSystemBufferFilterConfig",
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    "envoy.extensions.filters.http.original_src.v3.OriginalSrc",
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.filters.http.router.v3.Router",
    "envoy.extensions.filters.http.set_metadata.v3.Config",
    "envoy.extensions.filters.http.tap.v3.Tap",
    "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
    // Of these only Istio's own, which report, are taken.
    "envoy.extensions.filters.http.wasm.v3.Wasm",
    "io.istio.http.peer_metadata.Config",
];

const CORS: &str = "envoy.extensions.filters.http.cors.v3.Cors";
const LOCAL_RATE_LIMIT: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";

/// Looks at all filters, those that are disabled too: routes may enable them.
pub fn header_filters(manager: &HttpConnectionManager) -> HeaderFilters {
    let mut found = HeaderFilters::default();
    for filter in &manager.http_filters {
        let Some(ConfigType::TypedConfig(any)) = &filter.config_type else {
            found.change_any = true;
            continue;
        };
        let name = content_type(any);
        // What these change is decided.
        if type_name(&any.type_url) == header_mutation::FILTER {
            continue;
        }
        match name.as_str() {
            CORS => found.cors = true,
            LOCAL_RATE_LIMIT => found.change_any |= writes_headers(any),
            name => found.change_any |= !WITHOUT.contains(&name) && !is_istio_inert(name),
        }
    }
    found
}

fn writes_headers(any: &Any) -> bool {
    let Ok(config) = LocalRateLimit::decode(any.value.as_slice()) else {
        return true;
    };
    !config.response_headers_to_add.is_empty()
        || !config.request_headers_to_add_when_not_enforced.is_empty()
        || config.enable_x_ratelimit_headers != 0
}

/// The type of a filter's configuration, also where a TypedStruct stands for it.
pub(crate) fn content_type(any: &Any) -> String {
    let name = type_name(&any.type_url);
    if !name.ends_with(".TypedStruct") {
        return name.to_owned();
    }
    let mut fields = wire::fields(&any.value).filter_map(Result::ok);
    let inner = fields.find_map(|(number, raw)| match raw {
        Raw::Bytes(bytes) if number == 1 => std::str::from_utf8(bytes).ok(),
        _ => None,
    });
    type_name(inner.unwrap_or_default()).to_owned()
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

    use super::*;

    fn manager(types: &[&str]) -> HttpConnectionManager {
        let filters = types.iter().map(|name| HttpFilter {
            config_type: Some(ConfigType::TypedConfig(Any {
                type_url: format!("type.googleapis.com/{name}"),
                ..Any::default()
            })),
            ..HttpFilter::default()
        });
        HttpConnectionManager {
            http_filters: filters.collect(),
            ..HttpConnectionManager::default()
        }
    }

    #[test]
    fn filters_are_known_by_what_they_may_change() {
        let known = "envoy.extensions.filters.http.router.v3.Router";
        let lua = "envoy.extensions.filters.http.lua.v3.Lua";
        for (types, change_any, cors) in [
            (
                &[known, "istio.telemetry.stats.PluginConfig"][..],
                false,
                false,
            ),
            (&[CORS, known], false, true),
            (&[LOCAL_RATE_LIMIT, known], false, false),
            (&[lua, known], true, false),
        ] {
            let expected = HeaderFilters { change_any, cors };
            assert_eq!(header_filters(&manager(types)), expected, "{types:?}");
        }
    }
}
