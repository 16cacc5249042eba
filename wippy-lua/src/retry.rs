//! [`Retry`]: trying a call again, later each time.
//!
//! Only what says of itself that trying again may help is tried again: anything else may have had its effect already. Every
//! attempt asks the guard, and none begins that could not end before the caller's deadline.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value as Json;
use tokio::time::Instant;
use wippy_registry::EntryId;
use wippy_security::{Call, CallError, Context, Handler, Permit, PoolCounts, authorize};

/// How often and when a call is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// How many attempts there are at most, the first one included.
    pub max_attempts: u32,
    /// How long it waits after the first attempt.
    pub initial_delay: Duration,
    /// How long it waits at most.
    pub max_delay: Duration,
    /// How many times longer it waits after every further attempt.
    pub backoff_factor: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            backoff_factor: 2.0,
        }
    }
}

impl Retry {
    /// More attempts than this are not made, whatever is asked for.
    const ATTEMPTS_MAX: u32 = 1000;

    /// Reads `{max_attempts=, initial_delay=, max_delay=, backoff_factor=}`; delays are in milliseconds.
    ///
    /// # Errors
    /// What is wrong with it, naming the field.
    pub fn from_json(json: &Json) -> Result<Self, String> {
        let Json::Object(fields) = json else {
            return Err("`retry` is a mapping such as `{max_attempts: 3, initial_delay: 100}`".to_owned());
        };
        let mut retry = Self::default();
        for (name, value) in fields {
            let number = value
                .as_f64()
                .filter(|number| number.is_finite() && *number >= 0.0);
            let number = number.ok_or_else(|| format!("`retry.{name}` is a number, zero or more"))?;
            match name.as_str() {
                "max_attempts" => retry.max_attempts = attempts(value)?,
                "initial_delay" => retry.initial_delay = milliseconds(number),
                "max_delay" => retry.max_delay = milliseconds(number),
                "backoff_factor" => retry.backoff_factor = number,
                _ => {
                    return Err(format!(
                        "`retry.{name}`: there is no such field; there are max_attempts, initial_delay, max_delay, backoff_factor"
                    ));
                }
            }
        }
        Ok(retry)
    }

    /// Tries until it works, until it cannot help any more, or until there are no attempts left.
    ///
    /// # Errors
    /// That of the last attempt.
    pub(crate) async fn run<T, F: Future<Output = Result<T, CallError>>>(
        &self,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, CallError> {
        let mut pace = self.pace(deadline);
        loop {
            match attempt().await {
                Err(error) if pace.goes_on(&error) => pace.wait().await,
                outcome => return outcome,
            }
        }
    }

    fn pace(&self, deadline: Option<Instant>) -> Pace {
        Pace {
            left: self.max_attempts.saturating_sub(1),
            delay: self.initial_delay.min(self.max_delay),
            retry: *self,
            deadline,
        }
    }
}

fn attempts(value: &Json) -> Result<u32, String> {
    let number = value.as_u64().filter(|number| *number >= 1);
    let number = number.ok_or("`retry.max_attempts` is a whole number, one or more")?;
    Ok(u32::try_from(number)
        .unwrap_or(Retry::ATTEMPTS_MAX)
        .min(Retry::ATTEMPTS_MAX))
}

fn milliseconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number / 1000.0).unwrap_or(Duration::MAX)
}

/// How the attempts go on.
struct Pace {
    retry: Retry,
    /// How many attempts may follow.
    left: u32,
    delay: Duration,
    deadline: Option<Instant>,
}

impl Pace {
    fn goes_on(&self, error: &CallError) -> bool {
        let next = Instant::now().checked_add(self.delay);
        let is_in_time = match (next, self.deadline) {
            (Some(next), Some(deadline)) => next < deadline,
            (next, None) => next.is_some(),
            (None, Some(_)) => false,
        };
        error.retryable() && self.left > 0 && is_in_time
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.delay).await;
        self.left -= 1;
        let longer = self.delay.as_secs_f64() * self.retry.backoff_factor;
        let longer = Duration::try_from_secs_f64(longer).unwrap_or(Duration::MAX);
        self.delay = longer.min(self.retry.max_delay);
    }
}

/// A function of which every call is tried again.
pub struct Retrying {
    id: EntryId,
    function: Arc<dyn Handler>,
    retry: Retry,
}

impl Retrying {
    /// Tries the calls of `function` again as `retry` says.
    pub fn new(id: EntryId, function: Arc<dyn Handler>, retry: Retry) -> Arc<Self> {
        Arc::new(Self { id, function, retry })
    }
}

#[async_trait]
impl Handler for Retrying {
    async fn invoke<'a>(self: Arc<Self>, permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let Call {
            context,
            arguments,
            result,
        } = call;
        let mut pace = self.retry.pace(context.deadline());
        let mut permit = permit;
        loop {
            let attempt = Call {
                context,
                arguments: &mut *arguments,
                result: &mut *result,
            };
            match self.function.clone().invoke(permit, attempt).await {
                Err(error) if pace.goes_on(&error) => pace.wait().await,
                outcome => return outcome,
            }
            permit = again(context, &self.id)?;
        }
    }

    fn pool(&self) -> Option<PoolCounts> {
        self.function.pool()
    }
}

/// What was permitted once may have been forbidden while it waited.
fn again(context: &Context, id: &EntryId) -> Result<Permit, CallError> {
    authorize(context, "funcs.call", id.as_str())
}
