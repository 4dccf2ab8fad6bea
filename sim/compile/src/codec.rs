//! What Envoy's HTTP/1 codec makes of a head that the model stops at: lines that go on with the one
//! before, headers that Connection names, repeated headers of which Envoy keeps one entry. And what
//! is joined for matchers alone.

use envoy_types::pb::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::Request;

use crate::Compiled;
use crate::connect;
use crate::header_count::has_one_entry;
use crate::names::Commas;

/// White space around values.
const BLANKS: [char; 2] = [' ', '\t'];
/// No byte of an authority: the model refuses a head with it where Envoy's codec looks at Connection.
const NO_AUTHORITY: &str = "\"";
/// So many tokens of Connection are refused.
const TOKENS: usize = 10;
/// `max_headers_count` by default.
const HEADERS: u32 = 100;
/// A TE of so many bytes is, where Connection names it.
const TE_BYTES: usize = 256;

/// A head as the codec leaves it.
pub(crate) struct Decoded {
    /// The request with this head.
    pub(crate) request: Request,
    /// The same for the model: as many lines as there were entries, and joined for matchers.
    pub(crate) laid: Request,
    /// The codec refuses it for what Connection says.
    pub(crate) refused: bool,
    /// What it asks to be upgraded to: Connection and Upgrade are then left out of it here.
    pub(crate) upgrade: Option<String>,
}

/// A header line.
#[derive(Debug, Clone)]
struct Line {
    name: String,
    /// The name in lower case.
    key: String,
    value: String,
    /// It counts, and that is all that is left of it.
    is_gone: bool,
}

impl Line {
    /// On the wire a name ends at the first colon; a CR in the value leaves no trace, but in a length.
    fn new(text: &str) -> Self {
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        let key = name.to_ascii_lowercase();
        let value = match key.as_str() {
            "content-length" => value.to_owned(),
            _ => value.replace('\r', ""),
        };
        Self {
            name: name.to_owned(),
            key,
            value,
            is_gone: false,
        }
    }

    fn value(&self) -> &str {
        self.value.trim_matches(BLANKS)
    }
}

/// The lines, and those of one name among them.
struct Lines(Vec<Line>);

impl Lines {
    /// The header lines, folded ones put together; Host may go on, too. `None` where there is no
    /// line to go on with.
    fn of(request: &Request, host: &mut Option<String>) -> Option<Self> {
        let mut lines: Vec<Line> = Vec::with_capacity(request.headers.len());
        for (name, value) in &request.headers {
            let text = format!("{name}: {value}");
            if !name.starts_with(BLANKS) {
                lines.push(Line::new(&text));
                continue;
            }
            let before = lines.last_mut().map(|line| &mut line.value);
            let before = before.or(host.as_mut())?;
            before.push_str(&text.replace('\r', ""));
        }
        Some(Self(lines))
    }

    fn named<'l>(&'l mut self, key: &'l str) -> impl Iterator<Item = &'l mut Line> {
        let there = self.0.iter_mut().filter(|line| !line.is_gone);
        there.filter(move |line| line.key == key)
    }

    /// The values of a header, each line apart.
    fn values(&mut self, key: &str) -> Vec<String> {
        let values = self.named(key).map(|line| line.value().to_owned());
        values.collect()
    }

    fn remove(&mut self, key: &str) {
        self.named(key).for_each(|line| line.is_gone = true);
    }

    /// Puts one line in the place of all.
    fn join(&mut self, key: &str, value: String) {
        let mut value = Some(value);
        for line in self.named(key) {
            match value.take() {
                Some(value) => line.value = value,
                None => line.is_gone = true,
            }
        }
    }

    /// Leaves one line of a header, with this value: no other is counted.
    fn unite(&mut self, key: &str, value: String) {
        let mut value = Some(value);
        self.0.retain_mut(|line| {
            let is_left = line.key != key || value.is_some();
            if line.key == key
                && let Some(value) = value.take()
            {
                line.value = value;
            }
            is_left
        });
    }

    /// A line that counts, and is gone.
    fn push_gone(&mut self) {
        let mut line = Line::new("");
        line.is_gone = true;
        self.0.push(line);
    }

    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.0.iter().map(|line| line.key.clone()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// With the name that gone lines get; without one, they are left out.
    fn headers(&self, gone: Option<&str>) -> Vec<(String, String)> {
        let lines = self.0.iter().filter_map(|line| {
            if line.is_gone {
                return gone.map(|name| (name.to_owned(), String::new()));
            }
            Some((line.name.clone(), line.value().to_owned()))
        });
        lines.collect()
    }
}

/// Lines as one, as Envoy has them: empty ones leave no trace.
fn as_one(values: &[String]) -> String {
    let filled = values.iter().filter(|value| !value.is_empty());
    filled.map(String::as_str).collect::<Vec<_>>().join(",")
}

impl Compiled {
    /// The head as the codec leaves it; `None` where that is not decided.
    pub(crate) fn decode(
        &self,
        came: &Request,
        manager: &HttpConnectionManager,
    ) -> Option<Decoded> {
        let mut host = came.authority.clone();
        let mut lines = Lines::of(came, &mut host)?;
        let options = manager.common_http_protocol_options.as_ref();
        let underscores = options.map_or(0, |options| options.headers_with_underscores_action);
        if underscores == HeadersWithUnderscoresAction::DropHeader as i32 {
            // They are not there, nor do they count.
            lines.0.retain(|line| !line.key.contains('_'));
        }
        let mut hosts: Vec<String> = host
            .iter()
            .map(|host| host.replace('\r', "").trim_matches(BLANKS).to_owned())
            .collect();
        hosts.extend(lines.values("host"));
        lines.0.retain(|line| line.key != "host");
        let mut host = (!hosts.is_empty()).then(|| as_one(&hosts));
        let tunnel = match connect::is_connect(came) {
            true => Some(connect::target(came)?),
            false => None,
        };
        if tunnel.is_some() {
            // It is the target that says the host, which takes a line that may not have been there.
            let most = options.and_then(|options| options.max_headers_count);
            let most = most.map_or(HEADERS, |most| most.value) as usize;
            if host.is_none() && lines.0.len() >= most {
                return None;
            }
            settle_length(&mut lines);
        }
        for key in lines.keys() {
            let values = lines.values(&key);
            if values.len() > 1 && has_one_entry(&key) {
                lines.unite(&key, as_one(&values));
            }
        }
        let is_absolute =
            tunnel.is_none() && !came.path.trim_matches(BLANKS).starts_with(['/', '*']);
        let mut upgrade = upgrade_of(&mut lines);
        if let Some(to) = &upgrade {
            if self.matches_upgrades || to.eq_ignore_ascii_case(connect::CONNECT_UDP) {
                return None;
            }
            lines.remove("connection");
            lines.remove("upgrade");
        }
        if tunnel.is_some() {
            // To the codec it is an upgrade, whose Connection names nothing to be taken away.
            if asks_for_h2c(&mut lines) {
                lines.remove("upgrade");
                lines.remove("http2-settings");
            }
            lines.remove("connection");
        }
        let refused = sanitize(&mut lines, &mut host).is_err();
        if refused {
            if is_absolute {
                return None;
            }
            host = Some(NO_AUTHORITY.to_owned());
            // The model would stop at it again.
            lines.remove("connection");
        }
        let mut path = came.path.clone();
        match tunnel {
            Some(connect::Target::Authority(authority)) => {
                upgrade.get_or_insert_with(|| came.method.clone());
                path = "/".to_owned();
                if !refused {
                    host = Some(authority);
                }
            }
            Some(connect::Target::Refused(target)) => path = target.to_owned(),
            None => {}
        }
        for key in lines.keys() {
            let values = lines.values(&key);
            if key == "x-forwarded-proto" && as_one(&values).is_empty() && !values.is_empty() {
                // A connection manager at the edge writes its own.
                let own = manager.use_remote_address.is_some_and(|own| own.value);
                if !own || manager.xff_num_trusted_hops != 0 {
                    return None;
                }
                lines.remove(&key);
            }
        }
        if host.is_none() && !hosts.is_empty() {
            lines.push_gone();
        }
        let request = Request {
            authority: host.clone(),
            path: path.clone(),
            headers: lines.headers(None),
            ..came.clone()
        };
        for (key, commas) in &self.by_commas {
            let values = lines.values(key);
            match commas {
                Commas::All if values.len() > 1 => lines.join(key, values.join(",")),
                Commas::Contradicted if values.len() > 1 => return None,
                _ => {}
            }
        }
        let laid = Request {
            authority: host,
            path,
            headers: lines.headers(Some(&self.unused_name)),
            ..came.clone()
        };
        (laid != *came).then_some(Decoded {
            request,
            laid,
            refused,
            upgrade,
        })
    }
}

/// The codec refuses the head.
struct Refused;

/// Takes a length of 0 off a CONNECT request. Any other is a fault, which for the model is a number,
/// whatever the head says of how the body is encoded.
fn settle_length(lines: &mut Lines) {
    let lengths = lines.values("content-length");
    let [length] = lengths.as_slice() else {
        return;
    };
    if length == "0" {
        lines.remove("content-length");
    } else if !length.is_empty() && length.bytes().all(|digit| digit.is_ascii_digit()) {
        lines.join("content-length", "1".to_owned());
        lines.remove("transfer-encoding");
    }
}

/// Whether a head asks for an upgrade.
pub(crate) fn asks_for_upgrade(came: &Request) -> bool {
    upgrade(came).is_some()
}

/// Whether it asks for one of this type.
pub(crate) fn asks_for(came: &Request, kind: &str) -> bool {
    upgrade(came).is_some_and(|to| to.eq_ignore_ascii_case(kind))
}

/// What a head asks to be upgraded to.
fn upgrade(came: &Request) -> Option<String> {
    let is_named = |(name, _): &(String, String)| name.eq_ignore_ascii_case("upgrade");
    // Few do, and the lines are copies.
    if !came.headers.iter().any(is_named) {
        return None;
    }
    let mut lines = Lines::of(came, &mut came.authority.clone())?;
    upgrade_of(&mut lines)
}

/// What the head asks to be upgraded to; h2c alone is nothing.
fn upgrade_of(lines: &mut Lines) -> Option<String> {
    let connection = as_one(&lines.values("connection")).to_ascii_lowercase();
    let upgrade = lines.values("upgrade");
    let asks = connection.split(',').any(|token| token.trim() == "upgrade");
    let to = as_one(&upgrade);
    (asks && !upgrade.is_empty() && !to.eq_ignore_ascii_case("h2c")).then_some(to)
}

/// Whether it asks for h2c alone, which the codec takes off.
fn asks_for_h2c(lines: &mut Lines) -> bool {
    let connection = as_one(&lines.values("connection")).to_ascii_lowercase();
    let mut tokens = connection.split(',');
    let is_h2c = as_one(&lines.values("upgrade")).eq_ignore_ascii_case("h2c");
    is_h2c && tokens.any(|token| token.trim() == "upgrade")
}

/// Does what Connection says, and takes it away.
fn sanitize(lines: &mut Lines, host: &mut Option<String>) -> Result<(), Refused> {
    let values = lines.values("connection");
    if values.is_empty() {
        return Ok(());
    }
    let value = as_one(&values).to_ascii_lowercase();
    let mut tokens: Vec<&str> = value.split(',').filter(|token| !token.is_empty()).collect();
    let upgrade = lines.values("upgrade");
    if tokens.iter().any(|token| token.trim() == "upgrade") && !upgrade.is_empty() {
        for name in ["upgrade", "http2-settings"] {
            lines.remove(name);
            tokens.retain(|token| token.trim() != name);
        }
    }
    if tokens.len() >= TOKENS {
        return Err(Refused);
    }
    let mut kept = Vec::new();
    for token in tokens {
        match token.trim() {
            named @ ("close" | "keep-alive") => kept.push(named),
            "connection" | "upgrade" | "http2-settings" => {}
            "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" => {
                return Err(Refused);
            }
            named if named.starts_with(':') => return Err(Refused),
            "host" => *host = None,
            "te" => {
                let te = as_one(&lines.values("te"));
                if te.len() >= TE_BYTES {
                    return Err(Refused);
                }
                let mut listed = te.split(',');
                if listed.any(|it| it.trim().eq_ignore_ascii_case("trailers")) {
                    lines.join("te", "trailers".to_owned());
                } else {
                    lines.remove("te");
                }
            }
            named => lines.remove(named),
        }
    }
    if kept.is_empty() {
        lines.remove("connection");
    } else {
        lines.join("connection", kept.join(","));
    }
    Ok(())
}
