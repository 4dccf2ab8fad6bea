//! Response heads through the model, against httparse and RFC 9112's rules written down a second
//! time; and chunked bodies against their encoder.

use std::cell::RefCell;
use std::sync::Arc;

use proptest::prelude::*;
use twinmesh_compile::{Input, compile};
use twinmesh_model::layout::{framing, high, input, work};
use twinmesh_model::{Machine, chunk, response};
use twinmesh_sim::Memory;
use twinmesh_xds::Snapshot;

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::new(Memory::new(
        &compile(&Arc::new(Snapshot::default())).expect("an empty snapshot compiles"),
    ));
}

#[derive(Debug, PartialEq, Eq)]
enum Read {
    Whole {
        status: u64,
        end: usize,
        body: u64,
        length: u64,
        closes: bool,
    },
    Incomplete,
    Unusual,
}

fn by_model(memory: &mut Memory, bytes: &[u8], head_request: bool) -> Read {
    memory.set_bytes(input::HEAD, bytes);
    // What was there before must not be read.
    memory.set_bytes(input::HEAD + bytes.len() as u64, b"\r\n\r\ncontent");
    Input::set_word(memory, work::HEAD_LENGTH, bytes.len() as u64);
    match response::head(memory) {
        response::INCOMPLETE => Read::Incomplete,
        response::UNUSUAL => Read::Unusual,
        _ => {
            let body = response::body_of(memory, head_request);
            if high(body) != 0 {
                return Read::Unusual;
            }
            Read::Whole {
                status: memory.word(work::STATUS),
                end: (memory.word(work::HEAD_END) - input::HEAD) as usize,
                body,
                length: if body == response::body::LENGTH {
                    memory.word(work::CONTENT_LENGTH)
                } else {
                    0
                },
                closes: memory.word(work::FRAMING) & framing::MAY_CLOSE != 0,
            }
        }
    }
}

fn by_httparse(bytes: &[u8], head_request: bool) -> Read {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let end = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Read::Incomplete,
        Err(_) => return Read::Unusual,
    };
    let status = u64::from(parsed.code.expect("it is complete"));
    if parsed.version != Some(1) || status < 100 {
        return Read::Unusual;
    }
    let (mut length, mut chunked, mut closes) = (None, false, false);
    for header in parsed.headers.iter() {
        let value = String::from_utf8_lossy(header.value)
            .trim_matches([' ', '\t'])
            .to_owned();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                if length.is_some()
                    || value.is_empty()
                    || !value.bytes().all(|byte| byte.is_ascii_digit())
                {
                    return Read::Unusual;
                }
                let Ok(number) = value.parse::<u64>() else {
                    return Read::Unusual;
                };
                length = Some(number);
            }
            "transfer-encoding" => {
                if chunked || !value.eq_ignore_ascii_case("chunked") {
                    return Read::Unusual;
                }
                chunked = true;
            }
            "connection" => {
                if value.is_empty() {
                    return Read::Unusual;
                }
                closes |= !value.eq_ignore_ascii_case("keep-alive");
            }
            _ => {}
        }
    }
    if status == 101 || length.is_some() && chunked {
        return Read::Unusual;
    }
    let body = if head_request || status < 200 || status == 204 || status == 304 {
        response::body::NONE
    } else if chunked {
        response::body::CHUNKED
    } else if length.is_some() {
        response::body::LENGTH
    } else {
        response::body::UNTIL_CLOSE
    };
    let length = if body == response::body::LENGTH {
        length.unwrap_or(0)
    } else {
        0
    };
    Read::Whole {
        status,
        end,
        body,
        length,
        closes,
    }
}

fn header() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("content-length"),
        Just("Content-Length"),
        Just("CONTENT-LENGTH"),
        Just("content-lengthy"),
        Just("content-lengtx"),
        Just("transfer-encoding"),
        Just("Transfer-Encoding"),
        Just("transfer-encodinx"),
        Just("connection"),
        Just("Connection"),
        Just("connectiox"),
        Just("server"),
        Just("x-a-rather-long-name-of-a-header-that-takes-more-than-four-words"),
        Just("a"),
    ];
    let value = prop_oneof![
        Just("0".to_owned()),
        (0_u64..100_000).prop_map(|number| number.to_string()),
        Just("18446744073709551615".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just("5, 5".to_owned()),
        Just("+5".to_owned()),
        Just("chunked".to_owned()),
        Just("Chunked".to_owned()),
        Just("gzip, chunked".to_owned()),
        Just("keep-alive".to_owned()),
        Just("Keep-Alive".to_owned()),
        Just("close".to_owned()),
        Just("keep-alive, close".to_owned()),
        Just(String::new()),
        "[ -~]{0,100}",
    ];
    (name, "[ \t]{0,2}", value, "[ \t]{0,2}")
        .prop_map(|(name, before, value, after)| format!("{name}:{before}{value}{after}\r\n"))
}

fn head() -> impl Strategy<Value = Vec<u8>> {
    let status = prop_oneof![
        Just(200_u64),
        Just(204),
        Just(304),
        Just(100),
        Just(101),
        Just(103),
        100_u64..600
    ];
    let reason = prop_oneof![
        Just(" OK".to_owned()),
        Just(" ".to_owned()),
        "( [A-Za-z ]{1,40})"
    ];
    let version = prop_oneof![8 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/2.0")];
    (
        version,
        status,
        reason,
        prop::collection::vec(header(), 0..8),
    )
        .prop_map(|(version, status, reason, headers)| {
            format!("{version} {status}{reason}\r\n{}\r\n", headers.concat()).into_bytes()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// The model may find unusual what httparse reads; what it reads, it reads alike.
    #[test]
    fn response_heads_are_read_alike(head in head(), cut in any::<prop::sample::Index>(), cuts: bool, head_request: bool, body in "[a-z]{0,20}") {
        let mut bytes = head;
        bytes.extend_from_slice(body.as_bytes());
        if cuts {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        let (model, other) = (MEMORY.with_borrow_mut(|memory| by_model(memory, &bytes, head_request)), by_httparse(&bytes, head_request));
        match (&model, &other) {
            (Read::Unusual, Read::Incomplete) | (Read::Incomplete, Read::Unusual) => {}
            _ => prop_assert_eq!(model, other, "{:?}", String::from_utf8_lossy(&bytes)),
        }
    }

    #[test]
    fn chunked_bodies_end_where_they_end(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6),
        extension in prop_oneof![Just(""), Just(";a=b"), Just(" ;a")],
        trailers in prop::collection::vec("[a-z]{1,9}: [a-z]{0,9}\r\n", 0..3),
        capitals: bool,
        more in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut coded = Vec::new();
        for data in &chunks {
            let size = if capitals { format!("{:X}", data.len()) } else { format!("{:x}", data.len()) };
            coded.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            coded.extend_from_slice(data);
            coded.extend_from_slice(b"\r\n");
        }
        coded.extend_from_slice(b"0\r\n");
        coded.extend_from_slice(trailers.concat().as_bytes());
        coded.extend_from_slice(b"\r\n");
        let end = coded.len();
        coded.extend_from_slice(&more);
        let (mut state, mut at, mut data) = (chunk::START, 0, Vec::new());
        while at < coded.len() && !chunk::ended(state) {
            prop_assert!(!chunk::bad(state));
            let some = chunk::data(state) as usize;
            if some == 0 {
                state = chunk::step(state, u64::from(coded[at]));
                at += 1;
            } else {
                // In two parts, as messages come.
                let part = some.div_ceil(2);
                data.extend_from_slice(&coded[at..at + part]);
                state = chunk::skip(state, part as u64);
                at += part;
            }
        }
        prop_assert!(chunk::ended(state));
        prop_assert_eq!(at, end);
        prop_assert_eq!(data, chunks.concat());
    }
}

#[test]
fn what_is_no_chunked_coding_is_said_to_be_none() {
    for text in [
        "\r\n",
        "g\r\n",
        "5\n",
        "5\r5",
        "-1\r\n",
        "1000000000000\r\n",
        "2\r\nabc\r\n",
        "0\r\n\n",
        "1\r\na\n",
    ] {
        let mut state = chunk::START;
        for byte in text.bytes() {
            if chunk::data(state) != 0 {
                state = chunk::skip(state, 1);
            } else {
                state = chunk::step(state, u64::from(byte));
            }
        }
        assert!(chunk::bad(state), "{text:?}");
    }
}
