//! A series that a model was not made for: the job ends as not applicable, with the reason and its code in the report that
//! arrives at the archive, on the timeline and in the audit log. The networks never run.
use crate::hospital::{Archive, Image, Node, codes, destination, models, new_uid, route, until};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use sund_agent::model::Package;
use sund_agent::route::Mode;

/// Slices of the packaged brain series, by number; what its model asks for at least is [`ENOUGH`].
fn slice(n: usize) -> Image {
    Image::read(&models().join(format!("brain-extraction/golden/brain/brain_{n:02}.dcm")))
}

const ALL: usize = 20;
/// The model's own `min_instances`.
const ENOUGH: usize = 16;

/// A node with the brain model alone.
async fn brain_node(archive: &Archive) -> Node {
    Node::open(|config| {
        let model = Package::open(&models().join("brain-extraction")).unwrap();
        assert_eq!(model.manifest.selection.min_instances, Some(ENOUGH));
        config.routes = vec![route(&model, Mode::Clinical)];
        config.packages = vec![model];
        config.destinations = vec![destination("archive", &archive.address)];
    })
    .await
}

/// The whole series, with what `change` makes of each slice; `None` leaves it out.
fn series(change: impl Fn(usize, Image) -> Option<Image>) -> Vec<Image> {
    let study = new_uid();
    let slices = (1..=ALL).filter_map(|n| Some((n, change(n, slice(n))?)));
    slices.map(|(n, image)| image.in_study(&study, &n.to_string())).collect()
}

/// The image moved by so many mm along z.
fn moved(image: Image, mm: f64) -> Image {
    let [x, y, z] = image.header().numbers(tags::IMAGE_POSITION_PATIENT)[..] else { panic!("three numbers") };
    let position = format!("{x}\\{y}\\{:.4}", z + mm);
    image.with(tags::IMAGE_POSITION_PATIENT, VR::DS, position.as_bytes())
}

/// The study is refused by the stage that makes volumes, after the selection rule has let it through.
async fn is_no_volume(images: Vec<Image>, code: &str, reason: &str) {
    let archive = Archive::open().await;
    let node = brain_node(&archive).await;
    assert!(images.len() >= ENOUGH, "the selection rule lets it through");
    node.receives(&images).await;
    let study = node.ended(1).await;
    assert_eq!(codes(&study), [code], "{:?}", study.timeline);
    let done = study.timeline.iter().find(|moment| moment.step == "done").expect("it is done, and not failed");
    assert!(done.text.contains("not applicable") && done.text.contains(reason), "{}", done.text);
    assert!(study.timeline.iter().any(|moment| moment.step == "running"), "it came as far as a worker");
    let report = archive.holds(1).await.remove(0);
    assert_eq!(report.text(tags::MODALITY), "SR");
    assert!(report.says("AI outcome: not applicable") && report.says(reason), "{}", done.text);
    assert!(report.says(&format!("[{code}]")), "the report has the code");
    until("the audit trail has the code", || node.audited(&["job-ended", code]).then_some(())).await;
    assert_eq!(archive.count(), 1, "a report, and nothing else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn slices_of_mixed_spacing_are_not_applicable_and_the_report_says_why() {
    let mixed = series(|n, image| {
        let spacing: &[u8] = if n > 10 { b"0.9\\0.9" } else { b"0.859375\\0.859375" };
        Some(image.with(tags::PIXEL_SPACING, VR::DS, spacing))
    });
    is_no_volume(mixed, "volume-mixed-spacing", "images with pixels of 0.859375 mm and of 0.9 mm").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn steps_that_grow_in_the_middle_are_not_applicable_and_the_report_says_why() {
    let uneven = series(|n, image| Some(moved(image, if n > 10 { 2.0 * (n - 10) as f64 } else { 0.0 })));
    is_no_volume(uneven, "volume-uneven-spacing", "from where even steps of").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_missing_slice_is_not_applicable_and_the_report_says_between_which() {
    let gap = series(|n, image| (n != 10).then_some(image));
    is_no_volume(gap, "volume-missing-slice", "between slices 9 and 10 of 19 there are").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mixed_orientation_is_not_applicable_and_the_report_says_why() {
    let mixed = series(|n, image| {
        // The last three are sagittal.
        let turned = image.clone().with(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, b"0\\1\\0\\0\\0\\-1");
        Some(if n > 17 { turned } else { image })
    });
    is_no_volume(mixed, "volume-mixed-orientation", "images of different orientation").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_slices_at_one_place_are_not_applicable_and_the_report_says_which() {
    let twice = series(|n, image| Some(if n == 8 { slice(7) } else { image }));
    is_no_volume(twice, "volume-duplicate-position", "slices 7 and 8 of 20 lie at the same position").await;
}

/// Localizers count for the selection rule, which looks at headers alone, and are no slices.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_series_of_localizers_has_too_few_slices_and_the_report_says_so() {
    let scouts = series(|n, image| {
        let scout = image.clone().with(tags::IMAGE_TYPE, VR::CS, b"ORIGINAL\\PRIMARY\\LOCALIZER");
        Some(if n > 1 { scout } else { image })
    });
    is_no_volume(scouts, "volume-too-few-slices", "a volume needs at least two slices, the series has one").await;
}

/// What the selection rule refuses never reaches a worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fewer_slices_than_the_model_asks_for_are_not_applicable_before_any_worker() {
    let archive = Archive::open().await;
    let node = brain_node(&archive).await;
    node.receives(&series(|n, image| (n < ENOUGH).then_some(image))).await;
    let study = node.ended(1).await;
    assert_eq!(codes(&study), ["no-model", "not-applicable"], "{:?}", study.timeline);
    assert!(!study.timeline.iter().any(|moment| moment.step == "running"), "{:?}", study.timeline);
    let report = archive.holds(1).await.remove(0);
    assert!(report.says("AI outcome: not applicable") && report.says("15 instances, at least 16 needed"));
    assert!(report.says("[not-applicable]"));
}
