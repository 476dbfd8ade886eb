//! Bounds on what callers may ask: a body's time, and requests per device and per address on the device surface.

use super::forwarded::{ForwardedHeader, TrustedProxies, caller};
use crate::problem::Problem;
use crate::store::WorkspaceId;
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use backstop_domain::Ms;
use backstop_domain::ids::DeviceId;
use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Callers are counted in this many buckets, so that memory is bounded whoever calls. The hash is keyed: nobody can
/// choose whose bucket they share.
const BUCKETS: u64 = 1 << 17;

/// Bounds in force.
pub struct Limits {
    /// For a whole request body.
    pub body_timeout: Duration,
    devices: Option<Buckets>,
    addresses: Option<Buckets>,
    trusted: TrustedProxies,
    forwarded: ForwardedHeader,
}

pub(super) struct Buckets {
    hasher: RandomState,
    limiter: DefaultKeyedRateLimiter<u32>,
}

impl Limits {
    /// Requests a minute per device and per address; 0 = no limit. A whole minute's worth may come at once.
    pub fn new(body_timeout: Duration, per_device: u32, per_address: u32, trusted: TrustedProxies) -> Limits {
        let (devices, addresses) = (Buckets::new(per_device), Buckets::new(per_address));
        Limits { body_timeout, devices, addresses, trusted, forwarded: ForwardedHeader::default() }
    }

    /// With the header in which the proxies name their callers.
    pub fn forwarded_in(self, forwarded: ForwardedHeader) -> Limits {
        Limits { forwarded, ..self }
    }

    /// No rate limits: the sandbox, and tests.
    pub fn none() -> Limits {
        Limits::new(Duration::from_secs(15), 0, 0, Arc::new(|_| false))
    }

    pub(super) fn check_address(&self, parts: &Parts) -> Result<(), Problem> {
        let Some(buckets) = &self.addresses else { return Ok(()) };
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        peer.map_or(Ok(()), |peer| buckets.check(line(caller(peer, &parts.headers, self.forwarded, &*self.trusted))))
    }

    /// Whether this is one of our proxies.
    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        (self.trusted)(peer)
    }

    /// Whether something says where the request comes from, be it believed or not.
    pub(super) fn is_forwarded(&self, parts: &Parts) -> bool {
        parts.headers.contains_key(self.forwarded.name())
    }

    pub(super) fn check_device(&self, workspace: WorkspaceId, device: DeviceId) -> Result<(), Problem> {
        self.devices.as_ref().map_or(Ok(()), |buckets| buckets.check((workspace, device)))
    }
}

/// Of IPv6 the network: whoever has one address of it has all of them.
fn line(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Buckets {
    fn new(per_minute: u32) -> Option<Buckets> {
        Some(Buckets::of(Quota::per_minute(NonZeroU32::new(per_minute)?)))
    }

    /// So many an hour, all of which may come at once.
    pub(super) fn per_hour(per_hour: NonZeroU32) -> Buckets {
        Buckets::of(Quota::per_hour(per_hour))
    }

    fn of(quota: Quota) -> Buckets {
        Buckets { hasher: RandomState::new(), limiter: RateLimiter::dashmap(quota) }
    }

    pub(super) fn check(&self, caller: impl Hash) -> Result<(), Problem> {
        let bucket = (self.hasher.hash_one(caller) % BUCKETS) as u32;
        self.limiter.check_key(&bucket).map_err(|until| {
            let wait = until.wait_time_from(self.limiter.clock().now());
            Problem::rate_limited(Ms::try_from(wait.as_millis()).unwrap_or(Ms::MAX))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn parts(peer: &str) -> Parts {
        let mut request = Request::new(());
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        request.into_parts().0
    }

    fn limits(per_device: u32, per_address: u32) -> Limits {
        Limits::new(Duration::from_secs(1), per_device, per_address, Arc::new(|_| false))
    }

    /// Invariant 7, W4: the caller over the limit is told when to come back; another one is served.
    #[test]
    fn one_caller_is_limited_and_told_when() {
        let limits = limits(2, 2);
        let (one, other) = (parts("192.0.2.1"), parts("192.0.2.2"));
        assert!(limits.check_address(&one).is_ok() && limits.check_address(&one).is_ok());
        let refused = limits.check_address(&one).unwrap_err();
        assert_eq!(refused.code(), crate::problem::Code::RateLimited);
        assert!(limits.check_address(&other).is_ok());
        assert!(limits.check_device(WorkspaceId(1), DeviceId(1)).is_ok());
    }

    /// Invariant 7: a network of IPv6 is one caller, and two of IPv4 are two however they are written.
    #[test]
    fn a_network_of_ipv6_is_one_caller() {
        let limits = limits(0, 1);
        let is_taken = |peer: &str| limits.check_address(&parts(peer)).is_ok();
        assert!(is_taken("2001:db8:0:1::1") && !is_taken("2001:db8:0:1:ffff::2"));
        assert!(is_taken("2001:db8:0:2::1"));
        assert!(is_taken("::ffff:192.0.2.1") && is_taken("::ffff:192.0.2.2") && !is_taken("192.0.2.2"));
    }

    #[test]
    fn zero_is_no_limit() {
        let limits = limits(0, 0);
        assert!((0..1000).all(|_| limits.check_device(WorkspaceId(1), DeviceId(1)).is_ok()));
    }
}
