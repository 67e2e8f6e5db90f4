//! Passwords, tokens, and services that decide: each opens a route for those it should, and fails closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use serde_json::{Value, json};

use crate::support::{Gate, Gateway, Origin, Reply, ask, get};

/// An origin that says whom it answers, and what it got.
pub async fn named(cache_control: &'static str) -> Origin {
    Origin::start(move |request, before| {
        let name = request.field("x-consumer").unwrap_or("nobody").to_owned();
        Reply::new(200, &[("cache-control", cache_control)], format!("{name} {before}"))
    })
    .await
}

fn base64(bytes: &[u8], digits: &[u8; 64], padded: bool) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0, |bits: u32, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(digits[(bits >> (18 - 6 * place) & 63) as usize]));
        }
        text.push_str(if padded { &"=="[chunk.len() - 1..] } else { "" });
    }
    text
}

const PLAIN: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn basic(login: &str) -> String {
    format!("Basic {}", base64(login.as_bytes(), PLAIN, true))
}

/// A cheap hash: what it costs is not what these tests are about.
fn argon2(password: &str) -> String {
    let params = Params::new(64, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_with_salt(password.as_bytes(), b"salt of a test").unwrap().to_string()
}

fn with_passwords(origin: &Origin, auth: &str) -> Gateway {
    let consumers = format!(
        "[consumer.alice]\npassword = '{}'\n[consumer.bob]\npassword = '{}'\n\
         [consumer.eve]\npassword = '{}'\ndisabled = true\n[consumer.keyed]\n",
        argon2("open: sesame"),
        argon2("b"),
        argon2("e"),
    );
    Gateway::start(&Gateway::config(origin.address, "", &format!("auth = {auth}\n{consumers}")))
}

/// RFC 7617 §2: the password may have colons.
#[tokio::test]
async fn a_password_opens_the_route() {
    let origin = named("no-store").await;
    let gateway = with_passwords(&origin, "{ basic = {} }");
    for (login, expected) in [
        (Some(basic("alice:open: sesame")), Some("alice")),
        (Some(basic("alice:open: sesame").replace("Basic", "bASIC")), Some("alice")),
        (Some(basic("bob:b")), Some("bob")),
        (Some(basic("alice:open")), None),
        (Some(basic("alice:")), None),
        (Some(basic("alice")), None),
        (Some(basic("Alice:open: sesame")), None),
        (Some(basic("eve:e")), None),
        (Some(basic("keyed:")), None),
        (Some(basic("mallory:b")), None),
        (Some(basic(":")), None),
        (Some("Basic ?".to_owned()), None),
        (Some("Basic".to_owned()), None),
        (Some("Bearer x".to_owned()), None),
        (None, None),
    ] {
        // Twice: what was found out is remembered.
        for _ in 0..2 {
            let fields: Vec<_> = login.iter().map(|login| ("authorization", login.as_str())).collect();
            let answer = ask(gateway.address, "GET", "/", &fields).await;
            match expected {
                Some(name) => assert!(answer.text().starts_with(name), "{login:?}: {}", answer.text()),
                None => {
                    assert_eq!(answer.status(), 401, "{login:?}");
                    let challenge = answer.field("www-authenticate");
                    assert_eq!(challenge, Some("Basic realm=\"forebay\", charset=\"UTF-8\""));
                }
            }
        }
    }
    assert_eq!(origin.asked().len(), 6);
    assert!(origin.asked().iter().all(|asked| asked.request.field("authorization").is_none()));
    let two = [("authorization", basic("bob:b")), ("authorization", basic("alice:x"))];
    let two: Vec<_> = two.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(ask(gateway.address, "GET", "/", &two).await.status(), 401, "whose is it?");
    gateway.at_rest().await;
}

/// RFC 9111 §3.5 holds although the upstream never saw the credentials, and entries do not cross.
#[tokio::test]
async fn answers_behind_a_password_are_stored_only_where_they_say_so() {
    for (cache_control, stored) in [("max-age=60", false), ("public, max-age=60", true)] {
        let origin = named(cache_control).await;
        let gateway = with_passwords(&origin, "{ basic = {} }");
        for login in ["alice:open: sesame", "bob:b"] {
            let login_ = basic(login);
            let fields = [("authorization", login_.as_str())];
            let first = ask(gateway.address, "GET", "/", &fields).await;
            let second = ask(gateway.address, "GET", "/", &fields).await;
            assert!(login.starts_with(first.text().split(' ').next().unwrap()));
            assert_eq!(first.text() == second.text(), stored, "{cache_control}");
        }
    }
}

/// Many at once with one password: each is answered, and nothing is left behind.
#[tokio::test]
async fn a_crowd_with_one_password_is_let_in() {
    let origin = named("no-store").await;
    let gateway = with_passwords(&origin, "{ basic = {} }");
    let address = gateway.address;
    let clients: Vec<_> = (0..40)
        .map(|number| {
            tokio::spawn(async move {
                let good = number % 2 == 0;
                let login = basic(if good { "bob:b" } else { "bob:x" });
                let answer = ask(address, "GET", "/", &[("authorization", &login)]).await;
                assert_eq!(answer.status(), if good { 200 } else { 401 });
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    gateway.at_rest().await;
}

/// A key pair of an issuer, and its public half in a JWK.
pub struct Issuer {
    key: jsonwebtoken::EncodingKey,
    id: String,
    jwk: Value,
}

impl Issuer {
    pub fn new(id: &str) -> Self {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let public = pair.public_key().as_ref();
        let (x, y) = (base64(&public[1..33], URL, false), base64(&public[33..], URL, false));
        Self {
            key: jsonwebtoken::EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()),
            id: id.to_owned(),
            jwk: json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y }),
        }
    }

    pub fn set(&self) -> String {
        json!({ "keys": [self.jwk] }).to_string()
    }

    /// `Bearer` and a token for `name` that is good for so many seconds.
    pub fn token(&self, name: &str, seconds: i64) -> String {
        self.token_with(name, seconds, &json!({}), None)
    }

    /// The same with more claims, and with a `typ` of its own.
    pub fn token_with(&self, name: &str, seconds: i64, more: &Value, typ: Option<&str>) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": "https://idp", "aud": "orders", "sub": name,
            "exp": i64::try_from(now).unwrap() + seconds, "email": format!("{name}@example.com"),
        });
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some(self.id.clone());
        header.typ = typ.map(str::to_owned).or(header.typ);
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        format!("Bearer {}", jsonwebtoken::encode(&header, &claims, &self.key).unwrap())
    }
}

pub const JWT: &str = "algorithms = ['ES256'], issuer = ['https://idp'], audience = ['orders']";

#[tokio::test]
async fn a_token_opens_the_route_and_its_claims_are_told() {
    let origin = named("no-store").await;
    let issuer = Issuer::new("a");
    let limit = "[[route.rate_limit]]\nname = \"each\"\nkey = \"header:x-email\"\nrate = \"2/m\"";
    let jwt = format!("{JWT}, jwks = '{}', headers = {{ x-email = 'email' }}", issuer.set());
    let route = format!("auth = {{ jwt = {{ {jwt} }} }}\n{limit}");
    let gateway = Gateway::before(origin.address, &route).await;
    let (alice, bob) = (issuer.token("alice", 60), issuer.token("bob", 60));
    let pretence = [("authorization", alice.as_str()), ("x-email", "root@example.com")];
    assert_eq!(ask(gateway.address, "GET", "/", &pretence).await.text(), "alice 0");
    let asked = &origin.asked()[0].request;
    assert_eq!(asked.all("x-email"), ["alice@example.com"]);
    assert_eq!(asked.field("authorization"), Some(alice.as_str()), "an upstream may look at it too");
    assert_eq!(ask(gateway.address, "GET", "/", &[("authorization", &bob)]).await.text(), "bob 1");
    // Limits count by claims.
    for status in [200, 429] {
        assert_eq!(ask(gateway.address, "GET", "/", &[("authorization", &alice)]).await.status(), status);
    }
    let expired = issuer.token("alice", -60);
    let forged = Issuer::new("a").token("alice", 60);
    for (token, reason) in [(&*expired, "expired_token"), (&*forged, "bad_token"), ("Bearer x", "bad_token")]
    {
        let answer = ask(gateway.address, "GET", "/", &[("authorization", token)]).await;
        assert_eq!(answer.status(), 401, "{token}");
        let challenge = answer.field("www-authenticate");
        assert_eq!(challenge, Some("Bearer realm=\"forebay\", error=\"invalid_token\""));
        assert!(answer.text().contains(reason), "{}", answer.text());
        assert!(token.len() < 10 || !answer.text().contains(&token[7..]));
    }
    let answer = get(gateway.address, "/").await;
    assert_eq!((answer.status(), answer.field("www-authenticate")), (401, Some("Bearer realm=\"forebay\"")));
}

/// Where the keys are fetched: once for a crowd, again when they rotate, and an outage does not matter.
#[tokio::test]
async fn keys_are_fetched_once_rotate_and_outlive_an_outage() {
    let origin = named("no-store").await;
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let (fetches, down, gate) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)), Gate::new());
    let sets = [old.set(), new.set()];
    let rotated = Arc::new(AtomicBool::new(false));
    let idp = Origin::start({
        let (fetches, down, gate, rotated) = (fetches.clone(), down.clone(), gate.clone(), rotated.clone());
        move |request, _| {
            assert_eq!(request.target(), "/keys");
            fetches.fetch_add(1, Ordering::SeqCst);
            if down.load(Ordering::SeqCst) {
                return Reply::new(500, &[], "down");
            }
            Reply::ok(&sets[usize::from(rotated.load(Ordering::SeqCst))]).after(&gate)
        }
    })
    .await;
    let route = format!(
        "auth = {{ jwt = {{ {JWT}, upstream = 'idp', path = '/keys', min_refresh = '100ms' }} }}\n\
         [upstream.idp]\nendpoints = ['http://{}']\nejection = {{ consecutive_errors = 0, error_rate = 0.0 }}",
        idp.address
    );
    let gateway = Gateway::before(origin.address, &route).await;
    let address = gateway.address;
    let ask_with =
        |token: String| async move { ask(address, "GET", "/", &[("authorization", &token)]).await };
    // A crowd waits for one fetch.
    let clients: Vec<_> = (0..10).map(|_| tokio::spawn(ask_with(old.token("alice", 60)))).collect();
    gateway.wait_for("forebay_requests_in_flight", &[], |now| now == 10.0).await;
    idp.wait_for(1).await;
    gate.open();
    for client in clients {
        assert_eq!(client.await.unwrap().status(), 200);
    }
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
    // An outage: what is known is still good, what is not is refused.
    down.store(true, Ordering::SeqCst);
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    assert_eq!(ask_with(new.token("alice", 60)).await.status(), 401);
    assert_eq!(ask_with(old.token("alice", 60)).await.status(), 200);
    // The keys have changed: a token with the new one is good at once, without a reload.
    down.store(false, Ordering::SeqCst);
    rotated.store(true, Ordering::SeqCst);
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    assert_eq!(ask_with(new.token("alice", 60)).await.status(), 200);
    assert_eq!(ask_with(old.token("alice", 60)).await.status(), 401, "its key is not there any more");
    // Made-up names of keys cost the issuer next to nothing.
    let before = fetches.load(Ordering::SeqCst);
    for number in 0..20 {
        assert_eq!(ask_with(Issuer::new(&format!("{number}")).token("x", 60)).await.status(), 401);
    }
    assert!(fetches.load(Ordering::SeqCst) - before < 20, "{}", fetches.load(Ordering::SeqCst));
}

/// Without keys nobody is let in: 503, for it is not the client's fault.
#[tokio::test]
async fn without_keys_it_fails_closed() {
    let origin = named("no-store").await;
    let idp = Origin::always(Reply::ok("no keys here")).await;
    let route = format!(
        "auth = {{ jwt = {{ {JWT}, upstream = 'idp' }} }}\n[upstream.idp]\nendpoints = ['http://{}']",
        idp.address
    );
    let gateway = Gateway::before(origin.address, &route).await;
    let token = Issuer::new("a").token("alice", 60);
    for _ in 0..2 {
        let answer = ask(gateway.address, "GET", "/", &[("authorization", &token)]).await;
        assert_eq!((answer.status(), answer.field("retry-after")), (503, Some("1")));
    }
    assert_eq!(idp.asked().len(), 1, "what failed is not tried again at once");
    assert_eq!(idp.asked()[0].request.target(), "/.well-known/jwks.json");
    assert!(origin.asked().is_empty());
    assert!(!gateway.log().contains(&token[7..]));
}

/// A service that lets in who has a cookie, and names it.
async fn service() -> Origin {
    Origin::start(|request, _| match request.field("cookie") {
        Some("session=alice") => Reply::new(200, &[("x-user", "alice"), ("x-team", "blue")], "welcome"),
        Some("session=unnamed") => Reply::new(204, &[], ""),
        Some("session=broken") => Reply::raw("what?\r\n\r\n").then_close(),
        _ => Reply::new(302, &[("location", "https://login.example/")], "log in"),
    })
    .await
}

fn with_service(origin: &Origin, service: &Origin, more: &str) -> String {
    let route = format!(
        "auth = {{ forward = {{ upstream = 'authn', path = '/check', consumer = 'x-user', \
         response_headers = ['x-team']{more} }} }}\n\
         [upstream.authn]\nendpoints = ['http://{}']\nejection = {{ consecutive_errors = 0 }}",
        service.address
    );
    Gateway::config(origin.address, "", &route)
}

#[tokio::test]
async fn a_service_decides_and_its_answer_is_given() {
    let (origin, service) = (named("no-store").await, service().await);
    let gateway = Gateway::start(&with_service(&origin, &service, ""));
    let fields = [("cookie", "session=alice"), ("x-team", "root"), ("x-secret", "1")];
    let answer = ask(gateway.address, "POST", "/orders?a=1", &fields).await;
    assert_eq!(answer.text(), "alice 0");
    let question = &service.asked()[0].request;
    assert_eq!((question.method(), question.target()), ("GET", "/check"));
    assert_eq!(question.field("x-forwarded-method"), Some("POST"));
    assert_eq!(question.field("x-forwarded-uri"), Some("/orders?a=1"));
    assert_eq!(question.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!((question.field("cookie"), question.field("x-secret")), (Some("session=alice"), None));
    assert_eq!(origin.asked()[0].request.all("x-team"), ["blue"]);
    assert_eq!(origin.asked()[0].request.field("x-forwarded-uri"), None);

    let answer = get(gateway.address, "/").await;
    assert_eq!((answer.status(), answer.text()), (302, "log in"));
    assert_eq!(answer.field("location"), Some("https://login.example/"));
    let broken = ask(gateway.address, "GET", "/", &[("cookie", "session=broken")]).await;
    assert_eq!(broken.status(), 503);
    assert_eq!(origin.asked().len(), 1);
    gateway.at_rest().await;
}

/// Remembered for the same credentials and the same target only, and never across them.
#[tokio::test]
async fn what_a_service_decided_is_remembered() {
    for (more, asked) in [("", 4), (", remember = '1m'", 2), (", remember = '1m', per_target = false", 1)] {
        let (origin, service) = (named("no-store").await, service().await);
        let gateway = Gateway::start(&with_service(&origin, &service, more));
        for target in ["/a", "/a", "/b", "/b"] {
            let answer = ask(gateway.address, "GET", target, &[("cookie", "session=alice")]).await;
            assert!(answer.text().starts_with("alice"), "{}", answer.text());
        }
        assert_eq!(service.asked().len(), asked, "{more}");
        assert_eq!(get(gateway.address, "/a").await.status(), 302);
        let other = ask(gateway.address, "GET", "/a", &[("cookie", "session=mallory")]).await;
        assert_eq!(other.status(), 302);
    }
}

/// Who has no name is told apart by its credentials all the same.
#[tokio::test]
async fn stored_answers_of_the_unnamed_do_not_cross() {
    let origin = named("public, max-age=60").await;
    let service = Origin::always(Reply::new(204, &[], "")).await;
    let gateway = Gateway::start(&with_service(&origin, &service, ""));
    let mut texts = Vec::new();
    for cookie in ["s=1", "s=2", "s=1", "s=2"] {
        let answer = ask(gateway.address, "GET", "/", &[("cookie", cookie)]).await;
        assert!(answer.text().starts_with("unnamed-"), "{}", answer.text());
        texts.push(answer.text().to_owned());
    }
    assert_eq!((&texts[0], &texts[1]), (&texts[2], &texts[3]));
    assert_ne!(texts[0], texts[1]);
    assert_eq!(origin.asked().len(), 2);
}

/// What the service says of somebody decides what the origin answers: another role, another entry.
#[tokio::test]
async fn stored_answers_go_by_what_the_service_says() {
    let origin = Origin::start(|request, before| {
        let team = request.field("x-team").unwrap_or("none").to_owned();
        Reply::new(200, &[("cache-control", "public, max-age=60")], format!("{team} {before}"))
    })
    .await;
    let service = Origin::start(|_, before| {
        let team = if before < 2 { "blue" } else { "red" };
        Reply::new(200, &[("x-user", "alice"), ("x-team", team)], "")
    })
    .await;
    let gateway = Gateway::start(&with_service(&origin, &service, ""));
    for expected in ["blue 0", "blue 0", "red 1", "red 1"] {
        let answer = ask(gateway.address, "GET", "/", &[("cookie", "session=alice")]).await;
        assert_eq!(answer.text(), expected);
    }
}

/// Several ways in: the first credential that is there counts, and one that is wrong is no reason to go on.
#[tokio::test]
async fn several_methods_on_one_route() {
    let (origin, service, issuer) = (named("no-store").await, service().await, Issuer::new("a"));
    let config = with_service(&origin, &service, "").replace(
        "auth = {",
        &format!("auth = {{ keys = {{}}, basic = {{}}, jwt = {{ {JWT}, jwks = '{}' }},", issuer.set()),
    );
    let gateway = Gateway::start(&format!("{config}\n[consumer.bob]\npassword = '{}'\n", argon2("b")));
    let (token, login) = (issuer.token("carol", 60), basic("bob:b"));
    let wrong = basic("bob:x");
    for (fields, expected) in [
        (&[("cookie", "session=alice")][..], "alice"),
        (&[("cookie", "session=alice"), ("authorization", &login)], "bob"),
        (&[("cookie", "session=alice"), ("authorization", &token)], "carol"),
        (&[("cookie", "session=alice"), ("authorization", &wrong)], "401"),
        (&[("cookie", "session=alice"), ("authorization", "Bearer x")], "401"),
        (&[("cookie", "session=alice"), ("x-api-key", "x")], "401"),
        (&[("cookie", "session=alice"), ("authorization", "Digest x")], "alice"),
    ] {
        let answer = ask(gateway.address, "GET", "/", fields).await;
        let found = answer.text().split(' ').next().unwrap().to_owned();
        let found = if answer.status() == 200 { found } else { answer.status().to_string() };
        assert_eq!(found, expected, "{fields:?}");
    }
    let challenges = ask(gateway.address, "GET", "/", &[("x-api-key", "x")]).await;
    assert_eq!(challenges.all("www-authenticate").len(), 3, "{challenges:?}");
}
