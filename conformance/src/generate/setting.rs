//! What has a policy of RBAC match a request, or keeps it from that.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, permission::Rule, principal::Identifier,
};
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{PathMatcher, StringMatcher, path_matcher};
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use twinmesh_spec::reading::Matchers;

use super::connections::{boundaries, inside};
use super::draft::Dimension;
use super::probes;
use super::wish::{self, Asked, Wish};
use crate::matcher_tree::walk;

/// How many alternatives of one condition are told.
const MOST: usize = 12;
/// Addresses of networks for documentation (RFC 5737, RFC 3849).
const ELSEWHERE: [&str; 3] = ["203.0.113.9", "198.51.100.9", "2001:db8::9"];

/// One thing about a request or its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setting {
    Part(Dimension, Vec<String>),
    Source(IpAddr),
    SourcePort(u16),
    Destination(IpAddr),
    DestinationPort(u16),
    /// Of a TLS connection.
    ServerName(String),
    InTheClear,
}

impl Setting {
    /// Whether both set the same thing.
    fn is_about_what(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Part(one, _), Self::Part(other, _)) => one == other,
            (Self::ServerName(_) | Self::InTheClear, Self::ServerName(_) | Self::InTheClear) => {
                true
            }
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// Settings that are made together; of two about the same thing the later one counts.
pub(crate) type Settings = Vec<Setting>;

/// Tells how policies are made to match.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampler<'a> {
    pub(crate) matchers: &'a Matchers,
    /// The path of the request to which the settings are for.
    pub(crate) path: &'a str,
}

impl Sampler<'_> {
    /// Ways to have the policy match, or not.
    pub(crate) fn policy(self, policy: &Policy, holds: bool) -> Vec<Settings> {
        let permissions = some(&policy.permissions, holds, |it, holds| {
            self.permission(it, holds)
        });
        let principals = some(&policy.principals, holds, |it, holds| {
            self.principal(it, holds)
        });
        if holds {
            together(vec![permissions, principals])
        } else {
            [permissions, principals].concat()
        }
    }

    /// Ways to the actions of a tree that fit, by their places.
    pub(crate) fn actions(self, matcher: &Matcher, fits: impl Fn(usize) -> bool) -> Vec<Settings> {
        let mut place = 0;
        let mut all = Vec::new();
        walk(matcher, &mut |way, action| {
            if action.is_none() {
                return;
            }
            if fits(place) {
                let ways = wish::of_way(way).into_iter().take(MOST);
                all.extend(ways.map(|wishes| wishes.into_iter().flat_map(granted).collect()));
            }
            place += 1;
        });
        // Where nothing is asked for, or something has to fail on the way.
        all.extend(self.beside(matcher));
        all
    }

    /// Ways to have what a tree asks for fail: all of it at once, then one part after the other.
    fn beside(self, matcher: &Matcher) -> Vec<Settings> {
        let asked = wish::asked(matcher);
        let beside: Vec<Settings> = asked.iter().map(refused).collect();
        let all = beside.concat();
        std::iter::once(all).chain(beside).take(2 * MOST).collect()
    }

    fn permission(self, permission: &Permission, holds: bool) -> Vec<Settings> {
        match &permission.rule {
            Some(Rule::Any(_)) => always(holds),
            Some(Rule::AndRules(set)) => {
                every(&set.rules, holds, |it, holds| self.permission(it, holds))
            }
            Some(Rule::OrRules(set)) => {
                some(&set.rules, holds, |it, holds| self.permission(it, holds))
            }
            Some(Rule::NotRule(rule)) => self.permission(rule, !holds),
            Some(Rule::Header(matcher)) => self.header(matcher, holds),
            Some(Rule::UrlPath(matcher)) => self.path(matcher, holds),
            Some(Rule::DestinationIp(range)) => {
                let addresses = addresses(range, holds).into_iter();
                addresses.map(|ip| vec![Setting::Destination(ip)]).collect()
            }
            Some(Rule::DestinationPort(port)) => {
                let port = u16::try_from(*port).unwrap_or(u16::MAX);
                let port = if holds { port } else { port.wrapping_add(1) };
                vec![vec![Setting::DestinationPort(port)]]
            }
            Some(Rule::DestinationPortRange(range)) => {
                let port = if holds { range.start } else { range.end };
                let port = u16::try_from(port).unwrap_or(u16::MAX);
                vec![vec![Setting::DestinationPort(port)]]
            }
            Some(Rule::RequestedServerName(matcher)) => self.server_name(matcher, holds),
            _ => Vec::new(),
        }
    }

    #[expect(deprecated, reason = "snapshots have `source_ip`")]
    fn principal(self, principal: &Principal, holds: bool) -> Vec<Settings> {
        match &principal.identifier {
            Some(Identifier::Any(_)) => always(holds),
            Some(Identifier::AndIds(set)) => {
                every(&set.ids, holds, |it, holds| self.principal(it, holds))
            }
            Some(Identifier::OrIds(set)) => {
                some(&set.ids, holds, |it, holds| self.principal(it, holds))
            }
            Some(Identifier::NotId(id)) => self.principal(id, !holds),
            Some(Identifier::Header(matcher)) => self.header(matcher, holds),
            Some(Identifier::UrlPath(matcher)) => self.path(matcher, holds),
            Some(Identifier::SourceIp(range) | Identifier::DirectRemoteIp(range)) => {
                let addresses = addresses(range, holds).into_iter();
                addresses.map(|ip| vec![Setting::Source(ip)]).collect()
            }
            Some(Identifier::RemoteIp(range)) => addresses(range, holds)
                .into_iter()
                .flat_map(client)
                .collect(),
            // Who the peer of a TLS connection is, is not decided.
            Some(Identifier::Authenticated(_)) if !holds => {
                vec![Vec::new(), vec![Setting::InTheClear]]
            }
            _ => Vec::new(),
        }
    }

    fn header(self, matcher: &HeaderMatcher, holds: bool) -> Vec<Settings> {
        let Some(dimension) = Dimension::of_header(&matcher.name) else {
            return vec![Vec::new()];
        };
        let is_path = dimension == Dimension::Path;
        let probes = probes::header(matcher).into_iter();
        let values = probes.map(|probe| probe.values).filter(|values| {
            let fits = !is_path || values.iter().all(|path| path.starts_with('/'));
            fits && self.matchers.header(matcher, values) == holds
        });
        let settings = values.map(|values| vec![Setting::Part(dimension.clone(), values)]);
        settings.take(MOST).collect()
    }

    fn path(self, matcher: &PathMatcher, holds: bool) -> Vec<Settings> {
        let Some(path_matcher::Rule::Path(string)) = &matcher.rule else {
            return Vec::new();
        };
        let matcher = as_header(":path", string);
        let base = self.path.trim_end_matches('/');
        let mut paths = vec![self.path.to_owned()];
        let texts = probes::header(&matcher)
            .into_iter()
            .flat_map(|it| it.values);
        for text in texts.chain([String::new(), "elsewhere".to_owned()]) {
            if text.starts_with('/') {
                paths.push(text.clone());
            }
            let text = text.trim_start_matches('/');
            paths.extend([
                format!("/{text}"),
                format!("{base}/{text}"),
                format!("{base}{text}"),
            ]);
        }
        paths.retain(|path| probes::is_a_path(path));
        let mut settings: Vec<Settings> = Vec::new();
        for path in paths {
            let fits = self.matchers.header(&matcher, std::slice::from_ref(&path)) == holds;
            let setting = vec![Setting::Part(Dimension::Path, vec![path])];
            if fits && !settings.contains(&setting) {
                settings.push(setting);
            }
        }
        // Those below the path that the request has stay the likeliest in its route.
        settings.sort_by_key(|settings| match settings.first() {
            Some(Setting::Part(_, values)) => !values.iter().any(|it| it.starts_with(self.path)),
            _ => true,
        });
        settings.truncate(MOST);
        settings
    }

    fn server_name(self, matcher: &StringMatcher, holds: bool) -> Vec<Settings> {
        let matcher = as_header("name", matcher);
        let fits = |name: &str| self.matchers.header(&matcher, &[name.to_owned()]) == holds;
        let probes = probes::header(&matcher).into_iter();
        let names = probes
            .flat_map(|probe| probe.values)
            .map(|it| it.to_ascii_lowercase());
        let names = names.chain(["nobody.invalid".to_owned()]);
        let names = names.filter(|name| !name.is_empty() && fits(name));
        let mut settings: Vec<Settings> = names
            .map(|name| vec![Setting::ServerName(name)])
            .take(MOST)
            .collect();
        if fits("") {
            settings.insert(0, vec![Setting::InTheClear]);
        }
        settings
    }
}

/// A matcher of a header, to ask for a text.
fn as_header(name: &str, string: &StringMatcher) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(string.clone())),
        ..HeaderMatcher::default()
    }
}

fn always(holds: bool) -> Vec<Settings> {
    if holds { vec![Vec::new()] } else { Vec::new() }
}

/// One of them is to hold, or none.
fn some<T>(of: &[T], holds: bool, ways: impl Fn(&T, bool) -> Vec<Settings>) -> Vec<Settings> {
    let all = of.iter().map(|it| ways(it, holds));
    if holds {
        all.flat_map(|ways| ways.into_iter().take(MOST)).collect()
    } else {
        together(all.collect())
    }
}

/// All of them are to hold, or one is not.
fn every<T>(of: &[T], holds: bool, ways: impl Fn(&T, bool) -> Vec<Settings>) -> Vec<Settings> {
    some(of, !holds, |it, not| ways(it, !not))
}

/// One way of each.
fn together(all: Vec<Vec<Settings>>) -> Vec<Settings> {
    let mut out = vec![Vec::new()];
    for ways in all {
        let mut next: Vec<Settings> = Vec::new();
        for (one, other) in out
            .iter()
            .flat_map(|one| ways.iter().map(move |it| (one, it)))
        {
            next.push([one.as_slice(), other].concat());
            if one
                .iter()
                .any(|it| other.iter().any(|other| it.is_about_what(other)))
            {
                next.push([other.as_slice(), one].concat());
            }
            if next.len() >= 2 * MOST {
                break;
            }
        }
        out = next;
    }
    out
}

/// Addresses in the range, or beside it.
fn addresses(range: &CidrRange, holds: bool) -> Vec<IpAddr> {
    let ends = boundaries(range).into_iter();
    let (within, beyond): (Vec<_>, Vec<_>) =
        ends.partition(|(label, _)| label.starts_with("the first") || label.contains("last"));
    let elsewhere = ELSEWHERE.iter().filter_map(|text| text.parse().ok());
    if holds {
        let within = within.into_iter().map(|(_, ip)| ip);
        return inside(range).into_iter().chain(within).collect();
    }
    let Ok(own) = range.address_prefix.parse::<IpAddr>() else {
        return Vec::new();
    };
    let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
    let is_of_family = |ip: &IpAddr| ip.is_ipv4() == own.is_ipv4();
    let elsewhere = elsewhere.filter(|ip| !is_of_family(ip) || length > 0);
    beyond
        .into_iter()
        .map(|(_, ip)| ip)
        .chain(elsewhere)
        .collect()
}

/// Ways to have a connection manager take this for the client.
fn client(ip: IpAddr) -> [Settings; 2] {
    let name = Dimension::Header("x-forwarded-for".to_owned());
    [
        vec![Setting::Source(ip)],
        vec![Setting::Part(name, vec![ip.to_string()])],
    ]
}

/// What has an input say something else.
fn refused((input, asked): &Wish) -> Settings {
    if let Some(name) = &input.header {
        let dimension = Dimension::of_header(name).into_iter();
        let value = match asked {
            Asked::Text(text) => format!("{text}~"),
            Asked::Range(_) => "~".to_owned(),
        };
        return dimension
            .map(|dimension| Setting::Part(dimension, vec![value.clone()]))
            .collect();
    }
    let ip = match asked {
        Asked::Text(text) => ELSEWHERE.iter().find(|it| *it != text),
        Asked::Range(range) => {
            let is_v4 = range.address_prefix.contains('.');
            ELSEWHERE.iter().find(|it| it.contains('.') == is_v4)
        }
    };
    let ip = || ip.and_then(|ip| ip.parse::<IpAddr>().ok());
    let port = match asked {
        Asked::Text(text) => text.parse::<u16>().map_or(1, |port| port.wrapping_add(1)),
        Asked::Range(_) => 1,
    };
    let setting = match input.kind.as_str() {
        "DestinationIPInput" => ip().map(Setting::Destination),
        "DestinationPortInput" => Some(Setting::DestinationPort(port)),
        "SourceIPInput" | "DirectSourceIPInput" => ip().map(Setting::Source),
        "SourcePortInput" => Some(Setting::SourcePort(port)),
        "ServerNameInput" => Some(Setting::ServerName("nobody.invalid".to_owned())),
        _ => None,
    };
    setting.into_iter().collect()
}

/// What has an input say this.
fn granted((input, asked): Wish) -> Settings {
    let text = match asked {
        Asked::Text(text) => text,
        Asked::Range(range) => inside(&range).map_or_else(String::new, |ip| ip.to_string()),
    };
    if let Some(name) = &input.header {
        let dimension = Dimension::of_header(name).into_iter();
        return dimension
            .map(|dimension| Setting::Part(dimension, vec![text.clone()]))
            .collect();
    }
    let ip = || text.parse::<IpAddr>().ok();
    let port = || text.parse::<u16>().ok();
    let setting = match input.kind.as_str() {
        "DestinationIPInput" => ip().map(Setting::Destination),
        "DestinationPortInput" => port().map(Setting::DestinationPort),
        "SourceIPInput" | "DirectSourceIPInput" => ip().map(Setting::Source),
        "SourcePortInput" => port().map(Setting::SourcePort),
        "ServerNameInput" => Some(Setting::ServerName(text)),
        _ => None,
    };
    setting.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::reach::{Filter, Judging, PolicyOf, judging};

    /// The ways to have a policy of these conditions match, or not.
    fn ways(permission: Value, principal: Value, holds: bool) -> Vec<String> {
        let kind = "type.googleapis.com/envoy.extensions.filters";
        let rbac = json!({"@type": format!("{kind}.http.rbac.v3.RBAC"),
            "rules": {"policies": {"p": {"permissions": [permission], "principals": [principal]}}}});
        let manager = json!({
            "@type": format!("{kind}.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "x", "route_config": {"name": "r"}, "http_filters": [
                {"name": "rbac", "typed_config": rbac},
                {"name": "router", "typed_config": {"@type": format!("{kind}.http.router.v3.Router")}}]});
        let listener = json!({"name": "l",
            "address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}]});
        let text = json!({"static_resources": {"listeners": [listener]}}).to_string();
        let options = twinmesh_xds::ReadOptions::default();
        let snapshot =
            twinmesh_xds::read_bytes("s.json", text.as_bytes(), &options).expect("Envoy takes it");
        let at = Filter {
            listener: 0,
            chain: Some(0),
            filter: 0,
        };
        let Some(Judging::Rules(rules)) = judging(&snapshot, PolicyOf::Http(at)) else {
            panic!("there are rules");
        };
        let matchers = Matchers::of(&snapshot).expect("there are no regexes");
        let sampler = Sampler {
            matchers: &matchers,
            path: "/api",
        };
        let ways = sampler.policy(&rules.policies["p"], holds);
        ways.iter()
            .map(|settings| format!("{settings:?}"))
            .collect()
    }

    #[rstest]
    #[case(json!({"any": true}), json!({"any": true}), true, Some("[]"))]
    #[case(json!({"any": true}), json!({"any": true}), false, None)]
    #[case(json!({"url_path": {"path": {"suffix": ".php"}}}), json!({"any": true}), true, Some("[Part(Path, [\"/api/.php\"])]"))]
    #[case(json!({"url_path": {"path": {"prefix": "/api"}}}), json!({"any": true}), true, Some("[Part(Path, [\"/api\"])]"))]
    #[case(json!({"destination_port": 81}), json!({"any": true}), false, Some("[DestinationPort(82)]"))]
    #[case(json!({"any": true}), json!({"direct_remote_ip": {"address_prefix": "10.1.0.0", "prefix_len": 16}}), true, Some("[Source(10.1.0.1)]"))]
    #[case(json!({"any": true}), json!({"not_id": {"direct_remote_ip": {"address_prefix": "10.1.0.0", "prefix_len": 16}}}), false, Some("[Source(10.1.0.1)]"))]
    #[case(json!({"any": true}), json!({"authenticated": {}}), true, None)]
    #[case(json!({"any": true}), json!({"or_ids": {"ids": [{"authenticated": {}}, {"header": {"name": "X", "string_match": {"exact": "1"}}}]}}), true, Some("[Part(Header(\"x\"), [\"1\"])]"))]
    #[case(json!({"and_rules": {"rules": [{"destination_port": 81}, {"requested_server_name": {"exact": "a.test"}}]}}), json!({"any": true}), true, Some("[DestinationPort(81), ServerName(\"a.test\")]"))]
    fn the_first_way(
        #[case] permission: Value,
        #[case] principal: Value,
        #[case] holds: bool,
        #[case] expected: Option<&str>,
    ) {
        let ways = ways(permission, principal, holds);
        assert_eq!(ways.first().map(String::as_str), expected, "{ways:?}");
    }
}
