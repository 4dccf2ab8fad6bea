//! What two threads look at of many virtual hosts.

use envoy_types::pb::envoy::config::route::v3::VirtualHost;

/// From so many routes on there are two parts.
const MANY: usize = 1000;

/// Two parts of these virtual hosts with about as many routes; all in the first where there are few.
pub(crate) fn halves<'h>(all: &[VirtualHost], hosts: &'h [usize]) -> (&'h [usize], &'h [usize]) {
    let routes = |host: &usize| all.get(*host).map_or(0, |it| it.routes.len());
    let whole: usize = hosts.iter().map(routes).sum();
    if whole < MANY {
        return (hosts, &[]);
    }
    let mut before = 0;
    let middle = hosts.iter().position(|host| {
        before += routes(host);
        before * 2 > whole
    });
    hosts
        .split_at_checked(middle.unwrap_or(0))
        .unwrap_or((hosts, &[]))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::Route;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::few(&[400, 400], &[0, 1], 2)]
    #[case::alike(&[500, 500, 500, 500], &[0, 1, 2, 3], 2)]
    #[case::some_of_them(&[500, 9000, 500, 500, 500], &[0, 2, 3, 4], 2)]
    #[case::one_has_the_most(&[10, 9000, 10], &[0, 1, 2], 1)]
    #[case::the_first_has(&[9000, 10], &[0, 1], 0)]
    #[case::none(&[], &[], 0)]
    fn parts(#[case] routes: &[usize], #[case] hosts: &[usize], #[case] first: usize) {
        let host = |count: &usize| VirtualHost {
            routes: vec![Route::default(); *count],
            ..VirtualHost::default()
        };
        let all: Vec<VirtualHost> = routes.iter().map(host).collect();
        let (own, others) = halves(&all, hosts);
        assert_eq!([own, others].concat(), hosts);
        assert_eq!(own.len(), first);
    }
}
