//! What is a client told whose message, or whose answer, is too large?
//!
//! tonic says `OUT_OF_RANGE`, which pymilvus tries again for minutes. grpc-go, which clients of Milvus
//! know, says `RESOURCE_EXHAUSTED`: it is of no use to try again. Nothing else here says `OUT_OF_RANGE`:
//! Milvus's own errors travel inside answers.

use http_body_util::BodyExt;
use http_body_util::combinators::MapFrame;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, HeaderValue, Response};
use tonic::{Code, Status};

/// A body whose trailers are looked at.
type Told<F> = MapFrame<Body, F>;

/// Tells clients about messages that are too large in the way they know.
pub(crate) fn tell(response: Response<Body>) -> Response<Told<impl FnMut(Frame) -> Frame + Send + 'static>> {
    let (mut head, body) = response.into_parts();
    rewrite(&mut head.headers);
    let body = body.map_frame(|mut frame: Frame| {
        if let Some(trailers) = frame.trailers_mut() {
            rewrite(trailers);
        }
        frame
    });
    Response::from_parts(head, body)
}

/// A piece of a body.
type Frame = hyper::body::Frame<Bytes>;

/// The status may come with the headers, when there is nothing else to say, or with the trailers.
fn rewrite(headers: &mut HeaderMap) {
    let Some(status) = Status::from_header_map(headers).filter(|status| status.code() == Code::OutOfRange)
    else {
        return;
    };
    headers.insert("grpc-status", HeaderValue::from(Code::ResourceExhausted as i32));
    if let Some(message) = message(status.message()) {
        headers.insert("grpc-message", message);
    }
}

/// grpc-go's words for tonic's.
fn message(text: &str) -> Option<HeaderValue> {
    let verb = if text.contains("decoded") { "received message" } else { "trying to send message" };
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit()).filter(|word| !word.is_empty());
    let (found, limit) = (numbers.next()?, numbers.next()?);
    HeaderValue::from_str(&format!("grpc: {verb} larger than max ({found} vs. {limit})")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: &Status) -> (String, String) {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        rewrite(&mut headers);
        let status = Status::from_header_map(&headers).unwrap();
        (format!("{:?}", status.code()), status.message().to_owned())
    }

    #[test]
    fn messages_that_are_too_large_exhaust_resources() {
        let text = "Error, decoded message length too large: found 70 bytes, the limit is: 64 bytes";
        let (code, message) = told(&Status::out_of_range(text));
        assert_eq!(code, "ResourceExhausted");
        assert_eq!(message, "grpc: received message larger than max (70 vs. 64)");
        let text = "Error, encoded message length too large: found 300 bytes, the limit is: 256 bytes";
        assert_eq!(
            told(&Status::out_of_range(text)).1,
            "grpc: trying to send message larger than max (300 vs. 256)"
        );
        assert_eq!(told(&Status::unimplemented("no")), ("Unimplemented".to_owned(), "no".to_owned()));
    }

    #[tokio::test]
    async fn trailers_are_looked_at_too() {
        let mut trailers = HeaderMap::new();
        Status::out_of_range("x").add_header(&mut trailers).unwrap();
        let body = http_body_util::Full::new(Bytes::from_static(b"x"))
            .with_trailers(std::future::ready(Some(Ok(trailers))));
        let told = tell(Response::new(Body::new(body))).into_body().collect().await.unwrap();
        assert_eq!(told.trailers().unwrap()["grpc-status"], "8");
    }
}
