//! Stop a subscription, and let it go on.
//!
//! Constraint: as `actions`; neither loses anything, so neither is asked about first.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use maud::{Markup, html};
use waypost_proto::v1::{self, SubscriptionState, subscription_admin_service_server::SubscriptionAdminService};

use super::{
    Pages,
    forms::{self, Fields, Sent},
    layout::Trouble,
    pages::{Note, Visit},
    shown,
};
use crate::limits;

/// The buttons on the page of a subscription.
pub(super) fn controls(pages: &Pages, subscription: &v1::Subscription) -> Markup {
    let hidden = html! {
        input type="hidden" name="key" value=(pages.form_key());
        input type="hidden" name="name" value=(subscription.name);
    };
    match subscription.state() {
        SubscriptionState::Failed => html! {},
        SubscriptionState::Paused => html! {
            form.actions method="post" action="/resume" {
                (hidden)
                button { "Resume deliveries" }
                span.muted { "Events gather meanwhile; agents may settle what they hold." }
            }
        },
        _ => html! {
            form.filter method="post" action="/pause" {
                (hidden)
                label { "Why" input name="reason" maxlength=(limits::MAX_REASON_BYTES) autocomplete="off" placeholder="for others to read"; }
                button { "Pause deliveries" }
            }
        },
    }
}

pub(super) async fn pause(State(pages): State<Arc<Pages>>, visit: Visit, form: Fields) -> Result<Response, Trouble> {
    let sent = Sent::read(&pages, form)?;
    let name = sent.value("name");
    let request = v1::PauseSubscriptionRequest { name: name.to_owned(), reason: sent.value("reason").trim().to_owned() };
    pages.subscriptions.pause_subscription(visit.asks(request)).await?;
    Ok(done(&pages, name, format!("Deliveries of {name} are paused. Nothing is lost: its events gather until it is resumed.")))
}

pub(super) async fn resume(State(pages): State<Arc<Pages>>, visit: Visit, form: Fields) -> Result<Response, Trouble> {
    let sent = Sent::read(&pages, form)?;
    let name = sent.value("name");
    pages.subscriptions.resume_subscription(visit.asks(v1::ResumeSubscriptionRequest { name: name.to_owned() })).await?;
    Ok(done(&pages, name, format!("Deliveries of {name} go on.")))
}

fn done(pages: &Pages, name: &str, text: String) -> Response {
    forms::done(pages, &format!("/subscriptions/{}", shown::encoded(name)), Note { is_good: true, text })
}
