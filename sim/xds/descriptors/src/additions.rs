//! Where Envoy 1.40.0's API goes on from envoy-types 0.7.7, as the descriptors in Envoy's binary have it.

/// What stands in a .proto file, once, and what stands there in Envoy 1.40.0.
struct Addition {
    file: &'static str,
    before: &'static str,
    after: &'static str,
}

const ADDITIONS: &[Addition] = &[
    Addition {
        file: "envoy/config/core/v3/health_check.proto",
        before: "message HealthCheck {",
        after: "message HealthCheck { string name = 27;",
    },
    Addition {
        file: "envoy/config/core/v3/health_check.proto",
        before: "message HttpHealthCheck {",
        after: "message HttpHealthCheck { bool use_alpn_protocol = 15;",
    },
    Addition {
        file: "envoy/config/cluster/v3/cluster.proto",
        before: "repeated core.v3.HealthCheck health_checks = 8;",
        after: "repeated core.v3.HealthCheck health_checks = 8 [(validate.rules).repeated = {max_items: 8}];",
    },
    Addition {
        file: "envoy/config/route/v3/route.proto",
        before: "string vhost_header = 18;",
        after: "string vhost_header = 18 [(validate.rules).string = \
                {well_known_regex: HTTP_HEADER_NAME strict: false}];",
    },
    Addition {
        file: "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
        before: "message HttpConnectionManager {",
        after: "message HttpConnectionManager { bool record_route_resolution_stats = 63;",
    },
    Addition {
        file: "envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto",
        before: "import \"envoy/config/core/v3/base.proto\";",
        after: "import \"envoy/config/core/v3/base.proto\"; import \"envoy/config/core/v3/extension.proto\";",
    },
    Addition {
        file: "envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto",
        before: "message Mutations {",
        after: "message Mutations { repeated config.core.v3.TypedExtensionConfig formatters = 6;",
    },
    Addition {
        file: "envoy/extensions/filters/http/lua/v3/lua.proto",
        before: "message Lua {",
        after: "message Lua { string shared_vm_id = 9;",
    },
    Addition {
        file: "envoy/extensions/filters/http/lua/v3/lua.proto",
        before: "message LuaPerRoute {",
        after: "message LuaPerRoute { string shared_vm_id = 7;",
    },
    Addition {
        file: "envoy/extensions/filters/http/basic_auth/v3/basic_auth.proto",
        before: "message BasicAuth {",
        after: r#"message BasicAuth { string realm = 6 [(validate.rules).string = {pattern: "^[^\\x00-\\x1f\\x7f]*$"}];"#,
    },
    Addition {
        file: "envoy/extensions/filters/http/basic_auth/v3/basic_auth.proto",
        before: "message BasicAuthPerRoute {",
        after: r#"message BasicAuthPerRoute { string realm = 2 [(validate.rules).string = {pattern: "^[^\\x00-\\x1f\\x7f]*$"}];"#,
    },
    Addition {
        file: "envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto",
        before: "message ExtAuthz {",
        after: "message ExtAuthz { repeated string clear_route_cache_headers = 34 [(validate.rules).repeated = \
                {items {string {min_len: 1 well_known_regex: HTTP_HEADER_NAME strict: false}}}];",
    },
    Addition {
        file: "envoy/extensions/common/ratelimit/v3/ratelimit.proto",
        before: "message RateLimitOverride {",
        after: "message RateLimitOverride { google.protobuf.UInt32Value unit_multiplier = 3 \
                [(validate.rules).uint32 = {gt: 0}];",
    },
    Addition {
        file: "envoy/type/tracing/v3/custom_tag.proto",
        before: "message CustomTag {",
        after: "message CustomTag { enum ValueType { UNSPECIFIED = 0; STRING = 1; INT = 2; DOUBLE = 3; BOOL = 4; } \
                ValueType value_type = 7 [(validate.rules).enum = {defined_only: true}];",
    },
    Addition {
        file: "envoy/config/metrics/v3/stats.proto",
        before: "message StatsdSink {",
        after: "message StatsdSink { bool scale_histogram_units_to_milliseconds = 4;",
    },
    Addition {
        file: "envoy/config/metrics/v3/stats.proto",
        before: "message DogStatsdSink {",
        after: "message DogStatsdSink { bool scale_histogram_units_to_milliseconds = 5;",
    },
    Addition {
        file: "envoy/extensions/stat_sinks/graphite_statsd/v3/graphite_statsd.proto",
        before: "message GraphiteStatsdSink {",
        after: "message GraphiteStatsdSink { bool scale_histogram_units_to_milliseconds = 5;",
    },
    Addition {
        file: "envoy/extensions/filters/http/oauth2/v3/oauth.proto",
        before: "message OAuth2Config {",
        after: "message TokenCookieChunking { \
                google.protobuf.UInt32Value max_cookie_size = 1 [(validate.rules).uint32 = {lte: 4096 gte: 512}]; \
                google.protobuf.UInt32Value max_chunks = 2 [(validate.rules).uint32 = {lte: 16 gte: 2}]; } \
                message OAuth2Config { TokenCookieChunking token_cookie_chunking = 34;",
    },
    Addition {
        file: "envoy/extensions/filters/http/gcp_authn/v3/gcp_authn.proto",
        before: "message AccessToken {",
        after: r#"message AccessToken { repeated string scopes = 1 [(validate.rules).repeated = {items {string {min_len: 1 pattern: "^[^\\s,]+$"}}}];"#,
    },
    Addition {
        file: "envoy/extensions/filters/http/gcp_authn/v3/gcp_authn.proto",
        before: "message BoundAccessToken {",
        after: r#"message BoundAccessToken { repeated string scopes = 1 [(validate.rules).repeated = {items {string {min_len: 1 pattern: "^[^\\s,]+$"}}}];"#,
    },
];

/// The text of a .proto file with what Envoy 1.40.0 has besides.
///
/// # Errors
/// The file does not have, once, what an addition goes by.
pub fn add_to(file: &str, mut text: String) -> Result<String, String> {
    for addition in ADDITIONS.iter().filter(|addition| addition.file == file) {
        let found = text.matches(addition.before).count();
        if found != 1 {
            let before = addition.before;
            return Err(format!(
                "{file}: {before:?} stands there {found} times, expected once"
            ));
        }
        text = text.replace(addition.before, addition.after);
    }
    Ok(text)
}
