//! Endpoints that were removed stay in use.

use crate::cluster::Endpoint;

/// The endpoints after an update: those of the update where they are new, behind all that were there.
pub(crate) fn after_update(before: &[Endpoint], update: Vec<Endpoint>) -> Vec<Endpoint> {
    let mut kept: Vec<Endpoint> = before
        .iter()
        .map(|old| {
            let again = update.iter().find(|new| new.address == old.address);
            again.cloned().unwrap_or_else(|| Endpoint {
                place: None,
                ..old.clone()
            })
        })
        .collect();
    for endpoint in update {
        if !kept.iter().any(|old| old.address == endpoint.address) {
            kept.push(endpoint);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_removed_stay_and_the_new_follow() {
        let of = |address: &str, place: usize| Endpoint {
            address: address.to_owned(),
            priority: 0,
            locality: None,
            place: Some((0, place)),
        };
        let kept = after_update(&[of("a", 0), of("b", 1)], vec![of("b", 0), of("c", 1)]);
        let names: Vec<(&str, Option<(usize, usize)>)> = kept
            .iter()
            .map(|endpoint| (endpoint.address.as_str(), endpoint.place))
            .collect();
        assert_eq!(
            names,
            [("a", None), ("b", Some((0, 0))), ("c", Some((0, 1)))]
        );
    }
}
