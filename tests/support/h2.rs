//! HTTP/2 on both sides, by prior knowledge: hyper speaks it, the test says what.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{serve, within};

/// A body that the test writes piece by piece; it ends when its writer is dropped.
#[derive(Debug)]
pub struct Piped(mpsc::UnboundedReceiver<Frame<Bytes>>);

/// The writer of a [`Piped`] body.
#[derive(Clone, Debug)]
pub struct Writer(mpsc::UnboundedSender<Frame<Bytes>>);

/// A body and its writer.
pub fn piped() -> (Writer, Piped) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Writer(sender), Piped(receiver))
}

impl Writer {
    /// Adds data; false where nobody wants it any more.
    pub fn data(&self, data: impl Into<Bytes>) -> bool {
        self.0.send(Frame::data(data.into())).is_ok()
    }

    /// Adds the trailer section.
    pub fn trailers(&self, fields: &[(&'static str, &'static str)]) {
        let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let _ = self.0.send(Frame::trailers(HeaderMap::from_iter(fields)));
    }
}

impl Body for Piped {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// A client's connection.
pub async fn connect(address: SocketAddr) -> SendRequest<Piped> {
    let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// An origin; it ends with the test.
pub async fn origin<F>(answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> SocketAddr
where
    F: Future<Output = Response<Piped>> + Send + 'static,
{
    serve(move |stream| {
        let answer = answer.clone();
        async move {
            let requests = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let server = http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), requests).await;
        }
    })
    .await
}

/// The next data of a body, which must be some.
pub async fn data(body: &mut Incoming) -> Bytes {
    let frame = within("data", body.frame()).await.expect("more of the body").expect("a body without error");
    frame.into_data().expect("data")
}

/// The trailer section, which must be what comes next.
pub async fn trailers(body: &mut Incoming) -> HeaderMap {
    let frame = within("trailers", body.frame()).await.expect("trailers").expect("a body without error");
    frame.into_trailers().expect("trailers")
}
