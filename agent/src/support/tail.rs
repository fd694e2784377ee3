//! The last lines of this process's own log, in memory: what a daemon can say where nobody can read its journal.
use crate::limits::support::{MAX_LINES, MAX_LOG};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing_subscriber::fmt::MakeWriter;

/// A place to write the log to, beside where it goes; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Tail(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    last: VecDeque<String>,
    bytes: u64,
}

impl Tail {
    /// The lines, oldest first.
    pub fn text(&self) -> String {
        self.lines().last.iter().map(String::as_str).collect()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for Tail {
    /// One event, as the log writes it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines();
        lines.bytes += line.len() as u64;
        lines.last.push_back(String::from_utf8_lossy(line).into_owned());
        while lines.last.len() > MAX_LINES || lines.bytes > MAX_LOG {
            let Some(oldest) = lines.last.pop_front() else { break };
            lines.bytes = lines.bytes.saturating_sub(oldest.len() as u64);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Tail {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_log_without_end_takes_no_more_memory_than_its_last_lines() {
        let mut tail = Tail::default();
        for n in 0..2 * MAX_LINES {
            tail.make_writer().write_all(format!("{n}\n").as_bytes()).unwrap();
        }
        let text = tail.text();
        assert_eq!((text.lines().count(), text.lines().next()), (MAX_LINES, Some(MAX_LINES.to_string().as_str())));
        let long = vec![b'a'; MAX_LOG as usize - 1];
        tail.write_all(&long).unwrap();
        tail.write_all(&long).unwrap();
        assert_eq!(tail.text().len(), long.len());
    }
}
