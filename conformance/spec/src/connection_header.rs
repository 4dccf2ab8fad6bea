//! `Connection`: Envoy takes away the headers that it names before anything else sees them, and
//! refuses some (measured on Envoy 1.40).

use twinmesh_engine::BadRequest;

use crate::head::{Refused, by_codec, of};
use crate::message::{Message, join};

/// So many tokens are refused.
const TOO_MANY: usize = 10;
/// A TE of so many bytes that is named is refused.
const TOO_LONG: usize = 256;
/// Tokens that name no header.
const NO_NAMES: [&str; 5] = [
    "close",
    "connection",
    "http2-settings",
    "keep-alive",
    "upgrade",
];
/// Headers that nobody may have taken away.
const KEPT: [&str; 3] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// Does what Connection says. Host is apart from the other headers. Where it asks for an upgrade, it
/// is not looked at any further, and the message says which.
///
/// # Errors
/// Envoy refuses it.
pub(crate) fn apply(message: &mut Message, host: &mut Option<String>) -> Result<(), Refused> {
    let refused = || Err(by_codec(BadRequest::Connection, 400));
    let value = join(&of(message, "connection")).to_ascii_lowercase();
    let mut tokens: Vec<&str> = value.split(',').filter(|it| !it.is_empty()).collect();
    let asks_to_upgrade = tokens.iter().any(|token| token.trim() == "upgrade");
    let to = of(message, "upgrade");
    if asks_to_upgrade && !to.is_empty() {
        let to = join(&to);
        if !to.eq_ignore_ascii_case("h2c") {
            let connection = join(&of(message, "connection"));
            for (name, value) in [("connection", connection), ("upgrade", to.clone())] {
                remove(message, name);
                message.headers.push((name.to_owned(), value));
            }
            message.upgrade = Some(to);
            return Ok(());
        }
        remove(message, "upgrade");
        remove(message, "http2-settings");
        tokens.retain(|token| !["upgrade", "http2-settings"].contains(&token.trim()));
    }
    // To the codec each is an upgrade.
    if message.is_connect() {
        return Ok(());
    }
    if tokens.len() >= TOO_MANY {
        return refused();
    }
    for token in tokens {
        let name = token.trim();
        if NO_NAMES.contains(&name) {
            continue;
        }
        if name.starts_with(':') || KEPT.contains(&name) {
            return refused();
        }
        match name {
            "te" => {
                let te = join(&of(message, "te"));
                if te.len() >= TOO_LONG {
                    return refused();
                }
                let mut listed = te.split(',');
                let has_trailers = listed.any(|it| it.trim().eq_ignore_ascii_case("trailers"));
                remove(message, "te");
                if has_trailers {
                    let te = ("te".to_owned(), "trailers".to_owned());
                    message.headers.push(te);
                }
            }
            "host" => *host = None,
            _ => remove(message, name),
        }
    }
    Ok(())
}

fn remove(message: &mut Message, name: &str) {
    message.headers.retain(|(other, _)| other != name);
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::message::tests::message;

    /// What Envoy 1.40 left of `x-a`, `te` and Host; `None`: it refused the head.
    #[rstest]
    #[case::nothing_named(&["close"], "", Some("x-a te host"))]
    #[case::named(&["x-a"], "", Some("te host"))]
    #[case::in_any_case(&["Close, X-A"], "", Some("te host"))]
    #[case::on_two_lines(&["x-b", "x-a"], "", Some("te host"))]
    #[case::blanks_around(&["  x-a\t,x-b"], "", Some("te host"))]
    #[case::no_list(&["x-a;x-b"], "", Some("x-a te host"))]
    #[case::itself(&["connection, x-a"], "", Some("te host"))]
    #[case::host(&["host"], "", Some("x-a te"))]
    #[case::te_of_trailers(&["te"], "gzip, Trailers", Some("x-a te host"))]
    #[case::te_of_others(&["te"], "trailers;q=1", Some("x-a host"))]
    #[case::forwarded_for(&["x-forwarded-for"], "", None)]
    #[case::pseudo_header(&[":path"], "", None)]
    #[case::not_a_pseudo_header(&["x:y"], "", Some("x-a te host"))]
    #[case::nine(&["a,b,c,d,e,f,g,h,i"], "", Some("x-a te host"))]
    #[case::ten(&["a,b,c,d,e,f,g,h,i,j"], "", None)]
    #[case::ten_with_blanks(&["a, , , , , , , , , b"], "", None)]
    #[case::empty_ones_do_not_count(&["a,,,,,,,,,,,,b"], "", Some("x-a te host"))]
    #[case::upgrade_to_nothing(&["upgrade"], "", Some("x-a te host"))]
    fn what_is_left(#[case] connection: &[&str], #[case] te: &str, #[case] expected: Option<&str>) {
        let mut lines = vec![("x-a", "1"), ("te", te)];
        lines.extend(connection.iter().map(|value| ("connection", *value)));
        let mut message = message(&lines);
        let mut host = Some("h.test".to_owned());
        let found = apply(&mut message, &mut host).ok().map(|()| {
            let mut left: Vec<&str> = ["x-a", "te"]
                .into_iter()
                .filter(|name| !of(&message, name).is_empty())
                .collect();
            left.extend(host.as_ref().map(|_| "host"));
            left.join(" ")
        });
        assert_eq!(found.as_deref(), expected);
    }

    #[rstest]
    #[case::ignored("upgrade, http2-settings", "H2C", None)]
    #[case::asked_for("Upgrade", "websocket", Some("websocket"))]
    #[case::to_nothing("upgrade", "", Some(""))]
    #[case::one_of_two("upgrade", "h2c, websocket", Some("h2c, websocket"))]
    #[case::beside_what_would_be_refused("upgrade, x-forwarded-for", "a", Some("a"))]
    #[case::not_named("xupgrade", "websocket", None)]
    #[case::with_a_parameter("upgrade;q=1", "websocket", None)]
    fn upgrades(#[case] connection: &str, #[case] to: &str, #[case] expected: Option<&str>) {
        let mut message = message(&[("connection", connection), ("upgrade", to)]);
        assert_eq!(apply(&mut message, &mut None), Ok(()));
        assert_eq!(message.upgrade.as_deref(), expected);
    }
}
