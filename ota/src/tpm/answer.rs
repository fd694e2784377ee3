//! Reads what a TPM answers. Every length is checked against what there is.

/// The longest answer that is read, in bytes: more than any of the commands here is answered with.
pub(super) const MAX_ANSWER: usize = 4096;
/// Tag, size and code (Part 1, 18.1).
pub(super) const HEADER: usize = 10;

/// What is left of an answer.
#[derive(Debug)]
pub(super) struct Answer<'a>(&'a [u8]);

/// It is shorter than it says, or of another kind.
pub(super) type Malformed = &'static str;

impl<'a> Answer<'a> {
    /// The code of an answer, and what comes behind its header.
    pub(super) fn of(bytes: &'a [u8]) -> Result<(u32, Self), Malformed> {
        let mut answer = Self(bytes);
        let (_tag, size, code) = (answer.number(2)?, answer.number(4)?, answer.number(4)?);
        if size as usize != bytes.len() {
            return Err("its answer has another length than it says");
        }
        Ok((code, answer))
    }

    /// A big-endian number of up to four bytes.
    pub(super) fn number(&mut self, bytes: usize) -> Result<u32, Malformed> {
        Ok(self.bytes(bytes)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// So many bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or("its answer is cut short")?;
        self.0 = rest;
        Ok(head)
    }

    /// A sized buffer (TPM2B, Part 2, 10.4).
    pub(super) fn sized(&mut self) -> Result<&'a [u8], Malformed> {
        let size = self.number(2)? as usize;
        self.bytes(size)
    }

    /// An answer within a sized buffer.
    pub(super) fn inner(&mut self) -> Result<Self, Malformed> {
        self.sized().map(Self)
    }

    /// A number of the elliptic curve, at its full width: a TPM may leave out zeros in front.
    pub(super) fn coordinate(&mut self) -> Result<[u8; 32], Malformed> {
        let given = self.sized()?;
        let mut full = [0; 32];
        let at = full.len().checked_sub(given.len()).ok_or("its answer has a number that is too long for the curve")?;
        full[at..].copy_from_slice(given);
        Ok(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_a_tpm_answers_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((_, mut answer)) = Answer::of(&bytes) {
                while answer.coordinate().is_ok() {
                    if answer.0.is_empty() {
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn an_answer_that_is_cut_short_or_says_another_length_is_none() {
        let whole = [0x80, 1, 0, 0, 0, 14, 0, 0, 0, 0, 0, 2, 7, 8];
        let (code, mut answer) = Answer::of(&whole).expect("an answer");
        assert_eq!((code, answer.sized()), (0, Ok(&[7, 8][..])));
        assert!((0..whole.len()).all(|length| Answer::of(&whole[..length]).is_err()));
        let mut longer = whole;
        longer[11] = 3;
        assert!(Answer::of(&longer).expect("a header").1.sized().is_err());
    }
}
