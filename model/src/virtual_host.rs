//! Which virtual host has the request's authority: exact domains, then the longest suffix
//! (`*x`), then the longest prefix (`x*`), then `*`. A wildcard covers at least one character.

use crate::{
    Machine, Span,
    layout::{domain, high, low, route_configuration, work},
    trie::mode,
};

/// The offset of the virtual host's record, or 0. Leaves which kind of domain matched.
#[inline(always)]
pub fn search<M: Machine>(machine: &mut M, configuration: u64) -> u64 {
    let domains = machine.policy64(configuration.wrapping_add(route_configuration::DOMAINS));
    let any = machine.policy64(configuration.wrapping_add(route_configuration::ANY));
    let mut host = Span(machine.word(work::HOST));
    if high(any) & route_configuration::IGNORE_PORT != 0 {
        host = Span(machine.without_port(host));
    }
    let found = machine.walk(low(domains), host, mode::LOWER | mode::STRICT);
    if low(found) != 0 {
        machine.set_word(work::DOMAIN, domain::EXACT);
        return low(found);
    }
    let suffix = high(machine.walk_back(high(domains), host, mode::LOWER | mode::STRICT));
    if suffix != 0 {
        machine.set_word(work::DOMAIN, domain::SUFFIX);
        return suffix;
    }
    if high(found) != 0 {
        machine.set_word(work::DOMAIN, domain::PREFIX);
        return high(found);
    }
    if low(any) != 0 {
        machine.set_word(work::DOMAIN, domain::ANY);
    }
    low(any)
}
