//! A day in a supply chain: which webhooks the outside systems post, and what goes wrong with some.
//!
//! Constraint: the same number gives the same day; no two days share an id.

use serde_json::{Value, json};

use crate::flow::{Agent, INVENTORY};

/// The routing process that gets this delay is killed between its receipt and its ack.
pub(crate) const FATAL: &str = "-07";

/// A webhook to be posted.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    /// The source, as the broker's configuration names it.
    pub(crate) source: &'static str,
    pub(crate) event_type: &'static str,
    pub(crate) subject: String,
    pub(crate) body: Value,
    pub(crate) twist: Twist,
}

/// What is special about a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twist {
    Nothing,
    /// The source never saw our answer, and posts it again.
    Twice,
    /// Somebody without the secret posted it.
    Forged,
    /// It lacks what its type requires.
    Unfit,
    /// This agent cannot handle it, whatever it tries.
    PoisonFor(Agent),
}

/// The webhooks of a day, from 1, in the order in which they are posted.
pub(crate) fn day(number: u32) -> Vec<Webhook> {
    let mut day = Day { number, webhooks: Vec::new() };
    for n in 1..=12 {
        day.delay(n);
        day.order(n);
        if n % 2 == 0 {
            day.truck(n);
            day.reroute(n);
        }
        match n % 3 {
            0 => day.stock(n),
            1 => day.carrier(n),
            _ => {}
        }
    }
    day.webhooks
}

struct Day {
    number: u32,
    webhooks: Vec<Webhook>,
}

impl Day {
    fn delay(&mut self, n: u32) {
        let id = format!("SHIP-{}-{n:02}", self.number);
        let twist = if n == 3 { Twist::Twice } else { Twist::Nothing };
        self.post(
            "carrier",
            "shipping_delay",
            "logistics.v1.ShippingDelayed",
            &format!("shipments/{id}"),
            twist,
            json!({
                "shipment_id": id,
                "carrier": "Global Freight",
                "original_eta": "2026-04-08T17:00:00Z",
                "new_eta": "2026-04-10T17:00:00Z",
                "reason": if n % 2 == 1 { "Port strike at Rotterdam" } else { "Ice on the Elbe" },
                "affected_products": ["PROD-A", "PROD-B"],
                "proactive_action_needed": true,
            }),
        );
    }

    fn order(&mut self, n: u32) {
        let id = format!("ORDER-{}-{n:02}", self.number);
        let (sku, twist) = match n {
            5 => ("UNOBTAINIUM", Twist::PoisonFor(INVENTORY)),
            8 => ("PROD-C", Twist::Forged),
            9 => ("PROD-C", Twist::Unfit),
            _ => ("PROD-C", Twist::Nothing),
        };
        let customer = if twist == Twist::Unfit { Value::Null } else { format!("customer-{n}").into() };
        self.post(
            "shop",
            "order_placed",
            "commerce.v1.OrderPlaced",
            &format!("orders/{id}"),
            twist,
            json!({
                "order_id": id,
                "customer_id": customer,
                "items": [{ "sku": sku, "quantity": n }],
            }),
        );
    }

    fn truck(&mut self, n: u32) {
        let id = format!("TRUCK-{}-{n:02}", self.number);
        let shipments = [1, 2].map(|box_number| format!("BOX-{}-{n:02}-{box_number}", self.number));
        self.post(
            "carrier",
            "truck_arrived",
            "logistics.v1.TruckArrived",
            &format!("trucks/{id}"),
            Twist::Nothing,
            json!({
                "truck_id": id,
                "warehouse_id": "DEPOT-LEIPZIG",
                "carrier": "Global Freight",
                "shipment_ids": shipments,
            }),
        );
    }

    fn reroute(&mut self, n: u32) {
        let id = format!("PACK-{}-{n:02}", self.number);
        self.post(
            "carrier",
            "package_rerouted",
            "logistics.v1.PackageRerouted",
            &format!("packages/{id}"),
            Twist::Nothing,
            json!({
                "package_id": id,
                "previous_route": ["Rotterdam", "Duisburg"],
                "new_route": ["Antwerp", "Aachen"],
                "reason": "Low water on the Rhine",
            }),
        );
    }

    fn stock(&mut self, n: u32) {
        let sku = format!("PROD-{}-{n:02}", self.number);
        self.post(
            "warehouse",
            "stock_depleted",
            "logistics.v1.StockDepleted",
            &format!("stock/{sku}"),
            Twist::Nothing,
            json!({
                "sku": sku,
                "warehouse_id": "DEPOT-LEIPZIG",
                "remaining": 0,
                "threshold": 20,
            }),
        );
    }

    fn carrier(&mut self, n: u32) {
        let (carrier, status) = (["Global Freight", "Rhine Barges"][n as usize % 2], ["degraded", "operational"][n as usize / 2 % 2]);
        let subject = format!("carriers/{}", carrier.replace(' ', "-"));
        self.post(
            "carrier",
            "carrier_status",
            "logistics.v1.CarrierStatusChanged",
            &subject,
            Twist::Nothing,
            json!({
                "carrier": carrier,
                "status": status,
                "region": "north-west",
            }),
        );
    }

    /// The source names each of its webhooks, so that it can post one again.
    fn post(&mut self, source: &'static str, name: &str, event_type: &'static str, subject: &str, twist: Twist, mut body: Value) {
        body["event_type"] = name.into();
        body["event_id"] = format!("{source}-{}-{:03}", self.number, self.webhooks.len() + 1).into();
        self.webhooks.push(Webhook { source, event_type, subject: subject.to_owned(), body, twist });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_every_twist_and_a_fatal_delay() {
        let day = day(1);
        for twist in [Twist::Twice, Twist::Forged, Twist::Unfit, Twist::PoisonFor(INVENTORY)] {
            assert_eq!(day.iter().filter(|webhook| webhook.twist == twist).count(), 1, "{twist:?}");
        }
        let is_fatal = |webhook: &&Webhook| webhook.event_type == "logistics.v1.ShippingDelayed" && webhook.subject.ends_with(FATAL);
        assert_eq!(day.iter().filter(is_fatal).count(), 1);
    }
}
