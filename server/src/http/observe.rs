//! Around every request: one log line, one count, and a panic that becomes a 500.

use crate::clock::Clocks;
use crate::problem::{Code, Problem};
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::Response;
use axum::response::IntoResponse;
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

#[derive(Clone)]
pub(super) struct Observe {
    clocks: Arc<Clocks>,
}

#[derive(Clone)]
pub(super) struct Observed<S> {
    inner: S,
    clocks: Arc<Clocks>,
}

impl Observe {
    pub(super) fn new(clocks: Arc<Clocks>) -> Observe {
        Observe { clocks }
    }
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, clocks: Arc::clone(&self.clocks) }
    }
}

impl<S> Service<Request> for Observed<S>
where
    S: Service<Request, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let method = request.method().clone();
        let clocks = Arc::clone(&self.clocks);
        let began_ms = clocks.real_ms();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = caught(answer).await;
            // The template, never the path: ids are in the path.
            let route = route.as_ref().map_or("none", MatchedPath::as_str);
            let (status, ms) = (response.status().as_u16(), clocks.real_ms() - began_ms);
            let labels = [("route", route.to_owned()), ("status", response.status().as_str().to_owned())];
            metrics::counter!("backstop_http_requests_total", &labels).increment(1);
            if status >= 500 {
                tracing::warn!(method = method.as_str(), route, status, ms, "request failed");
            } else {
                tracing::debug!(method = method.as_str(), route, status, ms, "request");
            }
            Ok(response)
        })
    }
}

/// The panic's own line comes from the panic hook; the caller hears that it was not their fault.
async fn caught(answer: impl Future<Output = Result<Response<Body>, Infallible>>) -> Response<Body> {
    let mut answer = pin!(answer);
    let polled = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Ok(response))) => Poll::Ready(Some(response)),
        Err(_) => Poll::Ready(None),
    });
    let failed = || Problem::new(Code::Internal, "the request was not done; the operator's log says why");
    polled.await.unwrap_or_else(|| failed().into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    /// W4: a panic is a problem document that tells nothing of the inside.
    #[tokio::test]
    async fn a_panic_is_a_500_without_detail() {
        let panics = || async {
            if true {
                panic!("secret")
            }
        };
        let clock = Arc::new(crate::clock::SystemClock::start());
        let router: Router = Router::new().route("/", get(panics)).layer(Observe::new(Arc::new(Clocks::new(clock))));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: backstop_wire::Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem.code(), "internal");
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
}
