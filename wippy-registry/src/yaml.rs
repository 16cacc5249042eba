//! YAML with places: [`Node`] is the tree, `parse` makes it, [`decode`](Node::decode) reads serde types from it.

mod decode;
mod node;
mod parse;
mod place;
mod quick;

pub use self::decode::DecodeError;
pub use self::node::{Field, Include, Map, Node, Value};
pub use self::parse::parse;
