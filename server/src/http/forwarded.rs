//! Who calls, behind proxies: the rightmost address that no proxy of ours wrote for another of ours.
//!
//! Only what trusted proxies wrote is believed, and they write on the right. One header is read, the one that they set:
//! a proxy that knows only the other one hands on whatever the caller put there.

use axum::http::HeaderMap;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Whether this peer is one of our proxies.
pub type TrustedProxies = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// The header in which proxies say where a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// What nearly all set.
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

impl ForwardedHeader {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        }
    }
}

/// The caller's address, as `peer` and the proxies before it say.
pub(super) fn caller(
    peer: IpAddr,
    headers: &HeaderMap,
    header: ForwardedHeader,
    trusted: &dyn Fn(IpAddr) -> bool,
) -> IpAddr {
    if !trusted(peer) {
        return peer;
    }
    let lines: Vec<&str> = headers.get_all(header.name()).iter().map(|value| value.to_str().unwrap_or("")).collect();
    let mut nearest = peer;
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let address = match header {
            ForwardedHeader::XForwardedFor => address(hop),
            ForwardedHeader::Forwarded => hop.split(';').find_map(for_parameter).and_then(address),
        };
        // Hidden or garbled: nearer than the last one we know nothing is certain.
        let Some(address) = address else { return nearest };
        nearest = address;
        if !trusted(address) {
            break;
        }
    }
    nearest
}

fn for_parameter(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("for").then_some(value)
}

/// An address with or without a port, quotes and brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn by(peer: &str, header: ForwardedHeader, name: &'static str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        caller(peer.parse().unwrap(), &headers, header, &trusted).to_string()
    }

    /// Only a trusted proxy's word on where a request comes from is believed, and only what it wrote itself.
    #[test]
    fn forwarded_addresses_are_believed_from_proxies_only() {
        let by = |peer, lines: &[&str]| by(peer, ForwardedHeader::XForwardedFor, "x-forwarded-for", lines);
        assert_eq!(by("192.0.2.1", &["203.0.113.9"]), "192.0.2.1", "a stranger's word");
        assert_eq!(by("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(by("10.0.0.1", &["6.6.6.6, 203.0.113.9, 10.0.0.2"]), "203.0.113.9", "6.6.6.6 is the caller's word");
        assert_eq!(by("10.0.0.1", &["6.6.6.6", "203.0.113.9"]), "203.0.113.9", "lines are one list");
        assert_eq!(by("10.0.0.1", &["garbage, 203.0.113.9"]), "203.0.113.9", "garbage on the left hides nobody");
        assert_eq!(by("10.0.0.1", &["203.0.113.9, garbage"]), "10.0.0.1");
        assert_eq!(by("10.0.0.1", &["203.0.113.9, garbage, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(by("10.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(by("10.0.0.1", &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(by("10.0.0.1", &["::ffff:10.0.0.7"]), "10.0.0.7", "a proxy, however it is written");
        assert_eq!(by("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(by("10.0.0.1", &["\u{e9}"]), "10.0.0.1");
    }

    /// RFC 7239, where proxies are said to write that.
    #[test]
    fn one_header_is_read() {
        let by = |name, lines: &[&str]| by("10.0.0.1", ForwardedHeader::Forwarded, name, lines);
        assert_eq!(by("forwarded", &["for=6.6.6.6, for=203.0.113.9;proto=https;by=10.0.0.1"]), "203.0.113.9");
        assert_eq!(by("forwarded", &["proto=https; For=\"[2001:db8::1]:4711\""]), "2001:db8::1");
        assert_eq!(by("forwarded", &["for=203.0.113.9, for=_hidden"]), "10.0.0.1");
        assert_eq!(by("x-forwarded-for", &["6.6.6.6"]), "10.0.0.1", "the other header is the caller's");
    }
}
