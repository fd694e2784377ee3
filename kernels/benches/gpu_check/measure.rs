//! The benchmarks: each operation at a size that studies have.
use super::Checked;
use super::table::Measured;
use half::f16;
use sund_kernels::cuda::Cuda;
use sund_kernels::cuda::launch::{
    Prepared, TiledScores, Work, accumulate_tile, argmax, clip_range, crop, fill_holes, largest_component,
    normalise_tiles, not_finite, occupied_region, overlay, paste, preprocess, quantiles, scale_offset, softmax,
    threshold, window, z_score,
};
use sund_kernels::cuda::machine::Machine;
use sund_kernels::{Grid, Preparation, grid_with_spacing};

/// Runs before those that are measured, and those.
const ROUNDS: [usize; 2] = [5, 31];

/// A CT series: slices, rows, columns.
const CT: [usize; 3] = [300, 512, 512];

/// A CT series whose slices are `mm` apart.
pub fn ct(mm: f64) -> Grid {
    Grid { dims: CT, to_patient: [[0.0, 0.0, 0.703, -180.0], [0.0, 0.703, 0.0, -180.0], [mm, 0.0, 0.0, 50.0]] }
}

/// Bytes read and written in a copy from the GPU's memory to the GPU's memory, in GB/s.
pub fn copy_bandwidth(gpu: &mut Cuda) -> Checked<f64> {
    const BYTES: usize = 512 << 20;
    let (from, mut to) = (gpu.zeros::<u8>(BYTES)?, gpu.zeros::<u8>(BYTES)?);
    let ms = median(gpu, |gpu| gpu.copy(&from, &mut to))?;
    Ok(2.0 * BYTES as f64 / f64::from(ms) / 1e6)
}

/// All benchmarks.
pub fn all(gpu: &mut Cuda) -> Checked<Vec<Measured>> {
    let mut measured = preprocessing(gpu)?;
    measured.extend(scores(gpu)?);
    measured.extend(components(gpu)?);
    measured.extend(tiles(gpu)?);
    measured.push(picture(gpu)?);
    measured.extend(between_networks(gpu)?);
    Ok(measured)
}

fn preprocessing(gpu: &mut Cuda) -> Checked<Vec<Measured>> {
    let (thin, thick) = (ct(1.0), ct(1.25));
    let straight = grid_with_spacing(&thin, [1.0; 3]);
    let mut turned = straight;
    let (sin, cos) = 0.2f64.sin_cos();
    for column in 0..3 {
        let [y, z] = [1, 2].map(|axis: usize| straight.to_patient[axis][column]);
        (turned.to_patient[1][column], turned.to_patient[2][column]) = (cos * y - sin * z, sin * y + cos * z);
    }
    let cases = [
        ("window alone, on its own grid", thin, thin, true),
        ("to 1 mm, slices 1 mm apart", thin, straight, true),
        ("to 1 mm, slices 1.25 mm apart", thick, grid_with_spacing(&thick, [1.0; 3]), true),
        ("to 1 mm, turned by 0.2 rad", thin, turned, false),
    ];
    let samples: Vec<i16> =
        (0..CT.iter().product::<usize>()).map(|n| ((n * 2_654_435_761) >> 20) as i16 & 0xfff).collect();
    let samples = gpu.upload(&samples)?;
    let mut measured = Vec::new();
    for (name, source, onto, is_barred) in cases {
        let prepared = Prepared::new(gpu, &source, &onto, &Preparation::ct(1.0, -1024.0, 40.0, 400.0))?;
        let mut out = gpu.zeros::<f16>(onto.len())?;
        let ms = median(gpu, |gpu| preprocess(gpu, &prepared, &samples, &mut out))?;
        let name = format!("preprocess: a CT of 300 x 512 x 512, {name}");
        measured.push(Measured { name, bytes: 2 * (source.len() + onto.len()), ms, is_barred });
    }
    Ok(measured)
}

fn scores(gpu: &mut Cuda) -> Checked<Vec<Measured>> {
    const CHANNELS: usize = 5;
    const N: usize = 192 * 192 * 192;
    let logits: Vec<f32> = (0..CHANNELS * N).map(|n| (n as f32 * 0.37).sin() * 9.0).collect();
    let (mut logits, mut labels) = (gpu.upload(&logits)?, gpu.zeros::<u8>(N)?);
    let named = |name: &str, bytes, ms| Measured {
        name: format!("{name}: 5 channels of 192 x 192 x 192"),
        bytes,
        ms,
        is_barred: false,
    };
    let most = median(gpu, |gpu| argmax(gpu, &logits, CHANNELS, &mut labels))?;
    let shares = median(gpu, |gpu| softmax(gpu, &mut logits, CHANNELS))?;
    let one = gpu.zeros::<f32>(N)?;
    let above = median(gpu, |gpu| threshold(gpu, &one, 0.5, &mut labels))?;
    Ok(vec![
        named("softmax", 8 * CHANNELS * N, shares),
        named("argmax", (4 * CHANNELS + 1) * N, most),
        Measured { name: "threshold: 192 x 192 x 192".into(), bytes: 5 * N, ms: above, is_barred: false },
    ])
}

/// A body with a lung in it, over the whole CT.
fn components(gpu: &mut Cuda) -> Checked<Vec<Measured>> {
    let mask: Vec<u8> = (0..CT.iter().product::<usize>())
        .map(|n| {
            let (x, y) = ((n % 512) as f32 / 256.0 - 1.0, (n / 512 % 512) as f32 / 256.0 - 1.0);
            let from_middle = x * x + y * y * 2.0;
            u8::from((0.1..0.7).contains(&from_middle) || n % 9973 == 0)
        })
        .collect();
    let (memory, mut out, mut work) = (gpu.upload(&mask)?, gpu.zeros::<u8>(mask.len())?, Work::new(gpu, CT)?);
    let largest = median(gpu, |gpu| largest_component(gpu, &memory, CT, &mut work, &mut out))?;
    let filled = median(gpu, |gpu| fill_holes(gpu, &memory, CT, &mut work, &mut out))?;
    let named = |name: &str, ms| {
        let name = format!("{name}: a body in 300 x 512 x 512");
        Measured { name, bytes: 2 * mask.len(), ms, is_barred: false }
    };
    Ok(vec![named("largest_component", largest), named("fill_holes", filled)])
}

fn tiles(gpu: &mut Cuda) -> Checked<Vec<Measured>> {
    const CHANNELS: usize = 3;
    let (dims, tile) = ([192; 3], [96; 3]);
    let [voxels, of_tile] = [dims, tile].map(|dims: [usize; 3]| dims.iter().product::<usize>());
    let mut blend = TiledScores::new(gpu, dims, CHANNELS, tile)?;
    let scores = gpu.zeros::<f32>(CHANNELS * of_tile)?;
    let added = median(gpu, |gpu| accumulate_tile(gpu, &mut blend, &scores, [48; 3]))?;
    let normalised = median(gpu, |gpu| normalise_tiles(gpu, &mut blend))?;
    Ok(vec![
        Measured {
            name: "accumulate_tile: 3 channels of 96 x 96 x 96".into(),
            bytes: of_tile * (4 * CHANNELS + 8 * CHANNELS + 8),
            ms: added,
            is_barred: false,
        },
        Measured {
            name: "normalise_tiles: 3 channels of 192 x 192 x 192".into(),
            bytes: voxels * (8 * CHANNELS + 4),
            ms: normalised,
            is_barred: false,
        },
    ])
}

fn picture(gpu: &mut Cuda) -> Checked<Measured> {
    const SHAPE: [usize; 2] = [4096, 4096];
    let pixels = SHAPE[0] * SHAPE[1];
    let mask: Vec<u8> = (0..pixels).map(|n| u8::from(n / 4096 / 64 % 2 == 0 && n % 4096 / 64 % 2 == 0)).collect();
    let (mask, mut rgb) = (gpu.upload(&mask)?, gpu.zeros::<u8>(3 * pixels)?);
    let ms = median(gpu, |gpu| overlay(gpu, &mut rgb, &mask, SHAPE, [255, 176, 0]))?;
    // A quarter of the pixels is drawn.
    let bytes = pixels + 6 * pixels / 4;
    Ok(Measured { name: "overlay: a mask over 4096 x 4096".into(), bytes, ms, is_barred: false })
}

/// What a cascade does between its networks, the waits of the host for a few numbers among it.
fn between_networks(gpu: &mut Cuda) -> Checked<Vec<Measured>> {
    const DIMS: [usize; 3] = [256; 3];
    let voxels: usize = DIMS.iter().product();
    let values: Vec<f32> =
        (0..voxels).map(|n| if n % 3 == 0 { 0.0 } else { (n as f32 * 0.37).sin() * 900.0 }).collect();
    let mask: Vec<u8> = values.iter().map(|value| u8::from(*value > 0.0)).collect();
    let (mut values, mask) = (gpu.upload(&values)?, gpu.upload(&mask)?);
    let part = [32..224, 32..224, 32..224];
    let of_part = 192 * 192 * 192;
    let mut cropped = gpu.zeros::<f32>(of_part)?;
    let quantiles = median(gpu, |gpu| quantiles(gpu, &values, &[0.005, 0.995]).map(drop))?;
    let region = median(gpu, |gpu| occupied_region(gpu, &mask, DIMS, 0.02).map(drop))?;
    let crop = median(gpu, |gpu| crop(gpu, &values, DIMS, &part, &mut cropped))?;
    let paste = median(gpu, |gpu| paste(gpu, &cropped, &part, 0.0, DIMS, &mut values))?;
    let mut scored = gpu.zeros::<f32>(voxels)?;
    let score = median(gpu, |gpu| z_score(gpu, &values, &mut scored))?;
    let clip = median(gpu, |gpu| clip_range(gpu, &values, -500.0, 500.0, &mut scored))?;
    let windowed = median(gpu, |gpu| window(gpu, &values, 40.0, 400.0, &mut scored))?;
    let mut found = gpu.zeros::<u32>(1)?;
    let finite = median(gpu, |gpu| not_finite(gpu, &values, &mut found))?;
    let scaled = median(gpu, |gpu| scale_offset(gpu, &values, 0.226, 0.449, &mut scored))?;
    let named =
        |name: &str, bytes, ms| Measured { name: format!("{name}: 256 x 256 x 256"), bytes, ms, is_barred: false };
    Ok(vec![
        named("quantiles", 4 * voxels, quantiles),
        named("z_score", 8 * voxels, score),
        named("clip_range", 8 * voxels, clip),
        named("window", 8 * voxels, windowed),
        named("not_finite", 4 * voxels, finite),
        named("scale_offset", 8 * voxels, scaled),
        named("occupied_region", voxels, region),
        named("crop, to 192 x 192 x 192 of", 8 * of_part, crop),
        named("paste, 192 x 192 x 192 into", 4 * (of_part + voxels), paste),
    ])
}

/// Milliseconds of a run.
fn median(gpu: &mut Cuda, mut work: impl FnMut(&mut Cuda) -> Checked<()>) -> Checked<f32> {
    let [before, measured] = ROUNDS;
    for _ in 0..before {
        work(gpu)?;
    }
    gpu.wait()?;
    let mut times = (0..measured).map(|_| gpu.timed(&mut work)).collect::<Checked<Vec<f32>>>()?;
    times.sort_by(f32::total_cmp);
    Ok(times[measured / 2])
}
