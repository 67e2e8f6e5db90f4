//! Where the keys of tokens come from by a URL alone, what tokens must be, and what is counted by them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::credentials::{Issuer, JWT, named};
use super::tls::{certify, secure_origin};
use crate::support::{Gateway, Origin, Reply, ask, get};

fn route(jwks: &str, more: &str) -> String {
    format!("auth = {{ jwt = {{ {JWT}, jwks = '{jwks}'{more} }} }}")
}

async fn status(gateway: &Gateway, token: &str) -> u16 {
    ask(gateway.address, "GET", "/", &[("authorization", token)]).await.status()
}

/// The URL is all that is said: the set is there before the first token, and once for two routes and more.
#[tokio::test]
async fn keys_come_from_a_url() {
    let (origin, issuer) = (named("no-store").await, Issuer::new("a"));
    let idp = Origin::always(Reply::ok(issuer.set())).await;
    let url = format!("http://{}/tenant/keys?v=1", idp.address);
    let gateway = Gateway::before(origin.address, &route(&url, "")).await;
    let asked = &idp.wait_for(1).await[0].request;
    assert_eq!((asked.method(), asked.target()), ("GET", "/tenant/keys?v=1"));
    assert_eq!(asked.field("host"), Some(idp.address.to_string().as_str()));
    assert!(asked.field("accept").unwrap().contains("application/jwk-set+json"));
    assert_eq!(status(&gateway, &issuer.token("alice", 60)).await, 200);
    assert_eq!(status(&gateway, &Issuer::new("a").token("alice", 60)).await, 401);
    assert_eq!(get(gateway.address, "/").await.status(), 401);
    assert_eq!(idp.asked().len(), 1);
    // It is an upstream like others, to whom it may concern.
    let labels = [("upstream", format!("http://{}", idp.address))];
    let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(gateway.metrics().await.sum("forebay_upstream_requests_total", &labels), 1.0);
    gateway.at_rest().await;
}

/// By `https` the issuer must show a certificate for its name, of an authority that the system trusts.
#[tokio::test]
async fn an_issuer_by_https_must_be_the_one() {
    let (origin, issuer) = (named("no-store").await, Issuer::new("a"));
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path(), "idp", &["localhost"]);
    certify(folder.path(), "other", &["other.example"]);
    let port = secure_origin(folder.path(), "idp", &issuer.set()).await.port();
    for (host, trusted, expected) in
        [("localhost", "idp", 200), ("127.0.0.1", "idp", 503), ("localhost", "other", 503)]
    {
        let config = Gateway::config(origin.address, "", &route(&format!("https://{host}:{port}/keys"), ""));
        let ca = folder.path().join(format!("{trusted}.pem"));
        let script = format!("unset SSL_CERT_DIR; SSL_CERT_FILE='{}' exec \"$@\"", ca.display());
        let gateway = Gateway::start_in_shell(&config, &script);
        assert_eq!(status(&gateway, &issuer.token("alice", 60)).await, expected, "{host} {trusted}");
    }
}

/// What was fetched is good through an outage, new keys are good when they are there, and old ones no more.
#[tokio::test]
async fn keys_of_a_url_rotate_and_outlive_an_outage() {
    let origin = named("no-store").await;
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let (down, rotated) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let idp = Origin::start({
        let (down, rotated, sets) = (down.clone(), rotated.clone(), [old.set(), new.set()]);
        move |_, _| match down.load(Ordering::SeqCst) {
            true => Reply::raw("").then_close(),
            false => Reply::ok(&sets[usize::from(rotated.load(Ordering::SeqCst))]),
        }
    })
    .await;
    let url = format!("http://{}/keys", idp.address);
    let gateway = Gateway::before(origin.address, &route(&url, ", min_refresh = '50ms'")).await;
    assert_eq!(status(&gateway, &old.token("alice", 60)).await, 200);
    down.store(true, Ordering::SeqCst);
    for _ in 0..6 {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        assert_eq!(status(&gateway, &new.token("alice", 60)).await, 401);
        assert_eq!(status(&gateway, &old.token("alice", 60)).await, 200);
    }
    assert!(idp.asked().len() >= 6, "however often it fails, it is asked again");
    down.store(false, Ordering::SeqCst);
    rotated.store(true, Ordering::SeqCst);
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    assert_eq!(status(&gateway, &new.token("alice", 60)).await, 200);
    assert_eq!(status(&gateway, &old.token("alice", 60)).await, 401);
}

/// A reload keeps the keys, also where it changes who may use the route: the issuer may be down then.
#[tokio::test]
async fn keys_of_a_url_outlive_a_reload() {
    let (origin, issuer) = (named("no-store").await, Issuer::new("a"));
    let idp = Origin::always(Reply::ok(issuer.set())).await;
    let url = format!("http://{}/keys", idp.address);
    let config = |route: &str| Gateway::config(origin.address, "", route);
    let gateway = Gateway::start(&config(&route(&url, "")));
    assert_eq!(status(&gateway, &issuer.token("alice", 60)).await, 200);
    assert_eq!(idp.asked().len(), 1);
    drop(idp);
    let reloaded = async |count: f64| {
        gateway.wait_for("forebay_reloads_total", &[("result", "applied")], |now| now == count).await;
    };
    gateway.signal("HUP");
    reloaded(1.0).await;
    assert_eq!(status(&gateway, &issuer.token("alice", 60)).await, 200);
    let other = ", typ = ['at+jwt'], headers = { x-email = 'email' }";
    for (count, more, expected) in [(2.0, other, 401), (3.0, "", 200)] {
        gateway.rewrite(&config(&route(&url, more)));
        reloaded(count).await;
        assert_eq!(status(&gateway, &issuer.token("alice", 60)).await, expected, "{more}");
    }
}

/// A set in a file: what is written there is good at once, without a word to the gateway.
#[tokio::test]
async fn keys_in_a_file_rotate() {
    let origin = named("no-store").await;
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, old.set()).unwrap();
    let jwks = format!("${{file:{}}}", file.display());
    let gateway = Gateway::before(origin.address, &route(&jwks, "")).await;
    assert_eq!(status(&gateway, &old.token("alice", 60)).await, 200);
    assert_eq!(status(&gateway, &new.token("alice", 60)).await, 401);
    // What is no set is refused, and the old one is good still.
    std::fs::write(&file, "{}").unwrap();
    gateway.wait_for("forebay_reloads_total", &[("result", "refused")], |count| count >= 1.0).await;
    assert_eq!(status(&gateway, &old.token("alice", 60)).await, 200);
    std::fs::write(&file, new.set()).unwrap();
    gateway.wait_for("forebay_reloads_total", &[("result", "applied")], |count| count >= 1.0).await;
    assert_eq!(status(&gateway, &old.token("alice", 60)).await, 401);
    assert_eq!(status(&gateway, &new.token("alice", 60)).await, 200);
}

/// RFC 8725 §3.11: a token of the same issuer that is for something else opens nothing.
#[tokio::test]
async fn tokens_are_of_the_type_that_is_asked_for() {
    let (origin, issuer) = (named("no-store").await, Issuer::new("a"));
    let gateway = Gateway::before(origin.address, &route(&issuer.set(), ", typ = ['at+jwt']")).await;
    for (typ, expected) in [(Some("at+jwt"), 200), (Some("application/at+jwt"), 200), (None, 401)] {
        let token = issuer.token_with("alice", 60, &json!({}), typ);
        assert_eq!(status(&gateway, &token).await, expected, "{typ:?}");
    }
}

/// A limit counts by a claim: all consumers of a tenant together, and those without one in one place. What a
/// client says in the field has no say.
#[tokio::test]
async fn limits_count_claims() {
    let (origin, issuer) = (named("no-store").await, Issuer::new("a"));
    let limit = "[[route.rate_limit]]\nname = \"each\"\nkey = \"claim:tenant\"\nrate = \"2/h\"";
    let told = ", headers = { x-tenant = 'tenant' }";
    let gateway = Gateway::before(origin.address, &format!("{}\n{limit}", route(&issuer.set(), told))).await;
    let of = |name: &str, tenant: &str| {
        let more = if tenant.is_empty() { json!({}) } else { json!({ "tenant": tenant }) };
        issuer.token_with(name, 60, &more, None)
    };
    for (name, tenant, expected) in [
        ("alice", "blue", 200),
        ("bob", "blue", 200),
        ("carol", "blue", 429),
        ("alice", "red", 200),
        ("dave", "", 200),
        ("erin", "", 200),
        ("frank", "", 429),
        ("alice", "red", 200),
        ("alice", "red", 429),
    ] {
        let token = of(name, tenant);
        let fields = [("authorization", token.as_str()), ("x-tenant", "green")];
        let answer = ask(gateway.address, "GET", "/", &fields).await;
        assert_eq!(answer.status(), expected, "{name} {tenant}");
    }
}

/// RFC 9111 §3.5; and what is stored is for the consumer, and for the claims that the origin was told of it.
#[tokio::test]
async fn stored_answers_do_not_cross_tokens() {
    let issuer = Issuer::new("a");
    for (cache_control, more, asked) in [
        ("max-age=60", "", 6),
        ("public, max-age=60", "", 3),
        ("max-age=60", ", forward = false", 6),
        ("public, max-age=60", ", forward = false", 3),
    ] {
        let origin = Origin::start(move |_, before| {
            Reply::new(200, &[("cache-control", cache_control)], before.to_string())
        })
        .await;
        let told = format!(", headers = {{ x-role = 'role' }}{more}");
        let gateway = Gateway::before(origin.address, &route(&issuer.set(), &told)).await;
        for (name, role) in [("alice", "user"), ("bob", "user"), ("alice", "admin")].repeat(2) {
            let token = issuer.token_with(name, 60, &json!({ "role": role }), None);
            let answer = ask(gateway.address, "GET", "/", &[("authorization", &token)]).await;
            // It says which question it answered.
            let answered = &origin.asked()[answer.text().parse::<usize>().unwrap()].request;
            let whose = (answered.field("x-consumer"), answered.field("x-role"));
            assert_eq!(whose, (Some(name), Some(role)), "{cache_control}{more}");
        }
        assert_eq!(origin.asked().len(), asked, "{cache_control}{more}");
    }
}
