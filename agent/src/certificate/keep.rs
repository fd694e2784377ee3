//! Looks after the certificate while the agent serves: renews it in time, and tells how it stands.
use super::{Installed, Proof, Settings, enrol, installed};
use crate::audit::Event;
use crate::fault::Fault;
use crate::hex::hex;
use crate::limits::certificate::{FIRST_PAUSE, LONGEST_PAUSE, LOOK};
use crate::metrics;
use crate::status::CertificateStatus;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::sleep;

/// Renews from two thirds of its life on, until `stop`. `tell` is told how it stands, first before this returns and then before and after each
/// attempt; `say` what is for the audit trail.
pub fn keep(
    settings: Settings,
    tell: impl Fn(CertificateStatus),
    say: impl Fn(Event),
    mut stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> {
    let mut keeper = Keeper { known: None, trouble: None, pause: FIRST_PAUSE, not_before: SystemTime::UNIX_EPOCH };
    let mut now = keeper.look(&settings, &tell, &say);
    async move {
        loop {
            if let Ok(current) = &now
                && keeper.is_due(&settings, current)
            {
                match renew(&settings).await {
                    Ok(new) => {
                        keeper.renewed();
                        keeper.notice(&Ok(new), &say);
                    }
                    Err(fault) => keeper.failed(fault, &say),
                }
                tell(keeper.status(&settings));
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            now = keeper.look(&settings, &tell, &say);
        }
    }
}

async fn renew(settings: &Settings) -> Result<Installed, Fault> {
    let Some(est) = &settings.est else { return installed(settings) };
    enrol(settings, est, Proof::Current).await
}

struct Keeper {
    known: Option<Installed>,
    trouble: Option<Fault>,
    pause: Duration,
    /// No attempt before.
    not_before: SystemTime,
}

impl Keeper {
    fn look(
        &mut self,
        settings: &Settings,
        tell: &impl Fn(CertificateStatus),
        say: &impl Fn(Event),
    ) -> Result<Installed, Fault> {
        let now = installed(settings);
        self.notice(&now, say);
        tell(self.status(settings));
        now
    }

    /// Another certificate than before is written down, whoever has put it there.
    fn notice(&mut self, now: &Result<Installed, Fault>, say: &impl Fn(Event)) {
        match now {
            Ok(new) => {
                if self.known.as_ref().is_none_or(|known| known.certificate() != new.certificate()) {
                    say(Event::CertificateTaken {
                        digest: hex(ring::digest::digest(&ring::digest::SHA256, new.certificate()).as_ref()),
                        names: new.leaf().names.join(" "),
                        until: humantime::format_rfc3339_seconds(new.leaf().not_after).to_string(),
                    });
                    self.known = Some(new.clone());
                    self.trouble = None;
                }
                metrics::certificate_ends(new.leaf().not_after);
            }
            Err(fault) => self.trouble_is(fault.clone(), say),
        }
    }

    fn is_due(&self, settings: &Settings, now: &Installed) -> bool {
        let time = SystemTime::now();
        settings.est.is_some() && time >= now.leaf().renew_after() && time >= self.not_before
    }

    fn renewed(&mut self) {
        tracing::info!("the certificate was renewed");
        (self.trouble, self.pause, self.not_before) = (None, FIRST_PAUSE, SystemTime::UNIX_EPOCH);
    }

    fn failed(&mut self, fault: Fault, say: &impl Fn(Event)) {
        self.not_before = SystemTime::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.trouble_is(fault, say);
    }

    /// What lasts is written down once.
    fn trouble_is(&mut self, fault: Fault, say: &impl Fn(Event)) {
        if self.trouble.as_ref().is_none_or(|known| known.code != fault.code) {
            tracing::warn!(code = %fault.code, reason = %fault.reason, "the certificate is not renewed");
            say(Event::CertificateNotRenewed { fault: fault.clone() });
        }
        self.trouble = Some(fault);
    }

    fn status(&self, settings: &Settings) -> CertificateStatus {
        let leaf = self.known.as_ref().map(Installed::leaf);
        let ends = leaf.map(|leaf| leaf.not_after);
        CertificateStatus {
            names: leaf.map(|leaf| leaf.names.clone()).unwrap_or_default(),
            not_after: ends,
            renews: settings.est.is_some(),
            alarm: ends.is_none_or(|ends| SystemTime::now() + settings.alarm >= ends),
            trouble: self.trouble.as_ref().map(ToString::to_string),
        }
    }
}
