//! How do searches and queries become reads of shards, and their parts one answer?
//!
//! Request → [`search_params`] or [`query_params`], [`output`], [`placeholder`], [`consistency`],
//! [`plan_cache`] → one plain request for every shard ([`fan_out`]) → merged part → Milvus's message
//! ([`search`], [`query`]).

pub(crate) mod consistency;
pub(crate) mod fan_out;
pub(crate) mod index_params;
pub(crate) mod iterator;
pub(crate) mod key_values;
pub(crate) mod output;
pub(crate) mod partition_key;
pub(crate) mod placeholder;
pub(crate) mod plan_cache;
pub(crate) mod query;
pub(crate) mod query_params;
pub(crate) mod search;
pub(crate) mod search_params;
pub(crate) mod window;
