//! Secondary capture (PS3.3 A.8.1): the preview as any viewer shows it, with what it is burned in.
use super::build::{EXPLICIT, Set};
use super::lossy::loss;
use super::modules::{CAPTURE, RESEARCH, common, date_time, engine_text, uids};
use super::{Mode, ResultContext, ResultObject, SourceHeader};
use crate::dataset::scan::scan;
use crate::fault::{Blame, Fault};
use crate::inference::{Inference, Picture};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use font8x8::UnicodeFonts;

/// Secondary Capture Image Storage.
const SOP_CLASS: &str = "1.2.840.10008.5.1.4.1.1.7";
/// Height of a line of text, and of the band around it.
const LINE: usize = 22;
const SCALE: usize = 2;
/// Left and right of the text.
const MARGIN: usize = 8;
/// Narrowest picture that is made.
const NARROWEST: usize = 256;

pub(super) fn make(context: &ResultContext<'_>, inference: &Inference, summary: &str) -> Result<ResultObject, Fault> {
    let ids = uids(context, &inference.package, &engine_text(&inference.engine), "SC");
    let (date, time) = date_time(context.at);
    let mut lines = vec![
        format!("{} {}", inference.package.title, inference.package.version),
        summary.to_owned(),
        format!("AI result, not verified  {date} {time} UTC"),
    ];
    if let Some(partial) = context.partial {
        lines.push(format!("PARTIAL: {partial}"));
    }
    if context.mode != Mode::Clinical {
        lines.push(RESEARCH.to_owned());
    }
    let picture = labelled(&inference.preview, &lines);
    let sources = context.sources.iter().take(1).map(|source| {
        Set::new().text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, &source.sop_class).text(
            tags::REFERENCED_SOP_INSTANCE_UID,
            VR::UI,
            &source.sop_instance,
        )
    });
    let mut pixels = picture.rgb;
    if pixels.len() % 2 == 1 {
        pixels.push(0);
    }
    // The picture shows what the source shows. Free of burned-in identity is said only where every source says so.
    let says = |source: &SourceHeader| source.header.text(tags::BURNED_IN_ANNOTATION);
    let is_free = !context.sources.is_empty() && context.sources.iter().all(|s| says(s).is_some_and(|v| v == "NO"));
    let mut set = common(context, &inference.package, SOP_CLASS, &ids, "OT", CAPTURE)
        .texts(tags::IMAGE_TYPE, VR::CS, &["DERIVED", "SECONDARY"])
        .text(tags::CONVERSION_TYPE, VR::CS, "WSD")
        .text(tags::DERIVATION_DESCRIPTION, VR::ST, "Preview of an AI result, not for measurement")
        .sequence(tags::SOURCE_IMAGE_SEQUENCE, sources.collect())
        .text(tags::PATIENT_ORIENTATION, VR::CS, "")
        .text(tags::LATERALITY, VR::CS, "")
        .text(tags::BURNED_IN_ANNOTATION, VR::CS, if is_free { "NO" } else { "YES" })
        .words(tags::SAMPLES_PER_PIXEL, &[3])
        .text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB")
        .words(tags::PLANAR_CONFIGURATION, &[0])
        .words(tags::ROWS, &[picture.height as u16])
        .words(tags::COLUMNS, &[picture.width as u16])
        .words(tags::BITS_ALLOCATED, &[8])
        .words(tags::BITS_STORED, &[8])
        .words(tags::HIGH_BIT, &[7])
        .words(tags::PIXEL_REPRESENTATION, &[0])
        .bytes(tags::PIXEL_DATA, pixels);
    if let Some(loss) = loss(context.sources) {
        set = loss.say(set);
    }
    Ok(ResultObject {
        kind: "SC",
        sop_class: SOP_CLASS.to_owned(),
        sop_instance: ids.instance,
        series: ids.series,
        transfer_syntax: EXPLICIT.to_owned(),
        dataset: set.encode()?,
        summary: summary.to_owned(),
    })
}

/// The picture below a band with the lines.
fn labelled(picture: &Picture, lines: &[String]) -> Picture {
    // A picture narrower than the longest word of a mark is widened: no mark is ever cut.
    let width = (picture.width as usize).max(NARROWEST);
    let lines: Vec<(String, bool)> = lines
        .iter()
        .flat_map(|line| {
            wrapped(line, (width - 2 * MARGIN) / (8 * SCALE)).into_iter().map(move |part| (part, line == RESEARCH))
        })
        .collect();
    let band = lines.len() * LINE + 8;
    let mut rgb = vec![12u8; 3 * width * band];
    for (n, (line, is_mark)) in lines.iter().enumerate() {
        let colour = if *is_mark { [255, 120, 90] } else { [235, 235, 235] };
        write(&mut rgb, width, [MARGIN, 6 + n * LINE], line, colour);
    }
    for row in picture.rgb.chunks_exact((3 * picture.width as usize).max(1)) {
        rgb.extend_from_slice(row);
        rgb.resize(rgb.len() + 3 * (width - picture.width as usize), 0);
    }
    Picture { width: width as u32, height: (rgb.len() / (3 * width)) as u32, rgb }
}

/// A line in parts of at most `most` letters, broken at spaces where there are any.
fn wrapped(line: &str, most: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut length = 0;
    for word in line.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (n, piece) in letters.chunks(most).enumerate() {
            let gap = usize::from(length > 0 && n == 0);
            if length > 0 && length + gap + piece.len() > most || n > 0 {
                parts.push(String::new());
                length = 0;
            } else if gap == 1 {
                length += 1;
                parts.last_mut().into_iter().for_each(|part| part.push(' '));
            }
            length += piece.len();
            parts.last_mut().into_iter().for_each(|part| part.extend(piece));
        }
    }
    parts
}

fn write(rgb: &mut [u8], width: usize, [mut left, top]: [usize; 2], line: &str, colour: [u8; 3]) {
    for letter in line.chars() {
        let glyph = font8x8::BASIC_FONTS.get(letter).or_else(|| font8x8::LATIN_FONTS.get(letter)).unwrap_or_default();
        for (row, bits) in glyph.iter().enumerate() {
            for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                for (dy, dx) in (0..SCALE).flat_map(|dy| (0..SCALE).map(move |dx| (dy, dx))) {
                    let x = left + column * SCALE + dx;
                    let place = 3 * ((top + row * SCALE + dy) * width + x);
                    if x < width && place + 3 <= rgb.len() {
                        rgb[place..place + 3].copy_from_slice(&colour);
                    }
                }
            }
        }
        left += 8 * SCALE;
    }
}

/// A secondary capture of ours as PNG, for the console.
pub fn preview_png(dataset: &[u8]) -> Result<Vec<u8>, Fault> {
    let failed = |text: String| Fault::new("preview-unreadable", Blame::Sund, text);
    let header = scan(dataset, EXPLICIT)?;
    let side = |tag| header.number(tag).map_or(0, |n| n as u32);
    let (width, height) = (side(tags::COLUMNS), side(tags::ROWS));
    let start = header.pixel_data.map_or(0, |place| place.offset as usize);
    let pixels = dataset.get(start..start + 3 * width as usize * height as usize);
    let pixels = pixels.ok_or_else(|| failed("its pixels are not there".into()))?;
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(|error| failed(error.to_string()))?;
    writer.write_image_data(pixels).map_err(|error| failed(error.to_string()))?;
    writer.finish().map_err(|error| failed(error.to_string()))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{NARROWEST, Picture, RESEARCH, labelled, wrapped};

    #[test]
    fn a_line_is_broken_at_spaces_and_no_letter_is_lost() {
        assert_eq!(wrapped(RESEARCH, 15), ["RESEARCH - NOT", "FOR DIAGNOSIS"]);
        assert_eq!(wrapped("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
    }

    #[test]
    fn a_narrow_picture_is_widened_and_keeps_its_pixels() {
        let made = labelled(&Picture { width: 2, height: 1, rgb: vec![1, 2, 3, 4, 5, 6] }, &[RESEARCH.to_owned()]);
        assert_eq!((made.width as usize, made.rgb.len()), (NARROWEST, 3 * NARROWEST * made.height as usize));
        let last = &made.rgb[made.rgb.len() - 3 * NARROWEST..];
        assert_eq!((&last[..6], &last[6..9]), (&[1, 2, 3, 4, 5, 6][..], &[0, 0, 0][..]));
    }
}
