//! Subscribe: a session opens its stream.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use waypost_delivery::{Candidate, Held, SessionId, SessionLimits};
use waypost_proto::v1::{self, ErrorReason};

use super::convert::{duration, incarnation, proto_duration, session_id, session_text, timestamp};
use crate::{
    access::{Act, By},
    broker::Broker,
    dispatcher::{Command, Connect, Outbox, Pulse, SubscribeStream, candidate},
    error::Fault,
    filter::Filter,
    limits,
    registry::Handle,
    trace::Resumed,
};

const MIB: u64 = 1 << 20;

pub(super) async fn subscribe(broker: &Broker, by: By, request: v1::SubscribeRequest) -> Result<SubscribeStream, Fault> {
    by.caller().may(&Act::Use { name: &request.subscription })?;
    let session = session(broker, &request.session_id)?;
    let limits = session_limits(request.session_limits.unwrap_or_default())?;
    let interval = heartbeat(request.heartbeat_interval)?;
    let must_exist = must_exist(request.create_mode)?;
    if request.client.len() > limits::MAX_CLIENT_BYTES {
        let text = format!("has {} bytes, at most {} are allowed", request.client.len(), limits::MAX_CLIENT_BYTES);
        return Err(Fault::invalid("client", text));
    }
    if request.held_tokens.len() > limits::MAX_HELD_TOKENS {
        let text = format!("has {} tokens, at most {} are allowed", request.held_tokens.len(), limits::MAX_HELD_TOKENS);
        return Err(Fault::invalid("held_tokens", text));
    }
    let asked = request.spec.clone().unwrap_or_default();
    let call = Call { request, session, limits, interval, by, created: true };
    if call.request.subscription.is_empty() {
        return ephemeral(broker, call, &asked).await;
    }
    if broker.registry.get(&call.request.subscription).is_none() {
        // Nothing is created that could not be received.
        may_receive_asked(&call, &asked)?;
    }
    let (handle, created) = broker.registry.open_or_create(&call.request.subscription, &asked, must_exist).await?;
    connect(broker, &handle, Call { created, ..call }).await
}

/// What was asked, checked.
#[derive(Clone)]
struct Call {
    request: v1::SubscribeRequest,
    session: SessionId,
    limits: SessionLimits,
    interval: Duration,
    by: By,
    created: bool,
}

async fn connect(broker: &Broker, handle: &Arc<Handle>, call: Call) -> Result<SubscribeStream, Fault> {
    // What it lets through, whoever made it, and whatever was asked.
    let name = call.request.subscription.as_str();
    call.by.caller().may(&Act::Receive { name, filter: handle.info().spec.filter() })?;
    let shared = broker.registry.shared();
    let opened = v1::Opened {
        session_id: session_text(call.session),
        incarnation: incarnation(handle.incarnation),
        start_offset: 0,
        spec: None,
        session_limits: Some(v1::SessionLimits {
            max_outstanding: Some(call.limits.max_outstanding),
            max_outstanding_bytes: Some(call.limits.max_outstanding_bytes),
        }),
        adopted: Vec::new(),
        dropped: Vec::new(),
        created: call.created,
        heartbeat_interval: Some(proto_duration(call.interval)),
        resume_grace: Some(proto_duration(shared.settings.resume_grace)),
        server_time: Some(timestamp(broker.clock.now())),
        paused: false,
    };
    let HeldTokens { held, unknown, resumed } = held(broker, handle, &call.request.held_tokens).await?;
    let stream = shared.next_stream();
    let outbox = Outbox::new();
    let pulse = Pulse { interval: call.interval, tail: broker.store.tail(), frontier: Arc::clone(&handle.frontier), clock: broker.clock };
    // Made before the dispatcher is asked: if this call is cancelled meanwhile, its end tells the dispatcher.
    let responses = SubscribeStream::new(Arc::clone(&outbox), Arc::clone(&handle.signals), call.session, stream, pulse);
    let (reply, answer) = oneshot::channel();
    let connect = Connect {
        session: call.session,
        stream,
        limits: call.limits,
        held,
        unknown,
        resumed,
        outbox,
        opened,
        client: call.request.client,
        peer: call.by.peer().to_owned(),
        principal: call.by.caller().name().to_owned(),
        max_sessions: broker.registry.limits().max_sessions,
        reply,
    };
    handle.send(shared, Command::Connect(Box::new(connect))).await?;
    answer.await.unwrap_or_else(|_| Err(Fault::outcome_unknown()))?;
    Ok(responses)
}

/// An ephemeral subscription lives as long as its session: another stream of the session finds it, and so does what the session holds.
async fn ephemeral(broker: &Broker, call: Call, asked: &v1::SubscriptionSpec) -> Result<SubscribeStream, Fault> {
    let tokens = call.request.held_tokens.iter().filter_map(|token| broker.tokens.open(token).ok());
    let held = tokens.filter_map(|token| broker.registry.by_incarnation(token.incarnation));
    let before = held.filter(|handle| handle.is_ephemeral()).last().or_else(|| broker.registry.by_session(call.session));
    if let Some(handle) = before {
        handle.check_spec(asked)?;
        match connect(broker, &handle, Call { created: false, ..call.clone() }).await {
            // It was just ending.
            Err(fault) if fault.reason == ErrorReason::SubscriptionNotFound => {}
            result => return result,
        }
    }
    may_receive_asked(&call, asked)?;
    let handle = broker.registry.create_ephemeral(call.session, asked).await?;
    connect(broker, &handle, call).await
}

/// Whether the caller may receive what a spec asks for. One that is wrong is refused where it is made.
fn may_receive_asked(call: &Call, asked: &v1::SubscriptionSpec) -> Result<(), Fault> {
    let Ok(filter) = Filter::compile(asked.filter.as_ref().unwrap_or(&v1::Filter::default())) else { return Ok(()) };
    call.by.caller().may(&Act::Receive { name: &call.request.subscription, filter: &filter })
}

#[derive(Default)]
struct HeldTokens {
    /// With what the machine must know of each event.
    held: Vec<(Held, bytes::Bytes)>,
    /// Those that are none of this subscription's.
    unknown: Vec<bytes::Bytes>,
    /// Those whose trace is sampled.
    resumed: Vec<Resumed>,
}

/// What the client holds.
async fn held(broker: &Broker, handle: &Handle, tokens: &[bytes::Bytes]) -> Result<HeldTokens, Fault> {
    let HeldTokens { mut held, mut unknown, mut resumed } = HeldTokens::default();
    for bytes in tokens {
        match broker.tokens.open(bytes) {
            Ok(token) if token.incarnation == handle.incarnation => {
                let event = broker.publisher.event_at(token.offset).await?;
                resumed.extend(event.as_ref().and_then(|event| broker.publisher.tracer.resumed(token, event)));
                let event = event.map_or(Candidate { offset: token.offset, bytes: 0, key: None }, |event| candidate(&event));
                held.push((Held { token, event }, bytes.clone()));
            }
            _ => unknown.push(bytes.clone()),
        }
    }
    Ok(HeldTokens { held, unknown, resumed })
}

fn session(broker: &Broker, text: &str) -> Result<SessionId, Fault> {
    if text.is_empty() {
        return Ok(SessionId(broker.entropy.uuid(broker.clock.now()).as_u128()));
    }
    session_id(text)
        .ok_or_else(|| Fault::invalid("session_id", format!("{text:?} is not a UUID; make one when the client starts, or leave it empty")))
}

fn session_limits(asked: v1::SessionLimits) -> Result<SessionLimits, Fault> {
    let max_outstanding = asked.max_outstanding.unwrap_or(32);
    let max_outstanding_bytes = asked.max_outstanding_bytes.unwrap_or(16 * MIB);
    if max_outstanding == 0 {
        let text =
            "is 0, 1 to 10000 is allowed; a session that wants no more deliveries settles or releases what it holds, then ends its stream";
        return Err(Fault::invalid("session_limits.max_outstanding", text));
    }
    if !(1..=10_000).contains(&max_outstanding) {
        return Err(Fault::invalid("session_limits.max_outstanding", format!("is {max_outstanding}, 1 to 10000 is allowed")));
    }
    if max_outstanding_bytes < MIB {
        return Err(Fault::invalid(
            "session_limits.max_outstanding_bytes",
            format!("is {max_outstanding_bytes}, at least {MIB} is allowed"),
        ));
    }
    Ok(SessionLimits { max_outstanding, max_outstanding_bytes })
}

/// The interval of heartbeats.
pub(super) fn heartbeat(asked: Option<prost_types::Duration>) -> Result<Duration, Fault> {
    let Some(asked) = asked else { return Ok(limits::DEFAULT_HEARTBEAT) };
    let bounds = limits::MIN_HEARTBEAT..=limits::MAX_HEARTBEAT;
    let fault =
        || Fault::invalid("heartbeat_interval", format!("is {}s, {:?} to {:?} is allowed", asked.seconds, bounds.start(), bounds.end()));
    duration(asked).filter(|interval| bounds.contains(interval)).ok_or_else(fault)
}

fn must_exist(mode: i32) -> Result<bool, Fault> {
    match v1::CreateMode::try_from(mode) {
        Ok(v1::CreateMode::Unspecified | v1::CreateMode::CreateIfMissing) => Ok(false),
        Ok(v1::CreateMode::MustExist) => Ok(true),
        Err(_) => Err(Fault::unknown_enum("create_mode", mode, "CreateMode")),
    }
}
