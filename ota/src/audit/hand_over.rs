//! The agent takes the events into its audit log, in their order and each once: one of which the answer was lost is offered again, and the
//! agent knows it by its number. Nothing waits for an agent that is away, or too old to be asked.
use super::Audit;
use crate::agent::client::Agent;
use crate::fault::Fault;
use std::convert::Infallible;
use std::time::Duration;

/// Between two looks at what the updater's other programs have kept.
const LOOK: Duration = Duration::from_mins(1);
/// After an agent that did not take them, at first; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The same, at most.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How long a program that ends waits for the agent.
const LAST_WORD: Duration = Duration::from_secs(2);

impl Audit {
    /// Hands over what is kept, for as long as this goes on.
    pub async fn hand_over_on(&self, agent: &Agent) -> Infallible {
        let mut pause = FIRST_PAUSE;
        // Said once for as long as it lasts: an agent may be away for days.
        let mut said = None;
        loop {
            match self.hand_over(agent).await {
                Ok(()) => {
                    (pause, said) = (FIRST_PAUSE, None);
                    // What comes meanwhile, or came since, wakes at once.
                    let _ = tokio::time::timeout(LOOK, self.0.news.notified()).await;
                }
                Err(fault) => {
                    if said.as_ref() != Some(&fault.code) {
                        tracing::info!(code = %fault.code, reason = fault.reason, "audit events wait for the agent");
                        said = Some(fault.code);
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Hands over what is kept before the program ends; what the agent does not take now waits for the next one.
    pub async fn last_word(&self, agent: &Agent) {
        match tokio::time::timeout(LAST_WORD, self.hand_over(agent)).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => tracing::debug!(%fault, "audit events wait for the agent"),
            Err(_) => tracing::debug!("audit events wait for the agent, which does not answer in time"),
        }
    }

    async fn hand_over(&self, agent: &Agent) -> Result<(), Fault> {
        let Some((trail, _)) = self.0.kept.get() else { return Ok(()) };
        while let Some(batch) = trail.outstanding()? {
            let seq = agent.audit(&batch).await?;
            trail.taken(&batch.trail, seq)?;
        }
        Ok(())
    }
}
