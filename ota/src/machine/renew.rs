//! The box's certificate: renewed when that is due, and taken up where somebody has enrolled the box anew meanwhile.
use super::Machine;
use super::system::LOOK;
use crate::http::Http;
use crate::identity;

/// What is said once for as long as it lasts.
const NOT_RENEWED: &str = "the certificate is not renewed";
const NOBODY: &str = "the box is nobody";

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
            match identity::renew_if_due(&self.config, &self.http).await {
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
        let applied = renewed.and_then(|http| {
            self.ddi = crate::ddi::client::Ddi::new(&self.config, http.clone())?;
            self.http = http;
            Ok(())
        });
        self.renewal_fails = applied.is_err();
        if let Some(fault) = self.said.news(NOT_RENEWED, &applied) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "the box's certificate was not renewed");
        }
        if let Some(fault) = self.said.news(NOBODY, &self.http.is_somebody()) {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "this box is nobody to the channel");
        }
    }
}
