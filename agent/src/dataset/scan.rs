//! The bounded, iterative walk over a data set (PS3.5 7.1 to 7.5, A.1 to A.5).
use super::header::{Element, Header, PixelData, Skipped};
use crate::fault::{Blame, Fault};
use crate::limits::dataset::{MAX_ELEMENTS, MAX_HEADER, MAX_HEADER_VALUE, MAX_INFLATED, MAX_NESTING};
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use std::borrow::Cow;
use std::io::Read;

/// Retired from PS3.5 in 2006, still sent.
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const UNDEFINED: u32 = 0xffff_ffff;
const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);

/// Walks a complete data set (no file meta information) in `transfer_syntax` and keeps its top level.
///
/// Nothing is allocated by a length that the data set claims, and nothing recurses: what nests is walked with a stack of
/// at most `MAX_NESTING` ends. Repeated elements keep their first value. Offsets in the result count from the start of
/// [`inflated`] data.
pub fn scan(dataset: &[u8], transfer_syntax: &str) -> Result<Header, Fault> {
    let dataset = inflated(dataset, transfer_syntax)?;
    let syntax = Syntax::of(transfer_syntax);
    let mut walk = Walk::new(&dataset, syntax);
    let mut header = syntax.header(transfer_syntax);
    while walk.at < dataset.len() {
        if !walk.top_level(&mut header)? {
            break;
        }
    }
    Ok(header)
}

/// Walks the first bytes of a data set whose rest is still on its way: the top level as far as it is there.
pub fn front(bytes: &[u8], transfer_syntax: &str) -> Result<Header, Fault> {
    let syntax = Syntax::of(transfer_syntax);
    let mut header = syntax.header(transfer_syntax);
    let dataset = match transfer_syntax {
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => {
            let mut plain = Vec::new();
            // That the stream breaks off is expected: what was inflated until then is there.
            let _ = flate2::read::DeflateDecoder::new(bytes).take(MAX_INFLATED).read_to_end(&mut plain);
            Cow::Owned(plain)
        }
        _ => Cow::Borrowed(bytes),
    };
    let mut walk = Walk::new(&dataset, syntax);
    loop {
        match walk.top_level(&mut header) {
            Ok(true) if walk.at < dataset.len() => {}
            Err(fault) if fault.code != "dataset-truncated" => return Err(fault),
            _ => return Ok(header),
        }
    }
}

/// The items of a sequence's value, each with all of its elements (PS3.5 7.5).
///
/// A sequence of a data set that [`scan`] accepted is within the limits on nesting and elements already; they are kept
/// here too, so that any bytes may be given.
pub fn items(value: &[u8], transfer_syntax: &str) -> Result<Vec<Header>, Fault> {
    let syntax = Syntax::of(transfer_syntax);
    let mut walk = Walk::new(value, syntax);
    walk.keep = usize::MAX;
    let mut items = Vec::new();
    while walk.at < value.len() {
        let (tag, _, length) = walk.element_head()?;
        if tag == SEQUENCE_END {
            break;
        }
        if tag != ITEM {
            return Err(malformed("dataset-not-an-item", format!("element {tag} where an item should begin")));
        }
        let end = if length == UNDEFINED { None } else { Some(walk.end_of(u64::from(length), tag)?) };
        let mut item = syntax.header(transfer_syntax);
        while end.is_none_or(|end| walk.at < end) {
            if !walk.member(&mut item)? {
                break;
            }
        }
        items.push(item);
    }
    Ok(items)
}

/// The File Meta Information (PS3.10 7.1: explicit VR little endian, whatever the data set is) at the start of `bytes`, and
/// its length.
pub fn file_meta(bytes: &[u8]) -> Result<(Header, usize), Fault> {
    let syntax = Syntax::of(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let mut meta = syntax.header(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let mut walk = Walk::new(bytes, syntax);
    // Its own Group Length is not relied on: it is wrong too often.
    while bytes[walk.at..].first_chunk() == Some(&[2, 0]) {
        let (tag, vr, length) = walk.element_head()?;
        walk.value(tag, vr, length, &mut meta)?;
    }
    Ok((meta, walk.at))
}

/// The data set as elements: a deflated one is inflated, within its limit; any other is given back as it is.
pub fn inflated<'a>(dataset: &'a [u8], transfer_syntax: &str) -> Result<Cow<'a, [u8]>, Fault> {
    if transfer_syntax != uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        return Ok(Cow::Borrowed(dataset));
    }
    let mut plain = Vec::new();
    // One byte over the limit is read, so that reaching it is told from exceeding it.
    flate2::read::DeflateDecoder::new(dataset).take(MAX_INFLATED + 1).read_to_end(&mut plain).map_err(|error| {
        Fault::new("dataset-not-deflate", Blame::Peer, format!("the deflated data set cannot be inflated: {error}"))
    })?;
    if plain.len() as u64 > MAX_INFLATED {
        let reason = format!("the deflated data set inflates to more than {} MiB", MAX_INFLATED >> 20);
        return Err(Fault::new("dataset-too-large", Blame::Peer, reason));
    }
    Ok(Cow::Owned(plain))
}

#[derive(Clone, Copy)]
struct Syntax {
    explicit: bool,
    big_endian: bool,
}

impl Syntax {
    fn header(self, uid: &str) -> Header {
        Header { transfer_syntax: uid.to_owned(), big_endian: self.big_endian, ..Header::default() }
    }

    fn of(uid: &str) -> Self {
        Self { explicit: uid != uids::IMPLICIT_VR_LITTLE_ENDIAN, big_endian: uid == BIG_ENDIAN }
    }
}

/// A sequence or an item that has begun.
#[derive(Clone, Copy)]
struct Open {
    /// Where it ends; `None` for undefined length.
    end: Option<usize>,
    /// PS3.5 6.2.2: an element of VR UN and undefined length holds implicit VR little endian.
    implicit: bool,
    /// Encapsulated pixel data, of the data set or of an icon in it: its items are fragments and hold no elements.
    fragments: bool,
}

struct Walk<'a> {
    data: &'a [u8],
    at: usize,
    syntax: Syntax,
    /// The open sequences and items, innermost last.
    open: Vec<Open>,
    seen: usize,
    /// Bytes of values that the header holds.
    kept: usize,
    /// Longest value that the header keeps.
    keep: usize,
}

impl<'a> Walk<'a> {
    fn new(data: &'a [u8], syntax: Syntax) -> Self {
        let keep = MAX_HEADER_VALUE;
        Self { data, at: 0, syntax, open: Vec::new(), seen: 0, kept: 0, keep }
    }

    /// One element of the top level. False at the end of what is to be read.
    fn top_level(&mut self, header: &mut Header) -> Result<bool, Fault> {
        let start = self.at;
        if header.pixel_data.is_some() && !self.goes_on() {
            return Ok(false);
        }
        let (tag, vr, length) = match self.element_head() {
            Ok(head) => head,
            // What does not read as an element behind Pixel Data is of no meaning: a viewer shows the image all the same.
            Err(_) if header.pixel_data.is_some() => return Ok(false),
            Err(fault) => return Err(fault),
        };
        if header.pixel_data.is_some() && tag <= tags::PIXEL_DATA {
            return Ok(false);
        }
        if matches!(tag.group(), 0x0000 | 0x0002) {
            return Err(malformed("dataset-wrong-group", format!("element {tag} does not belong in a data set")));
        }
        if tag == tags::PIXEL_DATA {
            let length = (length != UNDEFINED).then_some(u64::from(length));
            if let Some(length) = length {
                self.skip(length, tag)?;
            } else {
                header.pixel_data = Some(PixelData { vr, offset: self.at as u64, length: None });
                self.open.push(Open { end: None, implicit: false, fragments: true });
                self.skip_nested()?;
                return Ok(true);
            }
            header.pixel_data = Some(PixelData { vr, offset: (self.at as u64) - length.unwrap_or(0), length });
            return Ok(true);
        }
        // PS3.10 7.2: what follows Data Set Trailing Padding is of no meaning.
        if tag == tags::DATA_SET_TRAILING_PADDING {
            return Ok(false);
        }
        self.value(tag, vr, length, header)?;
        debug_assert!(self.at > start, "the walk advances");
        Ok(true)
    }

    /// One element of an item. False at the item's delimiter.
    fn member(&mut self, item: &mut Header) -> Result<bool, Fault> {
        let (tag, vr, length) = self.element_head()?;
        if matches!(tag, ITEM_END | SEQUENCE_END) {
            return Ok(false);
        }
        self.value(tag, vr, length, item)?;
        Ok(true)
    }

    /// Goes over a value and keeps it, or where it lies.
    fn value(&mut self, tag: Tag, vr: VR, length: u32, header: &mut Header) -> Result<(), Fault> {
        let body = self.at;
        if vr == VR::SQ || length == UNDEFINED {
            self.enter(length, tag, vr)?;
            self.skip_nested()?;
        } else {
            self.skip(u64::from(length), tag)?;
        }
        // Elements in a wrong order are sorted by the map; of repeated ones the first counts.
        if header.elements.contains_key(&tag) || header.skipped.contains_key(&tag) {
            return Ok(());
        }
        let value = &self.data[body..self.at];
        if value.len() > self.keep {
            header.skipped.insert(tag, Skipped { vr, offset: body as u64, length: value.len() as u64 });
            return Ok(());
        }
        self.kept += value.len();
        if self.kept > MAX_HEADER && self.keep == MAX_HEADER_VALUE {
            let reason = format!("the elements before Pixel Data hold more than {} MiB", MAX_HEADER >> 20);
            return Err(Fault::new("dataset-header-too-large", Blame::Peer, reason));
        }
        header.elements.insert(tag, Element { vr, value: value.to_vec() });
        Ok(())
    }

    /// Behind Pixel Data only higher tags are elements; senders leave bytes of no meaning there too.
    fn goes_on(&self) -> bool {
        let Some(&[a, b]) = self.data[self.at..].first_chunk() else {
            return false;
        };
        let group = if self.syntax.big_endian { u16::from_be_bytes([a, b]) } else { u16::from_le_bytes([a, b]) };
        group >= 0x7fe0
    }

    /// Walks to the end of everything that is open, innermost first.
    fn skip_nested(&mut self) -> Result<(), Fault> {
        while let Some(open) = self.open.last().copied() {
            if open.end.is_some_and(|end| self.at >= end) {
                self.open.pop();
                continue;
            }
            let (tag, vr, length) = self.element_head()?;
            match tag {
                ITEM_END | SEQUENCE_END => {
                    self.open.pop();
                }
                ITEM if open.fragments => self.skip(u64::from(length), tag)?,
                ITEM => self.enter(length, tag, vr)?,
                _ if vr == VR::SQ || length == UNDEFINED => self.enter(length, tag, vr)?,
                _ => self.skip(u64::from(length), tag)?,
            }
        }
        Ok(())
    }

    fn enter(&mut self, length: u32, tag: Tag, vr: VR) -> Result<(), Fault> {
        // A level is a sequence and its item.
        if self.open.len() >= 2 * MAX_NESTING {
            let reason = format!("sequences are nested more than {MAX_NESTING} deep");
            return Err(Fault::new("dataset-nested-too-deep", Blame::Peer, reason));
        }
        let end = if length == UNDEFINED { None } else { Some(self.end_of(u64::from(length), tag)?) };
        let unknown = self.syntax.explicit && vr == VR::UN && length == UNDEFINED && tag != ITEM;
        let implicit = unknown || self.open.last().is_some_and(|outer| outer.implicit);
        let fragments = length == UNDEFINED && matches!(vr, VR::OB | VR::OW);
        self.open.push(Open { end, implicit, fragments });
        Ok(())
    }

    fn skip(&mut self, length: u64, tag: Tag) -> Result<(), Fault> {
        self.at = self.end_of(length, tag)?;
        Ok(())
    }

    fn end_of(&self, length: u64, tag: Tag) -> Result<usize, Fault> {
        let left = (self.data.len() - self.at) as u64;
        if length > left {
            let reason = format!("element {tag} claims {length} bytes, {left} are there");
            return Err(malformed("dataset-truncated", reason));
        }
        Ok(self.at + length as usize)
    }

    fn element_head(&mut self) -> Result<(Tag, VR, u32), Fault> {
        self.seen += 1;
        if self.seen > MAX_ELEMENTS {
            let reason = format!("the data set has more than {MAX_ELEMENTS} elements");
            return Err(Fault::new("dataset-too-many-elements", Blame::Peer, reason));
        }
        let tag = Tag(self.u16()?, self.u16()?);
        if tag.group() == 0xfffe {
            return Ok((tag, VR::UN, self.u32()?));
        }
        if !self.syntax.explicit || self.open.last().is_some_and(|open| open.implicit) {
            return Ok((tag, implicit_vr(tag), self.u32()?));
        }
        let [a, b] = self.bytes::<2>()?;
        let Some(vr) = VR::from_binary([a, b]) else {
            return Err(malformed(
                "dataset-unknown-vr",
                format!("element {tag} has no value representation known to PS3.5"),
            ));
        };
        // PS3.5 7.1.2: these have two reserved bytes and a length of 32 bits.
        let long = matches!(
            vr,
            VR::OB
                | VR::OD
                | VR::OF
                | VR::OL
                | VR::OV
                | VR::OW
                | VR::SQ
                | VR::SV
                | VR::UC
                | VR::UN
                | VR::UR
                | VR::UT
                | VR::UV
        );
        let length = if long {
            self.u16()?;
            self.u32()?
        } else {
            u32::from(self.u16()?)
        };
        Ok((tag, vr, length))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let Some(bytes) = self.data[self.at..].first_chunk::<N>() else {
            return Err(malformed("dataset-truncated", "the data set ends within an element".into()));
        };
        self.at += N;
        Ok(*bytes)
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        let bytes = self.bytes()?;
        Ok(if self.syntax.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        let bytes = self.bytes()?;
        Ok(if self.syntax.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}

fn implicit_vr(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| match entry.vr() {
        VirtualVr::Exact(vr) => vr,
        VirtualVr::Xs => VR::US,
        VirtualVr::Ox | VirtualVr::Px | VirtualVr::Lt => VR::OW,
        _ => VR::UN,
    })
}

fn malformed(code: &'static str, reason: String) -> Fault {
    Fault::new(code, Blame::Peer, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPLICIT: &str = uids::EXPLICIT_VR_LITTLE_ENDIAN;

    fn nested(depth: usize) -> Vec<u8> {
        // (0008,1140) SQ and (FFFE,E000), both of undefined length, again and again.
        let level = [8, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 255, 255, 255, 255, 0xfe, 0xff, 0, 0xe0, 255, 255, 255, 255];
        level.repeat(depth)
    }

    #[test]
    fn sequences_100000_deep_are_refused_without_recursion() {
        assert_eq!(scan(&nested(100_000), EXPLICIT).unwrap_err().code, "dataset-nested-too-deep");
    }

    #[test]
    fn a_length_that_claims_gigabytes_is_refused_without_allocating() {
        let mut data = vec![0x10, 0, 0x10, 0, b'U', b'T', 0, 0, 0xf0, 0xff, 0xff, 0xff];
        data.extend_from_slice(b"short");
        assert_eq!(scan(&data, EXPLICIT).unwrap_err().code, "dataset-truncated");
    }

    #[test]
    fn text_is_found_and_decoded() {
        let mut data = Vec::new();
        for (tag, vr, value) in
            [([8u8, 0, 5, 0], b"CS", &b"ISO_IR 100"[..]), ([16, 0, 16, 0], b"PN", b"S\xf8rensen^\xc5se")]
        {
            data.extend_from_slice(&tag);
            data.extend_from_slice(vr);
            data.extend_from_slice(&(value.len() as u16).to_le_bytes());
            data.extend_from_slice(value);
        }
        let header = scan(&data, EXPLICIT).unwrap();
        assert_eq!(header.text(tags::PATIENT_NAME).unwrap(), "Sørensen^Åse");
    }

    /// An element of explicit VR little endian.
    fn element(tag: [u8; 4], vr: &[u8], value: &[u8]) -> Vec<u8> {
        [&tag[..], vr, &(value.len() as u16).to_le_bytes(), value].concat()
    }

    fn pixel_data(value: &[u8]) -> Vec<u8> {
        [b"\xe0\x7f\x10\0OW\0\0", &(value.len() as u32).to_le_bytes()[..], value].concat()
    }

    #[test]
    fn bytes_of_no_meaning_behind_pixel_data_are_left_there() {
        let image = [element([8, 0, 0x60, 0], b"CS", b"MR"), pixel_data(&[1; 8])].concat();
        let padding = [0; 5000].to_vec();
        let noise = b"\xfc\xff\xfc\xff??not an element at all".to_vec();
        let trailing_padding = b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0\0\0\0\0".to_vec();
        for tail in [Vec::new(), padding, noise, trailing_padding, vec![0xe0], pixel_data(&[2; 4])] {
            let header = scan(&[&image[..], &tail].concat(), EXPLICIT).unwrap();
            assert_eq!(header.pixel_data, Some(PixelData { vr: VR::OW, offset: 22, length: Some(8) }));
            assert_eq!(header.elements.len(), 1);
        }
    }

    #[test]
    fn an_icon_with_encapsulated_pixels_is_walked_over() {
        let mut data = b"\x88\0\0\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff".to_vec();
        data.extend(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\0\0\0\0");
        data.extend(b"\xfe\xff\0\xe0\x04\0\0\0\xff\xd8\xff\xd9\xfe\xff\xdd\xe0\0\0\0\0");
        data.extend(b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0");
        data.extend(pixel_data(&[7; 2]));
        let header = scan(&data, EXPLICIT).unwrap();
        assert!(header.pixel_data.is_some_and(|pixels| pixels.length == Some(2)));
        let icon = header.item(tags::ICON_IMAGE_SEQUENCE, &data).unwrap().unwrap();
        assert!(icon.elements.contains_key(&tags::PIXEL_DATA));
    }

    #[test]
    fn of_a_repeated_element_the_first_counts_and_order_does_not_matter() {
        let data = [
            element([16, 0, 32, 0], b"LO", b"second"),
            element([8, 0, 0x60, 0], b"CS", b"MR"),
            element([8, 0, 0x60, 0], b"CS", b"CT"),
        ]
        .concat();
        let header = scan(&data, EXPLICIT).unwrap();
        assert_eq!(header.text(tags::MODALITY).unwrap(), "MR");
        assert_eq!(header.text(tags::PATIENT_ID).unwrap(), "second");
    }

    #[test]
    fn a_value_that_is_too_long_to_keep_is_found_again() {
        let item = element([8, 0, 0x60, 0], b"CS", b"MR").repeat(10_000);
        let mut data = b"\x08\0\x40\x11SQ\0\0".to_vec();
        data.extend((item.len() as u32 + 8).to_le_bytes());
        data.extend(b"\xfe\xff\0\xe0");
        data.extend((item.len() as u32).to_le_bytes());
        data.extend(item);
        let header = scan(&data, EXPLICIT).unwrap();
        assert!(header.elements.is_empty());
        let items = header.items(tags::REFERENCED_IMAGE_SEQUENCE, &data).unwrap();
        assert_eq!(items[0].text(tags::MODALITY).unwrap(), "MR");
        assert!(header.items(tags::REFERENCED_IMAGE_SEQUENCE, &data[..40]).unwrap().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn a_front_shows_what_the_whole_shows_as_far_as_it_goes(values in proptest::collection::vec("[A-Z]{0,8}", 1..12),
            cut in 0..400usize) {
            let data: Vec<u8> = values.iter().enumerate()
                .flat_map(|(n, value)| element([9, 0, n as u8, 0x10], b"LO", value.as_bytes())).collect();
            let whole = scan(&data, EXPLICIT).unwrap();
            let front = front(&data[..cut.min(data.len())], EXPLICIT).unwrap();
            for (tag, element) in &front.elements {
                proptest::prop_assert_eq!(element, &whole.elements[tag]);
            }
            proptest::prop_assert!(cut < data.len() || front.elements.len() == whole.elements.len());
        }

        #[test]
        fn items_of_any_bytes_make_no_panic(data in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let mut item = b"\xfe\xff\0\xe0\xff\xff\xff\xff".to_vec();
            item.extend(&data);
            let _ = items(&data, EXPLICIT);
            let _ = items(&item, EXPLICIT);
            let _ = items(&item, uids::IMPLICIT_VR_LITTLE_ENDIAN);
        }

        #[test]
        fn no_bytes_make_it_panic(data in proptest::collection::vec(proptest::num::u8::ANY, 0..400), syntax in 0..4usize) {
            let syntax = [EXPLICIT, uids::IMPLICIT_VR_LITTLE_ENDIAN, BIG_ENDIAN,
                uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN][syntax];
            if let Ok(header) = scan(&data, syntax) {
                for tag in header.elements.keys() {
                    header.texts(*tag);
                    header.numbers(*tag);
                }
            }
        }
    }
}
