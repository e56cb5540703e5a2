//! Batches and keys as bytes: fixed-size values as one raw array, strings as lengths and bytes.

use half::{bf16, f16};
use redkite_types::{Batch, Bitmap, Column, ColumnData, DataType, FieldId, PrimaryKeys, VarColumn};

use super::RecordError;

#[cfg(not(target_endian = "little"))]
compile_error!("log records hold little-endian arrays that are copied as they are");

/// Appends values to a record.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("a message of 64 MiB holds fewer than 2^32 of anything");
        self.bytes(&count.to_le_bytes());
    }

    pub(super) fn batch(&mut self, batch: &Batch) {
        self.count(batch.columns.len());
        self.count(batch.rows);
        batch.columns.iter().for_each(|column| self.column(column));
    }

    fn column(&mut self, column: &Column) {
        self.i64(column.field.0);
        self.count(usize::try_from(column.data.data_type().wire()).expect("type numbers are positive"));
        self.count(column.data.view().dim());
        self.u8(u8::from(column.validity.is_some()));
        if let Some(validity) = &column.validity {
            self.bytes(bytemuck::cast_slice(validity.words()));
        }
        self.data(&column.data);
    }

    fn data(&mut self, data: &ColumnData) {
        match data {
            ColumnData::Bool(values) => self.bytes(bytemuck::cast_slice(values)),
            ColumnData::Int8(values) => self.bytes(bytemuck::cast_slice(values)),
            ColumnData::Int16(values) => self.bytes(bytemuck::cast_slice(values)),
            ColumnData::Int32(values) => self.bytes(bytemuck::cast_slice(values)),
            ColumnData::Int64(values) => self.bytes(bytemuck::cast_slice(values)),
            ColumnData::Float(values) => self.bytes(bytemuck::cast_slice(values)),
            ColumnData::Double(values) => self.bytes(bytemuck::cast_slice(values)),
            ColumnData::VarChar(values) | ColumnData::Json(values) => self.strings(values),
            ColumnData::FloatVector { values, .. } => self.bytes(bytemuck::cast_slice(values)),
            ColumnData::Float16Vector { values, .. } => self.bytes(bytemuck::cast_slice(values)),
            ColumnData::BFloat16Vector { values, .. } => self.bytes(bytemuck::cast_slice(values)),
        }
    }

    fn strings(&mut self, values: &VarColumn) {
        values.iter().for_each(|value| self.count(value.len()));
        self.bytes(values.view().bytes());
    }

    pub(super) fn keys(&mut self, keys: &PrimaryKeys) {
        self.u8(u8::from(matches!(keys, PrimaryKeys::VarChar(_))));
        self.count(keys.len());
        match keys {
            PrimaryKeys::Int64(keys) => self.bytes(bytemuck::cast_slice(keys)),
            PrimaryKeys::VarChar(keys) => self.strings(keys),
        }
    }
}

/// Reads values of a record in the order they were written.
pub(super) struct Reader<'a> {
    record: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(record: &'a [u8]) -> Self {
        Self { record, offset: 0 }
    }

    pub(super) fn problem(&self, problem: impl Into<String>) -> RecordError {
        RecordError { offset: self.offset, problem: problem.into() }
    }

    pub(super) fn end(&self) -> Result<(), RecordError> {
        let left = self.record.len() - self.offset;
        if left == 0 { Ok(()) } else { Err(self.problem(format!("{left} bytes too many"))) }
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8], RecordError> {
        let left = &self.record[self.offset..];
        let Some(taken) = left.get(..bytes) else {
            return Err(self.problem(format!("{bytes} bytes wanted, {} left", left.len())));
        };
        self.offset += bytes;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        Ok(self.take(N)?.try_into().expect("exactly N bytes were taken"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, RecordError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u64(&mut self) -> Result<u64, RecordError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(super) fn count(&mut self) -> Result<usize, RecordError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    /// `count` values that were written as one raw array.
    fn values<T: bytemuck::Pod>(&mut self, count: usize) -> Result<Vec<T>, RecordError> {
        let Some(bytes) = count.checked_mul(size_of::<T>()) else {
            return Err(self.problem(format!("{count} values")));
        };
        // Taken before allocated: a damaged count must not ask for all memory.
        let raw = self.take(bytes)?;
        let mut values = vec![T::zeroed(); count];
        bytemuck::cast_slice_mut(&mut values).copy_from_slice(raw);
        Ok(values)
    }

    fn vectors<T: bytemuck::Pod>(&mut self, rows: usize, dim: usize) -> Result<Vec<T>, RecordError> {
        match rows.checked_mul(dim) {
            Some(count) => self.values(count),
            None => Err(self.problem(format!("{rows} rows of {dim} elements"))),
        }
    }

    fn strings(&mut self, count: usize) -> Result<VarColumn, RecordError> {
        let lengths: Vec<u32> = self.values(count)?;
        let mut strings = VarColumn::new();
        for length in lengths {
            strings.push(self.take(length as usize)?);
        }
        Ok(strings)
    }

    pub(super) fn batch(&mut self) -> Result<Batch, RecordError> {
        let columns = self.count()?;
        let rows = self.count()?;
        let columns = (0..columns).map(|_| self.column(rows)).collect::<Result<_, _>>()?;
        Ok(Batch { columns, rows })
    }

    fn column(&mut self, rows: usize) -> Result<Column, RecordError> {
        let field = FieldId(self.i64()?);
        let number = self.count()?;
        let known = i32::try_from(number).ok().and_then(DataType::from_wire);
        let Some(data_type) = known else {
            return Err(self.problem(format!("unknown data type {number}")));
        };
        let dim = self.count()?;
        let nullable = self.u8()? != 0;
        let validity = nullable
            .then(|| self.values::<u64>(rows.div_ceil(64)).map(|words| Bitmap::from_words(words, rows)))
            .transpose()?;
        let data = self.data(data_type, rows, dim)?;
        Ok(Column { field, data, validity })
    }

    fn data(&mut self, data_type: DataType, rows: usize, dim: usize) -> Result<ColumnData, RecordError> {
        Ok(match data_type {
            DataType::Bool => {
                ColumnData::Bool(self.values::<u8>(rows)?.into_iter().map(|value| value != 0).collect())
            }
            DataType::Int8 => ColumnData::Int8(self.values(rows)?),
            DataType::Int16 => ColumnData::Int16(self.values(rows)?),
            DataType::Int32 => ColumnData::Int32(self.values(rows)?),
            DataType::Int64 => ColumnData::Int64(self.values(rows)?),
            DataType::Float => ColumnData::Float(self.values(rows)?),
            DataType::Double => ColumnData::Double(self.values(rows)?),
            DataType::VarChar => ColumnData::VarChar(self.strings(rows)?),
            DataType::Json => ColumnData::Json(self.strings(rows)?),
            DataType::FloatVector => ColumnData::FloatVector { dim, values: self.vectors(rows, dim)? },
            DataType::Float16Vector => {
                ColumnData::Float16Vector { dim, values: self.vectors::<f16>(rows, dim)? }
            }
            DataType::BFloat16Vector => {
                ColumnData::BFloat16Vector { dim, values: self.vectors::<bf16>(rows, dim)? }
            }
        })
    }

    pub(super) fn keys(&mut self) -> Result<PrimaryKeys, RecordError> {
        let strings = self.u8()? != 0;
        let count = self.count()?;
        Ok(if strings {
            PrimaryKeys::VarChar(self.strings(count)?)
        } else {
            PrimaryKeys::Int64(self.values(count)?)
        })
    }
}
