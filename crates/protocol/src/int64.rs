//! The specification's Int64 where it counts something: a JSON number from 0 to 2^63 - 1.

use serde::de::{Deserialize, Deserializer, Error};

/// Reads a count. Used with `#[serde(deserialize_with)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    u64::try_from(i64::deserialize(deserializer)?).map_err(|_| D::Error::custom("a count is not negative"))
}

/// The same for an optional property.
pub fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Option::<i64>::deserialize(deserializer)? {
        None => Ok(None),
        Some(number) => {
            u64::try_from(number).map(Some).map_err(|_| D::Error::custom("a count is not negative"))
        }
    }
}
