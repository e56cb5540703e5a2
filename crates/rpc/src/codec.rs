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
