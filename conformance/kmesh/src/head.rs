//! A request's head as Kmesh's parser keeps it: bytes, and fields by their exact names.

use twinmesh_engine::Request;

/// A field, and where its value stands in the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// White space before it is gone, white space behind it is not.
    pub(crate) value: String,
    at: usize,
    /// A header of the client, not part of the request line.
    pub(crate) is_header: bool,
}

/// A parsed head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

impl Head {
    /// The head of a request, as a client writes it: `Host` first.
    pub(crate) fn of(request: &Request) -> Self {
        let mut head = Self {
            bytes: Vec::new(),
            fields: Vec::new(),
        };
        head.push("METHOD", &request.method, false);
        head.bytes.push(b' ');
        head.push("URI", &request.path, false);
        head.bytes.push(b' ');
        head.push("VERSION", "HTTP/1.1", false);
        head.bytes.extend(b"\r\n");
        let host = request.authority.as_deref().map(|host| ("Host", host));
        let headers = request.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in host.into_iter().chain(headers) {
            head.bytes.extend(name.as_bytes());
            head.bytes.extend(b": ");
            head.push(name, value.trim_start_matches([' ', '\t']), true);
            head.bytes.extend(b"\r\n");
        }
        head.bytes.extend(b"\r\n");
        head
    }

    fn push(&mut self, name: &str, value: &str, is_header: bool) {
        self.fields.push(Field {
            name: name.to_owned(),
            value: value.to_owned(),
            at: self.bytes.len(),
            is_header,
        });
        self.bytes.extend(value.as_bytes());
    }

    /// All fields, in the order in which they were parsed.
    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// At most so many bytes from a field's value on.
    pub(crate) fn from(&self, field: &Field, most: usize) -> &[u8] {
        let rest = self.bytes.get(field.at..).unwrap_or_default();
        rest.get(..most).unwrap_or(rest)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A request for `host.test` of nothing but its path and headers.
    pub(crate) fn request(path: &str, headers: &[(&str, &str)]) -> Request {
        Request {
            authority: Some("host.test".to_owned()),
            path: path.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Request::default()
        }
    }

    pub(crate) fn head(path: &str, headers: &[(&str, &str)]) -> Head {
        Head::of(&request(path, headers))
    }

    #[test]
    fn bytes_go_on_behind_a_value() {
        let head = head("/a", &[("x", "  1 ")]);
        let field = |name: &str| head.fields().iter().find(|field| field.name == name);
        let uri = field("URI").expect("it is there");
        assert_eq!(head.from(uri, 20), b"/a HTTP/1.1\r\nHost: h");
        assert_eq!(field("x").expect("it is there").value, "1 ");
    }
}
