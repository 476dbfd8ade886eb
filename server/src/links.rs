//! Where a short link leads: the message's own link or the workspace's page, and nowhere that was not allowed (T8).

use crate::settings::Settings;
use std::borrow::Cow;
use url::{Host, Url};

/// Stands for the conversation's id in a workspace's `conversation_url`.
pub const CONVERSATION: &str = "{conversation_id}";
/// What a log-in is added as.
const LOGIN: &str = "backstop_code";

/// Where this conversation goes on: the newest reply's link if it has one that is allowed, else the workspace's page.
pub(crate) fn target(settings: &Settings, link: Option<&str>, conversation_id: &str) -> Option<Url> {
    let page = || Some(settings.conversation_url.as_ref()?.replace(CONVERSATION, &encoded(conversation_id)));
    link.and_then(|link| allowed(settings, link)).or_else(|| allowed(settings, &page()?))
}

/// The link, if its scheme and host are on the workspace's lists.
pub(crate) fn allowed(settings: &Settings, link: &str) -> Option<Url> {
    let url = Url::parse(link).ok()?;
    let scheme = settings.link_schemes.iter().any(|scheme| scheme == url.scheme());
    let hosts = settings.link_hosts.as_deref().unwrap_or_default();
    let of_web = matches!(url.scheme(), "https" | "http");
    // Names before the host are how a link looks like another: `https://bank.example@evil.example`.
    let is_plain = !of_web || (url.username().is_empty() && url.password().is_none());
    let host = !of_web || hosts.is_empty() || url.host_str().is_some_and(|host| hosts.iter().any(|h| covers(h, host)));
    (scheme && is_plain && host).then_some(url)
}

/// A link in characters that every route of texts carries as they are: one that is replaced leads elsewhere (T5).
pub(crate) fn in_ascii(link: &str) -> Cow<'_, str> {
    let is_carried = |byte: u8| byte.is_ascii_graphic() && byte != b'`';
    match Url::parse(link) {
        Ok(url) if !link.bytes().all(is_carried) => String::from(url).replace('`', "%60").into(),
        _ => link.into(),
    }
}

/// `shop.example` covers itself; `*.shop.example` covers what is below it.
fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => host.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
        None => pattern == host,
    }
}

/// The same with a log-in, where nobody on the way can read it: over TLS, or on this machine.
pub(crate) fn with_login(mut url: Url, code: &str) -> Url {
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || (url.scheme() == "http" && is_here) {
        url.query_pairs_mut().append_pair(LOGIN, code);
    }
    url
}

/// RFC 3986: what is not unreserved is written in hexadecimal.
fn encoded(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SettingsInput;
    use backstop_domain::followup::Policy;

    fn settings(json: &str) -> Settings {
        let input: SettingsInput = serde_json::from_str(json).unwrap();
        input.in_force(&Policy::sandbox(), true)
    }

    /// T8: the message's link, else the workspace's page; an id cannot break out of its place.
    #[test]
    fn t8_a_link_leads_to_the_conversation() {
        let shop = settings(r#"{"conversation_url": "https://shop.example/chat/{conversation_id}?from=text"}"#);
        let to = |link, id| target(&shop, link, id).map(String::from);
        assert_eq!(to(Some("https://shop.example/o/1"), "c"), Some("https://shop.example/o/1".into()));
        assert_eq!(to(None, "c-1"), Some("https://shop.example/chat/c-1?from=text".into()));
        assert_eq!(
            to(None, "../a?b#c/김"),
            Some("https://shop.example/chat/..%2Fa%3Fb%23c%2F%EA%B9%80?from=text".into())
        );
        assert_eq!(to(Some("javascript:alert(1)"), "c-1"), Some("https://shop.example/chat/c-1?from=text".into()));
        assert_eq!(target(&settings("{}"), None, "c"), None);
    }

    /// T8: no open redirect: hosts that are not on the list, and those that only look it, are none.
    #[test]
    fn t8_only_hosts_on_the_list_are_led_to() {
        let shop =
            settings(r#"{"link_hosts": ["shop.example", "*.shop.example"], "link_schemes": ["https", "myshop"]}"#);
        let ok = |link| allowed(&shop, link).is_some();
        assert!(ok("https://shop.example/x") && ok("https://SHOP.example:8443/") && ok("https://a.b.shop.example"));
        assert!(ok("myshop://chat/1"), "an app's own scheme has no host to judge");
        for evil in [
            "https://evil.example/",
            "https://shop.example.evil.example/",
            "https://notshop.example/",
            "https://shop.example@evil.example/",
            "https://user:pass@shop.example/",
            "https://evil.example\\@shop.example/",
            "http://shop.example/",
            "//shop.example/",
            "data:text/html,x",
            "https://.shop.example./",
        ] {
            assert!(!ok(evil), "{evil}");
        }
    }

    /// T8: a log-in does not travel in the clear, and keeps what the link says.
    #[test]
    fn t8_a_log_in_is_added_over_tls_only() {
        let with = |link: &str| String::from(with_login(Url::parse(link).unwrap(), "CODE"));
        assert_eq!(with("https://s.example/a?b=1#c"), "https://s.example/a?b=1&backstop_code=CODE#c");
        assert_eq!(with("http://s.example/a"), "http://s.example/a");
        assert_eq!(with("http://127.0.0.1:3000/a"), "http://127.0.0.1:3000/a?backstop_code=CODE");
        assert_eq!(with("myshop://chat/1"), "myshop://chat/1");
    }

    /// T5, T8: what a route would replace in a link is written so that it stays what it is.
    #[test]
    fn t5_a_link_is_ascii_in_a_text() {
        for (link, is) in [
            ("https://shop.example/o/1?a=[b]#c", "https://shop.example/o/1?a=[b]#c"),
            ("https://shop.example/café’s", "https://shop.example/caf%C3%A9%E2%80%99s"),
            ("https://상점.example/?q=`é", "https://xn--hg4bs7k.example/?q=%60%C3%A9"),
            ("shop://chat/é", "shop://chat/%C3%A9"),
        ] {
            assert_eq!(in_ascii(link), is);
        }
    }
}
