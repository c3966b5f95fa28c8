//! A crowd of clients, a venue and one gateway: whatever they do and in whatever order, everybody is told the truth.
//!
//! The input is a shape of the world and then acts, eight bytes each: what happens, and the choices that say to whom and how. The
//! world is the simulator's, driven act by act (`gateway/core/sim/src/world/driven.rs`), with the same oracle after each: counts,
//! bytes held, frames, JSON, links, checksums, notices. At the end the world calms down, and everybody must have everything.

mod mutation;

use arbitrary::{Arbitrary, Result, Unstructured};
use sim::{Act, CHOICES, Report, Sent, Violation, World};

pub use mutation::mutate;

/// Bytes of one act.
const ACT_BYTES: usize = 1 + CHOICES;

/// Longest script: longer ones find nothing else, and take long.
const ACTS_MAX: usize = 500;

/// What happens, one after the other.
struct Script {
    shape: [u8; CHOICES],
    acts: Vec<(Act, [u8; CHOICES])>,
}

impl Script {
    fn decode(data: &[u8]) -> Result<Self> {
        let mut u = Unstructured::new(data);
        let shape = Arbitrary::arbitrary(&mut u)?;
        let mut acts = Vec::new();
        while u.len() >= ACT_BYTES && acts.len() < ACTS_MAX {
            let number = usize::from(u8::arbitrary(&mut u)?);
            acts.push((Act::ALL[number % Act::ALL.len()], Arbitrary::arbitrary(&mut u)?));
        }
        Ok(Self { shape, acts })
    }

    /// Plays to the end; `tell` hears of each act before it happens, `watch` of each message as it is read.
    fn play(
        &self,
        tell: &mut dyn FnMut(Act, [u8; CHOICES]),
        watch: &mut dyn FnMut(Sent<'_>),
    ) -> std::result::Result<Report, Violation> {
        let mut world = World::driven(self.shape);
        for &(act, choices) in &self.acts {
            tell(act, choices);
            world.act(act, choices, watch)?;
        }
        world.end(watch)
    }
}

/// Drives one world.
///
/// # Panics
/// When the oracle finds something wrong.
pub fn run(data: &[u8]) {
    // An input without even a shape has nothing to say.
    let Ok(script) = Script::decode(data) else { return };
    if let Err(violation) = script.play(&mut |_, _| {}, &mut |_| {}) {
        panic!("{violation}");
    }
}

/// Drives one world and tells line by line what happens and who reads what, for whoever has a finding in hand.
pub fn explain(data: &[u8], tell: &mut dyn FnMut(String)) {
    let Ok(script) = Script::decode(data) else { return tell("too short to be a script".to_owned()) };
    let lines = std::cell::RefCell::new(tell);
    let mut tell_act =
        |act: Act, choices: [u8; CHOICES]| (lines.borrow_mut())(format!("{act:?} {choices:?}"));
    let mut tell_sent = |sent: Sent<'_>| {
        let (text, opcode) = (String::from_utf8_lossy(sent.payload), sent.opcode);
        (lines.borrow_mut())(format!(
            "    #{} reads, opcode {opcode}: {}",
            sent.connection_id,
            text.trim_end()
        ));
    };
    let verdict = match script.play(&mut tell_act, &mut tell_sent) {
        Ok(report) => format!("nothing wrong: {report:?}"),
        Err(violation) => violation.to_string(),
    };
    (lines.borrow_mut())(verdict);
}
