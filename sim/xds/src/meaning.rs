//! Whether decisions depend on a field, by its path.

use crate::classify::{MANAGER, Rule, TCP_PROXY, table};
use crate::schema::{Message, schema};

/// Whether a decision may depend on the field at this path below a message (by its full name, as
/// `envoy.config.listener.v3.Listener`); false where what the field does, no decision tells: names for
/// statistics, timeouts, access logs, retries. True where nothing is known of it. Elements of lists are
/// written as in `filter_chains[0].filters[1]`; in the `typed_config` of a network filter, fields are
/// those of the connection manager or of the TCP proxy.
pub fn may_decide(message: &str, path: &str) -> bool {
    let Some(mut messages) = schema().message(message).map(|it| vec![it]) else {
        return true;
    };
    for segment in path.split('.').filter(|segment| !segment.is_empty()) {
        let name = segment.split('[').next().unwrap_or(segment);
        let mut below: Vec<&'static Message> = Vec::new();
        for message in &messages {
            let Some(field) = message.field(name) else {
                continue;
            };
            let rule = table(&message.name).and_then(|table| table.rule(name));
            if let Some(Rule::Inert | Rule::ReadOver(_)) = rule {
                return false;
            }
            match field.message() {
                Some(any)
                    if any.name == "google.protobuf.Any"
                        && message.name == "envoy.config.listener.v3.Filter" =>
                {
                    let terminals = [MANAGER, TCP_PROXY];
                    below.extend(terminals.iter().filter_map(|it| schema().message(it)));
                }
                Some(child) => below.push(child),
                None => {}
            }
        }
        messages = below;
    }
    true
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::may_decide;

    #[rstest]
    #[case(
        "envoy.config.listener.v3.FilterChain",
        "filters[0].typed_config.stat_prefix",
        false
    )]
    #[case(
        "envoy.config.listener.v3.FilterChain",
        "filters[0].typed_config.http_filters[0]",
        true
    )]
    #[case(
        "envoy.config.listener.v3.FilterChain",
        "filters[0].typed_config.max_connect_attempts",
        false
    )]
    #[case(
        "envoy.config.listener.v3.FilterChain",
        "filters[0].typed_config.normalize_path",
        true
    )]
    #[case("envoy.config.route.v3.Route", "route.timeout", false)]
    #[case("envoy.config.route.v3.Route", "route.prefix_rewrite", true)]
    #[case("envoy.config.route.v3.Route", "route.retry_policy.num_retries", false)]
    #[case("envoy.config.cluster.v3.Cluster", "connect_timeout", false)]
    #[case("envoy.config.cluster.v3.Cluster", "lb_policy", true)]
    #[case(
        "envoy.config.cluster.v3.Cluster",
        "circuit_breakers.thresholds[0]",
        true
    )]
    #[case("envoy.config.cluster.v3.Cluster", "alt_stat_name", true)]
    #[case("envoy.config.route.v3.Route", "route.append_x_forwarded_host", true)]
    #[case(
        "envoy.config.listener.v3.FilterChain",
        "filters[0].typed_config.upgrade_configs[0].filters[0]",
        true
    )]
    #[case("envoy.config.cluster.v3.Cluster", "no_such_field", true)]
    #[case("no.such.Message", "name", true)]
    fn fields(#[case] message: &str, #[case] path: &str, #[case] expected: bool) {
        assert_eq!(may_decide(message, path), expected);
    }
}
