//! `forebay purge`: has a running gateway give up what it stores, through its admin API.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::{Failure, print};

/// What `purge` takes.
#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["url", "prefix", "tag", "all"])))]
pub struct PurgeArgs {
    /// Where the gateway's admin API is.
    #[arg(long, value_name = "ADDRESS", env = "FOREBAY_ADMIN", default_value = "127.0.0.1:9901")]
    pub admin: String,
    /// The gateway's `admin.token`, where it has one.
    #[arg(long, visible_alias = "token", value_name = "TOKEN", env = "FOREBAY_ADMIN_TOKEN")]
    #[arg(hide_env_values = true)]
    pub admin_token: Option<String>,
    /// A URL, with all its variants; the scheme does not count.
    #[arg(long, value_name = "URL", env = "FOREBAY_URL")]
    pub url: Option<String>,
    /// All URLs that begin like this one, segment by segment.
    #[arg(long, value_name = "URL", env = "FOREBAY_PREFIX")]
    pub prefix: Option<String>,
    /// All responses with this tag or cache group.
    #[arg(long, value_name = "TAG", env = "FOREBAY_TAG")]
    pub tag: Option<String>,
    /// Everything.
    #[arg(long)]
    pub all: bool,
    /// Only make it stale: it is revalidated, and still stands in for an origin in trouble.
    #[arg(long)]
    pub soft: bool,
    /// Only what this route stores.
    #[arg(long, value_name = "NAME", env = "FOREBAY_ROUTE")]
    pub route: Option<String>,
}

// Without the token.
impl std::fmt::Debug for PurgeArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PurgeArgs").field("admin", &self.admin).finish_non_exhaustive()
    }
}

/// How long connecting, and every read and write, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer, in bytes.
const ANSWER_MAX: u64 = 1 << 20;

/// Purges, and prints what the gateway says it did.
///
/// # Errors
///
/// If the gateway cannot be reached, or refuses.
pub fn run(args: &PurgeArgs) -> Result<(), Failure> {
    let token = args.admin_token.as_deref().filter(|token| !token.is_empty());
    if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(Failure::Config("error: no token has blanks or letters beyond ASCII".to_owned()));
    }
    let (status, body) = exchange(&args.admin, token, &order(args).to_string())?;
    let said = serde_json::from_str(&body).unwrap_or(Value::Null);
    let detail = said.get("detail").and_then(Value::as_str).unwrap_or("it does not say why");
    match status {
        200 => print(&body),
        400 | 401 | 403 | 404 => Err(Failure::Config(format!("error: {status} from the gateway: {detail}"))),
        _ => Err(Failure::Runtime(format!("error: {status} from the gateway: {detail}"))),
    }
}

/// The order, as the admin API takes it.
fn order(args: &PurgeArgs) -> Value {
    let mut order = match (&args.url, &args.prefix, &args.tag) {
        (Some(url), _, _) => json!({ "url": url }),
        (_, Some(prefix), _) => json!({ "prefix": prefix }),
        (_, _, Some(tag)) => json!({ "tag": tag }),
        (None, None, None) => json!({ "all": true }),
    };
    if let Some(order) = order.as_object_mut() {
        if args.soft {
            order.insert("soft".to_owned(), true.into());
        }
        if let Some(route) = &args.route {
            order.insert("route".to_owned(), route.as_str().into());
        }
    }
    order
}

/// One request and its answer: the status and the body.
fn exchange(admin: &str, token: Option<&str>, order: &str) -> Result<(u16, String), Failure> {
    let host = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    if !host.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::Config(format!("error: `{admin}` is no address")));
    }
    let failed = |error: std::io::Error| Failure::Runtime(format!("error: no answer from {host}: {error}"));
    let addresses = host
        .to_socket_addrs()
        .map_err(|error| Failure::Config(format!("error: `{admin}` is no address: {error}")))?;
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    let mut connected = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                connected = Some(stream);
                break;
            }
            Err(error) => last = error,
        }
    }
    let Some(mut stream) = connected else { return Err(failed(last)) };
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let credentials = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!(
        "POST /api/v1/cache/purge HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{credentials}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{order}",
        order.len()
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).map_err(failed)?;
    parse(&answer)
        .ok_or_else(|| Failure::Runtime(format!("error: {host} does not speak as an admin API does")))
}

/// The status and the body of an answer whose length is given.
fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, length) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    (length.trim().parse() == Ok(body.len())).then(|| (status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn orders(args: &[&str]) -> Option<String> {
        match Cli::try_parse_from([&["forebay", "purge"], args].concat()).ok()?.command {
            Command::Purge(args) => Some(order(&args).to_string()),
            _ => None,
        }
    }

    #[test]
    fn arguments() {
        for (args, expected) in [
            (&["--url", "http://a/"][..], Some(r#"{"url":"http://a/"}"#)),
            (&["--prefix", "a/b", "--soft"], Some(r#"{"prefix":"a/b","soft":true}"#)),
            (&["--tag", "\"", "--route", "r"], Some(r#"{"tag":"\"","route":"r"}"#)),
            (&["--all", "--admin", "a:1", "--token", "t"], Some(r#"{"all":true}"#)),
            (&[], None),
            (&["--soft"], None),
            (&["--url", "a", "--all"], None),
            (&["--url", "a", "--tag", "b"], None),
        ] {
            assert_eq!(orders(args).as_deref(), expected, "{args:?}");
        }
    }

    #[test]
    fn answers() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", Some((200, "{}"))),
            ("HTTP/1.1 404 Not Found\r\na: b\r\nContent-Length:0\r\n\r\n", Some((404, ""))),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", None),
            ("HTTP/1.1 200 OK\r\n\r\n{}", None),
            ("SSH-2.0\r\n", None),
            ("", None),
        ] {
            let parsed = parse(answer.as_bytes());
            assert_eq!(parsed.as_ref().map(|(status, body)| (*status, body.as_str())), expected, "{answer}");
        }
    }
}
