//! Group commit without a thread of its own: whoever waits first writes for all who wait.
//!
//! A frame is queued; if nobody is writing, its owner takes the writer, writes everything queued in one pass, and
//! answers each. Those who come meanwhile wait; when the writer is free again, the first of them is woken to lead. One
//! association so commits without any hand-over between threads, and many share one flush.
use super::buffer::{BLOCK, Pooled, blocks};
use super::frame::{Entry, Extent, Place, head_blocks, write_head};
use super::key::TAG;
use super::segment::Segment;
use super::shared::{Shared, exclusive, read, write};
use super::{SpoolError, Table};
use std::collections::VecDeque;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// Most bytes of one write; the first in a group should not wait for the whole queue.
const MAX_GROUP: u64 = 8 * 1024 * 1024;

/// A frame on its way.
pub(super) struct Frame {
    pub(super) entries: Vec<Entry>,
    encoded: Vec<u8>,
    head: Pooled,
    payload: Option<(Pooled, usize)>,
    /// True for an instance or part that came from a sender, which stays out of the reserve.
    pub(super) ingest: bool,
}

impl Frame {
    /// Seals the entries for writing. Of the payload's buffer that many bytes count.
    pub(super) fn new(
        shared: &Shared,
        entries: Vec<Entry>,
        payload: Option<(Pooled, usize)>,
    ) -> Result<Self, SpoolError> {
        let mut encoded = Vec::with_capacity(1024);
        for entry in &entries {
            entry.encode(&mut encoded)?;
        }
        let limit = shared.options.segment_bytes / 4;
        if encoded.len() as u64 > limit {
            return Err(SpoolError::TooLarge { what: "a batch", length: encoded.len() as u64, limit });
        }
        let mut payload = payload.filter(|(_, length)| *length > 0);
        if let Some((buffer, length)) = &mut payload {
            // What an earlier use left behind must not reach the disk.
            buffer.bytes_mut(blocks(*length))[*length..].fill(0);
        }
        let ingest = entries.iter().any(|entry| matches!(entry, Entry::Instance { .. } | Entry::Part { .. }));
        let head = shared.heads.take(head_blocks(encoded.len()));
        Ok(Self { entries, encoded, head, payload, ingest })
    }

    fn head_length(&self) -> usize {
        head_blocks(self.encoded.len())
    }

    fn length(&self) -> u64 {
        (self.head_length() + self.payload.as_ref().map_or(0, |(_, length)| blocks(*length))) as u64
    }
}

/// Where a frame became durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    pub(super) sequence: u64,
    pub(super) payload: Extent,
}

pub(super) type Outcome = Result<Committed, SpoolError>;

pub(super) struct Pending {
    frame: Frame,
    done: oneshot::Sender<Outcome>,
    lead: Option<oneshot::Sender<Hint>>,
}

/// Tells a waiter to lead. Dropped unused, by a waiter that gave up, it goes to the next.
struct Hint {
    shared: Arc<Shared>,
    armed: bool,
}

impl Drop for Hint {
    fn drop(&mut self) {
        if self.armed {
            self.shared.pass_on();
        }
    }
}

/// The end of the log.
pub(super) struct Writer {
    pub(super) segment: Segment,
    /// Where the next frame goes; the segment's size once it is sealed.
    pub(super) offset: u64,
    pub(super) sequence: u64,
    pub(super) chain: [u8; TAG],
    /// A segment was sealed: see what can be reclaimed.
    pub(super) rolled: bool,
}

/// The writer in one's hand. Let go, by whichever way, it goes to the first who waits.
pub(super) struct Turn<'a> {
    writer: MutexGuard<'a, Writer>,
    /// Dropped second, when the writer is free.
    _next: PassOn<'a>,
}

struct PassOn<'a>(&'a Arc<Shared>);

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl Deref for Turn<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.writer
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }
}

impl Shared {
    /// Makes a frame durable; returns when it is.
    pub(super) async fn submit(self: &Arc<Self>, frame: Frame) -> Outcome {
        let (lead, mut hint) = oneshot::channel();
        // Declared last, dropped first: when a hint goes unused, its waiter is known to be gone.
        let (done, mut answer) = oneshot::channel();
        exclusive(&self.queue).push_back(Pending { frame, done, lead: Some(lead) });
        self.lead_if_free();
        if let Ok(outcome) = answer.try_recv() {
            return outcome;
        }
        tokio::select! {
            biased;
            outcome = &mut answer => return outcome.unwrap_or(Err(SpoolError::Stopped)),
            hint = &mut hint => if let Ok(hint) = hint {
                self.lead();
                drop(hint);
            },
        }
        answer.await.unwrap_or(Err(SpoolError::Stopped))
    }

    /// The same, for callers that may block.
    pub(super) fn submit_blocking(self: &Arc<Self>, frame: Frame) -> Outcome {
        let (done, mut answer) = oneshot::channel();
        exclusive(&self.queue).push_back(Pending { frame, done, lead: None });
        self.lead();
        match answer.try_recv() {
            Ok(outcome) => outcome,
            // Another leader has it in hand.
            Err(_) => block_on(answer).unwrap_or(Err(SpoolError::Stopped)),
        }
    }

    fn lead_if_free(self: &Arc<Self>) {
        let writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(broken)) => self.half_written(broken),
            // Whoever has it passes it on.
            Err(TryLockError::WouldBlock) => return,
        };
        let mut turn = Turn { writer, _next: PassOn(self) };
        waiting(|| self.drain(&mut turn));
    }

    fn lead(self: &Arc<Self>) {
        waiting(|| self.drain(&mut self.turn()));
    }

    /// Waits for the writer.
    pub(super) fn turn(self: &Arc<Self>) -> Turn<'_> {
        Turn { writer: self.writer.lock().unwrap_or_else(|broken| self.half_written(broken)), _next: PassOn(self) }
    }

    /// The writer of a thread that panicked: how far it came is not known.
    fn half_written<'a>(&self, broken: PoisonError<MutexGuard<'a, Writer>>) -> MutexGuard<'a, Writer> {
        self.stop(SpoolError::HalfWritten);
        broken.into_inner()
    }

    /// Wakes the first waiter, if any: the writer is free.
    fn pass_on(self: &Arc<Self>) {
        let mut queue = exclusive(&self.queue);
        for waiting in queue.iter_mut() {
            match waiting.lead.take() {
                Some(lead) => match lead.send(Hint { shared: Arc::clone(self), armed: true }) {
                    Ok(()) => return,
                    Err(mut hint) => hint.armed = false,
                },
                // It was told, and has given up since.
                None if waiting.done.is_closed() => {}
                None => return,
            }
        }
    }

    /// Writes all that is queued, group by group, and answers.
    pub(super) fn drain(&self, writer: &mut Writer) {
        let mut waiting = std::mem::take(&mut *exclusive(&self.queue));
        while !waiting.is_empty() {
            let mut answers = Vec::new();
            let group = self.next_group(writer, &mut waiting, &mut answers);
            let outcomes = self.write_group(writer, group);
            for (done, outcome) in answers.into_iter().zip(outcomes) {
                let _ = done.send(outcome);
            }
        }
        if std::mem::take(&mut writer.rolled) {
            blocking(|| self.reclaim(writer));
        }
    }

    /// Takes the frames of one write from the front; those that cannot be written are answered here.
    fn next_group(
        &self,
        writer: &mut Writer,
        waiting: &mut VecDeque<Pending>,
        answers: &mut Vec<oneshot::Sender<Outcome>>,
    ) -> Vec<Frame> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(next) = waiting.front() {
            let length = next.frame.length();
            let fits = writer.offset + bytes + length + BLOCK as u64 <= writer.segment.size;
            if !group.is_empty() && (!fits || bytes + length > MAX_GROUP) {
                break;
            }
            let admitted = self.admit(&next.frame).and_then(|()| self.make_room(writer, &next.frame));
            let Some(next) = waiting.pop_front() else { break };
            match admitted {
                Ok(()) => {
                    bytes += length;
                    group.push(next.frame);
                    answers.push(next.done);
                }
                Err(error) => {
                    let _ = next.done.send(Err(error));
                }
            }
        }
        group
    }

    fn admit(&self, frame: &Frame) -> Result<(), SpoolError> {
        self.running()?;
        self.keep_ledger(frame)?;
        if frame.entries.iter().filter_map(Entry::study).any(|key| self.keys.by_id(&key.id).is_none()) {
            return Err(SpoolError::Erased);
        }
        if frame.ingest && self.physical_bytes() > self.options.ingest_limit() {
            return Err(SpoolError::Full);
        }
        Ok(())
    }

    /// A ledger's entry is set once.
    fn keep_ledger(&self, frame: &Frame) -> Result<(), SpoolError> {
        let state = read(&self.state);
        let ledger = &state.tables[Table::Ledger as usize];
        let again = |entry: &Entry| match entry {
            Entry::Put { table: Table::Ledger, key, .. } => ledger.contains_key(key),
            _ => false,
        };
        if frame.entries.iter().any(again) { Err(SpoolError::LedgerIsAppendOnly) } else { Ok(()) }
    }

    /// Writes frames in one pass with one flush, takes them into the state.
    pub(super) fn write_group(&self, writer: &mut Writer, mut group: Vec<Frame>) -> Vec<Outcome> {
        match Self::write_frames(writer, &mut group) {
            Ok(places) => {
                let mut state = write(&self.state);
                for (frame, place) in group.into_iter().zip(&places) {
                    state.apply(place.sequence, place.payload, frame.entries);
                }
                if let Some(part) = state.segments.get_mut(&writer.segment.number) {
                    part.written = writer.offset;
                }
                places.into_iter().map(Ok).collect()
            }
            Err(error) => {
                self.failed(&error);
                group.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }

    fn write_frames(writer: &mut Writer, group: &mut [Frame]) -> Result<Vec<Committed>, SpoolError> {
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let segment = writer.segment.number;
        let (mut offset, mut chain) = (writer.offset, writer.chain);
        let mut places = Vec::with_capacity(group.len());
        for (sequence, frame) in (writer.sequence..).zip(group.iter_mut()) {
            let place = Place { segment, offset, sequence, group: writer.sequence, chain };
            let head = frame.head_length();
            let length = frame.payload.as_ref().map_or(0, |(_, length)| *length as u32);
            chain = write_head(&writer.segment.key, place, &frame.encoded, length, frame.head.bytes_mut(head))?;
            let payload = Extent { segment, offset: offset + head as u64, length, first_chunk: 0 };
            places.push(Committed { sequence, payload });
            offset += frame.length();
        }
        let mut parts = Vec::with_capacity(2 * group.len());
        for frame in group.iter() {
            parts.push(&frame.head.bytes()[..frame.head_length()]);
            if let Some((buffer, length)) = &frame.payload {
                parts.push(&buffer.bytes()[..blocks(*length)]);
            }
        }
        writer.segment.file.write_durably_at(writer.offset, &parts).map_err(SpoolError::disk("write to the log"))?;
        writer.offset = offset;
        writer.chain = chain;
        writer.sequence += group.len() as u64;
        Ok(places)
    }

    /// Sees to it that the frame fits into the segment.
    pub(super) fn make_room(&self, writer: &mut Writer, frame: &Frame) -> Result<(), SpoolError> {
        self.running()?;
        let length = frame.length();
        if writer.offset + length + BLOCK as u64 <= writer.segment.size {
            Ok(())
        } else {
            self.roll(writer, frame.ingest, length)
        }
    }

    /// The last word of a spool that is closed. With it, whatever stands before it was durable: where that does not read
    /// back, the next start knows it for damage, and not for a write that the power cut off.
    pub(super) fn close_log(&self, writer: &mut Writer) {
        let last_word = Frame::new(self, Vec::new(), None);
        // Without it, e.g. on a full disk, nothing is lost.
        let _ = last_word.and_then(|frame| {
            self.make_room(writer, &frame)?;
            self.write_group(writer, vec![frame]).pop().unwrap_or(Err(SpoolError::Stopped))
        });
    }

    /// Seals the segment and begins the next one. Nothing is sealed before there is a file to go on with.
    fn roll(&self, writer: &mut Writer, ingest: bool, needed: u64) -> Result<(), SpoolError> {
        let (name, file) = blocking(|| self.next_file(ingest, needed + 2 * BLOCK as u64))?;
        if writer.offset < writer.segment.size {
            let footer = Frame::new(self, vec![Entry::Footer], None);
            let sealed = footer.and_then(|footer| Self::write_frames(writer, &mut [footer]));
            if let Err(error) = sealed {
                self.failed(&error);
                self.put_back(name);
                return Err(error);
            }
            writer.offset = writer.segment.size;
        }
        let (number, format) = (writer.segment.number + 1, self.format.load(Ordering::Relaxed));
        let next = Segment::begin(&*self.io, &name, &*file, number, writer.sequence, format, &self.master)
            .inspect_err(|error| self.failed(error))?;
        write(&self.state).add_segment(next.clone());
        *writer = Writer::at_start(next, true);
        Ok(())
    }
}

impl Writer {
    /// Before the first frame of a segment.
    pub(super) fn at_start(segment: Segment, rolled: bool) -> Self {
        let (sequence, chain) = (segment.first, segment.salt);
        Self { segment, offset: BLOCK as u64, sequence, chain, rolled }
    }
}

/// Runs a write. It is over about as soon as another thread would have been woken to take over this one's tasks, and one
/// thread does it at a time: where the runtime has others, they take what comes meanwhile.
fn waiting<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if handle.metrics().num_workers() > 1 => work(),
        _ => blocking(work),
    }
}

/// Runs what blocks without holding up the other tasks, where the runtime can.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Waits for a future on a thread that may block.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match std::pin::Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
