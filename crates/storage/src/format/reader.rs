//! A mapped segment file: columns as they lie in the file.
//!
//! Opening reads header and footer only, whatever the number of rows. A scalar column is checked
//! against its checksum when it is first asked for, and stays checked; vector columns are large and
//! searched at random, so they are checked by [`SegmentFile::verify`] only, which whoever rewrites or
//! indexes the file runs first, and whoever searches it runs in the background.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytemuck::Pod;
use half::{bf16, f16};
use redkite_types::{Bitmap, ColumnView, DataType, DataView, FieldId, Timestamp, Value, VarView};

use super::footer::{self, Block, ColumnEntry, Footer, SegmentStats, corrupt};
use crate::{Error, Mapped, Result};

/// An open segment file.
#[derive(Debug)]
pub struct SegmentFile {
    map: Arc<Mapped>,
    path: String,
    rows: usize,
    stats: SegmentStats,
    key_field: FieldId,
    timestamps: Checked,
    columns: Vec<FileColumn>,
}

/// A block and whether it holds what was written.
#[derive(Debug)]
struct Checked {
    block: Block,
    outcome: OnceLock<Option<Problem>>,
}

#[derive(Clone, Debug)]
struct Problem {
    offset: u64,
    text: String,
}

#[derive(Debug)]
struct FileColumn {
    entry: ColumnEntry,
    data_type: DataType,
    /// Outcome of the check of all blocks of the column.
    outcome: OnceLock<Option<Problem>>,
    /// Bits are kept in words of the heap: a 64th of the smallest column.
    validity: OnceLock<Option<Bitmap>>,
    /// Bytes other than 0 and 1 are no `bool`, so these are copied.
    bools: OnceLock<Vec<bool>>,
}

impl SegmentFile {
    /// Opens a mapped file.
    ///
    /// # Errors
    /// If it is no segment file, of a later version, cut off, or its directory is damaged.
    pub fn open(map: Arc<Mapped>) -> Result<Self> {
        let path = map.path().display().to_string();
        let Footer { stats, key_field, timestamps, columns } = footer::decode(&path, (*map).as_ref())?;
        let rows = usize::try_from(stats.rows).expect("fewer than 2^32 rows, checked with the directory");
        let columns = columns.into_iter().map(FileColumn::new).collect();
        let timestamps = Checked { block: timestamps, outcome: OnceLock::new() };
        Ok(Self { map, path, rows, stats, key_field, timestamps, columns })
    }

    /// The file, for messages.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Size of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// What the file says about its rows.
    #[must_use]
    pub fn stats(&self) -> &SegmentStats {
        &self.stats
    }

    /// The primary key field.
    #[must_use]
    pub fn key_field(&self) -> FieldId {
        self.key_field
    }

    /// Its type: Int64 or VarChar.
    #[must_use]
    pub fn key_type(&self) -> DataType {
        self.find(self.key_field).map_or(DataType::Int64, |column| column.data_type)
    }

    /// The stored fields: id, type, dimension.
    pub fn fields(&self) -> impl Iterator<Item = (FieldId, DataType, usize)> + '_ {
        self.columns.iter().map(|column| (column.entry.field, column.data_type, column.entry.dim as usize))
    }

    /// Smallest and largest number of an integer column. Null rows may widen them.
    #[must_use]
    pub fn bounds(&self, field: FieldId) -> Option<(&Value, &Value)> {
        let entry = &self.find(field)?.entry;
        entry.min.as_ref().zip(entry.max.as_ref())
    }

    /// When each row was written.
    ///
    /// # Errors
    /// If the block is damaged.
    pub fn timestamps(&self) -> Result<&[Timestamp]> {
        self.outcome(
            self.timestamps.outcome.get_or_init(|| self.check(&self.timestamps.block, "timestamps")),
        )?;
        Ok(self.cast(&self.timestamps.block))
    }

    /// The primary keys, ascending.
    ///
    /// # Errors
    /// If a block is damaged.
    pub fn keys(&self) -> Result<DataView<'_>> {
        let column = self.column(self.key_field)?;
        Ok(column.expect("every segment file has keys, checked with the directory").data)
    }

    /// A column; `None` if the file does not have the field (it was added later).
    ///
    /// # Errors
    /// If a block of a scalar column is damaged.
    pub fn column(&self, field: FieldId) -> Result<Option<ColumnView<'_>>> {
        let Some(column) = self.find(field) else { return Ok(None) };
        if !column.data_type.is_vector() {
            self.outcome(column.outcome.get_or_init(|| self.check_column(column)))?;
        }
        Ok(Some(self.view(column)))
    }

    /// Checks every block.
    ///
    /// # Errors
    /// With the first damaged place.
    pub fn verify(&self) -> Result<()> {
        self.timestamps()?;
        for column in &self.columns {
            self.outcome(column.outcome.get_or_init(|| self.check_column(column)))?;
        }
        Ok(())
    }

    /// Bytes of the heap that columns took so far.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of = |column: &FileColumn| {
            let validity = column.validity.get().and_then(Option::as_ref).map_or(0, Bitmap::memory_bytes);
            validity + column.bools.get().map_or(0, Vec::len)
        };
        self.columns.iter().map(of).sum()
    }

    /// Reads a column into memory in the background.
    pub fn will_need(&self, field: FieldId) {
        self.find(field).into_iter().for_each(|column| self.map.advise_will_need(span(&column.entry.data)));
    }

    /// Reads a column into memory now.
    pub fn populate(&self, field: FieldId) {
        self.find(field).into_iter().for_each(|column| self.map.populate(span(&column.entry.data)));
    }

    /// Says that the rows of a column will be read in no order.
    pub fn random_access(&self, field: FieldId) {
        self.find(field).into_iter().for_each(|column| self.map.advise_random(span(&column.entry.data)));
    }

    fn find(&self, field: FieldId) -> Option<&FileColumn> {
        self.columns.iter().find(|column| column.entry.field == field)
    }

    fn view<'a>(&'a self, column: &'a FileColumn) -> ColumnView<'a> {
        let validity = column.validity.get_or_init(|| {
            let block = column.entry.validity.as_ref()?;
            Some(Bitmap::from_words(self.cast::<u64>(block).to_vec(), self.rows))
        });
        ColumnView { data: self.data(column), validity: validity.as_ref() }
    }

    fn data<'a>(&'a self, column: &'a FileColumn) -> DataView<'a> {
        let (block, dim) = (&column.entry.data, column.entry.dim as usize);
        match column.data_type {
            DataType::Bool => DataView::Bool(
                column.bools.get_or_init(|| self.slice(block).iter().map(|byte| *byte != 0).collect()),
            ),
            DataType::Int8 => DataView::Int8(self.cast(block)),
            DataType::Int16 => DataView::Int16(self.cast(block)),
            DataType::Int32 => DataView::Int32(self.cast(block)),
            DataType::Int64 => DataView::Int64(self.cast(block)),
            DataType::Float => DataView::Float(self.cast(block)),
            DataType::Double => DataView::Double(self.cast(block)),
            DataType::VarChar => DataView::VarChar(self.varying(column)),
            DataType::Json => DataView::Json(self.varying(column)),
            DataType::FloatVector => DataView::FloatVector { dim, values: self.cast::<f32>(block) },
            DataType::Float16Vector => DataView::Float16Vector { dim, values: self.cast::<f16>(block) },
            DataType::BFloat16Vector => DataView::BFloat16Vector { dim, values: self.cast::<bf16>(block) },
        }
    }

    fn varying(&self, column: &FileColumn) -> VarView<'_> {
        let offsets = column.entry.offsets.as_ref().expect("checked with the directory");
        VarView::new(self.cast(offsets), self.slice(&column.entry.data))
    }

    fn slice(&self, block: &Block) -> &[u8] {
        &(*self.map).as_ref()[span(block)]
    }

    /// Mappings begin at a page and blocks at a multiple of 64 therein, so every type is aligned.
    fn cast<T: Pod>(&self, block: &Block) -> &[T] {
        bytemuck::cast_slice(self.slice(block))
    }

    fn check_column(&self, column: &FileColumn) -> Option<Problem> {
        let entry = &column.entry;
        let what = format!("field {}", entry.field);
        let blocks = [Some(&entry.data), entry.offsets.as_ref(), entry.validity.as_ref()];
        blocks.into_iter().flatten().find_map(|block| self.check(block, &what)).or_else(|| {
            let offsets = entry.offsets.as_ref()?;
            let ends: &[u64] = self.cast(offsets);
            let sound = ends[0] == 0 && ends.is_sorted() && ends.last() == Some(&entry.data.bytes);
            (!sound).then(|| Problem { offset: offsets.offset, text: format!("{what} has bad offsets") })
        })
    }

    fn check(&self, block: &Block, what: &str) -> Option<Problem> {
        let sound = crc32c::crc32c(self.slice(block)) == block.crc;
        (!sound).then(|| Problem {
            offset: block.offset,
            text: format!("checksum of {what} ({} bytes) does not match", block.bytes),
        })
    }

    fn outcome(&self, outcome: &Option<Problem>) -> Result<(), Error> {
        match outcome {
            None => Ok(()),
            Some(problem) => Err(corrupt(&self.path, problem.offset, problem.text.clone())),
        }
    }
}

impl FileColumn {
    fn new(entry: ColumnEntry) -> Self {
        let data_type = entry.data_type().expect("known type, checked with the directory");
        let (outcome, validity, bools) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { entry, data_type, outcome, validity, bools }
    }
}

fn span(block: &Block) -> Range<usize> {
    let start = usize::try_from(block.offset).expect("inside a mapped file");
    start..start + usize::try_from(block.bytes).expect("inside a mapped file")
}
