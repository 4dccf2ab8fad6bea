//! Compiles the matcher tree of a listener, which chooses the filter chain by name
//! (`twinmesh_model::filter_chain_matcher`), and says in names what it led to.

use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use twinmesh_engine::Step;
use twinmesh_model::layout::{filter_step, high};
use twinmesh_xds::{Listener, Unsupported};

use crate::compiler::Compiler;
use crate::http_filter::Of;

/// The step that says which action a listener's tree led to; `None` for those of others.
pub fn named_step(step: u64) -> Option<Step> {
    let what = step >> 16 & 0xffff;
    (what == filter_step::FILTER_CHAIN_NAMED).then(|| Step::FilterChainMatcher(high(step) as usize))
}

impl Compiler<'_> {
    /// The first branch of a listener's tree. `chains` are the offsets of its filter chains' records, in
    /// order.
    ///
    /// # Errors
    /// Why it is not decided.
    pub fn filter_chain_matcher(
        &mut self,
        index: usize,
        listener: &Listener,
        matcher: &Matcher,
        chains: impl Iterator<Item = u64>,
    ) -> Result<u64, Unsupported> {
        let names = listener.filter_chains.iter();
        let names = names.map(|chain| chain.config.name.clone());
        self.filters.chains = names.zip(chains).collect();
        self.filters.of = Of::Listeners;
        let root = self.matcher_tree(matcher, 0);
        self.filters.of = Of::Requests;
        self.filters.chains.clear();
        if root.is_ok() {
            self.filter_chain_matcher_in_userspace(index);
        }
        root.map_err(|left| self.filter_chain_matcher_undecided(index, left))
    }

    /// The offset of the filter chain of this name, or 0 where the listener has none.
    pub fn chain_of_name(&self, name: &str) -> u64 {
        self.filters.chains.get(name).copied().unwrap_or(0)
    }
}
