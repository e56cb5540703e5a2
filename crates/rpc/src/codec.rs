//! How does a message become bytes? MessagePack; structs as maps with named fields.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::{Buf, BufMut};
use redkite_service::Result as Answer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Sends `Out`, receives `In`.
pub(crate) struct MessagePack<Out, In>(PhantomData<fn(Out) -> In>);

/// The caller's end: requests are shared, so that one can be sent again.
pub(crate) type Calling<Q, A> = MessagePack<Arc<Q>, Answer<A>>;
/// The callee's end.
pub(crate) type Answering<Q, A> = MessagePack<Answer<A>, Q>;

/// A message whose size is known before it is written: that costs little, for bulk data is not looked at.
#[derive(Debug)]
pub(crate) struct Measured<T> {
    message: T,
    pub(crate) bytes: usize,
}

impl<T: Serialize> Measured<T> {
    /// Measures. A message that cannot be written has no size; that comes out when it is written.
    pub(crate) fn new(message: T) -> Self {
        let mut count = Count(0);
        let _ = write(&message, &mut count);
        Self { message, bytes: count.0 }
    }

    pub(crate) fn message(&self) -> &T {
        &self.message
    }
}

struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(message: &impl Serialize, to: impl io::Write) -> Result<(), rmp_serde::encode::Error> {
    message.serialize(&mut rmp_serde::Serializer::new(to).with_struct_map())
}

/// The bytes of a message.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = Vec::new();
    write(message, &mut bytes)?;
    Ok(bytes)
}

/// The message in these bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    rmp_serde::from_slice(bytes)
}

impl<Out, In> Default for MessagePack<Out, In> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Out, In> Codec for MessagePack<Out, In>
where
    Out: Serialize + Send + 'static,
    In: DeserializeOwned + Send + 'static,
{
    type Encode = Measured<Out>;
    type Decode = In;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<Out: Serialize, In> Encoder for MessagePack<Out, In> {
    type Item = Measured<Out>;
    type Error = Status;

    fn encode(&mut self, out: Measured<Out>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(out.bytes);
        write(&out.message, buffer.writer())
            .map_err(|error| Status::internal(format!("message cannot be written: {error}")))
    }
}

impl<Out, In: DeserializeOwned> Decoder for MessagePack<Out, In> {
    type Item = In;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<In>, Status> {
        // The buffer is contiguous: bulk data is copied out of it once.
        let message = rmp_serde::from_slice(buffer.chunk())
            .map_err(|error| Status::internal(format!("message of {} bytes: {error}", buffer.remaining())))?;
        buffer.advance(buffer.remaining());
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use redkite_service::{VectorQueries, WriteAck};
    use redkite_types::{Bitmap, Timestamp, VarColumn};

    use super::*;

    fn bytes_of(message: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(message, &mut bytes).unwrap();
        bytes
    }

    /// A byte string of numbers, as bulk data travels.
    #[derive(Serialize)]
    #[serde(transparent)]
    struct Words(#[serde(with = "redkite_types::bulk")] Vec<u64>);

    #[test]
    fn what_a_newer_peer_adds_is_passed_over() {
        #[derive(Serialize)]
        struct Newer {
            news: &'static str,
            timestamp: u64,
        }
        let bytes = bytes_of(&Newer { news: "?", timestamp: 7 });
        assert_eq!(rmp_serde::from_slice::<WriteAck>(&bytes).unwrap(), WriteAck { timestamp: Timestamp(7) });
    }

    #[test]
    fn the_size_is_known_before_and_bulk_data_is_as_large_as_it_is() {
        let queries = VectorQueries { dim: 100, values: vec![0.5; 100_000] };
        let size = Measured::new(&queries).bytes;
        assert_eq!(size, bytes_of(&queries).len());
        assert!(size < 400_050, "{size}");
    }

    #[test]
    fn broken_columns_are_refused() {
        #[derive(Serialize)]
        struct Texts {
            offsets: Words,
            bytes: Words,
        }
        #[derive(Serialize)]
        struct Bits {
            words: Words,
            len: usize,
        }
        let texts =
            |offsets: &[u64]| bytes_of(&Texts { offsets: Words(offsets.to_vec()), bytes: Words(vec![0]) });
        assert_eq!(rmp_serde::from_slice::<VarColumn>(&texts(&[0, 3, 8])).unwrap().len(), 2);
        for broken in [&[][..], &[0], &[0, 9], &[1, 8], &[0, 9, 8]] {
            assert!(rmp_serde::from_slice::<VarColumn>(&texts(broken)).is_err(), "{broken:?}");
        }
        let bits = |words: Vec<u64>, len| bytes_of(&Bits { words: Words(words), len });
        assert_eq!(rmp_serde::from_slice::<Bitmap>(&bits(vec![u64::MAX], 3)).unwrap().count_ones(), 3);
        assert!(rmp_serde::from_slice::<Bitmap>(&bits(vec![1, 1], 3)).is_err());
        assert!(rmp_serde::from_slice::<Bitmap>(&bits(Vec::new(), usize::MAX)).is_err());
    }
}
