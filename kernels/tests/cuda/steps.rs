//! The steps of a cascade, one behind another in a machine's memory, against the references.
use super::parity::{Dice, grid};
use std::fmt::Debug;
use std::sync::Arc;
use sund_kernels as reference;
use sund_kernels::cuda::machine::Machine;
use sund_kernels::device::Samples;
use sund_kernels::device::steps::{Held, Made, Step, step, stored};
use sund_kernels::{Interpolation, Orientation, Preparation, Volume, oriented, resized};

fn held<M: Machine<Error: Debug>>(machine: &mut M, what: &Step, from: &Held<M>) -> Held<M> {
    match step(machine, what, from).unwrap() {
        Made::Held(held) => held,
        _ => panic!("{what:?} makes numbers"),
    }
}

fn is_reals<M: Machine<Error: Debug>>(machine: &mut M, held: &Held<M>, expected: &Volume<f32>, seed: u64) {
    let Held::Reals(reals) = held else { panic!("reals were expected") };
    assert_eq!(reals.dims, expected.grid.dims, "seed {seed}");
    assert_eq!(machine.download(&reals.values).unwrap(), expected.voxels, "seed {seed}");
}

fn is_mask<M: Machine<Error: Debug>>(machine: &mut M, held: &Held<M>, expected: &Volume<u8>, seed: u64) {
    let Held::Mask(mask) = held else { panic!("a mask was expected") };
    assert_eq!(
        (mask.dims, machine.download(&mask.values).unwrap()),
        (expected.grid.dims, expected.voxels.clone()),
        "seed {seed}"
    );
}

/// From stored samples to a mask on their grid, as a model goes that locates, crops and segments: each value on the way, to the bit.
pub fn cascade<M: Machine<Error: Debug>>(machine: &mut M, seed: u64) {
    let dice = &mut Dice::new(seed);
    let source = grid(dice);
    let samples: Vec<i16> = (0..source.len()).map(|_| dice.within(-900.0, 900.0) as i16).collect();
    let reals = samples.iter().map(|value| f32::from(*value) * 0.5 - 10.0).collect();
    let input = Volume { grid: source, voxels: reals };
    let on_machine = stored(machine, &Samples::I16(Arc::new(samples)), source.dims).unwrap();
    assert!(step(machine, &Step::ZScore, &on_machine).is_err());
    let preparation = Preparation::rescaled(0.5, -10.0);
    let on_machine = held(machine, &Step::Prepare { grid: source, onto: source, preparation }, &on_machine);
    is_reals(machine, &on_machine, &input, seed);

    let to = Orientation::parse(dice.of(&["SAR", "RAS", "PIL"])).unwrap();
    let turned = reference::orient(&input, to);
    let what = Step::Resample { grid: source, onto: oriented(&source, to), how: Interpolation::Nearest };
    let on_turned = held(machine, &what, &on_machine);
    is_reals(machine, &on_turned, &turned, seed);

    let (dims, how) = ([0; 3].map(|_| 1 + dice.below(20)), dice.of(&[Interpolation::Nearest, Interpolation::Linear]));
    let small = reference::resize(&turned, dims, how).unwrap();
    let on_small = held(machine, &Step::Resize { dims, how }, &on_turned);
    is_reals(machine, &on_small, &small, seed);

    let shares = [0.005, 0.9];
    let range = reference::quantiles(&small.voxels, &shares).unwrap();
    let Made::Range([low, high]) = step(machine, &Step::Quantiles { shares }, &on_small).unwrap() else {
        panic!("a range was expected")
    };
    assert_eq!([low, high], range[..], "seed {seed}");
    let (mut normal, mut on_normal) = (small, on_small);
    for (what, change) in [
        (
            Step::ClipRange { low, high },
            (|v, [low, high]| reference::clip_range(v, low, high)) as fn(&mut [f32], [f32; 2]),
        ),
        (Step::ZScore, |v, _| reference::z_score(v)),
        (Step::ScaleOffset { scale: 0.226, offset: 0.449 }, |v, _| reference::scale_offset(v, 0.226, 0.449)),
        (Step::Window { center: 0.5, width: 1.7 }, |v, _| reference::window(v, 0.5, 1.7)),
    ] {
        change(&mut normal.voxels, [low, high]);
        on_normal = held(machine, &what, &on_normal);
        is_reals(machine, &on_normal, &normal, seed);
    }
    let located = mask_of(&normal, 0.4);
    let on_located = held(machine, &Step::Threshold { above: 0.4 }, &on_normal);
    is_mask(machine, &on_located, &located, seed);
    segments(machine, dice, (&turned, &on_turned), (&located, &on_located), seed);
}

fn mask_of(volume: &Volume<f32>, above: f32) -> Volume<u8> {
    Volume { grid: volume.grid, voxels: reference::threshold(&volume.voxels, above) }
}

/// A part is cut out, scored by two channels, and pasted back.
fn segments<M: Machine<Error: Debug>>(
    machine: &mut M,
    dice: &mut Dice,
    (turned, on_turned): (&Volume<f32>, &Held<M>),
    (located, on_located): (&Volume<u8>, &Held<M>),
    seed: u64,
) {
    let (head, on_head) = (reference::largest_component(located), held(machine, &Step::LargestComponent, on_located));
    is_mask(machine, &on_head, &head, seed);
    let occupancy = dice.of(&[0.0, 0.3]);
    let found = reference::occupied_region(&head, occupancy);
    let Made::Region(region) = step(machine, &Step::OccupiedRegion { occupancy }, &on_head).unwrap() else {
        panic!("a region was expected")
    };
    assert_eq!(region, found, "seed {seed}");

    let region = turned.grid.dims.map(|n| {
        let start = dice.below(n);
        start..start + 1 + dice.below(n - start)
    });
    let cropped = reference::crop(turned, &region).unwrap();
    let on_cropped = held(machine, &Step::Crop { region: region.clone() }, on_turned);
    is_reals(machine, &on_cropped, &cropped, seed);

    let (dims, n) = (cropped.grid.dims, cropped.voxels.len());
    let logits: Vec<f32> = (0..2 * n).map(|_| dice.within(-4.0, 4.0) as f32).collect();
    let on_scores = Held::Scores { channels: 2, dims, values: machine.upload(&logits).unwrap() };
    let largest = reference::argmax(&logits, 2).unwrap();
    let labelled = Volume { grid: cropped.grid, voxels: largest.iter().map(|label| u8::from(*label == 1)).collect() };
    let on_labelled = held(machine, &Step::Argmax { label: 1 }, &on_scores);
    is_mask(machine, &on_labelled, &labelled, seed);
    assert!(step(machine, &Step::Argmax { label: 2 }, &on_scores).is_err());
    assert!(step(machine, &Step::ZScore, &on_scores).is_err());

    let mut shares = logits.clone();
    reference::softmax(&mut shares, 2).unwrap();
    let on_shares = held(machine, &Step::Softmax, &on_scores);
    let Held::Reals(channel) = held(machine, &Step::Channel { channel: 1 }, &on_shares) else { panic!("reals") };
    let got = machine.download(&channel.values).unwrap();
    assert!(got.iter().zip(&shares[n..]).all(|(got, share)| (got - share).abs() < 1e-6), "seed {seed}");
    // What the shares were made of is as it was.
    let channel = Volume { grid: cropped.grid, voxels: logits[n..].to_vec() };
    let on_channel = held(machine, &Step::Channel { channel: 1 }, &on_scores);
    is_reals(machine, &on_channel, &channel, seed);

    let [slices, rows, columns] = region.clone();
    let turned_away = [columns.clone(), slices.clone(), rows.clone()];
    if turned_away.each_ref().map(ExactSizeIterator::len) != dims {
        let wrong = Step::Paste { region: turned_away, dims: [64, 64, 400] };
        assert!(step(machine, &wrong, &on_labelled).is_err(), "as many voxels with other sides");
    }
    let whole = reference::paste(&labelled, &turned.grid, &region, 0).unwrap();
    let paste = Step::Paste { region, dims: turned.grid.dims };
    let on_whole = held(machine, &paste, &on_labelled);
    is_mask(machine, &on_whole, &whole, seed);
    let filled = reference::fill_holes(&whole);
    let on_filled = held(machine, &Step::FillHoles, &on_whole);
    is_mask(machine, &on_filled, &filled, seed);
    let pasted = reference::paste(&channel, &turned.grid, &paste_region(&paste), 0.0).unwrap();
    let on_pasted = held(machine, &paste, &on_channel);
    is_reals(machine, &on_pasted, &pasted, seed);

    let onto = resized(&turned.grid, [7, 5, 3]);
    let real = Volume { grid: filled.grid, voxels: filled.voxels.iter().map(|v| f32::from(*v)).collect() };
    let how = dice.of(&[Interpolation::Nearest, Interpolation::Linear]);
    let moved = mask_of(&reference::resample(&real, &onto, how, 0.0).unwrap(), 0.5);
    let on_moved = held(machine, &Step::Resample { grid: turned.grid, onto, how }, &on_filled);
    is_mask(machine, &on_moved, &moved, seed);
}

fn paste_region(step: &Step) -> reference::Region {
    match step {
        Step::Paste { region, .. } => region.clone(),
        _ => panic!("a paste was expected"),
    }
}
