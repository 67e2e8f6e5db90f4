//! What is done with what a client sends before hyper has it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncWrite, ReadBuf};

use crate::plan::ServerPlan;

use super::super::connection::Spoken;
use super::super::frames::{FrameBudget, Frames, Insertion};
use super::super::framing::{Found, Framing};
use super::{WatchedIo, poll_some};

/// How much of what follows a WebSocket handshake is kept until its outcome is known.
const WITHHELD_MAX_BYTES: usize = 16 * 1024;

/// What is read along.
#[derive(Debug)]
pub(super) enum Along {
    /// Nothing.
    Nothing,
    /// Where HTTP/1 messages end.
    Http1(Framing),
    /// What was there was wrong, and nothing more is read.
    Broken(&'static str, Framing),
    /// HTTP/2 frames.
    Http2(Box<Frames>),
    /// They were too many, or broken.
    Flooded,
}

impl Along {
    /// What to read along on a connection that speaks this.
    pub(super) fn on(spoken: Spoken, server: &ServerPlan, now: u32) -> Self {
        match spoken {
            Spoken::Http1 => Self::Http1(Framing::default()),
            Spoken::Http2 => {
                let budget = FrameBudget::new(server.max_http2_control_frames);
                Self::Http2(Box::new(Frames::new(budget, server.max_header_list(), now)))
            }
        }
    }
}

/// What is known of a WebSocket handshake.
pub(super) enum Handshake {
    /// How it ended; what follows can be read.
    Known,
    /// The client has left.
    Left,
}

impl WatchedIo {
    /// Has what has not been read along be read along, from `before` on in `buf`.
    pub(super) fn read_along(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, before: usize) {
        let framing = match &mut self.along {
            Along::Http1(framing) => framing,
            Along::Http2(_) => return self.read_frames(cx, buf, before),
            Along::Nothing | Along::Broken(..) | Along::Flooded => return,
        };
        let bytes = buf.filled().get(before..).unwrap_or_default();
        let found = framing.read(bytes);
        // Where something is wrong, nothing more of a body comes.
        let goes_on = !matches!(found, Found::Fault { .. }) && framing.is_within_body();
        self.watched.ends_within_body(goes_on.then(|| framing.heads()));
        match found {
            Found::Nothing => {}
            Found::Handshake(at) => {
                self.put_back(buf, before + at);
            }
            Found::Fault { at, instead, reason } => {
                buf.set_filled(before + at);
                self.ahead = Bytes::from_static(instead);
                self.raw.clear();
                self.along = Along::Broken(reason, std::mem::take(framing));
                if at == 0 {
                    self.give_ahead(buf);
                }
            }
        }
    }

    /// Has all from `at` on be read along later.
    fn put_back(&mut self, buf: &mut ReadBuf<'_>, at: usize) {
        // What there is in `raw` came later.
        let later = self.raw.split();
        self.raw.extend_from_slice(buf.filled().get(at..).unwrap_or_default());
        self.raw.unsplit(later);
        buf.set_filled(at);
    }

    /// Has frames counted and their blocks followed. Where there are too many, or one is broken, the client
    /// is told, and nothing more is read.
    fn read_frames(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, before: usize) {
        let Along::Http2(frames) = &mut self.along else { return };
        let bytes = buf.filled_mut().get_mut(before..).unwrap_or_default();
        let read = frames.read(bytes, self.watched.tick());
        self.watched.head_is_open(frames.is_in_head());
        let fault = match read {
            Ok(None) => return,
            Ok(Some(Insertion { at, frame })) => {
                self.put_back(buf, before + at);
                self.ahead = frame;
                return;
            }
            Err(fault) => fault,
        };
        buf.set_filled(before);
        // Only between two frames of our own.
        if self.is_flushed {
            self.own_left = Bytes::copy_from_slice(&fault.goaway(frames.last_stream()));
            let _ = self.poll_own_left(cx);
            let _ = Pin::new(&mut self.io).poll_flush(cx);
        }
        self.along = Along::Flooded;
        if let Some(connection) = &self.connection {
            connection.context.gateway.refused_connection(fault.as_str());
        }
    }

    /// Waits for the outcome of a WebSocket handshake. Meanwhile the client may leave, or say more, which is
    /// kept.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Handshake>> {
        let Along::Http1(framing) = &mut self.along else { return Poll::Ready(Ok(Handshake::Known)) };
        if !framing.is_handshake() {
            return Poll::Ready(Ok(Handshake::Known));
        }
        if self.watched.is_handed_over() {
            self.along = Along::Nothing;
            return Poll::Ready(Ok(Handshake::Known));
        }
        if self.watched.is_quiet_after(framing.heads()) {
            framing.handshake_failed();
            return Poll::Ready(Ok(Handshake::Known));
        }
        while self.raw.len() < WITHHELD_MAX_BYTES {
            match ready!(poll_some(&mut self.io, cx, &mut self.raw))? {
                0 if self.raw.is_empty() => return Poll::Ready(Ok(Handshake::Left)),
                0 => break,
                _ => {}
            }
        }
        // The flush after which the outcome is known wakes the connection.
        Poll::Pending
    }

    /// Whether what follows a WebSocket handshake is withheld.
    pub(super) fn withholds(&self) -> bool {
        matches!(&self.along, Along::Http1(framing) if framing.is_handshake())
    }

    /// Whether it is, although the handshake has failed by now.
    pub(super) fn withholds_too_long(&self) -> bool {
        let Along::Http1(framing) = &self.along else { return false };
        framing.is_handshake() && self.watched.is_quiet_after(framing.heads())
    }
}
