//! The socket of a peer that speaks HTTP: watched by the runtime only when it has to be waited for.
//!
//! Most opening requests are there when their connection is accepted, and go to a shard at once. Such a socket never enters the
//! runtime's readiness set, which saves two system calls and their bookkeeping. Never decides anything and never looks at what it
//! carries.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream as StdTcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes of a read of a socket that is not watched: an opening request has less, and the room has to be cleared before.
const BARE_BYTES: usize = 2 << 10;

/// A connected socket, not blocking.
#[derive(Debug)]
pub(super) enum Socket {
    /// As it was accepted; it has never had to be waited for.
    Bare(StdTcpStream),
    /// It has had to be waited for once.
    Watched(TcpStream),
    /// It could not be watched.
    Lost,
}

impl Socket {
    /// The socket itself, which nobody watches any more.
    pub(super) fn into_std(self) -> io::Result<StdTcpStream> {
        match self {
            Self::Bare(stream) => Ok(stream),
            Self::Watched(stream) => stream.into_std(),
            Self::Lost => Err(lost()),
        }
    }

    /// Waits until there is something to read, be it the end. Whoever waits here needs nothing but the socket. May be cancelled.
    ///
    /// # Errors
    /// The socket is broken, or cannot be watched.
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        match self.try_bare(|stream| stream.peek(&mut [0])) {
            Some(peeked) => peeked.map(drop),
            None => self.watched()?.readable().await,
        }
    }

    /// Does something with the bare socket, unless it has to be waited for or is watched already.
    fn try_bare<T>(
        &mut self,
        mut action: impl FnMut(&mut StdTcpStream) -> io::Result<T>,
    ) -> Option<io::Result<T>> {
        let Self::Bare(stream) = self else { return None };
        loop {
            match action(stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return Some(result),
            }
        }
    }

    /// The socket as the runtime knows it.
    fn watched(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if matches!(self, Self::Bare(_))
            && let Self::Bare(stream) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Watched(TcpStream::from_std(stream)?);
        }
        match self {
            Self::Watched(stream) => Ok(Pin::new(stream)),
            _ => Err(lost()),
        }
    }
}

fn lost() -> io::Error {
    ErrorKind::NotConnected.into()
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining().min(BARE_BYTES);
        let read = self.try_bare(|stream| stream.read(buffer.initialize_unfilled_to(room)));
        if let Some(read) = read {
            return Poll::Ready(read.map(|len| buffer.advance(len)));
        }
        self.watched()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.try_bare(|stream| stream.write(bytes)) {
            Some(written) => Poll::Ready(written),
            None => self.watched()?.poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.try_bare(|stream| stream.write_vectored(parts)) {
            Some(written) => Poll::Ready(written),
            None => self.watched()?.poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was written has left.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.try_bare(|stream| stream.shutdown(Shutdown::Write)) {
            Some(ended) => Poll::Ready(ended),
            None => self.watched()?.poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A connected pair: ours, not blocking, and the peer's.
    fn pair() -> (Socket, StdTcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = StdTcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Socket::Bare(ours), peer)
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn what_is_there_is_read_without_watching() {
        run(async {
            let (mut socket, mut peer) = pair();
            peer.write_all(b"GET").unwrap();
            let mut bytes = [0; 3];
            // Loopback delivers before the peer's write returns.
            socket.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"GET");
            socket.write_all(b"yes").await.unwrap();
            assert!(matches!(socket, Socket::Bare(_)));
            socket.shutdown().await.unwrap();
            let mut told = String::new();
            peer.read_to_string(&mut told).unwrap();
            assert_eq!(told, "yes");
        });
    }

    #[test]
    fn a_word_is_waited_for_and_left_to_be_read() {
        run(async {
            let (mut socket, mut peer) = pair();
            let (readable, ()) = tokio::join!(socket.readable(), async {
                // Polled second: nothing was there by then.
                peer.write_all(b"a").unwrap();
            });
            readable.unwrap();
            assert!(matches!(socket, Socket::Watched(_)));
            let mut bytes = [0];
            socket.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"a");

            let (mut socket, mut peer) = pair();
            peer.write_all(b"b").unwrap();
            socket.readable().await.unwrap();
            assert!(matches!(socket, Socket::Bare(_)), "it was there, so nobody watches");
            socket.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"b");
            drop(peer);
            socket.readable().await.unwrap();
            assert_eq!(socket.read(&mut bytes).await.unwrap(), 0, "the end is something to read");
        });
    }

    #[test]
    fn what_is_not_there_is_waited_for() {
        run(async {
            let (mut socket, mut peer) = pair();
            let mut bytes = [0; 5];
            let (read, ()) = tokio::join!(socket.read_exact(&mut bytes), async {
                // Polled second: the read has found nothing by now.
                peer.write_all(b"later").unwrap();
            });
            assert_eq!((read.unwrap(), &bytes), (5, b"later"));
            assert!(matches!(socket, Socket::Watched(_)));
            socket.into_std().unwrap().write_all(b"x").unwrap();
            peer.read_exact(&mut bytes[..1]).unwrap();
            assert_eq!(bytes[0], b'x');
        });
    }
}
