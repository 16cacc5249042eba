//! Names of entries: [`Namespace`] (`app.api.v2`) and [`EntryId`] (`app.api.v2:get_user.endpoint`).
//!
//! Both are checked once, at the edge, and cheap to clone afterwards. An id compares and sorts by its full text,
//! so a sorted listing groups namespaces.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// Dot-separated identifiers that a file's entries share.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// Checks the form: identifiers of letters, digits, `_` and `-`, separated by `.`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        check_dotted(text).map_err(|reason| Error::InvalidNamespace {
            text: text.to_owned(),
            reason,
        })?;
        Ok(Self(text.into()))
    }

    /// The namespace as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The full id of an entry, `namespace:name`.
///
/// ```
/// use wippy_registry::{EntryId, Namespace};
///
/// let here = Namespace::parse("app.users")?;
/// assert_eq!(EntryId::resolve("store", &here)?.as_str(), "app.users:store");
/// assert_eq!(EntryId::resolve("app:store", &here)?.as_str(), "app:store");
/// # Ok::<(), wippy_registry::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    text: Arc<str>,
    colon: usize,
}

impl EntryId {
    /// Puts an id together; the name is checked, the namespace already was.
    pub fn new(namespace: &Namespace, name: &str) -> Result<Self, Error> {
        check_dotted(name).map_err(|reason| Error::InvalidName {
            text: name.to_owned(),
            reason,
        })?;
        Ok(Self {
            text: format!("{}:{name}", namespace.as_str()).into(),
            colon: namespace.as_str().len(),
        })
    }

    /// Reads a full id.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let Some((namespace, name)) = text.split_once(':') else {
            return Err(Error::MissingNamespace {
                text: text.to_owned(),
            });
        };
        Self::new(&Namespace::parse(namespace)?, name)
    }

    /// Reads a reference as it stands in a file: a full id, or a bare name of the file's own namespace.
    pub fn resolve(reference: &str, namespace: &Namespace) -> Result<Self, Error> {
        if reference.contains(':') {
            Self::parse(reference)
        } else {
            Self::new(namespace, reference)
        }
    }

    /// The part before the colon.
    pub fn namespace(&self) -> &str {
        self.text.get(..self.colon).unwrap_or_default()
    }

    /// The part after the colon.
    pub fn name(&self) -> &str {
        self.text.get(self.colon + 1..).unwrap_or_default()
    }

    /// The namespace as a value that references can be resolved in.
    pub fn to_namespace(&self) -> Namespace {
        Namespace(self.namespace().into())
    }

    /// The full text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn check_dotted(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    for part in text.split('.') {
        if part.is_empty() {
            return Err("a part between dots is empty");
        }
        if !part
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "_-".contains(character))
        {
            return Err("only letters, digits, `_`, `-` and `.` between parts are allowed");
        }
    }
    Ok(())
}

impl FromStr for EntryId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl FromStr for Namespace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for EntryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for EntryId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

impl Serialize for Namespace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_both_parts() {
        let id = EntryId::parse("app.api.v2:get_user.endpoint").unwrap();
        assert_eq!((id.namespace(), id.name()), ("app.api.v2", "get_user.endpoint"));
        assert_eq!(id.to_namespace(), Namespace::parse("app.api.v2").unwrap());
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in [
            "", "app", ":x", "app:", "a:b:c", "app.:x", "a b:c", "app:x..y", "äpp:x",
        ] {
            assert!(EntryId::parse(text).is_err(), "{text}");
        }
    }
}
