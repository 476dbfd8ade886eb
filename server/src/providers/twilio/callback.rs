//! Calls of Twilio: proven by their signature, then read as a report or as a text from a customer.

use super::SIGNATURE_HEADER;
use super::reply::{is_failure, is_message_sid, word};
use crate::providers::{Call, Extent, InboundText, Refused, Report, ReportWord, Word};
use aws_lc_rs::hmac;
use backstop_domain::ids::FollowupId;
use backstop_domain::text::Way;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use url::form_urlencoded;

/// A call that Twilio makes has some dozens of fields.
const MAX_FIELDS: usize = 200;

/// Reads a call whose signature is right for this URL.
pub(super) fn read(auth_token: &str, url: &str, call: &Call<'_>) -> Result<Vec<Word>, Refused> {
    let refused = || Refused { url: without_query(url).to_owned() };
    let given = call.header(SIGNATURE_HEADER).and_then(|given| STANDARD.decode(given).ok()).ok_or_else(refused)?;
    let key = key(auth_token);
    let is_signed = |url: &str| hmac::verify(&key, signed_text(url, call.body).as_bytes(), &given).is_ok();
    if !is_signed(url) && !other_port(url).is_some_and(|url| is_signed(&url)) {
        return Err(refused());
    }
    let fields: BTreeMap<Cow<'_, str>, Cow<'_, str>> = form_urlencoded::parse(call.body).take(MAX_FIELDS).collect();
    let field = |name: &str| fields.get(name).map(|value| value.as_ref());
    if let Some(status) = field("MessageStatus") {
        return Ok(report(call, status, &field).map(Word::Report).into_iter().collect());
    }
    Ok(match (field("From"), field("To"), field("Body")) {
        (Some(from), Some(to), Some(text)) => vec![Word::Text(InboundText {
            way: Way::Xms,
            id: field("MessageSid").filter(|sid| is_message_sid(sid)).map(str::to_owned),
            from: from.to_owned(),
            to: to.to_owned(),
            text: text.to_owned(),
            keyword: field("OptOutType").map(str::to_owned),
            extent: Extent::Whole,
        })],
        _ => Vec::new(),
    })
}

/// The URL that we gave with the send names the try; it is signed with the rest.
fn report<'f>(call: &Call<'_>, status: &str, field: &impl Fn(&str) -> Option<&'f str>) -> Option<Report> {
    let query = call.path_and_query.split_once('?')?.1;
    let named: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).take(MAX_FIELDS).collect();
    let word = match status {
        "delivered" | "read" => ReportWord::Delivered,
        "queued" | "accepted" | "scheduled" | "sending" | "sent" => ReportWord::Taken,
        status if is_failure(status) => {
            let code = field("ErrorCode").and_then(|code| code.parse().ok());
            ReportWord::Failed(word(code.unwrap_or(30008)))
        }
        _ => return None,
    };
    Some(Report {
        workspace: named.get("workspace")?.to_string(),
        followup: FollowupId::parse(named.get("followup")?)?,
        attempt: named.get("attempt")?.parse().ok()?,
        to: field("To").map(str::to_owned),
        provider_id: field("MessageSid").filter(|sid| is_message_sid(sid)).map(str::to_owned),
        word,
    })
}

pub(super) fn signature(auth_token: &str, url: &str, body: &[u8]) -> String {
    STANDARD.encode(hmac::sign(&key(auth_token), signed_text(url, body).as_bytes()))
}

/// The vendor's choice of hash; as a MAC it still holds.
fn key(auth_token: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.as_bytes())
}

/// The URL, then each field with its values in order. A value that comes twice counts once.
fn signed_text(url: &str, body: &[u8]) -> String {
    let mut fields: BTreeMap<Cow<'_, str>, BTreeSet<Cow<'_, str>>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        fields.entry(name).or_default().insert(value);
    }
    let mut text = url.to_owned();
    for (name, values) in fields {
        for value in values {
            text.push_str(&name);
            text.push_str(&value);
        }
    }
    text
}

/// The same URL with the scheme's port named, or not: Twilio may sign either.
fn other_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    Some(match host.strip_suffix(port) {
        Some(host) => format!("{scheme}://{host}{path}"),
        None if host.rsplit(']').next().is_some_and(|end| end.contains(':')) => return None,
        None => format!("{scheme}://{host}{port}{path}"),
    })
}

pub(super) fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(url, _)| url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderMap;

    impl std::fmt::Debug for Word {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Word")
        }
    }

    const TOKEN: &str = "12345";
    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const BODY: &[u8] =
        b"CallSid=CA1234567890ABCDE&Caller=%2B12349013030&Digits=1234&From=%2B12349013030&To=%2B18005551212";

    fn signed(signature: Option<&str>) -> HeaderMap {
        signature.map(|signature| (SIGNATURE_HEADER.parse().unwrap(), signature.parse().unwrap())).into_iter().collect()
    }

    fn read_it(token: &str, url: &str, body: &[u8], signature: Option<&str>) -> Result<Vec<Word>, Refused> {
        let headers = signed(signature);
        read(token, url, &Call { path_and_query: "/myapp.php?foo=1&bar=2", headers: &headers, body })
    }

    /// W2: the example of Twilio's documentation; anything changed in it is refused.
    #[test]
    fn the_documented_example_is_signed() {
        let right = "0/KCTR6DLpKmkAf8muzZqo1nDgQ=";
        assert_eq!(signature(TOKEN, URL, BODY), right);
        assert_eq!(read_it(TOKEN, URL, BODY, Some(right)), Ok(Vec::new()));
        let other = &BODY[..BODY.len() - 1];
        for (token, url, body, signature) in [
            ("12346", URL, BODY, Some(right)),
            (TOKEN, "http://mycompany.com/myapp.php?foo=1&bar=2", BODY, Some(right)),
            (TOKEN, "https://mycompany.com/myapp.php?foo=1&bar=3", BODY, Some(right)),
            (TOKEN, URL, other, Some(right)),
            (TOKEN, URL, BODY, Some("0/KCTR6DLpKmkAf8muzZqo1nDgR=")),
            (TOKEN, URL, BODY, Some("")),
            (TOKEN, URL, BODY, None),
        ] {
            let refused = Err(Refused { url: without_query(url).into() });
            assert_eq!(read_it(token, url, body, signature), refused, "{url}");
        }
    }

    /// W2: a URL is the same with the scheme's own port.
    #[test]
    fn the_schemes_port_may_be_named() {
        assert_eq!(other_port("https://a.test/x").as_deref(), Some("https://a.test:443/x"));
        assert_eq!(other_port("http://a.test:80").as_deref(), Some("http://a.test"));
        assert_eq!(other_port("http://[::1]/x").as_deref(), Some("http://[::1]:80/x"));
        assert_eq!((other_port("https://a.test:8443/x"), other_port("a.test")), (None, None));
        let signed = signature(TOKEN, "https://mycompany.com:443/myapp.php?foo=1&bar=2", BODY);
        assert!(read_it(TOKEN, URL, BODY, Some(&signed)).is_ok());
    }

    /// W2: a report names its follow-up and its try in the URL that was given with the send; what does not read says
    /// nothing.
    #[test]
    fn a_report_is_read() {
        let id = FollowupId(1_795_370_400_000 << 20);
        let heard = |query: &str, body: &str| {
            let path = format!("/in/twilio/AC1?{query}");
            let url = format!("https://a.test{path}");
            let signature = signature(TOKEN, &url, body.as_bytes());
            let headers = signed(Some(&signature));
            let call = Call { path_and_query: &path, headers: &headers, body: body.as_bytes() };
            read(TOKEN, &url, &call).unwrap().pop()
        };
        let query = format!("workspace=shop&followup={id}&attempt=2");
        let sid = "SM0123456789abcdef0123456789abcdef";
        let body = |status: &str| format!("MessageSid={sid}&MessageStatus={status}&To=%2B14155550123&ErrorCode=21610");
        let report = |word| {
            Some(Word::Report(Report {
                workspace: "shop".into(),
                followup: id,
                attempt: 2,
                to: Some("+14155550123".into()),
                provider_id: Some(sid.into()),
                word,
            }))
        };
        assert_eq!(heard(&query, &body("delivered")), report(ReportWord::Delivered));
        assert_eq!(heard(&query, &body("sent")), report(ReportWord::Taken));
        assert_eq!(heard(&query, &body("undelivered")), report(ReportWord::Failed("opted_out".into())));
        for strange in ["", "workspace=shop", "workspace=shop&followup=fu_1&attempt=2", &query.replace("=2", "=-2")] {
            assert_eq!(heard(strange, &body("delivered")), None, "{strange}");
        }
        assert_eq!(heard(&query, &body("a+new+word")), None);
        let inbound = heard("", "From=%2B14155550123&To=%2B14155550100&Body=Stop&OptOutType=STOP");
        assert_eq!(
            inbound,
            Some(Word::Text(InboundText {
                way: Way::Xms,
                id: None,
                from: "+14155550123".into(),
                to: "+14155550100".into(),
                text: "Stop".into(),
                keyword: Some("STOP".into()),
                extent: Extent::Whole,
            }))
        );
    }
}
