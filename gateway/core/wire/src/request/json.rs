//! JSON from strangers: simd-json with the limits that it does not have itself.
//!
//! Bounds nesting, keys of an object and digits of a number, and refuses repeated keys, everywhere in the
//! message, also under keys that nobody reads.

use simd_json::tape::{Object, Value};
use simd_json::{Buffers, ErrorType, Tape};

use super::{Malformed, RequestErrorKind};

/// Nested objects and arrays, the outermost included: the stack that walking them takes is bounded by it.
pub const DEPTH_MAX: usize = 16;

/// Keys of one object: all of them are compared with each other.
pub const KEYS_MAX: usize = 64;

/// Digits of one number, exponent included: enough for any integer of 64 bits.
pub const DIGITS_MAX: usize = 20;

/// Parses in place. What [`check_digits`] said is the better word for a number that the parser cannot hold.
pub(super) fn parse(
    payload: &mut [u8],
    digits: Result<(), Malformed>,
    depth_max: usize,
) -> Result<Tape<'_>, RequestErrorKind> {
    let depth_max = depth_max.min(DEPTH_MAX);
    let mut buffers = Buffers::with_max_depth(payload.len(), depth_max);
    simd_json::to_tape_with_buffers(payload, &mut buffers).map_err(|error| match (error.error(), digits) {
        (ErrorType::DepthLimitExceeded, _) => Malformed::TooDeep(depth_max).into(),
        (ErrorType::InvalidNumber, Err(too_long)) => too_long.into(),
        _ => RequestErrorKind::NotJson,
    })
}

/// Checks the numbers outside strings; to be called before [`parse`], which scrambles them.
pub(super) fn check_digits(payload: &[u8]) -> Result<(), Malformed> {
    let (mut digits, mut in_string, mut escaped) = (0, false, false);
    for byte in payload {
        if in_string {
            (in_string, escaped) = (escaped || *byte != b'"', !escaped && *byte == b'\\');
            continue;
        }
        match byte {
            b'0'..=b'9' => digits += 1,
            b'.' | b'+' | b'-' | b'e' | b'E' => {}
            _ => (digits, in_string) = (0, *byte == b'"'),
        }
        if digits > DIGITS_MAX {
            return Err(Malformed::NumberTooLong);
        }
    }
    Ok(())
}

/// Checks the keys of every object.
pub(super) fn check_objects(tape: &Tape<'_>, keys_max: usize) -> Result<(), Malformed> {
    check_value(tape.as_value(), keys_max.min(KEYS_MAX))
}

/// Recursion is bounded by [`DEPTH_MAX`], which the parser has checked.
fn check_value(value: Value<'_, '_>, keys_max: usize) -> Result<(), Malformed> {
    if let Some(list) = value.as_array() {
        return list.iter().try_for_each(|one| check_value(one, keys_max));
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    check_keys(&object, keys_max)?;
    object.values().try_for_each(|one| check_value(one, keys_max))
}

fn check_keys(object: &Object<'_, '_>, keys_max: usize) -> Result<(), Malformed> {
    if object.len() > keys_max {
        return Err(Malformed::TooManyKeys(object.len(), keys_max));
    }
    let mut keys = [""; KEYS_MAX];
    for (place, key) in keys.iter_mut().zip(object.keys()) {
        *place = key;
    }
    let keys = &mut keys[..object.len()];
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) { Err(Malformed::DuplicateKey) } else { Ok(()) }
}
