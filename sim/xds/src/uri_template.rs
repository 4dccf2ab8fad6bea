//! URI templates: how `path_match_policy` matches a path, and `path_rewrite_policy` makes a new
//! one of its parts (`envoy.extensions.path.match.uri_template.v3`, `….path.rewrite.…`).
//!
//! A template is segments between slashes: a text, `*` (one segment), `**` (any number of them, and
//! no operator after it), `{name}` or `{name=segments}`. Text may stand before and after a variable,
//! and after an operator that ends the template. Measured on Envoy 1.40.

use std::fmt::Write as _;

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::path::{
    r#match::uri_template::v3::UriTemplateMatchConfig,
    rewrite::uri_template::v3::UriTemplateRewriteConfig,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatchAndSubstitute, RegexMatcher};
use prost::Message as _;

/// What a `path_match_policy` holds.
pub const MATCH: &str = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
/// What a `path_rewrite_policy` holds.
pub const REWRITE: &str = "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig";

/// Variables that a template may have.
const VARIABLES: usize = 5;
/// Bytes of a variable's name, at most.
const NAME: usize = 16;
/// Bytes that stand for themselves besides letters and digits, and that an operator takes.
const OTHERS: &str = "-._~%!$&'()+,;:@=*";

/// The template of a `path_match_policy`; `None` where it is another extension.
pub fn template(policy: &TypedExtensionConfig) -> Option<String> {
    let any = policy.typed_config.as_ref()?;
    if !any.type_url.ends_with(MATCH) {
        return None;
    }
    let config = UriTemplateMatchConfig::decode(any.value.as_slice()).ok()?;
    Some(config.path_template)
}

/// The new path of a `path_rewrite_policy`; `None` where it is another extension.
pub fn rewrite(policy: &TypedExtensionConfig) -> Option<String> {
    let any = policy.typed_config.as_ref()?;
    if !any.type_url.ends_with(REWRITE) {
        return None;
    }
    let config = UriTemplateRewriteConfig::decode(any.value.as_slice()).ok()?;
    Some(config.path_template_rewrite)
}

/// The regex that matches what a template matches, in full, with a named group for each variable.
///
/// # Errors
/// What Envoy refuses in the template, in words.
pub fn regex(template: &str) -> Result<String, String> {
    Parser::new(template)?.parse().map(|parsed| parsed.regex)
}

/// The substitution by which a path that `template` matches becomes what `rewrite` says.
///
/// # Errors
/// What Envoy refuses in either, in words.
pub fn substitution(template: &str, rewrite: &str) -> Result<RegexMatchAndSubstitute, String> {
    let parsed = Parser::new(template)?.parse()?;
    let mut substitution = String::new();
    if !rewrite.starts_with('/') {
        return Err("it does not start with a slash".to_owned());
    }
    if rewrite.contains("//") {
        return Err("it has two slashes one after the other".to_owned());
    }
    let mut rest = rewrite;
    while !rest.is_empty() {
        let (text, variable) = match rest.split_once('{') {
            Some((text, variable)) => (text, Some(variable)),
            None => (rest, None),
        };
        if let Some(bad) = text.chars().find(|it| !is_literal(*it) && *it != '/') {
            return Err(format!("{bad:?} may not stand in it"));
        }
        substitution.push_str(text);
        let Some(variable) = variable else { break };
        let (name, after) = variable
            .split_once('}')
            .ok_or_else(|| format!("the bracket of {variable:?} is not closed"))?;
        check_name(name)?;
        let group = parsed.variables.iter().position(|known| known == name);
        let group = group.ok_or_else(|| {
            format!("the variable {name:?} is none of path_match_policy's {template:?}")
        })?;
        // A String takes all that is written to it.
        let _ = write!(substitution, "\\{}", group + 1);
        rest = after;
    }
    Ok(RegexMatchAndSubstitute {
        pattern: Some(RegexMatcher {
            regex: format!("^{}$", parsed.regex),
            ..RegexMatcher::default()
        }),
        substitution,
    })
}

/// Whether a text of the template has a `*` that repeats more than one character of the text: its meaning
/// is not decided.
pub(crate) fn has_star_in_text(template: &str) -> bool {
    Parser::new(template)
        .and_then(Parser::parse)
        .is_ok_and(|parsed| parsed.star)
}

fn is_literal(character: char) -> bool {
    character.is_ascii_alphanumeric() || OTHERS.contains(character)
}

fn check_name(name: &str) -> Result<(), String> {
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let goes_on = name
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || it == '_');
    if starts && goes_on {
        Ok(())
    } else {
        Err(format!("{name:?} is no name of a variable"))
    }
}

struct Parsed {
    regex: String,
    /// A text has a `*`.
    star: bool,
    variables: Vec<String>,
}

struct Parser<'t> {
    rest: &'t str,
    regex: String,
    variables: Vec<String>,
    /// A `**` has been there.
    over: bool,
    /// A text has a `*`.
    star: bool,
}

impl<'t> Parser<'t> {
    fn new(template: &'t str) -> Result<Self, String> {
        let rest = template
            .strip_prefix('/')
            .ok_or("it does not start with a slash")?;
        if let Some(bad) = rest.chars().find(|it| !it.is_ascii_graphic()) {
            return Err(format!("{bad:?} may not stand in it"));
        }
        Ok(Self {
            rest,
            regex: "/".to_owned(),
            variables: Vec::new(),
            over: false,
            star: false,
        })
    }

    fn parse(mut self) -> Result<Parsed, String> {
        while !self.rest.is_empty() {
            let chunk = self.rest.split('/').next().unwrap_or_default();
            let operator = self.rest.starts_with('*');
            if self.rest.starts_with('{') {
                self.variable()?;
            } else if let Some(open) = chunk.find('{')
                && chunk.contains('}')
                && !operator
            {
                self.literal(open)?;
                self.variable()?;
            } else {
                self.segment()?;
            }
            if !self.rest.is_empty() && !self.rest.starts_with('/') {
                self.literal(self.chunk())?;
                if operator && !self.rest.is_empty() {
                    return Err(format!(
                        "a text follows an operator, and a segment follows both: {:?}",
                        self.rest
                    ));
                }
            }
            if let Some(rest) = self.rest.strip_prefix('/') {
                self.regex.push('/');
                self.rest = rest;
            }
        }
        Ok(Parsed {
            regex: self.regex,
            star: self.star,
            variables: self.variables,
        })
    }

    /// Bytes up to the next slash.
    fn chunk(&self) -> usize {
        self.rest.find('/').unwrap_or(self.rest.len())
    }

    /// `*`, `**`, or a text.
    fn segment(&mut self) -> Result<(), String> {
        if let Some(rest) = self.rest.strip_prefix("**") {
            self.operator()?;
            self.over = true;
            self.class("/]*");
            self.rest = rest;
        } else if let Some(rest) = self.rest.strip_prefix('*') {
            self.operator()?;
            self.class("]+");
            self.rest = rest;
        } else {
            self.literal(self.chunk())?;
        }
        Ok(())
    }

    fn operator(&self) -> Result<(), String> {
        if self.over {
            return Err("an operator or a variable stands after `**`".to_owned());
        }
        Ok(())
    }

    /// The bytes that stand for themselves as a regex's class, up to what ends it.
    fn class(&mut self, end: &str) {
        self.regex.push_str("[a-zA-Z0-9");
        for other in OTHERS.chars() {
            if other == '-' {
                self.regex.push('\\');
            }
            self.regex.push(other);
        }
        self.regex.push_str(end);
    }

    /// A text of so many bytes.
    fn literal(&mut self, end: usize) -> Result<(), String> {
        let (text, rest) = self.rest.split_at(end);
        if text.is_empty() {
            return Err("a segment is empty".to_owned());
        }
        if let Some(bad) = text.chars().find(|it| !is_literal(*it)) {
            return Err(format!("{bad:?} may not stand in the segment {text:?}"));
        }
        let repeats_more = text.starts_with('*') || text.contains("**");
        self.star |= repeats_more;
        for character in text.chars() {
            // Envoy takes a star as the regex's.
            let is_operator = character == '*' && !repeats_more;
            if !character.is_ascii_alphanumeric() && !is_operator {
                self.regex.push('\\');
            }
            self.regex.push(character);
        }
        self.rest = rest;
        Ok(())
    }

    /// `{name}` or `{name=segments}`.
    fn variable(&mut self) -> Result<(), String> {
        let inside = self.rest.get(1..).unwrap_or_default();
        let (variable, rest) = inside
            .split_once('}')
            .ok_or_else(|| format!("the bracket of {:?} is not closed", self.rest))?;
        let (name, segments) = match variable.split_once('=') {
            Some((name, segments)) => (name, segments),
            None => (variable, "*"),
        };
        check_name(name)?;
        if name.len() > NAME {
            return Err(format!(
                "the variable {name:?} has more than {NAME} characters"
            ));
        }
        if self.variables.iter().any(|other| other == name) {
            return Err(format!("the variable {name:?} stands twice"));
        }
        if self.variables.len() == VARIABLES {
            return Err(format!("there are more than {VARIABLES} variables"));
        }
        self.variables.push(name.to_owned());
        // A String takes all that is written to it.
        let _ = write!(self.regex, "(?P<{name}>");
        self.rest = segments;
        loop {
            self.segment()?;
            if self.rest.is_empty() {
                break;
            }
            self.rest = self
                .rest
                .strip_prefix('/')
                .ok_or_else(|| format!("the segments of the variable {name:?} are not valid"))?;
            self.regex.push('/');
        }
        self.regex.push(')');
        self.rest = rest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/", "/")]
    #[case("/a.b/c+", r"/a\.b/c\+")]
    #[case("/a/", "/a/")]
    #[case("/*", r"/[a-zA-Z0-9\-._~%!$&'()+,;:@=*]+")]
    #[case("/**.mp4", r"/[a-zA-Z0-9\-._~%!$&'()+,;:@=*/]*\.mp4")]
    #[case("/{v=a/b}/c", "/(?P<v>a/b)/c")]
    #[case("/a{v=b}c/d", "/a(?P<v>b)c/d")]
    fn templates(#[case] template: &str, #[case] expected: &str) {
        assert_eq!(regex(template).as_deref(), Ok(expected));
    }

    #[rstest]
    #[case("a", "does not start")]
    #[case("//", "empty")]
    #[case("/a//b", "empty")]
    #[case("/a b", "' '")]
    #[case("/a?b", "'?'")]
    #[case("/*a/b", "follows an operator")]
    #[case("/*-{a}", "'{'")]
    #[case("/{a}-{b}", "'{'")]
    #[case("/a{b=c/d}", "'{'")]
    #[case("/}{a}", "'}'")]
    #[case("/{a", "not closed")]
    #[case("/{1a}", "no name")]
    #[case("/{a=}", "empty")]
    #[case("/{a=b/}", "empty")]
    #[case("/{a=*b}", "not valid")]
    #[case("/{a}/{a}", "twice")]
    #[case("/{a}/{b}/{c}/{d}/{e}/{f}", "more than 5")]
    #[case("/{abcdefghijklmnopq}", "more than 16")]
    #[case("/**/*", "after `**`")]
    #[case("/{a=**}/{b}", "after `**`")]
    fn refused_templates(#[case] template: &str, #[case] expected: &str) {
        let problem = regex(template).expect_err("Envoy refuses it");
        assert!(problem.contains(expected), "{problem}");
    }

    #[rstest]
    #[case("/*", false)]
    #[case("/**/a", false)]
    #[case("/{a=*/b}", false)]
    #[case("/a*", false)]
    #[case("/{a=b*}", false)]
    #[case("/a**", true)]
    #[case("/{a}*", true)]
    fn stars_in_text(#[case] template: &str, #[case] expected: bool) {
        assert_eq!(has_star_in_text(template), expected);
    }

    #[test]
    fn a_rewrite_names_groups_by_their_variables() {
        let found = substitution("/{one}/{two=**}", "/{two}/x{one}").expect("it is valid");
        assert_eq!(found.substitution, r"/\2/x\1");
    }

    #[rstest]
    #[case("{one}", "slash")]
    #[case("/a//b", "two slashes")]
    #[case("/a?", "'?'")]
    #[case("/{one", "not closed")]
    #[case("/{three}", "none of")]
    fn refused_rewrites(#[case] rewrite: &str, #[case] expected: &str) {
        let problem = substitution("/{one}/{two}", rewrite).expect_err("Envoy refuses it");
        assert!(problem.contains(expected), "{problem}");
    }
}
