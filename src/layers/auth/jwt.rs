//! JSON Web Tokens (RFC 7519), as careful with them as RFC 8725 asks for.
//!
//! - What a route takes is pinned: algorithms of one kind, issuers, audiences. A token's header chooses none
//!   of it; `none` is no algorithm, and no key serves as a secret and as a public key.
//! - `kid` looks a key up among those that are known, and nothing else. Keys and addresses of keys in the
//!   header (`jwk`, `jku`, `x5u`, `x5c`) are not looked at. A `crit` is refused: we know none of what it
//!   could ask for (RFC 7515 §4.1.11).
//! - `exp` must be there. Clocks may differ by `skew`, and no more.
//! - Where a route says which `typ` it takes, a token without one is not taken (RFC 8725 §3.11).

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header, Validation};
use serde_json::{Map, Value};

use crate::clock::Wall;
use crate::error::Denial;

use super::identity::{Consumer, Identity};

/// The longest token that is looked at, in bytes.
pub const TOKEN_MAX: usize = 8192;
/// How many keys of a set are used; what comes behind them is not.
pub const KEYS_MAX: usize = 32;

/// What a token says about who it is for.
pub type Claims = Map<String, Value>;

/// What a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// Algorithms of one family.
    pub algorithms: Vec<Algorithm>,
    /// One of them must have issued it.
    pub issuers: Vec<String>,
    /// It must be for one of them.
    pub audiences: Vec<String>,
    /// It must be of one of these media types, as [`media_type`] writes them; none: whatever it says.
    pub types: Vec<String>,
    /// How far clocks may differ.
    pub skew: Duration,
    /// The claim that names the consumer.
    pub consumer: String,
    /// Claims that the upstream is told, and in which fields.
    pub fields: Vec<(HeaderName, String)>,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// None of the keys is the one it names: there may be newer ones.
    UnknownKey,
    /// It is not good, whatever keys there are.
    Bad,
    /// It was good.
    Expired,
}

impl From<TokenError> for Denial {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::UnknownKey | TokenError::Bad => Self::BadToken,
            TokenError::Expired => Self::ExpiredToken,
        }
    }
}

/// A key and what it is good for.
#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    family: AlgorithmFamily,
    /// The one algorithm, where the set, or the key's kind, says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// Keys that tokens are checked with.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Key>);

impl KeySet {
    /// One secret, for HMAC.
    pub fn secret(secret: &[u8]) -> Self {
        let key = DecodingKey::from_secret(secret);
        Self(vec![Key { id: None, family: AlgorithmFamily::Hmac, algorithm: None, key }])
    }

    /// The public keys of a JWK set (RFC 7517 §5). What is no signature key that we know is left out, and so
    /// are secrets, which have no place in a set that is published.
    ///
    /// # Errors
    /// Where it is no set, or no key of it can be used.
    pub fn parse(json: &[u8]) -> Result<Self, &'static str> {
        let set: Value = serde_json::from_slice(json).map_err(|_| "it is no JSON")?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or("it has no `keys`")?;
        let keys: Vec<Key> = keys.iter().filter_map(Key::of).take(KEYS_MAX).collect();
        if keys.is_empty() { Err("it has no public key for signatures") } else { Ok(Self(keys)) }
    }

    /// The keys that may have signed a token with this header.
    fn candidates<'a>(&'a self, header: &'a Header) -> impl Iterator<Item = &'a Key> {
        self.0.iter().filter(move |key| {
            let named = header.kid.is_none() || key.id.is_none() || key.id == header.kid;
            named
                && key.family == header.alg.family()
                && key.algorithm.is_none_or(|algorithm| algorithm == header.alg)
        })
    }
}

impl Key {
    fn of(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        let signs = jwk.common.public_key_use.as_ref().is_none_or(|r#use| *r#use == PublicKeyUse::Signature);
        let verifies = jwk.common.key_operations.as_ref();
        if !signs || verifies.is_some_and(|allowed| !allowed.contains(&KeyOperations::Verify)) {
            return None;
        }
        let (family, implied) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (AlgorithmFamily::Rsa, None),
            AlgorithmParameters::EllipticCurve(it) => match it.curve {
                EllipticCurve::P256 => (AlgorithmFamily::Ec, Some(Algorithm::ES256)),
                EllipticCurve::P384 => (AlgorithmFamily::Ec, Some(Algorithm::ES384)),
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(it) if it.curve == EllipticCurve::Ed25519 => {
                (AlgorithmFamily::Ed, Some(Algorithm::EdDSA))
            }
            _ => return None,
        };
        let algorithm = match jwk.common.key_algorithm {
            // What it says must be what it can be.
            Some(said) => {
                let said = Algorithm::try_from(said).ok().filter(|said| said.family() == family)?;
                if implied.is_some_and(|implied| implied != said) {
                    return None;
                }
                Some(said)
            }
            None => implied,
        };
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, family, algorithm, key })
    }
}

impl TokenRules {
    /// Who a token is for.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn identify(&self, token: &[u8], keys: &KeySet, now: Wall) -> Result<Identity, TokenError> {
        let claims = self.verify(token, keys)?;
        self.check(&claims, now)?;
        self.identity(&claims).ok_or(TokenError::Bad)
    }

    /// The claims of a token that was signed by one of the keys.
    fn verify(&self, token: &[u8], keys: &KeySet) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_MAX {
            return Err(TokenError::Bad);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Bad)?;
        if !self.algorithms.contains(&header.alg) || header.crit.is_some() || !self.takes_type(&header) {
            return Err(TokenError::Bad);
        }
        let mut rules = Validation::new(header.alg);
        // The claims are ours to check, at our own time.
        rules.required_spec_claims.clear();
        (rules.validate_exp, rules.validate_nbf, rules.validate_aud) = (false, false, false);
        let mut outcome = TokenError::UnknownKey;
        for key in keys.candidates(&header) {
            match jsonwebtoken::decode::<Claims>(token, &key.key, &rules) {
                Ok(token) => return Ok(token.claims),
                // Without an id, another key may be the one.
                Err(error) if *error.kind() == ErrorKind::InvalidSignature && header.kid.is_none() => {}
                Err(_) => outcome = TokenError::Bad,
            }
        }
        Err(outcome)
    }

    /// RFC 8725 §3.11: what is meant for something else is not taken, although it is the same issuer's.
    fn takes_type(&self, header: &Header) -> bool {
        let given = header.typ.as_deref().map(media_type);
        self.types.is_empty() || given.is_some_and(|given| self.types.contains(&given))
    }

    /// RFC 7519 §4.1, RFC 8725 §3.8, §3.9.
    fn check(&self, claims: &Claims, now: Wall) -> Result<(), TokenError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let issued = text("iss").is_some_and(|issuer| self.issuers.iter().any(|known| known == issuer));
        let ours = |audience: &Value| {
            audience.as_str().is_some_and(|audience| self.audiences.iter().any(|known| known == audience))
        };
        let meant = match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        };
        if !issued || !meant {
            return Err(TokenError::Bad);
        }
        let now = now.millis() as f64 / 1000.0;
        let skew = self.skew.as_secs_f64();
        let expires = claims.get("exp").and_then(Value::as_f64).ok_or(TokenError::Bad)?;
        let begins = match claims.get("nbf") {
            Some(begins) => begins.as_f64().ok_or(TokenError::Bad)?,
            None => f64::NEG_INFINITY,
        };
        if now >= expires + skew {
            return Err(TokenError::Expired);
        }
        if now + skew < begins { Err(TokenError::Bad) } else { Ok(()) }
    }

    /// None where the consumer has no name, or what the upstream is to be told cannot be sent.
    fn identity(&self, claims: &Claims) -> Option<Identity> {
        let name = claims.get(&self.consumer).and_then(shown)?;
        let mut fields = Vec::new();
        for (header, claim) in &self.fields {
            if let Some(value) = claims.get(claim) {
                fields.push((header.clone(), HeaderValue::try_from(shown(value)?).ok()?));
            }
        }
        Some(Identity { consumer: Consumer::new(&name)?, fields })
    }
}

/// A `typ` in full: `JWT` is short for `application/jwt`, and case does not count (RFC 7515 §4.1.9).
pub fn media_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    if typ.contains('/') { typ } else { format!("application/{typ}") }
}

/// A claim as a field has it: several are set apart by commas, and none of them has one.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items
                .iter()
                .map(|item| item.as_str().filter(|text| !text.contains(',')).map(str::to_owned))
                .collect();
            Some(items?.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}
