//! Whether a 101 is the answer to a WebSocket handshake that was sent (RFC 6455 §4.1, §4.2.2).
//!
//! A tunnel begins where an endpoint has proved that it understood the handshake: anything else that says
//! 101, a cache's replay or an attacker's reflection, would let its peer speak raw bytes through the gateway
//! (RFC 9110 §7.8).

use aws_lc_rs::digest;
use http::HeaderMap;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};

use crate::http::base64;

/// What a key is joined with.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the endpoint must say in `Sec-WebSocket-Accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Challenge([u8; 28]);

impl Challenge {
    /// The challenge of a request's `Sec-WebSocket-Key`; none where there is not exactly one key.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
        let (key, None) = (keys.next()?, keys.next()) else { return None };
        let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        hash.update(key.as_bytes().trim_ascii());
        hash.update(GUID);
        let mut answer = [0; 28];
        // 20 bytes of SHA-1 are 27 characters and one `=`.
        answer.copy_from_slice(base64::encode(hash.finish().as_ref()).as_bytes());
        Some(Self(answer))
    }

    /// Whether the fields of a 101 meet it.
    pub(super) fn is_met(&self, headers: &HeaderMap) -> bool {
        let one = |name| {
            let mut values = headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none()).map(|value| value.as_bytes().trim_ascii())
        };
        one(UPGRADE).is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
            && one(SEC_WEBSOCKET_ACCEPT).is_some_and(|accept| accept == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 §1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_example_of_the_rfc() {
        let challenge = Challenge::of(&fields(&[("sec-websocket-key", KEY)])).unwrap();
        assert_eq!(std::str::from_utf8(&challenge.0).unwrap(), ACCEPT);
    }

    #[test]
    fn only_the_right_answer_meets_a_challenge() {
        let challenge = Challenge::of(&fields(&[("sec-websocket-key", KEY)])).unwrap();
        for (answer, met) in [
            (&[("upgrade", "WebSocket"), ("sec-websocket-accept", ACCEPT)][..], true),
            (&[("upgrade", "websocket")], false),
            (&[("sec-websocket-accept", ACCEPT)], false),
            (&[("upgrade", "websocket"), ("sec-websocket-accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")], false),
            (&[("upgrade", "h2c"), ("sec-websocket-accept", ACCEPT)], false),
            (&[("upgrade", "websocket"), ("upgrade", "h2c"), ("sec-websocket-accept", ACCEPT)], false),
        ] {
            assert_eq!(challenge.is_met(&fields(answer)), met, "{answer:?}");
        }
    }

    #[test]
    fn a_handshake_has_one_key() {
        assert_eq!(Challenge::of(&HeaderMap::new()), None);
        assert_eq!(Challenge::of(&fields(&[("sec-websocket-key", KEY), ("sec-websocket-key", KEY)])), None);
    }
}
