//! A story as a picture: from left to right, what led to what.
//!
//! Constraints: drawn on the server, of text and lines only; a cause comes before what it led to, so that whatever a publisher claims to be the
//! cause, it is a tree; as wide and high as it must be, and scrolled where that is too much.

use std::collections::HashMap;

use maud::{Markup, html};

use super::{shown, story::Told};

/// How an event looks: the later, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    Done,
    Waiting,
    Leased,
    Dead,
}

impl Look {
    /// The class of its colour.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Done => "good",
            Self::Waiting => "warn",
            Self::Leased => "busy",
            Self::Dead => "bad",
        }
    }
}

const WIDTH: usize = 228;
const HEIGHT: usize = 62;
const BETWEEN: usize = 48;
const BELOW: usize = 14;
const MARGIN: usize = 8;
/// Characters that fit into a node.
const FIT: usize = 30;

/// Where an event stands: its column, and twice its row, so that it can be between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    column: usize,
    half_rows: usize,
}

/// The picture.
pub(super) fn render(told: &[Told], is_sought: impl Fn(&Told) -> bool) -> Markup {
    let parents = parents(told);
    let (places, rows) = places(&parents);
    let columns = places.iter().map(|place| place.column + 1).max().unwrap_or(0);
    let (width, height) = (columns * (WIDTH + BETWEEN) - BETWEEN.min(columns * BETWEEN) + 2 * MARGIN, rows * (HEIGHT + BELOW) + 2 * MARGIN);
    html! {
        div.scroll.tree tabindex="0" role="region" aria-label="The story as a tree" {
            svg width=(width) height=(height) viewBox=(format!("0 0 {width} {height}")) role="group" aria-label="What led to what" {
                @for (index, parent) in parents.iter().enumerate() {
                    @if let Some(parent) = parent { path.edge d=(edge(places[*parent], places[index])) {} }
                }
                @for (each, place) in told.iter().zip(&places) { (node(each, *place, is_sought(each))) }
            }
        }
    }
}

fn node(told: &Told, place: Place, is_sought: bool) -> Markup {
    let (x, y) = corner(place);
    let (look, outcomes) = told.look();
    let event = &told.event;
    let name = shown::plain(shown::short_type(&event.r#type)).into_owned();
    let under = if outcomes.is_empty() { shown::plain(&event.subject).into_owned() } else { shown::plain(&outcomes).into_owned() };
    html! {
        a href={ "#e" (told.offset) } {
            g class={ "node " (look.class()) @if is_sought { " sought" } } transform=(format!("translate({x} {y})")) {
                title { (shown::plain(&event.r#type)) ", " (shown::plain(&event.source)) " " (shown::plain(&event.id)) @if !outcomes.is_empty() { ": " (shown::plain(&outcomes)) } }
                rect width=(WIDTH) height=(HEIGHT) rx="8" {}
                text.name x="12" y="20" { (shown::short(&name, FIT)) }
                text x="12" y="37" { (shown::short(&shown::plain(&event.source), FIT)) }
                text x="12" y="53" { (shown::short(&under, FIT)) }
            }
        }
    }
}

/// The upper left corner.
fn corner(place: Place) -> (usize, usize) {
    (MARGIN + place.column * (WIDTH + BETWEEN), MARGIN + place.half_rows * (HEIGHT + BELOW) / 2)
}

fn edge(from: Place, to: Place) -> String {
    let ((from_x, from_y), (to_x, to_y)) = (corner(from), corner(to));
    let (from_x, from_y, to_y) = (from_x + WIDTH, from_y + HEIGHT / 2, to_y + HEIGHT / 2);
    let middle = usize::midpoint(from_x, to_x);
    format!("M{from_x} {from_y}C{middle} {from_y} {middle} {to_y} {to_x} {to_y}")
}

/// The event that led to each, if it is among those before it.
fn parents(told: &[Told]) -> Vec<Option<usize>> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut parents = Vec::with_capacity(told.len());
    for (index, each) in told.iter().enumerate() {
        let cause = each.event.lineage.as_ref().map_or("", |lineage| lineage.causation_id.as_str());
        parents.push(seen.get(cause).copied().filter(|_| !cause.is_empty()));
        seen.entry(&each.event.id).or_insert(index);
    }
    parents
}

/// Where each stands, and how many rows that takes: leaves one below the other, and each cause in the middle of what it led to.
fn places(parents: &[Option<usize>]) -> (Vec<Place>, usize) {
    let mut children = vec![Vec::new(); parents.len()];
    let mut places = vec![Place::default(); parents.len()];
    let mut open = Vec::new();
    for (index, parent) in parents.iter().enumerate() {
        match parent {
            Some(parent) => {
                places[index].column = places[*parent].column + 1;
                children[*parent].push(index);
            }
            None => open.push(index),
        }
    }
    open.reverse();
    let (mut rows, mut order) = (0, Vec::with_capacity(parents.len()));
    while let Some(index) = open.pop() {
        order.push(index);
        if children[index].is_empty() {
            places[index].half_rows = rows * 2;
            rows += 1;
        }
        open.extend(children[index].iter().rev());
    }
    // Each after all that it led to.
    for index in order.into_iter().rev() {
        if let (Some(first), Some(last)) = (children[index].first(), children[index].last()) {
            places[index].half_rows = usize::midpoint(places[*first].half_rows, places[*last].half_rows);
        }
    }
    (places, rows)
}

#[cfg(test)]
mod tests {
    use waypost_proto::v1::{Event, Lineage};

    use super::*;

    fn told(events: &[(&str, &str)]) -> Vec<Told> {
        let event = |(offset, (id, cause)): (usize, &(&str, &str))| Told {
            offset: offset as u64,
            accepted_at: None,
            event: Event {
                id: (*id).to_owned(),
                r#type: "a.B".to_owned(),
                lineage: Some(Lineage { causation_id: (*cause).to_owned(), ..Lineage::default() }),
                ..Event::default()
            },
            outcomes: Vec::new(),
        };
        events.iter().enumerate().map(event).collect()
    }

    #[test]
    fn causes_stand_left_of_and_amid_what_they_led_to() {
        let parents = parents(&told(&[("a", ""), ("b", "a"), ("c", "a"), ("d", "c"), ("x", "elsewhere")]));
        assert_eq!(parents, [None, Some(0), Some(0), Some(2), None]);
        let (places, rows) = places(&parents);
        let at = |column, half_rows| Place { column, half_rows };
        assert_eq!((places, rows), (vec![at(0, 1), at(1, 0), at(1, 2), at(2, 2), at(0, 4)], 3));
    }

    #[test]
    fn no_claim_of_a_cause_makes_a_circle() {
        assert_eq!(parents(&told(&[("a", "b"), ("b", "a"), ("c", "c")])), [None, Some(0), None]);
        let chain: Vec<_> = (0..5_000).map(|number: usize| number.checked_sub(1)).collect();
        assert_eq!(places(&chain).0.last().map(|place| place.column), Some(4_999));
    }

    #[test]
    fn texts_in_the_picture_are_text() {
        let mut told = told(&[("a", "")]);
        told[0].event.subject = "</text><script>alert(1)</script>".to_owned();
        let svg = render(&told, |_| true).into_string();
        assert!(!svg.contains("<script") && svg.contains("&lt;/text&gt;&lt;script"), "{svg}");
        assert!(render(&[], |_| false).into_string().contains("<svg"));
    }
}
