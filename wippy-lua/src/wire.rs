//! Dynamic values as serde sees them, for the formats that have a library: YAML and `MessagePack`.

use std::{cmp::Ordering, fmt};

use serde::{
    de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor},
    ser::{Error, Serialize, SerializeMap, SerializeSeq, Serializer},
};
use wippy_wit::{Table, Value};

/// A value that can be read from any format that describes itself.
pub(crate) struct Incoming(pub(crate) Value);

impl<'de> Deserialize<'de> for Incoming {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::string(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::string(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Incoming(element)) = elements.next_element()? {
            array.push(element);
        }
        Ok(Value::array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Incoming(key), Incoming(value))) = fields.next_entry()? {
            let is_key = match &key {
                Value::Float(number) => !number.is_nan(),
                Value::Boolean(_) | Value::Integer(_) | Value::String(_) => true,
                Value::Nil | Value::Unsigned(_) | Value::Table(_) | Value::Foreign(_) => false,
            };
            if !is_key {
                let datum = key.datum();
                return Err(de::Error::custom(format!(
                    "{} cannot be a key",
                    datum.type_name()
                )));
            }
            pairs.push((key, value));
        }
        let array = Vec::new();
        Ok(Value::Table(Box::new(Table { array, pairs })))
    }
}

/// A value that is written: the same text each time, with the fields of every table in order.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    value: &'a Value,
    /// The fields that come first.
    first: &'a [String],
}

impl<'a> Outgoing<'a> {
    /// `first` are the fields that come before all others, wherever a table has them.
    pub(crate) fn new(value: &'a Value, first: &'a [String]) -> Self {
        Self { value, first }
    }

    fn with(self, value: &'a Value) -> Self {
        Self { value, ..self }
    }

    /// The place of a key among those that come first.
    fn place(self, key: &Value) -> usize {
        let place = |name: &str| self.first.iter().position(|first| first == name);
        key.as_str().and_then(place).unwrap_or(usize::MAX)
    }

    fn compare(self, left: &Value, right: &Value) -> Ordering {
        self.place(left)
            .cmp(&self.place(right))
            .then_with(|| match (left, right) {
                (Value::String(left), Value::String(right)) => left.cmp(right),
                (Value::Integer(left), Value::Integer(right)) => left.cmp(right),
                (Value::String(_), _) => Ordering::Greater,
                (_, Value::String(_)) => Ordering::Less,
                _ => Ordering::Equal,
            })
    }

    fn serialize_table<S: Serializer>(self, table: &Table, serializer: S) -> Result<S::Ok, S::Error> {
        if table.pairs.is_empty() {
            let mut elements = serializer.serialize_seq(Some(table.array.len()))?;
            for element in &table.array {
                elements.serialize_element(&self.with(element))?;
            }
            return elements.end();
        }
        let mut pairs: Vec<(&Value, &Value)> = table.pairs.iter().map(|(key, value)| (key, value)).collect();
        pairs.sort_by(|left, right| self.compare(left.0, right.0));
        let mut fields = serializer.serialize_map(Some(table.array.len() + pairs.len()))?;
        for (index, element) in (1_i64..).zip(&table.array) {
            fields.serialize_entry(&index, &self.with(element))?;
        }
        for (key, value) in pairs {
            fields.serialize_entry(&self.with(key), &self.with(value))?;
        }
        fields.end()
    }
}

impl Serialize for Outgoing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Nil => serializer.serialize_unit(),
            Value::Boolean(value) => serializer.serialize_bool(*value),
            Value::Integer(value) => serializer.serialize_i64(*value),
            Value::Unsigned(value) => serializer.serialize_u64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::String(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => serializer.serialize_str(text),
                Err(_) => serializer.serialize_bytes(bytes),
            },
            Value::Foreign(foreign) => Err(S::Error::custom(format!(
                "{} cannot be written",
                foreign.type_name()
            ))),
            Value::Table(table) => self.serialize_table(table, serializer),
        }
    }
}
