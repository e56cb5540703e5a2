//! May a field look like this?

use redkite_proto::common::KeyValuePair;
use redkite_proto::schema::value_field::Data;
use redkite_proto::schema::{DataType as WireType, FieldSchema};
use redkite_service::Error;
use redkite_types::{DataType, limits};

use super::property::{WARMUP, boolean, is_warmup, warmup_policy};
use super::{name, property};
use crate::convert::from_wire::not_finite;
use crate::convert::schema::param;
use crate::refuse;

pub(crate) const DIM: &str = "dim";
pub(crate) const MAX_LENGTH: &str = "max_length";
const MAX_CAPACITY: &str = "max_capacity";
const DESCRIPTION: &str = "field.description";
const SKIP_LOAD: &str = "field.skipLoad";
const MAX_ARRAY_CAPACITY: i64 = 4096;

/// The wire type of a field; unknown numbers are no type.
pub(crate) fn wire_type(field: &FieldSchema) -> WireType {
    WireType::try_from(field.data_type).unwrap_or(WireType::None)
}

/// Whether values are vectors, of types that are stored or not.
pub(crate) fn is_vector(data_type: WireType) -> bool {
    matches!(
        data_type,
        WireType::BinaryVector
            | WireType::FloatVector
            | WireType::Float16Vector
            | WireType::BFloat16Vector
            | WireType::SparseFloatVector
            | WireType::Int8Vector
    )
}

/// The type under which values are stored.
pub(crate) fn stored_type(field: &FieldSchema) -> Result<DataType, Error> {
    DataType::from_wire(field.data_type).ok_or_else(|| match wire_type(field) {
        WireType::String => {
            refuse::invalid("string data type not supported yet, please use VarChar type instead")
        }
        WireType::None => refuse::invalid("data type None is not valid"),
        other => refuse::unsupported(format_args!(
            "data type {} of field {} is not supported yet",
            other.as_str_name(),
            field.name
        )),
    })
}

/// Checks name and parameters of one field.
pub(crate) fn check(field: &FieldSchema, collection: &str) -> Result<(), Error> {
    name::field(&field.name)?;
    refuse_unsupported(field)?;
    let data_type = wire_type(field);
    if is_vector(data_type) {
        dimension(field, data_type)?;
    }
    let element = WireType::try_from(field.element_type).unwrap_or(WireType::None);
    let is_array = data_type == WireType::Array;
    if data_type == WireType::VarChar || (is_array && element == WireType::VarChar) {
        max_length(field, collection)?;
    }
    if is_array {
        element_type(element)?;
        max_capacity(field, collection)?;
    }
    if let Some(policy) = param(&field.type_params, WARMUP)
        && let Err(flaw) = warmup_policy(policy)
    {
        return Err(refuse::invalid(format_args!("invalid warmup policy for field {}: {flaw}", field.name)));
    }
    duplicate_params(&field.type_params, "type")?;
    duplicate_params(&field.index_params, "index")
}

/// What would be forgotten is refused.
fn refuse_unsupported(field: &FieldSchema) -> Result<(), Error> {
    let what = if field.is_function_output {
        "output of functions"
    } else if field.element_nullable {
        "nullable elements"
    } else if field.type_schema.is_some() {
        "nested types"
    } else {
        return Ok(());
    };
    Err(refuse::unsupported(format_args!("field {}: {what}", field.name)))
}

/// Checks the element type of an array field.
pub(crate) fn element_type(element: WireType) -> Result<(), Error> {
    match element {
        WireType::Bool
        | WireType::Int8
        | WireType::Int16
        | WireType::Int32
        | WireType::Int64
        | WireType::Float
        | WireType::Double
        | WireType::VarChar => Ok(()),
        WireType::String => {
            Err(refuse::invalid("string data type not supported yet, please use VarChar type instead"))
        }
        WireType::None => Err(refuse::invalid("element data type None is not valid")),
        other => Err(refuse::invalid(format_args!("element type {} is not supported", other.as_str_name()))),
    }
}

fn dimension(field: &FieldSchema, data_type: WireType) -> Result<(), Error> {
    let name = &field.name;
    let given = param(&field.type_params, DIM);
    if data_type == WireType::SparseFloatVector {
        return match given {
            Some(_) => Err(refuse::invalid(format_args!(
                "dim should not be specified for sparse vector field {name}({})",
                field.field_id
            ))),
            None => Ok(()),
        };
    }
    let given = given.ok_or_else(|| {
        refuse::invalid(format_args!(
            "dimension is not defined in field type params of field {name}, check type param `dim` for \
             vector field"
        ))
    })?;
    let dim: i64 = given
        .parse()
        .map_err(|_| refuse::invalid(format_args!("strconv.ParseInt: parsing {given:?}: invalid syntax")))?;
    let limit = i64::from(limits::MAX_DIMENSION);
    if dim < i64::from(limits::MIN_DIMENSION) {
        return Err(refuse::invalid(format_args!(
            "invalid dimension: {dim}. should be in range 2 ~ {limit}"
        )));
    }
    if data_type == WireType::BinaryVector {
        if dim % 8 != 0 {
            return Err(refuse::invalid(format_args!(
                "invalid dimension: {dim} of field {name}. binary vector dimension should be multiple of 8. "
            )));
        }
        if dim > 8 * limit {
            return Err(refuse::invalid(format_args!(
                "invalid dimension: {dim} of field {name}. binary vector dimension should be in range 2 ~ {}",
                8 * limit
            )));
        }
    } else if dim > limit {
        return Err(refuse::invalid(format_args!(
            "invalid dimension: {dim} of field {name}. float vector dimension should be in range 2 ~ {limit}"
        )));
    }
    Ok(())
}

fn max_length(field: &FieldSchema, collection: &str) -> Result<(), Error> {
    let given = param(&field.type_params, MAX_LENGTH).ok_or_else(|| {
        refuse::missing(format_args!(
            "type param(max_length) should be specified for the field({}) of collection {collection}",
            field.name
        ))
    })?;
    let length: i64 = given
        .parse()
        .map_err(|_| refuse::invalid(format_args!("strconv.ParseInt: parsing {given:?}: invalid syntax")))?;
    let limit = limits::MAX_VARCHAR_BYTES;
    if !(1..=i64::from(limit)).contains(&length) {
        return Err(refuse::invalid(format_args!(
            "the maximum length specified for the field({}) should be in (0, {limit}], but got {length} instead",
            field.name
        )));
    }
    Ok(())
}

fn max_capacity(field: &FieldSchema, collection: &str) -> Result<(), Error> {
    let given = param(&field.type_params, MAX_CAPACITY).ok_or_else(|| {
        refuse::missing(format_args!(
            "type param(max_capacity) should be specified for array field {} of collection {collection}",
            field.name
        ))
    })?;
    let capacity: i64 = given.parse().map_err(|_| {
        refuse::invalid(format_args!("the value for max_capacity of field {} must be an integer", field.name))
    })?;
    if !(1..=MAX_ARRAY_CAPACITY).contains(&capacity) {
        return Err(refuse::invalid(format_args!(
            "the maximum capacity specified for a Array should be in (0, {MAX_ARRAY_CAPACITY}]"
        )));
    }
    Ok(())
}

fn duplicate_params(params: &[KeyValuePair], kind: &str) -> Result<(), Error> {
    match property::first_repeated(params) {
        None => Ok(()),
        Some(key) => Err(refuse::invalid(format_args!("duplicated {kind} param key \"{key}\""))),
    }
}

/// Checks nullability and default value.
pub(crate) fn default_value(field: &FieldSchema) -> Result<(), Error> {
    let data_type = wire_type(field);
    let refused = |what: &str| {
        Err(refuse::invalid(format_args!("{what}, type:{}, name:{}", data_type.as_str_name(), field.name)))
    };
    if field.nullable && field.is_primary_key {
        return refused("primary field not support null");
    }
    let Some(data) = field.default_value.as_ref().and_then(|value| value.data.as_ref()) else {
        return Ok(());
    };
    if field.is_primary_key {
        return refused("primary field not support default_value");
    }
    if data_type == WireType::Array || data_type == WireType::Json || is_vector(data_type) {
        return refused("type not support default_value");
    }
    let (fits, given) = match data {
        Data::BoolData(_) => (data_type == WireType::Bool, "DataType_Bool"),
        Data::IntData(value) => {
            int_in_range(data_type, *value)?;
            let fits = matches!(data_type, WireType::Int8 | WireType::Int16 | WireType::Int32);
            (fits, "DataType_Int")
        }
        Data::LongData(_) => (data_type == WireType::Int64, "DataType_Int64"),
        Data::FloatData(value) => {
            finite(f64::from(*value))?;
            (data_type == WireType::Float, "DataType_Float")
        }
        Data::DoubleData(value) => {
            finite(*value)?;
            (data_type == WireType::Double, "DataType_Double")
        }
        Data::StringData(text) => {
            default_length(field, data_type, text)?;
            (data_type == WireType::VarChar, "DataType_VarChar")
        }
        Data::BytesData(_) => (false, "DataType_SJON"),
        Data::TimestamptzData(_) => (false, "DataType_Timestamptz"),
        Data::DateData(_) => (false, "DataType_Date"),
        Data::TimeData(_) => (false, "DataType_Time"),
    };
    if fits {
        return Ok(());
    }
    Err(refuse::invalid(format_args!(
        "type ({}) of field ({}) is not equal to the type({given}) of default_value",
        data_type.as_str_name(),
        field.name
    )))
}

/// What no row may hold is no default either. Milvus looks at rows only.
fn finite(value: f64) -> Result<(), Error> {
    if value.is_finite() { Ok(()) } else { Err(not_finite(value)) }
}

fn int_in_range(data_type: WireType, value: i32) -> Result<(), Error> {
    let (lower, upper) = match data_type {
        WireType::Int8 => (i32::from(i8::MIN), i32::from(i8::MAX)),
        WireType::Int16 => (i32::from(i16::MIN), i32::from(i16::MAX)),
        _ => return Ok(()),
    };
    if (lower..=upper).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "default value out of range: invalid parameter[{lower} <= value <= {upper}][value={value}]"
    )))
}

fn default_length(field: &FieldSchema, data_type: WireType, text: &str) -> Result<(), Error> {
    let limit = param(&field.type_params, MAX_LENGTH).and_then(|limit| limit.parse::<usize>().ok());
    match limit {
        Some(limit) if data_type == WireType::VarChar && text.len() > limit => Err(refuse::mismatch(
            "valid length string",
            "string length exceeds max length",
            format_args!("the length ({}) of string exceeds max length ({limit})", text.len()),
        )),
        _ => Ok(()),
    }
}

/// Whether the field is loaded when its collection is.
pub(crate) fn is_loaded(field: &FieldSchema) -> bool {
    param(&field.type_params, SKIP_LOAD).and_then(boolean) != Some(true)
}

/// A field that is about to be altered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Altered<'a> {
    pub(crate) collection: &'a str,
    pub(crate) loaded: bool,
    pub(crate) field: Option<&'a redkite_types::FieldSchema>,
}

impl Altered<'_> {
    fn loaded_already(self, reason: &str) -> Result<(), Error> {
        if !self.loaded {
            return Ok(());
        }
        Err(Error::CollectionLoaded { collection: self.collection.to_owned(), reason: reason.to_owned() })
    }

    /// Checks one setting.
    pub(crate) fn check_set(self, key: &str, value: &str) -> Result<(), Error> {
        match key {
            property::MMAP => {
                self.loaded_already("can not alter collection field properties if collection loaded")
            }
            WARMUP => {
                self.loaded_already("can not alter warmup if collection loaded")?;
                warmup_policy(value)
            }
            MAX_LENGTH => self.check_max_length(value),
            MAX_CAPACITY => Err(refuse::invalid(" can not modify the maxcapacity for non-array types")),
            DESCRIPTION => Ok(()),
            key if is_warmup(key) => Ok(()),
            key => {
                Err(refuse::invalid(format_args!("{key} does not allow update in collection field param")))
            }
        }
    }

    fn check_max_length(self, value: &str) -> Result<(), Error> {
        if self.field.is_none_or(|field| field.data_type != DataType::VarChar) {
            return Err(refuse::invalid(" can not modify the maxlength for non-string types"));
        }
        let length: i64 = value.parse().map_err(|_| {
            refuse::invalid(format_args!("{MAX_LENGTH} should be an integer, but got string"))
        })?;
        let limit = limits::MAX_VARCHAR_BYTES;
        if length > i64::from(limit) {
            return Err(refuse::invalid(format_args!("{value} exceeds the maximum allowed value {limit}")));
        }
        if length < 1 {
            return Err(refuse::invalid(format_args!(
                "the maximum length specified should be in (0, {limit}], but got {length} instead"
            )));
        }
        Ok(())
    }

    /// Checks one key to delete.
    pub(crate) fn check_delete(self, key: &str) -> Result<(), Error> {
        if key != property::MMAP && !is_warmup(key) {
            return Err(refuse::invalid(format_args!(
                "{key} is not allowed to drop in collection field param"
            )));
        }
        if key == property::MMAP || key == WARMUP {
            return self.loaded_already("can not drop collection field properties if collection loaded");
        }
        Ok(())
    }
}
