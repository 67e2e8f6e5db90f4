//! Secrets stay where they are: in no page, metric, log, error or answer. Each one here has a word in it that
//! is looked for in all that comes out.

use std::path::Path;

use crate::support::gateway::program;
use crate::support::{Client, Gateway, Origin, Reply, ask};

/// What every secret has in it that can have it.
const WORD: &str = "hush";

/// Fails where a secret is in a text.
fn assert_hushed(what: &str, text: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!text.contains(secret.as_str()), "{secret} is in {what}:\n{text}");
    }
}

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text that is an argon2 hash, of nothing anybody knows.
const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$aHVzaHNhbHQ$aHVzaGh1c2hodXNoaHVzaGh1c2hodXNoaHVzaGh1c2g";
/// `alice:hush-password`, `alice:hush-other`
const BASIC: [&str; 2] = ["YWxpY2U6aHVzaC1wYXNzd29yZA==", "YWxpY2U6aHVzaC1vdGhlcg=="];

/// A config with a secret behind every key that takes one, each route to the same origin.
fn config(origin: &Origin, folder: &Path, format: &str) -> String {
    let base = Gateway::config(origin.address, "", "");
    let base = base.replacen("[admin]", "[admin]\ntoken = \"${HUSHED}\"", 1).replacen(
        "[log]\naccess = \"off\"\nformat = \"text\"",
        &format!("[log]\naccess = \"{}\"\nformat = \"{format}\"", folder.join("access").display()),
        1,
    );
    let route = |name: &str, lines: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nmatch = {{ path = \"/{name}\" }}\nupstream = \"origin\"\n{lines}\n"
        )
    };
    let jwt = "algorithms = [\"HS256\"], issuer = [\"i\"], audience = [\"a\"], secret = \"${file:jwt}\"";
    let jwks = "algorithms = [\"EdDSA\"], issuer = [\"i\"], audience = [\"a\"], \
                jwks = '{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"hush-kid\",\
                \"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}'";
    base + &[
        format!(
            "[cache.purge]\ntoken = \"hush-store-purge\"\n[consumer.alice]\nkeys = [\"{}\"]\n",
            sha256("hush-key")
        ),
        format!("password = '{HASH}'\n[upstream.gone]\nendpoints = [\"http://127.0.0.1:1\"]\n"),
        route("keys", "auth = { keys = { query = \"key\" } }\ncache.purge.token = \"hush-route-purge\""),
        route("plain", ""),
        route("basic", "auth = { basic = {} }"),
        route("jwt", &format!("auth = {{ jwt = {{ {jwt} }} }}")),
        route("jwks", &format!("auth = {{ jwt = {{ {jwks} }} }}")),
        route("forward", "auth = { forward = { upstream = \"origin\" } }"),
        route("closed", "auth = { forward = { upstream = \"gone\" } }"),
        route("down", "").replace("\"origin\"", "\"gone\""),
        route("added", "request_headers = { set = { authorization = \"Bearer hush-added\" } }"),
    ]
    .concat()
}

#[tokio::test]
async fn what_runs_tells_no_secret() {
    let origin = Origin::always(Reply::new(200, &[("cache-control", "max-age=60")], "x")).await;
    for format in ["json", "text"] {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&origin, folder.path(), format)
            .replace("${file:jwt}", &format!("${{file:{}/jwt}}", folder.path().display()));
        std::fs::write(folder.path().join("jwt"), "hush-of-thirty-two-bytes-or-more-than-that\n").unwrap();
        let script = "export HUSHED=hush-admin-token FOREBAY_LOG=forebay=trace,info; exec \"$@\"";
        let gateway = Gateway::start_in_shell(&config, script);
        let secrets: Vec<String> = [WORD, HASH, BASIC[0], BASIC[1], "aHVzaA", "11qYAYKx"]
            .map(str::to_owned)
            .into_iter()
            .chain([sha256("hush-key")])
            .collect();

        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let claims = serde_json::json!({ "iss": "i", "aud": "a", "sub": "alice", "exp": now + 60 });
        let token = |secret: &[u8]| {
            let key = jsonwebtoken::EncodingKey::from_secret(secret);
            jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
        };
        let good = token(b"hush-of-thirty-two-bytes-or-more-than-that");
        let tokens = [good.clone(), token(b"hush-of-another")];
        let secrets: Vec<String> = secrets.into_iter().chain(tokens.iter().cloned()).collect();
        let authorization = |text: &str| ("authorization", text.to_owned());
        let key = |text: &str| ("x-api-key", text.to_owned());
        let mut told = String::new();
        for (method, target, fields, expected) in [
            ("GET", "/keys", vec![key("hush-key")], 200),
            ("GET", "/keys", vec![key("hush-wrong")], 401),
            ("GET", "/keys?key=hush-key&a=b", vec![], 200),
            ("GET", "/keys?a=b&key=hush-wrong", vec![], 401),
            ("GET", "/basic", vec![authorization(&format!("Basic {}", BASIC[0]))], 401),
            ("GET", "/basic", vec![authorization(&format!("Basic {}", BASIC[1]))], 401),
            ("GET", "/jwt", vec![authorization(&format!("Bearer {}", tokens[0]))], 200),
            ("GET", "/jwt", vec![authorization(&format!("Bearer {}", tokens[1]))], 401),
            ("GET", "/jwks", vec![authorization(&format!("Bearer {}", tokens[0]))], 401),
            ("GET", "/forward", vec![("cookie", "id=hush-cookie".to_owned())], 200),
            ("GET", "/closed", vec![("cookie", "id=hush-cookie".to_owned())], 503),
            ("GET", "/down", vec![authorization("Bearer hush-upstream")], 502),
            ("GET", "/added", vec![authorization("Bearer hush-replaced")], 200),
            ("GET", "/added", vec![("x-\u{1}", "hush".to_owned())], 400),
            ("GET", "/else", vec![authorization("Bearer hush"), ("content-length", "hush".to_owned())], 400),
            ("PURGE", "/plain", vec![authorization("Bearer hush-store-purge")], 200),
            ("PURGE", "/plain", vec![authorization("Bearer hush-wrong")], 403),
            ("GET", "/plain", vec![("cookie", "id=hush-cookie".to_owned())], 200),
            ("PURGE", "/keys", vec![authorization("Bearer hush-route-purge")], 0),
        ] {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = ask(gateway.address, method, target, &fields).await;
            if expected != 0 {
                assert_eq!(answer.status(), expected, "{method} {target} {fields:?} {answer:?}");
            }
            told.push_str(&String::from_utf8_lossy(&answer.raw));
        }
        assert!(
            origin
                .asked()
                .iter()
                .any(|asked| asked.request.field("authorization") == Some("Bearer hush-added"))
        );
        assert_hushed("answers", &told, &secrets);

        let mut pages = String::new();
        for bearer in ["hush-admin-token", "hush-wrong", ""] {
            for line in [
                "GET /livez",
                "GET /readyz",
                "GET /metrics",
                "GET /api/v1/status",
                "GET /api/v1/cache/entry?url=test.example/keys?a=b",
                "GET /api/v1/cache/entry?url=test.example/plain",
                "POST /api/v1/cache/purge",
                "GET /api/v1/config",
                "GET /",
            ] {
                let mut client = Client::connect(gateway.admin).await;
                client
                    .write(format!(
                        "{line} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {bearer}\r\nconnection: close\r\n\
                         content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
                        gateway.admin
                    ))
                    .await;
                let answer = client.response().await;
                assert_ne!(answer.status(), 0, "{line}");
                pages.push_str(&String::from_utf8_lossy(&answer.raw));
            }
        }
        assert!(pages.contains("forebay_requests_total") && pages.contains("\"variants\""), "{pages}");
        assert_hushed("the admin pages", &pages, &secrets);

        // A reload that is refused shows its lines.
        let broken = config.replace("[admin]\ntoken = \"${HUSHED}\"", "[admin]\ntoken = \"hush\", 5");
        gateway.rewrite(&broken);
        gateway.wait_for("forebay_reloads_total", &[("result", "refused")], |count| count == 1.0).await;
        gateway.wait_for_log("not reloaded").await;
        gateway.signal("TERM");
        let mut gateway = gateway;
        gateway.ended().await;
        let log = std::fs::read_to_string(folder.path().join("access")).unwrap();
        assert!(log.lines().count() >= 14, "{log}");
        assert_hushed("the access log", &log, &secrets);
        assert_hushed("the diagnostics", &gateway.log(), &secrets);

        // The commands that read the same file.
        let file = folder.path().join("f.toml");
        std::fs::write(&file, &config).unwrap();
        for command in ["check", "routes"] {
            let out = program()
                .env("HUSHED", "hush-admin-token")
                .args([command, "-c"])
                .arg(&file)
                .output()
                .unwrap();
            let said = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
            assert_eq!(out.status.code(), Some(0), "{command}: {said}");
            assert_hushed(command, &said, &secrets);
        }
    }
}

/// What is wrong with a config is shown with its line, and what is secret on it is not.
#[test]
fn what_is_wrong_with_a_config_tells_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hidden"), "hush hush\n").unwrap();
    std::fs::write(folder.path().join("pem"), "hush\n").unwrap();
    let rest =
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.u]\nendpoints = [\"http://127.0.0.1:1\"]\n";
    let route = "[[route]]\nname = \"r\"\nupstream = \"u\"\n";
    let jwt = "issuer = [\"i\"], audience = [\"a\"]";
    let toml = [
        "admin = { listen = \"0.0.0.0:x\", token = \"hush\" }".to_owned(),
        "admin = { token = \"hush\", listen = \"0.0.0.0:x\" }".to_owned(),
        "admin = { token = \"hush hush\" }".to_owned(),
        "admin.token = \"${file:hidden}\"".to_owned(),
        "admin = { tokn = \"hush\" }".to_owned(),
        "admin = { passphrase = \"hush\" }".to_owned(),
        "admin = { token = [\"hush\"] }".to_owned(),
        "admin = { token = { is = \"hush\" } }".to_owned(),
        "admn = { token = \"hush\" }".to_owned(),
        "nothing_like_it = { token = \"hush\" }".to_owned(),
        "[admin]\ntoken = hush".to_owned(),
        "[admin]\ntoken = \"hush".to_owned(),
        "[admin]\ntoken = \"hush\" \"hush\"".to_owned(),
        "[admin]\ntoken \"hush\"".to_owned(),
        "admin = { token = \"hush\", }}".to_owned(),
        "consumer.a = { keys = [\"hush\"] }".to_owned(),
        "consumer.a = { keys = \"hush\" }".to_owned(),
        "consumer.a = { keys = [\"hush\"\n\"hush\"] }".to_owned(),
        "consumer.a = { password = \"hush\", wrong = 1 }".to_owned(),
        "consumer.a = { password = \"$argon2id$hush\" }".to_owned(),
        "cache.purge = { token = \"hush hush\" }".to_owned(),
        "cache.purge = { token = \"hush\", frm = [] }".to_owned(),
        "upstream.v.endpoints = [\"http://me:hush@a\"]".to_owned(),
        "upstream.v.endpoints = [\"http://hush@a/path\"]".to_owned(),
        "upstream.v = { endpoints = [\"ftp://me:hush@a\"], wrong = 1 }".to_owned(),
        "upstream.v.endpoints = [{ url = \"http://me:hush@a\", weight = 0 }]".to_owned(),
        "upstream.v.endpoints = [\"http://me:${file:hidden}@a\"]".to_owned(),
        "listener = [{ address = \"x\", tls = { cert = \"pem\", key = \"pem\" } }]".to_owned(),
        format!("{route}auth.jwt = {{ {jwt}, algorithms = [\"HS256\"], secret = \"hush\" }}"),
        format!("{route}auth.jwt = {{ {jwt}, secret = \"hush\", algorithms = [\"none\"] }}"),
        format!("{route}auth.jwt = {{ {jwt}, algorithms = [\"RS256\"], secret = \"hush\" }}"),
        format!("{route}auth.jwt = {{ {jwt}, algorithms = [\"RS256\"], jwks = \"hush\" }}"),
        format!("{route}auth.jwt = {{ {jwt}, algorithms = [\"RS256\"], jwks = '{{\"keys\":\"hush\"}}' }}"),
        format!(
            "{route}auth.jwt = {{ {jwt}, algorithms = [\"RS256\"], jwks = '{{\"keys\":[{{\"kty\":\"hush\"}}]}}' }}"
        ),
        format!("{route}cache.purge = {{ token = \"hush hush\" }}"),
        format!("{route}request_headers = {{ set = {{ authorization = \"hush\\u0000\" }} }}"),
        format!("{route}request_headers = {{ add = {{ x-key = \"hush\" }}, sett = {{}} }}"),
        format!("{route}request_headers = {{ set = {{ x-key = [\"hush\"] }} }}"),
        format!("{route}request_headers.set = {{ \"x key\" = \"hush\" }}"),
    ];
    let yaml = [
        "admin: { token: hush, listen: \"0.0.0.0:x\" }",
        "admin: { listen: \"0.0.0.0:x\", token: 'hush' }",
        "admin: { token: [hush] }",
        "admin:\n  token: >\n    hush hush\n    hush\n  listen: x",
        "admin:\n  tokn: hush\n  listen: x",
        "consumer: { a: { keys: [hush, \"hush\"], password: hush } }",
        "consumer: { a: { password: hush",
        "consumer:\n  a:\n   keys:\n    - hush\n   - hush",
        "upstream: { v: { endpoints: [\"http://me:hush@a\"] } }",
        "admin: { token: hush }}",
        "admin: { token: *hush }",
    ];
    let files = toml.iter().map(|text| ("f.toml", format!("{text}\n{rest}")));
    let files = files.chain(yaml.into_iter().map(|text| ("f.yaml", text.to_owned())));
    for (name, text) in files {
        let file = folder.path().join(name);
        std::fs::write(&file, &text).unwrap();
        for command in [&["check", "-c"][..], &["run", "-t", "-c"], &["routes", "-c"]] {
            let out = program().args(command).arg(&file).output().unwrap();
            let said = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
            // Files of keys are none of the routes' business.
            if command[0] != "routes" || !text.contains("pem") {
                assert_eq!(out.status.code(), Some(2), "{text}\n{said}");
                assert!(said.contains(&format!("{name}:")) && said.contains("error"), "{text}\n{said}");
            }
            assert!(!said.contains(WORD), "{text}\n{said}");
        }
    }
    let out = program().args(["run", "-t", "--upstream", "http://me:hush@a"]).output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("has a user name") && !said.contains(WORD), "{said}");
}
