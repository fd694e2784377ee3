//! The table, cell by cell, and what its end is.
use super::bars::{H100, Verdict, of_preprocessing, of_steady_state};
use super::packages::{Held, Row};
use super::steady::Steady;
use super::table::{Measured, Table};

fn table(capability: (i32, i32)) -> Table {
    Table::new("2026-11-28", "NVIDIA H100 80GB HBM3", capability, "NVRTC")
}

fn row(held: Held) -> Row {
    Row { package: "a 1.0.0".into(), engine: "tensorrt fp32".into(), found: "6\nnumbers | all".into(), held }
}

fn ct(ms: f32) -> Measured {
    Measured { name: "preprocess: a CT".into(), bytes: 300_000_000, ms, is_barred: true }
}

#[test]
fn bars_are_for_one_class_of_cards_and_a_bar_that_is_just_reached_is_met() {
    assert_eq!(of_preprocessing(H100, 0.8, 0.12), Verdict::Met);
    assert_eq!(of_preprocessing(H100, 0.799, 0.12), Verdict::Missed);
    assert_eq!(of_preprocessing(H100, 0.8, 0.121), Verdict::Missed);
    assert_eq!(of_preprocessing((8, 9), 0.1, 9.0), Verdict::None);
    assert_eq!((of_steady_state(H100, 0.8), of_steady_state(H100, 0.79)), (Verdict::Met, Verdict::Missed));
    assert_eq!(of_steady_state((12, 0), 0.1), Verdict::None);
    // A clock that does not work.
    assert_eq!(of_preprocessing(H100, f64::INFINITY, 0.0), Verdict::Missed);
    assert_eq!(
        (of_steady_state(H100, f64::NAN), of_steady_state(H100, f64::INFINITY)),
        (Verdict::Missed, Verdict::Missed)
    );
}

#[test]
fn the_table_says_what_was_found_and_that_tensorrt_is_unproven() {
    let mut table = table(H100);
    table.parity(200, [("softmax", true)]);
    table.sanitizer([("memcheck", "nothing".into(), true)]);
    table.packages(&Err("TensorRT-RTX does not serve compute capability 9.0".into()));
    table.benchmarks(2500.0, &[ct(0.115)]);
    table.steady(2, "kernels", &Steady { transfer: 3.0, engine: 2.5, both: 3.5 });
    let expected = "\
# CUDA kernels on a GPU

2026-11-28 · NVIDIA H100 80GB HBM3 · compute capability 9.0 · kernels from NVRTC

Written by `kernels/gpu-check`.

| operation | held against its reference |
| --- | --- |
| softmax | 200 cases of each kind: holds |

| compute-sanitizer | found |
| --- | --- |
| memcheck | nothing |

| package | engine | against ONNX Runtime |  |
| --- | --- | --- | --- |
| all | - | TensorRT-RTX does not serve compute capability 9.0 | unproven |

TensorRT execution: unproven: TensorRT-RTX does not serve compute capability 9.0.

Measured copy bandwidth: 2500 GB/s (read and written).

| benchmark | MB | ms | GB/s | of copy | bar |
| --- | --- | --- | --- | --- | --- |
| preprocess: a CT | 300.0 | 0.115 | 2609 | 104 % | met |

16 studies on 2 lanes, 16-bit samples in page-locked memory to the result there.

Engine: kernels.

|  | ms for a study | of the slower | bar |
| --- | --- | --- | --- |
| transfer alone | 3.000 |  |  |
| engine alone | 2.500 |  |  |
| both at once | 3.500 | 0.86 | met |
";
    assert_eq!(table.text(), expected);
    assert!(table.all_hold());
}

#[test]
fn anything_that_differs_or_misses_is_the_end_of_it() {
    let faults: [fn(&mut Table); 6] = [
        |table| table.parity(1, [("softmax", true), ("argmax", false)]),
        |table| table.sanitizer([("memcheck", "**errors**".into(), false)]),
        |table| table.packages(&Ok(vec![row(Held::Holds), row(Held::Differs)])),
        |table| table.packages(&Ok(vec![])),
        |table| table.benchmarks(2500.0, &[ct(0.13)]),
        |table| table.steady(2, "kernels", &Steady { transfer: 3.0, engine: 2.5, both: 4.0 }),
    ];
    for fault in faults {
        let mut table = table(H100);
        fault(&mut table);
        assert!(!table.all_hold(), "{}", table.text());
        // What comes behind does not cover it.
        table.parity(1, [("softmax", true)]);
        assert!(!table.all_hold());
    }
}

#[test]
fn what_is_unproven_is_said_and_no_fault_and_a_cell_is_one_line() {
    let mut table = table((8, 9));
    table.packages(&Ok(vec![row(Held::Unproven)]));
    assert!(table.all_hold() && table.text().contains("\nTensorRT execution: unproven\n"));
    assert!(table.text().contains("| a 1.0.0 | tensorrt fp32 | 6 numbers / all | unproven |"));
    table.packages(&Ok(vec![row(Held::Holds)]));
    assert_eq!(table.text().matches("TensorRT execution").count(), 1);
    table.benchmarks(2500.0, &[ct(9.0)]);
    table.steady(2, "kernels", &Steady { transfer: 1.0, engine: 1.0, both: 9.0 });
    assert!(table.all_hold(), "the bars are for other cards");
}
