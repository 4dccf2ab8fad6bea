//! Envoy's substitution format strings: their syntax, and the commands that Envoy 1.40 knows.

mod command;

use std::fmt;

pub use command::Command;

/// A stretch of a format string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'f> {
    /// Text that stands for itself.
    Text(&'f str),
    /// A command.
    Command(Command<'f>),
}

/// What Envoy does not take of a format string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A place in the string's bytes.
    pub at: usize,
    problem: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Some(problem) => write!(formatter, "byte {}: {problem}", self.at),
            None => write!(
                formatter,
                "a \"%\" starts a command like %HOSTNAME% or %REQ(name):8%, or stands twice; \
                 byte {} does neither",
                self.at
            ),
        }
    }
}

/// Takes a format string apart.
///
/// # Errors
/// Envoy refuses it.
pub fn parse(format: &str) -> Result<Vec<Part<'_>>, Fault> {
    let mut parts = Vec::new();
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        let (text, at) = rest.split_at(start);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let place = format.len() - at.len();
        if let Some(after) = at.strip_prefix("%%") {
            parts.push(Part::Text(at.get(..1).unwrap_or_default()));
            rest = after;
            continue;
        }
        let Some((command, after)) = command(at) else {
            return Err(Fault {
                at: place,
                problem: None,
            });
        };
        if let Err(problem) = command.check() {
            let problem = Some(format!("the command {command}: {problem}"));
            return Err(Fault { at: place, problem });
        }
        parts.push(Part::Command(command));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

/// The commands of a format whose values are not decided, in their order.
pub fn undecided(format: &str) -> Vec<Command<'_>> {
    let parts = parse(format).unwrap_or_default();
    let commands = parts.into_iter().filter_map(|part| match part {
        Part::Command(command) => Some(command),
        Part::Text(_) => None,
    });
    commands.filter(|command| !command.is_decided()).collect()
}

/// As [`undecided`], of the body of an answer that Envoy makes itself.
pub fn undecided_in_body(format: &str) -> Vec<Command<'_>> {
    let mut commands = undecided(format);
    commands.retain(|command| command.name != LOCAL_REPLY_BODY);
    commands
}

/// What stands for the body that an answer had before it was formatted.
pub const LOCAL_REPLY_BODY: &str = "LOCAL_REPLY_BODY";

/// The command that a text starts with, and what stands behind it: `%NAME%`, `%NAME(argument)%`,
/// each with `:length` before its end.
fn command(text: &str) -> Option<(Command<'_>, &str)> {
    let rest = text.get(1..)?;
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let length = rest.bytes().take_while(is_name).count();
    if length == 0 {
        return None;
    }
    let (name, after) = rest.split_at(length);
    let Some(arguments) = after.strip_prefix('(') else {
        let (length, after) = end(after)?;
        let argument = None;
        return Some((
            Command {
                name,
                argument,
                length,
            },
            after,
        ));
    };
    // An argument may hold parentheses: it ends at the first that ends the command too.
    arguments.match_indices(')').find_map(|(index, _)| {
        let (length, after) = end(arguments.get(index + 1..)?)?;
        let argument = arguments.get(..index);
        let command = Command {
            name,
            argument,
            length,
        };
        Some((command, after))
    })
}

/// The length that a command's end gives, and what stands behind.
fn end(text: &str) -> Option<(Option<usize>, &str)> {
    if let Some(after) = text.strip_prefix('%') {
        return Some((None, after));
    }
    let (length, after) = text.strip_prefix(':')?.split_once('%')?;
    let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = length.parse().ok().filter(|_| is_number)?;
    Some((Some(usize::try_from(number).unwrap_or(usize::MAX)), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_starts_a_command_or_stands_twice() {
        for format in [
            "",
            "%%",
            "100%%",
            "x%%%HOSTNAME%",
            "%HOSTNAME%%HOSTNAME%",
            "%REQ(x)%",
            "%REQ(x):3%",
            "%START_TIME(%s)%",
            "%START_TIME(%%s)%",
            "%START_TIME(a)b)%",
            "%START_TIME((ä))%",
            "%START_TIME()%",
            "%DYNAMIC_METADATA([\"a\",\"b\"])%",
        ] {
            assert_eq!(parse(format).err(), None, "{format}");
        }
        for (format, at) in [
            ("%", 0),
            ("100%", 3),
            ("a%b", 1),
            ("%a%", 0),
            ("%Hostname%", 0),
            ("%HOSTNAME %", 0),
            ("%HOST-NAME%", 0),
            ("x%%%", 3),
            ("%PROTOCOL%x%", 11),
            ("%REQ(x)", 0),
            ("%REQ(x)%%", 8),
            ("%REQ(x?y):z%", 0),
            ("%REQ(a)b%", 0),
            ("%REQ(a):%", 0),
            ("%REQ(a):3", 0),
            ("%REQ(a)%c)%", 10),
            ("%REQ(a):99999999999999999999%", 0),
        ] {
            assert_eq!(parse(format).map_err(|it| it.at), Err(at), "{format}");
        }
    }

    #[test]
    fn a_format_comes_apart() {
        let found = parse("a%%%REQ(x?y):3%%PROTOCOL% b");
        let command = |name, argument, length| {
            Part::Command(Command {
                name,
                argument,
                length,
            })
        };
        let expected = vec![
            Part::Text("a"),
            Part::Text("%"),
            command("REQ", Some("x?y"), Some(3)),
            command("PROTOCOL", None, None),
            Part::Text(" b"),
        ];
        assert_eq!(found, Ok(expected));
    }

    #[test]
    fn undecided_commands_are_found() {
        let found = undecided("%REQ(x)% %START_TIME% %HOSTNAME% 100%%");
        let found: Vec<&str> = found.iter().map(|command| command.name).collect();
        assert_eq!(found, ["START_TIME", "HOSTNAME"]);
    }
}
