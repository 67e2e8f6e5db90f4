//! The keys a structure knows, asked of its own `Deserialize`.

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

/// The keys of `T`, in the order of its fields; none if `T` is not deserialized as a structure.
pub fn keys_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    // The answer is what it asked for: with nothing to give, it always fails.
    let _ = T::deserialize(Ask { keys: &mut keys });
    keys
}

/// A deserializer that notes which keys it is asked for, and gives nothing.
struct Ask<'a> {
    keys: &'a mut &'static [&'static str],
}

impl<'de> Deserializer<'de> for Ask<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.keys = keys;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("nothing is here"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::server::ServerConfig;

    #[test]
    fn keys_are_those_of_the_file() {
        assert!(keys_of::<ServerConfig>().contains(&"max_connections"));
        assert!(keys_of::<String>().is_empty());
    }
}
