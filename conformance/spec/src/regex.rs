//! Regexes: RE2's grammar, matched in full by a virtual machine over an NFA.

use std::collections::BTreeMap;

use regex_automata::nfa::thompson::{self, pikevm::PikeVM};
use regex_syntax::hir::{Hir, Look};

/// Every pattern of a snapshot, ready to match.
#[derive(Debug, Default)]
pub(crate) struct Regexes {
    machines: BTreeMap<String, PikeVM>,
}

impl Regexes {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// A pattern is not RE2's, or too large for this machine; the text names it.
    pub(crate) fn compile<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut machines = BTreeMap::new();
        for pattern in patterns {
            let machine =
                compile(pattern).map_err(|error| format!("the regex `{pattern}`: {error}"))?;
            machines.insert(pattern.to_owned(), machine);
        }
        Ok(Self { machines })
    }

    /// Whether the whole value matches. A pattern that was not compiled is one that is not
    /// decided: it counts as matching, its route is marked.
    pub(crate) fn matches(&self, pattern: &str, value: &str) -> bool {
        let Some(machine) = self.machines.get(pattern) else {
            return true;
        };
        machine.is_match(&mut machine.create_cache(), value)
    }

    #[cfg(test)]
    pub(crate) fn for_tests(patterns: &[&str]) -> Self {
        Self::compile(patterns.iter().copied()).expect("the tests' patterns are valid")
    }
}

fn compile(pattern: &str) -> Result<PikeVM, String> {
    let hir = twinmesh_re2::parse(pattern).map_err(|error| error.to_string())?;
    // Anchored here and not in the text, which an alternation would escape from.
    let anchored = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
    let nfa = thompson::Compiler::new()
        .configure(thompson::Config::new().utf8(false))
        .build_from_hir(&anchored)
        .map_err(|error| error.to_string())?;
    PikeVM::new_from_nfa(nfa).map_err(|error| error.to_string())
}
