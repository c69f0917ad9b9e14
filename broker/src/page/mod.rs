//! The page in the browser, on the admin listener: what flows, what hangs, what was set aside, and what to do about it.
//!
//! Constraints:
//! - It reads and changes through the admin services and no other way: what they check, refuse and audit holds here as well.
//! - Everything is rendered on the server and readable without JavaScript; the one script only puts newer parts in the place of older ones.
//! - Whatever comes from outside (payloads, subjects, names, errors) is text: escaped, and with its invisible characters shown. The
//!   `Content-Security-Policy` allows no inline script or style, and nothing from elsewhere.
//! - A change is a POST from a form of this page: another site's is refused, and so is one without the form's token.
//! - What a page shows is bounded: lists page, payloads are cut, viewers that are kept up to date are counted.
//!
//! | file | what it holds |
//! |---|---|
//! | `routes` | which path shows what, and the headers of every answer |
//! | `pages` | what all of it shares, and who looks |
//! | `trust` | which requests are this page's own |
//! | `sign_in` | who may look, where tokens are asked for: the guard's rules, with the token in a cookie |
//! | `layout` | the frame around every page, and how errors look |
//! | `shown` | times, numbers and texts for people |
//! | `payload` | payloads as indented JSON, cut where they are long |
//! | `overview`, `subscriptions`, `sessions`, `dead_letters`, `quarantine`, `webhooks`, `story` | one page, or a list and its pages |
//! | `tree` | a story as a picture |
//! | `forms` | what a form sends, and how an action ends |
//! | `actions` | redrive and discard dead letters |
//! | `mending` | retry and discard quarantined webhooks |
//! | `pausing` | stop a subscription, and let it go on |
//! | `live` | newer parts, as they come |
//! | `flow` | how much was accepted, delivered and settled lately |

mod actions;
mod dead_letters;
mod flow;
mod forms;
mod layout;
mod live;
mod mending;
mod overview;
mod pages;
mod pausing;
mod payload;
mod quarantine;
mod routes;
mod sessions;
mod shown;
mod sign_in;
mod story;
mod subscriptions;
mod tree;
mod trust;
mod webhooks;

pub use pages::Pages;
pub use routes::router;
