//! What do definitions look like to clients? Pure functions from the metastore's records to answers.

pub(crate) mod collection;
pub(crate) mod index;
pub(crate) mod replica;
pub(crate) mod resource_group;
pub(crate) mod segment;
