//! The one seam between the model and where it runs: memory, and the boundaries of its functions.
//!
//! In userspace a [`Machine`] is slices; in the kernel it is BPF maps. The default methods at the
//! end are the places where the BPF build puts a function of its own, so that the verifier looks
//! at each loop once; userspace inherits them and inlines.

use crate::layout::Span;

/// Memory that a decision reads and writes. All offsets into the policy are in bytes.
///
/// Reads past the end of what was written give arbitrary values, never a panic: the model clamps
/// every scan to the length that it knows.
pub trait Machine: Sized {
    /// Bytes of head that fit, a multiple of 64.
    const HEAD_BYTES: u64;

    /// Header lines that are looked at.
    const LINES: u64 = 1 << 15;

    /// Whether it decides what the kernel's programs have no room for: choices by hash or by
    /// chance, clusters that a header names. Records of such things say `unsupported` with the
    /// reason [`crate::layout::unsupported::USERSPACE`], and beside it what userspace reads.
    const USERSPACE: bool = true;

    /// Whether it runs HTTP filters that may answer or delay a request. A filter chain with such
    /// filters says `unsupported` with the reason [`crate::layout::unsupported::FILTERS`], and
    /// beside it where they stand.
    const FILTERS: bool = false;

    /// Whether it weighs endpoints by the time since they came ([`Self::slow_start`]).
    const SLOW_START: bool = false;

    /// Eight bytes of input from this offset on, the first in the lowest bits.
    fn input64(&self, offset: u64) -> u64;
    /// One byte of input.
    fn input8(&self, offset: u64) -> u64;

    /// Eight bytes of the policy.
    fn policy64(&self, offset: u64) -> u64;
    /// Two bytes of the policy.
    fn policy16(&self, offset: u64) -> u64;
    /// One byte of the policy.
    fn policy8(&self, offset: u64) -> u64;

    /// A word of the work area (see [`crate::layout::work`]).
    fn word(&self, index: u64) -> u64;
    /// Writes a word of the work area.
    fn set_word(&mut self, index: u64, value: u64);

    /// A word of the balancers' state.
    fn state(&self, index: u64) -> u64;
    /// Writes a word of the balancers' state.
    fn set_state(&mut self, index: u64, value: u64);
    /// Adds one to a word of the balancers' state, atomically, and gives what it was before.
    fn tick(&mut self, index: u64) -> u64;

    /// The position of the endpoint that takes a request, of a set that bounds the load of its
    /// endpoints (see [`crate::layout::set::COSTS`]); `position` is the one that its hash leads to.
    #[inline(always)]
    fn bounded(&mut self, record: u64, position: u64, number: u64) -> u64 {
        let _ = (record, number);
        position
    }

    /// The position of the endpoint that takes a request, of a set whose endpoints' weights grow
    /// ([`crate::layout::set::SLOW_START`]).
    #[inline(always)]
    fn slow_start(&mut self, record: u64) -> u64 {
        let _ = record;
        0
    }

    /// The hash of a header's values at these places, each rewritten by the rule of this number
    /// ([`crate::layout::hash_policy::REWRITTEN`]); `None` where rules are out of its reach.
    #[inline(always)]
    fn rewritten_hash(&self, rule: u64, values: &mut dyn Iterator<Item = Span>) -> Option<u64> {
        let _ = (rule, values);
        None
    }

    /// [`crate::trie::probe`]
    #[inline(always)]
    fn probe(&mut self, chunk: u64, key: u64) -> u64 {
        crate::trie::probe(self, chunk, key)
    }
    /// [`crate::trie::walk`]
    #[inline(always)]
    fn walk(&mut self, root: u64, span: Span, mode: u64) -> u64 {
        crate::trie::walk(self, root, span, mode)
    }
    /// [`crate::trie::walk_on`]
    #[inline(always)]
    fn walk_on(&mut self, root: u64, span: Span, mode: u64) -> u64 {
        crate::trie::walk_on(self, root, span, mode)
    }
    /// [`crate::trie::walk_back`]
    #[inline(always)]
    fn walk_back(&mut self, root: u64, span: Span, mode: u64) -> u64 {
        crate::trie::walk_back(self, root, span, mode)
    }
    /// [`crate::trie::tail`]
    #[inline(always)]
    fn tail(&mut self, node: u64, chunk: u64, prefixes: u64) -> u64 {
        crate::trie::tail(self, node, chunk, prefixes)
    }
    /// [`crate::scan::scan_block`]
    #[inline(always)]
    fn scan_block(&mut self, span: Span, class: u64) -> u64 {
        crate::scan::scan_block(self, span, class)
    }
    /// [`crate::scan::scan_long`]
    #[inline(always)]
    fn scan_long(&mut self, span: Span, class: u64) -> u64 {
        crate::scan::scan_long(self, span, class)
    }
    /// [`crate::head::header_line`]
    #[inline(always)]
    fn header_line(&mut self, offset: u64, end: u64) -> u64 {
        crate::head::header_line(self, offset, end)
    }
    /// [`crate::header_count::exceeds`]
    #[inline(always)]
    fn header_count(&mut self, offset: u64) -> u64 {
        crate::header_count::exceeds(self, offset)
    }
    /// [`crate::header_count::line`]
    #[inline(always)]
    fn header_count_line(&mut self, offset: u64) -> u64 {
        crate::header_count::line(self, offset)
    }
    /// [`crate::request_line::request_line`]
    #[inline(always)]
    fn request_line(&mut self, offset: u64, end: u64) -> u64 {
        crate::request_line::request_line(self, offset, end)
    }
    /// [`crate::request_line::target_fits`]
    #[inline(always)]
    fn target_fits(&mut self) -> u64 {
        crate::request_line::target_fits(self)
    }
    /// [`crate::head::token_end`]
    #[inline(always)]
    fn token_end(&mut self, offset: u64, end: u64) -> u64 {
        crate::head::token_end(self, offset, end)
    }
    /// [`crate::response::line`]
    #[inline(always)]
    fn response_line(&mut self, offset: u64, end: u64) -> u64 {
        crate::response::line(self, offset, end)
    }
    /// [`crate::scan::scan_back`]
    #[inline(always)]
    fn scan_back(&mut self, span: Span) -> u64 {
        crate::scan::scan_back(self, span)
    }
    /// [`crate::head::head_start`]
    #[inline(always)]
    fn head_start(&mut self, end: u64) -> u64 {
        crate::head::head_start(self, end)
    }
    /// [`crate::target::absolute`]
    #[inline(always)]
    fn absolute(&mut self) -> u64 {
        crate::target::absolute(self)
    }
    /// [`crate::target::host_is_valid`]
    #[inline(always)]
    fn host_is_valid(&mut self, host: Span) -> u64 {
        crate::target::host_is_valid(self, host)
    }
    /// [`crate::head::slot_of`]
    #[inline(always)]
    fn slot_of(&mut self, name: Span) -> u64 {
        crate::head::slot_of(self, name)
    }
    /// [`crate::head::framing`]
    #[inline(always)]
    fn framing(&mut self, slot: u64, value: Span) -> u64 {
        crate::head::framing(self, slot, value)
    }
    /// [`crate::target::authority`]
    #[inline(always)]
    fn authority(&mut self) -> u64 {
        crate::target::authority(self)
    }
    /// [`crate::target::without_port`]
    #[inline(always)]
    fn without_port(&mut self, host: Span) -> u64 {
        crate::target::without_port(self, host).0
    }
    /// [`crate::target::last_dot`]
    #[inline(always)]
    fn last_dot(&mut self, host: Span) -> u64 {
        crate::target::last_dot(self, host)
    }
    /// [`crate::head::head`]
    #[inline(always)]
    fn head(&mut self) -> u64 {
        crate::head::head(self)
    }
    /// [`crate::slot::add`]
    #[inline(always)]
    fn add(&mut self, slot: u64, span: Span) -> u64 {
        crate::slot::add(self, slot, span)
    }
    /// [`crate::regex::step`]
    #[inline(always)]
    fn regex_step(&mut self, dfa: u64, state: u64, span: Span) -> u64 {
        crate::regex::step(self, dfa, state, span)
    }
    /// [`crate::regex::matches`]
    #[inline(always)]
    fn regex(&mut self, dfa: u64, span: Span) -> u64 {
        crate::regex::matches(self, dfa, span)
    }
    /// [`crate::string::equal`]
    #[inline(always)]
    fn equal(&mut self, text: u64, span: Span) -> u64 {
        crate::string::equal(self, text, span)
    }
    /// [`crate::integer::parse`]
    #[inline(always)]
    fn integer(&mut self, span: Span) -> u64 {
        crate::integer::parse(self, span)
    }
    /// [`crate::integer::character`]
    #[inline(always)]
    fn character(&mut self, state: u64, byte: u64) -> u64 {
        crate::integer::character(self, state, byte)
    }
    /// [`crate::matcher::value`]
    #[inline(always)]
    fn value(&mut self, matcher: u64, occurrence: u64) -> u64 {
        crate::matcher::value(self, matcher, occurrence)
    }
    /// [`crate::matcher::matches`]
    #[inline(always)]
    fn matcher(&mut self, matcher: u64) -> u64 {
        crate::matcher::matches(self, matcher)
    }
    /// [`crate::route::candidate`]
    #[inline(always)]
    fn candidate(&mut self, matchers: u64) -> u64 {
        crate::route::candidate(self, matchers)
    }
    /// [`crate::route::part`]
    #[inline(always)]
    fn part(&mut self, best: u64) -> u64 {
        crate::route::part(self, best)
    }
    /// [`crate::route::keyed`]
    #[inline(always)]
    fn keyed(&mut self, class: u64, slot: u64) -> u64 {
        crate::route::keyed(self, class, slot)
    }
    /// [`crate::route::keyed_value`]
    #[inline(always)]
    fn keyed_value(&mut self, number: u64, slot: u64, occurrence: u64) -> u64 {
        crate::route::keyed_value(self, number, slot, occurrence)
    }
    /// [`crate::route::class`]
    #[inline(always)]
    fn class(&mut self, class: u64) -> u64 {
        crate::route::class(self, class)
    }
    /// [`crate::route::lists`]
    #[inline(always)]
    fn lists(&mut self, root: u64, mode: u64) -> u64 {
        crate::route::lists(self, root, mode)
    }
    /// [`crate::route::route`]
    #[inline(always)]
    fn route(&mut self, virtual_host: u64) -> u64 {
        crate::route::route(self, virtual_host)
    }
    /// [`crate::query_parameter::parameter`]
    #[inline(always)]
    fn query_parameter(&mut self, offset: u64, end: u64) -> u64 {
        crate::query_parameter::parameter(self, offset, end)
    }
    /// [`crate::query_parameter::parse`]
    #[inline(always)]
    fn query_parameters(&mut self) -> u64 {
        crate::query_parameter::parse(self)
    }
    /// [`crate::virtual_host::search`]
    #[inline(always)]
    fn virtual_host(&mut self, route_configuration: u64) -> u64 {
        crate::virtual_host::search(self, route_configuration)
    }
    /// [`crate::filter_chain::level`]
    #[inline(always)]
    fn filter_chain_level(&mut self, node: u64, level: u64, flags: u64) -> u64 {
        crate::filter_chain::level(self, node, level, flags)
    }
    /// [`crate::filter_chain::application_protocol`]
    #[inline(always)]
    fn application_protocol(&mut self, node: u64, inspected: u64) -> u64 {
        crate::filter_chain::application_protocol(self, node, inspected)
    }
    /// [`crate::listener::choose`]
    #[inline(always)]
    fn listener(&mut self) -> u64 {
        crate::listener::choose(self)
    }
    /// [`crate::weighted_cluster::choose`]
    #[inline(always)]
    fn weighted_cluster(&mut self, action: u64) -> u64 {
        crate::weighted_cluster::choose(self, action)
    }
    /// [`crate::weighted_cluster::halve`]
    #[inline(always)]
    fn halve(&mut self, entries: u64, bounds: u64, value: u64) -> u64 {
        crate::weighted_cluster::halve(self, entries, bounds, value)
    }
    /// [`crate::priority::choose`]
    #[inline(always)]
    fn priority(&mut self, cluster: u64) -> u64 {
        crate::priority::choose(self, cluster)
    }
    /// [`crate::least_request::sample`]
    #[inline(always)]
    fn sample(&mut self, set: u64) -> u64 {
        crate::least_request::sample(self, set)
    }
    /// [`crate::least_request::weighted`]
    #[inline(always)]
    fn heap(&mut self, set: u64) -> u64 {
        crate::least_request::weighted(self, set)
    }
    /// [`crate::least_request::choice`]
    #[inline(always)]
    fn choice(&mut self, set: u64, index: u64, best: u64) -> u64 {
        crate::least_request::choice(self, set, index, best)
    }
    /// [`crate::least_request::sift`]
    #[inline(always)]
    fn sift(&mut self, heap: u64, parent: u64, count: u64) -> u64 {
        crate::least_request::sift(self, heap, parent, count)
    }
    /// [`crate::endpoint::choose`]
    #[inline(always)]
    fn endpoint(&mut self, cluster: u64) -> u64 {
        crate::endpoint::choose(self, cluster)
    }
    /// [`crate::decide::connection`]
    #[inline(always)]
    fn connection(&mut self) -> u64 {
        crate::decide::connection(self)
    }
    /// [`crate::decide::request`]
    #[inline(always)]
    fn request(&mut self) -> u64 {
        crate::decide::request(self)
    }
    /// [`crate::decide::strip_host`]
    #[inline(always)]
    fn strip_host(&mut self) -> u64 {
        crate::decide::strip_host(self)
    }
    /// [`crate::decide::pseudo_headers`]
    #[inline(always)]
    fn pseudo_headers(&mut self) -> u64 {
        crate::decide::pseudo_headers(self)
    }
    /// [`crate::decide::action`]
    #[inline(always)]
    fn action(&mut self, route: u64) -> u64 {
        crate::decide::action(self, route)
    }
    /// [`crate::decide::cluster`]
    #[inline(always)]
    fn cluster(&mut self, cluster: u64) -> u64 {
        crate::decide::cluster(self, cluster)
    }
}
