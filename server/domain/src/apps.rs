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
    /// One environment a key.
    pub environment: Environment,
    /// The bundle ids that it pushes to; empty = all of the app.
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

/// The app that a device is part of: the one that has its name, else the only one there is.
pub fn app_of<'a>(apps: &'a [App], origin: &Origin<'_>) -> Option<&'a App> {
    let named = origin.name.and_then(|name| apps.iter().find(|app| app.has(origin.provider, name)));
    match (named, apps) {
        (Some(app), _) | (None, [app]) => Some(app),
        (None, _) => None,
    }
}

impl App {
    /// Whether pushes to this device can go by credentials of its own.
    pub fn carries(&self, origin: &Origin<'_>) -> bool {
        match origin.provider {
            PushProvider::Fcm => self.fcm,
            PushProvider::Apns => self.apns.iter().any(|key| key.reaches(origin)),
        }
    }

    /// The topic of a push to a device that names none.
    pub fn only_bundle_id(&self) -> Option<&str> {
        match self.bundle_ids.as_slice() {
            [only] => Some(only),
            _ => None,
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
    /// Whether the key signs for this device. A token is for production unless the device says otherwise.
    pub fn reaches(&self, origin: &Origin<'_>) -> bool {
        origin.environment.unwrap_or(Environment::Production) == self.environment
            && (self.topics.is_empty() || origin.name.is_none_or(|name| self.topics.iter().any(|topic| topic == name)))
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
        let of = |apps: &[App], provider, name| app_of(apps, &origin(provider, name)).map(|app| app.id.to_string());
        assert_eq!(of(&two, PushProvider::Apns, Some("com.acme.staff")).as_deref(), Some("staff"));
        assert_eq!(of(&two, PushProvider::Fcm, Some("com.acme.shop.android")).as_deref(), Some("shop"));
        assert_eq!(of(&two, PushProvider::Fcm, Some("com.acme.shop")), None, "a bundle id is no package");
        assert_eq!(of(&two, PushProvider::Apns, None), None);
        assert_eq!(of(&two[..1], PushProvider::Apns, None).as_deref(), Some("shop"));
        assert_eq!(of(&two[..1], PushProvider::Fcm, Some("another")).as_deref(), Some("shop"));
        assert_eq!(of(&[], PushProvider::Fcm, None), None);
    }

    /// P12: an APNs key reaches the devices of its environment and topics, and those that do not say.
    #[test]
    fn a_key_reaches_its_environment_and_topics() {
        let key = ApnsKey { environment: Environment::Production, topics: vec!["a".into()] };
        let in_sandbox = Some(Environment::Sandbox);
        for (name, environment, reached) in [
            (Some("a"), None, true),
            (None, Some(Environment::Production), true),
            (Some("b"), None, false),
            (Some("a"), in_sandbox, false),
        ] {
            let origin = Origin { provider: PushProvider::Apns, name, environment };
            assert_eq!(key.reaches(&origin), reached, "{origin:?}");
            let app = App { apns: vec![key.clone()], ..app("shop", "a", "a") };
            assert_eq!(app.carries(&origin), reached);
        }
        let any = ApnsKey { topics: Vec::new(), ..key };
        assert!(any.reaches(&origin(PushProvider::Apns, Some("b"))));
        let android = origin(PushProvider::Fcm, Some("a"));
        assert!(!app("shop", "a", "a").carries(&android));
        assert!(App { fcm: true, ..app("shop", "a", "a") }.carries(&android));
    }
}
