//! Which backend a request is for.

use crate::client::share::Share;

/// A header that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The header's name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The backend that has to answer.
    pub backend: String,
}

impl std::str::FromStr for Pinned {
    type Err = String;

    /// `name: value=BACKEND`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected 'name: value'=BACKEND, found {text:?}");
        let (header, backend) = text.rsplit_once('=').ok_or_else(wrong)?;
        let (name, value) = header.split_once(':').ok_or_else(wrong)?;
        let (name, value) = (name.trim_matches(' '), value.trim_matches(' '));
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) || backend.is_empty() {
            return Err(wrong());
        }
        if value.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
            backend: backend.to_owned(),
        })
    }
}

/// Which backends may answer what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Headers that decide. Requests take turns between each of them and none.
    pub pinned: Vec<Pinned>,
    /// The backends of requests without such a header, with weights; empty: any backend.
    pub shares: Vec<Share>,
    /// Every request has one of the headers.
    pub always_pinned: bool,
}

impl Expected {
    /// How many kinds of requests there are.
    pub fn kinds(&self) -> u64 {
        self.pinned.len() as u64 + u64::from(!self.always_pinned || self.pinned.is_empty())
    }

    /// Whether a backend may answer a request with this header; the backends that may, if not.
    pub fn allows(&self, header: Option<&Pinned>, backend: &str) -> Result<(), String> {
        match header {
            Some(pinned) if pinned.backend == backend => Ok(()),
            Some(pinned) => Err(format!(
                "{} for {}: {}",
                pinned.backend, pinned.name, pinned.value
            )),
            None if self.shares.is_empty()
                || self.shares.iter().any(|share| share.backend == backend) =>
            {
                Ok(())
            }
            None => {
                let names: Vec<&str> = self
                    .shares
                    .iter()
                    .map(|share| share.backend.as_str())
                    .collect();
                Err(format!("one of {}", names.join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        let pinned: Pinned = "end-user: jason=v2".parse().unwrap();
        assert_eq!(
            (
                pinned.name.as_str(),
                pinned.value.as_str(),
                pinned.backend.as_str()
            ),
            ("end-user", "jason", "v2")
        );
        for bad in ["a", "a: b", "=v", ": x=v", "a b: x=v", "a: b=", "a: \r\n=v"] {
            assert!(bad.parse::<Pinned>().is_err(), "{bad:?}");
        }
    }
}
