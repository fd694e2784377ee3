//! due → verified: before a result is sent, its destination is asked whose the study is there. A result goes into a study of
//! the same patient and accession number, or it does not go.
use super::Pipeline;
use super::delivery::lost;
use crate::association::{Found, Query, SendError};
use crate::dataset::Header;
use crate::deliver::Destination;
use crate::deliver::queue::{Attempt, Delivery, Line};
use crate::fault::Fault;
use crate::privacy::Private;
use crate::results::Identity;
use crate::study::patient::{Patient, contradict};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is asked of a study.
const ASKED: [Tag; 5] = [
    tags::ACCESSION_NUMBER,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
];

impl Pipeline {
    /// Of what is due, what may go: the destination has its study, of the same patient. Records why anything else does not.
    /// All of it where the destination is not to be asked.
    pub(super) async fn verified(
        &self,
        destination: &Destination,
        due: Vec<Delivery>,
        line: &mut Line,
    ) -> Result<Vec<Delivery>, Fault> {
        let Some(node) = &destination.patient_check else { return Ok(due) };
        let about = |error: &SendError| format!("asking {node:?} whose the study is (C-FIND): {error}");
        let opened = tokio::select! {
            opened = Query::open(node, destination.patience) => opened,
            () = self.drained(Duration::ZERO) => return Ok(Vec::new()),
        };
        let mut query = match opened {
            Ok(query) => query,
            Err(error) => {
                self.not_reached(destination, &due, &error, &about(&error), line)?;
                return Ok(Vec::new());
            }
        };
        let mut studies: BTreeMap<String, Option<Attempt>> = BTreeMap::new();
        let mut verified = Vec::with_capacity(due.len());
        for delivery in due {
            if !studies.contains_key(&delivery.study) {
                let answer = tokio::select! {
                    answer = query.study(&delivery.study, &ASKED) => answer,
                    () = self.drained(Duration::ZERO) => return Ok(Vec::new()),
                };
                let objection = match answer {
                    Ok(found) => self.objection(&delivery.study, found)?,
                    Err(error) => {
                        // It may be this study's doing: the others go past it.
                        let text = about(&error);
                        let is_news = !studies.is_empty() || lost(destination, line, &text);
                        self.attempted(destination, &delivery, Attempt::NotChecked(text), is_news)?;
                        return Ok(verified);
                    }
                };
                studies.insert(delivery.study.clone(), objection);
            }
            match studies.get(&delivery.study).cloned().flatten() {
                None => verified.push(delivery),
                Some(objection) => self.attempted(destination, &delivery, objection, true)?,
            }
        }
        query.close().await;
        Ok(verified)
    }

    /// Why results of a study may not go, by what its destination says of it; `None` where they may.
    fn objection(&self, study: &str, found: Found) -> Result<Option<Attempt>, Fault> {
        let ours = self.identity(study)?;
        Ok(match found {
            Found::Failed(said) => {
                let said = self.quoted(&said, study);
                Some(Attempt::NotChecked(format!("it does not say whose the study is (C-FIND): {said}")))
            }
            Found::Matches(matches) if matches.is_empty() => {
                Some(Attempt::NotChecked("it does not have the study yet (C-FIND)".to_owned()))
            }
            Found::Matches(matches) => {
                let differing = matches.iter().map(|theirs| differing(&ours, theirs)).find(|names| !names.is_empty());
                differing.map(|names| {
                    Attempt::OtherPatient(format!("it has the study with another {}", names.join(", another ")))
                })
            }
        })
    }
}

/// Names of the attributes by which their study is another patient's, or another order's, than ours.
fn differing(ours: &Identity, theirs: &Header) -> Vec<&'static str> {
    let (us, them) = (Patient::named(|tag| ours.value(tag)), Patient::of(theirs));
    let accession = Private::new(theirs.text(tags::ACCESSION_NUMBER).unwrap_or_default());
    let is_another_order = contradict(&ours.value(tags::ACCESSION_NUMBER), &accession);
    us.contradictions(&them).chain(is_another_order.then_some("Accession Number")).collect()
}
