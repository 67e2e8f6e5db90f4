//! The units users write: durations `"250ms"`, sizes `"64KiB"`, rates `"100/s"`.
//!
//! ```
//! use forebay::units::{Rate, Size, Time};
//! assert_eq!("1500ms".parse::<Time>()?.get().as_millis(), 1500);
//! assert_eq!("64KiB".parse::<Size>()?.bytes(), 65_536);
//! assert_eq!("60/m".parse::<Rate>()?.per_second(), 1.0);
//! # Ok::<(), forebay::units::UnitError>(())
//! ```

mod secret;

pub use secret::Secret;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a value of its unit; the text says what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

/// A duration: a number and `ms`, `s`, `m`, `h` or `d`. `"0s"` is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

/// The longest duration accepted: ten years, so that no sum of two overflows a clock.
const TIME_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

impl Time {
    /// A whole number of milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A whole number of seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || {
            UnitError(format!(
                "`{text}` is no duration: write a number and a unit, like \"250ms\" or \"10s\""
            ))
        };
        let (number, unit) = split_number(text).ok_or_else(bad)?;
        let millis = match unit {
            "ms" => 1.0,
            "s" => 1000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return Err(bad()),
        } * number;
        if millis > TIME_MAX.as_millis() as f64 {
            return Err(UnitError(format!("`{text}` is longer than ten years")));
        }
        Ok(Self(Duration::from_micros((millis * 1000.0).round() as u64)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
            if micros >= millis * 1000 && micros.is_multiple_of(millis * 1000) {
                return write!(f, "{}{unit}", micros / (millis * 1000));
            }
        }
        if micros == 0 { write!(f, "0s") } else { write!(f, "{}ms", micros as f64 / 1000.0) }
    }
}

/// A number of bytes: a number and `B`, `KiB`, `MiB`, `GiB`, or `KB`, `MB`, `GB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

impl Size {
    /// A number of bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A number of KiB.
    pub const fn kib(kib: u64) -> Self {
        Self(kib * 1024)
    }

    /// A number of MiB.
    pub const fn mib(mib: u64) -> Self {
        Self(mib * 1024 * 1024)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory.
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Whether this is no byte at all.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || {
            UnitError(format!("`{text}` is no size: write a number and a unit, like \"64KiB\" or \"10MiB\""))
        };
        let (number, unit) = split_number(text).ok_or_else(bad)?;
        let factor: u64 = match unit {
            "B" => 1,
            "KB" | "kB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(bad()),
        };
        let bytes = number * factor as f64;
        if bytes > (1u64 << 50) as f64 {
            return Err(UnitError(format!("`{text}` is more than a PiB")));
        }
        Ok(Self(bytes.round() as u64))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, size) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// A rate: a positive whole number an interval, `"100/s"`, `"60/m"`, `"1000/h"`, `"5000/d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    per: Duration,
}

impl Rate {
    /// `count` an interval; a count of zero becomes one.
    pub fn new(count: u32, per: Duration) -> Self {
        Self { count: count.max(1), per }
    }

    /// How many an interval; at least one.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// The interval.
    pub const fn per(self) -> Duration {
        self.per
    }

    /// How many a second.
    pub fn per_second(self) -> f64 {
        f64::from(self.count) / self.per.as_secs_f64()
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || {
            UnitError(format!(
                "`{text}` is no rate: write a number and an interval, like \"100/s\" or \"60/m\""
            ))
        };
        let (count, unit) = text.split_once('/').ok_or_else(bad)?;
        let count: u32 = count.trim().parse().map_err(|_| bad())?;
        if count == 0 {
            return Err(UnitError(format!("`{text}` allows nothing: a rate is at least 1")));
        }
        let per = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(bad()),
        };
        Ok(Self { count, per: Duration::from_secs(per) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            60 => "m",
            3600 => "h",
            86_400 => "d",
            _ => "s",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// Splits `"1.5GiB"` into a non-negative number and what follows it.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

macro_rules! text_unit {
    ($($name:ident, $expected:literal, $pattern:literal, $example:literal;)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct TextVisitor;

                impl Visitor<'_> for TextVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(TextVisitor)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    )*};
}

text_unit! {
    Time, "a duration like \"250ms\" or \"10s\"", r"^\s*[0-9.]+\s*(ms|s|m|h|d)\s*$|\$\{", "250ms";
    Size, "a size like \"64KiB\"", r"^\s*[0-9.]+\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)\s*$|\$\{", "64KiB";
    Rate, "a rate like \"100/s\"", r"^\s*[0-9]+\s*/\s*(s|m|h|d)\s*$|\$\{", "100/s";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, millis) in
            [("250ms", 250), ("10s", 10_000), ("1.5s", 1500), ("5m", 300_000), ("0s", 0), ("1d", 86_400_000)]
        {
            assert_eq!(text.parse::<Time>().unwrap().get().as_millis(), millis, "{text}");
        }
        for text in ["", "10", "s", "-1s", "1y", "1.2.3s", "99999999d", "1 0s", "1e5s"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
        assert_eq!(Time::millis(90_000).to_string(), "90s");
        assert_eq!(Time::secs(3600).to_string(), "1h");
        for text in ["0.2ms", "1000.2ms", "0s", "1ms", "90061.001ms"] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text, "nothing is lost");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("64KiB", 65_536), ("10MB", 10_000_000), ("0B", 0), ("1.5KiB", 1536)] {
            assert_eq!(text.parse::<Size>().unwrap().bytes(), bytes, "{text}");
        }
        for text in ["", "12", "12XB", "-1B", "99999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!(Size::mib(256).to_string(), "256MiB");
    }

    #[test]
    fn rates() {
        assert_eq!("100/s".parse::<Rate>().unwrap().per_second(), 100.0);
        assert_eq!("60/m".parse::<Rate>().unwrap(), Rate::new(60, Duration::from_secs(60)));
        for text in ["", "0/s", "x/s", "10", "10/y", "-1/s", "99999999999/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
