//! How are long arrays of floats decoded fast?
//!
//! The generated decoder reads a packed array value by value, an order of magnitude slower than
//! copying it. These messages are byte-compatible replacements that copy the whole run at once.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

const DATA_TAG: u32 = 1;

macro_rules! packed_array {
    ($(#[$doc:meta])* $name:ident, $value:ty, $codec:ident, $fixed:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            /// The values.
            pub data: Vec<$value>,
        }

        impl $name {
            const WIDTH: usize = size_of::<$value>();

            fn merge_packed(&mut self, run: &Bytes, ctx: DecodeContext) -> Result<(), DecodeError> {
                let (values, mut rest) = run.split_at(run.len() - run.len() % Self::WIDTH);
                self.data.extend(values.chunks_exact(Self::WIDTH).map(|bytes| {
                    <$value>::from_le_bytes(bytes.try_into().expect("a chunk of this width"))
                }));
                if rest.is_empty() {
                    return Ok(());
                }
                // Half a value at the end: let the ordinary decoder say what is wrong.
                encoding::$codec::merge(WireType::$fixed, &mut <$value>::default(), &mut rest, ctx)
            }
        }

        impl From<Vec<$value>> for $name {
            fn from(data: Vec<$value>) -> Self {
                Self { data }
            }
        }

        impl Message for $name {
            fn encode_raw(&self, buf: &mut impl BufMut) {
                if cfg!(target_endian = "little") && !self.data.is_empty() {
                    let bytes: &[u8] = bytemuck::cast_slice(&self.data);
                    encoding::encode_key(DATA_TAG, WireType::LengthDelimited, buf);
                    encoding::encode_varint(bytes.len() as u64, buf);
                    buf.put_slice(bytes);
                } else {
                    encoding::$codec::encode_packed(DATA_TAG, &self.data, buf);
                }
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: WireType,
                buf: &mut impl Buf,
                ctx: DecodeContext,
            ) -> Result<(), DecodeError> {
                match (tag, wire_type) {
                    (DATA_TAG, WireType::LengthDelimited) => {
                        // Shares the received buffer where it can; checks the length before it allocates.
                        let mut run = Bytes::new();
                        encoding::bytes::merge(wire_type, &mut run, buf, ctx.clone())?;
                        self.merge_packed(&run, ctx)
                    }
                    (DATA_TAG, _) => encoding::$codec::merge_repeated(wire_type, &mut self.data, buf, ctx),
                    _ => encoding::skip_field(wire_type, tag, buf, ctx),
                }
                .map_err(|mut error| {
                    error.push(stringify!($name), "data");
                    error
                })
            }

            fn encoded_len(&self) -> usize {
                encoding::$codec::encoded_len_packed(DATA_TAG, &self.data)
            }

            fn clear(&mut self) {
                self.data.clear();
            }
        }
    };
}

packed_array!(
    /// `milvus.proto.schema.FloatArray`
    FloatArray, f32, float, ThirtyTwoBit
);
packed_array!(
    /// `milvus.proto.schema.DoubleArray`
    DoubleArray, f64, double, SixtyFourBit
);

#[cfg(test)]
mod tests {
    use super::*;

    /// What the ordinary generator makes of the same message.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Reference {
        #[prost(float, repeated, tag = "1")]
        data: Vec<f32>,
    }

    fn values() -> Vec<f32> {
        (0..1000_u16).map(|i| f32::from(i) * 0.25 - 3.0).collect()
    }

    #[test]
    fn packed_bytes_equal_the_generated_ones() {
        for data in [Vec::new(), vec![1.5], values()] {
            let ours = FloatArray::from(data.clone());
            let theirs = Reference { data };
            assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec());
            assert_eq!(ours.encoded_len(), theirs.encoded_len());
            assert_eq!(FloatArray::decode(theirs.encode_to_vec().as_slice()).unwrap(), ours);
        }
    }

    #[test]
    fn unpacked_values_are_read() {
        let mut wire = Vec::new();
        encoding::float::encode_repeated(DATA_TAG, &values(), &mut wire);
        assert_eq!(FloatArray::decode(wire.as_slice()).unwrap().data, values());
    }

    #[test]
    fn several_runs_and_unknown_fields_are_joined() {
        let mut wire = Reference { data: vec![1.0, 2.0] }.encode_to_vec();
        encoding::uint64::encode(9, &7, &mut wire);
        wire.extend(Reference { data: vec![3.0] }.encode_to_vec());
        assert_eq!(FloatArray::decode(wire.as_slice()).unwrap().data, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn values_that_straddle_buffers_are_read() {
        let wire = Reference { data: values() }.encode_to_vec();
        for cut in [1, 3, 4, 1001] {
            let (head, tail) = wire.split_at(cut);
            assert_eq!(FloatArray::decode(head.chain(tail)).unwrap().data, values());
        }
    }

    #[test]
    fn truncated_and_ragged_runs_are_errors() {
        let wire = Reference { data: values() }.encode_to_vec();
        assert!(FloatArray::decode(&wire[..wire.len() - 1]).is_err());
        assert!(FloatArray::decode([0x0a, 3, 0, 0, 0].as_slice()).is_err());
        assert!(FloatArray::decode([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f].as_slice()).is_err());
        assert!(FloatArray::decode([0x08, 1].as_slice()).is_err());
    }

    #[test]
    fn doubles_round_trip() {
        let array = DoubleArray::from(vec![0.5, -1.0e300]);
        assert_eq!(DoubleArray::decode(array.encode_to_vec().as_slice()).unwrap(), array);
    }
}
