//! Columns of values: owned ones that are written, borrowed ones that are read.
//!
//! A column is one typed vector plus, for nullable fields, one validity bit per row. Null rows hold a
//! filler in the data so that positions always agree. Sealed segments hand out borrowed views of
//! mapped files, growing segments of owned vectors; everything that evaluates takes the view.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::{Bitmap, DataType, FieldId, PrimaryKeys, Value, bulk};

/// Byte strings back to back, with their ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "VarParts")]
pub struct VarColumn {
    /// `len + 1` offsets into `bytes`; the first is 0.
    #[serde(with = "bulk")]
    offsets: Vec<u64>,
    #[serde(with = "bulk")]
    bytes: Vec<u8>,
}

/// A [`VarColumn`] as it was received.
#[derive(Deserialize)]
struct VarParts {
    #[serde(with = "bulk")]
    offsets: Vec<u64>,
    #[serde(with = "bulk")]
    bytes: Vec<u8>,
}

impl TryFrom<VarParts> for VarColumn {
    type Error = &'static str;

    fn try_from(VarParts { offsets, bytes }: VarParts) -> Result<Self, Self::Error> {
        let ends = (offsets.first(), offsets.last()) == (Some(&0), Some(&(bytes.len() as u64)));
        if ends && offsets.is_sorted() { Ok(Self { offsets, bytes }) } else { Err("offsets without order") }
    }
}

impl Default for VarColumn {
    fn default() -> Self {
        Self { offsets: vec![0], bytes: Vec::new() }
    }
}

impl VarColumn {
    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a value. VarChar values must be UTF-8: the proxy checks it where they come in.
    pub fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.offsets.push(self.bytes.len() as u64);
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value in a row.
    #[must_use]
    pub fn get(&self, row: usize) -> &[u8] {
        self.view().get(row)
    }

    /// The text in a row of a VarChar column; values that are not UTF-8 read as empty.
    #[must_use]
    pub fn str(&self, row: usize) -> &str {
        self.view().str(row)
    }

    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.get(row))
    }

    /// A borrowed view.
    #[must_use]
    pub fn view(&self) -> VarView<'_> {
        VarView { offsets: &self.offsets, bytes: &self.bytes }
    }

    /// Bytes held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.offsets.capacity() * 8 + self.bytes.capacity()
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for VarColumn {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut column = Self::new();
        values.into_iter().for_each(|value| column.push(value.as_ref()));
        column
    }
}

/// Borrowed [`VarColumn`].
#[derive(Clone, Copy, Debug)]
pub struct VarView<'a> {
    offsets: &'a [u64],
    bytes: &'a [u8],
}

impl<'a> VarView<'a> {
    /// A view over `len + 1` ascending offsets into `bytes`. The caller has checked both
    /// (segment files carry checksums); out-of-range offsets panic on access, nothing worse.
    #[must_use]
    pub fn new(offsets: &'a [u64], bytes: &'a [u8]) -> Self {
        Self { offsets, bytes }
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value in a row.
    #[must_use]
    pub fn get(&self, row: usize) -> &'a [u8] {
        let start = usize::try_from(self.offsets[row]).expect("offset of a mapped byte");
        let end = usize::try_from(self.offsets[row + 1]).expect("offset of a mapped byte");
        &self.bytes[start..end]
    }

    /// The text in a row; values that are not UTF-8 read as empty.
    #[must_use]
    pub fn str(&self, row: usize) -> &'a str {
        std::str::from_utf8(self.get(row)).unwrap_or_default()
    }

    /// The `len + 1` offsets into [`VarView::bytes`].
    #[must_use]
    pub fn offsets(&self) -> &'a [u64] {
        self.offsets
    }

    /// All values back to back.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

macro_rules! data_types {
    (
        numbers { $( $number:ident($scalar:ty), )* }
        texts { $( $text:ident, )* }
        vectors { $( $vector:ident($element:ty), )* }
    ) => {
        /// The values of a column, owned. Vectors are row-major, `dim` elements a row.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "variants are named like the data types")]
        pub enum ColumnData {
            $( $number(#[serde(with = "bulk")] Vec<$scalar>), )*
            $( $text(VarColumn), )*
            $( $vector { dim: usize, #[serde(with = "bulk")] values: Vec<$element> }, )*
        }

        /// The values of a column, borrowed. Vectors are row-major, `dim` elements a row.
        #[derive(Clone, Copy, Debug)]
        #[allow(missing_docs, reason = "variants are named like the data types")]
        pub enum DataView<'a> {
            $( $number(&'a [$scalar]), )*
            $( $text(VarView<'a>), )*
            $( $vector { dim: usize, values: &'a [$element] }, )*
        }

        impl ColumnData {
            /// The type of the values.
            #[must_use]
            pub fn data_type(&self) -> DataType {
                match self {
                    $( Self::$number(_) => DataType::$number, )*
                    $( Self::$text(_) => DataType::$text, )*
                    $( Self::$vector { .. } => DataType::$vector, )*
                }
            }

            /// Number of rows.
            #[must_use]
            pub fn len(&self) -> usize {
                match self {
                    $( Self::$number(values) => values.len(), )*
                    $( Self::$text(values) => values.len(), )*
                    $( Self::$vector { dim, values } => values.len() / (*dim).max(1), )*
                }
            }

            /// Appends rows of another column of the same type and dimension.
            ///
            /// # Panics
            /// If type or dimension differ: columns are matched by schema before.
            pub fn append_rows(&mut self, from: DataView<'_>, rows: impl IntoIterator<Item = usize>) {
                match (self, from) {
                    $( (Self::$number(to), DataView::$number(from)) => rows.into_iter().for_each(|row| to.push(from[row])), )*
                    $( (Self::$text(to), DataView::$text(from)) => rows.into_iter().for_each(|row| to.push(from.get(row))), )*
                    $( (Self::$vector { dim, values }, DataView::$vector { dim: from_dim, values: from }) => {
                        assert_eq!(*dim, from_dim, "vectors of another dimension");
                        rows.into_iter().for_each(|row| values.extend_from_slice(&from[row * from_dim..(row + 1) * from_dim]));
                    } )*
                    (to, from) => panic!("cannot append {} to {}", from.data_type(), to.data_type()),
                }
            }
        }

        impl<'a> DataView<'a> {
            /// The type of the values.
            #[must_use]
            pub fn data_type(&self) -> DataType {
                match self {
                    $( Self::$number(_) => DataType::$number, )*
                    $( Self::$text(_) => DataType::$text, )*
                    $( Self::$vector { .. } => DataType::$vector, )*
                }
            }

            /// Number of rows.
            #[must_use]
            pub fn len(&self) -> usize {
                match self {
                    $( Self::$number(values) => values.len(), )*
                    $( Self::$text(values) => values.len(), )*
                    $( Self::$vector { dim, values } => values.len() / (*dim).max(1), )*
                }
            }
        }
    };
}

data_types! {
    numbers {
        Bool(bool),
        Int8(i8),
        Int16(i16),
        Int32(i32),
        Int64(i64),
        Float(f32),
        Double(f64),
    }
    texts {
        VarChar,
        Json,
    }
    vectors {
        FloatVector(f32),
        Float16Vector(f16),
        BFloat16Vector(bf16),
    }
}

impl ColumnData {
    /// No rows of a type; `dim` matters for vectors only.
    #[must_use]
    pub fn empty(data_type: DataType, dim: usize) -> Self {
        match data_type {
            DataType::Bool => Self::Bool(Vec::new()),
            DataType::Int8 => Self::Int8(Vec::new()),
            DataType::Int16 => Self::Int16(Vec::new()),
            DataType::Int32 => Self::Int32(Vec::new()),
            DataType::Int64 => Self::Int64(Vec::new()),
            DataType::Float => Self::Float(Vec::new()),
            DataType::Double => Self::Double(Vec::new()),
            DataType::VarChar => Self::VarChar(VarColumn::new()),
            DataType::Json => Self::Json(VarColumn::new()),
            DataType::FloatVector => Self::FloatVector { dim, values: Vec::new() },
            DataType::Float16Vector => Self::Float16Vector { dim, values: Vec::new() },
            DataType::BFloat16Vector => Self::BFloat16Vector { dim, values: Vec::new() },
        }
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A borrowed view.
    #[must_use]
    pub fn view(&self) -> DataView<'_> {
        match self {
            Self::Bool(values) => DataView::Bool(values),
            Self::Int8(values) => DataView::Int8(values),
            Self::Int16(values) => DataView::Int16(values),
            Self::Int32(values) => DataView::Int32(values),
            Self::Int64(values) => DataView::Int64(values),
            Self::Float(values) => DataView::Float(values),
            Self::Double(values) => DataView::Double(values),
            Self::VarChar(values) => DataView::VarChar(values.view()),
            Self::Json(values) => DataView::Json(values.view()),
            Self::FloatVector { dim, values } => DataView::FloatVector { dim: *dim, values },
            Self::Float16Vector { dim, values } => DataView::Float16Vector { dim: *dim, values },
            Self::BFloat16Vector { dim, values } => DataView::BFloat16Vector { dim: *dim, values },
        }
    }

    /// Appends the value that stands in a null row (zero, empty text, JSON `null`), or a default.
    ///
    /// # Panics
    /// If the value is of another type than the column, or the column holds vectors and a value is given.
    pub fn push_value(&mut self, value: &Value) {
        match (self, value) {
            (Self::Bool(values), Value::Null) => values.push(false),
            (Self::Bool(values), Value::Bool(value)) => values.push(*value),
            (Self::Int8(values), Value::Null) => values.push(0),
            (Self::Int16(values), Value::Null) => values.push(0),
            (Self::Int32(values), Value::Null) => values.push(0),
            (Self::Int64(values), Value::Null) => values.push(0),
            (Self::Int8(values), Value::Int64(value)) => {
                values.push(i8::try_from(*value).expect("range-checked default"))
            }
            (Self::Int16(values), Value::Int64(value)) => {
                values.push(i16::try_from(*value).expect("range-checked default"))
            }
            (Self::Int32(values), Value::Int64(value)) => {
                values.push(i32::try_from(*value).expect("range-checked default"))
            }
            (Self::Int64(values), Value::Int64(value)) => values.push(*value),
            (Self::Float(values), Value::Null) => values.push(0.0),
            (Self::Double(values), Value::Null) => values.push(0.0),
            #[expect(clippy::cast_possible_truncation, reason = "a Float default is given as a double")]
            (Self::Float(values), Value::Double(value)) => values.push(*value as f32),
            (Self::Double(values), Value::Double(value)) => values.push(*value),
            (Self::VarChar(values), Value::Null) => values.push(b""),
            (Self::VarChar(values), Value::VarChar(value)) => values.push(value.as_bytes()),
            (Self::Json(values), Value::Null) => values.push(b"null"),
            (Self::Json(values), Value::Json(value)) => values.push(value),
            (Self::FloatVector { dim, values }, Value::Null) => values.resize(values.len() + *dim, 0.0),
            (Self::Float16Vector { dim, values }, Value::Null) => {
                values.resize(values.len() + *dim, f16::ZERO)
            }
            (Self::BFloat16Vector { dim, values }, Value::Null) => {
                values.resize(values.len() + *dim, bf16::ZERO)
            }
            (column, value) => panic!("{value:?} does not fit a column of {}", column.data_type()),
        }
    }

    /// Bytes held by the values.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::VarChar(values) | Self::Json(values) => values.memory_bytes(),
            other => other.view().fixed_bytes_per_row() * other.len(),
        }
    }
}

impl DataView<'_> {
    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Dimension of vectors, 0 for scalars.
    #[must_use]
    pub fn dim(&self) -> usize {
        match self {
            Self::FloatVector { dim, .. }
            | Self::Float16Vector { dim, .. }
            | Self::BFloat16Vector { dim, .. } => *dim,
            _ => 0,
        }
    }

    /// The value in a row.
    ///
    /// # Panics
    /// On vectors, which are not values.
    #[must_use]
    pub fn value(&self, row: usize) -> Value {
        match self {
            Self::Bool(values) => Value::Bool(values[row]),
            Self::Int8(values) => Value::Int64(values[row].into()),
            Self::Int16(values) => Value::Int64(values[row].into()),
            Self::Int32(values) => Value::Int64(values[row].into()),
            Self::Int64(values) => Value::Int64(values[row]),
            Self::Float(values) => Value::Double(values[row].into()),
            Self::Double(values) => Value::Double(values[row]),
            Self::VarChar(values) => Value::VarChar(values.str(row).to_owned()),
            Self::Json(values) => Value::Json(values.get(row).to_vec()),
            Self::FloatVector { .. } | Self::Float16Vector { .. } | Self::BFloat16Vector { .. } => {
                panic!("a vector is no scalar value")
            }
        }
    }

    fn fixed_bytes_per_row(&self) -> usize {
        self.data_type().fixed_bytes(self.dim()).unwrap_or_default()
    }
}

/// A column: values and, for nullable fields, which rows have one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The field the values belong to.
    pub field: FieldId,
    /// One value per row; a filler in null rows.
    pub data: ColumnData,
    /// Set where the row has a value; `None` when every row has.
    pub validity: Option<Bitmap>,
}

/// Borrowed [`Column`].
#[derive(Clone, Copy, Debug)]
pub struct ColumnView<'a> {
    /// One value per row; a filler in null rows.
    pub data: DataView<'a>,
    /// Set where the row has a value; `None` when every row has.
    pub validity: Option<&'a Bitmap>,
}

impl ColumnView<'_> {
    /// Whether the row has a value.
    #[must_use]
    pub fn is_valid(&self, row: usize) -> bool {
        self.validity.is_none_or(|validity| validity.get(row))
    }
}

impl Column {
    /// A column in which every row has a value.
    #[must_use]
    pub fn new(field: FieldId, data: ColumnData) -> Self {
        Self { field, data, validity: None }
    }

    /// No rows of a type; `dim` matters for vectors only.
    #[must_use]
    pub fn empty(field: FieldId, data_type: DataType, dim: usize) -> Self {
        Self::new(field, ColumnData::empty(data_type, dim))
    }

    /// `rows` times the same value, or null.
    #[must_use]
    pub fn repeated(field: FieldId, data_type: DataType, dim: usize, value: &Value, rows: usize) -> Self {
        let mut data = ColumnData::empty(data_type, dim);
        (0..rows).for_each(|_| data.push_value(value));
        let validity = matches!(value, Value::Null).then(|| Bitmap::filled(rows, false));
        Self { field, data, validity }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// A borrowed view.
    #[must_use]
    pub fn view(&self) -> ColumnView<'_> {
        ColumnView { data: self.data.view(), validity: self.validity.as_ref() }
    }

    /// Appends rows of another column of the same field.
    ///
    /// # Panics
    /// If type or dimension differ.
    pub fn append_rows(&mut self, from: ColumnView<'_>, rows: impl IntoIterator<Item = usize> + Clone) {
        let before = self.len();
        self.data.append_rows(from.data, rows.clone());
        if from.validity.is_some() || self.validity.is_some() {
            let validity = self.validity.get_or_insert_with(|| Bitmap::filled(before, true));
            rows.into_iter().for_each(|row| validity.push(from.is_valid(row)));
        }
    }

    /// A column of the chosen rows.
    #[must_use]
    pub fn take(&self, rows: &[usize]) -> Self {
        let mut taken = Self::empty(self.field, self.data.data_type(), self.data.view().dim());
        taken.append_rows(self.view(), rows.iter().copied());
        taken
    }
}

/// Rows of a collection, one column per stored field, all of one length.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Batch {
    /// The columns, in schema order.
    pub columns: Vec<Column>,
    /// Number of rows.
    pub rows: usize,
}

impl Batch {
    /// Rows from columns of one length.
    ///
    /// # Panics
    /// If the lengths differ: the proxy checks what clients send.
    #[must_use]
    pub fn new(columns: Vec<Column>) -> Self {
        let rows = columns.first().map_or(0, Column::len);
        assert!(columns.iter().all(|column| column.len() == rows), "columns of different length");
        Self { columns, rows }
    }

    /// The column of a field.
    #[must_use]
    pub fn column(&self, field: FieldId) -> Option<&Column> {
        self.columns.iter().find(|column| column.field == field)
    }

    /// The chosen rows.
    #[must_use]
    pub fn take(&self, rows: &[usize]) -> Self {
        Self { columns: self.columns.iter().map(|column| column.take(rows)).collect(), rows: rows.len() }
    }

    /// The primary keys held in a field; `None` if the batch has no such column or it is no key type.
    #[must_use]
    pub fn primary_keys(&self, field: FieldId) -> Option<PrimaryKeys> {
        self.column(field).and_then(|column| PrimaryKeys::from_column(&column.data))
    }

    /// Bytes held by the values of all columns.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.columns.iter().map(|column| column.data.memory_bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn append_rows_keeps_nulls() {
        let mut to = Column::new(FieldId(100), ColumnData::Int64(vec![1]));
        let from = Column {
            field: FieldId(100),
            data: ColumnData::Int64(vec![7, 0, 9]),
            validity: Some(Bitmap::from_bools([true, false, true])),
        };
        to.append_rows(from.view(), [2, 1]);
        assert_eq!(to.data, ColumnData::Int64(vec![1, 9, 0]));
        assert_eq!(to.validity, Some(Bitmap::from_bools([true, true, false])));
    }

    #[test]
    fn repeated_null_has_no_valid_row() {
        let column = Column::repeated(FieldId(101), DataType::VarChar, 0, &Value::Null, 3);
        assert_eq!(column.len(), 3);
        assert!(!column.validity.unwrap().any());
    }
}
