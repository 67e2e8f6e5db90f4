//! What the user writes in `[upstream.NAME]`: endpoints, and what layers own of it.

use std::fmt;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::keys::keys_of;
use crate::layers::admission::config::ConcurrencyConfig;
use crate::layers::quota::config::QuotaConfig;
use crate::upstream::config::EndpointsConfig;

// One table in the file, several structures here, for no slice may know another.
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
    /// The origin's own rate limit; none where this is not given.
    #[serde(default)]
    pub quota: Option<QuotaConfig>,
}

const CONCURRENCY: &str = "concurrency";
const QUOTA: &str = "quota";

/// All keys of the table.
static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut keys = keys_of::<EndpointsConfig>().to_vec();
    keys.extend([CONCURRENCY, QUOTA]);
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
        let (mut concurrency, mut quota) = (None, None);
        let rest = Rest { map, concurrency: &mut concurrency, quota: &mut quota };
        let endpoints = EndpointsConfig::deserialize(MapAccessDeserializer::new(rest))?;
        Ok(UpstreamConfig { endpoints, concurrency: concurrency.unwrap_or_default(), quota: quota.flatten() })
    }
}

/// The table without `concurrency` and `quota`, which are put aside on the way.
struct Rest<'a, A> {
    map: A,
    concurrency: &'a mut Option<ConcurrencyConfig>,
    /// A `null` is none, and the key was there.
    quota: &'a mut Option<Option<QuotaConfig>>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            match key.as_str() {
                CONCURRENCY => put_aside(self.concurrency, self.map.next_value()?, CONCURRENCY)?,
                QUOTA => put_aside(self.quota, self.map.next_value()?, QUOTA)?,
                known if KEYS.contains(&known) => {
                    return seed.deserialize(StringDeserializer::<A::Error>::new(key)).map(Some);
                }
                unknown => return Err(A::Error::unknown_field(unknown, &KEYS)),
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

fn put_aside<T, E: Error>(place: &mut Option<T>, value: T, key: &'static str) -> Result<(), E> {
    match place.replace(value) {
        Some(_) => Err(E::duplicate_field(key)),
        None => Ok(()),
    }
}
