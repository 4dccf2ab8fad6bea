//! What a reader found, what it could not read, and what the format could not tell.

use std::fmt;

use twinmesh_engine::Request;

/// The result of reading one file.
#[derive(Debug, Default)]
pub struct Reading {
    /// The requests, in the order of the file.
    pub found: Vec<Found>,
    /// What cannot be read.
    pub bad: Vec<Bad>,
    /// What the format cannot tell, and what was left out.
    pub notes: Notes,
}

/// A request.
#[derive(Debug)]
pub struct Found {
    /// The request, without its time; its id is unique in the file.
    pub request: Request,
    /// When it arrived, in microseconds of Unix time.
    pub time_us: Option<i64>,
}

/// Something that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Bad {
    /// Where: a line number, an entry's path, a packet.
    pub place: String,
    /// Why.
    pub problem: String,
}

impl fmt::Display for Bad {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.problem)
    }
}

/// Sentences, and how often each holds.
#[derive(Debug, Default)]
pub struct Notes {
    counted: Vec<(String, usize)>,
}

impl Notes {
    /// The sentence holds once more.
    pub fn count(&mut self, sentence: &str) {
        self.count_many(1, sentence);
    }

    /// The sentence holds some more times.
    pub fn count_many(&mut self, times: usize, sentence: &str) {
        if times == 0 {
            return;
        }
        match self.counted.iter_mut().find(|(text, _)| text == sentence) {
            Some((_, count)) => *count += times,
            None => self.counted.push((sentence.to_owned(), times)),
        }
    }

    /// Takes over all sentences of other notes.
    pub fn add(&mut self, other: Self) {
        for (sentence, count) in other.counted {
            self.count_many(count, &sentence);
        }
    }

    /// A line for each sentence, in the order in which they came up.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.counted
            .iter()
            .map(|(sentence, count)| format!("{sentence} ({count})"))
    }
}

impl Reading {
    /// Adds something that cannot be read.
    pub fn bad(&mut self, place: impl fmt::Display, problem: impl Into<String>) {
        self.bad.push(Bad {
            place: place.to_string(),
            problem: problem.into(),
        });
    }
}

/// What of a request a traffic file cannot hold.
///
/// # Errors
/// The field, and what is wrong with it.
pub fn check(request: &Request) -> Result<(), String> {
    let breaks = |text: &str| text.contains(['\r', '\n', '\0']);
    let named = [
        ("method", Some(request.method.as_str())),
        ("path", Some(request.path.as_str())),
        ("authority", request.authority.as_deref()),
    ];
    let headers = request
        .headers
        .iter()
        .flat_map(|(name, value)| [("a header name", name), ("a header value", value)])
        .map(|(what, text)| (what, Some(text.as_str())));
    for (what, text) in named.into_iter().chain(headers) {
        if text.is_some_and(breaks) {
            return Err(format!("{what} has a line break or a NUL"));
        }
    }
    Ok(())
}
