//! The body of an answer as it comes in over HTTP/2. Room is given back as it is read, so that a server can send no more than
//! somebody here takes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};

/// What comes in. Dropped before its end it tells the peer to stop.
pub(super) struct Incoming {
    stream: RecvStream,
    /// Only trailers are left.
    read: bool,
}

impl Incoming {
    pub(super) fn new(stream: RecvStream) -> Self {
        let read = stream.is_end_stream();
        Self { stream, read }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.read {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let given = self.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(given.map(|()| Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.read = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
