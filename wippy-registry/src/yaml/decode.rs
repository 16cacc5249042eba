//! A serde deserializer over [`Node`], so that any serde type can be read from a part of an entry and a failure
//! still points at the text that caused it.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, Unexpected, Visitor};
use serde_json::Number;

use crate::source::Span;
use crate::yaml::node::{Field, Node, Value};

/// Why a value could not be read, and which part of it is to blame.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// One sentence.
    pub message: String,
    /// The innermost value that did not fit.
    pub span: Span,
}

impl Node {
    /// Reads a serde type.
    ///
    /// # Errors
    /// The first value that does not fit the type, with its place.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        T::deserialize(self)
    }
}

impl DecodeError {
    fn at(mut self, node: &Node) -> Self {
        if !self.span.is_known() {
            self.span = node.span();
        }
        self
    }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            span: Span::NONE,
        }
    }
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value() {
            Value::Null => visitor.visit_unit(),
            Value::Bool(bool) => visitor.visit_bool(*bool),
            Value::Number(number) => visit_number(number, visitor),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter() }),
            Value::Map(map) => visitor.visit_map(Fields {
                fields: map.iter(),
                value: None,
            }),
        }
        .map_err(|error| error.at(self))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value() {
            Value::String(text) => {
                let variant: StrDeserializer<'_, DecodeError> = text.as_ref().into_deserializer();
                visitor.visit_enum(variant)
            }
            Value::Map(map) if map.len() == 1 => match map.iter().next() {
                Some((variant, field)) => visitor.visit_enum(Variant { variant, field }),
                None => Err(de::Error::invalid_length(0, &"one variant")),
            },
            Value::Map(map) => Err(de::Error::invalid_length(map.len(), &"one variant")),
            Value::Null => Err(de::Error::invalid_type(Unexpected::Unit, &"a variant")),
            Value::Bool(bool) => Err(de::Error::invalid_type(Unexpected::Bool(*bool), &"a variant")),
            Value::Number(_) => Err(de::Error::invalid_type(Unexpected::Other("number"), &"a variant")),
            Value::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &"a variant")),
        }
        .map_err(|error: DecodeError| error.at(self))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

fn visit_number<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, DecodeError> {
    if let Some(value) = number.as_u64() {
        visitor.visit_u64(value)
    } else if let Some(value) = number.as_i64() {
        visitor.visit_i64(value)
    } else {
        visitor.visit_f64(number.as_f64().unwrap_or_default())
    }
}

struct Items<'de> {
    items: std::slice::Iter<'de, Node>,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        self.items
            .next()
            .map(|item| seed.deserialize(item).map_err(|error| error.at(item)))
            .transpose()
    }
}

struct Fields<'de, I> {
    fields: I,
    value: Option<&'de Field>,
}

impl<'de, I: Iterator<Item = (&'de str, &'de Field)>> de::MapAccess<'de> for Fields<'de, I> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some((key, field)) = self.fields.next() else {
            return Ok(None);
        };
        self.value = Some(field);
        let key: StrDeserializer<'_, DecodeError> = key.into_deserializer();
        seed.deserialize(key).map(Some).map_err(|mut error| {
            if !error.span.is_known() {
                error.span = field.key_span;
            }
            error
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        match self.value.take() {
            Some(field) => seed
                .deserialize(&field.node)
                .map_err(|error| error.at(&field.node)),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

struct Variant<'de> {
    variant: &'de str,
    field: &'de Field,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = DecodeError;
    type Variant = &'de Node;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, &'de Node), DecodeError> {
        let name: StrDeserializer<'_, DecodeError> = self.variant.into_deserializer();
        let value = seed.deserialize(name).map_err(|mut error| {
            error.span = self.field.key_span;
            error
        })?;
        Ok((value, &self.field.node))
    }
}

impl<'de> de::VariantAccess<'de> for &'de Node {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        de::Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_any(self, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_any(self, visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use crate::source::SourceMap;
    use crate::yaml::parse;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Shape {
        name: String,
        size: Option<u8>,
        #[serde(default)]
        tags: Vec<Tag>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Tag {
        Plain,
        Weighted(f64),
    }

    #[test]
    fn serde_types_come_out() {
        let mut sources = SourceMap::default();
        let id = sources.add("x.yaml", "name: a\nsize: ~\ntags: [plain, {weighted: 2}]\n");
        let shape: Shape = parse(&sources, id).unwrap().decode().unwrap();
        assert_eq!(
            shape,
            Shape {
                name: "a".into(),
                size: None,
                tags: vec![Tag::Plain, Tag::Weighted(2.0)]
            }
        );
    }

    #[test]
    fn an_error_points_at_the_value() {
        for (text, blamed) in [
            ("name: a\nsize: 300\n", "300"),
            ("name: a\ntags: [plain, {weighted: x}]\n", "x"),
            ("name: a\ntags: [plian]\n", "plian"),
        ] {
            let mut sources = SourceMap::default();
            let id = sources.add("x.yaml", text);
            let error = parse(&sources, id).unwrap().decode::<Shape>().unwrap_err();
            assert_eq!(sources.snippet(error.span), Some(blamed), "{error}");
        }
    }
}
