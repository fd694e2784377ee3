//! The box's certificate: renewed when that is due, and taken up where somebody has enrolled the box anew meanwhile.
use super::Machine;
use super::system::LOOK;
use crate::authorities;
use crate::documents::{AUTHORITIES, Authorities};
use crate::fault::Fault;
use crate::http::Http;
use crate::identity::{self, Validity};
use crate::limits::MAX_STATE;
use crate::machine::record::Step;
use crate::trust::Trusted;
use std::time::Duration;
use tokio::time::Instant;

/// What is said once for as long as it lasts.
const NOT_RENEWED: &str = "the certificate is not renewed";
const NOBODY: &str = "the box is nobody";
const NOT_LEARNED: &str = "the channel's authorities are not learned";

/// Time between two early renewals: a channel that goes on issuing by the authority of before is not asked with every poll.
const EARLY: Duration = Duration::from_hours(1);

impl Machine {
    /// Returns once a box that is nobody to the channel has another certificate. One that is of no use is looked at again with the next poll.
    pub async fn is_enrolled_anew(&self) {
        while self.renewal_fails || self.http.is_somebody().is_ok() || self.http.is_current(&self.config) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Renews the certificate, or takes up another one.
    pub(super) async fn renew(&mut self) {
        let renewed = if self.http.is_somebody().is_ok() && self.http.is_current(&self.config) {
            match self.renew_in_time().await {
                Ok(None) => {
                    self.renewal_fails = false;
                    return self.said.over(NOT_RENEWED);
                }
                Ok(Some(validity)) => {
                    tracing::info!(target: "audit", until = validity.until, "the box's certificate was renewed");
                    Http::new(&self.config)
                }
                Err(fault) => Err(fault),
            }
        } else {
            // Somebody has enrolled the box meanwhile, or has brought back what was missing.
            identity::client(&self.config)
        };
        let applied = renewed.and_then(|http| self.speak_by(http));
        self.renewal_fails = applied.is_err();
        if let Some(fault) = self.said.news(NOT_RENEWED, &applied) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "the box's certificate was not renewed");
        }
        if let Some(fault) = self.said.news(NOBODY, &self.http.is_somebody()) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "this box is nobody to the channel");
        }
    }

    /// Where it is due, and early where the region has signed a newer authority than that of the certificate.
    async fn renew_in_time(&mut self) -> Result<Option<Validity>, Fault> {
        let renewed = identity::renew_if_due(&self.config, &self.http).await?;
        let waits = self.renewed_early.is_some_and(|at| at.elapsed() < EARLY);
        if renewed.is_some() || waits || !identity::is_of_old(&self.config) {
            return Ok(renewed);
        }
        self.renewed_early = Some(Instant::now());
        identity::renew(&self.config, &self.http).await
    }

    /// Learns whom the region has signed as the channel, and believes them from the next request on. What can't be learned now stands as it
    /// was learned last. The certificate is of the newest of them at once, since the work that follows may last.
    pub(super) async fn learn_authorities(&mut self, trusted: &Trusted) {
        let learned = match trusted.document(AUTHORITIES, MAX_STATE).await {
            Ok(Some(signed)) => {
                self.root().and_then(|root| authorities::keep(&self.config.directory, &root, signed.get()))
            }
            Ok(None) => Ok(false),
            Err(fault) => Err(fault),
        };
        let is_news = matches!(learned, Ok(true));
        if is_news {
            tracing::info!(target: "audit", "the region has signed other authorities of the channel");
            self.renewed_early = None;
        }
        let applied = learned.and_then(|is_news| {
            if is_news { identity::client(&self.config).and_then(|http| self.speak_by(http)) } else { Ok(()) }
        });
        self.learning_fails = applied.is_err();
        if let Some(fault) = self.said.news(NOT_LEARNED, &applied) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "the channel's authorities were not learned");
        }
        if is_news && applied.is_ok() {
            self.renew().await;
        }
    }

    /// Whether a watch, which may last for days, is interrupted to believe whom the region has signed meanwhile. Any other step ends soon.
    pub(super) async fn has_other_authorities(&self, trusted: &Trusted) -> bool {
        if self.learning_fails || !matches!(self.step(), Step::Active { .. }) {
            return false;
        }
        let (Ok(Some(signed)), Ok(root)) = (trusted.document(AUTHORITIES, MAX_STATE).await, self.root()) else {
            return false;
        };
        Authorities::parse(signed.get())
            .is_ok_and(|signed| authorities::is_news(&self.config.directory, &root, &signed))
    }

    fn speak_by(&mut self, http: Http) -> Result<(), Fault> {
        self.ddi = crate::ddi::client::Ddi::new(&self.config, http.clone())?;
        self.http = http;
        Ok(())
    }
}
