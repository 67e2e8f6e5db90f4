//! The body of a fill on its way from the origin to the readers, and when it is given up.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::error::{Error, UpstreamError, UpstreamErrorKind};
use crate::http::Body;
use crate::http::shared::{SharedReader, SharedWriter};

use super::fill::Fill;
use super::flight::Lead;

/// A fill nobody reads any more is finished if no more than this is missing, in bytes.
const NEARLY_DONE: u64 = 256 * 1024;

/// Whether a fill that nobody reads is finished: it is for the store alone (`background`), at least half of
/// its known length is here, or little of it is missing.
fn worth_finishing(background: bool, length: Option<u64>, here: u64) -> bool {
    background || length.is_some_and(|length| here >= length / 2 || length - here <= NEARLY_DONE)
}

/// A body that came to its clean end: the last chunk and the trailers are still to be handed on.
pub(super) type Pumped = (SharedWriter, Option<Bytes>, Option<HeaderMap>);

impl Fill {
    /// Moves the body into the writer to its clean end; none where it fails or is given up. The last chunk is
    /// held back, so that whoever has read it all finds it in the store. It has `length` bytes, where that is
    /// known. `anchor` keeps the first byte where
    /// it is while there is room.
    pub(super) async fn pump(
        &self,
        mut writer: SharedWriter,
        mut body: Body,
        lead: &Lead,
        length: Option<u64>,
        mut anchor: Option<SharedReader>,
    ) -> Option<Pumped> {
        let (mut listed, mut here) = (true, 0u64);
        loop {
            let frame = tokio::select! {
                frame = next(&mut writer, &mut body) => frame,
                () = self.given_up(length, here, listed) => return None,
            };
            let (last, trailers) = match frame.map(|frame| frame.map(http_body::Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    here += data.len() as u64;
                    if body.is_end_stream() {
                        (Some(data), None)
                    } else {
                        if !writer.push(data) && std::mem::take(&mut listed) {
                            self.close_doors(lead, here, anchor.take()).await;
                        }
                        continue;
                    }
                }
                Some(Ok(Err(frame))) => (None, frame.into_trailers().ok()),
                Some(Err(error)) => return self.broke(writer, error),
                None => (None, None),
            };
            if length.is_some_and(|length| length != here) {
                let error = UpstreamError::sent(UpstreamErrorKind::BodyIncomplete);
                return self.broke(writer, error.into());
            }
            return Some((writer, last, trailers));
        }
    }

    /// The readers learn that the rest is missing, after nobody can become one any more.
    fn broke<T>(&self, writer: SharedWriter, error: Error) -> Option<T> {
        self.listing.leave();
        writer.fail(error);
        None
    }

    /// Waits until nobody reads and finishing is not worth it.
    async fn given_up(&self, length: Option<u64>, here: u64, listed: bool) {
        let flight = &self.listing.flight;
        if listed && worth_finishing(self.background, length, here) {
            return std::future::pending().await;
        }
        loop {
            flight.deserted().await;
            // Off the list first: a request that comes now must not join what is about to end.
            if self.core.store.flights().desert(&self.listing.key, flight) {
                return;
            }
        }
    }
}

async fn next(writer: &mut SharedWriter, body: &mut Body) -> Option<Result<http_body::Frame<Bytes>, Error>> {
    writer.ready().await;
    body.frame().await
}
