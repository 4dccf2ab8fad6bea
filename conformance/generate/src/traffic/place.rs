//! Where a request comes from and goes to: what gets it to a listener, a filter chain and a virtual host.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;
use twinmesh_engine::Request;

use super::{list, text};
use crate::Tape;
use crate::listener::{PORTS, RANGES};
use crate::matcher::at;
use crate::texts::{around, flip};

/// What a virtual host looks at that requires TLS.
pub(super) fn secured(host: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    if host.get("require_tls").is_none() {
        return;
    }
    let mut add = |name: &str, values: &[&str]| {
        let value = tape.text(values);
        if value != "-" {
            request.headers.push((name.to_owned(), value));
        }
        tape.once_in(3)
    };
    let by_source = add("x-forwarded-proto", &["https", "-", "-", "http", "HTTPS"]);
    let said = [
        "10.0.0.5",
        "-",
        "-",
        "11.0.0.5",
        "fd00::1",
        "10.1.0.1, 10.0.0.5",
        " 10.1.0.1 ",
        "",
    ];
    add("x-forwarded-for", &said);
    if by_source {
        request.source = tape
            .text(&["10.1.0.9:7", "11.0.0.9:7", "[fd00::9]:7"])
            .parse()
            .ok();
    }
}

/// An address within one of the ranges, or right beside it.
pub(super) fn address(ranges: &[Value], tape: &mut Tape<'_>) -> IpAddr {
    let range = tape.pick(ranges);
    let base = match range.map(|range| text(range, &["address_prefix"])) {
        Some(base) if !tape.misses_once_in(4) => base,
        _ => tape.pick(RANGES).map_or("10.0.0.0", |(base, _)| base),
    };
    let mut step = tape.below(4);
    if tape.is_aimed() && range.is_some() {
        step = 0;
    }
    match base.parse() {
        Ok(IpAddr::V4(base)) => {
            let bits = match step {
                2 => base.to_bits().wrapping_sub(1),
                step => base.to_bits().wrapping_add(step as u32),
            };
            IpAddr::V4(bits.into())
        }
        Ok(IpAddr::V6(base)) => IpAddr::V6(base.to_bits().wrapping_add(step as u128).into()),
        Err(_) => IpAddr::V4([10, 0, 0, 1].into()),
    }
}

pub(super) fn connection(
    listener: &Value,
    chain: &Value,
    request: &mut Request,
    tape: &mut Tape<'_>,
) {
    let none = Value::Null;
    let matched = chain.get("filter_chain_match").unwrap_or(&none);
    let port = |port: Option<&Value>| {
        let port = port.and_then(Value::as_u64);
        port.and_then(|port| u16::try_from(port).ok()).unwrap_or(80)
    };
    let bound = port(at(listener, &["address", "socket_address", "port_value"]));
    if tape.is_aimed() || !tape.once_in(4) {
        request.listener = Some(text(listener, &["name"]).to_owned());
    }
    let asks = ["prefix_ranges", "destination_port"].map(|name| matched.get(name).is_some());
    // Where a listener is at any address, a destination that is not said is not known.
    let own = text(listener, &["address", "socket_address", "address"]).parse();
    let is_anywhere = own.as_ref().is_ok_and(IpAddr::is_unspecified);
    let is_said = match is_anywhere {
        true => !tape.once_in(16),
        false => tape.once_in(3),
    };
    if request.listener.is_none() || is_said || asks.contains(&true) {
        let mut to = matched
            .get("destination_port")
            .map_or(bound, |it| port(Some(it)));
        if tape.misses_once_in(6) {
            to = tape.pick(PORTS).map_or(to, |port| *port as u16);
        }
        let to_own = request.listener.is_none() && tape.below(3) != 0;
        let ip = match own {
            Ok(own) if to_own => own,
            _ => address(list(matched, "prefix_ranges"), tape),
        };
        request.destination = Some(SocketAddr::new(ip, to));
    }
    let sources = [
        list(matched, "source_prefix_ranges"),
        list(matched, "direct_source_prefix_ranges"),
    ]
    .concat();
    let kind = text(matched, &["source_type"]);
    let ports = list(matched, "source_ports");
    // A source that is not said leaves undecided what other filter chains ask of it.
    if !sources.is_empty() || !kind.is_empty() || !ports.is_empty() || !tape.once_in(10) {
        let choice = tape.below(8);
        let ip = match choice {
            _ if tape.is_aimed() && kind == "SAME_IP_OR_LOOPBACK" => IpAddr::from([127, 0, 0, 1]),
            _ if tape.is_aimed() => address(&sources, tape),
            6 => request
                .destination
                .map_or(IpAddr::from([127, 0, 0, 1]), |to| to.ip()),
            7 => IpAddr::from([127, 0, 0, 1]),
            _ => address(&sources, tape),
        };
        let mut port = [1000, 1001, 999][tape.below(3)];
        if let (true, Some(asked)) = (tape.is_aimed(), ports.first().and_then(Value::as_u64)) {
            port = asked as u16;
        }
        request.source = Some(SocketAddr::new(ip, port));
    }
    let name = tape
        .pick(list(matched, "server_names"))
        .and_then(Value::as_str);
    if let Some(name) = name.or(if tape.misses_once_in(8) {
        Some("*.a.com")
    } else {
        None
    }) {
        let name = name.replacen('*', &tape.text(&["x", "b", "x.b", ""]), 1);
        let choice = tape.below(5);
        request.sni = match choice {
            _ if tape.is_aimed() => Some(name),
            3 => Some(flip(&name)),
            4 => None,
            _ => Some(name),
        };
    }
    let protocols = list(matched, "application_protocols");
    if !protocols.is_empty() || tape.misses_once_in(8) {
        let given = tape.text(&["h2", "http/1.1", "h2,http/1.1", "http/1.1,h2", "h3"]);
        let asked = tape.pick(protocols).and_then(Value::as_str);
        request.alpn = Some(match asked {
            Some(asked) if tape.is_aimed() => asked.to_owned(),
            _ => given,
        });
    }
    let transport = text(matched, &["transport_protocol"]);
    if !transport.is_empty() || tape.misses_once_in(10) {
        let tls = tape.below(2) == 0;
        request.tls = Some(if tape.is_aimed() {
            transport == "tls"
        } else {
            tls
        });
    }
}

pub(super) fn authority(domain: &str, tape: &mut Tape<'_>) -> String {
    let mut host = match domain {
        "*" => tape.text(&[
            "other.com",
            "a.com",
            "b.a.com",
            "x.b.a.com",
            "a.org",
            "xa.com",
        ]),
        _ => domain.replacen(
            '*',
            &tape.text(&["b", "x.b", "80", "com", "x.", "a", ""]),
            1,
        ),
    };
    let choice = tape.below(12);
    if tape.is_aimed() {
        return host;
    }
    match choice {
        6 => host = flip(&host),
        7 => host.push_str(":80"),
        8 => host.push_str(":81"),
        9 => host.push('.'),
        10 => host = around(&host, tape),
        11 => host.push_str(&tape.text(&[":", ".:80", ":080", ":8080", ":0", "..", ":65536"])),
        _ => (),
    }
    host
}
