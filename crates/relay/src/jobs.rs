//! Floor 3: the schedule. A cron job wakes the purge, and nothing depends on its being exact: what has expired is never
//! delivered, purged or not; a purge runs at the start; one runs at a time; and a watchdog looks whether they still come.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use tokio_cron_scheduler::{Job, JobScheduler};

use crate::protocol::ErrorCode;
use crate::service::{Error, Relay};

/// The schedule is no cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cron expression of five fields, or six with seconds first: {0}")]
pub struct NotASchedule(String);

/// When a cron expression next fires after `now`, in UTC; none when it never does.
pub fn next_run(schedule: &str, now: u64) -> Result<Option<u64>, NotASchedule> {
    let cron = parse(schedule)?;
    let now = chrono::DateTime::from_timestamp(now as i64, 0).unwrap_or_default();
    Ok(cron.find_next_occurrence(&now, false).ok().map(|next| next.timestamp().unsigned_abs()))
}

/// The longest time between two runs, of the next few; a day where it cannot be told.
pub fn period_secs(schedule: &str, now: u64) -> u64 {
    let mut times = vec![now];
    while times.len() < 5 {
        match next_run(schedule, times[times.len() - 1]) {
            Ok(Some(next)) => times.push(next),
            _ => return 86_400,
        }
    }
    times.windows(2).skip(1).map(|pair| pair[1] - pair[0]).max().unwrap_or(86_400)
}

/// Runs the jobs until the relay stops.
pub async fn run(relay: Relay, schedule: String) {
    purge(&relay, "start").await;
    let scheduler = match start(&relay, &schedule).await {
        Ok(scheduler) => Some(scheduler),
        Err(error) => {
            tracing::error!(%error, "the schedule cannot run; the watchdog purges in its place");
            None
        }
    };
    let patience = 3 * period_secs(&schedule, relay.now()).max(WATCHDOG_SECS_MIN / 3);
    let mut last = relay.clock().elapsed();
    loop {
        let next = relay.clock().elapsed() + TICK;
        tokio::select! {
            () = relay.stopped() => break,
            () = relay.clock().sleep_until(next) => {}
        }
        relay.sweep_sessions();
        relay.sweep_factors();
        relay.rotate_wraps();
        relay.sweep_rates();
        let now = relay.clock().elapsed();
        if relay.purged_since(last) {
            last = now;
        } else if now.saturating_sub(last).as_secs() > patience {
            tracing::warn!("no purge came for three periods of the schedule; one is made now");
            purge(&relay, "watchdog").await;
            last = now;
        }
    }
    if let Some(mut scheduler) = scheduler
        && let Err(error) = scheduler.shutdown().await
    {
        tracing::debug!(%error, "the scheduler was gone already");
    }
}

async fn start(relay: &Relay, schedule: &str) -> Result<JobScheduler, tokio_cron_scheduler::JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    let relay = relay.clone();
    // The scheduler wants seconds; five fields run at second 0.
    let six = if schedule.split_whitespace().count() == 5 { format!("0 {schedule}") } else { schedule.to_string() };
    let job = Job::new_async(six.as_str(), move |_, _| {
        let relay = relay.clone();
        Box::pin(async move { purge(&relay, "schedule").await })
    })?;
    scheduler.add(job).await?;
    scheduler.start().await?;
    Ok(scheduler)
}

async fn purge(relay: &Relay, why: &'static str) {
    match relay.purge_unless_running().await {
        Ok(report) => {
            tracing::info!(why, envelopes = report.envelopes, others = report.others, "purged");
        }
        // The one that runs does the same.
        Err(Error::Refused(ErrorCode::Busy, _)) => {}
        // The next start purges again.
        Err(error) if error.code() == ErrorCode::Stopping => {}
        Err(error) => tracing::error!(%error, why, "a purge failed"),
    }
}

fn parse(schedule: &str) -> Result<Cron, NotASchedule> {
    let parser = CronParser::builder().seconds(Seconds::Optional).build();
    parser.parse(schedule).map_err(|error| NotASchedule(error.to_string()))
}

/// How often sessions, spent challenges, second factors, wrap keys and allowances are looked at.
const TICK: Duration = Duration::from_secs(60);
/// However short the schedule, the watchdog waits a quarter of an hour.
const WATCHDOG_SECS_MIN: u64 = 900;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_fields_and_six_are_taken_and_others_are_not() {
        let noon = 1_800_014_400;
        assert_eq!(noon % 86_400, 43_200);
        assert_eq!(next_run("*/5 * * * *", noon), Ok(Some(noon + 300)));
        assert_eq!(next_run("30 */5 * * * *", noon), Ok(Some(noon + 30)));
        assert_eq!(next_run("0 3 * * *", noon), Ok(Some(noon + 15 * 3_600)));
        for bad in ["", "* * * *", "61 * * * *", "every day"] {
            assert!(next_run(bad, noon).is_err(), "{bad}");
        }
        assert_eq!(period_secs("*/5 * * * *", noon), 300);
    }
}
