//! What a response body carries: its connection, to be given back, and the account of the attempt, to be
//! settled.

use crate::clock::{self, Instant};
use crate::error::Error;
use crate::http::{End, Held};

use super::connection::Exclusive;
use super::fleet::Account;
use super::grant::Stream;
use super::upload::Upload;

/// The connection that a response body arrives on.
#[derive(Debug)]
pub(super) enum Carrier {
    /// An HTTP/1.1 connection; its drop in the middle of an exchange closes it.
    Exclusive(Exclusive),
    /// A stream, which hyper resets when its body is dropped before the end.
    Stream(#[expect(dead_code, reason = "its drop gives the stream back")] Stream),
}

impl Carrier {
    /// Lets the connection go on without us.
    pub(super) const fn let_go(&mut self) {
        match self {
            Self::Exclusive(connection) => connection.finished(),
            Self::Stream(_) => {}
        }
    }
}

/// Ends with the response body.
#[derive(Debug)]
pub(super) struct Lease {
    carrier: Carrier,
    reusable: bool,
    upload: Option<Upload>,
    account: Account,
}

impl Lease {
    pub(super) const fn new(
        carrier: Carrier,
        reusable: bool,
        upload: Option<Upload>,
        account: Account,
    ) -> Self {
        Self { carrier, reusable, upload, account }
    }

    /// The whole answer has arrived. The connection goes back if the whole request was sent, too: an endpoint
    /// that answers early may not read the rest (RFC 9112 §9.3).
    pub(super) fn complete(self, now: Instant) {
        let Self { carrier, reusable, upload, mut account } = self;
        account.settle(now);
        let sent = upload.is_none_or(|upload| matches!(upload.outcome(), Some(Ok(()))));
        if let Carrier::Exclusive(mut connection) = carrier
            && sent
        {
            connection.finished();
            if reusable && let Some(endpoint) = account.endpoint() {
                endpoint.pool.check_in(connection, now);
            }
        }
    }

    fn failed(mut self, error: &Error) {
        match self.upload.as_ref().and_then(Upload::outcome) {
            // The client broke its request, and so the exchange: that is no fault of the endpoint's.
            Some(Err(client)) => self.account.failed(&client),
            _ => self.account.failed(error),
        }
    }
}

impl Held for Lease {
    fn ended(self: Box<Self>, end: End<'_>) {
        match end {
            End::Complete => self.complete(clock::instant()),
            End::Failed(error) => self.failed(error),
            // The drop closes the connection and settles the account.
            End::Abandoned => {}
        }
    }
}
