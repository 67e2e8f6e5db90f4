//! The tower glue.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body::Body as _;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::Error;
use crate::http::{Refused, Request, Response, ResponseParts};
use crate::layers::{Inner, always_ready, inner};
use crate::metrics::Metrics;

use super::hidden::Hidden;
use super::recorder::{Pending, Recorder};
use super::writer::LogWriter;

/// Records every request of one route: counts always, a line where there is a log.
#[derive(Debug)]
pub struct AccessLog<S> {
    recorder: Arc<Recorder>,
    inner: S,
}

impl<S> AccessLog<S> {
    /// Records the requests to `inner` under the route's name and that of its upstream.
    pub fn new(
        route: &str,
        upstream: Option<&str>,
        writer: Option<LogWriter>,
        metrics: &Metrics,
        inner: S,
    ) -> Self {
        Self { recorder: Arc::new(Recorder::new(route, upstream, writer, metrics)), inner }
    }

    /// The same without the values of these parameters of queries: they are secrets.
    #[must_use]
    pub fn hiding<'a>(mut self, parameters: impl IntoIterator<Item = &'a str>) -> Self {
        // Nobody else has it yet.
        if let Some(recorder) = Arc::get_mut(&mut self.recorder) {
            recorder.hidden = Hidden::new(parameters);
        }
        self
    }

    /// Records a request that was refused before there was a request to pass on, and answered with
    /// `response`.
    pub fn refused(&self, refused: &Refused, response: &Response) {
        self.recorder.refused(refused, response);
    }

    /// The same records around another service.
    pub fn around<T>(&self, inner: T) -> AccessLog<T> {
        AccessLog { recorder: self.recorder.clone(), inner }
    }
}

inner!(impl<S: Inner> for AccessLog<S>);

impl<'a, S: Inner> Service<Request> for &'a AccessLog<S> {
    type Response = Response;
    type Error = Error;
    type Future = Recorded<'a, S::Future<'a>>;

    always_ready!();

    fn call(&mut self, mut request: Request) -> Self::Future {
        let recorder = &self.recorder;
        let pending = Pending::new(recorder, recorder.open(&mut request));
        Recorded { inner: self.inner.send(request), pending, recorder }
    }
}

pin_project! {
    /// The answer of the wrapped service, recorded. Its drop before that records that the client has left.
    #[derive(Debug)]
    pub struct Recorded<'a, F> {
        #[pin]
        inner: F,
        pending: Pending<&'a Arc<Recorder>>,
        recorder: &'a Arc<Recorder>,
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Recorded<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = ready!(this.inner.poll(cx));
        match &mut result {
            Ok(response) => {
                let ResponseParts { status, body, .. } = &mut **response;
                let in_memory = body.as_full().map(<[u8]>::len);
                // A body that nobody may send would look abandoned.
                if in_memory.is_some() || body.is_end_stream() || this.pending.is_head() {
                    this.pending.whole(*status, in_memory.unwrap_or_default());
                } else {
                    body.hold(this.pending.streaming(*status, Arc::clone(this.recorder)));
                }
            }
            // `respond` makes a response of every error; should one pass it, the connection answers 500.
            Err(error) => this.pending.failed(error.as_str()),
        }
        Poll::Ready(result)
    }
}
