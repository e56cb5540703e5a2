//! Rows from several places, in a given order, into one segment file.
//!
//! Columns are gathered one after the other in pieces of a megabyte, so that memory does not grow
//! with the number of rows.

use std::collections::BTreeMap;

use bytemuck::Pod;
use redkite_types::{
    Bitmap, CollectionSchema, Column, ColumnView, DataType, DataView, FieldId, FieldSchema, Timestamp, Value,
    VarView,
};

use super::ALIGNMENT;
use super::footer::{self, Block, ColumnEntry, Footer, SegmentStats};
use crate::{Error, ObjectWriter, Result};

/// Bytes gathered before they are written.
const PIECE: usize = 1 << 20;

/// Rows to choose from.
#[derive(Clone, Debug, Default)]
pub struct RowSource<'a> {
    /// When each row was written.
    pub timestamps: &'a [Timestamp],
    /// The columns, by field. A field of the schema that is missing here reads as its default or null.
    pub columns: BTreeMap<FieldId, ColumnView<'a>>,
}

/// A row of one of several sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowAt {
    /// Position of the source.
    pub source: u32,
    /// Position in the source.
    pub row: u32,
}

/// Writes the rows named by `order`, which MUST be ascending by (primary key, timestamp).
/// Returns the statistics; the size is `out.written()`.
///
/// # Errors
/// If the rows do not fit the schema or the order, or the disk refuses.
pub fn write_segment(
    out: &mut ObjectWriter,
    schema: &CollectionSchema,
    sources: &[RowSource<'_>],
    order: &[RowAt],
) -> Result<SegmentStats> {
    if order.len() >= u32::MAX as usize {
        return Err(mismatch(out, schema.primary_key(), format!("{} rows are too many", order.len())));
    }
    let stats = statistics(out, schema.primary_key(), sources, order)?;
    let mut blocks = BlockWriter { out, order };
    blocks.out.append(&footer::header())?;
    let parts: Vec<_> = sources.iter().map(|source| Part::rows(source.timestamps)).collect();
    let (timestamps, _) = blocks.fixed(&parts, 1)?;
    let columns =
        schema.fields.iter().map(|field| blocks.column(field, sources)).collect::<Result<Vec<_>>>()?;
    blocks.align()?;
    let footer = Footer { stats, key_field: schema.primary_key().id, timestamps, columns };
    let offset = out.written();
    out.append(&footer::encode(&footer, offset))?;
    Ok(footer.stats)
}

/// Checks the order and counts.
fn statistics(
    out: &ObjectWriter,
    key: &FieldSchema,
    sources: &[RowSource<'_>],
    order: &[RowAt],
) -> Result<SegmentStats> {
    let keys = sources
        .iter()
        .map(|source| source.columns.get(&key.id).map(|column| column.data))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| mismatch(out, key, "a source has no primary keys".to_owned()))?;
    if keys.iter().any(|keys| keys.data_type() != key.data_type) {
        return Err(mismatch(out, key, "a source has primary keys of another type".to_owned()));
    }
    let key_of = |at: &RowAt| keys[at.source as usize].primary_key(at.row as usize);
    let written = |at: &RowAt| sources[at.source as usize].timestamps[at.row as usize];
    let mut repeated_keys = 0;
    let (mut oldest, mut newest) = (Timestamp::MAX, Timestamp::ZERO);
    let mut before = None;
    for at in order {
        let now = (key_of(at), written(at));
        if before.is_some_and(|before| before > now) {
            return Err(mismatch(out, key, "rows are not sorted by primary key and timestamp".to_owned()));
        }
        repeated_keys += u64::from(before.is_some_and(|(key, _)| key == now.0));
        (oldest, newest) = (oldest.min(now.1), newest.max(now.1));
        before = Some(now);
    }
    Ok(SegmentStats {
        rows: order.len() as u64,
        repeated_keys,
        min_timestamp: oldest.min(newest),
        max_timestamp: newest,
        min_key: order.first().map(|at| key_of(at).to_owned()),
        max_key: order.last().map(|at| key_of(at).to_owned()),
    })
}

fn mismatch(out: &ObjectWriter, field: &FieldSchema, problem: String) -> Error {
    Error::Mismatch { path: out.object().to_owned(), field: field.id.0, problem }
}

/// Smallest and largest number of a column.
type Extremes = (Value, Value);

/// One source's values of a column; a constant stands for a column the source does not have.
#[derive(Clone, Copy)]
struct Part<V> {
    values: V,
    constant: bool,
}

impl<V> Part<V> {
    fn rows(values: V) -> Self {
        Self { values, constant: false }
    }

    fn row(&self, at: RowAt) -> usize {
        if self.constant { 0 } else { at.row as usize }
    }

    fn map<W>(self, values: impl FnOnce(V) -> Option<W>) -> Option<Part<W>> {
        let constant = self.constant;
        values(self.values).map(|values| Part { values, constant })
    }
}

/// Appends aligned, checksummed blocks.
struct BlockWriter<'a> {
    out: &'a mut ObjectWriter,
    order: &'a [RowAt],
}

macro_rules! typed {
    ($parts:expr, $pattern:pat => $values:expr) => {
        $parts
            .iter()
            .map(|part| {
                part.map(|column: ColumnView<'_>| match column.data {
                    $pattern => Some($values),
                    _ => None,
                })
            })
            .collect::<Option<Vec<_>>>()
    };
}

impl BlockWriter<'_> {
    fn column(&mut self, field: &FieldSchema, sources: &[RowSource<'_>]) -> Result<ColumnEntry> {
        let default = field.default_value.as_ref().unwrap_or(&Value::Null);
        let filler = Column::repeated(field.id, field.data_type, field.dim as usize, default, 1);
        let parts: Vec<Part<ColumnView<'_>>> = sources
            .iter()
            .map(|source| match source.columns.get(&field.id) {
                Some(column) => Part::rows(*column),
                None => Part { values: filler.view(), constant: true },
            })
            .collect();
        let fits = |part: &Part<ColumnView<'_>>| {
            let data = part.values.data;
            data.data_type() == field.data_type && data.dim() == field.dim as usize
        };
        if !parts.iter().all(fits) {
            return Err(self.other_type(field));
        }
        let (data, offsets, bounds) = self.values(field, &parts)?;
        let validity = self.validity(&parts)?;
        let (min, max) = bounds.unzip();
        Ok(ColumnEntry {
            field: field.id,
            data_type: field.data_type.wire(),
            dim: field.dim,
            data,
            offsets,
            validity,
            min,
            max,
        })
    }

    fn values(
        &mut self,
        field: &FieldSchema,
        parts: &[Part<ColumnView<'_>>],
    ) -> Result<(Block, Option<Block>, Option<Extremes>)> {
        let width = field.dim as usize;
        let fixed = match field.data_type {
            DataType::Bool => typed!(parts, DataView::Bool(v) => bytemuck::cast_slice::<bool, u8>(v))
                .map(|parts| Ok((self.fixed(&parts, 1)?.0, None))),
            DataType::Int8 => typed!(parts, DataView::Int8(v) => v).map(|parts| self.fixed(&parts, 1)),
            DataType::Int16 => typed!(parts, DataView::Int16(v) => v).map(|parts| self.fixed(&parts, 1)),
            DataType::Int32 => typed!(parts, DataView::Int32(v) => v).map(|parts| self.fixed(&parts, 1)),
            DataType::Int64 => typed!(parts, DataView::Int64(v) => v).map(|parts| self.fixed(&parts, 1)),
            DataType::Float => typed!(parts, DataView::Float(v) => v).map(|parts| self.fixed(&parts, 1)),
            DataType::Double => typed!(parts, DataView::Double(v) => v).map(|parts| self.fixed(&parts, 1)),
            DataType::FloatVector => typed!(parts, DataView::FloatVector { values, .. } => values)
                .map(|parts| self.fixed(&parts, width)),
            DataType::Float16Vector => typed!(parts, DataView::Float16Vector { values, .. } => values)
                .map(|parts| self.fixed(&parts, width)),
            DataType::BFloat16Vector => typed!(parts, DataView::BFloat16Vector { values, .. } => values)
                .map(|parts| self.fixed(&parts, width)),
            DataType::VarChar | DataType::Json => {
                let parts = typed!(parts, DataView::VarChar(v) | DataView::Json(v) => v);
                let (data, offsets) = self.varying(&parts.ok_or_else(|| self.other_type(field))?)?;
                return Ok((data, Some(offsets), None));
            }
        };
        let (data, bounds) = fixed.ok_or_else(|| self.other_type(field))??;
        Ok((data, None, bounds))
    }

    fn other_type(&self, field: &FieldSchema) -> Error {
        mismatch(self.out, field, format!("a source has no {} of dimension {}", field.data_type, field.dim))
    }

    /// Values of one size: the block, and the bounds of numbers.
    fn fixed<T: Pod + Bounds>(
        &mut self,
        parts: &[Part<&[T]>],
        width: usize,
    ) -> Result<(Block, Option<Extremes>)> {
        let mut block = self.begin()?;
        let mut bounds = None;
        let rows_per_piece = (PIECE / (size_of::<T>() * width)).max(1);
        let mut piece: Vec<T> = Vec::with_capacity(rows_per_piece.min(self.order.len()) * width);
        for rows in self.order.chunks(rows_per_piece) {
            piece.clear();
            if width == 1 {
                piece.extend(rows.iter().map(|at| {
                    let part = &parts[at.source as usize];
                    part.values[part.row(*at)]
                }));
            } else {
                for at in rows {
                    let part = &parts[at.source as usize];
                    let start = part.row(*at) * width;
                    piece.extend_from_slice(&part.values[start..start + width]);
                }
            }
            if width == 1 {
                T::widen(&mut bounds, &piece);
            }
            self.append(&mut block, bytemuck::cast_slice(&piece))?;
        }
        let bounds = bounds.and_then(|(min, max): (T, T)| Some((min.value()?, max.value()?)));
        Ok((block, bounds))
    }

    /// Values of varying size: their bytes, and the offsets.
    fn varying(&mut self, parts: &[Part<VarView<'_>>]) -> Result<(Block, Block)> {
        let get = |at: RowAt| {
            let part = &parts[at.source as usize];
            part.values.get(part.row(at))
        };
        let mut offsets = self.begin()?;
        let mut end = 0_u64;
        let mut piece: Vec<u64> = vec![0];
        for at in self.order {
            end += get(*at).len() as u64;
            piece.push(end);
            if piece.len() * 8 >= PIECE {
                self.append(&mut offsets, bytemuck::cast_slice(&piece))?;
                piece.clear();
            }
        }
        self.append(&mut offsets, bytemuck::cast_slice(&piece))?;

        let mut data = self.begin()?;
        let mut piece = Vec::with_capacity(PIECE.min(usize::try_from(end).unwrap_or(PIECE)));
        for at in self.order {
            piece.extend_from_slice(get(*at));
            if piece.len() >= PIECE {
                self.append(&mut data, &piece)?;
                piece.clear();
            }
        }
        self.append(&mut data, &piece)?;
        Ok((data, offsets))
    }

    fn validity(&mut self, parts: &[Part<ColumnView<'_>>]) -> Result<Option<Block>> {
        if parts.iter().all(|part| part.values.validity.is_none()) {
            return Ok(None);
        }
        let validity = Bitmap::from_fn(self.order.len(), |row| {
            let at = self.order[row];
            let part = &parts[at.source as usize];
            part.values.is_valid(part.row(at))
        });
        if validity.all() {
            return Ok(None);
        }
        let mut block = self.begin()?;
        self.append(&mut block, bytemuck::cast_slice(validity.words()))?;
        Ok(Some(block))
    }

    fn begin(&mut self) -> Result<Block> {
        self.align()?;
        Ok(Block { offset: self.out.written(), bytes: 0, crc: 0 })
    }

    fn append(&mut self, block: &mut Block, bytes: &[u8]) -> Result<()> {
        block.crc = crc32c::crc32c_append(block.crc, bytes);
        block.bytes += bytes.len() as u64;
        self.out.append(bytes)
    }

    fn align(&mut self) -> Result<()> {
        let written = self.out.written();
        let gap = usize::try_from(written.next_multiple_of(ALIGNMENT) - written).expect("below 64");
        self.out.append(&[0; ALIGNMENT as usize][..gap])
    }
}

/// Whole numbers, whose extremes are kept: a filter that no number between them can pass skips the
/// segment. The fillers of null rows count too, which only widens the bounds. Fractions have none: they
/// do not come back from JSON to the last bit.
trait Bounds: Copy {
    fn value(self) -> Option<Value>;
    fn widen(bounds: &mut Option<(Self, Self)>, values: &[Self]);
}

macro_rules! integer_bounds {
    ($($number:ty),*) => { $(
        impl Bounds for $number {
            fn value(self) -> Option<Value> {
                Some(Value::Int64(self.into()))
            }

            fn widen(bounds: &mut Option<(Self, Self)>, values: &[Self]) {
                if let (Some(min), Some(max)) = (values.iter().min(), values.iter().max()) {
                    let (least, most) = bounds.unwrap_or((*min, *max));
                    *bounds = Some((least.min(*min), most.max(*max)));
                }
            }
        }
    )* };
}

integer_bounds!(i8, i16, i32, i64);

macro_rules! no_bounds {
    ($($value:ty),*) => { $(
        impl Bounds for $value {
            fn value(self) -> Option<Value> {
                None
            }

            fn widen(_: &mut Option<(Self, Self)>, _: &[Self]) {}
        }
    )* };
}

no_bounds!(u8, f32, f64, Timestamp, half::f16, half::bf16);
