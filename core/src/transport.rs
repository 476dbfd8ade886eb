//! The one seam to the network: a request out, a response or a typed failure back.

use std::future::Future;
use std::pin::Pin;

use backstop_wire::{APP_HEADER, SDK_HEADER};

use crate::config::Config;
use crate::error::TransportError;

/// The most bytes of a response that are read; no answer of the device API comes near.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Sends requests to the server. [`HttpTransport`](crate::HttpTransport) is the real one; a test or a sandbox may hand
/// the request to the server in process.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request and waits at most `timeout_ms` for the whole answer.
    fn send(&self, request: Request, timeout_ms: u64) -> ResponseFuture<'_>;
}

/// The answer on its way.
pub type ResponseFuture<'a> = Pin<Box<dyn Future<Output = Result<Response, TransportError>> + Send + 'a>>;

/// The methods of the device API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
    /// `DELETE`.
    Delete,
}

impl Method {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }
}

/// A request of the device API.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// The path below the base URL, `/v1/acks`.
    pub path: String,
    /// The `Authorization` header, if the request has one.
    pub authorization: Option<String>,
    /// JSON, or empty.
    pub body: Vec<u8>,
}

impl Request {
    /// All headers of the request, lower case. Every transport sends these and no other of its own meaning.
    pub fn headers(&self, config: &Config) -> Vec<(&'static str, String)> {
        let mut headers = vec![(APP_HEADER, config.app_key.clone()), (SDK_HEADER, config.sdk.clone())];
        if !self.body.is_empty() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        if let Some(authorization) = &self.authorization {
            headers.push(("authorization", authorization.clone()));
        }
        headers
    }
}

impl std::fmt::Debug for Request {
    /// Neither the key nor the body: both hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
    }
}

/// An HTTP response, whatever its status.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// `Retry-After` in milliseconds, however it was written.
    pub retry_after_ms: Option<u64>,
    /// The body, at most [`MAX_RESPONSE_BYTES`].
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}
