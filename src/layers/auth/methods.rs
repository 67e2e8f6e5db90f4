//! Validated tokens and services that decide.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, Uri, header};
use jsonwebtoken::{Algorithm, AlgorithmFamily};

use crate::report::{Path, Report};
use crate::units::{Secret, Time};

use super::config::{ForwardConfig, JwtConfig};
use super::forward::ForwardPlan;
use super::jwks::JwksPlan;
use super::jwt::{KeySet, TokenRules, media_type};
use super::plan::own_field;

/// How far clocks may differ at most (RFC 8725 has no number; more makes `exp` mean little).
const SKEW_MAX: Duration = Duration::from_secs(300);
/// The shortest secret for HMAC, in bytes: as long as the shortest digest (RFC 7518 §3.2).
const SECRET_MIN: usize = 32;
/// The longest that a service's yes may be remembered.
const REMEMBER_MAX: Duration = Duration::from_secs(3600);

/// Which tokens are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtPlan {
    /// What they must be like.
    pub rules: TokenRules,
    /// Whose signatures count.
    pub keys: KeysFrom,
    /// Whether the upstream gets the token too.
    pub forward: bool,
}

/// Where the keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum KeysFrom {
    /// A JWK set in the config.
    Set(String),
    /// A secret in the config.
    Secret(Secret),
    /// A JWK set somewhere else.
    Fetched(JwksPlan),
}

pub(super) fn plan_jwt(config: &JwtConfig, at: &Path, report: &mut Report) -> JwtPlan {
    for (key, list, hint) in [
        ("issuer", &config.issuer, "write whose tokens are taken, like `issuer = [\"https://idp.example\"]`"),
        ("audience", &config.audience, "write whom they must be for, like `audience = [\"orders\"]`"),
    ] {
        if list.is_empty() {
            report.error_with_hint(at, format!("`{key}` is missing: any token would do"), hint);
        }
    }
    if config.skew.get() > SKEW_MAX {
        report.error(&at.key("skew"), format!("{} is more than 5 minutes", config.skew));
    }
    let algorithms = plan_algorithms(&config.algorithms, &at.key("algorithms"), report);
    let secret = algorithms.first().is_some_and(|first| first.family() == AlgorithmFamily::Hmac);
    let mut fields = Vec::new();
    for (field, claim) in &config.headers {
        let at = at.key("headers").key(field);
        fields.extend(own_field(field, &at, report).map(|name| (name, claim.clone())));
    }
    if config.consumer.is_empty() {
        report.error(&at.key("consumer"), "no claim names the consumer");
    }
    JwtPlan {
        rules: TokenRules {
            algorithms,
            issuers: config.issuer.clone(),
            audiences: config.audience.clone(),
            types: plan_types(&config.typ, &at.key("typ"), report),
            skew: config.skew.get().min(SKEW_MAX),
            consumer: config.consumer.clone(),
            fields,
        },
        keys: plan_keys(config, secret, at, report),
        forward: config.forward,
    }
}

/// RFC 8725 §3.1: the operator says which, and one key is for one kind.
fn plan_algorithms(texts: &[String], at: &Path, report: &mut Report) -> Vec<Algorithm> {
    const HINT: &str = "write what the issuer signs with, like `algorithms = [\"RS256\"]`";
    let mut algorithms: Vec<Algorithm> = Vec::new();
    if texts.is_empty() {
        report.error_with_hint(at, "no algorithm is taken", HINT);
    }
    for (index, text) in texts.iter().enumerate() {
        let Ok(algorithm) = text.parse::<Algorithm>() else {
            let message = format!("`{}` is no algorithm that is taken", text.escape_debug());
            report.error_with_hint(&at.index(index), message, HINT);
            continue;
        };
        if algorithms.first().is_some_and(|first| first.family() != algorithm.family()) {
            let hint = "what is a public key to one could be a secret to the other; take tokens of one kind";
            report.error_with_hint(&at.index(index), format!("`{text}` is of another kind"), hint);
        }
        algorithms.push(algorithm);
    }
    algorithms
}

fn plan_types(texts: &[String], at: &Path, report: &mut Report) -> Vec<String> {
    for (index, text) in texts.iter().enumerate() {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("`{}` is no media type", text.escape_debug());
            report.error_with_hint(&at.index(index), message, "write what tokens say, like \"at+jwt\"");
        }
    }
    texts.iter().map(|text| media_type(text)).collect()
}

fn plan_keys(config: &JwtConfig, secret: bool, at: &Path, report: &mut Report) -> KeysFrom {
    let ways = [!config.jwks.is_empty(), !config.secret.is_empty(), config.upstream.is_some()];
    if ways.iter().filter(|way| **way).count() != 1 {
        let hint = "give it one of `jwks`, `upstream` and, for HMAC, `secret`";
        report.error_with_hint(at, "it must be clear where the keys come from", hint);
    }
    if secret == config.secret.is_empty() && !config.algorithms.is_empty() {
        let hint = "HS256, HS384 and HS512 take a `secret`; all others take public keys";
        report.error_with_hint(at, "these keys are not for these algorithms", hint);
    }
    if !config.secret.is_empty() {
        if config.secret.len() < SECRET_MIN {
            let hint = "make one: `openssl rand -hex 32`";
            report.error_with_hint(at, format!("the secret has fewer than {SECRET_MIN} bytes"), hint);
        }
        return KeysFrom::Secret(config.secret.clone());
    }
    match &config.upstream {
        Some(upstream) => {
            let path = plan_path(&config.path, &at.key("path"), report);
            KeysFrom::Fetched(plan_fetch(config, upstream.clone(), false, path, at, report))
        }
        None if is_url(&config.jwks) => {
            let (origin, path) = plan_url(&config.jwks, &at.key("jwks"), report);
            KeysFrom::Fetched(plan_fetch(config, origin, true, path, at, report))
        }
        None => {
            if let Err(why) = KeySet::parse(config.jwks.as_bytes())
                && !config.jwks.is_empty()
            {
                let hint = "write a URL, \"https://...\", or a JWK set, best as \"${file:...}\"";
                report.error_with_hint(at, format!("`jwks` cannot be used: {why}"), hint);
            }
            KeysFrom::Set(config.jwks.clone())
        }
    }
}

fn plan_fetch(
    config: &JwtConfig,
    upstream: String,
    implied: bool,
    path: PathAndQuery,
    at: &Path,
    report: &mut Report,
) -> JwksPlan {
    let mut positive = |key: &str, time: Time| {
        if time.get().is_zero() {
            report.error(&at.key(key), format!("`{key}` is zero"));
        }
        time.get()
    };
    let (refresh, min_refresh) =
        (positive("refresh", config.refresh), positive("min_refresh", config.min_refresh));
    let max_stale = positive("max_stale", config.max_stale);
    if max_stale < refresh {
        let hint = "a set that is fetched anew in time is never that old";
        report.error_with_hint(&at.key("max_stale"), "it is shorter than `refresh`", hint);
    }
    JwksPlan { upstream, implied, path, refresh, min_refresh, max_stale }
}

/// No JSON begins like this.
fn is_url(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(scheme, _)| ["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it)))
}

/// Where a URL leads to, `https://idp.example`, which is checked like other endpoints, and its path there.
fn plan_url(url: &str, at: &Path, report: &mut Report) -> (String, PathAndQuery) {
    let uri = url.parse::<Uri>().ok().filter(|_| !url.contains('#'));
    let found =
        uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?, uri.path_and_query()?)));
    let Some((scheme, authority, path)) = found else {
        let hint = "write one like \"https://idp.example/.well-known/jwks.json\"";
        report.error_with_hint(at, format!("`{}` is no URL", url.escape_debug()), hint);
        return (String::new(), PathAndQuery::from_static("/"));
    };
    let host = authority.host();
    let here = ["localhost", "[::1]"].contains(&host) || host.starts_with("127.");
    if scheme == "http" && !here {
        let hint = "write \"https://...\"";
        report.warn(at, "whoever is on the way of these keys can put others in their place", hint);
    }
    (format!("{scheme}://{authority}").to_ascii_lowercase(), path.clone())
}

fn plan_path(text: &str, at: &Path, report: &mut Report) -> PathAndQuery {
    let path = text.parse::<PathAndQuery>().ok().filter(|_| text.starts_with('/'));
    path.unwrap_or_else(|| {
        let message = format!("`{}` is no path", text.escape_debug());
        report.error_with_hint(
            at,
            message,
            "write the path alone, like \"/check\"; the host is the upstream's",
        );
        PathAndQuery::from_static("/")
    })
}

pub(super) fn plan_forward(config: &ForwardConfig, at: &Path, report: &mut Report) -> ForwardPlan {
    let names = |key: &str, texts: &[String], own: bool, report: &mut Report| -> Vec<HeaderName> {
        let mut names = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let at = at.key(key).index(index);
            match HeaderName::try_from(text.as_str()) {
                Ok(header::AUTHORIZATION) => names.push(header::AUTHORIZATION),
                Ok(name) if !own => names.push(name),
                _ => names.extend(own_field(text, &at, report)),
            }
        }
        names
    };
    if config.request_headers.is_empty() {
        let hint = "name the fields that the credentials are in, like [\"authorization\", \"cookie\"]";
        report.error_with_hint(&at.key("request_headers"), "it would decide without credentials", hint);
    }
    if config.timeout.get().is_zero() {
        report.error(&at.key("timeout"), "`timeout` is zero");
    }
    if config.remember.get() > REMEMBER_MAX {
        let hint = "at most an hour is possible: who is turned away there is let in here meanwhile";
        report.error_with_hint(&at.key("remember"), format!("{} is long", config.remember), hint);
    }
    let consumer = (!config.consumer.is_empty()).then(|| HeaderName::try_from(config.consumer.as_str()));
    if let Some(Err(_)) = consumer {
        let message = format!("`{}` is no field name", config.consumer.escape_debug());
        report.error(&at.key("consumer"), message);
    }
    ForwardPlan {
        upstream: config.upstream.clone(),
        path: plan_path(&config.path, &at.key("path"), report),
        send: names("request_headers", &config.request_headers, false, report),
        copy: names("response_headers", &config.response_headers, true, report),
        consumer: consumer.and_then(Result::ok),
        timeout: config.timeout.get(),
        remember: config.remember.get().min(REMEMBER_MAX),
        per_target: config.per_target,
    }
}
