//! What the user writes in `[upstream.NAME]`: endpoints, and the concurrency that admission owns.

use std::fmt;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::keys::keys_of;
use crate::layers::admission::config::ConcurrencyConfig;
use crate::upstream::config::EndpointsConfig;

// One table in the file, two structures here, for neither slice may know the other.
/// A named set of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Endpoints and how they are used.
    #[serde(flatten)]
    pub endpoints: EndpointsConfig,
    /// Backpressure: what the origin can take.
    #[serde(default)]
    pub concurrency: ConcurrencyConfig,
}

const CONCURRENCY: &str = "concurrency";

/// All keys of the table.
static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut keys = keys_of::<EndpointsConfig>().to_vec();
    keys.push(CONCURRENCY);
    keys
});

// By hand, for serde's `flatten` loses unknown keys, and where an error is.
impl<'de> Deserialize<'de> for UpstreamConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("UpstreamConfig", &KEYS, UpstreamVisitor)
    }
}

struct UpstreamVisitor;

impl<'de> Visitor<'de> for UpstreamVisitor {
    type Value = UpstreamConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("struct UpstreamConfig")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UpstreamConfig, A::Error> {
        let mut concurrency = None;
        let rest = Rest { map, concurrency: &mut concurrency };
        let endpoints = EndpointsConfig::deserialize(MapAccessDeserializer::new(rest))?;
        Ok(UpstreamConfig { endpoints, concurrency: concurrency.unwrap_or_default() })
    }
}

/// The table without `concurrency`, which is put aside on the way.
struct Rest<'a, A> {
    map: A,
    concurrency: &'a mut Option<ConcurrencyConfig>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            if key != CONCURRENCY {
                if !KEYS.contains(&key.as_str()) {
                    return Err(A::Error::unknown_field(&key, &KEYS));
                }
                return seed.deserialize(StringDeserializer::<A::Error>::new(key)).map(Some);
            }
            if self.concurrency.replace(self.map.next_value()?).is_some() {
                return Err(A::Error::duplicate_field(CONCURRENCY));
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
