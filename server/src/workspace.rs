//! A workspace as requests use it: settings in force, secrets opened, and how busy it is.

use crate::alimtalk::Templates;
use crate::apps::Apps;
use crate::mail::Company;
use crate::settings::{Advice, Settings};
use crate::store::{DeviceRow, SettingsSet, WorkspaceId};
use backstop_domain::Ms;
use backstop_domain::device::DeviceFacts;
use backstop_domain::followup::{Policy, Services};
use backstop_domain::text::Way;
use backstop_wire::PushProvider;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// One company that uses Backstop. Replaced whole when its settings change; `activity` is shared by all versions.
pub struct Workspace {
    /// Row number.
    pub id: WorkspaceId,
    /// Name.
    pub name: String,
    /// As the API shows them.
    pub settings: Settings,
    /// Their version, and who set them; `None` = nobody since the workspace was made.
    pub settings_set: Option<SettingsSet>,
    /// When it was made.
    pub created_at: Ms,
    /// What the rules take from settings and deployment.
    pub policy: Policy,
    /// Decoded identity secrets, newest first (C1).
    pub identity_secrets: Vec<Vec<u8>>,
    /// PEM public keys that may sign customers' JWTs (C1).
    pub trusted_keys: Vec<String>,
    /// Its mobile apps, and by what their pushes leave.
    pub apps: Arc<Apps>,
    /// Its mail domain and its email templates.
    pub mail: Arc<Company>,
    /// Its Alimtalk templates.
    pub alimtalk: Arc<Templates>,
    /// Whether only canaries live in it: nothing of it leaves, and nothing of it is counted.
    pub canary: bool,
    /// What is under way.
    pub activity: Arc<Activity>,
}

impl Workspace {
    /// The company's name as customers see it.
    pub fn display_name(&self) -> &str {
        self.settings.company_name.as_deref().unwrap_or(&self.name)
    }

    /// What can leave: by the deployment's accounts, or by those of its own apps.
    pub fn services(&self) -> Services {
        let services = &self.policy.services;
        let has = |via| self.apps.have(via);
        Services {
            fcm: services.fcm || has(PushProvider::Fcm),
            apns: services.apns || has(PushProvider::Apns),
            ..services.clone()
        }
    }

    /// What the company should know although its settings were taken.
    pub fn advice(&self, services: &Services) -> Vec<Advice> {
        let mut advice = self.settings.advice(services, &self.policy.limits);
        let is_wanted = self.settings.phone_number && self.settings.sns.contains(&Way::Alimtalk);
        if is_wanted && self.alimtalk.in_use().is_none() {
            advice.push(Advice::NoAlimtalkTemplate);
        }
        advice
    }

    /// What the rules need to know of a device: its row, and the app that it is part of.
    pub fn facts_of(&self, row: &DeviceRow) -> DeviceFacts {
        let origin = row.origin();
        let app = self.apps.of(&origin);
        DeviceFacts {
            id: row.id,
            provider: row.provider,
            alerts: row.alerts,
            standing: row.standing,
            confirmed_at: row.confirmed_at,
            used_at: row.used_at,
            counted_acks: row.counted_acks.clone(),
            app: app.map(|app| Arc::clone(&app.id)),
            carried: app.is_some_and(|app| app.carries(&origin)),
        }
    }
}

/// Counts what is under way for a workspace: effects handed out, outcomes not yet committed.
#[derive(Default)]
pub struct Activity {
    busy: AtomicUsize,
    idle: Notify,
    /// Idempotency keys whose request is being answered, and that request: no more than there are requests.
    answering: Mutex<HashMap<String, [u8; 32]>>,
}

/// Held while something is under way.
pub struct Busy(Arc<Activity>);

/// Held while the request of an idempotency key is answered.
pub struct Answering {
    activity: Arc<Activity>,
    key: String,
}

impl Activity {
    /// Lets one request of a key through at a time; the hash of the one that is under way, if there is one.
    pub fn answering(self: &Arc<Self>, key: &str, request_hash: [u8; 32]) -> Result<Answering, [u8; 32]> {
        let mut answering = self.answering.lock().unwrap_or_else(PoisonError::into_inner);
        match answering.entry(key.to_owned()) {
            Entry::Occupied(other) => Err(*other.get()),
            Entry::Vacant(free) => {
                free.insert(request_hash);
                Ok(Answering { activity: Arc::clone(self), key: key.to_owned() })
            }
        }
    }

    /// Marks something as under way until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(self))
    }

    /// Returns when nothing is under way.
    pub async fn settled(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.busy.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.activity.answering.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
