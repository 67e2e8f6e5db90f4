//! A route's guard at work: it looks at a request, takes the credentials out of it, and decides, at once
//! where it can.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap};

use crate::clock::Instant;
use crate::error::{Denial, Refusal};
use crate::http::{Request, Response, fields};

use super::ask::Ask;
use super::basic::{Login, Passwords};
use super::forward::{Decision, Forward};
use super::identity::{self, Identity};
use super::jwks::{Jwks, JwksPlan};
use super::jwt::{KeySet, TOKEN_MAX, TokenError, TokenRules};
use super::keys::{Carried, Keyring};
use super::methods::KeysFrom;
use super::plan::{AuthPlan, MethodsPlan};

/// What is to be done about a request.
#[derive(Debug)]
pub enum Verdict {
    /// Nobody asks who it is from.
    Open,
    /// This is who it is from.
    Known(Identity),
    /// It is turned away.
    Denied(Denial),
    /// It takes a while to find out.
    Later(Question),
}

/// What takes a while to find out.
pub enum Question {
    /// Whether a password is good.
    Password(Login),
    /// Whether a token is, with keys that are not here yet.
    Token(Vec<u8>),
    /// What the service says that decides.
    Forward,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(..)",
            Self::Token(_) => "Token(..)",
            Self::Forward => "Forward",
        })
    }
}

/// Who is asked beside the route's own upstream.
#[derive(Clone, Default)]
pub struct Others {
    /// Who has the keys of tokens.
    pub keys: Option<Arc<dyn Ask>>,
    /// Who decides.
    pub decides: Option<Arc<dyn Ask>>,
}

/// What became of a question.
#[derive(Debug)]
pub enum Outcome {
    /// This is who it is from.
    Known(Identity),
    /// The client gets this.
    Answer(Response),
}

/// A guard; it lives behind an `Arc` and survives a reload as long as its plan is equal.
#[derive(Debug)]
pub struct Guard {
    plan: AuthPlan,
    keyring: Keyring,
    passwords: Option<Passwords>,
    tokens: Option<Tokens>,
    forward: Option<Forward>,
}

/// How tokens are checked.
#[derive(Debug)]
struct Tokens {
    rules: TokenRules,
    keys: TokenKeys,
}

#[derive(Debug)]
enum TokenKeys {
    Fixed(KeySet),
    Fetched(Arc<Jwks>),
}

impl Guard {
    /// A guard of these rules.
    pub fn new(plan: AuthPlan) -> Self {
        Self::after(plan, None)
    }

    /// The same in the place of another one, whose fetched keys are good still if they come from the same
    /// place: at a reload the issuer may be down.
    pub fn after(plan: AuthPlan, before: Option<&Self>) -> Self {
        let fetched = |plan: &JwksPlan| match &before?.tokens.as_ref()?.keys {
            TokenKeys::Fetched(jwks) => Some(jwks).filter(|jwks| jwks.plan() == plan).cloned(),
            TokenKeys::Fixed(_) => None,
        };
        let methods = plan.methods.as_ref();
        let consumers = methods.iter().flat_map(|methods| methods.consumers.iter());
        let keys = consumers.flat_map(|one| one.keys.iter().map(|key| (*key, one.consumer.clone())));
        let keyring = Keyring::new(keys);
        let passwords = methods.and_then(|it| Some(Passwords::new(it.basic.as_ref()?, &it.consumers)));
        let tokens = methods.and_then(|methods| methods.jwt.as_ref()).map(|jwt| Tokens {
            rules: jwt.rules.clone(),
            keys: match &jwt.keys {
                // A validated plan has a good one; of another one, no token is good.
                KeysFrom::Set(json) => TokenKeys::Fixed(KeySet::parse(json.as_bytes()).unwrap_or_default()),
                KeysFrom::Secret(secret) => TokenKeys::Fixed(KeySet::secret(secret.reveal().as_bytes())),
                KeysFrom::Fetched(plan) => {
                    TokenKeys::Fetched(fetched(plan).unwrap_or_else(|| Arc::new(Jwks::new(plan.clone()))))
                }
            },
        });
        let forward = methods.and_then(|methods| methods.forward.clone()).map(Forward::new);
        Self { keyring, passwords, tokens, forward, plan }
    }

    /// Gets ready for the first request. Needs a tokio runtime.
    pub fn warm(&self, others: &Others, now: Instant) {
        if let Some(Tokens { keys: TokenKeys::Fetched(jwks), .. }) = &self.tokens
            && let Some(ask) = &others.keys
        {
            jwks.warm(ask, now);
        }
    }

    /// What it was made from.
    pub const fn plan(&self) -> &AuthPlan {
        &self.plan
    }

    /// Looks at a request; what only the gateway may say is gone from it then, and so are the credentials
    /// that go no further.
    pub fn look(&self, request: &mut Request, others: &Others) -> Verdict {
        identity::strip(&self.plan.strip, &mut request.headers);
        if !self.plan.addresses.admit(request.client) {
            return Verdict::Denied(Denial::Address);
        }
        let Some(methods) = &self.plan.methods else { return Verdict::Open };
        if request.may_purge {
            return Verdict::Open;
        }
        match methods.keys.as_ref().map_or(Carried::Nothing, |keys| keys.take(request)) {
            Carried::Key(key) => match self.keyring.find(&key) {
                Some(consumer) => return Verdict::Known(Identity::of(consumer.clone())),
                None => return Verdict::Denied(Denial::BadCredentials),
            },
            Carried::Unusable => return Verdict::Denied(Denial::BadCredentials),
            Carried::Nothing => {}
        }
        if let Some(verdict) = self.look_at_authorization(methods, request, others) {
            return verdict;
        }
        match &self.forward {
            None => Verdict::Denied(Denial::NoCredentials),
            Some(forward) => match forward.recall(request, request.received.instant) {
                Some(identity) => Verdict::Known(identity),
                None => Verdict::Later(Question::Forward),
            },
        }
    }

    /// What `Authorization` says, where it is of a scheme that is looked at here.
    fn look_at_authorization(
        &self,
        methods: &MethodsPlan,
        request: &mut Request,
        others: &Others,
    ) -> Option<Verdict> {
        if self.passwords.is_none() && self.tokens.is_none() {
            return None;
        }
        if request.headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
            return Some(Verdict::Denied(Denial::BadCredentials));
        }
        let remove = |headers: &mut HeaderMap, forward: bool| {
            if !forward {
                headers.remove(AUTHORIZATION);
            }
        };
        if let (Some(passwords), Some(plan)) = (&self.passwords, &methods.basic)
            && let Some(login) = passwords.read(&request.headers)
        {
            remove(&mut request.headers, plan.forward);
            let login = match login {
                Ok(login) => login,
                Err(why) => return Some(Verdict::Denied(why)),
            };
            return Some(match passwords.recall(&login, request.received.instant) {
                Some(Ok(consumer)) => Verdict::Known(Identity::of(consumer)),
                Some(Err(why)) => Verdict::Denied(why),
                None => Verdict::Later(Question::Password(login)),
            });
        }
        if let (Some(tokens), Some(plan)) = (&self.tokens, &methods.jwt)
            && let Some(token) = fields::bearer(&request.headers)
        {
            let verdict = tokens.look(token, request, others);
            remove(&mut request.headers, plan.forward);
            return Some(verdict);
        }
        None
    }

    /// Finds out what takes a while.
    ///
    /// # Errors
    /// Why the request is turned away.
    pub async fn find_out(
        &self,
        question: Question,
        request: &Request,
        others: &Others,
    ) -> Result<Outcome, Denial> {
        let now = request.received.instant;
        match question {
            Question::Password(login) => {
                let passwords = self.passwords.as_ref().ok_or(Denial::Unavailable)?;
                Ok(Outcome::Known(Identity::of(passwords.check(login, now).await?)))
            }
            Question::Token(token) => {
                let tokens = self.tokens.as_ref().ok_or(Denial::Unavailable)?;
                Ok(Outcome::Known(tokens.wait(&token, request, others).await?))
            }
            Question::Forward => {
                let forward = self.forward.as_ref().ok_or(Denial::Unavailable)?;
                let decides = others.decides.as_ref().ok_or(Denial::Unavailable)?;
                Ok(match forward.decide(&**decides, request, now).await? {
                    Decision::Pass(identity) => Outcome::Known(identity),
                    Decision::Answer(response) => Outcome::Answer(response),
                })
            }
        }
    }

    /// Lets someone in, if the route is for it, and tells those further in who it is.
    ///
    /// # Errors
    /// That it is not.
    pub fn admit(&self, identity: Identity, request: &mut Request) -> Result<(), Denial> {
        let Some(MethodsPlan { allowed, header, .. }) = &self.plan.methods else { return Ok(()) };
        let name = identity.consumer.name();
        request.trail.note(|notes| notes.consumer = Some(Arc::clone(name)));
        if !allowed.is_empty() && !allowed.contains(&**name) {
            return Err(Denial::NotAllowed);
        }
        identity.tell(header, &mut request.headers);
        Ok(())
    }

    /// The answer to someone who is turned away.
    pub fn refusal(&self, why: Denial) -> Refusal {
        let challenges = self.plan.methods.as_ref().map(|methods| match why {
            Denial::BadToken | Denial::ExpiredToken => Arc::clone(&methods.token_challenges),
            _ => Arc::clone(&methods.challenges),
        });
        Refusal::Denied { why, challenges: challenges.unwrap_or_default() }
    }
}

impl Tokens {
    fn look(&self, token: &[u8], request: &Request, others: &Others) -> Verdict {
        let now = request.received;
        if token.len() > TOKEN_MAX {
            return Verdict::Denied(Denial::BadToken);
        }
        let later = || Verdict::Later(Question::Token(token.to_vec()));
        let found = match (&self.keys, &others.keys) {
            (TokenKeys::Fixed(keys), _) => self.rules.identify(token, keys, now.wall),
            (TokenKeys::Fetched(jwks), Some(ask)) => match jwks.current(ask, now.instant) {
                None => return later(),
                Some(keys) => match self.rules.identify(token, &keys, now.wall) {
                    Err(TokenError::UnknownKey) => return later(),
                    found => found,
                },
            },
            (TokenKeys::Fetched(_), None) => return Verdict::Denied(Denial::KeysUnavailable),
        };
        found.map_or_else(|error| Verdict::Denied(error.into()), Verdict::Known)
    }

    /// The same once there are keys, or newer ones.
    async fn wait(&self, token: &[u8], request: &Request, others: &Others) -> Result<Identity, Denial> {
        let now = request.received;
        let (TokenKeys::Fetched(jwks), Some(ask)) = (&self.keys, &others.keys) else {
            return Err(Denial::KeysUnavailable);
        };
        jwks.newer(ask, now.instant).await;
        let keys = jwks.current(ask, now.instant).ok_or(Denial::KeysUnavailable)?;
        Ok(self.rules.identify(token, &keys, now.wall)?)
    }
}
