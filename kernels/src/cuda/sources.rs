//! The kernels' sources, carried along always: where the image built ahead of time is not there, or a card is newer than all that
//! it was built for, NVRTC compiles them.

/// Headers first, each behind what it needs.
const FILES: [(&str, &str); 22] = [
    ("element.cuh", include_str!("../../cuda/element.cuh")),
    ("tone.cuh", include_str!("../../cuda/tone.cuh")),
    ("region.cuh", include_str!("../../cuda/region.cuh")),
    ("runs.cuh", include_str!("../../cuda/runs.cuh")),
    ("accumulate_tile.cu", include_str!("../../cuda/accumulate_tile.cu")),
    ("argmax.cu", include_str!("../../cuda/argmax.cu")),
    ("clip_range.cu", include_str!("../../cuda/clip_range.cu")),
    ("crop.cu", include_str!("../../cuda/crop.cu")),
    ("fill_holes.cu", include_str!("../../cuda/fill_holes.cu")),
    ("largest_component.cu", include_str!("../../cuda/largest_component.cu")),
    ("not_finite.cu", include_str!("../../cuda/not_finite.cu")),
    ("occupied_region.cu", include_str!("../../cuda/occupied_region.cu")),
    ("overlay.cu", include_str!("../../cuda/overlay.cu")),
    ("paste.cu", include_str!("../../cuda/paste.cu")),
    ("preprocess.cu", include_str!("../../cuda/preprocess.cu")),
    ("preprocess_oblique.cu", include_str!("../../cuda/preprocess_oblique.cu")),
    ("quantiles.cu", include_str!("../../cuda/quantiles.cu")),
    ("scale_offset.cu", include_str!("../../cuda/scale_offset.cu")),
    ("softmax.cu", include_str!("../../cuda/softmax.cu")),
    ("threshold.cu", include_str!("../../cuda/threshold.cu")),
    ("window.cu", include_str!("../../cuda/window.cu")),
    ("z_score.cu", include_str!("../../cuda/z_score.cu")),
];

/// All of them as one source that includes nothing, its lines named as in their files.
pub fn program() -> String {
    let mut program = String::new();
    for (name, text) in FILES {
        program.extend(["#line 1 \"", name, "\"\n"]);
        for line in text.lines() {
            let is_dropped = line.starts_with("#include \"") || line.starts_with("#pragma once");
            program += if is_dropped { "" } else { line };
            program += "\n";
        }
    }
    program
}

/// The names of all kernels.
pub fn kernels() -> Vec<String> {
    let mut names: Vec<String> = [
        "largest_component_runs",
        "largest_component_unite",
        "largest_component_measure",
        "largest_component_choose",
        "largest_component_keep",
        "fill_holes_runs",
        "fill_holes_unite",
        "fill_holes_open",
        "fill_holes_keep",
        "normalise_tiles",
        "argmax_is",
        "overlay",
        "window",
        "clip_range",
        "scale_offset",
        "quantiles_upper",
        "quantiles_lower",
        "z_score_sums",
        "z_score_squares",
        "z_score_apply",
        "occupied_region_lines",
        "occupied_region_columns",
        "crop_u8",
        "crop_f32",
        "paste_u8",
        "paste_f32",
    ]
    .map(str::to_owned)
    .to_vec();
    for element in ["f32", "f16"] {
        names.extend(
            ["softmax", "argmax", "threshold", "not_finite", "accumulate_tile"].map(|name| format!("{name}_{element}")),
        );
        for sample in ["u8", "i16", "u16", "i32", "f32"] {
            let ways = ["nothing", "plane", "volume", "oblique"];
            names.extend(ways.map(|way| format!("preprocess_{way}_{sample}_{element}")));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_file_is_carried_along() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
        let mut there: Vec<String> =
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        there.retain(|name| name != "kernels.cu");
        let mut carried = FILES.map(|(name, _)| name.to_owned()).to_vec();
        there.sort();
        carried.sort();
        assert_eq!(there, carried);
        let all = include_str!("../../cuda/kernels.cu");
        let units = carried.iter().filter(|name| !name.ends_with("cuh"));
        assert!(
            units.clone().count() == 18 && units.into_iter().all(|name| all.contains(&format!("#include \"{name}\"")))
        );
        assert!(!program().contains("#include"));
    }
}
