//! A decision from top to bottom: connection, head, virtual host, route, cluster, endpoint.

use crate::{
    Machine, Span, connect, filter_chain_matcher,
    head::HEADERS,
    http_filter,
    layout::{
        RECORD, bad_request, cluster, connection, filter_chain, framing, header, high, input,
        listener, low, more, outcome, pair, route, route_configuration, slot, unsupported,
        virtual_host, work,
    },
    matcher_tree, network_rbac, require_tls,
    route::NONE,
    target, upgrade, userspace,
};

/// `max_request_headers_kb` by default, in bytes.
const HEAD_BYTES: u64 = 60 << 10;

/// Decides one request; the work area holds the answer ([`work::OUTCOME`] and what follows).
#[inline(always)]
pub fn decide<M: Machine>(machine: &mut M) {
    let mut index = 0;
    while index < work::LEFT {
        machine.set_word(work::OUTCOME + index, 0);
        index += 1;
    }
    if M::FILTERS {
        http_filter::begin(machine);
    }
    let chain = if machine.word(work::ROUTE_CONFIGURATION) == 0 {
        let chain = machine.connection();
        if chain == 0 {
            return;
        }
        chain
    } else {
        0
    };
    if chain != 0
        && low(machine.policy64(chain.wrapping_add(filter_chain::KIND))) == filter_chain::TCP
    {
        let action = low(machine.policy64(chain.wrapping_add(filter_chain::TARGET)));
        let first = M::FILTERS && network_rbac::comes_first(machine, chain);
        if first && network_rbac::stops(machine, chain) {
            return;
        }
        machine.action(action);
        let sent = [outcome::FORWARD, outcome::FORWARD_TO_DESTINATION];
        if M::FILTERS && !first && sent.contains(&machine.word(work::OUTCOME)) {
            network_rbac::stops(machine, chain);
        }
        return;
    }
    if M::FILTERS && chain != 0 && network_rbac::stops(machine, chain) {
        return;
    }
    let limits = limits(machine, chain);
    let refused = if machine.word(work::HEAD_LENGTH) > limits {
        // Line ends before the request line do not count.
        let first = machine.input8(input::HEAD);
        if first == b'\r' as u64 || first == b'\n' as u64 {
            unsupported::HEAD_TOO_LARGE << 32
        } else {
            bad_request::TOO_LARGE
        }
    } else {
        machine.head()
    };
    if refused != 0 {
        refuse(machine, chain, refused);
        return;
    }
    let host = machine.request();
    if host == 0 {
        if M::FILTERS && machine.word(work::OUTCOME) == outcome::NO_VIRTUAL_HOST {
            http_filter::run(machine, 0);
        }
        return;
    }
    let index = machine.policy64(host.wrapping_add(virtual_host::INDEX));
    if high(index) & virtual_host::QUERY != 0 && machine.query_parameters() != 0 {
        end(machine, outcome::UNSUPPORTED, unsupported::TOO_MANY_VALUES);
        return;
    }
    let number = if M::USERSPACE && high(index) & virtual_host::TREE != 0 {
        matcher_tree::route(machine, host)
    } else if connect::asks(machine) {
        connect::route(machine, host)
    } else {
        machine.route(host)
    };
    if number >= NONE {
        if number == NONE {
            if !M::FILTERS || http_filter::run(machine, 0) {
                end(machine, outcome::NO_ROUTE, 0);
            }
        } else {
            end(machine, outcome::UNSUPPORTED, unsupported::TOO_MANY_VALUES);
        }
        return;
    }
    machine.set_word(work::CHOSEN_ROUTE, number.wrapping_add(1));
    let routes = low(machine.policy64(header::ROUTES));
    machine.action(routes.wrapping_add(number.wrapping_mul(RECORD)));
}

/// Leaves an outcome.
#[inline(always)]
pub fn end<M: Machine>(machine: &mut M, outcome: u64, reason: u64) {
    machine.set_word(work::OUTCOME, outcome);
    machine.set_word(work::REASON, reason);
}

/// Leaves `unsupported` where the record names a reason.
#[inline(always)]
fn undecided<M: Machine>(machine: &mut M, reason: u64) -> bool {
    if reason != 0 {
        end(machine, outcome::UNSUPPORTED, reason);
    }
    reason != 0
}

/// Listener and filter chain. The filter chain's offset, or 0 where the decision ends here.
#[inline(always)]
pub fn connection<M: Machine>(machine: &mut M) -> u64 {
    let found = machine.listener();
    if found == 0 {
        end(machine, outcome::NO_LISTENER, 0);
        return 0;
    }
    machine.set_word(work::CHOSEN_LISTENER, found);
    let reason = low(machine.policy64(found.wrapping_add(listener::REASON)));
    let chain = if M::FILTERS && reason == unsupported::FILTER_CHAIN_MATCHER {
        filter_chain_matcher::choose(machine, found)
    } else {
        if undecided(machine, reason) {
            return 0;
        }
        crate::filter_chain::choose(machine, found)
    };
    if chain == 0 {
        return 0;
    }
    machine.set_word(work::CHOSEN_FILTER_CHAIN, chain);
    let reason = low(machine.policy64(chain.wrapping_add(filter_chain::REASON)));
    if M::FILTERS && reason == unsupported::FILTERS {
        let filters = low(machine.policy64(chain.wrapping_add(filter_chain::FILTERS)));
        machine.set_word(work::FILTERS, filters);
        return chain;
    }
    if undecided(machine, reason) {
        return 0;
    }
    chain
}

/// Reads what the connection manager allows; the largest head in bytes.
#[inline(always)]
fn limits<M: Machine>(machine: &mut M, chain: u64) -> u64 {
    if chain == 0 {
        machine.set_word(work::FLAGS, 0);
        machine.set_word(work::HEADERS_MAX, HEADERS);
        return HEAD_BYTES;
    }
    let kind = machine.policy64(chain.wrapping_add(filter_chain::KIND));
    let target = machine.policy64(chain.wrapping_add(filter_chain::TARGET));
    machine.set_word(work::FLAGS, high(kind));
    machine.set_word(work::HEADERS_MAX, high(target) >> 16);
    (high(target) & 0xffff) << 10
}

/// Leaves the outcome of a head that is not routed.
#[inline(always)]
fn refuse<M: Machine>(machine: &mut M, chain: u64, refused: u64) {
    if high(refused) != 0 {
        end(machine, outcome::UNSUPPORTED, high(refused));
        return;
    }
    if refused > bad_request::BY_CODEC {
        // The connection manager refuses it, which has a route configuration.
        let configuration = if chain == 0 {
            machine.word(work::ROUTE_CONFIGURATION)
        } else {
            low(machine.policy64(chain.wrapping_add(filter_chain::TARGET)))
        };
        machine.set_word(work::CHOSEN_ROUTE_CONFIGURATION, configuration);
    }
    end(machine, outcome::BAD_REQUEST, refused);
}

/// The host as the connection manager's options leave it. 0, or 1 where that is no stretch of the
/// input.
#[inline(always)]
pub fn strip_host<M: Machine>(machine: &mut M) -> u64 {
    let flags = machine.word(work::FLAGS);
    let given = Span(machine.word(work::HOST));
    let dot = if flags & filter_chain::STRIP_TRAILING_DOT != 0 {
        machine.last_dot(given)
    } else {
        given.length()
    };
    // A dot at the end goes before the port is looked for.
    let ends_in_dot = dot.wrapping_add(1) == given.length();
    let host = if ends_in_dot {
        Span::new(given.offset(), dot)
    } else {
        given
    };
    let without = Span(machine.without_port(host));
    let has_port = without.length() != host.length();
    let strips = has_port
        && if flags & filter_chain::STRIP_ANY_PORT != 0 {
            target::port(machine, host, without) < 1 << 32
        } else {
            flags & filter_chain::STRIP_MATCHING_PORT != 0
                && target::port(machine, host, without) == target::destination_port(machine)
        };
    let mut stripped = if strips { without } else { host };
    let after_dot = given.offset().wrapping_add(dot).wrapping_add(1);
    if !ends_in_dot && dot < given.length() && machine.input8(after_dot) == b':' as u64 {
        // One before a colon goes too: out of the middle, unless the port goes with it.
        if !strips || dot.wrapping_add(1) != without.length() {
            return 1;
        }
        stripped = Span::new(given.offset(), dot);
    }
    machine.set_word(work::HOST, stripped.0);
    0
}

/// The virtual host, or 0 where the decision ends here.
#[inline(always)]
pub fn request<M: Machine>(machine: &mut M) -> u64 {
    let chain = machine.word(work::CHOSEN_FILTER_CHAIN);
    let mut configuration = machine.word(work::ROUTE_CONFIGURATION);
    if chain != 0 {
        let kind = machine.policy64(chain.wrapping_add(filter_chain::KIND));
        let normal = high(machine.policy64(chain.wrapping_add(filter_chain::REASON)));
        configuration = low(machine.policy64(chain.wrapping_add(filter_chain::TARGET)));
        if high(kind) & filter_chain::STRIP != 0 && machine.strip_host() != 0 {
            end(machine, outcome::UNSUPPORTED, unsupported::HEADER_REWRITTEN);
            return 0;
        }
        if high(kind) & filter_chain::UNUSUAL_OPTIONS != 0
            && machine.word(work::FRAMING) & (framing::ABSOLUTE | framing::TRANSFER_ENCODING) != 0
        {
            end(machine, outcome::UNSUPPORTED, unsupported::TARGET_FORM);
            return 0;
        }
        if normal != 0 && machine.word(work::CONNECTION) & connection::MANAGED == 0 {
            let path = Span(machine.word(work::PATH));
            if machine.regex(normal, path) == 0 {
                end(machine, outcome::UNSUPPORTED, unsupported::PATH_NOT_NORMAL);
                return 0;
            }
        }
    }
    if pseudo_headers_if_any(machine) != 0 {
        end(machine, outcome::UNSUPPORTED, unsupported::TOO_MANY_VALUES);
        return 0;
    }
    machine.set_word(work::CHOSEN_ROUTE_CONFIGURATION, configuration);
    let reason = low(machine.policy64(configuration.wrapping_add(route_configuration::REASON)));
    if undecided(machine, reason) {
        return 0;
    }
    let host = machine.virtual_host(configuration);
    if host == 0 {
        end(machine, outcome::NO_VIRTUAL_HOST, 0);
        return 0;
    }
    machine.set_word(work::CHOSEN_VIRTUAL_HOST, host);
    let reason = low(machine.policy64(host.wrapping_add(virtual_host::REASON)));
    if M::USERSPACE && reason == unsupported::USERSPACE {
        return if require_tls::passes(machine, chain, host) {
            host
        } else {
            0
        };
    }
    if undecided(machine, reason) {
        return 0;
    }
    host
}

/// Fills a slot that some route refers to. 0, or 1 where there is no room.
#[inline(always)]
fn fill<M: Machine>(machine: &mut M, slot: u64, span: Span) -> u64 {
    let table = high(machine.policy64(header::QUERY_PARAMETERS));
    if high(machine.policy64(table.wrapping_add(slot * slot::RECORD))) == 0 {
        return 0;
    }
    machine.add(slot, span)
}

/// [`pseudo_headers`], or what is left of it where neither routes nor the request have any.
#[inline(always)]
fn pseudo_headers_if_any<M: Machine>(machine: &mut M) -> u64 {
    let said = machine.word(work::FRAMING) & (framing::FORWARDED_PROTO | framing::ABSOLUTE);
    if said != 0 || machine.policy64(header::PSEUDO_HEADERS) != 0 {
        return machine.pseudo_headers();
    }
    let scheme = connection_scheme(machine);
    machine.set_word(work::SCHEME, scheme.0);
    0
}

/// The scheme that the connection itself says.
#[inline(always)]
pub fn connection_scheme<M: Machine>(machine: &M) -> Span {
    if machine.word(work::CONNECTION) & connection::TLS != 0 {
        Span::new(input::HTTPS, 5)
    } else {
        Span::new(input::HTTP, 4)
    }
}

/// Fills the slots of x-forwarded-proto, `:authority`, `:method`, `:path` and `:scheme`. 0, or 1
/// where there is no room.
#[inline(always)]
pub fn pseudo_headers<M: Machine>(machine: &mut M) -> u64 {
    let own = connection_scheme(machine);
    let bits = machine.word(work::FRAMING);
    let mut forwarded = own;
    let mut scheme = own;
    if bits & framing::FORWARDED_PROTO != 0
        && machine.word(work::FLAGS) & filter_chain::OWN_FORWARDED_PROTO == 0
    {
        forwarded = Span(machine.word(work::FORWARDED_PROTO));
        let text = crate::bytes::keep(
            crate::bytes::lower(machine.input64(forwarded.offset())),
            forwarded.length(),
        );
        if text == u64::from_le_bytes(*b"http\0\0\0\0") && forwarded.length() == 4 {
            scheme = Span::new(input::HTTP, 4);
        }
        if text == u64::from_le_bytes(*b"https\0\0\0") && forwarded.length() == 5 {
            scheme = Span::new(input::HTTPS, 5);
        }
    }
    if bits & framing::ABSOLUTE != 0 {
        scheme = if bits & framing::HTTPS != 0 {
            Span::new(input::HTTPS, 5)
        } else {
            Span::new(input::HTTP, 4)
        };
    }
    machine.set_word(work::SCHEME, scheme.0);
    let host = Span(machine.word(work::HOST));
    let method = Span(machine.word(work::METHOD));
    let target = Span(machine.word(work::TARGET));
    let path = Span(machine.word(work::PATH));
    let full = fill(machine, slot::FORWARDED_PROTO, forwarded)
        | fill(machine, slot::AUTHORITY, host)
        | fill(machine, slot::METHOD, method)
        | fill(machine, slot::SCHEME, scheme);
    if connect::asks(machine) {
        return full;
    }
    full | fill(machine, slot::PATH, target) | fill(machine, slot::PATH_WITHOUT_QUERY, path)
}

/// What a route does with the request. 0.
#[inline(always)]
pub fn action<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let mut action = machine.policy64(record.wrapping_add(route::ACTION));
    if M::USERSPACE {
        let more = high(machine.policy64(record.wrapping_add(route::FORWARDING)));
        machine.set_word(work::MORE, more);
        if action == pair(route::UNSUPPORTED, unsupported::USERSPACE) {
            action = machine.policy64(more.wrapping_add(more::ACTION));
        }
    }
    let kind = low(action);
    let chosen = if kind == route::CLUSTER {
        high(action)
    } else if kind == route::WEIGHTED_CLUSTERS {
        let chosen = machine.weighted_cluster(high(action));
        if M::USERSPACE && chosen == 0 {
            return 0;
        }
        chosen
    } else {
        if kind != route::UNSUPPORTED && answers_before(machine, 0) {
            return 0;
        }
        let outcome = if kind == route::REDIRECT {
            outcome::REDIRECT
        } else if kind == route::DIRECT_RESPONSE {
            outcome::DIRECT_RESPONSE
        } else {
            outcome::UNSUPPORTED
        };
        end(machine, outcome, high(action));
        return 0;
    };
    if answers_before(machine, chosen) {
        return 0;
    }
    machine.cluster(chosen)
}

/// Whether something answers before the route acts: the refusal of an upgrade, or an HTTP filter. The
/// outcome is then left. `cluster` is the record of the cluster that the route chose, or 0.
#[inline(always)]
pub fn answers_before<M: Machine>(machine: &mut M, cluster: u64) -> bool {
    (M::USERSPACE && upgrade::stops(machine)) || (M::FILTERS && !http_filter::run(machine, cluster))
}

/// The endpoint of a cluster. 0.
#[inline(always)]
pub fn cluster<M: Machine>(machine: &mut M, record: u64) -> u64 {
    machine.set_word(work::CHOSEN_CLUSTER, record);
    let kind = machine.policy64(record.wrapping_add(cluster::KIND));
    if M::USERSPACE && kind == pair(cluster::UNSUPPORTED, unsupported::USERSPACE) {
        return userspace::cluster(machine, record);
    }
    let outcome = if low(kind) == cluster::MISSING {
        outcome::NO_CLUSTER
    } else if low(kind) == cluster::UNSUPPORTED {
        outcome::UNSUPPORTED
    } else if low(kind) == cluster::ORIGINAL_DESTINATION {
        outcome::FORWARD_TO_DESTINATION
    } else if machine.endpoint(record) == 0 {
        outcome::NO_HEALTHY_UPSTREAM
    } else {
        outcome::FORWARD
    };
    end(machine, outcome, high(kind));
    0
}
