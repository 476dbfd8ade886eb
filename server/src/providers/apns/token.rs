//! The provider token: signed by the key, kept 20 to 60 minutes, the same for every connection and on every node.

use crate::clock::Clock;
use jsonwebtoken::errors::Error;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::header::HeaderValue;
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tokens begin at multiples of this, so that nodes that know nothing of each other claim the same.
const STEP_S: i64 = 40 * 60;
/// Apple refuses more frequent changes (TooManyProviderTokenUpdates)…
const MIN_AGE_S: i64 = 20 * 60;
/// …and older tokens than an hour (ExpiredProviderToken).
const MAX_AGE_S: i64 = 50 * 60;

/// A token and when it was issued, by its own word.
#[derive(Clone)]
pub(super) struct ProviderToken {
    pub(super) authorization: HeaderValue,
    issued_at_s: i64,
}

/// The tokens of one key.
pub(super) struct ProviderTokens {
    key: EncodingKey,
    key_id: String,
    team_id: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    current: ProviderToken,
    /// When one was made because Apple refused the one before.
    replaced_at_s: Option<i64>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
}

impl ProviderTokens {
    pub(super) fn new(
        key: EncodingKey,
        key_id: &str,
        team_id: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<ProviderTokens, Error> {
        let current = sign(&key, key_id, team_id, step_of(wall_s(&*clock)))?;
        let state = Mutex::new(State { current, replaced_at_s: None });
        Ok(ProviderTokens { key, key_id: key_id.into(), team_id: team_id.into(), clock, state })
    }

    /// The token in use, or the next one when its time has come.
    pub(super) fn get(&self) -> ProviderToken {
        let now_s = wall_s(&*self.clock);
        let mut state = self.state();
        let age_s = now_s - state.current.issued_at_s;
        let step = step_of(now_s);
        let outdated = !(0..MAX_AGE_S).contains(&age_s) || (age_s >= MIN_AGE_S && state.current.issued_at_s < step);
        if outdated && let Ok(token) = sign(&self.key, &self.key_id, &self.team_id, step) {
            state.current = token;
        }
        state.current.clone()
    }

    /// A newer one after Apple refused `refused`; `None` = the refused one is as new as may be.
    pub(super) fn after(&self, refused: &ProviderToken) -> Option<ProviderToken> {
        let now_s = wall_s(&*self.clock);
        let mut state = self.state();
        if state.current.issued_at_s != refused.issued_at_s {
            return Some(state.current.clone());
        }
        let recent = state.replaced_at_s.is_some_and(|at| (0..MIN_AGE_S).contains(&(now_s - at)));
        if recent || refused.issued_at_s == now_s {
            return None;
        }
        state.current = sign(&self.key, &self.key_id, &self.team_id, now_s).ok()?;
        state.replaced_at_s = Some(now_s);
        Some(state.current.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sign(key: &EncodingKey, key_id: &str, team_id: &str, issued_at_s: i64) -> Result<ProviderToken, Error> {
    // Apple's header has no `typ`.
    let header = Header { typ: None, kid: Some(key_id.to_owned()), ..Header::new(Algorithm::ES256) };
    let token = encode(&header, &Claims { iss: team_id, iat: issued_at_s }, key)?;
    let mut authorization = HeaderValue::try_from(format!("bearer {token}")).expect("base64url and dots");
    authorization.set_sensitive(true);
    Ok(ProviderToken { authorization, issued_at_s })
}

fn step_of(now_s: i64) -> i64 {
    now_s - now_s.rem_euclid(STEP_S)
}

/// Apple compares with its own wall clock.
fn wall_s(clock: &dyn Clock) -> i64 {
    (clock.now_ms() + clock.wall_offset_ms()).div_euclid(1000)
}
