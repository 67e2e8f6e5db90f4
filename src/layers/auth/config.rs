//! What the user writes in `[consumer.NAME]` and `[route.auth]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Secret, Time};

/// Someone who uses the APIs: what it proves itself by. Its name goes to limits, log and upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerConfig {
    /// The SHA-256 of each of its API keys, in hex: `printf %s "$KEY" | sha256sum`. With several, keys can be
    /// changed one by one. Best as `"${file:...}"`.
    #[schemars(with = "Vec<String>")]
    pub keys: Vec<Secret>,
    /// The argon2 hash of its password, for `basic`, as a PHC string: `"$argon2id$v=19$..."`. Its user name
    /// is the consumer's. Best as `"${file:...}"`.
    #[schemars(with = "String")]
    pub password: Secret,
    /// Whether it is turned away as if it were not known.
    pub disabled: bool,
}

/// Who may use a route. Without it everybody may; with any of `keys`, `basic`, `jwt` and `forward`, only
/// those may who prove who they are by one of these that is configured.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Networks whose clients are let in; all if empty.
    pub allow: Vec<String>,
    /// Networks whose clients are turned away, also where `allow` names them.
    pub deny: Vec<String>,
    /// API keys of consumers.
    pub keys: Option<KeysConfig>,
    /// Names and passwords of consumers (RFC 7617).
    pub basic: Option<BasicConfig>,
    /// Signed tokens (RFC 7519) in `Authorization: Bearer`.
    pub jwt: Option<JwtConfig>,
    /// A service of your own that decides, where a request has none of the other credentials.
    pub forward: Option<ForwardConfig>,
    /// The consumers that may use the route; every known one if empty.
    pub consumers: Vec<String>,
    /// The field in which the upstream is told the consumer's name. What clients send in it never gets there,
    /// on no route.
    pub header: String,
    /// What the challenges of a 401 call the route.
    pub realm: String,
    /// Whether answers are the same for all consumers, so that they share what is stored. Else each has
    /// entries of its own, and for other claims (`jwt.headers`, `forward.response_headers`) other ones.
    pub public_cache: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            keys: None,
            basic: None,
            jwt: None,
            forward: None,
            consumers: Vec::new(),
            header: "x-consumer".to_owned(),
            realm: "forebay".to_owned(),
            public_cache: false,
        }
    }
}

/// Where requests carry an API key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// The field; of `authorization`, what follows `Bearer`. None if empty.
    pub header: String,
    /// The parameter of the query, which is removed from the request, cache keys and log. None if empty.
    pub query: String,
    /// Whether the upstream gets the field too.
    pub forward: bool,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self { header: "x-api-key".to_owned(), query: String::new(), forward: false }
    }
}

/// How names and passwords are checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicConfig {
    /// How long a pair that was good is good without another look at its hash.
    pub remember: Time,
    /// Whether the upstream gets the field too.
    pub forward: bool,
}

impl Default for BasicConfig {
    fn default() -> Self {
        Self { remember: Time::secs(300), forward: false }
    }
}

/// Which tokens are taken. Their keys are a `jwks`, at a URL or written out, a `secret`, or fetched from an
/// `upstream`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JwtConfig {
    /// The algorithms that are taken, of one kind: `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`; or
    /// `ES256`, `ES384`; or `EdDSA`; or, with a `secret`, `HS256`, `HS384`, `HS512`.
    pub algorithms: Vec<String>,
    /// Who may have issued it: its `iss` is one of these.
    pub issuer: Vec<String>,
    /// Whom it must be for: its `aud` has one of these.
    pub audience: Vec<String>,
    /// What its `typ` must be, one of these: `["at+jwt"]`, so that a token of the same issuer for something
    /// else is not taken (RFC 8725 §3.11). Anything will do if empty.
    pub typ: Vec<String>,
    /// A JWK set with the issuer's public keys: the URL that it is fetched from, `https://...`, or the set
    /// itself as JSON, best as `"${file:...}"`.
    pub jwks: String,
    /// The secret of HMAC, at least 32 bytes. Best as `"${file:...}"`.
    #[schemars(with = "String")]
    pub secret: Secret,
    /// The upstream that the JWK set is fetched from, where a URL does not say enough about how: an authority
    /// of your own, several endpoints, other timeouts.
    pub upstream: Option<String>,
    /// The set's path at the `upstream`.
    pub path: String,
    /// When the set is fetched anew; what is there is used meanwhile.
    pub refresh: Time,
    /// The time between two fetches, however many tokens name a key that is not there.
    pub min_refresh: Time,
    /// How long a set is used that cannot be fetched anew.
    pub max_stale: Time,
    /// How far the issuer's clock may be from ours; 5 minutes at most.
    pub skew: Time,
    /// The claim that names the consumer. It shares its names with `[consumer.NAME]`.
    pub consumer: String,
    /// Claims that the upstream is told, by the field that it gets them in: `{ "x-email" = "email" }`. Limits
    /// can count by them: `claim:email`.
    pub headers: BTreeMap<String, String>,
    /// Whether the upstream gets the token too.
    pub forward: bool,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            algorithms: Vec::new(),
            issuer: Vec::new(),
            audience: Vec::new(),
            typ: Vec::new(),
            jwks: String::new(),
            secret: Secret::default(),
            upstream: None,
            path: "/.well-known/jwks.json".to_owned(),
            refresh: Time::secs(300),
            min_refresh: Time::secs(10),
            max_stale: Time::secs(86_400),
            skew: Time::secs(30),
            consumer: "sub".to_owned(),
            headers: BTreeMap::new(),
            forward: true,
        }
    }
}

/// A service that is asked whether a request may pass: by GET, with the request's method and target in
/// `X-Forwarded-Method` and `X-Forwarded-Uri`. 2xx lets it pass; the client gets any other answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardConfig {
    /// The upstream that it is.
    pub upstream: String,
    /// What it is asked for.
    pub path: String,
    /// The fields of the request that it gets: the credentials.
    pub request_headers: Vec<String>,
    /// The fields of its answer that the upstream gets in the request.
    pub response_headers: Vec<String>,
    /// The field of its answer that names the consumer. Without it consumers are told apart by their
    /// credentials.
    pub consumer: String,
    /// How long it may take.
    pub timeout: Time,
    /// How long a 2xx holds for requests with the same credentials; not at all if zero, an hour at most.
    pub remember: Time,
    /// Whether it holds for the same method and target only.
    pub per_target: bool,
}

impl Default for ForwardConfig {
    fn default() -> Self {
        Self {
            upstream: String::new(),
            path: "/".to_owned(),
            request_headers: vec!["authorization".to_owned(), "cookie".to_owned()],
            response_headers: Vec::new(),
            consumer: String::new(),
            timeout: Time::secs(5),
            remember: Time::secs(0),
            per_target: true,
        }
    }
}
