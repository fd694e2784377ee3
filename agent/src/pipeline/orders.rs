//! What people order at the console, carried out as `sund` does it on the box.
use super::{By, Pipeline};
use crate::console::{Done, Operator, Order};
use crate::fault::Fault;

impl Operator for Pipeline {
    fn carry_out(&self, order: Order) -> Result<Done, Fault> {
        let operation = order.operation();
        let done = match order {
            Order::Suspend { package, reason } => self
                .knows_model(&package)
                .and_then(|()| self.suspend(&package, &reason.to_string(), By::Console))
                .map(|()| Done::Suspended { package, off: true }),
            Order::Resume { package } => self
                .knows_model(&package)
                .and_then(|()| self.resume(&package, By::Console))
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
