//! What is sent: the golden case of a packaged model, as one more study each time, or a long series without one.
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileDicomObject, InMemDicomObject, open_file};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use sund_agent::association::ObjectToSend;

pub struct Study(Vec<FileDicomObject<InMemDicomObject>>);

impl Study {
    /// Folder of a packaged model.
    pub fn package(model: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models").join(model)
    }

    pub fn of_model(model: &str, case: &str) -> Result<Self> {
        let folder = Self::package(model).join("golden").join(case);
        let mut paths = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
        paths.sort();
        Ok(Self(paths.iter().map(|path| open_file(path).map_err(Error::other)).collect::<Result<_>>()?))
    }

    /// A series of so many slices of 512 x 512, 0.5 MB each.
    pub fn slices(count: usize) -> Result<Self> {
        let Self(mut files) = Self::of_model("brain-extraction", "brain")?;
        files.truncate(1);
        for file in &mut files {
            for tag in [tags::ROWS, tags::COLUMNS] {
                file.put(DataElement::new(tag, VR::US, PrimitiveValue::from(512_u16)));
            }
            file.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::from(vec![0_u8; 2 * 512 * 512])));
        }
        Ok(Self(files.into_iter().cycle().take(count).collect()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The study under UIDs of this round, with a pixel of its own: it is inferred anew.
    pub fn objects(&self, round: usize) -> Result<Vec<ObjectToSend>> {
        let object = |(n, file): (usize, &FileDicomObject<InMemDicomObject>)| {
            let mut set = (**file).clone();
            let sop_instance = format!("2.25.{}", 3_000_000 + 1_000 * round + n);
            for (tag, uid) in [
                (tags::STUDY_INSTANCE_UID, format!("2.25.{}", 1_000_000 + round)),
                (tags::SERIES_INSTANCE_UID, format!("2.25.{}", 2_000_000 + round)),
                (tags::SOP_INSTANCE_UID, sop_instance.clone()),
            ] {
                set.put(DataElement::new(tag, VR::UI, uid));
            }
            let pixels = set.element(tags::PIXEL_DATA).map_err(Error::other)?;
            let mut bytes = pixels.to_bytes().map_err(Error::other)?.into_owned();
            bytes[0] ^= round as u8;
            set.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::from(bytes)));
            let transfer_syntax = "1.2.840.10008.1.2.1".to_owned();
            let explicit = dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN.erased();
            let mut dataset = Vec::new();
            set.write_dataset_with_ts(&mut dataset, &explicit).map_err(Error::other)?;
            let sop_class = file.meta().media_storage_sop_class_uid().trim_end_matches('\0').to_owned();
            Ok(ObjectToSend { sop_class, sop_instance, transfer_syntax, dataset: dataset.into() })
        };
        self.0.iter().enumerate().map(object).collect()
    }
}
