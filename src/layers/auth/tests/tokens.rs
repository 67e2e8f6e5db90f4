//! RFC 8725 as a table: which tokens are taken, and which attacks are not.

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::super::jwt::{KEYS_MAX, KeySet, TOKEN_MAX, TokenError, TokenRules, media_type};
use crate::clock::Wall;

const NOW: Wall = Wall::from_secs(1_000_000);

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |bits: u32| char::from(DIGITS[(bits & 63) as usize]);
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digits = [digit(bits >> 18), digit(bits >> 12), digit(bits >> 6), digit(bits)];
        text.extend(digits.iter().take(chunk.len() + 1));
    }
    text
}

/// A key pair, and its public half in a JWK.
pub(super) struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    pub(super) jwk: Value,
}

impl Signer {
    pub(super) fn ec(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let public = pair.public_key().as_ref();
        let (x, y) = (base64url(&public[1..33]), base64url(&public[33..]));
        Self {
            key: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()),
            algorithm: Algorithm::ES256,
            jwk: json!({ "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": x, "y": y }),
        }
    }

    fn ed(id: &str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let x = base64url(pair.public_key().as_ref());
        Self {
            key: EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref()),
            algorithm: Algorithm::EdDSA,
            jwk: json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x }),
        }
    }

    fn header(&self) -> Header {
        Header { kid: self.jwk["kid"].as_str().map(str::to_owned), ..Header::new(self.algorithm) }
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.key).unwrap()
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }
}

fn set(keys: &[&Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn rules(algorithms: &[Algorithm]) -> TokenRules {
    TokenRules {
        algorithms: algorithms.to_vec(),
        issuers: vec!["https://idp".to_owned()],
        audiences: vec!["orders".to_owned(), "stock".to_owned()],
        types: Vec::new(),
        skew: Duration::from_secs(30),
        consumer: "sub".to_owned(),
        fields: vec![("x-email".parse().unwrap(), "email".to_owned())],
    }
}

/// Good claims, with these in their place; null takes one away.
fn claims(changes: Value) -> Value {
    let mut claims = json!({ "iss": "https://idp", "aud": "orders", "sub": "alice", "exp": 1_000_060 });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

/// RFC 7519 §4.1, RFC 8725 §3.8 to §3.10.
#[test]
fn claims_are_enforced() {
    let signer = Signer::ec("a");
    let keys = set(&[&signer.jwk]);
    let bad = Err(TokenError::Bad);
    for (changes, expected) in [
        (json!({}), Ok("alice")),
        (json!({ "aud": ["x", "stock"] }), Ok("alice")),
        (json!({ "aud": "x" }), bad),
        (json!({ "aud": ["x"] }), bad),
        (json!({ "aud": [] }), bad),
        (json!({ "aud": { "orders": 1 } }), bad),
        (json!({ "aud": null }), bad),
        (json!({ "iss": "https://idp/" }), bad),
        (json!({ "iss": ["https://idp"] }), bad),
        (json!({ "iss": null }), bad),
        (json!({ "exp": null }), bad),
        (json!({ "exp": "1000060" }), bad),
        (json!({ "exp": 1_000_000 }), Ok("alice")),
        (json!({ "exp": 999_970.5 }), Ok("alice")),
        (json!({ "exp": 999_970 }), Err(TokenError::Expired)),
        (json!({ "exp": 0 }), Err(TokenError::Expired)),
        (json!({ "exp": -1 }), Err(TokenError::Expired)),
        (json!({ "nbf": 1_000_030 }), Ok("alice")),
        (json!({ "nbf": 1_000_031 }), bad),
        (json!({ "nbf": "1" }), bad),
        (json!({ "sub": null }), bad),
        (json!({ "sub": "" }), bad),
        (json!({ "sub": 7 }), Ok("7")),
        (json!({ "sub": "a\r\nx: y" }), bad),
        (json!({ "sub": { "a": 1 } }), bad),
        (json!({ "sub": "x".repeat(257) }), bad),
        (json!({ "email": "a\nb" }), bad),
        (json!({ "email": "é" }), Ok("alice")),
    ] {
        let token = signer.token(&claims(changes.clone()));
        let found = rules(&[Algorithm::ES256]).identify(token.as_bytes(), &keys, NOW);
        let name = found.as_ref().map(|identity| &**identity.consumer.name()).map_err(|error| *error);
        assert_eq!(name, expected, "{changes}");
    }
    for (email, shown) in [(json!("a@b"), Some("a@b")), (json!(["a", "b"]), Some("a,b")), (json!(null), None)]
    {
        let token = signer.token(&claims(json!({ "email": email })));
        let found = rules(&[Algorithm::ES256]).identify(token.as_bytes(), &keys, NOW).unwrap();
        let value = found.fields.first().map(|(_, value)| value.to_str().unwrap());
        assert_eq!(value, shown, "{email}");
    }
}

/// A token of any header, with an HMAC of it under any secret.
fn forged(header: &Value, secret: &[u8]) -> String {
    let body = format!(
        "{}.{}",
        base64url(header.to_string().as_bytes()),
        base64url(claims(json!({})).to_string().as_bytes())
    );
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    format!("{body}.{}", base64url(aws_lc_rs::hmac::sign(&key, body.as_bytes()).as_ref()))
}

/// RFC 8725 §2.1, §3.1, §3.2, §3.10: the header of a token decides nothing.
#[test]
fn hostile_tokens() {
    let (signer, other, ed) = (Signer::ec("a"), Signer::ec("b"), Signer::ed("e"));
    let keys = set(&[&signer.jwk, &ed.jwk]);
    let good = signer.token(&claims(json!({})));
    let unsigned = |header: Value| {
        let body = base64url(claims(json!({})).to_string().as_bytes());
        format!("{}.{body}.", base64url(header.to_string().as_bytes()))
    };
    let parts: Vec<&str> = good.split('.').collect();
    let public = signer.jwk.to_string();
    let raw = base64_decoded(&signer.jwk["x"]);
    let header = |change: fn(&mut Header)| {
        let mut header = signer.header();
        change(&mut header);
        header
    };
    let jwk = |signer: &Signer| serde_json::from_value(signer.jwk.clone()).unwrap();
    let (bad, unknown) = (Err(TokenError::Bad), Err(TokenError::UnknownKey));
    let mut embedded = header(|_| {});
    (embedded.jwk, embedded.kid) = (Some(jwk(&other)), None);
    let mut elsewhere = header(|header| header.kid = Some("b".to_owned()));
    (elsewhere.jku, elsewhere.x5u) = (Some("https://evil/".to_owned()), Some("https://evil/".to_owned()));
    let cases: Vec<(&str, String, Result<(), TokenError>)> = vec![
        ("as it should be", good.clone(), Ok(())),
        ("without an id", signer.sign(&header(|it| it.kid = None), &claims(json!({}))), Ok(())),
        ("none", unsigned(json!({ "alg": "none" })), bad),
        ("None", unsigned(json!({ "alg": "None" })), bad),
        ("no algorithm", unsigned(json!({ "typ": "JWT" })), bad),
        ("without a signature", unsigned(json!({ "alg": "ES256", "kid": "a" })), bad),
        (
            "the public key as a secret",
            forged(&json!({ "alg": "HS256", "kid": "a" }), public.as_bytes()),
            bad,
        ),
        ("its point as a secret", forged(&json!({ "alg": "HS256" }), &raw), bad),
        ("an empty secret", forged(&json!({ "alg": "HS256" }), b""), bad),
        ("HMAC under its name", forged(&json!({ "alg": "ES256", "kid": "a" }), public.as_bytes()), bad),
        ("an algorithm that is not pinned", ed.token(&claims(json!({}))), bad),
        ("another's key under our id", other.sign(&header(|_| {}), &claims(json!({}))), bad),
        ("another's key", other.token(&claims(json!({}))), unknown),
        ("a key in the header", other.sign(&embedded, &claims(json!({}))), unknown),
        ("where a key is in the header", other.sign(&elsewhere, &claims(json!({}))), unknown),
        (
            "a path as an id",
            other.sign(&header(|it| it.kid = Some("../a".into())), &claims(json!({}))),
            unknown,
        ),
        (
            "something critical",
            signer.sign(&header(|it| it.crit = Some(vec!["b64".into()])), &claims(json!({}))),
            bad,
        ),
        ("another body", format!("{}.{}.{}", parts[0], base64url(b"{}"), parts[2]), bad),
        ("another signature", format!("{}.{}.{}", parts[0], parts[1], base64url(&[0; 64])), bad),
        ("a signature of zeroes that is short", format!("{}.{}.AA", parts[0], parts[1]), bad),
        ("two parts", format!("{}.{}", parts[0], parts[1]), bad),
        ("five parts", format!("{good}.a.b"), bad),
        ("padding", format!("{good}="), bad),
        ("a blank", format!("{} .{}.{}", parts[0], parts[1], parts[2]), bad),
        ("no JSON", format!("{}.{}.{}", base64url(b"{"), parts[1], parts[2]), bad),
        ("nothing", String::new(), bad),
        ("too long", signer.token(&claims(json!({ "x": "x".repeat(TOKEN_MAX) }))), bad),
    ];
    for (what, token, expected) in cases {
        let found = rules(&[Algorithm::ES256]).identify(token.as_bytes(), &keys, NOW);
        assert_eq!(found.map(drop), expected, "{what}");
    }
    assert_eq!(rules(&[]).identify(good.as_bytes(), &keys, NOW).map(drop), bad, "nothing is pinned");
    let empty = rules(&[Algorithm::ES256]).identify(good.as_bytes(), &KeySet::default(), NOW);
    assert_eq!(empty.map(drop), unknown);
    // A secret takes no signatures, and public keys no secret.
    let secret = KeySet::secret(b"0123456789abcdef0123456789abcdef");
    let hmac = rules(&[Algorithm::HS256]);
    let token = forged(&json!({ "alg": "HS256", "kid": "x" }), b"0123456789abcdef0123456789abcdef");
    assert_eq!(hmac.identify(token.as_bytes(), &secret, NOW).map(drop), Ok(()));
    assert_eq!(hmac.identify(token.as_bytes(), &keys, NOW).map(drop), unknown);
    assert_eq!(hmac.identify(good.as_bytes(), &secret, NOW).map(drop), bad);
}

/// RFC 8725 §3.11, RFC 7515 §4.1.9: a token says what it is for, and is taken for nothing else.
#[test]
fn a_type_that_is_asked_for_must_be_there() {
    let signer = Signer::ec("a");
    let keys = set(&[&signer.jwk]);
    let both = &["at+jwt", "application/x"][..];
    for (asked, typ, good) in [
        (&[][..], None, true),
        (&[], Some("anything"), true),
        (both, Some("at+jwt"), true),
        (both, Some("AT+JWT"), true),
        (both, Some("application/at+jwt"), true),
        (both, Some("x"), true),
        (both, Some("JWT"), false),
        (both, Some("text/at+jwt"), false),
        (both, Some(""), false),
        (both, None, false),
        (&["JWT"], Some("jwt"), true),
        (&["JWT"], Some("at+jwt"), false),
    ] {
        let mut header = signer.header();
        header.typ = typ.map(str::to_owned);
        let token = signer.sign(&header, &claims(json!({})));
        let types = asked.iter().map(|typ| media_type(typ)).collect();
        let rules = TokenRules { types, ..rules(&[Algorithm::ES256]) };
        let found = rules.identify(token.as_bytes(), &keys, NOW).map(drop);
        assert_eq!(found, if good { Ok(()) } else { Err(TokenError::Bad) }, "{asked:?} {typ:?}");
    }
}

fn base64_decoded(text: &Value) -> Vec<u8> {
    let jwk = json!({ "kty": "oct", "k": text });
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwk).unwrap();
    jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap().try_get_as_bytes().unwrap().to_vec()
}

/// RFC 7517 §4: what a key says it is for is what it is used for.
#[test]
fn sets_are_read_with_care() {
    let signer = Signer::ec("a");
    let with = |changes: Value| {
        let mut key = signer.jwk.clone();
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        json!({ "keys": [key] }).to_string()
    };
    for (set, good) in [
        (with(json!({})), true),
        (with(json!({ "alg": "ES256" })), true),
        (with(json!({ "key_ops": ["verify"] })), true),
        (with(json!({ "use": "enc" })), false),
        (with(json!({ "key_ops": ["encrypt"] })), false),
        (with(json!({ "alg": "ES384" })), false),
        (with(json!({ "alg": "RS256" })), false),
        (with(json!({ "alg": "HS256" })), false),
        (with(json!({ "crv": "P-521" })), false),
        (with(json!({ "kty": "RSA" })), false),
        (with(json!({ "x": "?" })), false),
        (json!({ "keys": [{ "kty": "oct", "k": base64url(b"secret"), "alg": "HS256" }] }).to_string(), false),
        (json!({ "keys": [] }).to_string(), false),
        (json!({ "keys": { } }).to_string(), false),
        (json!([]).to_string(), false),
        ("{".to_owned(), false),
        (json!({ "keys": [7, { "kty": "future" }, signer.jwk] }).to_string(), true),
    ] {
        assert_eq!(KeySet::parse(set.as_bytes()).is_ok(), good, "{set}");
    }
    // More keys than are used, and the one that counts behind them.
    let mut keys = vec![&signer.jwk; KEYS_MAX];
    let last = Signer::ec("last");
    keys.push(&last.jwk);
    let found =
        rules(&[Algorithm::ES256]).identify(last.token(&claims(json!({}))).as_bytes(), &set(&keys), NOW);
    assert_eq!(found.map(drop), Err(TokenError::UnknownKey));
}
