//! A live decision beside `spec`'s.

use twinmesh_engine::{Answer, Outcome, Step};

/// What comparing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// They are equal.
    Agrees,
    /// The live decision says that it is none.
    Unsupported,
    /// They differ in these fields, or `trace`.
    Differs(Vec<&'static str>),
}

/// Compares all that a decision says but who decided and the words for why, and all of its steps but
/// the routes that did not match. The endpoint is compared too: `spec` had to take the live one where
/// it could choose it.
pub fn compare(live: &Answer, spec: &Answer) -> Verdict {
    if live.decision.outcome == Outcome::Unsupported {
        return Verdict::Unsupported;
    }
    let mut fields = Vec::new();
    macro_rules! compare {
        ($($field:ident),*) => { $(
            if live.decision.$field != spec.decision.$field {
                fields.push(stringify!($field));
            }
        )* };
    }
    compare!(
        outcome,
        listener,
        filter_chain,
        route_config,
        virtual_host,
        route,
        cluster,
        endpoint,
        priority,
        locality,
        status,
        location,
        path,
        authority
    );
    if fields.is_empty() && !told(live).eq(told(spec)) {
        fields.push("trace");
    }
    if fields.is_empty() {
        Verdict::Agrees
    } else {
        Verdict::Differs(fields)
    }
}

/// The steps that both tell: the proxy changes no headers and makes no copies.
pub fn told(answer: &Answer) -> impl Iterator<Item = &Step> {
    let steps = answer.trace.steps.iter();
    steps.filter(|step| {
        !matches!(
            step,
            Step::RouteNotMatched { .. } | Step::Mutation { .. } | Step::Mirror { .. }
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_names_of_engines_do_not_count_and_all_else_does() {
        let mut live = Answer::default();
        live.decision.outcome = Outcome::Forward;
        live.decision.cluster = Some("a".to_owned());
        live.trace.steps = vec![Step::Listener(0), Step::Cluster(1)];
        let mut spec = live.clone();
        spec.decision.reason = Some("because".to_owned());
        spec.decision.engine = Some("spec".to_owned());
        let failed = twinmesh_engine::Failed::Path;
        let not_matched = Step::RouteNotMatched { route: 0, failed };
        spec.trace.steps.insert(1, not_matched);
        assert_eq!(compare(&live, &spec), Verdict::Agrees);
        spec.trace.steps[2] = Step::Cluster(2);
        assert_eq!(compare(&live, &spec), Verdict::Differs(vec!["trace"]));
        spec.decision.cluster = None;
        spec.decision.status = Some(404);
        let fields = vec!["cluster", "status"];
        assert_eq!(compare(&live, &spec), Verdict::Differs(fields));
        live.decision.outcome = Outcome::Unsupported;
        assert_eq!(compare(&live, &spec), Verdict::Unsupported);
    }
}
