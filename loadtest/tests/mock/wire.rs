//! The mock's end of a connection: frames in both directions, reading apart from writing.
//!
//! Owns a task that reads requests while the session writes. Never shares code with the witness.

use bytes::BufMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

type Stream = TokioIo<Upgraded>;

/// What the client did.
#[derive(Debug)]
pub(crate) enum Input {
    /// It asked for something.
    Request(Value),
    /// It said goodbye, or has gone.
    End,
}

pub(crate) struct Wire {
    write: WriteHalf<Stream>,
    inputs: UnboundedReceiver<Input>,
    reader: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        // With the reader goes the other half of the socket.
        self.reader.abort();
    }
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        let (read, write) = split(stream);
        let (sender, inputs) = unbounded_channel();
        let reader = tokio::spawn(async move {
            // However it ends, it is the end.
            let _ = read_requests(read, &sender).await;
            let _ = sender.send(Input::End);
        });
        Self { write, inputs, reader }
    }

    /// May be cancelled.
    pub(crate) async fn next(&mut self) -> Input {
        self.inputs.recv().await.unwrap_or(Input::End)
    }

    pub(crate) async fn send(&mut self, text: String) -> io::Result<()> {
        self.send_frame(1, text.as_bytes()).await
    }

    pub(crate) async fn send_frame(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mut bytes = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..126 => bytes.push(short as u8),
            middle @ 126..0x1_0000 => {
                bytes.push(126);
                bytes.put_u16(middle as u16);
            }
            long => {
                bytes.push(127);
                bytes.put_u64(long as u64);
            }
        }
        bytes.extend_from_slice(payload);
        self.write_raw(&bytes).await
    }

    /// Bytes that are framed already, or are no frame at all.
    pub(crate) async fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await
    }

    /// Waits for the client's goodbye, so that leaving does not reset the connection under what was sent.
    pub(crate) async fn wait_for_end(&mut self) {
        while !matches!(self.next().await, Input::End) {}
    }
}

/// Reads masked frames until the client's goodbye.
async fn read_requests(mut read: ReadHalf<Stream>, sender: &UnboundedSender<Input>) -> io::Result<()> {
    loop {
        let opcode = read.read_u8().await? & 0x0F;
        let length = match read.read_u8().await? & 0x7F {
            126 => read.read_u16().await?.into(),
            127 => read.read_u64().await? as usize,
            short => short.into(),
        };
        let mut mask = [0; 4];
        read.read_exact(&mut mask).await?;
        let mut payload = vec![0; length];
        read.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        match opcode {
            1 => drop(sender.send(Input::Request(serde_json::from_slice(&payload).unwrap()))),
            8 => return Ok(()),
            _ => {}
        }
    }
}
