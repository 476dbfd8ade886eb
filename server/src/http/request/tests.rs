//! Bad bodies: each is met with a problem that says where to look and repeats no value.

use super::*;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

#[derive(Debug, serde::Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Outer {
    id: String,
    #[serde(default)]
    inner: Option<Inner>,
    #[serde(default)]
    list: Vec<u8>,
}

#[derive(Debug, serde::Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Inner {
    name: String,
}

fn problem(body: &[u8]) -> backstop_wire::Problem {
    parse::<Outer>(body).unwrap_err().document()
}

/// W4: the field, a stable code, and what would be right.
#[test]
fn a_wrong_field_is_named_with_its_path() {
    let cases: [(&str, &str, &str, &str); 8] = [
        (r#"{}"#, "id", "missing", ""),
        (r#"{"id":"a","inner":{}}"#, "inner.name", "missing", ""),
        (r#"{"id":"a","x":1}"#, "x", "unknown_field", "there is one of `id`, `inner`, `list`"),
        (r#"{"id":"a","inner":{"name":"b","nam":"SECRET"}}"#, "inner.nam", "unknown_field", "`name`"),
        (r#"{"id":"a","id":"b"}"#, "id", "duplicate_field", ""),
        (r#"{"id":["SECRET"]}"#, "id", "invalid", "expected a string (line 1 column"),
        (r#"{"id":"a","list":[1,"SECRET"]}"#, "list[1]", "invalid", "expected a whole number"),
        (r#""SECRET""#, "body", "invalid", "expected an object"),
    ];
    for (body, field, code, words) in cases {
        let problem = problem(body.as_bytes());
        assert_eq!(problem.code(), "invalid_request", "{body}");
        assert_eq!((problem.errors[0].field.as_str(), problem.errors[0].code.as_str()), (field, code), "{body}");
        assert!(problem.errors[0].message.contains(words), "{body}: {}", problem.errors[0].message);
        assert!(!serde_json::to_string(&problem).unwrap().contains("SECRET"), "no value is repeated: {body}");
    }
}

/// Bad input: not JSON, invalid UTF-8, deep JSON, trailing bytes: 400 with the position.
#[test]
fn what_is_not_json_is_refused_with_its_position() {
    let deep = format!("{{\"id\":\"a\",\"list\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies: [&[u8]; 6] =
        [b"{", b"{\"id\": \"a\"} x", b"{\"id\": \"\xff\xfe\"}", b"id=a", b"{\"id\": \"\\ud800\"}", deep.as_bytes()];
    for body in bodies {
        let problem = problem(body);
        let start = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
        assert_eq!(problem.code(), "invalid_request", "{start}");
        let detail = problem.detail.unwrap();
        assert!(detail.contains("line 1 column"), "{start}: {detail}");
    }
    assert_eq!(problem(b"").detail.as_deref(), Some("the body is empty: send JSON"));
    let nested = format!("{{\"id\":\"a\",\"inner\":{}", "{\"name\":".repeat(10_000));
    assert_eq!(problem(nested.as_bytes()).code(), "invalid_request");
}

/// A device ignores what it does not know, however deep it is: the server does not recurse into it either.
#[test]
fn ignored_fields_may_be_deep() {
    let deep = format!("{{\"acks\":[],\"x\":{}{}}}", "[".repeat(100), "]".repeat(100));
    assert!(parse::<backstop_wire::AckBatch>(deep.as_bytes()).is_ok());
    let bottomless = format!("{{\"acks\":[],\"x\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
    let _ = parse::<backstop_wire::AckBatch>(bottomless.as_bytes());
}

/// Bad input: another content type is 415.
#[test]
fn only_json_in_utf_8_is_read() {
    let allowed = |content_type: Option<&str>| {
        let mut headers = HeaderMap::new();
        if let Some(value) = content_type {
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
        }
        must_be_json(&headers).map_err(|p| p.status().as_u16())
    };
    for good in ["application/json", "Application/JSON; charset=UTF-8", "application/vnd.shop+json;charset=\"utf-8\""] {
        assert_eq!(allowed(Some(good)), Ok(()), "{good}");
    }
    for bad in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/json; charset=euc-kr")]
    {
        assert_eq!(allowed(bad), Err(415), "{bad:?}");
    }
    let mut packed = HeaderMap::new();
    packed.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    packed.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    assert!(must_be_json(&packed).is_err());
}

/// Bad input: 1 MB, with and without a length declared; invariant 7.
#[tokio::test]
async fn bodies_are_bounded() {
    let read = |bytes: usize, declared: bool| async move {
        let mut headers = HeaderMap::new();
        if declared {
            headers.insert(header::CONTENT_LENGTH, bytes.into());
        }
        let body = Body::from(vec![b' '; bytes]);
        let read = read_body(&headers, body, 1_000, Duration::from_secs(5)).await;
        read.map(|b| b.len()).map_err(|p| p.status().as_u16())
    };
    assert_eq!(read(1_000, true).await, Ok(1_000));
    for declared in [true, false] {
        assert_eq!(read(1_001, declared).await, Err(413));
        assert_eq!(read(1_000_000, declared).await, Err(413));
    }
}

/// A byte, a pause, a byte, … without end.
#[derive(Default)]
struct Trickle {
    paused: bool,
}

impl hyper::body::Body for Trickle {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        self.paused = !self.paused;
        if self.paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(hyper::body::Frame::data(Bytes::from_static(b" ")))))
    }
}

/// Bad input: a caller that trickles is refused when the time for the whole body is over.
#[tokio::test]
async fn a_body_has_a_deadline_as_a_whole() {
    let within = Duration::from_millis(20);
    let read = read_body(&HeaderMap::new(), Body::new(Trickle::default()), usize::MAX, within).await;
    assert_eq!(read.unwrap_err().status(), 408);
}
