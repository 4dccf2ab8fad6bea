//! URI templates: `path_match_policy` and `path_rewrite_policy`.
//!
//! A plain walk over the path: at each operator the longest stretch that lets the rest match.

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::path::{
    r#match::uri_template::v3::UriTemplateMatchConfig,
    rewrite::uri_template::v3::UriTemplateRewriteConfig,
};
use prost::Name;

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A character of a text that a `*` follows: any number of it.
    Repeated(char),
    /// `*`: one character or more, of one segment.
    Segment,
    /// `**`: any number of characters, slashes too.
    Segments,
    /// Where a variable's value begins.
    Begin(String),
    /// Where it ends.
    End(String),
}

/// A template that paths are matched with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

/// What a `path_match_policy` matches by; `None` where it is not decided.
pub(crate) fn of_match(policy: &TypedExtensionConfig) -> Option<Template> {
    let config: UriTemplateMatchConfig = content(policy)?;
    Some(Template::new(&config.path_template))
}

/// What a `path_rewrite_policy` makes of a path; `None` where it is not decided.
pub(crate) fn of_rewrite(policy: &TypedExtensionConfig) -> Option<String> {
    let config: UriTemplateRewriteConfig = content(policy)?;
    Some(config.path_template_rewrite)
}

fn content<M: prost::Message + Name + Default>(policy: &TypedExtensionConfig) -> Option<M> {
    let any = policy.typed_config.as_ref()?;
    let (_, name) = any.type_url.rsplit_once('/')?;
    (name == M::full_name())
        .then(|| M::decode(any.value.as_slice()).ok())
        .flatten()
}

impl Template {
    /// The reader has refused what is none.
    fn new(template: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = template;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('{') {
                let (variable, after) = after.split_once('}').unwrap_or((after, ""));
                let (name, inside) = variable.split_once('=').unwrap_or((variable, "*"));
                parts.push(Part::Begin(name.to_owned()));
                parts.extend(Self::new(inside).parts);
                parts.push(Part::End(name.to_owned()));
                rest = after;
            } else if let Some(after) = rest.strip_prefix("**") {
                parts.push(Part::Segments);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('*') {
                let part = Self::star(&mut parts);
                parts.push(part);
                rest = after;
            } else {
                let end = rest.find(['{', '*']).unwrap_or(rest.len());
                let (text, after) = rest.split_at(end);
                parts.push(Part::Text(text.to_owned()));
                rest = after;
            }
        }
        Self { parts }
    }

    /// What a `*` stands for behind these parts: the last character of a text, or a segment.
    fn star(before: &mut [Part]) -> Part {
        match before.last_mut() {
            Some(Part::Text(text)) if !text.ends_with('/') => {
                text.pop().map_or(Part::Segment, Part::Repeated)
            }
            _ => Part::Segment,
        }
    }

    /// Whether the whole path, which has no query, matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.places(path).is_some()
    }

    /// What `rewrite` makes of a path that matches.
    pub(crate) fn rewrite(&self, path: &str, rewrite: &str) -> Option<String> {
        let places = self.places(path)?;
        let mut made = String::new();
        let mut rest = rewrite;
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}')?;
            made.push_str(text);
            made.push_str(self.value(path, &places, name)?);
            rest = after;
        }
        made.push_str(rest);
        Some(made)
    }

    fn value<'p>(&self, path: &'p str, places: &[usize], name: &str) -> Option<&'p str> {
        let is = |part: &Part, begins: bool| match part {
            Part::Begin(other) => begins && other == name,
            Part::End(other) => !begins && other == name,
            _ => false,
        };
        let begin = self.parts.iter().position(|part| is(part, true))?;
        let end = self.parts.iter().position(|part| is(part, false))?;
        path.get(*places.get(begin)?..*places.get(end)?)
    }

    /// Where each part begins in the path; `None` where it does not match.
    fn places(&self, path: &str) -> Option<Vec<usize>> {
        let mut places = Vec::new();
        walk(&self.parts, path, 0, &mut places).then_some(places)
    }
}

/// Matches the parts with the path from `at` on, and adds where each begins.
fn walk(parts: &[Part], path: &str, at: usize, places: &mut Vec<usize>) -> bool {
    let Some((part, parts)) = parts.split_first() else {
        return at == path.len();
    };
    let rest = path.get(at..).unwrap_or_default();
    places.push(at);
    let found = match part {
        Part::Begin(_) | Part::End(_) => walk(parts, path, at, places),
        Part::Text(text) => {
            rest.starts_with(text.as_str()) && walk(parts, path, at + text.len(), places)
        }
        Part::Repeated(one) => {
            let most = rest.chars().take_while(|next| next == one).count();
            longest(parts, path, at, most, 0, places)
        }
        Part::Segment => longest(parts, path, at, stretch(rest, false), 1, places),
        Part::Segments => longest(parts, path, at, stretch(rest, true), 0, places),
    };
    if !found {
        places.pop();
    }
    found
}

/// Tries the longest stretch first, down to the shortest that may stand.
fn longest(
    parts: &[Part],
    path: &str,
    at: usize,
    most: usize,
    least: usize,
    places: &mut Vec<usize>,
) -> bool {
    (least..=most)
        .rev()
        .any(|length| walk(parts, path, at + length, places))
}

/// How much of the text an operator may take.
fn stretch(text: &str, slashes: bool) -> usize {
    let taken = |byte: &u8| match byte {
        b'/' => slashes,
        byte if byte.is_ascii_alphanumeric() => true,
        byte => b"-._~%!$&'()+,;:@=*".contains(byte),
    };
    text.bytes().take_while(|byte| taken(byte)).count()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/a", "/a", true)]
    #[case("/a", "/a/", false)]
    #[case("/a/", "/a/", true)]
    #[case("/*", "/a", true)]
    #[case("/*", "/", false)]
    #[case("/*", "/a=b*", true)]
    #[case("/*", "/a|b", false)]
    #[case("/a{x}c/d", "/abc/d", true)]
    #[case("/a{x}c/d", "/ac/d", false)]
    #[case("/*/b", "/a/b", true)]
    #[case("/*/b", "/a/c/b", false)]
    #[case("/**", "/", true)]
    #[case("/**", "/a//b", true)]
    #[case("/**.mp4", "/a/b.mp4.mp4", true)]
    #[case("/**.mp4", "/a/b.mp3", false)]
    #[case("/{x}.js", "/a.js", true)]
    #[case("/{x=v/*}/c", "/v/1/c", true)]
    #[case("/{x=v/*}/c", "/v/c", false)]
    #[case("/x*", "/", true)]
    #[case("/x*", "/xx", true)]
    #[case("/x*", "/xy", false)]
    #[case("/a-*b/*", "/a--b/c", true)]
    #[case("/{a=b*}/c", "/bb/c", true)]
    fn matches(#[case] template: &str, #[case] path: &str, #[case] expected: bool) {
        assert_eq!(Template::new(template).matches(path), expected);
    }

    #[rstest]
    #[case("/{a}/{b=**}", "/1/2/3", "/{b}/{a}", Some("/2/3/1"))]
    #[case("/{a}/{b=**}", "/1/", "/x{b}y", Some("/xy"))]
    #[case("/{a=v/*}.js", "/v/x.js.js", "/{a}", Some("/v/x.js"))]
    #[case("/{a}", "/1/2", "/{a}", None)]
    fn rewrites(
        #[case] template: &str,
        #[case] path: &str,
        #[case] rewrite: &str,
        #[case] expected: Option<&str>,
    ) {
        let found = Template::new(template).rewrite(path, rewrite);
        assert_eq!(found.as_deref(), expected);
    }
}
