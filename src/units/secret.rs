//! A text that must not be seen.

use std::fmt;
use std::hint::black_box;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// A token or a password: it is not printed, and is compared in a time that does not depend on how much of it
/// was guessed.
///
/// ```
/// use forebay::units::Secret;
/// let secret = Secret::from("hunter2".to_owned());
/// assert!(secret.matches(b"hunter2") && !secret.matches(b"hunter"));
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Whether there is none. An empty secret matches nothing.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes it has.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The text itself, for who works with it; never for a message.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it can be sent as a bearer token (RFC 6750 §2.1, without insisting on base64).
    pub fn is_sendable(&self) -> bool {
        self.0.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// Whether this is it. The time it takes depends on the length of what is given, and on nothing else.
    pub fn matches(&self, given: &[u8]) -> bool {
        let mut wanted = self.0.bytes().cycle();
        let mut difference = u8::from(self.0.len() != given.len()) | u8::from(self.is_empty());
        for byte in given {
            difference = black_box(difference | (byte ^ wanted.next().unwrap_or(!byte)));
        }
        difference == 0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Serialize for Secret {
    /// Only that there is one.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { "..." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches() {
        for (secret, given, matches) in [
            ("token", "token", true),
            ("token", "tokem", false),
            ("token", "xoken", false),
            ("token", "toke", false),
            ("token", "tokentoken", false),
            ("token", "", false),
            ("", "", false),
            ("", "a", false),
        ] {
            assert_eq!(
                Secret::from(secret.to_owned()).matches(given.as_bytes()),
                matches,
                "{secret} {given}"
            );
        }
    }

    #[test]
    fn it_is_not_shown() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"...\"");
        assert!(!format!("{secret:?}").contains("hunter"));
    }
}
