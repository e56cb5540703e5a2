//! How much may stand in for values that were not sent?
//!
//! Keys, defaults and placeholders of nulls cost a client nothing to ask for: a message of a few bytes
//! that announces four thousand million rows must not cost the server their memory.

use redkite_proto::schema::FieldData;
use redkite_proto::schema::field_data::Field;
use redkite_service::Error;
use redkite_types::{DataType, FieldSchema, Value};

use crate::convert::expand::missing_value;

/// Most bytes that one write may be completed by: more than any honest batch of 64 MiB needs.
const MOST: u64 = 256 << 20;
/// Bytes of the offset that every variable-length value has.
const OFFSET: u64 = 8;

/// Bytes that a write is completed by, so far.
#[derive(Debug, Default)]
pub(super) struct Filled(u64);

impl Filled {
    /// Counts what stands for a field's missing value in so many rows, before it is made.
    pub(super) fn add(&mut self, field: &FieldSchema, rows: usize) -> Result<(), Error> {
        let bytes = (rows as u64).saturating_mul(bytes_per_row(field));
        self.0 = self.0.saturating_add(bytes);
        if self.0 <= MOST {
            return Ok(());
        }
        let reason = "parameter too large[message=insert request size exceeds maxInsertSize]";
        Err(Error::ParameterTooLarge { reason: reason.to_owned() })
    }
}

fn bytes_per_row(field: &FieldSchema) -> u64 {
    let fixed = field.data_type.fixed_bytes(field.dim as usize);
    match (fixed, missing_value(field)) {
        (Some(fixed), _) => fixed as u64,
        (None, Value::VarChar(text)) => OFFSET + text.len() as u64,
        (None, Value::Json(json)) => OFFSET + json.len() as u64,
        // `null` or `{}`, or a key made of digits.
        (None, _) if field.data_type == DataType::VarChar && field.primary_key => OFFSET + 20,
        (None, _) => OFFSET + 4,
    }
}

/// The rows of a sent column that have no value.
pub(super) fn gaps(sent: &FieldData) -> usize {
    let own = match &sent.field {
        Some(Field::Scalars(scalars)) => scalars.valid_data.as_slice(),
        Some(Field::Vectors(vectors)) => vectors.valid_data.as_slice(),
        Some(Field::StructArrays(_)) | None => &[],
    };
    let flags = if own.is_empty() { sent.valid_data.as_slice() } else { own };
    flags.iter().filter(|flag| !**flag).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn what_was_not_sent_is_bounded() {
        let long = Some(Value::VarChar("x".repeat(65_535)));
        let text = FieldSchema { default_value: long, ..testing::field("text", DataType::VarChar) };
        let mut filled = Filled::default();
        filled.add(&text, 4000).unwrap();
        let refused = filled.add(&text, 1000).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "parameter too large[message=insert request size exceeds maxInsertSize]"
        );
        Filled::default().add(&testing::field("id", DataType::Int64), 1_000_000).unwrap();
        Filled::default().add(&testing::field("id", DataType::Int64), u32::MAX as usize).unwrap_err();
    }
}
