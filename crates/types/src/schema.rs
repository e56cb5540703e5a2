//! Collections as users declare them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{FieldId, Value};

/// The type of a field; the discriminants are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum DataType {
    Bool = 1,
    Int8 = 2,
    Int16 = 3,
    Int32 = 4,
    Int64 = 5,
    Float = 10,
    Double = 11,
    VarChar = 21,
    Json = 23,
    FloatVector = 101,
    Float16Vector = 102,
    BFloat16Vector = 103,
}

impl DataType {
    /// The type with this wire number, if Redkite stores it.
    #[must_use]
    pub fn from_wire(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Bool,
            2 => Self::Int8,
            3 => Self::Int16,
            4 => Self::Int32,
            5 => Self::Int64,
            10 => Self::Float,
            11 => Self::Double,
            21 => Self::VarChar,
            23 => Self::Json,
            101 => Self::FloatVector,
            102 => Self::Float16Vector,
            103 => Self::BFloat16Vector,
            _ => return None,
        })
    }

    /// The number on the wire.
    #[must_use]
    pub fn wire(self) -> i32 {
        self as i32
    }

    /// Whether values are vectors.
    #[must_use]
    pub fn is_vector(self) -> bool {
        matches!(self, Self::FloatVector | Self::Float16Vector | Self::BFloat16Vector)
    }

    /// Whether values are integers of any width.
    #[must_use]
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64)
    }

    /// Whether values are Float or Double.
    #[must_use]
    pub fn is_floating(self) -> bool {
        matches!(self, Self::Float | Self::Double)
    }

    /// Milvus's name, as its messages spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "Bool",
            Self::Int8 => "Int8",
            Self::Int16 => "Int16",
            Self::Int32 => "Int32",
            Self::Int64 => "Int64",
            Self::Float => "Float",
            Self::Double => "Double",
            Self::VarChar => "VarChar",
            Self::Json => "JSON",
            Self::FloatVector => "FloatVector",
            Self::Float16Vector => "Float16Vector",
            Self::BFloat16Vector => "BFloat16Vector",
        }
    }

    /// Bytes of one value; `dim` matters for vectors only. `None` where the size varies.
    #[must_use]
    pub fn fixed_bytes(self, dim: usize) -> Option<usize> {
        Some(match self {
            Self::Bool | Self::Int8 => 1,
            Self::Int16 => 2,
            Self::Int32 | Self::Float => 4,
            Self::Int64 | Self::Double => 8,
            Self::VarChar | Self::Json => return None,
            Self::FloatVector => 4 * dim,
            Self::Float16Vector | Self::BFloat16Vector => 2 * dim,
        })
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Name of the hidden JSON field that holds undeclared keys.
pub const DYNAMIC_FIELD_NAME: &str = "$meta";

/// One field of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldSchema {
    /// Identity within the collection; survives renames, never reused.
    pub id: FieldId,
    /// Unique within the collection.
    pub name: String,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Type of the values.
    pub data_type: DataType,
    /// Exactly one field per collection is the primary key.
    #[serde(default)]
    pub primary_key: bool,
    /// The server makes the values (primary key only).
    #[serde(default)]
    pub auto_id: bool,
    /// Values may be null.
    #[serde(default)]
    pub nullable: bool,
    /// Used where a row gives no value.
    #[serde(default)]
    pub default_value: Option<Value>,
    /// This is the `$meta` field.
    #[serde(default)]
    pub dynamic: bool,
    /// Rows go to a partition by the hash of this field (at most one field).
    #[serde(default)]
    pub partition_key: bool,
    /// Compaction may order rows by this field (at most one field).
    #[serde(default)]
    pub clustering_key: bool,
    /// Dimension of a vector field; 0 for others.
    #[serde(default)]
    pub dim: u32,
    /// Longest VarChar value in bytes; 0 for others.
    #[serde(default)]
    pub max_length: u32,
    /// Type parameters as the user sent them, echoed by describe.
    #[serde(default)]
    pub type_params: Vec<(String, String)>,
}

/// A collection's fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectionSchema {
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// User fields in declaration order, then `$meta` when dynamic fields are on.
    pub fields: Vec<FieldSchema>,
    /// Undeclared keys are accepted and kept in `$meta`.
    #[serde(default)]
    pub enable_dynamic_field: bool,
    /// Grows by one with every change of the fields.
    #[serde(default)]
    pub version: u32,
}

impl CollectionSchema {
    /// The primary key field.
    ///
    /// # Panics
    /// If the schema was not validated: every stored schema has exactly one primary key.
    #[must_use]
    pub fn primary_key(&self) -> &FieldSchema {
        self.fields.iter().find(|field| field.primary_key).expect("validated schema has a primary key")
    }

    /// The field of this name, `$meta` included.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldSchema> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The field with this id.
    #[must_use]
    pub fn field_by_id(&self, id: FieldId) -> Option<&FieldSchema> {
        self.fields.iter().find(|field| field.id == id)
    }

    /// The partition key field.
    #[must_use]
    pub fn partition_key(&self) -> Option<&FieldSchema> {
        self.fields.iter().find(|field| field.partition_key)
    }

    /// The `$meta` field.
    #[must_use]
    pub fn dynamic_field(&self) -> Option<&FieldSchema> {
        self.fields.iter().find(|field| field.dynamic)
    }

    /// The vector fields in declaration order.
    pub fn vector_fields(&self) -> impl Iterator<Item = &FieldSchema> {
        self.fields.iter().filter(|field| field.data_type.is_vector())
    }
}
