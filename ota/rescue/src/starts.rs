//! Which slot starts: the starts since the last good one are counted, so that a system that does not come up is left for the other
//! one, and the rescue begins where that does not come up either.
use std::fmt;

/// So many starts of a slot without a good one are borne with: a power cut, or someone's hand, is no reason to leave it.
pub const MAX_STARTS: usize = 3;

/// A slot, as the firmware's boot entries are called: `sund-a`, `sund-b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The first one.
    A,
    /// The second one.
    B,
}

impl Slot {
    /// Of its letter.
    pub fn parse(letter: &str) -> Option<Self> {
        match letter {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    /// The firmware was asked to start it.
    const fn asked(self) -> char {
        self.letter().to_ascii_uppercase()
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This slot goes on.
    This,
    /// The firmware starts the other one.
    Other,
    /// Neither starts.
    Rescue,
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::This => "this",
            Self::Other => "other",
            Self::Rescue => "rescue",
        })
    }
}

/// The starts since the last good one, oldest first: `a` is a start of slot a, `A` that the firmware was asked for one. A good start
/// takes all of them away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Starts(String);

impl Starts {
    /// As the firmware keeps them. What nobody here has written counts as none.
    pub fn parse(bytes: &[u8]) -> Self {
        let known = |byte: &u8| b"aAbB".contains(byte);
        Self(if bytes.iter().all(known) { String::from_utf8_lossy(bytes).into_owned() } else { String::new() })
    }

    /// As the firmware keeps them; nothing where there were none.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// A slot begins to start.
    #[must_use]
    pub fn begin(mut self, slot: Slot) -> (Self, Next) {
        if self.count(slot) >= MAX_STARTS {
            return self.leave(slot);
        }
        self.0.push(slot.letter());
        (self, Next::This)
    }

    /// A slot that has begun to start is not what was signed: it is not tried again.
    #[must_use]
    pub fn broken(mut self, slot: Slot) -> (Self, Next) {
        while self.count(slot) < MAX_STARTS {
            self.0.push(slot.letter());
        }
        self.leave(slot)
    }

    fn leave(mut self, slot: Slot) -> (Self, Next) {
        let other = slot.other();
        // The firmware comes back at once from one that it can't even start.
        let came_back = self.0.ends_with(other.asked());
        if came_back || self.count(other) >= MAX_STARTS {
            // Where the rescue fails too, each slot is tried once more: a power cut too many may have been all.
            let again = [slot.letter(), other.letter()].map(|letter| letter.to_string().repeat(MAX_STARTS - 1));
            return (Self(again.concat()), Next::Rescue);
        }
        self.0.push(other.asked());
        (self, Next::Other)
    }

    fn count(&self, slot: Slot) -> usize {
        self.0.matches(slot.letter()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a start of a slot comes to.
    type Step = fn(Starts, Slot) -> (Starts, Next);

    /// The slots that a firmware starts, in this order, until the rescue begins; its own order has slot a first, and neither stays up.
    fn lives(first: Step, second: Step) -> String {
        let (mut starts, mut slot, mut lived) = (Starts::default(), Slot::A, String::new());
        loop {
            lived.push(slot.letter());
            let step = if slot == Slot::A { first } else { second };
            let (after, next) = step(Starts::parse(starts.as_bytes()), slot);
            starts = after;
            match next {
                Next::This => slot = Slot::A,
                Next::Other => slot = slot.other(),
                Next::Rescue => return lived,
            }
        }
    }

    fn panics(starts: Starts, slot: Slot) -> (Starts, Next) {
        starts.begin(slot)
    }

    fn is_broken(starts: Starts, slot: Slot) -> (Starts, Next) {
        match starts.begin(slot) {
            (starts, Next::This) => starts.broken(slot),
            left => left,
        }
    }

    #[test]
    fn a_slot_that_is_not_what_was_signed_is_left_at_once_and_both_of_them_for_the_rescue() {
        assert_eq!(lives(is_broken, is_broken), "ab");
    }

    #[test]
    fn a_slot_that_does_not_come_up_is_tried_three_times() {
        assert_eq!(lives(panics, is_broken), "aaaab");
        assert_eq!(lives(panics, panics), "aaaabababa");
        assert_eq!(lives(is_broken, panics), "abababa");
    }

    #[test]
    fn a_slot_that_the_firmware_cannot_start_is_not_asked_for_again() {
        let (starts, next) = is_broken(Starts::default(), Slot::A);
        assert_eq!(next, Next::Other);
        // It was slot b's turn, and slot a is here again.
        assert_eq!(starts.begin(Slot::A), (Starts("aabb".to_owned()), Next::Rescue));
    }

    #[test]
    fn after_a_rescue_that_fails_each_slot_is_tried_once_more() {
        let (starts, next) = Starts::parse(b"aabb").begin(Slot::A);
        assert_eq!(next, Next::This);
        let (starts, next) = starts.begin(Slot::A);
        assert_eq!(next, Next::Other);
        let (starts, next) = starts.begin(Slot::B);
        assert_eq!(next, Next::This);
        assert_eq!(starts.begin(Slot::A).1, Next::Rescue);
    }

    #[test]
    fn what_nobody_here_has_written_counts_as_no_start() {
        for bytes in [&b"aaa?"[..], b"\xff\xfe", b"a\0a\0a\0"] {
            assert_eq!(Starts::parse(bytes).begin(Slot::A), (Starts("a".to_owned()), Next::This));
        }
    }
}
