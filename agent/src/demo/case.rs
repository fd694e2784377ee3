//! The packaged cases. Models and images are part of the binary, so that the demonstration needs nothing else.
use crate::dataset::part10;
use crate::decode::SourceInstance;
use crate::fault::Fault;
use bytes::Bytes;
use std::path::Path;

/// A packaged case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// A whole MR series; the model outlines the brain.
    Brain,
    /// An ultrasound frame; the model finds text in the pixels.
    Text,
}

macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../demo/models/", $folder, "/", $name)))),+]
    };
}

const BRAIN: &[(&str, &[u8])] = files!("brain-extraction":
    "model.toml", "CARD.md", "LICENSE.txt", "sbom.cdx.json", "locate.onnx", "extract.onnx",
    "golden/brain.mask", "golden/brain/brain_01.dcm", "golden/brain/brain_02.dcm", "golden/brain/brain_03.dcm", "golden/brain/brain_04.dcm",
    "golden/brain/brain_05.dcm", "golden/brain/brain_06.dcm", "golden/brain/brain_07.dcm", "golden/brain/brain_08.dcm",
    "golden/brain/brain_09.dcm", "golden/brain/brain_10.dcm", "golden/brain/brain_11.dcm", "golden/brain/brain_12.dcm",
    "golden/brain/brain_13.dcm", "golden/brain/brain_14.dcm", "golden/brain/brain_15.dcm", "golden/brain/brain_16.dcm",
    "golden/brain/brain_17.dcm", "golden/brain/brain_18.dcm", "golden/brain/brain_19.dcm", "golden/brain/brain_20.dcm",
);
const TEXT: &[(&str, &[u8])] = files!("text-detection":
    "model.toml", "CARD.md", "LICENSE.txt", "sbom.cdx.json", "detect.onnx", "golden/ultrasound/frame.dcm",
);

impl Case {
    /// Both.
    pub const ALL: [Case; 2] = [Case::Brain, Case::Text];

    fn files(self) -> &'static [(&'static str, &'static [u8])] {
        match self {
            Case::Brain => BRAIN,
            Case::Text => TEXT,
        }
    }

    /// Name of its package's folder.
    pub fn package(self) -> &'static str {
        match self {
            Case::Brain => "brain-extraction",
            Case::Text => "text-detection",
        }
    }

    /// What is sent, for people.
    pub fn study(self) -> &'static str {
        match self {
            Case::Brain => "an MR series of 20 slices",
            Case::Text => "an ultrasound frame",
        }
    }

    /// Kinds of results that must arrive.
    pub fn expects(self) -> &'static [&'static str] {
        match self {
            Case::Brain => &["SEG", "SR", "OT"],
            Case::Text => &["SR", "OT"],
        }
    }

    /// Writes the package's folder.
    pub fn unpack(self, models: &Path) -> std::io::Result<std::path::PathBuf> {
        let folder = models.join(self.package());
        for (name, bytes) in self.files() {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, bytes)?;
        }
        Ok(folder)
    }

    /// The images.
    pub fn images(self) -> Result<Vec<SourceInstance>, Fault> {
        let is_image = |name: &str| Path::new(name).extension().is_some_and(|extension| extension == "dcm");
        self.files()
            .iter()
            .filter(|(name, _)| is_image(name))
            .map(|(_, bytes)| part10::read(&Bytes::from_static(bytes)))
            .collect()
    }
}
