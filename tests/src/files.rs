//! The files of a stopped server: found, copied, damaged, counted.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// All files below a directory, sorted.
///
/// # Errors
/// If it cannot be read.
pub fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let children = match fs::read_dir(&directory) {
            // A server may remove it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            children => children?,
        };
        for child in children {
            let child = child?;
            match child.file_type() {
                Ok(kind) if kind.is_dir() => open.push(child.path()),
                Ok(_) => found.push(child.path()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The files below a directory whose name ends so.
///
/// # Errors
/// If it cannot be read.
pub fn ending(directory: &Path, end: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = below(directory)?;
    found.retain(|path| path.to_string_lossy().ends_with(end));
    Ok(found)
}

/// Bytes of all files below a directory.
///
/// # Errors
/// If it cannot be read.
pub fn bytes(directory: &Path) -> io::Result<u64> {
    let sizes = below(directory)?.into_iter().map(|path| path.metadata().map_or(0, |file| file.len()));
    Ok(sizes.sum())
}

/// Copies a directory.
///
/// # Errors
/// If a file cannot be copied.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for path in below(from)? {
        let target = to.join(path.strip_prefix(from).expect("found below it"));
        fs::create_dir_all(target.parent().expect("below a directory"))?;
        fs::copy(&path, &target)?;
    }
    Ok(())
}

/// What is done to a file.
#[derive(Clone, Debug)]
pub enum Damage {
    /// One bit of the byte at this share (in thousandths) of the file is another.
    Flip(u64),
    /// So many bytes are gone from the end.
    Cut(u64),
    /// Only this share (in thousandths) is left.
    Keep(u64),
    /// This follows the end.
    Append(Vec<u8>),
    /// There is no such file.
    Remove,
}

impl Damage {
    /// Damages a file.
    ///
    /// # Errors
    /// If that fails.
    pub fn inflict(&self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        match self {
            Self::Flip(place) => {
                let at = (length * place / 1000).min(length - 1);
                let mut byte = [0];
                file.read_exact_at(&mut byte, at)?;
                file.write_all_at(&[byte[0] ^ 0x10], at)
            }
            Self::Cut(bytes) => file.set_len(length.saturating_sub(*bytes)),
            Self::Keep(share) => file.set_len(length * share / 1000),
            Self::Append(bytes) => file.write_all_at(bytes, length),
            Self::Remove => fs::remove_file(path),
        }
    }
}
