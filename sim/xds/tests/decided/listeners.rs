//! Listeners.

use crate::common::{bound, listener, listeners, read_ok};

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
