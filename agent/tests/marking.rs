//! What a research result says in its pixels, and a clinical one does not: looked at in the preview that the archive was sent.
use crate::hospital::{Archive, Held, Node, destination, frame, new_uid};
use dicom_dictionary_std::tags;
use font8x8::UnicodeFonts;
use sund_agent::route::Mode;

const MARK: &str = "RESEARCH - NOT FOR DIAGNOSIS";
/// The mark's own colour, which nothing else in the band has.
const COLOUR: [u8; 3] = [255, 120, 90];
/// Each dot of a letter is so many pixels wide and high.
const SCALE: usize = 2;
const ROWS: usize = 64;

/// A picture in rows of pixels.
type Picture = Vec<Vec<[u8; 3]>>;

fn picture(held: &Held) -> Picture {
    let header = held.header();
    assert_eq!(header.text(tags::PHOTOMETRIC_INTERPRETATION).as_deref(), Some("RGB"));
    let columns = header.number(tags::COLUMNS).unwrap() as usize;
    let start = header.pixel_data.unwrap().offset as usize;
    let pixels = &held.dataset[start..start + 3 * columns * header.number(tags::ROWS).unwrap() as usize];
    pixels.chunks_exact(3 * columns).map(|row| row.as_chunks::<3>().0.to_vec()).collect()
}

/// The preview that a node in this mode sends of the upper rows of the frame.
async fn preview(mode: Mode) -> Picture {
    let archive = Archive::open().await;
    let node = Node::open(|config| {
        config.destinations = vec![destination("archive", &archive.address)];
        config.routes[0].mode = mode;
    })
    .await;
    node.receives(&[frame().rows(ROWS as u16).in_study(&new_uid(), "1")]).await;
    let held = archive.holds(2).await;
    let marked = held.iter().filter(|held| held.says(MARK)).count();
    assert_eq!(marked > 0, mode == Mode::Research, "the text of a report says the same as the pixels");
    picture(held.iter().find(|held| held.text(tags::MODALITY) == "OT").expect("a preview"))
}

/// Dots of the mark as it is drawn: row and column of each pixel, from its upper left corner.
fn drawn() -> Vec<(usize, usize)> {
    let mut dots = Vec::new();
    for (n, letter) in MARK.chars().enumerate() {
        for (y, bits) in font8x8::BASIC_FONTS.get(letter).unwrap().iter().enumerate() {
            for x in (0..8).filter(|x| bits >> x & 1 == 1) {
                let corner = (y * SCALE, (8 * n + x) * SCALE);
                dots.extend((0..SCALE * SCALE).map(|m| (corner.0 + m / SCALE, corner.1 + m % SCALE)));
            }
        }
    }
    dots.sort_unstable();
    dots
}

/// Pixels of the mark's colour.
fn marked(rows: &[Vec<[u8; 3]>]) -> Vec<(usize, usize)> {
    let row = |(y, row): (usize, &Vec<[u8; 3]>)| {
        let found = row.iter().enumerate().filter(|(_, pixel)| **pixel == COLOUR);
        found.map(|(x, _)| (y, x)).collect::<Vec<_>>()
    };
    rows.iter().enumerate().flat_map(row).collect()
}

/// The same dots, as they lie from the upper left one of them all.
fn shape(dots: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let top = dots.iter().map(|(y, _)| *y).min().expect("a mark");
    let left = dots.iter().map(|(_, x)| *x).min().expect("a mark");
    dots.iter().map(|(y, x)| (y - top, x - left)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_preview_in_the_archive_has_the_research_mark_in_its_pixels_in_research_mode_alone() {
    let (research, clinical) = (preview(Mode::Research).await, preview(Mode::Clinical).await);
    let (research_band, research_image) = research.split_at(research.len() - ROWS);
    let (clinical_band, clinical_image) = clinical.split_at(clinical.len() - ROWS);
    assert_eq!(shape(&marked(research_band)), shape(&drawn()), "every dot of the mark, and no other");
    assert!(marked(clinical_band).is_empty(), "a clinical result does not call itself research");
    assert!(!clinical_band.is_empty() && research_band.len() > clinical_band.len(), "the mark has a line of its own");
    let is_lit = |row: &Vec<[u8; 3]>| row.contains(&[235, 235, 235]);
    assert!(clinical_band.iter().any(is_lit), "it says what it is: a model's answer, not verified");
    assert_eq!(research_image, clinical_image, "the mark covers nothing of the image");
}
