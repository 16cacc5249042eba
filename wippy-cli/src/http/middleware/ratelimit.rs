//! `ratelimit`: a bucket of requests for each client, refilled at a steady pace.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use wippy_security::ErrorKind;

use super::{
    super::{answer, body::Body, inbound::Inbound},
    options::Options,
};

/// A rate, and what has been used of it.
pub(crate) struct RateLimit {
    config: Config,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Clone, PartialEq)]
struct Config {
    requests: u32,
    window: Duration,
    burst: f64,
    key: Key,
    cleanup: Duration,
    lifetime: Duration,
    entries_max: usize,
}

/// What tells clients apart.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Ip,
    Header(String),
    Query(String),
}

struct Buckets {
    by_key: HashMap<Box<str>, Bucket>,
    cleaned: Instant,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    touched: Instant,
}

impl RateLimit {
    pub(super) fn new(options: &mut Options<'_>) -> Self {
        let key = options.parsed(
            "ratelimit.key",
            "`ip`, `header:NAME` or `query:NAME`",
            |key| match key.split_once(':') {
                None if key == "ip" => Some(Key::Ip),
                Some(("header", name)) if !name.is_empty() => Some(Key::Header(name.to_ascii_lowercase())),
                Some(("query", name)) if !name.is_empty() => Some(Key::Query(name.to_owned())),
                _ => None,
            },
        );
        let config = Config {
            requests: options.number("ratelimit.requests").unwrap_or(100),
            window: options
                .duration("ratelimit.window")
                .unwrap_or(Duration::from_mins(1)),
            burst: f64::from(options.number::<u32>("ratelimit.burst").unwrap_or(20)),
            key: key.unwrap_or(Key::Ip),
            cleanup: options
                .duration("ratelimit.cleanup_interval")
                .unwrap_or(Duration::from_mins(5)),
            lifetime: options
                .duration("ratelimit.entry_ttl")
                .unwrap_or(Duration::from_mins(10)),
            entries_max: options.number("ratelimit.max_entries").unwrap_or(100_000),
        };
        let buckets = Buckets {
            by_key: HashMap::new(),
            cleaned: Instant::now(),
        };
        Self {
            config,
            buckets: Mutex::new(buckets),
        }
    }

    /// Goes on counting where `before` stopped, if it counts the same.
    pub(in crate::http) fn continue_from(&self, before: &Self) {
        if self.config == before.config {
            // One after the other: both may be the same.
            let by_key = std::mem::take(&mut before.buckets().by_key);
            self.buckets().by_key = by_key;
        }
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one request off a client's bucket, or refuses it.
    pub(super) fn check(&self, inbound: &Inbound) -> Option<Response<Body>> {
        let key = match &self.config.key {
            Key::Ip => None,
            Key::Header(name) => inbound.header(name).map(str::to_owned),
            Key::Query(name) => inbound.query(name),
        };
        // Who does not say who they are is told apart by address.
        let key = key.unwrap_or_else(|| inbound.client.ip.to_string());
        if self.take(key, Instant::now()) {
            return None;
        }
        let mut response = answer::refusal(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::RateLimited,
            "too many requests",
            &inbound.call_id,
        );
        let headers = response.headers_mut();
        let seconds = self.config.window.as_secs_f64() / f64::from(self.config.requests);
        headers.insert(header::RETRY_AFTER, number(seconds.ceil().max(1.0)));
        headers.insert(
            HeaderName::from_static("x-ratelimit-limit"),
            HeaderValue::from(self.config.requests),
        );
        if let Ok(window) = HeaderValue::from_str(&format!("{}s", self.config.window.as_secs_f64())) {
            headers.insert(HeaderName::from_static("x-ratelimit-window"), window);
        }
        Some(response)
    }

    fn take(&self, key: String, now: Instant) -> bool {
        let config = &self.config;
        let mut buckets = self.buckets();
        buckets.clean(config, now);
        let bucket = buckets.by_key.entry(key.into()).or_insert(Bucket {
            tokens: config.burst,
            touched: now,
        });
        bucket.refill(config, now);
        let is_allowed = bucket.tokens >= 1.0;
        if is_allowed {
            bucket.tokens -= 1.0;
        }
        is_allowed
    }
}

impl Buckets {
    /// Forgets clients that have not come for long; and when there are too many, some that have.
    fn clean(&mut self, config: &Config, now: Instant) {
        let is_full = self.by_key.len() >= config.entries_max;
        if is_full || now.saturating_duration_since(self.cleaned) >= config.cleanup {
            self.cleaned = now;
            let lifetime = config.lifetime;
            self.by_key
                .retain(|_, bucket| now.saturating_duration_since(bucket.touched) < lifetime);
        }
        if self.by_key.len() < config.entries_max {
            return;
        }
        // A tenth at once, so that a flood of new clients does not walk the whole table for each of them.
        let mut times: Vec<Instant> = self.by_key.values().map(|bucket| bucket.touched).collect();
        let tenth = times.len() / 10;
        let (_, oldest, _) = times.select_nth_unstable(tenth);
        let oldest = *oldest;
        self.by_key.retain(|_, bucket| bucket.touched > oldest);
    }
}

impl Bucket {
    fn refill(&mut self, config: &Config, now: Instant) {
        let elapsed = now.saturating_duration_since(self.touched).as_secs_f64();
        let refilled = elapsed * f64::from(config.requests) / config.window.as_secs_f64();
        self.tokens = (self.tokens + refilled).min(config.burst);
        self.touched = now;
    }
}

fn number(value: f64) -> HeaderValue {
    HeaderValue::from_str(&format!("{value:.0}")).unwrap_or(HeaderValue::from_static("1"))
}
