//! What one listener serves: a part of the surface, below the path that `public_url` has.

use super::request::no_route;
use axum::Router;
use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{Request, Response, Uri};
use axum::response::IntoResponse as _;
use std::convert::Infallible;
use std::sync::Arc;
use tower::ServiceExt as _;

/// Parts of the surface. Whether it runs and is ready is said by every listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serves {
    /// The SDK's endpoints, providers' callbacks, short links.
    pub device: bool,
    /// The company's backend, the API's description, the sandbox.
    pub backend: bool,
    /// `/metrics`.
    pub metrics: bool,
}

/// A router as one listener shows it.
#[derive(Clone)]
pub struct Front {
    router: Router,
    serves: Serves,
    /// `/backstop` of `https://example.com/backstop`.
    prefix: Option<Arc<str>>,
}

impl Serves {
    /// The whole surface, on one listener.
    pub const ALL: Serves = Serves { device: true, backend: true, metrics: true };
    /// What phones, providers and links reach.
    pub const DEVICE: Serves = Serves { device: true, backend: false, metrics: false };
    /// What the company's backend reaches.
    pub const BACKEND: Serves = Serves { device: false, backend: true, metrics: false };
    /// What monitoring reaches.
    pub const METRICS: Serves = Serves { device: false, backend: false, metrics: true };

    fn has(self, path: &str) -> bool {
        match path {
            "/healthz" | "/readyz" => true,
            "/metrics" => self.metrics,
            // Reported by backends, devices and web pages alike.
            "/v1/presence" => self.device || self.backend,
            "/v1/devices" | "/v1/acks" => self.device,
            _ if ["/v1/devices/", "/in/", "/l/"].iter().any(|start| path.starts_with(start)) => self.device,
            _ => self.backend,
        }
    }
}

impl Front {
    /// The part of `router` that `serves` names. A proxy may take the path of `public_url` off or leave it on.
    pub fn new(router: Router, serves: Serves, public_url: &str) -> Front {
        Front { router, serves, prefix: path_of(public_url).map(Arc::from) }
    }

    pub(crate) fn answer(
        &self,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
        if let Some(stripped) = self.prefix.as_deref().and_then(|prefix| without(request.uri(), prefix)) {
            *request.uri_mut() = stripped;
        }
        let router = self.serves.has(request.uri().path()).then(|| self.router.clone());
        async move {
            match router {
                Some(router) => router.oneshot(request).await,
                None => {
                    let labels = [("route", "none"), ("status", "404")];
                    metrics::counter!("backstop_http_requests_total", &labels).increment(1);
                    Ok(no_route().await.into_response())
                }
            }
        }
    }
}

impl From<Router> for Front {
    fn from(router: Router) -> Front {
        Front { router, serves: Serves::ALL, prefix: None }
    }
}

/// The path of a URL without its last slash, if it has one.
fn path_of(url: &str) -> Option<&str> {
    let (_, rest) = url.trim_end_matches('/').split_once("://")?;
    rest.find('/').map(|at| &rest[at..])
}

/// `/prefix/v1/x?y` as `/v1/x?y`; `None` = it is not below the prefix.
fn without(uri: &Uri, prefix: &str) -> Option<Uri> {
    let whole = uri.path_and_query()?.as_str();
    let rest = whole.strip_prefix(prefix)?;
    let rest = match rest.as_bytes().first() {
        Some(b'/') => rest.to_owned(),
        Some(b'?') | None => format!("/{rest}"),
        Some(_) => return None,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(rest).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_public_url_is_taken_off_once() {
        assert_eq!(path_of("https://example.com"), None);
        assert_eq!(path_of("https://example.com/"), None);
        assert_eq!(path_of("https://example.com/a/b/"), Some("/a/b"));
        let short = |uri: &str| without(&uri.parse().unwrap(), "/a").map(|uri| uri.to_string());
        assert_eq!(short("/a/v1/acks?x=/a/"), Some("/v1/acks?x=/a/".into()));
        assert_eq!(short("/a"), Some("/".into()));
        assert_eq!(short("/a?x=1"), Some("/?x=1".into()));
        assert_eq!(short("/ab/v1"), None);
        assert_eq!(short("/v1/a"), None);
    }

    /// No path but these is on a device listener, however it is spelled: what a listener has is a list, not a filter.
    #[test]
    fn a_device_listener_serves_a_list() {
        let device = Serves::DEVICE;
        for path in ["/v1/devices", "/v1/devices/dev_1/customer", "/v1/devices/dev_1/test-push", "/v1/acks"] {
            assert!(device.has(path), "{path}");
        }
        assert!(["/v1/presence", "/in/twilio/a", "/l/x"].into_iter().all(|path| device.has(path)));
        for path in
            ["/metrics", "/v1/messages", "/v1/customers/a/devices", "/openapi.json", "/v1/devicesx", "//metrics"]
        {
            assert!(!device.has(path), "{path}");
        }
        let metrics = Serves::METRICS;
        assert!(metrics.has("/metrics") && metrics.has("/readyz") && !metrics.has("/v1/acks") && !metrics.has("/in/x"));
    }
}
