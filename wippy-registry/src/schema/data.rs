//! `registry.entry`: plain data of the application.

use indexmap::IndexMap;

use crate::schema::decoder::Decoder;
use crate::schema::read::{json, named};

/// Any fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegistryEntry {
    /// The fields, placeholders resolved.
    pub fields: IndexMap<String, serde_json::Value>,
}

pub(crate) fn entry(decoder: &mut Decoder<'_>) -> RegistryEntry {
    let data = &decoder.entry().data;
    RegistryEntry {
        fields: named(json)(data, decoder).unwrap_or_default(),
    }
}
