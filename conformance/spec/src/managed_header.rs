//! What the connection manager writes into a request, and takes off it, before a route is chosen
//! (measured on Envoy 1.40).

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::Request;

use crate::client_address::is_internal;
use crate::message::{Message, arrives_as_sent};

/// Sets `x-forwarded-port` to the port of the connection where `append_x_forwarded_port` says so: the client's
/// own stays, but at the edge. Then takes the `internal_only_headers` off a request from outside, and adds `via` to
/// what is there.
///
/// # Errors
/// Why it is not known whether the request comes from inside.
pub(crate) fn apply(
    manager: &HttpConnectionManager,
    internal_only: &[String],
    (request, port): (&Request, u16),
    mut message: Message,
) -> Result<Message, String> {
    let is_at_edge = manager.use_remote_address.is_some_and(|own| own.value)
        && manager.xff_num_trusted_hops == 0;
    let has_port = !message.values("x-forwarded-port").is_empty();
    if manager.append_x_forwarded_port && (is_at_edge || !has_port) {
        set(&mut message, "x-forwarded-port", port.to_string());
    }
    if !internal_only.is_empty() && !is_internal(manager, request, &message)? {
        let taken = |name: &str| {
            let mut names = internal_only.iter();
            arrives_as_sent(name) && names.any(|it| it.eq_ignore_ascii_case(name))
        };
        message.headers.retain(|(name, _)| !taken(name));
    }
    if !manager.via.is_empty() {
        let mut all = message.values("via");
        all.retain(|value| !value.is_empty());
        all.push(manager.via.clone());
        set(&mut message, "via", all.join(", "));
    }
    Ok(message)
}

fn set(message: &mut Message, name: &str, value: String) {
    message.headers.retain(|(other, _)| other != name);
    message.headers.push((name.to_owned(), value));
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::BoolValue;
    use rstest::rstest;

    use super::*;
    use crate::message::tests::{message, request};

    // Measured on Envoy 1.40: without `use_remote_address`, with it, and with it behind a trusted hop.
    #[rstest]
    #[case(&[], ["8080", "8080", "8080"])]
    #[case(&["7"], ["7", "8080", "7"])]
    #[case(&[""], ["", "8080", ""])]
    #[case(&["7", "8"], ["7,8", "8080", "7,8"])]
    fn ports(#[case] lines: &[&str], #[case] expected: [&str; 3]) {
        let lines: Vec<_> = lines
            .iter()
            .map(|&line| ("x-forwarded-port", line))
            .collect();
        for ((value, xff_num_trusted_hops), expected) in
            [(false, 0), (true, 0), (true, 1)].into_iter().zip(expected)
        {
            let manager = HttpConnectionManager {
                append_x_forwarded_port: true,
                use_remote_address: Some(BoolValue { value }),
                xff_num_trusted_hops,
                ..HttpConnectionManager::default()
            };
            let found = apply(&manager, &[], (&request("/"), 8080), message(&lines));
            let found = found.expect("it is known");
            assert_eq!(found.values("x-forwarded-port"), [expected]);
        }
    }

    #[rstest]
    #[case(&[], "gw")]
    #[case(&["1.1 x"], "1.1 x, gw")]
    #[case(&["1.1 x", "y"], "1.1 x,y, gw")]
    #[case(&[""], "gw")]
    fn via(#[case] lines: &[&str], #[case] expected: &str) {
        let lines: Vec<_> = lines.iter().map(|&line| ("via", line)).collect();
        let manager = HttpConnectionManager {
            via: "gw".to_owned(),
            ..HttpConnectionManager::default()
        };
        let found = apply(&manager, &[], (&request("/"), 80), message(&lines));
        assert_eq!(found.expect("it is known").values("via"), [expected]);
    }

    #[test]
    fn internal_only_headers_are_taken_before_via_is_added() {
        let manager = HttpConnectionManager {
            via: "gw".to_owned(),
            append_x_forwarded_port: true,
            ..HttpConnectionManager::default()
        };
        let internal = ["X-Int", "via", "x-forwarded-port"].map(str::to_owned);
        let came = message(&[
            ("x-int", "1"),
            ("x-other", "2"),
            ("via", "a"),
            ("x-int", "3"),
        ]);
        let found = apply(&manager, &internal, (&request("/"), 80), came);
        let left = found.expect("it is known").headers;
        let expected = [("x-other", "2"), ("via", "gw")];
        assert_eq!(
            left,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
