//! The steps behind a network by the launchers, against their reference.
use super::host::{Host, Sanitizer};
use super::parity::Dice;
use half::f16;
use half::slice::HalfFloatSliceExt;
use sund_kernels::cuda::launch::{Score, end, is_exact};
use sund_kernels::cuda::machine::Machine;
use sund_kernels::device::{Ending, Mask, Output, Tensor};
use sund_kernels::softmax;

/// An answer, some of it equal, and one in four with a value that is not finite.
fn answer(dice: &mut Dice) -> Tensor {
    let dims = [1 + dice.below(3), 1 + dice.below(20), 1 + dice.below(40)];
    let channels = dice.of(&[1, 2, 5, 17]);
    let count = channels * dims.iter().product::<usize>();
    // Multiples of 1/8 are the same in 16 bits.
    let mut values: Vec<f32> = (0..count).map(|_| (dice.within(-4.0, 4.0) * 8.0).round() as f32 / 8.0).collect();
    if dice.below(4) == 0 {
        values[dice.below(count)] = dice.of(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
    }
    Tensor { shape: [&[1, channels][..], &dims].concat(), values }
}

fn ending(dice: &mut Dice, answer: &Tensor) -> Ending {
    let channel = dice.below(answer.shape[1]);
    let above = dice.of(&[0.5, 0.25, 0.0, -1.0]);
    let mask = dice.of(&[Mask::Label(channel), Mask::Above { channel, above }]);
    let dims = [answer.shape[2], answer.shape[3], answer.shape[4]];
    Ending { dims, softmax: dice.below(2) == 0, mask }
}

/// How close a voxel is to another answer: between the two largest scores, or to the threshold.
fn margin(answer: &Tensor, ending: &Ending, voxel: usize) -> f32 {
    let (mut values, channels) = (answer.values.clone(), answer.shape[1]);
    softmax(&mut values, channels).unwrap();
    let n = values.len() / channels;
    let score = |channel: usize| values[channel * n + voxel];
    match ending.mask {
        Mask::Above { channel, above } => (score(channel) - above).abs(),
        Mask::Label(label) => {
            let others = (0..channels).filter(|channel| *channel != label);
            others.map(|channel| (score(channel) - score(label)).abs()).fold(1.0, f32::min)
        }
    }
}

fn check<T: Score>(host: &mut Host, values: &[T], answer: &Tensor, ending: &Ending) {
    let mut memory = host.upload(values).unwrap();
    let ended = end(host, &mut memory, &answer.shape, ending).unwrap();
    let (mask, found) = (host.download(&ended.mask).unwrap(), host.download(&ended.not_finite).unwrap());
    match ending.of(answer.clone()) {
        Output::NotFinite => assert_ne!(found, [0]),
        Output::Mask { voxels, .. } => {
            assert_eq!((found.as_slice(), mask.len()), (&[0][..], voxels.len()));
            for (n, (made, expected)) in mask.iter().zip(&voxels).enumerate() {
                let is_close = ending.softmax && margin(answer, ending, n) <= 1e-6;
                assert!(made == expected || is_close, "voxel {n} of {ending:?}");
            }
        }
        Output::Scores(_) | Output::Held { .. } => panic!("the ending fits the answer"),
    }
}

#[test]
fn endings_on_a_machine_are_their_reference() {
    let mut host = Host::start(Sanitizer::AddressAndUndefined);
    for seed in 0..60 {
        let dice = &mut Dice::new(seed);
        let answer = answer(dice);
        let ending = ending(dice, &answer);
        check(&mut host, &answer.values, &answer, &ending);
        assert!(is_exact::<f32>(&ending));
        let mut halves = vec![f16::ZERO; answer.values.len()];
        halves.convert_from_f32_slice(&answer.values);
        if is_exact::<f16>(&ending) {
            check(&mut host, &halves, &answer, &ending);
        } else {
            assert!(ending.softmax);
        }
    }
    host.end();
}

#[test]
fn an_ending_that_does_not_fit_the_answer_is_refused_before_anything_runs() {
    let mut host = Host::start(Sanitizer::AddressAndUndefined);
    let mut scores = host.upload(&[0.0f32; 12]).unwrap();
    let ending = |dims, label| Ending { dims, softmax: true, mask: Mask::Label(label) };
    for (shape, ending) in [
        (&[1, 2, 1, 2, 3][..], ending([1, 2, 2], 0)),
        (&[1, 2, 1, 2, 3], ending([1, 2, 3], 2)),
        (&[2, 1, 1, 2, 3], ending([1, 2, 3], 0)),
        (&[1, 2, 6], ending([1, 2, 3], 0)),
        (&[1, 2, 1, 2, 3], ending([usize::MAX, 2, 3], 0)),
    ] {
        assert!(end(&mut host, &mut scores, shape, &ending).is_err(), "{shape:?}");
    }
    // A shape that says more than there is in memory.
    assert!(end(&mut host, &mut scores, &[1, 2, 1, 2, 4], &ending([1, 2, 4], 0)).is_err());
    assert!(host.download(&scores).unwrap().iter().all(|score| *score == 0.0));
    drop(scores);
    host.end();
}
