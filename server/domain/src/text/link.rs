//! Short links: who is led where, how long, and what a log-in is good for (T8).

use crate::Ms;

/// A link leads to the conversation for this long: texts are read late, and numbers get new owners.
pub const LINK_LIFE_MS: Ms = 7 * 86_400_000;
/// A log-in is redeemed by the page it opens, at once.
pub const LOGIN_LIFE_MS: Ms = 5 * 60_000;

/// A request for a link, as far as it tells who asks.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// Whether the answer's head alone is wanted.
    pub head_only: bool,
    /// `User-Agent`.
    pub user_agent: &'a str,
    /// `Sec-Purpose`, `Purpose` or `X-Moz`: fetched before anybody asked.
    pub is_ahead: bool,
    /// `Sec-Fetch-Mode` and `Sec-Fetch-Dest` of a browser that opens a page.
    pub opens_a_page: bool,
}

/// What a visitor gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// Led on, with a log-in.
    LogIn,
    /// Led on.
    LeadOn,
    /// Told that there is an answer, and nothing else.
    Preview,
}

/// A link as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// It leads nowhere from then on.
    pub expires_at: Ms,
    /// When its log-in was used up.
    pub login_used_at: Option<Ms>,
}

/// Why a log-in is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLogin {
    /// Too late.
    Expired,
    /// It was used before.
    Used,
}

/// Programs that fetch a link to show what is behind it. Those that call themselves bots are found by that word.
const PREVIEWERS: &[&str] = &[
    "bot",
    "crawl",
    "spider",
    "preview",
    "facebookexternalhit",
    "facebookcatalog",
    "whatsapp",
    "kakaotalk-scrap",
    "skypeuripreview",
    "telegram",
    "slack",
    "discord",
    "viber",
    "embedly",
    "iframely",
    "google-pagerenderer",
    "googleother",
    "mediapartners-google",
    "safelinks",
    "headlesschrome",
    "snippet",
    "scanner",
    "yeti/",
    "vkshare",
    "pinterest",
    "bingpreview",
    "proofpoint",
    "barracuda",
    "mimecast",
];

impl Visit<'_> {
    /// What this visitor gets from a live link. Only a browser that opens a page gets a log-in; nobody uses one up
    /// here: that takes the company's backend.
    pub fn welcome(&self) -> Welcome {
        let agent = self.user_agent.to_ascii_lowercase();
        if self.head_only || self.is_ahead || PREVIEWERS.iter().any(|name| agent.contains(name)) {
            Welcome::Preview
        } else if self.opens_a_page {
            Welcome::LogIn
        } else {
            Welcome::LeadOn
        }
    }
}

impl Link {
    /// Of a text that leaves now.
    pub fn new(now: Ms) -> Link {
        Link { expires_at: now.saturating_add(LINK_LIFE_MS), login_used_at: None }
    }

    /// Whether it leads anywhere.
    pub fn is_live(&self, now: Ms) -> bool {
        now < self.expires_at
    }

    /// Until when a log-in that is handed out now is good; `None` = it was used up.
    pub fn login_until(&self, now: Ms) -> Option<Ms> {
        self.login_used_at.is_none().then(|| now.saturating_add(LOGIN_LIFE_MS).min(self.expires_at))
    }

    /// Uses its log-in up, once for all that were handed out.
    pub fn log_in(&self, until: Ms, now: Ms) -> Result<Link, NoLogin> {
        match self.login_used_at {
            Some(_) => Err(NoLogin::Used),
            None if now >= until || !self.is_live(now) => Err(NoLogin::Expired),
            None => Ok(Link { login_used_at: Some(now), ..*self }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: &str = "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/142.0.0.0 Mobile Safari/537.36";

    fn visit(user_agent: &str) -> Visit<'_> {
        Visit { head_only: false, user_agent, is_ahead: false, opens_a_page: true }
    }

    /// T8: a log-in is for a browser that opens the page; what looks ahead or looks in gets none.
    #[test]
    fn t8_only_who_opens_the_page_gets_a_log_in() {
        assert_eq!(visit(CHROME).welcome(), Welcome::LogIn);
        assert_eq!(Visit { opens_a_page: false, ..visit("curl/8.9") }.welcome(), Welcome::LeadOn);
        assert_eq!(Visit { head_only: true, ..visit(CHROME) }.welcome(), Welcome::Preview);
        assert_eq!(Visit { is_ahead: true, ..visit(CHROME) }.welcome(), Welcome::Preview);
        let agents = [
            "facebookexternalhit/1.1 Facebot Twitterbot/1.0",
            "WhatsApp/2.23.20.0",
            "TelegramBot (like TwitterBot)",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
            "facebookexternalhit/1.1; kakaotalk-scrap/1.0; +https://devtalk.kakao.com/t/scrap/33984",
            "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
        ];
        for agent in agents {
            assert_eq!(visit(agent).welcome(), Welcome::Preview, "{agent}");
        }
    }

    /// T8: seven days for the link, five minutes for a log-in, and once; both sides of each.
    #[test]
    fn t8_a_log_in_works_once_and_not_late() {
        let link = Link::new(1_000);
        let (last, end) = (1_000 + 7 * 86_400_000 - 1, 1_000 + 7 * 86_400_000);
        assert!(link.is_live(last) && !link.is_live(end));
        let until = link.login_until(2_000).unwrap();
        assert_eq!((until, link.login_until(last)), (302_000, Some(end)));
        let used = link.log_in(until, 301_999).unwrap();
        assert_eq!(link.log_in(until, 302_000), Err(NoLogin::Expired));
        assert_eq!(used.log_in(until, 301_999), Err(NoLogin::Used));
        assert_eq!((used.login_until(2_000), used.is_live(last)), (None, true), "it still leads on");
        assert_eq!(link.log_in(i64::MAX, end), Err(NoLogin::Expired));
    }
}
