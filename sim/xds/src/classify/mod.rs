//! What each field of each message on a decision's way means to a decision. One table a message;
//! a field that is in no table is not decided, so a new one in Envoy's API is never passed over.
//!
//! There are five ways to take a field:
//!  - *decided*: the engines act as it says;
//!  - *inert*: what a decision says cannot depend on it at all (a timeout, a buffer's size, a name
//!    for statistics), and it is not worth a finding;
//!  - *read over*: it does something that no decision tells of (logging, retries), or
//!    that is decided as if it did not act (circuit breakers); reported;
//!  - *caution*: decisions are made without it, and an Envoy to which it applies may decide
//!    otherwise; reported;
//!  - *unsupported*: it could change the decision; what it stands in is not decided, and it is
//!    reported.

mod balancer;
mod bootstrap;
mod cluster;
mod connection_manager;
mod cors;
mod endpoint;
mod fault;
mod filter;
mod filter_chain;
mod header;
mod inspector;
mod listener;
mod local_rate_limit;
mod matcher_tree;
mod mutation;
mod per_filter;
mod rbac;
mod route;
mod subset;
mod tcp_proxy;
mod transport_socket;
mod upstream;

use std::borrow::Cow;

use crate::{view::View, wire::Raw};

pub(crate) use balancer::{
    CLIENT_SIDE_WEIGHTED, LEAST_REQUEST, MAGLEV, OVERRIDE_HOST, RANDOM, RING_HASH, ROUND_ROBIN,
    SUBSET, WRR_LOCALITY, is_known_balancer,
};
pub(crate) use connection_manager::MANAGER;
pub(crate) use filter::{ROUTER, UPSTREAM_CODEC, content_type, is_istio_inert};
pub(crate) use listener::{ORIGINAL_DST, PROXY_PROTOCOL};
pub(crate) use local_rate_limit::LOCAL_RATE_LIMIT;
pub(crate) use tcp_proxy::TCP_PROXY;

/// The fields of one message.
pub(crate) struct Table {
    /// Fully qualified name of the message.
    pub(crate) message: &'static str,
    /// All its fields, by name.
    pub(crate) fields: &'static [(&'static str, Rule)],
}

impl Table {
    /// What holds for the field of this name.
    pub(crate) fn rule(&self, name: &str) -> Option<&'static Rule> {
        self.fields
            .iter()
            .find(|(field, _)| *field == name)
            .map(|(_, rule)| rule)
    }
}

/// How a field is taken.
pub(crate) enum Rule {
    /// The engines act as it says; a message goes by its own table, or is a leaf.
    Decided,
    /// As [`Rule::Decided`], and what is unsupported inside stays inside: the snapshot has a
    /// place for it.
    Part,
    /// No decision depends on it.
    Inert,
    /// No decision tells of it; the sentence says why.
    ReadOver(&'static str),
    /// What it stands in is not decided; the sentence says what it is.
    Unsupported(&'static str),
    /// It depends on the value.
    Judge(fn(&Judged<'_>) -> Verdict),
}

/// What became of a field whose rule depends on its value.
pub(crate) enum Verdict {
    Decided,
    Inert,
    ReadOver(Cow<'static, str>),
    Unsupported(Cow<'static, str>),
    /// Decisions are made without it, and an Envoy to which it applies may decide otherwise.
    Caution(Cow<'static, str>),
}

/// A value to judge.
pub(crate) struct Judged<'j> {
    /// The message that it stands in.
    pub(crate) parent: &'j View<'j>,
    /// The value.
    pub(crate) raw: Raw<'j>,
    /// The value, where it is a message.
    pub(crate) child: Option<&'j View<'j>>,
    /// Its place in a repeated field.
    pub(crate) index: usize,
    /// What stands further out.
    pub(crate) context: &'j Context,
}

impl<'j> Judged<'j> {
    /// The value of a field that is a string.
    fn text(&self) -> &'j str {
        match self.raw {
            Raw::Bytes(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
            _ => "",
        }
    }

    /// The value of a field that is an integer, an enum or a bool, plain or wrapped.
    fn number(&self) -> u64 {
        match (self.raw, self.child) {
            (Raw::Varint(value), _) => value,
            (_, Some(child)) => child.number("value"),
            _ => 0,
        }
    }
}

/// What a verdict may depend on besides the message that a field stands in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    /// The cluster's balancer looks at the request's hash.
    pub(crate) by_hash: bool,
    /// The cluster has subsets.
    pub(crate) in_subsets: bool,
    /// Some cluster has subsets, which metadata of a request may choose.
    pub(crate) subsets: bool,
    /// Some listener may have a local rate limit filter.
    pub(crate) rate_limits: bool,
    /// Connections may come with a PROXY header, whose sender a request does not say.
    pub(crate) proxied: bool,
    /// Connections come to a pipe or from inside, and nothing gives them addresses.
    pub(crate) without_addresses: bool,
    /// An Envoy wrote the form: its build knows what is in it.
    pub(crate) dumped: bool,
    /// A listener's `filter_chain_matcher` chooses the filter chain, whatever chains ask for.
    pub(crate) by_tree: bool,
}

/// The table of a message, where it has one.
pub(crate) fn table(message: &str) -> Option<&'static Table> {
    tables().find(|table| table.message == message)
}

fn tables() -> impl Iterator<Item = &'static Table> {
    [
        route::TABLES,
        header::TABLES,
        listener::TABLES,
        filter_chain::TABLES,
        connection_manager::TABLES,
        tcp_proxy::TABLES,
        filter::TABLES,
        fault::TABLES,
        cors::TABLES,
        local_rate_limit::TABLES,
        matcher_tree::TABLES,
        mutation::TABLES,
        per_filter::TABLES,
        rbac::TABLES,
        cluster::TABLES,
        balancer::TABLES,
        subset::TABLES,
        endpoint::TABLES,
        bootstrap::TABLES,
    ]
    .into_iter()
    .flatten()
}

/// Stands in for the table of an Any's content, whose type is known only when it is opened.
pub(crate) static ANY: Table = Table {
    message: "google.protobuf.Any",
    fields: &[],
};

/// A bool, plain or wrapped, that is decided only where it is false.
fn unless_set(judged: &Judged<'_>, what: &'static str) -> Verdict {
    if judged.number() == 0 {
        Verdict::Inert
    } else {
        Verdict::Unsupported(what.into())
    }
}

/// What asks for the connection's own peer, where that may be a proxy.
fn direct_peer(judged: &Judged<'_>) -> Verdict {
    match judged.context.proxied {
        true => Verdict::Unsupported(
            "it asks for the peer that sends the PROXY header, which a request does not say".into(),
        ),
        false => Verdict::Decided,
    }
}

const STATISTICS: Rule = Rule::Inert;
const TIMING: Rule = Rule::Inert;
/// A timeout that decisions may tell of: of requests that filters delay, or of a header that goes by it.
const HEEDED: Rule = Rule::Judge(|_| Verdict::Inert);
const METADATA: Rule = Rule::Inert;
const ACCESS_LOG: Rule = Rule::ReadOver("access logs are not written here");
const TRACING: Rule = Rule::ReadOver("tracing does not influence a decision");
const RETRIES: Rule = Rule::ReadOver(
    "retries are played only where endpoints follow a script (--endpoints): else a decision is the first attempt",
);
const RATE_LIMITS: Rule = Rule::Judge(local_rate_limit::of_routes);

#[cfg(test)]
mod tests {
    use super::{Rule, tables};
    use crate::schema::{Special, schema};

    /// Messages that are decided as a whole, without a table of their own.
    const LEAVES: [&str; 8] = [
        "envoy.config.core.v3.Locality",
        "envoy.config.core.v3.Metadata",
        "envoy.config.core.v3.RuntimeDouble",
        "envoy.config.core.v3.RuntimeFractionalPercent",
        "envoy.type.v3.FractionalPercent",
        "envoy.type.v3.Int32Range",
        "envoy.type.v3.Int64Range",
        "envoy.type.v3.Percent",
    ];

    #[test]
    fn every_table_names_every_field_of_its_message() {
        let mut checked = 0;
        for table in tables() {
            let message = schema()
                .message(table.message)
                .unwrap_or_else(|| panic!("{} is in the schema", table.message));
            for field in &message.fields {
                assert!(
                    table.rule(&field.name).is_some(),
                    "{}.{} has no rule",
                    table.message,
                    field.name
                );
                checked += 1;
            }
            for (name, _) in table.fields {
                let is_field = message.fields.iter().any(|field| field.name == *name);
                assert!(is_field, "{} has no field {name}", table.message);
                let same = table.fields.iter().filter(|(other, _)| other == name);
                assert_eq!(same.count(), 1, "{}.{name}", table.message);
            }
        }
        assert!(checked > 200);
    }

    #[test]
    fn every_decided_message_has_a_table_or_is_a_leaf() {
        for table in tables() {
            let message = schema().message(table.message).expect("in the schema");
            for field in &message.fields {
                let Some(Rule::Decided | Rule::Part) = table.rule(&field.name) else {
                    continue;
                };
                let Some(child) = field.message() else {
                    continue;
                };
                let known = super::table(&child.name).is_some()
                    || child.special != Special::No
                    || LEAVES.contains(&child.name.as_str())
                    || child.fields.is_empty();
                assert!(known, "{}.{}: {}", table.message, field.name, child.name);
            }
        }
    }
}
