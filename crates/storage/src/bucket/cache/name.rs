//! How is a copy named? `<object>@<size>-<checksum of its entity tag>`.
//!
//! An object's components never hold more than the object store's rules allow, and the last `@` is ours.

use super::super::remote::Version;

/// What of a version is in its copy's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    etag: u32,
}

impl From<&Version> for Stamp {
    fn from(version: &Version) -> Self {
        Self { size: version.size, etag: crc32c::crc32c(version.etag.as_bytes()) }
    }
}

/// Name of the copy of a version of an object.
pub(super) fn of(path: &str, stamp: Stamp) -> String {
    format!("{path}@{}-{:08x}", stamp.size, stamp.etag)
}

/// The object and version that a copy's name tells.
pub(super) fn parse(name: &str) -> Option<(&str, Stamp)> {
    let (path, stamp) = name.rsplit_once('@')?;
    let (size, etag) = stamp.split_once('-')?;
    let stamp = Stamp { size: size.parse().ok()?, etag: u32::from_str_radix(etag, 16).ok()? };
    // Only the spelling that is written counts.
    (of(path, stamp) == name).then_some((path, stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let version = Version { size: 4711, etag: "\"0123-2\"".to_owned() };
        for path in ["a", "segments/7/449/data.rks", "odd@12-0", "odd@12-00000000"] {
            let name = of(path, Stamp::from(&version));
            assert_eq!(parse(&name), Some((path, Stamp::from(&version))), "{name}");
        }
        for name in ["a", "a@", "a@12", "a@012-00000000", "a@12-0", "a@-1-00000000", "a@1-0000000G"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
