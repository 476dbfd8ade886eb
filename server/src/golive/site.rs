//! The site: whether `public_url` leads here, by a certificate that callers trust, past proxies that are known.

use super::{Finding, PATIENCE, bounded};
use crate::clock::Clock;
use crate::config::{Config, Listener};
use crate::tls::{Certificate, RENEW_MS};
use crate::vault::Vault;
use backstop_domain::Ms;
use reqwest::tls::TlsInfo;
use serde::Deserialize;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// `/healthz` is a few words; a page that somebody else shows there is not read to its end.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What came of asking a URL whether it is us.
enum Asked {
    /// It is this deployment.
    Us(Echo),
    /// Something answers, with this status.
    Another(u16),
    /// The certificate is not trusted, for this reason.
    Untrusted(String),
    /// Nothing answers, for this reason.
    Nobody(&'static str),
}

/// What `/healthz` says to a challenge of ours.
#[derive(Deserialize)]
struct Echo {
    proof: String,
    peer: IpAddr,
    trusted: bool,
    forwarded: bool,
}

#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    echo: Option<Echo>,
}

pub(super) async fn look(
    config: &Config,
    clock: &Arc<dyn Clock>,
    vault: Option<&Vault>,
    running: bool,
) -> Vec<Finding> {
    let Some(public_url) = config.server.public_url.as_ref().map(|_| config.public_url()) else {
        let message = format!("no public_url: links and callbacks would lead to {}", config.public_url());
        return vec![Finding::warning(
            "public_url",
            message,
            "set [server] public_url to how the world reaches this server",
        )];
    };
    let client = match client(is_loopback(&public_url)) {
        Ok(client) => client,
        Err(finding) => return vec![finding],
    };
    let here = async { running || serves_here(config, vault).await };
    let there = async {
        match tokio::time::timeout(PATIENCE, ask(&client, &public_url, vault)).await {
            Ok(asked) => asked,
            Err(_) => (Asked::Nobody("it does not answer in time"), None),
        }
    };
    let (here, (there, certificate)) = tokio::join!(here, there);
    let listen = config.server.listen;
    let mut found = vec![reached(&public_url, &there, here, listen)];
    found.extend(chain(&public_url, &there, certificate, clock.now_ms() + clock.wall_offset_ms()));
    if let Asked::Us(echo) = &there {
        found.push(proxies(echo));
        found.push(bounded("callbacks", callbacks(&client, &public_url)).await);
    }
    found
}

fn client(near: bool) -> Result<reqwest::Client, Finding> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("backstop/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .tls_info(true)
        .timeout(PATIENCE);
    let builder = if near { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| {
        let message = format!("the HTTPS client cannot start ({error})");
        Finding::failed("public_url", message, "check the machine's certificates and proxy settings")
    })
}

fn is_loopback(url: &str) -> bool {
    let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.is_some_and(|host| {
        host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// Whether a server of this deployment listens on this machine.
async fn serves_here(config: &Config, vault: Option<&Vault>) -> bool {
    let encrypted = |listener: &Listener| listener.tls && config.server.tls.is_some();
    let listeners = config.listeners();
    // Its certificate is for another name: what is asked here is only whether it runs.
    let Some(listener) = listeners.iter().find(|l| !encrypted(l)).or(listeners.first()) else { return false };
    let scheme = if encrypted(listener) { "https" } else { "http" };
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).tls_danger_accept_invalid_certs(true).build();
    let Ok(client) = client else { return false };
    matches!(ask(&client, &format!("{scheme}://{}", near(listener.address)), vault).await.0, Asked::Us(_))
}

/// Where a listener on every address is reached from this machine.
fn near(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

/// Whether it is us, and the certificate it showed.
async fn ask(client: &reqwest::Client, url: &str, vault: Option<&Vault>) -> (Asked, Option<Certificate>) {
    let challenge = vault.map(Vault::challenge);
    let nonce = challenge.as_ref().map(|challenge| format!("?nonce={challenge}")).unwrap_or_default();
    let mut answer = match client.get(format!("{url}/healthz{nonce}")).send().await {
        Ok(answer) => answer,
        Err(error) => return (nobody(&error), None),
    };
    let shown = answer.extensions().get::<TlsInfo>().and_then(|tls| tls.peer_certificate());
    let certificate = shown.and_then(Certificate::read);
    let status = answer.status().as_u16();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            break;
        }
    }
    let echo = serde_json::from_slice::<Health>(&body).ok().and_then(|health| health.echo);
    let proves = |echo: &Echo| {
        let (Some(vault), Some(challenge)) = (vault, &challenge) else { return false };
        vault.answer(challenge).is_some_and(|expected| expected == echo.proof)
    };
    (echo.filter(proves).map_or(Asked::Another(status), Asked::Us), certificate)
}

fn nobody(error: &reqwest::Error) -> Asked {
    let mut below: Option<&(dyn Error + 'static)> = error.source();
    let mut refused = false;
    while let Some(error) = below {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Asked::Untrusted(tls.to_string());
        }
        let io = error.downcast_ref::<std::io::Error>();
        refused |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused);
        // An I/O error hides the one within it: what it names as its source is that one's.
        let within = io.and_then(std::io::Error::get_ref).map(|within| within as &(dyn Error + 'static));
        below = within.or_else(|| error.source());
    }
    Asked::Nobody(match () {
        () if error.is_timeout() => "it does not answer in time",
        () if refused => "the connection is refused",
        () if error.is_connect() => "no connection comes about",
        () => "the answer is no HTTP",
    })
}

fn reached(url: &str, there: &Asked, here: bool, listen: SocketAddr) -> Finding {
    let check = "public_url";
    match there {
        Asked::Us(_) => Finding::ok(check, format!("{url} answers as this deployment")),
        _ if !here => {
            let message = format!("{url} does not answer as this deployment, and no server of it runs here");
            Finding::unknown(check, message, "start `backstop serve`, then look again")
        }
        Asked::Another(status) => {
            let message = format!("{url} answers with status {status}, and not as this deployment");
            let mend = format!("let that name and its proxy lead to {listen} of this machine, every path below it");
            Finding::failed(check, message, mend)
        }
        Asked::Untrusted(reason) => {
            Finding::failed(check, format!("{url} cannot be asked: {reason}"), "mend its certificate first: see tls")
        }
        Asked::Nobody(reason) => {
            let message = format!("{url} cannot be reached from here: {reason}");
            Finding::failed(check, message, "check the name, the firewall and the proxy, or mend [server] public_url")
        }
    }
}

/// The chain that `public_url` shows, as a phone or a provider would judge it.
fn chain(url: &str, there: &Asked, certificate: Option<Certificate>, now: Ms) -> Option<Finding> {
    if !url.starts_with("https://") {
        let message = format!("{url} is plain HTTP: receipts, links and keys can be read on the way");
        let mend = "put a proxy that speaks TLS before it, or set [server.tls]";
        return (!is_loopback(url)).then(|| Finding::warning("tls", message, mend));
    }
    if let Asked::Untrusted(reason) = there {
        let mend = "show a certificate for that name with its whole chain, from an authority that phones know";
        return Some(Finding::failed("tls", format!("the certificate of {url} is refused: {reason}"), mend));
    }
    let certificate = certificate?;
    let days = certificate.days_left(now);
    let message = format!("the certificate of {url} is trusted here, for {days} days more");
    if certificate.not_after - now < RENEW_MS {
        return Some(Finding::warning("tls", message, "renew it"));
    }
    Some(Finding::ok("tls", message))
}

fn proxies(echo: &Echo) -> Finding {
    let peer = echo.peer;
    match (echo.forwarded, echo.trusted) {
        (true, false) => {
            let message = format!("requests come through {peer}, whose word on their origin is not believed");
            let mend = "add it to [server] trusted_proxies: all phones behind it share one rate limit until then";
            Finding::warning("proxies", message, mend)
        }
        (false, true) => {
            let message = format!("{peer} is a trusted proxy and does not say where requests come from");
            Finding::warning("proxies", message, "let it set the header that [server] forwarded_header names")
        }
        (true, true) => Finding::ok("proxies", format!("{peer} says where requests come from, and is believed")),
        (false, false) => Finding::ok("proxies", "requests come without a proxy"),
    }
}

/// Our own refusal comes back, so a provider's report would arrive.
async fn callbacks(client: &reqwest::Client, url: &str) -> Finding {
    let mend = "let the proxy hand on every path below /in/, with its query, as it came: providers report there";
    let answer = client.get(format!("{url}/in/check/check")).send().await;
    let ours = match &answer {
        Ok(answer) => answer.headers().get("content-type").is_some_and(|kind| kind == "application/problem+json"),
        Err(_) => false,
    };
    match answer {
        Ok(_) if ours => Finding::ok("callbacks", format!("{url}/in/… arrives here")),
        Ok(answer) => {
            let message = format!("{url}/in/… is answered with {} by something else", answer.status().as_u16());
            Finding::failed("callbacks", message, mend)
        }
        Err(_) => Finding::failed("callbacks", format!("{url}/in/… cannot be reached"), mend),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golive::Status;

    fn echo(trusted: bool, forwarded: bool) -> Echo {
        Echo { proof: String::new(), peer: "10.0.0.7".parse().unwrap(), trusted, forwarded }
    }

    #[test]
    fn what_answers_is_told_from_what_does_not() {
        let listen = "127.0.0.1:8080".parse().unwrap();
        let status = |there: &Asked, here| reached("https://a.example", there, here, listen).status;
        assert_eq!(status(&Asked::Us(echo(false, false)), false), Status::Ok);
        assert_eq!(status(&Asked::Another(502), true), Status::Failed);
        assert_eq!(status(&Asked::Another(502), false), Status::Unknown, "start the server first");
        assert_eq!(status(&Asked::Nobody("x"), true), Status::Failed);
        let said = proxies(&echo(false, true)).message;
        assert_eq!(said, "requests come through 10.0.0.7, whose word on their origin is not believed");
        assert_eq!(proxies(&echo(true, true)).status, Status::Ok);
    }

    #[test]
    fn a_certificate_that_ends_soon_is_said_a_fortnight_before() {
        let certificate = |not_after| Some(Certificate { names: Vec::new(), not_before: 0, not_after });
        let us = Asked::Us(echo(false, false));
        let status = |not_after| chain("https://a.example", &us, certificate(not_after), 0).unwrap().status;
        assert_eq!((status(RENEW_MS), status(RENEW_MS - 1)), (Status::Ok, Status::Warning));
        assert_eq!(chain("http://a.example", &us, None, 0).unwrap().status, Status::Warning);
        assert!(chain("http://127.0.0.1:8080", &us, None, 0).is_none());
    }
}
