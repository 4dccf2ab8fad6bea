//! `Cluster.typed_extension_protocol_options`, and the HTTP filters that run once an endpoint is chosen.
//!
//! Those filters may answer in the endpoint's place, and change what the route has written.

use super::{Judged, Verdict, filter};
use crate::view::View;

pub(super) const PROTOCOL: &str =
    "how the endpoint is spoken to does not influence which one it is";
const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// One entry of the map.
pub(super) fn judge(judged: &Judged<'_>) -> Verdict {
    let any = judged.child.and_then(|entry| entry.any("value"));
    let options = any
        .filter(|any| any.type_name() == OPTIONS)
        .and_then(|any| any.content());
    let Some(options) = options else {
        return Verdict::ReadOver(PROTOCOL.into());
    };
    if judged.context.by_hash && options.has("hash_policy") {
        return Verdict::Unsupported(
            "the cluster's own hash_policy counts before the route's, and is not decided".into(),
        );
    }
    let holders = [
        "explicit_http_config",
        "use_downstream_protocol_config",
        "auto_config",
    ];
    let http_1 = holders.iter().filter_map(|holder| {
        let holder = options.child(holder)?;
        holder.child("http_protocol_options")
    });
    if let Some(verdict) = http_1.filter_map(|it| sends_urls(&it)).next() {
        return verdict;
    }
    match options.children("http_filters").iter().find(|it| acts(it)) {
        Some(filter) => Verdict::Unsupported(what(filter)),
        None => Verdict::ReadOver(PROTOCOL.into()),
    }
}

/// `Cluster.http_protocol_options`.
pub(super) fn http_1(judged: &Judged<'_>) -> Verdict {
    let verdict = judged.child.and_then(sends_urls);
    verdict.unwrap_or(Verdict::ReadOver(PROTOCOL.into()))
}

/// The target that the endpoint gets is a decision's `path`.
fn sends_urls(options: &View<'_>) -> Option<Verdict> {
    (options.number("send_fully_qualified_url") != 0).then(|| {
        let what = "the endpoint gets a URL as the target (send_fully_qualified_url), which is not decided";
        Verdict::Unsupported(what.into())
    })
}

/// An element of `Router.upstream_http_filters`.
pub(super) fn of_router(judged: &Judged<'_>) -> Verdict {
    match judged.child {
        Some(filter) if acts(filter) => Verdict::Unsupported(what(filter)),
        _ => Verdict::Inert,
    }
}

fn acts(filter: &View<'_>) -> bool {
    let any = filter.any("typed_config");
    let kind = any.as_ref().map(filter::content_type).unwrap_or_default();
    let reports = any.as_ref().is_some_and(filter::is_reporting_wasm);
    kind != filter::UPSTREAM_CODEC && !filter::is_istio_inert(&kind) && !reports
}

fn what(filter: &View<'_>) -> std::borrow::Cow<'static, str> {
    format!(
        "the upstream filter {} may answer requests itself or change their headers",
        filter.text("name")
    )
    .into()
}
