//! Calls as bytes, for who cares about their answers alone.

use bytes::{Buf, BufMut, Bytes};
use tonic::{
    Request, Status,
    body::Body,
    client::{Grpc, GrpcService},
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::stand::soon;

/// Bytes as they are: all calls look alike from here.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}

/// The first answer to a call.
pub(crate) async fn call<T>(channel: T, rpc: &str, request: Vec<u8>) -> Result<Option<()>, Status>
where
    T: GrpcService<
            Body,
            Error: std::fmt::Debug,
            ResponseBody: hyper::body::Body<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
        >,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = format!("/waypost.v1.{rpc}").parse().unwrap();
    let answers = grpc.streaming(Request::new(tokio_stream::once(request)), path, Raw).await?;
    soon("an answer", answers.into_inner().message()).await
}
