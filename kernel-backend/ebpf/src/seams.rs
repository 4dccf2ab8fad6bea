//! The model's function boundaries as BPF global functions: the verifier checks each once.

use twinmesh_model::{Machine, Span};

use crate::atomic;
use crate::memory::Shell;
use crate::shape::{HEAD_BYTES, Policy, Work};

/// Declares the global functions and overrides the trait's methods by calls to them.
macro_rules! seams {
    ($($global:ident = $method:ident($($argument:ident : $kind:ident),*) => $function:path;)*) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $global(work: *mut Work, policy: *const Policy $(, $argument: u64)*) -> u64 {
                if work.is_null() || policy.is_null() {
                    return 0;
                }
                let mut shell = Shell { work, policy };
                $function(&mut shell $(, seams!(@take $kind $argument))*)
            }
        )*

        impl Machine for Shell {
            const HEAD_BYTES: u64 = HEAD_BYTES;
            const LINES: u64 = 256;
            const USERSPACE: bool = false;

            #[inline(always)]
            fn input64(&self, offset: u64) -> u64 {
                self.read_input64(offset)
            }
            #[inline(always)]
            fn input8(&self, offset: u64) -> u64 {
                u64::from(self.read_input8(offset))
            }
            #[inline(always)]
            fn policy64(&self, offset: u64) -> u64 {
                self.read_policy64(offset)
            }
            #[inline(always)]
            fn policy16(&self, offset: u64) -> u64 {
                u64::from(self.read_policy16(offset))
            }
            #[inline(always)]
            fn policy8(&self, offset: u64) -> u64 {
                u64::from(self.read_policy8(offset))
            }
            #[inline(always)]
            fn word(&self, index: u64) -> u64 {
                // SAFETY: the address lies inside the map value.
                unsafe { self.word_at(index).read() }
            }
            #[inline(always)]
            fn set_word(&mut self, index: u64, value: u64) {
                self.write_word(index, value);
            }
            #[inline(always)]
            fn state(&self, index: u64) -> u64 {
                // SAFETY: the look-up gave an address inside the map.
                self.state_at(index).map_or(0, |word| unsafe { word.read() })
            }
            #[inline(always)]
            fn set_state(&mut self, index: u64, value: u64) {
                if let Some(word) = self.state_at(index) {
                    // SAFETY: the look-up gave an address inside the map.
                    unsafe { word.write(value) }
                }
            }
            #[inline(always)]
            fn tick(&mut self, index: u64) -> u64 {
                g_tick(self.work, index)
            }
            $(
                #[inline(always)]
                fn $method(&mut self $(, $argument: seams!(@type $kind))*) -> u64 {
                    $global(self.work, self.policy $(, seams!(@give $kind $argument))*)
                }
            )*
        }
    };
    (@type word) => { u64 };
    (@type span) => { Span };
    (@take word $argument:ident) => { $argument };
    (@take span $argument:ident) => { Span($argument) };
    (@give word $argument:ident) => { $argument };
    (@give span $argument:ident) => { $argument.0 };
}

seams! {
    g_probe = probe(chunk: word, key: word) => twinmesh_model::trie::probe;
    g_walk = walk(root: word, span: span, mode: word) => twinmesh_model::trie::walk;
    g_walk_on = walk_on(root: word, span: span, mode: word) => twinmesh_model::trie::walk_on;
    g_walk_back = walk_back(root: word, span: span, mode: word) => twinmesh_model::trie::walk_back;
    g_tail = tail(node: word, chunk: word, prefixes: word) => twinmesh_model::trie::tail;
    g_scan_block = scan_block(span: span, class: word) => twinmesh_model::scan::scan_block;
    g_scan_long = scan_long(span: span, class: word) => twinmesh_model::scan::scan_long;
    g_header_line = header_line(offset: word, end: word) => twinmesh_model::head::header_line;
    g_request_line = request_line(offset: word, end: word) => twinmesh_model::request_line::request_line;
    g_target_fits = target_fits() => twinmesh_model::request_line::target_fits;
    g_header_count = header_count(offset: word) => twinmesh_model::header_count::exceeds;
    g_header_count_line = header_count_line(offset: word) => twinmesh_model::header_count::line;
    g_token_end = token_end(offset: word, end: word) => twinmesh_model::head::token_end;
    g_response_line = response_line(offset: word, end: word) => twinmesh_model::response::line;
    g_scan_back = scan_back(span: span) => twinmesh_model::scan::scan_back;
    g_head_start = head_start(end: word) => twinmesh_model::head::head_start;
    g_absolute = absolute() => twinmesh_model::target::absolute;
    g_host_is_valid = host_is_valid(host: span) => twinmesh_model::target::host_is_valid;
    g_slot_of = slot_of(name: span) => twinmesh_model::head::slot_of;
    g_framing = framing(slot: word, value: span) => twinmesh_model::head::framing;
    g_authority = authority() => twinmesh_model::target::authority;
    g_without_port = without_port(host: span) => without_port;
    g_last_dot = last_dot(host: span) => twinmesh_model::target::last_dot;
    g_head = head() => twinmesh_model::head::head;
    g_add = add(slot: word, span: span) => twinmesh_model::slot::add;
    g_regex_step = regex_step(dfa: word, state: word, span: span) => twinmesh_model::regex::step;
    g_regex = regex(dfa: word, span: span) => twinmesh_model::regex::matches;
    g_equal = equal(text: word, span: span) => twinmesh_model::string::equal;
    g_integer = integer(span: span) => twinmesh_model::integer::parse;
    g_character = character(state: word, byte: word) => twinmesh_model::integer::character;
    g_value = value(matcher: word, occurrence: word) => twinmesh_model::matcher::value;
    g_matcher = matcher(matcher: word) => twinmesh_model::matcher::matches;
    g_candidate = candidate(matchers: word) => twinmesh_model::route::candidate;
    g_part = part(best: word) => twinmesh_model::route::part;
    g_keyed = keyed(class: word, slot: word) => twinmesh_model::route::keyed;
    g_keyed_value = keyed_value(number: word, slot: word, occurrence: word) => twinmesh_model::route::keyed_value;
    g_class = class(class: word) => twinmesh_model::route::class;
    g_lists = lists(root: word, mode: word) => twinmesh_model::route::lists;
    g_route = route(virtual_host: word) => twinmesh_model::route::route;
    g_query_parameter = query_parameter(offset: word, end: word) => twinmesh_model::query_parameter::parameter;
    g_query_parameters = query_parameters() => twinmesh_model::query_parameter::parse;
    g_virtual_host = virtual_host(route_configuration: word) => twinmesh_model::virtual_host::search;
    g_filter_chain_level = filter_chain_level(node: word, level: word, flags: word) => twinmesh_model::filter_chain::level;
    g_application_protocol = application_protocol(node: word, inspected: word) => twinmesh_model::filter_chain::application_protocol;
    g_listener = listener() => twinmesh_model::listener::choose;
    g_weighted_cluster = weighted_cluster(action: word) => twinmesh_model::weighted_cluster::choose;
    g_halve = halve(entries: word, bounds: word, value: word) => twinmesh_model::weighted_cluster::halve;
    g_choice = choice(set: word, index: word, best: word) => twinmesh_model::least_request::choice;
    g_sift = sift(heap: word, parent: word, count: word) => twinmesh_model::least_request::sift;
    g_priority = priority(cluster: word) => twinmesh_model::priority::choose;
    g_sample = sample(set: word) => twinmesh_model::least_request::sample;
    g_heap = heap(set: word) => twinmesh_model::least_request::weighted;
    g_endpoint = endpoint(cluster: word) => twinmesh_model::endpoint::choose;
    g_connection = connection() => twinmesh_model::decide::connection;
    g_strip_host = strip_host() => twinmesh_model::decide::strip_host;
    g_pseudo_headers = pseudo_headers() => twinmesh_model::decide::pseudo_headers;
    g_request = request() => twinmesh_model::decide::request;
    g_action = action(route: word) => twinmesh_model::decide::action;
    g_cluster = cluster(cluster: word) => twinmesh_model::decide::cluster;
}

/// [`twinmesh_model::target::without_port`] with its span as a word.
#[inline(always)]
fn without_port(shell: &mut Shell, host: Span) -> u64 {
    twinmesh_model::target::without_port(shell, host).0
}

/// Adds one to a word of state, atomically, and gives what it was. The userspace VM knows no
/// atomic instruction and puts a function of its own in this one's place.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn g_tick(work: *mut Work, index: u64) -> u64 {
    if work.is_null() {
        return 0;
    }
    let shell = Shell {
        work,
        policy: core::ptr::null(),
    };
    let Some(word) = shell.state_at(index) else {
        return 0;
    };
    // SAFETY: the look-up gave an address inside the map.
    unsafe { atomic::fetch_add(word, 1) }
}
