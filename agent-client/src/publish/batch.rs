//! Publishing by the unary call.
//!
//! Constraints: items are sent in order, in calls that the broker takes; only what has no final answer is sent again.

use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, sleep_until, timeout_at};
use waypost_proto::v1::{PublishItem, PublishRequest};

use super::outcome::{Answer, PublishError, Published, id, prepare};
use crate::backoff::Backoff;
use crate::failure::Failure;
use crate::limits::{MAX_ITEMS, MAX_PUBLISH_BYTES};
use crate::observe::Watch;
use crate::rpc::Rpc;

/// A call that has no answer by then is made again.
const ATTEMPT: Duration = Duration::from_secs(10);

type Outcome = Result<Published, PublishError>;

/// Publishes the items and gives a result for each, in order.
pub(crate) async fn batch(rpc: Rpc, mut items: Vec<PublishItem>, deadline: Duration, watch: &Watch) -> Vec<Outcome> {
    let began = Instant::now();
    let give_up_at = began + deadline;
    let mut outcomes: Vec<Option<Outcome>> = items.iter_mut().map(|item| prepare(item).err().map(Err)).collect();
    let mut last = None;
    let mut backoff = Backoff::without_immediate();
    loop {
        let open: Vec<_> = (0..items.len()).filter(|index| outcomes[*index].is_none()).collect();
        let mut asked = None;
        for chunk in chunks(&items, &open) {
            let again = call(rpc.clone(), &items, chunk, &mut outcomes, give_up_at).await;
            if let Some(failure) = again {
                asked = asked.max(failure.retry_after);
                last = Some(failure);
            }
        }
        let next = Instant::now() + backoff.next(asked);
        if outcomes.iter().all(Option::is_some) || next >= give_up_at {
            break;
        }
        sleep_until(next).await;
    }
    let timed_out = |item: &PublishItem| Err(PublishError::TimedOut { id: id(item), last: last.clone() });
    let outcomes = outcomes.into_iter().zip(&items).map(|(outcome, item)| outcome.unwrap_or_else(|| timed_out(item)));
    let tell = |(item, outcome): (&PublishItem, &Outcome)| {
        let event = item.event.as_ref();
        watch.tell(|observer| event.map_or((), |event| observer.published(event, outcome.as_ref(), began.elapsed())));
    };
    let outcomes: Vec<_> = outcomes.collect();
    items.iter().zip(&outcomes).for_each(tell);
    outcomes
}

/// One call. Gives the failure when some of it must be tried again.
async fn call(
    mut rpc: Rpc,
    items: &[PublishItem],
    chunk: &[usize],
    outcomes: &mut [Option<Outcome>],
    give_up_at: Instant,
) -> Option<Failure> {
    let request = PublishRequest { items: chunk.iter().map(|index| items[*index].clone()).collect() };
    let until = give_up_at.min(Instant::now() + ATTEMPT);
    let answer = match timeout_at(until, rpc.publish(request)).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(Failure::timed_out("Publish", ATTEMPT)),
    };
    let mut again = None;
    match answer {
        Ok(response) => {
            for (index, result) in chunk.iter().zip(response.into_inner().results) {
                match Answer::from(result) {
                    Answer::Final(outcome) => outcomes[*index] = Some(outcome),
                    Answer::Again(failure) => again = Some(failure),
                }
            }
        }
        Err(failure) if failure.is_transient() => again = Some(failure),
        Err(failure) => chunk.iter().for_each(|index| outcomes[*index] = Some(Err(PublishError::Refused(failure.clone())))),
    }
    again
}

/// Cuts what is open into calls that the broker takes.
fn chunks<'a>(items: &[PublishItem], open: &'a [usize]) -> Vec<&'a [usize]> {
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, index) in open.iter().enumerate() {
        let size = items[*index].encoded_len() + 8;
        if at > start && (at - start == MAX_ITEMS || bytes + size > MAX_PUBLISH_BYTES) {
            chunks.push(&open[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += size;
    }
    if start < open.len() {
        chunks.push(&open[start..]);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_proto::v1::Event;

    #[test]
    fn no_call_exceeds_what_a_broker_takes() {
        let big = PublishItem::from(Event { subject: "x".repeat(1_000_000), ..Event::default() });
        let small = PublishItem::from(Event::default());
        let items: Vec<_> = std::iter::repeat_n(big, 9).chain(std::iter::repeat_n(small, 2_500)).collect();
        let open: Vec<_> = (0..items.len()).collect();
        let chunks = chunks(&items, &open);
        assert_eq!(chunks.concat(), open, "all of it, in order");
        for chunk in chunks {
            let bytes: usize = chunk.iter().map(|index| items[*index].encoded_len() + 8).sum();
            assert!(chunk.len() <= MAX_ITEMS && bytes <= MAX_PUBLISH_BYTES);
        }
    }
}
