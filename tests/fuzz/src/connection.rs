//! A whole connection over memory: the bytes are what a client sends. Routes answer themselves, forward to an
//! origin in this process, cache and compress.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use forebay::plan::Plan;
use forebay::server::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// How long a connection whose client says no more may take: far more than it should.
const PATIENCE: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
[server]
workers = 2
drain_timeout = "1s"
[admin]
listen = "off"
[log]
access = "off"
[[listener]]
address = "127.0.0.1:0"
trusted_proxies = ["10.0.0.0/8"]
[upstream.origin]
endpoints = ["http://ORIGIN"]
ejection = { consecutive_errors = 0, error_rate = 0.0 }
[[route]]
name = "fixed"
match = { path = "/fixed" }
respond = { body = "fixed" }
[[route]]
name = "redirect"
match = { path = "/r/{*rest}" }
redirect = { to = "https://b.example/{rest}" }
[[route]]
name = "cached"
match = { path = "/c/{*rest}" }
upstream = "origin"
compress = { min_size = "1B" }
rewrite = { path = "/{rest}" }
[[route]]
name = "plain"
upstream = "origin"
cache = { enabled = false }
retry = { attempts = 1 }
"#;

/// What the fuzzer talks to, for as long as it runs.
struct Talk {
    runtime: Runtime,
    server: Server,
}

fn talk() -> &'static Talk {
    static TALK: OnceLock<Talk> = OnceLock::new();
    TALK.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let server = runtime.block_on(async {
            let text = CONFIG.replace("ORIGIN", &origin().await.to_string());
            let loaded = forebay::config::parse("forebay.toml".as_ref(), &text, &|_| None);
            let (plan, report) = Plan::build(&loaded.config);
            let plan = plan.unwrap_or_else(|| panic!("{} {:?}", loaded.problems(), report.problems()));
            Server::start(plan).await.expect("a server")
        });
        Talk { runtime, server }
    })
}

/// An origin that takes whatever is a request, and nothing that could be read as two.
async fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                check_forwarded(&request);
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: max-age=60\r\n\
                              connection: close\r\ncontent-length: 3\r\n\r\nyes";
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut request).await;
            });
        }
    });
    address
}

/// What reaches an origin is framed in one way (RFC 9112 §6.3), and has one host and no bare CR or LF.
fn check_forwarded(request: &[u8]) {
    let end = request.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(request.len());
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    assert!(!head.replace("\r\n", "").contains(['\r', '\n', '\0']), "{head:?}");
    let count = |name: &str| head.split("\r\n").skip(1).filter(|line| line.starts_with(name)).count();
    assert!(count("host:") == 1 && count("content-length:") + count("transfer-encoding:") <= 1, "{head:?}");
    assert!(count("connection: upgrade") <= 1 && count("te:") <= 1 && count("via:") >= 1, "{head:?}");
    let line = head.split("\r\n").next().unwrap_or_default();
    assert!(line.split(' ').count() == 3 && line.ends_with(" http/1.1"), "{head:?}");
}

async fn converse(client: DuplexStream, data: &[u8]) -> Vec<u8> {
    let (mut reading, mut writing) = tokio::io::split(client);
    let (mut answers, mut buffer) = (Vec::new(), vec![0; 4096]);
    let write = async {
        // In two pieces, so that what is read is not always all that there is.
        let (first, second) = data.split_at(data.len() / 2);
        let _ = writing.write_all(first).await;
        tokio::task::yield_now().await;
        let _ = writing.write_all(second).await;
        let _ = writing.shutdown().await;
    };
    let read = async {
        while let Ok(count @ 1..) = reading.read(&mut buffer).await {
            answers.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::join!(write, read);
    answers
}

/// The gateway answers or closes, soon after the client has said its last.
pub fn connection(data: &[u8]) {
    let talk = talk();
    let (client, server) = tokio::io::duplex(16 * 1024);
    let trusted = data.len().is_multiple_of(2);
    let address = if trusted { ([10, 0, 0, 1], 1234) } else { ([192, 0, 2, 1], 1234) };
    let served = talk.server.serve_over_memory(server, address.into()).expect("a place");
    let answers = talk.runtime.block_on(async {
        let serving = talk.runtime.spawn(served);
        let answers = timeout(PATIENCE, converse(client, data)).await.expect("it hangs");
        timeout(PATIENCE, serving).await.expect("it does not end").expect("it panicked");
        answers
    });
    let http2 = data.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    if !http2 && !answers.is_empty() {
        assert!(answers.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&answers));
        let panicked = b"\"reason\":\"panicked\"";
        assert!(!answers.windows(panicked.len()).any(|part| part == panicked));
    }
}
