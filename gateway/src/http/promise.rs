//! An upgrade between its answer and its end: what it is for, and the octets of the answer, which are kept back.
//!
//! The answer leaves with the first thing that is said on the new connection, in one write instead of two. So whoever takes the
//! connection over owes its peer these octets first. Never looks at what it carries.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::upgrade::Purpose;

/// What a connection was promised to become; empty as long as it speaks HTTP. Shared by the service, which promises, and the stream.
/// Everything happens on one thread.
#[derive(Debug, Default)]
pub(super) struct Promise(RefCell<Option<Purpose>>);

impl Promise {
    /// From now on everything that is written is kept back.
    pub(super) fn give(&self, purpose: Purpose) {
        *self.0.borrow_mut() = Some(purpose);
    }

    /// To be asked when the connection speaks no more HTTP.
    pub(super) fn take(&self) -> Option<Purpose> {
        self.0.borrow_mut().take()
    }

    fn is_given(&self) -> bool {
        self.0.borrow().is_some()
    }
}

/// A stream that keeps back what is written to it after a promise was given, and is not read either: what comes then is for whoever
/// takes the connection over.
#[derive(Debug)]
pub(super) struct Withheld<S> {
    stream: S,
    promise: Rc<Promise>,
    /// At most the head of an answer, and the rest of those before it that the peer had not taken.
    held: Vec<u8>,
}

impl<S> Withheld<S> {
    pub(super) const fn new(stream: S, promise: Rc<Promise>) -> Self {
        Self { stream, promise, held: Vec::new() }
    }

    /// The stream, and what its peer has to be told before anything else.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.held)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Withheld<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.promise.is_given() {
            // Nobody has to be woken: the answer is there, and keeping it back never waits. Asking would only have the socket watched.
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Withheld<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.promise.is_given() {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.promise.is_given() {
            let before = self.held.len();
            for part in parts {
                self.held.extend_from_slice(part);
            }
            return Poll::Ready(Ok(self.held.len() - before));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.promise.is_given() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
