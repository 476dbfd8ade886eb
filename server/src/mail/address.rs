//! The one spelling of an address.

use url::Host;

/// The address with its domain as DNS spells it: `lucas@회사.한국` and `lucas@xn--…` are one mailbox, and few mail servers
/// take the former. What stands before the `@` is for its mail server alone to read, and stays.
pub fn canonical(address: &str) -> String {
    let Some((local, domain)) = address.rsplit_once('@') else { return address.to_owned() };
    match Host::parse(domain) {
        Ok(Host::Domain(domain)) => format!("{local}@{domain}"),
        Ok(Host::Ipv4(_) | Host::Ipv6(_)) | Err(_) => format!("{local}@{}", domain.to_lowercase()),
    }
}

/// The same for all spellings of an address: no mail server in use tells `Lucas@` from `lucas@`.
pub fn comparable(address: &str) -> String {
    canonical(address).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e5_an_address_has_one_spelling() {
        for (given, spelled) in [
            ("Lucas@Example.COM", "Lucas@example.com"),
            ("Lucas@회사.한국", "Lucas@xn--vf4b131b.xn--3e0b707e"),
            ("lucas@XN--VF4B131B.xn--3e0b707e", "lucas@xn--vf4b131b.xn--3e0b707e"),
            ("lucas@BÜCHER.example", "lucas@xn--bcher-kva.example"),
            ("김하나@회사.한국", "김하나@xn--vf4b131b.xn--3e0b707e"),
            ("lucas@[192.0.2.1]", "lucas@[192.0.2.1]"),
            ("lucas@1.2", "lucas@1.2"),
            ("a@b@Example.com", "a@b@example.com"),
            ("no address", "no address"),
            ("", ""),
        ] {
            assert_eq!(canonical(given), spelled, "{given}");
            assert_eq!(canonical(spelled), spelled, "{given}");
        }
        assert_eq!(comparable("LUCAS@회사.한국"), comparable("lucas@xn--vf4b131b.xn--3e0b707e"));
    }
}
