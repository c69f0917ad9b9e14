//! In front of the services of a listener: who calls, and whether they may at all.
//!
//! Constraints: nothing of a request's body is read before its caller is known; when a token ends, so does every answer that is still under way,
//! with the reason; a refusal to change something is in the audit log.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue,
        header::{CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;
use tower::BoxError;
use tracing::info;
use waypost_proto::v1::ErrorReason;

use super::{Authority, By, Caller, Need, caller::Grant, table};
use crate::error::Fault;

/// Lets only those through who may; everybody, if there is no authority.
pub fn guarded(routes: Router, authority: Option<Arc<Authority>>) -> Router {
    match authority {
        None => routes,
        Some(authority) => routes.layer(from_fn_with_state(authority, guard)),
    }
}

async fn guard(State(authority): State<Arc<Authority>>, request: Request, next: Next) -> Response {
    match admitted(&authority, request.headers(), &request) {
        Ok(caller) => admit(caller, request, next).await,
        Err(fault) => refuse(fault, &request),
    }
}

/// Who makes a request with these credentials, if they may; a refusal is told.
///
/// # Errors
/// As [`Authority::authenticate`] and [`Caller::may_call`].
pub(crate) fn admitted(authority: &Authority, credentials: &HeaderMap, request: &Request) -> Result<Caller, Fault> {
    let need = table::need(request.uri().path());
    if need == Need::Nothing {
        return Ok(Caller::Anybody);
    }
    let caller = authority.authenticate(credentials);
    let admitted = caller.clone().and_then(|caller| caller.may_call(need).map(|()| caller));
    admitted.inspect_err(|fault| tell(authority, request, need, caller.ok(), fault))
}

/// Serves a caller who may.
pub(crate) async fn admit(caller: Caller, mut request: Request, next: Next) -> Response {
    let Caller::Known(grant) = caller else { return next.run(request).await };
    let stream = match table::STREAMS.contains(&request.uri().path()).then(|| grant.open_stream()).transpose() {
        Ok(stream) => stream,
        Err(fault) => return refuse(fault, &request),
    };
    request.extensions_mut().insert(Caller::Known(Arc::clone(&grant)));
    let is_grpc = is_grpc(&request);
    next.run(request).await.map(|body| Body::new(Answer::new(body, grant, stream, is_grpc)))
}

/// Who is known and tried to change something goes into the audit log; of everything else a part is enough.
fn tell(authority: &Authority, request: &Request, need: Need, caller: Option<Caller>, fault: &Fault) {
    let is_known = caller.is_some();
    let by = By::of_parts(caller.unwrap_or_default(), request.extensions());
    let path = request.uri().path();
    if is_known && need == Need::Admin {
        by.was_denied(path, fault);
    } else if authority.tells() {
        info!(peer = by.peer(), token = by.name(), path, reason = %fault, "a call was refused");
    }
}

fn is_grpc(request: &Request) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn refuse(fault: Fault, request: &Request) -> Response {
    if is_grpc(request) {
        return Status::from(fault).into_http();
    }
    let mut response = (fault.http(), format!("{fault}\n")).into_response();
    if fault.reason == ErrorReason::Unauthenticated {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The body of an answer that ends when its caller's token does.
struct Answer {
    body: Body,
    grant: Arc<Grant>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Its place among those that its caller may have open.
    _stream: Option<OwnedSemaphorePermit>,
    is_grpc: bool,
    cut: bool,
}

impl Answer {
    fn new(body: Body, grant: Arc<Grant>, stream: Option<OwnedSemaphorePermit>, is_grpc: bool) -> Self {
        let ended = Box::pin(grant.ended().cancelled_owned());
        Self { body, grant, ended, _stream: stream, is_grpc, cut: false }
    }

    /// How an answer ends that is cut.
    fn last(&self) -> Option<Result<Frame<Bytes>, BoxError>> {
        if !self.is_grpc {
            return None;
        }
        let mut trailers = HeaderMap::new();
        let told = Status::from(self.grant.why()).add_header(&mut trailers);
        Some(told.map(|()| Frame::trailers(trailers)).map_err(Into::into))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.cut {
            return Poll::Ready(None);
        }
        if this.ended.as_mut().poll(context).is_ready() {
            this.cut = true;
            // What was behind it ends now, not when the connection does.
            this.body = Body::empty();
            return Poll::Ready(this.last());
        }
        Pin::new(&mut this.body).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.cut || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
