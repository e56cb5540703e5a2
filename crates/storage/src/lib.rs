//! Where do immutable files live, how are they named, and what is in them?
//!
//! [`ObjectStore`] is the seam to a directory ([`LocalStore`]) or a bucket ([`BucketStore`]), [`layout`]
//! names the objects, [`mod@format`] says what segment and delete files contain, [`mapped`] turns a local
//! file into memory. Data flows one way: a builder appends to an [`ObjectWriter`], the store publishes
//! the finished object at once or not at all, readers map it and never see it change.

#[cfg(not(target_endian = "little"))]
compile_error!("segment files are little-endian and read in place: this target cannot open them");

pub mod bucket;
pub mod contract;
mod error;
mod failpoint;
pub mod format;
pub mod layout;
mod local;
pub mod mapped;
mod object;
mod writer;

pub use bucket::{BucketSettings, BucketStore, CacheSettings, CacheUsage};
pub use error::{Error, Result};
pub use failpoint::FAILPOINTS;
pub use local::LocalStore;
pub use mapped::Mapped;
pub use object::{LocalObject, ObjectEntry, ObjectStore, validate_path};
pub use writer::ObjectWriter;
