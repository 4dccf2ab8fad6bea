//! Chains of upstream HTTP filters: `HttpProtocolOptions.http_filters` and `Router.upstream_http_filters`.

use crate::{
    classify::{ROUTER, UPSTREAM_CODEC, content_type},
    error::ReadError,
    source::Source,
    view::View,
};

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The chain that a message holds, where it is one that may hold some.
pub(super) fn chain<'a>(config: &View<'a>) -> Option<Vec<View<'a>>> {
    match config.message.name.as_str() {
        OPTIONS => Some(config.children("http_filters")),
        ROUTER => Some(config.children("upstream_http_filters")),
        _ => None,
    }
}

/// Refuses a chain that does not end in an upstream codec, and one with a codec before its end. Other
/// messages than those that hold such chains pass.
pub(crate) fn check(config: &View<'_>, source: &Source<'_>) -> Result<(), ReadError> {
    let of_cluster = config.message.name == OPTIONS;
    let filters = chain(config).unwrap_or_default();
    let Some((last, before)) = filters.split_last() else {
        return Ok(());
    };
    if let Some(early) = before.iter().find(|filter| is_codec(filter)) {
        let problem = "an upstream codec must be the last of the upstream HTTP filters";
        return Err(source.invalid(&early.path, problem));
    }
    // A router's chain may get its end by discovery.
    if !is_codec(last) && (of_cluster || !last.has("config_discovery")) {
        let problem = "the last of the upstream HTTP filters must be an upstream codec";
        return Err(source.invalid(&last.path, problem));
    }
    if last.number("disabled") != 0 {
        let problem = "the last of the upstream HTTP filters may not be disabled";
        return Err(source.invalid(&last.path.field("disabled"), problem));
    }
    super::listener::check_all_configured(&filters, source)
}

fn is_codec(filter: &View<'_>) -> bool {
    let any = filter.any("typed_config");
    any.is_some_and(|any| content_type(&any) == UPSTREAM_CODEC)
}
