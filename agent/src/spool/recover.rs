//! Reads the log back: every whole record, in order, up to the first that is not.
use super::SpoolError;
use super::frame::{BODY, HEAD, Head, OPERATION, Operation, Part};
use super::io::SpoolIo;
use super::log::{SEGMENT_HEAD, is_segment, segment_name, segment_number};
use super::seal::{Keys, OVERHEAD};
use super::state::State;

/// What was found.
pub(super) struct Recovered {
    pub state: State,
    /// Number of the next record.
    pub next: u64,
    /// Number of the next segment.
    pub segment: u32,
}

/// Rebuilds the state. The last segment is cut behind its last whole record, so that nothing unacknowledged lingers.
pub(super) fn recover(io: &dyn SpoolIo, keys: &Keys) -> Result<Recovered, SpoolError> {
    let mut segments: Vec<u32> = io.list()?.iter().filter_map(|name| segment_number(name)).collect();
    segments.sort_unstable();
    let mut recovered =
        Recovered { state: State::default(), next: 1, segment: segments.last().map_or(1, |last| last + 1) };
    for segment in segments.iter().copied() {
        let is_last = Some(&segment) == segments.last();
        let end = read_segment(io, keys, segment, is_last, &mut recovered)?;
        if is_last && io.length(&segment_name(segment))? > end {
            io.truncate(&segment_name(segment), end)?;
            io.sync(&segment_name(segment))?;
        }
    }
    Ok(recovered)
}

fn read_segment(
    io: &dyn SpoolIo,
    keys: &Keys,
    segment: u32,
    is_last: bool,
    recovered: &mut Recovered,
) -> Result<u64, SpoolError> {
    let name = segment_name(segment);
    let length = io.length(&name)?;
    if length < SEGMENT_HEAD {
        return Ok(0);
    }
    let mut head = [0; SEGMENT_HEAD as usize];
    io.read_at(&name, 0, &mut head)?;
    if !is_segment(&head) {
        // A segment whose making was cut is all zero, and always the last one.
        if is_last && head.iter().all(|byte| *byte == 0) {
            return Ok(0);
        }
        return Err(SpoolError::UnknownFormat { file: name });
    }
    let mut at = SEGMENT_HEAD;
    while at + HEAD as u64 <= length {
        let mut bytes = [0; HEAD];
        io.read_at(&name, at, &mut bytes)?;
        let Some(head) =
            Head::read(&bytes).filter(|head| head.number >= recovered.next && head.length() <= length - at)
        else {
            break;
        };
        let mut operations = vec![0; head.operations as usize];
        io.read_at(&name, at + HEAD as u64, &mut operations)?;
        let body = Part { segment, offset: at + HEAD as u64 + u64::from(head.operations), length: head.body };
        let Some(operations) = open_operations(keys, &operations) else {
            break;
        };
        // Bodies of earlier segments were durable before the next segment was begun.
        if is_last && !body_is_whole(io, keys, &name, body, &operations)? {
            break;
        }
        for (slot, operation) in operations {
            if let Some(operation) = operation {
                recovered.state.apply(operation, head.number, segment, slot, (head.body > 0).then_some(body));
            }
        }
        recovered.next = head.number + 1;
        at += head.length();
    }
    Ok(at)
}

/// The operations of a record; one of an erased study is `None`. `None` in all where one is torn.
fn open_operations(keys: &Keys, mut bytes: &[u8]) -> Option<Vec<(u32, Option<Operation>)>> {
    let mut operations = Vec::new();
    while !bytes.is_empty() {
        let slot = u32::from_le_bytes(*bytes.first_chunk()?);
        let length = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?) as usize;
        let mut sealed = bytes.get(8..8 + length)?.to_vec();
        bytes = &bytes[8 + length..];
        let operation = match keys.key(slot) {
            Some(key) => {
                let plain = key.open(&mut sealed, OPERATION)?;
                Some(serde_json::from_slice(sealed.get(OVERHEAD - 16..OVERHEAD - 16 + plain)?).ok()?)
            }
            None => None,
        };
        operations.push((slot, operation));
    }
    Some(operations)
}

/// True where every body that a record of the last segment stands for can be opened.
fn body_is_whole(
    io: &dyn SpoolIo,
    keys: &Keys,
    name: &str,
    body: Part,
    operations: &[(u32, Option<Operation>)],
) -> Result<bool, SpoolError> {
    for (slot, operation) in operations {
        let (Some(key), Some(Operation::Instance { parts, .. })) = (keys.key(*slot), operation) else {
            continue;
        };
        let own = if parts.is_empty() { std::slice::from_ref(&body) } else { parts.as_slice() };
        // Parts in earlier segments were durable before this one was begun.
        for part in own.iter().filter(|part| part.segment == body.segment) {
            let mut sealed = vec![0; part.length as usize];
            if io.read_at(name, part.offset, &mut sealed).is_err() || key.open(&mut sealed, BODY).is_none() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
