//! Gives back segments that hold nothing alive, after what is alive of the tables has been copied forward.
use super::commit::{Frame, Writer};
use super::frame::Entry;
use super::segment;
use super::shared::{Shared, read, write};
use super::{SpoolError, Table};

impl Shared {
    /// Reclaims what can be, and says how many segments. A failure leaves the log as it is, for the next time.
    pub(super) fn reclaim(&self, writer: &mut Writer) -> u64 {
        let mut given_back = 0;
        writer.rolled = false;
        // A key that cannot be read is not one that was erased: what it sealed stays, until the file is brought back.
        if self.keys.damaged() > 0 {
            return 0;
        }
        let candidates: Vec<u64> = read(&self.state)
            .segments
            .values()
            .filter(|part| part.segment.number != writer.segment.number)
            .filter(|part| part.instances == 0 && part.pins == 0 && part.table_bytes * 2 <= part.segment.size)
            .map(|part| part.segment.number)
            .collect();
        for number in candidates {
            if self.copy_forward(writer, number).and_then(|()| self.give_back(number)).is_err() {
                break;
            }
            given_back += 1;
        }
        given_back
    }

    fn copy_forward(&self, writer: &mut Writer, number: u64) -> Result<(), SpoolError> {
        let most = self.options.segment_bytes as usize / 8;
        let mut entries = Vec::new();
        let mut bytes = 0;
        for entry in self.alive(number) {
            let size = match &entry {
                Entry::Put { key, value, .. } => 128 + key.len() + value.len(),
                Entry::Delete { .. } => 32,
                _ => 0,
            };
            if bytes + size > most && !entries.is_empty() {
                self.write_through(writer, std::mem::take(&mut entries))?;
                bytes = 0;
            }
            bytes += size;
            entries.push(entry);
        }
        if entries.is_empty() { Ok(()) } else { self.write_through(writer, entries) }
    }

    fn alive(&self, number: u64) -> Vec<Entry> {
        let state = read(&self.state);
        let mut entries = Vec::new();
        for table in Table::ALL {
            for (key, value) in state.tables[table as usize].iter().filter(|(_, value)| value.segment == number) {
                let (value, study, name) = (value.bytes.clone(), value.study.clone(), value.name);
                entries.push(Entry::Put { table, key: key.clone(), value, study, name });
            }
        }
        for ((table, key), tombstone) in &state.tombstones {
            if tombstone.segment == number && state.needs(tombstone, number) {
                entries.push(Entry::Delete { table: *table, key: key.clone(), name: tombstone.name });
            }
        }
        entries
    }

    fn write_through(&self, writer: &mut Writer, entries: Vec<Entry>) -> Result<(), SpoolError> {
        let frame = Frame::new(self, entries, None)?;
        self.make_room(writer, &frame)?;
        self.write_group(writer, vec![frame]).pop().unwrap_or(Err(SpoolError::Stopped)).map(|_| ())
    }

    fn give_back(&self, number: u64) -> Result<(), SpoolError> {
        let give_back = SpoolError::disk("give back a segment");
        // A spare counts as full: above the limit for instances it would keep them out for ever.
        let keep = self.physical_bytes() <= self.options.ingest_limit();
        let mut state = write(&self.state);
        let size = match state.segments.get(&number) {
            // A reader that came meanwhile keeps it.
            Some(part) if part.pins == 0 && part.instances == 0 => part.segment.size,
            _ => return Ok(()),
        };
        let name = segment::name(number);
        let spare = self.spares.room(number, size).filter(|_| keep);
        match &spare {
            Some(spare) => self.io.rename(&name, spare),
            None => self.io.remove(&name),
        }
        .map_err(&give_back)?;
        // Until its name is gone for good, what its tables said must stay superseded.
        self.io.sync_directory().map_err(&give_back).inspect_err(|error| self.stop(error.clone()))?;
        state.remove_segment(number);
        drop(state);
        if let Some(spare) = spare {
            self.spares.give(spare);
        }
        Ok(())
    }
}
