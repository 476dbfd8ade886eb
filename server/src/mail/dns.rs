//! What DNS says of a mail domain. Every look is bounded in time and in what it takes, and nothing is kept: whoever
//! publishes a record wants to see it now.

use backstop_domain::mail_domain::{Answer, Looks, MailDomain, Verdict, Wrong, dkim, dmarc, spf};
use mail_auth::hickory_resolver::TokioResolver;
use mail_auth::hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use mail_auth::hickory_resolver::net::runtime::TokioRuntimeProvider;
use mail_auth::hickory_resolver::net::{DnsError, NetError};
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::hickory_resolver::proto::rr::RData;
use mail_auth::hickory_resolver::system_conf::read_system_conf;
use std::net::SocketAddr;
use std::time::Duration;

/// For one packet.
const PACKET_TIMEOUT: Duration = Duration::from_secs(2);
/// For one question, whatever the servers do.
const LOOK_TIMEOUT: Duration = Duration::from_secs(6);
/// Of one answer; a domain with more records of one name is not read to the end.
const MAX_RECORDS: usize = 50;
/// Domains above one that are asked for a DMARC record.
const MAX_PARENTS: usize = 5;

/// Asks the servers of the configuration, or the machine's; the default one asks nobody.
#[derive(Clone, Default)]
pub struct Dns(Option<TokioResolver>);

impl Dns {
    /// With these servers; none = the machine's. Where there are none either, every answer is silence.
    pub fn new(servers: &[SocketAddr]) -> Dns {
        let machine = || read_system_conf().map(|(config, _)| config).ok();
        let config = match servers {
            [] => machine(),
            servers => Some(ResolverConfig::from_name_servers(servers.iter().map(name_server).collect())),
        };
        let mut options = ResolverOpts::default();
        options.timeout = PACKET_TIMEOUT;
        options.attempts = 1;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let build = |config| {
            let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.with_options(options).build().ok()
        };
        Dns(config.and_then(build))
    }

    /// Asks for everything that a mail domain needs.
    pub async fn look(&self, of: &MailDomain, mechanisms: Option<&str>) -> Looks {
        let keys = async {
            let mut keys = Vec::with_capacity(of.keys.len());
            for key in &of.keys {
                let answer = self.txt(&format!("{}._domainkey.{}", key.selector, of.domain)).await;
                keys.push((key.selector.clone(), dkim(answer, &key.public)));
            }
            keys
        };
        let spf = async {
            match mechanisms {
                Some(mechanisms) => Some(spf(self.txt(&of.domain).await, mechanisms)),
                None => None,
            }
        };
        let (keys, spf, dmarc) = tokio::join!(keys, spf, self.dmarc(&of.domain));
        Looks { keys, spf, dmarc }
    }

    /// Of the domain, or of the nearest above it that has one.
    async fn dmarc(&self, domain: &str) -> Verdict {
        let mut name = domain;
        for _ in 0..MAX_PARENTS {
            let verdict = dmarc(self.txt(&format!("_dmarc.{name}")).await);
            match name.split_once('.') {
                Some((_, parent)) if verdict == Verdict::Bad(Wrong::Missing) && parent.contains('.') => name = parent,
                _ => return verdict,
            }
        }
        Verdict::Bad(Wrong::Missing)
    }

    async fn txt(&self, name: &str) -> Answer {
        let Some(resolver) = &self.0 else {
            return Answer::Silence("no DNS server is known: set [mail] dns_servers".into());
        };
        // With its last dot: no search list of the machine has a say.
        let asked = tokio::time::timeout(LOOK_TIMEOUT, resolver.txt_lookup(format!("{name}."))).await;
        match asked {
            Err(_) => Answer::Silence("DNS did not answer in time".into()),
            Ok(Err(error)) if is_nothing(&error) => Answer::Records(Vec::new()),
            Ok(Err(error)) => Answer::Silence(silence(&error).into()),
            Ok(Ok(lookup)) => {
                let texts = lookup.answers().iter().filter_map(|record| match &record.data {
                    RData::TXT(txt) => Some(txt.txt_data.concat()),
                    _ => None,
                });
                Answer::Records(texts.take(MAX_RECORDS).collect())
            }
        }
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut ways = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for way in &mut ways {
        way.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, ways.to_vec())
}

/// There is no such name, or none with such a record: a definite word.
fn is_nothing(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError)
        }
        _ => false,
    }
}

fn silence(error: &NetError) -> &'static str {
    match error {
        NetError::Timeout => "DNS did not answer in time",
        NetError::Dns(DnsError::ResponseCode(_) | DnsError::NoRecordsFound(_)) => "DNS answered with a failure",
        _ => "DNS could not be asked, or its answer could not be read",
    }
}
