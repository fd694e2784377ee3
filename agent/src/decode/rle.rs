//! RLE Lossless (PS3.5 annex G).
use super::pixel::Pixel;
use crate::fault::{Blame, Fault};

/// A frame as little endian words, colour by pixel. `pixel.bytes()` bytes, or a fault.
///
/// A segment is one byte plane: the most significant byte of the first sample first (PS3.5 G.2).
pub(super) fn decode(frame: &[u8], pixel: &Pixel) -> Result<Vec<u8>, Fault> {
    let width = pixel.allocated.div_ceil(8) as usize;
    let planes = pixel.samples * width;
    let plane = pixel.rows * pixel.columns;
    // PackBits makes at most 128 bytes of 2, so that a short frame cannot claim a large image.
    if pixel.bytes() / 64 > frame.len() {
        return Err(broken("it is too short for the image that it claims"));
    }
    let offsets = offsets(frame, planes)?;
    let mut words = vec![0; pixel.bytes()];
    for (segment, ends) in offsets.windows(2).enumerate() {
        let packed = frame.get(ends[0]..ends[1]).ok_or_else(|| broken("a segment lies outside of it"))?;
        let (sample, byte) = (segment / width, segment % width);
        let first = sample * width + (width - 1 - byte);
        unpack(packed, plane, |at, value, count| {
            for word in words[first + at * planes..].iter_mut().step_by(planes).take(count) {
                *word = value;
            }
        })?;
    }
    Ok(words)
}

/// Where the segments begin, and where the last one ends (PS3.5 G.5).
fn offsets(frame: &[u8], planes: usize) -> Result<Vec<usize>, Fault> {
    let header = frame.first_chunk::<64>().ok_or_else(|| broken("its header is not whole"))?;
    let mut words = header.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word) as usize);
    if words.next() != Some(planes) {
        return Err(broken("it has not the number of segments that the image asks for"));
    }
    let mut offsets: Vec<usize> = words.take(planes).collect();
    offsets.push(frame.len());
    Ok(offsets)
}

/// PackBits (PS3.5 G.3.2): calls `put(position, value, count)` until `plane` bytes are there.
fn unpack(packed: &[u8], plane: usize, mut put: impl FnMut(usize, u8, usize)) -> Result<(), Fault> {
    let (mut at, mut done) = (0, 0);
    let short = || broken("a segment ends before its image does");
    while done < plane {
        let control = *packed.get(at).ok_or_else(short)? as i8;
        at += 1;
        if control >= 0 {
            let count = (control as usize + 1).min(plane - done);
            for (n, value) in packed.get(at..at + count).ok_or_else(short)?.iter().enumerate() {
                put(done + n, *value, 1);
            }
            at += control as usize + 1;
            done += count;
        } else if control != i8::MIN {
            let count = (1 - isize::from(control)) as usize;
            let count = count.min(plane - done);
            put(done, *packed.get(at).ok_or_else(short)?, count);
            at += 1;
            done += count;
        }
    }
    Ok(())
}

fn broken(why: &str) -> Fault {
    Fault::new("pixels-malformed", Blame::Peer, format!("an RLE frame cannot be decoded: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::pixel::Photometric;

    fn pixel(rows: usize, columns: usize, allocated: u32) -> Pixel {
        Pixel {
            rows,
            columns,
            samples: 1,
            frames: 1,
            allocated,
            stored: allocated,
            shift: 0,
            signed: false,
            planes: false,
            photometric: Photometric::Monochrome2,
        }
    }

    fn frame(segments: &[&[u8]]) -> Vec<u8> {
        let mut frame = (segments.len() as u32).to_le_bytes().to_vec();
        let mut at = 64;
        for segment in segments {
            frame.extend_from_slice(&(at as u32).to_le_bytes());
            at += segment.len();
        }
        frame.resize(64, 0);
        frame.extend(segments.concat());
        frame
    }

    #[test]
    fn runs_literals_and_no_ops_are_unpacked() {
        // 2 x 3 pixels of 16 bits: high bytes all 1; low bytes 7, 8, then four times 9.
        let frame = frame(&[&[0xfb, 1], &[1, 7, 8, 0x80, 0xfd, 9]]);
        assert_eq!(decode(&frame, &pixel(2, 3, 16)).unwrap(), [7, 1, 8, 1, 9, 1, 9, 1, 9, 1, 9, 1]);
    }

    #[test]
    fn a_frame_that_ends_early_is_refused() {
        assert_eq!(decode(&frame(&[&[0xfb, 1]]), &pixel(2, 4, 8)).unwrap_err().code, "pixels-malformed");
    }

    #[test]
    fn a_short_frame_cannot_claim_a_large_image() {
        let reason = decode(&frame(&[&[0xfb, 1]]), &pixel(30_000, 30_000, 8)).unwrap_err().reason;
        assert!(reason.contains("too short"), "{reason}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            segments in 0u32..20, width in 0usize..3) {
            let mut frame = segments.to_le_bytes().to_vec();
            frame.extend(tail);
            let _ = decode(&frame, &pixel(5, 7, [8, 16, 32][width]));
        }
    }
}
