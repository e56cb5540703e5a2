//! How do values travel? Columns, primary keys and dynamic fields between the wire and our own types.

pub(crate) mod dynamic;
pub(crate) mod expand;
pub(crate) mod from_wire;
pub(crate) mod keys;
pub(crate) mod schema;
pub(crate) mod to_wire;
