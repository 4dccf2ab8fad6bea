//! Whether Envoy 1.40 takes a request head, and what it makes of it.
//!
//! The order of the checks is Envoy's, as far as it shows in the status. The codec first: the
//! head's size, the request line with the target's form, then each header line in order (its name,
//! its value, content-length), their number, transfer-encoding, what Connection names, the target,
//! the authority. Then the connection
//! manager: a missing authority, a path that does not start with `/`, a fragment. Only what the
//! connection manager refuses names the route configuration, and only there a gRPC request is
//! answered with the status 200.

use envoy_types::pb::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::{BadRequest, Request};

use crate::connect;
use crate::connection_header;
use crate::header_count::HeaderCount;
use crate::host;
use crate::message::{Message, OF_A_CONNECTION, join};
use crate::referer;
use crate::target::{self, Target};

/// Every method that Envoy's parser knows.
const METHODS: [&str; 35] = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "MSEARCH",
    "NOTIFY",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "TRACE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

const DEFAULT_MAX_REQUEST_HEADERS_KB: u32 = 60;

/// What Envoy makes of a head that it does not route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is answered at once.
    Bad {
        why: BadRequest,
        status: u32,
        /// The connection manager refused it, not its codec.
        by_connection_manager: bool,
    },
    /// It asks for something that is not decided here; the text says what.
    Undecided(&'static str),
}

pub(crate) fn by_codec(why: BadRequest, status: u32) -> Refused {
    Refused::Bad {
        why,
        status,
        by_connection_manager: false,
    }
}

/// Whether the HTTP inspector takes the request line for HTTP/1.1: whatever the method is called, and without a
/// target that of CONNECT, for which it takes the version.
pub(crate) fn is_inspected(request: &Request) -> bool {
    let blanks = [' ', '\t'];
    let method = request.method.trim_matches(blanks);
    let target = request.path.trim_matches(blanks);
    !method.is_empty()
        && method.bytes().all(is_token_byte)
        && (method == "CONNECT" && target.is_empty() || target::fits_a_request_line(target, method))
}

/// Method and target as the parser takes them off the request line, whose tokens any white space
/// parts.
pub(crate) fn request_line(request: &Request) -> Option<(&str, &str)> {
    let blanks = [' ', '\t'];
    if request.method.starts_with(blanks) {
        return None;
    }
    let token = |text: &'_ str| -> Option<(usize, usize)> {
        let trimmed = text.trim_matches(blanks);
        let start = text.find(trimmed)?;
        (!trimmed.contains(blanks)).then_some((start, start + trimmed.len()))
    };
    let (from, to) = token(&request.method)?;
    let method = request.method.get(from..to)?;
    let (from, to) = token(&request.path)?;
    let target = request.path.get(from..to)?;
    let is_taken = METHODS.contains(&method) && target::fits_a_request_line(target, method);
    is_taken.then_some((method, target))
}

/// The request as routes see it.
///
/// # Errors
/// Envoy refuses the head, or does with it what is not decided here.
pub(crate) fn read(
    request: &Request,
    manager: &HttpConnectionManager,
    destination_port: Option<u16>,
) -> Result<Message, Refused> {
    let kilobytes = manager
        .max_request_headers_kb
        .as_ref()
        .map_or(DEFAULT_MAX_REQUEST_HEADERS_KB, |limit| limit.value);
    let size = u64::try_from(request.head().len()).unwrap_or(u64::MAX);
    if size > u64::from(kilobytes) * 1024 {
        return Err(by_codec(BadRequest::TooLarge, 431));
    }
    let Some((method, target)) = request_line(request) else {
        return Err(by_codec(BadRequest::RequestLine, 400));
    };
    let mut message = Message {
        method: method.to_owned(),
        client_certificate: request.client_certificate.filter(|_| request.is_tls()),
        headers: header_lines(request, manager)?,
        ..Message::default()
    };
    let transfer_encoding_wins = manager
        .http_protocol_options
        .as_ref()
        .is_some_and(|options| options.allow_chunked_length);
    if message.is_connect() {
        connect::check_body(&mut message)?;
    } else {
        check_transfer_encoding(&message, transfer_encoding_wins)?;
    }
    let mut authority = take_authority(request, &mut message);
    let connection = connection_header::apply(&mut message, &mut authority);
    let allow_absolute_url = manager
        .http_protocol_options
        .as_ref()
        .and_then(|options| options.allow_absolute_url.as_ref())
        .is_none_or(|allow| allow.value);
    let mut scheme = None;
    match target::parse(target, method, allow_absolute_url) {
        None => return Err(by_codec(BadRequest::Target, 400)),
        Some(Target::Origin(path)) => message.path = path,
        Some(Target::Absolute {
            scheme: of_target,
            authority: of_target_too,
            path,
        }) => {
            if of_target == "https" && !request.is_tls() && !trusts_scheme(manager) {
                return Err(by_codec(BadRequest::Scheme, 403));
            }
            scheme = Some(of_target);
            authority = Some(of_target_too);
            message.path = path;
        }
        Some(Target::Authority(of_target)) => authority = Some(of_target),
    }
    // Envoy looks at it before the target, and refuses the head in either case.
    connection?;
    if authority.as_deref().is_some_and(|text| !is_authority(text)) {
        return Err(by_codec(BadRequest::InvalidHost, 400));
    }
    check_in_connection_manager(&message, authority.is_some())?;
    message.authority = host::strip(&authority.unwrap_or_default(), manager, destination_port);
    set_scheme(&mut message, scheme, request, manager);
    let upgrades = message.upgrade.is_some();
    let is_kept = |name: &str| {
        !OF_A_CONNECTION.contains(&name) || (upgrades && ["connection", "upgrade"].contains(&name))
    };
    message.headers.retain(|(name, _)| is_kept(name));
    if !referer::is_kept(&join(&of(&message, "referer"))) {
        message.headers.retain(|(name, _)| name != "referer");
    }
    match &message.upgrade {
        Some(to) if to.eq_ignore_ascii_case("connect-udp") => {
            return Err(Refused::Undecided("CONNECT-UDP requests are not decided"));
        }
        None if message.is_connect() => message.upgrade = Some("CONNECT".to_owned()),
        _ => {}
    }
    Ok(message)
}

/// Host and the other header lines, with what stands on lines that go on with the one before (obsolete
/// folding); `None` where there is none before.
fn unfolded(request: &Request) -> Option<(Option<String>, Vec<String>)> {
    let mut host = request.authority.clone();
    let mut lines: Vec<String> = Vec::with_capacity(request.headers.len());
    for (name, value) in &request.headers {
        let line = format!("{name}: {value}");
        if name.starts_with([' ', '\t']) {
            let before = lines.last_mut().or(host.as_mut())?;
            before.push_str(&line);
        } else {
            lines.push(line);
        }
    }
    Some((host, lines))
}

/// The header lines as the parser takes them apart. It reads all before their number and their
/// underscores are looked at.
fn header_lines(
    request: &Request,
    manager: &HttpConnectionManager,
) -> Result<Vec<(String, String)>, Refused> {
    let mut parsed: Vec<(String, String)> = Vec::new();
    let (host, lines) = unfolded(request).ok_or(by_codec(BadRequest::HeaderName, 400))?;
    for line in &lines {
        // On the wire the name ends at the first colon.
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(by_codec(BadRequest::HeaderName, 400));
        }
        // Of a CR the parser leaves no trace.
        let given = value;
        let value = value.replace('\r', "");
        if !value.bytes().all(is_value_byte) {
            return Err(by_codec(BadRequest::HeaderValue, 400));
        }
        let name = name.to_ascii_lowercase();
        let value = value.trim_matches([' ', '\t']);
        if name == "content-length" {
            let is_first = !parsed.iter().any(|(other, _)| *other == name);
            if !is_first || !is_length(value) || given.contains('\r') {
                return Err(by_codec(BadRequest::ContentLength, 400));
            }
        }
        parsed.push((name, value.to_owned()));
    }
    let options = manager.common_http_protocol_options.as_ref();
    let underscores = options.map_or(0, |options| options.headers_with_underscores_action);
    let mut count = HeaderCount::new(manager);
    let mut headers = Vec::with_capacity(parsed.len());
    if host.is_some() && !count.add("host") {
        return Err(by_codec(BadRequest::TooLarge, 431));
    }
    for (name, value) in parsed {
        if name.contains('_') {
            if underscores == HeadersWithUnderscoresAction::RejectRequest as i32 {
                return Err(by_codec(BadRequest::HeaderName, 400));
            }
            if underscores == HeadersWithUnderscoresAction::DropHeader as i32 {
                continue;
            }
        }
        if !count.add(&name) {
            return Err(by_codec(BadRequest::TooLarge, 431));
        }
        headers.push((name, value));
    }
    Ok(headers)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Digits only, not even a plus sign.
fn is_length(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u64>().is_ok()
}

fn check_transfer_encoding(message: &Message, transfer_encoding_wins: bool) -> Result<(), Refused> {
    let has_length = !of(message, "content-length").is_empty();
    let encodings = of(message, "transfer-encoding");
    let is_chunked = join(&encodings).eq_ignore_ascii_case("chunked");
    if !encodings.is_empty() && has_length && !(transfer_encoding_wins && is_chunked) {
        return Err(by_codec(BadRequest::TransferEncoding, 400));
    }
    if !encodings.is_empty() && !is_chunked {
        return Err(by_codec(BadRequest::TransferEncoding, 501));
    }
    Ok(())
}

/// The values of a header, each line apart.
pub(crate) fn of(message: &Message, wanted: &str) -> Vec<String> {
    message
        .headers
        .iter()
        .filter(|(name, _)| name == wanted)
        .map(|(_, value)| value.clone())
        .collect()
}

/// Host is one entry: repeated lines are joined with a comma.
fn take_authority(request: &Request, message: &mut Message) -> Option<String> {
    let host = unfolded(request).and_then(|(host, _)| host);
    let mut lines: Vec<String> = host
        .iter()
        .map(|authority| authority.replace('\r', ""))
        .map(|authority| authority.trim_matches([' ', '\t']).to_owned())
        .collect();
    message.headers.retain(|(name, value)| {
        let is_host = name == "host";
        if is_host {
            lines.push(value.clone());
        }
        !is_host
    });
    (!lines.is_empty()).then(|| join(&lines))
}

fn is_authority(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=@[]_~".contains(&byte))
}

fn check_in_connection_manager(message: &Message, has_authority: bool) -> Result<(), Refused> {
    let refuse = |why, status| {
        Err(Refused::Bad {
            why,
            status: message.local_reply_status(status),
            by_connection_manager: true,
        })
    };
    if !has_authority {
        return refuse(BadRequest::NoHost, 400);
    }
    if message.is_connect() {
        return Ok(());
    }
    if !message.path.starts_with('/') {
        return refuse(BadRequest::Target, 404);
    }
    if message.path.contains('#') {
        return refuse(BadRequest::Target, 400);
    }
    // Only what is empty is missing.
    let is_empty = |value: &String| value.is_empty();
    if message.method == "QUERY" && message.values("content-type").iter().all(is_empty) {
        return refuse(BadRequest::RequestLine, 400);
    }
    Ok(())
}

/// Whether the client may say another scheme than its connection has: not to a connection manager
/// at the edge (`use_remote_address` without trusted hops).
fn trusts_scheme(manager: &HttpConnectionManager) -> bool {
    let own = manager.use_remote_address.as_ref();
    !(own.is_some_and(|own| own.value) && manager.xff_num_trusted_hops == 0)
}

/// `:scheme` comes from an absolute target, else from x-forwarded-proto, else from the connection.
fn set_scheme(
    message: &mut Message,
    of_target: Option<String>,
    request: &Request,
    manager: &HttpConnectionManager,
) {
    let of_connection = if request.is_tls() { "https" } else { "http" };
    let forwarded = of(message, "x-forwarded-proto");
    message.forwarded_proto = if trusts_scheme(manager) && !forwarded.is_empty() {
        join(&forwarded)
    } else {
        of_connection.to_owned()
    };
    let lower = message.forwarded_proto.to_ascii_lowercase();
    message.scheme = match (of_target, lower.as_str()) {
        (Some(scheme), _) => scheme,
        (None, "http" | "https") => lower,
        (None, _) => of_connection.to_owned(),
    };
}
