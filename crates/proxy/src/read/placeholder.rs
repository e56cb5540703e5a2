//! What are the query vectors?

use bytes::Bytes;
use half::{bf16, f16};
use prost::Message;
use redkite_proto::common::{PlaceholderGroup, PlaceholderType};
use redkite_service::{Error, VectorQueries};
use redkite_types::{DataType, FieldSchema};

use crate::refuse;

/// The query vectors of a search on a field, widened to single precision. `nq` is the number of
/// vectors that the client announces, 0 if it does not; `most` the most allowed.
pub(crate) fn queries(
    field: &FieldSchema,
    group: &Bytes,
    nq: i64,
    most: u64,
) -> Result<VectorQueries, Error> {
    let group = PlaceholderGroup::decode(group.clone())
        .map_err(|source| refuse::invalid(format_args!("failed to unmarshal placeholder group: {source}")))?;
    let sent: usize = group.placeholders.iter().map(|placeholder| placeholder.values.len()).sum();
    let announced = if nq == 0 { i64::try_from(sent).unwrap_or(i64::MAX) } else { nq };
    check_nq(announced, most)?;
    let placeholder = match group.placeholders.as_slice() {
        [placeholder] => placeholder,
        [] => return Err(refuse::invalid("search has no placeholder")),
        _ => return Err(refuse::unsupported("search with several placeholders")),
    };
    if i64::try_from(placeholder.values.len()) != Ok(announced) {
        let what = format!("nq [{announced}] is not the number of query vectors");
        return Err(refuse::mismatch(announced, placeholder.values.len(), what));
    }
    let sent_type = placeholder.r#type();
    let rounding = Rounding::of(sent_type, field.data_type).ok_or_else(|| wrong_type(field, sent_type))?;
    let dim = field.dim as usize;
    let mut values = Vec::with_capacity(placeholder.values.len() * dim);
    for vector in &placeholder.values {
        if vector.len() != rounding.bytes() * dim {
            return Err(refuse::invalid(format_args!(
                "vector dimension mismatch, expected vector size(byte) {}, actual {}.",
                rounding.bytes() * dim,
                vector.len(),
            )));
        }
        rounding.widen(vector, &mut values);
    }
    Ok(VectorQueries { dim, values })
}

fn check_nq(nq: i64, most: u64) -> Result<(), Error> {
    if u64::try_from(nq).is_ok_and(|nq| (1..=most).contains(&nq)) {
        return Ok(());
    }
    let why = refuse::invalid(format_args!(
        "nq (number of search vector per search request) should be in range [1, {most}], but got {nq}"
    ));
    Err(refuse::invalid(format_args!("nq [{nq}] is invalid, {why}")))
}

fn wrong_type(field: &FieldSchema, sent: PlaceholderType) -> Error {
    let wanted = match field.data_type {
        DataType::Float16Vector => "VECTOR_FLOAT16",
        DataType::BFloat16Vector => "VECTOR_BFLOAT16",
        _ => "VECTOR_FLOAT",
    };
    refuse::invalid(format_args!(
        "vector type must be the same, field {} - type {wanted}, search info type {}",
        field.name,
        sent.as_str_name(),
    ))
}

/// How sent elements become those of the field, and these single precision.
#[derive(Clone, Copy)]
enum Rounding {
    Single,
    Half,
    Brain,
    SingleToHalf,
    SingleToBrain,
}

impl Rounding {
    fn of(sent: PlaceholderType, field: DataType) -> Option<Self> {
        match (sent, field) {
            (PlaceholderType::FloatVector, DataType::FloatVector) => Some(Self::Single),
            (PlaceholderType::Float16Vector, DataType::Float16Vector) => Some(Self::Half),
            (PlaceholderType::BFloat16Vector, DataType::BFloat16Vector) => Some(Self::Brain),
            (PlaceholderType::FloatVector, DataType::Float16Vector) => Some(Self::SingleToHalf),
            (PlaceholderType::FloatVector, DataType::BFloat16Vector) => Some(Self::SingleToBrain),
            _ => None,
        }
    }

    /// Bytes of one sent element.
    fn bytes(self) -> usize {
        match self {
            Self::Half | Self::Brain => 2,
            Self::Single | Self::SingleToHalf | Self::SingleToBrain => 4,
        }
    }

    fn widen(self, vector: &[u8], to: &mut Vec<f32>) {
        let singles = vector.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let pairs = vector.chunks_exact(2).map(|b| [b[0], b[1]]);
        match self {
            Self::Single => to.extend(singles),
            Self::Half => to.extend(pairs.map(|pair| f16::from_le_bytes(pair).to_f32())),
            Self::Brain => to.extend(pairs.map(|pair| bf16::from_le_bytes(pair).to_f32())),
            Self::SingleToHalf => to.extend(singles.map(|value| f16::from_f32(value).to_f32())),
            Self::SingleToBrain => to.extend(singles.map(|value| bf16::from_f32(value).to_f32())),
        }
    }
}

#[cfg(test)]
mod tests {
    use redkite_proto::common::PlaceholderValue;

    use super::*;
    use crate::testing;

    fn field(data_type: DataType) -> FieldSchema {
        FieldSchema { dim: 2, ..testing::field("v", data_type) }
    }

    fn group(sent: PlaceholderType, values: &[Vec<u8>]) -> Bytes {
        let values = values.iter().cloned().map(Bytes::from).collect();
        let placeholder = PlaceholderValue { r#type: sent.into(), values, ..PlaceholderValue::default() };
        PlaceholderGroup { placeholders: vec![placeholder] }.encode_to_vec().into()
    }

    fn singles(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn vectors_are_widened_and_rounded_to_the_field() {
        let two = group(PlaceholderType::FloatVector, &[singles(&[1.0, 0.1]), singles(&[2.0, 3.0])]);
        let read = queries(&field(DataType::FloatVector), &two, 2, 16).unwrap();
        assert_eq!((read.nq(), read.query(0)), (2, [1.0, 0.1].as_slice()));
        let read = queries(&field(DataType::Float16Vector), &two, 0, 16).unwrap();
        assert_eq!(read.query(0), [1.0, f16::from_f32(0.1).to_f32()]);
        let halves = group(PlaceholderType::BFloat16Vector, &[vec![0x80, 0x3f, 0, 0]]);
        let read = queries(&field(DataType::BFloat16Vector), &halves, 1, 16).unwrap();
        assert_eq!(read.query(0), [1.0, 0.0]);
    }

    #[test]
    fn refusals_are_in_milvus_words() {
        let refusal = |group: &Bytes, nq, most| {
            queries(&field(DataType::FloatVector), group, nq, most).unwrap_err().to_string()
        };
        let one = group(PlaceholderType::FloatVector, &[singles(&[1.0])]);
        assert!(
            refusal(&one, 1, 16)
                .starts_with("vector dimension mismatch, expected vector size(byte) 8, actual 4.")
        );
        let halves = group(PlaceholderType::Float16Vector, &[vec![0; 4]]);
        assert!(refusal(&halves, 1, 16).starts_with("vector type must be the same, field v"));
        assert!(refusal(&one, 2, 16).starts_with("nq [2] is not the number of query vectors"));
        assert!(refusal(&one, 17, 16).starts_with(
            "nq [17] is invalid, nq (number of search vector per search request) should be in range [1, 16], but got 17"
        ));
        let placeholder = PlaceholderGroup::decode(one.clone()).unwrap().placeholders.remove(0);
        let two = PlaceholderGroup { placeholders: vec![placeholder.clone(), placeholder] };
        assert!(
            refusal(&two.encode_to_vec().into(), 1, 16)
                .starts_with("operation not supported: search with several placeholders")
        );
        assert!(refusal(&Bytes::from_static(&[0xff]), 1, 16).starts_with("failed to unmarshal"));
        assert!(refusal(&Bytes::new(), 0, 16).starts_with("nq [0] is invalid"));
    }
}
