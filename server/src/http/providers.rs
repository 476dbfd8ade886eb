//! `GET /v1/providers`: the accounts that a workspace sends by, and how each stands.

use super::Api;
use super::request::{Answer, Backend, Reply};
use super::view::List;
use crate::providers::{Rate, Standing};
use axum::extract::State;
use backstop_wire::time::to_rfc3339;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// An account that messages leave by.
#[derive(Serialize, ToSchema)]
pub(super) struct ProviderView {
    /// As in deliveries.
    #[schema(example = "apns")]
    name: &'static str,
    /// `push`, `text` or `email`.
    channel: &'static str,
    /// Which one: a key's id, a project, an account's id, a server. Never a secret.
    #[schema(example = "K1L2M3N4P5")]
    account: String,
    /// Whose credentials: this app's, or `null` = the deployment's.
    app_id: Option<String>,
    /// `closed`: it is sent by. `open`: nothing is, for a while. `half_open`: one message tries it.
    state: &'static str,
    /// Since when it is in that state; `null` = since ever.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// What the vendor said last against the account, and what mends it.
    last_error: Option<String>,
    /// When it took something last, by any workspace.
    #[schema(format = DateTime)]
    last_success_at: Option<String>,
    /// What may leave by it; `null` = anything.
    rate: Option<RateView>,
}

/// A rate budget.
#[derive(Serialize, ToSchema)]
pub(super) struct RateView {
    /// Messages.
    max: u32,
    /// `second` or `minute`.
    per: &'static str,
}

/// Lists the accounts that messages leave by
///
/// The deployment's, then those of the workspace's apps. A vendor that refuses an account is not asked again for a
/// while; meanwhile pushes are followed by text and email at once, and texts and emails wait.
#[utoipa::path(get, path = "/v1/providers", tag = "backend",
    responses((status = 200, description = "All of them", body = List<ProviderView>)))]
pub(super) async fn list(State(api): State<Arc<Api>>, Backend(workspace): Backend) -> Answer {
    let providers = &api.providers;
    let pushes = [&providers.fcm, &providers.apns].into_iter().flatten();
    let mut data: Vec<ProviderView> = pushes.map(|push| view("push", None, &push.standing())).collect();
    data.extend(providers.text.iter().map(|text| view("text", None, &text.standing())));
    data.extend(providers.email.as_ref().map(|email| view("email", None, &email.standing())));
    let apps = workspace.apps.accounts();
    data.extend(apps.into_iter().map(|(app_id, sender)| view("push", Some(app_id), &sender.standing())));
    Ok(Reply::ok(&List { data, next_cursor: None }))
}

fn view(channel: &'static str, app_id: Option<&str>, standing: &Standing) -> ProviderView {
    let rate = standing.about.rate.map(|rate| match rate {
        Rate::PerSecond(max) => RateView { max: max.get(), per: "second" },
        Rate::PerMinute(max) => RateView { max, per: "minute" },
    });
    ProviderView {
        name: standing.about.name,
        channel,
        account: standing.about.account.clone(),
        app_id: app_id.map(str::to_owned),
        state: standing.state.as_str(),
        since: standing.since.map(to_rfc3339),
        last_error: standing.sentence(app_id),
        last_success_at: standing.last_success_at.map(to_rfc3339),
        rate,
    }
}
