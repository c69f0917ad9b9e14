//! Who hears what.
//!
//! Constraint: no agent reads this. It says what must come of each event, so that the ledgers can be judged by it.

/// An agent of the example.
pub(crate) type Agent = &'static str;

pub(crate) const ROUTING: Agent = "routing";
pub(crate) const INVENTORY: Agent = "inventory";
pub(crate) const FULFILMENT: Agent = "fulfilment";
pub(crate) const NOTIFICATION: Agent = "notification";
pub(crate) const OPS: Agent = "ops";
/// Customers, suppliers and people on call: whom the last event of a story reaches.
pub(crate) const OUTSIDE: Agent = "outside";

pub(crate) const AGENTS: [Agent; 6] = [ROUTING, INVENTORY, FULFILMENT, NOTIFICATION, OPS, OUTSIDE];

/// The agents that must handle an event of this type, each once.
pub(crate) fn heard_by(event_type: &str) -> &'static [Agent] {
    match event_type {
        // What webhooks bring.
        "logistics.v1.ShippingDelayed" => &[ROUTING, INVENTORY],
        "logistics.v1.CarrierStatusChanged" => &[ROUTING, OPS],
        "logistics.v1.TruckArrived" => &[FULFILMENT],
        "logistics.v1.StockDepleted" => &[INVENTORY],
        "commerce.v1.OrderPlaced" => &[INVENTORY],
        // What a webhook brings, and the routing agent tells as well.
        "logistics.v1.PackageRerouted" => &[FULFILMENT, NOTIFICATION],
        // What agents tell each other.
        "logistics.v1.StockReserved" => &[FULFILMENT],
        "logistics.v1.ShipmentDispatched" => &[NOTIFICATION],
        // What leaves the house.
        "logistics.v1.CustomerNotified" | "logistics.v1.ReplenishmentOrdered" | "ops.v1.RemediationAttempted" => &[OUTSIDE],
        _ => &[],
    }
}
