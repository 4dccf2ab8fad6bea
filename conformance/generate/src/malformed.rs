//! Heads that Envoy refuses, rewrites, or takes only just: what a traffic line can express of
//! them.

use twinmesh_engine::Request;

use crate::Tape;
use crate::texts::flip;

/// Spoils a request in one way, most of which Envoy refuses.
pub fn spoil(request: &mut Request, tape: &mut Tape<'_>) {
    let mut header = |name: &str, value: &str| {
        request.headers.push((name.to_owned(), value.to_owned()));
    };
    match tape.below(14) {
        0 => {
            header(
                "content-length",
                &tape.text(&[
                    "0",
                    "5",
                    "",
                    "-1",
                    "+1",
                    "5 ",
                    "0x5",
                    "5,5",
                    "18446744073709551616",
                ]),
            );
        }
        1 => {
            let (one, other) = (tape.text(&["5", "05", "0"]), tape.text(&["5", "6", "5,5"]));
            header("content-length", &one);
            header("Content-Length", &other);
        }
        2 => {
            header(
                "transfer-encoding",
                &tape.text(&[
                    "chunked",
                    "Chunked",
                    "gzip",
                    "gzip, chunked",
                    "",
                    "chunked, chunked",
                ]),
            );
            if tape.once_in(3) {
                header("content-length", "5");
            }
        }
        3 => {
            header(
                "connection",
                &tape.text(&[
                    "close",
                    "keep-alive",
                    "Close, keep-alive",
                    "x-a",
                    "upgrade",
                    "close,x-a",
                    "",
                    "te",
                    "X-A , x-b",
                    "content-type",
                    "host",
                    "x-forwarded-proto",
                    ":path",
                    "a,,b,c,d,e,f,g,h",
                    "a,b,c,d,e,f,g,h, ,x-a",
                ]),
            );
            if tape.once_in(3) {
                header("upgrade", &tape.text(&["websocket", "h2c", ""]));
            }
            if tape.once_in(3) {
                header(
                    "Connection",
                    &tape.text(&["x-ab", "keep-alive", "", "x-a,"]),
                );
            }
        }
        4 => {
            let name = tape.text(&[
                "x a", "x\ta", "", "x(a", "x-a ", "x\u{7f}a", "x:a", "x-\u{e4}", " x-a", "x\u{1}",
            ]);
            header(&name, "a");
        }
        5 => {
            let value = tape.text(&[
                "a\u{1}", "a\u{7f}", "a\u{e4}", " a ", "\ta", "a\tb", "a\0", "a ", "\u{20ac}", ":",
            ]);
            header(&tape.text(&["x-a", "x-b", "x-ab"]), &value);
        }
        6 => {
            request.method = tape.text(&[
                "get", "G", "", "GE T", "CONNECT", "QUERY", "PATCH", "M-SEARCH", "GET\t",
                "OPTIONS", "G\u{e4}T",
            ]);
        }
        7 => {
            request.path = tape.text(&[
                "", "a", "*", "/a b", "/a#b", "/a?a#b", "/\u{e4}", "/a\tb", "//a", "/%", "/a%2fb",
                "/\u{1}",
            ]);
        }
        8 => {
            request.path = tape.text(&[
                "http://a.com/a",
                "http://a.com",
                "https://b.a.com:80/a?a=a",
                "HTTP://A.com/a",
                "ftp://a.com/a",
                "http:///a",
                "http://a@a.com/",
                "http://a.com?a",
                "://",
                "http://[::1]/a",
            ]);
        }
        12 => {
            if tape.once_in(2) {
                header(
                    &tape.text(&["x-a", "x-b", "content-type"]),
                    &tape.text(&["a", "", "b "]),
                );
            }
            for _ in 0..if tape.once_in(3) { 2 } else { 1 } {
                header(
                    &tape.text(&[" ", "\tb", " a", "  x-a"]),
                    &tape.text(&["", "a", " 1"]),
                );
            }
        }
        13 => {
            let name = tape.text(&["x-forwarded-proto", "transfer-encoding"]);
            let values = match name.as_str() {
                "x-forwarded-proto" => &["http", "https", "", "HTTPS"][..],
                _ => &["chunked", "", "gzip"],
            };
            for _ in 0..if tape.once_in(3) { 1 } else { 2 } {
                header(&name, &tape.text(values));
            }
        }
        9 => request.authority = None,
        10 => {
            request.authority = Some(tape.text(&[
                "",
                " ",
                "a b",
                "a.com ",
                "a@a.com",
                "a.com:x",
                "[::1]:80",
                "[::1",
                "::1",
                "a_b",
                "a/b",
                "\u{e4}.com",
                "a,b",
                "a%62",
                "a.com:80:80",
            ]));
        }
        _ => {
            for (name, _) in &mut request.headers {
                *name = flip(name);
            }
            let many = [1, 90, 99, 100, 101][tape.below(5)];
            for index in 0..many {
                request.headers.push((format!("x-{index}"), String::new()));
            }
        }
    }
}
