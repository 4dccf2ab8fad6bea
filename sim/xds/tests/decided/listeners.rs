//! Listeners.

use rstest::rstest;
use twinmesh_xds::{Effect, ReadOptions, read_bytes};

use crate::common::{bound, listener, listeners, read_ok};
use crate::findings;

#[test]
fn addresses_that_differ_are_taken() {
    let all = [
        bound(
            "exact",
            "{address: 127.0.0.1, port_value: 80}",
            "additional_addresses: [{address: {socket_address: {address: 127.0.0.1, port_value: 80}}}]",
        ),
        bound("any", "{address: 0.0.0.0, port_value: 80}", ""),
        bound(
            "any-v6",
            "{address: \"::\", port_value: 80, ipv4_compat: true}",
            "",
        ),
        bound(
            "mapped",
            "{address: \"::ffff:127.0.0.1\", port_value: 80}",
            "",
        ),
        bound("chosen", "{address: 127.0.0.1, port_value: 0}", ""),
        bound("chosen-too", "{address: 127.0.0.1, port_value: 0}", ""),
        bound(
            "other-network",
            "{address: 127.0.0.1, port_value: 80, network_namespace_filepath: /a}",
            "",
        ),
    ];
    let snapshot = read_ok("f.yaml", &listeners(&all.concat()));
    assert_eq!(snapshot.listeners.len(), all.len());
}

#[test]
fn listeners_of_one_name_are_not_chosen_from() {
    let text = listeners(&format!("{}{}", listener(&["{}"]), listener(&["{}"])));
    let snapshot = read_ok("f.yaml", &text);
    assert!(
        snapshot
            .listeners
            .iter()
            .all(|one| one.unsupported.is_some())
    );
}

/// A listener with an RBAC filter of these fields ahead of a TCP proxy.
fn guarded(fields: &str) -> String {
    let filter = format!(
        "    filters:\n    - name: guard\n      typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, {fields}}}\n"
    );
    let text = listeners(&listener(&["{}"]).replacen("    filters:\n", &filter, 1));
    format!("{text}  clusters: [{{name: c}}]\n")
}

const ANY: &str = "permissions: [{any: true}], principals: [{any: true}]";

#[test]
fn network_rbac_that_may_close_connections_is_kept() {
    for (fields, count) in [
        (format!("rules: {{policies: {{p: {{{ANY}}}}}}}"), 1),
        ("rules: {}".to_owned(), 1),
        ("matcher: {}".to_owned(), 1),
        ("shadow_matcher: {}".to_owned(), 0),
        (
            format!("rules: {{action: LOG, policies: {{p: {{{ANY}}}}}}}"),
            0,
        ),
        (format!("shadow_rules: {{policies: {{p: {{{ANY}}}}}}}"), 0),
        ("enforcement_type: CONTINUOUS, delay_deny: 1s".to_owned(), 0),
    ] {
        let snapshot = read_ok("f.yaml", &guarded(&format!("stat_prefix: s, {fields}")));
        let chain = &snapshot.listeners[0].filter_chains[0];
        assert_eq!(chain.unsupported, None, "{fields}");
        assert_eq!(chain.network_rbac.len(), count, "{fields}");
    }
}

#[test]
fn network_rbac_by_what_is_not_known_is_not_decided() {
    let metadata = "metadata: {filter: f, path: [{key: k}], value: {present_match: true}}";
    for (fields, place) in [
        (
            format!(
                "rules: {{policies: {{p: {{permissions: [{{{metadata}}}], principals: [{{any: true}}]}}}}}}"
            ),
            "rules.policies[0].value.permissions[0].metadata",
        ),
        (
            "matcher: {matcher_tree: {input: {name: i, typed_config: {'@type': type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.FilterStateInput, key: k}}, exact_match_map: {map: {a: {matcher: {}}}}}}"
                .to_owned(),
            "matcher.matcher_tree.input.typed_config.key",
        ),
    ] {
        let snapshot = read_ok("f.yaml", &guarded(&format!("stat_prefix: s, {fields}")));
        let found = snapshot.listeners[0].filter_chains[0].unsupported.clone();
        let path = found.map(|found| found.path);
        let expected = format!("filter_chains[0].filters[0].typed_config.{place}");
        assert_eq!(path, Some(expected));
    }
}

#[test]
fn network_rbac_that_envoy_refuses() {
    let header = "{header: {name: x, present_match: true}}";
    let by_header = format!(
        "policies: {{p: {{permissions: [{{not_rule: {{or_rules: {{rules: [{header}]}}}}}}], \
         principals: [{{any: true}}]}}}}"
    );
    let by_peer = format!(
        "policies: {{p: {{permissions: [{{any: true}}], principals: [{{not_id: {header}}}]}}}}"
    );
    for fields in [
        format!("stat_prefix: s, rules: {{{by_header}}}"),
        format!("stat_prefix: s, shadow_rules: {{{by_peer}}}"),
        "rules: {}".to_owned(),
        "stat_prefix: s, delay_deny: -1s".to_owned(),
        "stat_prefix: s, rules: {policies: {p: {principals: [{any: true}]}}}".to_owned(),
    ] {
        let text = guarded(&fields);
        let read = read_bytes("f.yaml", text.as_bytes(), &ReadOptions::default());
        assert!(read.is_err(), "{fields}");
    }
}

#[rstest]
#[case("bind_to_port: false", "", Some("bind_to_port"))]
#[case(
    "deprecated_v1: {bind_to_port: false}",
    "",
    Some("deprecated_v1.bind_to_port")
)]
#[case("bind_to_port: true", "", None)]
#[case("bind_to_port: false", "use_original_dst: true", None)]
#[case("bind_to_port: false", "use_original_dst: false", Some("bind_to_port"))]
fn a_listener_that_no_connection_reaches(
    #[case] first: &str,
    #[case] second: &str,
    #[case] caution: Option<&str>,
) {
    let address = |port: u16| format!("{{address: 127.0.0.1, port_value: {port}}}");
    let all = [
        bound("one", &address(1), first),
        bound("other", &address(2), second),
    ];
    let snapshot = read_ok("f.yaml", &listeners(&all.concat()));
    let found = findings(&snapshot, Effect::Caution);
    assert_eq!(found, caution.as_slice());
}

#[rstest]
#[case::none("", None)]
#[case::raw(
    "typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}",
    None
)]
#[case::tls(
    "typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext}",
    Some("connections are taken to fit it: Envoy closes one in the clear")
)]
#[case::mutual(
    "typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true}",
    Some(
        "connections are taken to fit it: Envoy closes one in the clear, and one without the certificate that it requires of the client"
    )
)]
#[case::start_tls(
    "typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.starttls.v3.StartTlsConfig, tls_socket_config: {}}",
    Some("connections are taken to fit it, whatever they are")
)]
fn connections_that_may_not_fit(#[case] socket: &str, #[case] expected: Option<&str>) {
    let chain = match socket {
        "" => "name: plain".to_owned(),
        _ => format!("transport_socket: {{name: s, {socket}}}"),
    };
    let text = listeners(&bound("l", "{address: 127.0.0.1, port_value: 80}", ""));
    let text = text.replace("- filter_chain_match: {}", &format!("- {chain}"));
    let snapshot = read_ok("f.yaml", &text);
    let cautions = snapshot.report.findings.iter();
    let cautions = cautions.filter(|it| it.effect == Effect::Caution);
    let said: Vec<_> = cautions
        .map(|it| (it.path.as_str(), it.message.as_str()))
        .collect();
    let expected = expected.map(|it| ("filter_chains[0].transport_socket", it));
    assert_eq!(said, expected.as_slice());
}

#[rstest]
#[case::any("{}", "tls", "{any_match: true}", false)]
#[case::any_beside_names("{server_names: [a.test]}", "tls", "{any_match: true}", true)]
#[case::any_beside_protocols("{transport_protocol: tls}", "tls", "{any_match: true}", true)]
#[case::another_port(
    "{destination_port: 443, server_names: [a.test]}",
    "tls",
    "{destination_port_range: {start: 80, end: 443}}",
    false
)]
#[case::its_port(
    "{destination_port: 443, server_names: [a.test]}",
    "tls",
    "{or_match: {rules: [{destination_port_range: {start: 80, end: 81}}, {destination_port_range: {start: 443, end: 444}}]}}",
    true
)]
#[case::not(
    "{destination_port: 443, server_names: [a.test]}",
    "tls",
    "{not_match: {any_match: true}}",
    true
)]
#[case::of_http(
    "{application_protocols: [http/1.1]}",
    "http",
    "{any_match: true}",
    true
)]
#[case::of_http_beside_others(
    "{application_protocols: [istio]}",
    "http",
    "{any_match: true}",
    false
)]
#[case::of_http_beside_names("{server_names: [a.test]}", "http", "{any_match: true}", false)]
fn inspectors_that_are_disabled(
    #[case] matched: &str,
    #[case] inspector: &str,
    #[case] predicate: &str,
    #[case] unsupported: bool,
) {
    let name = match inspector {
        "tls" => "tls_inspector.v3.TlsInspector",
        _ => "http_inspector.v3.HttpInspector",
    };
    let filter = format!(
        "  listener_filters:\n  - name: i\n    filter_disabled: {predicate}\n    typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.filters.listener.{name}}}\n  filter_chains:\n"
    );
    let text = listener(&[matched]).replacen("  filter_chains:\n", &filter, 1);
    let text = format!("{}  clusters: [{{name: c}}]\n", listeners(&text));
    let snapshot = read_ok("f.yaml", &text);
    let found = snapshot.listeners[0].unsupported.as_ref();
    let expected = unsupported.then_some("listener_filters[0]");
    assert_eq!(found.map(|it| it.path.as_str()), expected);
}

#[test]
fn a_chain_with_the_port_hides_those_without() {
    let filter = "  listener_filters:\n  - name: i\n    filter_disabled: {destination_port_range: {start: 80, end: 81}}\n    \
         typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}\n  \
         filter_chains:\n";
    let decided = |chains: &[&str]| {
        let text = listener(chains).replacen("  filter_chains:\n", filter, 1);
        let text = format!("{}  clusters: [{{name: c}}]\n", listeners(&text));
        read_ok("f.yaml", &text).listeners[0].unsupported.is_none()
    };
    assert!(decided(&[
        "{destination_port: 80}",
        "{server_names: [a.test]}"
    ]));
    assert!(!decided(&[
        "{destination_port: 81}",
        "{server_names: [a.test]}"
    ]));
}

/// Envoy takes connections that have no addresses for ones from and to 255.255.255.255.
#[rstest]
#[case("address: {pipe: {path: /p}}", "", false)]
#[case("internal_listener: {}", "", false)]
#[case(
    "address: {socket_address: {address: 127.0.0.1, port_value: 80}}",
    "",
    true
)]
#[case("address: {pipe: {path: /p}}", "proxy_protocol.v3.ProxyProtocol", true)]
#[case("internal_listener: {}", "original_dst.v3.OriginalDst", true)]
fn filter_chains_may_ask_for_addresses_that_are_there(
    #[case] at: &str,
    #[case] filter: &str,
    #[case] is_decided: bool,
) {
    let filters = match filter {
        "" => String::new(),
        filter => inspected(filter),
    };
    for asked in [
        "prefix_ranges: [{address_prefix: 255.0.0.0, prefix_len: 8}]",
        "destination_port: 80",
        "source_type: EXTERNAL",
        "source_prefix_ranges: [{address_prefix: 255.0.0.0, prefix_len: 8}]",
        "source_ports: [1]",
    ] {
        let chains = listener(&[&format!("{{{asked}}}")]);
        let place = "  address: {socket_address: {address: 127.0.0.1, port_value: 80}}\n";
        let text = chains.replace(place, &format!("  {at}\n{filters}"));
        let snapshot = read_ok("f.yaml", &listeners(&text));
        let found = &snapshot.listeners[0].unsupported;
        let path = found.as_ref().map(|found| found.path.as_str());
        let field = asked.split(':').next().unwrap_or_default();
        let expected = format!("filter_chains[0].filter_chain_match.{field}");
        let fits = path.is_some_and(|path| path.starts_with(&expected));
        assert_eq!(
            (path.is_none(), fits),
            (is_decided, !is_decided),
            "{asked}: {path:?}"
        );
    }
}

fn inspected(filter: &str) -> String {
    format!(
        "  listener_filters: [{{name: f, typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.filters.listener.{filter}}}}}]\n"
    )
}

/// A request's source is the one that the PROXY header names.
#[test]
fn who_sends_the_proxy_header_is_not_known() {
    let range = "{address_prefix: 127.0.0.0, prefix_len: 8}";
    let input = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput";
    let by_match = listener(&[&format!("{{direct_source_prefix_ranges: [{range}]}}")]);
    let guard = |fields: &str| {
        let filter = format!(
            "    filters:\n    - name: guard\n      typed_config: {{\"@type\": \
             type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: s, {fields}}}\n"
        );
        listener(&["{}"]).replacen("    filters:\n", &filter, 1)
    };
    let by_rules = guard(&format!(
        "rules: {{policies: {{p: {{permissions: [{{any: true}}], principals: [{{direct_remote_ip: {range}}}]}}}}}}"
    ));
    let by_tree = guard(&format!(
        "matcher: {{matcher_tree: {{input: {{name: i, typed_config: {{\"@type\": {input}}}}}, exact_match_map: {{map: {{a: {{matcher: {{}}}}}}}}}}}}"
    ));
    for text in [by_match, by_rules, by_tree] {
        let proxied = text.replace(
            "  filter_chains:\n",
            &format!(
                "{}  filter_chains:\n",
                inspected("proxy_protocol.v3.ProxyProtocol")
            ),
        );
        for (text, is_decided) in [(text, true), (proxied, false)] {
            let snapshot = read_ok("f.yaml", &listeners(&text));
            let taking = &snapshot.listeners[0];
            let of_chain = taking.filter_chains[0].unsupported.as_ref();
            let found = taking.unsupported.as_ref().or(of_chain);
            assert_eq!(found.is_none(), is_decided, "{text}");
        }
    }
}
