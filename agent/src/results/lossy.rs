//! Loss in the source's compression: once there, it is said of everything that is derived from it (PS3.3 C.7.6.1.1.5).
use super::SourceHeader;
use super::build::Set;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};

/// How the pixels of a source were compressed with loss.
pub(super) struct Loss {
    /// One for each time, as far as they are known.
    ratios: Vec<String>,
    methods: Vec<String>,
}

/// The loss of the first source that has one.
pub(super) fn loss(sources: &[SourceHeader]) -> Option<Loss> {
    sources.iter().find_map(of)
}

fn of(source: &SourceHeader) -> Option<Loss> {
    let said = source.header.text(tags::LOSSY_IMAGE_COMPRESSION);
    let method = match source.header.transfer_syntax.as_str() {
        uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT => Some("ISO_10918_1"),
        // It holds images of both kinds: only one that says so is without loss.
        uids::JPEG2000 if said.as_deref() != Some("00") => Some("ISO_15444_1"),
        _ => None,
    };
    if method.is_none() && said.as_deref() != Some("01") {
        return None;
    }
    let known = |tag: Tag| source.header.texts(tag);
    let (mut ratios, mut methods) =
        (known(tags::LOSSY_IMAGE_COMPRESSION_RATIO), known(tags::LOSSY_IMAGE_COMPRESSION_METHOD));
    if let Some(method) = method {
        if methods.is_empty() {
            methods.push(method.to_owned());
        }
        if ratios.is_empty() {
            ratios.extend(ratio(source));
        }
    }
    Some(Loss { ratios, methods })
}

/// The ratio of what the pixels take as they are to what they take here, in tenths: 100 x 100 samples of 8 bits in 2000
/// bytes give `5.0`.
fn ratio(source: &SourceHeader) -> Option<String> {
    let number = |tag| source.header.number(tag);
    let frames = number(tags::NUMBER_OF_FRAMES).unwrap_or(1.0);
    let samples = number(tags::ROWS)? * number(tags::COLUMNS)? * number(tags::SAMPLES_PER_PIXEL)? * frames;
    let compressed = source.length.checked_sub(source.header.pixel_data?.offset).filter(|length| *length > 0)?;
    Some(format!("{:.1}", samples * number(tags::BITS_ALLOCATED)? / 8.0 / compressed as f64))
}

impl Loss {
    /// Says it in a result. What is not known of it (a source need not tell) is left out rather than made up.
    pub(super) fn say(&self, set: Set) -> Set {
        let mut set = set.text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01");
        for (tag, vr, values) in [
            (tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, &self.ratios),
            (tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, &self.methods),
        ] {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            if !values.is_empty() {
                set = set.texts(tag, vr, &values);
            }
        }
        set
    }
}
