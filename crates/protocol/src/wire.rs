//! How the specification's data types stand in JSON, where serde's own reading would be too generous.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

/// Int64 where it counts something: a JSON number from 0 to 2^63 - 1.
pub mod int64 {
    use super::{Deserialize, Deserializer, Error};

    /// Reads a count.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        u64::try_from(i64::deserialize(deserializer)?)
            .map_err(|_| D::Error::custom("a count is not negative"))
    }

    /// Reads a count that may be absent or null.
    pub fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        let number = Option::<i64>::deserialize(deserializer)?;
        number.map(u64::try_from).transpose().map_err(|_| D::Error::custom("a count is not negative"))
    }
}

/// `byte[]`: padded standard base64.
pub mod base64 {
    use super::{Deserializer, Error, Visitor, fmt};
    use bytes::Bytes;

    /// Reads the bytes straight from the payload, without a copy of the text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("padded base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                let bytes = base64_simd::STANDARD.decode_to_vec(text);
                bytes.map(Bytes::from).map_err(|_| E::custom("not padded base64"))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Reads a `T` from a JSON object only: serde would also take its fields from an array.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object(PhantomData).deserialize(deserializer)
}

struct Object<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Object<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// Reads a dictionary of objects. A key given twice is an error: serde would keep the last.
pub fn dictionary<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + fmt::Display,
    V: Deserialize<'de>,
{
    struct Entries<K, V>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Ord + fmt::Display, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BTreeMap<K, V>, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some(key) = map.next_key::<K>()? {
                if entries.contains_key(&key) {
                    return Err(A::Error::custom(format_args!("key {key} is given twice")));
                }
                let value = map.next_value_seed(Object(PhantomData))?;
                entries.insert(key, value);
            }
            Ok(entries)
        }
    }

    deserializer.deserialize_map(Entries(PhantomData))
}
