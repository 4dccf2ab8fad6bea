//! What a request asks of the backend, in its query.

use std::fmt::Write as _;

/// What a response is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `bytes=N`: the body's length.
    pub bytes: u64,
    /// `status=N`.
    pub status: u16,
    /// `chunked=1`: a chunked body.
    pub chunked: bool,
    /// `split=1`: the head in two writes.
    pub split: bool,
    /// `early=1`: a 103 response before.
    pub early: bool,
    /// `slow=1`: the body in pieces with pauses.
    pub slow: bool,
    /// `delay_us=N`: a pause before the response, in microseconds.
    pub delay_us: u64,
    /// `close=1`: the connection ends after the response, and the response says so.
    pub close: bool,
    /// `until_close=1`: a body that ends with the connection.
    pub until_close: bool,
    /// `die=K`: the connection ends after K bytes of the body.
    pub die: Option<u64>,
    /// `reset=1`: it ends by RST.
    pub reset: bool,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            bytes: 200,
            status: 200,
            chunked: false,
            split: false,
            early: false,
            slow: false,
            delay_us: 0,
            close: false,
            until_close: false,
            die: None,
            reset: false,
        }
    }
}

impl Question {
    /// From a request's target. Unknown parameters are left alone.
    ///
    /// # Errors
    /// A value that is no number where one is expected; the message names the parameter.
    pub fn of_target(target: &str) -> Result<Self, String> {
        let mut question = Self::default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{name}: expected a number, found {value:?}"))
            };
            match name {
                "bytes" => question.bytes = number()?,
                "status" => {
                    question.status = u16::try_from(number()?)
                        .ok()
                        .filter(|status| (200..600).contains(status))
                        .ok_or_else(|| format!("status: expected 200 to 599, found {value}"))?;
                }
                "delay_us" => question.delay_us = number()?,
                "die" => question.die = Some(number()?),
                "chunked" => question.chunked = number()? != 0,
                "split" => question.split = number()? != 0,
                "early" => question.early = number()? != 0,
                "slow" => question.slow = number()? != 0,
                "close" => question.close = number()? != 0,
                "until_close" => question.until_close = number()? != 0,
                "reset" => question.reset = number()? != 0,
                _ => {}
            }
        }
        Ok(question)
    }

    /// The query that asks for it, with `?` before, or nothing where all is as by default.
    pub fn query(&self) -> String {
        let default = Self::default();
        let mut query = String::new();
        let mut add = |name: &str, value: u64, default: u64| {
            if value != default {
                let sign = if query.is_empty() { '?' } else { '&' };
                let _ = write!(query, "{sign}{name}={value}");
            }
        };
        add("bytes", self.bytes, default.bytes);
        add("status", u64::from(self.status), u64::from(default.status));
        add("delay_us", self.delay_us, 0);
        for (name, value) in [
            ("chunked", self.chunked),
            ("split", self.split),
            ("early", self.early),
            ("slow", self.slow),
            ("close", self.close),
            ("until_close", self.until_close),
            ("reset", self.reset),
        ] {
            add(name, u64::from(value), 0);
        }
        if let Some(bytes) = self.die {
            add("die", bytes, u64::MAX);
        }
        query
    }

    /// Whether responses of this status have no body.
    pub fn is_bodyless(&self) -> bool {
        self.status == 204 || self.status == 304
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_back() {
        let question = Question {
            bytes: 7,
            status: 404,
            chunked: true,
            delay_us: 9,
            die: Some(0),
            reset: true,
            ..Question::default()
        };
        let query = question.query();
        assert_eq!(
            query,
            "?bytes=7&status=404&delay_us=9&chunked=1&reset=1&die=0"
        );
        assert_eq!(Question::of_target(&format!("/a{query}")), Ok(question));
        assert_eq!(Question::of_target("/"), Ok(Question::default()));
        assert_eq!(Question::default().query(), "");
    }

    #[test]
    fn bad_values_are_named() {
        let error = Question::of_target("/?bytes=x").unwrap_err();
        assert_eq!(error, "bytes: expected a number, found \"x\"");
        assert!(Question::of_target("/?status=100").is_err());
    }
}
