//! Validated authentication: what a route's guard is built from, and what decides whether it survives a
//! reload.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use crate::http::fields;
use crate::report::{Path, Report, nearest};
use crate::units::Secret;

use super::address::{self, Addresses};
use super::basic::{self, BasicPlan};
use super::config::{AuthConfig, ConsumerConfig, KeysConfig};
use super::forward::ForwardPlan;
use super::identity::Consumer;
use super::jwks::JwksPlan;
use super::keys::{KeyDigest, KeysPlan};
use super::methods::{self, JwtPlan, KeysFrom};

/// Someone who may be let in: the disabled ones are not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerPlan {
    /// Who it is.
    pub consumer: Consumer,
    /// Its keys.
    pub keys: Vec<KeyDigest>,
    /// The hash of its password.
    pub password: Option<Secret>,
}

/// All that may be let in, shared by the routes.
pub type Consumers = Arc<[ConsumerPlan]>;

/// Who may use a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthPlan {
    /// What only we may say: what clients send in these fields does not get further, on no route.
    pub strip: Vec<HeaderName>,
    /// Who may come at all.
    pub addresses: Addresses,
    /// By what a client can prove who it is; none where it need not.
    pub methods: Option<MethodsPlan>,
}

/// By what a client can prove who it is.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodsPlan {
    /// By a key.
    pub keys: Option<KeysPlan>,
    /// By a name and a password.
    pub basic: Option<BasicPlan>,
    /// By a token.
    pub jwt: Option<JwtPlan>,
    /// By what a service of the user's says.
    pub forward: Option<ForwardPlan>,
    /// Who is known.
    pub consumers: Consumers,
    /// Who of them may use the route; everybody if none is named.
    pub allowed: BTreeSet<String>,
    /// Where the upstream is told who it is.
    pub header: HeaderName,
    /// What a 401 says about how to prove it.
    pub challenges: Arc<[HeaderValue]>,
    /// The same about a token that was not good (RFC 6750 §3.1).
    pub token_challenges: Arc<[HeaderValue]>,
    /// Whether all share what is stored.
    pub public_cache: bool,
}

impl AuthPlan {
    /// Whether there is nothing to do.
    pub const fn is_nothing(&self) -> bool {
        self.strip.is_empty() && self.addresses.admit_all() && self.methods.is_none()
    }

    /// The parameter of the query that is a secret.
    pub fn secret_parameter(&self) -> Option<&str> {
        self.methods.as_ref()?.keys.as_ref()?.query.as_deref()
    }

    /// Whether a credential in `Authorization` is looked at here, and goes no further.
    pub fn takes_authorization(&self) -> bool {
        let Some(MethodsPlan { keys, basic, jwt, .. }) = &self.methods else { return false };
        let keys = keys.as_ref().filter(|keys| keys.header == Some(header::AUTHORIZATION));
        keys.is_some_and(|keys| !keys.forward)
            || basic.as_ref().is_some_and(|basic| !basic.forward)
            || jwt.as_ref().is_some_and(|jwt| !jwt.forward)
    }

    /// Where the keys of tokens are fetched from.
    pub fn fetched_keys(&self) -> Option<&JwksPlan> {
        match &self.methods.as_ref()?.jwt.as_ref()?.keys {
            KeysFrom::Fetched(plan) => Some(plan),
            KeysFrom::Set(_) | KeysFrom::Secret(_) => None,
        }
    }

    /// The field that the upstream is told the consumer's name in, where there are consumers.
    pub fn consumer_field(&self) -> Option<&HeaderName> {
        Some(&self.methods.as_ref()?.header)
    }

    /// All fields that the upstream is told in what the gateway knows of the consumer: its answer may be
    /// another for each of their values.
    pub fn told_fields(&self) -> Vec<HeaderName> {
        let copied = self.methods.as_ref().and_then(|methods| methods.forward.as_ref());
        let copied = copied.into_iter().flat_map(|forward| &forward.copy);
        let claims = self.told_claims().iter().map(|(field, _)| field);
        // A service may change the credentials; RFC 9111 §3.5 is about those.
        let told = self.consumer_field().into_iter().chain(claims).chain(copied);
        told.filter(|name| **name != header::AUTHORIZATION).cloned().collect()
    }

    /// The claims of tokens that the upstream is told, and in which fields.
    pub fn told_claims(&self) -> &[(HeaderName, String)] {
        let jwt = self.methods.as_ref().and_then(|methods| methods.jwt.as_ref());
        jwt.map_or(&[], |jwt| &jwt.rules.fields)
    }

    /// The upstream that decides.
    pub fn forward_upstream(&self) -> Option<&str> {
        Some(&self.methods.as_ref()?.forward.as_ref()?.upstream)
    }
}

/// Validates all consumers; `at` is their table's path. A problem is reported at the consumer and not at the
/// value, for the value's line would be shown.
pub fn plan_consumers(
    configs: &BTreeMap<String, ConsumerConfig>,
    at: &Path,
    report: &mut Report,
) -> Consumers {
    let mut plans: Vec<ConsumerPlan> = Vec::new();
    let mut seen: HashMap<KeyDigest, &str> = HashMap::new();
    for (name, config) in configs {
        let at = at.key(name);
        let mut keys = Vec::new();
        for (index, key) in config.keys.iter().enumerate() {
            let number = index + 1;
            let Some(digest) = KeyDigest::parse(key.reveal().trim()) else {
                let message = format!("key {number} of `{name}` is no SHA-256 in hex");
                let hint =
                    "keys are not kept, only digests: write what `printf %s \"$KEY\" | sha256sum` says";
                report.error_with_hint(&at, message, hint);
                continue;
            };
            if let Some(other) = seen.insert(digest, name) {
                report.error(&at, format!("key {number} of `{name}` is one of `{other}` too"));
            }
            keys.push(digest);
        }
        let Some(consumer) = Consumer::new(name) else {
            let hint = "it is sent in a field: use up to 256 printable ASCII characters";
            report.error_with_hint(&at, "this is no name for a consumer", hint);
            continue;
        };
        let password = (!config.password.is_empty()).then(|| config.password.clone());
        if let Some(Err(why)) = password.as_ref().map(|hash| basic::check_hash(hash.reveal().trim())) {
            let hint =
                "write what `argon2` or a library of yours says: \"$argon2id$v=19$m=19456,t=2,p=1$...\"";
            report.error_with_hint(&at, format!("the password of `{name}` {why}"), hint);
        }
        if !config.disabled {
            plans.push(ConsumerPlan { consumer, keys, password });
        }
    }
    plans.into()
}

/// Validates a route's config at `at`; `known` are the names of all consumers, the disabled ones included.
pub fn plan(
    config: &AuthConfig,
    consumers: &Consumers,
    known: &BTreeSet<&str>,
    at: &Path,
    report: &mut Report,
) -> AuthPlan {
    let addresses = Addresses {
        allow: address::plan(&config.allow, &at.key("allow"), report),
        deny: address::plan(&config.deny, &at.key("deny"), report),
    };
    let header =
        own_field(&config.header, &at.key("header"), report).unwrap_or(HeaderName::from_static("x-consumer"));
    let keys = config.keys.as_ref().and_then(|keys| plan_keys(keys, &at.key("keys"), report));
    let basic = config.basic.as_ref().map(|basic| basic::plan(basic, &at.key("basic"), report));
    let jwt = config.jwt.as_ref().map(|jwt| methods::plan_jwt(jwt, &at.key("jwt"), report));
    let forward = config.forward.as_ref();
    let forward = forward.map(|forward| methods::plan_forward(forward, &at.key("forward"), report));
    let bearers = keys.as_ref().is_some_and(|keys| keys.header == Some(header::AUTHORIZATION));
    if bearers && (jwt.is_some() || basic.is_some()) {
        let hint = "name another field for keys, like \"x-api-key\"";
        report.error_with_hint(&at.key("keys"), "`authorization` has other credentials here", hint);
    }
    let methods = keys.is_some() || basic.is_some() || jwt.is_some() || forward.is_some();
    if !methods && addresses.admit_all() {
        let hint =
            "write how clients prove who they are, like `keys = {}`, or from where they may come: `allow`";
        report.error_with_hint(at, "this lets everybody in", hint);
    }
    if !methods && !config.consumers.is_empty() {
        let hint = "without a way to prove who they are, like `keys = {}`, they cannot be told apart";
        report.error_with_hint(&at.key("consumers"), "these consumers cannot be known", hint);
    }
    for (index, name) in config.consumers.iter().enumerate() {
        if !known.contains(name.as_str()) {
            let at = at.key("consumers").index(index);
            let message = format!("there is no consumer `{}`", name.escape_debug());
            match nearest(name, known.iter().copied()) {
                Some(meant) => report.error_with_hint(&at, message, format!("did you mean `{meant}`?")),
                None => report.error_with_hint(&at, message, format!("add [consumer.{name}]")),
            }
        }
    }
    let [challenges, token_challenges] = challenges(config, keys.as_ref(), at, report);
    let methods = methods.then(|| MethodsPlan {
        keys,
        basic,
        jwt,
        forward,
        consumers: Arc::clone(consumers),
        allowed: config.consumers.iter().cloned().collect(),
        header,
        challenges,
        token_challenges,
        public_cache: config.public_cache,
    });
    AuthPlan { strip: Vec::new(), addresses, methods }
}

/// The fields that these routes tell upstreams about consumers in: for [`AuthPlan::strip`] of every route.
pub fn own_fields<'a>(configs: impl Iterator<Item = &'a AuthConfig>) -> Vec<HeaderName> {
    let mut names: Vec<HeaderName> = Vec::new();
    for config in configs {
        let AuthConfig { keys, basic, jwt, forward, .. } = config;
        let knows = keys.is_some() || basic.is_some() || jwt.is_some() || forward.is_some();
        let header = knows.then_some(&config.header);
        let claims = jwt.iter().flat_map(|jwt| jwt.headers.keys());
        let copied = forward.iter().flat_map(|forward| &forward.response_headers);
        for text in header.into_iter().chain(claims).chain(copied) {
            let Ok(name) = HeaderName::try_from(text.as_str()) else { continue };
            // A service may change the credentials; they are clients' all the same.
            if name != header::AUTHORIZATION && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// A field in which we say something, and in which nobody else may.
pub(super) fn own_field(text: &str, at: &Path, report: &mut Report) -> Option<HeaderName> {
    let Ok(name) = HeaderName::try_from(text) else {
        report.error(at, format!("`{}` is no field name", text.escape_debug()));
        return None;
    };
    let taken = matches!(
        name,
        header::HOST
            | header::CONTENT_LENGTH
            | header::AUTHORIZATION
            | header::COOKIE
            | header::VIA
            | header::CACHE_CONTROL
    );
    if taken || fields::is_hop_by_hop(&name) || name.as_str().starts_with("x-forwarded-") {
        let hint = "choose one of your own, like \"x-consumer\"";
        report.error_with_hint(at, format!("`{name}` has another meaning"), hint);
        return None;
    }
    Some(name)
}

fn plan_keys(config: &KeysConfig, at: &Path, report: &mut Report) -> Option<KeysPlan> {
    if config.header.is_empty() && config.query.is_empty() {
        let hint = "name a `header`, a `query` parameter, or both";
        report.error_with_hint(at, "a key can be nowhere", hint);
        return None;
    }
    if config.forward && !config.query.is_empty() {
        let hint =
            "a key in the target would be in logs and caches: name only a `header`, or leave `forward` out";
        report.error_with_hint(&at.key("forward"), "a key in the query is not forwarded", hint);
    }
    let mut header = None;
    if !config.header.is_empty() {
        match HeaderName::try_from(config.header.as_str()) {
            Ok(name) => header = Some(name),
            Err(_) => {
                let message = format!("`{}` is no field name", config.header.escape_debug());
                report.error(&at.key("header"), message);
            }
        }
    }
    let query = (!config.query.is_empty()).then(|| config.query.as_str().into());
    Some(KeysPlan { header, query, forward: config.forward })
}

/// RFC 9110 §11.6.1: a 401 says how to do better. Nothing is registered for keys; the name is a common one.
fn challenges(
    config: &AuthConfig,
    keys: Option<&KeysPlan>,
    at: &Path,
    report: &mut Report,
) -> [Arc<[HeaderValue]>; 2] {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if config.realm.is_empty() || !config.realm.bytes().all(plain) {
        let hint = "use printable ASCII without quotes";
        report.error_with_hint(&at.key("realm"), "this realm cannot be sent", hint);
    }
    let realm = &config.realm;
    let mut texts = Vec::new();
    if let Some(keys) = keys {
        texts.push(match (&keys.header, &keys.query) {
            (Some(name), _) if *name == header::AUTHORIZATION => format!("Bearer realm=\"{realm}\""),
            (Some(name), _) => format!("ApiKey realm=\"{realm}\", in=\"header\", name=\"{name}\""),
            (None, _) => format!("ApiKey realm=\"{realm}\", in=\"query\""),
        });
    }
    if config.basic.is_some() {
        texts.push(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
    }
    let all = |texts: Vec<String>| texts.into_iter().filter_map(|text| HeaderValue::try_from(text).ok());
    let bearer = config.jwt.is_some().then(|| format!("Bearer realm=\"{realm}\""));
    let failed = bearer.as_ref().map(|bearer| format!("{bearer}, error=\"invalid_token\""));
    let [unknown, bad] =
        [bearer, failed].map(|bearer| all(texts.iter().cloned().chain(bearer).collect()).collect::<Vec<_>>());
    [with_something(unknown), with_something(bad)]
}

/// RFC 9110 §15.5.2: there is at least one. A service that decides gives answers of its own.
fn with_something(mut challenges: Vec<HeaderValue>) -> Arc<[HeaderValue]> {
    if challenges.is_empty() {
        challenges.push(HeaderValue::from_static("Bearer"));
    }
    challenges.into()
}
