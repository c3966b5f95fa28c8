//! The ways in which a client can break RFC 6455 or our limits, and what each is closed with.

use thiserror::Error;

use super::CONTROL_PAYLOAD_MAX;
use crate::close::CloseCode;

/// How a client broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// RSV1 to RSV3 mean nothing here.
    #[error("reserved bits 0x{0:02x} are set")]
    ReservedBits(u8),
    /// Opcodes 3-7 and 11-15.
    #[error("opcode 0x{0:x} is reserved")]
    ReservedOpcode(u8),
    /// Close, ping and pong are always whole.
    #[error("control frame 0x{0:x} is fragmented")]
    FragmentedControl(u8),
    /// There is no message to continue.
    #[error("continuation frame outside a fragmented message")]
    ContinuationOutside,
    /// The message before it is not finished.
    #[error("new data frame 0x{0:x} inside a fragmented message")]
    DataInside(u8),
    /// See [`super::ReadLimits::fragments_max`].
    #[error("more than {max} fragments in a message")]
    TooManyFragments {
        /// The limit.
        max: u32,
    },
    /// Clients mask every frame.
    #[error("client frame is not masked")]
    NotMasked,
    /// Length code 126 or 127 on a control frame.
    #[error("control frame of more than {CONTROL_PAYLOAD_MAX} bytes")]
    ControlTooLong,
    /// A shorter form of the length exists.
    #[error("length {0} is not in its shortest form")]
    LengthNotMinimal(u64),
    /// A length of 2^63 or more.
    #[error("length 0x{0:x} has its top bit set")]
    LengthTopBit(u64),
    /// See [`super::ReadLimits::message_bytes_max`].
    #[error("message of {bytes} bytes, at most {max} are taken")]
    MessageTooBig {
        /// Bytes announced so far.
        bytes: u64,
        /// The limit.
        max: usize,
    },
    /// An octet that cannot stand where it does.
    #[error("text is not utf-8 at byte {at}")]
    TextNotUtf8 {
        /// Index in the message.
        at: usize,
    },
    /// The message ended within a character.
    #[error("text of {bytes} bytes ends inside a utf-8 sequence")]
    TextCutOff {
        /// Length of the message.
        bytes: usize,
    },
    /// A code takes two octets.
    #[error("close payload of 1 byte")]
    CloseTooShort,
    /// A code that must not be sent.
    #[error("close code {0} is not allowed")]
    CloseCode(u16),
    /// A reason is text.
    #[error("close reason is not utf-8 at byte {at}")]
    CloseReasonNotUtf8 {
        /// Index in the reason.
        at: usize,
    },
}

impl Violation {
    /// What to close the connection with.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::TooManyFragments { .. } => CloseCode::PolicyViolation,
            Self::MessageTooBig { .. } => CloseCode::TooBig,
            Self::TextNotUtf8 { .. } | Self::TextCutOff { .. } | Self::CloseReasonNotUtf8 { .. } => {
                CloseCode::InvalidPayload
            }
            _ => CloseCode::ProtocolError,
        }
    }
}
