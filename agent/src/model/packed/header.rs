//! The header block of a member: POSIX ustar (IEEE Std 1003.1, pax, "ustar Interchange Format"), a regular file of mode 0644
//! that belongs to root and has no time.
use crate::limits::model::MAX_MEMBER_NAME;

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;
/// Field of the length: eleven octal digits.
const MAX_LENGTH: u64 = 0o77_777_777_777;

/// The one header that a member of this name and length has; `None` where there is none.
pub(crate) fn header(name: &str, length: u64) -> Option<[u8; BLOCK]> {
    if name.is_empty() || name.len() > MAX_MEMBER_NAME || length > MAX_LENGTH {
        return None;
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, format!("{length:011o}").as_bytes());
    put(136, b"00000000000\0        0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\x000000000\0");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

/// The length that a header gives to the member of this name; `None` where it is not this member's, in the one encoding.
pub(super) fn length(block: &[u8; BLOCK], name: &str) -> Option<u64> {
    let digits = std::str::from_utf8(&block[124..135]).ok()?;
    let length = u64::from_str_radix(digits, 8).ok()?;
    (header(name, length)? == *block).then_some(length)
}

/// Bytes of zero behind a member's, up to the next block.
pub(crate) fn padding(length: u64) -> u64 {
    length.next_multiple_of(BLOCK as u64) - length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_as_its_own_alone() {
        let block = header("golden/first/1.dcm", 1234).unwrap();
        assert_eq!(length(&block, "golden/first/1.dcm"), Some(1234));
        assert_eq!(length(&block, "golden/first/2.dcm"), None);
        for at in 0..BLOCK {
            let mut other = block;
            other[at] ^= 1;
            assert_eq!(length(&other, "golden/first/1.dcm"), None, "byte {at} means nothing");
        }
    }

    #[test]
    fn what_has_no_place_in_a_header_has_no_header() {
        assert!(header("", 0).is_none() && header(&"n".repeat(101), 0).is_none() && header("n", 1 << 33).is_none());
        assert!(header(&"n".repeat(100), (1 << 33) - 1).is_some());
        assert_eq!((padding(0), padding(1), padding(512), padding(513)), (0, 511, 0, 511));
    }
}
