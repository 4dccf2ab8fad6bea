//! Which domain of its virtual host took a host, looked up: a virtual host may have ten thousand
//! domains, and each of them several requests.

use std::collections::{BTreeSet, HashMap};

use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use twinmesh_engine::Domain;

/// The domains of one virtual host, in lower case, each with its index.
#[derive(Debug, Default)]
pub(crate) struct Domains {
    exact: HashMap<String, usize>,
    /// What stands behind the asterisk.
    suffixes: Wildcards,
    /// What stands before it.
    prefixes: Wildcards,
    any: Option<usize>,
}

#[derive(Debug, Default)]
struct Wildcards {
    texts: HashMap<String, usize>,
    lengths: BTreeSet<usize>,
}

impl Wildcards {
    fn add(&mut self, text: &str, index: usize) {
        self.texts.insert(text.to_owned(), index);
        self.lengths.insert(text.len());
    }

    /// The longest that the host has and that leaves a character of it; `part` cuts so many bytes out of
    /// the host.
    fn longest<'h>(
        &self,
        host: &'h str,
        part: impl Fn(&'h str, usize) -> Option<&'h str>,
    ) -> Option<usize> {
        let lengths = self.lengths.range(..host.len()).rev();
        let mut texts = lengths.filter_map(|length| part(host, *length));
        texts.find_map(|text| self.texts.get(text).copied())
    }
}

impl Domains {
    /// Of the virtual host.
    pub(crate) fn of(host: &VirtualHost) -> Self {
        let mut all = Self::default();
        for (index, domain) in host.domains.iter().enumerate() {
            let domain = domain.to_ascii_lowercase();
            if domain == "*" {
                all.any = Some(index);
            } else if let Some(suffix) = domain.strip_prefix('*') {
                all.suffixes.add(suffix, index);
            } else if let Some(prefix) = domain.strip_suffix('*') {
                all.prefixes.add(prefix, index);
            } else {
                all.exact.insert(domain, index);
            }
        }
        all
    }

    /// The domain of this kind that took the host: as it stands and, where that fits none, without its
    /// port.
    pub(crate) fn taking(&self, kind: Domain, host: &str) -> Option<usize> {
        let host = host.to_ascii_lowercase();
        let bare = || host.rsplit_once(':').map(|(bare, _)| bare);
        let find = |host: &str| self.find(kind, host);
        find(&host).or_else(|| find(bare()?))
    }

    fn find(&self, kind: Domain, host: &str) -> Option<usize> {
        match kind {
            Domain::Exact => self.exact.get(host).copied(),
            Domain::Suffix => self
                .suffixes
                .longest(host, |host, length| host.get(host.len() - length..)),
            Domain::Prefix => self
                .prefixes
                .longest(host, |host, length| host.get(..length)),
            Domain::Any => self.any,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::words;

    #[rstest]
    #[case(Domain::Exact, "A.test", Some(0))]
    #[case(Domain::Exact, "a.test:80", Some(0))]
    #[case(Domain::Exact, "b.test:80", Some(7))]
    #[case(Domain::Exact, "c.test", None)]
    #[case(Domain::Suffix, "x.y.a.test", Some(3))]
    #[case(Domain::Suffix, "y.a.test", Some(1))]
    #[case(Domain::Suffix, ".y.a.test", Some(1))]
    #[case(Domain::Suffix, ".a.test", Some(2))]
    #[case(Domain::Suffix, "xa.test", Some(2))]
    #[case(Domain::Suffix, "x.a.test:81", Some(1))]
    #[case(Domain::Prefix, "a.one", Some(4))]
    #[case(Domain::Prefix, "A.B.one", Some(5))]
    #[case(Domain::Prefix, "a.b.", Some(4))]
    #[case(Domain::Any, "anything", Some(6))]
    fn the_longest(#[case] kind: Domain, #[case] host: &str, #[case] expected: Option<usize>) {
        let texts = [
            "a.test",
            "*.A.test",
            "*a.test",
            "*.y.a.test",
            "a.*",
            "a.b.*",
            "*",
            "b.test:80",
        ];
        let virtual_host = VirtualHost {
            domains: texts.map(str::to_owned).to_vec(),
            ..VirtualHost::default()
        };
        assert_eq!(Domains::of(&virtual_host).taking(kind, host), expected);
        let linear = words::domain(&virtual_host, kind, host);
        assert_eq!(linear.map(|(index, _)| index), expected);
    }
}
