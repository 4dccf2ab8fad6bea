//! A call of gRPC's client as its routes see it (gRFC A28): no HTTP/1 head, and no connection
//! manager.

use twinmesh_engine::Request;
use twinmesh_xds::Profile;

use crate::head::Refused;
use crate::message::Message;

/// Bytes of a head that every server takes.
const MOST_BYTES: usize = 8192;
/// Headers of HTTP that no call has as metadata.
const OF_HTTP: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// The call; a method of HTTP has no part in it.
///
/// # Errors
/// It is none, or what gRPC makes of it is not decided.
pub(crate) fn read(request: &Request) -> Result<Message, Refused> {
    let undecided = |why| Err(Refused::Undecided(why));
    let Some(authority) = &request.authority else {
        return undecided("a call of gRPC is to a name");
    };
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(in_name) {
        return undecided("by which part of a name with a port gRPC chooses is not decided");
    }
    let in_path = |byte: u8| byte.is_ascii_graphic() && byte != b'?' && byte != b'#';
    if !request.path.starts_with('/') || !request.path.bytes().all(in_path) {
        return undecided("the path of a gRPC call is a service and a method");
    }
    if request.head().len() > MOST_BYTES {
        return undecided("a gRPC call with so much metadata is not decided");
    }
    let mut headers = Vec::with_capacity(request.headers.len());
    for (name, value) in &request.headers {
        let name = name.to_ascii_lowercase();
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || !name.bytes().all(in_name) || OF_HTTP.contains(&name.as_str()) {
            return undecided("a gRPC call has no such metadata");
        }
        if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return undecided("a gRPC call has no metadata of such a value");
        }
        headers.push((name, value.trim_matches(' ').to_owned()));
    }
    Ok(Message {
        method: "POST".to_owned(),
        scheme: "http".to_owned(),
        authority: authority.clone(),
        path: request.path.clone(),
        forwarded_proto: "http".to_owned(),
        headers,
        profile: Profile::Grpc,
        ..Message::default()
    })
}

/// The values of a header as a matcher sees them.
pub(crate) fn values(message: &Message, name: &str) -> Vec<String> {
    let name = name.to_ascii_lowercase();
    if name == "content-type" {
        return vec!["application/grpc".to_owned()];
    }
    if name.ends_with("-bin") {
        return Vec::new();
    }
    let lines = message.headers.iter().filter(|(other, _)| *other == name);
    let lines: Vec<&str> = lines.map(|(_, value)| value.as_str()).collect();
    match lines.as_slice() {
        [] => Vec::new(),
        lines => vec![lines.join(",")],
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::message::tests::request;

    #[rstest]
    #[case("x-a", &["1,,2"])]
    #[case("x-b", &["3"])]
    #[case("x-c", &[])]
    #[case("accept", &["a,"])]
    #[case("content-type", &["application/grpc"])]
    #[case("trace-bin", &[])]
    fn what_matchers_see(#[case] name: &str, #[case] expected: &[&str]) {
        let mut request = request("/s/m");
        request.headers = [
            ("X-A", "1"),
            ("x-b", " 3"),
            ("x-a", ""),
            ("x-a", "2 "),
            ("accept", "a"),
            ("accept", ""),
            ("content-type", "text/plain"),
            ("trace-bin", "AA"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let message = read(&request).expect("it is a call");
        assert_eq!(message.matched_values(name), expected);
    }

    #[rstest]
    #[case::of_another_form("/s/m?q", "h.test", "x", "1")]
    #[case::no_path("*", "h.test", "x", "1")]
    #[case::a_port("/s/m", "h.test:80", "x", "1")]
    #[case::a_header_of_http("/s/m", "h.test", "Connection", "x")]
    #[case::no_name("/s/m", "h.test", "x y", "1")]
    #[case::no_value("/s/m", "h.test", "x", "\u{fc}")]
    fn no_call(#[case] path: &str, #[case] host: &str, #[case] name: &str, #[case] value: &str) {
        let mut request = request(path);
        request.authority = Some(host.to_owned());
        request.headers = vec![(name.to_owned(), value.to_owned())];
        assert!(matches!(read(&request), Err(Refused::Undecided(_))));
    }
}
