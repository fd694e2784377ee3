//! The structure of a data set while it arrives (PS3.5 7.1 to 7.5, A.1 to A.5).
//!
//! [`scan`](crate::dataset::scan) reads a data set that is there; this reads one in whatever fragments it comes, keeps
//! nothing but four UIDs, and refuses what `scan` would refuse later: nesting without end, lengths that lie, an end within
//! an element. Values are gone over, not looked at, so that pixel data costs nothing.
use crate::fault::{Blame, Fault};
use crate::limits::dataset::{MAX_ELEMENTS, MAX_HEADER, MAX_HEADER_VALUE, MAX_INFLATED, MAX_NESTING};
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use flate2::{Decompress, FlushDecompress, Status};

/// Retired from PS3.5 in 2006, still sent.
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const UNDEFINED: u32 = 0xffff_ffff;
const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);
/// PS3.5 9.1: longest UID; one more byte may pad it.
const MAX_UID: u32 = 64;
/// Bytes that are inflated at a time.
const INFLATED: usize = 32 * 1024;

/// What says which instance a data set is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Uids {
    pub sop_class: Option<String>,
    pub sop_instance: Option<String>,
    pub study: Option<String>,
    pub series: Option<String>,
}

impl Uids {
    fn place(&mut self, tag: Tag) -> Option<&mut Option<String>> {
        match tag {
            tags::SOP_CLASS_UID => Some(&mut self.sop_class),
            tags::SOP_INSTANCE_UID => Some(&mut self.sop_instance),
            tags::STUDY_INSTANCE_UID => Some(&mut self.study),
            tags::SERIES_INSTANCE_UID => Some(&mut self.series),
            _ => None,
        }
    }
}

/// Walks a data set (no file meta information) that comes in fragments.
pub(super) struct Walk {
    elements: Elements,
    inflate: Option<Inflate>,
}

impl Walk {
    pub(super) fn new(transfer_syntax: &str) -> Self {
        let is_deflated = transfer_syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN;
        Self { elements: Elements::new(transfer_syntax), inflate: is_deflated.then(Inflate::new) }
    }

    /// Takes the next fragment. After an error nothing more is to be given.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match &mut self.inflate {
            None => self.elements.push(bytes),
            Some(inflate) => inflate.push(bytes, &mut self.elements),
        }
    }

    /// The UIDs that were found so far.
    pub(super) fn uids(&self) -> &Uids {
        &self.elements.uids
    }

    /// The data set has ended.
    pub(super) fn finish(mut self) -> Result<Uids, Fault> {
        self.elements.finish()?;
        Ok(self.elements.uids)
    }
}

/// A sequence or an item that has begun.
#[derive(Clone, Copy)]
struct Open {
    /// Where it ends; `None` for undefined length.
    end: Option<u64>,
    /// PS3.5 6.2.2: an element of VR UN and undefined length holds implicit VR little endian.
    implicit: bool,
    /// Encapsulated pixel data: its items are fragments and hold no elements.
    fragments: bool,
}

struct Elements {
    explicit: bool,
    big_endian: bool,
    /// The open sequences and items, innermost last.
    open: Vec<Open>,
    /// Bytes that were gone over.
    at: u64,
    /// Bytes of the current value that are still to come.
    left: u64,
    /// The head of an element of which only the first bytes came.
    head: Vec<u8>,
    /// A UID whose value is being read.
    uid: Option<(Tag, Vec<u8>)>,
    uids: Uids,
    /// Where the value of the open top-level sequence began.
    body: u64,
    seen: usize,
    kept: u64,
    has_pixel_data: bool,
    /// What follows is of no meaning.
    ended: bool,
}

/// The head of an element, or what became of it.
enum Head {
    Element { tag: Tag, vr: VR, length: u32, bytes: usize },
    UnknownVr(Tag),
    Incomplete,
}

impl Elements {
    fn new(transfer_syntax: &str) -> Self {
        Self {
            explicit: transfer_syntax != uids::IMPLICIT_VR_LITTLE_ENDIAN,
            big_endian: transfer_syntax == BIG_ENDIAN,
            open: Vec::new(),
            at: 0,
            left: 0,
            head: Vec::new(),
            uid: None,
            uids: Uids::default(),
            body: 0,
            seen: 0,
            kept: 0,
            has_pixel_data: false,
            ended: false,
        }
    }

    fn push(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() && !self.ended {
            if self.left > 0 {
                let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX)));
                if let Some((_, value)) = &mut self.uid {
                    value.extend_from_slice(now);
                }
                self.pass(now.len());
                bytes = later;
                continue;
            }
            self.close_ended()?;
            bytes = self.begin(bytes)?;
        }
        Ok(())
    }

    /// Begins an element, or keeps the bytes of its head until the rest comes; gives back what follows.
    fn begin<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        if !self.head.is_empty() {
            // A head has at most 12 bytes; one at a time is quick enough for where fragments meet.
            self.head.push(bytes[0]);
            let head = self.read_head(&self.head);
            if !matches!(head, Head::Incomplete) {
                self.head.clear();
                self.element(&head)?;
            }
            return Ok(&bytes[1..]);
        }
        let head = self.read_head(bytes);
        let length = match head {
            Head::Incomplete => {
                self.head.extend_from_slice(bytes);
                return Ok(&[]);
            }
            Head::Element { bytes, .. } => bytes,
            Head::UnknownVr(_) => 0,
        };
        self.element(&head)?;
        Ok(&bytes[length..])
    }

    fn read_head(&self, bytes: &[u8]) -> Head {
        let Some(&[a, b, c, d, e, f, g, h]) = bytes.first_chunk() else {
            return Head::Incomplete;
        };
        let tag = Tag(self.u16([a, b]), self.u16([c, d]));
        let is_implicit = !self.explicit || self.open.last().is_some_and(|open| open.implicit);
        if tag.group() == 0xfffe || is_implicit {
            let length = self.u32([e, f, g, h]);
            let in_dictionary = || StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed());
            let vr = if tag.group() == 0xfffe { VR::UN } else { in_dictionary() };
            return Head::Element { tag, vr, length, bytes: 8 };
        }
        let Some(vr) = VR::from_binary([e, f]) else {
            return Head::UnknownVr(tag);
        };
        if !has_long_length(vr) {
            return Head::Element { tag, vr, length: u32::from(self.u16([g, h])), bytes: 8 };
        }
        match bytes[8..].first_chunk() {
            Some(length) => Head::Element { tag, vr, length: self.u32(*length), bytes: 12 },
            None => Head::Incomplete,
        }
    }

    fn element(&mut self, head: &Head) -> Result<(), Fault> {
        let at_top = self.open.is_empty();
        let (tag, vr, length, bytes) = match *head {
            Head::Element { tag, vr, length, bytes } => (tag, vr, length, bytes),
            // Behind Pixel Data senders leave bytes of no meaning; a viewer shows the image all the same.
            Head::UnknownVr(_) | Head::Incomplete if at_top && self.has_pixel_data => {
                self.ended = true;
                return Ok(());
            }
            Head::UnknownVr(tag) => {
                let reason = format!("element {tag} has no value representation known to PS3.5");
                return Err(malformed("dataset-unknown-vr", reason));
            }
            Head::Incomplete => return Ok(()),
        };
        self.at += bytes as u64;
        self.seen += 1;
        if self.seen > MAX_ELEMENTS {
            let reason = format!("the data set has more than {MAX_ELEMENTS} elements");
            return Err(malformed("dataset-too-many-elements", reason));
        }
        if !at_top {
            return self.nested(tag, vr, length);
        }
        // PS3.10 7.2: what follows Data Set Trailing Padding is of no meaning.
        if tag == tags::DATA_SET_TRAILING_PADDING || (self.has_pixel_data && tag <= tags::PIXEL_DATA) {
            self.ended = true;
            return Ok(());
        }
        if matches!(tag.group(), 0x0000 | 0x0002) {
            return Err(malformed("dataset-wrong-group", format!("element {tag} does not belong in a data set")));
        }
        self.body = self.at;
        if tag == tags::PIXEL_DATA {
            self.has_pixel_data = true;
            if length == UNDEFINED {
                self.open.push(Open { end: None, implicit: false, fragments: true });
                return Ok(());
            }
            return self.value(length);
        }
        if vr == VR::SQ || length == UNDEFINED {
            return self.enter(tag, vr, length);
        }
        // Of repeated elements the first counts. A longer value is no UID; that it is absent is said at the end.
        if length <= MAX_UID && self.uids.place(tag).is_some_and(|uid| uid.is_none()) {
            self.uid = Some((tag, Vec::with_capacity(length as usize)));
        }
        self.keep(u64::from(length))?;
        self.value(length)
    }

    fn nested(&mut self, tag: Tag, vr: VR, length: u32) -> Result<(), Fault> {
        match tag {
            ITEM_END | SEQUENCE_END => {
                self.open.pop();
                self.left_top_level()
            }
            ITEM if self.open.last().is_some_and(|open| open.fragments) => self.value(length),
            ITEM => self.enter(tag, vr, length),
            _ if vr == VR::SQ || length == UNDEFINED => self.enter(tag, vr, length),
            _ => self.value(length),
        }
    }

    fn enter(&mut self, tag: Tag, vr: VR, length: u32) -> Result<(), Fault> {
        // A level is a sequence and its item.
        if self.open.len() >= 2 * MAX_NESTING {
            let reason = format!("sequences are nested more than {MAX_NESTING} deep");
            return Err(malformed("dataset-nested-too-deep", reason));
        }
        let is_unknown = self.explicit && vr == VR::UN && length == UNDEFINED && tag != ITEM;
        let implicit = is_unknown || self.open.last().is_some_and(|outer| outer.implicit);
        let fragments = length == UNDEFINED && matches!(vr, VR::OB | VR::OW);
        let end = (length != UNDEFINED).then_some(self.at + u64::from(length));
        self.open.push(Open { end, implicit, fragments });
        Ok(())
    }

    fn value(&mut self, length: u32) -> Result<(), Fault> {
        self.left = u64::from(length);
        self.pass(0);
        self.close_ended()
    }

    /// Goes over bytes of a value, and over its end.
    fn pass(&mut self, count: usize) {
        self.at += count as u64;
        self.left -= count as u64;
        if self.left > 0 {
            return;
        }
        if let Some((tag, value)) = self.uid.take()
            && let Some(uid) = self.uids.place(tag)
        {
            let text = String::from_utf8_lossy(&value);
            *uid = Some(text.trim_matches([' ', '\0']).to_owned()).filter(|text| !text.is_empty());
        }
    }

    /// Closes the sequences and items of defined length that have ended.
    fn close_ended(&mut self) -> Result<(), Fault> {
        while self.left == 0 && self.open.last().is_some_and(|open| open.end.is_some_and(|end| self.at >= end)) {
            self.open.pop();
            self.left_top_level()?;
        }
        Ok(())
    }

    fn left_top_level(&mut self) -> Result<(), Fault> {
        if self.open.is_empty() && !self.has_pixel_data { self.keep(self.at - self.body) } else { Ok(()) }
    }

    /// Counts what a header of this data set will hold.
    fn keep(&mut self, length: u64) -> Result<(), Fault> {
        if length <= MAX_HEADER_VALUE as u64 {
            self.kept += length;
        }
        if self.kept > MAX_HEADER as u64 {
            let reason = format!("the elements before Pixel Data hold more than {} MiB", MAX_HEADER >> 20);
            return Err(malformed("dataset-header-too-large", reason));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Fault> {
        self.close_ended()?;
        // What is left of a head behind Pixel Data is of no meaning either.
        let is_between = self.open.is_empty() && (self.head.is_empty() || self.has_pixel_data);
        if self.ended || (self.left == 0 && is_between) {
            return Ok(());
        }
        let reason = match self.left {
            0 => format!("the data set ends within an element, after {} bytes", self.at),
            left => format!("the data set ends {left} bytes before an element does"),
        };
        Err(malformed("dataset-truncated", reason))
    }

    fn u16(&self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// Inflates a deflated data set (PS3.5 A.5) as it comes.
struct Inflate {
    stream: Decompress,
    plain: Vec<u8>,
    ended: bool,
}

impl Inflate {
    fn new() -> Self {
        Self { stream: Decompress::new(false), plain: vec![0; INFLATED], ended: false }
    }

    fn push(&mut self, mut bytes: &[u8], elements: &mut Elements) -> Result<(), Fault> {
        while !self.ended {
            let (taken, given) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(bytes, &mut self.plain, FlushDecompress::None)
                .map_err(|_| malformed("dataset-not-deflate", "the deflated data set cannot be inflated".to_owned()))?;
            bytes = &bytes[(self.stream.total_in() - taken) as usize..];
            let given = (self.stream.total_out() - given) as usize;
            if self.stream.total_out() > MAX_INFLATED {
                let reason = format!("the deflated data set inflates to more than {} MiB", MAX_INFLATED >> 20);
                return Err(malformed("dataset-too-large", reason));
            }
            elements.push(&self.plain[..given])?;
            self.ended = status == Status::StreamEnd;
            // A full buffer may leave more to come out; anything less waits for more to come in.
            if given < INFLATED && bytes.is_empty() {
                break;
            }
            if given == 0 && self.stream.total_in() == taken {
                break;
            }
        }
        Ok(())
    }
}

/// PS3.5 7.1.2: these have two reserved bytes and a length of 32 bits.
fn has_long_length(vr: VR) -> bool {
    use VR::{OB, OD, OF, OL, OV, OW, SQ, SV, UC, UN, UR, UT, UV};
    matches!(vr, OB | OD | OF | OL | OV | OW | SQ | SV | UC | UN | UR | UT | UV)
}

fn malformed(code: &'static str, reason: String) -> Fault {
    Fault::new(code, Blame::Peer, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::scan::scan;
    use proptest::prelude::*;
    use std::io::Write;

    const EXPLICIT: &str = uids::EXPLICIT_VR_LITTLE_ENDIAN;

    fn walk(fragments: impl Iterator<Item = impl AsRef<[u8]>>, transfer_syntax: &str) -> Result<Uids, Fault> {
        let mut walk = Walk::new(transfer_syntax);
        for fragment in fragments {
            walk.push(fragment.as_ref())?;
        }
        walk.finish()
    }

    fn element(tag: Tag, vr: [u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag.0 as u8, (tag.0 >> 8) as u8, tag.1 as u8, (tag.1 >> 8) as u8, vr[0], vr[1]];
        if has_long_length(VR::from_binary(vr).unwrap()) {
            bytes.extend_from_slice(&[0, 0]);
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        } else {
            bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
        }
        bytes.extend_from_slice(value);
        bytes
    }

    fn dataset() -> Vec<u8> {
        let item = [&[0xfe, 0xff, 0, 0xe0, 8, 0, 0, 0][..], &element(Tag(8, 0x1150), *b"UI", b"")].concat();
        [
            element(tags::SOP_CLASS_UID, *b"UI", b"1.2.840.10008.5.1.4.1.1.4\0"),
            element(tags::SOP_INSTANCE_UID, *b"UI", b"1.2.3\0"),
            element(tags::REFERENCED_IMAGE_SEQUENCE, *b"SQ", &item),
            element(tags::STUDY_INSTANCE_UID, *b"UI", b"1.2"),
            element(tags::SERIES_INSTANCE_UID, *b"UI", b"1.2.4 "),
            element(tags::PIXEL_DATA, *b"OW", &[7; 1000]),
        ]
        .concat()
    }

    #[test]
    fn fragments_of_any_length_give_the_same_uids() {
        let whole = walk([dataset()].iter(), EXPLICIT).unwrap();
        assert_eq!(whole.study.as_deref(), Some("1.2"));
        assert_eq!(whole.series.as_deref(), Some("1.2.4"));
        for length in 1..40 {
            assert_eq!(walk(dataset().chunks(length), EXPLICIT).unwrap(), whole);
        }
    }

    #[test]
    fn a_deflated_data_set_is_walked_as_it_comes() {
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        deflate.write_all(&dataset()).unwrap();
        let deflated = deflate.finish().unwrap();
        for length in [1, 7, 100_000] {
            let uids = walk(deflated.chunks(length), uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN).unwrap();
            assert_eq!(uids.sop_instance.as_deref(), Some("1.2.3"));
        }
    }

    #[test]
    fn a_deflated_data_set_that_inflates_without_end_is_refused() {
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        deflate.write_all(&element(tags::SOP_CLASS_UID, *b"UI", b"1.2")).unwrap();
        deflate.write_all(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\x7f").unwrap();
        for _ in 0..=(MAX_INFLATED >> 20) {
            deflate.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let deflated = deflate.finish().unwrap();
        let fault = walk(deflated.chunks(4096), uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN).unwrap_err();
        assert_eq!(fault.code, "dataset-too-large");
    }

    #[test]
    fn what_lies_about_its_structure_is_refused() {
        let nested = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff".repeat(100_000);
        assert_eq!(walk(nested.chunks(16_000), EXPLICIT).unwrap_err().code, "dataset-nested-too-deep");
        let claims = b"\x10\0\x10\0UT\0\0\xf0\xff\xff\xffshort";
        assert_eq!(walk([claims].iter(), EXPLICIT).unwrap_err().code, "dataset-truncated");
        let (whole, end) = (dataset(), dataset().len());
        for cut in [1, 500, 1003] {
            assert_eq!(walk([&whole[..end - cut]].iter(), EXPLICIT).unwrap_err().code, "dataset-truncated");
        }
    }

    #[test]
    fn bytes_of_no_meaning_behind_pixel_data_do_not_matter() {
        let padded = [dataset(), vec![0; 2_500]].concat();
        assert_eq!(walk(padded.chunks(700), EXPLICIT), walk([dataset()].iter(), EXPLICIT));
    }

    /// Bytes that look like elements often enough to get deep.
    fn like_a_dataset() -> impl Strategy<Value = Vec<u8>> {
        let tag = prop_oneof![
            Just(tags::SOP_CLASS_UID),
            Just(tags::STUDY_INSTANCE_UID),
            Just(tags::REFERENCED_IMAGE_SEQUENCE),
            Just(ITEM),
            Just(ITEM_END),
            Just(SEQUENCE_END),
            Just(tags::PIXEL_DATA),
            Just(tags::PATIENT_ID),
        ];
        let vr = prop_oneof![Just(*b"UI"), Just(*b"SQ"), Just(*b"OB"), Just(*b"UN"), Just(*b"LO"), Just(*b"??")];
        let length = prop_oneof![0..20u32, Just(UNDEFINED), any::<u32>()];
        let one = (tag, vr, length, prop::collection::vec(any::<u8>(), 0..12)).prop_map(|(tag, vr, length, value)| {
            let mut bytes = vec![tag.0 as u8, (tag.0 >> 8) as u8, tag.1 as u8, (tag.1 >> 8) as u8];
            if tag.0 != 0xfffe {
                bytes.extend_from_slice(&vr);
                bytes.extend_from_slice(if matches!(&vr, b"UI" | b"LO") { &[12, 0] } else { &[0, 0] });
            }
            if tag.0 == 0xfffe || !matches!(&vr, b"UI" | b"LO") {
                bytes.extend_from_slice(&length.to_le_bytes());
            }
            bytes.extend_from_slice(&value);
            bytes
        });
        prop::collection::vec(one, 0..20).prop_map(|elements| elements.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_fragments_do_not_matter(
            bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..400), like_a_dataset()],
            length in 1..50usize,
            syntax in 0..4usize,
        ) {
            let syntax = [EXPLICIT, uids::IMPLICIT_VR_LITTLE_ENDIAN, BIG_ENDIAN,
                uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN][syntax];
            let whole = walk([&bytes].iter(), syntax);
            prop_assert_eq!(whole.ok(), walk(bytes.chunks(length), syntax).ok());
        }

        #[test]
        fn what_it_takes_can_be_scanned_later(bytes in like_a_dataset()) {
            // What follows the first Pixel Data is of no meaning; how much of it is looked at may differ.
            let pixel_data = bytes.windows(4).filter(|tag| **tag == [0xe0, 0x7f, 0x10, 0]).count();
            if let Ok(uids) = walk([&bytes].iter(), EXPLICIT) && pixel_data < 2 {
                let header = scan(&bytes, EXPLICIT);
                prop_assert!(header.is_ok(), "{:?}", header);
                if let Some(study) = uids.study.filter(|study| study.is_ascii()) {
                    prop_assert_eq!(header.unwrap().text(tags::STUDY_INSTANCE_UID), Some(study));
                }
            }
        }
    }
}
