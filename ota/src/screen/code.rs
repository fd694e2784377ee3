//! The one-time code, as somebody types it.
use std::time::Duration;
use tokio::time::Instant;

/// Letters of a code, with its dashes and some to spare.
pub const MAX_LETTERS: usize = 32;
/// Codes in a row that were wrong before nothing is taken for a while: the channel counts too, and this keeps one who guesses away from it.
pub const MAX_WRONG: u32 = 5;
/// That while.
pub const PAUSE: Duration = Duration::from_mins(15);

/// What is being typed.
#[derive(Debug, Default)]
pub struct Typing {
    letters: String,
    /// Within a key that is sent as a sequence, e.g. an arrow.
    escape: Escape,
    wrong: u32,
    closed_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    No,
    Begun,
    Within,
}

impl Typing {
    /// What was typed so far.
    pub fn letters(&self) -> &str {
        &self.letters
    }

    /// Takes a byte of the keyboard. A whole code comes out with Enter.
    pub fn key(&mut self, byte: u8, now: Instant) -> Option<String> {
        match (self.escape, byte) {
            (_, 0x1b) => self.escape = Escape::Begun,
            (Escape::Begun, b'[' | b'O') => self.escape = Escape::Within,
            (Escape::Begun, _) => self.escape = Escape::No,
            // ECMA-48 5.4: a sequence ends with a byte from 0x40 on.
            (Escape::Within, 0x40..=0x7e) => self.escape = Escape::No,
            (Escape::Within, _) => {}
            (Escape::No, _) if self.is_closed(now) => self.letters.clear(),
            (Escape::No, b'\r' | b'\n') if !self.letters.is_empty() => return Some(std::mem::take(&mut self.letters)),
            (Escape::No, 0x08 | 0x7f) => drop(self.letters.pop()),
            // Ctrl-U
            (Escape::No, 0x15) => self.letters.clear(),
            (Escape::No, byte) => {
                let is_of_it = byte.is_ascii_alphanumeric() || byte == b'-';
                if is_of_it && self.letters.len() < MAX_LETTERS {
                    self.letters.push(char::from(byte.to_ascii_uppercase()));
                }
            }
        }
        None
    }

    /// The channel did not know the code.
    pub fn was_wrong(&mut self, now: Instant) {
        self.wrong += 1;
        if self.wrong >= MAX_WRONG {
            self.wrong = 0;
            self.closed_until = Some(now + PAUSE);
        }
    }

    /// Whether nothing is taken now.
    pub fn is_closed(&self, now: Instant) -> bool {
        self.closed_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_in(typing: &mut Typing, keys: &[u8]) -> Vec<String> {
        keys.iter().filter_map(|byte| typing.key(*byte, Instant::now())).collect()
    }

    #[test]
    fn nothing_but_letters_of_a_code_is_taken_and_no_more_than_one_has() {
        let mut typing = Typing::default();
        assert_eq!(type_in(&mut typing, b"\r\nab1\x1b[A\x1b[15~;rm -rf /\x03\x1a\xc3\x98\x7f-2\r"), ["AB1RM-R-2"]);
        assert_eq!(type_in(&mut typing, b"wrong\x15right\n"), ["RIGHT"]);
        type_in(&mut typing, &[b'A'; 1000]);
        assert_eq!(typing.letters().len(), MAX_LETTERS);
    }

    #[test]
    fn who_guesses_is_made_to_wait() {
        let (mut typing, now) = (Typing::default(), Instant::now());
        for _ in 0..MAX_WRONG {
            assert!(!typing.is_closed(now));
            typing.was_wrong(now);
        }
        assert!(typing.is_closed(now));
        assert!(b"GUESS\r".iter().all(|byte| typing.key(*byte, now).is_none()));
        assert!(!typing.is_closed(now + PAUSE));
        assert!(b"RIGHT\r".iter().filter_map(|byte| typing.key(*byte, now + PAUSE)).eq(["RIGHT"]));
    }
}
