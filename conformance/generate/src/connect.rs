//! CONNECT requests.

use serde_json::Value;
use twinmesh_engine::Request;

use crate::Tape;

/// What follows a host in a target.
const ENDS: [&str; 8] = ["", "", "", "", "/", "#", "?a=b", "x"];

/// Makes a CONNECT request to the authority that the request has, or nearly so, where the route's match
/// asks for one.
pub fn ask(matched: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    let is_asked = matched.get("connect_matcher").is_some() && !tape.misses_once_in(6);
    if !is_asked && !tape.once_in(80) {
        return;
    }
    request.method = "CONNECT".to_owned();
    let mut target = request.authority.clone().unwrap_or_default();
    let has_port = target
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.contains(']'));
    if !has_port {
        let ports = [":80", ":80", ":80", ":81", ":0443", ":65535", ":", ""];
        target.push_str(&tape.text(&ports[..if tape.is_aimed() { 4 } else { 8 }]));
    }
    if tape.misses_once_in(4) {
        target.push_str(&tape.text(&ENDS));
    }
    if tape.misses_once_in(10) {
        target.insert_str(0, &tape.text(&["@", "u@", "/", "http://"]));
    }
    request.path = target;
    match tape.below(8) {
        0 => request.authority = None,
        1 => request.authority = Some("other.com".to_owned()),
        2 => {
            let length = tape.text(&["0", "0", "5", "00"]);
            request.headers.push(("content-length".to_owned(), length));
        }
        _ => {}
    }
}
