//! What to compile for: `rtx:sm86,sm89`, `trt:sm90`.
use crate::limits::model::MAX_ARCHITECTURES;
use crate::model::compiled::is_architecture;
use std::str::FromStr;

/// An engine class and GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `tensorrt-rtx`, `tensorrt`.
    pub class: &'static str,
    /// `sm86`; each once.
    pub architectures: Vec<String>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, architectures) = text.split_once(':').ok_or("write e.g. rtx:sm86,sm89 or trt:sm90")?;
        let class = match kind {
            "rtx" => "tensorrt-rtx",
            "trt" => "tensorrt",
            other => return Err(format!("there is no target `{other}`: rtx is TensorRT-RTX, trt enterprise TensorRT")),
        };
        let mut known: Vec<String> = Vec::new();
        for name in architectures.split(',') {
            if !is_architecture(name) {
                return Err(format!("`{name}` is no GPU architecture: write e.g. sm89"));
            }
            if known.iter().any(|other| other == name) {
                return Err(format!("{name} stands there twice"));
            }
            known.push(name.to_owned());
        }
        match (class, known.len()) {
            ("tensorrt", 2..) => {
                Err("enterprise TensorRT compiles for the GPU of this machine alone: name one".to_owned())
            }
            (_, n) if n > MAX_ARCHITECTURES => Err(format!("these are more than {MAX_ARCHITECTURES} architectures")),
            _ => Ok(Self { class, architectures: known }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_class_and_architectures() {
        let rtx: Target = "rtx:sm86,sm89,sm120".parse().unwrap();
        assert_eq!((rtx.class, rtx.architectures.len()), ("tensorrt-rtx", 3));
        assert_eq!("trt:sm90".parse::<Target>().unwrap().class, "tensorrt");
        for (wrong, why) in [
            ("rtx", "e.g."),
            ("cuda:sm86", "no target `cuda`"),
            ("rtx:86", "no GPU architecture"),
            ("rtx:sm86,sm86", "twice"),
            ("rtx:", "no GPU architecture"),
            ("trt:sm90,sm100", "name one"),
        ] {
            let told = wrong.parse::<Target>().unwrap_err();
            assert!(told.contains(why), "{wrong}: {told}");
        }
    }
}
