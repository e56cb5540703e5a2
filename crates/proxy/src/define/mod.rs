//! What may be defined? Names, schemas, properties, indexes, loads, resource groups, checked in Milvus's words.

pub(crate) mod add_field;
pub(crate) mod field;
pub(crate) mod index;
pub(crate) mod load;
pub(crate) mod name;
pub(crate) mod property;
pub(crate) mod resource_group;
pub(crate) mod schema;
pub(crate) mod timezone;
