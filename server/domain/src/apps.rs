//! Apps of a workspace: which one a device belongs to, and whether its credentials reach the device (P1, P12).

use backstop_wire::{Environment, PushProvider};
use std::sync::Arc;

/// One of the company's mobile apps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// The caller's id of it.
    pub id: Arc<str>,
    /// Names of its iOS builds.
    pub bundle_ids: Vec<String>,
    /// Names of its Android builds.
    pub packages: Vec<String>,
    /// Its APNs keys, in no order.
    pub apns: Vec<ApnsKey>,
    /// It has a Firebase account.
    pub fcm: bool,
}

/// What an APNs key of an app is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApnsKey {
    /// The one it is meant for. Most keys sign for both, so it is the first choice there and the last elsewhere.
    pub environment: Environment,
    /// The bundle ids that it pushes to.
    pub topics: Vec<String>,
}

/// What a device says of the app it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Whose token it has.
    pub provider: PushProvider,
    /// Bundle id or package, if it says so.
    pub name: Option<&'a str>,
    /// APNs: where its token is valid, if it says so.
    pub environment: Option<Environment>,
}

/// Which of the apps a device is part of: the one that has its name, else the only one there is.
pub fn app_of(apps: &[App], origin: &Origin<'_>) -> Option<usize> {
    let named = origin.name.and_then(|name| apps.iter().position(|app| app.has(origin.provider, name)));
    named.or((apps.len() == 1).then_some(0))
}

impl App {
    /// Whether pushes to this device can go by credentials of its own.
    pub fn carries(&self, origin: &Origin<'_>) -> bool {
        match origin.provider {
            PushProvider::Fcm => self.fcm,
            PushProvider::Apns => self.apns.iter().any(|key| key.reaches(origin)),
        }
    }

    fn has(&self, provider: PushProvider, name: &str) -> bool {
        let names = match provider {
            PushProvider::Apns => &self.bundle_ids,
            PushProvider::Fcm => &self.packages,
        };
        names.iter().any(|known| known == name)
    }
}

impl ApnsKey {
    /// Whether the key signs for this device. One that names no topic is meant by the key's only one.
    pub fn reaches(&self, origin: &Origin<'_>) -> bool {
        match origin.name {
            Some(name) => self.topics.iter().any(|topic| topic == name),
            None => self.topics.len() == 1,
        }
    }

    /// Whether it is meant for the environment of this device.
    pub fn is_meant_for(&self, origin: &Origin<'_>) -> bool {
        origin.environment.is_none_or(|environment| environment == self.environment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str, bundle_id: &str, package: &str) -> App {
        App {
            id: id.into(),
            bundle_ids: vec![bundle_id.into()],
            packages: vec![package.into()],
            apns: Vec::new(),
            fcm: false,
        }
    }

    fn origin(provider: PushProvider, name: Option<&str>) -> Origin<'_> {
        Origin { provider, name, environment: None }
    }

    /// P1: a device belongs to the app whose name it says; with one app alone, to that one.
    #[test]
    fn a_device_belongs_to_the_app_that_has_its_name() {
        let two = [app("shop", "com.acme.shop", "com.acme.shop.android"), app("staff", "com.acme.staff", "staff")];
        let of = |apps: &[App], provider, name| app_of(apps, &origin(provider, name)).map(|at| apps[at].id.to_string());
        assert_eq!(of(&two, PushProvider::Apns, Some("com.acme.staff")).as_deref(), Some("staff"));
        assert_eq!(of(&two, PushProvider::Fcm, Some("com.acme.shop.android")).as_deref(), Some("shop"));
        assert_eq!(of(&two, PushProvider::Fcm, Some("com.acme.shop")), None, "a bundle id is no package");
        assert_eq!(of(&two, PushProvider::Apns, None), None);
        assert_eq!(of(&two[..1], PushProvider::Apns, None).as_deref(), Some("shop"));
        assert_eq!(of(&two[..1], PushProvider::Fcm, Some("another")).as_deref(), Some("shop"));
        assert_eq!(of(&[], PushProvider::Fcm, None), None);
    }

    /// P12: an APNs key reaches the devices of its topics; the environment only says which of several goes first.
    #[test]
    fn a_key_reaches_its_topics() {
        let key = ApnsKey { environment: Environment::Production, topics: vec!["a".into()] };
        let in_sandbox = Some(Environment::Sandbox);
        for (name, environment, reached, meant) in [
            (Some("a"), None, true, true),
            (None, Some(Environment::Production), true, true),
            (Some("b"), None, false, true),
            (Some("a"), in_sandbox, true, false),
        ] {
            let origin = Origin { provider: PushProvider::Apns, name, environment };
            assert_eq!((key.reaches(&origin), key.is_meant_for(&origin)), (reached, meant), "{origin:?}");
            let app = App { apns: vec![key.clone()], ..app("shop", "a", "a") };
            assert_eq!(app.carries(&origin), reached);
        }
        let two = ApnsKey { topics: vec!["a".into(), "b".into()], ..key };
        assert!(two.reaches(&origin(PushProvider::Apns, Some("b"))));
        assert!(!two.reaches(&origin(PushProvider::Apns, None)), "which of the two it is, nobody knows");
        let android = origin(PushProvider::Fcm, Some("a"));
        assert!(!app("shop", "a", "a").carries(&android));
        assert!(App { fcm: true, ..app("shop", "a", "a") }.carries(&android));
    }
}
