//! What do shards get, and what do clients get back?

mod reads;
mod world;
mod writes;
