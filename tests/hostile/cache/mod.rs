//! Poisoning and deception: what one client makes the store take, and what another one gets of it.
//!
//! In a [`Talk`] clients send bytes, one after the other and each on a connection of its own; the origin
//! answers with bytes; and the talk says which status and body each client gets, and which requests the
//! origin has seen, in the form of [`normal`](super::normal). A client that the origin has not seen was
//! answered from the store. Each talk has a gateway of its own, so that none profits by what another one left
//! behind.
//!
//! The body of the origin's first answer is `first`, where a talk says nothing else; [`LATER`] is every
//! answer that a talk does not give, and may not be stored. So who gets `first` after another one shares a
//! response, and who gets `later` has his own.

/// A request without a body for the host `a`: method, target, more fields.
macro_rules! ask {
    ($method:literal $target:literal $(, $field:literal)*) => {
        concat!($method, " ", $target, " HTTP/1.1\r\nhost: a\r\n", $($field, "\r\n",)* "\r\n")
    };
}

/// A response with this status and these fields, whose body is `first`.
macro_rules! says {
    ($status:literal $(, $field:literal)*) => {
        concat!("HTTP/1.1 ", $status, "\r\n", $($field, "\r\n",)* "content-length: 5\r\n\r\nfirst")
    };
}

mod collapse;
mod errors;
mod methods;
mod splitting;
mod storing;
mod targets;
mod unkeyed;

use crate::support::message::Message;
use crate::support::{Client, Gateway, Origin, Reply, within};

use super::normal;

/// A GET of `/` without anything, which is what others ask for.
const PLAIN: &str = ask!("GET" "/");

/// What the origin sees of it.
const PLAIN_SEEN: &str = "GET /\nhost: a";

/// A response that may be stored.
const FRESH: &str = says!("200 OK", "cache-control: max-age=60");

/// What the origin says when it has said all that a talk makes it say.
const LATER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nlater";

/// What clients, gateway and origin say to one another.
struct Talk {
    name: String,
    /// Where the rule is, like `9111 §3`.
    clause: &'static str,
    /// Lines added to the route.
    route: &'static str,
    /// Which listener is asked: the second one trusts us.
    listener: usize,
    /// What each client sends, and the status and the body that it gets.
    clients: Vec<(String, u16, &'static str)>,
    /// What the origin answers, one after the other.
    answers: Vec<String>,
    /// What it has seen.
    seen: Vec<String>,
    /// What the last client must not find in its answer.
    never: Option<&'static str>,
}

/// A talk about a rule.
fn talk(name: impl Into<String>, clause: &'static str) -> Talk {
    Talk {
        name: name.into(),
        clause,
        route: "",
        listener: 0,
        clients: Vec::new(),
        answers: Vec::new(),
        seen: Vec::new(),
        never: None,
    }
}

impl Talk {
    /// With these lines in the route.
    fn route(self, route: &'static str) -> Self {
        Self { route, ..self }
    }

    /// On the listener that trusts us.
    fn trusted(self) -> Self {
        Self { listener: 1, ..self }
    }

    /// A client sends this, and gets a response with this status and this body.
    fn client(mut self, sends: impl Into<String>, status: u16, body: &'static str) -> Self {
        self.clients.push((sends.into(), status, body));
        self
    }

    /// The origin answers the next request with this.
    fn says(mut self, answer: impl Into<String>) -> Self {
        self.answers.push(answer.into());
        self
    }

    /// The origin has seen these requests and no other.
    fn seen(self, seen: &[&str]) -> Self {
        Self { seen: seen.iter().map(|&request| request.to_owned()).collect(), ..self }
    }

    /// The last answer has nothing of this in its head.
    fn never(self, text: &'static str) -> Self {
        Self { never: Some(text), ..self }
    }

    /// Plays it, and says what went wrong.
    async fn play(&self) -> Result<(), String> {
        let answers = self.answers.clone();
        let origin = Origin::start(move |request, before| {
            let answer = answers.get(before).map_or(LATER, String::as_str);
            // Whatever a HEAD is answered with, nothing of it may be left over for the next one.
            let head = answer.split_inclusive("\r\n\r\n").next().unwrap_or_default();
            Reply::raw(if request.method() == "HEAD" { head } else { answer })
        })
        .await;
        let trusting = "[[listener]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
        let route = format!("[route.retry]\nattempts = 1\n{}", self.route);
        let gateway = Gateway::start(&(Gateway::config(origin.address, "", &route) + trusting));
        let mut last = Message::default();
        for (number, (sends, status, body)) in self.clients.iter().enumerate() {
            let mut client = Client::connect(gateway.addresses[self.listener]).await;
            client.write(sends.replace("{8KiB}", &"x".repeat(8 * 1024))).await;
            last = answer(&mut client, sends.starts_with("HEAD ")).await;
            let text = String::from_utf8_lossy(&last.body).into_owned();
            // The text of an error is the gateway's own, unless the origin said it.
            let good = last.complete && last.status() == *status && (body.is_empty() || text == *body);
            if !good {
                return Err(format!("client {number} got {last:?}, not {status} {body:?}"));
            }
        }
        let head = String::from_utf8_lossy(&last.raw).to_ascii_lowercase();
        if let Some(never) = self.never.filter(|never| head.contains(never)) {
            return Err(format!("{never:?} is in {head:?}"));
        }
        let seen: Vec<String> =
            origin.asked().iter().map(|asked| normal(&asked.request, origin.address)).collect();
        let seen: Vec<String> =
            seen.iter().map(|text| text.replace(&"x".repeat(8 * 1024), "{8KiB}")).collect();
        if seen != self.seen {
            return Err(format!("the origin saw {seen:?}, not {:?}", self.seen));
        }
        gateway.at_rest().await;
        Ok(())
    }
}

/// The final response, whatever comes before it.
async fn answer(client: &mut Client, head: bool) -> Message {
    within("a final response", async {
        loop {
            let answer = if head { client.head_response().await } else { client.response().await };
            if !(100..200).contains(&answer.status()) {
                return answer;
            }
        }
    })
    .await
}

/// Plays all, and says which went wrong.
async fn play(talks: impl IntoIterator<Item = Talk>) {
    let mut failures = Vec::new();
    let mut count = 0;
    for talk in talks {
        count += 1;
        if let Err(why) = talk.play().await {
            failures.push(format!("{} (RFC {}): {why}", talk.name, talk.clause));
        }
    }
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
}
