//! What do segment and delete files contain? Writer and reader of each, side by side.
//!
//! Every file says what it is and of which version in its first bytes, carries checksums, and is
//! refused with file and offset when they do not hold. Small files of each version are committed
//! under `tests/golden`: they must open for ever, and a change of what is written shows there.

mod deletes;
mod footer;
mod reader;
mod writer;

pub use deletes::{KeyDeletes, RowDeletes};
pub use footer::SegmentStats;
pub use reader::SegmentFile;
pub use writer::{RowAt, RowSource, write_segment};

/// Version of segment files that this build writes; it reads all up to this.
pub const SEGMENT_VERSION: u32 = 1;
/// Version of delete files that this build writes; it reads all up to this.
pub const DELETES_VERSION: u32 = 1;

/// Blocks begin at multiples of this: a cache line, and the widest vector register.
const ALIGNMENT: u64 = 64;
