//! A lie planted into what a gateway sends, as one with a mistake would tell it.
//!
//! Owns the kinds, and what becomes of the bytes from the gateway. Only the tests of the fault run plant one, to show that it is
//! found. Bytes come from [`super::proxy`], which sees what the gateway sends and nothing of its state.

use crate::frame::{self, Header};
use clap::ValueEnum;
use memchr::memmem;

/// The number of the message that is lied about, of those that it could be: after the client has its snapshots.
const MESSAGE: u32 = 30;

/// What is wrong, once in each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lie {
    /// An update of a book is never sent.
    LostUpdate,
    /// A trade is never sent.
    LostTrade,
    /// An update comes twice.
    Repeated,
    /// A digit of a quantity of a book is another one.
    WrongQuantity,
    /// A subscription that begins anew is said to go on.
    FalseRecovery,
    /// From some update on nothing is sent but answers and heartbeats.
    Frozen,
}

impl Lie {
    /// What a message has that could be lied about.
    const fn marks(self) -> [&'static [u8]; 2] {
        match self {
            Self::LostUpdate => [b"\"channel\":\"book\"", b"\"prev\""],
            Self::LostTrade => [b"\"channel\":\"trade\"", b"\"prev\""],
            Self::Repeated | Self::Frozen => [b"\"update\"", b"\"prev\""],
            Self::WrongQuantity => [b"\"prev\"", b"\"price\":"],
            Self::FalseRecovery => [b"\"success\":true", b"\"recovered\":false"],
        }
    }
}

/// Tells a lie.
pub(super) struct Liar {
    lie: Lie,
    /// The start of what is not whole yet.
    rest: Vec<u8>,
    is_upgraded: bool,
    /// Messages that could be lied about.
    seen: u32,
}

impl Liar {
    pub(super) const fn new(lie: Lie) -> Self {
        Self { lie, rest: Vec::new(), is_upgraded: false, seen: 0 }
    }

    /// What the client gets of what the gateway sends; whole frames only.
    pub(super) fn twist(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(bytes);
        let mut out = Vec::new();
        if !self.is_upgraded {
            let Some(end) = memmem::find(&self.rest, b"\r\n\r\n") else { return out };
            out.extend(self.rest.drain(..end + 4));
            self.is_upgraded = true;
        }
        // What is no frame waits without end: the client says that nothing comes.
        while let Ok(Some(header)) = Header::parse(&self.rest) {
            if header.frame_bytes() > self.rest.len() {
                break;
            }
            let mut frame: Vec<u8> = self.rest.drain(..header.frame_bytes()).collect();
            for _ in 0..self.times(&header, &mut frame) {
                out.extend_from_slice(&frame);
            }
        }
        out
    }

    /// How often the client gets a frame, which may be changed.
    fn times(&mut self, header: &Header, frame: &mut [u8]) -> usize {
        let is_marked = |mark: &[u8]| memmem::find(frame, mark).is_some();
        if header.opcode != frame::TEXT || !self.lie.marks().into_iter().all(is_marked) {
            return 1;
        }
        self.seen += 1;
        match self.lie {
            Lie::FalseRecovery => replace(frame, b"\"recovered\":false", b"\"recovered\":true "),
            Lie::Frozen => usize::from(self.seen < MESSAGE),
            _ if self.seen != MESSAGE => 1,
            Lie::LostUpdate | Lie::LostTrade => 0,
            Lie::Repeated => 2,
            Lie::WrongQuantity => {
                if let Some(at) = memmem::rfind(frame, b"\"qty\":") {
                    let digit = &mut frame[at + 6];
                    *digit = if *digit == b'9' { b'8' } else { b'9' };
                }
                1
            }
        }
    }
}

/// Puts a text in the place of one of the same length.
fn replace(frame: &mut [u8], old: &[u8], new: &[u8]) -> usize {
    if let Some(at) = memmem::find(frame, old) {
        frame[at..at + old.len()].copy_from_slice(new);
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lie: Lie, cut: usize) -> Vec<String> {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
        let mut push = |text: &str| frame::push_server(frame::TEXT, text.as_bytes(), &mut bytes);
        push(r#"{"method":"subscribe","result":{"recovered":false},"success":true}"#);
        for n in 1..=MESSAGE + 1 {
            push(&format!(r#"{{"channel":"book","type":"update","n":{n},"price":7,"qty":1.50,"prev":3}}"#));
            push(r#"{"channel":"trade","type":"update","trade_id":7,"prev":3}"#);
            push(r#"{"channel":"heartbeat"}"#);
        }
        let mut liar = Liar::new(lie);
        let out: Vec<u8> = bytes.chunks(cut).flat_map(|chunk| liar.twist(chunk)).collect();
        let (mut at, mut messages) = (memmem::find(&out, b"\r\n\r\n").unwrap() + 4, Vec::new());
        while let Some(header) = Header::parse(&out[at..]).unwrap() {
            let end = at + header.frame_bytes();
            messages.push(String::from_utf8(out[at + header.head_bytes..end].to_vec()).unwrap());
            at = end;
        }
        messages
    }

    #[test]
    fn one_message_is_twisted_however_the_bytes_are_cut() {
        let all = 3 * (MESSAGE as usize + 1) + 1;
        for cut in [1, 7, 100_000] {
            let count = |lie, text: &str| {
                told(lie, cut).iter().filter(|message| message.contains(text)).count() as u32
            };
            assert_eq!(told(Lie::LostUpdate, cut).len(), all - 1);
            assert_eq!(count(Lie::LostUpdate, "\"book\""), MESSAGE);
            assert_eq!(count(Lie::LostTrade, "\"trade\""), MESSAGE);
            assert_eq!(told(Lie::Repeated, cut).len(), all + 1);
            assert_eq!(count(Lie::Frozen, "\"prev\""), MESSAGE - 1);
            assert_eq!(count(Lie::Frozen, "heartbeat"), MESSAGE + 1);
            assert_eq!((count(Lie::WrongQuantity, "9.50"), count(Lie::WrongQuantity, "1.50")), (1, MESSAGE));
            assert_eq!(count(Lie::FalseRecovery, r#"{"recovered":true }"#), 1);
        }
    }
}
