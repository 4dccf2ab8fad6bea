//! Headers and bodies of a recording, or of a live server, against an engine's.

use twinmesh_engine::{Decision, HeaderValues};

use super::{Field, Fields};

/// The fields in which two decisions differ only in values that one of them does not know.
pub fn undecided(one: &Decision, other: &Decision) -> Fields {
    [
        (
            fit(&one.request_headers, &other.request_headers),
            Field::RequestHeaders,
        ),
        (
            fit(&one.response_headers, &other.response_headers),
            Field::ResponseHeaders,
        ),
        (one.body.is_none() || other.body.is_none(), Field::Body),
    ]
    .into_iter()
    .filter(|(fits, _)| *fits)
    .map(|(_, field)| field)
    .collect()
}

/// Whether they name the same headers, with the same values where both are known.
fn fit(one: &Option<HeaderValues>, other: &Option<HeaderValues>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return one == other;
    };
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|((name, value), (named, found))| {
                let unknown = value.is_none() || found.is_none();
                name == named && (unknown || value == found)
            })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(headers: &[(&str, Option<&[&str]>)]) -> Decision {
        let values = headers.iter().map(|(name, values)| {
            let texts = |values: &[&str]| values.iter().map(|it| (*it).to_owned()).collect();
            ((*name).to_owned(), values.map(texts))
        });
        Decision {
            request_headers: Some(values.collect()),
            ..Decision::default()
        }
    }

    #[test]
    fn what_is_not_known_fits_any_value() {
        let one = decision(&[("a", Some(&["1"])), ("b", None)]);
        for (other, fits) in [
            (
                decision(&[("a", Some(&["1"])), ("b", Some(&["2", "3"]))]),
                true,
            ),
            (decision(&[("a", None), ("b", None)]), true),
            (decision(&[("a", Some(&["2"])), ("b", None)]), false),
            (decision(&[("a", Some(&["1"]))]), false),
            (Decision::default(), false),
        ] {
            let found = undecided(&one, &other).contains(Field::RequestHeaders);
            assert_eq!(found, fits, "{other:?}");
        }
    }
}
