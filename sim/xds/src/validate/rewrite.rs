//! Rewrites: which may stand beside which, and their regexes.

#![allow(deprecated)] // Envoy still reads text_format

use envoy_types::pb::envoy::config::core::v3::{
    SubstitutionFormatString, data_source::Specifier, substitution_format_string::Format,
};
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction,
    redirect_action::PathRewriteSpecifier,
    route::Action,
    route_action::{HashPolicy, HostRewriteSpecifier, hash_policy::PolicySpecifier},
    route_match::PathSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};

use crate::{error::ReadError, format, path::Path, source::Source, uri_template};

pub(super) fn check(route: &Route, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    check_template(route, path, source)?;
    match &route.action {
        Some(Action::Route(action)) => {
            let at = path.field("route");
            one_of_path(route, action, &at, source)?;
            if let Some(rule) = &action.regex_rewrite {
                regex(rule, &at.field("regex_rewrite"), source)?;
            }
            for (index, policy) in action.hash_policy.iter().enumerate() {
                if let Some(rule) = of_hash_policy(policy) {
                    let at = at.item("hash_policy", index).field("header");
                    regex(rule, &at.field("regex_rewrite"), source)?;
                }
            }
            formatted(&action.path_rewrite, &at.field("path_rewrite"), source)?;
            match &action.host_rewrite_specifier {
                Some(HostRewriteSpecifier::HostRewritePathRegex(rule)) => {
                    regex(rule, &at.field("host_rewrite_path_regex"), source)
                }
                Some(HostRewriteSpecifier::HostRewrite(format)) => {
                    formatted(format, &at.field("host_rewrite"), source)
                }
                _ => Ok(()),
            }
        }
        Some(Action::Redirect(action)) => match &action.path_rewrite_specifier {
            Some(PathRewriteSpecifier::PathRewrite(format)) => {
                let at = path.field("redirect").field("path_rewrite");
                formatted(format, &at, source)
            }
            Some(PathRewriteSpecifier::RegexRewrite(rule)) => {
                let at = path.field("redirect").field("regex_rewrite");
                regex(rule, &at, source)
            }
            Some(PathRewriteSpecifier::PrefixRewrite(prefix))
                if !prefix.is_empty() && is_matched_by_extension(route) =>
            {
                let at = path.field("redirect").field("prefix_rewrite");
                Err(source.invalid(&at, NO_PREFIX))
            }
            _ => Ok(()),
        },
        Some(Action::DirectResponse(action)) => match &action.body_format {
            Some(config) => {
                let at = path.field("direct_response").field("body_format");
                body_format(config, &at, source)
            }
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

const NO_PREFIX: &str = "the route's match is a path_match_policy, which has no prefix";

fn is_matched_by_extension(route: &Route) -> bool {
    let matched = route.r#match.as_ref();
    matches!(
        matched.and_then(|matched| matched.path_specifier.as_ref()),
        Some(PathSpecifier::PathMatchPolicy(_))
    )
}

/// A format string whose value is a path or a host.
fn formatted(text: &str, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    for part in parsed(text, path, source)? {
        if let format::Part::Command(command) = part
            && command.is_of_headers()
        {
            let problem = format!("{command} has a value in headers only");
            return Err(source.invalid(path, problem));
        }
    }
    Ok(())
}

fn parsed<'f>(
    text: &'f str,
    path: &Path,
    source: &Source<'_>,
) -> Result<Vec<format::Part<'f>>, ReadError> {
    format::parse(text)
        .map_err(|fault| source.invalid(path, format!("the format {text:?}, {fault}")))
}

/// `DirectResponseAction.body_format`: commands that Envoy knows. Names in JSON are no formats.
fn body_format(
    config: &SubstitutionFormatString,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    // Extensions bring commands of their own.
    if !config.formatters.is_empty() {
        return Ok(());
    }
    match &config.format {
        Some(Format::TextFormat(text)) => {
            formatted(text, &path.field("text_format"), source)?;
        }
        Some(Format::TextFormatSource(data)) => {
            if let Some(Specifier::InlineString(text)) = &data.specifier {
                let at = path.field("text_format_source").field("inline_string");
                formatted(text, &at, source)?;
            }
        }
        Some(Format::JsonFormat(fields)) => {
            return json_format(fields, &path.field("json_format"), source);
        }
        None => {}
    }
    Ok(())
}

fn json_format(fields: &Struct, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    let mut left: Vec<&Value> = fields.fields.values().collect();
    while let Some(value) = left.pop() {
        match &value.kind {
            Some(Kind::StringValue(text)) => {
                formatted(text, path, source)?;
            }
            Some(Kind::StructValue(inner)) => left.extend(inner.fields.values()),
            Some(Kind::ListValue(list)) => left.extend(&list.values),
            _ => {}
        }
    }
    Ok(())
}

/// URI templates: the match's, and the rewrite's, whose variables are the match's.
fn check_template(route: &Route, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    let specifier = route
        .r#match
        .as_ref()
        .and_then(|it| it.path_specifier.as_ref());
    let policy = match specifier {
        Some(PathSpecifier::PathMatchPolicy(policy)) => Some(policy),
        _ => None,
    };
    let template = policy.and_then(uri_template::template);
    if let Some(template) = &template
        && let Err(problem) = uri_template::regex(template)
    {
        let at = path.field("match").field("path_match_policy");
        let at = at.field("typed_config").field("path_template");
        return Err(source.invalid(&at, format!("the template {template:?}: {problem}")));
    }
    let Some(Action::Route(action)) = &route.action else {
        return Ok(());
    };
    let rewrite = action
        .path_rewrite_policy
        .as_ref()
        .and_then(uri_template::rewrite);
    let Some(rewrite) = rewrite else {
        return Ok(());
    };
    let at = path.field("route").field("path_rewrite_policy");
    let at = at.field("typed_config").field("path_template_rewrite");
    match (&template, policy) {
        (Some(template), _) => match uri_template::substitution(template, &rewrite) {
            Ok(_) => Ok(()),
            Err(problem) => {
                Err(source.invalid(&at, format!("the template {rewrite:?}: {problem}")))
            }
        },
        // What another extension matches is not known here.
        (None, Some(_)) => Ok(()),
        (None, None) => {
            let problem = "the route's match is no path_match_policy, whose variables it could use";
            Err(source.invalid(&at, problem))
        }
    }
}

/// A path is rewritten in one way.
fn one_of_path(
    route: &Route,
    action: &RouteAction,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let ways = [
        ("prefix_rewrite", !action.prefix_rewrite.is_empty()),
        ("regex_rewrite", action.regex_rewrite.is_some()),
        ("path_rewrite_policy", action.path_rewrite_policy.is_some()),
        ("path_rewrite", !action.path_rewrite.is_empty()),
    ];
    let mut set = ways.iter().filter(|(_, is_set)| *is_set);
    if let (Some((first, _)), Some((second, _))) = (set.next(), set.next()) {
        let problem = format!("{first} stands beside it, and a path is rewritten in one way");
        return Err(source.invalid(&path.field(second), problem));
    }
    if is_matched_by_extension(route) && !action.prefix_rewrite.is_empty() {
        return Err(source.invalid(&path.field("prefix_rewrite"), NO_PREFIX));
    }
    Ok(())
}

/// How the header that a policy hashes is rewritten.
pub(crate) fn of_hash_policy(policy: &HashPolicy) -> Option<&RegexMatchAndSubstitute> {
    match &policy.policy_specifier {
        Some(PolicySpecifier::Header(header)) => header.regex_rewrite.as_ref(),
        _ => None,
    }
}

fn regex(
    rule: &RegexMatchAndSubstitute,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let pattern = rule
        .pattern
        .as_ref()
        .map_or("", |pattern| pattern.regex.as_str());
    match twinmesh_re2::parse_latin_1(pattern) {
        Ok(_) => Ok(()),
        Err(error) => {
            let at = path.field("pattern").field("regex");
            Err(source.invalid(&at, error.to_string()))
        }
    }
}
