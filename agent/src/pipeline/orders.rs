//! What people order at the console, carried out as `sund` does it on the box.
use super::Pipeline;
use crate::console::{Done, Operator, Order};
use crate::fault::Fault;

/// Who asks here, as the audit trail has it; the event before it has the name.
const BY: &str = "a person at the console";

impl Operator for Pipeline {
    fn carry_out(&self, order: Order) -> Result<Done, Fault> {
        let operation = order.operation();
        let done = match order {
            Order::Suspend { package, reason } => self
                .knows_model(&package)
                .and_then(|()| self.suspend(&package, &reason.to_string(), BY))
                .map(|()| Done::Suspended { package, off: true }),
            Order::Resume { package } => self
                .knows_model(&package)
                .and_then(|()| self.resume(&package, BY))
                .map(|()| Done::Suspended { package, off: false }),
            Order::Requeue { destination } => {
                self.requeue(Some(&destination)).map(|results| Done::Requeued { results })
            }
            Order::Recall { package, reason } => {
                self.recall(&package, reason.as_ref()).map(|report| Done::Recalled(report.into()))
            }
        };
        done.map_err(|fault| self.operation_refused(operation, None, fault))
    }
}
