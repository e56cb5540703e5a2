//! What can go wrong with a vector index.

use redkite_types::DataType;

/// Why an index could not be built, opened or searched.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The bytes are not a well-formed index file.
    #[error("index file damaged at byte {offset}: {what}")]
    Damaged {
        /// What was found wrong.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// The file was written by another version of the format.
    #[error("index file version {found} not supported, this server reads version {supported}")]
    Version {
        /// Version in the file.
        found: u32,
        /// Version this code reads.
        supported: u32,
    },
    /// A section does not have the checksum that was written.
    #[error("index file section {section} at byte {offset}: checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Number of the section.
        section: u32,
        /// Where the section starts.
        offset: u64,
        /// CRC32C of the bytes there.
        found: u32,
        /// CRC32C in the directory.
        expected: u32,
    },
    /// The vectors are not those of the index.
    #[error("index over {rows} vectors of dimension {dim}, given {given_rows} of dimension {given_dim}")]
    Shape {
        /// Rows indexed.
        rows: usize,
        /// Dimension indexed.
        dim: usize,
        /// Rows given.
        given_rows: usize,
        /// Dimension given.
        given_dim: usize,
    },
    /// The query vector has another dimension.
    #[error("query vector of dimension {given}, expected {expected}")]
    QueryDimension {
        /// Dimension of the vectors.
        expected: usize,
        /// Dimension of the query.
        given: usize,
    },
    /// The filter covers another number of rows, or the cached norms do.
    #[error("{what} for {given} rows, expected {expected}")]
    Length {
        /// Which input.
        what: &'static str,
        /// Rows there are.
        expected: usize,
        /// Rows covered.
        given: usize,
    },
    /// A column without vectors, or one that is not whole rows.
    #[error("{data_type} column with dimension {dim} and {elements} elements holds no dense vectors")]
    NotVectors {
        /// Type of the column.
        data_type: DataType,
        /// Its dimension.
        dim: usize,
        /// Its number of elements.
        elements: usize,
    },
    /// A build parameter is out of its range.
    #[error("index parameter {name} = {value} outside {least}..={most}")]
    Parameter {
        /// Name as clients spell it.
        name: &'static str,
        /// What was given.
        value: usize,
        /// Least allowed.
        least: usize,
        /// Most allowed.
        most: usize,
    },
    /// More rows than row numbers.
    #[error("{rows} rows in one index, at most {most}")]
    TooManyRows {
        /// Rows given.
        rows: usize,
        /// Rows possible.
        most: usize,
    },
    /// The build was asked to stop.
    #[error("index build cancelled")]
    Cancelled,
}
