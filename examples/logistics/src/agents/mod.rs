//! The agents, one file each. Read [`routing`] first: every agent has that form.
//!
//! Constraints: an agent knows the broker and the messages, and no other agent; it does each event at most once, and says by what
//! it returns what is published with the ack. Their tests run them with a whole broker, in milliseconds.
//!
//! | agent | hears | tells |
//! |---|---|---|
//! | [`routing`] | `ShippingDelayed`, `CarrierStatusChanged` | `PackageRerouted` |
//! | [`inventory`] | `OrderPlaced`, `StockDepleted`, `ShippingDelayed` | `StockReserved`, `ReplenishmentOrdered` |
//! | [`fulfilment`] | `StockReserved`, `TruckArrived`, `PackageRerouted` | `ShipmentDispatched` |
//! | [`notification`] | `PackageRerouted`, `ShipmentDispatched` | `CustomerNotified` |
//! | [`ops`] | `CarrierStatusChanged` | `RemediationAttempted` |
//! | [`outside`] | what leaves the house | nothing |

pub(crate) mod fulfilment;
pub(crate) mod inventory;
pub(crate) mod notification;
pub(crate) mod ops;
pub(crate) mod outside;
pub(crate) mod routing;
#[cfg(test)]
mod tests;
