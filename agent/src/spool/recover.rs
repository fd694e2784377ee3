//! Opens a spool: checks every file's format before anything is touched, then rebuilds the state from the log alone.
use super::buffer::{BLOCK, Pool, blocks};
use super::commit::Writer;
use super::format;
use super::frame::{CHUNK, Claim, Entry, Extent, SEALED_CHUNK, chunk_nonce};
use super::io::{SpoolIo, is_unreadable};
use super::key::{MasterKey, TAG};
use super::keyring::Keyring;
use super::segment::{self, Segment};
use super::shared::{NEXT, Shared, UNFINISHED};
use super::spares::{Spares, is_spare, kept};
use super::state::State;
use super::{SpoolError, SpoolOptions};
use crate::limits::spool::PART;
use ring::hmac;
use std::collections::VecDeque;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::watch;

/// Name of the master key's file in the spool directory.
pub(super) const MASTER: &str = "master.key";

pub(super) fn open(
    io: Arc<dyn SpoolIo>,
    options: SpoolOptions,
    maker: bool,
    gets_on: &mut dyn FnMut(),
) -> Result<Shared, SpoolError> {
    options.check()?;
    io.lock().map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            SpoolError::Held { directory: options.directory.clone(), holder: error.to_string() }
        }
        _ => SpoolError::disk("lock the spool directory")(error),
    })?;
    let names = io.list().map_err(SpoolError::disk("list the spool directory"))?;

    // Formats first: an unknown one leaves every file as it is.
    let format = format::read(&*io, &names)?;
    let key_file = Keyring::check(&*io, &names)?;
    let mut files = Vec::new();
    for name in &names {
        if let Some(number) = segment::number(name) {
            let file = io.open(name).map_err(SpoolError::disk("open a segment"))?;
            Segment::check(name, &*file)?;
            files.push((number, name.clone(), file));
        }
    }
    files.sort_by_key(|(number, ..)| *number);
    let is_new = files.is_empty() && key_file.is_none();
    let master = master_key(&*io, &options, &names, is_new)?;
    let segments =
        files.into_iter().map(|(_, name, file)| Segment::open(&name, file, &master)).collect::<Result<Vec<_>, _>>()?;

    let keys = Keyring::open(&*io, key_file, &master)?;
    let mut state = State::rebuild();
    let last = segments.len().saturating_sub(1);
    let ends: Vec<Option<u64>> = segments.iter().skip(1).map(|next| Some(next.first)).chain([None]).collect();
    let mut writer = None;
    for (index, segment) in segments.into_iter().enumerate() {
        state.add_segment(segment.clone());
        let scan =
            Scan { segment: &segment, keys: &keys, state: &mut state, unreadable: false, gets_on: &mut *gets_on };
        let end = scan.run(ends[index])?;
        if index == last {
            // What was read back may have been in a cache only; from here on it counts as stored.
            segment.file.sync().map_err(SpoolError::disk("sync the last segment"))?;
            let End { offset, sequence, chain } = end;
            writer = Some(Writer { segment, offset, sequence, chain, rolled: true });
        }
    }
    state.rebuilt();

    let spares = shelve(&io, &options, maker)?;
    let writer = if let Some(writer) = writer {
        writer
    } else {
        let file =
            io.create(NEXT, options.segment_bytes, true).map_err(SpoolError::disk("create the first segment"))?;
        let segment = Segment::begin(&*io, NEXT, &*file, 1, 1, format, &master)?;
        state.add_segment(segment.clone());
        Writer::at_start(segment, false)
    };
    // Parts of up to 4 MiB, in smaller segments at most a quarter of one.
    let part_chunks = (options.segment_bytes as usize / 4 / SEALED_CHUNK).clamp(1, PART / CHUNK);
    let names = master.derive_bytes(b"", b"sund spool names")?;
    let shared = Shared {
        names: hmac::Key::new(hmac::HMAC_SHA256, &*names),
        master,
        keys,
        state: RwLock::new(state),
        queue: Mutex::new(VecDeque::new()),
        writer: Mutex::new(writer),
        spares,
        heads: Pool::new(BLOCK),
        payloads: Pool::new(blocks(part_chunks * SEALED_CHUNK)),
        stopped: watch::channel(None).0,
        part_chunks,
        format: AtomicU32::new(format),
        options,
        io,
    };
    shared.ask_for_spare();
    Ok(shared)
}

/// Adopts the spares that are there, removes what was never finished.
fn shelve(io: &Arc<dyn SpoolIo>, options: &SpoolOptions, maker: bool) -> Result<Spares, SpoolError> {
    let mut found = Vec::new();
    let names = &io.list().map_err(SpoolError::disk("list the spool directory"))?;
    for name in names {
        let adopt = is_spare(name)
            && found.len() < kept(options.spares)
            && io.open(name).and_then(|file| file.length()).is_ok_and(|length| length == options.segment_bytes);
        if adopt {
            found.push(name.clone());
        } else if is_spare(name) || name.ends_with(UNFINISHED) {
            io.remove(name).map_err(SpoolError::disk("remove an unfinished file"))?;
        }
    }
    Spares::open(Arc::clone(io), options.segment_bytes, options.spares, found, maker)
}

fn master_key(
    io: &dyn SpoolIo,
    options: &SpoolOptions,
    names: &[String],
    is_new: bool,
) -> Result<MasterKey, SpoolError> {
    let read = SpoolError::disk("read the master key");
    let write = SpoolError::disk("create the master key");
    if let Some(path) = &options.key_file {
        let missing = SpoolError::NoMasterKey(path.display().to_string());
        return match std::fs::read(path) {
            Ok(bytes) => MasterKey::decode(&path.display().to_string(), &zeroize::Zeroizing::new(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(missing),
            Err(error) => Err(read(error)),
        };
    }
    if names.iter().any(|name| name == MASTER) {
        let file = io.open(MASTER).map_err(&read)?;
        let length = (file.length().map_err(&read)? as usize).min(MasterKey::LENGTH);
        let mut bytes = zeroize::Zeroizing::new(vec![0; length]);
        file.read_at(0, &mut bytes).map_err(&read)?;
        return MasterKey::decode(MASTER, &bytes);
    }
    if !is_new {
        return Err(SpoolError::NoMasterKey(MASTER.to_owned()));
    }
    let master = MasterKey::generate()?;
    let temporary = "master.new";
    let file = io.create(temporary, 0, false).map_err(&write)?;
    file.write_at(0, &[&master.encode()]).map_err(&write)?;
    file.sync().map_err(&write)?;
    io.rename(temporary, MASTER).map_err(&write)?;
    io.sync_directory().map_err(&write)?;
    Ok(master)
}

/// Where a segment's last whole frame ends.
struct End {
    offset: u64,
    sequence: u64,
    chain: [u8; TAG],
}

/// A frame whose head is good.
struct Found {
    /// The tag that it continues.
    chain: [u8; TAG],
    sequence: u64,
    group: u64,
    payload: Extent,
    end: u64,
    tag: [u8; TAG],
    entries: Vec<Entry>,
}

impl Found {
    fn is_footer(&self) -> bool {
        matches!(self.entries.as_slice(), [Entry::Footer])
    }
}

struct Scan<'a> {
    segment: &'a Segment,
    keys: &'a Keyring,
    state: &'a mut State,
    /// The disk did not give back what was looked at.
    unreadable: bool,
    /// Told before each head.
    gets_on: &'a mut dyn FnMut(),
}

impl Scan<'_> {
    /// Reads the frames in order. `next` is the first sequence number of the segment after this one; without it this is
    /// the last one, whose end a power cut may have torn.
    fn run(mut self, next: Option<u64>) -> Result<End, SpoolError> {
        let mut end = End { offset: BLOCK as u64, sequence: self.segment.first, chain: self.segment.salt };
        // Frames of the newest write: the only ones that may be torn.
        let mut newest: Vec<Found> = Vec::new();
        let (mut at, mut sequence, mut chain) = (end.offset, end.sequence, end.chain);
        let mut sealed = false;
        while !sealed {
            let follows = |frame: &Found| frame.chain == chain && frame.sequence == sequence;
            let frame = match self.frame_at(at)?.filter(follows) {
                Some(frame) => frame,
                None => match self.behind_damage(at, sequence, next)? {
                    Some(frame) => {
                        self.state.damaged += 1;
                        self.unreadable = false;
                        // It was written when all before it was on the disk.
                        newest.drain(..).for_each(|frame| self.accept(frame, &mut end));
                        frame
                    }
                    None => break,
                },
            };
            sealed = frame.is_footer();
            (at, sequence, chain) = (frame.end, frame.sequence + 1, frame.tag);
            if next.is_some() || newest.first().is_some_and(|first| first.group != frame.group) {
                newest.drain(..).for_each(|frame| self.accept(frame, &mut end));
            }
            newest.push(frame);
        }
        // A segment with one after it was sealed.
        self.state.damaged += u64::from(next.is_some() && !sealed || self.unreadable);
        for frame in newest {
            if next.is_none() && !self.is_whole(&frame)? {
                return Ok(end);
            }
            self.accept(frame, &mut end);
        }
        if sealed {
            end.offset = self.segment.size;
        }
        Ok(end)
    }

    /// The first frame behind a place where the frame `sequence` does not stand as it was written; `None` where that may
    /// as well never have been acknowledged.
    ///
    /// In the last segment a frame tells by its group what was durable when it was written: one that was written after
    /// `sequence` was on the disk shows that the place is damaged. What is left of a torn write shows no such thing.
    fn behind_damage(&mut self, from: u64, sequence: u64, next: Option<u64>) -> Result<Option<Found>, SpoolError> {
        for at in (from..self.segment.size).step_by(BLOCK) {
            let shows_damage = |frame: &Found| match next {
                Some(next) => frame.sequence >= sequence && frame.sequence < next,
                None => frame.group > sequence,
            };
            if let Some(frame) = self.frame_at(at)?.filter(shows_damage) {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    fn accept(&mut self, frame: Found, end: &mut End) {
        *end = End { offset: frame.end, sequence: frame.sequence + 1, chain: frame.tag };
        self.state.apply(frame.sequence, frame.payload, frame.entries);
        if let Some(part) = self.state.segments.get_mut(&self.segment.number) {
            part.written = frame.end;
        }
    }

    /// The frame at an offset; `None` where there is none.
    fn frame_at(&mut self, offset: u64) -> Result<Option<Found>, SpoolError> {
        (self.gets_on)();
        let mut head = vec![0; BLOCK];
        if offset + BLOCK as u64 > self.segment.size || !self.read(offset, &mut head)? {
            return Ok(None);
        }
        let Some(claim) = Claim::read(&head) else { return Ok(None) };
        if offset + claim.length() > self.segment.size {
            return Ok(None);
        }
        let length = claim.head() as usize;
        if length > BLOCK {
            head.resize(length, 0);
            if !self.read(offset + BLOCK as u64, &mut head[BLOCK..])? {
                return Ok(None);
            }
        }
        let number = self.segment.number;
        let Some((tag, entries)) = claim.open(&self.segment.key, number, offset, &mut head, self.keys) else {
            return Ok(None);
        };
        let payload = Extent { segment: number, offset: offset + claim.head(), length: claim.payload, first_chunk: 0 };
        let (chain, sequence, group, end) = (claim.chain, claim.sequence, claim.group, offset + claim.length());
        Ok(Some(Found { chain, sequence, group, payload, end, tag, entries }))
    }

    /// Fills the buffer; false where the disk has lost what stood there.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<bool, SpoolError> {
        match self.segment.file.read_at(offset, buffer) {
            Ok(()) => Ok(true),
            Err(error) if is_unreadable(&error) => {
                self.unreadable = true;
                Ok(false)
            }
            Err(error) => Err(SpoolError::disk("read the log")(error)),
        }
    }

    /// True where a frame's payload is all there.
    fn is_whole(&mut self, frame: &Found) -> Result<bool, SpoolError> {
        for entry in &frame.entries {
            let (Entry::Instance { key, stream, first_chunk, .. } | Entry::Part { key, stream, first_chunk }) = entry
            else {
                continue;
            };
            let mut payload = vec![0; frame.payload.length as usize];
            if !self.read(frame.payload.offset, &mut payload)? {
                // Not torn, but lost: who asks for it is told.
                self.state.damaged += 1;
                continue;
            }
            for (number, chunk) in (*first_chunk..).zip(payload.chunks_mut(SEALED_CHUNK)) {
                if key.key.open(chunk_nonce(*stream, number), b"chunk", chunk).is_none() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
