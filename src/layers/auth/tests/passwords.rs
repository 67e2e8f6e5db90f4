//! What is remembered of passwords, and for how long: a hash is looked at once.

use std::collections::BTreeMap;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::super::basic::{BasicPlan, Login, Passwords};
use super::super::config::ConsumerConfig;
use super::super::plan_consumers;
use crate::clock;
use crate::error::Denial;
use crate::http::base64;
use crate::report::{Path, Report};

const REMEMBER: Duration = Duration::from_secs(60);

/// `alice`, whose password is `a`.
fn passwords() -> Passwords {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
    let hash = argon2.hash_password_with_salt(b"a", b"salt of a test").unwrap().to_string();
    let alice: ConsumerConfig = toml::from_str(&format!("password = '{hash}'")).unwrap();
    let all = BTreeMap::from([("alice".to_owned(), alice)]);
    let consumers = plan_consumers(&all, &Path::root(), &mut Report::new());
    Passwords::new(&BasicPlan { forward: false, remember: REMEMBER }, &consumers)
}

fn login(passwords: &Passwords, text: &str) -> Login {
    let mut headers = HeaderMap::new();
    let value = format!("Basic {}", base64::encode(text.as_bytes()));
    headers.insert(AUTHORIZATION, HeaderValue::try_from(value).unwrap());
    passwords.read(&headers).unwrap().unwrap()
}

#[tokio::test]
async fn what_was_found_out_is_remembered_for_a_while() {
    let passwords = passwords();
    let now = clock::now().instant;
    let recall = |text: &str, after: Duration| {
        let found = passwords.recall(&login(&passwords, text), now + after);
        found.map(|found| found.map(|consumer| consumer.name().to_string()))
    };
    let name = || Some(Ok("alice".to_owned()));
    assert_eq!(recall("alice:a", Duration::ZERO), None, "nobody has looked yet");
    assert!(passwords.check(login(&passwords, "alice:a"), now).await.is_ok());
    assert_eq!(recall("alice:a", Duration::ZERO), name());
    assert_eq!(recall("alice:a", REMEMBER - Duration::from_millis(1)), name());
    assert_eq!(recall("alice:a", REMEMBER), None);
    for other in ["alice:b", "alice:", "bob:a", "alice:a:", "lice:aa"] {
        assert_eq!(recall(other, Duration::ZERO), None, "{other}");
        let refused = passwords.check(login(&passwords, other), now).await.map(drop);
        assert_eq!(refused, Err(Denial::BadCredentials), "{other}");
        // For seconds only: somebody may have changed it.
        assert_eq!(recall(other, Duration::from_secs(9)), Some(Err(Denial::BadCredentials)), "{other}");
        assert_eq!(recall(other, Duration::from_secs(10)), None, "{other}");
    }
    assert_eq!(recall("alice:a", Duration::ZERO), name(), "what is wrong harms nobody who is right");
}

/// Another guard has another key: what one remembers says nothing to another, and no password is kept.
#[tokio::test]
async fn nothing_is_kept_that_somebody_could_use() {
    let (one, two) = (passwords(), passwords());
    let now = clock::now().instant;
    let of_one = login(&one, "alice:a");
    assert!(one.check(login(&one, "alice:a"), now).await.is_ok());
    assert!(one.recall(&of_one, now).is_some());
    assert!(two.recall(&of_one, now).is_none() && one.recall(&login(&two, "alice:a"), now).is_none());
    assert!(!format!("{one:?} {of_one:?}").contains("\"a\""));
}
